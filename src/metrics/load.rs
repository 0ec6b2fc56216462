//! A load, from its begin to the end of the model.

use super::collector::Collector;
use super::event::{Event, Happened};
use super::meter::ModelMeter;
use super::{global, switches, trace};
use crate::error::{Error, Result};
use crate::pool::Account;
use std::fmt::Write;
use std::sync::Arc;

/// What is told of a load.
#[derive(Debug, Clone, Default)]
pub struct LoadTold {
    /// What the model is called.
    pub name: String,
    /// Whose load it is, in the host's words.
    pub tag: String,
    /// Where it comes from.
    pub source: String,
    /// What it may ask for.
    pub limits: String,
}

/// A load that began.
pub struct Load {
    collector: Collector,
    begun: u64,
    event: Event,
}

impl Load {
    /// A load begins.
    pub fn begin(told: LoadTold) -> Result<Load> {
        let collector = global::collector()?;
        let begun = collector.hub.clock.now();
        let event = Event {
            model: told.name.into(),
            tag: told.tag.into(),
            source: told.source.into(),
            limits: told.limits.into(),
            ..Event::new(Happened::Loaded)
        };
        Ok(Load { collector, begun, event })
    }

    /// It came to nothing.
    pub fn failed(self, e: &Error) {
        self.collector.load_failed(e.kind());
        let happened = Happened::of_load(e.kind());
        self.collector.record(Event { happened, ..self.event }.failed(e));
        global::relieve(&self.collector);
    }

    /// A model came of it, with this hash.
    pub fn loaded(self, hash: [u8; 32], account: &Arc<Account>) -> Loaded {
        let Load { collector, begun, mut event } = self;
        let clock = collector.hub.clock;
        let end = clock.now();
        event.hash = Some(hash);
        let meter = collector.meter(&event.model);
        let before = meter.loaded(hash, clock.ns(end.wrapping_sub(begun)), account);
        if let Some(before) = before {
            event.happened = Happened::Swapped;
            event.detail = "instead of ".to_owned();
            before.iter().for_each(|byte| {
                let _ = write!(event.detail, "{byte:02x}");
            });
        }
        if switches::get() & switches::TRACE != 0 {
            let span = trace::Span::new(event.model.clone(), trace::Category::Load, begun, end);
            collector.hub.trace.add([span]);
        }
        collector.record(event.clone());
        global::relieve(&collector);
        let (happened, detail) = (Happened::Unloaded, String::new());
        Loaded { meter, collector, event: Event { happened, detail, ..event } }
    }
}

/// A model that was loaded. When it is dropped the model has ended.
pub struct Loaded {
    meter: ModelMeter,
    collector: Collector,
    event: Event,
}

impl Loaded {
    /// What it is counted by.
    pub fn meter(&self) -> &ModelMeter {
        &self.meter
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let at_unix_ns = super::event::unix_ns();
        self.collector.record(Event { at_unix_ns, ..self.event.clone() });
        global::relieve(&self.collector);
    }
}
