//! Queues: jobs from any thread, joined into batches.

use super::guard::{guard, guard_in_hosts_mode, opt_struct, out, slice_arg};
use super::handle::{self, Kind, Table};
use super::job::{HostNote, JOBS, Place, inferno_job, inferno_job_options};
use super::metrics::{INFERNO_METRICS_STATUSES, switch};
use super::model::{inferno_model, resolve as resolve_model};
use super::options::{InitStruct, fill_struct, init_struct};
use super::status::inferno_status;
use super::tensor::inferno_tensor;
use super::view::check as check_tensor;
use crate::error::{self, Result};
use crate::model::Model;
use crate::queue::{
    self, Door, Health, Input, LEVELS, Lent, Options, Queue, Request, Sessions, Settings,
};
use crate::tensor::DType;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Jobs from any thread, run on sessions of one model, several joined into a batch where
/// the model can be batched: where the first dim of every input and output is the same
/// symbol, which stands nowhere else. An opaque handle; what it points to is nobody's
/// memory.
#[allow(non_camel_case_types)]
pub struct inferno_queue {
    _opaque: [u8; 0],
}

/// Options of a queue. Fill with `inferno_queue_options_init`, then set what you need.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_queue_options {
    /// Set by `inferno_queue_options_init`.
    pub struct_size: usize,
    /// How long a job waits at the most for others to make its batch full, in nanoseconds,
    /// counted from its submission. 0, the default: a batch is what waits when its turn comes.
    /// Windows ends a wait at a tick of its timer: every 15.6 ms, or the host's `timeBeginPeriod`.
    pub max_delay_ns: u64,
    /// How long the breaker stays open, in nanoseconds. Default 1 s.
    pub breaker_open_ns: u64,
    /// After how many nanoseconds a run is tried again; then after twice as many.
    /// Default 1 ms.
    pub retry_delay_ns: u64,
    /// Threads of the queue's own, asleep while there is nothing to do, at most 64. 0, the
    /// default: none. Jobs then run inside `inferno_queue_pump` and `inferno_job_wait`.
    pub workers: u32,
    /// Jobs that there may be: that wait, run, or are answered and not freed. Default
    /// 1,024, at most 65,536.
    pub capacity: u32,
    /// Rows of a batch, at most 4,096. 0, the default: 32 where the model can be batched,
    /// else 1.
    pub max_batch: u32,
    /// Batches that run at once, each on a session of its own, at most 64. 0, the default:
    /// as many as there are workers, or 1. Many threads that wait on a queue without
    /// workers want a few more than there are processors: one that is not scheduled keeps
    /// its place.
    pub concurrency: u32,
    /// So many jobs in a row whose run failed open the breaker: jobs that wait end with
    /// `INFERNO_STATUS_UNAVAILABLE`, and new ones are refused with it; after
    /// `breaker_open_ns` one is let through, whose end closes it or keeps it open. 0, the
    /// default: never.
    pub breaker_failures: u32,
    /// How often a run is tried again that failed for want of memory (OUT_OF_MEMORY,
    /// OUT_OF_BUDGET): what else fails would fail again. Default 0, at most 32.
    pub retries: u32,
    /// Threads of a run, as in `inferno_session_options`.
    pub threads: u32,
    /// 1: the sessions of all batch sizes are made with the queue, where no other dim of
    /// the inputs is open; 0: when they are first needed. Default 1.
    pub is_prepared: i32,
    /// 1: a batch waits shorter than `max_delay_ns` when jobs come so rarely that each could
    /// run on its own, or come no more: the queue learns the usual time between them.
    /// 0: it waits until it is full or its oldest job is that old. Default 1.
    pub is_delay_learned: i32,
}

impl InitStruct for inferno_queue_options {
    const NAME: &'static str = "inferno_queue_options";
    fn defaults() -> Self {
        inferno_queue_options {
            struct_size: size_of::<Self>(),
            max_delay_ns: 0,
            breaker_open_ns: 1_000_000_000,
            retry_delay_ns: 1_000_000,
            workers: 0,
            capacity: 1024,
            max_batch: 0,
            concurrency: 0,
            breaker_failures: 0,
            retries: 0,
            threads: 0,
            is_prepared: 1,
            is_delay_learned: 1,
        }
    }
}

