//! The query for one word in one text field.

use std::collections::BTreeSet;

use tantivy::query::{
    BooleanQuery, BoostQuery, ConstScoreQuery, DfaWrapper, DisjunctionMaxQuery, EmptyQuery, FuzzyTermQuery, Occur,
    PhraseQuery, Query as EngineQuery, TermQuery,
};
use tantivy::schema::{Field, IndexRecordOption, Term};
use tantivy::{Score, Searcher};

use crate::analysis::{Analyzer, QueryWord};
use crate::index::Parts;
use crate::spelling::{Similar, similar_words};

/// The weight of a match without accents, relative to an exact one.
const WITHOUT_ACCENTS_WEIGHT: Score = 0.7;
/// The weight of a match with one typo, relative to an exact one. With 0.5, BM25 loses 0.002 nDCG@10 on MED; with this,
/// nothing.
const TYPO_WEIGHT: Score = 0.25;

/// A query for text.
#[derive(Debug)]
pub(crate) struct TextQuery {
    pub query: Box<dyn EngineQuery>,
    /// The prefixes in the query, as terms of the whole-word fields, because tantivy's queries do not expose them.
    pub prefixes: Vec<Term>,
}

/// A text field with its index fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextPlace {
    terms: Field,
    phrases: Field,
    pub whole_words: Field,
    pub boost: Score,
}

/// All text fields.
pub(crate) fn text_places(parts: &Parts) -> impl Iterator<Item = TextPlace> {
    let layout = &parts.layout;
    parts.settings.text_fields.iter().enumerate().map(|(n, field)| TextPlace {
        terms: layout.texts[n],
        phrases: layout.phrases[n],
        whole_words: layout.whole_words[n],
        boost: field.boost,
    })
}

impl TextPlace {
    /// Documents with a word, with or without its accents. The better score of the two counts and not their sum,
    /// because a word with an accent is one word.
    pub(crate) fn word(self, word: &QueryWord) -> Box<dyn EngineQuery> {
        let mut terms: Vec<_> = self.terms_of(word).map(term_query).collect();
        if terms.len() == 1 { terms.swap_remove(0) } else { best_of(terms) }
    }

    /// The terms of a word, where they are ranked by: stop words are among the terms of phrases alone.
    pub(crate) fn terms_of(self, word: &QueryWord) -> impl Iterator<Item = Term> {
        word.terms_as_indexed().map(move |(term, is_stop_word)| {
            Term::from_field_text(if is_stop_word { self.phrases } else { self.terms }, term)
        })
    }

    /// Documents with consecutive words, at most `slop` positions apart.
    pub(crate) fn phrase(self, words: &[QueryWord], slop: u32) -> Box<dyn EngineQuery> {
        let phrase = |term: fn(&QueryWord) -> Option<&String>| {
            let terms = words.iter().filter_map(|word| {
                let offset = word.position - words[0].position;
                Some((offset, Term::from_field_text(self.phrases, term(word)?)))
            });
            Box::new(PhraseQuery::new_with_offset_and_slop(terms.collect(), slop)) as Box<dyn EngineQuery>
        };
        let as_typed = phrase(|word| word.terms.first());
        if words.iter().all(|word| word.terms.len() == 1) {
            return as_typed;
        }
        // Every word of a text has a term without accents.
        best_of([as_typed, phrase(|word| word.terms.last())])
    }

    /// Documents with a word that has this prefix; `None` for characters of scripts without spaces, which always are
    /// prefixes. All matches have the same score, except for the word itself and its other forms.
    pub(crate) fn prefix(self, word: &QueryWord) -> Option<Box<dyn EngineQuery>> {
        let term = Term::from_field_text(self.whole_words, word.whole.as_deref()?);
        let begins_so = ConstScoreQuery::new(Box::new(FuzzyTermQuery::new_prefix(term, 0, true)), 1.0);
        let clauses =
            vec![(Occur::Must, Box::new(begins_so) as Box<dyn EngineQuery>), (Occur::Should, self.word(word))];
        Some(Box::new(BooleanQuery::new(clauses)))
    }

