//! Runs in slices: a run over several calls.
//!
//! A run in slices is one run: it is counted once, with the time of all its slices, when
//! it has come to its end. Until then what it reads may not change.

use super::inner::Sliced;
use super::{Inner, Session, expect};
use crate::error::Result;
use crate::metrics::{Begun, profile};
use crate::plan::Slice;
use crate::work;
use std::time::Duration;

impl Session {
    /// Enters, goes on with a run for about so long, or begins one, and leaves; whether
    /// the run has come to its end. Nothing changes before, or when it fails; the next
    /// call then begins a run.
    pub fn run_for(&self, budget: Duration) -> Result<bool> {
        let mut slice = Slice::of(budget);
        let mut inner = self.lock().inspect_err(|e| self.sent_away(e))?;
        let own = self.meter.begin();
        let is_first = inner.sliced.is_none();
        if is_first {
            self.stop.begin();
        }
        let begun = own.after(inner.sliced.get_or_insert_default().spent);
        let outcome = match own.is_watched() {
            false => self.slice_inside(&mut inner, is_first, &mut slice),
            true => self.slice_watched(&mut inner, own, is_first, &mut slice),
        };
        // (It may have been asked to end when nothing looked any more.)
        let outcome = match outcome {
            Ok(false) if self.stop.is_cancelled() => Err(work::cancelled()),
            outcome => outcome,
        };
        match &outcome {
            Ok(false) => inner.sliced = Some(Sliced { spent: self.meter.spent(begun) }),
            Ok(true) => {
                inner.sliced = None;
                self.stop.end();
                self.meter.end(begun, None);
            }
            Err(e) => {
                inner.give_up();
                self.meter.end(begun, Some(e));
            }
        }
        outcome
    }

    fn slice_inside(&self, inner: &mut Inner, is_first: bool, slice: &mut Slice) -> Result<bool> {
        let _charge = self.account.charge();
        match is_first {
            true => expect(inner, &self.account)?,
            false => self.account.check()?,
        }
        let is_done = inner.run_slice(slice)?;
        if is_done {
            inner.ran_within(self.account.most_bytes());
        }
        Ok(is_done)
    }

    #[cold]
    fn slice_watched(
        &self,
        inner: &mut Inner,
        begun: Begun,
        is_first: bool,
        slice: &mut Slice,
    ) -> Result<bool> {
        let mut recorder = inner.recorder.take();
        let run = || self.slice_inside(inner, is_first, slice);
        let outcome = profile::watched(&self.meter, begun, is_first, &mut recorder, run);
        inner.recorder = recorder;
        outcome
    }
}
