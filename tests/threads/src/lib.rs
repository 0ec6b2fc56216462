//! What counts and tells, what shares out parts, and what they stand on, of the library's own sources.
#![allow(dead_code, unused_imports, missing_docs)]

#[path = "../../../src/crew/mod.rs"]
pub mod crew;
#[path = "../../../src/error.rs"]
pub mod error;
#[path = "../../../src/host/mod.rs"]
pub mod host;
#[path = "../../../src/log.rs"]
pub mod log;
#[path = "../../../src/metrics/mod.rs"]
pub mod metrics;
#[path = "../../../src/panics.rs"]
mod panics;
#[path = "../../../src/pool/mod.rs"]
pub mod pool;
#[path = "../../../src/sync.rs"]
mod sync;
