//! Queues under many threads, with arithmetic in place of a model: every job is answered
//! once, with its own answer, whatever is submitted, cancelled, freed and shut down at the
//! same time. Run by `tests/tsan.sh` under ThreadSanitizer, too.

use inferno::error::{self, Kind, Result};
use inferno::metrics;
use inferno::queue::{
    Core, Door, Engine, Fit, Input, Jobs, Lent, Note, Options, Queue, Request, Settings,
};
use inferno::tensor::{DType, Shape};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const THREADS: u64 = 8;

/// What one test measures another must not disturb.
static TURN: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Doubles numbers; refuses 13.
struct Doubler;

struct Lane(Vec<u8>, Vec<u8>);

impl Engine for Doubler {
    type Outputs = Vec<u8>;
    type Lane<'a> = Lane;

    fn inputs(&self) -> usize {
        1
    }

    fn fit(&self, inputs: &[Input]) -> Result<Fit> {
        match inputs[0].bytes().len() {
            1 => Ok(Fit { rows: 1, key: u64::from(inputs[0].bytes()[0] % 2) }),
            n => Err(error::size_mismatch(format!("{n} bytes: expected 1"))),
        }
    }

    fn lane(&self, _like: &[Input], _rows: u32) -> Result<Lane> {
        Ok(Lane(Vec::new(), Vec::new()))
    }

    fn fill(&self, lane: &mut Lane, jobs: Jobs<'_>) -> Result<()> {
        jobs(&mut |inputs| {
            lane.0.extend_from_slice(inputs[0].bytes());
            Ok(())
        })
    }

    fn run(&self, lane: &mut Lane) -> Result<()> {
        if lane.0.contains(&13) {
            return Err(error::run_failed("13 is no number"));
        }
        lane.1 = lane.0.iter().map(|n| n.wrapping_mul(2)).collect();
        Ok(())
    }

    fn outputs(&self, lane: &Lane, row: u32, rows: u32) -> Vec<u8> {
        lane.1[row as usize..(row + rows) as usize].to_vec()
    }
}

/// How often each job's callback came.
struct Told(Arc<[AtomicU32]>, usize);

impl Note for Told {
    fn tell(self, _failed: Option<Kind>) {
        self.0[self.1].fetch_add(1, Relaxed);
    }
}

/// Handles without a table: a job is named by its number until it is released.
struct Plain(Mutex<Vec<u32>>);

impl Door<Told> for Plain {
    fn open(&self, _job: u32, _note: &mut Option<Told>) {}

    fn shut(&self, job: u32) {
        self.0.lock().unwrap().push(job);
    }

    fn lost(&self, _job: u32) {}
}

fn queue(options: Options) -> Queue<Doubler, Told> {
    let meter = metrics::collector().unwrap().meter("doubler").queue();
    Queue::new(Doubler, options, meter).unwrap()
}

fn options(workers: u32, max_delay_ns: u64) -> Options {
    Options {
        capacity: 64,
        workers,
        settings: Settings { max_rows: 8, max_delay_ns, is_delay_learned: true, concurrency: 2 },
        breaker_failures: 0,
        breaker_open_ns: 0,
        retries: 0,
        retry_delay_ns: 0,
    }
}

fn submit(core: &Core<Doubler, Told>, number: &u8, note: Told, lends: bool) -> Result<u32> {
    let door = Plain(Mutex::default());
    let shape = Shape::new(&[1])?;
    let fill = |inputs: &mut [Input]| {
        if lends {
            // SAFETY: the caller keeps the number until the job is answered.
            inputs[0].lend(DType::U8, &shape, unsafe { Lent::new(number, 1) });
            return Ok(());
        }
        inputs[0].copy(DType::U8, &shape, std::slice::from_ref(number))
    };
    let request = Request { producer: 0, level: 1, timeout_ns: 0, note: Some(note) };
    let submitted = core.submit(request, fill, &door);
    for job in door.0.into_inner().unwrap() {
        core.release(job);
    }
    submitted
}

/// What a thread does with a job, by lot.
fn turn(core: &Core<Doubler, Told>, told: &Arc<[AtomicU32]>, at: usize, lot: u64) -> Result<()> {
    let number = (lot % 100) as u8;
    let job = submit(core, &number, Told(told.clone(), at), lot & 1 << 20 != 0)?;
    if lot & 1 << 21 != 0 {
        let _ = core.cancel(job);
    }
    // (What is lent must stay until the answer.)
    if lot & (1 << 20 | 1 << 22) != 0 {
        assert!(core.wait(job, u64::MAX)?);
        let outcome = core.outcome(job, |outcome| outcome.clone());
        match outcome {
            Ok(answer) => assert_eq!(answer, [number.wrapping_mul(2)]),
            Err(e) if e.kind() == Kind::RunFailed => assert_eq!(number, 13),
            Err(e) => assert_eq!(e.kind(), Kind::Cancelled, "{e}"),
        }
    }
    core.release(job);
    Ok(())
}

