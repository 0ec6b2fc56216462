//! Statuses: what every fallible function returns.

use crate::error::Kind;
use std::ffi::c_char;

/// What a call came to. Zero is success; every other value is an error whose
/// text `inferno_last_error` gives. Values are never reused.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_status {
    /// Success.
    Ok = 0,
    /// An argument is NULL, out of range, or contradicts another one.
    InvalidArgument = 1,
    /// A handle is NULL, already freed, of another kind, or never was one.
    InvalidHandle = 2,
    /// Another thread is inside this session, or a run in slices is under way there.
    Busy = 3,
    /// No file, input, output, symbol or metadata entry has that name or index.
    NotFound = 4,
    /// The operating system or the host's reader failed.
    Io = 5,
    /// The bytes are not an ONNX model, or the model contradicts itself.
    InvalidModel = 6,
    /// The model is well formed and asks for something Inferno does not do:
    /// the text names every operator, dtype or opset concerned.
    Unsupported = 7,
    /// A tensor's dtype is not the one expected.
    DtypeMismatch = 8,
    /// A tensor's rank or dims are not the ones expected.
    ShapeMismatch = 9,
    /// A buffer's size is not what its tensor needs.
    SizeMismatch = 10,
    /// Something must be set, or run, first.
    NotReady = 11,
    /// Memory could not be had.
    OutOfMemory = 12,
    /// A documented limit is exceeded.
    LimitExceeded = 13,
    /// An operator refused the values it was given at run time.
    RunFailed = 14,
    /// A defect of Inferno's, caught before it reached the host. Please report
    /// it with the text.
    Internal = 15,
    /// The time that was given for a load or a run is over.
    DeadlineExceeded = 16,
    /// It would go past the hard memory budget of the runtime, a model or a
    /// session: the text gives the need and the budget.
    OutOfBudget = 17,
    /// It was ended early: a run, as `inferno_session_cancel` asked, a job that was
    /// cancelled, or one of a queue that was freed.
    Cancelled = 18,
    /// A queue holds as many jobs as it may: wait for some, and free them.
    QueueFull = 19,
    /// A queue takes no jobs now: it was shut down, or its breaker is open.
    Unavailable = 20,
}

impl From<Kind> for inferno_status {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::InvalidArgument => inferno_status::InvalidArgument,
            Kind::InvalidHandle => inferno_status::InvalidHandle,
            Kind::Busy => inferno_status::Busy,
            Kind::NotFound => inferno_status::NotFound,
            Kind::Io => inferno_status::Io,
            Kind::InvalidModel => inferno_status::InvalidModel,
            Kind::Unsupported => inferno_status::Unsupported,
            Kind::DtypeMismatch => inferno_status::DtypeMismatch,
            Kind::ShapeMismatch => inferno_status::ShapeMismatch,
            Kind::SizeMismatch => inferno_status::SizeMismatch,
            Kind::NotReady => inferno_status::NotReady,
            Kind::OutOfMemory => inferno_status::OutOfMemory,
            Kind::LimitExceeded => inferno_status::LimitExceeded,
            Kind::RunFailed => inferno_status::RunFailed,
            Kind::Internal => inferno_status::Internal,
            Kind::DeadlineExceeded => inferno_status::DeadlineExceeded,
            Kind::OutOfBudget => inferno_status::OutOfBudget,
            Kind::Cancelled => inferno_status::Cancelled,
            Kind::QueueFull => inferno_status::QueueFull,
            Kind::Unavailable => inferno_status::Unavailable,
        }
    }
}

/// Gives the name of a status, such as "INVALID_HANDLE"; "UNKNOWN" for a value
/// that is no status. Never NULL.
///
/// Ownership: a static string.
/// Threads: any.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_status_name(status: i32) -> *const c_char {
    let name = match status {
        0 => c"OK",
        1 => c"INVALID_ARGUMENT",
        2 => c"INVALID_HANDLE",
        3 => c"BUSY",
        4 => c"NOT_FOUND",
        5 => c"IO",
        6 => c"INVALID_MODEL",
        7 => c"UNSUPPORTED",
        8 => c"DTYPE_MISMATCH",
        9 => c"SHAPE_MISMATCH",
        10 => c"SIZE_MISMATCH",
        11 => c"NOT_READY",
        12 => c"OUT_OF_MEMORY",
        13 => c"LIMIT_EXCEEDED",
        14 => c"RUN_FAILED",
        15 => c"INTERNAL",
        16 => c"DEADLINE_EXCEEDED",
        17 => c"OUT_OF_BUDGET",
        18 => c"CANCELLED",
        19 => c"QUEUE_FULL",
        20 => c"UNAVAILABLE",
        _ => c"UNKNOWN",
    };
    name.as_ptr()
}

/// Gives this thread's text for the last call that failed: what was wrong,
/// what was expected, and where. Empty when the thread's last call succeeded.
/// UTF-8, never NULL.
///
/// Ownership: the thread's; valid until its next call of any other function.
/// Threads: any; each has its own text.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_last_error() -> *const c_char {
    super::guard::last_error()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_helper_and_its_host_number_statuses_alike() {
        for (at, kind) in crate::model::KINDS.into_iter().enumerate() {
            assert_eq!(inferno_status::from(kind) as usize, at + 1);
        }
    }
}
