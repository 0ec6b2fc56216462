//! Models: load, describe, free.

use super::guard::{guard, opt_struct, out, str_arg};
use super::handle::{self, Kind, Table};
use super::limits::{inferno_isolation, inferno_model_limits, isolation_of, limits_of};
use super::memory::INFERNO_NO_BUDGET;
use super::options::{InitStruct, init_struct};
use super::reader::{HostReader, inferno_reader};
use super::status::inferno_status;
use super::tensor::{INFERNO_MAX_RANK, inferno_tensor_info};
use crate::error::{self, Result};
use crate::model::{LoadOptions, Model, PortInfo, Source};
use crate::pool::Budget;
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// A loaded model: immutable, shared by any number of sessions and threads.
/// An opaque handle; what it points to is nobody's memory.
#[allow(non_camel_case_types)]
pub struct inferno_model {
    _opaque: [u8; 0],
}

pub(super) static MODELS: Table<Model> = Table::new(Kind::Model);

/// Options of a load. Fill with `inferno_model_options_init`, then set what you
/// need.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_model_options {
    /// Set by `inferno_model_options_init`.
    pub struct_size: usize,
    /// What messages call the model, UTF-8. NULL = the file's name, or "model".
    pub name: *const c_char,
    /// Reads external data of a model loaded from memory. NULL = such a model
    /// has none.
    pub reader: *const inferno_reader,
    /// What the model may ask for. NULL = the defaults of
    /// `inferno_model_limits_init`.
    pub limits: *const inferno_model_limits,
    /// An `inferno_isolation`: whether a process of its own tries the model
    /// first. Default `INFERNO_ISOLATION_NONE`.
    pub isolation: i32,
    /// Past so many bytes, held by the model and its sessions together, a
    /// warning is logged. Default `INFERNO_NO_BUDGET`.
    pub soft_budget_bytes: u64,
    /// What goes past so many bytes is refused with
    /// `INFERNO_STATUS_OUT_OF_BUDGET`, the load among it. Default
    /// `INFERNO_NO_BUDGET`.
    pub hard_budget_bytes: u64,
    /// A folder, UTF-8, that is made where there is none: what is compiled of the
    /// model is kept there, so that a later load skips the import and the packing
    /// of weights. What is there is used for the same model, library, instruction
    /// set and limits only, and written again otherwise; failures to write are
    /// logged and nothing else. A file of the operating system whose size, times
    /// and place are as they were is taken for the same model without being read;
    /// it has to stay while the model does, as shapes that were not compiled
    /// before are compiled from it. Models with external data, and programs with
    /// operators that Inferno has no kernels for, are not kept. Processes may
    /// share the folder. Its files are trusted as the library itself is: let
    /// nobody else write there, and change none of them while it is in use; they
    /// may be deleted at any time, on Windows when no model has them mapped. NULL =
    /// nothing is kept.
    pub cache_dir: *const c_char,
    /// Whose load it is, UTF-8: the audit log tells it. NULL = nobody's.
    pub tag: *const c_char,
}

impl InitStruct for inferno_model_options {
    const NAME: &'static str = "inferno_model_options";
    fn defaults() -> Self {
        inferno_model_options {
            struct_size: size_of::<Self>(),
            name: std::ptr::null(),
            reader: std::ptr::null(),
            limits: std::ptr::null(),
            isolation: inferno_isolation::None as i32,
            soft_budget_bytes: INFERNO_NO_BUDGET,
            hard_budget_bytes: INFERNO_NO_BUDGET,
            cache_dir: std::ptr::null(),
            tag: std::ptr::null(),
        }
    }
}

/// What a model says of itself. Set `struct_size` before the call.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_model_info {
    /// `sizeof(inferno_model_info)`, set by the caller.
    pub struct_size: usize,
    /// What messages call the model. Belongs to the model, as do all strings
    /// here; none is NULL.
    pub name: *const c_char,
    /// The graph's name.
    pub graph_name: *const c_char,
    /// The tool that wrote the file.
    pub producer_name: *const c_char,
    /// ONNX IR version.
    pub ir_version: i64,
    /// Opset of the default domain.
    pub opset_version: i64,
    /// Nodes, those of sub-graphs counted.
    pub node_count: u64,
    /// Bytes of weights, each counted once.
    pub weight_bytes: u64,
    /// BLAKE3 hash of the model file (without its external data).
    pub hash: [u8; 32],
}

