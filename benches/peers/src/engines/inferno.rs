//! Inferno through its C ABI: inputs are written once into the session's own, outputs are views.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::{ptr, slice};

use super::{Engine, c_path, functions};
use crate::case::{Case, Input};

#[repr(C)]
#[derive(Clone, Copy)]
struct Tensor {
    dtype: i32,
    rank: i32,
    dims: [i64; 8],
    data: *mut c_void,
    size_bytes: usize,
}

impl Tensor {
    const NONE: Tensor =
        Tensor { dtype: 0, rank: 0, dims: [0; 8], data: ptr::null_mut(), size_bytes: 0 };
}

/// Room for `inferno_session_options`: pointers and counts, two budgets, the threads.
#[repr(C)]
struct Options {
    struct_size: usize,
    arrays: [usize; 8],
    budgets: [u64; 2],
    threads: u32,
}

/// `inferno_model_options`, for a cache; what follows is at its defaults.
#[repr(C)]
struct ModelOptions {
    struct_size: usize,
    pointers: [usize; 3],
    isolation: i32,
    budgets: [u64; 2],
    cache_dir: *const c_char,
    rest: [usize; 16],
}

functions!(Api {
    inferno_last_error: fn() -> *const c_char,
    inferno_session_options_init: fn(*mut Options, usize) -> c_int,
    inferno_model_options_init: fn(*mut ModelOptions, usize) -> c_int,
    inferno_model_load: fn(*const c_char, *const c_void, *mut *mut c_void) -> c_int,
    inferno_model_free: fn(*mut c_void) -> (),
    inferno_session_new: fn(*const c_void, *const c_void, *mut *mut c_void) -> c_int,
    inferno_session_free: fn(*mut c_void) -> (),
    inferno_session_prepare: fn(*mut c_void) -> c_int,
    inferno_session_input: fn(*mut c_void, usize, *mut Tensor) -> c_int,
    inferno_session_run: fn(*mut c_void, *const c_void) -> c_int,
    inferno_session_output: fn(*mut c_void, usize, *mut Tensor) -> c_int,
});

pub struct Inferno {
    api: &'static Api,
    model: *mut c_void,
    session: *mut c_void,
    outputs: Vec<Tensor>,
}

impl Api {
    fn must(&self, status: c_int) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the text is this thread's until its next call.
        Err(unsafe { CStr::from_ptr((self.inferno_last_error)()) }.to_string_lossy().into_owned())
    }
}

impl Inferno {
    /// With `cache`, what is compiled is kept in that folder.
    pub fn open(
        case: &Case,
        inputs: &[Input],
        threads: usize,
        cache: Option<&CStr>,
    ) -> Result<Inferno, String> {
        let outputs = vec![Tensor::NONE; case.outputs.len()];
        let mut it = Inferno {
            api: Api::load("PEERS_INFERNO")?,
            model: ptr::null_mut(),
            session: ptr::null_mut(),
            outputs,
        };
        let api = it.api;
        let path = c_path(&case.path)?;
        // SAFETY: the pointers are valid for the calls, and NULL stands for the defaults.
        unsafe {
            let mut options = ModelOptions {
                struct_size: 0,
                pointers: [0; 3],
                isolation: 0,
                budgets: [0; 2],
                cache_dir: ptr::null(),
                rest: [0; 16],
            };
            api.must((api.inferno_model_options_init)(&mut options, size_of::<ModelOptions>()))?;
            options.cache_dir = cache.map_or(ptr::null(), CStr::as_ptr);
            let options = (&raw const options).cast();
            api.must((api.inferno_model_load)(path.as_ptr(), options, &mut it.model))?;
            let mut options = Options { struct_size: 0, arrays: [0; 8], budgets: [0; 2], threads: 0 };
            api.must((api.inferno_session_options_init)(&mut options, size_of::<Options>()))?;
            options.threads = u32::try_from(threads).map_err(|e| e.to_string())?;
            let given = (&raw const options).cast();
            api.must((api.inferno_session_new)(it.model, given, &mut it.session))?;
            api.must((api.inferno_session_prepare)(it.session))?;
            for (i, input) in inputs.iter().enumerate() {
                let mut view = Tensor::NONE;
                api.must((api.inferno_session_input)(it.session, i, &mut view))?;
                let data = input.data.data::<u8>();
                if view.size_bytes != data.len() {
                    return Err(format!(
                        "input {i} has {} bytes, expected {}",
                        view.size_bytes,
                        data.len()
                    ));
                }
                view.data.cast::<u8>().copy_from_nonoverlapping(data.as_ptr(), data.len());
            }
        }
        Ok(it)
    }
}

impl Engine for Inferno {
    fn run(&mut self) -> Result<(), String> {
        // SAFETY: the session is ours.
        self.api.must(unsafe { (self.api.inferno_session_run)(self.session, ptr::null()) })?;
        for i in 0..self.outputs.len() {
            // SAFETY: as above.
            self.api.must(unsafe {
                (self.api.inferno_session_output)(self.session, i, &mut self.outputs[i])
            })?;
        }
        Ok(())
    }

    fn outputs(&self) -> Result<Vec<Vec<f32>>, String> {
        // SAFETY: a view is valid until the next run, and every output of the list is f32.
        let copy =
            |t: &Tensor| unsafe { slice::from_raw_parts(t.data.cast(), t.size_bytes / 4) }.to_vec();
        Ok(self.outputs.iter().map(copy).collect())
    }
}

impl Drop for Inferno {
    fn drop(&mut self) {
        // SAFETY: NULL is no error.
        unsafe {
            (self.api.inferno_session_free)(self.session);
            (self.api.inferno_model_free)(self.model);
        }
    }
}
