//! Functions for the fuzz targets in `fuzz/` and for the tests that run their corpora. Not part of the public interface.

use lorank_core::Test;

use crate::json::read;
use crate::routes::rerank::{SCORE_LISTS, cut, read_with_lists};
use crate::wire::{
    DashScopeRerank, DeepInfraScore, MixedbreadRerank, NimRanking, OneOrMany, Rerank, ScoreBody, TeiRerank,
    VoyageRerank, read_filters,
};

/// Small enough that inputs of a few hundred bytes exceed it.
const N_DOCUMENTS_MAX: usize = 8;

/// Parses the filters of a search. Returns whether they are valid.
///
/// # Panics
/// If a filter tests nothing.
pub fn read_search_filters(bytes: &[u8]) -> bool {
    let Ok(filters) = read("filters", bytes).and_then(read_filters) else { return false };
    let tests = |test: &Test| match test {
        Test::AnyOf(values) | Test::NoneOf(values) => !values.is_empty(),
        Test::Range { lower, upper } => lower.is_some() || upper.is_some(),
        _ => true,
    };
    assert!(filters.iter().all(|filter| tests(&filter.test)), "{filters:?}");
    true
}

/// Parses a body as each kind of rerank and score request. Returns whether one of them is valid.
///
/// # Panics
/// If a list exceeds the limit on its length, or a truncated document is not a prefix of the document.
pub fn read_rerank_body(bytes: &[u8]) -> bool {
    let tei = read_with_lists::<TeiRerank, 1>("a rerank request", bytes, ["texts"], N_DOCUMENTS_MAX);
    let cohere = read_with_lists::<Rerank, 1>("a rerank request", bytes, ["documents"], N_DOCUMENTS_MAX);
    let score = read_with_lists::<ScoreBody, 7>("a score request", bytes, SCORE_LISTS, N_DOCUMENTS_MAX);
    let mut lengths = Vec::new();
    lengths.extend(tei.as_ref().map(|body| body.texts.len()));
    if let Ok(body) = &cohere {
        lengths.push(body.documents.len());
        for document in &body.documents {
            let whole = document.text(body.rank_fields.as_deref());
            let text = cut(whole.clone(), body.max_tokens_per_doc);
            assert!(whole.starts_with(&text), "{text:?} of {whole:?}");
            document.clone().into_object();
        }
    }
    if let Ok(body) = &score {
        lengths.extend([&body.text_1, &body.text_2].map(|texts| match texts {
            OneOrMany::One(_) => 1,
            OneOrMany::Many(texts) => texts.len(),
        }));
    }
    let voyage = read_with_lists::<VoyageRerank, 1>("a rerank request", bytes, ["documents"], N_DOCUMENTS_MAX);
    lengths.extend(voyage.as_ref().map(|body| body.documents.len()));
    let mixedbread = read_with_lists::<MixedbreadRerank, 1>("a rerank request", bytes, ["input"], N_DOCUMENTS_MAX);
    lengths.extend(mixedbread.as_ref().map(|body| body.input.len()));
    let nim = read_with_lists::<NimRanking, 1>("a ranking request", bytes, ["passages"], N_DOCUMENTS_MAX);
    lengths.extend(nim.as_ref().map(|body| body.passages.len()));
    let deepinfra =
        read_with_lists::<DeepInfraScore, 2>("a score request", bytes, ["queries", "documents"], N_DOCUMENTS_MAX);
    lengths.extend(deepinfra.as_ref().map(|body| body.queries.len().max(body.documents.len())));
    let dashscope = read::<DashScopeRerank>("a rerank request", bytes);
    assert!(lengths.iter().all(|n| *n <= N_DOCUMENTS_MAX), "{lengths:?}");
    let others = voyage.is_ok() || mixedbread.is_ok() || nim.is_ok() || deepinfra.is_ok() || dashscope.is_ok();
    tei.is_ok() || cohere.is_ok() || score.is_ok() || others
}

#[cfg(test)]
mod tests {
    use lorank_testing::check_corpus;

    use super::*;

    #[test]
    fn filters_never_panic() {
        check_corpus("filter", read_search_filters);
    }

    #[test]
    fn rerank_bodies_never_panic() {
        check_corpus("rerank_body", read_rerank_body);
    }
}
