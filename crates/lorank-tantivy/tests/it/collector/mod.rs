//! The collectors, in indexes of other people's making.

mod order;
mod outcomes;
mod texts;

use std::num::NonZeroUsize;
use std::sync::Arc;

use lorank_core::{PassageOptions, PassageRule, Reranker};
use lorank_tantivy::collector::Answer;
use lorank_tantivy::tantivy::collector::Count;
use lorank_tantivy::tantivy::query::{AllQuery, Query, QueryParser};
use lorank_tantivy::tantivy::schema::{FAST, Field, INDEXED, STORED, Schema, TEXT};
use lorank_tantivy::tantivy::{DocAddress, Index, IndexWriter, Searcher, Term, doc, indexer::NoMergePolicy};
use lorank_tantivy::{RerankCollector, Texts};
use lorank_testing::toy::FakeReranker;

/// An index with numbered documents, a segment for each commit.
struct Shelf {
    index: Index,
    number: Field,
    body: Field,
}

impl Shelf {
    fn empty() -> Self {
        let mut schema = Schema::builder();
        let number = schema.add_u64_field("number", INDEXED | FAST);
        let body = schema.add_text_field("body", TEXT | STORED);
        Self { index: Index::create_in_ram(schema.build()), number, body }
    }

    /// Documents with these bodies, numbered from 0 on, a commit after each group.
    fn of(groups: &[&[&str]]) -> Self {
        let shelf = Self::empty();
        let mut writer = shelf.writer();
        let mut numbers = 0..;
        for group in groups {
            for body in *group {
                shelf.add(&writer, numbers.next().unwrap(), body);
            }
            writer.commit().unwrap();
        }
        shelf
    }

    fn writer(&self) -> IndexWriter {
        let writer = self.index.writer_with_num_threads(1, 15_000_000).unwrap();
        writer.set_merge_policy(Box::new(NoMergePolicy));
        writer
    }

    fn add(&self, writer: &IndexWriter, number: u64, body: &str) {
        writer.add_document(doc!(self.number => number, self.body => body)).unwrap();
    }

    fn delete(&self, writer: &IndexWriter, number: u64) {
        writer.delete_term(Term::from_field_u64(self.number, number));
    }

    fn searcher(&self) -> Searcher {
        self.index.reader().unwrap().searcher()
    }

    fn query(&self, text: &str) -> Box<dyn Query> {
        QueryParser::for_index(&self.index, vec![self.body]).parse_query(text).unwrap()
    }

    fn search(&self, query_text: &str, rerank: &RerankCollector) -> Answer {
        self.searcher().search(&*self.query(query_text), rerank).unwrap()
    }
}

fn texts() -> Texts {
    Texts::fields(["body"])
}

/// A reranker that likes long texts.
fn by_length() -> Arc<FakeReranker> {
    Arc::new(FakeReranker::by(|_, _, candidate| candidate.text.len() as f32))
}

fn rerank(reranker: Arc<dyn Reranker>) -> RerankCollector {
    RerankCollector::new("cat", reranker, texts())
}

