//! Bytes that become a model, and the model's whole life: load, describe, make
//! sessions, run, read, free. The first byte says how the rest is a model: as
//! it stands, or as choices from which `build` writes one.

#![no_main]

mod build;

use fuzz::bytes::Bytes;
use fuzz::check::{call, deadlines, ensure, input_begins, renew_when_worn, text, touch};
use fuzz::onnx::{I64, STRING};
use inferno::ffi::{limits::*, model::*, options::InitStruct, runtime::*, session::*, tensor::*};
use libfuzzer_sys as _;
use std::ffi::{CString, c_char};
use std::ptr::{null, null_mut};

/// How many bytes stand before the model: its kind, and three for its use.
const HEAD: usize = 4;

/// What the model may take; a call that outlasts it by seconds is a finding.
const LOAD_NS: u64 = 4_000_000_000;
const RUN_NS: u64 = 2_000_000_000;
const MEMORY_BYTES: u64 = 1 << 30;

const AS_IT_STANDS: u8 = 0;

/// With `INFERNO_FUZZ_SEEDS=folder`: writes inputs to start from, and ends.
#[unsafe(no_mangle)]
extern "C" fn LLVMFuzzerInitialize(_: *const i32, _: *const *const *const c_char) -> i32 {
    if let Ok(folder) = std::env::var("INFERNO_FUZZ_SEEDS") {
        for known in fuzz::models::all() {
            let seed = [&[AS_IT_STANDS, 2, 0, 0][..], &known.bytes].concat();
            std::fs::write(format!("{folder}/{}", known.name), seed).expect("a seed is written");
        }
        for op in 0..=build::LAST_OP {
            let seed = [1, 1, 0, 0, 6, 1, op, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1];
            std::fs::write(format!("{folder}/op-{op}"), seed).expect("a seed is written");
        }
        std::process::exit(0);
    }
    0
}

// Both sides of this call are Rust's.
#[allow(improper_ctypes_definitions)]
#[unsafe(no_mangle)]
extern "C" fn rust_fuzzer_test_input(data: &[u8]) -> i32 {
    input_begins("load");
    let Some((head, body)) = data.split_first_chunk::<HEAD>() else {
        return -1;
    };
    let built;
    let bytes = if head[0] % 2 == AS_IT_STANDS {
        body
    } else {
        built = build::model(&mut Bytes::new(body));
        if let Some(path) = std::env::var_os("INFERNO_FUZZ_WRITE_MODEL") {
            std::fs::write(path, &built).expect("the model is written");
        }
        &built
    };
    // A copy of just this size: what lies behind it is not the library's.
    let exact = bytes.to_vec().into_boxed_slice();
    let mut model = null_mut();
    let limits = inferno_model_limits {
        load_time_ns: LOAD_NS,
        max_memory_bytes: MEMORY_BYTES,
        ..InitStruct::defaults()
    };
    let options = inferno_model_options { limits: &limits, ..InitStruct::defaults() };
    let (data, size) = (exact.as_ptr().cast(), exact.len());
    // SAFETY: the bytes and the options are there.
    let status = unsafe { inferno_model_load_memory(data, size, &options, &mut model) };
    drop(exact);
    if call("model_load_memory", status) {
        live(model, head);
    } else {
        ensure(model.is_null(), || "a failed load wrote a handle".to_owned());
    }
    call("shutdown", inferno_shutdown());
    renew_when_worn();
    0
}

struct Port {
    name: CString,
    dtype: i32,
    rank: i32,
    dims: [i64; INFERNO_MAX_RANK],
}

