//! What `total_hits` costs: `cargo bench -p lorank-tantivy --bench total_hits -- FOLDER...`.
//!
//! Each folder is a collection in BEIR's layout. Every question is searched with the count of all matching documents and
//! without it, in turn, so that other work on the machine falls on both. Prints a table in Markdown: the median time of a
//! question in milliseconds, and the median over the rounds of the ratio of the total times.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lorank_core::{FirstStage, Query, Retrieval};
use lorank_tantivy::input::{self, Input, InputOptions};
use lorank_tantivy::{Bm25FirstStage, BulkOptions, Index, IndexSettings, WriterOptions, index_documents};
use lorank_testing::Judged;

const N_ROUNDS: usize = 11;
const DEPTH: NonZeroUsize = NonZeroUsize::new(100).expect("not zero");

fn main() {
    // cargo passes `--bench` to every benchmark.
    let folders: Vec<PathBuf> = std::env::args().skip(1).filter(|word| word != "--bench").map(PathBuf::from).collect();
    println!("| collection | documents | questions | matches, median | ms without | ms with | times |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for folder in folders {
        measure(&folder);
    }
}

/// Prints the row of a collection.
fn measure(folder: &Path) {
    let scratch = tempfile::tempdir().expect("a folder can be made");
    let first_stage = Bm25FirstStage::new(index(folder, scratch.path()));
    let queries: Vec<Query> = Judged::read(folder).queries.iter().map(|(_, text)| Query::new(text.as_str())).collect();
    let with = |query: &Query| {
        first_stage.search(&Retrieval::new(query, DEPTH)).expect("the index is readable").total_hits.n()
    };
    let without = |query: &Query| first_stage.retrieve(query, DEPTH).expect("the index is readable").len() as u64;
    let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    let mut ratios = Vec::new();
    for round in 0..=N_ROUNDS {
        let mut total = [Duration::ZERO; 2];
        for query in &queries {
            for turn in 0..2 {
                // The second finds warmer caches, so each is first in every other round.
                let counts = (turn + round) % 2;
                let start = Instant::now();
                black_box(if counts == 1 { with(query) } else { without(query) });
                let time = start.elapsed();
                total[counts] += time;
                // The first round warms up.
                times[counts].extend((round > 0).then_some(time));
            }
        }
        ratios.extend((round > 0).then(|| total[1].as_secs_f64() / total[0].as_secs_f64()));
    }
    let n_matches = median(queries.iter().map(|query| with(query) as f64).collect());
    let [without, with] = times.map(|times| median(times.iter().map(|time| time.as_secs_f64() * 1e3).collect()));
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
    let n_documents = first_stage.index().n_documents().expect("the index is readable");
    let (n_questions, times) = (queries.len(), median(ratios));
    println!("| {name} | {n_documents} | {n_questions} | {n_matches} | {without:.3} | {with:.3} | {times:.3} |");
}

fn index(folder: &Path, to: &Path) -> Index {
    let settings = IndexSettings::default();
    let index = Index::create(to, &settings).expect("the folder is empty");
    let documents = input::open(&[Input::from(folder.to_owned())], &settings, &InputOptions::default());
    let mut writer = index.writer(&WriterOptions::default()).expect("there is no other writer");
    let documents = documents.expect("the folder is in BEIR's layout");
    index_documents(&mut writer, documents, BulkOptions::default(), |_| {}).expect("the documents are valid");
    index
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
