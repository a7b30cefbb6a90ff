//! The order, against one that is worked out the slow way.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lorank_core::{Candidate, Query as Searched};
use lorank_tantivy::tantivy::collector::{Count, TopDocs};
use lorank_tantivy::tantivy::query::{
    AllQuery, BooleanQuery, ConstScoreQuery, EnableScoring, Occur, PhraseQuery, Query, TermQuery,
};
use lorank_tantivy::tantivy::schema::{IndexRecordOption, Value};
use lorank_tantivy::tantivy::{DocAddress, Searcher, TantivyDocument, Term};
use lorank_tantivy::{CandidateCollector, RerankCollector};
use lorank_testing::toy::{self, FakeReranker};
use proptest::prelude::*;

use super::{Shelf, n, texts};

const WORDS: [&str; 5] = ["ant", "bee", "cat", "dog", "eel"];

#[derive(Debug, Clone)]
enum Step {
    Add(Vec<usize>),
    Delete(u64),
}

/// What is done to an index: a commit, and so a segment, after each group.
type History = Vec<Vec<Step>>;

fn history() -> impl Strategy<Value = History> {
    // Short texts of few words: equal ones, and so equal scores, are frequent.
    let step = prop_oneof![
        5 => prop::collection::vec(0..WORDS.len(), 1..4).prop_map(Step::Add),
        1 => (0u64..80).prop_map(Step::Delete),
    ];
    prop::collection::vec(prop::collection::vec(step, 0..30), 1..6)
}

fn play(history: &History, n_threads: usize) -> Shelf {
    let mut shelf = Shelf::empty();
    let mut writer = shelf.writer();
    let mut numbers = 0..;
    for group in history {
        for step in group {
            match step {
                Step::Add(words) => shelf.add(&writer, numbers.next().unwrap(), &sentence(words)),
                Step::Delete(number) => shelf.delete(&writer, *number),
            }
        }
        writer.commit().unwrap();
    }
    drop(writer);
    if n_threads > 1 {
        shelf.index.set_multithread_executor(n_threads).unwrap();
    }
    shelf
}

fn sentence(words: &[usize]) -> String {
    words.iter().map(|&word| WORDS[word]).collect::<Vec<_>>().join(" ")
}

#[derive(Debug, Clone)]
enum Searching {
    Any(Vec<usize>),
    Both(usize, usize),
    Phrase(usize, usize),
    Without(usize, usize),
    Constant(usize),
    Everything,
}

fn searching(n_words_max: usize) -> impl Strategy<Value = Searching> {
    let word = || 0..WORDS.len();
    prop_oneof![
        4 => prop::collection::vec(word(), 1..=n_words_max).prop_map(Searching::Any),
        1 => (word(), word()).prop_map(|(a, b)| Searching::Both(a, b)),
        1 => (word(), word()).prop_map(|(a, b)| Searching::Phrase(a, b)),
        1 => (word(), word()).prop_map(|(a, b)| Searching::Without(a, b)),
        1 => word().prop_map(Searching::Constant),
        1 => Just(Searching::Everything),
    ]
}

fn query(shelf: &Shelf, searching: &Searching) -> Box<dyn Query> {
    let term = |word: usize| Term::from_field_text(shelf.body, WORDS[word]);
    let words = |word: usize| -> Box<dyn Query> { Box::new(TermQuery::new(term(word), IndexRecordOption::WithFreqs)) };
    match searching {
        Searching::Any(of) => Box::new(BooleanQuery::union(of.iter().map(|&word| words(word)).collect())),
        Searching::Both(a, b) => Box::new(BooleanQuery::intersection(vec![words(*a), words(*b)])),
        Searching::Phrase(a, b) => Box::new(PhraseQuery::new(vec![term(*a), term(*b)])),
        Searching::Without(a, b) => {
            Box::new(BooleanQuery::new(vec![(Occur::Must, words(*a)), (Occur::MustNot, words(*b))]))
        }
        Searching::Constant(word) => Box::new(ConstScoreQuery::new(words(*word), 2.0)),
        Searching::Everything => Box::new(AllQuery),
    }
}

