//! From a text to the terms that are indexed and looked up.
//!
//! 1. [`characters`]: compatibility normalization (NFKC), case folding, decimal digits of every script; characters that nobody
//!    types (soft hyphens, zero-width characters, vowel points of Arabic and Hebrew) are left out.
//! 2. [`pieces`]: words, which are runs of letters and digits with their marks; the characters of scripts that are written
//!    without spaces; symbols such as emoji.
//! 3. [`terms`]: a word becomes its stem, and where that differs the stem of the word without accents. Characters of scripts
//!    without spaces become terms one by one and two by two, as in Lucene's `CJKAnalyzer` with single characters beside.
//!
//! Texts and queries go through the same steps, so what is typed in one form is found in every other.

mod characters;
mod fold;
mod pieces;
mod terms;

pub(crate) use terms::{Analyzer, QueryWord};
