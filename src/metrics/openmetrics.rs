//! Snapshots as text for Prometheus and its like, by the encoder of the Prometheus
//! project.
//!
//! Times of runs are a histogram with fixed bounds, four to a power of two from
//! 128 ns to 17 s, rather than a summary of quantiles: histograms of many hosts and
//! spells of time can be added up, quantiles cannot. A quantile that is computed
//! from them is exact to its bucket: at most a quarter above the true value, and
//! a fifth below. A model's series carry its name; sessions, which come and go,
//! have none of their own.

use super::histogram::{Histogram, bucket, highest};
use super::{ModelSnapshot, Snapshot, Totals};
use crate::error::{self, Result};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own text format, which file collectors read.
    Prometheus,
}

/// The shortest bound is 2^7 ns, which no run is below, the longest 2^34 ns.
const FIRST_BIT: u32 = 7;
const LAST_BIT: u32 = 34;

impl Format {
    /// The text of a snapshot.
    pub fn text(self, snapshot: &Snapshot) -> String {
        let mut registry = Registry::with_prefix("inferno");
        registry.register_collector(Box::new(Source(Arc::new(snapshot.clone()))));
        let mut to = String::new();
        // (Writing to a `String` does not fail.)
        let _ = match self {
            Format::OpenMetrics => text::encode(&mut to, &registry),
            Format::Prometheus => prometheus_text::encode(&mut to, &registry),
        };
        to
    }

    /// The format with this number.
    pub fn from_i32(number: i32) -> Result<Format> {
        match number {
            0 => Ok(Format::OpenMetrics),
            1 => Ok(Format::Prometheus),
            _ => Err(error::invalid_argument(format!(
                "format is {number}: expected an inferno_metrics_format"
            ))),
        }
    }
}

/// Bounds of buckets, in nanoseconds, each the largest value of a bucket of ours.
fn bounds() -> impl Iterator<Item = u64> {
    let octaves = (FIRST_BIT..LAST_BIT)
        .flat_map(|bit| (0..4).map(move |part| (1u64 << bit) / 4 * (4 + part)));
    octaves.chain([1 << LAST_BIT]).map(|bound| highest(bucket(bound - 1)))
}

#[derive(Debug)]
struct Source(Arc<Snapshot>);

type Labels<'a> = [(&'static str, &'a str); 1];

/// A family of one series a model.
struct Family<'a, 'e> {
    snapshot: &'a Snapshot,
    encoder: DescriptorEncoder<'e>,
}

impl Family<'_, '_> {
    /// Writes one series a model by `write`.
    fn models(
        &mut self,
        (name, help, unit, kind): (&str, &str, Option<Unit>, MetricType),
        write: impl Fn(MetricEncoder<'_>, &ModelSnapshot) -> fmt::Result,
    ) -> fmt::Result {
        if self.snapshot.models.is_empty() {
            return Ok(());
        }
        let mut to = self.encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for model in &self.snapshot.models {
            let labels: Labels<'_> = [("model", &model.name)];
            write(to.encode_family(&labels)?, model)?;
        }
        Ok(())
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        of: impl Fn(&ModelSnapshot) -> u64,
    ) -> fmt::Result {
        self.models((name, help, None, MetricType::Counter), |to, model| count(to, of(model)))
    }

    fn gauge(
        &mut self,
        (name, help, unit): (&str, &str, Option<Unit>),
        of: impl Fn(&ModelSnapshot) -> f64,
    ) -> fmt::Result {
        let kind = (name, help, unit, MetricType::Gauge);
        self.models(kind, |mut to, model| to.encode_gauge(&of(model)))
    }

    /// One series of the whole library.
    fn whole(
        &mut self,
        (name, help, unit): (&str, &str, Option<Unit>),
        kind: MetricType,
        value: u64,
    ) -> fmt::Result {
        let mut to = self.encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
        match kind {
            MetricType::Counter => count(to, value),
            _ => to.encode_gauge(&(value as f64)),
        }
    }
}

fn count(mut to: MetricEncoder<'_>, value: u64) -> fmt::Result {
    to.encode_counter::<NoLabelSet, u64, u64>(&value, None)
}

fn histogram(mut to: MetricEncoder<'_>, runs: &Histogram) -> fmt::Result {
    const SECOND: f64 = 1e9;
    let (mut before, mut buckets) = (0, Vec::new());
    for bound in bounds() {
        let up_to = runs.up_to(bound);
        // (What is at most one bucket of ours is below the next round number.)
        buckets.push(((bound + 1) as f64 / SECOND, up_to - before));
        before = up_to;
    }
    buckets.push((f64::INFINITY, runs.count() - before));
    to.encode_histogram::<NoLabelSet>(runs.sum() as f64 / SECOND, runs.count(), &buckets, None)
}

/// Failures by status, where there were any.
fn failures(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    of: &[(Option<&str>, &[u64])],
) -> fmt::Result {
    let mut to = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (model, by_status) in of {
        for (status, value) in by_status.iter().enumerate().filter(|(_, value)| **value > 0) {
            let status = status.to_string();
            let mut labels = vec![("status", status.as_str())];
            labels.extend(model.map(|model| ("model", model)));
            count(to.encode_family(&labels)?, *value)?;
        }
    }
    Ok(())
}

impl Collector for Source {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let snapshot = &*self.0;
        let mut family = Family { snapshot, encoder };
        of_models(&mut family)?;
        of_queues(&mut family)?;
        of_all(&mut family, snapshot)
    }
}

