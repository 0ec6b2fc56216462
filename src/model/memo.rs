//! What a model was specialised to, and what came of it, kept for the next who
//! asks for the same.

use crate::error::{self, Result};
use crate::sync::Mutex;
use crate::tensor::Shape;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, PoisonError};
use std::time::{Duration, Instant};
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
/// compiled, never by a run, and not held while compiling: two sessions of one
/// shape compile once, the second waits for the first; others go on.
#[derive(Default)]
pub(super) struct Memo {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    made: VecDeque<(Vec<InputSpec>, Made)>,
    making: Vec<Vec<InputSpec>>,
}

impl State {
    /// What was made of `spec`, which is now the last to go.
    fn find(&mut self, spec: &[InputSpec]) -> Option<Made> {
        let at = self.made.iter().position(|(s, _)| s == spec)?;
        let entry = self.made.remove(at)?;
        self.made.push_back(entry);
        self.made.back().map(|(_, made)| made.clone())
    }
}

/// One specialisation under way; however it ends, the waiters are told.
struct Making<'a> {
    memo: &'a Memo,
    spec: &'a [InputSpec],
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        let mut state = self.memo.state.lock();
        state.making.retain(|s| s != self.spec);
        self.memo.ended.notify_all();
    }
}

impl Memo {
    /// What was made of `spec`, or is made now by `make`. Waits for another
    /// thread that makes it for at most `patience`; zero means for ever.
    pub(super) fn get_or_make<T: Send + Sync + 'static>(
        &self,
        spec: &Specialisation,
        patience: Duration,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let spec = spec.inputs.as_slice();
        let typed = |made: Made| {
            made.downcast::<T>().map_err(|_| error::internal("a specialisation of another kind"))
        };
        let since = Instant::now();
        let mut state = self.state.lock();
        loop {
            if let Some(made) = state.find(spec) {
                return typed(made);
            }
            if !state.making.iter().any(|s| s == spec) {
                break;
            }
            state = if patience.is_zero() {
                self.ended.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                let Some(left) = patience.checked_sub(since.elapsed()) else {
                    return Err(error::deadline_exceeded(
                        "another session's import of these shapes took longer than load_time_ns",
                    ));
                };
                self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            };
        }
        state.making.push(spec.to_vec());
        drop(state);
        let making = Making { memo: self, spec };
        let made: Made = Arc::new(make()?);
        let mut state = self.state.lock();
        state.made.push_back((spec.to_vec(), made.clone()));
        if state.made.len() > KEPT {
            state.made.pop_front();
        }
        drop(state);
        drop(making);
        typed(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREVER: Duration = Duration::ZERO;

    fn spec(n: usize) -> Specialisation {
        Specialisation { inputs: vec![InputSpec::Run(Shape::new(&[n]).unwrap())] }
    }

    #[test]
    fn the_same_is_made_once_and_the_number_kept_is_bounded() {
        let memo = Memo::default();
        let first = memo.get_or_make(&spec(0), FOREVER, || Ok(0usize)).unwrap();
        for n in 0..20 {
            memo.get_or_make(&spec(n), FOREVER, || Ok(n)).unwrap();
            let again = memo.get_or_make(&spec(0), FOREVER, || Ok(99usize)).unwrap();
            assert!(Arc::ptr_eq(&first, &again), "used often, so kept");
        }
        assert_eq!(memo.state.lock().made.len(), KEPT);
        assert_eq!(
            *memo.get_or_make(&spec(1), FOREVER, || Ok(7usize)).unwrap(),
            7,
            "long unused, so gone"
        );
    }
}
