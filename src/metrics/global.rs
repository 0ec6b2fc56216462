//! The process's collector, and who drives its processor.

use super::collector::{Collector, channel};
use super::processor::{Processor, Running, is_telling};
use super::subscription::Task;
use super::{exporter, switches};
use crate::error::{self, Result};
use crate::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Room for events between recording and receiving: some 300 bytes each.
const CAPACITY: usize = 256;
/// With so many waiting and nobody to receive them, a load does.
const WAITING: usize = 32;
/// The shortest interval of a subscription.
const SHORTEST: Duration = Duration::from_millis(1);

/// Who sees to it that subscribers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// A thread of ours.
    Thread,
    /// The host, by [`poll`].
    Host,
}

struct Installed {
    collector: Collector,
    processor: At,
}

/// Where the processor is.
enum At {
    /// Here: nobody has subscribed.
    Rest(Processor),
    /// Here, for the host.
    Host(Processor),
    /// At work for a call; then it is for the host, or nobody's.
    Work(Driven),
    Thread(Running),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Driven {
    Host,
    Nobody,
}

static INSTALLED: Mutex<Option<Installed>> = Mutex::new(None);
/// Subscribing, ending a subscription and shutting down take turns. It is taken
/// before `INSTALLED`, and never inside a callback.
static CHANGES: Mutex<()> = Mutex::new(());

/// What a channel takes that is aligned to a cache line, and more. Such memory can be
/// refused (see [`crate::pool`]), and the channel would end the process then.
#[repr(align(128))]
struct Room {
    _bytes: [u8; 640],
}

fn installed<T>(act: impl FnOnce(&mut Installed) -> T) -> Result<T> {
    let mut place = INSTALLED.lock();
    if let Some(installed) = &mut *place {
        return Ok(act(installed));
    }
    // (The block that this leaves is the one that the channel finds.)
    let mut room = Vec::<Room>::new();
    room.try_reserve_exact(1).map_err(|_| error::out_of_memory("no memory to count in"))?;
    drop(room);
    let (collector, processor) = channel(CAPACITY);
    Ok(act(place.insert(Installed { collector, processor: At::Rest(processor) })))
}

/// Makes the process's collector, if there is none. It is made before a host's memory
/// is used, which may have none.
pub fn start() -> Result<()> {
    collector().map(drop)
}

/// The process's collector.
pub fn collector() -> Result<Collector> {
    installed(|installed| installed.collector.clone())
}

/// Callbacks may look, but not change who is called.
fn outside(what: &str) -> Result<()> {
    if is_telling() {
        return Err(error::busy(format!(
            "{what} from inside a metrics callback: expected it from elsewhere"
        )));
    }
    Ok(())
}

/// Adds a subscriber, and gives the number to end it by. An exporter's file is
/// written before this returns.
pub fn subscribe(task: Task, interval: Duration, driver: Driver) -> Result<u64> {
    outside("subscribing")?;
    if interval < SHORTEST {
        return Err(error::invalid_argument(format!(
            "the interval is {interval:?}: expected at least {SHORTEST:?}"
        )));
    }
    let _changes = CHANGES.lock();
    let snapshot = collector()?.snapshot();
    if let Task::Export(path, format) = &task {
        exporter::write(path, &format.text(&snapshot))?;
    }
    let before = match &task {
        Task::Watch(threshold, _) => threshold.of(&snapshot).map(|(totals, _)| totals.clone()),
        _ => Some(snapshot.totals.clone()),
    };
    installed(|installed| {
        drive(installed, driver)?;
        let subscriptions = &installed.collector.hub.subscriptions;
        let id = subscriptions.add(task, interval, Instant::now(), before.unwrap_or_default());
        if let At::Thread(running) = &installed.processor {
            running.wake();
        }
        Ok(id)
    })?
}

/// Sees to it that `driver` drives.
fn drive(installed: &mut Installed, driver: Driver) -> Result<()> {
    let is_free = installed.collector.hub.subscriptions.is_empty();
    let (is_thread, wanted) = match &installed.processor {
        At::Thread(_) => (true, driver == Driver::Thread),
        At::Host(_) | At::Work(Driven::Host) => (false, driver == Driver::Host || is_free),
        At::Rest(_) | At::Work(Driven::Nobody) => (false, true),
    };
    if !wanted {
        let (other, this) =
            if is_thread { ("a thread", "the host") } else { ("the host", "a thread") };
        return Err(error::invalid_argument(format!(
            "metrics are driven by {other} until its last subscription ends: this one asks for {this}"
        )));
    }
    if is_thread {
        return Ok(());
    }
    match std::mem::replace(&mut installed.processor, At::Work(Driven::Host)) {
        At::Rest(processor) | At::Host(processor) => match driver {
            Driver::Host => installed.processor = At::Host(processor),
            Driver::Thread => match processor.start() {
                Ok(running) => installed.processor = At::Thread(running),
                Err((processor, e)) => {
                    installed.processor = At::Rest(processor);
                    return Err(e);
                }
            },
        },
        working if driver == Driver::Thread => {
            installed.processor = working;
            return Err(error::busy("another thread polls the metrics: expected none"));
        }
        _ => {}
    }
    Ok(())
}

/// Ends a subscription. When this returns, nobody is inside its callback.
pub fn unsubscribe(id: u64) -> Result<()> {
    outside("ending a subscription")?;
    let _changes = CHANGES.lock();
    let collector = collector()?;
    if !collector.hub.subscriptions.remove(id) {
        return Err(error::not_found(format!("no subscription has the number {id}")));
    }
    if collector.hub.subscriptions.is_empty() {
        rest();
    }
    Ok(())
}

/// Ends the thread, if there is one. The caller has `CHANGES`.
fn rest() {
    // (Not joined under the lock, which a callback may need.)
    let running = match &mut *INSTALLED.lock() {
        None => None,
        Some(Installed { processor, .. }) => {
            match std::mem::replace(processor, At::Work(Driven::Nobody)) {
                At::Thread(running) => Some(running),
                At::Host(here) | At::Rest(here) => {
                    *processor = At::Rest(here);
                    None
                }
                At::Work(_) => None,
            }
        }
    };
    if let Some(processor) = running.and_then(Running::stop)
        && let Some(installed) = &mut *INSTALLED.lock()
    {
        installed.processor = At::Rest(processor);
    }
}

/// Receives events and tells the host's subscribers what is due, on this thread.
/// Says how long until something is due again. Fails while another thread does.
pub fn poll() -> Result<Option<Duration>> {
    outside("polling")?;
    let taken = installed(|Installed { collector, processor }| {
        let here = std::mem::replace(processor, At::Work(Driven::Nobody));
        match here {
            At::Rest(here) => Ok((here, collector.clone())),
            At::Host(here) => {
                *processor = At::Work(Driven::Host);
                Ok((here, collector.clone()))
            }
            other => {
                let is_thread = matches!(other, At::Thread(_));
                *processor = other;
                Err(is_thread)
            }
        }
    })?;
    match taken {
        Ok((mut processor, collector)) => {
            let next = processor.step(Instant::now());
            put_back(processor, &collector);
            Ok(next)
        }
        Err(true) => Ok(None),
        Err(false) => Err(error::busy("another thread polls the metrics: expected one at a time")),
    }
}

/// Puts a processor back to where it was taken from, unless all has ended since.
fn put_back(processor: Processor, collector: &Collector) {
    let mut place = INSTALLED.lock();
    if let Some(installed) = &mut *place
        && Arc::ptr_eq(&installed.collector.hub, &collector.hub)
        && let At::Work(driven) = installed.processor
    {
        installed.processor = match driven {
            Driven::Host => At::Host(processor),
            Driven::Nobody => At::Rest(processor),
        };
    }
}

/// Receives what is there when nobody else does. Called where it costs no frame:
/// after a load.
pub(super) fn relieve(collector: &Collector) {
    if collector.waiting() < WAITING || is_telling() {
        return;
    }
    let is_at_rest = INSTALLED.lock().as_ref().is_some_and(|installed| {
        Arc::ptr_eq(&installed.collector.hub, &collector.hub)
            && matches!(installed.processor, At::Rest(_))
    });
    if is_at_rest {
        let _ = poll();
    }
}

/// The audit log, with every event that was recorded before.
pub fn audit_text() -> Result<String> {
    let collector = collector()?;
    let hub = &collector.hub;
    for _ in 0..2000 {
        let done = hub.counted.load(Relaxed) + hub.dropped.load(Relaxed);
        if done >= hub.recorded.load(Relaxed) || is_telling() {
            break;
        }
        let is_thread = installed(|installed| matches!(installed.processor, At::Thread(_)))?;
        if is_thread || poll().is_err() {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    let text = hub.audit.lock().text();
    Ok(text)
}

/// Sets how many bytes of audit records are kept.
pub fn set_audit_capacity(bytes: usize) -> Result<()> {
    collector()?.hub.audit.lock().set_capacity(bytes);
    Ok(())
}

/// Begins a trace, with so many bytes of memory; 0 for the default.
pub fn trace_start(bytes: usize) -> Result<()> {
    collector()?.hub.trace.start(bytes)
}

/// Ends tracing; what was traced stays.
pub fn trace_stop() {
    switches::set(switches::TRACE, false);
}

/// The trace as it stands, as JSON.
pub fn trace_text() -> Result<String> {
    let collector = collector()?;
    Ok(collector.hub.trace.text(collector.hub.clock))
}

/// Ends all subscriptions and the thread; counts begin anew with the next use.
pub fn shutdown() {
    let _changes = CHANGES.lock();
    rest();
    switches::set(switches::TRACE, false);
    switches::set(switches::COUNT, true);
    // (Dropped without the lock.)
    let was = INSTALLED.lock().take();
    drop(was);
}
