//! The end that receives: it alone takes events out of the channel, keeps the audit
//! log, and tells subscribers what is due.
//!
//! It does so on a thread of its own ([`Processor::start`]), or when the host asks
//! ([`Processor::step`]). While it is at neither, events wait in the channel, and
//! those that find no room are counted and dropped.

use super::audit::Record;
use super::collector::Hub;
use super::event::{Event, Happened};
use super::threshold::Crossing;
use crate::error::{self, Error};
use crate::log::log_line;
use crate::panics;
use crate::pool;
use crate::sync::Mutex;
use crossbeam_channel::Receiver;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Events that are received between two looks at what is due.
const BATCH: usize = 256;
/// How long the thread sleeps at the most when nothing is due.
const LONGEST: Duration = Duration::from_secs(3600);
const STACK_BYTES: usize = 1 << 20;

thread_local! {
    static IS_TELLING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside a callback of a subscriber.
pub fn is_telling() -> bool {
    IS_TELLING.get()
}

/// The end that receives.
pub struct Processor {
    hub: Arc<Hub>,
    receiver: Receiver<Box<Event>>,
    /// What the thread was woken by.
    first: Option<Box<Event>>,
    /// Dropped events that the audit log was told of.
    told_dropped: u64,
    /// One owner's at a time.
    of: PhantomData<Cell<()>>,
}

impl fmt::Debug for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a processor of events, {} of them waiting", self.receiver.len())
    }
}

impl Processor {
    pub(super) fn new(hub: Arc<Hub>, receiver: Receiver<Box<Event>>) -> Processor {
        Processor { hub, receiver, first: None, told_dropped: 0, of: PhantomData }
    }

    /// Receives what is there, does what is due at `now`, and says how long until
    /// something is due again.
    pub fn step(&mut self, now: Instant) -> Option<Duration> {
        // (What was taken and given back is told when it ends.)
        let _scope = pool::Scope::open(u64::MAX);
        IS_TELLING.set(true);
        let stepped = panics::caught(|| {
            self.receive();
            self.tell(now)
        });
        IS_TELLING.set(false);
        stepped.unwrap_or_else(|panic| {
            log_line!(Error, "a metrics callback panicked: {panic}");
            Some(Duration::ZERO)
        })
    }

    fn receive(&mut self) {
        for _ in 0..BATCH {
            let event = self.first.take().or_else(|| self.receiver.try_recv().ok());
            let Some(event) = event else { break };
            if event.happened != Happened::Woken {
                self.hub.counted.fetch_add(1, Relaxed);
                self.hand_on(&event);
            }
        }
        let dropped = self.hub.dropped.load(Relaxed);
        if dropped > self.told_dropped {
            let lost = dropped - std::mem::replace(&mut self.told_dropped, dropped);
            let detail = format!("{lost} events found no room and were dropped");
            self.hand_on(&Event { detail, ..Event::new(Happened::Lost) });
        }
    }

    fn hand_on(&mut self, event: &Event) {
        self.hub.audit.lock().append(Record::of(event));
        self.hub.subscriptions.all().iter().for_each(|subscription| subscription.event(event));
    }

    fn tell(&mut self, now: Instant) -> Option<Duration> {
        let all = self.hub.subscriptions.all();
        let mut snapshot = None;
        for subscription in &all {
            if subscription.due_in(now) != Some(Duration::ZERO) {
                continue;
            }
            let snapshot = snapshot.get_or_insert_with(|| super::snapshot_of(&self.hub));
            if let Some((crossing, model)) = subscription.tell(now, snapshot) {
                self.hand_on(&crossed(&crossing, &model));
            }
        }
        let next = all.iter().filter_map(|subscription| subscription.due_in(now)).min();
        if self.receiver.is_empty() { next } else { Some(Duration::ZERO) }
    }

    /// Goes on on a thread of its own. Without one it comes back.
    pub fn start(self) -> Result<Running, (Processor, Error)> {
        let hub = self.hub.clone();
        hub.stop.store(false, SeqCst);
        let mine = Arc::new(Mutex::new(Some(self)));
        let theirs = mine.clone();
        let builder = std::thread::Builder::new().name("inferno-metrics".into());
        let body = move || {
            let processor = theirs.lock().take();
            processor.map(Processor::run)
        };
        match builder.stack_size(STACK_BYTES).spawn(body) {
            Ok(thread) => Ok(Running { hub, thread, process: std::process::id() }),
            Err(e) => {
                let back = mine.lock().take();
                let e = error::out_of_memory(format!("no metrics thread: {e}"));
                Err((back.expect("nobody took it"), e))
            }
        }
    }

    fn run(mut self) -> Processor {
        pool::begin_thread();
        loop {
            let wait = self.step(Instant::now()).unwrap_or(LONGEST).min(LONGEST);
            // Looked at after the channel was emptied: who found it full, so that it
            // could not wake this thread, had said before that it is to stop.
            if self.hub.stop.load(SeqCst) {
                return self;
            }
            self.first = self.receiver.recv_timeout(wait).ok();
        }
    }
}

fn crossed(crossing: &Crossing, model: &str) -> Event {
    let happened = if crossing.is_raised { Happened::Raised } else { Happened::Cleared };
    let detail = format!("{} is {}", crossing.metric.name(), crossing.value);
    Event { model: Arc::from(model), detail, ..Event::new(happened) }
}

/// A processor on its thread.
pub struct Running {
    hub: Arc<Hub>,
    thread: JoinHandle<Option<Processor>>,
    /// Whose thread it is: a child after `fork` has none.
    process: u32,
}

impl Running {
    /// Sees to it that the thread looks anew at what is due.
    pub fn wake(&self) {
        self.hub.wake();
    }

    /// Ends the thread and waits for it. None when it is another process's.
    pub fn stop(self) -> Option<Processor> {
        if self.process != std::process::id() {
            std::mem::forget(self.thread);
            return None;
        }
        self.hub.stop.store(true, SeqCst);
        self.hub.wake();
        self.thread.join().ok().flatten()
    }
}
