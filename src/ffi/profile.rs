//! Profiles, traces and the audit log, as text.

use super::guard::{guard, out, slice_arg};
use super::metrics::{copy_text, switch};
use super::session::{inferno_session, resolve};
use super::status::inferno_status;
use crate::error::{self, Result};
use crate::metrics::{self, profile};
use std::ffi::c_char;

/// Times the steps of a session's runs (1), or not (0, from the start on), from the
/// next run on. Times add up until `inferno_profile_reset`, or until the session is
/// compiled for other shapes. A session that is not profiled pays nothing for it.
///
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT (neither 0 nor 1).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_profile_set_enabled(
    session: *mut inferno_session,
    is_on: i32,
) -> inferno_status {
    guard(|| {
        resolve(session)?.meter().set_profiled(switch("is_on", is_on)?);
        Ok(())
    })
}

/// Forgets the times of a session's steps.
///
/// Threads: one at a time inside a session.
/// Errors: INVALID_HANDLE, BUSY.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_profile_reset(session: *mut inferno_session) -> inferno_status {
    guard(|| {
        resolve(session)?.enter()?.forget_profile();
        Ok(())
    })
}

/// Copies a session's profile as a table for people into `buffer`, with a NUL: a
/// line a step, those that took longest first.
///
/// Ownership: `buffer` is the caller's. When it is NULL and `size_bytes` 0, only
/// `needed_bytes` is written.
/// Threads: one at a time inside a session.
/// Errors: INVALID_HANDLE, BUSY, INVALID_ARGUMENT, SIZE_MISMATCH (the buffer is too
/// small: nothing is copied, `needed_bytes` is set).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_profile_copy_table(
    session: *mut inferno_session,
    buffer: *mut c_char,
    size_bytes: usize,
    needed_bytes: *mut usize,
) -> inferno_status {
    // SAFETY: the caller gives `size_bytes` writable bytes and NULL or a writable
    // `needed_bytes`.
    guard(|| unsafe {
        copy_text(buffer, size_bytes, needed_bytes, || profile_of(session, profile::table))
    })
}

/// Copies a session's profile as JSON into `buffer`, with a NUL: `runs`, `steps_ns`,
/// and `steps`, each with `name`, `count`, `total_ns`, `max_ns`, `percent`,
/// `is_native` (a kernel of Inferno's), `is_within` (part of a region that is
/// another step), `flop` and `bytes` of one turn where they are known.
///
/// Ownership: as `inferno_profile_copy_table`.
/// Threads: one at a time inside a session.
/// Errors: INVALID_HANDLE, BUSY, INVALID_ARGUMENT, SIZE_MISMATCH.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_profile_copy_json(
    session: *mut inferno_session,
    buffer: *mut c_char,
    size_bytes: usize,
    needed_bytes: *mut usize,
) -> inferno_status {
    // SAFETY: the caller gives `size_bytes` writable bytes and NULL or a writable
    // `needed_bytes`.
    guard(|| unsafe {
        copy_text(buffer, size_bytes, needed_bytes, || profile_of(session, profile::json_text))
    })
}

fn profile_of(
    session: *const inferno_session,
    text: impl FnOnce(Option<&profile::Recorder>) -> String,
) -> Result<String> {
    let session = resolve(session)?;
    let entered = session.enter()?;
    Ok(text(entered.profile()))
}

/// Begins to trace loads, compilations, runs and their steps, in all sessions. The
/// latest are kept, in `size_bytes` of memory that is taken now; 0 is 4 MiB. What an
/// earlier trace had is forgotten.
///
/// Threads: any. While tracing, each run takes a lock that all share, at its end.
/// Errors: INVALID_ARGUMENT (less than 16 spans would fit), OUT_OF_MEMORY.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_trace_start(size_bytes: usize) -> inferno_status {
    guard(|| metrics::trace_start(size_bytes))
}

/// Ends tracing. What was traced stays, to be copied, until the next start or the
/// last shutdown.
///
/// Threads: any.
/// Errors: none.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_trace_stop() -> inferno_status {
    guard(|| {
        metrics::trace_stop();
        Ok(())
    })
}

/// Copies the trace into `buffer`, with a NUL, in the JSON format of Chrome's trace
/// viewer, which Perfetto and Speedscope read too.
///
/// Ownership: `buffer` is the caller's. When it is NULL and `size_bytes` 0, only
/// `needed_bytes` is written; while tracing goes on, the text may grow until the next
/// call.
/// Threads: any.
/// Errors: INVALID_ARGUMENT, SIZE_MISMATCH (the buffer is too small: nothing is
/// copied, `needed_bytes` is set),
/// OUT_OF_MEMORY.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_trace_copy_json(
    buffer: *mut c_char,
    size_bytes: usize,
    needed_bytes: *mut usize,
) -> inferno_status {
    // SAFETY: the caller gives `size_bytes` writable bytes and NULL or a writable
    // `needed_bytes`.
    guard(|| unsafe { copy_text(buffer, size_bytes, needed_bytes, metrics::trace_text) })
}

/// Copies the audit log into `buffer`, with a NUL, as lines of JSON: what was loaded
/// (source, hash, limits, the host's tag), swapped, refused, unloaded; runs that
/// failed, thresholds. The latest are kept: `inferno_audit_set_capacity`. Each line ends in `chain`,
/// the BLAKE3 hash of the `chain` before and of its own text, so that no line can be
/// changed, left out or moved unseen; keep the last one elsewhere.
///
/// Ownership: `buffer` is the caller's. When it is NULL and `size_bytes` 0, only
/// `needed_bytes` is written; the text may grow until the next call.
/// Threads: any; inside a callback of metrics, what was not received yet is missing.
/// Errors: INVALID_ARGUMENT, SIZE_MISMATCH (the buffer is too small: nothing is
/// copied, `needed_bytes` is set),
/// OUT_OF_MEMORY.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_audit_copy_log(
    buffer: *mut c_char,
    size_bytes: usize,
    needed_bytes: *mut usize,
) -> inferno_status {
    // SAFETY: the caller gives `size_bytes` writable bytes and NULL or a writable
    // `needed_bytes`.
    guard(|| unsafe { copy_text(buffer, size_bytes, needed_bytes, metrics::audit_text) })
}

/// Sets how many bytes of audit records are kept, 32 KiB by default. The oldest go
/// when there is no room; the chain of those that are left can be checked as before.
///
/// Threads: any.
/// Errors: OUT_OF_MEMORY.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_audit_set_capacity(size_bytes: usize) -> inferno_status {
    guard(|| metrics::set_audit_capacity(size_bytes))
}

/// Checks a copy of an audit log, of this process or another, and gives the number
/// of its records.
///
/// Ownership: `log` holds `size_bytes` bytes, without the NUL, and is not kept.
/// Threads: any.
/// Errors: INVALID_ARGUMENT (it is none, or not as it was written: the text names the
/// line).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_audit_verify(
    log: *const c_char,
    size_bytes: usize,
    record_count: *mut u64,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or `size_bytes` readable bytes, and a writable
        // place.
        let (bytes, place) = unsafe {
            (slice_arg("log", log.cast::<u8>(), size_bytes)?, out("record_count", record_count)?)
        };
        let text = std::str::from_utf8(bytes).map_err(|e| {
            error::invalid_argument(format!("log is not UTF-8: bad byte at {}", e.valid_up_to()))
        })?;
        place.write(metrics::verify(text)?);
        Ok(())
    })
}