/// Every living match with its score and its text, best first, ties by address.
fn matches(shelf: &Shelf, searcher: &Searcher, query: &dyn Query) -> Vec<(f32, DocAddress, String)> {
    let weight = query.weight(EnableScoring::enabled_from_searcher(searcher)).unwrap();
    let mut found = Vec::new();
    for (ordinal, segment) in searcher.segment_readers().iter().enumerate() {
        let mut keep = |doc, score| {
            if segment.alive_bitset().is_none_or(|alive| alive.is_alive(doc)) {
                found.push((score, DocAddress::new(ordinal as u32, doc)));
            }
        };
        weight.for_each(segment, &mut keep).unwrap();
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let text = |address| {
        let document: TantivyDocument = searcher.doc(address).unwrap();
        document.get_first(shelf.body).unwrap().as_str().unwrap().to_owned()
    };
    found.into_iter().map(|(score, address)| (score, address, text(address))).collect()
}

/// A hit as the slow way has it: address, first-stage rank, first-stage score, rerank score.
type Expected = (DocAddress, usize, f32, Option<f32>);

/// The first `depth` matches by the reranker's score, ties by first-stage rank, then the others; the best `top_k` of all.
fn expected(found: &[(f32, DocAddress, String)], depth: usize, top_k: usize) -> Vec<Expected> {
    let judge = |text: &str| {
        let candidate = Candidate::new("", text, lorank_core::Score::new(0.0).unwrap());
        toy::hashed_score(&Searched::new("q"), &toy::model(None), &candidate)
    };
    let ranked = found
        .iter()
        .enumerate()
        .map(|(place, (score, address, text))| (*address, place + 1, *score, (place < depth).then(|| judge(text))));
    let mut ranked: Vec<Expected> = ranked.collect();
    // `None` is least.
    ranked.sort_by(|a, b| b.3.partial_cmp(&a.3).unwrap().then(a.1.cmp(&b.1)));
    ranked.truncate(top_k);
    ranked
}

fn collector(depth: NonZeroUsize, top_k: NonZeroUsize) -> RerankCollector {
    RerankCollector::new("q", Arc::new(FakeReranker::hashing()), texts()).depth(depth).top_k(top_k)
}

fn as_expected(answer: &lorank_tantivy::collector::Answer) -> Vec<Expected> {
    let hits = answer.hits.iter();
    hits.map(|hit| {
        (hit.address, hit.first_stage_rank, hit.first_stage_score.get(), hit.rerank_score.map(|score| score.get()))
    })
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_order_is_that_of_brute_force(
        history in history(),
        // Two terms at most: pruning may sum three in another order, see below.
        searching in searching(2),
        depth in 1usize..40,
        top_k in 1usize..40,
        n_threads in 1usize..4,
    ) {
        let shelf = play(&history, n_threads);
        let (searcher, query) = (shelf.searcher(), query(&shelf, &searching));
        let found = matches(&shelf, &searcher, &*query);
        let answer = searcher.search(&*query, &collector(n(depth), n(top_k))).unwrap();
        prop_assert_eq!(as_expected(&answer), expected(&found, depth, top_k));
        prop_assert!(answer.outcome.is_reranked());
        prop_assert_eq!(answer.n_candidates, found.len().min(depth));

        let off = searcher.search(&*query, &collector(n(depth), n(top_k)).rerank(false)).unwrap();
        prop_assert_eq!(as_expected(&off), expected(&found, 0, top_k));

        let candidates = searcher.search(&*query, &CandidateCollector::new(texts(), n(depth))).unwrap();
        let texts_found: Vec<&str> = candidates.candidates.iter().map(|candidate| &*candidate.text).collect();
        prop_assert_eq!(texts_found, found.iter().take(depth).map(|(.., text)| text.as_str()).collect::<Vec<_>>());
        prop_assert_eq!(candidates.addresses, found.iter().take(depth).map(|(_, address, _)| *address).collect::<Vec<_>>());
    }

    #[test]
    fn in_a_tuple_the_order_is_that_of_brute_force_for_any_number_of_terms(
        history in history(),
        searching in searching(7),
        depth in 1usize..40,
        n_threads in 1usize..4,
    ) {
        let shelf = play(&history, n_threads);
        let (searcher, query) = (shelf.searcher(), query(&shelf, &searching));
        let found = matches(&shelf, &searcher, &*query);
        let (count, answer) = searcher.search(&*query, &(Count, collector(n(depth), n(10)))).unwrap();
        prop_assert_eq!(count, found.len());
        prop_assert_eq!(as_expected(&answer), expected(&found, depth, 10));
    }

    #[test]
    fn alone_the_first_stage_is_that_of_top_docs(history in history(), searching in searching(7), limit in 1usize..40) {
        let shelf = play(&history, 1);
        let (searcher, query) = (shelf.searcher(), query(&shelf, &searching));
        let top = searcher.search(&*query, &TopDocs::with_limit(limit).order_by_score()).unwrap();
        let off = searcher.search(&*query, &collector(n(1), n(limit)).rerank(false)).unwrap();
        let scores: Vec<f32> = off.hits.iter().map(|hit| hit.first_stage_score.get()).collect();
        prop_assert_eq!(&scores, &top.iter().map(|(score, _)| *score).collect::<Vec<_>>());
        // Which of the documents that tie for the last place are in, the merge of `TopDocs` does not always settle by address.
        let last = scores.last().copied();
        let above: Vec<_> = off.hits.iter().map(|hit| (hit.first_stage_score.get(), hit.address)).filter(|(score, _)| Some(*score) != last).collect();
        prop_assert_eq!(above, top.into_iter().filter(|(score, _)| Some(*score) != last).collect::<Vec<_>>());
    }
}
