//! What the host may bring: for now its files. Owned, safe values.

mod reader;

pub(crate) use reader::io_error;
pub use reader::{FileSize, Files, MemoryOnly, Reader, zeroed_buffer};
