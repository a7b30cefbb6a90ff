//! Normalized characters of a text, with their positions.

use std::collections::VecDeque;
use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// A normalized character.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Character {
    pub value: char,
    /// The bytes of the original text. Characters from the same original character share them.
    pub range: Range<usize>,
}

/// The normalized characters of a text, in order.
pub(crate) struct Characters<'a> {
    text: &'a str,
    at: usize,
    /// Whether `I` is the capital of the dotless `ı`.
    is_turkish: bool,
    pending: VecDeque<Character>,
}

impl<'a> Characters<'a> {
    pub(crate) fn new(text: &'a str, is_turkish: bool) -> Self {
        Self { text, at: 0, is_turkish, pending: VecDeque::new() }
    }

    /// The next word if it is ASCII, not too long, and separate from other characters, in lower case; ASCII separators
    /// before it are skipped. Most words of most texts are like this, and this shortcut indexes them faster.
    pub(crate) fn ascii_word(&mut self, bytes_max: usize) -> Option<(String, Range<usize>)> {
        if self.is_turkish || !self.pending.is_empty() {
            return None;
        }
        let bytes = self.text.as_bytes();
        let is_separator = |byte: &&u8| byte.is_ascii() && !byte.is_ascii_alphanumeric();
        let start = self.at + bytes[self.at..].iter().take_while(is_separator).count();
        let n_bytes = bytes[start..].iter().take(bytes_max + 1).take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let end = start + n_bytes;
        let is_whole = n_bytes <= bytes_max && bytes.get(end).is_none_or(u8::is_ascii);
        if n_bytes > 0 && is_whole {
            self.at = end;
            return Some((self.text[start..end].to_ascii_lowercase(), start..end));
        }
        // The last separator stays: a mark may follow it, and it ends the previous word.
        self.at = self.at.max(start.saturating_sub(1));
        None
    }

    /// Normalizes a character together with the marks that follow it. Separate normalization would not combine a letter
    /// with its accent.
    fn normalize(&mut self, range: Range<usize>) {
        let cluster = &self.text[range.clone()];
        let kept = || cluster.chars().filter(|c| !is_ignorable(*c));
        let Some(first) = kept().next() else { return };
        let push = |value| self.pending.push_back(Character { value, range: range.clone() });
        if first.is_alphanumeric() || is_combining_mark(first) || is_squared_word(first) {
            let is_turkish = self.is_turkish;
            let folded = kept().nfkc().flat_map(|c| fold_case(c, is_turkish)).nfkc();
            // Some become visible only after decomposition.
            folded.filter(|c| !is_ignorable(*c)).map(ascii_digit).for_each(push);
        } else {
            // `™` is not `tm`, and `℃` is not `c`.
            kept().for_each(push);
        }
    }
}

impl Iterator for Characters<'_> {
    type Item = Character;

    fn next(&mut self) -> Option<Character> {
        loop {
            if let Some(character) = self.pending.pop_front() {
                return Some(character);
            }
            let rest = &self.text[self.at..];
            let start = self.at;
            let bytes = rest.as_bytes();
            let first = *bytes.first()?;
            if first.is_ascii() && bytes.get(1).is_none_or(u8::is_ascii) {
                self.at += 1;
                let is_dotless = first == b'I' && self.is_turkish;
                let value = if is_dotless { 'ı' } else { first.to_ascii_lowercase().into() };
                return Some(Character { value, range: start..self.at });
            }
            let following = rest.char_indices().skip(1).find(|(_, c)| !continues(*c));
            self.at += following.map_or(rest.len(), |(at, _)| at);
            self.normalize(start..self.at);
        }
    }
}

/// Whether a character continues the one before it.
fn continues(c: char) -> bool {
    !c.is_ascii()
        && (is_combining_mark(c)
            || is_ignorable(c)
            // Vowels and final consonants of decomposed Korean syllables, and sound marks of half-width kana.
            || matches!(c, '\u{1160}'..='\u{11ff}' | '\u{d7b0}'..='\u{d7ff}' | '\u{ff9e}' | '\u{ff9f}'))
}

/// Full case folding via the capital: `ß` becomes `ss`, and every sigma `σ`. `ẞ` is only reached from its own small
/// letter.
fn fold_case(c: char, is_turkish: bool) -> impl Iterator<Item = char> {
    let turkish = match c {
        'I' | 'ı' if is_turkish => Some('ı'),
        'İ' if is_turkish => Some('i'),
        _ => None,
    };
    let others = turkish.is_none().then(|| c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase));
    turkish.into_iter().chain(others.into_iter().flatten())
}

