//! Subscriptions: reports, thresholds, files and events, on a thread of ours or the
//! host's.

use super::guard::{guard, opt_struct, out, str_arg};
use super::metrics::inferno_metrics;
use super::options::{InitStruct, init_struct};
use super::status::inferno_status;
use crate::error::{self, Result};
use crate::metrics::{self, Crossing, Driver, Event, Format, Metric, Report, Task, Threshold};
use std::ffi::{CString, c_char, c_void};
use std::time::Duration;

/// Who calls subscribers.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_metrics_driver {
    /// A thread of Inferno's, which the first subscription starts. It sleeps until
    /// something is due, and ends with the last subscription or with
    /// `inferno_shutdown`. A child after `fork` does not have it.
    Thread = 0,
    /// The host, inside `inferno_metrics_poll`: no thread is started.
    Host = 1,
}

/// When and for whom a subscriber is called. Fill with
/// `inferno_subscription_options_init`, then set what you need.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_subscription_options {
    /// Set by `inferno_subscription_options_init`.
    pub struct_size: usize,
    /// Handed to the callback unchanged. Default NULL.
    pub user_data: *mut c_void,
    /// Nanoseconds from one call to the next, 1,000,000 at the least. Calls that
    /// were missed are not made up for. Default 1 s.
    pub interval_ns: u64,
    /// An `inferno_metrics_driver`, the same for all subscriptions that there are.
    /// Default `INFERNO_METRICS_DRIVER_THREAD`.
    pub driver: i32,
}

impl InitStruct for inferno_subscription_options {
    const NAME: &'static str = "inferno_subscription_options";
    fn defaults() -> Self {
        inferno_subscription_options {
            struct_size: size_of::<Self>(),
            user_data: std::ptr::null_mut(),
            interval_ns: 1_000_000_000,
            driver: inferno_metrics_driver::Thread as i32,
        }
    }
}

/// Receives a report: what the library counted in all, and in it the runs and
/// failures since the report before. Both are valid during the call only. No callback of metrics
/// may begin or end subscriptions, poll, or start or shut the runtime down: these
/// are answered `INFERNO_STATUS_BUSY` there.
#[allow(non_camel_case_types)]
pub type inferno_metrics_callback = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        now: *const inferno_metrics,
        lately: *const inferno_metrics,
    ),
>;

/// What a threshold looks at; times and counts are of the last interval.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_metric {
    /// Half of the runs took so many nanoseconds or fewer. Intervals without a run
    /// are passed over, here and in the next three.
    RunP50 = 1,
    /// 99 % of the runs.
    RunP99 = 2,
    /// 99.9 % of the runs.
    RunP999 = 3,
    /// The longest run.
    RunMax = 4,
    /// Runs that failed.
    Failures = 5,
    /// Runs a second.
    Rate = 6,
    /// Bytes held at the end of the interval.
    LiveBytes = 7,
}

/// Receives the passing of a threshold (`is_raised` 1) or the way back (0): an
/// `inferno_metric` and its value.
#[allow(non_camel_case_types)]
pub type inferno_threshold_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, metric: i32, is_raised: i32, value: f64)>;

/// The format of a file of metrics.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_metrics_format {
    /// OpenMetrics 1.0.
    Openmetrics = 0,
    /// Prometheus' own, 0.0.4: what a node exporter reads.
    Prometheus = 1,
}

/// What happened.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum inferno_event_kind {
    /// A model was loaded.
    Loaded = 1,
    /// A model was loaded under the name of one in use, with other bytes.
    Swapped = 2,
    /// A model was refused for what it is, or asks for.
    Refused = 3,
    /// A load failed for another reason.
    LoadFailed = 4,
    /// The last use of a model ended.
    Unloaded = 5,
    /// A run failed.
    RunFailed = 6,
    /// A threshold was passed.
    Raised = 7,
    /// What was past a threshold came back.
    Cleared = 8,
    /// Events before this one found no room and were dropped.
    Lost = 9,
}

