//! Many producers of single observations: through a queue with batches, through one without, and
//! on ONNX Runtime from the same number of threads. `benches/queue.sh` tells more.

mod host;
mod ort;

use host::{Api, Handle, Tensor, processor_ns};
use ort::Ort;
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const PRODUCERS: usize = 32;
const IN: usize = 64;
const OUT: usize = 16;

struct Asked {
    rounds: usize,
    spell: Duration,
    window: usize,
    workers: u32,
    concurrency: u32,
    batch: u32,
    delay_ns: u64,
}

fn asked() -> Asked {
    let get = |name: &str, or: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or)
    };
    Asked {
        rounds: get("QUEUE_ROUNDS", 9) as usize,
        spell: Duration::from_millis(get("QUEUE_SPELL_MS", 300)),
        window: get("QUEUE_WINDOW", 16) as usize,
        workers: get("QUEUE_WORKERS", 0) as u32,
        concurrency: get("QUEUE_CONCURRENCY", 4) as u32,
        batch: get("QUEUE_BATCH", 32) as u32,
        delay_ns: get("QUEUE_DELAY_US", 200) * 1000,
    }
}

fn observation(number: usize) -> [f32; IN] {
    std::array::from_fn(|i| ((number * 31 + i * 17) % 97) as f32 / 48.0 - 1.0)
}

/// How often a second PRODUCERS threads do `work`, which says how much it did, and what
/// processor time each took, in nanoseconds.
fn per_second(spell: Duration, work: impl Fn(usize, &AtomicBool) -> u64 + Sync) -> (f64, f64) {
    let (stop, done, barrier) =
        (AtomicBool::new(false), AtomicU64::new(0), Barrier::new(PRODUCERS + 1));
    let (mut took, mut busy_ns) = (Duration::ZERO, 0.0);
    std::thread::scope(|scope| {
        for number in 0..PRODUCERS {
            let (stop, done, barrier, work) = (&stop, &done, &barrier, &work);
            scope.spawn(move || {
                barrier.wait();
                done.fetch_add(work(number, stop), Relaxed);
            });
        }
        barrier.wait();
        let (begun, before) = (Instant::now(), processor_ns());
        std::thread::sleep(spell);
        stop.store(true, Relaxed);
        (took, busy_ns) = (begun.elapsed(), processor_ns() - before);
    });
    let done = done.into_inner() as f64;
    (done / took.as_secs_f64(), busy_ns / done)
}

/// A producer has so many jobs under way, and waits for the oldest.
fn produce(api: &Api, queue: Handle, window: usize, number: usize, stop: &AtomicBool) -> u64 {
    let x = observation(number);
    let input = Tensor::floats(1, IN as i64, x.as_ptr());
    let mut jobs = VecDeque::with_capacity(window);
    let (mut done, mut sum) = (0, 0.0);
    // SAFETY: the handles and the tensors are ours, and the pointers valid for the calls.
    unsafe {
        loop {
            let ends = stop.load(Relaxed);
            while !ends && jobs.len() < window {
                let mut job = ptr::null_mut();
                api.must((api.inferno_queue_submit)(queue.get(), &input, 1, ptr::null(), &mut job));
                jobs.push_back(job);
            }
            let Some(job) = jobs.pop_front() else { break };
            let mut output = input;
            api.must((api.inferno_job_wait)(job, u64::MAX));
            api.must((api.inferno_job_output)(job, 0, &mut output));
            sum += *output.data.cast::<f32>();
            api.must((api.inferno_job_free)(job));
            done += u64::from(!ends);
        }
    }
    assert!(f32::is_finite(sum));
    done
}

/// One observation of the paced producers: when it was due and when it was answered.
struct Paced {
    due: Instant,
    took_ns: AtomicU64,
}

unsafe extern "C" fn answered(user_data: *mut c_void, _job: *mut c_void, status: c_int) {
    assert_eq!(status, 0);
    // SAFETY: it lives until all are answered.
    let paced = unsafe { &*user_data.cast::<Paced>() };
    paced.took_ns.store(paced.due.elapsed().as_nanos() as u64, Relaxed);
}

