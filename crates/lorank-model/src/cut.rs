//! Which tokens of a cut text are those of the whole one.
//!
//! What stands beside a cut may be split otherwise than within the whole text: a word, a run of spaces, a character with its
//! accents or a special token may have been cut in two, and a pre-tokenizer may look ahead. So only those tokens of a cut text
//! count that no continuation can change: whole pre-tokens well away from the cut, the one nearest to it left out. If these are
//! too few, twice as much of the document is encoded, up to a limit. A text that has no word boundary up to there (a single word
//! or run of spaces of hundreds of kilobytes) is cut there for good, with a warning: only its whole would tell whether the tokens
//! beside that cut are exactly its own.

use tokenizers::{Encoding, TruncationDirection};

/// So many tokens of a text as a truncation that cuts the other end off keeps, or all.
pub(crate) fn kept(ids: &[u32], n: usize, cut_off: TruncationDirection) -> &[u32] {
    match cut_off {
        TruncationDirection::Right => &ids[..n.min(ids.len())],
        TruncationDirection::Left => &ids[ids.len() - n.min(ids.len())..],
    }
}

/// The tokens of a text's beginning that are those of the whole text, whatever follows.
///
/// Left out are the tokens of pre-tokens that reach into the last `margin` bytes or into the white space before these (a
/// run of spaces may be one pre-token, and a special token may swallow one), and those of the pre-token before, whose
/// end may depend on what comes next. A tokenizer without pre-tokens has one for the whole text, so none is settled.
pub(crate) fn settled_start<'e>(text: &str, encoding: &'e Encoding, margin: usize) -> &'e [u32] {
    let settled_end = text.len().saturating_sub(margin);
    let settled_end = (0..=settled_end).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    let settled_end = text[..settled_end].trim_end().len();
    let (offsets, words) = (encoding.get_offsets(), encoding.get_word_ids());
    // Offsets may have been trimmed of white space, so a token of it is told by where it begins.
    let is_open = |(begin, end): &(usize, usize)| *begin >= settled_end || *end > settled_end;
    let n_before = offsets.iter().position(is_open).unwrap_or(offsets.len());
    let last_word = n_before.checked_sub(1).map(|last| words[last]);
    let n_settled = words[..n_before].iter().rposition(|word| Some(*word) != last_word).map_or(0, |at| at + 1);
    &encoding.get_ids()[..n_settled]
}

/// The tokens of a text's end that are those of the whole text, whatever comes before.
///
/// A pre-tokenizer goes from left to right, so a run without white space (digits in groups of three) may be split otherwise up to
/// its end. Left out is all up to the first white space behind the first `margin` bytes, and the pre-token behind that.
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
