//! Files: the operating system's, or the host's through its reader.

use crate::error::{self, Error, Result};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// A file's whole size in bytes.
#[derive(Debug, Clone, Copy)]
pub struct FileSize(pub u64);

/// A way to files. `range` is shown a file's size and says which part of it to
/// read, or why none.
pub trait Reader: Send + Sync {
    /// Reads that part of the file `path`.
    fn read_all(
        &self,
        path: &str,
        range: &mut dyn FnMut(FileSize) -> Result<Range<u64>>,
    ) -> Result<Vec<u8>>;
}

/// The operating system's files.
#[derive(Debug)]
pub struct Files;

impl Reader for Files {
    fn read_all(
        &self,
        path: &str,
        range: &mut dyn FnMut(FileSize) -> Result<Range<u64>>,
    ) -> Result<Vec<u8>> {
        let failed = |e: io::Error| io_error(path, &e);
        let mut file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err(error::io(format!("{path} is no regular file: expected one")));
        }
        let range = range(FileSize(about.len()))?;
        let len = usize::try_from(range.end - range.start)
            .map_err(|_| error::limit_exceeded(format!("{path}: its part does not fit memory")))?;
        let mut buffer = empty_buffer(len, path)?;
        file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
        let read = file.take(range.end - range.start).read_to_end(&mut buffer).map_err(failed)?;
        if read != len {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(buffer)
    }
}

/// No files at all: for a model from memory whose host gave no reader.
#[derive(Debug)]
pub struct MemoryOnly;

impl Reader for MemoryOnly {
    fn read_all(
        &self,
        path: &str,
        _: &mut dyn FnMut(FileSize) -> Result<Range<u64>>,
    ) -> Result<Vec<u8>> {
        Err(error::not_found(format!(
            "external data {path:?}: the model was loaded from memory without a reader, expected \
             options.reader"
        )))
    }
}

/// An operating system's error as ours.
pub(crate) fn io_error(path: &str, e: &io::Error) -> Error {
    match e.kind() {
        io::ErrorKind::NotFound => error::not_found(format!("{path}: no such file")),
        io::ErrorKind::OutOfMemory => error::out_of_memory(format!("{path}: {e}")),
        _ => error::io(format!("{path}: {e}")),
    }
}

/// `len` zero bytes, or a status when there is no room for them.
pub fn zeroed_buffer(len: usize, what: &str) -> Result<Vec<u8>> {
    let mut buffer = empty_buffer(len, what)?;
    buffer.resize(len, 0);
    Ok(buffer)
}

/// Room for `len` bytes.
fn empty_buffer(len: usize, what: &str) -> Result<Vec<u8>> {
    let mut buffer = Vec::new();
    buffer
        .try_reserve_exact(len)
        .map_err(|_| error::out_of_memory(format!("{what}: no memory for {len} bytes")))?;
    Ok(buffer)
}
