//! Log lines to a host callback.

use super::guard::guard;
use super::status::inferno_status;
use crate::error::{self, Result};
use crate::log::{self as sink, Level};
use std::ffi::{CString, c_char, c_void};

/// How much a log line matters; lower is more.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_log_level {
    /// Nothing.
    Off = 0,
    /// Something failed.
    Error = 1,
    /// Something is probably not what the host wants.
    Warn = 2,
    /// What the library does, a line an action.
    Info = 3,
    /// For finding a fault.
    Debug = 4,
    /// Everything, including the importer's own lines.
    Trace = 5,
}

/// Receives a log line: the level, the module it comes from, the text, both
/// UTF-8 and valid during the call only. It may be called from any thread that
/// is inside Inferno, from several at once, and must not call back into
/// Inferno.
#[allow(non_camel_case_types)]
pub type inferno_log_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        level: i32,
        module: *const c_char,
        message: *const c_char,
    ),
>;

/// Sends log lines of `level` and below to `callback`; NULL stops them. When
/// the call returns, no thread is inside the earlier callback any more.
/// Nothing is ever written to the process's standard streams.
///
/// Ownership: `user_data` stays the caller's and must outlive its use.
/// Threads: any, but not from inside a log callback.
/// Errors: INVALID_ARGUMENT (no such level).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_log_set_callback(
    callback: inferno_log_callback,
    user_data: *mut c_void,
    level: i32,
) -> inferno_status {
    guard(|| install_sink(callback, user_data, level))
}

pub(crate) struct HostSink {
    callback: unsafe extern "C" fn(*mut c_void, i32, *const c_char, *const c_char),
    user_data: *mut c_void,
}

// SAFETY: `inferno_log_set_callback` asks for a callback that any thread may
// call, several at once; `user_data` is only handed through.
unsafe impl Send for HostSink {}
// SAFETY: as above.
unsafe impl Sync for HostSink {}

impl HostSink {
    fn line(&self, level: Level, module: &str, message: &str) {
        let text = |s: &str| CString::new(s.replace('\0', " ")).unwrap_or_default();
        let (module, message) = (text(module), text(message));
        // SAFETY: the host registered this callback for exactly this call, and
        // both strings live until it returns.
        unsafe {
            (self.callback)(self.user_data, level as i32, module.as_ptr(), message.as_ptr());
        }
    }
}

pub(super) fn install_sink(
    callback: inferno_log_callback,
    user_data: *mut c_void,
    level: i32,
) -> Result<()> {
    let level = Level::from_i32(level).ok_or_else(|| {
        error::invalid_argument(format!("log level {level}: expected 0 (off) to 5 (trace)"))
    })?;
    match callback {
        Some(callback) => {
            let host = HostSink { callback, user_data };
            sink::set(level, Box::new(move |level, module, text| host.line(level, module, text)));
        }
        None => sink::clear(),
    }
    Ok(())
}

pub(super) fn remove_sink() {
    sink::clear();
}
