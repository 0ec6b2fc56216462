//! Metrics: what was counted, as structs and as text.

use super::guard::guard;
use super::model::inferno_model;
use super::options::{InitStruct, fill_struct, out_struct};
use super::session::{self, inferno_session};
use super::status::inferno_status;
use super::view::copy_out;
use crate::error::{self, Result};
use crate::metrics::{self, Format, ModelSnapshot, STATUSES, Snapshot, Totals};
use crate::pool::Stats;
use std::ffi::{c_char, c_void};

/// Room for failures by status: more than there are statuses.
pub const INFERNO_METRICS_STATUSES: usize = 32;
const _: () = assert!(INFERNO_METRICS_STATUSES == STATUSES);

/// Room for a name, its NUL among it; longer ones are cut.
pub const INFERNO_METRICS_NAME_BYTES: usize = 64;

/// What was counted: of the library, of the models of one name, or of a session.
/// Set `struct_size` before the call. Times of runs are of successful ones, from
/// when the session was entered until its outputs are there. Percentiles are exact
/// to 1/32, and never too low.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_metrics {
    /// `sizeof(inferno_metrics)`, set by the caller.
    pub struct_size: usize,
    /// What the models are called; empty for the library.
    pub name: [c_char; INFERNO_METRICS_NAME_BYTES],
    /// Of a model: the BLAKE3 hash of the last one loaded under this name.
    pub hash: [u8; 32],
    /// Of a model: the how manieth load of this name that was.
    pub version: u64,
    /// Successful runs.
    pub runs: u64,
    /// Runs that failed.
    pub failures: u64,
    /// The same by status: `failures_by_status[INFERNO_STATUS_BUSY]` and so on.
    pub failures_by_status: [u64; INFERNO_METRICS_STATUSES],
    /// Nanoseconds of all runs together.
    pub run_total_ns: u64,
    /// Half of the runs took so many nanoseconds or fewer.
    pub run_p50_ns: u64,
    /// 90 % of the runs.
    pub run_p90_ns: u64,
    /// 99 % of the runs.
    pub run_p99_ns: u64,
    /// 99.9 % of the runs.
    pub run_p999_ns: u64,
    /// The longest run; of an interval, exact to 1/32.
    pub run_max_ns: u64,
    /// Loads that succeeded, and of the library that failed. Not of a session.
    pub loads: u64,
    /// See `loads`.
    pub load_failures: u64,
    /// Of a model: how long its last load took, in nanoseconds.
    pub load_ns: u64,
    /// Programs compiled for new shapes. Not of a session.
    pub programs_compiled: u64,
    /// Programs that a session found compiled. Not of a session.
    pub programs_reused: u64,
    /// Models in use. Not of a session.
    pub models: u64,
    /// Sessions that are open.
    pub sessions: u64,
    /// Bytes held now: see `inferno_memory_stats`, as for the next six.
    pub live_bytes: u64,
    /// The most that was held at once.
    pub peak_bytes: u64,
    /// Bytes of the pool.
    pub committed_bytes: u64,
    /// Tensors that a thread had a block for.
    pub pool_hits: u64,
    /// Tensors that the thread's part of the pool had a block for.
    pub pool_shared_hits: u64,
    /// Tensors for which new memory was taken.
    pub pool_misses: u64,
    /// How often the system or the host was asked for memory for tensors.
    pub pool_source_calls: u64,
    /// Of the library: events that were recorded.
    pub events_recorded: u64,
    /// Of the library: events that found no room. Those recorded are these and
    /// those counted, and what waits to be received.
    pub events_dropped: u64,
    /// Of the library: events that were received.
    pub events_counted: u64,
    /// Of the library: nanoseconds since it began to count.
    pub uptime_ns: u64,
}

impl InitStruct for inferno_metrics {
    const NAME: &'static str = "inferno_metrics";
    fn defaults() -> Self {
        inferno_metrics {
            struct_size: size_of::<Self>(),
            name: [0; INFERNO_METRICS_NAME_BYTES],
            hash: [0; 32],
            version: 0,
            runs: 0,
            failures: 0,
            failures_by_status: [0; INFERNO_METRICS_STATUSES],
            run_total_ns: 0,
            run_p50_ns: 0,
            run_p90_ns: 0,
            run_p99_ns: 0,
            run_p999_ns: 0,
            run_max_ns: 0,
            loads: 0,
            load_failures: 0,
            load_ns: 0,
            programs_compiled: 0,
            programs_reused: 0,
            models: 0,
            sessions: 0,
            live_bytes: 0,
            peak_bytes: 0,
            committed_bytes: 0,
            pool_hits: 0,
            pool_shared_hits: 0,
            pool_misses: 0,
            pool_source_calls: 0,
            events_recorded: 0,
            events_dropped: 0,
            events_counted: 0,
            uptime_ns: 0,
        }
    }
}

