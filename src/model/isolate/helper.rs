//! Where `inferno-check` is, and the process it becomes.

use crate::error::{self, Error, Result};
use crate::sync::Mutex;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

const NAME: &str = "inferno-check";

/// How long a helper that has nothing more to say may take to end.
const GRACE: Duration = Duration::from_secs(1);

/// Where the host says it is.
static GIVEN: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Takes the helper at `path` from now on; absent: the one beside the library.
pub fn use_helper(path: Option<&str>) {
    *GIVEN.lock() = path.map(PathBuf::from);
}

/// The helper's path.
pub(super) fn find() -> Result<PathBuf> {
    let places = match GIVEN.lock().clone() {
        // A name alone would be looked for in PATH.
        Some(given) => vec![std::path::absolute(&given).unwrap_or(given)],
        None => beside(&home()?),
    };
    places.iter().find(|place| place.is_file()).cloned().ok_or_else(|| {
        let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
        error::not_found(format!(
            "an isolated load needs its helper {NAME}: expected it at {} (or where \
             inferno_runtime_options.helper_path says)",
            places.join(" or ")
        ))
    })
}

fn beside(home: &Path) -> Vec<PathBuf> {
    vec![home.join(NAME), home.join("../libexec/inferno").join(NAME)]
}

/// The folder of the file that this code was loaded from: the shared object, or
/// the program that it is linked into.
fn home() -> Result<PathBuf> {
    let unknown = |why: String| {
        error::not_found(format!(
            "an isolated load needs its helper {NAME}, and where this library lies is not known \
             ({why}): expected inferno_runtime_options.helper_path"
        ))
    };
    let maps = fs::read("/proc/self/maps").map_err(|e| unknown(format!("/proc/self/maps: {e}")))?;
    let file = mapped_at(&maps, home as *const () as usize)
        .ok_or_else(|| unknown("no file is mapped there".into()))?;
    Ok(file.parent().unwrap_or(Path::new("/")).to_owned())
}

/// The file that is mapped at an address, by a text such as `/proc/self/maps`.
fn mapped_at(maps: &[u8], address: usize) -> Option<PathBuf> {
    let line = maps.split(|b| *b == b'\n').find(|line| {
        let range = line.split(|b| *b == b' ').next().and_then(|r| str::from_utf8(r).ok());
        let bound = |text| usize::from_str_radix(text, 16).ok();
        let range = range.and_then(|r| r.split_once('-'));
        let range = range.and_then(|(from, to)| Some(bound(from)?..bound(to)?));
        range.is_some_and(|range| range.contains(&address))
    })?;
    let path = &line[line.iter().position(|b| *b == b'/')?..];
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

/// A helper at work. However the trial goes, it is ended and waited for.
pub(super) struct Process {
    child: Child,
}

impl Process {
    /// Starts the helper at `path`: no argument, no environment, our end's
    /// other one as its input and output.
    pub(super) fn start(path: &Path) -> Result<(Process, UnixStream)> {
        let failed = |e: io::Error| error::io(format!("{}: {e}", path.display()));
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let output = OwnedFd::from(theirs.try_clone().map_err(failed)?);
        let child = Command::new(path)
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        Ok((Process { child }, ours))
    }

    /// How it ended: it has closed its end, and is not waited for long.
    pub(super) fn end(mut self) -> End {
        let until = Instant::now() + GRACE;
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(1)),
                Ok(None) => return End::Alive,
                Ok(Some(status)) => return End::of(status),
                // The host ignores SIGCHLD, or has waited for all its children.
                Err(_) => return End::Unknown,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Neither fails but when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a helper ended that gave no verdict.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Signal(i32),
    Code(i32),
    /// It did not, but said nothing more.
    Alive,
    /// It did, and somebody else was told how.
    Unknown,
}

impl End {
    fn of(status: ExitStatus) -> End {
        match (status.signal(), status.code()) {
            (Some(signal), _) => End::Signal(signal),
            (None, Some(code)) => End::Code(code),
            (None, None) => End::Unknown,
        }
    }

    /// The error that it means for `what`.
    pub(super) fn error(&self, what: &str) -> Error {
        match self {
            End::Signal(libc::SIGXCPU) => error::deadline_exceeded(format!(
                "{what} used up its processor time: expected at most load_time_ns"
            )),
            End::Signal(signal) => {
                error::invalid_model(format!("{what} died of signal {signal} ({})", name(*signal)))
            }
            End::Code(code) => {
                error::invalid_model(format!("{what} ended with code {code} and no verdict"))
            }
            End::Alive => error::invalid_model(format!("{what} fell silent without a verdict")),
            End::Unknown => error::invalid_model(format!(
                "{what} ended without a verdict; how is not known, as the host's program ignores \
                 SIGCHLD"
            )),
        }
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        libc::SIGABRT => "SIGABRT: it gave up",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGKILL => "SIGKILL: out of memory or of processor time, or somebody ended it",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS: it made a system call that no model needs",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        _ => "unexpected",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_at_an_address_is_found() {
        let maps = b"00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/a b\n\
            00e03000-00e24000 rw-p 00000000 00:00 0           [heap]\n\
            7f00-7f10 r-xp 00000000 08:02 1 /lib/\xff/libinferno.so.0 (deleted)\n\
            odd line\n";
        let at = |address| mapped_at(maps, address);
        assert_eq!(at(0x400000).unwrap(), Path::new("/usr/bin/a b"));
        assert_eq!(at(0x452000), None);
        assert_eq!(at(0xe03000), None);
        let odd = at(0x7f01).unwrap();
        assert_eq!(odd.file_name().unwrap(), "libinferno.so.0");
        assert!(home().unwrap().is_dir());
    }
}
