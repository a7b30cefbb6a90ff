//! An application's own index, searched by many threads that share one model.
//!
//!     cargo run --release --example threads
//!
//! A search has two halves. First, tantivy's `CandidateCollector` finds the best documents and reads their texts. Then
//! a pipeline orders them, with a score cache, a deadline, and a queue in front of the model, so that the searches of
//! all threads share its batches fairly.

use std::error::Error;
use std::num::NonZeroUsize;
use std::time::Duration;

use lorank::core::Deadline;
use lorank::model::{Files, LoadOptions, ModelReranker};
use lorank::pipeline::{NoFirstStage, Pipeline, PipelineConfig, SearchRequest};
use lorank::tantivy::tantivy::query::QueryParser;
use lorank::tantivy::tantivy::schema::{STORED, Schema, TEXT, Value};
use lorank::tantivy::tantivy::{Index, IndexReader, TantivyDocument, doc};
use lorank::tantivy::{CandidateCollector, Texts};

type BoxError = Box<dyn Error + Send + Sync>;

const PASSAGES: [&str; 6] = [
    "The incandescent lamp, which most people call a light bulb, was patented by Edison in 1880.",
    "Plant the bulb in light soil, three times as deep as the bulb is high.",
    "A light year is the distance that light travels in a year. It is no measure of time.",
    "Who left the light on? A bulb of 60 watts burns half a kilowatt-hour a night.",
    "A year on Venus is shorter than a day there: 225 of our days against 243.",
    "Tulips need a year of rest in light soil before they flower again.",
];

/// The state shared by the threads, by reference.
struct Shop {
    reader: IndexReader,
    parser: QueryParser,
    collector: CandidateCollector,
    pipeline: Pipeline<NoFirstStage, ModelReranker>,
}

/// Opens the shop, starts three searches, and prints their results.
pub(crate) fn main() -> Result<(), BoxError> {
    let shop = open()?;
    let questions = ["who invented the light bulb", "how deep do I plant a bulb", "how long is a year on venus"];
    std::thread::scope(|scope| {
        let threads = questions.map(|question| scope.spawn(|| search(&shop, question)));
        for (question, thread) in questions.iter().zip(threads) {
            let best = thread.join().map_err(|_| "a thread panicked")??;
            println!("{question}\n    {best}");
        }
        Ok::<(), BoxError>(())
    })?;
    let queue = shop.pipeline.queue_stats();
    println!("the model: {queue:?}");
    Ok(())
}

fn open() -> Result<Shop, BoxError> {
    let mut schema = Schema::builder();
    let body = schema.add_text_field("body", TEXT | STORED);
    let index = Index::create_in_ram(schema.build());
    let mut writer = index.writer(50_000_000)?;
    for passage in PASSAGES {
        writer.add_document(doc!(body => passage))?;
    }
    writer.commit()?;

    let minilm = lorank::starter::base_model().iter().map(|file| (file.name, file.bytes));
    let reranker = ModelReranker::load(&Files::embedded("minilm", minilm), LoadOptions::default())?;
    let depth = NonZeroUsize::new(50).ok_or("the depth is not zero")?;
    Ok(Shop {
        reader: index.reader()?,
        parser: QueryParser::for_index(&index, vec![body]),
        // One collector serves all queries.
        collector: CandidateCollector::new(Texts::fields(["body"]), depth),
        pipeline: Pipeline::without_first_stage(reranker, PipelineConfig::default())?,
    })
}

/// The best passage for a question.
fn search(shop: &Shop, question: &str) -> Result<String, BoxError> {
    // First half: tantivy's candidates. Works with any query; the collector can also be part of a tuple.
    let searcher = shop.reader.searcher();
    let (query, _) = shop.parser.parse_query_lenient(question);
    let found = searcher.search(&query, &shop.collector)?;

    // Second half: the order. A late or failing model is not an error; the answer has the reason.
    let request = SearchRequest { deadline: Deadline::after(Duration::from_secs(60)), ..SearchRequest::new(question) };
    let answer = shop.pipeline.rerank(&request, found.candidates)?;
    if let Some(fallback) = &answer.fallback {
        eprintln!("in tantivy's order: {fallback}");
    }

    // A hit's first-stage rank gives its address, to read other fields of the document.
    let best = answer.hits.first().ok_or("nothing matches")?;
    let document: TantivyDocument = searcher.doc(found.addresses[best.first_stage_rank - 1])?;
    let body = document.get_first(searcher.schema().get_field("body")?);
    Ok(body.and_then(|body| body.as_str()).ok_or("a passage has a body")?.to_owned())
}
