//! Spans over time, as trace viewers show them: loads, compilations, runs, steps.
//!
//! The latest spans are kept, as many as fit into the memory that was allowed, which
//! is taken when tracing begins. While it is off a run looks at one word that it
//! looks at anyway. While it is on, a run takes the trace's lock once, at its end.

use super::json;
use super::switches;
use crate::error::{self, Result};
use crate::host::Clock;
use crate::sync::Mutex;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What is traced when the caller does not say how much.
const DEFAULT_BYTES: usize = 4 << 20;
/// Threads whose names are kept.
const MOST_THREADS: usize = 1024;

/// What a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Category {
    Load,
    Compile,
    Run,
    Step,
    /// Of a job, in a queue.
    Wait,
}

impl Category {
    fn name(self) -> &'static str {
        match self {
            Category::Load => "load",
            Category::Compile => "compile",
            Category::Run => "run",
            Category::Step => "step",
            Category::Wait => "wait",
        }
    }
}

/// Something that began and ended, on a thread. Times in ticks.
#[derive(Debug, Clone)]
pub(super) struct Span {
    name: Arc<str>,
    category: Category,
    thread: u32,
    begin: u64,
    end: u64,
}

impl Span {
    /// A span of this thread's.
    pub(super) fn new(name: Arc<str>, category: Category, begin: u64, end: u64) -> Span {
        Span { name, category, thread: number(), begin, end }
    }
}

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(0) };
}

static NUMBERS: AtomicU32 = AtomicU32::new(0);

/// This thread's number in traces.
fn number() -> u32 {
    if NUMBER.get() == 0 {
        NUMBER.set(NUMBERS.fetch_add(1, Relaxed) + 1);
    }
    NUMBER.get()
}

/// The latest spans.
#[derive(Default)]
pub(crate) struct Trace {
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    spans: VecDeque<Span>,
    capacity: usize,
    overwritten: u64,
    threads: Vec<(u32, String)>,
}

impl Trace {
    /// Begins anew, with room for so many bytes of spans; 0 for the default.
    pub(super) fn start(&self, bytes: usize) -> Result<()> {
        let bytes = if bytes == 0 { DEFAULT_BYTES } else { bytes };
        let capacity = bytes / size_of::<Span>();
        if capacity < 16 {
            return Err(error::invalid_argument(format!(
                "size_bytes is {bytes}: expected at least {}, or 0",
                16 * size_of::<Span>()
            )));
        }
        let mut spans = VecDeque::new();
        spans
            .try_reserve_exact(capacity)
            .map_err(|_| error::out_of_memory(format!("no {bytes} bytes for a trace")))?;
        let mut inside = self.inside.lock();
        *inside = Inside { spans, capacity, ..Inside::default() };
        switches::set(switches::TRACE, true);
        Ok(())
    }

    /// Adds spans of this thread; the oldest go when there is no room.
    pub(super) fn add(&self, spans: impl IntoIterator<Item = Span>) {
        let thread = number();
        let mut inside = self.inside.lock();
        if inside.capacity == 0 {
            return;
        }
        if inside.threads.len() < MOST_THREADS && !inside.threads.iter().any(|t| t.0 == thread) {
            let name = std::thread::current().name().map(str::to_owned);
            inside.threads.push((thread, name.unwrap_or_else(|| format!("thread {thread}"))));
        }
        for span in spans {
            if inside.spans.len() == inside.capacity {
                inside.spans.pop_front();
                inside.overwritten += 1;
            }
            inside.spans.push_back(span);
        }
    }

    /// Everything, in the format of Chrome's trace viewer, which Perfetto reads too.
    pub(super) fn text(&self, clock: Clock) -> String {
        let inside = self.inside.lock();
        let from = inside.spans.iter().map(|span| span.begin).min().unwrap_or(0);
        let process = std::process::id();
        let mut text = String::from("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n");
        let _ = write!(
            text,
            "{{\"ph\":\"M\",\"pid\":{process},\"name\":\"process_name\",\"args\":{{\"name\":\"inferno\"}}}}"
        );
        for (thread, name) in &inside.threads {
            let _ = write!(
                text,
                ",\n{{\"ph\":\"M\",\"pid\":{process},\"tid\":{thread},\"name\":\"thread_name\",\"args\":{{\"name\":"
            );
            json::string(&mut text, name);
            text.push_str("}}");
        }
        for span in &inside.spans {
            let _ = write!(
                text,
                ",\n{{\"ph\":\"X\",\"pid\":{process},\"tid\":{},\"cat\":\"{}\",\"ts\":",
                span.thread,
                span.category.name()
            );
            // (Another processor's counter may be a little behind.)
            json::micros(&mut text, clock.ns(span.begin - from));
            text.push_str(",\"dur\":");
            json::micros(&mut text, clock.ns(span.end.saturating_sub(span.begin)));
            text.push_str(",\"name\":");
            match span.category {
                Category::Step => json::string(&mut text, &span.name),
                other => json::string(&mut text, &format!("{} {}", other.name(), span.name)),
            }
            text.push('}');
        }
        let _ = write!(
            text,
            "\n],\"otherData\":{{\"spans\":{},\"overwritten\":{}}}}}\n",
            inside.spans.len(),
            inside.overwritten
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_spans_are_kept_in_bounds() {
        let trace = Trace::default();
        let span = |at: u64| Span {
            name: format!("no. {at}").into(),
            category: Category::Run,
            thread: number(),
            begin: at * 1000,
            end: at * 1000 + 500,
        };
        let room = 20 * size_of::<Span>();
        {
            let mut inside = trace.inside.lock();
            (inside.capacity, inside.spans) = (20, VecDeque::with_capacity(20));
        }
        trace.add((0..50).map(span));
        let text = trace.text(Clock::get());
        assert_eq!(text.matches("\"ph\":\"X\"").count(), 20);
        assert!(text.contains("no. 49") && text.contains("no. 30") && !text.contains("no. 29"));
        assert!(text.contains("\"spans\":20,\"overwritten\":30"), "{text}");
        assert!(trace.inside.lock().spans.capacity() * size_of::<Span>() < 2 * room);
    }
}