/// How a queue's breaker stands.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_queue_health {
    /// Jobs run.
    Closed = 0,
    /// Jobs are refused: too many failed in a row.
    Open = 1,
    /// One job is let through, to see.
    HalfOpen = 2,
}

/// What a queue counted. Set `struct_size` before the call.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_queue_metrics {
    /// `sizeof(inferno_queue_metrics)`, set by the caller.
    pub struct_size: usize,
    /// Jobs answered, or refused, by status: `jobs_by_status[INFERNO_STATUS_OK]` gave
    /// outputs.
    pub jobs_by_status: [u64; INFERNO_METRICS_STATUSES],
    /// Jobs that wait.
    pub waiting: u64,
    /// Batches that were run.
    pub batches: u64,
    /// Their rows together.
    pub batch_rows: u64,
    /// The rows of half of them are so many or fewer.
    pub batch_rows_p50: u64,
    /// The rows of the largest.
    pub batch_rows_max: u64,
    /// Half of the jobs waited for their batch so many nanoseconds or fewer.
    pub wait_p50_ns: u64,
    /// 99 % of them.
    pub wait_p99_ns: u64,
    /// The longest wait.
    pub wait_max_ns: u64,
    /// Runs that were tried again.
    pub retries: u64,
    /// An `inferno_queue_health`.
    pub health: i32,
}

impl InitStruct for inferno_queue_metrics {
    const NAME: &'static str = "inferno_queue_metrics";
    fn defaults() -> Self {
        inferno_queue_metrics {
            struct_size: size_of::<Self>(),
            jobs_by_status: [0; INFERNO_METRICS_STATUSES],
            waiting: 0,
            batches: 0,
            batch_rows: 0,
            batch_rows_p50: 0,
            batch_rows_max: 0,
            wait_p50_ns: 0,
            wait_p99_ns: 0,
            wait_max_ns: 0,
            retries: 0,
            health: 0,
        }
    }
}

/// A queue, and the slots of its jobs' handles.
pub struct HostQueue {
    queue: Queue<Sessions, HostNote>,
    slots: OnceLock<Box<[u32]>>,
}

pub(super) static QUEUES: Table<HostQueue> = Table::new(Kind::Queue);

impl HostQueue {
    fn new(model: Arc<Model>, given: &inferno_queue_options) -> Result<HostQueue> {
        let threads = usize::try_from(given.threads).unwrap_or(usize::MAX);
        let meter = model.meter()?.queue();
        let sessions = match given.max_batch {
            0 => Sessions::new(model.clone(), 32, threads)
                .or_else(|_| Sessions::new(model, 1, threads))?,
            rows => Sessions::new(model, rows, threads)?,
        };
        if switch("options.is_prepared", given.is_prepared)? {
            sessions.prepare()?;
        }
        let concurrency = match given.concurrency {
            0 => given.workers.max(1),
            some => some,
        };
        let options = Options {
            capacity: given.capacity,
            workers: given.workers,
            settings: Settings {
                max_rows: sessions.most_rows(),
                max_delay_ns: given.max_delay_ns,
                is_delay_learned: switch("options.is_delay_learned", given.is_delay_learned)?,
                concurrency,
            },
            breaker_failures: given.breaker_failures,
            breaker_open_ns: given.breaker_open_ns,
            retries: given.retries,
            retry_delay_ns: given.retry_delay_ns,
        };
        let queue = Queue::new(sessions, options, meter)?;
        let made = HostQueue { queue, slots: OnceLock::new() };
        let mut slots = Vec::with_capacity(given.capacity as usize);
        for job in 0..given.capacity {
            let core = made.queue.core().clone();
            match JOBS.reserve(Arc::new(Place { core, job })) {
                Ok(slot) => slots.push(slot),
                Err(e) => {
                    slots.into_iter().for_each(|slot| JOBS.discard(slot));
                    return Err(e);
                }
            }
        }
        // (Set here only.)
        let _ = made.slots.set(slots.into_boxed_slice());
        Ok(made)
    }

    fn slot(&self, job: u32) -> u32 {
        self.slots.get().map_or(u32::MAX, |slots| slots[job as usize])
    }
}