/// Each producer submits one observation a period; how long until the answers.
fn latencies(api: &Api, queue: Handle, period: Duration, count: usize) -> Vec<u64> {
    let mut all: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PRODUCERS)
            .map(|number| {
                scope.spawn(move || {
                    let x = observation(number);
                    let input = Tensor::floats(1, IN as i64, x.as_ptr());
                    let mut paced = Vec::with_capacity(count);
                    let begun = Instant::now() + period * number as u32 / PRODUCERS as u32;
                    for turn in 0..count {
                        let at = begun + period * turn as u32;
                        std::thread::sleep(at.saturating_duration_since(Instant::now()));
                        let one =
                            Box::new(Paced { due: Instant::now(), took_ns: AtomicU64::new(0) });
                        let mut options = api.job_options();
                        options.callback = Some(answered);
                        options.user_data = (&raw const *one).cast_mut().cast();
                        paced.push(one);
                        // SAFETY: as above.
                        unsafe {
                            api.must((api.inferno_queue_submit)(
                                queue.get(),
                                &input,
                                1,
                                &options,
                                ptr::null_mut(),
                            ));
                        }
                    }
                    while paced.iter().any(|one| one.took_ns.load(Relaxed) == 0) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    paced.iter().map(|one| one.took_ns.load(Relaxed)).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    all.sort_unstable();
    all
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The medians of rates and of what each cost.
fn medians(all: &[(f64, f64)]) -> (f64, f64) {
    (median(all.iter().map(|one| one.0)), median(all.iter().map(|one| one.1)))
}

/// How long a full batch takes, submitted and answered alone.
fn batch_ns(api: &Api, queue: Handle, rows: u32) -> f64 {
    let x = vec![observation(1); rows as usize].concat();
    let input = Tensor::floats(rows.into(), IN as i64, x.as_ptr());
    let one = |_| {
        let (begun, mut job) = (Instant::now(), ptr::null_mut());
        // SAFETY: as above.
        unsafe {
            api.must((api.inferno_queue_submit)(queue.get(), &input, 1, ptr::null(), &mut job));
            api.must((api.inferno_job_wait)(job, u64::MAX));
            api.must((api.inferno_job_free)(job));
        }
        begun.elapsed().as_nanos() as f64
    };
    median((0..200).map(one))
}

/// How long answers take of paced producers; their 99th percentile over the longest delay
/// and one batch.
fn latency(api: &Api, queue: Handle, asked: &Asked, is_learned: bool) -> f64 {
    let full = batch_ns(api, queue, asked.batch);
    let (rows, before) = (api.rows(queue), processor_ns());
    let all = latencies(api, queue, Duration::from_millis(4), 1000);
    let busy_ns = (processor_ns() - before) / all.len() as f64;
    let at = |q: f64| all[((all.len() - 1) as f64 * q) as usize] as f64;
    let over = at(0.99) / (asked.delay_ns as f64 + full);
    let (batches, rows) = (api.rows(queue).0 - rows.0, api.rows(queue).1 - rows.1);
    println!(
        "latency: delay={} jobs={} rate={:.0}/s rows_a_batch={:.1} max_delay_ns={} batch_ns={full:.0} p50_ns={:.0} p99_ns={:.0} p999_ns={:.0} p99_over_bound={over:.2} cpu_ns_a_job={busy_ns:.0}",
        if is_learned { "learned" } else { "fixed" },
        all.len(),
        PRODUCERS as f64 * 250.0,
        rows / batches,
        asked.delay_ns,
        at(0.5),
        at(0.99),
        at(0.999),
    );
    over
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let [_, library, ort, model] = &words[..] else {
        eprintln!("queue LIBINFERNO LIBONNXRUNTIME MODEL");
        std::process::exit(2);
    };
    let (api, a) = (Api::load(library), asked());
    let ours = api.model(model);
    let theirs = (ort != "-").then(|| Ort::open(ort, model));
    let queue = |workers: u32, batch: u32| {
        api.queue(ours, |o| {
            (o.workers, o.max_batch) = (workers, batch);
            o.concurrency = a.concurrency;
            o.capacity = (2 * PRODUCERS * a.window.max(64)) as u32;
        })
    };
    let (joined, single) = (queue(a.workers, a.batch), queue(a.workers, 1));
    let (mut with, mut without, mut runs) = (vec![], vec![], vec![]);
    for round in 0..=a.rounds {
        let through =
            |q| per_second(a.spell, |number, stop| produce(&api, q, a.window, number, stop));
        let both = [through(joined), through(single)];
        let third = theirs.map(|ort| {
            per_second(a.spell, |number, stop| {
                let mut bound = ort.bind((c"observation", IN), (c"action", OUT));
                let (x, mut done) = (observation(number), 0);
                while !stop.load(Relaxed) {
                    bound.run(&x);
                    done += 1;
                }
                done
            })
        });
        if round > 0 {
            with.push(both[0]);
            without.push(both[1]);
            runs.push(third.unwrap_or((f64::NAN, f64::NAN)));
        }
    }
    let (with, without, runs) = (medians(&with), medians(&without), medians(&runs));
    let (batches, rows) = api.rows(joined);
    println!(
        "throughput: producers={PRODUCERS} window={} workers={} concurrency={} batched={:.0}/s unbatched={:.0}/s ort_threads={:.0}/s rows_a_batch={:.1}",
        a.window,
        a.workers,
        a.concurrency,
        with.0,
        without.0,
        runs.0,
        rows / batches,
    );
    println!(
        "processor: ns_a_job batched={:.0} unbatched={:.0} ort_threads={:.0}",
        with.1, without.1, runs.1
    );
    let paced = |is_learned: bool| {
        api.queue(ours, |o| {
            (o.workers, o.max_batch, o.max_delay_ns) = (1, a.batch, a.delay_ns);
            o.is_delay_learned = i32::from(is_learned);
            o.capacity = (2 * PRODUCERS * 64) as u32;
        })
    };
    let (fixed, learned) = (paced(false), paced(true));
    latency(&api, fixed, &a, false);
    let over = latency(&api, learned, &a, true);
    let (begun, before) = (Instant::now(), processor_ns());
    std::thread::sleep(Duration::from_secs(5));
    let idle = (processor_ns() - before) / begun.elapsed().as_nanos() as f64 * 100.0;
    println!("idle: workers=2 idle_cpu_percent={idle:.4}");
    println!(
        "queue: vs_unbatched={:.2} vs_ort_threads={:.2} p99_over_bound={over:.2}",
        with.0 / without.0,
        with.0 / runs.0,
    );
    for q in [joined, single, fixed, learned] {
        // SAFETY: as above.
        api.must(unsafe { (api.inferno_queue_free)(q.get()) });
    }
}
