//! Jobs of queues: waiting for them, what came of them.

use super::guard::{guard, guard_in_hosts_mode, last_error, out};
use super::handle::{Kind, Table};
use super::options::{InitStruct, init_struct};
use super::status::inferno_status;
use super::tensor::inferno_tensor;
use super::view::write_part;
use crate::error::{self, Kind as ErrorKind, Result};
use crate::queue::{Core, Note, Part, Sessions};
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// One run that a queue was asked for: its inputs, and what came of it. An opaque
/// handle; what it points to is nobody's memory.
#[allow(non_camel_case_types)]
pub struct inferno_job {
    _opaque: [u8; 0],
}

/// How soon a job's turn comes: all that wait of a higher priority go first.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_priority {
    /// When nothing else waits, or fits.
    Low = 0,
    /// As usual.
    Normal = 1,
    /// Before all others.
    High = 2,
}

/// Receives the end of a job: on a worker of the queue, or on the thread that pumps or
/// waits where it has none. `job` is the job, whose outputs and error can be read; its
/// handle is stale when the host freed it before. No lock is held: jobs may be submitted,
/// cancelled and freed inside; what waits for jobs, pumps, or ends queues is answered
/// `INFERNO_STATUS_BUSY` there.
#[allow(non_camel_case_types)]
pub type inferno_job_callback = Option<
    unsafe extern "C" fn(user_data: *mut c_void, job: *mut inferno_job, status: inferno_status),
>;

/// Options of a job. Fill with `inferno_job_options_init`, then set what you need.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_job_options {
    /// Set by `inferno_job_options_init`.
    pub struct_size: usize,
    /// Called once, when the job has ended, whatever way. Default NULL.
    pub callback: inferno_job_callback,
    /// Handed to `callback` unchanged.
    pub user_data: *mut c_void,
    /// How long the job is wanted, in nanoseconds: when its turn has not come by then it
    /// ends with `INFERNO_STATUS_DEADLINE_EXCEEDED`, and its batch does not wait longer
    /// for company than that allows. 0 = for ever, the default.
    pub timeout_ns: u64,
    /// Whose job it is: producers take turns. 0, the default, is the calling thread.
    /// Those whose numbers are equal modulo 64 share their turns. On a queue without
    /// workers, who waits for a job begins a batch of less than 50 µs with that
    /// producer's jobs; after 16 such batches that left the oldest behind, one goes by
    /// turns.
    pub producer: u64,
    /// An `inferno_priority`. Default `INFERNO_PRIORITY_NORMAL`.
    pub priority: i32,
    /// 1: the inputs are not copied; their memory must not change until the job is
    /// answered. Default 0.
    pub is_borrowed: i32,
}

impl InitStruct for inferno_job_options {
    const NAME: &'static str = "inferno_job_options";
    fn defaults() -> Self {
        inferno_job_options {
            struct_size: size_of::<Self>(),
            callback: None,
            user_data: std::ptr::null_mut(),
            timeout_ns: 0,
            producer: 0,
            priority: inferno_priority::Normal as i32,
            is_borrowed: 0,
        }
    }
}

/// A queue of the C ABI without its threads.
pub(super) type HostCore = Core<Sessions, HostNote>;

/// The place of a job in its queue, which it keeps alive.
pub struct Place {
    pub(super) core: Arc<HostCore>,
    pub(super) job: u32,
}

/// The handles of jobs: each slot is of a place, and opened for one job after the other.
pub(super) static JOBS: Table<Place> =
    Table::new(Kind::Job).keeping(|place| place.core.release(place.job));

/// Whom a host wants to be told of a job's end.
pub struct HostNote {
    callback: unsafe extern "C" fn(*mut c_void, *mut inferno_job, inferno_status),
    user_data: *mut c_void,
    /// The job's handle; whether it ends with the call.
    handle: *mut c_void,
    is_last: bool,
}

// SAFETY: the header says that callbacks may run on a thread of Inferno's; the pointer is
// only handed through, the handle points to nothing.
unsafe impl Send for HostNote {}

impl HostNote {
    /// Without a handle yet; one of its own when the host gets none.
    pub(super) fn new(options: &inferno_job_options, is_last: bool) -> Option<HostNote> {
        let (callback, user_data) = (options.callback?, options.user_data);
        Some(HostNote { callback, user_data, handle: std::ptr::null_mut(), is_last })
    }

    pub(super) fn set_handle(&mut self, handle: *mut c_void) {
        self.handle = handle;
    }
}

impl Note for HostNote {
    fn tell(self, failed: Option<ErrorKind>) {
        let status = failed.map_or(inferno_status::Ok, inferno_status::from);
        // SAFETY: the host gave this callback for exactly this call.
        unsafe { (self.callback)(self.user_data, self.handle.cast(), status) };
        if self.is_last {
            // (A host that freed it itself was told that it may not, and is answered so.)
            let _ = JOBS.remove(self.handle);
        }
    }
}

