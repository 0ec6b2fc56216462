//! What counts and tells, what shares out parts, and what they stand on, of the library's own sources.
#![allow(dead_code, unused_imports, missing_docs)]

#[path = "../../../src/crew/mod.rs"]
pub mod crew;
#[path = "../../../src/error.rs"]
pub mod error;
#[path = "../../../src/host/mod.rs"]
pub mod host;
#[path = "../../../src/kernels"]
pub mod kernels {
    pub mod mode;
    pub use mode::FloatMode;
}
#[path = "../../../src/log.rs"]
pub mod log;
#[path = "../../../src/metrics/mod.rs"]
pub mod metrics;
#[path = "../../../src/panics.rs"]
mod panics;
#[path = "../../../src/pool/mod.rs"]
pub mod pool;
#[path = "../../../src/queue"]
pub mod queue {
    mod apart;
    mod breaker;
    mod core;
    mod costs;
    mod engine;
    mod free;
    mod gate;
    mod inbox;
    mod job;
    mod lent;
    mod linger;
    mod owned;
    mod phase;
    mod policy;
    mod punctual;
    mod rest;
    mod shelves;
    mod step;
    mod telling;
    mod workers;

    pub use self::core::{Core, Door, Options};
    pub use engine::{Engine, Fit, Jobs};
    pub use job::{Input, Note, Request};
    pub use lent::Lent;
    pub use policy::Settings;
    pub use telling::is_telling;
    pub use workers::Queue;
}
#[path = "../../../src/sync.rs"]
mod sync;
#[path = "../../../src/tensor.rs"]
pub mod tensor;
