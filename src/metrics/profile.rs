//! Time by step, of the runs of a session.
//!
//! A run that is watched puts its session's [`Recorder`] in this thread's hands, and
//! takes it back when it ends; what computes notes its steps there. A run that is
//! not watched finds nobody, once, and goes on without a look at a clock.

use super::json;
use super::meter::{Begun, SessionMeter};
use super::trace::{Category, Span};
use crate::host::Clock;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Write;
use std::mem::ManuallyDrop;
use std::sync::Arc;

/// Spans of one run that are kept: loops may have any number of steps.
const MOST_SPANS: usize = 1 << 16;

/// What a step is.
#[derive(Debug, Clone)]
pub struct Step {
    /// The operator, and whose output it is.
    pub name: Arc<str>,
    /// A step of ours, or a region as a whole.
    pub is_native: bool,
    /// It is within a region that has an entry of its own.
    pub is_within: bool,
    /// Floating-point operations, where they are counted.
    pub flop: u64,
    /// Bytes read and written, as far as they are known.
    pub bytes: u64,
}

/// A step over the runs of a profile.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What it is.
    pub step: Step,
    /// How often it was done.
    pub count: u64,
    /// How long that took in all, and the once it took longest.
    pub total_ns: u64,
    /// See `total_ns`.
    pub max_ns: u64,
}

/// Notes steps.
#[derive(Debug)]
pub struct Recorder {
    clock: Clock,
    entries: Vec<Entry>,
    /// By the address of what the step is compiled to.
    places: HashMap<usize, usize>,
    /// Of the run under way or the last one: entry, begin, end.
    spans: Vec<(usize, u64, u64)>,
    runs: u64,
    is_profiling: bool,
}

thread_local! {
    static IS_ON: Cell<bool> = const { Cell::new(false) };
    // (Without a destructor it is there during a thread's teardown, too.)
    static RECORDER: RefCell<Option<ManuallyDrop<Box<Recorder>>>> = const { RefCell::new(None) };
}

/// Whether the run of this thread is watched.
#[inline]
pub fn is_on() -> bool {
    IS_ON.get()
}

/// Now, for [`note`].
pub fn now() -> u64 {
    Clock::get().now()
}

/// The step that is compiled at this address began then and has ended.
pub fn note(address: usize, begun: u64, describe: impl FnOnce() -> Step) {
    note_part(address, begun, true, describe);
}

/// As [`note`], of a part of a step, which may be its last one.
pub fn note_part(address: usize, begun: u64, is_last: bool, describe: impl FnOnce() -> Step) {
    RECORDER.with_borrow_mut(|recorder| {
        if let Some(recorder) = recorder {
            let end = recorder.clock.now();
            recorder.note(address, [begun, end], is_last, describe);
        }
    });
}

/// Does what is not of this thread's run.
pub fn aside<T>(work: impl FnOnce() -> T) -> T {
    struct Back(bool, Option<ManuallyDrop<Box<Recorder>>>);
    impl Drop for Back {
        fn drop(&mut self) {
            IS_ON.set(self.0);
            RECORDER.with_borrow_mut(|place| *place = self.1.take());
        }
    }
    let _back = Back(IS_ON.replace(false), RECORDER.with_borrow_mut(Option::take));
    work()
}

impl Recorder {
    fn new() -> Recorder {
        Recorder {
            clock: Clock::get(),
            entries: Vec::new(),
            places: HashMap::new(),
            spans: Vec::new(),
            runs: 0,
            is_profiling: false,
        }
    }

    fn note(
        &mut self,
        address: usize,
        [begun, end]: [u64; 2],
        is_last: bool,
        describe: impl FnOnce() -> Step,
    ) {
        let entries = &mut self.entries;
        let at = *self.places.entry(address).or_insert_with(|| {
            entries.push(Entry { step: describe(), count: 0, total_ns: 0, max_ns: 0 });
            entries.len() - 1
        });
        if self.is_profiling {
            let (entry, ns) = (&mut self.entries[at], self.clock.ns(end.saturating_sub(begun)));
            entry.count += u64::from(is_last);
            entry.total_ns += ns;
            entry.max_ns = entry.max_ns.max(ns);
        }
        if self.spans.len() < MOST_SPANS {
            self.spans.push((at, begun, end));
        }
    }

    /// The steps, in the order of their first turn.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The steps of the last run, in their order: which entry, and nanoseconds.
    pub fn last_run(&self) -> impl Iterator<Item = (usize, u64)> {
        let ns = |begin: u64, end: u64| self.clock.ns(end.saturating_sub(begin));
        self.spans.iter().map(move |(at, begin, end)| (*at, ns(*begin, *end)))
    }
}

/// Runs `run` watched, with the recorder of its session: a run, or a slice of one that
/// may be the first.
pub fn watched<T>(
    meter: &SessionMeter,
    begun: Begun,
    is_first: bool,
    slot: &mut Option<Box<Recorder>>,
    run: impl FnOnce() -> T,
) -> T {
    let mut recorder = slot.take().unwrap_or_else(|| Box::new(Recorder::new()));
    let before = if is_first { 0 } else { recorder.spans.len() };
    recorder.spans.truncate(before);
    recorder.is_profiling = begun.is_profiled();
    recorder.runs += u64::from(recorder.is_profiling && is_first);
    // (Whatever way the run ends.)
    let mut back = Back { slot, meter, begun, before };
    RECORDER.with_borrow_mut(|place| *place = Some(ManuallyDrop::new(recorder)));
    IS_ON.set(true);
    let ran = run();
    back.take();
    ran
}

