//! Thresholds with hysteresis: a value is told when it passes a level, and again
//! when it is back past another one. Between the two nothing is told, so a value
//! that trembles at a level does not ring for ever.

use super::{ModelSnapshot, Snapshot, Totals};
use crate::error::{self, Result};
use std::time::Duration;

/// What a threshold looks at; times and counts are of the last interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Half of the runs were not slower, in nanoseconds.
    RunP50 = 1,
    /// 99 % of the runs were not slower.
    RunP99 = 2,
    /// 99.9 % of the runs were not slower.
    RunP999 = 3,
    /// The slowest run.
    RunMax = 4,
    /// Runs that failed.
    Failures = 5,
    /// Runs a second.
    Rate = 6,
    /// Bytes held at the end of the interval.
    LiveBytes = 7,
}

impl Metric {
    /// The metric with this number.
    pub fn from_i32(number: i32) -> Option<Metric> {
        use Metric::{Failures, LiveBytes, Rate, RunMax, RunP50, RunP99, RunP999};
        let all = [RunP50, RunP99, RunP999, RunMax, Failures, Rate, LiveBytes];
        all.into_iter().find(|metric| *metric as i32 == number)
    }

    /// What it is called in texts.
    pub fn name(self) -> &'static str {
        match self {
            Metric::RunP50 => "run_p50_ns",
            Metric::RunP99 => "run_p99_ns",
            Metric::RunP999 => "run_p999_ns",
            Metric::RunMax => "run_max_ns",
            Metric::Failures => "failures",
            Metric::Rate => "runs_per_second",
            Metric::LiveBytes => "live_bytes",
        }
    }

    /// Its value; none when there was nothing to measure.
    pub(super) fn value(self, lately: &Totals, elapsed: Duration, live_bytes: u64) -> Option<f64> {
        let runs = &lately.runs;
        let time = |quantile| (runs.count() > 0).then(|| runs.quantile(quantile) as f64);
        match self {
            Metric::RunP50 => time(0.5),
            Metric::RunP99 => time(0.99),
            Metric::RunP999 => time(0.999),
            Metric::RunMax => time(1.0),
            Metric::Failures => Some(lately.failed() as f64),
            Metric::Rate => Some(runs.count() as f64 / elapsed.as_secs_f64().max(1e-9)),
            Metric::LiveBytes => Some(live_bytes as f64),
        }
    }
}

/// A value's two levels, and on which side of them it is.
#[derive(Debug, Clone)]
pub struct Threshold {
    /// What it looks at.
    pub metric: Metric,
    /// The models called so; none: all of them.
    pub model: Option<String>,
    raise: f64,
    clear: f64,
    is_raised: bool,
}

/// A threshold was passed, or the value is back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossing {
    /// Which metric.
    pub metric: Metric,
    /// Passed, or back.
    pub is_raised: bool,
    /// The value then.
    pub value: f64,
}

impl Threshold {
    /// Told when the value is `raise` or past it, and when it is `clear` or back of
    /// that. With `raise` above `clear` large values are past it, else small ones.
    pub fn new(metric: Metric, model: Option<String>, raise: f64, clear: f64) -> Result<Threshold> {
        if !raise.is_finite() || !clear.is_finite() || raise == clear {
            return Err(error::invalid_argument(format!(
                "raise is {raise} and clear is {clear}: expected two different numbers"
            )));
        }
        Ok(Threshold { metric, model, raise, clear, is_raised: false })
    }

    /// What is to be told of a value.
    pub fn look(&mut self, value: f64) -> Option<Crossing> {
        let sign = if self.raise > self.clear { 1.0 } else { -1.0 };
        let past = |level: f64| sign * value >= sign * level;
        let before = self.is_raised;
        self.is_raised = if before { sign * value > sign * self.clear } else { past(self.raise) };
        let crossing = Crossing { metric: self.metric, is_raised: self.is_raised, value };
        (self.is_raised != before).then_some(crossing)
    }

    /// The totals and the held bytes that it looks at.
    pub(super) fn of<'a>(&self, snapshot: &'a Snapshot) -> Option<(&'a Totals, u64)> {
        let of_model = |model: &'a ModelSnapshot| (&model.totals, model.memory.live_bytes);
        match &self.model {
            None => Some((&snapshot.totals, snapshot.memory.live_bytes)),
            Some(name) => snapshot.model(name).map(of_model),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trembling_value_is_told_once() {
        let mut high = Threshold::new(Metric::RunP99, None, 100.0, 80.0).unwrap();
        let told: Vec<bool> = [50.0, 99.0, 100.0, 99.0, 101.0, 81.0, 80.0, 99.0, 100.0]
            .into_iter()
            .filter_map(|value| high.look(value))
            .map(|crossing| crossing.is_raised)
            .collect();
        assert_eq!(told, [true, false, true]);
    }

    #[test]
    fn a_rate_can_be_too_low() {
        let mut low = Threshold::new(Metric::Rate, None, 30.0, 50.0).unwrap();
        let told: Vec<(bool, f64)> = [60.0, 31.0, 30.0, 10.0, 49.0, 50.0]
            .into_iter()
            .filter_map(|value| low.look(value))
            .map(|crossing| (crossing.is_raised, crossing.value))
            .collect();
        assert_eq!(told, [(true, 30.0), (false, 50.0)]);
        assert!(Threshold::new(Metric::Rate, None, 1.0, 1.0).is_err());
        assert!(Threshold::new(Metric::Rate, None, f64::NAN, 1.0).is_err());
    }

    #[test]
    fn values_are_of_the_interval() {
        let mut lately = Totals::default();
        let (one, bytes) = (Duration::from_secs(2), 77);
        assert_eq!(Metric::RunP99.value(&lately, one, bytes), None);
        (0..10).for_each(|_| lately.runs.record(20));
        lately.failures[3] = 4;
        let value = |metric: Metric| metric.value(&lately, one, bytes);
        assert_eq!(value(Metric::RunMax), Some(20.0));
        assert_eq!(value(Metric::Rate), Some(5.0));
        assert_eq!(value(Metric::Failures), Some(4.0));
        assert_eq!(value(Metric::LiveBytes), Some(77.0));
        for number in 1..=7 {
            assert_eq!(Metric::from_i32(number).map(|metric| metric as i32), Some(number));
        }
        assert_eq!(Metric::from_i32(8), None);
    }
}
