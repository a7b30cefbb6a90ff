//! Queries with their filters, and the words that they mark in snippets.

use std::collections::BTreeMap;

use lorank_core::{Filter, Fuzzy, Query, QuerySyntax};
use tantivy::query::{AllQuery, BooleanQuery, EmptyQuery, EnableScoring, Occur, Query as EngineQuery};
use tantivy::schema::Term;
use tantivy::{DocSet, Score, Searcher, TERMINATED, TantivyError};

use crate::advanced::advanced;
use crate::filter;
use crate::index::Parts;
use crate::plain::{PlainQuery, TyposOf};
use crate::words::{TextQuery, any_of, words_with_prefix};
use crate::{Error, Selection};

/// Below this number of matches, `Auto` tolerates typos in all words.
const FEW: usize = 5;
/// The maximum number of words that a prefix marks in snippets.
const MARKED_WORDS_MAX: usize = 1000;

/// The documents that match a query.
#[derive(Debug)]
pub(crate) struct Matching {
    /// The documents with exact matches, and their scores.
    pub as_written: Box<dyn EngineQuery>,
    /// The documents that match only by typos. They come after the exact ones.
    pub by_typos: Option<Box<dyn EngineQuery>>,
    /// The prefixes in the query, as terms of the whole-word fields, because tantivy's queries do not expose them.
    prefixes: Vec<Term>,
}

impl Matching {
    /// Combines both in one query.
    pub(crate) fn all(&self) -> Box<dyn EngineQuery> {
        any_of(std::iter::once(&self.as_written).chain(&self.by_typos).map(|query| query.box_clone()).collect())
    }
}

/// The query with its filters.
pub(crate) fn build(query: &Query, parts: &Parts, searcher: &Searcher) -> Result<Matching, Error> {
    match query.syntax {
        QuerySyntax::Plain => plain(query, parts, searcher),
        QuerySyntax::Advanced if query.fuzzy == Fuzzy::On => Err(Error::InvalidQuery {
            problem: "`fuzzy` only applies to plain queries; write `word~` in an advanced query".to_owned(),
        }),
        QuerySyntax::Advanced => {
            let Some(TextQuery { query: text, prefixes }) = advanced(&query.text, parts, searcher)? else {
                return nothing(query, parts, searcher);
            };
            let as_written = filtered(text, &query.filters, parts, searcher)?;
            Ok(Matching { as_written, by_typos: None, prefixes })
        }
        QuerySyntax::MatchAll => {
            let as_written = filtered(Box::new(AllQuery), &query.filters, parts, searcher)?;
            Ok(Matching { as_written, by_typos: None, prefixes: Vec::new() })
        }
        _ => Err(Error::InvalidQuery { problem: "the query syntax is not supported".to_owned() }),
    }
}

/// The result for a text without words. An invalid filter is still an error.
fn nothing(query: &Query, parts: &Parts, searcher: &Searcher) -> Result<Matching, Error> {
    let as_written = filtered(Box::new(EmptyQuery), &query.filters, parts, searcher)?;
    Ok(Matching { as_written, by_typos: None, prefixes: Vec::new() })
}

fn plain(query: &Query, parts: &Parts, searcher: &Searcher) -> Result<Matching, Error> {
    let Some(words) = PlainQuery::read(&query.text, parts) else { return nothing(query, parts, searcher) };
    let failed = |source| parts.error("search", source);
    let as_written = filtered(words.as_written(), &query.filters, parts, searcher)?;
    let prefixes = words.prefixes();
    if query.fuzzy == Fuzzy::Off {
        return Ok(Matching { as_written, by_typos: None, prefixes });
    }
    let is_for_all = query.fuzzy == Fuzzy::On || has_fewer_than(FEW, &*as_written, searcher).map_err(failed)?;
    let of_all = if is_for_all { words.typos(TyposOf::AllWords, searcher).map_err(failed)? } else { None };
    let of_absent = words.typos(TyposOf::AbsentWords, searcher).map_err(failed)?;
    let by_typos = of_all.or_else(|| of_absent.as_ref().map(|query| query.box_clone()));
    let by_typos = by_typos.map(|typos| {
        let others = vec![(Occur::Must, typos), (Occur::MustNot, as_written.box_clone())];
        filtered(Box::new(BooleanQuery::new(others)), &query.filters, parts, searcher)
    });
    // Among documents with another exact word, those with a similar spelling of an absent word come first.
    let as_written = match of_absent {
        Some(typos) => Box::new(BooleanQuery::new(vec![(Occur::Must, as_written), (Occur::Should, typos)])),
        None => as_written,
    };
    Ok(Matching { as_written, by_typos: by_typos.transpose()?, prefixes })
}

