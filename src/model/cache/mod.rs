//! Compiled models in a folder of the host's, so that a second load skips what the
//! first one did.
//!
//! | file | says |
//! |---|---|
//! | `<hash of a path>.path` | which model the file at that path is, as long as it is not changed |
//! | `<hash of a model>.model` | what the model says of itself |
//! | `<hash of a model>-<hash of shapes and constants>.program` | a program, with its packed weights |
//!
//! Each begins with its *key*: a hash of all that it depends on, from the library's
//! sources and the instruction set to the limits of the load. A file with another
//! key, of another length or with another checksum is no file: it is told in the log
//! and written again. The checksum is for accidents. Who can write to the folder is
//! trusted as who can write to the program is.
//!
//! A file is written under another name and renamed, so processes may share a
//! folder: they see it whole or not at all. What is mapped stays so when another
//! takes its name.

mod file;
#[cfg(test)]
mod tests;

use super::memo::{InputSpec, Specialisation};
use super::source::{Isolation, LoadOptions};
use crate::error::{self, Result};
use crate::host::{Identity, MappedFile, io_error};
use crate::kernels::{Blob, Collected, Isa};
use crate::log::log_line;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use tract_onnx::prelude::DatumType;

/// Programs of one model that are kept.
const MOST_PROGRAMS: usize = 32;

/// A folder, for the loads of one model with some options.
#[derive(Clone)]
pub(crate) struct Cache {
    folder: PathBuf,
    /// Of all that does not depend on the model.
    key: Key,
}

/// A hash of all that a file depends on.
type Key = [u8; 32];

/// A file of the cache, read.
pub(crate) struct Entry {
    file: file::Read<MappedFile>,
}

impl Entry {
    /// What was written.
    pub(crate) fn meta(&self) -> &[u8] {
        self.file.meta()
    }

    /// The floats that were written with it.
    pub(crate) fn blob(&self) -> Option<Blob> {
        self.file.blob()
    }
}

/// Where the program of a model at some shapes is kept.
pub(crate) struct Shelf {
    cache: Cache,
    model: String,
    name: String,
    key: Key,
}

impl Cache {
    /// Opens a folder, which is made where there is none.
    pub(super) fn open(folder: &str, options: &LoadOptions) -> Result<Cache> {
        std::fs::create_dir_all(folder).map_err(|e| io_error(folder, &e))?;
        let folder = PathBuf::from(folder);
        if !folder.is_dir() {
            return Err(error::io(format!("cache_dir {}: expected a folder", folder.display())));
        }
        let limits = format!("{:?}", options.limits);
        let isolated = options.isolation == Isolation::Process;
        let key = hash(&[
            env!("INFERNO_BUILD_ID").as_bytes(),
            std::env::consts::ARCH.as_bytes(),
            format!("{:?}", Isa::best()).as_bytes(),
            limits.as_bytes(),
            &[u8::from(isolated)],
        ]);
        Ok(Cache { folder, key })
    }

    fn key(&self, parts: &[&[u8]]) -> Key {
        hash(&[&[&self.key[..]], parts].concat())
    }

    /// The model that a file is known to be.
    pub(super) fn known(&self, file: &Identity) -> Option<Key> {
        let (name, key) = self.path(file);
        let (then, model): (Identity, Key) = self.read_plain(&name, &key)?;
        (then == *file).then_some(model)
    }

    /// Notes which model a file was read as, if it is still the same.
    pub(super) fn note(&self, file: &Identity, model: &Key) {
        if Identity::of(file.path()).as_ref() == Some(file) {
            let (name, key) = self.path(file);
            self.write_plain(&name, &key, &(file, model));
        }
    }

    fn path(&self, file: &Identity) -> (String, Key) {
        let key = self.key(&[b"path", file.path().as_bytes()]);
        (format!("{}.path", short(&hash(&[file.path().as_bytes()]))), key)
    }

    /// What a model says of itself.
    pub(super) fn about<T: DeserializeOwned>(&self, model: &Key) -> Option<T> {
        self.read_plain(&format!("{}.model", short(model)), &self.key(&[b"model", model]))
    }

    /// Keeps what a model says of itself.
    pub(super) fn keep_about(&self, model: &Key, about: &impl Serialize) {
        self.write_plain(&format!("{}.model", short(model)), &self.key(&[b"model", model]), about);
    }

