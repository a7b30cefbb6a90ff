//! The BM25 first stage.

use std::num::NonZeroUsize;

use lorank_core::{
    BoxError, Candidate, DocumentId, FirstStage, InvalidQuery, Query, Retrieval, Retrieved, Score, Snippet, SortKey,
    SortOrder, TotalHits,
};
use tantivy::collector::Count;
use tantivy::query::Query as EngineQuery;
use tantivy::snippet::{SnippetGenerator, collapse_overlapped_ranges};
use tantivy::{DocAddress, Searcher};

use crate::facets::FacetCounter;
use crate::field_values::{check_numeric, column_of};
use crate::index::Parts;
use crate::schema::{StoredDocument, title_and_text};
use crate::sort::{Found, SortedTop};
use crate::top::TopWithTies;
use crate::{Error, Index, facets, query};

/// The length of a snippet in bytes, as tantivy counts it.
const SNIPPET_BYTES_MAX: usize = 200;

/// BM25 over an index: the first stage of a pipeline.
///
/// A document's score is the sum over its text fields of the field's boost times its BM25 score (k1 = 1.2, b = 0.75).
/// Ties are broken by id in byte order. Every search sees the last commit of any process.
///
/// [Plain](lorank_core::QuerySyntax::Plain) queries are words, any of which may match; the first 1,024 distinct words
/// count, and stop words only if there are no others. `so*` matches words with this prefix.
/// [Advanced](lorank_core::QuerySyntax::Advanced) queries use [tantivy's syntax](tantivy::query::QueryParser)
/// (`+cat -dog title:"the cat" year:[2020 TO *]`), in which names other than those of text fields refer to stored
/// fields, and dates are written in full (`2024-05-01T00:00:00Z`). Text fields support `so*`, `"a phra"*`, `word~` and
/// `word~2` (typos). Other syntax, such as `te?t`, is an error.
///
/// Typos ([`Fuzzy`](lorank_core::Fuzzy)) are inserted, deleted, substituted or transposed letters: one in words of five
/// or more letters, two in words of nine or more; a typo in the first letter counts as two; words with digits allow
/// none. Typos are tolerated in the first ten words of a plain query. `Auto` does so for words that no document has
/// and, if fewer than five documents match, for all words. Documents without any exact word come after all documents
/// with one.
///
/// Searches without words ([`MatchAll`](lorank_core::QuerySyntax::MatchAll)) match every document. Sorting and facets
/// use the fields that filters use: all except text fields, and texts of up to 1,024 bytes.
///
/// An invalid query, filter, sort key or facet is an [`InvalidQuery`]; every other error is a boxed [`Error`].
#[derive(Debug, Clone)]
pub struct Bm25FirstStage {
    index: Index,
}

impl Bm25FirstStage {
    /// A first stage over an index.
    pub fn new(index: Index) -> Self {
        Self { index }
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The document with this id as a candidate with a score from elsewhere; `None` if the index has no such document.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn candidate(&self, id: &DocumentId, first_stage_score: Score) -> Result<Option<Candidate>, Error> {
        let Some(document) = self.index.get(id)? else { return Ok(None) };
        let fields = document.fields().clone();
        let (title, text) = title_and_text(&fields, self.index.settings());
        Ok(Some(Candidate { title, fields, ..Candidate::new(id.as_str(), text, first_stage_score) }))
    }

    /// The total is 0 unless all matches are counted.
    fn find(&self, retrieval: &Retrieval<'_>, counts_all: bool) -> Result<Retrieved, Error> {
        let (parts, searcher) = (self.index.parts(), self.index.searcher()?);
        let facets = FacetCounter::new(retrieval.facets, parts, &searcher)?;
        for field in retrieval.numeric_fields {
            let invalid = |problem| Error::InvalidRankBy { field: (*field).to_owned(), problem };
            check_numeric(field, parts, &searcher).map_err(invalid)?;
        }
        let matching = query::build(retrieval.query, parts, &searcher)?;
        let failed = |error| query::search_error(retrieval.query, error, parts);
        let depth = retrieval.depth.get();
        let count = || counts_all.then_some(Count);
        // Every match is visited for its score, so the exact count is almost free (`benches/total_hits.rs`).
        let (candidates, n_matches, counts) = if !retrieval.sort.is_empty() {
            let collector = (SortedTop { depth, keys: self.sort_columns(retrieval.sort, &searcher)? }, count(), facets);
            let (first, n_matches, counts) = searcher.search(&*matching.all(), &collector).map_err(failed)?;
            (sorted_candidates(first, &searcher, parts)?, n_matches, counts)
        } else if let Some(by_typos) = &matching.by_typos {
            let counts = searcher.search(&*matching.all(), &facets).map_err(failed)?;
            let best = |query: &dyn EngineQuery, depth: usize| {
                let (best, n_matches) = searcher.search(query, &(TopWithTies { depth }, count())).map_err(failed)?;
                Ok((best_candidates(best, depth, &searcher, parts)?, n_matches.unwrap_or(0)))
            };
            let (mut candidates, n_as_written) = best(&*matching.as_written, depth)?;
            // A collector keeps at least one document; if no more are needed, it only counts.
            let n_left = depth - candidates.len();
            let (others, n_by_typos) = best(&**by_typos, n_left.max(1))?;
            let others = below(candidates.last(), others);
            candidates.extend(others.into_iter().take(n_left));
            (candidates, Some(n_as_written + n_by_typos), counts)
        } else {
            let collector = (TopWithTies { depth }, count(), facets);
            let (best, n_matches, counts) = searcher.search(&*matching.as_written, &collector).map_err(failed)?;
            (best_candidates(best, depth, &searcher, parts)?, n_matches, counts)
        };
        let total_hits = TotalHits::Exactly(n_matches.unwrap_or(0) as u64);
        Ok(Retrieved {
            candidates,
            total_hits,
            facets: facets::finish(retrieval.facets, counts)?,
            problems: Vec::new(),
        })
    }

    /// The columns to sort by.
    fn sort_columns(&self, keys: &[SortKey], searcher: &Searcher) -> Result<Vec<(String, SortOrder)>, Error> {
        let parts = self.index.parts();
        let column = |key: &SortKey| {
            let column = column_of(&key.field, parts, searcher);
            let hint = if key.field.contains(':') { "; an order is `:asc` or `:desc`" } else { "" };
            let invalid =
                |problem| Error::InvalidSort { field: key.field.clone(), problem: format!("{problem}{hint}") };
            Ok((column.map_err(invalid)?, key.order))
        };
        keys.iter().map(column).collect()
    }

    fn mark(&self, query: &Query, candidates: &[&Candidate]) -> Result<Vec<Option<Snippet>>, Error> {
        let parts = self.index.parts();
        let words = query::words_to_mark(query, parts, &self.index.searcher()?)?;
        let analyzer = parts.analyzer.phrases();
        // The generator needs a field to read texts from documents, but here it gets texts directly.
        let generator = SnippetGenerator::new(words, analyzer, parts.layout.texts[0], SNIPPET_BYTES_MAX);
        Ok(candidates.iter().map(|candidate| snippet(&generator, &candidate.text)).collect())
    }
}

impl FirstStage for Bm25FirstStage {
    fn retrieve(&self, query: &Query, depth: NonZeroUsize) -> Result<Vec<Candidate>, BoxError> {
        let retrieved = self.find(&Retrieval::new(query, depth), false).map_err(seam_error)?;
        Ok(retrieved.candidates)
    }

