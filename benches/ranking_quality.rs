//! nDCG@10 of BM25 and of the reranker on test collections in BEIR's layout.
//!
//!     cargo bench --bench ranking_quality -- FOLDER... [--queries N] [--depth N] [--precision P]...
//!         [--adapter NAME]... [--base MODEL_FOLDER] [--only-adapters] [--only-first-stage]
//!
//! Each folder has `corpus.jsonl`, `queries.jsonl` and `qrels/test.tsv`. Its corpus is indexed with the default settings of
//! `lorank index`, each judged question is searched, and the first `depth` (50) hits of BM25 are reranked by the built-in
//! MiniLM, bare and with each built-in `--adapter`, in each `--precision` (f32). `--base` sets another model, and each
//! `--adapter` is a folder then. `--queries N` takes every k-th question, to keep about N; the default is all.
//! `--only-first-stage` loads no model, and measures BM25 with typo tolerance (`auto`) and without, with its median time in
//! milliseconds. Prints a table in Markdown, with means in the last row for several collections.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use lorank::core::{AdapterId, DocumentId, FirstStage, Fuzzy, Precision, Query};
use lorank::model::{Files, LoadOptions, ModelReranker, PrecisionChoice};
use lorank::pipeline::{AdapterChoice, Pipeline, PipelineConfig, SearchRequest};
use lorank::tantivy::input::{self, Input, InputOptions};
use lorank::tantivy::{Bm25FirstStage, BulkOptions, Index, IndexSettings, WriterOptions, index_documents};
use lorank_testing::Judged;

struct Arguments {
    folders: Vec<PathBuf>,
    n_queries: usize,
    depth: NonZeroUsize,
    precisions: Vec<PrecisionChoice>,
    base: Option<PathBuf>,
    adapters: Vec<String>,
    only_adapters: bool,
    only_first_stage: bool,
}

/// A compared ranking.
struct Arm {
    name: String,
    /// The model with the index of its reranker; `None` for BM25.
    model: Option<(usize, AdapterChoice)>,
    fuzzy: Fuzzy,
}

fn main() -> Result<()> {
    let arguments = parse_arguments()?;
    let rerankers: Vec<_> =
        arguments.precisions.iter().map(|precision| reranker(&arguments, *precision)).collect::<Result<_>>()?;
    let arms = arms(&arguments, &rerankers)?;
    let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
    println!("| collection | documents | questions | {} | seconds |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(arms.len() + 3));
    let mut rows = Vec::new();
    for folder in &arguments.folders {
        let measured = evaluate(folder, &arguments, &rerankers, &arms);
        rows.push(measured.with_context(|| format!("evaluating `{}`", folder.display()))?);
    }
    if rows.len() > 1 {
        let mean = |arm: usize| rows.iter().map(|row| row[arm]).sum::<f64>() / rows.len() as f64;
        println!("| mean | | | {} | |", cells(&(0..arms.len()).map(mean).collect::<Vec<_>>()));
    }
    Ok(())
}

fn parse_arguments() -> Result<Arguments> {
    let mut found = Arguments {
        folders: Vec::new(),
        n_queries: usize::MAX,
        depth: NonZeroUsize::new(50).context("50")?,
        precisions: Vec::new(),
        base: None,
        adapters: Vec::new(),
        only_adapters: false,
        only_first_stage: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("`{word}` needs a value"));
        match word.as_str() {
            // cargo passes this flag to every benchmark.
            "--bench" => {}
            "--queries" => found.n_queries = value()?.parse()?,
            "--depth" => found.depth = value()?.parse()?,
            "--precision" => found.precisions.push(value()?.parse().map_err(anyhow::Error::msg)?),
            "--base" => found.base = Some(value()?.into()),
            "--adapter" => found.adapters.push(value()?),
            "--only-first-stage" => found.only_first_stage = true,
            "--only-adapters" => found.only_adapters = true,
            flag if flag.starts_with('-') => bail!("`{flag}` is not an option"),
            folder => found.folders.push(folder.into()),
        }
    }
    if found.folders.is_empty() {
        bail!("name at least one folder in BEIR's layout");
    }
    if found.only_first_stage {
        found.precisions.clear();
    } else if found.precisions.is_empty() {
        found.precisions.push(PrecisionChoice::Fixed(Precision::F32));
    }
    Ok(found)
}

/// BM25, and for each precision the bare base model and the base model with each adapter.
fn arms(arguments: &Arguments, rerankers: &[Arc<ModelReranker>]) -> Result<Vec<Arm>> {
    let fuzzy = Fuzzy::default();
    let mut arms = vec![Arm { name: "BM25".to_owned(), model: None, fuzzy }];
    if arguments.only_first_stage {
        arms.push(Arm { name: "BM25 without typos".to_owned(), model: None, fuzzy: Fuzzy::Off });
    }
    for (at, reranker) in rerankers.iter().enumerate() {
        let base = reranker.base();
        let precision = reranker.precision();
        if !arguments.only_adapters {
            let name = format!("{} {precision}", base.name);
            arms.push(Arm { name, model: Some((at, AdapterChoice::Base)), fuzzy });
        }
        for adapter in &arguments.adapters {
            let id = adapter_id(adapter)?;
            let name = format!("+ {id} {precision}");
            arms.push(Arm { name, model: Some((at, AdapterChoice::Named(id))), fuzzy });
        }
    }
    Ok(arms)
}

