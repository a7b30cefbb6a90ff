//! What separates the cells of a table.

use std::str::FromStr;

use crate::Error;

/// A character that separates the cells of a table: an ASCII one that is neither a quote nor the end of a line. It is written as
/// itself; a tab also as `\\t` or `tab`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delimiter(u8);

impl Delimiter {
    /// The character's byte.
    pub(super) fn byte(self) -> u8 {
        self.0
    }
}

impl FromStr for Delimiter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.as_bytes() {
            b"tab" | b"\\t" => Ok(Self(b'\t')),
            [byte] if byte.is_ascii() && !b"\"\r\n\0".contains(byte) => Ok(Self(*byte)),
            _ => Err(Error::InvalidSettings {
                problem: format!(
                    "the delimiter `{}` is not one ASCII character other than a quote or the end of a line, such as `;`, `|` or `\\t`",
                    text.escape_debug()
                ),
            }),
        }
    }
}

/// How the cells of a table are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct CellStyle {
    pub delimiter: u8,
    /// Whether cells may stand in double quotes. Where they never do, a quote is a character like others.
    pub is_quoted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delimiter_is_one_ascii_character() {
        for (text, byte) in [
            (",", b','),
            (";", b';'),
            ("|", b'|'),
            (" ", b' '),
            ("^", b'^'),
            ("\u{1}", 1),
            ("\t", b'\t'),
            ("\\t", b'\t'),
            ("tab", b'\t'),
        ] {
            assert_eq!(text.parse::<Delimiter>().unwrap().byte(), byte, "{text:?}");
        }
        for text in ["", "\"", "\n", "\r", "\0", ";;", "||", "\\n", "\u{a7}", "；", "TAB "] {
            let error = text.parse::<Delimiter>().unwrap_err().to_string();
            assert!(error.contains(&format!("the delimiter `{}`", text.escape_debug())), "{error}");
        }
    }
}
