//! Text for terminals: widths, wrapping, numbers and durations.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text on one line. Line breaks and control characters become spaces, so that documents cannot control the terminal.
pub(crate) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// A number with what it counts, in singular or plural: `1 document`, `2,000 documents`.
pub(crate) fn number_of(n: u64, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(usize::try_from(n).unwrap_or(usize::MAX)))
}

/// The width of the text in columns, without styles.
pub(crate) fn width(text: &str) -> usize {
    anstream::adapter::strip_str(text).to_string().width()
}

/// The text, truncated with an ellipsis if it is wider than `columns`. It must not contain styles.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut room = columns.saturating_sub(1);
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= room;
        room = room.saturating_sub(width);
        fits
    };
    let kept: String = text.chars().take_while(fits).collect();
    format!("{}…", kept.trim_end())
}

/// The text, padded with spaces to `columns`.
pub(crate) fn pad(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// The text in at most `lines_max` lines of at most `columns`, with an ellipsis at the end if text is omitted.
/// It may contain styles; words wider than a line are truncated.
pub(crate) fn wrap(text: &str, columns: usize, lines_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = if width(word) > columns { cut(word, columns) } else { word.to_owned() };
        let is_full = lines.len() == lines_max;
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(&word) <= columns => {
                line.push(' ');
                line.push_str(&word);
            }
            Some(last) if is_full => {
                last.push('…');
                return lines;
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// A number with a noun in singular or plural: `1 document`, `2,938 documents`.
pub(crate) fn counted(n: usize, what: &str) -> String {
    format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A number with thousands separators.
pub(crate) fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A duration in a readable precision: `0.4 ms`, `12 ms`, `3.1 s`, `2 min 5 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    let seconds = duration.as_secs();
    match millis {
        _ if millis < 9.95 => format!("{millis:.1} ms"),
        _ if millis < 999.5 => format!("{millis:.0} ms"),
        _ if seconds < 60 => format!("{:.1} s", millis / 1000.0),
        _ => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_cannot_steer_the_terminal() {
        assert_eq!(one_line(" a\n\tb\u{1b}[31mred\u{7}\r\n "), "a b [31mred");
    }

    #[test]
    fn cuts_by_columns_and_not_by_bytes() {
        for (text, columns, expected) in [
            ("light bulb", 10, "light bulb"),
            ("light bulb", 7, "light…"),
            ("東京タワー", 7, "東京タ…"),
            ("né", 1, "…"),
            ("", 0, ""),
        ] {
            assert_eq!(cut(text, columns), expected);
            assert!(cut(text, columns).width() <= columns);
        }
    }

    #[test]
    fn wraps_within_columns_and_lines() {
        assert_eq!(wrap("who invented the light bulb", 12, 9), ["who invented", "the light", "bulb"]);
        assert_eq!(wrap("who invented the light bulb", 12, 2), ["who invented", "the light…"]);
        assert_eq!(wrap("incomprehensibilities", 8, 2), ["incompr…"]);
        assert_eq!(wrap("", 8, 2), [""; 0]);
    }

    #[test]
    fn styles_take_no_columns() {
        let styled = "\u{1b}[1mlight\u{1b}[0m bulb";
        assert_eq!(width(styled), 10);
        assert_eq!(wrap(styled, 10, 1), [styled]);
        assert_eq!(pad(styled, 12), format!("{styled}  "));
    }

    #[test]
    fn counts_and_durations_are_for_people() {
        for (n, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1234567, "1,234,567")] {
            assert_eq!(count(n), expected);
        }
        for (micros, expected) in [(423, "0.4 ms"), (12_400, "12 ms"), (3_140_000, "3.1 s"), (125_000_000, "2 min 5 s")]
        {
            assert_eq!(duration(Duration::from_micros(micros)), expected);
        }
    }
}
