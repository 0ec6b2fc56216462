//! Whether a file is the one that it was.

use serde::{Deserialize, Serialize};
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a file system says of a file and changes when the file is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    path: String,
    size: u64,
    modified: Duration,
    /// On Unix its device, its number, and when it was changed in whatever way: that
    /// no program can set.
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
        whole.then(|| Identity { path, size: about.len(), modified, place: place(&about) })
    }

    /// The file's whole path.
    pub fn path(&self) -> &str {
        &self.path
    }
}

#[cfg(unix)]
fn place(about: &fs::Metadata) -> [u64; 4] {
    use std::os::unix::fs::MetadataExt;
    [about.dev(), about.ino(), about.ctime() as u64, about.ctime_nsec() as u64]
}

#[cfg(not(unix))]
fn place(_: &fs::Metadata) -> [u64; 4] {
    [0; 4]
}
