//! Calls about memory: what is held, what may be held, what is needed.

use crate::lane::Lane;
use crate::ledger::{Budget, Holder};
use crate::models::{odd_struct, odd_struct_of};
use crate::sessions::Options;
use fuzz::check::{call, deadlines, ensure, error_text};
use inferno::ffi::{memory::*, options::InitStruct, session::*, status::*};
use std::ptr::{null, null_mut, without_provenance_mut as handle_of};
use std::sync::atomic::Ordering::Relaxed;

/// What is reserved at once, and between two trims.
const RESERVED: usize = 8 << 20;
const RESERVED_MOST: usize = 64 << 20;

/// The largest block that can be reserved for.
const LARGEST: usize = 127 << 20;

/// Sets a budget, which no account that lives refuses.
fn set(lane: &mut Lane, of: Holder, budget: Budget) {
    let Budget { soft, hard } = budget;
    lane.pool.budgets.fetch_or(budget != Budget::NONE, Relaxed);
    let (name, status) = match of {
        Holder::Runtime => ("memory_set_budget", inferno_memory_set_budget(soft, hard)),
        Holder::Model(model) => (
            "model_set_memory_budget",
            inferno_model_set_memory_budget(handle_of(model), soft, hard),
        ),
        Holder::Session(session) => (
            "session_set_memory_budget",
            inferno_session_set_memory_budget(handle_of(session), soft, hard),
        ),
    };
    let done = lane.call(name, status, of);
    let dead = status == inferno_status::InvalidHandle && !matches!(of, Holder::Runtime);
    // (No input has as many accounts as there are numbers.)
    ensure(done || dead, || format!("{name} answered {status:?}: {}", error_text()));
    if let Some(mut ledger) = lane.ledger()
        && let Some(place) = ledger.budget(of)
    {
        *place = budget;
    }
}

/// A budget is to be taken away again within some calls, mostly.
pub fn lift_soon(lane: &mut Lane, of: Holder) {
    let soon = if matches!(of, Holder::Runtime) { 3 } else { 8 };
    if !lane.bytes.rarely(8) {
        let calls = 1 + lane.bytes.below(soon) as u8;
        lane.lifts.push((calls, of));
    }
}

/// Takes the budgets away whose time has come.
pub fn lift_due(lane: &mut Lane) {
    let mut due = Vec::new();
    lane.lifts.retain_mut(|(calls, of)| {
        *calls -= 1;
        if *calls == 0 {
            due.push(*of);
        }
        *calls > 0
    });
    due.into_iter().for_each(|of| set(lane, of, Budget::NONE));
}

/// Takes all budgets away that hold for `of`, or none: one of a model stays when
/// the model is freed before its session.
pub fn lift_all(lane: &mut Lane, of: Holder) -> bool {
    let (model, held) = match lane.ledger() {
        Some(ledger) => match of {
            Holder::Session(session) => (ledger.model_of(session), ledger.chain(of)),
            _ => (None, Vec::new()),
        },
        None => return false,
    };
    // (Its own, its model's, the runtime's.)
    if model.is_none() && held.len() == 3 && held[1] != Budget::NONE {
        return false;
    }
    for of in [Some(of), model.map(Holder::Model), Some(Holder::Runtime)].into_iter().flatten() {
        let bounded = lane.ledger().and_then(|mut l| l.budget(of).copied());
        if bounded.is_some_and(|budget| budget != Budget::NONE) {
            set(lane, of, Budget::NONE);
        }
    }
    true
}

/// The runtime's is for all lanes: rarer than the others.
fn holder(lane: &mut Lane) -> Holder {
    match lane.bytes.byte() {
        0..130 => lane.session().session(),
        130..245 => lane.model().model(),
        _ => Holder::Runtime,
    }
}

pub fn set_budget(lane: &mut Lane) {
    let of = holder(lane);
    let mut budget = lane.budget();
    if matches!(of, Holder::Runtime) && lane.bytes.byte() < 192 {
        // What this program holds counts, too: it is linked to the library.
        let live = now(lane, of).live_bytes;
        budget.soft = budget.soft.saturating_add(live);
        budget.hard = budget.hard.saturating_add(live);
    }
    set(lane, of, budget);
    lift_soon(lane, of);
}

/// What `of` holds, into `place`.
fn get(of: Holder, place: *mut inferno_memory_stats) -> (&'static str, inferno_status) {
    // SAFETY: as many bytes as the struct says, or a size to be refused, or NULL.
    unsafe {
        match of {
            Holder::Runtime => ("memory_get_stats", inferno_memory_get_stats(place)),
            Holder::Model(model) => {
                ("model_get_memory_stats", inferno_model_get_memory_stats(handle_of(model), place))
            }
            Holder::Session(session) => (
                "session_get_memory_stats",
                inferno_session_get_memory_stats(handle_of(session), place),
            ),
        }
    }
}

