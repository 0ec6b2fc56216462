//! Calls about models.

use crate::lane::{KNOWN, Lane, Place};
use crate::ledger::{Budget, Holder};
use crate::reader::Files;
use fuzz::check::{call, ensure, text};
use inferno::ffi::{limits::*, model::*, options::InitStruct, status::*, tensor::*};
use inferno::ffi::{memory::INFERNO_NO_BUDGET, reader::inferno_reader};
use std::ffi::{CString, c_char, c_void};
use std::os::fd::AsRawFd;
use std::ptr::null;
use std::sync::LazyLock;
use std::sync::atomic::Ordering::Relaxed;

/// Makes a load, and keeps the model, or checks that there is none. `load` is
/// told whether the budgets in its options are to be left out.
fn loaded(
    lane: &mut Lane,
    name: &str,
    place: &Place<usize>,
    (model, mut budget): (usize, Budget),
    mut load: impl FnMut(bool) -> inferno_status,
) {
    lane.pool.budgets.fetch_or(budget != Budget::NONE, Relaxed);
    let mut left_out = false;
    let status = lane.tried(name, Holder::Runtime, budget, |without| {
        left_out = without;
        load(without)
    });
    if left_out {
        budget = Budget::NONE;
    }
    let done = lane.taking(name, status, Holder::Runtime, budget);
    if let Some(handle) = place.written(name, done) {
        if let Some(mut ledger) = lane.ledger() {
            ledger.model_began(handle, budget);
        }
        if budget != Budget::NONE {
            crate::memory::lift_soon(lane, Holder::Model(handle));
        }
        let at = if lane.bytes.byte() < 128 { 0 } else { lane.bytes.byte() as usize % 8 };
        lane.pool.models[at].handle.store(handle, Relaxed);
        lane.pool.models[at].model.store(model, Relaxed);
    }
}

/// A model's bytes: a known one as it is, mostly; a byte changed, or cut, else.
fn content(lane: &mut Lane) -> (usize, Box<[u8]>) {
    let model = lane.bytes.below(KNOWN.len());
    let mut bytes = KNOWN[model].bytes.clone();
    match lane.bytes.byte() {
        0..200 => {}
        200..210 => bytes.truncate(lane.bytes.byte() as usize),
        _ => {
            let at = lane.bytes.u64() as usize % bytes.len();
            bytes[at] ^= 1 << lane.bytes.below(8);
        }
    }
    (model, bytes.into())
}

/// What options point to, for as long as the call lasts.
#[derive(Default)]
struct Kept {
    exact: Vec<u64>,
    limits: Vec<u64>,
    budget: Budget,
}

impl Kept {
    /// Leaves the budgets out.
    fn without_budget(&mut self, without: bool) {
        if without && self.budget != Budget::NONE {
            change::<inferno_model_options>(&mut self.exact, |options| {
                options.soft_budget_bytes = INFERNO_NO_BUDGET;
                options.hard_budget_bytes = INFERNO_NO_BUDGET;
            });
        }
    }
}

/// Changes the struct that `exact` holds, if it holds a whole one.
pub fn change<T: InitStruct>(exact: &mut [u64], change: impl FnOnce(&mut T)) {
    if size_of_val(exact) >= size_of::<T>() {
        // SAFETY: `odd_struct_of` wrote a `T` there.
        change(unsafe { &mut *exact.as_mut_ptr().cast() });
    }
}

/// NULL, or options; the reader must outlive the call too.
fn options(
    lane: &mut Lane,
    reader: &inferno_reader,
    kept: &mut Kept,
) -> *const inferno_model_options {
    if lane.bytes.byte() < 100 {
        return null();
    }
    let mut options = inferno_model_options { reader, ..InitStruct::defaults() };
    match lane.bytes.byte() {
        0..60 => {}
        60..90 => {
            kept.budget = lane.budget();
            options.soft_budget_bytes = kept.budget.soft;
            options.hard_budget_bytes = kept.budget.hard;
        }
        90..120 => options.name = lane.text("called so"),
        120..150 => {
            let limits = limits(lane);
            options.limits = match lane.bytes.byte() {
                0..200 => odd_struct_of(lane, limits, size_of_val(&limits), &mut kept.limits),
                _ => odd_struct(lane, limits, &mut kept.limits),
            };
        }
        150..160 => options.isolation = lane.bytes.odd() as i32,
        160..190 => options.reader = null(),
        _ => return odd_struct(lane, options, &mut kept.exact),
    }
    odd_struct_of(lane, options, size_of_val(&options), &mut kept.exact)
}

