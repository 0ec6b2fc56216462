//! Sessions: one execution context over a shared model.

use super::guard::{guard, opt_struct, out, slice_arg, str_arg};
use super::handle::{self, Kind, Pinned, Table};
use super::memory::INFERNO_NO_BUDGET;
use super::model::{inferno_model, resolve as resolve_model};
use super::options::{InitStruct, init_struct};
use super::status::inferno_status;
use super::tensor::{INFERNO_MAX_RANK, inferno_tensor};
use super::view::{read_tensor, shape_arg, view_const, view_mut, write_view};
use crate::error::{self, Result};
use crate::model::Model;
use crate::pool::{Account, Budget};
use crate::session::{Session, SessionOptions};
use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::Duration;

/// One execution context: its inputs, outputs and recurrent state. One thread
/// at a time may be inside it; a second one is answered
/// `INFERNO_STATUS_BUSY`. An opaque handle; what it points to is nobody's
/// memory.
#[allow(non_camel_case_types)]
pub struct inferno_session {
    _opaque: [u8; 0],
}

pub(super) static SESSIONS: Table<Session> = Table::new(Kind::Session);

/// The dims of one input, for a model that leaves some open.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_input_shape {
    /// The input's name.
    pub input: *const c_char,
    /// Number of dims, 0 to `INFERNO_MAX_RANK`.
    pub rank: i32,
    /// The dims, each 0 or more.
    pub dims: [i64; INFERNO_MAX_RANK],
}

/// The value of one symbol, such as "batch", wherever it stands in the inputs.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_symbol_value {
    /// The symbol's name.
    pub symbol: *const c_char,
    /// Its value, 0 or more.
    pub value: i64,
}

/// An input whose value is fixed when the session is made: what ONNX passes as
/// a parameter (axes, sizes, scales, a sampling rate). The graph is simplified
/// with it, and it is no input of the session any more.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_input_constant {
    /// The input's name.
    pub input: *const c_char,
    /// Its value.
    pub value: inferno_tensor,
}

/// A recurrent pair: after every run the output becomes the input of the next.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_state_pair {
    /// The input's name. It starts as zeros.
    pub input: *const c_char,
    /// The name of the output that becomes it: same dtype, same dims.
    pub output: *const c_char,
}

/// Options of a session. Fill with `inferno_session_options_init`, then set
/// what you need. Everything it points to is copied during the call.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_session_options {
    /// Set by `inferno_session_options_init`.
    pub struct_size: usize,
    /// Values of symbols.
    pub symbols: *const inferno_symbol_value,
    /// Number of `symbols`.
    pub symbol_count: usize,
    /// Dims of inputs; they go before `symbols`.
    pub shapes: *const inferno_input_shape,
    /// Number of `shapes`.
    pub shape_count: usize,
    /// Inputs fixed as constants.
    pub constants: *const inferno_input_constant,
    /// Number of `constants`.
    pub constant_count: usize,
    /// Recurrent pairs.
    pub states: *const inferno_state_pair,
    /// Number of `states`.
    pub state_count: usize,
    /// Past so many bytes, held by the session, a warning is logged. Default
    /// `INFERNO_NO_BUDGET`.
    pub soft_budget_bytes: u64,
    /// What goes past so many bytes is refused with
    /// `INFERNO_STATUS_OUT_OF_BUDGET`: the session, or its run. Default
    /// `INFERNO_NO_BUDGET`.
    pub hard_budget_bytes: u64,
    /// Threads of a run, the calling one among them. 0, the default, and 1: that one
    /// alone. With more, large steps of a run are done in parts, by the caller and by
    /// helper threads of Inferno's. They are started when the first session asks for
    /// them, shared by all sessions, asleep while there is nothing to do, and ended
    /// by `inferno_shutdown`. A run that finds them busy goes on without. The
    /// answers have the same bits whatever this is. Where the host brought
    /// `inferno_host_jobs`, its threads are asked instead. More than `INFERNO_MAX_THREADS` is
    /// refused with `INFERNO_STATUS_LIMIT_EXCEEDED`.
    pub threads: u32,
}

/// The most threads that a run may have.
pub const INFERNO_MAX_THREADS: u32 = 64;
const _: () = assert!(INFERNO_MAX_THREADS as usize == crate::crew::MOST_THREADS);