impl inferno_metrics {
    fn with_name(self, name: &str) -> Self {
        let mut end = name.len().min(INFERNO_METRICS_NAME_BYTES - 1);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let mut named = self;
        let bytes = name.as_bytes()[..end].iter();
        named.name.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from as c_char);
        named
    }

    #[inline(never)]
    fn with_totals(self, Totals { runs, failures }: &Totals) -> Self {
        inferno_metrics {
            runs: runs.count(),
            failures: failures.iter().sum(),
            failures_by_status: *failures,
            run_total_ns: runs.sum(),
            run_p50_ns: runs.quantile(0.5),
            run_p90_ns: runs.quantile(0.9),
            run_p99_ns: runs.quantile(0.99),
            run_p999_ns: runs.quantile(0.999),
            run_max_ns: runs.max(),
            ..self
        }
    }

    #[inline(never)]
    fn with_memory(self, stats: &Stats) -> Self {
        inferno_metrics {
            live_bytes: stats.live_bytes,
            peak_bytes: stats.peak_bytes,
            committed_bytes: stats.committed_bytes,
            pool_hits: stats.hits,
            pool_shared_hits: stats.shared_hits,
            pool_misses: stats.misses,
            pool_source_calls: stats.source_calls,
            ..self
        }
    }

    /// Of the library; runs and failures are those of `totals`.
    pub(super) fn of(snapshot: &Snapshot, totals: &Totals) -> Self {
        inferno_metrics {
            loads: snapshot.loads,
            load_failures: snapshot.load_failures.iter().sum(),
            programs_compiled: snapshot.compiled,
            programs_reused: snapshot.reused,
            models: snapshot.in_use(),
            sessions: snapshot.sessions(),
            events_recorded: snapshot.recorded,
            events_dropped: snapshot.dropped,
            events_counted: snapshot.counted,
            uptime_ns: u64::try_from(snapshot.uptime.as_nanos()).unwrap_or(u64::MAX),
            ..Self::defaults()
        }
        .with_totals(totals)
        .with_memory(&snapshot.memory)
    }
}

impl From<&ModelSnapshot> for inferno_metrics {
    fn from(model: &ModelSnapshot) -> Self {
        inferno_metrics {
            hash: model.hash,
            version: model.version,
            loads: model.loads,
            load_ns: model.load_ns,
            programs_compiled: model.compiled,
            programs_reused: model.reused,
            models: model.in_use,
            sessions: model.sessions,
            ..Self::defaults()
        }
        .with_name(&model.name)
        .with_totals(&model.totals)
        .with_memory(&model.memory)
    }
}

/// Fills `metrics` with what the library counted since its first use, or since the
/// last shutdown: over all models and sessions, those that are gone among them.
///
/// Ownership: `metrics` is the caller's, its `struct_size` set.
/// Threads: any, inside callbacks of metrics too.
/// Errors: INVALID_ARGUMENT,
/// OUT_OF_MEMORY.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_metrics_snapshot(metrics: *mut inferno_metrics) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or `metrics` of its `struct_size` bytes.
        unsafe { out_struct(metrics) }?;
        let snapshot = metrics::collector()?.snapshot();
        // SAFETY: as above.
        unsafe { fill_struct(metrics, inferno_metrics::of(&snapshot, &snapshot.totals)) }
    })
}

/// Fills `metrics` with what the models of one name counted, which share what is
/// counted: the `index`-th name in use. Between two calls models may come and go.
///
/// Ownership: `metrics` is the caller's, its `struct_size` set.
/// Threads: any, inside callbacks of metrics too.
/// Errors: INVALID_ARGUMENT, NOT_FOUND (there are not so many names),
/// OUT_OF_MEMORY.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_metrics_model(
    index: usize,
    metrics: *mut inferno_metrics,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or `metrics` of its `struct_size` bytes.
        unsafe { out_struct(metrics) }?;
        let snapshot = metrics::collector()?.snapshot();
        let model = snapshot.models.get(index).ok_or_else(|| {
            error::not_found(format!("model {index}: {} names are in use", snapshot.models.len()))
        })?;
        // SAFETY: as above.
        unsafe { fill_struct(metrics, model.into()) }
    })
}

/// Fills `metrics` with what the models of this one's name counted.
///
/// Ownership: `metrics` is the caller's, its `struct_size` set.
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_model_get_metrics(
    model: *const inferno_model,
    metrics: *mut inferno_metrics,
) -> inferno_status {
    guard(|| {
        let model = super::model::resolve(model)?;
        // SAFETY: the caller gives NULL or `metrics` of its `struct_size` bytes.
        unsafe { fill_struct(metrics, (&model.meter()?.read()).into()) }
    })
}