/// Everything that can be asked of a model, then sessions over it.
fn live(model: *mut inferno_model, head: &[u8; HEAD]) {
    let inputs = ports(model, inferno_model_input_count, inferno_model_input);
    let outputs = ports(model, inferno_model_output_count, inferno_model_output);
    about(model);
    let before = deadlines();
    for round in 0..2u8 {
        if deadlines() > before {
            break;
        }
        let open = i64::from(head[1].wrapping_add(round) % 4);
        let fixed = head[2] & 1 == 1 && round == 0;
        let Some(session) = session(model, &inputs, open, fixed) else {
            continue;
        };
        for run in 0..2 {
            // One that is too slow is so every time.
            if deadlines() > before {
                break;
            }
            for (index, port) in inputs.iter().enumerate() {
                fill(session, index, port, open, head[3].wrapping_add(run));
            }
            let options = inferno_run_options { timeout_ns: RUN_NS, ..InitStruct::defaults() };
            // SAFETY: the options are there.
            if call("session_run", unsafe { inferno_session_run(session, &options) }) {
                (0..outputs.len()).for_each(|index| read(session, index));
            }
        }
        call("session_free", inferno_session_free(session));
    }
    call("model_free", inferno_model_free(model));
}

fn ports(
    model: *const inferno_model,
    count: unsafe extern "C" fn(*const inferno_model, *mut usize) -> Status,
    describe: unsafe extern "C" fn(*const inferno_model, usize, *mut inferno_tensor_info) -> Status,
) -> Vec<Port> {
    let mut n = 0;
    // SAFETY: every out-pointer is a local; the strings live with the model.
    unsafe {
        ensure(call("port_count", count(model, &mut n)), || "a live model has no count".into());
        let port = |index| {
            let mut info = std::mem::zeroed::<inferno_tensor_info>();
            ensure(call("port", describe(model, index, &mut info)), || "no such port".into());
            text(info.name);
            info.symbols.iter().filter(|s| !s.is_null()).for_each(|s| _ = text(*s));
            let name = std::ffi::CStr::from_ptr(info.name).to_owned();
            Port { name, dtype: info.dtype, rank: info.rank, dims: info.dims }
        };
        (0..n).map(port).collect()
    }
}

type Status = inferno::ffi::status::inferno_status;

fn about(model: *const inferno_model) {
    // SAFETY: every out-pointer is a local; the strings live with the model.
    unsafe {
        let mut info = std::mem::zeroed::<inferno_model_info>();
        info.struct_size = size_of_val(&info);
        if call("model_get_info", inferno_model_get_info(model, &mut info)) {
            [info.name, info.graph_name, info.producer_name].iter().for_each(|s| _ = text(*s));
        }
        let (mut count, mut key, mut value) = (0, null(), null());
        call("metadata_count", inferno_model_metadata_count(model, &mut count));
        for index in 0..count {
            if call("metadata", inferno_model_metadata(model, index, &mut key, &mut value)) {
                (text(key), text(value));
            }
        }
    }
}

/// A shape for `port` whose open dims are `open`; an open rank becomes 2.
fn shape(port: &Port, open: i64) -> (i32, [i64; INFERNO_MAX_RANK]) {
    let rank = if port.rank < 0 { 2 } else { port.rank };
    let mut dims = [0; INFERNO_MAX_RANK];
    for (axis, dim) in dims.iter_mut().enumerate().take(rank as usize) {
        *dim = if port.rank < 0 || port.dims[axis] < 0 { open } else { port.dims[axis] };
    }
    (rank, dims)
}

/// Elements that an input of this size may hold.
fn values(dtype: i32, dims: &[i64], pattern: u8) -> Option<Vec<u8>> {
    let count = dims.iter().try_fold(1i64, |n, d| n.checked_mul(*d))?;
    let count = usize::try_from(count).ok().filter(|n| *n <= 1 << 20)?;
    let element = |i: usize| ((i as i64 * 5 + i64::from(pattern)) % 7 - 2).to_le_bytes();
    Some(match dtype {
        1 => {
            (0..count).flat_map(|i| (f32::from(element(i)[0] as i8) / 2.0).to_le_bytes()).collect()
        }
        _ => (0..count)
            .flat_map(|i| element(i).into_iter().take(inferno_dtype_size(dtype)))
            .collect(),
    })
}

fn tensor(dtype: i32, rank: i32, dims: [i64; INFERNO_MAX_RANK], data: &mut [u8]) -> inferno_tensor {
    inferno_tensor { dtype, rank, dims, data: data.as_mut_ptr().cast(), size_bytes: data.len() }
}