impl InitStruct for inferno_session_options {
    const NAME: &'static str = "inferno_session_options";
    fn defaults() -> Self {
        inferno_session_options {
            struct_size: size_of::<Self>(),
            symbols: std::ptr::null(),
            symbol_count: 0,
            shapes: std::ptr::null(),
            shape_count: 0,
            constants: std::ptr::null(),
            constant_count: 0,
            states: std::ptr::null(),
            state_count: 0,
            soft_budget_bytes: INFERNO_NO_BUDGET,
            hard_budget_bytes: INFERNO_NO_BUDGET,
            threads: 0,
        }
    }
}

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
pub unsafe extern "C" fn inferno_session_options_init(
    options: *mut inferno_session_options,
    struct_size: usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or `struct_size` writable bytes.
    guard(|| unsafe { init_struct(options, struct_size) })
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

/// Makes a session over a model. When all input dims are known (fixed in the
/// model or set here) the graph is compiled now; otherwise by the first
/// `inferno_session_prepare` or run after they are.
///
/// Ownership: the caller owns `*session` and ends it with
/// `inferno_session_free`. The session keeps the model alive: the handle
/// `model` may be freed first. `options` may be NULL and is not kept.
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT, NOT_FOUND (a name the model does
/// not have), DTYPE_MISMATCH, SHAPE_MISMATCH, SIZE_MISMATCH, INVALID_MODEL,
/// UNSUPPORTED, LIMIT_EXCEEDED, OUT_OF_MEMORY, OUT_OF_BUDGET.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_session_new(
    model: *const inferno_model,
    options: *const inferno_session_options,
    session: *mut *mut inferno_session,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or an initialised struct and a writable
        // pointer.
        let (session, options) = unsafe { (out("session", session)?, opt_struct(options)?) };
        let model = resolve_model(model)?;
        // SAFETY: the arrays of the caller's struct hold what their counts say.
        let (account, options) = unsafe { opened(&model, &options) }?;
        let made = Session::new(model, account, options)?;
        session.write(handle::insert(&SESSIONS, Arc::new(made))?.cast());
        Ok(())
    })
}

/// Ends a session: its views and bindings with it. NULL is no error. When
/// another thread is inside the session, its memory goes when that call ends.
///
/// Threads: any.
/// Errors: INVALID_HANDLE (freed before, or never a session).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_session_free(session: *mut inferno_session) -> inferno_status {
    guard(|| SESSIONS.remove(session.cast()))
}

/// Sets the dims of an input. The session is compiled anew when they differ
/// from the current ones: by `inferno_session_prepare` or the next run. Views
/// of this input end, and a bound buffer is unbound. Inputs whose dims nobody
/// set follow by their symbols: when one input's "batch" is 4, so is theirs.
///
/// Ownership: `dims` holds `rank` values and is not kept.
/// Threads: one at a time inside a session.
/// Errors: INVALID_HANDLE, BUSY, INVALID_ARGUMENT, NOT_FOUND,
/// SHAPE_MISMATCH (with what the model fixes).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_session_set_shape(
    session: *mut inferno_session,
    input: usize,
    rank: i32,
    dims: *const i64,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or `rank` readable values.
        let shape = unsafe { shape_arg(rank, dims) }?;
        resolve(session)?.enter()?.set_shape(input, &shape)
    })
}

/// Compiles the session for its current shapes, so that the next run does not
/// have to. Does nothing when that is done already.
///
/// Threads: one at a time inside a session.
/// Errors: INVALID_HANDLE, BUSY, NOT_READY (the text names the open dim),
/// SHAPE_MISMATCH, INVALID_MODEL, UNSUPPORTED, OUT_OF_MEMORY, OUT_OF_BUDGET.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_session_prepare(session: *mut inferno_session) -> inferno_status {
    guard(|| resolve(session)?.enter()?.prepare())
}

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

#[inline]
pub(super) fn resolve(session: *const inferno_session) -> Result<Pinned<'static, Session>> {
    SESSIONS.pin(session.cast())
}

pub(super) fn free_all() -> usize {
    SESSIONS.clear()
}

/// An account for a session over `model`, and what `options` say, credited to it.
///
/// SAFETY: the arrays of `options` hold what their counts say.
pub(super) unsafe fn opened(
    model: &Model,
    options: &inferno_session_options,
) -> Result<(Account, SessionOptions)> {
    let budget =
        Budget { soft_bytes: options.soft_budget_bytes, hard_bytes: options.hard_budget_bytes };
    let account = Session::open_account(model, budget)?;
    let charge = account.charge();
    let threads = usize::try_from(options.threads).unwrap_or(usize::MAX);
    let mut made = SessionOptions { threads, ..SessionOptions::default() };
    // SAFETY: as this function's own contract.
    unsafe {
        for s in slice_arg("options.symbols", options.symbols, options.symbol_count)? {
            let name = str_arg("options.symbols[].symbol", s.symbol)?.to_owned();
            made.symbols.push((name, s.value));
        }
        for s in slice_arg("options.shapes", options.shapes, options.shape_count)? {
            let name = str_arg("options.shapes[].input", s.input)?.to_owned();
            let shape = shape_arg(s.rank, s.dims.as_ptr())
                .map_err(|e| e.at(format_args!("options.shapes: input {name:?}")))?;
            made.shapes.push((name, shape));
        }
        for c in slice_arg("options.constants", options.constants, options.constant_count)? {
            let name = str_arg("options.constants[].input", c.input)?.to_owned();
            let value = read_tensor("value", &c.value)
                .map_err(|e| e.at(format_args!("options.constants: input {name:?}")))?;
            made.constants.push((name, value));
        }
        for p in slice_arg("options.states", options.states, options.state_count)? {
            let input = str_arg("options.states[].input", p.input)?.to_owned();
            let output = str_arg("options.states[].output", p.output)?.to_owned();
            made.states.push((input, output));
        }
    }
    drop(charge);
    Ok((account, made))
}
