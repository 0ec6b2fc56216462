//! What this process and `inferno-check` say to each other.
//!
//! One socket, frames both ways. A frame is its kind (u32), its payload's
//! length (u64), the payload; all numbers are little-endian. Neither end
//! believes the other: a frame of an unknown kind, of a length that its kind
//! does not have, or that comes when no such is due, ends the trial.
//!
//! | to the helper | payload |
//! |---|---|
//! | 1 `HELLO` | u32 protocol, u32 flags (1: external data may be asked for), u64 bytes of the model, nine u64 limits in the order of `inferno_model_limits`, the model's name |
//! | 2 `MODEL` | the model's bytes |
//! | 3 `ANSWER` | u32 code (0, 1 no such file, 2 another failure), then what was asked for: u64 size, or the bytes |
//!
//! | from the helper | payload |
//! |---|---|
//! | 1 `READY` | u32 protocol, the library's version as text: it is locked in and waits for `MODEL` |
//! | 2 `STAGE` | u32 stage that it begins |
//! | 3 `SIZE` | the location of external data |
//! | 4 `READ` | u64 offset, u64 bytes, the location |
//! | 5 `VERDICT` | u32 stage, u32 status, u64 bytes it used at most, the text |
//!
//! `src/check/inferno-check.c` is the other end.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Changes with anything above.
pub(super) const PROTOCOL: u32 = 1;

pub(super) const HELLO: u32 = 1;
pub(super) const MODEL: u32 = 2;
pub(super) const ANSWER: u32 = 3;

const READY: u32 = 1;
const STAGE: u32 = 2;
const SIZE: u32 = 3;
const READ: u32 = 4;
const VERDICT: u32 = 5;

/// The longest payload that is taken from a helper: a location or a text.
const MOST_BYTES: u64 = 64 << 10;

/// As much as is sent before the clock is looked at again.
const CHUNK: usize = 64 << 10;

/// Why there is no next frame.
#[derive(Debug)]
pub(super) enum Broken {
    /// The deadline came.
    Late,
    /// The other end is closed.
    Gone,
    /// It said something that it must not.
    Odd(String),
}

/// What a helper says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Ready { protocol: u32, version: String },
    Stage(u32),
    Size { location: String },
    Read { offset: u64, bytes: u64, location: String },
    Verdict { stage: u32, status: u32, peak_bytes: u64, text: String },
}

/// Our end.
pub(super) struct Line {
    stream: UnixStream,
    until: Option<Instant>,
}

impl Line {
    pub(super) fn new(stream: UnixStream, until: Option<Instant>) -> Line {
        Line { stream, until }
    }

    /// How long the next call may wait.
    fn patience(&self) -> Result<Option<Duration>, Broken> {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) { Err(Broken::Late) } else { Ok(left) }
    }

    /// Sends a frame whose payload is `parts`, one after the other. That nobody
    /// is there to read it is no error yet: what they said before comes first.
    pub(super) fn say(&mut self, kind: u32, parts: &[&[u8]]) -> Result<(), Broken> {
        match self.say_all(kind, parts) {
            Err(Broken::Gone) => Ok(()),
            said => said,
        }
    }

    fn say_all(&mut self, kind: u32, parts: &[&[u8]]) -> Result<(), Broken> {
        let bytes = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let mut head = [0; 12];
        head[..4].copy_from_slice(&kind.to_le_bytes());
        head[4..].copy_from_slice(&bytes.to_le_bytes());
        self.send(&head)?;
        parts.iter().try_for_each(|part| self.send(part))
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        for mut rest in bytes.chunks(CHUNK) {
            while !rest.is_empty() {
                let patience = self.patience()?;
                self.stream.set_write_timeout(patience).map_err(|e| broken(&e))?;
                // The standard library sends without SIGPIPE.
                match self.stream.write(rest) {
                    Ok(0) => return Err(Broken::Gone),
                    Ok(sent) => rest = &rest[sent..],
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(broken(&e)),
                }
            }
        }
        Ok(())
    }

    /// The next frame.
    pub(super) fn hear(&mut self) -> Result<Said, Broken> {
        let mut head = [0; 12];
        self.receive(&mut head)?;
        let mut head = Fields(&head);
        let (kind, bytes) = (head.u32()?, head.u64()?);
        if bytes > MOST_BYTES {
            return Err(Broken::Odd(format!("a frame of {bytes} bytes")));
        }
        let mut payload = vec![0; bytes as usize];
        self.receive(&mut payload)?;
        said(kind, &payload)
    }

    fn receive(&mut self, mut rest: &mut [u8]) -> Result<(), Broken> {
        while !rest.is_empty() {
            let patience = self.patience()?;
            self.stream.set_read_timeout(patience).map_err(|e| broken(&e))?;
            match self.stream.read(rest) {
                Ok(0) => return Err(Broken::Gone),
                Ok(got) => rest = &mut rest[got..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(broken(&e)),
            }
        }
        Ok(())
    }
}