fn of_models(family: &mut Family<'_, '_>) -> fmt::Result {
    let about = ("model", "The model last loaded under a name.", None, MetricType::Info);
    family.models(about, |mut to, model| {
        let hash: String = model.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let version = model.version.to_string();
        to.encode_info(&[("hash", hash.as_str()), ("version", version.as_str())])
    })?;
    let runs =
        ("run_duration", "Time of successful runs.", Some(Unit::Seconds), MetricType::Histogram);
    family.models(runs, |to, model| histogram(to, &model.totals.runs))?;
    let snapshot = family.snapshot;
    let of: Vec<_> =
        snapshot.models.iter().map(|m| (Some(&*m.name), &m.totals.failures[..])).collect();
    failures(&mut family.encoder, ("run_failures", "Runs that failed, by status."), &of)?;
    family.counter("model_loads", "Loads of a model.", |model| model.loads)?;
    family.counter("programs_compiled", "Programs compiled for new shapes.", |m| m.compiled)?;
    family.counter("programs_reused", "Programs that were found compiled.", |m| m.reused)?;
    let seconds = ("model_load_duration", "Time of the last load.", Some(Unit::Seconds));
    family.gauge(seconds, |model| model.load_ns as f64 / 1e9)?;
    family.gauge(("sessions", "Sessions that are open.", None), |model| model.sessions as f64)?;
    let bytes = ("model_memory", "What models and their sessions hold.", Some(Unit::Bytes));
    family.gauge(bytes, |model| model.memory.live_bytes as f64)
}

/// Of models with queues, now or before.
fn of_queues(family: &mut Family<'_, '_>) -> fmt::Result {
    let snapshot = family.snapshot;
    if snapshot.models.iter().all(|m| m.queues == 0 && m.queued.jobs.iter().all(|n| *n == 0)) {
        return Ok(());
    }
    let waits = (
        "queue_wait",
        "Time that jobs waited for their batch.",
        Some(Unit::Seconds),
        MetricType::Histogram,
    );
    family.models(waits, |to, model| histogram(to, &model.queued.waits))?;
    let jobs: Vec<_> =
        snapshot.models.iter().map(|m| (Some(&*m.name), &m.queued.jobs[..])).collect();
    let told = ("queue_jobs", "Jobs answered or refused, by status; 0 gave outputs.");
    failures(&mut family.encoder, told, &jobs)?;
    family.counter("queue_batches", "Batches run.", |m| m.queued.batches.count())?;
    family
        .counter("queue_batch_rows", "Rows of all batches together.", |m| m.queued.batches.sum())?;
    family.counter("queue_retries", "Runs tried again.", |m| m.queued.retries)?;
    family.gauge(("queues", "Queues that are open.", None), |m| m.queues as f64)?;
    family.gauge(("queue_waiting", "Jobs that wait.", None), |m| m.queued.waiting as f64)?;
    let health = ("queue_breaker", "The breaker: 0 closed, 1 open, 2 half open.", None);
    family.gauge(health, |m| m.queued.health as f64)
}

