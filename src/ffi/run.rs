//! Runs of a session, whole or in slices, and its recurrent state.

use super::guard::{guard, opt_struct, out, slice_arg};
use super::options::{InitStruct, init_struct};
use super::session::{inferno_session, resolve};
use super::status::inferno_status;
use crate::error;
use std::ffi::c_void;
use std::time::Duration;

/// Options of one run. Fill with `inferno_run_options_init`.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_run_options {
    /// Set by `inferno_run_options_init`.
    pub struct_size: usize,
    /// No flag is defined yet: 0.
    pub flags: u64,
    /// How long the run may take, in nanoseconds; 0 = for ever, the default.
    /// Looked at between the model's steps and the turns of its loops; past it
    /// the run ends with `INFERNO_STATUS_DEADLINE_EXCEEDED`, nothing is written,
    /// and the session can be run again.
    pub timeout_ns: u64,
}

impl InitStruct for inferno_run_options {
    const NAME: &'static str = "inferno_run_options";
    fn defaults() -> Self {
        inferno_run_options { struct_size: size_of::<Self>(), flags: 0, timeout_ns: 0 }
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
pub unsafe extern "C" fn inferno_run_options_init(
    options: *mut inferno_run_options,
    struct_size: usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or `struct_size` writable bytes.
    guard(|| unsafe { init_struct(options, struct_size) })
}

/// Runs the model once on the calling thread: reads the inputs, writes the
/// outputs, moves the recurrent state on. When it fails, inputs and state are
/// as before the call, and the session may be used again.
///
/// Denormal numbers count as zero during a run; the thread's floating-point mode
/// is the host's again when the call ends.
///
/// Ownership: `options` may be NULL and is not kept.
/// Threads: one at a time inside a session; sessions run side by side.
/// Errors: INVALID_HANDLE, BUSY, INVALID_ARGUMENT, NOT_READY (an open dim),
/// RUN_FAILED (the text names the node), SHAPE_MISMATCH, DTYPE_MISMATCH,
/// SIZE_MISMATCH (of a bound output), DEADLINE_EXCEEDED, CANCELLED, and those of
/// `inferno_session_prepare`.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_session_run(
    session: *mut inferno_session,
    options: *const inferno_run_options,
) -> inferno_status {
    guard(|| {
        let session = resolve(session)?;
        // SAFETY: the caller gives NULL or an initialised struct.
        let options = unsafe { opt_struct(options) }?;
        if options.flags != 0 {
            return Err(error::invalid_argument(format!(
                "run flags are {:#x}: none is defined, expected 0",
                options.flags
            )));
        }
        session.run(Duration::from_nanos(options.timeout_ns))
    })
}

/// Goes on with a run of the model for about `budget_ns` nanoseconds, or begins one, on
/// the calling thread: once a frame, until `*finished` is 1. Then the outputs are
/// written and the recurrent state moves on, all at once, with the same bits as
/// `inferno_session_run` gives. Until then the outputs are those of the run before.
///
/// A run is done in parts: steps, and rows or columns of long steps. Each is timed,
/// and begun only when what is left of the budget covers what it took before; in the
/// first run, what it is estimated to take. At least one part is done in a call, so
/// that every run comes to its end: a budget that is shorter than the longest part
/// cannot be met. A step of an operator that Inferno has no kernels for, a recurrent
/// layer over a sequence, and a loop are one part each.
///
/// The inputs belong to the run until it has finished: written meanwhile, through
/// a view or in bound memory, values of two frames are mixed. So
/// every call that would change what the run reads, take a view of an input, or
/// run the session otherwise is answered `INFERNO_STATUS_BUSY` until then;
/// `inferno_session_cancel` ends the run early, and so do
/// `inferno_session_reset` and `inferno_session_free`. A run counts once in metrics,
/// when it has finished, with the time of all its slices.
///
/// With `threads` in the session's options, parts are done side by side. The first run
/// in slices takes the memory for it, which `inferno_model_memory` does not count; later
/// ones allocate nothing where `inferno_session_run` does not.
///
/// Ownership: `*finished` is set to 1 or 0.
/// Threads: one at a time inside a session; the slices of a run may be done by
/// different threads.
/// Errors: INVALID_ARGUMENT, CANCELLED (the run was cancelled, in this call or since
/// the last one), and those of `inferno_session_run`. The run is then over: nothing
/// was written, and the next call begins a new one.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_session_run_for(
    session: *mut inferno_session,
    budget_ns: u64,
    finished: *mut i32,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or a writable `finished`.
        let finished = unsafe { out("finished", finished) }?;
        let is_done = resolve(session)?.run_for(Duration::from_nanos(budget_ns))?;
        finished.write(i32::from(is_done));
        Ok(())
    })
}

