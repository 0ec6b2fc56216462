//! The runtime: version, counted init and shutdown.

use super::guard::{guard, opt_struct};
use super::log::{inferno_log_callback, install_sink};
use super::options::{InitStruct, init_struct};
use super::status::inferno_status;
use crate::runtime;
use std::ffi::{c_char, c_void};

/// Options of the runtime. Fill with `inferno_runtime_options_init`, then set
/// what you need.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_runtime_options {
    /// Set by `inferno_runtime_options_init`.
    pub struct_size: usize,
    /// As `inferno_log_set_callback`; NULL = no log.
    pub log_callback: inferno_log_callback,
    /// Handed to `log_callback` unchanged.
    pub log_user_data: *mut c_void,
    /// An `inferno_log_level`: lines above it are not made. Default
    /// `INFERNO_LOG_LEVEL_WARN`.
    pub log_level: i32,
}

impl InitStruct for inferno_runtime_options {
    const NAME: &'static str = "inferno_runtime_options";
    fn defaults() -> Self {
        inferno_runtime_options {
            struct_size: size_of::<Self>(),
            log_callback: None,
            log_user_data: std::ptr::null_mut(),
            log_level: super::log::inferno_log_level::Warn as i32,
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
pub unsafe extern "C" fn inferno_runtime_options_init(
    options: *mut inferno_runtime_options,
    struct_size: usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or `struct_size` writable bytes.
    guard(|| unsafe { init_struct(options, struct_size) })
}

/// Starts the runtime, or counts one more user of it. Optional: the first call
/// of any other function starts it with the defaults. Options count only for
/// the call that starts it; later ones are ignored.
///
/// Each successful call is paired with one `inferno_shutdown`.
///
/// Ownership: `options` may be NULL and is not kept.
/// Threads: any.
/// Errors: INVALID_ARGUMENT.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_init(options: *const inferno_runtime_options) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or an initialised struct.
        let options = unsafe { opt_struct(options) }?;
        runtime::init(|| {
            if options.log_callback.is_some() {
                install_sink(options.log_callback, options.log_user_data, options.log_level)?;
            }
            Ok(())
        })
    })
}

/// Counts one user of the runtime less. The last one, or the only call when
/// there was no `inferno_init`, frees every session and model that is still
/// open (their handles become stale), joins every thread Inferno owns, and
/// takes the log callback away. The runtime may be started again afterwards.
///
/// Call it before unloading the library: the shared object is linked
/// `nodelete`, so `dlclose` leaves it mapped.
///
/// Threads: any, but no other thread of this user may be inside a call.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_shutdown() -> inferno_status {
    guard(|| {
        runtime::shutdown(|| {
            let left = super::session::free_all() + super::model::free_all();
            super::log::remove_sink();
            left
        });
        Ok(())
    })
}

/// Gives the library's version as text, such as "0.1.0". Never NULL.
///
/// Ownership: a static string.
/// Threads: any.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_version_string() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Gives the library's version as one number: major × 1,000,000 + minor ×
/// 1,000 + patch. Compare it with `INFERNO_VERSION`, the header's own.
///
/// Threads: any.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_version() -> u32 {
    runtime::version_number()
}
