//! Splits text into words, characters of scripts without spaces, and symbols.

use std::ops::Range;

use unicode_normalization::char::is_combining_mark;
use unicode_script::{Script, UnicodeScript};

use super::characters::{Character, Characters};

/// The length in bytes at which a word is split. The rest is another word: encoded data would fill the dictionary with
/// terms that nobody searches for, and without the rest a text would not match itself.
pub(crate) const WORD_BYTES_MAX: usize = 256;

/// A part of a text that is indexed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Piece {
    pub kind: PieceKind,
    /// The normalized characters.
    pub text: String,
    /// The bytes of the original text.
    pub range: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum PieceKind {
    /// Letters and digits, with their marks.
    Word,
    /// A character with its marks, of a script without spaces.
    Unspaced {
        /// Whether it directly follows another one.
        follows: bool,
    },
    /// An emoji or similar symbol.
    Symbol,
}

/// The pieces of a text, in order.
pub(crate) struct Pieces<'a> {
    characters: Characters<'a>,
    /// The character that ended the last piece.
    peeked: Option<Character>,
    /// Whether the last piece was a character of a script without spaces, with nothing after it.
    is_in_run: bool,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(text: &'a str, is_turkish: bool) -> Self {
        Self { characters: Characters::new(text, is_turkish), peeked: None, is_in_run: false }
    }

    /// The piece that starts with a character and continues as long as the kinds of the next ones allow.
    fn piece(&mut self, first: Character, kind: PieceKind, goes_on: impl Fn(CharacterKind) -> bool) -> Piece {
        let mut text = String::from(first.value);
        let mut range = first.range;
        for next in self.characters.by_ref() {
            if !goes_on(character_kind(next.value)) || text.len() + next.value.len_utf8() > WORD_BYTES_MAX {
                self.peeked = Some(next);
                break;
            }
            text.push(next.value);
            range.end = next.range.end;
        }
        Piece { kind, text, range }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        loop {
            if self.peeked.is_none()
                && let Some((text, range)) = self.characters.ascii_word(WORD_BYTES_MAX)
            {
                self.is_in_run = false;
                return Some(Piece { kind: PieceKind::Word, text, range });
            }
            let first = self.peeked.take().or_else(|| self.characters.next())?;
            let follows = std::mem::take(&mut self.is_in_run);
            match character_kind(first.value) {
                CharacterKind::Letter => {
                    let goes_on = |kind| matches!(kind, CharacterKind::Letter | CharacterKind::Mark);
                    return Some(self.piece(first, PieceKind::Word, goes_on));
                }
                CharacterKind::Unspaced => {
                    self.is_in_run = true;
                    let kind = PieceKind::Unspaced { follows };
                    return Some(self.piece(first, kind, |kind| kind == CharacterKind::Mark));
                }
                CharacterKind::Symbol => return Some(self.piece(first, PieceKind::Symbol, |_| false)),
                CharacterKind::Mark | CharacterKind::Other => {}
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum CharacterKind {
    Letter,
    Unspaced,
    Mark,
    Symbol,
    Other,
}

fn character_kind(c: char) -> CharacterKind {
    if c.is_ascii_alphanumeric() {
        CharacterKind::Letter
    } else if c.is_ascii() {
        CharacterKind::Other
    } else if is_combining_mark(c) {
        CharacterKind::Mark
    } else if is_unspaced(c) {
        CharacterKind::Unspaced
    } else if c.is_alphanumeric() {
        CharacterKind::Letter
    } else if is_symbol(c) {
        CharacterKind::Symbol
    } else {
        CharacterKind::Other
    }
}

/// Whether a letter belongs to a script without spaces between words, or to Hangul, whose words have particles
/// attached. The two letters of a flag are treated in the same way.
fn is_unspaced(c: char) -> bool {
    if c < '\u{e00}' {
        return false;
    }
    let is_of_script = matches!(
        c.script(),
        Script::Han
            | Script::Hiragana
            | Script::Katakana
            | Script::Hangul
            | Script::Bopomofo
            | Script::Yi
            | Script::Thai
            | Script::Lao
            | Script::Khmer
            | Script::Myanmar
            | Script::Tai_Le
            | Script::New_Tai_Lue
            | Script::Tai_Tham
            | Script::Tai_Viet
            | Script::Javanese
            | Script::Balinese
    );
    (is_of_script || c == 'ー') && c.is_alphanumeric() || ('\u{1f1e6}'..='\u{1f1ff}').contains(&c)
}

/// Emoji and similar symbols; typographical marks such as `™` or `°` are excluded.
fn is_symbol(c: char) -> bool {
    matches!(
        c,
        '\u{2300}'..='\u{23ff}' | '\u{2600}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}' | '\u{1f000}'..='\u{1fbff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fall_into_pieces() {
        check("The cat's 2nd!", "the cat s 2nd");
        check("iPhone手机很贵 apple", "iphone 手 机+ 很+ 贵+ apple");
        check("今天天气很好，我们", "今 天+ 天+ 气+ 很+ 好+ 我 们+");
        check("約1,400万人", "約 1 400 万 人+");
        check("コーヒー", "コ ー+ ヒ+ ー+");
        check("ประเทศ", "ป ร+ ะ+ เ+ ท+ ศ+");
        // NFKC writes the vowel am with two characters.
        check("ก\u{e33}ลัง", "ก\u{e4d} \u{e32}+ ลั+ ง+");
        check("서울의 인구", "서 울+ 의+ 인 구+");
        check("हिन्दी में", "हिन्दी में");
        check("😀😀 ❤️ 👩‍👧", "😀 😀 ❤ 👩 👧");
        check("🇩🇪🇫🇷", "🇩 🇪+ 🇫+ 🇷+");
        check("\0 -- \"() ™ °", "");
        check("1½", "11 2");
    }

    #[test]
    fn a_long_word_is_cut_and_not_left_out() {
        let pieces: Vec<_> = Pieces::new(&"é".repeat(300), false).collect();
        let lengths: Vec<_> = pieces.iter().map(|piece| piece.text.len()).collect();
        assert_eq!(lengths, [256, 256, 88]);
        assert_eq!((pieces[1].range.clone(), pieces[2].range.clone()), (256..512, 512..600));
    }

    fn check(text: &str, expected: &str) {
        let found: Vec<_> = Pieces::new(text, false)
            .map(|piece| match piece.kind {
                PieceKind::Unspaced { follows: true } => piece.text + "+",
                _ => piece.text,
            })
            .collect();
        assert_eq!(found.join(" "), expected, "{text}");
    }
}