impl InitStruct for inferno_model_info {
    const NAME: &'static str = "inferno_model_info";
    fn defaults() -> Self {
        inferno_model_info {
            struct_size: size_of::<Self>(),
            name: c"".as_ptr(),
            graph_name: c"".as_ptr(),
            producer_name: c"".as_ptr(),
            ir_version: 0,
            opset_version: 0,
            node_count: 0,
            weight_bytes: 0,
            hash: [0; 32],
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
pub unsafe extern "C" fn inferno_model_options_init(
    options: *mut inferno_model_options,
    struct_size: usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or `struct_size` writable bytes.
    guard(|| unsafe { init_struct(options, struct_size) })
}

/// Loads an ONNX model from a file. External data is read from files beside
/// it, never from outside its folder. When all dims of the inputs are fixed and
/// no external data is used, the weights are given back once they are packed
/// for a session: one with other constants then reads the file again, which
/// must be as it was (NOT_FOUND, IO). The others keep them. No file stays open:
/// each may be renamed, deleted or replaced by another at any time, on Windows too.
/// During the call the one that was opened is read to its end.
///
/// Ownership: the caller owns `*model` and ends it with `inferno_model_free`;
/// `path` (UTF-8) and `options` (may be NULL) are not kept.
/// Threads: any.
/// Errors: INVALID_ARGUMENT, NOT_FOUND (no such file), IO, INVALID_MODEL,
/// UNSUPPORTED (the text names all operators concerned), LIMIT_EXCEEDED,
/// DEADLINE_EXCEEDED, OUT_OF_MEMORY, OUT_OF_BUDGET.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_load(
    path: *const c_char,
    options: *const inferno_model_options,
    model: *mut *mut inferno_model,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or a string, an initialised struct, a
        // writable pointer.
        let (path, options, model) =
            unsafe { (str_arg("path", path)?, load_options(options)?, out("model", model)?) };
        let loaded = Model::load(Source::Path(path.into()), &options)?;
        model.write(insert(loaded)?);
        Ok(())
    })
}

/// Loads an ONNX model from memory.
///
/// Ownership: as `inferno_model_load`; `data` is the caller's and may be freed
/// when the call returns.
/// Threads: any.
/// Errors: INVALID_ARGUMENT, INVALID_MODEL, UNSUPPORTED, LIMIT_EXCEEDED,
/// DEADLINE_EXCEEDED, OUT_OF_MEMORY, OUT_OF_BUDGET; IO and NOT_FOUND for
/// external data.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_load_memory(
    data: *const c_void,
    size_bytes: usize,
    options: *const inferno_model_options,
    model: *mut *mut inferno_model,
) -> inferno_status {
    guard(|| {
        if data.is_null() {
            return Err(error::invalid_argument("data is NULL: expected the bytes of a model"));
        }
        if size_bytes > isize::MAX as usize {
            return Err(error::invalid_argument(format!(
                "size_bytes is {size_bytes}: no memory is that large"
            )));
        }
        // SAFETY: the caller gives `size_bytes` readable bytes, an initialised
        // struct, a writable pointer.
        let (bytes, options, model) = unsafe {
            let bytes = std::slice::from_raw_parts(data.cast::<u8>(), size_bytes);
            (bytes, load_options(options)?, out("model", model)?)
        };
        let loaded = Model::load(Source::Memory(bytes), &options)?;
        model.write(insert(loaded)?);
        Ok(())
    })
}

/// Loads an ONNX model through the host's reader: a pack file, an archive, an
/// encrypted asset. `path` is handed to the reader as it stands; external data
/// is asked for as `path` with its last component replaced.
///
/// Ownership: as `inferno_model_load`; the reader is used during the call only.
/// Threads: any; the reader's callbacks run one at a time, on a thread of
/// Inferno's or the caller's.
/// Errors: INVALID_ARGUMENT, NOT_FOUND and IO (from the reader), INVALID_MODEL,
/// UNSUPPORTED, LIMIT_EXCEEDED, DEADLINE_EXCEEDED, OUT_OF_MEMORY,
/// OUT_OF_BUDGET.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_load_reader(
    reader: *const inferno_reader,
    path: *const c_char,
    options: *const inferno_model_options,
    model: *mut *mut inferno_model,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or an initialised reader, a string, an
        // initialised struct, a writable pointer.
        let (reader, path, options, model) = unsafe {
            let reader = HostReader::new(reader)?;
            (reader, str_arg("path", path)?, load_options(options)?, out("model", model)?)
        };
        let loaded = Model::load(Source::Reader(path.into(), Arc::new(reader)), &options)?;
        model.write(insert(loaded)?);
        Ok(())
    })
}