/// Fills `options` with the defaults.
///
/// Ownership: `options` is the caller's; `struct_size` is its `sizeof`, and what
/// this library does not know of it is set to zero.
/// Threads: any.
/// Errors: INVALID_ARGUMENT (NULL, or a size smaller than any release's).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_job_options_init(
    options: *mut inferno_job_options,
    struct_size: usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or `struct_size` writable bytes.
    guard(|| unsafe { init_struct(options, struct_size) })
}

/// Waits until a job is answered, and answers as its run did: OK, or what
/// `inferno_session_run` could. Its callback has then returned. On a queue without
/// workers the calling thread runs what is due meanwhile.
///
/// Threads: any, several at once; not inside a callback of a queue.
/// Errors: INVALID_HANDLE, NOT_READY (not answered within `timeout_ns`; `UINT64_MAX` is
/// for ever), BUSY (inside a callback), and those of the job: CANCELLED,
/// DEADLINE_EXCEEDED, UNAVAILABLE (the breaker opened), RUN_FAILED and others of a run.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_job_wait(job: *const inferno_job, timeout_ns: u64) -> inferno_status {
    guard_in_hosts_mode(|| waited(job, timeout_ns))
}

/// As `inferno_job_wait`, without waiting.
///
/// Threads: any, inside callbacks too.
/// Errors: INVALID_HANDLE, NOT_READY (not answered yet), and those of the job.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_job_poll(job: *const inferno_job) -> inferno_status {
    guard_in_hosts_mode(|| waited(job, 0))
}

fn waited(job: *const inferno_job, timeout_ns: u64) -> Result<()> {
    let place = JOBS.pin(job.cast())?;
    if !place.core.wait(place.job, timeout_ns)? {
        return Err(error::not_ready("the job is not answered yet"));
    }
    place.core.verdict(place.job)
}

/// Asks that a job which still waits does not run: it is then answered with
/// `INFERNO_STATUS_CANCELLED`, as soon as somebody drives the queue. One that is answered
/// stays as it is.
///
/// Threads: any, inside callbacks too.
/// Errors: INVALID_HANDLE, BUSY (it runs already, and is answered as its run ends).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_job_cancel(job: *mut inferno_job) -> inferno_status {
    guard(|| {
        let place = JOBS.pin(job.cast())?;
        place.core.cancel(place.job)
    })
}

/// Gives a view of output `index` of a job that is answered: its own rows of the batch
/// that it ran in.
///
/// Ownership: the memory is the job's, and valid until `inferno_job_free`, or the end of
/// the callback of a job without a handle; it is not to be written.
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT, NOT_FOUND, NOT_READY (not answered yet), and
/// those of the job.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_job_output(
    job: *const inferno_job,
    index: usize,
    tensor: *mut inferno_tensor,
) -> inferno_status {
    guard_in_hosts_mode(|| {
        // SAFETY: the caller gives NULL or a writable tensor.
        let tensor = unsafe { out("tensor", tensor) }?;
        let place = JOBS.pin(job.cast())?;
        let outputs = place.core.engine().model().outputs().len();
        if index >= outputs {
            return Err(error::not_found(format!("output {index}: the model has {outputs}")));
        }
        place.core.outcome(place.job, |outcome| {
            let Part { dtype, shape, rows, bytes } = match outcome {
                Ok(rows) => rows.part(index)?,
                Err(e) => return Err(e.clone()),
            };
            tensor.write(write_part(dtype, shape, rows, (bytes.as_ptr(), bytes.len()))?);
            Ok(())
        })
    })
}

/// Gives the text of what a job failed of: what was wrong, what was expected, and where.
/// Empty when it did not; of a job that is not answered, or a handle that is none, what
/// is wrong with that. UTF-8, never NULL.
///
/// Ownership: the thread's, as of `inferno_last_error`; valid until its next call of any
/// other function.
/// Threads: any.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_job_error(job: *const inferno_job) -> *const c_char {
    guard(|| {
        let place = JOBS.pin(job.cast())?;
        place.core.verdict(place.job)
    });
    last_error()
}

/// Ends a job's handle, and with it the views of its outputs. A job that still waits is
/// cancelled, one that runs is not disturbed; either way its callback is called.
/// NULL is no error. The queue may have been freed before.
///
/// Threads: any, inside callbacks too.
/// Errors: INVALID_HANDLE (freed before, or never a job).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_job_free(job: *mut inferno_job) -> inferno_status {
    guard_in_hosts_mode(|| JOBS.remove(job.cast()))
}

pub(super) fn free_all() -> usize {
    JOBS.clear()
}
