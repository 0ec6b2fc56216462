//! What a process of its own does: one model on every engine in turn, or one model's load on one.
//!
//! A line an engine goes to the standard output: `ENGINE ok NUMBER …`, `ENGINE wrong NUMBER …`
//! (its answers are not ONNX Runtime's), or `ENGINE failed TEXT`.

use std::time::Instant;

use crate::case::{Case, Input};
use crate::engines::{self, Engine, NAMES, ONE_THREAD, guarded};
use crate::machine;

const RELATIVE: f32 = 1e-3;
const ABSOLUTE: f32 = 1e-4;
/// Of 8-bit models: root mean square of the differences, over that of the answers. A value on
/// the edge between two steps falls to either side, and so do those that come of it.
const OF_BYTES: f32 = 0.03;
/// Seconds that one sample, and one engine's turn in a round, take at least.
const SAMPLE: f64 = 100e-6;
const TURN: f64 = 30e-3;
/// A run longer than that needs no other before it to be warm.
const WARM: f64 = 20e-3;

/// An engine at work on the model.
struct Runner {
    name: &'static str,
    engine: Box<dyn Engine>,
    samples: usize,
    runs: usize,
    best: f64,
    wrong: bool,
}

/// Times are the least, over the rounds, of the median within a round.
pub fn run(name: &str, threads: usize, rounds: usize) -> Result<(), String> {
    machine::pin(threads)?;
    machine::flush_to_zero();
    let case = Case::named(name)?;
    let inputs = case.read_inputs()?;
    let mut runners: Vec<Runner> = vec![];
    for name in NAMES {
        if threads > 1 && ONE_THREAD.contains(&name) {
            continue;
        }
        match started(name, &case, &inputs, threads) {
            Ok(runner) => runners.push(runner),
            Err(text) => println!("{name} failed {}", text.replace('\n', " ")),
        }
    }
    check(&mut runners, case.is_quantised())?;
    for round in 0..rounds {
        let count = runners.len();
        for i in 0..count {
            turn(&mut runners[(round + i) % count]);
        }
    }
    runners.retain(|r| r.best.is_finite());
    check(&mut runners, case.is_quantised())?;
    for r in &runners {
        println!("{} {} {:e}", r.name, if r.wrong { "wrong" } else { "ok" }, r.best);
    }
    Ok(())
}

/// Opened, run, and measured well enough to say how often it fits into a turn.
fn started(
    name: &'static str,
    case: &Case,
    inputs: &[Input],
    threads: usize,
) -> Result<Runner, String> {
    let mut engine = engines::open(name, case, inputs, threads)?;
    machine::flush_to_zero();
    let once = guarded(|| {
        engine.run()?;
        let first = engine.time(1, 1)?[0];
        let more = ((SAMPLE / first) as usize).clamp(1, 1000);
        Ok(engine.time(3, more)?.into_iter().fold(first, f64::min))
    })?;
    let runs = ((SAMPLE / once).ceil() as usize).max(1);
    let samples = ((TURN / (once * runs as f64)) as usize).max(1);
    Ok(Runner { name, engine, samples, runs, best: f64::INFINITY, wrong: false })
}

fn turn(runner: &mut Runner) {
    machine::flush_to_zero();
    let (engine, samples, runs) = (&mut runner.engine, runner.samples, runner.runs);
    let times = guarded(|| {
        if runner.best < WARM || runner.best.is_infinite() {
            engine.time(1, runs)?;
        }
        engine.time(samples, runs)
    });
    match times {
        Ok(mut times) => runner.best = runner.best.min(median(&mut times)),
        Err(text) => {
            println!("{} failed {}", runner.name, text.replace('\n', " "));
            runner.best = f64::NAN;
        }
    }
}

pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Marks whose last answers are not ONNX Runtime's.
fn check(runners: &mut [Runner], is_quantised: bool) -> Result<(), String> {
    let distance = if is_quantised { mean_distance } else { distance };
    let ort =
        runners.iter().find(|r| r.name == "ort").ok_or("nothing to compare with: ort failed")?;
    let right = ort.engine.outputs()?;
    for runner in runners {
        let off =
            runner.engine.outputs().map(|got| distance(&got, &right)).unwrap_or(f32::INFINITY);
        if off.is_nan() || off > 1.0 {
            if !runner.wrong {
                eprintln!("{}: answers {off:.3} times the tolerance away from ort's", runner.name);
            }
            runner.wrong = true;
        }
    }
    Ok(())
}

/// The root mean square of the differences, in tolerances.
fn mean_distance(got: &[Vec<f32>], right: &[Vec<f32>]) -> f32 {
    if got.iter().map(Vec::len).ne(right.iter().map(Vec::len)) {
        return f32::INFINITY;
    }
    let pairs = got.iter().flatten().zip(right.iter().flatten());
    let (off, all) = pairs.fold((0f64, 0f64), |(off, all), (a, b)| {
        (off + f64::from(a - b).powi(2), all + f64::from(*b).powi(2))
    });
    (off / all.max(f64::MIN_POSITIVE)).sqrt() as f32 / OF_BYTES
}

/// The largest difference, in tolerances.
fn distance(got: &[Vec<f32>], right: &[Vec<f32>]) -> f32 {
    if got.iter().map(Vec::len).ne(right.iter().map(Vec::len)) {
        return f32::INFINITY;
    }
    let pairs = got.iter().flatten().zip(right.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs() / (ABSOLUTE + RELATIVE * b.abs())).fold(
        0.0,
        |worst: f32, off| {
            if off.is_nan() {
                f32::NAN
            } else if worst.is_nan() {
                worst
            } else {
                worst.max(off)
            }
        },
    )
}

/// Milliseconds from the file to a session that can run, and how much more, in KiB, was resident at
/// most until its first run was done. Another model was loaded before, so that what an engine sets
/// up once does not count.
pub fn load(engine: &str, name: &str) -> Result<(), String> {
    machine::pin(1)?;
    machine::flush_to_zero();
    let engine = NAMES.into_iter().find(|n| *n == engine).ok_or("no such engine")?;
    let first = Case::all()?.into_iter().next().ok_or("no models")?;
    engines::open(engine, &first, &first.read_inputs()?, 1)?.run()?;
    let case = Case::named(name)?;
    let inputs = case.read_inputs()?;
    let before = machine::reset_peak()?;
    let start = Instant::now();
    let mut opened = engines::open(engine, &case, &inputs, 1)?;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    guarded(|| opened.run())?;
    println!("{engine} ok {ms} {}", machine::peak()?.saturating_sub(before));
    Ok(())
}
