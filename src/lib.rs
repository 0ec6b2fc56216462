//! Inferno: an embedded neural-network inference runtime.
//!
//! A host loads an ONNX model, makes a session, writes into its input, runs it
//! inside its frame, reads its output. Most hosts are C or C++ programs and come
//! in through [`ffi`], whose header is `include/inferno.h`.
//!
//! # Layers
//!
//! `ffi → runtime → queue → session → plan → model → kernels → tensor`; [`prep`] stands
//! between `ffi` and `kernels`; [`error`], [`log`],
//! [`host`], [`pool`], [`work`], [`crew`] and [`metrics`] serve everyone above them. Nobody
//! imports `ffi`; tract's types stay inside `model` and `plan`; `unsafe` stays inside
//! `ffi`, `pool`, `kernels`, `crew`, `host` (memory, jobs, files, the clock), `work`,
//! `session/bind.rs` and `queue/lent.rs`, where the host's own buffers are, and in `queue`
//! where a job's phase says whose it is. `tests/layers.rs`
//! checks all three.
//!
//! | module | what it is |
//! |---|---|
//! | [`error`] | one error: a kind and a text |
//! | [`tensor`] | element types, shapes, views |
//! | [`log`] | lines to the host's sink |
//! | [`host`] | what the host brings: files, memory |
//! | [`pool`] | memory: sources, and what a call may hold |
//! | [`work`] | work on a thread of ours, bounded in time and memory |
//! | [`metrics`] | what is counted, timed, told and logged |
//! | [`crew`] | helper threads, for the parts of a step |
//! | [`model`] | bytes → checked protobuf → tract graph, immutable and shared |
//! | [`kernels`] | the arithmetic, for each instruction set; the processor's state around a run |
//! | [`plan`] | model + shapes → program: native regions, tract's operators between them |
//! | [`prep`] | images and samples to tensors, scores and boxes from them |
//! | [`session`] | one execution context |
//! | [`queue`] | jobs from any thread, joined into batches |
//! | [`runtime`] | the global: counted users |
//! | [`ffi`] | the C ABI |
//! | [`audit`] | which types cross threads, and what protects them |
//!
//! Data's way is one line: bytes → `model` once; views → `session` → `plan` →
//! views, each run.

#![deny(unsafe_code)]

pub mod audit;
#[allow(unsafe_code)]
pub mod crew;
pub mod error;
#[cfg(feature = "capi")]
#[allow(unsafe_code)]
pub mod ffi;
pub mod host;
#[allow(unsafe_code)]
pub mod kernels;
pub mod log;
pub mod metrics;
pub mod model;
mod panics;
pub mod plan;
#[allow(unsafe_code)]
pub mod pool;
pub mod prep;
pub mod queue;
pub mod runtime;
pub mod session;
mod sync;
pub mod tensor;
pub mod work;

pub use error::{Error, Kind, Result};
