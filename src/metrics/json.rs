//! As much of JSON as is written here.

use std::fmt::Write;

/// Adds `text` as a string, in quotes.
pub(super) fn string(to: &mut String, text: &str) {
    to.push('"');
    for c in text.chars() {
        match c {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            c if (c as u32) < 0x20 => {
                let _ = write!(to, "\\u{:04x}", c as u32);
            }
            c => to.push(c),
        }
    }
    to.push('"');
}

/// Adds bytes as a string of hexadecimal digits.
pub(super) fn hex(to: &mut String, bytes: &[u8]) {
    to.push('"');
    bytes.iter().for_each(|byte| {
        let _ = write!(to, "{byte:02x}");
    });
    to.push('"');
}

/// Nanoseconds as microseconds with their decimals, as traces have them.
pub(super) fn micros(to: &mut String, ns: u64) {
    let _ = write!(to, "{}.{:03}", ns / 1000, ns % 1000);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_stay_strings() {
        let mut text = String::new();
        string(&mut text, "a\"b\\c\nd\u{1}é");
        assert_eq!(text, "\"a\\\"b\\\\c\\nd\\u0001é\"");
        text.clear();
        hex(&mut text, &[0, 0xab]);
        micros(&mut text, 1_234_005);
        assert_eq!(text, "\"00ab\"1234.005");
    }
}
