//! The audit log: what was loaded, swapped, refused, what failed, in a chain of
//! hashes, bounded in memory: the oldest records go when there is no room.
//!
//! A record is one line of JSON. Its last member, `chain`, is BLAKE3 of the chain
//! value of the record before and of its own line up to there. The first line of an
//! export says from which value its chain begins, since older records may be gone.
//! So a line that is changed, left out, or put elsewhere is found by whoever has
//! the lines ([`verify`]); that nobody made a whole other log is shown by the last
//! chain value, kept elsewhere.

use super::event::Event;
use super::json;
use crate::error::{self, Result};
use std::collections::VecDeque;
use std::fmt::Write;

/// Bytes of records that are kept, unless the host says otherwise: some hundred.
const KEPT_BYTES: usize = 32 << 10;
/// Bytes of a text of a record; longer ones are cut.
const TEXT: usize = 1024;
const CHAIN: &str = ",\"chain\":";

/// An event as the log has it: the members of its line.
pub(super) struct Record(String);

impl Record {
    pub(super) fn of(event: &Event) -> Record {
        let mut line = format!(",\"at_unix_ns\":{},\"event\":", event.at_unix_ns);
        json::string(&mut line, event.happened.name());
        let texts = [
            ("model", &*event.model),
            ("source", &*event.source),
            ("tag", &*event.tag),
            ("limits", &*event.limits),
            ("detail", event.detail.as_str()),
        ];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            let _ = write!(line, ",\"{name}\":");
            json::string(&mut line, cut(text));
        }
        if let Some(hash) = &event.hash {
            line.push_str(",\"hash\":");
            json::hex(&mut line, hash);
        }
        let _ = write!(line, ",\"status\":{}", event.status);
        Record(line)
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The log.
#[derive(Debug)]
pub struct AuditLog {
    lines: VecDeque<Box<str>>,
    /// Bytes of the lines, and how many there may be.
    bytes: usize,
    capacity: usize,
    /// Records that were ever appended.
    appended: u64,
    /// The chain before the first line that is kept, and after the last.
    from: [u8; 32],
    to: [u8; 32],
}

impl Default for AuditLog {
    fn default() -> Self {
        let (lines, bytes, capacity) = (VecDeque::new(), 0, KEPT_BYTES);
        AuditLog { lines, bytes, capacity, appended: 0, from: [0; 32], to: [0; 32] }
    }
}

impl AuditLog {
    pub(super) fn append(&mut self, record: Record) {
        self.appended += 1;
        let mut line = format!("{{\"sequence\":{}{}", self.appended, record.0);
        self.to = next(&self.to, &line);
        line.push_str(CHAIN);
        json::hex(&mut line, &self.to);
        line.push('}');
        self.bytes += line.len();
        self.lines.push_back(line.into_boxed_str());
        self.forget();
    }

    /// Sets how many bytes of records are kept.
    pub(super) fn set_capacity(&mut self, bytes: usize) {
        self.capacity = bytes;
        self.forget();
    }

    /// Lets the oldest go that there is no room for.
    fn forget(&mut self) {
        while self.bytes > self.capacity
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.len();
            if let Some(chain) = parts(&oldest).and_then(|(_, chain)| unhex(chain)) {
                self.from = chain;
            }
        }
        if self.lines.capacity() > 2 * self.lines.len() + 64 {
            self.lines.shrink_to_fit();
        }
    }

    /// The log as lines of JSON.
    pub fn text(&self) -> String {
        let first = self.appended - self.lines.len() as u64 + 1;
        let mut text = format!("{{\"log\":\"inferno-audit-1\",\"first\":{first}{CHAIN}");
        json::hex(&mut text, &self.from);
        text.push_str("}\n");
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

fn next(chain: &[u8; 32], line: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(chain);
    hasher.update(line.as_bytes());
    *hasher.finalize().as_bytes()
}

/// What a line says, and its chain value. (A quote within a text has a backslash
/// before it, so the last one of these is the member.)
fn parts(line: &str) -> Option<(&str, &str)> {
    let at = line.rfind(CHAIN)?;
    let chain = line[at + CHAIN.len()..].strip_prefix('"')?.strip_suffix("\"}")?;
    Some((&line[..at], chain))
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// How many records an export has, when it is as it was written.
pub fn verify(text: &str) -> Result<u64> {
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let no_log = || error::invalid_argument("line 1: expected the first line of an audit log");
    let (said, chain) = parts(head).ok_or_else(no_log)?;
    let said = said.strip_prefix("{\"log\":\"inferno-audit-1\",\"first\":").ok_or_else(no_log)?;
    let first: u64 = said.parse().map_err(|_| no_log())?;
    let mut chain = unhex(chain).ok_or_else(no_log)?;
    let mut count = 0;
    for (line, sequence) in lines.zip(first..) {
        let wrong = || {
            error::invalid_argument(format!(
                "line {}: expected record {sequence} as it was written after the one before",
                count + 2
            ))
        };
        let (said, value) = parts(line).ok_or_else(wrong)?;
        chain = next(&chain, said);
        let is_next = said.starts_with(&format!("{{\"sequence\":{sequence},"));
        if !is_next || unhex(value) != Some(chain) {
            return Err(wrong());
        }
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::super::event::Happened;
    use super::*;

    fn log(records: usize) -> AuditLog {
        let mut log = AuditLog::default();
        for at in 0..records {
            let detail = format!("no. {at}, \"quoted\",\"chain\":\"00\"}}\n");
            log.append(Record::of(&Event {
                model: "policy.onnx".into(),
                hash: Some([7; 32]),
                detail,
                ..Event::new(Happened::Loaded)
            }));
        }
        log
    }

    #[test]
    fn a_log_is_as_it_was_written_or_found_out() {
        let text = log(20).text();
        assert_eq!(verify(&text).unwrap(), 20);
        let lines: Vec<&str> = text.lines().collect();
        let joined = |lines: &[&str]| lines.join("\n") + "\n";
        // A line left out, two exchanged, one changed, one added.
        assert!(verify(&joined(&[&lines[..5], &lines[6..]].concat())).is_err());
        let mut exchanged = lines.clone();
        exchanged.swap(3, 4);
        assert!(verify(&joined(&exchanged)).is_err());
        let e = verify(&text.replace("no. 7", "no. 8")).unwrap_err();
        assert!(e.detail().contains("line 9"), "{e}");
        assert!(verify(&joined(&[&lines[..], &lines[20..]].concat())).is_err());
        // What is left of a log whose end is cut off is one still.
        assert_eq!(verify(&joined(&lines[..5])).unwrap(), 4);
        for bad in ["", "{}", "x\ny", lines[1]] {
            assert!(verify(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn it_is_bounded_and_what_is_left_is_whole() {
        let mut log = log(1000);
        let left = log.lines.len() as u64;
        assert!(log.bytes <= KEPT_BYTES && left > 50 && left < 200, "{left}");
        assert_eq!(verify(&log.text()).unwrap(), left);
        assert!(log.text().contains(&format!("\"first\":{}", 1000 - left + 1)));
        log.set_capacity(1000);
        assert_eq!(verify(&log.text()).unwrap(), log.lines.len() as u64);
        log.set_capacity(0);
        assert_eq!((verify(&log.text()).unwrap(), log.bytes), (0, 0));
        let long = Event { detail: "é".repeat(TEXT), ..Event::new(Happened::Refused) };
        assert!(Record::of(&long).0.len() < TEXT + 200);
    }
}
