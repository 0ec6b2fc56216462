//! Jobs from any thread, joined into batches, run by workers or by the host's pump.
//!
//! A queue serves one model. A job is submitted from any thread: its inputs are copied,
//! or lent until it is answered; it goes into the `inbox`, which takes no lock. Whoever
//! drives the queue (a worker, a pump, or who waits for a job on a queue without workers)
//! takes the inbox, asks the `policy` what to run, gathers the inputs of a batch, runs
//! it, and answers its jobs. Only that is under a lock what is scheduled: neither a run
//! nor a callback is.
//!
//! # Every job is answered once
//!
//! A submitted job is in the inbox, in the policy, or with one driver, never in two of
//! them: the inbox hands it out by one read-modify-write, the policy under its lock. The
//! driver that takes it out of the policy (for a run, or because it is cancelled, late, or
//! the queue ends) is the one that answers it, and every path out of the policy ends in
//! one answer or back in it. What others do is to ask: a cancel, a freed handle and a
//! shutdown set a flag that the driver finds (`phase`). A job that the inbox refused,
//! since it was closed, was never submitted. A queue ends when its inbox is closed and
//! empty, its policy is empty, and no driver is busy: then every job is answered.
//!
//! | file | what it is |
//! |---|---|
//! | `policy` | what to run now, or when to look again: pure |
//! | `costs` | how long batches run, and which size is worth running: pure |
//! | `breaker` | whether jobs are taken at all: pure |
//! | `inbox`, `free` (on `shelves`), `phase` | the lock-free words: new jobs, free places, a job's life |
//! | `job`, `lent`, `owned` | what a job is made of, and whose it is |
//! | `core` | submitting, cancelling, letting go |
//! | `step` | one look, one batch, its answers |
//! | `gate` | where drivers sleep |
//! | `rest` | sleeping, waking, waiting, pumping, ending |
//! | `linger` | whether to look before sleeping pays: pure |
//! | `punctual` | how much too late a sleep ends: pure |
//! | `workers` | the threads |
//! | `engine`, `sessions` | what runs a batch: sessions of one model |

mod apart;
mod breaker;
mod core;
mod costs;
mod engine;
mod free;
mod gate;
mod inbox;
mod job;
mod lent;
mod linger;
mod owned;
mod phase;
mod policy;
mod punctual;
mod rest;
mod sessions;
mod shelves;
mod step;
mod telling;
mod workers;

pub use self::core::{Core, Door, MOST_JOBS, MOST_RETRIES, MOST_ROWS, MOST_WORKERS, Options};
pub use breaker::Health;
pub use engine::{Engine, Fit, Jobs, Put};
pub use job::{Input, Note, Request};
pub use lent::Lent;
pub use policy::{LEVELS, Settings};
pub use sessions::{Lane, Part, Rows, Sessions};
pub use telling::is_telling;
pub use workers::Queue;

#[cfg(all(test, feature = "capi"))]
pub(crate) mod audited {
    pub(crate) use super::breaker::Breaker;
    pub(crate) use super::free::Free;
    pub(crate) use super::inbox::{Closed, Inbox, Taken};
    pub(crate) use super::job::{Cell, Content};
    pub(crate) use super::owned::Owned;
    pub(crate) use super::phase::{Answered, Cancel, Phase};
    pub(crate) use super::policy::{Arrival, Next, Own, Policy};
}
