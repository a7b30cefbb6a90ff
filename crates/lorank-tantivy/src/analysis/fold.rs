//! Removal of accents.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_script::{Script, UnicodeScript};

use crate::Language;

/// A normalized word without marks that users often omit: accents of Latin and Greek letters, the dots of `ё`, stress
/// marks, and hamzas on their carriers. Marks of other scripts are vowels, and stay.
///
/// In German, `ae`, `oe` and `ue` become `a`, `o` and `u`, except `ue` after a vowel or `q`, so that `Mueller` finds
/// `Müller` (Lucene's `GermanNormalizationFilter`).
pub(crate) fn fold(word: &str, language: Language) -> Cow<'_, str> {
    let folded = if word.is_ascii() { Cow::Borrowed(word) } else { Cow::Owned(without_accents(word)) };
    if language == Language::German { umlauts_by_letter(folded) } else { folded }
}

fn without_accents(word: &str) -> String {
    let mut base = '\0';
    let mut kept = String::with_capacity(word.len());
    for c in word.nfd() {
        if !is_combining_mark(c) {
            base = c;
            push_plain(c, &mut kept);
        } else if !is_accent(base, c) {
            kept.push(c);
        }
    }
    kept.nfc().collect()
}

/// Whether users often omit this mark of the letter.
fn is_accent(base: char, mark: char) -> bool {
    match base.script() {
        Script::Latin | Script::Greek => true,
        // `й` and `ї` are separate letters that every keyboard has.
        Script::Cyrillic => matches!(mark, '\u{300}' | '\u{301}') || matches!((base, mark), ('е', '\u{308}')),
        Script::Arabic => ('\u{653}'..='\u{655}').contains(&mark),
        _ => false,
    }
}

/// Letters that Unicode does not decompose, folded as in Lucene's `ASCIIFoldingFilter` and `ArabicNormalizationFilter`.
fn push_plain(c: char, word: &mut String) {
    let plain = match c {
        'æ' => "ae",
        'œ' => "oe",
        'þ' => "th",
        'ø' => "o",
        'đ' | 'ð' => "d",
        'ł' => "l",
        'ħ' => "h",
        'ŧ' => "t",
        'ı' => "i",
        'ŋ' => "n",
        'ĸ' => "k",
        'ə' => "a",
        'ٱ' => "ا",
        'ى' | 'ی' => "ي",
        'ة' => "ه",
        'ک' => "ك",
        other => return word.push(other),
    };
    word.push_str(plain);
}

fn umlauts_by_letter(word: Cow<'_, str>) -> Cow<'_, str> {
    if !["ae", "oe", "ue"].iter().any(|pair| word.contains(pair)) {
        return word;
    }
    let mut kept = String::with_capacity(word.len());
    let mut before = '\0';
    let mut letters = word.chars().peekable();
    while let Some(letter) = letters.next() {
        kept.push(letter);
        let is_umlaut = match letter {
            'a' | 'o' => true,
            'u' => !matches!(before, 'a' | 'e' | 'i' | 'o' | 'u' | 'y' | 'q'),
            _ => false,
        };
        before = letter;
        if is_umlaut && letters.next_if_eq(&'e').is_some() {
            before = 'e';
        }
    }
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accents_are_left_out_and_vowels_stay() {
        for (word, expected) in [
            ("café", "cafe"),
            ("naïve", "naive"),
            ("łódź", "lodz"),
            ("smørrebrød", "smorrebrod"),
            ("œuvre", "oeuvre"),
            ("việt", "viet"),
            ("ısparta", "isparta"),
            ("i\u{307}stanbul", "istanbul"),
            ("αθήνα", "αθηνα"),
            ("ёлка", "елка"),
            ("йод", "йод"),
            ("їжак", "їжак"),
            ("за\u{301}мок", "замок"),
            ("أحمد", "احمد"),
            ("مدرسة", "مدرسه"),
            ("مسؤول", "مسوول"),
            ("على", "علي"),
            ("हिन्दी", "हिन्दी"),
            ("தமிழ்", "தமிழ்"),
            ("বাংলা", "বাংলা"),
            ("が", "が"),
            ("plain", "plain"),
            ("müller", "muller"),
            ("mueller", "mueller"),
        ] {
            assert_eq!(fold(word, Language::English), expected, "{word}");
        }
    }

    #[test]
    fn german_umlauts_may_be_written_with_an_e() {
        for (word, expected) in [
            ("mueller", "muller"),
            ("müller", "muller"),
            ("goethe", "gothe"),
            ("aerzte", "arzte"),
            ("ärzte", "arzte"),
            ("neue", "neue"),
            ("quelle", "quelle"),
            ("bauer", "bauer"),
            ("strasse", "strasse"),
            ("u", "u"),
        ] {
            assert_eq!(fold(word, Language::German), expected, "{word}");
        }
    }
}
