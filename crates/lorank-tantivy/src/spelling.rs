//! Similarly spelled words of an index.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tantivy::query::{DfaWrapper, FuzzyTermQuery};
use tantivy::schema::Term;
use tantivy::{Searcher, SegmentReader};

/// The maximum number of typos in a word: an automaton for more would accept half of the dictionary.
pub(crate) const TYPOS_MAX: u8 = 2;
/// The minimum number of letters for one typo, and for two, as in Meilisearch.
const ONE_TYPO_LETTERS: usize = 5;
const TWO_TYPOS_LETTERS: usize = 9;
/// The maximum number of letters of a word with typo tolerance: the automaton grows with it.
const LETTERS_MAX: usize = 32;
/// The maximum number of words to check per segment.
const WORDS_SEEN_MAX: usize = 1000;
/// The maximum number of similar words for a word: the nearest, then the most frequent ones.
const WORDS_MAX: usize = 20;

/// A word of the index that is similar to a given one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Similar {
    pub word: String,
    /// The number of inserted, deleted, substituted or transposed letters.
    pub n_typos: u8,
}

/// The default number of typos in a word: none up to four letters, one from five, two from nine; none in a word with a
/// digit, because each digit makes another number.
pub(crate) fn n_typos_allowed(word: &str) -> u8 {
    let n_letters = word.chars().count();
    if word.contains(|c: char| c.is_numeric()) || n_letters < ONE_TYPO_LETTERS {
        0
    } else if n_letters < TWO_TYPOS_LETTERS {
        1
    } else {
        2
    }
}

/// The words of an index within `n_typos` of a word, ordered by distance and then by frequency; `word` is a term of a
/// whole-word field, and is not included. A different first letter counts as two typos.
pub(crate) fn similar_words(word: &Term, n_typos: u8, searcher: &Searcher) -> tantivy::Result<Vec<Similar>> {
    let whole = word.value().as_str().unwrap_or_default().to_owned();
    let mut found: BTreeMap<String, (u8, u64)> = BTreeMap::new();
    if whole.chars().count() > LETTERS_MAX {
        return Ok(Vec::new());
    }
    for n in 1..=n_typos.min(TYPOS_MAX) {
        let automaton = FuzzyTermQuery::new(word.clone(), n, true).automaton()?;
        for segment in searcher.segment_readers() {
            for (similar, n_documents) in words_of(&automaton, word, segment)? {
                found.entry(similar).or_insert((n, 0)).1 += n_documents;
            }
        }
    }
    let first = whole.chars().next();
    let mut similar: Vec<(Similar, u64)> = found
        .into_iter()
        .filter(|(word, (n, _))| *word != whole && (word.chars().next() == first || *n < n_typos))
        .map(|(word, (n_typos, n_documents))| (Similar { word, n_typos }, n_documents))
        .collect();
    similar.sort_by_key(|(similar, n_documents)| (similar.n_typos, Reverse(*n_documents)));
    similar.truncate(WORDS_MAX);
    Ok(similar.into_iter().map(|(similar, _)| similar).collect())
}

/// The words of a segment that an automaton accepts, with their document frequencies.
fn words_of(automaton: &DfaWrapper, word: &Term, segment: &SegmentReader) -> tantivy::Result<Vec<(String, u64)>> {
    let inverted_index = segment.inverted_index(word.field())?;
    let mut stream = inverted_index.terms().search(automaton).into_stream()?;
    let mut words = Vec::new();
    while words.len() < WORDS_SEEN_MAX && stream.advance() {
        let word = String::from_utf8_lossy(stream.key()).into_owned();
        words.push((word, stream.value().doc_freq.into()));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_are_allowed_by_length() {
        for (word, expected) in [
            ("", 0),
            ("word", 0),
            ("words", 1),
            ("sentence", 1),
            ("sentences", 2),
            ("été", 0),
            ("ярлык", 1),
            ("a1b2c3d4e5", 0),
        ] {
            assert_eq!(n_typos_allowed(word), expected, "{word}");
        }
    }
}