/// What lives holds now.
fn now(lane: &Lane, of: Holder) -> inferno_memory_stats {
    let mut stats = inferno_memory_stats::defaults();
    let (name, status) = get(of, &mut stats);
    ensure(lane.call(name, status, of), || format!("{name}: {}", error_text()));
    stats
}

/// A struct to be filled: `T`'s defaults in memory of just the size it says.
/// Whether it can be.
fn out<T: InitStruct>(lane: &mut Lane, exact: &mut Vec<u64>) -> (*mut T, bool) {
    let right = match lane.bytes.byte() {
        0..190 => true,
        190..197 => return (null_mut(), false),
        197..200 => {
            odd_struct_of(lane, T::defaults(), size_of::<T>(), exact);
            return (exact.as_mut_ptr().cast::<T>().wrapping_byte_add(1), false);
        }
        _ => false,
    };
    let size = size_of::<T>();
    match right {
        true => odd_struct_of(lane, T::defaults(), size, exact),
        false => odd_struct(lane, T::defaults(), exact),
    };
    let said = exact[0] as usize;
    (exact.as_mut_ptr().cast(), (size..=4096).contains(&said))
}

/// The struct that a call filled; one that failed wrote nothing.
fn filled<T: InitStruct>(name: &str, done: bool, before: &[u64], exact: &[u64]) -> Option<T> {
    ensure(done || before == exact, || format!("{name} failed and wrote its struct"));
    if !done {
        return None;
    }
    let (size, said) = (size_of::<T>() / 8, exact[0] as usize / 8);
    let rest = exact.get(size..said).is_some_and(|rest| rest.iter().all(|w| *w == 0));
    ensure(exact[0] == before[0] && rest, || format!("{name} left something of its struct"));
    // SAFETY: there is a whole `T`.
    Some(unsafe { exact.as_ptr().cast::<T>().read() })
}

pub fn stats(lane: &mut Lane) {
    let of = holder(lane);
    let mut exact = Vec::new();
    let (place, right) = out::<inferno_memory_stats>(lane, &mut exact);
    let before = exact.clone();
    let (name, status) = get(of, place);
    let done = lane.call(name, status, of);
    let dead = status == inferno_status::InvalidHandle && !matches!(of, Holder::Runtime);
    ensure(done == right || dead, || format!("{name} answered {status:?}: {}", error_text()));
    let Some(stats) = filled::<inferno_memory_stats>(name, done, &before, &exact) else {
        return;
    };
    let own = !matches!(of, Holder::Runtime);
    ensure(!own || stats.cached_bytes == 0, || format!("{name}: free blocks are somebody's"));
    let budget = lane.ledger().and_then(|mut l| l.budget(of).copied());
    let told = Budget { soft: stats.soft_budget_bytes, hard: stats.hard_budget_bytes };
    ensure(budget.is_none_or(|b| b == told), || format!("{budget:?} is told as {told:?}"));
    if budget.is_some() {
        is_within(lane, of);
    }
}

/// Nobody holds more than it did at the most, nor than the one above.
fn is_within(lane: &Lane, of: Holder) {
    // (A thread that was left behind may still be at work.)
    if deadlines() > 0 {
        return;
    }
    let model = match (of, lane.ledger()) {
        (Holder::Session(session), Some(ledger)) => ledger.model_of(session).map(Holder::Model),
        _ => None,
    };
    let mut below = 0;
    for of in [Some(of), model, Some(Holder::Runtime)].into_iter().flatten() {
        let stats = now(lane, of);
        let live = stats.live_bytes;
        ensure(live >= below, || format!("{live} bytes are held, and {below} of them below"));
        let most = stats.peak_bytes;
        ensure(live <= most, || format!("{live} bytes are held, and {most} at the most"));
        below = live;
    }
}

/// What the library holds, reserves and gives back.
pub fn library(lane: &mut Lane) {
    if lane.bytes.rarely(4) {
        held_stays(lane, "memory_trim", |lane| {
            lane.pool.reserved.store(0, Relaxed);
            let trimmed = call("memory_trim", inferno_memory_trim());
            ensure(trimmed, || "memory cannot be trimmed".into());
        });
    }
    if lane.bytes.rarely(3) {
        reserve(lane);
    }
    let mut stats = inferno_memory_stats::defaults();
    let right = !lane.bytes.rarely(5);
    if !right {
        stats.struct_size = lane.bytes.below(size_of::<inferno_memory_stats>());
    }
    // SAFETY: a struct of ours, not smaller than it says.
    let filled = call("memory_get_stats", unsafe { inferno_memory_get_stats(&mut stats) });
    ensure(filled == right, || format!("stats of {} bytes: {}", stats.struct_size, error_text()));
}

