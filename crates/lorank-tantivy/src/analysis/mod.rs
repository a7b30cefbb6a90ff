//! From a text to the terms for indexing and searching.
//!
//! 1. [`characters`]: compatibility normalization (NFKC), case folding, decimal digits of every script; removes
//!    invisible characters (soft hyphens, zero-width characters, vowel points of Arabic and Hebrew).
//! 2. [`pieces`]: words, which are runs of letters and digits with their marks; characters of scripts without spaces;
//!    symbols such as emoji.
//! 3. [`terms`]: a word becomes its stem, plus the stem of the word without accents if that differs. Characters of
//!    scripts without spaces become single-character and two-character terms, similar to Lucene's `CJKAnalyzer`.
//!
//! Texts and queries use the same steps, so a word that is typed in one form is found in all others.

mod characters;
mod fold;
mod pieces;
mod terms;

pub(crate) use terms::{Analyzer, QueryWord};
