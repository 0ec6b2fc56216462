//! The form of a file of the cache.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `INFERNO` and the form's number |
//! | 32 | the key |
//! | 8 + 8 | how long the floats are, and the rest |
//! | 8 | XXH3 of all before this and after it |
//! | | the floats, from the next cache line on; the rest |

use crate::kernels::{Blob, Collected};
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::Xxh3;

const MAGIC: [u8; 8] = *b"INFERNO\x01";
const SUMMED: usize = 56;
/// Where the floats begin.
const HEADER: usize = 64;

/// The header but for its checksum.
fn header(key: &[u8; 32], floats: usize, meta: usize) -> [u8; SUMMED] {
    let mut bytes = [0; SUMMED];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..40].copy_from_slice(key);
    bytes[40..48].copy_from_slice(&(floats as u64).to_le_bytes());
    bytes[48..].copy_from_slice(&(meta as u64).to_le_bytes());
    bytes
}

/// A file that is whole, and of its key.
pub(super) struct Read<T> {
    owner: Arc<T>,
    floats: Range<usize>,
    meta: Range<usize>,
}

impl<T: AsRef<[u8]> + Send + Sync + 'static> Read<T> {
    /// What the file of this key says; or why it is none.
    pub(super) fn new(owner: T, key: &[u8; 32]) -> Result<Read<T>, &'static str> {
        let bytes = owner.as_ref();
        let (head, rest) = bytes.split_at_checked(HEADER).ok_or("it is cut short")?;
        if head[..8] != MAGIC {
            return Err("it is of another form");
        }
        if head[8..40] != *key {
            return Err("it is of another version, processor, model or limits");
        }
        let number = |at: usize| {
            let bytes = head[at..].first_chunk().copied().unwrap_or_default();
            u64::from_le_bytes(bytes)
        };
        let [floats, meta] = [number(40), number(48)].map(|n| usize::try_from(n).ok());
        let (floats, meta) = floats.zip(meta).ok_or("its lengths are wrong")?;
        if floats.checked_add(meta) != Some(rest.len()) {
            return Err("it has another length than it says");
        }
        let mut sum = Xxh3::new();
        sum.update(&head[..SUMMED]);
        sum.update(rest);
        if sum.digest() != number(SUMMED) {
            return Err("it is damaged: another checksum");
        }
        let floats = HEADER..HEADER + floats;
        let meta = floats.end..floats.end + meta;
        Ok(Read { owner: Arc::new(owner), floats, meta })
    }

    pub(super) fn meta(&self) -> &[u8] {
        &T::as_ref(&self.owner)[self.meta.clone()]
    }

    pub(super) fn blob(&self) -> Option<Blob> {
        Blob::new(self.owner.clone(), self.floats.start, self.floats.len())
    }
}

/// Writes a file to a folder: under another name, which then becomes its own.
pub(super) fn write(
    folder: &Path,
    name: &str,
    key: &[u8; 32],
    meta: &[u8],
    floats: &Collected,
) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let other = folder.join(format!("{name}.{}-{count}.new", std::process::id()));
    let written =
        write_to(&other, key, meta, floats).and_then(|()| fs::rename(&other, folder.join(name)));
    if written.is_err() {
        let _ = fs::remove_file(&other);
    }
    written
}

fn write_to(path: &Path, key: &[u8; 32], meta: &[u8], floats: &Collected) -> io::Result<()> {
    let head = header(key, floats.bytes(), meta.len());
    let mut sum = Xxh3::new();
    sum.update(&head);
    let mut file = BufWriter::new(File::create_new(path)?);
    file.write_all(&[0; HEADER])?;
    let mut both = |part: &[u8]| {
        sum.update(part);
        file.write_all(part)
    };
    floats.write(&mut both)?;
    both(meta)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&head)?;
    file.write_all(&sum.digest().to_le_bytes())?;
    file.flush()
}
