//! The encoding of an HTML page, as browsers find it: by a byte order mark, else by what the page declares, else UTF-8.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use html5gum::{StartTag, Token, Tokenizer};

use crate::Error;

/// Where a declaration has to stand.
const HEAD_BYTES: usize = 1024;

/// The text of a page; the line where it is none, and why.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, (Option<u64>, Error)> {
    let marked = Encoding::for_bom(&bytes);
    let encoding = match marked {
        Some((encoding, _)) => encoding,
        None => declared(&bytes).map_err(|problem| (None, Error::NotText { problem }))?.unwrap_or(UTF_8),
    };
    if encoding == UTF_8 {
        return utf_8(bytes);
    }
    let content = &bytes[marked.map_or(0, |(_, n_bytes)| n_bytes)..];
    let text = encoding.decode_without_bom_handling_and_without_replacement(content).map(Cow::into_owned);
    text.ok_or_else(|| {
        let problem =
            format!("its bytes are not valid in {}, its declared encoding; convert it to UTF-8", encoding.name());
        (None, Error::NotText { problem })
    })
}

/// The text of bytes in UTF-8.
pub(super) fn utf_8(bytes: Vec<u8>) -> Result<String, (Option<u64>, Error)> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count() as u64;
        let column = valid.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        (Some(line), Error::NotUtf8 { column })
    })
}

/// The encoding that a page without a byte order mark declares in its first bytes.
///
/// # Errors
/// A name that no encoding has.
fn declared(bytes: &[u8]) -> Result<Option<&'static Encoding>, String> {
    // A declaration is in ASCII, and so are its surroundings for the tokenizer, whatever the bytes mean.
    let head: String = bytes.iter().take(HEAD_BYTES).map(|byte| char::from(*byte)).collect();
    let label = Tokenizer::new(&head).find_map(|token| {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) if tag.name.as_slice() == b"meta" => of_meta(&tag),
            Token::Comment(comment) => of_xml(&String::from_utf8_lossy(&comment)),
            _ => None,
        }
    });
    let Some(label) = label else { return Ok(None) };
    match Encoding::for_label(label.as_bytes()) {
        // Read as ASCII so far, it cannot be what it says.
        Some(encoding) if encoding == UTF_16BE || encoding == UTF_16LE => Ok(Some(UTF_8)),
        Some(encoding) => Ok(Some(encoding)),
        None => {
            let label: String = label.chars().take(40).collect();
            Err(format!("it declares the encoding `{}`, which is unknown; convert it to UTF-8", label.escape_debug()))
        }
    }
}

/// `<meta charset="x">`, or `<meta http-equiv="Content-Type" content="text/html; charset=x">`.
fn of_meta(tag: &StartTag<()>) -> Option<String> {
    let attribute = |name: &[u8]| tag.attributes.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
    attribute(b"charset").or_else(|| {
        let is_type = attribute(b"http-equiv")?.eq_ignore_ascii_case("content-type");
        value_after("charset", &attribute(b"content")?).filter(|_| is_type)
    })
}

/// `<?xml version="1.0" encoding="x"?>`, which is a comment to HTML.
fn of_xml(comment: &str) -> Option<String> {
    value_after("encoding", comment.strip_prefix("?xml")?)
}

/// The value of `name = value`, in quotes or up to a space or a semicolon.
fn value_after(name: &str, text: &str) -> Option<String> {
    let at = text.to_ascii_lowercase().find(name)?;
    let value = text[at + name.len()..].trim_start().strip_prefix('=')?.trim_start();
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => value[1..].split(quote).next()?,
        _ => value.split(|c: char| c.is_whitespace() || c == ';').next()?,
    };
    Some(value.to_owned()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use lorank_core::with_causes;

    use super::*;

    fn decoded(bytes: &[u8]) -> String {
        decode(bytes.to_vec()).unwrap_or_else(|(line, error)| format!("{line:?} {}", with_causes(&error)))
    }

    #[test]
    fn the_declared_encoding_is_read() {
        for (head, body, text) in [
            ("", &b"caf\xc3\xa9"[..], "café"),
            ("<meta charset=utf-8>", b"caf\xc3\xa9", "café"),
            ("<meta charset=\"ISO-8859-1\">", b"caf\xe9 \x80", "café €"),
            ("<META CharSet='windows-1251'>", b"\xef\xf0\xe8", "при"),
            ("<meta http-equiv=content-type content='text/html; charset=Shift_JIS'>", b"\x93\xfa\x96{", "日本"),
            ("<meta http-equiv=\"Content-Type\" content=\"text/html;charset=gb2312; x\">", b"\xd6\xd0", "中"),
            ("<?xml version=\"1.0\" encoding=\"ISO-8859-15\"?>", b"\xa4", "€"),
            // What was read in ASCII cannot be UTF-16.
            ("<meta charset=utf-16le>", b"caf\xc3\xa9", "café"),
            // Neither a comment, nor another element, nor a header of another name declares anything.
            ("<!-- <meta charset=latin1> -->", b"\xc3\xa9", "é"),
            ("<p charset=latin1>", b"\xc3\xa9", "é"),
            ("<meta http-equiv=refresh content='charset=latin1'>", b"\xc3\xa9", "é"),
        ] {
            assert_eq!(decoded(&[head.as_bytes(), body].concat()), format!("{head}{text}"), "{head}");
        }
    }

    #[test]
    fn a_byte_order_mark_counts_more_than_a_declaration() {
        let page = "<meta charset=latin1>é";
        let utf_16 = |order: fn(u16) -> [u8; 2]| -> Vec<u8> {
            format!("\u{feff}{page}").encode_utf16().flat_map(order).collect()
        };
        assert_eq!(decoded(&utf_16(u16::to_le_bytes)), page);
        assert_eq!(decoded(&utf_16(u16::to_be_bytes)), page);
        assert_eq!(decoded(format!("\u{feff}{page}").as_bytes()), format!("\u{feff}{page}"));
    }

    #[test]
    fn what_cannot_be_decoded_says_why() {
        assert!(decoded(b"<p>\ncaf\xe9").starts_with("Some(2) invalid UTF-8 at column 4"));
        let unknown = decoded(b"<meta charset=klingon>x");
        assert!(unknown.contains("declares the encoding `klingon`, which is unknown"), "{unknown}");
        let invalid = decoded(b"<meta charset=euc-jp>\xff\xff");
        assert!(invalid.contains("not valid in EUC-JP"), "{invalid}");
    }
}
