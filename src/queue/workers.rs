//! A queue with the threads that drive it.

use super::core::{Core, Options};
use super::engine::Engine;
use super::job::Note;
use crate::error::{self, Result};
use crate::metrics::QueueMeter;
use crate::sync::Mutex;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// The stack of a worker: the host's callbacks run there, too.
const STACK_BYTES: usize = 2 << 20;

/// A queue. Its threads end with [`Queue::end`].
pub struct Queue<E: Engine, N: Note> {
    core: Arc<Core<E, N>>,
    threads: Mutex<Vec<ManuallyDrop<JoinHandle<()>>>>,
}

impl<E: Engine, N: Note> Queue<E, N> {
    /// A queue, with its threads if it is to have any.
    pub fn new(engine: E, options: Options, meter: QueueMeter) -> Result<Self> {
        let core = Arc::new(Core::new(engine, options, meter)?);
        let queue = Queue { core, threads: Mutex::default() };
        for _ in 0..options.workers {
            let core = queue.core.clone();
            let builder = Builder::new().name("inferno-queue".into()).stack_size(STACK_BYTES);
            match builder.spawn(move || core.work()) {
                Ok(thread) => queue.threads.lock().push(ManuallyDrop::new(thread)),
                Err(e) => {
                    queue.end()?;
                    return Err(error::out_of_memory(format!("no thread for a queue: {e}")));
                }
            }
        }
        Ok(queue)
    }

    /// The queue without its threads.
    pub fn core(&self) -> &Arc<Core<E, N>> {
        &self.core
    }

    /// Cancels what waits, waits for what runs, and ends the threads. Afterwards every
    /// job is answered, and nobody is inside a callback. May be called again.
    pub fn end(&self) -> Result<()> {
        if super::is_telling() {
            return Err(super::rest::inside("ending a queue"));
        }
        self.core.close(false);
        let is_here = self.core.process == std::process::id();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if is_here {
                let _ = ManuallyDrop::into_inner(thread).join();
            }
        }
        if !is_here && self.core.is_busy() {
            // (The thread that was at it is the parent's.)
            return Ok(());
        }
        self.core.finish(u64::MAX).map(drop)
    }
}

impl<E: Engine, N: Note> Deref for Queue<E, N> {
    type Target = Core<E, N>;

    fn deref(&self) -> &Core<E, N> {
        &self.core
    }
}