/// An event. Strings are never NULL, and valid during the callback only.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_event {
    /// The size that this library gives it.
    pub struct_size: usize,
    /// An `inferno_event_kind`.
    pub kind: i32,
    /// An `inferno_status`: why it failed, or OK.
    pub status: i32,
    /// Nanoseconds since 1970.
    pub at_unix_ns: u64,
    /// What the model is called, or "".
    pub model: *const c_char,
    /// `tag` of the model's options, or "".
    pub tag: *const c_char,
    /// Where the model came from, or "".
    pub source: *const c_char,
    /// What the model was allowed, or "".
    pub limits: *const c_char,
    /// What was wrong, or what else is to be said, or "".
    pub detail: *const c_char,
    /// The model's BLAKE3 hash, or NULL.
    pub hash: *const u8,
}

/// Receives an event.
#[allow(non_camel_case_types)]
pub type inferno_event_callback =
    Option<unsafe extern "C" fn(user_data: *mut c_void, event: *const inferno_event)>;

/// What the host wants back, on whatever thread.
pub(crate) struct HostData(*mut c_void);

// SAFETY: the header says that callbacks may run on a thread of Inferno's; it is
// only handed through.
unsafe impl Send for HostData {}

impl HostData {
    fn get(&self) -> *mut c_void {
        self.0
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
pub unsafe extern "C" fn inferno_subscription_options_init(
    options: *mut inferno_subscription_options,
    struct_size: usize,
) -> inferno_status {
    // SAFETY: the caller gives NULL or `struct_size` writable bytes.
    guard(|| unsafe { init_struct(options, struct_size) })
}

/// Calls `callback` at an interval with what the library counted.
///
/// Ownership: `options` may be NULL and is not kept; its `user_data` stays the
/// caller's and must outlive the subscription. `*subscription` is a number for
/// `inferno_metrics_unsubscribe`.
/// Threads: any, but not inside a callback of metrics. The callback runs on the
/// driver's thread, one of a subscription at a time.
/// Errors: INVALID_ARGUMENT (also: another driver drives), BUSY (inside a callback),
/// OUT_OF_MEMORY (no thread).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_metrics_subscribe(
    callback: inferno_metrics_callback,
    options: *const inferno_subscription_options,
    subscription: *mut u64,
) -> inferno_status {
    guard(|| {
        let callback = callback.ok_or_else(no_callback)?;
        let told = move |data: &HostData, report: &Report<'_>| {
            let now = inferno_metrics::of(report.now, &report.now.totals);
            let lately = inferno_metrics::of(report.now, report.lately);
            // SAFETY: the host registered this callback for exactly this call.
            unsafe { callback(data.get(), &raw const now, &raw const lately) }
        };
        // SAFETY: the caller gives NULL or an initialised struct, a writable place.
        unsafe {
            subscribe(options, subscription, |data| {
                Ok(Task::Report(Box::new(move |report| told(&data, report))))
            })
        }
    })
}

/// Calls `callback` when a metric is `raise` or past it, and when it is `clear` or
/// back of that; in between it is not called again, so a value that trembles at a
/// level rings once. With `raise` above `clear` large values are past it, else
/// small ones. Both are audit events, too.
///
/// Ownership: as `inferno_metrics_subscribe`. `model`, the name of the models that
/// are looked at, is not kept; NULL is the library.
/// Threads: as `inferno_metrics_subscribe`.
/// Errors: INVALID_ARGUMENT (no such metric, levels that are equal or no numbers,
/// another driver drives), BUSY, OUT_OF_MEMORY.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_metrics_watch(
    metric: i32,
    model: *const c_char,
    raise: f64,
    clear: f64,
    callback: inferno_threshold_callback,
    options: *const inferno_subscription_options,
    subscription: *mut u64,
) -> inferno_status {
    guard(|| {
        let callback = callback.ok_or_else(no_callback)?;
        let metric = Metric::from_i32(metric).ok_or_else(|| {
            error::invalid_argument(format!("metric is {metric}: expected an inferno_metric"))
        })?;
        let model = match model.is_null() {
            true => None,
            // SAFETY: the caller gives a string.
            false => Some(unsafe { str_arg("model", model) }?.to_owned()),
        };
        let threshold = Threshold::new(metric, model, raise, clear)?;
        let told = move |data: &HostData, crossing: &Crossing| {
            let Crossing { metric, is_raised, value } = *crossing;
            // SAFETY: the host registered this callback for exactly this call.
            unsafe { callback(data.get(), metric as i32, i32::from(is_raised), value) }
        };
        // SAFETY: the caller gives NULL or an initialised struct, a writable place.
        unsafe {
            subscribe(options, subscription, |data| {
                Ok(Task::Watch(threshold, Box::new(move |crossing| told(&data, crossing))))
            })
        }
    })
}

