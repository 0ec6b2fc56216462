//! Calls about sessions.

use crate::lane::{Lane, Picked, Place};
use crate::ledger::{Budget, Holder, Side};
use crate::models::{change, odd_struct};
use fuzz::check::{call, ensure};
use inferno::ffi::{options::InitStruct, session::*, status::inferno_status, tensor::*};
use std::ptr::{null, null_mut};
use std::sync::atomic::Ordering::Relaxed;

fn done(lane: &Lane, name: &str, status: inferno_status, picked: &Picked) -> bool {
    lane.call(name, status, picked.session())
}

/// A call that takes memory, which a budget may refuse.
fn taken(
    lane: &mut Lane,
    name: &str,
    picked: &Picked,
    mut make: impl FnMut() -> inferno_status,
) -> bool {
    let status = lane.tried(name, picked.session(), Budget::NONE, |_| make());
    lane.taking(name, status, picked.session(), Budget::NONE)
}

/// A tensor as an argument: NULL when there is none.
fn argument(tensor: &Option<inferno_tensor>) -> *const inferno_tensor {
    tensor.as_ref().map_or(null(), |t| t)
}

fn dims_of(tensor: &inferno_tensor) -> Option<&[i64]> {
    tensor.dims.get(..usize::try_from(tensor.rank).ok()?)
}

/// Options of a session with up to two of each kind, and what they point to.
pub struct Options {
    symbols: Vec<inferno_symbol_value>,
    shapes: Vec<inferno_input_shape>,
    constants: Vec<inferno_input_constant>,
    states: Vec<inferno_state_pair>,
    whole: inferno_session_options,
    /// The struct as it is given when its size is odd.
    exact: Vec<u64>,
    given: Given,
    pub budget: Budget,
}

#[derive(Clone, Copy, PartialEq)]
enum Given {
    Null,
    Whole,
    Exact,
}

impl Options {
    pub fn new(lane: &mut Lane, picked: &Picked) -> Options {
        let mut o = Options {
            symbols: vec![],
            shapes: vec![],
            constants: vec![],
            states: vec![],
            whole: InitStruct::defaults(),
            exact: vec![],
            given: Given::Whole,
            budget: Budget::NONE,
        };
        for at in 0..lane.bytes.below(3) {
            let symbol = lane.bytes.pick(&["batch", "n", "height", "width"]);
            let symbol = lane.text(symbol);
            o.symbols.push(inferno_symbol_value { symbol, value: lane.bytes.dim() });
            let port = picked.known.inputs[at % picked.known.inputs.len()];
            let (input, what) = (lane.text(port.0), lane.bytes.below(6));
            let output = lane.text(picked.known.outputs[0].0);
            let Some(value) = lane.tensor(Some(&port)) else {
                continue;
            };
            match what {
                0 => {
                    let (rank, dims) = (value.rank, value.dims);
                    o.shapes.push(inferno_input_shape { input, rank, dims });
                }
                1 => o.constants.push(inferno_input_constant { input, value }),
                2..4 => o.states.push(inferno_state_pair { input, output }),
                _ => {}
            }
        }
        // The state of the model that has one.
        if picked.known.name == "accumulator" && lane.bytes.byte() < 200 {
            let (input, output) = (c"state".as_ptr(), c"state_out".as_ptr());
            o.states.push(inferno_state_pair { input, output });
            o.symbols.push(inferno_symbol_value { symbol: c"batch".as_ptr(), value: 2 });
        }
        (o.whole.symbols, o.whole.symbol_count) = (o.symbols.as_ptr(), o.symbols.len());
        (o.whole.shapes, o.whole.shape_count) = (o.shapes.as_ptr(), o.shapes.len());
        (o.whole.constants, o.whole.constant_count) = (o.constants.as_ptr(), o.constants.len());
        (o.whole.states, o.whole.state_count) = (o.states.as_ptr(), o.states.len());
        match lane.bytes.byte() {
            0..40 => o.given = Given::Null,
            40..195 => {}
            195..220 => o.set_budget(lane.budget()),
            220..228 => {
                // NULL with a count, and a count that no memory holds.
                o.whole.symbols = null();
                o.whole.shape_count = usize::MAX;
            }
            _ => {
                odd_struct(lane, o.whole, &mut o.exact);
                o.given = Given::Exact;
            }
        }
        o
    }