impl Drop for HostQueue {
    fn drop(&mut self) {
        // (Ended before, unless it was never handed out.)
        let _ = self.queue.end();
        if self.slots.get().is_some() {
            self.queue.retire(|job| JOBS.discard(self.slot(job)));
        }
    }
}

/// What names the job of one submission.
struct Naming<'a> {
    queue: &'a HostQueue,
    handle: Cell<*mut std::ffi::c_void>,
}

impl Door<HostNote> for Naming<'_> {
    fn open(&self, job: u32, note: &mut Option<HostNote>) {
        let handle = JOBS.open(self.queue.slot(job));
        self.handle.set(handle);
        if let Some(note) = note {
            note.set_handle(handle);
        }
    }

    fn shut(&self, _job: u32) {
        let _ = JOBS.remove(self.handle.get());
    }

    fn lost(&self, job: u32) {
        JOBS.discard(self.queue.slot(job));
    }
}

static PRODUCERS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static PRODUCER: Cell<u64> = const { Cell::new(0) };
}

/// The number of the calling thread, as a producer.
fn this_thread() -> u64 {
    if PRODUCER.get() == 0 {
        PRODUCER.set(PRODUCERS.fetch_add(1, Ordering::Relaxed));
    }
    PRODUCER.get()
}

/// Fills `options` with the defaults.
///
/// Ownership: `options` is the caller's; `struct_size` is its `sizeof`, and what
/// this library does not know of it is set to zero.
/// Threads: any.
/// Errors: INVALID_ARGUMENT (NULL, or a size smaller than any release's).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_queue_options_init(
    options: *mut inferno_queue_options,
    struct_size: usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or `struct_size` writable bytes.
    guard(|| unsafe { init_struct(options, struct_size) })
}

/// Makes a queue over a model.
///
/// Ownership: the caller owns `*queue` and ends it with `inferno_queue_free`. The queue
/// keeps the model alive: the handle `model` may be freed first. `options` may be NULL
/// and is not kept.
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT (a number out of its range), UNSUPPORTED
/// (`max_batch` above 1, and the model cannot be batched; string tensors), and those of
/// `inferno_session_new`.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_queue_new(
    model: *const inferno_model,
    options: *const inferno_queue_options,
    queue: *mut *mut inferno_queue,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or an initialised struct and a writable
        // pointer.
        let (queue, options) = unsafe { (out("queue", queue)?, opt_struct(options)?) };
        let made = HostQueue::new(resolve_model(model)?, &options)?;
        queue.write(handle::insert(&QUEUES, Arc::new(made))?.cast());
        Ok(())
    })
}

/// Submits a job: one run over `inputs`, all inputs of the model in their order. A job of
/// a model that can be batched may have several rows, at most `max_batch`.
///
/// It takes no lock that is held while something runs, allocates nothing once jobs of its
/// size were there before, and makes no system call unless somebody has to be woken.
///
/// Ownership: `inputs` and `options` (NULL for the defaults) are the caller's. The memory
/// of the inputs is copied, or, with `is_borrowed`, used until the job is answered. The
/// caller owns `*job` and ends it with `inferno_job_free`; `job` may be NULL when there is
/// a callback, whose job then ends with it.
/// Threads: any, inside callbacks of a queue too.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT, DTYPE_MISMATCH, SHAPE_MISMATCH,
/// SIZE_MISMATCH, UNSUPPORTED (a string tensor), QUEUE_FULL, UNAVAILABLE (shut down, or
/// the breaker is open), OUT_OF_MEMORY, OUT_OF_BUDGET.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_queue_submit(
    queue: *mut inferno_queue,
    inputs: *const inferno_tensor,
    input_count: usize,
    options: *const inferno_job_options,
    job: *mut *mut inferno_job,
) -> inferno_status {
    guard_in_hosts_mode(|| {
        let queue = QUEUES.pin(queue.cast())?;
        // SAFETY: the caller gives NULL or an initialised struct, NULL or a writable
        // pointer, and as many tensors as it says.
        let (options, place, inputs) = unsafe {
            let place = if job.is_null() { None } else { Some(out("job", job)?) };
            (opt_struct(options)?, place, slice_arg("inputs", inputs, input_count)?)
        };
        if place.is_none() && options.callback.is_none() {
            return Err(error::invalid_argument(
                "job and options.callback are NULL: expected one of them, to learn of the job's end",
            ));
        }
        let request = request(&options, place.is_none())?;
        let is_borrowed = switch("options.is_borrowed", options.is_borrowed)?;
        let naming = Naming { queue: &queue, handle: Cell::new(std::ptr::null_mut()) };
        // SAFETY: the caller gives tensors over readable bytes, and lets nobody change
        // those that are borrowed until the job is answered.
        let fill = |to: &mut [Input]| unsafe { fill(to, inputs, is_borrowed) };
        queue.queue.submit(request, fill, &naming)?;
        if let Some(place) = place {
            place.write(naming.handle.get().cast());
        }
        Ok(())
    })
}

