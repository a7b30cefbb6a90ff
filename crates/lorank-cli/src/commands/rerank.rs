//! `lorank rerank`: reranks the documents of a file.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use clap::Args;
use lorank_core::{
    Activation, BoxError, Candidate, Group, ModelVersion, Passage, PassageGroup, PassageOptions, Query, Score,
    score_groups,
};
use lorank_http::PassageJson;
use lorank_model::BaseModels;
use lorank_pipeline::Warning;
use lorank_server::AdapterSpec;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::search::text_of_passage;
use crate::data::DataArgs;
use crate::flags::{ModelFlags, PassageFlags};
use crate::lines::JsonLines;
use crate::models;
use crate::output::hits::{Row, render};
use crate::output::style::{STRONG, paint};
use crate::output::text::{counted, duration, one_line};
use crate::output::{self, progress};

/// Rerank documents from a file or from standard input
#[derive(Debug, Args)]
pub(crate) struct RerankArgs {
    /// Query text
    #[arg(long, value_name = "TEXT")]
    query: String,
    /// JSON Lines {"id"?, "title"?, "text"}; - reads standard input. Ties keep the order of the input; a document without an
    /// id gets its line number
    #[arg(value_name = "INPUT")]
    input: PathBuf,
    /// Adapter: a starter's name, a folder, a name in the registry, or hf://owner/name[@revision]; none for the base model
    /// without an adapter
    #[arg(long, value_name = "ADAPTER", env = "LORANK_ADAPTER", help_heading = "Model options")]
    adapter: Option<AdapterSpec>,
    /// What the model shall judge, instead of its own instruction; an error if its prompt has no place for an instruction
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,
    /// Activation of the model's logits: identity, or sigmoid for scores from 0 to 1
    #[arg(long, value_name = "ACTIVATION", default_value_t = Activation::Identity)]
    activation: Activation,
    /// Number of documents to show [default: all]
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    passages: PassageFlags,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Deserialize)]
struct DocumentLine {
    id: Option<Value>,
    /// A missing and an empty title are different inputs of a model.
    title: Option<String>,
    #[serde(alias = "document")]
    text: String,
}

/// A document with its index in the input and its score.
struct Ranked {
    at: usize,
    document: Candidate,
    score: Score,
    passage: Option<Passage>,
}

#[derive(Serialize)]
struct JsonHit<'a> {
    id: &'a str,
    rank: usize,
    rerank_score: f32,
    first_stage_rank: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    passage: Option<PassageJson<'a>>,
}

/// The number of documents between updates of the progress bar. It does not affect scores.
const CHUNK: usize = 8;

pub(crate) fn run(args: &RerankArgs, is_quiet: bool) -> anyhow::Result<()> {
    let candidates = read(&args.input)?;
    let models = models::load(&args.model.section(args.adapter.as_slice())?, args.data.folder().ok(), is_quiet)?;
    let model = models::resolve_default(&models)?;
    let model = models::instructed(&models.bases, model, args.instruction.as_deref())?;
    let query = Query { instruction: args.instruction.clone(), ..Query::new(&args.query) };
    let started = Instant::now();
    let mut ranked = score(&models.bases, &model, &query, candidates, args.passages.read()?, is_quiet)?;
    let elapsed = started.elapsed();
    let n_candidates = ranked.len();
    ranked.truncate(args.top_k.unwrap_or(usize::MAX));
    if args.json {
        print_json(args, &model, &ranked, n_candidates, elapsed)
    } else {
        print_text(args, &ranked, n_candidates, elapsed)
    }
}

fn read(input: &std::path::Path) -> anyhow::Result<Vec<Candidate>> {
    let mut lines = JsonLines::open(input)?;
    let mut candidates = Vec::new();
    while let Some(next) = lines.next::<DocumentLine>() {
        let (line, document) = next?;
        let id = match document.id {
            None | Some(Value::Null) => line.to_string(),
            Some(Value::String(id)) => id,
            Some(Value::Number(id)) if !id.is_f64() => id.to_string(),
            Some(other) => bail!("the id on line {line} is {other}; an id must be a string or an integer"),
        };
        let mut candidate = Candidate::new(id, document.text, Score::new(0.0)?);
        candidate.title = document.title.map(Into::into);
        candidates.push(candidate);
    }
    Ok(candidates)
}

