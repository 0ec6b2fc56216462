//! Accounts: whom a block is credited to, whichever thread frees it.
//!
//! Account 0 is the runtime's and holds everything; a model's stands below it,
//! a session's below its model's. A block knows its account by number, and an
//! account's balance counts what those below it hold as its own.
//!
//! An account that is closed lives on until its last block is given back, which
//! may be long after (an operator's scratch that a thread keeps, say): then its
//! number is free again. Nothing is credited to a closed account, so what it
//! holds only shrinks.

use super::balance::{Balance, Budget, NoRoom, SLACK, draw};
use crate::error::{self, Result};
use crate::sync::Mutex;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// An account's number, as blocks carry it.
pub(super) type Id = u16;
/// The runtime's.
pub(super) const RUNTIME: Id = 0;

/// Whose an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// All of the library's.
    Runtime,
    /// A model's, with its sessions.
    Model,
    /// A session's.
    Session,
}

/// What the table knows of an account besides its balance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    holder: Holder,
    pub(super) open: bool,
    pub(super) used: bool,
    pub(super) children: u32,
    /// When a passing of the soft budget was last told.
    told: Option<Instant>,
    /// The next free number.
    next: Id,
    name: [u8; NAME],
}

const NAME: usize = 40;

#[repr(C, align(128))]
pub(crate) struct Slot {
    pub(super) balance: Balance,
    /// The account above; it stays in use for as long as this one.
    pub(super) parent: AtomicU16,
    pub(super) entry: Mutex<Entry>,
}

impl Slot {
    const fn new(holder: Holder, open: bool) -> Slot {
        let entry =
            Entry { holder, open, used: open, children: 0, told: None, next: 0, name: [0; NAME] };
        Slot { balance: Balance::new(), parent: AtomicU16::new(0), entry: Mutex::new(entry) }
    }
}

const CHUNK: usize = 64;
const CHUNKS: usize = (Id::MAX as usize + 1) / CHUNK;

static FIRST: Slot = Slot::new(Holder::Runtime, true);
/// Slots by the number of the account, made as they are needed, never freed.
static SLOTS: [AtomicPtr<[Slot; CHUNK]>; CHUNKS] = [const { AtomicPtr::new(null_mut()) }; CHUNKS];
/// Opening and closing take turns.
pub(super) static TABLE: Mutex<Table> = Mutex::new(Table { made: 1, free: 0, closed: 0 });

pub(super) struct Table {
    /// Numbers below were in use.
    pub(super) made: usize,
    /// The first free number below `made`; 0 for none.
    free: Id,
    /// How many are closed and still hold something.
    closed: usize,
}

#[inline]
pub(super) fn slot(id: Id) -> &'static Slot {
    if id == RUNTIME {
        return &FIRST;
    }
    let chunk = SLOTS[id as usize / CHUNK].load(Ordering::Acquire);
    // SAFETY: NULL, or slots that were written before they were stored here and
    // are never freed.
    unsafe { chunk.as_ref() }.map_or(&FIRST, |chunk| &chunk[id as usize % CHUNK])
}

/// Whether `says` so of the account `id`, or of one above it.
#[inline]
pub(super) fn any(id: Id, says: impl Fn(&Balance) -> bool) -> bool {
    let mut at = id;
    for _ in 0..3 {
        let slot = slot(at);
        if says(&slot.balance) {
            return true;
        }
        if at == RUNTIME {
            break;
        }
        at = slot.parent.load(Ordering::Relaxed);
    }
    false
}

/// What a thread that works for `id` may hold before it draws.
#[inline]
pub(super) fn slack(id: Id) -> i64 {
    if any(id, Balance::is_bounded) { 0 } else { SLACK }
}

/// An account and those above it, the runtime's last.
pub(super) struct Chain {
    balances: [&'static Balance; 3],
    ids: [Id; 3],
    len: usize,
}

impl Chain {
    pub(super) fn of(id: Id) -> Chain {
        let mut chain = Chain { balances: [&FIRST.balance; 3], ids: [RUNTIME; 3], len: 0 };
        let mut at = id;
        loop {
            let slot = slot(at);
            chain.balances[chain.len] = &slot.balance;
            chain.ids[chain.len] = at;
            chain.len += 1;
            if at == RUNTIME || chain.len == 3 {
                return chain;
            }
            at = slot.parent.load(Ordering::Relaxed);
        }
    }

    pub(super) fn balances(&self) -> &[&'static Balance] {
        &self.balances[..self.len]
    }

    pub(super) fn contains(&self, id: Id) -> bool {
        self.ids[..self.len].contains(&id)
    }

    pub(super) fn is_child_of(&self, id: Id) -> bool {
        self.len > 1 && self.ids[1] == id
    }

    pub(super) fn own(&self) -> &'static Balance {
        self.balances[0]
    }

    pub(super) fn id(&self, at: usize) -> Id {
        self.ids[at.min(2)]
    }

    pub(super) fn draw(
        &self,
        more: i64,
        wanted: i64,
        mut passed: impl FnMut(Id),
    ) -> Result<(), NoRoom> {
        draw(self.balances(), more, wanted, |at| passed(self.ids[at]))
    }

