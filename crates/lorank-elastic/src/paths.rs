//! Paths of the engine's API.

use std::fmt::Write as _;

/// A part of a path or a value of a query string, percent-encoded. Commas and asterisks keep their meaning in lists of
/// indexes and fields.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b',' | b'*' | b':' => {
                encoded.push(char::from(byte));
            }
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_path_is_encoded() {
        assert_eq!(encode("logs-*,Ü/a?b=1&c"), "logs-*,%C3%9C%2Fa%3Fb%3D1%26c");
    }
}
