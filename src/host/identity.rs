//! Whether a file is the one that it was.

use super::place;
use serde::{Deserialize, Serialize};
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a file system says of a file and changes when the file is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    path: String,
    size: u64,
    modified: Duration,
    /// Its device, its number, and when it was changed in whatever way: on Unix no
    /// program can set that, on Windows none does by copying a file.
    place: [u64; 4],
}

/// A file that was changed less long ago may be changed again without its times
/// showing it.
const SETTLED: Duration = Duration::from_secs(2);

impl Identity {
    /// That of the file `path`, now; none where a change could go unseen.
    pub fn of(path: &str) -> Option<Identity> {
        let about = fs::metadata(path).ok()?;
        let path = fs::canonicalize(path).ok()?.to_str()?.to_owned();
        let modified = about.modified().ok()?;
        let age = SystemTime::now().duration_since(modified).ok()?;
        let modified = modified.duration_since(UNIX_EPOCH).ok()?;
        let whole = about.is_file() && age > SETTLED;
        let place = if whole { place::of(&path, &about)? } else { return None };
        Some(Identity { path, size: about.len(), modified, place })
    }

    /// The file's whole path.
    pub fn path(&self) -> &str {
        &self.path
    }
}