/// Whether a query matches fewer than `n` documents. Stops counting at `n`.
fn has_fewer_than(n: usize, query: &dyn EngineQuery, searcher: &Searcher) -> tantivy::Result<bool> {
    let weight = query.weight(EnableScoring::disabled_from_searcher(searcher))?;
    let mut n_found = 0;
    for segment in searcher.segment_readers() {
        let mut documents = weight.scorer(segment, 1.0)?;
        while documents.doc() != TERMINATED {
            n_found += usize::from(!segment.is_deleted(documents.doc()));
            if n_found >= n {
                return Ok(false);
            }
            documents.advance();
        }
    }
    Ok(true)
}

fn filtered(
    query: Box<dyn EngineQuery>,
    filters: &[Filter],
    parts: &Parts,
    searcher: &Searcher,
) -> Result<Box<dyn EngineQuery>, Error> {
    if filters.is_empty() {
        return Ok(query);
    }
    let mut clauses = vec![(Occur::Must, query)];
    for filter in filters {
        clauses.push((Occur::Must, filter::to_query(filter, parts, searcher)?));
    }
    Ok(Box::new(BooleanQuery::new(clauses)))
}

/// The documents of a selection. Typos are not tolerated.
pub(crate) fn build_selection(
    selection: &Selection,
    parts: &Parts,
    searcher: &Searcher,
) -> Result<Box<dyn EngineQuery>, Error> {
    let Some((text, syntax)) = &selection.words else {
        return filtered(Box::new(AllQuery), &selection.filters, parts, searcher);
    };
    let (syntax, fuzzy, filters) = (*syntax, Fuzzy::Off, selection.filters.clone());
    let query = Query { syntax, fuzzy, filters, ..Query::new(text.as_str()) };
    Ok(build(&query, parts, searcher)?.as_written)
}

/// Converts an error of a search. Some queries parse, but then use a field in an unsupported way.
pub(crate) fn search_error(query: &Query, error: TantivyError, parts: &Parts) -> Error {
    match error {
        TantivyError::InvalidArgument(problem) | TantivyError::SchemaError(problem)
            if query.syntax == QuerySyntax::Advanced =>
        {
            Error::InvalidQuery { problem }
        }
        error => parts.error("search", error),
    }
}

/// The words to mark in a text with their weights: rare words weigh more than frequent ones.
pub(crate) fn words_to_mark(
    query: &Query,
    parts: &Parts,
    searcher: &Searcher,
) -> Result<BTreeMap<String, Score>, Error> {
    let mut words = BTreeMap::new();
    let unfiltered = Query { filters: Vec::new(), ..query.clone() };
    let Matching { as_written, by_typos, prefixes } = build(&unfiltered, parts, searcher)?;
    let mut terms: Vec<Term> = Vec::new();
    for query in std::iter::once(&as_written).chain(&by_typos) {
        query.query_terms(&mut |term, _| terms.push(term.clone()));
    }
    let failed = |source| parts.error("search", source);
    for prefix in prefixes {
        let place = parts.layout.whole_words.iter().position(|field| *field == prefix.field());
        let Some(place) = place.map(|place| parts.layout.texts[place]) else { continue };
        for word in words_with_prefix(&prefix, MARKED_WORDS_MAX, searcher).map_err(failed)? {
            terms.push(Term::from_field_text(place, &parts.analyzer.term_of_whole(&word)));
        }
    }
    let is_of_text =
        |term: &&Term| [&parts.layout.texts, &parts.layout.phrases].iter().any(|fields| fields.contains(&term.field()));
    for term in terms.iter().filter(is_of_text) {
        let Some(word) = term.value().as_str().map(str::to_owned) else { continue };
        let n_documents = searcher.doc_freq(term).map_err(failed)?;
        let worth = 1.0 / (1.0 + n_documents as Score);
        words.entry(word).and_modify(|known: &mut Score| *known = known.min(worth)).or_insert(worth);
    }
    Ok(words)
}