fn n(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

/// Where the hits lie, as `(segment, document)`.
fn places(answer: &Answer) -> Vec<(u32, u32)> {
    answer.hits.iter().map(|hit| (hit.address.segment_ord, hit.address.doc_id)).collect()
}

#[test]
fn it_goes_with_other_collectors() {
    let shelf = Shelf::of(&[&["cat", "cat and dog", "dog"], &["a long text about a cat"]]);
    let (searcher, query) = (shelf.searcher(), shelf.query("cat"));
    let collector = rerank(by_length());
    let alone = searcher.search(&*query, &collector).unwrap();
    assert_eq!(alone.hits.len(), 3);
    assert!(alone.outcome.is_reranked());
    let (count, in_pair) = searcher.search(&*query, &(Count, collector.clone())).unwrap();
    assert_eq!((count, &in_pair), (3, &alone));
    let (in_triple, count, off) =
        searcher.search(&*query, &(collector.clone(), Count, collector.clone().rerank(false))).unwrap();
    assert_eq!((count, &in_triple), (3, &alone));
    assert!(!off.outcome.is_reranked());
    let (if_any, count) = searcher.search(&*query, &(Some(collector.clone()), Count)).unwrap();
    assert_eq!((count, if_any), (3, Some(alone.clone())));

    let mut many = lorank_tantivy::tantivy::collector::MultiCollector::new();
    let handle = many.add_collector(collector);
    let mut fruits = searcher.search(&*query, &many).unwrap();
    assert_eq!(handle.extract(&mut fruits), alone);
}

#[test]
fn it_goes_with_any_query() {
    let shelf = Shelf::of(&[&["cat", "cat and dog", "dog"], &["a long text about a cat"]]);
    let all = shelf.searcher().search(&AllQuery, &rerank(by_length())).unwrap();
    assert_eq!((all.hits.len(), all.n_candidates), (4, 4));
    for (query, n_hits) in [("\"cat and\"", 1), ("+cat -dog", 2), ("cat^3 dog", 4), ("number:[1 TO 2]", 2), ("cow", 0)]
    {
        let answer = shelf.search(query, &rerank(by_length()));
        assert_eq!(
            (answer.hits.len(), answer.n_candidates, answer.outcome.is_reranked()),
            (n_hits, n_hits, true),
            "{query}"
        );
        assert!(answer.hits.is_sorted_by_key(|hit| std::cmp::Reverse(hit.rerank_score)), "{query}");
    }
}

#[test]
fn depth_and_top_k_are_two_things() {
    // In one segment, so that the first stage's order is that of the documents.
    let shelf = Shelf::of(&[&["cat", "cat", "cat", "cat", "cat"]]);
    let last_first: Arc<FakeReranker> = Arc::new(FakeReranker::by(|_, _, candidate| {
        candidate.id.as_str().rsplit(':').next().unwrap().parse().unwrap()
    }));
    for (depth, top_k, expected) in [
        (3, 5, &[2, 1, 0, 3, 4][..]),
        (3, 2, &[2, 1]),
        (5, 9, &[4, 3, 2, 1, 0]),
        (1, 2, &[0, 1]),
        (usize::MAX, usize::MAX, &[4, 3, 2, 1, 0]),
    ] {
        let answer = shelf.search("cat", &rerank(last_first.clone()).depth(n(depth)).top_k(n(top_k)));
        let docs: Vec<u32> = answer.hits.iter().map(|hit| hit.address.doc_id).collect();
        assert_eq!((docs.as_slice(), answer.n_candidates), (expected, depth.min(5)));
        for (at, hit) in answer.hits.iter().enumerate() {
            assert_eq!((hit.rank, hit.first_stage_rank), (at + 1, hit.address.doc_id as usize + 1));
            assert_eq!(hit.rerank_score.is_some(), hit.first_stage_rank <= depth, "{hit:?}");
        }
    }
}

#[test]
fn long_documents_are_scored_by_their_best_passages() {
    let long = format!("cat {} dog", "filler ".repeat(60));
    let shelf = Shelf::of(&[&["cat and dog", &long]]);
    let dog = |text: &str| text.find("dog").map_or(-1.0, |at| 100.0 - at as f32);
    let reranker = || Arc::new(FakeReranker::by(move |_, _, candidate| dog(&candidate.text)));
    let whole = shelf.search("cat", &rerank(reranker()));
    assert!(whole.hits.iter().all(|hit| hit.passage.is_none()));
    let options = PassageOptions { rule: Some(PassageRule::Max), tokens: Some(n(16)), stride: Some(n(16)) };
    let answer = shelf.search("cat", &rerank(reranker()).passages(options).passages_max(n(64)));
    for hit in &answer.hits {
        let text = if hit.address.doc_id == 0 { "cat and dog" } else { &long };
        let passage = hit.passage.as_ref().unwrap();
        assert!(passage.is_complete && passage.text(text).ends_with("dog"), "{passage:?}");
        assert_eq!(hit.rerank_score.map(|score| score.get()), Some(dog(passage.text(text))));
    }
    let short = shelf.search("cat", &rerank(reranker()).passages(options).passages_max(n(2)));
    let of_long = short.hits.iter().find(|hit| hit.address.doc_id == 1).unwrap();
    assert_eq!(of_long.passage.as_ref().map(|it| (it.windows.len(), it.is_complete)), Some((2, false)));
    let options = PassageOptions { stride: Some(n(17)), ..options };
    let error = shelf.searcher().search(&*shelf.query("cat"), &rerank(reranker()).passages(options)).unwrap_err();
    assert!(error.to_string().contains("`stride` is invalid: it is above `passage_tokens`"), "{error}");
}

#[test]
fn one_collector_serves_searchers_of_different_commits() {
    let shelf = Shelf::of(&[&["cat", "cat and dog"]]);
    let (collector, query) = (rerank(by_length()), shelf.query("cat"));
    let before = shelf.searcher();
    let mut writer = shelf.writer();
    shelf.delete(&writer, 1);
    writer.commit().unwrap();
    shelf.add(&writer, 2, "the longest text about a cat");
    writer.commit().unwrap();
    let after = shelf.searcher();

    let number = |searcher: &Searcher, address: DocAddress| {
        let column = searcher.segment_reader(address.segment_ord).fast_fields().u64("number").unwrap();
        column.first(address.doc_id).unwrap()
    };
    for (searcher, expected) in [(&before, [1, 0]), (&after, [2, 0]), (&before, [1, 0])] {
        let answer = searcher.search(&*query, &collector).unwrap();
        let numbers: Vec<u64> = answer.hits.iter().map(|hit| number(searcher, hit.address)).collect();
        assert_eq!(numbers, expected);
    }
}