/// Computes nDCG@10 of each arm, and prints a row.
fn evaluate(folder: &Path, arguments: &Arguments, rerankers: &[Arc<ModelReranker>], arms: &[Arm]) -> Result<Vec<f64>> {
    let start = Instant::now();
    let judged = Judged::read(folder);
    let step = judged.queries.len().div_ceil(arguments.n_queries).max(1);
    let queries: Vec<_> = judged.queries.iter().step_by(step).collect();
    let index_folder = tempfile::tempdir()?;
    let index = index(folder, index_folder.path())?;
    let n_documents = index.stats()?.n_documents;
    let first_stage = Arc::new(Bm25FirstStage::new(index));
    let pipelines = rerankers.iter().map(|reranker| {
        let config = PipelineConfig { depth: arguments.depth, ..PipelineConfig::default() };
        Pipeline::new(first_stage.clone(), reranker.clone(), config)
    });
    let pipelines: Vec<_> = pipelines.collect::<Result<_, _>>()?;
    let mut means = Vec::new();
    for arm in arms {
        let (mut sum, mut millis) = (0.0, Vec::new());
        for (id, text) in &queries {
            let start = Instant::now();
            let query = Query { fuzzy: arm.fuzzy, ..Query::new(text.as_str()) };
            let hits: Vec<DocumentId> = match &arm.model {
                None => {
                    let found = first_stage.retrieve(&query, arguments.depth).map_err(anyhow::Error::from_boxed)?;
                    found.into_iter().map(|candidate| candidate.id).collect()
                }
                Some((reranker, choice)) => {
                    let adapter = choice.clone();
                    let request = SearchRequest { adapter, ..SearchRequest::from_query(query) };
                    let answer = pipelines[*reranker].search(&request)?;
                    if let Some(fallback) = answer.fallback {
                        bail!("question `{id}` fell back: {fallback}");
                    }
                    answer.hits.into_iter().map(|hit| hit.candidate.id).collect()
                }
            };
            millis.push(start.elapsed().as_secs_f64() * 1e3);
            sum += judged.ndcg_at_10(id, hits.iter().take(10).map(DocumentId::as_str));
        }
        if arguments.only_first_stage {
            millis.sort_by(f64::total_cmp);
            eprintln!("{}, {}: {:.2} ms a query, median", folder.display(), arm.name, millis[millis.len() / 2]);
        }
        means.push(sum / queries.len() as f64);
    }
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
    let seconds = start.elapsed().as_secs();
    println!("| {name} | {n_documents} | {} | {} | {seconds} |", queries.len(), cells(&means));
    Ok(means)
}

fn cells(means: &[f64]) -> String {
    means.iter().map(|mean| format!("{mean:.4}")).collect::<Vec<_>>().join(" | ")
}

fn index(folder: &Path, to: &Path) -> Result<Index> {
    let settings = IndexSettings::default();
    let index = Index::create(to, &settings)?;
    let documents = input::open(&[Input::from(folder.to_owned())], &settings, &InputOptions::default())?;
    let mut writer = index.writer(&WriterOptions::default())?;
    index_documents(&mut writer, documents, BulkOptions::default(), |_| {})?;
    Ok(index)
}

/// The built-in model with built-in adapters, or a model and adapters in folders.
fn reranker(arguments: &Arguments, precision: PrecisionChoice) -> Result<Arc<ModelReranker>> {
    let embedded = |name: &str, files: &'static [lorank::starter::File]| {
        Files::embedded(name, files.iter().map(|file| (file.name, file.bytes)))
    };
    let base = match &arguments.base {
        None => embedded(lorank::starter::BASE_MODEL_HUB_NAME, lorank::starter::base_model()),
        Some(folder) => Files::folder(folder)?,
    };
    let reranker = ModelReranker::load(&base, LoadOptions { precision, ..LoadOptions::default() })?;
    for adapter in &arguments.adapters {
        let files = match &arguments.base {
            None => {
                let adapter = lorank::starter::adapter(adapter)
                    .with_context(|| format!("the starter has no adapter `{adapter}`"))?;
                embedded(adapter.id, adapter.files)
            }
            Some(_) => Files::folder(Path::new(adapter))?,
        };
        reranker.add_adapter(adapter_id(adapter)?, &files)?;
    }
    Ok(Arc::new(reranker))
}

/// An adapter's name: the last part of its path.
fn adapter_id(adapter: &str) -> Result<AdapterId> {
    let name = Path::new(adapter).file_name().with_context(|| format!("`{adapter}` has no name"))?;
    Ok(name.to_string_lossy().parse()?)
}