/// Writes all metrics to a file at an interval, for the text-file collector of a
/// node exporter and its like. The first is written before the call returns; each is
/// written beside the file and renamed, so a reader finds a whole one. Later failures
/// are logged as warnings.
///
/// Ownership: as `inferno_metrics_subscribe`; `path` (UTF-8) is not kept. The file
/// stays when the subscription ends.
/// Threads: as `inferno_metrics_subscribe`.
/// Errors: INVALID_ARGUMENT, IO (the file cannot be written), BUSY, OUT_OF_MEMORY.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_metrics_export(
    path: *const c_char,
    format: i32,
    options: *const inferno_subscription_options,
    subscription: *mut u64,
) -> inferno_status {
    guard(|| {
        // SAFETY: the caller gives NULL or a string.
        let path = unsafe { str_arg("path", path) }?.into();
        let format = Format::from_i32(format)?;
        // SAFETY: the caller gives NULL or an initialised struct, a writable place.
        unsafe { subscribe(options, subscription, |_| Ok(Task::Export(path, format))) }
    })
}

/// Calls `callback` with every event from now on, as it is received: loads, swaps,
/// refusals, ends, failed runs, thresholds.
///
/// Ownership: as `inferno_metrics_subscribe`.
/// Threads: as `inferno_metrics_subscribe`. The driver receives at once when it is
/// a thread, and at the next poll when it is the host.
/// Errors: INVALID_ARGUMENT (also: another driver drives), BUSY, OUT_OF_MEMORY.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_audit_subscribe(
    callback: inferno_event_callback,
    options: *const inferno_subscription_options,
    subscription: *mut u64,
) -> inferno_status {
    guard(|| {
        let callback = callback.ok_or_else(no_callback)?;
        let told = move |data: &HostData, event: &Event| {
            with_event(event, |event| {
                // SAFETY: the host registered this callback for exactly this call.
                unsafe { callback(data.get(), event) }
            });
        };
        // SAFETY: the caller gives NULL or an initialised struct, a writable place.
        unsafe {
            subscribe(options, subscription, |data| {
                Ok(Task::Events(Box::new(move |event| told(&data, event))))
            })
        }
    })
}

/// Ends a subscription. When the call returns, no thread is inside its callback.
///
/// Threads: any, but not inside a callback of metrics.
/// Errors: NOT_FOUND (no such subscription, or ended before), BUSY (inside a
/// callback).
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub extern "C" fn inferno_metrics_unsubscribe(subscription: u64) -> inferno_status {
    guard(|| metrics::unsubscribe(subscription))
}

/// Receives what was recorded and calls the host's subscribers that are due, on this
/// thread. Does nothing while a thread of Inferno's drives. `*next_ns` becomes the
/// nanoseconds until something is due again, `UINT64_MAX` when nothing will be.
///
/// Ownership: `next_ns` is the caller's, or NULL.
/// Threads: any, one at a time; not inside a callback of metrics.
/// Errors: BUSY (another thread polls, or inside a callback), INVALID_ARGUMENT.
/// Since: 0.1.0
#[unsafe(no_mangle)]
pub unsafe extern "C" fn inferno_metrics_poll(next_ns: *mut u64) -> inferno_status {
    guard(|| {
        let place = match next_ns.is_null() {
            true => None,
            // SAFETY: the caller gives a writable place.
            false => Some(unsafe { out("next_ns", next_ns) }?),
        };
        let next = metrics::poll()?;
        if let Some(place) = place {
            let ns =
                next.map_or(u64::MAX, |next| u64::try_from(next.as_nanos()).unwrap_or(u64::MAX));
            place.write(ns);
        }
        Ok(())
    })
}

