//! The host's own jobs, as a callback.

#![allow(unsafe_code)]

use std::ffi::c_void;

/// A job: what it was given, and its number.
pub type JobFn = Option<unsafe extern "C" fn(job_data: *mut c_void, index: u32)>;
/// Calls a job once with each number below `count`, on any threads, and returns when
/// all have ended.
pub type RunFn =
    unsafe extern "C" fn(user_data: *mut c_void, count: u32, job: JobFn, job_data: *mut c_void);

/// A host's job system. It may be asked from any thread, by several at once.
#[derive(Debug, Clone, Copy)]
pub struct HostJobs {
    user_data: *mut c_void,
    run: RunFn,
}

// SAFETY: `new` asks for a callback that any thread may call, several at once;
// `user_data` is only handed through.
unsafe impl Send for HostJobs {}
// SAFETY: as above.
unsafe impl Sync for HostJobs {}

impl HostJobs {
    /// The host's callback, taken over.
    ///
    /// # Safety
    ///
    /// It may be called on any thread until the last run that may use it has ended, and
    /// does not unwind. That it keeps its contract otherwise is not relied on.
    pub unsafe fn new(user_data: *mut c_void, run: RunFn) -> HostJobs {
        HostJobs { user_data, run }
    }

    /// Whether both are the same callback over the same data.
    pub(crate) fn same(&self, other: &HostJobs) -> bool {
        self.user_data == other.user_data && self.run as usize == other.run as usize
    }

    /// Has `job` called with each number below `count`.
    ///
    /// # Safety
    ///
    /// `job` may be called with `job_data` and any number, at any time, on any thread.
    pub(crate) unsafe fn run(&self, count: u32, job: JobFn, job_data: *mut c_void) {
        // SAFETY: the contract of `new`, and this function's own.
        unsafe { (self.run)(self.user_data, count, job, job_data) }
    }
}