    /// Sets the budgets; the rest stays as it is given.
    pub fn set_budget(&mut self, budget: Budget) {
        if self.given == Given::Null {
            (self.given, self.whole) = (Given::Whole, InitStruct::defaults());
        }
        let set = |options: &mut inferno_session_options| {
            options.soft_budget_bytes = budget.soft;
            options.hard_budget_bytes = budget.hard;
        };
        set(&mut self.whole);
        change(&mut self.exact, set);
        self.budget = budget;
    }

    /// As an argument.
    pub fn as_ptr(&self) -> *const inferno_session_options {
        match self.given {
            Given::Null => null(),
            Given::Whole => &self.whole,
            Given::Exact => self.exact.as_ptr().cast(),
        }
    }
}

pub fn new(lane: &mut Lane) {
    let picked = lane.model();
    let mut options = Options::new(lane, &picked);
    let place = Place::<usize>::new(&mut lane.bytes);
    let asked = options.budget;
    lane.pool.budgets.fetch_or(asked != Budget::NONE, Relaxed);
    let status = lane.tried("session_new", picked.model(), asked, |without| {
        if without && asked != Budget::NONE {
            options.set_budget(Budget::NONE);
        }
        // SAFETY: arrays, strings and structs live across the call.
        unsafe { inferno_session_new(picked.as_ptr(), options.as_ptr(), place.as_ptr().cast()) }
    });
    let made = lane.taking("session_new", status, picked.model(), options.budget);
    if let Some(handle) = place.written("session_new", made) {
        if let Some(mut ledger) = lane.ledger() {
            ledger.session_began(handle, picked.handle, options.budget);
        }
        if options.budget != Budget::NONE {
            crate::memory::lift_soon(lane, Holder::Session(handle));
        }
        let at = if lane.bytes.byte() < 128 { 0 } else { lane.bytes.byte() as usize % 8 };
        let model = picked.slot.map_or(0, |s| lane.pool.models[s].model.load(Relaxed));
        lane.pool.sessions[at].handle.store(handle, Relaxed);
        lane.pool.sessions[at].model.store(model, Relaxed);
    }
}

pub fn free(lane: &mut Lane) {
    let picked = lane.session();
    let status = inferno_session_free(picked.as_ptr());
    if picked.handle == 0 {
        ensure(call("session_free", status), || "session_free refused NULL".into());
    } else if done(lane, "session_free", status, &picked)
        && let Some(mut ledger) = lane.ledger()
    {
        ledger.session_ended(picked.handle);
    }
}

pub fn set_shape(lane: &mut Lane) {
    let (picked, index) = (lane.session(), lane.index());
    let dims = match lane.bytes.byte() {
        0..200 => lane.dims(picked.known.inputs.get(index).and_then(|p| p.2)),
        _ => (0..lane.bytes.below(12)).map(|_| lane.bytes.dim()).collect(),
    };
    let (rank, data) = match lane.bytes.byte() {
        0..232 => (dims.len() as i32, dims.as_ptr()),
        232..244 => (dims.len() as i32, null()),
        // Out of range, so that nothing is read.
        244..250 => (9, dims.as_ptr()),
        _ => (-1 - i32::from(lane.bytes.byte()), dims.as_ptr()),
    };
    // SAFETY: `rank` values, or a rank to be refused.
    let status = unsafe { inferno_session_set_shape(picked.as_ptr(), index, rank, data) };
    done(lane, "session_set_shape", status, &picked);
    shape_may_differ(lane, &picked, index, None);
}

fn shape_may_differ(lane: &Lane, picked: &Picked, index: usize, dims: Option<&[i64]>) {
    if let Some(mut ledger) = lane.ledger() {
        ledger.set(picked.handle, index, dims);
    }
}

pub fn prepare(lane: &mut Lane) {
    let picked = lane.session();
    taken(lane, "session_prepare", &picked, || inferno_session_prepare(picked.as_ptr()));
}