/// Does what is for nobody's account.
fn held_stays(lane: &mut Lane, name: &str, body: impl FnOnce(&mut Lane)) {
    let alone = lane.ledger().is_some() && deadlines() == 0;
    let held = |lane: &Lane| alone.then(|| now(lane, Holder::Runtime).live_bytes);
    let before = held(lane);
    body(lane);
    let after = held(lane);
    ensure(before == after, || format!("{name}: {before:?} bytes were held, now {after:?}"));
}

fn reserve(lane: &mut Lane) {
    let block = match lane.bytes.byte() {
        0..120 => lane.bytes.below(256) << lane.bytes.below(13),
        120..200 => 1 << lane.bytes.below(29),
        _ => lane.bytes.odd() as usize,
    };
    // What is refused takes nothing, whatever its size.
    let size = match lane.bytes.byte() {
        _ if block > LARGEST => lane.bytes.odd() as usize,
        n @ 0..200 => (n as usize) << lane.bytes.below(12),
        _ => lane.bytes.u64() as usize % (RESERVED + 1),
    };
    if block <= LARGEST
        && lane.pool.reserved.fetch_add(size, Relaxed).saturating_add(size) > RESERVED_MOST
    {
        lane.pool.reserved.store(size, Relaxed);
        ensure(call("memory_trim", inferno_memory_trim()), || "memory cannot be trimmed".into());
    }
    held_stays(lane, "memory_reserve", |lane| {
        let status = inferno_memory_reserve(size, block);
        let done = call("memory_reserve", status);
        let refused = status == inferno_status::InvalidArgument;
        // A host's allocator gives no large pieces; with several lanes there is
        // none.
        let host = lane.ledger().is_some_and(|l| l.host);
        let short = status == inferno_status::OutOfMemory && host;
        ensure(refused == (block > LARGEST) && (done || refused || short), || {
            format!("reserve of {size} for {block} answered {status:?}: {}", error_text())
        });
    });
}

/// What a session would need, and whether one gets along with it.
pub fn need(lane: &mut Lane) {
    let picked = lane.model();
    let mut options = Options::new(lane, &picked);
    let mut exact = Vec::new();
    let (place, right) = out::<inferno_memory_need>(lane, &mut exact);
    let before = exact.clone();
    let asked = options.budget;
    lane.pool.budgets.fetch_or(asked != Budget::NONE, Relaxed);
    let (name, model) = ("model_memory", picked.model());
    let status = lane.tried(name, model, asked, |without| {
        if without && asked != Budget::NONE {
            options.set_budget(Budget::NONE);
        }
        // SAFETY: arrays, strings and structs live across the call; `place` is
        // NULL, or there are as many bytes as it says, or that is to be refused.
        unsafe { inferno_model_memory(picked.as_ptr(), options.as_ptr(), place) }
    });
    let done = lane.taking(name, status, model, options.budget);
    ensure(right || !done, || format!("{name} took a struct of an odd size"));
    let Some(need) = filled::<inferno_memory_need>(name, done, &before, &exact) else {
        return;
    };
    ensure(need.reserved == 0 && [0, 1].contains(&need.is_measured), || {
        format!("{name} told {} and {}", need.is_measured, need.reserved)
    });
    let bounded = lane.ledger().is_none_or(|l| l.chain(model).iter().any(|b| *b != Budget::NONE));
    if need.is_measured == 1 && !bounded {
        let hard = need.arena_bytes.saturating_add(need.scratch_bytes);
        options.set_budget(Budget { hard, ..Budget::NONE });
        suffices(lane, picked.as_ptr(), &options);
    }
}

/// A session under the budget that was told runs as the trial did.
fn suffices(lane: &Lane, model: *const inferno::ffi::model::inferno_model, options: &Options) {
    let hard = options.budget.hard;
    let holds = |what: &str, status: inferno_status| {
        let text = || format!("{hard} bytes were told, but {what}: {status:?}, {}", error_text());
        ensure(status == inferno_status::Ok, text);
        call(what, status);
    };
    let mut session = null_mut();
    // SAFETY: a place of ours, and options that the trial took.
    holds("session_new", unsafe { inferno_session_new(model, options.as_ptr(), &mut session) });
    for _ in 0..3 {
        // SAFETY: NULL means the defaults.
        holds("session_run", unsafe { inferno_session_run(session, null()) });
    }
    ensure(lane.ledger().is_none_or(|l| !l.session_lives(session.addr())), || {
        "session_new gave a live handle".into()
    });
    holds("session_free", inferno_session_free(session));
}
