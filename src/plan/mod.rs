//! Model + concrete shapes → [`Program`].
//!
//! Today there is one kind of program, the *general* one: tract's optimised
//! operators, stepped one by one. It stays as the fallback and as the oracle
//! when native regions come.

mod arena;
mod general;
mod indices;
mod large;
mod value;

#[cfg(all(test, feature = "capi"))]
pub(crate) mod audited {
    pub(crate) use super::indices::IndexChecks;
    pub(crate) use super::large::LargeSteps;
}

pub use general::{Program, State};
pub use value::Value;
