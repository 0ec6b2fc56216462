//! Collectors on many threads, a processor on its own: what is recorded is counted
//! or dropped, recording never waits, and every end is joined. Run by
//! `tests/tsan.sh` under ThreadSanitizer, too.

use inferno::error;
use inferno::metrics::{self, Event, Happened, Task, channel};
use inferno::pool::{Account, Budget};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const THREADS: u64 = 8;
const EVENTS: u64 = 2_000;

/// Records from eight threads, and says how long the slowest record took.
fn record_all(collector: &metrics::Collector) -> Duration {
    let slowest = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (collector, slowest) = (collector.clone(), &slowest);
            scope.spawn(move || {
                for _ in 0..EVENTS {
                    let event = Event::new(Happened::RunFailed);
                    let begun = Instant::now();
                    collector.record(event);
                    slowest.fetch_max(begun.elapsed().as_nanos() as u64, Relaxed);
                }
            });
        }
    });
    Duration::from_nanos(slowest.into_inner())
}

#[test]
fn with_nobody_receiving_what_finds_no_room_is_dropped_and_counted() {
    let (collector, mut processor) = channel(64);
    let slowest = record_all(&collector);
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let full = collector.snapshot();
    assert_eq!(
        (full.recorded, full.dropped, full.counted),
        (THREADS * EVENTS, THREADS * EVENTS - 64, 0)
    );
    while processor.step(Instant::now()) == Some(Duration::ZERO) {}
    let after = collector.snapshot();
    assert_eq!(after.counted + after.dropped, after.recorded);
    assert_eq!(after.counted, 64);
}

#[test]
fn with_a_slow_processor_nothing_waits_and_all_is_accounted_for() {
    let (collector, processor) = channel(128);
    let running = processor.start().unwrap();
    let slowest = record_all(&collector);
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let mut processor = running.stop().unwrap();
    while processor.step(Instant::now()) == Some(Duration::ZERO) {}
    let end = collector.snapshot();
    assert_eq!(end.recorded, THREADS * EVENTS);
    assert_eq!(end.counted + end.dropped, end.recorded);
    assert!(end.counted >= 128);
}

#[test]
fn sessions_that_come_and_go_are_never_counted_twice_or_lost() {
    let (collector, processor) = channel(128);
    let running = processor.start().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut before = 0;
            while !done.load(Relaxed) {
                let runs = collector.snapshot().totals.runs.count();
                assert!(runs >= before, "{runs} after {before}");
                before = runs;
            }
        });
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let collector = collector.clone();
                scope.spawn(move || {
                    for turn in 0..50 {
                        let model = collector.meter(if thread % 2 == 0 { "even" } else { "odd" });
                        let session = model.session();
                        for run in 0..20 {
                            let failed = error::run_failed("no");
                            let begun = session.begin();
                            session.end(begun, (run % 10 == 9).then_some(&failed));
                        }
                        assert_eq!(session.read().runs.count(), 18, "{turn}");
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        done.store(true, Relaxed);
        watcher.join().unwrap();
    });
    running.stop().unwrap();
    let end = collector.snapshot();
    assert!(end.models.is_empty());
    assert_eq!(end.totals.runs.count(), THREADS * 50 * 18);
    assert_eq!(end.totals.failed(), THREADS * 50 * 2);
    assert_eq!(end.recorded, THREADS * 50 * 2);
}

/// The process's own collector: one test, for it is one.
#[test]
fn subscribers_are_told_until_they_end() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (events, reports) = (told.clone(), Arc::new(AtomicU64::new(0)));
    let task =
        Task::Events(Box::new(move |event: &Event| events.lock().unwrap().push(event.happened)));
    let by_event =
        metrics::subscribe(task, Duration::from_secs(1), metrics::Driver::Thread).unwrap();
    let count = reports.clone();
    let task = Task::Report(Box::new(move |report| {
        count.fetch_add(1, Relaxed);
        // Looking is allowed inside a callback, changing is not.
        assert!(metrics::collector().unwrap().snapshot().at_unix_ns >= report.now.at_unix_ns);
        assert!(metrics::unsubscribe(1).is_err());
    }));
    let by_time =
        metrics::subscribe(task, Duration::from_millis(2), metrics::Driver::Thread).unwrap();
    let account = Arc::new(Account::open(None, "told", Budget::default()).unwrap());
    let load = || {
        metrics::Load::begin(metrics::LoadTold { name: "told".into(), ..Default::default() })
            .unwrap()
    };
    load().failed(&error::invalid_model("no"));
    let first = load().loaded([1; 32], &account);
    let second = load().loaded([2; 32], &account);
    drop((first, second));
    let until = Instant::now() + Duration::from_secs(20);
    while (told.lock().unwrap().len() < 5 || reports.load(Relaxed) < 3) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    use Happened::{Loaded, Refused, Swapped, Unloaded};
    assert_eq!(*told.lock().unwrap(), [Refused, Loaded, Swapped, Unloaded, Unloaded]);
    assert!(reports.load(Relaxed) >= 3);
    let log = metrics::audit_text().unwrap();
    assert_eq!(metrics::verify(&log).unwrap(), 5, "{log}");
    metrics::unsubscribe(by_time).unwrap();
    let so_far = reports.load(Relaxed);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(reports.load(Relaxed), so_far);
    assert!(metrics::unsubscribe(by_time).is_err());
    metrics::unsubscribe(by_event).unwrap();
    // Nobody drives now: the host may.
    let task = Task::Events(Box::new(|_| {}));
    let by_host = metrics::subscribe(task, Duration::from_secs(1), metrics::Driver::Host).unwrap();
    let task = Task::Events(Box::new(|_| {}));
    let e = metrics::subscribe(task, Duration::from_secs(1), metrics::Driver::Thread).unwrap_err();
    assert!(e.detail().contains("driven by the host"), "{e}");
    metrics::poll().unwrap();
    metrics::unsubscribe(by_host).unwrap();
    metrics::shutdown();
    assert_eq!(metrics::collector().unwrap().snapshot().recorded, 0);
}
