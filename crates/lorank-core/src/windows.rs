//! Windows: overlapping parts of a text, cut between its words.

use std::num::NonZeroUsize;
use std::ops::Range;

/// The windows of a text, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// The bytes of each window; at least one. Successive windows overlap or adjoin, except for white space.
    pub spans: Vec<Range<usize>>,
    /// Whether they reach the end of the text.
    pub is_complete: bool,
}

/// How texts are cut into windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowCut {
    /// The length of a window in tokens; `None` for as many as the model reads beside the query.
    pub tokens: Option<NonZeroUsize>,
    /// The number of tokens from the start of a window to the start of the next one; `None` for half a window.
    pub stride: Option<NonZeroUsize>,
    /// The maximum number of windows of a text.
    pub n_max: NonZeroUsize,
}

/// A token's bytes in a text. They need not begin and end between characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenSpan {
    /// The first byte.
    pub start: usize,
    /// The byte after the last one.
    pub end: usize,
    /// Whether a word begins here.
    pub starts_word: bool,
}

/// The bytes of a token of a reranker without a tokenizer, at most.
const TOKEN_BYTES: usize = 4;

impl WindowCut {
    /// The length of a window and the step to the next one, where the model has room for so many tokens.
    pub fn sizes(&self, room: NonZeroUsize) -> (NonZeroUsize, NonZeroUsize) {
        let tokens = self.tokens.map_or(room, |tokens| tokens.min(room));
        let half = NonZeroUsize::new(tokens.get() / 2).unwrap_or(NonZeroUsize::MIN);
        (tokens, self.stride.map_or(half, |stride| stride.min(tokens)))
    }
}

impl Windows {
    /// The whole text as one window.
    pub fn whole(text: &str) -> Self {
        Self { spans: std::iter::once(0..text.len()).collect(), is_complete: true }
    }

    /// Cuts a text into windows of at most `n_tokens` of its `tokens`, each `stride` tokens after the start of the
    /// previous one. Both ends of a window are moved back to the start of a word, unless a word is longer than a window.
    /// A text that fits into one window is not cut.
    ///
    /// `has_rest` says that the text goes on after the last token.
    pub fn of_tokens(
        text: &str,
        tokens: &[TokenSpan],
        has_rest: bool,
        (n_tokens, stride): (NonZeroUsize, NonZeroUsize),
        n_max: NonZeroUsize,
    ) -> Self {
        if !has_rest && tokens.len() <= n_tokens.get() {
            return Self::whole(text);
        }
        // The last start of a word after the token `above`, and not after the token `at`; else that token.
        let word_start = |at: usize, above: usize| {
            let starts = |n: &usize| tokens.get(*n).is_none_or(|token| token.starts_word);
            (above + 1..=at).rev().find(starts).unwrap_or(at)
        };
        let (mut spans, mut start) = (Vec::new(), 0_usize);
        loop {
            let end = start.saturating_add(n_tokens.get());
            if end >= tokens.len() {
                // What follows the last known token is not part of any window.
                let end = if has_rest { tokens.last().map_or(0, |token| token.end) } else { text.len() };
                spans.push(trimmed(text, tokens.get(start).map_or(0, |token| token.start)..end));
                return Self { spans, is_complete: !has_rest };
            }
            let end = word_start(end, start);
            let span = trimmed(text, tokens[start].start..tokens[end - 1].end);
            let is_complete = !has_rest && text[span.end..].trim().is_empty();
            spans.push(span);
            if is_complete || spans.len() == n_max.get() {
                return Self { spans, is_complete };
            }
            start = word_start(start.saturating_add(stride.get()), start);
        }
    }

    /// Cuts a text without a tokenizer: words count as one token for each four bytes.
    pub fn by_bytes(text: &str, cut: &WindowCut) -> Self {
        let (n_tokens, stride) = cut.sizes(NonZeroUsize::MAX);
        if text.len() <= n_tokens.get() {
            return Self::whole(text);
        }
        let mut tokens: Vec<TokenSpan> = Vec::new();
        let mut starts_word = true;
        for (start, character) in text.char_indices() {
            let end = start + character.len_utf8();
            if character.is_whitespace() {
                starts_word = true;
                continue;
            }
            match tokens.last_mut() {
                Some(last) if !starts_word && end - last.start <= TOKEN_BYTES => last.end = end,
                _ => tokens.push(TokenSpan { start, end, starts_word }),
            }
            starts_word = false;
        }
        Self::of_tokens(text, &tokens, false, (n_tokens, stride), cut.n_max)
    }

