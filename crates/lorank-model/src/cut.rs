//! The tokens of a truncated text that are also tokens of the whole text.
//!
//! Text beside a cut may be tokenized differently than within the whole text: the cut may split a word, a run of
//! spaces, a character with its accents or a special token, and a pre-tokenizer may look ahead. Therefore only those
//! tokens of a truncated text count that no continuation can change: whole pre-tokens well away from the cut, except
//! the nearest one. If these are too few, twice as much of the document is encoded, up to a limit. A text without a
//! word boundary up to there (a single word or run of spaces of hundreds of kilobytes) is truncated at that limit with
//! a warning, because its tokens beside the cut may not be exact.

use tokenizers::{Encoding, TruncationDirection};

/// The maximum bytes of a text to encode, per required token, and at least [`BYTES_MAX_MIN`].
pub(crate) const BYTES_PER_TOKEN_MAX: usize = 256;
pub(crate) const BYTES_MAX_MIN: usize = 64 << 10;

/// The `n` tokens of a text that truncation on the given side keeps, or all.
pub(crate) fn kept(ids: &[u32], n: usize, cut_off: TruncationDirection) -> &[u32] {
    match cut_off {
        TruncationDirection::Right => &ids[..n.min(ids.len())],
        TruncationDirection::Left => &ids[ids.len() - n.min(ids.len())..],
    }
}

/// The tokens of a text's start that are also tokens of the whole text, whatever follows.
///
/// Omits the tokens of pre-tokens that reach into the last `margin` bytes or into the white space before them (a run of
/// spaces may be one pre-token, and a special token may consume it), and those of the pre-token before, whose end may
/// depend on the following text. A tokenizer without pre-tokens has one for the whole text, and thus no settled tokens.
pub(crate) fn settled_start<'e>(text: &str, encoding: &'e Encoding, margin: usize) -> &'e [u32] {
    let settled_end = text.len().saturating_sub(margin);
    let settled_end = (0..=settled_end).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    let settled_end = text[..settled_end].trim_end().len();
    let (offsets, words) = (encoding.get_offsets(), encoding.get_word_ids());
    // Offsets may exclude white space, so a token's start decides.
    let is_open = |(begin, end): &(usize, usize)| *begin >= settled_end || *end > settled_end;
    let n_before = offsets.iter().position(is_open).unwrap_or(offsets.len());
    let last_word = n_before.checked_sub(1).map(|last| words[last]);
    let n_settled = words[..n_before].iter().rposition(|word| Some(*word) != last_word).map_or(0, |at| at + 1);
    &encoding.get_ids()[..n_settled]
}

/// The tokens of a text's end that are also tokens of the whole text, whatever precedes.
///
/// A pre-tokenizer works from left to right, so a run without white space (digits in groups of three) may be split
/// differently up to its end. Omits everything up to the first white space after the first `margin` bytes, and the
/// pre-token after that.
pub(crate) fn settled_end<'e>(text: &str, encoding: &'e Encoding, margin: usize) -> &'e [u32] {
    let ids = encoding.get_ids();
    let Some(begin) = (margin.min(text.len())..text.len()).find(|&begin| text.is_char_boundary(begin)) else {
        return &[];
    };
    let Some(space) = text[begin..].find(char::is_whitespace).map(|at| begin + at) else { return &[] };
    let Some(word) = text[space..].find(|c: char| !c.is_whitespace()).map(|at| space + at) else { return &[] };
    let (offsets, words) = (encoding.get_offsets(), encoding.get_word_ids());
    let n_open = offsets.iter().position(|(begin, _)| *begin >= word).unwrap_or(ids.len());
    let first_word = words.get(n_open);
    let n_left_out =
        words[n_open..].iter().position(|word| Some(word) != first_word).map_or(ids.len(), |at| n_open + at);
    &ids[n_left_out..]
}
