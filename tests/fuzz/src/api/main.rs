//! Calls of the C ABI in any order with any arguments, on one to three threads
//! over one pool of handles. The first byte says how many threads; the rest is
//! cut into as many lanes, each a series of calls.

#![no_main]

mod lane;
mod ledger;
mod memory;
mod models;
mod reader;
mod runtime;
mod sessions;

use fuzz::bytes::Bytes;
use fuzz::check::{call, ensure, input_begins};
use inferno::ffi::runtime::{inferno_init, inferno_shutdown};
use lane::{Lane, Pool};
use libfuzzer_sys as _;
use std::ffi::c_char;
use std::ptr::null;

/// The calls one lane makes at most: an input should take well under a second.
const MOST_CALLS: usize = 600;

/// Some of the bytes that choose a call, for seeds.
const LOAD: u8 = 8;
const BUDGET: u8 = 40;
const NEED: u8 = 46;
const LIBRARY: u8 = 249;
const COPY_STATE: u8 = 244;
const SET_STATE: u8 = 251;
const NEW: u8 = 80;
const RUN: u8 = 198;

/// With `INFERNO_FUZZ_SEEDS=folder`: writes inputs to start from, and ends.
#[unsafe(no_mangle)]
extern "C" fn LLVMFuzzerInitialize(_: *const i32, _: *const *const *const c_char) -> i32 {
    if let Ok(folder) = std::env::var("INFERNO_FUZZ_SEEDS") {
        for model in 0..fuzz::models::all().len() as u8 {
            for lanes in [0, 2, 3] {
                // Load, make a session, fill, run, read; then much else in turn.
                // What a call does not take of the zeros is nothing in itself.
                let load = [LOAD, model, 0, 0, 0, 0, 0, 0, 0, 0];
                let made = [NEW, 0, 0, 100, 0, 0, 0, 0, 0, 0, RUN, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                // A budget of 1 KiB for the session, then for the model, then of
                // some more than is held, for all; each with a run under it.
                let budgets = [[0, 0, 110, 16], [150, 0, 110, 16], [250, 110, 16, 0]];
                let under = |b: [u8; 4]| {
                    let run = [&[RUN][..], &[0; 40]].concat();
                    [&[BUDGET][..], &b, &[0, 0, 3], &run, &[RUN + 10, 0, 0]].concat()
                };
                // The need with "batch", and with "n", and a reserve.
                let need = |symbol| [&[NEED, 0, 1, symbol, 0, 2, 0, 4][..], &[100; 12]].concat();
                let needs = [need(0), need(1), vec![LIBRARY, 0, 2, 100, 10, 5, 50, 6]].concat();
                // A state that is saved, and set again while nothing may be held.
                let new = [NEW, 0, 0, 100, 100, 0, 0, 0];
                let saved = [COPY_STATE, 0, 0, 0, BUDGET, 0, 0, 55, 0, 0, 7];
                let set = [SET_STATE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                let state = [&[0; 20][..], &new[..], &saved, &set].concat();
                let held = [budgets.map(under).concat(), state, needs].concat();
                let lane = [&load[..], &made, &held].concat();
                let turn = (RUN - 104..=255).step_by(4).flat_map(|op| [op, 0, 0, 0, 0, 0, 0, 0]);
                let one = [&lane[..], &turn.collect::<Vec<u8>>()].concat();
                let seed = [&[lanes][..], &one.repeat(lanes.max(1) as usize)].concat();
                std::fs::write(format!("{folder}/{model}-{lanes}"), seed).expect("a seed");
            }
        }
        std::process::exit(0);
    }
    0
}

// Both sides of this call are Rust's.
#[allow(improper_ctypes_definitions)]
#[unsafe(no_mangle)]
extern "C" fn rust_fuzzer_test_input(data: &[u8]) -> i32 {
    input_begins("api");
    let Some((first, rest)) = data.split_first() else {
        return -1;
    };
    let lanes = [1, 1, 2, 3][*first as usize % 4];
    let pool = Pool::new(lanes == 1);
    // With several lanes one user stays counted in for all their time: nobody
    // may shut the runtime down under another thread.
    if lanes > 1 {
        // SAFETY: NULL means the defaults.
        call("init", unsafe { inferno_init(null()) });
    }
    let parts = rest.chunks(rest.len().div_ceil(lanes).max(1));
    let users: usize = if lanes == 1 {
        parts.map(|part| run(&pool, part)).sum()
    } else {
        std::thread::scope(|scope| {
            let pool = &pool;
            let threads: Vec<_> = parts.map(|p| scope.spawn(move || run(pool, p))).collect();
            threads.into_iter().map(|t| t.join().expect("a lane ends")).sum::<usize>() + 1
        })
    };
    for _ in 0..users.max(1) {
        ensure(call("shutdown", inferno_shutdown()), || "shutdown failed".into());
    }
    // Only now may the memory go that sessions were bound to.
    pool.end();
    0
}

/// Runs a lane; returns how many users it leaves counted in.
fn run(pool: &Pool, part: &[u8]) -> usize {
    let mut lane = Lane::new(pool, Bytes::new(part));
    for _ in 0..MOST_CALLS {
        if lane.bytes.is_empty() {
            break;
        }
        memory::lift_due(&mut lane);
        // Loads and sessions cost a thousand times what the others do.
        match lane.bytes.byte() {
            0 => {}
            1..8 => lane.touch_views(),
            8..11 => models::load_memory(&mut lane),
            11..13 => models::load_reader(&mut lane),
            13 => models::load_path(&mut lane),
            14 => models::load_default(&mut lane),
            15..18 => models::free(&mut lane),
            18..34 => models::describe(&mut lane),
            34..41 => memory::set_budget(&mut lane),
            41..46 => memory::stats(&mut lane),
            46..48 => memory::need(&mut lane),
            48..58 => models::metadata(&mut lane),
            58..61 => runtime::log(&mut lane),
            61..65 => runtime::init(&mut lane),
            65 => runtime::shutdown(&mut lane),
            66..74 => runtime::plain(&mut lane),
            74..80 => runtime::inits(&mut lane),
            80..85 => sessions::new(&mut lane),
            85..88 => sessions::free(&mut lane),
            88..96 => sessions::set_shape(&mut lane),
            96..102 => sessions::prepare(&mut lane),
            102..122 => sessions::input(&mut lane),
            122..142 => sessions::output(&mut lane),
            142..166 => sessions::set_input(&mut lane),
            166..180 => sessions::copy_output(&mut lane),
            180..188 => sessions::bind_input(&mut lane),
            188..198 => sessions::bind_output(&mut lane),
            198..208 => sessions::whole_run(&mut lane),
            208..234 => sessions::run(&mut lane),
            234..240 => sessions::reset(&mut lane),
            240..244 => sessions::state_size(&mut lane),
            244..249 => sessions::copy_state(&mut lane),
            249..251 => memory::library(&mut lane),
            _ => sessions::set_state(&mut lane),
        }
    }
    lane.users
}