    /// The number of matching documents is exact.
    fn search(&self, retrieval: &Retrieval<'_>) -> Result<Retrieved, BoxError> {
        self.find(retrieval, true).map_err(seam_error)
    }

    /// Snippets come from the candidates' texts, not from their titles. If the text contains none of the query's words,
    /// the snippet is its start without marks; a candidate without text has none.
    fn snippets(&self, query: &Query, candidates: &[&Candidate]) -> Result<Vec<Option<Snippet>>, BoxError> {
        self.mark(query, candidates).map_err(seam_error)
    }
}

/// Converts an error, and separates invalid queries from failures of the engine.
fn seam_error(error: Error) -> BoxError {
    let field = match error {
        Error::InvalidQuery { .. } => "query",
        Error::InvalidFilter { .. } => "filters",
        Error::InvalidSort { .. } => "sort",
        Error::InvalidFacet { .. } => "facets",
        Error::InvalidRankBy { .. } => "rank_by",
        _ => return error.into(),
    };
    InvalidQuery { field, message: error.to_string() }.into()
}

/// Scales the candidates' scores to be below that of `last`.
fn below(last: Option<&Candidate>, mut others: Vec<Candidate>) -> Vec<Candidate> {
    let best = others.first().map(|candidate| candidate.first_stage_score.get());
    if let Some((last, best)) = last.zip(best).filter(|(_, best)| *best > 0.0) {
        let factor = last.first_stage_score.get() / best / 2.0;
        for candidate in &mut others {
            // Finite, and not above the larger of two finite numbers.
            candidate.first_stage_score =
                Score::new(candidate.first_stage_score.get() * factor).unwrap_or(last.first_stage_score);
        }
    }
    others
}

/// Reads the documents, orders equal scores by id, and keeps the best.
fn best_candidates(
    mut best: Vec<(f32, DocAddress)>,
    depth: usize,
    searcher: &Searcher,
    parts: &Parts,
) -> Result<Vec<Candidate>, Error> {
    // In their order on disk, so that every block of documents is read once.
    best.sort_unstable_by_key(|(_, address)| *address);
    let mut found = Vec::with_capacity(best.len());
    for (score, address) in best {
        found.push((checked(score)?, parts.read(address, searcher)?));
    }
    found.sort_unstable_by(|(a_score, a), (b_score, b)| b_score.cmp(a_score).then_with(|| a.id().cmp(b.id())));
    found.truncate(depth);
    found.into_iter().map(|(score, stored)| candidate(score, &stored, parts)).collect()
}

/// Reads documents that are already ordered.
fn sorted_candidates(found: Vec<Found>, searcher: &Searcher, parts: &Parts) -> Result<Vec<Candidate>, Error> {
    let read = |(score, address)| candidate(checked(score)?, &parts.read(address, searcher)?, parts);
    found.into_iter().map(read).collect()
}

fn checked(score: f32) -> Result<Score, Error> {
    let overflow = "the boosts are too large: a score overflows";
    Score::new(score).map_err(|_| Error::InvalidQuery { problem: overflow.to_owned() })
}

fn candidate(first_stage_score: Score, stored: &StoredDocument, parts: &Parts) -> Result<Candidate, Error> {
    let fields = parts.fields(stored)?;
    let (title, text) = title_and_text(&fields, &parts.settings);
    Ok(Candidate { title, fields, ..Candidate::new(stored.id(), text, first_stage_score) })
}

fn snippet(generator: &SnippetGenerator, text: &str) -> Option<Snippet> {
    if text.trim().is_empty() {
        return None;
    }
    let found = generator.snippet(text);
    if found.is_empty() {
        return Snippet::beginning_of(text, SNIPPET_BYTES_MAX);
    }
    Some(Snippet::new(found.fragment(), collapse_overlapped_ranges(found.highlighted())))
}