fn of_all(family: &mut Family<'_, '_>, snapshot: &Snapshot) -> fmt::Result {
    use MetricType::{Counter, Gauge};
    let Totals { runs, .. } = &snapshot.totals;
    let memory = &snapshot.memory;
    let load_failures = ("load_failures", "Loads that failed, by status.");
    failures(&mut family.encoder, load_failures, &[(None, &snapshot.load_failures)])?;
    let all: [(&str, &str, Option<Unit>, MetricType, u64); 13] = [
        (
            "runs",
            "Successful runs of all models, also of those that are gone.",
            None,
            Counter,
            runs.count(),
        ),
        ("loads", "Loads of all models.", None, Counter, snapshot.loads),
        ("models", "Models in use.", None, Gauge, snapshot.in_use()),
        ("memory", "What the library holds.", Some(Unit::Bytes), Gauge, memory.live_bytes),
        ("memory_peak", "The most it held at once.", Some(Unit::Bytes), Gauge, memory.peak_bytes),
        (
            "pool",
            "What the pool may keep resident.",
            Some(Unit::Bytes),
            Gauge,
            memory.committed_bytes,
        ),
        ("pool_hits", "Tensors from the thread's own blocks.", None, Counter, memory.hits),
        ("pool_shared_hits", "Tensors from a shard's blocks.", None, Counter, memory.shared_hits),
        ("pool_misses", "Tensors from memory not used before.", None, Counter, memory.misses),
        ("memory_refused", "Requests of memory not met.", None, Counter, memory.refused),
        ("events", "Events recorded.", None, Counter, snapshot.recorded),
        ("events_dropped", "Events that found no room.", None, Counter, snapshot.dropped),
        (
            "uptime",
            "Time since counting began.",
            Some(Unit::Seconds),
            Gauge,
            snapshot.uptime.as_secs(),
        ),
    ];
    for (name, help, unit, kind, value) in all {
        family.whole((name, help, unit), kind, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::histogram::BUCKETS;
    use super::*;

    fn snapshot() -> Snapshot {
        let mut model = ModelSnapshot { name: "a \"b\"\n".into(), ..ModelSnapshot::default() };
        (1..=1000).for_each(|at| model.totals.runs.record(at * 1000));
        model.totals.failures[3] = 2;
        let mut snapshot = Snapshot { models: vec![model], ..Snapshot::default() };
        snapshot.load_failures[6] = 1;
        snapshot.sum_up();
        snapshot
    }

    #[test]
    fn bounds_end_buckets_and_grow_by_a_quarter_at_the_most() {
        let all: Vec<u64> = bounds().collect();
        assert_eq!((all[0], all[108], all.len()), ((1 << 7) - 1, (1 << 34) - 1, 109));
        assert!(all.iter().all(|bound| bucket(bound + 1) == bucket(*bound) + 1));
        assert!(
            all.windows(2).all(|pair| pair[1] > pair[0] && pair[1] - pair[0] <= pair[0] / 4 + 1)
        );
        assert!(bucket(all[108]) < BUCKETS);
    }

    #[test]
    fn a_text_names_its_units_and_escapes_names() {
        let text = Format::OpenMetrics.text(&snapshot());
        for part in [
            "# TYPE inferno_run_duration_seconds histogram\n# UNIT inferno_run_duration_seconds seconds\n",
            "inferno_run_duration_seconds_count{model=\"a \\\"b\\\"\\n\"} 1000\n",
            "inferno_run_failures_total{status=\"3\",model=\"a \\\"b\\\"\\n\"} 2\n",
            "inferno_load_failures_total{status=\"6\"} 1\n",
            "inferno_runs_total 1000\n",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        let plain = Format::Prometheus.text(&snapshot());
        assert!(plain.contains("# TYPE inferno_runs_total counter\n"), "{plain}");
        assert!(!plain.contains("# EOF"));
    }

    #[test]
    fn buckets_are_of_the_values_below_their_bound() {
        let text = Format::Prometheus.text(&snapshot());
        let of = |bound: &str| {
            let line = text.lines().find(|line| line.contains(&format!("le=\"{bound}\"")));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        };
        assert_eq!(of("+Inf"), Some(1000), "{text}");
        assert_eq!(of("0.000524288"), Some(524), "{text}");
    }
}