fn request(options: &inferno_job_options, is_last: bool) -> Result<Request<HostNote>> {
    let level = u8::try_from(options.priority).ok().filter(|l| usize::from(*l) < LEVELS);
    let level = level.ok_or_else(|| {
        error::invalid_argument(format!(
            "options.priority is {}: expected an inferno_priority, 0 to 2",
            options.priority
        ))
    })?;
    Ok(Request {
        producer: if options.producer == 0 { this_thread() } else { options.producer },
        level,
        timeout_ns: options.timeout_ns,
        note: HostNote::new(options, is_last),
    })
}

/// SAFETY: the tensors are over readable bytes, which nobody changes until the job is
/// answered, if they are borrowed.
unsafe fn fill(to: &mut [Input], from: &[inferno_tensor], is_borrowed: bool) -> Result<()> {
    if from.len() != to.len() {
        return Err(error::invalid_argument(format!(
            "input_count is {}: expected {}, the inputs of the model",
            from.len(),
            to.len()
        )));
    }
    for (index, (to, from)) in to.iter_mut().zip(from).enumerate() {
        // SAFETY: as this function's own contract.
        unsafe {
            let named = |e: error::Error| e.at(format_args!("inputs[{index}]"));
            if !is_borrowed && is_like(from, to) {
                // (As most jobs are: what was found of the one before holds.)
                to.copy_again(slice_arg("data", from.data.cast(), from.size_bytes)?)?;
                continue;
            }
            let t = check_tensor("tensor", from).map_err(named)?;
            if t.dtype == DType::String {
                return Err(named(error::unsupported("a string tensor: expected numbers")));
            }
            let data = t.data.cast_const().cast::<u8>();
            match is_borrowed {
                true => to.lend(t.dtype, &t.shape, Lent::new(data, t.size_bytes)),
                false => to.copy(t.dtype, &t.shape, slice_arg("data", data, t.size_bytes)?)?,
            }
        }
    }
    Ok(())
}

/// Whether a tensor is sound, and of the type and shape of the one that was there before.
fn is_like(tensor: &inferno_tensor, before: &Input) -> bool {
    let (shape, dtype) = (before.shape(), before.dtype());
    tensor.dtype == dtype.onnx()
        && tensor.rank as usize == shape.len()
        && shape.iter().zip(&tensor.dims).all(|(ours, given)| *ours as i64 == *given)
        && tensor.size_bytes == shape.size_bytes(dtype)
        && !tensor.data.is_null()
}

/// Runs what waits on the calling thread, without waiting for company, as long as the
/// next batch is expected to fit into `budget_ns`, by what those before took. The first
/// one runs in any case. 0: until nothing is to be done. Writes to `steps`, which may be
/// NULL, how many batches ran or gave up jobs.
///
/// Ownership: nothing is kept.
/// Threads: any, several at once, besides workers too; not inside a callback of a queue.
/// Callbacks of jobs run here.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT (`steps` is misaligned), BUSY (inside a
/// callback). What jobs fail of they are answered with.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_queue_pump(
    queue: *mut inferno_queue,
    budget_ns: u64,
    steps: *mut u64,
) -> inferno_status {
    guard_in_hosts_mode(|| {
        let queue = QUEUES.pin(queue.cast())?;
        // SAFETY: the caller gives NULL or a writable place.
        let place = if steps.is_null() { None } else { Some(unsafe { out("steps", steps) }?) };
        let done = queue.queue.pump(budget_ns)?;
        if let Some(place) = place {
            place.write(done);
        }
        Ok(())
    })
}

