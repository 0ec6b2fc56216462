//! Files: the operating system's, or the host's through its reader.

use crate::error::{self, Error, Result};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// A way to files.
pub trait Reader: Send + Sync {
    /// Opens the file `path`.
    fn open<'a>(&'a self, path: &'a str) -> Result<Box<dyn Open + 'a>>;
}

/// An open file, which ends with it.
pub trait Open {
    /// Its whole size in bytes.
    fn size(&self) -> u64;

    /// Reads as many bytes as there are in `to`, from `offset` on.
    fn read(&mut self, offset: u64, to: &mut [u8]) -> Result<()>;
}

/// A part of a file.
pub fn read_part(file: &mut dyn Open, part: Range<u64>, path: &str) -> Result<Vec<u8>> {
    let len = usize::try_from(part.end - part.start)
        .map_err(|_| error::limit_exceeded(format!("{path}: its part does not fit memory")))?;
    let mut buffer = Vec::new();
    buffer
        .try_reserve_exact(len)
        .map_err(|_| error::out_of_memory(format!("{path}: no memory for {len} bytes")))?;
    buffer.resize(len, 0);
    file.read(part.start, &mut buffer)?;
    Ok(buffer)
}

/// The operating system's files.
#[derive(Debug)]
pub struct Files;

struct OsFile<'a> {
    path: &'a str,
    file: File,
    size: u64,
    /// Where the next byte comes from.
    at: u64,
}

impl Reader for Files {
    fn open<'a>(&'a self, path: &'a str) -> Result<Box<dyn Open + 'a>> {
        let failed = |e: io::Error| io_error(path, &e);
        // (On Windows it shares all there is: who replaces the file meanwhile may.)
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err(error::io(format!("{path} is no regular file: expected one")));
        }
        Ok(Box::new(OsFile { path, file, size: about.len(), at: 0 }))
    }
}

impl Open for OsFile<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, offset: u64, to: &mut [u8]) -> Result<()> {
        let OsFile { path, file, at, .. } = self;
        let mut read = || {
            if *at != offset {
                *at = file.seek(SeekFrom::Start(offset))?;
            }
            file.read_exact(to)
        };
        read().map_err(|e| io_error(path, &e))?;
        *at += to.len() as u64;
        Ok(())
    }
}

/// Bytes that are there, as a file.
#[derive(Debug)]
pub struct Slice<'a>(pub &'a [u8]);

impl Open for Slice<'_> {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, offset: u64, to: &mut [u8]) -> Result<()> {
        let from = usize::try_from(offset).ok().and_then(|from| self.0.get(from..));
        let from = from.and_then(|from| from.get(..to.len()));
        to.copy_from_slice(from.ok_or_else(|| error::internal("bytes past the end"))?);
        Ok(())
    }
}

/// No files at all: for a model from memory whose host gave no reader.
#[derive(Debug)]
pub struct MemoryOnly;

impl Reader for MemoryOnly {
    fn open<'a>(&'a self, path: &'a str) -> Result<Box<dyn Open + 'a>> {
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
