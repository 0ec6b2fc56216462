//! A lane: its choices, the pool of handles it shares, and the memory that it
//! hands to the library, all of which lives until every session is gone.

use crate::ledger::{Budget, Holder, Ledger};
use fuzz::bytes::Bytes;
use fuzz::check::{budgeted_call, call, ensure, error_text};
use fuzz::models::{self, Known, Port};
use fuzz::onnx::{STRING, split};
use inferno::ffi::memory::INFERNO_NO_BUDGET;
use inferno::ffi::status::inferno_status;
use inferno::ffi::tensor::{INFERNO_MAX_RANK, inferno_dtype_size, inferno_tensor};
use std::ffi::{CString, c_char, c_void};
use std::ptr::{null, null_mut, without_provenance_mut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, MutexGuard};

pub static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(models::all);

const SLOTS: usize = 8;

/// A place for a handle, and which of the known models it is or is made over.
#[derive(Default)]
pub struct Slot {
    pub handle: AtomicUsize,
    pub model: AtomicUsize,
}

/// What all lanes of an input share.
#[derive(Default)]
pub struct Pool {
    pub models: [Slot; SLOTS],
    pub sessions: [Slot; SLOTS],
    /// Memory bound to sessions; addresses, to be freed at the end.
    memory: Mutex<Vec<(usize, usize)>>,
    /// A lane may have set a budget; known before the library knows it.
    pub budgets: AtomicBool,
    /// What was reserved since the last trim.
    pub reserved: AtomicUsize,
    ledger: Option<Mutex<Ledger>>,
}

impl Pool {
    pub fn new(alone: bool) -> Pool {
        Pool { ledger: alone.then(Mutex::default), ..Pool::default() }
    }

    /// Frees the memory that sessions were bound to.
    pub fn end(self) {
        for (data, size) in self.memory.into_inner().expect("no lane panics") {
            let all = std::ptr::slice_from_raw_parts_mut(data as *mut u8, size);
            // SAFETY: `Lane::memory` made it of a box, and no session is left.
            drop(unsafe { Box::from_raw(all) });
        }
    }
}

pub struct Lane<'a> {
    pub bytes: Bytes<'a>,
    pub pool: &'a Pool,
    /// Successful `inferno_init`s of this lane's without a shutdown.
    pub users: usize,
    /// What `inferno_session_copy_state` gave.
    pub saved: Vec<Vec<u8>>,
    /// Budgets to be taken away, and in how many calls.
    pub lifts: Vec<(u8, Holder)>,
    texts: Vec<CString>,
}

/// A handle that was picked, and what is believed of it.
pub struct Picked {
    pub handle: usize,
    /// The known model behind it.
    pub known: &'static Known,
    /// The slot it came from, when it is as the slot holds it.
    pub slot: Option<usize>,
}

impl Picked {
    pub fn as_ptr<T>(&self) -> *mut T {
        without_provenance_mut(self.handle)
    }

    pub fn model(&self) -> Holder {
        Holder::Model(self.handle)
    }

    pub fn session(&self) -> Holder {
        Holder::Session(self.handle)
    }
}

