//! Inferno through its C ABI, as far as queues need it.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::ptr;

unsafe extern "C" {
    fn clock_gettime(clock: c_int, time: *mut [c_long; 2]) -> c_int;
}

/// Processor time of all threads so far, in nanoseconds.
pub fn processor_ns() -> f64 {
    const CLOCK_PROCESS_CPUTIME_ID: c_int = 2;
    let mut time = [0; 2];
    // SAFETY: seconds and nanoseconds, as on every 64-bit Linux.
    assert_eq!(unsafe { clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
    time[0] as f64 * 1e9 + time[1] as f64
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tensor {
    pub dtype: i32,
    pub rank: i32,
    pub dims: [i64; 8],
    pub data: *mut c_void,
    pub size_bytes: usize,
}

impl Tensor {
    /// f32 of rows and columns.
    pub fn floats(rows: i64, columns: i64, data: *const f32) -> Tensor {
        let size_bytes = (rows * columns * 4) as usize;
        let dims = [rows, columns, 0, 0, 0, 0, 0, 0];
        Tensor { dtype: 1, rank: 2, dims, data: data.cast_mut().cast(), size_bytes }
    }
}

/// `inferno_queue_options`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct QueueOptions {
    struct_size: usize,
    pub max_delay_ns: u64,
    breaker_open_ns: u64,
    retry_delay_ns: u64,
    pub workers: u32,
    pub capacity: u32,
    pub max_batch: u32,
    pub concurrency: u32,
    breaker_failures: u32,
    retries: u32,
    threads: u32,
    is_prepared: i32,
    pub is_delay_learned: i32,
}

pub type Callback = unsafe extern "C" fn(*mut c_void, *mut c_void, c_int);

/// `inferno_job_options`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct JobOptions {
    struct_size: usize,
    pub callback: Option<Callback>,
    pub user_data: *mut c_void,
    timeout_ns: u64,
    producer: u64,
    priority: i32,
    pub is_borrowed: i32,
}

/// `inferno_queue_metrics`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Metrics {
    struct_size: usize,
    jobs: [u64; 32],
    waiting: u64,
    pub batches: u64,
    pub batch_rows: u64,
    rest: [u64; 6],
    health: [i32; 2],
}

macro_rules! functions {
    ($name:ident { $($function:ident: fn($($arg:ty),*) -> $ret:ty,)+ }) => {
        #[derive(Clone, Copy)]
        pub struct $name { $(pub $function: unsafe extern "C" fn($($arg),*) -> $ret,)+ }
        impl $name {
            pub fn load(path: &str) -> $name {
                // SAFETY: the library's own header declares them so.
                unsafe {
                    let library = Box::leak(Box::new(libloading::Library::new(path).expect(path)));
                    $name { $($function: *library.get(stringify!($function).as_bytes())
                        .expect(stringify!($function)),)+ }
                }
            }
        }
    };
}

functions!(Api {
    inferno_last_error: fn() -> *const c_char,
    inferno_model_load: fn(*const c_char, *const c_void, *mut *mut c_void) -> c_int,
    inferno_queue_options_init: fn(*mut QueueOptions, usize) -> c_int,
    inferno_job_options_init: fn(*mut JobOptions, usize) -> c_int,
    inferno_queue_new: fn(*const c_void, *const QueueOptions, *mut *mut c_void) -> c_int,
    inferno_queue_free: fn(*mut c_void) -> c_int,
    inferno_queue_submit: fn(*mut c_void, *const Tensor, usize, *const JobOptions, *mut *mut c_void) -> c_int,
    inferno_queue_get_metrics: fn(*const c_void, *mut Metrics) -> c_int,
    inferno_job_wait: fn(*const c_void, u64) -> c_int,
    inferno_job_output: fn(*const c_void, usize, *mut Tensor) -> c_int,
    inferno_job_free: fn(*mut c_void) -> c_int,
});

/// A handle of Inferno's, which any thread may use.
#[derive(Clone, Copy)]
pub struct Handle(*mut c_void);

// SAFETY: handles are numbers, and the functions that take them may be called anywhere.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// As C has it.
    pub fn get(self) -> *mut c_void {
        self.0
    }
}

impl Api {
    pub fn must(&self, status: c_int) {
        if status != 0 {
            // SAFETY: the text is this thread's until its next call.
            panic!("{}", unsafe { CStr::from_ptr((self.inferno_last_error)()) }.to_string_lossy());
        }
    }

    pub fn model(&self, path: &str) -> Handle {
        let (path, mut model) = (CString::new(path).unwrap(), ptr::null_mut());
        // SAFETY: the pointers are valid for the call; NULL stands for the defaults.
        self.must(unsafe { (self.inferno_model_load)(path.as_ptr(), ptr::null(), &mut model) });
        Handle(model)
    }

    pub fn queue(&self, model: Handle, set: impl FnOnce(&mut QueueOptions)) -> Handle {
        let (mut options, mut queue) = (QueueOptions::default(), ptr::null_mut());
        // SAFETY: as above.
        unsafe {
            self.must((self.inferno_queue_options_init)(&mut options, size_of::<QueueOptions>()));
            set(&mut options);
            self.must((self.inferno_queue_new)(model.0, &options, &mut queue));
        }
        Handle(queue)
    }

    pub fn job_options(&self) -> JobOptions {
        let mut options = JobOptions {
            struct_size: 0,
            callback: None,
            user_data: ptr::null_mut(),
            timeout_ns: 0,
            producer: 0,
            priority: 0,
            is_borrowed: 0,
        };
        // SAFETY: as above.
        self.must(unsafe {
            (self.inferno_job_options_init)(&mut options, size_of::<JobOptions>())
        });
        options
    }

    /// Batches so far, and their rows.
    pub fn rows(&self, queue: Handle) -> (f64, f64) {
        let mut metrics = Metrics { struct_size: size_of::<Metrics>(), ..Metrics::default() };
        // SAFETY: as above.
        self.must(unsafe { (self.inferno_queue_get_metrics)(queue.0, &mut metrics) });
        (metrics.batches as f64, metrics.batch_rows as f64)
    }
}
