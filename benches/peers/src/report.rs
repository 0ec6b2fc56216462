//! Tables, last lines and JSON.

use crate::engines::NAMES;

const INFERNO: usize = 0;
const ORT: usize = 1;
/// What is resident is counted in pages and by the way: growth below that, in KiB, is as much.
const LEAST_PEAK: f64 = 256.0;

#[derive(Clone, Copy)]
pub enum Kind {
    Speed,
    Threads(usize),
    Load,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Verdict {
    Right,
    Wrong,
}

/// Seconds; seconds with threads and without; milliseconds and KiB.
#[derive(Clone)]
pub struct Cell {
    pub verdict: Verdict,
    pub values: Vec<f64>,
}

pub struct Row {
    pub name: String,
    pub mflop: f64,
    pub cells: [Option<Cell>; NAMES.len()],
    /// Of a load with a full cache: the library's alone.
    pub cached: Option<Cell>,
}

/// Keeps the better of two; wrong once is wrong.
pub fn least(into: &mut Option<Cell>, cell: Cell) {
    match into {
        Some(have) => {
            have.values[0] = have.values[0].min(cell.values[0]);
            if cell.verdict == Verdict::Wrong {
                have.verdict = Verdict::Wrong;
            }
        }
        None => *into = Some(cell),
    }
}

impl Row {
    /// A number that counts: of an engine that answered right.
    fn value(&self, engine: usize, which: usize) -> Option<f64> {
        self.cells[engine].as_ref().filter(|c| c.verdict == Verdict::Right).map(|c| c.values[which])
    }

    fn vs_ort(&self, which: usize, floor: f64) -> Option<f64> {
        Some(self.value(INFERNO, which)?.max(floor) / self.value(ORT, which)?.max(floor))
    }

    fn cached_vs_ort(&self) -> Option<f64> {
        Some(self.cached.as_ref()?.values[0] / self.value(ORT, 0)?)
    }

    fn vs_best(&self) -> Option<f64> {
        let rivals = (0..NAMES.len()).filter(|e| *e != INFERNO).filter_map(|e| self.value(e, 0));
        Some(self.value(INFERNO, 0)? / rivals.min_by(f64::total_cmp)?)
    }

    fn speedup(&self, engine: usize) -> Option<f64> {
        Some(self.value(engine, 1)? / self.value(engine, 0)?)
    }
}

fn geomean(values: impl Iterator<Item = f64>) -> String {
    let logs: Vec<f64> = values.map(f64::ln).collect();
    if logs.is_empty() {
        "none".into()
    } else {
        format!("{:.3}", (logs.iter().sum::<f64>() / logs.len() as f64).exp())
    }
}

fn ratio(value: Option<f64>) -> String {
    value.map_or("-".into(), |v| format!("{v:.3}"))
}

fn short(value: f64) -> String {
    let digits = if value < 10.0 {
        2
    } else if value < 1000.0 {
        1
    } else {
        0
    };
    format!("{value:.digits$}")
}

fn cell(cell: &Option<Cell>, kind: Kind) -> String {
    let Some(cell) = cell else { return "-".into() };
    let mark = if cell.verdict == Verdict::Wrong { "!" } else { "" };
    match kind {
        Kind::Speed => format!("{}{mark}", short(cell.values[0] * 1e6)),
        Kind::Threads(_) => {
            format!("{}{mark} x{:.2}", short(cell.values[0] * 1e6), cell.values[1] / cell.values[0])
        }
        Kind::Load => format!("{}{mark}/{}", short(cell.values[0]), short(cell.values[1] / 1024.0)),
    }
}

fn columns(name: &str, mflop: &str, cells: impl Iterator<Item = String>, last: &str) -> String {
    let cells: String = cells.map(|c| format!(" {c:>15}")).collect();
    format!("{name:<16} {mflop:>8}{cells} {last:>10}")
}

pub fn head(kind: Kind) -> String {
    let unit = match kind {
        Kind::Speed => "us".to_string(),
        Kind::Threads(count) => format!("us x{count}"),
        Kind::Load => "ms/MiB".to_string(),
    };
    let engines = NAMES.iter().map(|n| format!("{n} {unit}"));
    match kind {
        Kind::Load => columns("", "MFLOP", engines.chain(["cached".into()]), "ours/ort"),
        _ => columns("", "MFLOP", engines, "ours/best"),
    }
}

pub fn line(row: &Row, kind: Kind) -> String {
    let last = if matches!(kind, Kind::Load) { row.vs_ort(0, 0.0) } else { row.vs_best() };
    let cached = matches!(kind, Kind::Load).then_some(&row.cached);
    let cells = row.cells.iter().chain(cached).map(|c| cell(c, kind));
    columns(&row.name, &format!("{:.2}", row.mflop), cells, &ratio(last))
}

pub fn last(rows: &[Row], kind: Kind) -> String {
    let vs_ort = |which, floor| geomean(rows.iter().filter_map(|r| r.vs_ort(which, floor)));
    match kind {
        Kind::Speed => {
            let counted: Vec<_> =
                rows.iter().filter_map(|r| Some((&r.name, r.vs_best()?))).collect();
            let worst = counted.iter().max_by(|a, b| a.1.total_cmp(&b.1));
            format!(
                "peers: models={} geomean_vs_ort={} geomean_vs_best={} worst={}",
                counted.len(),
                vs_ort(0, 0.0),
                geomean(counted.iter().map(|c| c.1)),
                worst.map_or("none".into(), |(name, r)| format!("{name}:{r:.3}")),
            )
        }
        Kind::Threads(count) => {
            let slowest = rows.iter().filter_map(|r| r.speedup(INFERNO)).min_by(f64::total_cmp);
            format!(
                "threads: n={count} slowest_speedup={}",
                slowest.map_or("none".into(), |s| format!("{s:.2}"))
            )
        }
        Kind::Load => format!(
            "load: geomean_vs_ort={} cached_vs_ort={} peak_vs_ort={}",
            vs_ort(0, 0.0),
            geomean(rows.iter().filter_map(Row::cached_vs_ort)),
            vs_ort(1, LEAST_PEAK)
        ),
    }
}

/// One object: what was measured of each model and engine, and the last line.
pub fn json(rows: &[Row], kind: Kind) -> String {
    let keys: &[&str] = match kind {
        Kind::Speed => &["seconds"],
        Kind::Threads(_) => &["seconds", "one_thread_seconds"],
        Kind::Load => &["milliseconds", "peak_kib"],
    };
    let engine = |(name, cell): (&&str, &Option<Cell>)| {
        let cell = cell.as_ref()?;
        let values: String =
            keys.iter().zip(&cell.values).map(|(k, v)| format!(", \"{k}\": {v:e}")).collect();
        Some(format!("\"{name}\": {{\"right\": {}{values}}}", cell.verdict == Verdict::Right))
    };
    let model = |row: &Row| {
        let engines: Vec<_> = NAMES.iter().zip(&row.cells).filter_map(engine).collect();
        format!(
            "{{\"name\": \"{}\", \"mflop\": {}, \"engines\": {{{}}}}}",
            row.name,
            row.mflop,
            engines.join(", ")
        )
    };
    let models: Vec<_> = rows.iter().map(model).collect();
    format!("{{\"models\": [\n{}\n], \"last\": \"{}\"}}", models.join(",\n"), last(rows, kind))
}