struct Back<'a> {
    slot: &'a mut Option<Box<Recorder>>,
    meter: &'a SessionMeter,
    begun: Begun,
    /// Spans that are told already.
    before: usize,
}

impl Back<'_> {
    fn take(&mut self) {
        if !IS_ON.replace(false) {
            return;
        }
        let recorder = RECORDER.with_borrow_mut(Option::take).map(ManuallyDrop::into_inner);
        if let (Some(recorder), true) = (&recorder, self.begun.is_traced()) {
            let end = self.meter.clock().now();
            let run = Span::new(self.meter.model_name(), Category::Run, self.begun.at, end);
            let step = |(at, begin, end): &(usize, u64, u64)| {
                Span::new(recorder.entries[*at].step.name.clone(), Category::Step, *begin, *end)
            };
            let steps = recorder.spans[self.before..].iter().map(step);
            self.meter.collector().hub.trace.add(std::iter::once(run).chain(steps));
        }
        *self.slot = recorder;
    }
}

impl Drop for Back<'_> {
    fn drop(&mut self) {
        self.take();
    }
}

/// The steps, by the time they took: those within a region count for the whole only
/// where there is nothing outside.
struct Shares<'a> {
    recorder: &'a Recorder,
    by_time: Vec<&'a Entry>,
    all_ns: u64,
}

impl<'a> Shares<'a> {
    fn of(recorder: &'a Recorder) -> Shares<'a> {
        let mut by_time: Vec<_> = recorder.entries.iter().filter(|e| e.count > 0).collect();
        by_time.sort_by_key(|entry| std::cmp::Reverse(entry.total_ns));
        let is_whole = by_time.iter().all(|entry| entry.step.is_within);
        let counted = by_time.iter().filter(|entry| is_whole || !entry.step.is_within);
        let all_ns = counted.map(|entry| entry.total_ns).sum();
        Shares { recorder, by_time, all_ns }
    }

    fn percent(&self, entry: &Entry) -> f64 {
        100.0 * entry.total_ns as f64 / self.all_ns.max(1) as f64
    }
}

/// A table for people: a line a step, the longest first.
pub fn table(recorder: Option<&Recorder>) -> String {
    let empty = Recorder::new();
    let shares = Shares::of(recorder.unwrap_or(&empty));
    let mut text = format!(
        "{} runs, {:.2} us in steps\n{:>10} {:>10} {:>6} {:>8} {:>8} {:>6}  step\n",
        shares.recorder.runs,
        shares.all_ns as f64 / 1e3,
        "mean us",
        "max us",
        "%",
        "count",
        "GFLOP/s",
        "GB/s"
    );
    for entry in &shares.by_time {
        let ns = entry.total_ns as f64 / entry.count as f64;
        let rate = |amount: u64| match amount {
            0 => "-".to_owned(),
            amount => format!("{:.1}", amount as f64 / ns.max(1.0)),
        };
        let indent = if entry.step.is_within { "  " } else { "" };
        let _ = writeln!(
            text,
            "{:>10.2} {:>10.2} {:>6.1} {:>8} {:>8} {:>6}  {indent}{}",
            ns / 1e3,
            entry.max_ns as f64 / 1e3,
            shares.percent(entry),
            entry.count,
            rate(entry.step.flop),
            rate(entry.step.bytes),
            entry.step.name
        );
    }
    text
}

/// The same as JSON.
pub fn json_text(recorder: Option<&Recorder>) -> String {
    let empty = Recorder::new();
    let shares = Shares::of(recorder.unwrap_or(&empty));
    let (runs, all_ns) = (shares.recorder.runs, shares.all_ns);
    let mut text = format!("{{\"runs\":{runs},\"steps_ns\":{all_ns},\"steps\":[");
    for (at, entry) in shares.by_time.iter().enumerate() {
        text.push_str(if at == 0 { "\n{\"name\":" } else { ",\n{\"name\":" });
        json::string(&mut text, &entry.step.name);
        let Step { is_native, is_within, flop, bytes, .. } = entry.step;
        let _ = write!(
            text,
            ",\"count\":{},\"total_ns\":{},\"max_ns\":{},\"percent\":{:.2},\"is_native\":{is_native},\
             \"is_within\":{is_within},\"flop\":{flop},\"bytes\":{bytes}}}",
            entry.count,
            entry.total_ns,
            entry.max_ns,
            shares.percent(entry)
        );
    }
    text.push_str("\n]}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, is_within: bool) -> Step {
        Step { name: name.into(), is_native: true, is_within, flop: 0, bytes: 0 }
    }

    #[test]
    fn steps_add_up_and_those_within_do_not_count_twice() {
        let mut recorder = Recorder { is_profiling: true, runs: 2, ..Recorder::new() };
        for _ in 0..2 {
            recorder.note(1, [0, 3_000_000], true, || step("product", true));
            recorder.note(2, [0, 4_000_000], true, || step("Region \"a\"", false));
            recorder.note(3, [0, 6_000_000], true, || step("Loop", false));
        }
        let shares = Shares::of(&recorder);
        assert_eq!(shares.by_time[0].step.name.as_ref(), "Loop");
        assert!((shares.percent(shares.by_time[0]) - 60.0).abs() < 0.1);
        assert_eq!(recorder.entries().len(), 3);
        let json = json_text(Some(&recorder));
        assert!(json.contains("\"name\":\"Region \\\"a\\\"\",\"count\":2"), "{json}");
        assert_eq!(table(Some(&recorder)).lines().count(), 5);
        assert_eq!(table(None).lines().count(), 2);
        assert_eq!(json_text(None), "{\"runs\":0,\"steps_ns\":0,\"steps\":[\n]}\n");
    }
}
