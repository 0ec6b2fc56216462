//! The runtime: version, counted init and shutdown.

use super::guard::{guard, opt_struct, str_arg, struct_prefix};
use super::log::{inferno_log_callback, install_sink};
use super::memory::INFERNO_NO_BUDGET;
use super::options::{InitStruct, init_struct};
use super::status::inferno_status;
use crate::error::{self, Result};
use crate::host::{HostJobs, HostMemory};
use crate::kernels::Isa;
use crate::pool::Budget;
use crate::{crew, metrics, model, pool, runtime};
use std::ffi::{c_char, c_void};

/// Options of the runtime. Fill with `inferno_runtime_options_init`, then set
/// what you need.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_runtime_options {
    /// Set by `inferno_runtime_options_init`.
    pub struct_size: usize,
    /// As `inferno_log_set_callback`; NULL = no log.
    pub log_callback: inferno_log_callback,
    /// Handed to `log_callback` unchanged.
    pub log_user_data: *mut c_void,
    /// An `inferno_log_level`: lines above it are not made. Default
    /// `INFERNO_LOG_LEVEL_WARN`.
    pub log_level: i32,
    /// Where Inferno takes its memory from; copied. NULL = the system.
    pub allocator: *const inferno_allocator,
    /// The helper program of isolated loads, a UTF-8 path; copied. NULL = it is
    /// looked for beside the library (or the program it is linked into), and in
    /// `../libexec/inferno` from there.
    pub helper_path: *const c_char,
    /// As `inferno_memory_set_budget`. Default `INFERNO_NO_BUDGET`, both.
    pub soft_budget_bytes: u64,
    /// See `soft_budget_bytes`.
    pub hard_budget_bytes: u64,
    /// How long the pool keeps a piece of memory that nothing uses, in
    /// milliseconds, before it goes back to where it came from. 0 = not at all:
    /// least memory, and system calls; `UINT64_MAX` = until
    /// `inferno_memory_trim`. It is looked at when next such a piece becomes
    /// unused: no thread wakes for it. Default 10,000.
    pub memory_decay_ms: u64,
    /// An `inferno_isa`: Inferno's own kernels use no instructions beyond it, in
    /// programs compiled from now on. The answers are the same to the bit where
    /// Inferno's kernels compute them; operators that it has none for choose
    /// their instructions by the processor. One of another processor family caps
    /// nothing. Default `INFERNO_ISA_BEST`.
    pub isa: i32,
    /// What does the parts of large steps, in place of helper threads of Inferno's;
    /// copied. NULL = those helpers.
    pub jobs: *const inferno_host_jobs,
}

/// Instruction sets of Inferno's own kernels; of those of one processor family, each
/// has what those before it have.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_isa {
    /// The last of the others that the processor has.
    Best = 0,
    /// What every processor has.
    Scalar = 1,
    /// x86-64 with AVX2 and FMA.
    Avx2 = 2,
    /// x86-64 with AVX-512 F.
    Avx512 = 3,
    /// 64-bit ARM with NEON.
    Neon = 4,
}

/// The cap of a number from a host.
fn isa(number: i32) -> Result<Option<Isa>> {
    match number {
        0 => Ok(None),
        1 => Ok(Some(Isa::Scalar)),
        2 => Ok(Some(Isa::Avx2)),
        3 => Ok(Some(Isa::Avx512)),
        4 => Ok(Some(Isa::Neon)),
        _ => Err(error::invalid_argument(format!("isa is {number}: expected an inferno_isa"))),
    }
}

/// The host's own memory. Set `struct_size` to `sizeof(inferno_allocator)` and
/// both callbacks. They may be called from any thread, several at once, must
/// not call back into Inferno, and must stay callable until the process ends:
/// a few blocks (tables made once, a thread's scratch) are given back when
/// their thread ends, or never.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_allocator {
    /// `sizeof(inferno_allocator)`.
    pub struct_size: usize,
    /// Handed to both callbacks unchanged.
    pub user_data: *mut c_void,
    /// Gives `size_bytes` bytes aligned to `alignment`, a power of two, or NULL:
    /// then the call that asked ends with `INFERNO_STATUS_OUT_OF_MEMORY`, and
    /// what it still needs to end well comes from the system.
    pub alloc: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            size_bytes: usize,
            alignment: usize,
        ) -> *mut c_void,
    >,
    /// Takes back what `alloc` gave, with the same size and alignment.
    pub free: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            block: *mut c_void,
            size_bytes: usize,
            alignment: usize,
        ),
    >,
}