/// The zeros of decimal digits; each is followed by its nine other digits.
const ZEROS: [char; 20] = [
    '\u{660}', '\u{6f0}', '\u{7c0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{b66}', '\u{be6}', '\u{c66}',
    '\u{ce6}', '\u{d66}', '\u{de6}', '\u{e50}', '\u{ed0}', '\u{f20}', '\u{1040}', '\u{1090}', '\u{17e0}', '\u{1810}',
];

/// Converts a decimal digit of any script to ASCII.
fn ascii_digit(c: char) -> char {
    if c < ZEROS[0] {
        return c;
    }
    let zero = ZEROS[ZEROS.partition_point(|zero| *zero <= c) - 1];
    char::from_digit(u32::from(c) - u32::from(zero), 10).unwrap_or(c)
}

/// The squared words of East Asian typography (`㎏`, `㌔`), which Unicode classifies as symbols.
fn is_squared_word(c: char) -> bool {
    ('\u{3200}'..='\u{33ff}').contains(&c)
}

/// Characters that do not change a word: those that Unicode allows to ignore (soft hyphens, joiners, variation
/// selectors), the vowel points of Hebrew and Arabic, Arabic's `ـ`, which only stretches a word, and modifiers of
/// emoji.
fn is_ignorable(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{591}'..='\u{5bd}'
            | '\u{5bf}'
            | '\u{5c1}'..='\u{5c2}'
            | '\u{5c4}'..='\u{5c5}'
            | '\u{5c7}'
            | '\u{610}'..='\u{61a}'
            | '\u{61c}'
            | '\u{640}'
            | '\u{64b}'..='\u{652}'
            | '\u{656}'..='\u{65f}'
            | '\u{670}'
            | '\u{6d6}'..='\u{6dc}'
            | '\u{6df}'..='\u{6e4}'
            | '\u{6e7}'..='\u{6e8}'
            | '\u{6ea}'..='\u{6ed}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{20dd}'..='\u{20e4}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1f3fb}'..='\u{1f3ff}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_character_has_one_form() {
        for (text, expected) in [
            ("ABC 1", "abc 1"),
            ("cafe\u{301} CAFÉ", "café café"),
            ("ｚｚＷＩＤＥ１２", "zzwide12"),
            ("co\u{ad}op co\u{200b}op co\u{2060}op \u{feff}co\u{200d}op", "coop coop coop coop"),
            ("ﬁn Ⅳ x² ㎏ ㌔", "fin iv x2 kg キロ"),
            ("Straße STRASSE ẞ", "strasse strasse ss"),
            ("ΣΊΣΥΦΟΣ Σίσυφος", "σίσυφοσ σίσυφοσ"),
            ("ﾊﾟｿｺﾝ パソコン", "パソコン パソコン"),
            ("\u{1112}\u{1161}\u{11ab} 한", "한 한"),
            ("٢٠٢٤ २०२४ ๒๐๒๔", "2024 2024 2024"),
            ("مـحـمـد مُحَمَّد", "محمد محمد"),
            ("שָׁלוֹם", "שלום"),
            ("हिन्दी", "हिन्दी"),
            ("👍🏽 ❤\u{fe0f} 1\u{fe0f}\u{20e3}", "👍 ❤ 1"),
            ("foo™ ℃", "foo™ ℃"),
        ] {
            assert_eq!(normalized(text, false), expected, "{text}");
        }
        assert_eq!(normalized("ISPARTA ısparta İZMİR izmir", true), "ısparta ısparta izmir izmir");
    }

    #[test]
    fn every_character_is_folded_once_and_for_all() {
        for c in '\0'..=char::MAX {
            let once = normalized(&c.to_string(), false);
            assert_eq!(normalized(&once, false), once, "{c:?}");
            let upper: String = c.to_uppercase().collect();
            let lower: String = c.to_lowercase().collect();
            // The capital of dotless `ı` is `I` and the small letter of `İ` has two dots: neither is told apart here.
            if !matches!(c, 'ı' | 'İ') && c.is_alphanumeric() {
                assert_eq!(normalized(&upper, false), once, "{c:?}");
                assert_eq!(normalized(&lower, false), once, "{c:?}");
            }
        }
    }

    #[test]
    fn ranges_are_those_of_the_text() {
        let found: Vec<_> = Characters::new("aé\u{301}ﬁ", false).map(|c| (c.value, c.range)).collect();
        assert_eq!(found, [('a', 0..1), ('é', 1..5), ('\u{301}', 1..5), ('f', 5..8), ('i', 5..8)]);
    }

    fn normalized(text: &str, is_turkish: bool) -> String {
        Characters::new(text, is_turkish).map(|character| character.value).collect()
    }
}
