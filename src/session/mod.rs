//! One execution context over a shared model: bound tensors, recurrent state,
//! run.
//!
//! A [`Session`] may be named by any thread; [`Session::enter`] lets one in at a
//! time and answers `Busy` to the others. What the one inside sees is
//! [`Inner`].

mod bind;
mod inner;
mod need;
mod recurrent;
mod run;
mod slice;

pub use bind::{BoundInput, BoundOutput};

#[cfg(all(test, feature = "capi"))]
pub(crate) mod audited {
    pub(crate) use super::bind::CStrings;
    pub(crate) use crate::plan::audited::{IndexChecks, LargeSteps};
}

pub use inner::Inner;
pub(crate) use inner::check;
pub use need::{Need, need};

use crate::crew;
use crate::error::{self, Error, Kind, Result};
use crate::metrics::{Begun, SessionMeter, profile};
use crate::model::Model;
use crate::plan::Value;
use crate::pool::{Account, Budget, Charge, Scope};
use crate::tensor::Shape;
use crate::work::Stop;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

/// How to make a session; names are the model's.
#[derive(Default)]
pub struct SessionOptions {
    /// Values of symbols.
    pub symbols: Vec<(String, i64)>,
    /// Shapes of inputs; they go before `symbols`.
    pub shapes: Vec<(String, Shape)>,
    /// Inputs fixed as constants.
    pub constants: Vec<(String, Value)>,
    /// Recurrent pairs: input, output.
    pub states: Vec<(String, String)>,
    /// Threads of a run, the caller's among them; 0 is 1.
    pub threads: usize,
}

/// One execution context.
pub struct Session {
    inner: Mutex<Inner>,
    stop: Arc<Stop>,
    meter: SessionMeter,
    /// The last to go: all else is credited to it.
    account: Account,
}

/// The inside of a session, for the one thread that is there. What it takes is
/// credited to the session.
pub struct Entered<'a> {
    inner: MutexGuard<'a, Inner>,
    account: &'a Account,
    _charge: Charge<'a>,
}

impl Entered<'_> {
    /// Runs once, within `time` (zero: for ever). Nothing changes when it fails.
    /// What a run of the same shapes held before has to be within the budgets.
    pub fn run(&mut self, time: Duration) -> Result<()> {
        self.inner.at_rest()?;
        run(&mut self.inner, self.account, time)
    }

    /// The times of its steps, of the runs that were profiled; none when none was.
    pub fn profile(&self) -> Option<&profile::Recorder> {
        self.inner.recorder.as_deref()
    }

    /// Forgets them.
    pub fn forget_profile(&mut self) {
        self.inner.recorder = None;
    }
}

/// Runs once, where what it takes is credited to `account`.
fn run(inner: &mut Inner, account: &Account, time: Duration) -> Result<()> {
    expect(inner, account)?;
    inner.run(time)?;
    inner.ran_within(account.most_bytes());
    Ok(())
}

/// A run begins: what one of the same shapes held has to be within the budgets.
fn expect(inner: &mut Inner, account: &Account) -> Result<()> {
    inner.prepare()?;
    if let Some(need) = inner.run_bytes() {
        account.expect(need)?;
    }
    account.watch();
    Ok(())
}

impl Deref for Entered<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl DerefMut for Entered<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}

impl Session {
    /// An account for a session over `model`; what its options hold is credited
    /// to it, too.
    pub fn open_account(model: &Model, budget: Budget) -> Result<Account> {
        Account::open(Some(model.account()), model.name(), budget)
    }

    /// A session over `model`, compiled when all shapes are known.
    pub fn new(model: Arc<Model>, account: Account, options: SessionOptions) -> Result<Session> {
        // (They are nobody's: before anything is credited to the account.)
        crew::hire(options.threads)?;
        let meter = model.meter()?.session();
        let name = model.name().to_owned();
        let inner = {
            let _charge = account.charge();
            let scope = Scope::open(u64::MAX);
            let made = Inner::new(model, options);
            // What could not be refused counts now.
            made.and_then(|inner| scope.settle().map(|()| inner)).map_err(|e| e.at(name))?
        };
        let stop = inner.stop.clone();
        Ok(Session { inner: Mutex::new(inner), stop, meter, account })
    }

    /// Whom what it holds is credited to.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Lets the caller in, unless somebody is.
    pub fn enter(&self) -> Result<Entered<'_>> {
        let inner = self.lock()?;
        Ok(Entered { inner, account: &self.account, _charge: self.account.charge() })
    }

    /// Enters, runs once within `time` (zero: for ever), and leaves. Nothing
    /// changes when it fails.
    pub fn run(&self, time: Duration) -> Result<()> {
        let mut inner = self.lock().and_then(rested).inspect_err(|e| self.sent_away(e))?;
        let begun = self.meter.begin();
        self.stop.begin();
        let outcome = match begun.is_watched() {
            false => self.run_inside(&mut inner, time),
            true => self.run_watched(&mut inner, begun, time),
        };
        self.stop.end();
        // (Here, where nobody else is: the cells are this thread's.)
        self.meter.end(begun, outcome.as_ref().err());
        outcome
    }

    fn sent_away(&self, e: &Error) {
        if e.kind() == Kind::Busy {
            self.meter.busy();
        }
    }

    fn run_inside(&self, inner: &mut Inner, time: Duration) -> Result<()> {
        if inner.is_at_hand() {
            self.account.check()?;
            return inner.run_at_hand(time);
        }
        let _charge = self.account.charge();
        run(inner, &self.account, time)
    }

    #[cold]
    fn run_watched(&self, inner: &mut Inner, begun: Begun, time: Duration) -> Result<()> {
        let mut recorder = inner.recorder.take();
        let run = || self.run_inside(inner, time);
        let outcome = profile::watched(&self.meter, begun, true, &mut recorder, run);
        inner.recorder = recorder;
        outcome
    }

    /// Asks the run that is under way, if there is one, to end. From any thread.
    pub fn cancel(&self) {
        self.stop.cancel();
    }

    /// What its runs are counted by.
    pub fn meter(&self) -> &SessionMeter {
        &self.meter
    }

    fn lock(&self) -> Result<MutexGuard<'_, Inner>> {
        match self.inner.try_lock() {
            Ok(inner) => Ok(inner),
            // A panic inside was caught by the caller's guard. Every change to
            // `Inner` is made by moving finished values, so it is still whole.
            Err(TryLockError::Poisoned(poisoned)) => {
                self.inner.clear_poison();
                let mut inner = poisoned.into_inner();
                inner.recover();
                Ok(inner)
            }
            Err(TryLockError::WouldBlock) => {
                Err(error::busy("another thread is inside this session: expected one at a time"))
            }
        }
    }
}

/// The inside of a session, when no run is under way there.
fn rested(mut inner: MutexGuard<'_, Inner>) -> Result<MutexGuard<'_, Inner>> {
    inner.at_rest()?;
    Ok(inner)
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Session>();
    shared::<Model>();
};
