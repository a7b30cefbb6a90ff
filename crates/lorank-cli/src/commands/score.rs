//! `lorank score`: the logit of each pair, one JSON line a pair.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use indicatif::ProgressBar;
use lorank_core::{Activation, Candidate, Group, ModelVersion, Precision, Query, Score, score_groups};
use lorank_model::{ModelReranker, PrecisionChoice};
use lorank_server::AdapterSpec;
use serde::{Deserialize, Serialize};

use crate::data::DataArgs;
use crate::flags::ModelFlags;
use crate::lines::JsonLines;
use crate::models;
use crate::output::{self, progress};

/// Score pairs of a query and a document: the model's logits, one JSON line a pair, in the order of the input
///
/// The precision is f32 here unless --precision says otherwise.
#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// JSON lines {"query", "title"?, "text"}; - reads standard input
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
    /// The adapter: a starter's name, a folder, a name of the registry, or hf://owner/name[@revision]; none for the bare base model
    #[arg(long, value_name = "ADAPTER", env = "LORANK_ADAPTER", help_heading = "Model options")]
    adapter: Option<AdapterSpec>,
    /// What is written of the model's logits: identity for themselves, sigmoid for numbers from 0 to 1
    #[arg(long, value_name = "ACTIVATION", default_value_t = Activation::Identity)]
    activation: Activation,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    data: DataArgs,
}

/// A line of a file of pairs.
#[derive(Deserialize)]
pub(crate) struct PairLine {
    pub query: String,
    /// Absent and empty are two different things to a model.
    pub title: Option<String>,
    #[serde(alias = "document")]
    pub text: String,
}

#[derive(Serialize)]
struct ScoreLine {
    score: f32,
}

/// How many pairs are read, scored and written at a time.
const CHUNK: usize = 256;

struct Pair {
    line: u64,
    query: Query,
    document: Candidate,
}

pub(crate) fn run(args: &ScoreArgs, is_quiet: bool) -> anyhow::Result<()> {
    let mut lines = JsonLines::open(&args.pairs)?;
    // Logits are for comparing, so they are exact where nothing else was asked for.
    let mut section = args.model.section(args.adapter.as_slice())?;
    if !args.model.has("model.precision") {
        section.precision = PrecisionChoice::Fixed(Precision::F32);
    }
    let models = models::load(&section, args.data.folder().ok(), is_quiet)?;
    let model = models::resolve_default(&models)?;
    let progress = progress::counter("pairs", is_quiet);
    loop {
        let (pairs, bad_line) = read_chunk(&mut lines)?;
        // What came before a bad line is scored and written; only then does the program end.
        score(&models.reranker, &model, &pairs, args.activation, &progress)?;
        bad_line.map_or(Ok(()), Err)?;
        if pairs.len() < CHUNK {
            progress.finish_and_clear();
            return Ok(());
        }
    }
}

/// Up to a chunk of pairs, and what ended it early.
fn read_chunk(lines: &mut JsonLines) -> anyhow::Result<(Vec<Pair>, Option<anyhow::Error>)> {
    let mut pairs = Vec::with_capacity(CHUNK);
    while pairs.len() < CHUNK {
        match lines.next() {
            None => break,
            Some(Err(error)) => return Ok((pairs, Some(error))),
            Some(Ok((line, pair))) => pairs.push(read_pair(line, pair)?),
        }
    }
    Ok((pairs, None))
}

fn read_pair(line: u64, pair: PairLine) -> anyhow::Result<Pair> {
    let mut document = Candidate::new(line.to_string(), pair.text, Score::new(0.0)?);
    document.title = pair.title.map(Into::into);
    Ok(Pair { line, query: Query::new(pair.query), document })
}

fn score(
    reranker: &ModelReranker,
    model: &ModelVersion,
    pairs: &[Pair],
    activation: Activation,
    progress: &ProgressBar,
) -> anyhow::Result<()> {
    let groups = pairs.iter().map(|Pair { query, document, .. }| {
        let candidates = std::slice::from_ref(document);
        Group { query, model, candidates }
    });
    let groups: Vec<Group<'_>> = groups.collect();
    let mut out = output::stdout();
    for (pair, scores) in pairs.iter().zip(score_groups(reranker, &groups)) {
        // The scores before this one are written when `out` is dropped; on success its error counts too.
        let scores =
            scores.map_err(|error| anyhow!(error)).with_context(|| format!("could not score line {}", pair.line))?;
        for score in scores {
            writeln!(out, "{}", serde_json::to_string(&ScoreLine { score: activation.apply(score) })?)?;
        }
        progress.inc(1);
    }
    Ok(out.flush()?)
}
