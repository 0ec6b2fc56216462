//! ONNX Runtime from many threads: one session, which they share, and for each thread a binding
//! of its own.

use ort_sys::*;
use std::ffi::{CStr, CString};
use std::ptr;

#[derive(Clone, Copy)]
pub struct Ort {
    api: &'static OrtApi,
    session: *mut OrtSession,
}

// SAFETY: a session may be run from several threads at once.
unsafe impl Send for Ort {}
// SAFETY: as above.
unsafe impl Sync for Ort {}

fn must(api: &OrtApi, status: OrtStatusPtr) {
    if !status.0.is_null() {
        // SAFETY: a status that is not NULL is an error.
        panic!("{}", unsafe { CStr::from_ptr((api.GetErrorMessage)(status.0)) }.to_string_lossy());
    }
}

/// What one thread runs.
pub struct Bound {
    ort: Ort,
    binding: *mut OrtIoBinding,
    input: Box<[f32]>,
    _output: Box<[f32]>,
}

impl Ort {
    pub fn open(library: &str, model: &str) -> Ort {
        // SAFETY: as the header declares it; everything lives as long as the process.
        unsafe {
            let library = Box::leak(Box::new(libloading::Library::new(library).expect(library)));
            let base: libloading::Symbol<unsafe extern "C" fn() -> *const OrtApiBase> =
                library.get(b"OrtGetApiBase").expect("OrtGetApiBase");
            let api = ((*base()).GetApi)(ORT_API_VERSION).as_ref().expect("another version");
            let (mut env, mut options, mut session) =
                (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
            let quiet = OrtLoggingLevel::ORT_LOGGING_LEVEL_ERROR;
            must(api, (api.CreateEnv)(quiet, c"queue".as_ptr(), &mut env));
            must(api, (api.CreateSessionOptions)(&mut options));
            must(api, (api.SetIntraOpNumThreads)(options, 1));
            must(api, (api.SetInterOpNumThreads)(options, 1));
            let denormal = c"session.set_denormal_as_zero";
            must(api, (api.AddSessionConfigEntry)(options, denormal.as_ptr(), c"1".as_ptr()));
            let path = CString::new(model).unwrap();
            must(api, (api.CreateSession)(env, path.as_ptr(), options, &mut session));
            Ort { api, session }
        }
    }

    /// Inputs and outputs of one row, bound once.
    pub fn bind(self, input: (&CStr, usize), output: (&CStr, usize)) -> Bound {
        let mut bound = Bound {
            ort: self,
            binding: ptr::null_mut(),
            input: vec![0.5; input.1].into(),
            _output: vec![0.0; output.1].into(),
        };
        let api = self.api;
        // SAFETY: what is bound lives as long as the binding.
        unsafe {
            must(api, (api.CreateIoBinding)(self.session, &mut bound.binding));
            let data = bound.input.as_ptr().cast_mut();
            must(api, (api.BindInput)(bound.binding, input.0.as_ptr(), self.value(data, input.1)));
            let data = bound._output.as_mut_ptr();
            must(
                api,
                (api.BindOutput)(bound.binding, output.0.as_ptr(), self.value(data, output.1)),
            );
        }
        bound
    }

    unsafe fn value(&self, data: *mut f32, columns: usize) -> *mut OrtValue {
        let (mut memory, mut value) = (ptr::null_mut(), ptr::null_mut());
        let (arena, normal) = (OrtAllocatorType::OrtArenaAllocator, OrtMemType::OrtMemTypeDefault);
        let dims = [1, columns as i64];
        // SAFETY: `data` has as many floats.
        unsafe {
            must(self.api, (self.api.CreateCpuMemoryInfo)(arena, normal, &mut memory));
            must(
                self.api,
                (self.api.CreateTensorWithDataAsOrtValue)(
                    memory,
                    data.cast(),
                    columns * 4,
                    dims.as_ptr(),
                    2,
                    ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                    &mut value,
                ),
            );
        }
        value
    }
}

impl Bound {
    pub fn run(&mut self, observation: &[f32]) {
        self.input.copy_from_slice(observation);
        let Ort { api, session } = self.ort;
        // SAFETY: the session and what is bound to it are ours.
        must(api, unsafe { (api.RunWithBinding)(session, ptr::null(), self.binding) });
    }
}
