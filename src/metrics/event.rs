//! What happens rarely and is told one by one: loads, ends, failures.

use super::status_of;
use crate::error::{Error, Kind};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// A model was loaded.
    Loaded = 1,
    /// A model was loaded under the name of one that is in use, with other bytes.
    Swapped = 2,
    /// A model was refused: it is not one, or asks for more than it may.
    Refused = 3,
    /// A load failed for another reason.
    LoadFailed = 4,
    /// The last use of a model ended.
    Unloaded = 5,
    /// A run failed.
    RunFailed = 6,
    /// A threshold was passed.
    Raised = 7,
    /// What was past a threshold came back.
    Cleared = 8,
    /// Events before this one were dropped, the channel being full.
    Lost = 9,
    /// Nothing: the processor is to look at what is due. Neither counted nor told.
    Woken = 0,
}

impl Happened {
    /// What it is called in texts.
    pub fn name(self) -> &'static str {
        match self {
            Happened::Loaded => "loaded",
            Happened::Swapped => "swapped",
            Happened::Refused => "refused",
            Happened::LoadFailed => "load_failed",
            Happened::Unloaded => "unloaded",
            Happened::RunFailed => "run_failed",
            Happened::Raised => "raised",
            Happened::Cleared => "cleared",
            Happened::Lost => "lost",
            Happened::Woken => "woken",
        }
    }

    /// Whether a load that ends so was refused for what the model is.
    pub(super) fn of_load(kind: Kind) -> Happened {
        match kind {
            Kind::InvalidModel | Kind::Unsupported | Kind::LimitExceeded | Kind::OutOfBudget => {
                Happened::Refused
            }
            _ => Happened::LoadFailed,
        }
    }
}

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    /// What happened.
    pub happened: Happened,
    /// When, in nanoseconds since 1970.
    pub at_unix_ns: u64,
    /// What the model is called; empty when it is about none.
    pub model: Arc<str>,
    /// Its BLAKE3 hash, where it was read.
    pub hash: Option<[u8; 32]>,
    /// Whose load it is, in the host's words.
    pub tag: Arc<str>,
    /// Where the model came from.
    pub source: Arc<str>,
    /// What it was allowed.
    pub limits: Arc<str>,
    /// The number of the status; 0 for a success.
    pub status: u32,
    /// What was wrong, or what else is to be said.
    pub detail: String,
}

impl Event {
    /// An event of now, about nothing yet.
    pub fn new(happened: Happened) -> Event {
        let none: Arc<str> = Arc::from("");
        Event {
            happened,
            at_unix_ns: unix_ns(),
            model: none.clone(),
            hash: None,
            tag: none.clone(),
            source: none.clone(),
            limits: none,
            status: 0,
            detail: String::new(),
        }
    }

    /// The same event, which is a failure.
    pub(super) fn failed(self, e: &Error) -> Event {
        Event { status: status_of(e.kind()) as u32, detail: e.detail().to_owned(), ..self }
    }
}

/// Now, in nanoseconds since 1970.
pub(super) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
