//! Log lines: a level and a sink that the host sets. Never stderr, unasked.
//!
//! tract logs through the `log` crate. The C artefacts (feature `capi`) own that
//! crate's global and hand its lines on; as an rlib we leave it to the program.

use crate::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// How much a line matters; lower is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Level {
    Off = 0,
    Error = 1,
    Warn = 2,
    Info = 3,
    Debug = 4,
    Trace = 5,
}

impl Level {
    /// The level with this number.
    pub fn from_i32(number: i32) -> Option<Level> {
        [Level::Off, Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace]
            .into_iter()
            .find(|l| *l as i32 == number)
    }
}

/// Receives a line: level, module, text.
pub type Sink = Box<dyn Fn(Level, &str, &str) + Send + Sync>;

static LEVEL: AtomicI32 = AtomicI32::new(0);
static SINK: Mutex<Option<Arc<Sink>>> = Mutex::new(None);

/// Sends lines of `level` and below to `sink`, instead of to the earlier one.
/// When it returns nobody is inside the earlier one any more.
pub fn set(level: Level, sink: Sink) {
    replace(Some(Arc::new(sink)));
    LEVEL.store(level as i32, Ordering::Relaxed);
    bridge::install(level);
}

/// Stops the log.
pub fn clear() {
    LEVEL.store(0, Ordering::Relaxed);
    replace(None);
    bridge::install(Level::Off);
}

fn replace(sink: Option<Arc<Sink>>) {
    let mut old = std::mem::replace(&mut *SINK.lock(), sink);
    // A line under way holds a clone: the host may free what the callback uses
    // only when the last is gone.
    while let Some(still) = old {
        old = Arc::try_unwrap(still).err();
        if old.is_some() {
            std::thread::yield_now();
        }
    }
}

/// Whether a line of `level` would be taken.
pub fn enabled(level: Level) -> bool {
    level as i32 <= LEVEL.load(Ordering::Relaxed)
}

/// Hands a line to the sink. The sink is called without a lock held.
pub fn line(level: Level, module: &str, text: std::fmt::Arguments<'_>) {
    if !enabled(level) {
        return;
    }
    let sink = SINK.lock().clone();
    if let Some(sink) = sink {
        sink(level, module, &text.to_string());
    }
}

/// `warn!("…")` and its kin: a line from this module.
macro_rules! log_line {
    ($level:ident, $($arg:tt)*) => {
        $crate::log::line($crate::log::Level::$level, module_path!(), format_args!($($arg)*))
    };
}
pub(crate) use log_line;

#[cfg(feature = "capi")]
mod bridge {
    use super::Level;
    use ::log::{LevelFilter, Log, Metadata, Record};

    struct Bridge;

    impl Log for Bridge {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            super::enabled(level(metadata.level()))
        }

        fn log(&self, record: &Record<'_>) {
            super::line(level(record.level()), record.target(), *record.args());
        }

        fn flush(&self) {}
    }

    fn level(level: ::log::Level) -> Level {
        match level {
            ::log::Level::Error => Level::Error,
            ::log::Level::Warn => Level::Warn,
            ::log::Level::Info => Level::Info,
            ::log::Level::Debug => Level::Debug,
            ::log::Level::Trace => Level::Trace,
        }
    }

    pub(super) fn install(level: Level) {
        // Fails when a Rust program that links us has a logger: it keeps it.
        let _ = ::log::set_logger(&Bridge);
        ::log::set_max_level(match level {
            Level::Off => LevelFilter::Off,
            Level::Error => LevelFilter::Error,
            Level::Warn => LevelFilter::Warn,
            Level::Info => LevelFilter::Info,
            Level::Debug => LevelFilter::Debug,
            Level::Trace => LevelFilter::Trace,
        });
    }
}

#[cfg(not(feature = "capi"))]
mod bridge {
    pub(super) fn install(_: super::Level) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_reach_the_sink_by_level() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        set(Level::Info, Box::new(move |l, _, t| into.lock().push((l, t.to_owned()))));
        log_line!(Info, "loaded {}", 1);
        log_line!(Debug, "hidden");
        clear();
        log_line!(Error, "nobody listens");
        // Other tests may log at the same time.
        let seen = seen.lock();
        assert!(seen.contains(&(Level::Info, "loaded 1".to_owned())));
        assert!(!seen.iter().any(|(_, t)| t == "hidden" || t == "nobody listens"));
    }
}
