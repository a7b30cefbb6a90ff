//! Reranking when the score cache holds every pair: `cargo bench -p lorank-pipeline`.

use std::num::NonZeroUsize;

use divan::Bencher;
use lorank_core::Candidate;
use lorank_pipeline::{Pipeline, PipelineConfig, SearchRequest};
use lorank_testing::toy::{self, FakeReranker};

fn main() {
    divan::main();
}

/// Passages of about 70 words.
fn passages(n: usize) -> Vec<Candidate> {
    let lengthen = |candidate: Candidate| Candidate {
        text: std::iter::repeat_n(&*candidate.text, 18).collect::<Vec<_>>().join(" ").into(),
        ..candidate
    };
    toy::candidates(n).into_iter().map(lengthen).collect()
}

/// Documents of one request, all of whose scores are cached.
#[divan::bench(args = [10, 100, 1000])]
fn all_cached(bencher: Bencher<'_, '_>, n: usize) {
    let reranker = FakeReranker::by(|_, _, candidate| candidate.text.len() as f32);
    let depth = NonZeroUsize::new(n);
    let max = NonZeroUsize::new(1000).expect("not zero");
    let config = PipelineConfig { depth_max: max, page_end_max: max, ..PipelineConfig::default() };
    let pipeline = Pipeline::without_first_stage(reranker, config).expect("the configuration is sound");
    let request = SearchRequest { depth, top_k: depth, ..SearchRequest::new("when was the light bulb invented") };
    let passages = passages(n);
    pipeline.rerank(&request, passages.clone()).expect("the reranker scores them");
    bencher.with_inputs(|| passages.clone()).bench_values(|passages| {
        let answer = pipeline.rerank(&request, passages).expect("the reranker is not asked");
        assert_eq!((answer.cache.hits, answer.cache.misses), (n, 0));
        answer
    });
}