/// Asks the run that is under way in a session to end: `inferno_session_run`, or a run
/// in slices, between its slices, too. It ends with `INFERNO_STATUS_CANCELLED` before
/// its next step, or its next part in slices; nothing is written, inputs and
/// recurrent state are as before it, and the session may be used again at once.
///
/// A run that has no step left still succeeds. Without a run under way nothing
/// happens: the next one is not cancelled. A run in slices that is cancelled between
/// two of them answers so to the next `inferno_session_run_for`, unless another call
/// that changes or runs the session came first.
///
/// Threads: any, while others are inside the session, too; it waits for nobody.
/// Errors: INVALID_HANDLE.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_session_cancel(session: *mut inferno_session) -> inferno_status {
    guard(|| {
        resolve(session)?.cancel();
        Ok(())
    })
}

/// Sets the recurrent state back to zeros and forgets the outputs. Inputs,
/// shapes and bindings stay. A run in slices that is under way is given up.
///
/// Threads: one at a time inside a session.
/// Errors: INVALID_HANDLE, BUSY.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_session_reset(session: *mut inferno_session) -> inferno_status {
    guard(|| resolve(session)?.enter()?.reset())
}

/// Gives the size of the recurrent state as `inferno_session_copy_state` writes
/// it: 0 for a session without state pairs.
///
/// Threads: one at a time inside a session.
/// Errors: INVALID_HANDLE, BUSY, INVALID_ARGUMENT, NOT_READY (an open dim),
/// OUT_OF_MEMORY, OUT_OF_BUDGET.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_session_state_size(
    session: *mut inferno_session,
    size_bytes: *mut usize,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or a writable `size_bytes`.
        let size_bytes = unsafe { out("size_bytes", size_bytes) }?;
        size_bytes.write(resolve(session)?.enter()?.save_state()?.len());
        Ok(())
    })
}

/// Copies the recurrent state into `buffer`, to be given back with
/// `inferno_session_set_state`, to this session or another of the same model
/// and pairs, in this process or a later one on a machine of the same byte
/// order.
///
/// Ownership: `buffer` is the caller's.
/// Threads: one at a time inside a session.
/// Errors: INVALID_HANDLE, BUSY, INVALID_ARGUMENT, NOT_READY, SIZE_MISMATCH
/// (the buffer is too small: nothing is copied), OUT_OF_MEMORY, OUT_OF_BUDGET.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_session_copy_state(
    session: *mut inferno_session,
    buffer: *mut c_void,
    size_bytes: usize,
) -> inferno_status {
    guard(|| {
        let state = resolve(session)?.enter()?.save_state()?;
        // SAFETY: the caller gives `size_bytes` writable bytes.
        unsafe { super::view::copy_out(&state, buffer, size_bytes, std::ptr::null_mut()) }
    })
}

/// Restores a recurrent state that `inferno_session_copy_state` wrote. Bytes of
/// another model, of other pairs, or damaged ones are refused, and the state
/// stays as it was.
///
/// Ownership: `buffer` is the caller's and is not kept.
/// Threads: one at a time inside a session.
/// Errors: INVALID_HANDLE, BUSY, INVALID_ARGUMENT (not such a state),
/// OUT_OF_MEMORY, OUT_OF_BUDGET.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_session_set_state(
    session: *mut inferno_session,
    buffer: *const c_void,
    size_bytes: usize,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives `size_bytes` readable bytes.
        let bytes = unsafe { slice_arg("buffer", buffer.cast::<u8>(), size_bytes) }?;
        resolve(session)?.enter()?.restore_state(bytes)
    })
}
