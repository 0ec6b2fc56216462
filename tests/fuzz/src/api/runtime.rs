//! Calls about the runtime, the log, and what needs no handle.

use crate::lane::Lane;
use crate::ledger::Budget;
use crate::models::{odd_struct, odd_struct_of};
use fuzz::check::{call, ensure, error_text, plain_call, text};
use inferno::ffi::{limits::*, log::*, model::*, options::InitStruct, runtime::*, session::*};
use inferno::ffi::{status::*, tensor::*};
use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};

/// Which user data the log callback must be given.
const USER: usize = 0x10c;

unsafe extern "C" fn line(
    user: *mut c_void,
    level: i32,
    module: *const c_char,
    message: *const c_char,
) {
    ensure(user.addr() == USER && (1..=5).contains(&level), || "a log line of nobody's".into());
    // SAFETY: both are valid during the call.
    unsafe { (text(module), text(message)) };
}

/// Sets or takes away the callback.
pub fn log(lane: &mut Lane) {
    let callback: inferno_log_callback = if lane.bytes.rarely(3) { None } else { Some(line) };
    let level =
        if lane.bytes.rarely(4) { lane.bytes.odd() as i32 } else { lane.bytes.below(6) as i32 };
    let user = std::ptr::without_provenance_mut(USER);
    // SAFETY: the callback is a function of ours, for any thread.
    let done = call("log_set_callback", unsafe { inferno_log_set_callback(callback, user, level) });
    ensure(done == (0..=5).contains(&level), || format!("level {level}: {}", error_text()));
}

/// Memory of the host's: every block remembers its size and alignment.
const ALLOCATOR: inferno_allocator = inferno_allocator {
    struct_size: size_of::<inferno_allocator>(),
    user_data: std::ptr::without_provenance_mut(USER),
    alloc: Some(host_alloc),
    free: Some(host_free),
};

unsafe extern "C" {
    fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void;
    fn free(block: *mut c_void);
    fn malloc_usable_size(block: *mut c_void) -> usize;
}

unsafe extern "C" fn host_alloc(user: *mut c_void, size: usize, alignment: usize) -> *mut c_void {
    ensure(user.addr() == USER && alignment.is_power_of_two(), || "an odd allocation".into());
    // SAFETY: any size is allowed; the sanitizer takes one that is no multiple.
    unsafe { aligned_alloc(alignment.max(8), size.max(1).next_multiple_of(alignment.max(8))) }
}

unsafe extern "C" fn host_free(
    user: *mut c_void,
    block: *mut c_void,
    size: usize,
    alignment: usize,
) {
    // SAFETY: `host_alloc` gave the block.
    unsafe {
        // The sanitizer says what was asked for, to the byte.
        let asked = size.max(1).next_multiple_of(alignment.max(8));
        let right = user.addr() == USER && malloc_usable_size(block) == asked;
        ensure(right, || format!("a block of another size than {size} is given back"));
        free(block);
    }
}

pub fn init(lane: &mut Lane) {
    let (mut exact, allocator) = (Vec::new(), ALLOCATOR);
    let (mut budget, mut host) = (Budget::NONE, false);
    let options = match lane.bytes.byte() {
        0..100 => null(),
        n => {
            host = n % 3 == 0;
            let mut options = inferno_runtime_options {
                log_callback: Some(line),
                log_user_data: std::ptr::without_provenance_mut(USER),
                log_level: i32::from(n % 8),
                allocator: if host { &raw const allocator } else { null() },
                ..InitStruct::defaults()
            };
            if n < 180 {
                odd_struct(lane, options, &mut exact)
            } else {
                options.memory_decay_ms = match lane.bytes.byte() {
                    0..100 => 0,
                    100..200 => u64::MAX,
                    _ => lane.bytes.odd() as u64,
                };
                // All of an input's calls are under it.
                if lane.bytes.rarely(3) {
                    budget = lane.budget();
                    (options.soft_budget_bytes, options.hard_budget_bytes) =
                        (budget.soft, budget.hard);
                }
                odd_struct_of(lane, options, size_of_val(&options), &mut exact)
            }
        }
    };
    // SAFETY: as many bytes as the struct says, or a size to be refused.
    if call("init", unsafe { inferno_init(options) }) {
        // Options count for the first user only.
        if lane.users == 0
            && let Some(mut ledger) = lane.ledger()
        {
            (ledger.runtime, ledger.host) = (budget, host);
        }
        lane.users += 1;
        if budget != Budget::NONE {
            crate::memory::lift_soon(lane, crate::ledger::Holder::Runtime);
        }
    }
}

/// With several lanes only what this one counted in; alone, anything.
pub fn shutdown(lane: &mut Lane) {
    if lane.users == 0 && lane.ledger().is_none() {
        return;
    }
    ensure(call("shutdown", inferno_shutdown()), || "shutdown failed".into());
    lane.users = lane.users.saturating_sub(1);
    if lane.users == 0
        && let Some(mut ledger) = lane.ledger()
    {
        ledger.all_ended();
    }
}

/// What needs no handle and gives no status.
pub fn plain(lane: &mut Lane) {
    let n =
        if lane.bytes.rarely(3) { lane.bytes.odd() as i32 } else { lane.bytes.below(20) as i32 };
    plain_call();
    // SAFETY: static strings, and this thread's own.
    unsafe {
        match lane.bytes.below(6) {
            0 => _ = text(inferno_status_name(n)),
            1 => _ = text(inferno_dtype_name(n)),
            2 => ensure(inferno_dtype_size(n) <= 8, || format!("dtype {n} is wide")),
            3 => _ = text(inferno_version_string()),
            4 => ensure(inferno_version() > 0, || "no version".into()),
            _ => _ = error_text(),
        }
    }
}

/// Fills an option struct of an odd size, in memory of just that size.
pub fn inits(lane: &mut Lane) {
    let size = match lane.bytes.byte() {
        n @ 0..128 => n as usize,
        n @ 128..192 => n as usize * 21,
        _ => lane.bytes.odd() as usize,
    };
    let null = lane.bytes.rarely(16);
    // Past 4096 bytes nothing may be written.
    let mut memory = vec![0xa5u8; size.min(4096)].into_boxed_slice();
    let place = if null { null_mut() } else { memory.as_mut_ptr() };
    // SAFETY: as many bytes as the size says, or a size to be refused.
    let status = unsafe {
        match lane.bytes.below(5) {
            0 => inferno_runtime_options_init(place.cast(), size),
            1 => inferno_model_options_init(place.cast(), size),
            2 => inferno_model_limits_init(place.cast(), size),
            3 => inferno_session_options_init(place.cast(), size),
            _ => inferno_run_options_init(place.cast(), size),
        }
    };
    let done = call("options_init", status);
    let untouched = memory.iter().all(|b| *b == 0xa5);
    ensure(done || untouched, || "a failed init wrote its struct".into());
    ensure(!done || (!null && size <= 4096), || format!("an init took {size} bytes"));
}
