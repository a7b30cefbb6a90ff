//! Messages of bounded length, because they may quote parts of a request.

/// The maximum length of a message in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1_024;

/// The number of bytes kept of the end of a longer message, which often says what to do.
const END_BYTES: usize = 256;

/// The maximum length of a field name in bytes.
const FIELD_BYTES_MAX: usize = 256;

/// The message, without its middle if it is too long.
pub(crate) fn message(text: String) -> String {
    if text.len() <= MESSAGE_BYTES_MAX {
        return text;
    }
    let begin = start(&text, MESSAGE_BYTES_MAX - END_BYTES - 64);
    let at = text.len() - END_BYTES;
    let end = &text[(at..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(at)..];
    format!("{begin} [{} bytes left out] {end}", text.len() - begin.len() - end.len())
}

/// The name of a field, truncated if it is too long.
pub(crate) fn field(name: &str) -> &str {
    start(name, FIELD_BYTES_MAX)
}

/// At most `bytes_max` bytes of the beginning of a text, ending between characters.
pub(crate) fn start(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_keep_their_beginning_and_their_end() {
        for unit in ["x", "é", "語", "🦀"] {
            let long = format!("`{}` is unknown; try `depth`", unit.repeat(100_000));
            let cut = message(long);
            assert!(cut.len() <= MESSAGE_BYTES_MAX, "{}", cut.len());
            assert!(cut.starts_with(&format!("`{unit}{unit}")) && cut.ends_with("` is unknown; try `depth`"), "{cut}");
            assert!(cut.contains(" bytes left out] "), "{cut}");
            assert!(field(&unit.repeat(1_000)).len() <= FIELD_BYTES_MAX);
        }
        let short = "x".repeat(MESSAGE_BYTES_MAX);
        assert_eq!((message(short.clone()), field("filters.year")), (short, "filters.year"));
    }
}