fn score(
    reranker: &BaseModels,
    model: &ModelVersion,
    query: &Query,
    candidates: Vec<Candidate>,
    (passages, passages_max): (PassageOptions, NonZeroUsize),
    is_quiet: bool,
) -> anyhow::Result<Vec<Ranked>> {
    let progress = progress::of(candidates.len() as u64, "documents", is_quiet);
    let mut scores = Vec::with_capacity(candidates.len());
    for candidates in candidates.chunks(CHUNK) {
        let failed = |error: BoxError| anyhow!(error).context("could not score the documents");
        let group = Group { query, model, candidates };
        let cut = PassageGroup::new(reranker, group, passages, passages_max, None).map_err(failed)?;
        let mut scores_of_texts = Vec::with_capacity(cut.texts().len());
        for texts in cut.texts().chunks(CHUNK) {
            for chunk in score_groups(reranker, &[Group { candidates: texts, ..group }]) {
                scores_of_texts.extend(chunk.map_err(failed)?);
            }
        }
        scores.extend(cut.merge(&scores_of_texts));
        progress.inc(candidates.len() as u64);
    }
    progress.finish_and_clear();
    let scored = candidates.into_iter().zip(scores).enumerate();
    let mut ranked: Vec<Ranked> =
        scored.map(|(at, (document, (score, passage)))| Ranked { at, document, score, passage }).collect();
    ranked.sort_by(|a, b| b.score.cmp(&a.score).then(a.at.cmp(&b.at)));
    Ok(ranked)
}

fn print_json(
    args: &RerankArgs,
    model: &ModelVersion,
    ranked: &[Ranked],
    n_candidates: usize,
    elapsed: Duration,
) -> anyhow::Result<()> {
    let hits = ranked.iter().zip(1..).map(|(Ranked { at, document, score, passage }, rank)| JsonHit {
        id: document.id.as_str(),
        rank,
        rerank_score: args.activation.apply(*score),
        first_stage_rank: at + 1,
        title: document.title.as_deref(),
        text: &document.text,
        passage: passage.as_ref().map(|passage| PassageJson::new(passage, &document.text)),
    });
    let adapter =
        model.adapter.as_ref().map(|adapter| json!({"id": adapter.id.as_str(), "digest": adapter.digest.to_string()}));
    output::print_json(&json!({
        "query": args.query,
        "hits": hits.collect::<Vec<_>>(),
        "adapter": adapter,
        "base_model": model.base_model,
        "n_candidates": n_candidates,
        "timings_millis": {"rerank": elapsed.as_secs_f64() * 1000.0},
    }))
}

fn print_text(args: &RerankArgs, ranked: &[Ranked], n_candidates: usize, elapsed: Duration) -> anyhow::Result<()> {
    let n_cut = ranked.iter().filter_map(|ranked| ranked.passage.as_ref()).filter(|it| !it.is_complete).count();
    let rows = ranked.iter().zip(1..).map(|(Ranked { at, document, score, passage }, rank)| Row {
        rank,
        first_stage_rank: at + 1,
        rerank_score: Some(args.activation.apply(*score)),
        first_stage_score: None,
        id: document.id.to_string(),
        title: document.title.as_deref().map(str::to_owned),
        passage: one_line(passage.as_ref().map_or(&document.text, |passage| passage.text(&document.text))),
        note: passage.as_ref().map(text_of_passage),
    });
    let rows: Vec<Row> = rows.collect();
    let mut out = output::stdout();
    if n_cut > 0 {
        writeln!(out, "{}: {}\n", paint(STRONG, "warning"), Warning::PassagesLimited { n_documents: n_cut })?;
    }
    write!(out, "{}", render(&rows, output::columns()))?;
    writeln!(out, "\n{} reranked in {}", counted(n_candidates, "document"), duration(elapsed))?;
    Ok(out.flush()?)
}
