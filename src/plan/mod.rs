//! Model + concrete shapes → [`Program`].
//!
//! A graph whose every node is for us becomes one native region (`region`),
//! run over memory that is there. Others are stepped through node by node
//! (`general`): regions, and tract's optimised operators between them.

mod arena;
mod feed;
mod general;
mod indices;
mod kept;
mod large;
mod program;
mod region;
mod slice;
mod value;

#[cfg(all(test, feature = "capi"))]
pub(crate) mod audited {
    pub(crate) use super::indices::IndexChecks;
    pub(crate) use super::large::LargeSteps;
    pub(crate) use super::region::Region;
}

pub use feed::Given;
pub use general::GeneralState;
pub use program::{DirectState, Program, State};
pub use region::Inputs;
pub use slice::Slice;
pub use value::Value;
