//! Where a model's bytes come from: a path, memory, the host's reader.

use super::Limits;
use crate::error::{self, Result};
use crate::host::{Files, MemoryOnly, Open, Reader, Slice, io_error, read_part};
use crate::metrics::LoadTold;
use crate::pool::{self, Budget};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// A model's bytes.
pub enum Source<'a> {
    /// A file of the operating system.
    Path(String),
    /// Bytes of the caller's.
    Memory(&'a [u8]),
    /// A file of the host's.
    Reader(String, Arc<dyn Reader>),
}

/// Where a model is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Nowhere.
    #[default]
    None,
    /// In a process of its own.
    Process,
}

/// How to load.
#[derive(Clone, Default)]
pub struct LoadOptions {
    /// What messages call the model.
    pub name: Option<String>,
    /// Whose load it is, for the audit log.
    pub tag: Option<String>,
    /// What the model may ask for.
    pub limits: Limits,
    /// Reads external data of a model loaded from memory.
    pub reader: Option<Arc<dyn Reader>>,
    /// Where it is tried first.
    pub isolation: Isolation,
    /// What it and its sessions may hold.
    pub budget: Budget,
    /// A folder for what is compiled.
    pub cache: Option<String>,
}

impl LoadOptions {
    fn check_size(&self, size: u64) -> Result<()> {
        Limits::within("bytes of a file", size, "max_file_bytes", self.limits.file_bytes)
    }
}

impl Source<'_> {
    /// What is told of a load from here.
    pub(super) fn told(&self, name: &str, options: &LoadOptions) -> LoadTold {
        let source = match self {
            Source::Path(path) => format!("file {path}"),
            Source::Memory(bytes) => format!("memory of {} bytes", bytes.len()),
            Source::Reader(path, _) => format!("reader {path}"),
        };
        let tag = options.tag.clone().unwrap_or_default();
        let limits = match options.limits == Limits::default() {
            true => "the defaults".to_owned(),
            false => format!("{:?}", options.limits),
        };
        LoadTold { name: name.to_owned(), tag, source, limits }
    }

    /// A name for messages.
    pub(super) fn name(&self) -> String {
        match self {
            Source::Path(path) | Source::Reader(path, _) => {
                path.rsplit(['/', '\\']).next().unwrap_or(path).to_owned()
            }
            Source::Memory(_) => "model".to_owned(),
        }
    }

    /// The folder that external data may come from.
    pub(super) fn folder(&self, options: &LoadOptions) -> Folder {
        let reader: Arc<dyn Reader> = match self {
            Source::Path(_) => Arc::new(Files),
            Source::Memory(_) => options.reader.clone().unwrap_or_else(|| Arc::new(MemoryOnly)),
            Source::Reader(_, reader) => reader.clone(),
        };
        let base = match self {
            Source::Path(path) => folder_of(path, FOLDER_ENDS),
            Source::Reader(path, _) => folder_of(path, &['/']),
            Source::Memory(_) => String::new(),
        };
        let on_disk = matches!(self, Source::Path(_));
        let has_files = !matches!(self, Source::Memory(_)) || options.reader.is_some();
        Folder {
            reader,
            base,
            on_disk,
            has_files,
            options: options.clone(),
            seen: None,
            was_read: Cell::new(false),
        }
    }
}

/// What ends a folder's name in a path of the system's.
const FOLDER_ENDS: &[char] = if cfg!(windows) { &['/', '\\', ':'] } else { &['/'] };

/// The folder of a file, with what ends it.
fn folder_of(path: &str, ends: &[char]) -> String {
    path.rfind(ends).map_or(String::new(), |end| path[..=end].to_owned())
}

/// Whether a part of a path names something: Windows leaves out the dots and spaces that
/// it ends in.
fn is_name(part: &str) -> bool {
    !part.trim_end_matches(['.', ' ']).is_empty()
}

/// A model's folder, for its external data.
pub(super) struct Folder {
    reader: Arc<dyn Reader>,
    base: String,
    on_disk: bool,
    #[cfg_attr(not(target_os = "linux"), expect(unused))]
    has_files: bool,
    options: LoadOptions,
    /// What an isolated trial read: nothing else is read then.
    seen: Option<Seen>,
    was_read: Cell<bool>,
}

/// What was read of a model's folder: part by part, its BLAKE3 hash.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(HashMap<(String, u64, u64), [u8; 32]>);

impl Seen {
    /// Notes what was read at `offset`.
    #[cfg(target_os = "linux")]
    pub(super) fn note(&mut self, location: &str, offset: u64, bytes: &[u8]) {
        let part = (location.to_owned(), offset, bytes.len() as u64);
        self.0.insert(part, *blake3::hash(bytes).as_bytes());
    }

    fn check(&self, location: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        let part = (location.to_owned(), offset, bytes.len() as u64);
        if self.0.get(&part) != Some(blake3::hash(bytes).as_bytes()) {
            return Err(error::invalid_model(format!(
                "external data {location:?}: {} bytes at {offset} are not those that its isolated \
                 trial read",
                bytes.len()
            )));
        }
        Ok(())
    }
}