/// Eight threads submit until the queue is shut down under them.
fn storm(options: Options, is_draining: bool, spell: Duration) -> u64 {
    const JOBS: usize = 1 << 16;
    let queue = queue(options);
    let told: Arc<[AtomicU32]> = (0..JOBS).map(|_| AtomicU32::new(0)).collect();
    let (next, submitted) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (queue, told, next, submitted) = (&queue, &told, &next, &submitted);
            scope.spawn(move || {
                let mut lot = thread * 0x9e37_79b9 + 1;
                loop {
                    lot = lot
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let at = next.fetch_add(1, Relaxed) as usize;
                    if at >= JOBS {
                        return;
                    }
                    match turn(queue, told, at, lot >> 32) {
                        Ok(()) => submitted.fetch_add(1, Relaxed),
                        Err(e) if e.kind() == Kind::QueueFull => {
                            // (It was not taken, and is not told of.)
                            std::thread::yield_now();
                            continue;
                        }
                        Err(e) => {
                            assert_eq!(e.kind(), Kind::Unavailable, "{e}");
                            return;
                        }
                    };
                }
            });
        }
        std::thread::sleep(spell);
        queue.close(is_draining);
        assert!(queue.finish(u64::MAX).unwrap());
    });
    queue.end().unwrap();
    let calls: Vec<u32> = told.iter().map(|told| told.load(Relaxed)).collect();
    assert!(calls.iter().all(|calls| *calls <= 1), "told twice");
    assert_eq!(calls.iter().map(|n| u64::from(*n)).sum::<u64>(), submitted.load(Relaxed));
    let mut places = 0;
    queue.retire(|_| places += 1);
    assert_eq!(places, 64, "every place came back");
    submitted.into_inner()
}

fn spell() -> Duration {
    let ms = std::env::var("QUEUE_STORM_MS").ok().and_then(|ms| ms.parse().ok());
    Duration::from_millis(ms.unwrap_or(100))
}

#[test]
fn every_job_is_answered_once_with_workers() {
    let _turn = alone();
    for (workers, delay) in [(1, 0), (2, 0), (2, 50_000)] {
        assert!(storm(options(workers, delay), workers == 1, spell()) > 0);
    }
}

#[test]
fn every_job_is_answered_once_by_those_who_wait() {
    let _turn = alone();
    // (Those who do not wait leave their jobs to the others, and the last to the end.)
    for is_draining in [true, false] {
        assert!(storm(options(0, 0), is_draining, spell()) > 0);
    }
}

#[test]
fn pumps_and_workers_run_side_by_side() {
    let _turn = alone();
    let queue = queue(options(1, 0));
    let told: Arc<[AtomicU32]> = (0..4000).map(|_| AtomicU32::new(0)).collect();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (queue, told) = (&queue, &told);
            scope.spawn(move || {
                for at in 0..2000 {
                    let at = thread * 2000 + at;
                    while turn(queue, told, at, (at as u64 % 12) | (1 << 22)).is_err() {}
                }
            });
        }
        let begun = Instant::now();
        while begun.elapsed() < spell() {
            queue.pump(100_000).unwrap();
        }
    });
    queue.end().unwrap();
    assert!(told.iter().all(|told| told.load(Relaxed) == 1));
}

#[test]
fn an_idle_queue_sleeps() {
    let _turn = alone();
    let queue = queue(options(2, 0));
    let told: Arc<[AtomicU32]> = (0..1).map(|_| AtomicU32::new(0)).collect();
    turn(&queue, &told, 0, 1 << 22).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let busy = |begun: Duration| processor_time() - begun;
    let begun = processor_time();
    std::thread::sleep(Duration::from_millis(500));
    // 0.1 % of a core, and what the clock of threads is exact to.
    assert!(busy(begun) <= Duration::from_millis(10), "{:?}", busy(begun));
    queue.end().unwrap();
}

/// Of the threads of queues.
fn processor_time() -> Duration {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if let Some((name, rest)) = stat.split_once(") ")
            && name.ends_with("inferno-queue")
        {
            let fields = rest.split(' ').skip(11).take(2);
            ticks += fields.filter_map(|f| f.parse::<u64>().ok()).sum::<u64>();
        }
    }
    Duration::from_millis(ticks * 10)
}
