//! Plain queries: words, any of which may match.

use std::collections::HashMap;

use tantivy::query::Query as EngineQuery;
use tantivy::schema::Term;
use tantivy::{Score, Searcher};

use crate::analysis::QueryWord;
use crate::index::Parts;
use crate::spelling::n_typos_allowed;
use crate::words::{TextPlace, any_of, boosted, text_places};

/// The maximum number of distinct words in a plain query, far more than a reranker reads.
const WORDS_MAX: usize = 1024;
/// The maximum number of words with typo tolerance.
const FUZZY_WORDS_MAX: usize = 10;

/// The words of a plain query. The text is analyzed and not parsed, so every text is valid.
pub(crate) struct PlainQuery<'a> {
    words: Vec<PlainWord>,
    parts: &'a Parts,
}

/// A word of a plain query, with its properties.
#[derive(Debug)]
struct PlainWord {
    word: QueryWord,
    /// Whether it ends in `*`, which matches words with this prefix too.
    is_prefix: bool,
    n_said: usize,
}

/// The words with typo tolerance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TyposOf {
    AllWords,
    /// The words that no document contains.
    AbsentWords,
}

impl<'a> PlainQuery<'a> {
    /// The distinct words of a text, in the order of their first occurrence; `None` if there are none. Stop words count
    /// only if there are no others.
    pub(crate) fn read(text: &str, parts: &'a Parts) -> Option<Self> {
        let all = parts.analyzer.query_words(text);
        let keeps_stop_words = all.iter().all(|word| word.is_stop_word);
        let mut words: Vec<PlainWord> = Vec::new();
        let mut places: HashMap<(String, bool), usize> = HashMap::new();
        for word in all {
            let is_prefix = is_prefix(text, &word);
            if word.is_stop_word && !keeps_stop_words && !is_prefix {
                continue;
            }
            let key = (word.terms[0].clone(), is_prefix);
            if let Some(&place) = places.get(&key) {
                words[place].n_said += 1;
            } else if words.len() < WORDS_MAX {
                places.insert(key, words.len());
                words.push(PlainWord { word, is_prefix, n_said: 1 });
            }
        }
        Some(Self { words, parts }).filter(|query| !query.words.is_empty())
    }

    /// Matches any of the words in any text field. A repeated word counts repeatedly, as in BM25's definition.
    pub(crate) fn as_written(&self) -> Box<dyn EngineQuery> {
        let clauses = text_places(self.parts)
            .flat_map(|place| self.words.iter().map(move |word| word.weighted(word.query(place), place)));
        any_of(clauses.collect())
    }

    /// The prefixes, as terms of the whole-word fields.
    pub(crate) fn prefixes(&self) -> Vec<Term> {
        let beginnings = self.words.iter().filter_map(PlainWord::beginning);
        let terms =
            |beginning| text_places(self.parts).map(move |place| Term::from_field_text(place.whole_words, beginning));
        beginnings.flat_map(terms).collect()
    }

    /// Words that are spelled similarly to those of the query; `None` if there are none.
    pub(crate) fn typos(&self, of: TyposOf, searcher: &Searcher) -> tantivy::Result<Option<Box<dyn EngineQuery>>> {
        let mut clauses = Vec::new();
        for word in self.words.iter().filter(|word| word.n_typos() > 0).take(FUZZY_WORDS_MAX) {
            if of == TyposOf::AbsentWords && !word.is_absent(self.parts, searcher)? {
                continue;
            }
            for place in text_places(self.parts) {
                let similar = place.similar(&word.word, word.n_typos(), &self.parts.analyzer, searcher)?;
                clauses.extend(similar.map(|query| word.weighted(query, place)));
            }
        }
        Ok(if clauses.is_empty() { None } else { Some(any_of(clauses)) })
    }
}

impl PlainWord {
    fn beginning(&self) -> Option<&str> {
        self.word.whole.as_deref().filter(|_| self.is_prefix)
    }

    /// The number of typos that it may have. A prefix may have none.
    fn n_typos(&self) -> u8 {
        self.word.whole.as_deref().filter(|_| !self.is_prefix).map_or(0, n_typos_allowed)
    }

    /// Whether no document contains it.
    fn is_absent(&self, parts: &Parts, searcher: &Searcher) -> tantivy::Result<bool> {
        for place in text_places(parts) {
            for term in place.terms_of(&self.word) {
                if searcher.doc_freq(&term)? > 0 {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn query(&self, place: TextPlace) -> Box<dyn EngineQuery> {
        let prefix = if self.is_prefix { place.prefix(&self.word) } else { None };
        prefix.unwrap_or_else(|| place.word(&self.word))
    }

    fn weighted(&self, query: Box<dyn EngineQuery>, place: TextPlace) -> Box<dyn EngineQuery> {
        boosted(query, place.boost * self.n_said as Score)
    }
}

/// Whether a word is a prefix as in `so*`: followed by a star, then a space or the end. `*so*` is emphasis.
fn is_prefix(text: &str, word: &QueryWord) -> bool {
    let star = text[word.range.end..].strip_prefix('*');
    star.is_some_and(|rest| rest.chars().next().is_none_or(char::is_whitespace))
        && !text[..word.range.start].ends_with('*')
}
