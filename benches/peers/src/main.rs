//! Inferno against other engines; `benches/peers.sh` says how to call it.
//!
//! Every model is measured in a process of its own, in which the engines take turns; every load in
//! one for itself. README.md says what is measured.

mod case;
mod engines;
mod machine;
mod report;
mod worker;

use std::path::Path;
use std::process::{self, Command, ExitCode, Stdio};
use std::{env, fmt, fs};

use case::Case;
use engines::{NAMES, ONE_THREAD};
use report::{Cell, Row, Verdict};

const USAGE: &str = "peers.sh [--only NAMES] [--threads N | --load] [--rounds N] [--json]";
/// How often a load is measured.
const LOADS: usize = 3;

struct Options {
    only: Vec<String>,
    threads: Option<usize>,
    load: bool,
    json: bool,
    rounds: usize,
}

fn number(word: Option<String>, least: usize) -> Result<usize, String> {
    word.and_then(|w| w.parse().ok()).filter(|n| *n >= least).ok_or_else(|| USAGE.into())
}

fn options(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut o = Options { only: vec![], threads: None, load: false, json: false, rounds: 15 };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--only" => {
                o.only = words.next().ok_or(USAGE)?.split(',').map(str::to_string).collect()
            }
            "--threads" => o.threads = Some(number(words.next(), 2)?),
            "--rounds" => o.rounds = number(words.next(), 1)?,
            "--load" => o.load = true,
            "--json" => o.json = true,
            _ => return Err(USAGE.into()),
        }
    }
    if o.load && o.threads.is_some() { Err(USAGE.into()) } else { Ok(o) }
}

/// The models whose names begin with one of the words.
fn chosen(only: &[String]) -> Result<Vec<Case>, String> {
    let all = Case::all()?;
    if let Some(word) = only.iter().find(|w| !all.iter().any(|c| c.name.starts_with(*w))) {
        let names = all.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(" ");
        return Err(format!("{word}: no model's name begins so; there are: {names}"));
    }
    Ok(all
        .into_iter()
        .filter(|c| only.is_empty() || only.iter().any(|w| c.name.starts_with(w)))
        .collect())
}

/// The answer lines of this program called with other words, by engine.
fn ask(words: &[&dyn fmt::Display]) -> Result<Vec<(usize, Cell)>, String> {
    ask_with(words, None)
}

/// The same, for the library with a cache in a folder.
fn ask_with(
    words: &[&dyn fmt::Display],
    cache: Option<&Path>,
) -> Result<Vec<(usize, Cell)>, String> {
    let program = env::current_exe().map_err(|e| e.to_string())?;
    let words = words.iter().map(|w| w.to_string()).collect::<Vec<_>>();
    let done = Command::new(program)
        .args(&words)
        .envs(cache.map(|folder| ("PEERS_CACHE", folder)))
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| e.to_string())?;
    if !done.status.success() {
        eprintln!("{}: {}", words.join(" "), done.status);
    }
    Ok(String::from_utf8_lossy(&done.stdout).lines().filter_map(|l| answer(l, &words)).collect())
}

fn answer(line: &str, words: &[String]) -> Option<(usize, Cell)> {
    let (name, rest) = line.split_once(' ')?;
    let engine = NAMES.iter().position(|n| *n == name)?;
    let (verdict, rest) = rest.split_once(' ')?;
    let verdict = match verdict {
        "ok" => Verdict::Right,
        "wrong" => Verdict::Wrong,
        _ => {
            eprintln!("{}: {name}: {rest}", words.join(" "));
            return None;
        }
    };
    let values = rest.split(' ').map(|v| v.parse().ok()).collect::<Option<Vec<f64>>>()?;
    Some((engine, Cell { verdict, values }))
}

fn row(case: &Case) -> Row {
    Row { name: case.name.clone(), mflop: case.mflop, cells: Default::default(), cached: None }
}

fn speed(case: &Case, o: &Options) -> Result<Row, String> {
    let mut row = row(case);
    for (engine, cell) in ask(&[&"run", &case.name, &1, &o.rounds])? {
        row.cells[engine] = Some(cell);
    }
    Ok(row)
}