impl InitStruct for inferno_allocator {
    const NAME: &'static str = "inferno_allocator";
    fn defaults() -> Self {
        inferno_allocator {
            struct_size: size_of::<Self>(),
            user_data: std::ptr::null_mut(),
            alloc: None,
            free: None,
        }
    }
}

/// A job of Inferno's: the host calls it with the `job_data` that it was given, and a
/// number. It returns when there is nothing left to do, takes no lock and does not wait.
#[allow(non_camel_case_types)]
pub type inferno_job_function = Option<unsafe extern "C" fn(job_data: *mut c_void, index: u32)>;

/// The host's own job system. Set `struct_size` to `sizeof(inferno_host_jobs)` and
/// `run`. A session whose options ask for `threads` then has its large steps done by
/// the host's threads, and no thread of Inferno's is started for it.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_host_jobs {
    /// `sizeof(inferno_host_jobs)`.
    pub struct_size: usize,
    /// Handed to `run` unchanged.
    pub user_data: *mut c_void,
    /// Calls `job(job_data, index)` once for each index below `count`, which is at
    /// most the session's `threads`, and returns, on the thread that called it, when
    /// all those calls have. They may be on any threads, at once, in any order or one
    /// after the other, the calling thread's among them. It is called during a run, from
    /// the thread inside the session, by several at once. While it waits it may do
    /// other work of the host's, runs of other sessions too; the thread has the host's
    /// floating-point mode meanwhile. A run that is itself in a job of the host's calls it
    /// from there. It must not throw, and must stay callable until `inferno_shutdown`.
    ///
    /// Jobs that are left out cost speed alone: the run does their work itself. A
    /// job that is called too often, or after `run` returned, does nothing. When
    /// `run` returns while jobs are still at work, the run waits for them.
    pub run: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            count: u32,
            job: inferno_job_function,
            job_data: *mut c_void,
        ),
    >,
}

impl InitStruct for inferno_host_jobs {
    const NAME: &'static str = "inferno_host_jobs";
    fn defaults() -> Self {
        inferno_host_jobs {
            struct_size: size_of::<Self>(),
            user_data: std::ptr::null_mut(),
            run: None,
        }
    }
}

/// SAFETY: `jobs` is NULL or points to its `struct_size` readable bytes, with a
/// callback that keeps the contract of `inferno_host_jobs`.
unsafe fn host_jobs(jobs: *const inferno_host_jobs) -> Result<Option<HostJobs>> {
    if jobs.is_null() {
        return Ok(None);
    }
    // SAFETY: as this function's own contract.
    let given = unsafe { struct_prefix(jobs) }?;
    let run = given
        .run
        .ok_or_else(|| error::invalid_argument("jobs.run is NULL: expected a function"))?;
    // SAFETY: as this function's own contract.
    Ok(Some(unsafe { HostJobs::new(given.user_data, run) }))
}

/// SAFETY: `allocator` is NULL or points to its `struct_size` readable bytes,
/// with callbacks that keep the contract of `inferno_allocator`.
unsafe fn host_memory(allocator: *const inferno_allocator) -> Result<Option<HostMemory>> {
    if allocator.is_null() {
        return Ok(None);
    }
    // SAFETY: as this function's own contract.
    let given = unsafe { struct_prefix(allocator) }?;
    let missing =
        |what| error::invalid_argument(format!("allocator.{what} is NULL: expected a function"));
    let alloc = given.alloc.ok_or_else(|| missing("alloc"))?;
    let free = given.free.ok_or_else(|| missing("free"))?;
    // SAFETY: as this function's own contract.
    Ok(Some(unsafe { HostMemory::new(given.user_data, alloc, free) }))
}

