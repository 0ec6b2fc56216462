//! What a model was specialised to, and what came of it, kept for the next who
//! asks for the same.

use crate::error::{self, Result};
use crate::sync::Mutex;
use crate::tensor::Shape;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use tract_onnx::prelude::Tensor;

/// The most specialisations a model keeps; the oldest unused goes first.
/// Sessions keep their own alive whatever happens here.
const KEPT: usize = 8;

/// What a graph is specialised to: for each input its shape or its value.
#[derive(Clone)]
pub struct Specialisation {
    /// One entry an input of the model.
    pub inputs: Vec<InputSpec>,
}

/// What is known of an input.
#[derive(Clone)]
pub enum InputSpec {
    /// Given at every run, with this shape.
    Run(Shape),
    /// Always this value.
    Constant(Arc<Tensor>),
}

impl PartialEq for InputSpec {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (InputSpec::Run(a), InputSpec::Run(b)) => a == b,
            (InputSpec::Constant(a), InputSpec::Constant(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        }
    }
}

type Made = Arc<dyn Any + Send + Sync>;

/// The specialisations of one model. Its lock is taken when a session is
/// compiled, never by a run; it is held while compiling, so that two sessions
/// of one shape compile once.
#[derive(Default)]
pub(super) struct Memo {
    made: Mutex<VecDeque<(Vec<InputSpec>, Made)>>,
}

impl Memo {
    pub(super) fn get_or_make<T: Send + Sync + 'static>(
        &self,
        spec: &Specialisation,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let mut all = self.made.lock();
        let made = match all.iter().position(|(s, _)| *s == spec.inputs) {
            Some(at) => all.remove(at),
            None => {
                let made: Made = Arc::new(make()?);
                Some((spec.inputs.clone(), made))
            }
        };
        let (spec, made) = made.ok_or_else(|| error::internal("a specialisation vanished"))?;
        let answer = made.clone().downcast::<T>();
        all.push_back((spec, made));
        if all.len() > KEPT {
            all.pop_front();
        }
        answer.map_err(|_| error::internal("a specialisation of another kind"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(n: usize) -> Specialisation {
        Specialisation { inputs: vec![InputSpec::Run(Shape::new(&[n]).unwrap())] }
    }

    #[test]
    fn the_same_is_made_once_and_the_number_kept_is_bounded() {
        let memo = Memo::default();
        let first = memo.get_or_make(&spec(0), || Ok(0usize)).unwrap();
        for n in 0..20 {
            memo.get_or_make(&spec(n), || Ok(n)).unwrap();
            let again = memo.get_or_make(&spec(0), || Ok(99usize)).unwrap();
            assert!(Arc::ptr_eq(&first, &again), "used often, so kept");
        }
        assert_eq!(memo.made.lock().len(), KEPT);
        assert_eq!(*memo.get_or_make(&spec(1), || Ok(7usize)).unwrap(), 7, "long unused, so gone");
    }
}
