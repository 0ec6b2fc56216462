//! The inputs and outputs of a session: views, copies, bindings.

use super::guard::{guard, out};
use super::session::{inferno_session, resolve};
use super::status::inferno_status;
use super::tensor::inferno_tensor;
use super::view::{read_tensor, view_const, view_mut, write_view};
use std::ffi::c_void;

/// Gives a writable view of input `index`: 64-byte aligned memory of the
/// session. It keeps what was written from run to run.
///
/// Ownership: `*tensor` is filled; its memory belongs to the session and is
/// valid until the session is freed, the input's shape is changed, or the input
/// is bound.
/// Threads: one at a time inside a session; do not write during a run.
/// Errors: INVALID_HANDLE, BUSY, INVALID_ARGUMENT, NOT_FOUND (no such index),
/// NOT_READY (the text names the open dim), UNSUPPORTED (a string tensor, a
/// constant, a recurrent state, a bound input), OUT_OF_MEMORY, OUT_OF_BUDGET.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_session_input(
    session: *mut inferno_session,
    index: usize,
    tensor: *mut inferno_tensor,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or a writable `tensor`.
        let tensor = unsafe { out("tensor", tensor) }?;
        let session = resolve(session)?;
        let mut entered = session.enter()?;
        let view = write_view(&entered.input(index)?)?;
        tensor.write(view);
        Ok(())
    })
}

/// Gives a view of output `index` as the last run left it.
///
/// Ownership: `*tensor` is filled; its memory belongs to the session and is
/// valid until the next run, reset, change of shape or free. Do not write to
/// it.
/// Threads: one at a time inside a session.
/// Errors: INVALID_HANDLE, BUSY, INVALID_ARGUMENT, NOT_FOUND (no such index),
/// NOT_READY (no run yet).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_session_output(
    session: *mut inferno_session,
    index: usize,
    tensor: *mut inferno_tensor,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or a writable `tensor`.
        let tensor = unsafe { out("tensor", tensor) }?;
        let session = resolve(session)?;
        let mut entered = session.enter()?;
        let view = write_view(&entered.output(index)?)?;
        tensor.write(view);
        Ok(())
    })
}

/// Copies `tensor` into input `index`, setting the input's shape to the
/// tensor's first. For a recurrent input it replaces the state.
///
/// Ownership: `tensor` and its memory stay the caller's and are not kept.
/// Threads: one at a time inside a session.
/// Errors: INVALID_HANDLE, BUSY, INVALID_ARGUMENT, NOT_FOUND, DTYPE_MISMATCH,
/// SHAPE_MISMATCH, SIZE_MISMATCH, UNSUPPORTED (a constant), OUT_OF_MEMORY,
/// OUT_OF_BUDGET.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_session_set_input(
    session: *mut inferno_session,
    index: usize,
    tensor: *const inferno_tensor,
) -> inferno_status {
    guard(|| {
        let session = resolve(session)?;
        let mut entered = session.enter()?;
        // SAFETY: the caller gives NULL or a tensor over `size_bytes` readable
        // bytes.
        let value = unsafe { read_tensor("tensor", tensor) }?;
        entered.set_input(index, value)
    })
}

/// Copies output `index` into `buffer`. `buffer` NULL with `size_bytes` 0 only
/// asks for the size.
///
/// Ownership: `buffer` is the caller's; `needed_bytes` may be NULL.
/// Threads: one at a time inside a session.
/// Errors: INVALID_HANDLE, BUSY, INVALID_ARGUMENT, NOT_FOUND, NOT_READY,
/// SIZE_MISMATCH (the buffer is too small: nothing is copied, `needed_bytes`
/// is set), UNSUPPORTED (a string tensor).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_session_copy_output(
    session: *mut inferno_session,
    index: usize,
    buffer: *mut c_void,
    size_bytes: usize,
    needed_bytes: *mut usize,
) -> inferno_status {
    guard(|| {
        let session = resolve(session)?;
        let mut entered = session.enter()?;
        let output = entered.output(index)?;
        let bytes = output.bytes()?;
        // SAFETY: the caller gives `size_bytes` writable bytes and NULL or a
        // writable `needed_bytes`.
        unsafe { super::view::copy_out(bytes, buffer, size_bytes, needed_bytes) }
    })
}

/// Makes input `index` read from the caller's memory at the start of every run;
/// NULL goes back to the session's own. The input's shape becomes the
/// tensor's.
///
/// Ownership: the memory stays the caller's and must outlive the binding: until
/// it is replaced or undone, the shape is changed, or the session is freed.
/// Threads: one at a time inside a session; do not write during a run.
/// Errors: INVALID_HANDLE, BUSY, INVALID_ARGUMENT, NOT_FOUND, DTYPE_MISMATCH,
/// SHAPE_MISMATCH, SIZE_MISMATCH, UNSUPPORTED (a string tensor, a constant, a
/// recurrent state).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_session_bind_input(
    session: *mut inferno_session,
    index: usize,
    tensor: *const inferno_tensor,
) -> inferno_status {
    guard(|| {
        let session = resolve(session)?;
        let mut entered = session.enter()?;
        // SAFETY: the caller gives NULL or a tensor over memory that outlives
        // the binding.
        let bound = unsafe { view_const("tensor", tensor) }?;
        entered.bind_input(index, bound)
    })
}

/// Makes output `index` also be written to the caller's memory at the end of
/// every run; NULL undoes it. A run whose output has another dtype or another
/// size than the binding fails and writes none of the bound outputs.
///
/// Ownership: the memory stays the caller's and must outlive the binding: until
/// it is replaced or undone, or the session is freed.
/// Threads: one at a time inside a session; do not read during a run.
/// Errors: INVALID_HANDLE, BUSY, INVALID_ARGUMENT, NOT_FOUND, DTYPE_MISMATCH,
/// SHAPE_MISMATCH, SIZE_MISMATCH, UNSUPPORTED (a string tensor).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_session_bind_output(
    session: *mut inferno_session,
    index: usize,
    tensor: *const inferno_tensor,
) -> inferno_status {
    guard(|| {
        let session = resolve(session)?;
        let mut entered = session.enter()?;
        // SAFETY: the caller gives NULL or a tensor over writable memory that
        // outlives the binding.
        let bound = unsafe { view_mut("tensor", tensor) }?;
        entered.bind_output(index, bound)
    })
}
