//! ONNX Runtime through its C API: inputs and outputs bound once to memory of ours.

use std::ffi::{CStr, c_char};
use std::ptr;

use ort_sys::*;

use super::{Engine, c_path, library, symbol};
use crate::case::{Block, Case, Dtype, Input, Spec};

pub struct Ort {
    api: &'static OrtApi,
    env: *mut OrtEnv,
    session: *mut OrtSession,
    binding: *mut OrtIoBinding,
    values: Vec<*mut OrtValue>,
    // What is bound.
    _inputs: Vec<Block>,
    outputs: Vec<Block>,
}

fn api() -> Result<&'static OrtApi, String> {
    type Base = unsafe extern "C" fn() -> *const OrtApiBase;
    // SAFETY: as the header declares it; the tables live as long as the library.
    unsafe {
        let base: Base = symbol(library("PEERS_ORT")?, "OrtGetApiBase")?;
        ((*base()).GetApi)(ORT_API_VERSION)
            .as_ref()
            .ok_or_else(|| "the C API is of another version".into())
    }
}

fn must(api: &OrtApi, status: OrtStatusPtr) -> Result<(), String> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: a status that is not NULL is an error, and ours to release.
    unsafe {
        let text = CStr::from_ptr((api.GetErrorMessage)(status.0)).to_string_lossy().into_owned();
        (api.ReleaseStatus)(status.0);
        Err(text)
    }
}

impl Ort {
    pub fn open(case: &Case, inputs: &[Input], threads: usize) -> Result<Ort, String> {
        let mut it = Ort {
            api: api()?,
            env: ptr::null_mut(),
            session: ptr::null_mut(),
            binding: ptr::null_mut(),
            values: vec![],
            _inputs: inputs.iter().map(|i| Block::holding(i.data.data())).collect(),
            outputs: case.outputs.iter().map(|o| Block::zeroed(o.bytes())).collect(),
        };
        let api = it.api;
        let path = c_path(&case.path)?;
        // SAFETY: the pointers are valid for the calls, what is bound lives as long as the binding.
        unsafe {
            let quiet = OrtLoggingLevel::ORT_LOGGING_LEVEL_ERROR;
            must(api, (api.CreateEnv)(quiet, c"peers".as_ptr(), &mut it.env))?;
            let mut options = ptr::null_mut();
            must(api, (api.CreateSessionOptions)(&mut options))?;
            must(api, (api.SetIntraOpNumThreads)(options, threads as i32))?;
            must(api, (api.SetInterOpNumThreads)(options, 1))?;
            for (key, value) in [
                (c"session.set_denormal_as_zero", c"1"),
                (c"session.intra_op.allow_spinning", c"0"),
                (c"session.inter_op.allow_spinning", c"0"),
            ] {
                must(api, (api.AddSessionConfigEntry)(options, key.as_ptr(), value.as_ptr()))?;
            }
            let made = (api.CreateSession)(it.env, path.as_ptr(), options, &mut it.session);
            (api.ReleaseSessionOptions)(options);
            must(api, made)?;
            must(api, (api.CreateIoBinding)(it.session, &mut it.binding))?;
            for (i, input) in inputs.iter().enumerate() {
                let data = it._inputs[i].pointer();
                let value = it.value(&input.spec, data)?;
                must(
                    api,
                    (api.BindInput)(it.binding, it.name(api.SessionGetInputName, i)?, value),
                )?;
            }
            for (i, output) in case.outputs.iter().enumerate() {
                let data = it.outputs[i].pointer();
                let value = it.value(output, data)?;
                must(
                    api,
                    (api.BindOutput)(it.binding, it.name(api.SessionGetOutputName, i)?, value),
                )?;
            }
        }
        Ok(it)
    }

    /// A name that the allocator keeps: there are few.
    unsafe fn name(
        &self,
        get: unsafe extern "system" fn(
            *const OrtSession,
            usize,
            *mut OrtAllocator,
            *mut *mut c_char,
        ) -> OrtStatusPtr,
        index: usize,
    ) -> Result<*const c_char, String> {
        let (mut allocator, mut name) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: the session is ours.
        unsafe {
            must(self.api, (self.api.GetAllocatorWithDefaultOptions)(&mut allocator))?;
            must(self.api, get(self.session, index, allocator, &mut name))?;
        }
        Ok(name)
    }

    unsafe fn value(&mut self, spec: &Spec, data: *mut u8) -> Result<*mut OrtValue, String> {
        use ONNXTensorElementDataType::*;
        let (mut memory, mut value) = (ptr::null_mut(), ptr::null_mut());
        let dtype = match spec.dtype {
            Dtype::F32 => ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
            Dtype::I32 => ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
            Dtype::I64 => ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        };
        let (arena, normal) = (OrtAllocatorType::OrtArenaAllocator, OrtMemType::OrtMemTypeDefault);
        // SAFETY: the data is as long as the spec says.
        unsafe {
            must(self.api, (self.api.CreateCpuMemoryInfo)(arena, normal, &mut memory))?;
            let made = (self.api.CreateTensorWithDataAsOrtValue)(
                memory,
                data.cast(),
                spec.bytes(),
                spec.dims.as_ptr(),
                spec.dims.len(),
                dtype,
                &mut value,
            );
            (self.api.ReleaseMemoryInfo)(memory);
            must(self.api, made)?;
        }
        self.values.push(value);
        Ok(value)
    }
}

impl Engine for Ort {
    fn run(&mut self) -> Result<(), String> {
        // SAFETY: the session and what is bound to it are ours.
        must(self.api, unsafe {
            (self.api.RunWithBinding)(self.session, ptr::null(), self.binding)
        })
    }

    fn outputs(&self) -> Result<Vec<Vec<f32>>, String> {
        Ok(self.outputs.iter().map(|o| o.data().to_vec()).collect())
    }
}

impl Drop for Ort {
    fn drop(&mut self) {
        // SAFETY: NULL is no error; the binding goes before what is bound.
        unsafe {
            (self.api.ReleaseIoBinding)(self.binding);
            self.values.iter().for_each(|&v| (self.api.ReleaseValue)(v));
            (self.api.ReleaseSession)(self.session);
            (self.api.ReleaseEnv)(self.env);
        }
    }
}