/// Loads the model built into the library: handwritten digits, 8×8 pixels,
/// input `image` f32 [batch, 64] of values 0 to 16, output `probabilities` f32
/// [batch, 10]. For a first program and for checking an installation.
///
/// Ownership: as `inferno_model_load`.
/// Threads: any.
/// Errors: INVALID_ARGUMENT, OUT_OF_MEMORY, OUT_OF_BUDGET.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_load_default(
    model: *mut *mut inferno_model,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or a writable pointer.
        let model = unsafe { out("model", model) }?;
        let loaded = Model::load_default()?;
        model.write(insert(loaded)?);
        Ok(())
    })
}

/// Ends the caller's use of a model. Its sessions go on: the memory goes with
/// the last of them. NULL is no error.
///
/// Threads: any.
/// Errors: INVALID_HANDLE (freed before, or never a model).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_model_free(model: *mut inferno_model) -> inferno_status {
    guard(|| MODELS.remove(model.cast()))
}

/// Gives the number of inputs. Weights are not inputs.
///
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_input_count(
    model: *const inferno_model,
    count: *mut usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or a writable `count`.
    guard(|| unsafe {
        out("count", count)?.write(resolve(model)?.inputs().len());
        Ok(())
    })
}

/// Gives the number of outputs.
///
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_output_count(
    model: *const inferno_model,
    count: *mut usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or a writable `count`.
    guard(|| unsafe {
        out("count", count)?.write(resolve(model)?.outputs().len());
        Ok(())
    })
}

/// Describes input `index`: name, dtype, dims.
///
/// Ownership: `info` is the caller's; the strings belong to the model and live
/// until it is freed.
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT, NOT_FOUND (no such index).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_input(
    model: *const inferno_model,
    index: usize,
    info: *mut inferno_tensor_info,
) -> inferno_status {
    // SAFETY: the caller gives NULL or a writable `info`.
    guard(|| unsafe {
        let info = out("info", info)?;
        let model = resolve(model)?;
        info.write(describe(crate::model::port("input", model.inputs(), index)?));
        Ok(())
    })
}

/// Describes output `index`: name, dtype, dims.
///
/// Ownership: `info` is the caller's; the strings belong to the model and live
/// until it is freed.
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT, NOT_FOUND (no such index).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_output(
    model: *const inferno_model,
    index: usize,
    info: *mut inferno_tensor_info,
) -> inferno_status {
    // SAFETY: the caller gives NULL or a writable `info`.
    guard(|| unsafe {
        let info = out("info", info)?;
        let model = resolve(model)?;
        info.write(describe(crate::model::port("output", model.outputs(), index)?));
        Ok(())
    })
}

/// Finds an input by name.
///
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT, NOT_FOUND (the text lists the
/// names there are).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_input_index(
    model: *const inferno_model,
    name: *const c_char,
    index: *mut usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or a string and a writable `index`.
    guard(|| unsafe {
        let (name, index) = (str_arg("name", name)?, out("index", index)?);
        index.write(crate::model::find_port("input", resolve(model)?.inputs(), name)?);
        Ok(())
    })
}

/// Finds an output by name.
///
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT, NOT_FOUND (the text lists the
/// names there are).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_output_index(
    model: *const inferno_model,
    name: *const c_char,
    index: *mut usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or a string and a writable `index`.
    guard(|| unsafe {
        let (name, index) = (str_arg("name", name)?, out("index", index)?);
        index.write(crate::model::find_port("output", resolve(model)?.outputs(), name)?);
        Ok(())
    })
}

/// Fills `info` with what the model says of itself.
///
/// Ownership: `info` is the caller's, its `struct_size` set; the strings belong
/// to the model and live until it is freed.
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_get_info(
    model: *const inferno_model,
    info: *mut inferno_model_info,
) -> inferno_status {
    // SAFETY: the caller gives NULL or an `info` of its `struct_size` bytes.
    guard(|| unsafe {
        let model = resolve(model)?;
        let about = model.about();
        let filled = inferno_model_info {
            name: model.name_c().as_ptr(),
            graph_name: about.graph_name.as_ptr(),
            producer_name: about.producer_name.as_ptr(),
            ir_version: about.ir_version,
            opset_version: about.opset_version,
            node_count: about.node_count,
            weight_bytes: about.weight_bytes,
            hash: about.hash,
            ..inferno_model_info::defaults()
        };
        super::options::fill_struct(info, filled)
    })
}

