//! A host's reader, with the faults that a host's files have.

use crate::lane::Lane;
use fuzz::check::ensure;
use fuzz::models::WEIGHTS;
use inferno::ffi::reader::inferno_reader;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A host's files: the model, and its external data; what goes wrong is chosen
/// beforehand.
pub struct Files {
    model: Box<[u8]>,
    open_answer: i32,
    read_answer: i32,
    more: u64,
    open: Cell<usize>,
    inside: AtomicBool,
}

impl Files {
    pub fn new(lane: &mut Lane, model: Box<[u8]>) -> Files {
        let answer = |n: u8| [0, 0, 0, 0, 0, 0, -1, 7][n as usize / 32];
        Files {
            model,
            open_answer: answer(lane.bytes.byte()),
            read_answer: answer(lane.bytes.byte()),
            more: if lane.bytes.rarely(8) { lane.bytes.odd() as u64 } else { 0 },
            open: Cell::new(0),
            inside: AtomicBool::new(false),
        }
    }

    pub fn reader(&self) -> inferno_reader {
        inferno_reader {
            struct_size: size_of::<inferno_reader>(),
            user_data: (&raw const *self).cast_mut().cast(),
            open: Some(open),
            read: Some(read),
            close: Some(close),
        }
    }

    fn alone<T>(&self, body: impl FnOnce() -> T) -> T {
        ensure(!self.inside.swap(true, Relaxed), || "two reader callbacks at once".into());
        let answer = body();
        self.inside.store(false, Relaxed);
        answer
    }

    /// After a load: every file was closed.
    pub fn ended(&self) {
        ensure(self.open.get() == 0, || format!("{} files were left open", self.open.get()));
    }
}

unsafe extern "C" fn open(
    files: *mut c_void,
    path: *const c_char,
    file: *mut *mut c_void,
    size: *mut u64,
) -> i32 {
    // SAFETY: `user_data` as `Files::reader` gave it; places of the library's.
    let (files, path) = unsafe { (&*files.cast::<Files>(), CStr::from_ptr(path)) };
    files.alone(|| {
        if files.open_answer == 0 {
            files.open.set(files.open.get() + 1);
            let external = path.to_bytes().ends_with(WEIGHTS.as_bytes());
            let len = if external { 20 } else { files.model.len() as u64 };
            // SAFETY: as above.
            unsafe {
                *file = std::ptr::without_provenance_mut(usize::from(external));
                *size = len.wrapping_add(files.more);
            }
        }
        files.open_answer
    })
}

unsafe extern "C" fn read(
    files: *mut c_void,
    file: *mut c_void,
    offset: u64,
    buffer: *mut c_void,
    size: usize,
) -> i32 {
    // SAFETY: `user_data` as `Files::reader` gave it.
    let files = unsafe { &*files.cast::<Files>() };
    files.alone(|| {
        ensure(files.open.get() > 0, || "a read of a file that is not open".into());
        let all: &[u8] = if file.is_null() { &files.model } else { &[1; 20] };
        let from = all.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or(&[]);
        let len = from.len().min(size);
        // SAFETY: the library's buffer has `size` bytes.
        unsafe { buffer.cast::<u8>().copy_from(from.as_ptr(), len) };
        files.read_answer
    })
}

unsafe extern "C" fn close(files: *mut c_void, _: *mut c_void) {
    // SAFETY: `user_data` as `Files::reader` gave it.
    let files = unsafe { &*files.cast::<Files>() };
    files.alone(|| {
        ensure(files.open.get() > 0, || "a close without an open".into());
        files.open.set(files.open.get() - 1);
    });
}