/// Limits of which one is odd, or small.
fn limits(lane: &mut Lane) -> inferno_model_limits {
    let mut limits = inferno_model_limits::defaults();
    let small = lane.bytes.byte() < 128;
    let value = if small { lane.bytes.byte().into() } else { lane.bytes.odd() as u64 };
    let places = [
        &mut limits.max_file_bytes,
        &mut limits.max_weight_bytes,
        &mut limits.max_tensor_bytes,
        &mut limits.max_memory_bytes,
        &mut limits.max_nodes,
        &mut limits.max_node_values,
        &mut limits.max_rank,
        &mut limits.max_depth,
        &mut limits.load_time_ns,
    ];
    let which = lane.bytes.below(places.len());
    *places[which] = value;
    limits
}

/// A copy of `options` with an odd struct_size, in memory of just that size;
/// what lies behind the known fields is zero or not.
pub fn odd_struct<T: InitStruct>(lane: &mut Lane, options: T, exact: &mut Vec<u64>) -> *const T {
    let size = match lane.bytes.byte() {
        n @ 0..128 => n as usize,
        n @ 128..192 => size_of::<T>() + n as usize % 64,
        192..224 => 4089 + lane.bytes.below(16),
        _ => lane.bytes.odd() as usize,
    };
    odd_struct_of(lane, options, size, exact)
}

pub fn odd_struct_of<T: InitStruct>(
    lane: &mut Lane,
    options: T,
    size: usize,
    exact: &mut Vec<u64>,
) -> *const T {
    // Past 4096 bytes, and short of the first field, nothing may be read.
    let words = size.clamp(8, 4096).max(size_of::<T>()).div_ceil(8);
    *exact = vec![0; words];
    if lane.bytes.rarely(4) {
        exact[words - 1] = lane.bytes.u64();
    }
    let place = exact.as_mut_ptr();
    // SAFETY: there is room for a `T`, whose first field is its size.
    unsafe {
        place.cast::<T>().write(options);
        place.write(size as u64);
    }
    if size < size_of::<T>() {
        exact.truncate(size.clamp(8, 4096).div_ceil(8));
        exact.shrink_to_fit();
    }
    exact.as_ptr().cast()
}

pub fn load_memory(lane: &mut Lane) {
    let (model, bytes) = content(lane);
    let files = Files::new(lane, Box::default());
    let (reader, mut kept, place) =
        (files.reader(), Kept::default(), Place::<usize>::new(&mut lane.bytes));
    let options = options(lane, &reader, &mut kept);
    let (data, size) = match lane.bytes.byte() {
        250 => (null(), bytes.len()),
        251 => (bytes.as_ptr().cast(), 0),
        // No memory is that large, and so nothing is read.
        252 => (bytes.as_ptr().cast(), usize::MAX),
        _ => (bytes.as_ptr().cast::<c_void>(), bytes.len()),
    };
    let to = place.as_ptr().cast();
    loaded(lane, "model_load_memory", &place, (model, kept.budget), |without| {
        kept.without_budget(without);
        // SAFETY: the bytes are there, or the size says that they cannot be.
        unsafe { inferno_model_load_memory(data, size, options, to) }
    });
    files.ended();
}

pub fn load_reader(lane: &mut Lane) {
    let (model, bytes) = content(lane);
    let files = Files::new(lane, bytes);
    let (mut reader, mut kept, mut exact_reader) = (files.reader(), Kept::default(), Vec::new());
    let place = Place::<usize>::new(&mut lane.bytes);
    match lane.bytes.byte() {
        240 => reader.open = None,
        241 => reader.read = None,
        242 => reader.close = None,
        _ => {}
    }
    let other = files.reader();
    let options = options(lane, &other, &mut kept);
    let from = match lane.bytes.byte() {
        0..230 => &raw const reader,
        230..240 => null(),
        _ => odd_struct(lane, reader, &mut exact_reader),
    };
    let path = lane.text("pack/model.onnx");
    let to = place.as_ptr().cast();
    loaded(lane, "model_load_reader", &place, (model, kept.budget), |without| {
        kept.without_budget(without);
        // SAFETY: what the reader needs lives across the call.
        unsafe { inferno_model_load_reader(from, path, options, to) }
    });
    files.ended();
}

unsafe extern "C" {
    fn memfd_create(name: *const c_char, flags: u32) -> i32;
}

/// A file for each known model, with no name in any folder.
static PATHS: LazyLock<Vec<(std::fs::File, CString)>> = LazyLock::new(|| {
    let file = |bytes: &Vec<u8>| {
        use std::{io::Write, os::fd::FromRawFd};
        // SAFETY: a new descriptor, owned by nobody yet.
        let mut file = unsafe { std::fs::File::from_raw_fd(memfd_create(c"model".as_ptr(), 0)) };
        file.write_all(bytes).expect("memory for a model");
        let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
        (file, path.expect("no NUL"))
    };
    KNOWN.iter().map(|k| file(&k.bytes)).collect()
});

