//! Sessions: one execution context over a shared model.

use super::guard::{guard, opt_struct, out, slice_arg, str_arg};
use super::handle::{self, Kind, Pinned, Table};
use super::memory::INFERNO_NO_BUDGET;
use super::model::{inferno_model, resolve as resolve_model};
use super::options::{InitStruct, init_struct};
use super::status::inferno_status;
use super::tensor::{INFERNO_MAX_RANK, inferno_tensor};
use super::view::{read_tensor, shape_arg};
use crate::error::Result;
use crate::model::Model;
use crate::pool::{Account, Budget};
use crate::session::{Session, SessionOptions};
use std::ffi::c_char;
use std::sync::Arc;

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