fn no_callback() -> error::Error {
    error::invalid_argument("callback is NULL: expected a function")
}

/// SAFETY: `options` is NULL or an initialised struct, `subscription` NULL or
/// writable.
unsafe fn subscribe(
    options: *const inferno_subscription_options,
    subscription: *mut u64,
    task: impl FnOnce(HostData) -> Result<Task>,
) -> Result<()> {
    // SAFETY: as this function's own contract.
    let (options, place) = unsafe { (opt_struct(options)?, out("subscription", subscription)?) };
    let driver = match options.driver {
        0 => Driver::Thread,
        1 => Driver::Host,
        other => {
            return Err(error::invalid_argument(format!(
                "driver is {other}: expected an inferno_metrics_driver"
            )));
        }
    };
    let interval = Duration::from_nanos(options.interval_ns);
    place.write(metrics::subscribe(task(HostData(options.user_data))?, interval, driver)?);
    Ok(())
}

fn with_event(event: &Event, tell: impl FnOnce(*const inferno_event)) {
    let text = |s: &str| CString::new(s.replace('\0', " ")).unwrap_or_default();
    let texts = [&event.model, &event.tag, &event.source, &event.limits].map(|s| text(s));
    let [model, tag, source, limits] = &texts;
    let detail = text(&event.detail);
    let made = inferno_event {
        struct_size: size_of::<inferno_event>(),
        kind: event.happened as i32,
        status: event.status as i32,
        at_unix_ns: event.at_unix_ns,
        model: model.as_ptr(),
        tag: tag.as_ptr(),
        source: source.as_ptr(),
        limits: limits.as_ptr(),
        detail: detail.as_ptr(),
        hash: event.hash.as_ref().map_or(std::ptr::null(), |hash| hash.as_ptr()),
    };
    tell(&raw const made);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Happened;

    #[test]
    fn kinds_and_formats_have_the_numbers_of_the_header() {
        let kinds = [
            (Happened::Loaded, inferno_event_kind::Loaded),
            (Happened::Swapped, inferno_event_kind::Swapped),
            (Happened::Refused, inferno_event_kind::Refused),
            (Happened::LoadFailed, inferno_event_kind::LoadFailed),
            (Happened::Unloaded, inferno_event_kind::Unloaded),
            (Happened::RunFailed, inferno_event_kind::RunFailed),
            (Happened::Raised, inferno_event_kind::Raised),
            (Happened::Cleared, inferno_event_kind::Cleared),
            (Happened::Lost, inferno_event_kind::Lost),
        ];
        assert!(kinds.into_iter().all(|(ours, theirs)| ours as i32 == theirs as i32));
        let format = |format: inferno_metrics_format| Format::from_i32(format as i32).unwrap();
        assert_eq!(format(inferno_metrics_format::Openmetrics), Format::OpenMetrics);
        assert_eq!(format(inferno_metrics_format::Prometheus), Format::Prometheus);
        let metrics = [
            (Metric::RunP50, inferno_metric::RunP50),
            (Metric::RunP99, inferno_metric::RunP99),
            (Metric::RunP999, inferno_metric::RunP999),
            (Metric::RunMax, inferno_metric::RunMax),
            (Metric::Failures, inferno_metric::Failures),
            (Metric::Rate, inferno_metric::Rate),
            (Metric::LiveBytes, inferno_metric::LiveBytes),
        ];
        assert!(metrics.into_iter().all(|(ours, theirs)| ours as i32 == theirs as i32));
    }
}