    pub(super) fn add(&self, more: i64) {
        self.balances().iter().for_each(|balance| {
            balance.add(more);
        });
    }
}

/// A block of account `id` goes back on a thread that works for another one.
#[cold]
pub(super) fn give_back(id: Id, bytes: i64, block_bytes: i64) {
    // (Once nothing is live, the number may be another account's.)
    let chain = Chain::of(id);
    chain.own().add_blocks(-block_bytes);
    chain.add(-bytes);
}

/// Makes the account `id` what it is to be.
pub(super) fn begin(id: Id, above: Id, holder: Holder, name: &str, budget: Budget) {
    let slot = slot(id);
    slot.balance.set_budget(budget);
    slot.parent.store(above, Ordering::Relaxed);
    let mut end = name.len().min(NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let mut entry = slot.entry.lock();
    (entry.holder, entry.open, entry.told) = (holder, true, None);
    entry.name = [0; NAME];
    entry.name[..end].copy_from_slice(&name.as_bytes()[..end]);
    drop(entry);
    if above != RUNTIME {
        self::slot(above).entry.lock().children += 1;
    }
}

/// A free number with nothing in its balance.
pub(super) fn take_number() -> Option<Id> {
    let mut table = TABLE.lock();
    // (It looks at all of them: not for a few.)
    if table.free == 0 && (table.closed * 4 > table.made || table.made > Id::MAX as usize) {
        table.collect();
    }
    if table.free != 0 {
        let id = table.free;
        let mut entry = slot(id).entry.lock();
        table.free = entry.next;
        entry.used = true;
        return Some(id);
    }
    let id = table.made;
    if id > Id::MAX as usize {
        return None;
    }
    let place = &SLOTS[id / CHUNK];
    if place.load(Ordering::Relaxed).is_null() {
        // SAFETY: the layout is not empty; every slot is written before anybody
        // can see the chunk. It is no block of an account, nor the host's: it
        // stays for ever.
        unsafe {
            let chunk = System.alloc(Layout::new::<[Slot; CHUNK]>()).cast::<[Slot; CHUNK]>();
            if chunk.is_null() {
                return None;
            }
            for at in 0..CHUNK {
                chunk.cast::<Slot>().add(at).write(Slot::new(Holder::Session, false));
            }
            place.store(chunk, Ordering::Release);
        }
    }
    slot(id as Id).entry.lock().used = true;
    table.made += 1;
    Some(id as Id)
}

impl Table {
    /// Nothing is credited to the account `id` any more.
    pub(super) fn close(&mut self, id: Id) {
        slot(id).entry.lock().open = false;
        self.closed += 1;
        self.end(id);
    }

    /// Frees the number of a closed account that holds nothing; then that of the
    /// one above, if it waited for this one only.
    fn end(&mut self, id: Id) {
        let slot = slot(id);
        let mut entry = slot.entry.lock();
        let held = slot.balance.live() != 0 || slot.balance.blocks() != 0;
        if id == RUNTIME || !entry.used || entry.open || entry.children != 0 || held {
            return;
        }
        let parent = slot.parent.load(Ordering::Relaxed);
        let above = self::slot(parent);
        above.balance.count(slot.balance.counts());
        above.balance.add_passed(slot.balance.passed());
        slot.balance.clear();
        entry.used = false;
        self.closed -= 1;
        entry.next = self.free;
        self.free = id;
        drop(entry);
        if parent != RUNTIME {
            above.entry.lock().children -= 1;
            self.end(parent);
        }
    }

    /// Looks whose last block was given back since they were closed.
    pub(super) fn collect(&mut self) {
        (1..self.made).for_each(|id| self.end(id as Id));
    }
}

/// Whose account it is, for a text.
fn describe(id: Id) -> String {
    let entry = *slot(id).entry.lock();
    let end = entry.name.iter().position(|b| *b == 0).unwrap_or(NAME);
    let name = String::from_utf8_lossy(&entry.name[..end]);
    match entry.holder {
        Holder::Runtime => "Inferno".to_owned(),
        Holder::Model => format!("model {name:?} with its sessions"),
        Holder::Session => format!("a session of {name:?}"),
    }
}

pub(super) fn out_of_budget(id: Id, need: i64, more: i64, hard: u64) -> error::Error {
    error::out_of_budget(format!(
        "{} needs {need} bytes, {more} more than it holds: expected at most its hard budget, {hard}",
        describe(id)
    ))
}

/// How often a passing of one account's soft budget is told, at most.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// What is to be told of an account that passed its soft budget.
pub(super) fn past_soft(id: Id) -> Option<String> {
    let slot = slot(id);
    {
        let mut entry = slot.entry.lock();
        if entry.told.is_some_and(|told| told.elapsed() < TOLD_EVERY) {
            return None;
        }
        entry.told = Some(Instant::now());
    }
    let (balance, soft) = (&slot.balance, slot.balance.budget().soft_bytes);
    Some(format!(
        "{} went past its soft budget, {soft} bytes: it held up to {}; {} times so far",
        describe(id),
        balance.peak(),
        balance.passed()
    ))
}
