//! Recognizes data that is not UTF-8 text by its first bytes.

/// Explains why data that starts with `head` is not UTF-8 text, and what to do; `None` if it may be. About a hundred
/// bytes are enough.
///
/// UTF-16 and UTF-32 are recognized by their byte order mark, or by the zeros in every second byte (three of four
/// bytes) of plain text; archives and other document formats by their signatures.
pub fn unreadable_as_text(head: &[u8]) -> Option<String> {
    if let Some((name, encoding)) = encoding(head) {
        return Some(format!("it is encoded in {name}; convert it to UTF-8 with `iconv -f {encoding} -t UTF-8`"));
    }
    let (_, problem) = SIGNATURES.iter().find(|(signature, _)| head.starts_with(signature))?;
    Some((*problem).to_owned())
}

const SIGNATURES: [(&[u8], &str); 10] = [
    (b"PK\x03\x04", "it is a ZIP archive or an Office document (.xlsx, .docx); unpack it, or save it as CSV or text"),
    (b"BZh", "it is compressed with bzip2; unpack it, or compress it with gzip or zstd"),
    (b"\xfd7zXZ\x00", "it is compressed with xz; unpack it, or compress it with gzip or zstd"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive; unpack it"),
    (b"\x04\x22\x4d\x18", "it is compressed with lz4; unpack it, or compress it with gzip or zstd"),
    (b"%PDF-", "it is a PDF file; convert it to text"),
    (b"PAR1", "it is a Parquet file; convert it to JSON lines or CSV"),
    (b"ARROW1\x00\x00", "it is an Arrow file; convert it to JSON lines or CSV"),
    (b"SQLite format 3\x00", "it is an SQLite database; export it as CSV"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "it is an old Office document (.xls, .doc); save it as CSV or text"),
];

/// The encoding's display name, and its name for `iconv`.
fn encoding(head: &[u8]) -> Option<(&'static str, &'static str)> {
    const UTF_16_LE: (&str, &str) = ("UTF-16 (little-endian)", "UTF-16LE");
    const UTF_16_BE: (&str, &str) = ("UTF-16 (big-endian)", "UTF-16BE");
    const UTF_32_LE: (&str, &str) = ("UTF-32 (little-endian)", "UTF-32LE");
    const UTF_32_BE: (&str, &str) = ("UTF-32 (big-endian)", "UTF-32BE");
    match head {
        [0xff, 0xfe, 0, 0, ..] => return Some(UTF_32_LE),
        [0, 0, 0xfe, 0xff, ..] => return Some(UTF_32_BE),
        [0xff, 0xfe, ..] => return Some(UTF_16_LE),
        [0xfe, 0xff, ..] => return Some(UTF_16_BE),
        _ => {}
    }
    // The number of zero bytes at each position of four.
    let head = &head[..head.len().min(128) / 4 * 4];
    let n_groups = head.len() / 4;
    let n_zeros = |place: usize| head.iter().skip(place).step_by(4).filter(|byte| **byte == 0).count();
    let zeros = [n_zeros(0), n_zeros(1), n_zeros(2), n_zeros(3)];
    // Text in other scripts than Latin has fewer zeros, but spaces and punctuation have zeros in every script.
    let has_many = |n: usize| n > 0 && n * 8 >= n_groups;
    match zeros {
        _ if n_groups == 0 => None,
        [0, _, c, d] if c == n_groups && d == n_groups => Some(UTF_32_LE),
        [a, b, _, 0] if a == n_groups && b == n_groups => Some(UTF_32_BE),
        [0, b, 0, d] if has_many(b) && has_many(d) => Some(UTF_16_LE),
        [a, 0, c, 0] if has_many(a) && has_many(c) => Some(UTF_16_BE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf_16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    fn utf_32(text: &str, order: fn(u32) -> [u8; 4]) -> Vec<u8> {
        text.chars().flat_map(|c| order(c.into())).collect()
    }

    #[test]
    fn encodings_are_told_with_and_without_a_mark() {
        for text in [
            "id,text\n1,apple one\n",
            "{\"id\": \"1\", \"text\": \"яблоко, ещё одно\"}",
            "[{\"文\": \"苹果, 手机很贵\"}]",
        ] {
            for mark in ["", "\u{feff}"] {
                let text = format!("{mark}{text}");
                for (bytes, name) in [
                    (utf_16(&text, u16::to_le_bytes), "UTF-16LE"),
                    (utf_16(&text, u16::to_be_bytes), "UTF-16BE"),
                    (utf_32(&text, u32::to_le_bytes), "UTF-32LE"),
                    (utf_32(&text, u32::to_be_bytes), "UTF-32BE"),
                ] {
                    let problem = unreadable_as_text(&bytes).unwrap_or_default();
                    assert!(problem.contains(&format!("iconv -f {name} ")), "{text:?} in {name}: {problem}");
                }
                assert_eq!(unreadable_as_text(text.as_bytes()), None, "{text:?}");
            }
        }
    }

    #[test]
    fn files_of_other_programs_are_told_by_their_first_bytes() {
        for (head, name) in [
            (&b"PK\x03\x04rest"[..], "ZIP"),
            (b"BZh91AY", "bzip2"),
            (b"\xfd7zXZ\x00\x00", "xz"),
            (b"7z\xbc\xaf\x27\x1c", "7z"),
            (b"%PDF-1.7", "PDF"),
            (b"PAR1\x15", "Parquet"),
            (b"SQLite format 3\x00", "SQLite"),
        ] {
            assert!(unreadable_as_text(head).is_some_and(|problem| problem.contains(name)), "{name}");
        }
        for head in
            [&b""[..], b"a", b"\xef\xbb\xbf", b"{}", b"id,text", b"\xe9t\xe9", b"a\0b", b"\0", b"PK", "日本".as_bytes()]
        {
            assert_eq!(unreadable_as_text(head), None, "{head:?}");
        }
    }
}
