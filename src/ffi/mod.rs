//! The C ABI: converts, calls one safe function, converts back. No logic lives
//! here, and nobody imports it.
//!
//! One file a noun: `status`, `tensor`, `log`, `runtime`, `memory`, `reader`,
//! `model`, `session`, `ports`, `run`, `job`, `queue`, `metrics`, `subscription`, `profile`, `image`, `audio`,
//! `scores`, `boxes`; they are what `build.rs` hands to cbindgen. Below them `guard`
//! turns errors and panics into statuses, `handle` checks handles, `options`
//! reads structs that carry their size, `view` moves tensors across.

// The contract of each function is its header comment, which C programmers read:
// no Rust headings leak into it.
#![allow(clippy::missing_safety_doc)]

pub mod audio;
pub mod boxes;
pub mod guard;
pub mod handle;
pub mod image;
pub mod job;
pub mod limits;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod options;
pub mod ports;
pub mod profile;
pub mod queue;
pub mod reader;
pub mod run;
pub mod runtime;
pub mod scores;
pub mod session;
pub mod status;
pub mod subscription;
pub mod tensor;
mod view;

#[cfg(test)]
pub(crate) mod audited {
    pub(crate) use super::log::HostSink;
    pub(crate) use super::reader::HostReader;
    pub(crate) use super::subscription::HostData;
}
