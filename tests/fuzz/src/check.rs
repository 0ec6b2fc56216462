//! Calls, counted, and what must hold after every one of them.

use inferno::ffi::status::{inferno_last_error, inferno_status};
use std::ffi::{CStr, c_char};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

static CALLS: AtomicU64 = AtomicU64::new(0);
static INPUTS: AtomicU64 = AtomicU64::new(0);
static DEADLINES: AtomicU64 = AtomicU64::new(0);
static TARGET: OnceLock<&'static str> = OnceLock::new();

/// How many inputs lie between two lines about the calls made.
const LINE_EVERY: u64 = 500;

/// How many answers DEADLINE_EXCEEDED a process may have before it is worn.
const WORN: u64 = 5;

unsafe extern "C" {
    fn atexit(callback: extern "C" fn()) -> i32;
    fn _exit(code: i32) -> !;
}

/// To be called before each input. The first time it has the total of calls
/// printed at the exit; a crash loses what came after the last line.
pub fn input_begins(target: &'static str) {
    TARGET.get_or_init(|| {
        // SAFETY: the callback is a function of this program.
        unsafe { atexit(print_calls) };
        target
    });
    if INPUTS.fetch_add(1, Ordering::Relaxed) % LINE_EVERY == LINE_EVERY - 1 {
        print_calls();
    }
}

extern "C" fn print_calls() {
    let target = TARGET.get().copied().unwrap_or("?");
    eprintln!("fuzz-{target}: calls={}", CALLS.load(Ordering::Relaxed));
}

/// How many calls answered DEADLINE_EXCEEDED so far.
pub fn deadlines() -> u64 {
    DEADLINES.load(Ordering::Relaxed)
}

/// Ends the process, for the script to start it anew, when work that did not end
/// in its time may fill the few threads that the library leaves to it.
pub fn renew_when_worn() {
    if deadlines() >= WORN {
        print_calls();
        eprintln!("stat::number_of_executed_units: {}", INPUTS.load(Ordering::Relaxed));
        eprintln!("Renewed after {WORN} deadlines");
        // SAFETY: nothing is left to be done; libFuzzer sees `exit` as a crash.
        unsafe { _exit(0) }
    }
}

/// Ends the process with a finding.
pub fn finding(text: &str) -> ! {
    eprintln!("fuzz: {text}");
    std::process::abort();
}

/// A finding unless `holds`.
pub fn ensure(holds: bool, text: impl FnOnce() -> String) {
    if !holds {
        finding(&text());
    }
}

/// Whether the defect `name` is to be stepped around, so that others can be
/// found before it is mended: `INFERNO_FUZZ_KNOWN=name,name`.
pub fn known(name: &str) -> bool {
    static KNOWN: OnceLock<Vec<String>> = OnceLock::new();
    let list = KNOWN.get_or_init(|| {
        let names = std::env::var("INFERNO_FUZZ_KNOWN").unwrap_or_default();
        names.split(',').map(str::to_owned).collect()
    });
    list.iter().any(|n| n == name)
}

/// Counts a call that no budget may refuse; returns whether it succeeded.
pub fn call(name: &str, status: inferno_status) -> bool {
    let over = status == inferno_status::OutOfBudget;
    ensure(!over, || format!("{name} answered OUT_OF_BUDGET: {}", error_text()));
    budgeted_call(name, status)
}

/// Counts a call and checks its status against the thread's text. Returns
/// whether it succeeded.
pub fn budgeted_call(name: &str, status: inferno_status) -> bool {
    CALLS.fetch_add(1, Ordering::Relaxed);
    if status == inferno_status::DeadlineExceeded {
        DEADLINES.fetch_add(1, Ordering::Relaxed);
    }
    let text = error_text();
    let succeeded = status == inferno_status::Ok;
    ensure(succeeded == text.is_empty(), || format!("{name} answered {status:?} with {text:?}"));
    let internal = status == inferno_status::Internal && !known("internal");
    ensure(!internal, || format!("{name} answered INTERNAL: {text}"));
    succeeded
}

/// Counts a call that has no status.
pub fn plain_call() {
    CALLS.fetch_add(1, Ordering::Relaxed);
}

pub fn error_text() -> &'static str {
    // SAFETY: never NULL, NUL-terminated; read before this thread's next call.
    unsafe { text(inferno_last_error()) }
}

/// A string of the library's: there, ended, and UTF-8.
///
/// # Safety
///
/// `string` is what the library gave, still valid by its header.
pub unsafe fn text<'a>(string: *const c_char) -> &'a str {
    ensure(!string.is_null(), || "a string of the library's is NULL".to_owned());
    // SAFETY: as this function's own contract.
    let string = unsafe { CStr::from_ptr(string) };
    string.to_str().unwrap_or_else(|_| finding("a string of the library's is not UTF-8"))
}

/// Reads every byte, for the sanitizer to look at.
///
/// # Safety
///
/// The library says that these bytes are readable.
pub unsafe fn touch(data: *const u8, size: usize) -> u64 {
    if size == 0 {
        return 0;
    }
    ensure(!data.is_null(), || format!("{size} bytes at NULL"));
    // SAFETY: as this function's own contract.
    let bytes = unsafe { std::slice::from_raw_parts(data, size) };
    std::hint::black_box(bytes.iter().fold(0, |sum, b| sum.rotate_left(1) ^ u64::from(*b)))
}
