//! OpenVINO through its C API: f32, tensors of ours bound once.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::{ptr, slice};

use super::{Engine, c_path, functions};
use crate::case::{Block, Case, Dtype, Input};

#[repr(C)]
#[derive(Clone, Copy)]
struct Shape {
    rank: i64,
    dims: *mut i64,
}

#[repr(C)]
struct Property {
    key: *const c_char,
    value: *const c_void,
}

functions!(Api {
    ov_get_last_err_msg: fn() -> *const c_char,
    ov_core_create: fn(*mut *mut c_void) -> c_int,
    ov_core_free: fn(*mut c_void) -> (),
    ov_core_read_model: fn(*const c_void, *const c_char, *const c_char, *mut *mut c_void) -> c_int,
    ov_model_free: fn(*mut c_void) -> (),
    ov_core_compile_model_props:
        fn(*const c_void, *const c_void, *const c_char, usize, *const Property, *mut *mut c_void) -> c_int,
    ov_compiled_model_free: fn(*mut c_void) -> (),
    ov_compiled_model_create_infer_request: fn(*const c_void, *mut *mut c_void) -> c_int,
    ov_infer_request_free: fn(*mut c_void) -> (),
    ov_infer_request_infer: fn(*mut c_void) -> c_int,
    ov_infer_request_set_input_tensor_by_index: fn(*mut c_void, usize, *const c_void) -> c_int,
    ov_infer_request_get_output_tensor_by_index: fn(*const c_void, usize, *mut *mut c_void) -> c_int,
    ov_tensor_create_from_host_ptr: fn(c_int, Shape, *mut c_void, *mut *mut c_void) -> c_int,
    ov_tensor_free: fn(*mut c_void) -> (),
    ov_tensor_data: fn(*const c_void, *mut *mut c_void) -> c_int,
    ov_tensor_get_byte_size: fn(*const c_void, *mut usize) -> c_int,
});

pub struct OpenVino {
    api: &'static Api,
    core: *mut c_void,
    compiled: *mut c_void,
    request: *mut c_void,
    tensors: Vec<*mut c_void>,
    outputs: Vec<*mut c_void>,
    _inputs: Vec<Block>,
}

impl Api {
    fn must(&self, status: c_int) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the text is the library's.
        unsafe {
            let text = (self.ov_get_last_err_msg)();
            let text = if text.is_null() { c"no text" } else { CStr::from_ptr(text) };
            Err(format!("status {status}: {}", text.to_string_lossy()))
        }
    }
}

impl OpenVino {
    pub fn open(case: &Case, inputs: &[Input], threads: usize) -> Result<OpenVino, String> {
        let none = ptr::null_mut();
        let mut it = OpenVino {
            api: Api::load("PEERS_OPENVINO")?,
            core: none,
            compiled: none,
            request: none,
            tensors: vec![],
            outputs: vec![none; case.outputs.len()],
            _inputs: inputs.iter().map(|i| Block::holding(i.data.data())).collect(),
        };
        let api = it.api;
        let path = c_path(&case.path)?;
        let count = CString::new(threads.to_string()).map_err(|e| e.to_string())?;
        let properties = [
            (c"PERFORMANCE_HINT", c"LATENCY"),
            (c"INFERENCE_PRECISION_HINT", c"f32"),
            (c"INFERENCE_NUM_THREADS", count.as_c_str()),
            (c"NUM_STREAMS", c"1"),
            (c"ENABLE_CPU_PINNING", c"NO"),
            (c"CPU_DENORMALS_OPTIMIZATION", c"YES"),
        ]
        .map(|(key, value)| Property { key: key.as_ptr(), value: value.as_ptr().cast() });
        // SAFETY: the pointers are valid for the calls, what is bound lives as long as the request.
        unsafe {
            api.must((api.ov_core_create)(&mut it.core))?;
            let mut model = ptr::null_mut();
            api.must((api.ov_core_read_model)(it.core, path.as_ptr(), ptr::null(), &mut model))?;
            let compiled = (api.ov_core_compile_model_props)(
                it.core,
                model,
                c"CPU".as_ptr(),
                properties.len(),
                properties.as_ptr(),
                &mut it.compiled,
            );
            (api.ov_model_free)(model);
            api.must(compiled)?;
            api.must((api.ov_compiled_model_create_infer_request)(it.compiled, &mut it.request))?;
            for (i, input) in inputs.iter().enumerate() {
                let mut dims = input.spec.dims.clone();
                let shape = Shape { rank: dims.len() as i64, dims: dims.as_mut_ptr() };
                // As the header counts element types.
                let dtype = match input.spec.dtype {
                    Dtype::F32 => 4,
                    Dtype::I32 => 9,
                    Dtype::I64 => 10,
                };
                let data = it._inputs[i].pointer().cast();
                let mut tensor = ptr::null_mut();
                api.must((api.ov_tensor_create_from_host_ptr)(dtype, shape, data, &mut tensor))?;
                it.tensors.push(tensor);
                api.must((api.ov_infer_request_set_input_tensor_by_index)(it.request, i, tensor))?;
            }
            for i in 0..it.outputs.len() {
                let request = it.request;
                api.must((api.ov_infer_request_get_output_tensor_by_index)(
                    request,
                    i,
                    &mut it.outputs[i],
                ))?;
            }
        }
        Ok(it)
    }
}

impl Engine for OpenVino {
    fn run(&mut self) -> Result<(), String> {
        // SAFETY: the request and what is bound to it are ours.
        self.api.must(unsafe { (self.api.ov_infer_request_infer)(self.request) })
    }

    fn outputs(&self) -> Result<Vec<Vec<f32>>, String> {
        let read = |&tensor: &*mut c_void| {
            let (mut data, mut bytes) = (ptr::null_mut(), 0);
            // SAFETY: the tensor is the request's, and every output of the list is f32.
            unsafe {
                self.api.must((self.api.ov_tensor_get_byte_size)(tensor, &mut bytes))?;
                self.api.must((self.api.ov_tensor_data)(tensor, &mut data))?;
                Ok(slice::from_raw_parts(data.cast::<f32>(), bytes / 4).to_vec())
            }
        };
        self.outputs.iter().map(read).collect()
    }
}

impl Drop for OpenVino {
    fn drop(&mut self) {
        // SAFETY: NULL is no error; the request goes before what is bound.
        unsafe {
            self.outputs.iter().chain(&self.tensors).for_each(|&t| (self.api.ov_tensor_free)(t));
            (self.api.ov_infer_request_free)(self.request);
            (self.api.ov_compiled_model_free)(self.compiled);
            (self.api.ov_core_free)(self.core);
        }
    }
}