    /// Where the program of a model at `spec` is; nowhere when a constant is text.
    pub(super) fn shelf(&self, model: &Key, spec: &Specialisation) -> Option<Shelf> {
        let spec = hash_of(spec)?;
        let model_name = short(model);
        Some(Shelf {
            name: format!("{model_name}-{}.program", short(&spec)),
            key: self.key(&[b"program", model, &spec]),
            model: model_name,
            cache: self.clone(),
        })
    }

    fn read_plain<T: DeserializeOwned>(&self, name: &str, key: &Key) -> Option<T> {
        let entry = self.read(name, key)?;
        match postcard::from_bytes(entry.meta()) {
            Ok(value) => Some(value),
            Err(e) => {
                log_line!(Warn, "cache: {name} is refused: {e}");
                None
            }
        }
    }

    fn write_plain(&self, name: &str, key: &Key, value: &impl Serialize) {
        match postcard::to_allocvec(value) {
            Ok(meta) => self.write(name, key, &meta, &Collected::default()),
            Err(e) => log_line!(Warn, "cache: {name} is not kept: {e}"),
        }
    }

    fn read(&self, name: &str, key: &Key) -> Option<Entry> {
        let file = match MappedFile::open(&self.folder.join(name)) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
            Err(e) => {
                log_line!(Warn, "cache: {name} is refused: {e}");
                return None;
            }
        };
        match file::Read::new(file, key) {
            Ok(file) => Some(Entry { file }),
            Err(why) => {
                log_line!(Warn, "cache: {name} is refused: {why}");
                None
            }
        }
    }

    /// Writes a file, or says in the log why not: a cache is no reason to fail.
    fn write(&self, name: &str, key: &Key, meta: &[u8], floats: &Collected) {
        if let Err(e) = file::write(&self.folder, name, key, meta, floats) {
            log_line!(Warn, "cache: {name} is not kept: {e}");
        }
    }

    /// Makes room for one more program of a model: the oldest goes.
    fn make_room(&self, model: &str) {
        let Ok(all) = std::fs::read_dir(&self.folder) else { return };
        let mut programs: Vec<_> = all
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.ends_with(".program")
                    && name.strip_prefix(model).is_some_and(|r| r.starts_with('-'))
            })
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        programs.sort();
        let over = (programs.len() + 1).saturating_sub(MOST_PROGRAMS);
        for (_, path) in &programs[..over] {
            // (Another process may have done so.)
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Shelf {
    /// What is kept there.
    pub(crate) fn read(&self) -> Option<Entry> {
        self.cache.read(&self.name, &self.key)
    }

    /// Says why what is kept there is of no use.
    pub(crate) fn refuse(&self, why: impl std::fmt::Display) {
        log_line!(Warn, "cache: {} is refused: {why}", self.name);
    }

    /// Keeps a program, with its floats.
    pub(crate) fn keep(&self, meta: &[u8], floats: &Collected) {
        self.cache.make_room(&self.model);
        self.cache.write(&self.name, &self.key, meta, floats);
    }
}

/// BLAKE3 of parts, each told apart from the next.
fn hash(parts: &[&[u8]]) -> Key {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    *hasher.finalize().as_bytes()
}

fn hash_of(spec: &Specialisation) -> Option<Key> {
    let mut hasher = blake3::Hasher::new();
    for input in &spec.inputs {
        let (tag, dims, bytes) = match input {
            InputSpec::Run(shape) => (0, shape.to_vec(), None),
            InputSpec::Constant(tensor) if tensor.datum_type() == DatumType::String => return None,
            InputSpec::Constant(tensor) => (1, tensor.shape().to_vec(), Some(tensor)),
        };
        hasher.update(&[tag, dims.len() as u8]);
        for dim in dims {
            hasher.update(&(dim as u64).to_le_bytes());
        }
        if let Some(tensor) = bytes {
            hasher
                .update(format!("{:?}", tensor.datum_type()).as_bytes())
                .update(tensor.as_bytes());
        }
    }
    Some(*hasher.finalize().as_bytes())
}

/// Half of a hash, as a name.
fn short(hash: &Key) -> String {
    blake3::Hash::from_bytes(*hash).to_hex()[..32].to_owned()
}
