//! A model is tried in a process of its own before it is loaded here.
//!
//! The helper program `inferno-check` locks itself in (no files, no network, no
//! other processes, bounded memory and time), gets the model's bytes over a
//! socket, loads it with the same limits, makes a session with every open dim 1,
//! runs it once, and says how that went. Files are read on this side only, under
//! the rules of [`Folder`], so every source works.
//!
//! # What refuses
//!
//! - whatever the load answers, with its status and text;
//! - of the session and the run: memory, a limit, the deadline, a defect of ours
//!   ([`held_against`]). Other failures do not: dims and values were guesses;
//! - an end without a verdict, by a signal or otherwise, and an answer that is
//!   no answer: `INVALID_MODEL`. Before the helper is ready it has not seen the
//!   model, and the same is `IO`: the installation is at fault.
//!
//! # What it is worth
//!
//! A model that crashes, hangs or asks for too much does so elsewhere. It is no
//! proof of innocence: a model that takes the helper over can answer well for
//! itself, and then meets what it would have met without a trial.
//!
//! The bytes that are loaded here are those that were tried: the model is read
//! once, external data is compared by its hash.

mod helper;
mod wire;

pub use helper::use_helper;

use super::source::{Folder, LoadOptions, Seen, Source};
use crate::error::{self, Error, Kind, Result};
use crate::log::log_line;
use crate::work;
use helper::Process;
use std::borrow::Cow;
use std::path::Path;
use std::time::{Duration, Instant};
use wire::{Broken, Line, Said};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The most requests for external data: as many as a model may have weights,
/// and more.
const MOST_REQUESTS: u32 = 1 << 20;

/// The stages of a trial, as the helper numbers them.
const STAGES: [&str; 4] = ["locking itself in", "the load", "the import", "the run"];
const LOCK: u32 = 0;
const LOAD: u32 = 1;
const RUN: u32 = 3;

/// A model that passed: its bytes, and what else it read.
pub(super) struct Tried<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    pub(super) seen: Seen,
}

/// Tries a model.
pub(super) fn tried<'a>(
    source: &Source<'a>,
    options: &LoadOptions,
    name: &str,
) -> Result<Tried<'a>> {
    let begun = Instant::now();
    let time = Duration::from_nanos(options.limits.load_time_ns);
    let until = work::moment(time);
    let path = helper::find()?;
    let bytes = source.whole(options)?;
    let (process, stream) = Process::start(&path)?;
    let mut trial = Trial {
        line: Line::new(stream, until),
        folder: source.folder(options),
        seen: Seen::default(),
        refused: None,
        stage: LOCK,
    };
    let helper = path.display();
    let verdict = match trial.greeted(options, name, &bytes) {
        Ok(Ok(())) => trial.heard_out(&bytes),
        other => other,
    };
    let what = || match trial.stage {
        LOCK => format!("the helper {helper}"),
        stage => format!("the isolated trial, in {},", stage_name(stage)),
    };
    match verdict {
        Ok(verdict) => verdict.map_err(|e| at_helper(trial.stage, e, &path))?,
        Err(Broken::Late) => {
            return Err(error::deadline_exceeded(format!(
                "{} was not done after {} ms: expected at most load_time_ns",
                what(),
                time.as_millis()
            )));
        }
        Err(Broken::Gone) => return Err(blamed(trial.stage, process.end().error(&what()))),
        Err(Broken::Odd(said)) => {
            let odd = error::invalid_model(format!("{} answered {said}", what()));
            return Err(blamed(trial.stage, odd));
        }
    }
    log_line!(Debug, "tried {name} with {helper} in {} ms", begun.elapsed().as_millis());
    Ok(Tried { bytes, seen: trial.seen })
}

fn at_helper(stage: u32, e: Error, path: &Path) -> Error {
    if stage == LOCK { e.at(path.display()) } else { e }
}

/// Until the helper has seen the model, its troubles are its own.
fn blamed(stage: u32, e: Error) -> Error {
    match (stage, e.kind()) {
        (LOCK, Kind::InvalidModel) => error::io(e.detail()),
        _ => e,
    }
}

fn stage_name(stage: u32) -> &'static str {
    STAGES.get(stage as usize).copied().unwrap_or("a stage of no name")
}

struct Trial {
    line: Line,
    folder: Folder,
    seen: Seen,
    /// Why external data was refused here: the helper was told only that.
    refused: Option<Error>,
    stage: u32,
}

