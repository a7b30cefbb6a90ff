//! nDCG@10 of BM25 and of the reranker on test collections in BEIR's layout.
//!
//!     cargo bench --bench ranking_quality -- FOLDER... [--queries N] [--depth N] [--adapter NAME]...
//!
//! Each folder has `corpus.jsonl`, `queries.jsonl` and `qrels/test.tsv`. Its corpus is indexed with the settings that
//! `lorank index` has by default, each judged question is searched, and the first `depth` (50) hits of BM25 are reranked by
//! the starter's MiniLM, bare and with each `--adapter` of the starter. `--queries N` takes every k-th question, so that
//! about N are left; without it all are taken. Prints a table in Markdown.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use lorank::core::AdapterId;
use lorank::model::{Files, LoadOptions, ModelReranker};
use lorank::pipeline::{AdapterChoice, Pipeline, PipelineConfig, SearchRequest};
use lorank::tantivy::input::{self, Input, InputOptions};
use lorank::tantivy::{Bm25FirstStage, BulkOptions, Index, IndexSettings, WriterOptions, index_documents};
use lorank_testing::Judged;

struct Arguments {
    folders: Vec<PathBuf>,
    n_queries: usize,
    depth: NonZeroUsize,
    adapters: Vec<AdapterId>,
}

/// The rankings that are compared: BM25, the bare base model, and the base model with each adapter.
type Arm = (String, Option<AdapterChoice>);

fn main() -> Result<()> {
    let arguments = parse_arguments()?;
    let adapters = arguments.adapters.iter().map(|id| (format!("+ {id}"), Some(AdapterChoice::Named(id.clone()))));
    let fixed = [("BM25".to_owned(), None), ("MiniLM".to_owned(), Some(AdapterChoice::Base))];
    let arms: Vec<Arm> = fixed.into_iter().chain(adapters).collect();
    let names: Vec<&str> = arms.iter().map(|(name, _)| name.as_str()).collect();
    println!("| collection | documents | questions | {} | seconds |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(arms.len() + 3));
    for folder in &arguments.folders {
        let row = evaluate(folder, &arguments, &arms).with_context(|| format!("evaluating `{}`", folder.display()))?;
        println!("{row}");
    }
    Ok(())
}

fn parse_arguments() -> Result<Arguments> {
    let mut found = Arguments {
        folders: Vec::new(),
        n_queries: usize::MAX,
        depth: NonZeroUsize::new(50).context("50")?,
        adapters: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("`{word}` needs a value"));
        match word.as_str() {
            // cargo says this to every bench.
            "--bench" => {}
            "--queries" => found.n_queries = value()?.parse()?,
            "--depth" => found.depth = value()?.parse()?,
            "--adapter" => found.adapters.push(value()?.parse()?),
            flag if flag.starts_with('-') => bail!("`{flag}` is not an option"),
            folder => found.folders.push(folder.into()),
        }
    }
    if found.folders.is_empty() {
        bail!("name at least one folder in BEIR's layout");
    }
    Ok(found)
}

fn evaluate(folder: &Path, arguments: &Arguments, arms: &[Arm]) -> Result<String> {
    let start = Instant::now();
    let judged = Judged::read(folder);
    let step = judged.queries.len().div_ceil(arguments.n_queries).max(1);
    let queries: Vec<_> = judged.queries.iter().step_by(step).collect();
    let index_folder = tempfile::tempdir()?;
    let index = index(folder, index_folder.path())?;
    let n_documents = index.stats()?.n_documents;
    let config = PipelineConfig { depth: arguments.depth, ..PipelineConfig::default() };
    let pipeline = Pipeline::new(Bm25FirstStage::new(index), starter(&arguments.adapters)?, config)?;
    let mut means = Vec::new();
    for (_, adapter) in arms {
        let mut sum = 0.0;
        for (id, text) in &queries {
            let mut request = SearchRequest::new(text.clone());
            request.rerank = adapter.is_some();
            request.adapter = adapter.clone().unwrap_or_default();
            let answer = pipeline.search(&request)?;
            if let Some(fallback) = answer.fallback {
                bail!("question `{id}` fell back: {fallback}");
            }
            sum += judged.ndcg_at_10(id, answer.hits.iter().map(|hit| hit.candidate.id.as_str()));
        }
        means.push(format!("{:.3}", sum / queries.len() as f64));
    }
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
    let seconds = start.elapsed().as_secs();
    Ok(format!("| {name} | {n_documents} | {} | {} | {seconds} |", queries.len(), means.join(" | ")))
}

fn index(folder: &Path, to: &Path) -> Result<Index> {
    let settings = IndexSettings::default();
    let index = Index::create(to, &settings)?;
    let documents = input::open(&[Input::from(folder.to_owned())], &settings, &InputOptions::default())?;
    let mut writer = index.writer(&WriterOptions::default())?;
    index_documents(&mut writer, documents, BulkOptions::default(), |_| {})?;
    Ok(index)
}

fn starter(adapters: &[AdapterId]) -> Result<ModelReranker> {
    let files = |name: &str, files: &'static [lorank::starter::File]| {
        Files::embedded(name, files.iter().map(|file| (file.name, file.bytes)))
    };
    let base = files(lorank::starter::BASE_MODEL_HUB_NAME, lorank::starter::base_model());
    let reranker = ModelReranker::load(&base, LoadOptions::default())?;
    for id in adapters {
        let adapter =
            lorank::starter::adapter(id.as_str()).with_context(|| format!("the starter has no adapter `{id}`"))?;
        reranker.add_adapter(id.clone(), &files(adapter.id, adapter.files))?;
    }
    Ok(reranker)
}