    /// Whether these are windows of a text: there is one, and all are within it, between characters.
    pub fn fit(&self, text: &str) -> bool {
        !self.spans.is_empty() && self.spans.iter().all(|span| text.get(span.clone()).is_some())
    }
}

/// A range of bytes, widened to whole characters, without white space around it if that leaves anything.
fn trimmed(text: &str, Range { start, end }: Range<usize>) -> Range<usize> {
    let start = (0..=start.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let end = (end.max(start)..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    let piece = &text[start..end];
    match piece.trim() {
        "" => start..end,
        kept => {
            let start = start + (piece.len() - piece.trim_start().len());
            start..start + kept.len()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(tokens: usize, stride: usize, n_max: usize) -> WindowCut {
        let non_zero = |n| NonZeroUsize::new(n).unwrap();
        WindowCut { tokens: Some(non_zero(tokens)), stride: Some(non_zero(stride)), n_max: non_zero(n_max) }
    }

    fn check(text: &str, cut: &WindowCut, expected: &[&str], is_complete: bool) {
        let windows = Windows::by_bytes(text, cut);
        let texts: Vec<&str> = windows.spans.iter().map(|span| &text[span.clone()]).collect();
        assert_eq!((texts, windows.is_complete), (expected.to_vec(), is_complete), "{text:?} {cut:?}");
    }

    #[test]
    fn texts_are_cut_between_words() {
        check("", &cut(2, 1, 9), &[""], true);
        check("a", &cut(2, 1, 9), &["a"], true);
        check("one two six ten", &cut(9, 3, 9), &["one two six ten"], true);
        check("one two six ten", &cut(2, 1, 9), &["one two", "two six", "six ten"], true);
        check("one two six ten", &cut(2, 2, 9), &["one two", "six ten"], true);
        check("one two six ten", &cut(2, 1, 2), &["one two", "two six"], false);
        check("one two six ten", &cut(3, 2, 1), &["one two six"], false);
        // `twelve` is two tokens, which are not cut apart while there is a word before it.
        check("one twelve ten", &cut(2, 2, 9), &["one", "twelve", "ten"], true);
        check("abcdefghijkl", &cut(2, 1, 9), &["abcdefgh", "efghijkl"], true);
        check("  one   two  six  ", &cut(2, 2, 9), &["one   two", "six"], true);
        check("né né né né né", &cut(2, 2, 9), &["né né", "né né", "né"], true);
    }

    #[test]
    fn windows_fit_into_the_room() {
        let check = |tokens: usize, stride: usize, room: usize, expected: (usize, usize)| {
            let (tokens, stride, n_max) = (NonZeroUsize::new(tokens), NonZeroUsize::new(stride), NonZeroUsize::MIN);
            let (tokens, stride) = WindowCut { tokens, stride, n_max }.sizes(NonZeroUsize::new(room).unwrap());
            assert_eq!((tokens.get(), stride.get()), expected);
        };
        check(0, 0, 100, (100, 50));
        check(64, 0, 100, (64, 32));
        check(64, 48, 100, (64, 48));
        check(64, 48, 32, (32, 32));
        check(0, 0, 1, (1, 1));
    }

    proptest! {
        #[test]
        fn windows_cover_the_text_in_its_order(
            text in "([a-zé中]{1,9}[ \n]{0,2}){0,30}",
            tokens in 1_usize..12,
            stride in 1_usize..12,
            n_max in 1_usize..20,
        ) {
            let cut = cut(tokens, stride, n_max);
            let Windows { spans, is_complete } = Windows::by_bytes(&text, &cut);
            let fits = Windows { spans: spans.clone(), is_complete }.fit(&text);
            prop_assert!(fits);
            prop_assert!(spans.len() <= n_max);
            prop_assert!(is_complete || spans.len() == n_max);
            let mut read_to = 0;
            for (n, span) in spans.iter().enumerate() {
                prop_assert!(n == 0 || span.start > spans[n - 1].start, "{spans:?}");
                // Only white space may lie between two windows.
                prop_assert!(span.start <= read_to || text[read_to..span.start].trim().is_empty(), "{spans:?}");
                read_to = read_to.max(span.end);
            }
            prop_assert_eq!(is_complete, text[read_to..].trim().is_empty(), "{:?}", spans);
        }
    }
}