impl Trial {
    /// Says hello, and waits until the helper is ready.
    fn greeted(
        &mut self,
        options: &LoadOptions,
        name: &str,
        model: &[u8],
    ) -> Result<Result<()>, Broken> {
        let limits = &options.limits;
        let mut hello = Vec::new();
        for number in [wire::PROTOCOL, u32::from(self.folder.has_files())] {
            hello.extend(number.to_le_bytes());
        }
        for number in [
            model.len() as u64,
            limits.file_bytes,
            limits.weight_bytes,
            limits.tensor_bytes,
            limits.memory_bytes,
            limits.nodes,
            limits.node_values,
            limits.rank,
            limits.depth,
            limits.load_time_ns,
        ] {
            hello.extend(number.to_le_bytes());
        }
        self.line.say(wire::HELLO, &[&hello, name.as_bytes()])?;
        match self.line.hear()? {
            Said::Ready { protocol: wire::PROTOCOL, version } if version == VERSION => Ok(Ok(())),
            Said::Ready { protocol, version } => Ok(Err(error::unsupported(format!(
                "it is of version {version}, protocol {protocol}: expected {VERSION}, protocol {}",
                wire::PROTOCOL
            )))),
            Said::Verdict { stage: LOCK, text, .. } => Ok(Err(error::unsupported(text))),
            said => Err(Broken::Odd(format!("{said:?} out of turn"))),
        }
    }

    /// Hands the model over and serves the helper until its verdict.
    fn heard_out(&mut self, model: &[u8]) -> Result<Result<()>, Broken> {
        self.stage = LOAD;
        self.line.say(wire::MODEL, &[model])?;
        for _ in 0..MOST_REQUESTS {
            match self.line.hear()? {
                Said::Stage(stage) if stage >= self.stage && stage <= RUN => self.stage = stage,
                Said::Size { location } => {
                    let size = self.folder.size(&location);
                    self.answer(size.map(|size| size.to_le_bytes().to_vec()))?;
                }
                Said::Read { offset, bytes, location } => {
                    let read = self.folder.read(&location, offset, Some(bytes));
                    if let Ok(read) = &read {
                        self.seen.note(&location, offset, read);
                    }
                    self.answer(read)?;
                }
                Said::Verdict { stage, status, peak_bytes, text } => {
                    log_line!(Debug, "the trial used {peak_bytes} bytes at most");
                    return self.verdict(stage, status, &text);
                }
                said => return Err(Broken::Odd(format!("{said:?} out of turn"))),
            }
        }
        Err(Broken::Odd(format!("more than {MOST_REQUESTS} times")))
    }

    fn answer(&mut self, read: Result<Vec<u8>>) -> Result<(), Broken> {
        match read {
            Ok(bytes) => self.line.say(wire::ANSWER, &[&0u32.to_le_bytes(), &bytes]),
            Err(e) => {
                let code: u32 = if e.kind() == Kind::NotFound { 1 } else { 2 };
                self.refused.get_or_insert(e);
                self.line.say(wire::ANSWER, &[&code.to_le_bytes()])
            }
        }
    }

    fn verdict(&mut self, stage: u32, status: u32, text: &str) -> Result<Result<()>, Broken> {
        let kind = match status {
            0 if stage == RUN => return Ok(Ok(())),
            _ => KINDS.get((status as usize).wrapping_sub(1)).copied(),
        };
        let Some(kind) = kind.filter(|_| stage == self.stage && stage >= LOAD) else {
            return Err(Broken::Odd(format!("status {status} of stage {stage}")));
        };
        if let Some(refused) = self.refused.take().filter(|_| stage == LOAD) {
            return Ok(Err(refused));
        }
        if stage > LOAD && !held_against(kind) {
            log_line!(
                Info,
                "{} of a trial with guessed dims did not go well, which is not held against the \
                 model: {text}",
                stage_name(stage)
            );
            return Ok(Ok(()));
        }
        let text = match stage {
            LOAD => text.to_owned(),
            _ => format!("{} of its isolated trial: {text}", stage_name(stage)),
        };
        Ok(Err(Error::new(kind, text)))
    }
}

/// Whether a session or a run that failed with guessed dims and values speaks
/// against the model.
fn held_against(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::OutOfMemory | Kind::LimitExceeded | Kind::DeadlineExceeded | Kind::Internal
    )
}

/// The kinds in the order of their statuses in C, from 1.
pub(crate) const KINDS: [Kind; 18] = [
    Kind::InvalidArgument,
    Kind::InvalidHandle,
    Kind::Busy,
    Kind::NotFound,
    Kind::Io,
    Kind::InvalidModel,
    Kind::Unsupported,
    Kind::DtypeMismatch,
    Kind::ShapeMismatch,
    Kind::SizeMismatch,
    Kind::NotReady,
    Kind::OutOfMemory,
    Kind::LimitExceeded,
    Kind::RunFailed,
    Kind::Internal,
    Kind::DeadlineExceeded,
    Kind::OutOfBudget,
    Kind::Cancelled,
];
