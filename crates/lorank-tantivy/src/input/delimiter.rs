//! Delimiters of tables.

use std::str::FromStr;

use crate::Error;

/// A delimiter of table cells: an ASCII character other than a quote or a line end. It is written as itself; a tab also
/// as `\\t` or `tab`.
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
                    "invalid delimiter `{}`: it must be one ASCII character other than a quote or a line end, such as `;`, `|` or `\\t`",
                    text.escape_debug()
                ),
            }),
        }
    }
}

/// The syntax of table cells.
#[derive(Debug, Clone, Copy)]
pub(super) struct CellStyle {
    pub delimiter: u8,
    /// Whether cells may be enclosed in double quotes. If not, a quote is an ordinary character.
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
            assert!(error.contains(&format!("invalid delimiter `{}`", text.escape_debug())), "{error}");
        }
    }
}
