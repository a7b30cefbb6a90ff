//! `lorank rerank`: reranks the documents of a file.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use clap::Args;
use lorank_core::{Activation, Candidate, Group, ModelVersion, Query, Score, score_groups};
use lorank_model::ModelReranker;
use lorank_server::AdapterSpec;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::data::DataArgs;
use crate::flags::ModelFlags;
use crate::lines::JsonLines;
use crate::models;
use crate::output::hits::{Row, render};
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

/// The documents and their scores in rank order, with their index in the input.
type Ranked = Vec<(usize, Candidate, Score)>;

#[derive(Serialize)]
struct JsonHit<'a> {
    id: &'a str,
    rank: usize,
    rerank_score: f32,
    first_stage_rank: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    text: &'a str,
}

/// The number of documents between updates of the progress bar. It does not affect scores.
const CHUNK: usize = 8;

pub(crate) fn run(args: &RerankArgs, is_quiet: bool) -> anyhow::Result<()> {
    let candidates = read(&args.input)?;
    let models = models::load(&args.model.section(args.adapter.as_slice())?, args.data.folder().ok(), is_quiet)?;
    let model = models::resolve_default(&models)?;
    let model = models::instructed(&models.reranker, model, args.instruction.as_deref())?;
    let query = Query { instruction: args.instruction.clone(), ..Query::new(&args.query) };
    let started = Instant::now();
    let mut ranked = score(&models.reranker, &model, &query, candidates, is_quiet)?;
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
    reranker: &ModelReranker,
    model: &ModelVersion,
    query: &Query,
    candidates: Vec<Candidate>,
    is_quiet: bool,
) -> anyhow::Result<Ranked> {
    let progress = progress::of(candidates.len() as u64, "documents", is_quiet);
    let mut scores = Vec::with_capacity(candidates.len());
    for candidates in candidates.chunks(CHUNK) {
        for chunk in score_groups(reranker, &[Group { query, model, candidates }]) {
            scores.extend(chunk.map_err(|error| anyhow!(error).context("could not score the documents"))?);
        }
        progress.inc(candidates.len() as u64);
    }
    progress.finish_and_clear();
    let mut ranked: Ranked =
        candidates.into_iter().zip(scores).enumerate().map(|(at, (document, score))| (at, document, score)).collect();
    ranked.sort_by(|(a_at, _, a), (b_at, _, b)| b.cmp(a).then(a_at.cmp(b_at)));
    Ok(ranked)
}

fn print_json(
    args: &RerankArgs,
    model: &ModelVersion,
    ranked: &Ranked,
    n_candidates: usize,
    elapsed: Duration,
) -> anyhow::Result<()> {
    let hits = ranked.iter().zip(1..).map(|((at, document, score), rank)| JsonHit {
        id: document.id.as_str(),
        rank,
        rerank_score: args.activation.apply(*score),
        first_stage_rank: at + 1,
        title: document.title.as_deref(),
        text: &document.text,
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

fn print_text(args: &RerankArgs, ranked: &Ranked, n_candidates: usize, elapsed: Duration) -> anyhow::Result<()> {
    let rows = ranked.iter().zip(1..).map(|((at, document, score), rank)| Row {
        rank,
        first_stage_rank: at + 1,
        rerank_score: Some(args.activation.apply(*score)),
        first_stage_score: None,
        id: document.id.to_string(),
        title: document.title.as_deref().map(str::to_owned),
        passage: one_line(&document.text),
        note: None,
    });
    let rows: Vec<Row> = rows.collect();
    let mut out = output::stdout();
    write!(out, "{}", render(&rows, output::columns()))?;
    writeln!(out, "\n{} reranked in {}", counted(n_candidates, "document"), duration(elapsed))?;
    Ok(out.flush()?)
}