    /// Documents with a similarly spelled word; `None` if there is none. Each typo reduces the score to a quarter.
    pub(crate) fn similar(
        self,
        word: &QueryWord,
        n_typos: u8,
        analyzer: &Analyzer,
        searcher: &Searcher,
    ) -> tantivy::Result<Option<Box<dyn EngineQuery>>> {
        let Some(whole) = &word.whole else { return Ok(None) };
        let similar = similar_words(&Term::from_field_text(self.whole_words, whole), n_typos, searcher)?;
        let mut terms: Vec<(String, u8)> = Vec::new();
        for Similar { word: other, n_typos } in similar {
            let term = analyzer.term_of_whole(&other);
            // Forms of a word share a stem; the nearest one counts.
            if !word.terms.contains(&term) && terms.iter().all(|(known, _)| *known != term) {
                terms.push((term, n_typos));
            }
        }
        let queries = terms.iter().map(|(term, n)| {
            boosted(term_query(Term::from_field_text(self.terms, term)), TYPO_WEIGHT.powi(i32::from(*n)))
        });
        Ok(if terms.is_empty() { None } else { Some(Box::new(DisjunctionMaxQuery::new(queries.collect()))) })
    }

    /// Applies the field's boost.
    pub(crate) fn boosted(self, query: Box<dyn EngineQuery>) -> Box<dyn EngineQuery> {
        boosted(query, self.boost)
    }
}

fn term_query(term: Term) -> Box<dyn EngineQuery> {
    Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs))
}

/// Multiplies the scores of a query.
pub(crate) fn boosted(query: Box<dyn EngineQuery>, boost: Score) -> Box<dyn EngineQuery> {
    if boost == 1.0 { query } else { Box::new(BoostQuery::new(query, boost)) }
}

/// Matches any of the queries, and sums their scores.
pub(crate) fn any_of(mut queries: Vec<Box<dyn EngineQuery>>) -> Box<dyn EngineQuery> {
    match queries.len() {
        0 => Box::new(EmptyQuery),
        1 => queries.swap_remove(0),
        _ => Box::new(BooleanQuery::new(queries.into_iter().map(|query| (Occur::Should, query)).collect())),
    }
}

/// Combines the first query with weight 1 and the others with a lower weight; the best score counts.
fn best_of(queries: impl IntoIterator<Item = Box<dyn EngineQuery>>) -> Box<dyn EngineQuery> {
    let weights = std::iter::once(1.0).chain(std::iter::repeat(WITHOUT_ACCENTS_WEIGHT));
    let weighted = queries.into_iter().zip(weights).map(|(query, weight)| boosted(query, weight));
    Box::new(DisjunctionMaxQuery::new(weighted.collect()))
}

/// The first `n_max` whole words of an index with this prefix, in byte order, from the term's field.
pub(crate) fn words_with_prefix(
    beginning: &Term,
    n_max: usize,
    searcher: &Searcher,
) -> tantivy::Result<BTreeSet<String>> {
    let automaton = FuzzyTermQuery::new_prefix(beginning.clone(), 0, true).automaton()?;
    let mut found = BTreeSet::new();
    for segment in searcher.segment_readers() {
        found.extend(words_of_segment(beginning.field(), &automaton, n_max, segment)?);
    }
    while found.len() > n_max {
        found.pop_last();
    }
    Ok(found)
}

fn words_of_segment(
    field: Field,
    automaton: &DfaWrapper,
    n_max: usize,
    segment: &tantivy::SegmentReader,
) -> tantivy::Result<Vec<String>> {
    let dictionary = segment.inverted_index(field)?;
    let mut stream = dictionary.terms().search(automaton).into_stream()?;
    let mut words = Vec::new();
    while words.len() < n_max && stream.advance() {
        words.push(String::from_utf8_lossy(stream.key()).into_owned());
    }
    Ok(words)
}