impl Folder {
    /// The same folder, of which only what was seen is read.
    pub(super) fn expecting(self, seen: Seen) -> Folder {
        Folder { seen: Some(seen), ..self }
    }

    /// Whether anything was read from it.
    pub(super) fn was_read(&self) -> bool {
        self.was_read.get()
    }

    /// Whether there is anything to read external data with.
    #[cfg(target_os = "linux")]
    pub(super) fn has_files(&self) -> bool {
        self.has_files
    }

    /// The size of a file inside the folder.
    #[cfg(target_os = "linux")]
    pub(super) fn size(&self, location: &str) -> Result<u64> {
        let path = self.path(location)?;
        let size = self.reader.open(&path)?.size();
        self.options.check_size(size).map_err(|e| e.at(&path))?;
        Ok(size)
    }

    /// Reads part of a file inside the folder. `length` absent means to its
    /// end.
    pub(super) fn read(&self, location: &str, offset: u64, length: Option<u64>) -> Result<Vec<u8>> {
        let path = self.path(location)?;
        self.was_read.set(true);
        let mut file = self.reader.open(&path)?;
        let size = file.size();
        self.options.check_size(size).map_err(|e| e.at(&path))?;
        let length = length.unwrap_or(size.saturating_sub(offset));
        pool::expect(length)?;
        let end = offset.checked_add(length).filter(|end| *end <= size).ok_or_else(|| {
            error::invalid_model(format!(
                "external data {location:?}: {length} bytes at {offset} of a file of {size}"
            ))
        })?;
        let bytes = read_part(&mut *file, offset..end, &path)?;
        if let Some(seen) = &self.seen {
            seen.check(location, offset, &bytes)?;
        }
        Ok(bytes)
    }

    /// The path of a file, which is inside the folder.
    fn path(&self, location: &str) -> Result<String> {
        let inside = !location.is_empty()
            && location
                .split(['/', '\\'])
                .all(|part| (part == "." || is_name(part)) && !part.contains(':'))
            && !location.contains('\0');
        if !inside {
            return Err(error::invalid_model(format!(
                "external data {location:?}: expected a relative path inside the model's folder"
            )));
        }
        let path = format!("{}{location}", self.base);
        if self.on_disk {
            self.check_links(&path)?;
        }
        Ok(path)
    }

    /// A link must not lead out of the folder.
    fn check_links(&self, path: &str) -> Result<()> {
        let base = if self.base.is_empty() { "." } else { &self.base };
        let real = |p: &str| Path::new(p).canonicalize().map_err(|e| io_error(p, &e));
        if !real(path)?.starts_with(real(base)?) {
            return Err(error::invalid_model(format!(
                "external data {path}: it leads out of the model's folder"
            )));
        }
        Ok(())
    }
}

impl Source<'_> {
    /// Opens the model's file, which is no larger than it may be.
    pub(super) fn open(&self, options: &LoadOptions) -> Result<Box<dyn Open + '_>> {
        let file: Box<dyn Open> = match self {
            Source::Path(path) => Files.open(path)?,
            Source::Memory(bytes) => Box::new(Slice(bytes)),
            Source::Reader(path, reader) => reader.open(path)?,
        };
        options.check_size(file.size())?;
        Ok(file)
    }
}

impl<'a> Source<'a> {
    /// All bytes of the model's file.
    pub(super) fn whole(&self, options: &LoadOptions) -> Result<Cow<'a, [u8]>> {
        if let Source::Memory(bytes) = self {
            options.check_size(bytes.len() as u64)?;
            return Ok(Cow::Borrowed(bytes));
        }
        let mut file = self.open(options)?;
        let size = file.size();
        pool::expect(size)?;
        read_part(&mut *file, 0..size, &self.name()).map(Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_data_stays_inside() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("model");
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("w.bin"), [1, 2, 3, 4]).unwrap();
        std::fs::write(dir.path().join("secret"), [9]).unwrap();
        let path = inner.join("m.onnx").to_str().unwrap().to_owned();
        let folder = Source::Path(path).folder(&LoadOptions::default());
        assert_eq!(folder.read("w.bin", 1, Some(2)).unwrap(), [2, 3]);
        assert_eq!(folder.read("w.bin", 1, None).unwrap(), [2, 3, 4]);
        assert!(folder.read("w.bin", 3, Some(2)).is_err());
        assert!(folder.read("w.bin", u64::MAX, Some(2)).is_err());
        for bad in ["../secret", "/etc/passwd", "a/../../secret", "", "C:x", "a//b", ".. /secret"] {
            assert!(folder.read(bad, 0, None).is_err(), "{bad}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(dir.path().join("secret"), inner.join("link")).unwrap();
            assert!(folder.read("link", 0, None).is_err());
        }
    }
}