/// Fills `metrics` with what a session counted; another thread may be inside it.
///
/// Ownership: `metrics` is the caller's, its `struct_size` set.
/// Threads: any.
/// Errors: INVALID_HANDLE, INVALID_ARGUMENT.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_session_get_metrics(
    session: *const inferno_session,
    metrics: *mut inferno_metrics,
) -> inferno_status {
    guard(|| {
        let session = session::resolve(session)?;
        let filled = inferno_metrics { sessions: 1, ..inferno_metrics::defaults() }
            .with_name(&session.meter().model_name())
            .with_totals(&session.meter().read())
            .with_memory(&session.account().stats());
        // SAFETY: the caller gives NULL or `metrics` of its `struct_size` bytes.
        unsafe { fill_struct(metrics, filled) }
    })
}

/// Counts runs (1, from the start on), or not (0), from the next one on. Counting
/// costs a run some nanoseconds.
///
/// Threads: any.
/// Errors: INVALID_ARGUMENT (neither 0 nor 1).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_metrics_set_counting(is_on: i32) -> inferno_status {
    guard(|| {
        metrics::set_counting(switch("is_on", is_on)?);
        Ok(())
    })
}

/// A switch of a host's.
pub(super) fn switch(what: &str, value: i32) -> Result<bool> {
    match value {
        0 | 1 => Ok(value == 1),
        _ => Err(error::invalid_argument(format!("{what} is {value}: expected 0 or 1"))),
    }
}

/// Copies all metrics as OpenMetrics 1.0 text into `buffer`, with a NUL. Serve it as
/// `application/openmetrics-text; version=1.0.0; charset=utf-8`. Times of runs are a
/// histogram with four buckets to a power of two, from 128 ns to 17 s.
///
/// Ownership: `buffer` is the caller's. When it is NULL and `size_bytes` 0, only
/// `needed_bytes` is written; the text may grow until the next call.
/// Threads: any.
/// Errors: INVALID_ARGUMENT, SIZE_MISMATCH (the buffer is too small: nothing is
/// copied, `needed_bytes` is set),
/// OUT_OF_MEMORY.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_metrics_copy_openmetrics(
    buffer: *mut c_char,
    size_bytes: usize,
    needed_bytes: *mut usize,
) -> inferno_status {
    // SAFETY: the caller gives `size_bytes` writable bytes and NULL or a writable
    // `needed_bytes`.
    guard(|| unsafe { copy_text(buffer, size_bytes, needed_bytes, || text(Format::OpenMetrics)) })
}

/// Copies all metrics as text in Prometheus' own format (version 0.0.4), which
/// collectors of files read: as `inferno_metrics_copy_openmetrics` otherwise.
///
/// Ownership: `buffer` is the caller's.
/// Threads: any.
/// Errors: INVALID_ARGUMENT, SIZE_MISMATCH (the buffer is too small: nothing is
/// copied, `needed_bytes` is set),
/// OUT_OF_MEMORY.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_metrics_copy_prometheus(
    buffer: *mut c_char,
    size_bytes: usize,
    needed_bytes: *mut usize,
) -> inferno_status {
    // SAFETY: the caller gives `size_bytes` writable bytes and NULL or a writable
    // `needed_bytes`.
    guard(|| unsafe { copy_text(buffer, size_bytes, needed_bytes, || text(Format::Prometheus)) })
}

fn text(format: Format) -> Result<String> {
    Ok(format.text(&metrics::collector()?.snapshot()))
}

/// Copies a text with a NUL into the caller's buffer, all or nothing. One without a
/// buffer and without a place for the size asks for nothing.
///
/// SAFETY: `buffer` is NULL or has `size_bytes` writable bytes; `needed` is NULL or
/// writable.
pub(super) unsafe fn copy_text(
    buffer: *mut c_char,
    size_bytes: usize,
    needed: *mut usize,
    make: impl FnOnce() -> Result<String>,
) -> Result<()> {
    if buffer.is_null() && (size_bytes > 0 || needed.is_null()) {
        return Err(error::invalid_argument(
            "buffer is NULL: expected a buffer, or size_bytes 0 and a needed_bytes to ask for its size",
        ));
    }
    let mut text = make()?.into_bytes();
    text.retain(|byte| *byte != 0);
    text.push(0);
    // SAFETY: as this function's own contract.
    unsafe { copy_out(&text, buffer.cast::<c_void>(), size_bytes, needed) }
}