/// The view of an input or output; `None` when the call failed.
fn view(lane: &mut Lane, picked: &Picked, side: Side, index: usize) -> Option<inferno_tensor> {
    let place = Place::<inferno_tensor>::new(&mut lane.bytes);
    let (name, get): (_, unsafe extern "C" fn(_, _, _) -> _) = match side {
        Side::Input => ("session_input", inferno_session_input),
        Side::Output => ("session_output", inferno_session_output),
    };
    // SAFETY: a place of ours.
    let make = || unsafe { get(picked.as_ptr(), index, place.as_ptr()) };
    let given = match side {
        Side::Input => taken(lane, name, picked, make),
        Side::Output => done(lane, name, make(), picked),
    };
    let given = place.written(name, given)?;
    let rank = usize::try_from(given.rank).unwrap_or(usize::MAX);
    ensure(rank <= INFERNO_MAX_RANK, || format!("a view of rank {rank}"));
    let elements = given.dims[..rank].iter().map(|d| *d as u128).product::<u128>();
    let bytes = elements * inferno_dtype_size(given.dtype) as u128;
    let empty = given.data.is_null() == (given.size_bytes == 0);
    let whole = bytes == given.size_bytes as u128 && given.dims[rank..].iter().all(|d| *d == 0);
    ensure(empty && whole, || format!("a view contradicts itself: {given:?}"));
    ensure(side == Side::Output || given.data.addr().is_multiple_of(64), || {
        format!("an input's memory is not aligned: {given:?}")
    });
    if let Some(mut ledger) = lane.ledger() {
        ledger.saw(picked.handle, side, index, given);
    }
    Some(given)
}

pub fn input(lane: &mut Lane) {
    let (picked, index) = (lane.session(), lane.index());
    view(lane, &picked, Side::Input, index);
    lane.touch_views();
}

pub fn output(lane: &mut Lane) {
    let (picked, index) = (lane.session(), lane.index());
    view(lane, &picked, Side::Output, index);
    lane.touch_views();
}

pub fn set_input(lane: &mut Lane) {
    let (picked, index) = (lane.session(), lane.index());
    set(lane, &picked, index);
}

fn set(lane: &mut Lane, picked: &Picked, index: usize) {
    let tensor = lane.tensor(picked.known.inputs.get(index));
    // SAFETY: the memory is there, or the tensor is to be refused unread.
    let make = || unsafe { inferno_session_set_input(picked.as_ptr(), index, argument(&tensor)) };
    taken(lane, "session_set_input", picked, make);
    shape_may_differ(lane, picked, index, tensor.as_ref().and_then(dims_of));
}

pub fn copy_output(lane: &mut Lane) {
    let (picked, index) = (lane.session(), lane.index());
    let mut buffer = vec![0xa5u8; lane.bytes.byte() as usize % 80].into_boxed_slice();
    let (data, size) = match lane.bytes.byte() {
        0..180 => (buffer.as_mut_ptr(), buffer.len()),
        180..220 => (null_mut(), 0),
        _ => (null_mut(), buffer.len()),
    };
    let needed = Place::<usize>::new(&mut lane.bytes);
    let session = picked.as_ptr();
    // SAFETY: the buffer has its size, or is NULL.
    let status =
        unsafe { inferno_session_copy_output(session, index, data.cast(), size, needed.as_ptr()) };
    let copied = done(lane, "session_copy_output", status, &picked);
    let untouched = buffer.iter().all(|b| *b == 0xa5);
    ensure(copied || untouched, || "a failed copy_output wrote its buffer".into());
}

pub fn bind_input(lane: &mut Lane) {
    let (picked, index) = (lane.session(), lane.index());
    let tensor = lane.tensor(picked.known.inputs.get(index));
    // SAFETY: the memory lives until no session does; nobody writes to it.
    let status = unsafe { inferno_session_bind_input(picked.as_ptr(), index, argument(&tensor)) };
    done(lane, "session_bind_input", status, &picked);
    shape_may_differ(lane, &picked, index, None);
}

pub fn bind_output(lane: &mut Lane) {
    let (picked, index) = (lane.session(), lane.index());
    let tensor = lane.tensor(picked.known.outputs.get(index));
    // SAFETY: the memory lives until no session does; nobody else uses it.
    let status = unsafe { inferno_session_bind_output(picked.as_ptr(), index, argument(&tensor)) };
    if done(lane, "session_bind_output", status, &picked)
        && let Some(mut ledger) = lane.ledger()
    {
        ledger.bound.remove(&(picked.handle, index));
        let bound = tensor.map(|t| (t.data as usize, t.size_bytes));
        ledger.bound.extend(bound.map(|b| ((picked.handle, index), b)));
    }
}

