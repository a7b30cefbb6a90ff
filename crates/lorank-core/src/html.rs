//! HTML escaping.

/// Escapes text for HTML, between tags or in a double-quoted attribute value.
///
/// Templates escape by themselves; this function is for passages that are built from strings.
pub fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape_html;

    #[test]
    fn markup_becomes_text() {
        for (text, expected) in [
            ("", ""),
            ("grün", "grün"),
            ("<b class=\"x\">", "&lt;b class=&quot;x&quot;&gt;"),
            ("&lt;", "&amp;lt;"),
            ("it's", "it's"),
        ] {
            assert_eq!(escape_html(text), expected);
        }
    }
}
