//! The global runtime: who uses it, and what ends with the last user.
//!
//! Today it owns the count of users; the handle tables are the C ABI's and are
//! emptied through the closure that `shutdown` takes.

use crate::error::{self, Result};
use crate::log::log_line;
use crate::sync::Mutex;

static USERS: Mutex<u32> = Mutex::new(0);

/// Counts a user in; the first one runs `start`. When `start` fails nobody is
/// counted.
pub fn init(start: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut users = USERS.lock();
    if *users == 0 {
        start()?;
    }
    *users = users
        .checked_add(1)
        .ok_or_else(|| error::limit_exceeded("inferno_init was called 2^32 times"))?;
    Ok(())
}

/// Counts a user out; the last one, or one that never counted in, runs `end`,
/// which frees what is left and says how much that was.
pub fn shutdown(end: impl FnOnce() -> usize) {
    let mut users = USERS.lock();
    *users = users.saturating_sub(1);
    if *users == 0 {
        log_line!(Debug, "the last user shut the runtime down");
        let left = end();
        if left > 0 {
            log_line!(Warn, "shutdown ended {left} handles that were still open");
        }
    }
}

/// major × 1,000,000 + minor × 1,000 + patch.
pub fn version_number() -> u32 {
    const PARTS: [&str; 3] = [
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
    ];
    PARTS.iter().fold(0, |n, part| n * 1_000 + part.parse::<u32>().unwrap_or(0))
}