pub fn load_path(lane: &mut Lane) {
    let model = lane.bytes.below(KNOWN.len());
    let files = Files::new(lane, Box::default());
    let (reader, mut kept, place) =
        (files.reader(), Kept::default(), Place::<usize>::new(&mut lane.bytes));
    let options = options(lane, &reader, &mut kept);
    let path = match lane.bytes.byte() {
        0..200 => PATHS[model].1.as_ptr(),
        200..210 => c"/dev/null".as_ptr(),
        210..220 => c"/proc".as_ptr(),
        220..230 => c"".as_ptr(),
        _ => lane.text("no/such/file.onnx"),
    };
    let to = place.as_ptr().cast();
    loaded(lane, "model_load", &place, (model, kept.budget), |without| {
        kept.without_budget(without);
        // SAFETY: strings and structs live across the call.
        unsafe { inferno_model_load(path, options, to) }
    });
    files.ended();
}

pub fn load_default(lane: &mut Lane) {
    let place = Place::<usize>::new(&mut lane.bytes);
    // SAFETY: a place of ours.
    let load = |_| unsafe { inferno_model_load_default(place.as_ptr().cast()) };
    loaded(lane, "model_load_default", &place, (0, Budget::NONE), load);
}

pub fn free(lane: &mut Lane) {
    let picked = lane.model();
    let status = inferno_model_free(picked.as_ptr());
    if picked.handle == 0 {
        ensure(call("model_free", status), || "model_free refused NULL".into());
    } else if lane.call("model_free", status, picked.model())
        && let Some(mut ledger) = lane.ledger()
    {
        ledger.model_ended(picked.handle);
    }
}

/// `name(model, index?, place)`, the place checked, the output shown.
macro_rules! ask {
    ($lane:ident, $picked:ident, $function:ident($($argument:expr),*), |$out:ident: $type:ty| $show:expr) => {{
        let place = Place::<$type>::new(&mut $lane.bytes);
        // SAFETY: strings and places are ours and live across the call.
        let status = unsafe { $function($picked.as_ptr(), $($argument,)* place.as_ptr()) };
        let done = $lane.call(stringify!($function), status, $picked.model());
        if let Some($out) = place.written(stringify!($function), done) {
            $show
        }
    }};
}

pub fn describe(lane: &mut Lane) {
    let (picked, index, which) = (lane.model(), lane.index(), lane.bytes.below(6));
    let alone = lane.ledger().is_some();
    let port = picked.known.inputs.get(index % 4).map_or("x", |p| p.0);
    let name = lane.text(port);
    // SAFETY: the strings live with the model, which nobody frees when the
    // lane is alone.
    let show = |info: inferno_tensor_info| unsafe {
        if alone {
            text(info.name);
            info.symbols.iter().filter(|s| !s.is_null()).for_each(|s| _ = text(*s));
        }
    };
    match which {
        0 => ask!(lane, picked, inferno_model_input_count(), |_n: usize| {}),
        1 => ask!(lane, picked, inferno_model_output_count(), |_n: usize| {}),
        2 => ask!(lane, picked, inferno_model_input(index), |i: inferno_tensor_info| show(i)),
        3 => ask!(lane, picked, inferno_model_output(index), |i: inferno_tensor_info| show(i)),
        4 => ask!(lane, picked, inferno_model_input_index(name), |_n: usize| {}),
        _ => ask!(lane, picked, inferno_model_output_index(name), |_n: usize| {}),
    }
}

/// Metadata, and the struct that says its size.
pub fn metadata(lane: &mut Lane) {
    let (picked, index, which) = (lane.model(), lane.index(), lane.bytes.below(4));
    let alone = lane.ledger().is_some();
    // SAFETY: as in `describe`.
    let show = |string: *const c_char| _ = unsafe { alone.then(|| text(string)) };
    let name = lane.text("größe");
    match which {
        0 => ask!(lane, picked, inferno_model_metadata_count(), |_n: usize| {}),
        1 => {
            let key = Place::<*const c_char>::new(&mut lane.bytes);
            let done_key = key.as_ptr();
            ask!(lane, picked, inferno_model_metadata(index, done_key), |value: *const c_char| {
                show(value);
                key.written("model_metadata", true).into_iter().for_each(show);
            });
        }
        2 => ask!(lane, picked, inferno_model_metadata_find(name), |v: *const c_char| show(v)),
        _ => {
            let mut exact = Vec::new();
            let info = odd_struct(lane, inferno_model_info::defaults(), &mut exact).cast_mut();
            // SAFETY: as many bytes as the struct says, or a size to be refused.
            let status = unsafe { inferno_model_get_info(picked.as_ptr(), info) };
            lane.call("model_get_info", status, picked.model());
        }
    }
}
