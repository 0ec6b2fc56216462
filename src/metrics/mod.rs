//! What the library does, to be seen without costing the frame.
//!
//! A [`Collector`] records; a [`Processor`] alone owns the receiving end. Between
//! them are two ways, for what happens often and for what happens rarely:
//!
//! - **Runs** are counted in cells of their session ([`SessionMeter`]). A warm run
//!   may take little more than a microsecond, and a message a run would cost a
//!   tenth of it and contend with all other threads; a session, however, lets one
//!   thread in at a time, so its cells are that thread's own while it counts. The
//!   processor reads them when it wants to know: intervals are differences.
//! - **Events** (loads, ends, failures, thresholds) go one by one through a bounded
//!   channel. Recording never waits: what finds no room is counted as dropped, and
//!   `dropped + counted` is what was recorded, once all are received.
//!
//! Counting is on from the start and costs no thread. A thread is started when a
//! subscriber asks for one ([`subscribe`] with [`Driver::Thread`]) and ended with
//! the last of them, or by [`shutdown`]; a host that forbids threads calls [`poll`].
//!
//! | file | what it is |
//! |---|---|
//! | `cells`, `histogram` | where a run is counted |
//! | `meter`, `queue` | what a model, a session and a queue hold to be counted by |
//! | `event`, `collector`, `processor` | the two ends, and what goes between them |
//! | `subscription`, `threshold`, `exporter` | who is told what, when |
//! | `snapshot`, `openmetrics` | what was counted, as values and as text |
//! | `profile`, `trace` | the time of steps, of a session and over time |
//! | `audit` | the log of events, in a chain of hashes |
//! | `global` | the process's collector, and who drives its processor |

mod audit;
mod cells;
mod collector;
mod event;
mod exporter;
mod global;
mod histogram;
mod json;
mod load;
mod meter;
mod openmetrics;
mod processor;
pub mod profile;
mod queue;
mod snapshot;
mod subscription;
mod switches;
mod threshold;
mod trace;

pub use audit::{AuditLog, verify};
pub use cells::{STATUSES, Totals, status_of};
pub use collector::{Collector, channel};
pub use event::{Event, Happened};
pub use global::{
    Driver, audit_text, collector, poll, set_audit_capacity, shutdown, start, subscribe,
    trace_start, trace_stop, trace_text, unsubscribe,
};
pub use histogram::Histogram;
pub use load::{Load, LoadTold, Loaded};
pub use meter::{Begun, ModelMeter, SessionMeter};
pub use openmetrics::Format;
pub use processor::{Processor, Running, is_telling};
pub use queue::{QueueMeter, QueueTotals};
pub use snapshot::{ModelSnapshot, Snapshot};
pub use subscription::{Report, Task};
pub use switches::{is_counting, set_counting};
pub use threshold::{Crossing, Metric, Threshold};

#[cfg(all(test, feature = "capi"))]
pub(crate) mod audited {
    pub(crate) use super::cells::Cells;
    pub(crate) use super::collector::Hub;
    pub(crate) use super::meter::Meter;
    pub(crate) use super::queue::QueueCells;
    pub(crate) use super::subscription::{Subscription, Subscriptions};
    pub(crate) use super::trace::Trace;
}

use collector::Hub;
use std::sync::Arc;

fn snapshot_of(hub: &Arc<Hub>) -> Snapshot {
    Collector { hub: hub.clone() }.snapshot()
}