pub fn run(lane: &mut Lane) {
    let picked = lane.session();
    let (mut exact, mut brief) = (Vec::new(), inferno_run_options::defaults());
    let options = match lane.bytes.byte() {
        0..200 => null(),
        200..210 => {
            let flags = lane.bytes.odd() as u64;
            let options = inferno_run_options { flags, ..InitStruct::defaults() };
            odd_struct(lane, options, &mut exact)
        }
        210..220 => {
            brief.timeout_ns = [1, 1_000, 50_000, u64::MAX][lane.bytes.below(4)];
            &raw const brief
        }
        _ => odd_struct(lane, inferno_run_options::defaults(), &mut exact),
    };
    // SAFETY: as many bytes as the struct says, or a size to be refused.
    let done = taken(lane, "session_run", &picked, || unsafe {
        inferno_session_run(picked.as_ptr(), options)
    });
    after_run(lane, done, &picked);
}

fn after_run(lane: &mut Lane, done: bool, picked: &Picked) {
    if let Some(mut ledger) = lane.ledger() {
        ledger.ended(picked.handle, Side::Output);
    }
    if done && lane.ledger().is_some() {
        for index in 0..picked.known.outputs.len() {
            let shown = view(lane, picked, Side::Output, index);
            if let (Some(shown), Some(ledger)) = (shown, lane.ledger()) {
                ledger.bound_holds(picked.handle, index, &shown);
            }
        }
    }
}

/// All inputs set, mostly rightly, and a run.
pub fn whole_run(lane: &mut Lane) {
    let picked = lane.session();
    for index in 0..picked.known.inputs.len() {
        set(lane, &picked, index);
    }
    // SAFETY: NULL means the defaults.
    let done = taken(lane, "session_run", &picked, || unsafe {
        inferno_session_run(picked.as_ptr(), null())
    });
    after_run(lane, done, &picked);
}

pub fn reset(lane: &mut Lane) {
    let picked = lane.session();
    let status = inferno_session_reset(picked.as_ptr());
    done(lane, "session_reset", status, &picked);
    if let Some(mut ledger) = lane.ledger() {
        ledger.ended(picked.handle, Side::Output);
    }
}

pub fn state_size(lane: &mut Lane) {
    let picked = lane.session();
    let place = Place::<usize>::new(&mut lane.bytes);
    // SAFETY: a place of ours.
    let make = || unsafe { inferno_session_state_size(picked.as_ptr(), place.as_ptr()) };
    place.written("session_state_size", taken(lane, "session_state_size", &picked, make));
}

pub fn copy_state(lane: &mut Lane) {
    let picked = lane.session();
    let mut size = 0;
    // SAFETY: a place of ours.
    let make = || unsafe { inferno_session_state_size(picked.as_ptr(), &mut size) };
    taken(lane, "session_state_size", &picked, make);
    let size = match lane.bytes.byte() {
        0..200 => size,
        200..220 => size.saturating_sub(1),
        n => n as usize,
    };
    let mut buffer = vec![0xa5u8; size];
    let data = if lane.bytes.rarely(16) { null_mut() } else { buffer.as_mut_ptr() };
    // SAFETY: the buffer has its size, or is NULL.
    let make = || unsafe { inferno_session_copy_state(picked.as_ptr(), data.cast(), size) };
    if taken(lane, "session_copy_state", &picked, make) {
        lane.saved.push(buffer);
    } else {
        let untouched = buffer.iter().all(|b| *b == 0xa5);
        ensure(untouched, || "a failed copy_state wrote its buffer".into());
    }
}

pub fn set_state(lane: &mut Lane) {
    let picked = lane.session();
    let at = lane.bytes.byte() as usize;
    let mut state = match lane.saved.len() {
        0 => lane.bytes.take(at % 64).to_vec(),
        n => lane.saved[at % n].clone(),
    };
    if lane.bytes.rarely(4) && !state.is_empty() {
        let at = lane.bytes.byte() as usize % state.len();
        state[at] ^= 1 << lane.bytes.below(8);
    }
    if lane.bytes.rarely(8) {
        state.truncate(lane.bytes.byte() as usize);
    }
    let state = state.into_boxed_slice();
    let (data, size) = match lane.bytes.byte() {
        0..240 => (state.as_ptr(), state.len()),
        240..248 => (null(), state.len()),
        // No memory is that large, and so nothing is read.
        _ => (state.as_ptr(), usize::MAX),
    };
    // SAFETY: the bytes are there, or the size says that they cannot be.
    let make = || unsafe { inferno_session_set_state(picked.as_ptr(), data.cast(), size) };
    taken(lane, "session_set_state", &picked, make);
    shape_may_differ(lane, &picked, usize::MAX, None);
}
