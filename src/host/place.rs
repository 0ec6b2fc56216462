//! Where a file lies on its device, and when it was changed last.

#![allow(unsafe_code)]

use std::fs::Metadata;

/// Device, number and time of change of the file at `path`; none where the system does
/// not say.
#[cfg(unix)]
pub(super) fn of(_: &str, about: &Metadata) -> Option<[u64; 4]> {
    use std::os::unix::fs::MetadataExt;
    Some([about.dev(), about.ino(), about.ctime() as u64, about.ctime_nsec() as u64])
}

/// The same in the terms of Windows.
#[cfg(windows)]
pub(super) fn of(path: &str, _: &Metadata) -> Option<[u64; 4]> {
    use std::fs::File;
    use windows_sys::Win32::Storage::FileSystem::{
        FILE_BASIC_INFO, FILE_ID_INFO, FileBasicInfo, FileIdInfo,
    };
    let file = File::open(path).ok()?;
    let (mut id, mut basic) = (FILE_ID_INFO::default(), FILE_BASIC_INFO::default());
    // SAFETY: each class of information is a struct of plain numbers, as given.
    unsafe {
        told(&file, FileIdInfo, &mut id)?;
        told(&file, FileBasicInfo, &mut basic)?;
    }
    let (low, high) = id.FileId.Identifier.split_at(8);
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    Some([id.VolumeSerialNumber, word(low), word(high), basic.ChangeTime as u64])
}

/// Has `into` filled with what is known of `file`.
///
/// SAFETY: `into` is the struct of `class`, of which any bits are a value.
#[cfg(windows)]
unsafe fn told<T>(file: &std::fs::File, class: i32, into: &mut T) -> Option<()> {
    use std::os::windows::io::AsRawHandle;
    use windows_sys::Win32::Storage::FileSystem::GetFileInformationByHandleEx;
    let (into, size) = ((&raw mut *into).cast(), size_of::<T>() as u32);
    // SAFETY: the handle is open, and by this function's contract.
    let told = unsafe { GetFileInformationByHandleEx(file.as_raw_handle(), class, into, size) };
    (told != 0).then_some(())
}

/// Elsewhere it is not known.
#[cfg(not(any(unix, windows)))]
pub(super) fn of(_: &str, _: &Metadata) -> Option<[u64; 4]> {
    Some([0; 4])
}
