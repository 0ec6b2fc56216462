//! Files that are mapped: read where the system has them, page by page.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;

/// A file of the library's own, mapped.
#[derive(Debug)]
pub struct MappedFile(memmap2::Mmap);

impl MappedFile {
    /// Maps a file that nobody changes while it is mapped: it is written under another
    /// name and renamed, and a new one takes its place in the same way.
    pub fn open(path: &Path) -> io::Result<MappedFile> {
        let file = File::open(path)?;
        // SAFETY: as said above; who can change the folder's files under us could
        // as well change the program's.
        let map = unsafe { memmap2::MmapOptions::new().map(&file)? };
        Ok(MappedFile(map))
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