impl<'a> Lane<'a> {
    pub fn new(pool: &'a Pool, bytes: Bytes<'a>) -> Lane<'a> {
        Lane { bytes, pool, users: 0, saved: Vec::new(), lifts: Vec::new(), texts: Vec::new() }
    }

    pub fn ledger(&self) -> Option<MutexGuard<'_, Ledger>> {
        self.pool.ledger.as_ref().map(|l| l.lock().expect("no lane panics"))
    }

    pub fn model(&mut self) -> Picked {
        let pool = self.pool;
        self.picked(&pool.models, &pool.sessions)
    }

    pub fn session(&mut self) -> Picked {
        let pool = self.pool;
        self.picked(&pool.sessions, &pool.models)
    }

    /// A handle: mostly one of this kind, live or freed; else anything.
    fn picked(&mut self, own: &[Slot], other: &[Slot]) -> Picked {
        let choice = self.bytes.byte();
        // Half of all go to the first slot, so that series of calls meet.
        let at = if choice < 128 { 0 } else { choice as usize % SLOTS };
        let kept = own[at].handle.load(Relaxed);
        let known = &KNOWN[own[at].model.load(Relaxed) % KNOWN.len()];
        let (handle, slot) = match choice {
            0..232 => (kept, Some(at)),
            232..238 => (other[at].handle.load(Relaxed), None),
            238..242 => (0, None),
            242..248 => (kept ^ 1 << self.bytes.below(64), None),
            _ => (self.bytes.u64() as usize, None),
        };
        Picked { handle, known, slot }
    }

    /// Counts a call over a handle that no budget may refuse; a handle that does
    /// not live must be refused.
    pub fn call(&self, name: &str, status: inferno_status, of: Holder) -> bool {
        let done = call(name, status);
        self.handle_is_right(name, status, of);
        done
    }

    /// The same of a call that takes memory, so that a budget may refuse it: one
    /// of those that hold for `of`, or `asked`, which comes with the call.
    pub fn taking(&self, name: &str, status: inferno_status, of: Holder, asked: Budget) -> bool {
        self.budget_is_told(name, status, of, asked);
        let done = budgeted_call(name, status);
        self.handle_is_right(name, status, of);
        done
    }

    fn handle_is_right(&self, name: &str, status: inferno_status, of: Holder) {
        if let Some(ledger) = self.ledger() {
            let (lives, handle) = match of {
                Holder::Runtime => return,
                Holder::Model(handle) => (ledger.model_lives(handle), handle),
                Holder::Session(handle) => (ledger.session_lives(handle), handle),
            };
            let done = status == inferno_status::Ok;
            ensure(lives || !done, || format!("{name} took {handle:#x}, which is dead"));
            ensure(!lives || status != inferno_status::InvalidHandle, || {
                format!("{name} refused {handle:#x}, which lives")
            });
            ensure(status != inferno_status::Busy, || format!("{name}: busy with itself"));
        }
    }

    /// Without a hard budget nothing is out of it; with one, the text gives it.
    fn budget_is_told(&self, name: &str, status: inferno_status, of: Holder, asked: Budget) {
        if status != inferno_status::OutOfBudget {
            return;
        }
        let text = error_text();
        let told = match self.ledger() {
            None => self.pool.budgets.load(Relaxed),
            Some(ledger) => {
                let mut hard = ledger.chain(of).into_iter().chain([asked]).map(|b| b.hard);
                let told = |h| text.contains(&format!("hard budget, {h}")) || text.ends_with('…');
                hard.any(|h| h != INFERNO_NO_BUDGET && told(h))
            }
        };
        ensure(told, || format!("{name} answered OUT_OF_BUDGET with no such budget: {text}"));
    }

    /// Makes a call that takes memory. Alone, one that failed under budgets is
    /// made again without them at times: what a budget refused may be had then,
    /// and what failed for another reason still fails for that. `make` is told
    /// whether it is to leave out the budgets that come with the call, `asked`.
    pub fn tried(
        &mut self,
        name: &str,
        of: Holder,
        asked: Budget,
        mut make: impl FnMut(bool) -> inferno_status,
    ) -> inferno_status {
        use inferno_status::*;
        let first = make(false);
        let chain = self.ledger().map(|l| l.chain(of)).unwrap_or_default();
        let bounded = chain.iter().chain([&asked]).any(|b| b.hard != INFERNO_NO_BUDGET);
        // What depends on the time, too, says nothing.
        if chain.is_empty()
            || !bounded
            || matches!(first, Ok | InvalidHandle | DeadlineExceeded | LimitExceeded)
            || self.bytes.byte() >= if first == OutOfBudget { 128 } else { 40 }
        {
            return first;
        }
        self.taking(name, first, of, asked);
        if !crate::memory::lift_all(self, of) {
            return first;
        }
        let again = make(true);
        let same = matches!(again, DeadlineExceeded | LimitExceeded) || again == first;
        ensure(again != OutOfBudget && (same || first == OutOfBudget), || {
            format!(
                "{name} answered {first:?} under a budget and {again:?} without: {}",
                error_text()
            )
        });
        again
    }

    /// Budgets, mostly near to what these models take.
    pub fn budget(&mut self) -> Budget {
        let mut one = || match self.bytes.byte() {
            0..50 => INFERNO_NO_BUDGET,
            50..60 => 0,
            60..100 => self.bytes.byte().into(),
            100..180 => u64::from(self.bytes.byte()) << 6,
            180..220 => u64::from(self.bytes.byte()) << 10,
            220..240 => self.bytes.u64() % (1 << 20),
            _ => self.bytes.odd() as u64,
        };
        let (hard, soft) = (one(), one());
        Budget { soft, hard }
    }

    /// An index: mostly of an existing port.
    pub fn index(&mut self) -> usize {
        match self.bytes.byte() {
            n @ 0..128 => n as usize % 2,
            n @ 128..240 => n as usize % 4,
            _ => self.bytes.odd() as usize,
        }
    }

    /// Memory that lives until the end of the input, of just this size.
    pub fn memory(&mut self, content: &[u8]) -> *mut u8 {
        let data = Box::into_raw(Box::<[u8]>::from(content)).cast::<u8>();
        self.pool.memory.lock().expect("no lane panics").push((data as usize, content.len()));
        data
    }

    /// A string: `name` mostly; NULL, another one, or no UTF-8 else.
    pub fn text(&mut self, name: &str) -> *const c_char {
        let text = match self.bytes.byte() {
            0..220 => name.as_bytes().to_vec(),
            220..224 => return null(),
            224..230 => b"\xff\xfe".to_vec(),
            230..236 => vec![b'a'; 5000],
            _ => self.bytes.take(5).iter().copied().filter(|b| *b != 0).collect(),
        };
        let text = CString::new(text).unwrap_or_default();
        let address = text.as_ptr();
        self.texts.push(text);
        address
    }

    /// Dims for a port: open ones small.
    pub fn dims(&mut self, dims: Option<&str>) -> Vec<i64> {
        let Some(dims) = dims else {
            return (0..self.bytes.below(4)).map(|_| self.bytes.below(4) as i64).collect();
        };
        let open = 1 + self.bytes.below(4) as i64;
        // Symbols of one name are equal this way, and a kernel of 3 fits.
        split(dims)
            .map(|d| d.parse().unwrap_or(if d.len() > 5 { open + 2 } else { open }))
            .collect()
    }

    /// A tensor for `port`, mostly right; `None` stands for NULL. Its memory
    /// has `size_bytes` bytes, unless the dims say another size: then it must
    /// be refused before it is read.
    pub fn tensor(&mut self, port: Option<&Port>) -> Option<inferno_tensor> {
        let (_, mut dtype, dims) = port.copied().unwrap_or(("", 1, None));
        let mut dims = self.dims(dims);
        let wrong = self.bytes.byte();
        match wrong {
            200..206 => return None,
            206..214 => dtype = i32::from(self.bytes.byte() % 24) - 4,
            214..222 => dims = (0..self.bytes.below(12)).map(|_| self.bytes.dim()).collect(),
            222..228 => dims.push(1),
            _ => {}
        }
        let mut tensor = inferno_tensor {
            dtype,
            rank: dims.len() as i32,
            dims: [0; INFERNO_MAX_RANK],
            data: null_mut(),
            size_bytes: 0,
        };
        for (to, from) in tensor.dims.iter_mut().zip(&dims) {
            *to = *from;
        }
        let volume = dims.iter().try_fold(1u128, |n, d| n.checked_mul(u128::try_from(*d).ok()?));
        let right = volume.and_then(|v| v.checked_mul(inferno_dtype_size(dtype) as u128));
        let size = right.filter(|s| *s <= 1 << 16 && dims.len() <= 8).unwrap_or(16) as usize;
        (tensor.data, tensor.size_bytes) = (self.elements(dtype, size), size);
        match wrong {
            228..232 => tensor.data = null_mut(),
            232..238 => tensor.rank = self.bytes.odd() as i32,
            238..244 => tensor.size_bytes = self.bytes.odd() as usize,
            244..248 => tensor.size_bytes = tensor.size_bytes.wrapping_sub(1),
            _ => {}
        }
        // What claims more than it has must contradict its dims.
        let rank = usize::try_from(tensor.rank).unwrap_or(0).min(INFERNO_MAX_RANK);
        let dims = &tensor.dims[..rank];
        let volume = dims.iter().try_fold(1u128, |n, d| n.checked_mul(u128::try_from(*d).ok()?));
        let says = volume.and_then(|v| v.checked_mul(inferno_dtype_size(dtype) as u128));
        if tensor.size_bytes > size && says == Some(tensor.size_bytes as u128) {
            tensor.size_bytes = size.wrapping_add(1);
        }
        Some(tensor)
    }

    fn elements(&mut self, dtype: i32, size: usize) -> *mut c_void {
        if dtype == STRING {
            let count = size / size_of::<*const c_char>();
            let words: Vec<usize> = (0..count).map(|_| self.text("wörd") as usize).collect();
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
            return self.memory(&bytes).cast();
        }
        let first = self.bytes.byte();
        let bytes: Vec<u8> = match first {
            0..200 => vec![first % 4; size],
            _ => (0..size).map(|_| self.bytes.byte()).collect(),
        };
        self.memory(&bytes).cast()
    }

    pub fn touch_views(&mut self) {
        let pattern = self.bytes.byte();
        if let Some(ledger) = self.ledger() {
            ledger.touch(pattern);
        }
    }
}

/// A place for an output: filled with a pattern, so that one can see whether
/// it was written.
pub struct Place<T> {
    memory: Box<[u8]>,
    address: *mut T,
}

const PATTERN: u8 = 0xa5;

impl<T> Place<T> {
    /// Mostly a good one; else NULL or misaligned.
    pub fn new(bytes: &mut Bytes) -> Place<T> {
        let mut memory = vec![PATTERN; size_of::<T>() + 1].into_boxed_slice();
        let start = memory.as_mut_ptr();
        let address = match bytes.byte() {
            0..240 => start.cast(),
            240..248 => null_mut(),
            _ => start.wrapping_add(1).cast(),
        };
        Place { memory, address }
    }

    pub fn as_ptr(&self) -> *mut T {
        self.address
    }

    /// The output of a call that succeeded; a failed one must not have written.
    pub fn written(&self, name: &str, done: bool) -> Option<T> {
        let untouched = self.memory.iter().all(|b| *b == PATTERN);
        ensure(done || untouched, || format!("{name} failed and wrote its output"));
        ensure(!done || !self.address.is_null(), || format!("{name} took NULL for an output"));
        // SAFETY: the call wrote a `T` there.
        done.then(|| unsafe { self.address.read_unaligned() })
    }
}