/// What becomes of jobs that wait when a queue is shut down.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_shutdown_mode {
    /// They run.
    Drain = 0,
    /// They end with `INFERNO_STATUS_CANCELLED`.
    Cancel = 1,
}

/// Ends submissions, and waits until every job is answered; without workers the calling
/// thread runs them. May be called again, to cancel what does not drain in time.
///
/// Threads: any, but not inside a callback of a queue.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT (no such mode), BUSY (inside a callback),
/// DEADLINE_EXCEEDED (not all are answered after `timeout_ns`; `UINT64_MAX` is for ever;
/// they still will be).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_queue_shutdown(
    queue: *mut inferno_queue,
    mode: i32,
    timeout_ns: u64,
) -> inferno_status {
    guard_in_hosts_mode(|| {
        let queue = QUEUES.pin(queue.cast())?;
        let is_draining = match mode {
            0 => true,
            1 => false,
            _ => {
                return Err(error::invalid_argument(format!(
                    "mode is {mode}: expected an inferno_shutdown_mode, 0 or 1"
                )));
            }
        };
        outside_callbacks("shutting a queue down")?;
        queue.queue.close(is_draining);
        match queue.queue.finish(timeout_ns)? {
            true => Ok(()),
            false => Err(error::deadline_exceeded("jobs of the queue are not answered yet")),
        }
    })
}

/// Fills `metrics` with what a queue counted; that of all queues of a model's name is in
/// the texts, as `inferno_metrics_copy_openmetrics` gives them.
///
/// Ownership: `metrics` is the caller's, its `struct_size` set.
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_queue_get_metrics(
    queue: *const inferno_queue,
    metrics: *mut inferno_queue_metrics,
) -> inferno_status {
    guard(|| {
        let queue = QUEUES.pin(queue.cast())?;
        let counted = queue.queue.meter().read();
        let (waits, batches) = (&counted.waits, &counted.batches);
        let filled = inferno_queue_metrics {
            jobs_by_status: counted.jobs,
            waiting: counted.waiting,
            batches: batches.count(),
            batch_rows: batches.sum(),
            batch_rows_p50: batches.quantile(0.5),
            batch_rows_max: batches.max(),
            wait_p50_ns: waits.quantile(0.5),
            wait_p99_ns: waits.quantile(0.99),
            wait_max_ns: waits.max(),
            retries: counted.retries,
            health: match queue.queue.health() {
                Health::Closed => inferno_queue_health::Closed,
                Health::Open => inferno_queue_health::Open,
                Health::HalfOpen => inferno_queue_health::HalfOpen,
            } as i32,
            ..inferno_queue_metrics::defaults()
        };
        // SAFETY: the caller gives NULL or `metrics` of its `struct_size` bytes.
        unsafe { fill_struct(metrics, filled) }
    })
}

/// Ends a queue: jobs that wait end with `INFERNO_STATUS_CANCELLED`, those that run are
/// waited for, its threads are joined. Afterwards every job is answered, and no callback
/// runs. Handles of jobs stay valid, and their outputs with them, until they are freed.
/// NULL is no error.
///
/// Threads: any, but not inside a callback of a queue.
/// Errors: INVALID_HANDLE (freed before, or never a queue), BUSY (inside a callback).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_queue_free(queue: *mut inferno_queue) -> inferno_status {
    guard(|| {
        if queue.is_null() {
            return Ok(());
        }
        outside_callbacks("freeing a queue")?;
        let ending = QUEUES.resolve(queue.cast())?;
        ending.queue.end()?;
        QUEUES.remove(queue.cast())
    })
}

pub(super) fn outside_callbacks(what: &str) -> Result<()> {
    if queue::is_telling() {
        return Err(error::busy(format!(
            "{what} from inside a callback of a queue: expected it from elsewhere"
        )));
    }
    Ok(())
}

/// Ends all queues, then the jobs that are left.
pub(super) fn free_all() -> usize {
    QUEUES.visit(|queue| _ = queue.queue.end());
    QUEUES.clear() + super::job::free_all()
}
