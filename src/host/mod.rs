//! What the host may bring: its files, its memory and its jobs. Owned, safe values.
//! And its clock.

mod clock;
mod identity;
mod jobs;
#[cfg(feature = "capi")]
mod loaded;
mod mapped;
mod memory;
mod place;
mod reader;

pub use clock::{Clock, wake_on_time};
pub use identity::Identity;
pub use jobs::{HostJobs, JobFn, RunFn};
#[cfg(feature = "capi")]
pub(crate) use loaded::stay_loaded;
pub use mapped::MappedFile;
pub use memory::{AllocFn, FreeFn, HostMemory};
pub(crate) use reader::io_error;
pub use reader::{Files, MemoryOnly, Open, Reader, Slice, read_part};
