//! One execution context over a shared model: bound tensors, recurrent state,
//! run.
//!
//! A [`Session`] may be named by any thread; [`Session::enter`] lets one in at a
//! time and answers `Busy` to the others. What the one inside sees is
//! [`Inner`].

mod bind;
mod inner;
mod recurrent;

pub use bind::{BoundInput, BoundOutput};
pub use inner::Inner;

use crate::error::{self, Result};
use crate::model::Model;
use crate::plan::Value;
use crate::tensor::Shape;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

/// How to make a session; names are the model's.
#[derive(Default)]
pub struct SessionOptions {
    /// Values of symbols.
    pub symbols: Vec<(String, i64)>,
    /// Shapes of inputs; they go before `symbols`.
    pub shapes: Vec<(String, Shape)>,
    /// Inputs fixed as constants.
    pub constants: Vec<(String, Value)>,
    /// Recurrent pairs: input, output.
    pub states: Vec<(String, String)>,
}

/// One execution context.
pub struct Session {
    inner: Mutex<Inner>,
}

impl Session {
    /// A session over `model`, compiled when all shapes are known.
    pub fn new(model: Arc<Model>, options: SessionOptions) -> Result<Session> {
        let name = model.name().to_owned();
        let inner = Inner::new(model, options).map_err(|e| e.at(name))?;
        Ok(Session { inner: Mutex::new(inner) })
    }

    /// Lets the caller in, unless somebody is.
    pub fn enter(&self) -> Result<MutexGuard<'_, Inner>> {
        match self.inner.try_lock() {
            Ok(inner) => Ok(inner),
            // A panic inside was caught by the caller's guard. Every change to
            // `Inner` is made by moving finished values, so it is still whole.
            Err(TryLockError::Poisoned(poisoned)) => {
                self.inner.clear_poison();
                let mut inner = poisoned.into_inner();
                inner.recover();
                Ok(inner)
            }
            Err(TryLockError::WouldBlock) => {
                Err(error::busy("another thread is inside this session: expected one at a time"))
            }
        }
    }
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Session>();
    shared::<Model>();
};
