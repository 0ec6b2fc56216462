//! Where the time of a model's run goes: `profile MODEL.onnx TYPE:DIMS...`, the
//! types and dims of its inputs (`f32:1,64`).
//!
//! A line a step, as many as take most of the time, and the share of the time
//! that is in native regions.

use inferno::kernels::{Gemm, Isa, Packed};
use inferno::model::{LoadOptions, Model, Source};
use inferno::plan::Value;
use inferno::pool::Budget;
use inferno::session::{Session, SessionOptions};
use inferno::tensor::{DType, Shape};
use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Lines that are shown.
const SHOWN: usize = 25;
/// How long the model is run.
const SPELL: Duration = Duration::from_secs(2);

/// One step over many runs.
#[derive(Default)]
struct Total {
    times: Vec<Duration>,
    flop: u64,
    bytes: u64,
    is_native: bool,
    is_within: bool,
}

/// GFLOP/s of products whose operands are in the first-level cache.
fn peak() -> Result<f64, Box<dyn Error>> {
    let (m, k, n) = (72, 64, 96);
    let b = Packed::new(k, n, |i, j| (i + j) as f32 * 1e-3)?;
    let (a, mut c) = (vec![0.5f32; m * k], vec![0f32; m * n]);
    let mut best = Duration::MAX;
    for _ in 0..2000 {
        let begun = Instant::now();
        for _ in 0..10 {
            let (a, c) = (&a[..], &mut c[..]);
            let (bias, residual) = (None, None);
            let b = b.as_packed();
            Gemm { m, a, lda: k, b, bias, residual, clamp: None, c: c.into(), ldc: n }.run(Isa::best());
        }
        best = best.min(begun.elapsed());
    }
    Ok(10.0 * 2.0 * (m * k * n) as f64 / best.as_nanos() as f64)
}

/// Numbers that are neither all the same nor out of range for an index.
fn value(word: &str) -> Result<Value, Box<dyn Error>> {
    let (dtype, dims) = word.split_once(':').ok_or("expected TYPE:DIMS")?;
    let dims = dims.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    let shape = Shape::new(&dims)?;
    let count = shape.iter().product::<usize>();
    let bytes: Vec<u8> = match dtype {
        "f32" => (0..count).flat_map(|i| ((i % 101) as f32 / 101.0).to_le_bytes()).collect(),
        "i32" => (0..count).flat_map(|i| ((i % 2) as i32).to_le_bytes()).collect(),
        "i64" => (0..count).flat_map(|i| ((i % 2) as i64).to_le_bytes()).collect(),
        other => return Err(format!("inputs of {other}").into()),
    };
    let dtype = match dtype {
        "f32" => DType::F32,
        "i32" => DType::I32,
        _ => DType::I64,
    };
    Ok(Value::from_bytes(dtype, shape, &bytes)?)
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let path = words.next().ok_or("profile MODEL.onnx TYPE:DIMS...")?;
    let values = words.map(|w| value(&w)).collect::<Result<Vec<_>, _>>()?;
    let model = Model::load(Source::Path(path.into()), &LoadOptions::default())?;
    let account = Session::open_account(&model, Budget::default())?;
    let session = Session::new(model, account, SessionOptions::default())?;
    for (index, value) in values.into_iter().enumerate() {
        session.enter()?.set_input(index, value)?;
    }
    // A few rounds until caches and pools are warm.
    for _ in 0..3 {
        session.run(Duration::ZERO)?;
    }
    session.meter().set_profiled(true);
    let (mut totals, mut order) = (HashMap::<String, Total>::new(), Vec::new());
    let (mut runs, begun) = (0u32, Instant::now());
    while begun.elapsed() < SPELL || runs < 5 {
        session.run(Duration::ZERO)?;
        runs += 1;
        let entered = session.enter()?;
        let recorder = entered.profile().ok_or("a run without a profile")?;
        for (at, (entry, ns)) in recorder.last_run().enumerate() {
            let step = &recorder.entries()[entry].step;
            let name = format!("{at:>4} {}", step.name);
            let total = totals.entry(name.clone()).or_insert_with(|| {
                order.push(name);
                Total::default()
            });
            total.times.push(Duration::from_nanos(ns));
            (total.flop, total.bytes) = (step.flop, step.bytes);
            (total.is_native, total.is_within) = (step.is_native, step.is_within);
        }
    }
    let median = |total: &mut Total| {
        total.times.sort_unstable();
        total.times[total.times.len() / 2].as_nanos() as f64
    };
    let mut steps = Vec::new();
    for name in order {
        if let Some(mut total) = totals.remove(&name) {
            steps.push((median(&mut total), name, total));
        }
    }
    // Where a model is one region, its steps are all there is.
    let outside = |steps: &[(f64, String, Total)]| steps.iter().any(|(_, _, t)| !t.is_within);
    let whole = !outside(&steps);
    let counted = |t: &Total| whole || !t.is_within;
    let all: f64 = steps.iter().filter(|(_, _, t)| counted(t)).map(|(ns, _, _)| ns).sum();
    let native = steps.iter().filter(|(_, _, t)| counted(t) && t.is_native);
    let native: f64 = native.map(|(ns, _, _)| ns).sum();
    let peak = peak()?;
    println!("{:>10} {:>6} {:>8} {:>7} {:>6}  step", "us", "%", "GFLOP/s", "% peak", "GB/s");
    steps.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (ns, name, total) in steps.iter().take(SHOWN) {
        let gflops = total.flop as f64 / ns;
        let rate = if total.flop > 0 { format!("{gflops:.1}") } else { "-".into() };
        let of_peak = if total.flop > 0 { format!("{:.0}", 100.0 * gflops / peak) } else { "-".into() };
        let moved = if total.bytes > 0 { format!("{:.1}", total.bytes as f64 / ns) } else { "-".into() };
        let kind = if total.is_within || total.is_native { ' ' } else { '*' };
        println!(
            "{:>10.2} {:>6.1} {rate:>8} {of_peak:>7} {moved:>6} {kind}{name}",
            ns / 1e3,
            100.0 * ns / all
        );
    }
    if steps.len() > SHOWN {
        let rest: f64 = steps[SHOWN..].iter().filter(|(_, _, t)| counted(t)).map(|s| s.0).sum();
        println!("{:>10.2} {:>6.1} {:>32} other steps", rest / 1e3, 100.0 * rest / all, steps.len() - SHOWN);
    }
    let mut kinds: HashMap<&str, f64> = HashMap::new();
    for (ns, name, total) in &steps {
        if total.is_within {
            *kinds.entry(name.split_whitespace().nth(1).unwrap_or("?")).or_default() += ns;
        }
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by(|a, b| b.1.total_cmp(&a.1));
    let kinds = kinds.iter().map(|(kind, ns)| format!("{kind} {:.1} us", ns / 1e3));
    println!("regions: {}", kinds.collect::<Vec<_>>().join(", "));
    println!("(* not ours; a region's line is the sum of its steps and of what it copies)");
    println!(
        "profile: us={:.2} native_percent={:.1} peak_gflops={peak:.0} steps={}",
        all / 1e3,
        100.0 * native / all,
        steps.len()
    );
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("profile: {e}");
            ExitCode::FAILURE
        }
    }
}
