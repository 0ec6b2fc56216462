//! Processors, denormals and memory of this process.

use std::{fs, mem};

/// The processors this process may use.
fn allowed() -> Vec<usize> {
    // SAFETY: the set is as long as the call is told.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

/// Keeps this thread, and those it will start, on the last `count` processors.
pub fn pin(count: usize) -> Result<(), String> {
    let all = allowed();
    if all.len() < count {
        return Err(format!("{count} threads asked for, {} processors there", all.len()));
    }
    // SAFETY: as above.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        all[all.len() - count..].iter().for_each(|&cpu| libc::CPU_SET(cpu, &mut set));
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
    Ok(())
}

/// Numbers too small for the usual form are 0, on this thread and those it will start.
pub fn flush_to_zero() {
    // SAFETY: only the bits of flushing change.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        let mut mode = 0u32;
        std::arch::asm!("stmxcsr [{}]", in(reg) &mut mode);
        mode |= 0x8040;
        std::arch::asm!("ldmxcsr [{}]", in(reg) &mode);
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        let mut mode: u64;
        std::arch::asm!("mrs {}, fpcr", out(reg) mode);
        mode |= 1 << 24;
        std::arch::asm!("msr fpcr, {}", in(reg) mode);
    }
}

/// Begins anew to look for the most that is resident, and says what is now, in KiB.
pub fn reset_peak() -> Result<u64, String> {
    fs::write("/proc/self/clear_refs", "5").map_err(|e| format!("/proc/self/clear_refs: {e}"))?;
    status("VmRSS:")
}

/// The most that was resident since, in KiB.
pub fn peak() -> Result<u64, String> {
    status("VmHWM:")
}

fn status(key: &str) -> Result<u64, String> {
    let text = fs::read_to_string("/proc/self/status").map_err(|e| e.to_string())?;
    let line = text.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default();
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .map_err(|_| format!("no {key} in /proc/self/status"))
}
