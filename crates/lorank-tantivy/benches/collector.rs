//! What the collector costs beside tantivy's `TopDocs`: `cargo bench -p lorank-tantivy --bench collector`.
//!
//! 100,000 documents of 70 words, whose frequencies fall as those of a language do. Every contender answers every query once
//! a round, in turn, so that whatever else the machine does falls on all of them; a ratio is the median over the rounds of
//! (contender / `TopDocs`). The reranker costs nothing, so what is left is all that is not the model.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lorank_core::{AdapterId, BoxError, EncodedPair, ModelVersion, Reranker, Score};
use lorank_tantivy::collector::Passage;
use lorank_tantivy::tantivy::collector::{Collector, Count, TopDocs};
use lorank_tantivy::tantivy::query::{BooleanQuery, Query, TermQuery};
use lorank_tantivy::tantivy::schema::{FAST, Field, IndexRecordOption, STORED, Schema, TEXT};
use lorank_tantivy::tantivy::{Index, IndexWriter, Searcher, Term, doc, indexer::NoMergePolicy};
use lorank_tantivy::{RerankCollector, Texts};
use lorank_testing::toy;

const N_DOCUMENTS: usize = 100_000;
const N_WORDS: usize = 70;
const N_ROUNDS: usize = 100;
const DEPTH: NonZeroUsize = NonZeroUsize::new(100).expect("not zero");

fn main() {
    for n_segments in [1, 8] {
        let (index, body) = index(n_segments);
        let searcher = index.reader().expect("the index was just made").searcher();
        assert_eq!((searcher.num_docs() as usize, searcher.segment_readers().len()), (N_DOCUMENTS, n_segments));
        println!("{N_DOCUMENTS} documents, segments: {n_segments}, limit and depth: {DEPTH}");
        compare(&searcher, &queries(body));
    }
}

/// Gives every text the same score, at once.
struct Free;

impl Reranker for Free {
    fn resolve(&self, adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        Ok(toy::model(adapter))
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        batch.iter().map(|_| Ok(Score::new(0.0).expect("finite"))).collect()
    }
}

/// A search with one of the contenders.
type Search<'a> = Box<dyn Fn(&dyn Query) + 'a>;

fn compare(searcher: &Searcher, queries: &[Box<dyn Query>]) {
    let rerank = |texts| RerankCollector::new("a query", Arc::new(Free), texts).depth(DEPTH).top_k(DEPTH);
    let top_docs = || TopDocs::with_limit(DEPTH.get()).order_by_score();
    let elsewhere = Texts::from_fn(|documents| Ok(vec![Passage::default(); documents.len()]));
    let contenders: Vec<(&str, Search<'_>)> = vec![
        ("TopDocs", run(searcher, top_docs())),
        ("collector, rerank off", run(searcher, rerank(Texts::fields(["body"])).rerank(false))),
        ("collector, stored text", run(searcher, rerank(Texts::fields(["body"])))),
        ("collector, fast text", run(searcher, rerank(Texts::fields(["fast"])))),
        ("collector, texts from a function", run(searcher, rerank(elsewhere))),
        ("(Count, TopDocs)", run(searcher, (Count, top_docs()))),
        ("(Count, collector, rerank off)", run(searcher, (Count, rerank(Texts::fields(["body"])).rerank(false)))),
    ];
    let mut rounds: Vec<Vec<Duration>> = Vec::new();
    for round in 0..N_ROUNDS + 5 {
        let mut times = vec![Duration::ZERO; contenders.len()];
        for query in queries {
            for turn in 0..contenders.len() {
                // Whoever comes first finds colder caches, so each is first in its turn.
                let at = (turn + round) % contenders.len();
                let start = Instant::now();
                contenders[at].1(&**query);
                times[at] += start.elapsed();
            }
        }
        // The first rounds warm up.
        rounds.extend((round >= 5).then_some(times));
    }
    println!("| contender | ms a query | beyond TopDocs, ms | times TopDocs | times (Count, TopDocs) |");
    println!("|---|---:|---:|---:|---:|");
    let median = |of: &dyn Fn(&[Duration]) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(|times| of(times)).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let millis = |time: Duration| time.as_secs_f64() * 1e3 / queries.len() as f64;
    for (at, (name, _)) in contenders.iter().enumerate() {
        let ratio = |to: usize| median(&|times| times[at].as_secs_f64() / times[to].as_secs_f64());
        let beyond = median(&|times| millis(times[at]) - millis(times[0]));
        let total = median(&|times| millis(times[at]));
        println!("| {name} | {total:.3} | {beyond:.3} | {:.3} | {:.3} |", ratio(0), ratio(5));
    }
}

fn run<'a>(searcher: &'a Searcher, collector: impl Collector + 'a) -> Search<'a> {
    Box::new(move |query| {
        black_box(searcher.search(query, &collector).expect("the index is in memory"));
    })
}

fn index(n_segments: usize) -> (Index, Field) {
    let mut schema = Schema::builder();
    let body = schema.add_text_field("body", TEXT | STORED);
    let fast = schema.add_text_field("fast", FAST);
    let index = Index::create_in_ram(schema.build());
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 1_000_000_000).expect("the memory is enough");
    writer.set_merge_policy(Box::new(NoMergePolicy));
    let mut random = Random(42);
    for n in 0..N_DOCUMENTS {
        let text: Vec<String> = (0..N_WORDS).map(|_| word(random.zipf())).collect();
        let text = text.join(" ");
        writer.add_document(doc!(body => text.as_str(), fast => text)).expect("the writer works");
        if (n + 1) % N_DOCUMENTS.div_ceil(n_segments) == 0 {
            writer.commit().expect("the index is in memory");
        }
    }
    writer.commit().expect("the index is in memory");
    (index, body)
}

/// Of one to five words, frequent and rare ones.
fn queries(body: Field) -> Vec<Box<dyn Query>> {
    let ranks: [&[usize]; 8] = [
        &[20],
        &[900],
        &[12, 300],
        &[700, 2_000],
        &[5, 90, 1_500],
        &[250, 600, 3_000],
        &[3, 40, 400, 1_000],
        &[8, 60, 200, 800, 5_000],
    ];
    let term = |rank: &usize| -> Box<dyn Query> {
        Box::new(TermQuery::new(Term::from_field_text(body, &word(*rank)), IndexRecordOption::WithFreqs))
    };
    ranks
        .iter()
        .map(|ranks| Box::new(BooleanQuery::union(ranks.iter().map(term).collect())) as Box<dyn Query>)
        .collect()
}

/// The word of a rank, as long as words are.
fn word(rank: usize) -> String {
    format!("w{:x}", (rank as u64).wrapping_mul(0x9e37_79b1) & 0xff_ffff)
}

/// Xorshift (Marsaglia, 2003): the same documents every time.
struct Random(u64);

impl Random {
    /// A rank from 1 to 50,000, its probability falling as 1 / rank.
    fn zipf(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let uniform = (self.0 >> 11) as f64 / (1u64 << 53) as f64;
        50_000f64.powf(uniform) as usize
    }
}