/// A session with all shapes set; the i64 inputs are constants when `fixed`.
fn session(
    model: *const inferno_model,
    inputs: &[Port],
    open: i64,
    fixed: bool,
) -> Option<*mut inferno_session> {
    let (mut shapes, mut constants, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for port in inputs {
        let ((rank, dims), input) = (shape(port, open), port.name.as_ptr());
        let value = values(port.dtype, &dims[..rank as usize], 3);
        match value.filter(|_| fixed && port.dtype == I64) {
            Some(mut data) => {
                constants.push(inferno_input_constant {
                    input,
                    value: tensor(port.dtype, rank, dims, &mut data),
                });
                memory.push(data);
            }
            None => shapes.push(inferno_input_shape { input, rank, dims }),
        }
    }
    let mut session = null_mut();
    // SAFETY: the arrays live across the call; a zeroed struct is initialised.
    unsafe {
        let mut options = std::mem::zeroed::<inferno_session_options>();
        let size = size_of_val(&options);
        call("session_options_init", inferno_session_options_init(&mut options, size));
        (options.shapes, options.shape_count) = (shapes.as_ptr(), shapes.len());
        (options.constants, options.constant_count) = (constants.as_ptr(), constants.len());
        let made = call("session_new", inferno_session_new(model, &options, &mut session));
        ensure(made != session.is_null(), || "session_new and its handle disagree".into());
        made.then_some(session)
    }
}

fn fill(session: *mut inferno_session, index: usize, port: &Port, open: i64, pattern: u8) {
    let (rank, dims) = shape(port, open);
    // SAFETY: tensors stand over memory of their size; a view is written to
    // before anything else is done with the session.
    unsafe {
        if port.dtype == STRING {
            let count = dims[..rank as usize].iter().product::<i64>().clamp(0, 1 << 12);
            let words = vec![c"wörd".as_ptr(); count as usize];
            let mut given = tensor(STRING, rank, dims, &mut []);
            (given.data, given.size_bytes) =
                (words.as_ptr().cast_mut().cast(), size_of_val(&words[..]));
            call("session_set_input", inferno_session_set_input(session, index, &given));
            return;
        }
        let mut view = std::mem::zeroed::<inferno_tensor>();
        if call("session_input", inferno_session_input(session, index, &mut view)) {
            check(&view);
            let dims = &view.dims[..view.rank as usize];
            if let Some(data) = values(view.dtype, dims, pattern) {
                ensure(data.len() == view.size_bytes, || format!("the view is {view:?}"));
                view.data.cast::<u8>().copy_from(data.as_ptr(), data.len());
            }
        }
    }
}

fn read(session: *mut inferno_session, index: usize) {
    // SAFETY: views are read before anything else is done with the session.
    unsafe {
        let mut view = std::mem::zeroed::<inferno_tensor>();
        if !call("session_output", inferno_session_output(session, index, &mut view)) {
            return;
        }
        check(&view);
        touch(view.data.cast(), view.size_bytes);
        if view.dtype == STRING {
            let count = view.size_bytes / size_of::<*const c_char>();
            let strings = (0..count).map(|i| *view.data.cast::<*const c_char>().add(i));
            return strings.for_each(|s| _ = text(s));
        }
        let mut copy = vec![0u8; view.size_bytes];
        let (to, size) = (copy.as_mut_ptr().cast(), copy.len());
        let status = inferno_session_copy_output(session, index, to, size, null_mut());
        ensure(call("session_copy_output", status), || "an output has a view, no copy".into());
        let seen = std::slice::from_raw_parts(
            if size == 0 { copy.as_ptr() } else { view.data.cast() },
            size,
        );
        ensure(seen == copy, || "an output's view and copy differ".into());
    }
}

fn check(view: &inferno_tensor) {
    let holds = (0..=INFERNO_MAX_RANK as i32).contains(&view.rank) && {
        let (dims, rest) = view.dims.split_at(view.rank as usize);
        let elements = dims.iter().map(|d| *d as u128).product::<u128>();
        elements * inferno_dtype_size(view.dtype) as u128 == view.size_bytes as u128
            && rest.iter().all(|d| *d == 0)
            && view.data.is_null() == (view.size_bytes == 0)
    };
    ensure(holds, || format!("a view contradicts itself: {view:?}"));
}