/// Gives the number of metadata entries (ONNX `metadata_props`).
///
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_metadata_count(
    model: *const inferno_model,
    count: *mut usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or a writable `count`.
    guard(|| unsafe {
        out("count", count)?.write(resolve(model)?.about().metadata.len());
        Ok(())
    })
}

/// Gives metadata entry `index`.
///
/// Ownership: both strings belong to the model and live until it is freed.
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT, NOT_FOUND (no such index).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_metadata(
    model: *const inferno_model,
    index: usize,
    key: *mut *const c_char,
    value: *mut *const c_char,
) -> inferno_status {
    // SAFETY: the caller gives NULL or writable pointers.
    guard(|| unsafe {
        let (key, value) = (out("key", key)?, out("value", value)?);
        let model = resolve(model)?;
        let all = &model.about().metadata;
        let (k, v) = all.get(index).ok_or_else(|| {
            error::not_found(format!("metadata entry {index}: the model has {}", all.len()))
        })?;
        key.write(k.as_ptr());
        value.write(v.as_ptr());
        Ok(())
    })
}

/// Gives the value of the metadata entry `key`.
///
/// Ownership: the string belongs to the model and lives until it is freed.
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT, NOT_FOUND (no such key).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_metadata_find(
    model: *const inferno_model,
    key: *const c_char,
    value: *mut *const c_char,
) -> inferno_status {
    // SAFETY: the caller gives NULL or a string and a writable pointer.
    guard(|| unsafe {
        let (key, value) = (str_arg("key", key)?, out("value", value)?);
        let model = resolve(model)?;
        let found = model.about().metadata.iter().find(|(k, _)| k.to_bytes() == key.as_bytes());
        let (_, v) = found
            .ok_or_else(|| error::not_found(format!("no metadata entry is called {key:?}")))?;
        value.write(v.as_ptr());
        Ok(())
    })
}

pub(super) fn resolve(model: *const inferno_model) -> Result<Arc<Model>> {
    MODELS.resolve(model.cast())
}

pub(super) fn free_all() -> usize {
    MODELS.clear()
}

fn insert(model: Arc<Model>) -> Result<*mut inferno_model> {
    handle::insert(&MODELS, model).map(|h| h.cast())
}

/// SAFETY: `options` is NULL or points to an initialised struct.
unsafe fn load_options(options: *const inferno_model_options) -> Result<LoadOptions> {
    // SAFETY: as this function's own contract.
    unsafe {
        let options = opt_struct(options)?;
        let limits = opt_struct(options.limits).map_err(|e| e.at("options.limits"))?;
        let mut load = LoadOptions {
            limits: limits_of(&limits),
            isolation: isolation_of(options.isolation)?,
            budget: Budget {
                soft_bytes: options.soft_budget_bytes,
                hard_bytes: options.hard_budget_bytes,
            },
            ..Default::default()
        };
        if !options.name.is_null() {
            load.name = Some(str_arg("options.name", options.name)?.to_owned());
        }
        if !options.tag.is_null() {
            load.tag = Some(str_arg("options.tag", options.tag)?.to_owned());
        }
        if !options.reader.is_null() {
            load.reader = Some(Arc::new(HostReader::new(options.reader)?));
        }
        if !options.cache_dir.is_null() {
            load.cache = Some(str_arg("options.cache_dir", options.cache_dir)?.to_owned());
        }
        Ok(load)
    }
}

fn describe(port: &PortInfo) -> inferno_tensor_info {
    let mut info = inferno_tensor_info {
        name: port.name_c.as_ptr(),
        dtype: port.dtype.onnx(),
        rank: port.dims.as_ref().map_or(-1, |d| d.len() as i32),
        dims: [0; INFERNO_MAX_RANK],
        symbols: [std::ptr::null(); INFERNO_MAX_RANK],
    };
    for (i, dim) in port.dims.iter().flatten().enumerate().take(INFERNO_MAX_RANK) {
        info.dims[i] = dim.fixed.map_or(-1, |d| d as i64);
        info.symbols[i] = dim.symbol_c.as_ref().map_or(std::ptr::null(), |s| s.as_ptr());
    }
    info
}
