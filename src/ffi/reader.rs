//! The host's own file system, as three callbacks.

use super::guard::struct_prefix;
use super::options::InitStruct;
use crate::error::{self, Result};
use crate::host::{self, Reader};
use std::ffi::{CString, c_char, c_void};

/// A host's way to its files: packs, archives, encrypted assets. Set
/// `struct_size` to `sizeof(inferno_reader)` and all three callbacks. They are
/// called during a load only, one at a time.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct inferno_reader {
    /// `sizeof(inferno_reader)`.
    pub struct_size: usize,
    /// Handed to every callback unchanged.
    pub user_data: *mut c_void,
    /// Opens `path`: sets `*file` to anything the host likes and `*size_bytes`
    /// to the file's whole size. Returns 0, or -1 when there is no such file,
    /// or any other value for another failure; `close` follows only a 0.
    pub open: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            path: *const c_char,
            file: *mut *mut c_void,
            size_bytes: *mut u64,
        ) -> i32,
    >,
    /// Reads exactly `size_bytes` bytes from `offset` into `buffer`. Returns 0,
    /// or any other value for a failure. A file is read in parts, each once, from
    /// its beginning on.
    pub read: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            file: *mut c_void,
            offset: u64,
            buffer: *mut c_void,
            size_bytes: usize,
        ) -> i32,
    >,
    /// Closes what `open` gave.
    pub close: Option<unsafe extern "C" fn(user_data: *mut c_void, file: *mut c_void)>,
}

impl InitStruct for inferno_reader {
    const NAME: &'static str = "inferno_reader";
    fn defaults() -> Self {
        inferno_reader {
            struct_size: size_of::<Self>(),
            user_data: std::ptr::null_mut(),
            open: None,
            read: None,
            close: None,
        }
    }
}

/// The checked callbacks, as the safe `host::Reader`.
pub(crate) struct HostReader {
    user_data: *mut c_void,
    open: unsafe extern "C" fn(*mut c_void, *const c_char, *mut *mut c_void, *mut u64) -> i32,
    read: unsafe extern "C" fn(*mut c_void, *mut c_void, u64, *mut c_void, usize) -> i32,
    close: unsafe extern "C" fn(*mut c_void, *mut c_void),
}

// SAFETY: the header says the callbacks may run on a thread of Inferno's, one
// at a time; `user_data` is only handed through.
unsafe impl Send for HostReader {}
// SAFETY: as above; `host::Reader` is used by one load, which is one thread at
// a time.
unsafe impl Sync for HostReader {}

impl HostReader {
    /// SAFETY: `reader` is NULL or points to its `struct_size` readable bytes.
    pub(super) unsafe fn new(reader: *const inferno_reader) -> Result<HostReader> {
        if reader.is_null() {
            return Err(error::invalid_argument("reader is NULL: expected an inferno_reader"));
        }
        // SAFETY: as this function's own contract.
        let reader = unsafe { struct_prefix(reader) }?;
        let missing = |what: &str| {
            error::invalid_argument(format!("reader.{what} is NULL: expected a function"))
        };
        Ok(HostReader {
            user_data: reader.user_data,
            open: reader.open.ok_or_else(|| missing("open"))?,
            read: reader.read.ok_or_else(|| missing("read"))?,
            close: reader.close.ok_or_else(|| missing("close"))?,
        })
    }
}

/// An open host file, closed once.
struct Open<'a> {
    reader: &'a HostReader,
    path: &'a str,
    file: *mut c_void,
    size: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // SAFETY: `file` came from a successful `open` and is closed only here.
        unsafe { (self.reader.close)(self.reader.user_data, self.file) }
    }
}

impl host::Open for Open<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&mut self, offset: u64, to: &mut [u8]) -> Result<()> {
        let (reader, len) = (self.reader, to.len());
        // SAFETY: `to` has `len` writable bytes; the file is open.
        let code = unsafe {
            (reader.read)(reader.user_data, self.file, offset, to.as_mut_ptr().cast(), len)
        };
        if code != 0 {
            return Err(error::io(format!(
                "{}: the host's reader answered {code} to a read of {len} bytes at {offset}",
                self.path
            )));
        }
        Ok(())
    }
}

impl Reader for HostReader {
    fn open<'a>(&'a self, path: &'a str) -> Result<Box<dyn host::Open + 'a>> {
        let c_path = CString::new(path)
            .map_err(|_| error::invalid_argument(format!("path {path:?} holds a NUL")))?;
        let mut file = std::ptr::null_mut();
        let mut size = 0u64;
        // SAFETY: the host promised a callback of this type; all pointers live
        // across the call.
        let code = unsafe { (self.open)(self.user_data, c_path.as_ptr(), &mut file, &mut size) };
        match code {
            0 => Ok(Box::new(Open { reader: self, path, file, size })),
            -1 => Err(error::not_found(format!("{path}: the host's reader has no such file"))),
            n => Err(error::io(format!("{path}: the host's reader answered {n} to open"))),
        }
    }
}
