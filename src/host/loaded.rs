//! The library stays where it is loaded.

#![allow(unsafe_code)]

/// Keeps the library, or the program that has it in it, mapped until the process ends:
/// threads and thread-locals of Rust code do not survive unmapping. Elsewhere the linker
/// is told (`nodelete`).
#[cfg(windows)]
pub(crate) fn stay_loaded() {
    use windows_sys::Win32::System::LibraryLoader::{
        GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GetModuleHandleExW,
    };
    let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN;
    let (here, mut module) = (stay_loaded as fn(), std::ptr::null_mut());
    // SAFETY: the address is one of this module's. A failure leaves things as they were.
    unsafe { GetModuleHandleExW(flags, here as *const u16, &mut module) };
}

#[cfg(not(windows))]
pub(crate) fn stay_loaded() {}