impl InitStruct for inferno_runtime_options {
    const NAME: &'static str = "inferno_runtime_options";
    fn defaults() -> Self {
        inferno_runtime_options {
            struct_size: size_of::<Self>(),
            log_callback: None,
            log_user_data: std::ptr::null_mut(),
            log_level: super::log::inferno_log_level::Warn as i32,
            allocator: std::ptr::null(),
            helper_path: std::ptr::null(),
            soft_budget_bytes: INFERNO_NO_BUDGET,
            hard_budget_bytes: INFERNO_NO_BUDGET,
            memory_decay_ms: pool::DEFAULT_DECAY,
            isa: inferno_isa::Best as i32,
            jobs: std::ptr::null(),
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
pub unsafe extern "C" fn inferno_runtime_options_init(
    options: *mut inferno_runtime_options,
    struct_size: usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or `struct_size` writable bytes.
    guard(|| unsafe { init_struct(options, struct_size) })
}

/// Starts the runtime, or counts one more user of it. Optional: the first call
/// of any other function starts it with the defaults. Options count only for
/// the call that starts it; later ones are ignored.
///
/// Each successful call is paired with one `inferno_shutdown`.
///
/// Ownership: `options` may be NULL and is not kept.
/// Threads: any.
/// Errors: INVALID_ARGUMENT, BUSY (inside a callback of metrics).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_init(options: *const inferno_runtime_options) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or an initialised struct.
        let options = unsafe { opt_struct(options) }?;
        // SAFETY: the caller gives NULL or an initialised struct.
        let (memory, jobs) = unsafe { (host_memory(options.allocator)?, host_jobs(options.jobs)?) };
        let helper = if options.helper_path.is_null() {
            None
        } else {
            // SAFETY: the caller gives a string.
            Some(unsafe { str_arg("options.helper_path", options.helper_path) }?)
        };
        let cap = isa(options.isa)?;
        outside_metrics("inferno_init")?;
        runtime::init(|| {
            if options.log_callback.is_some() {
                install_sink(options.log_callback, options.log_user_data, options.log_level)?;
            }
            metrics::start()?;
            pool::use_host(memory)?;
            crew::use_jobs(jobs);
            model::use_helper(helper);
            pool::set_decay(options.memory_decay_ms);
            Isa::cap(cap);
            pool::set_budget(Budget {
                soft_bytes: options.soft_budget_bytes,
                hard_bytes: options.hard_budget_bytes,
            });
            Ok(())
        })
    })
}

/// Counts one user of the runtime less. The last one, or the only call when
/// there was no `inferno_init`, frees every queue, job, session and model that is still
/// open (their handles become stale), ends every subscription, joins every thread
/// Inferno owns, forgets what was counted, and takes the log callback, the allocator, the jobs, the helper's path, the budget, the
/// decay and the cap of instructions away: memory comes from the system again. The
/// runtime may be started again afterwards.
///
/// Call it before unloading the library: the shared object is linked
/// `nodelete`, so `dlclose` leaves it mapped, and on Windows the module that has the
/// library in it is pinned, so `FreeLibrary` does.
///
/// Threads: any, but no other thread of this user may be inside a call.
/// Errors: BUSY (inside a callback of metrics or of a queue).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_shutdown() -> inferno_status {
    guard(|| {
        outside_metrics("inferno_shutdown")?;
        super::queue::outside_callbacks("inferno_shutdown")?;
        runtime::shutdown(|| {
            let left =
                super::queue::free_all() + super::session::free_all() + super::model::free_all();
            metrics::shutdown();
            crew::dismiss();
            crew::use_jobs(None);
            super::log::remove_sink();
            model::use_helper(None);
            let _ = pool::use_host(None);
            pool::set_budget(Budget::NONE);
            pool::set_decay(pool::DEFAULT_DECAY);
            Isa::cap(None);
            pool::trim();
            left
        });
        Ok(())
    })
}

/// Callbacks of metrics run on a thread that a shutdown waits for.
fn outside_metrics(what: &str) -> Result<()> {
    if metrics::is_telling() {
        return Err(error::busy(format!(
            "{what} from inside a metrics callback: expected it from elsewhere"
        )));
    }
    Ok(())
}

/// Gives the library's version as text, such as "0.1.0". Never NULL.
///
/// Ownership: a static string.
/// Threads: any.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_version_string() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Gives the library's version as one number: major × 1,000,000 + minor ×
/// 1,000 + patch. Compare it with `INFERNO_VERSION`, the header's own.
///
/// Threads: any.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_version() -> u32 {
    runtime::version_number()
}