/// Cells of the time with the threads and with one; both twice in turn, the better counts.
fn threads(case: &Case, o: &Options, count: usize) -> Result<Row, String> {
    let mut row = row(case);
    let mut one: [Option<Cell>; NAMES.len()] = Default::default();
    let mut many: [Option<Cell>; NAMES.len()] = Default::default();
    let rounds = o.rounds.div_ceil(2);
    for _ in 0..2 {
        for (threads, into) in [(1, &mut one), (count, &mut many)] {
            for (engine, cell) in ask(&[&"run", &case.name, &threads, &rounds])? {
                report::least(&mut into[engine], cell);
            }
        }
    }
    for (engine, (one, many)) in one.into_iter().zip(many).enumerate() {
        let many = if ONE_THREAD.contains(&NAMES[engine]) { one.clone() } else { many };
        row.cells[engine] = one.zip(many).map(|(one, many)| Cell {
            verdict: if one.verdict == Verdict::Wrong { Verdict::Wrong } else { many.verdict },
            values: vec![many.values[0], one.values[0]],
        });
    }
    Ok(row)
}

fn load(case: &Case) -> Result<Row, String> {
    let mut row = row(case);
    let mut cells: [Vec<Cell>; NAMES.len()] = Default::default();
    for _ in 0..LOADS {
        for name in NAMES {
            ask(&[&"load", &name, &case.name])?
                .into_iter()
                .for_each(|(engine, cell)| cells[engine].push(cell));
        }
    }
    for (engine, cells) in cells.iter().enumerate() {
        row.cells[engine] = median(cells);
    }
    row.cached = cached(case)?;
    Ok(row)
}

/// The library's loads after one that filled its cache.
fn cached(case: &Case) -> Result<Option<Cell>, String> {
    let folder = env::temp_dir().join(format!("peers-cache-{}", process::id()));
    let mut cells = vec![];
    for turn in 0..=LOADS {
        let told = ask_with(&[&"load", &NAMES[0], &case.name], Some(&folder))?;
        cells.extend(told.into_iter().map(|(_, cell)| cell).filter(|_| turn > 0));
    }
    // (It is not there when nothing was loaded.)
    let _ = fs::remove_dir_all(&folder);
    Ok(median(&cells))
}

/// The median of all loads, if none failed.
fn median(cells: &[Cell]) -> Option<Cell> {
    let of = |v: usize| worker::median(&mut cells.iter().map(|c| c.values[v]).collect::<Vec<_>>());
    let all = cells.len() == LOADS;
    all.then(|| Cell { verdict: Verdict::Right, values: vec![of(0), of(1)] })
}

fn all(o: &Options) -> Result<bool, String> {
    let kind = match o.threads {
        Some(count) => report::Kind::Threads(count),
        None if o.load => report::Kind::Load,
        None => report::Kind::Speed,
    };
    let cases = chosen(&o.only)?;
    let mut rows = vec![];
    if !o.json {
        println!("{}", report::head(kind));
    }
    for case in cases {
        let row = match kind {
            report::Kind::Speed => speed(&case, o),
            report::Kind::Threads(count) => threads(&case, o, count),
            report::Kind::Load => load(&case),
        }?;
        if !o.json {
            println!("{}", report::line(&row, kind));
        }
        rows.push(row);
    }
    if o.json {
        println!("{}", report::json(&rows, kind));
        eprintln!("{}", report::last(&rows, kind));
    } else {
        println!("{}", report::last(&rows, kind));
    }
    Ok(rows.iter().all(|r| r.cells[0].as_ref().is_some_and(|c| c.verdict == Verdict::Right)))
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["run", name, threads, rounds] => number(Some(threads.into()), 1)
            .and_then(|t| worker::run(name, t, number(Some(rounds.into()), 1)?))
            .map(|()| true),
        ["load", engine, name] => worker::load(engine, name).map(|()| true),
        _ => options(words.iter().map(|w| w.to_string())).and_then(|o| all(&o)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // Of ours, a model that failed or answered wrong.
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}