fn broken(e: &io::Error) -> Broken {
    match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Broken::Late,
        _ => Broken::Gone,
    }
}

fn said(kind: u32, payload: &[u8]) -> Result<Said, Broken> {
    let mut fields = Fields(payload);
    let said = match kind {
        READY => Said::Ready { protocol: fields.u32()?, version: fields.text() },
        STAGE => Said::Stage(fields.u32()?),
        SIZE => Said::Size { location: fields.location()? },
        READ => {
            Said::Read { offset: fields.u64()?, bytes: fields.u64()?, location: fields.location()? }
        }
        VERDICT => Said::Verdict {
            stage: fields.u32()?,
            status: fields.u32()?,
            peak_bytes: fields.u64()?,
            text: fields.text(),
        },
        _ => return Err(Broken::Odd(format!("a frame of kind {kind}"))),
    };
    match fields.0.len() {
        0 => Ok(said),
        more => Err(Broken::Odd(format!("a frame of kind {kind} with {more} bytes too many"))),
    }
}

/// What is left of a payload.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (field, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or_else(|| Broken::Odd("a frame that is too short".into()))?;
        self.0 = rest;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32, Broken> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Broken> {
        self.take().map(u64::from_le_bytes)
    }

    fn location(&mut self) -> Result<String, Broken> {
        String::from_utf8(std::mem::take(&mut self.0).to_vec())
            .map_err(|_| Broken::Odd("a location that is not UTF-8".into()))
    }

    /// The rest as a text for a person: what would not print is a blank.
    fn text(&mut self) -> String {
        let text = String::from_utf8_lossy(std::mem::take(&mut self.0));
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(bytes: &[u8]) -> Result<Said, Broken> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        drop(theirs);
        Line::new(ours, Some(Instant::now() + Duration::from_secs(5))).hear()
    }

    fn frame(kind: u32, payload: &[u8]) -> Vec<u8> {
        let bytes = (payload.len() as u64).to_le_bytes();
        [&kind.to_le_bytes()[..], &bytes, payload].concat()
    }

    #[test]
    fn any_bytes_are_heard_out_or_refused() {
        let verdict = [&[3, 0, 0, 0, 6, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0][..], b"a\nb\xff"].concat();
        let text = "a b\u{fffd}".to_owned();
        let expected = Said::Verdict { stage: 3, status: 6, peak_bytes: 9, text };
        assert_eq!(heard(&frame(VERDICT, &verdict)).unwrap(), expected);
        for kind in 0..9 {
            for length in 0..24 {
                // Of any kind and length: an answer, never a panic.
                let _ = heard(&frame(kind, &vec![0xfe; length]));
                let _ = heard(&frame(kind, &vec![b'a'; length])[..length]);
            }
        }
        assert!(matches!(heard(&frame(READY, &[0; 3])), Err(Broken::Odd(_))));
        assert!(matches!(heard(&frame(SIZE, b"\xff")), Err(Broken::Odd(_))));
        assert!(matches!(heard(&frame(77, b"")), Err(Broken::Odd(_))));
        assert!(matches!(heard(b""), Err(Broken::Gone)));
        let huge = [&STAGE.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
        assert!(matches!(heard(&huge), Err(Broken::Odd(_))));
    }

    #[test]
    fn neither_a_silent_nor_a_deaf_end_holds_us_up() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut line = Line::new(ours, Some(Instant::now() + Duration::from_millis(50)));
        assert!(matches!(line.hear(), Err(Broken::Late)));
        line.until = Some(Instant::now() + Duration::from_millis(50));
        assert!(matches!(line.say(MODEL, &[&vec![0; 8 << 20]]), Err(Broken::Late)));
        drop(theirs);
        line.until = None;
        assert!(line.say(MODEL, &[&[0; 100]]).is_ok());
        assert!(matches!(line.hear(), Err(Broken::Gone)));
    }
}
