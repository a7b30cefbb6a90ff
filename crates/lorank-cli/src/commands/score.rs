//! `lorank score`: prints the score of each pair, one JSON line per pair.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use indicatif::ProgressBar;
use lorank_core::{Activation, Candidate, Group, ModelVersion, Precision, Query, Score, score_groups};
use lorank_model::{BaseModels, PrecisionChoice};
use lorank_server::AdapterSpec;
use serde::{Deserialize, Serialize};

use crate::data::DataArgs;
use crate::flags::ModelFlags;
use crate::lines::JsonLines;
use crate::models;
use crate::output::{self, progress};

/// Score pairs of a query and a document; prints the model's logits as JSON Lines in the order of the input
///
/// The default precision of this command is f32.
#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// JSON Lines {"query", "title"?, "text"}; - reads standard input
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
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
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    data: DataArgs,
}

/// A line of a file of pairs.
#[derive(Deserialize)]
pub(crate) struct PairLine {
    pub query: String,
    /// A missing and an empty title are different inputs of a model.
    pub title: Option<String>,
    #[serde(alias = "document")]
    pub text: String,
}

#[derive(Serialize)]
struct ScoreLine {
    score: f32,
}

/// The number of pairs that are read, scored and written together.
const CHUNK: usize = 256;

struct Pair {
    line: u64,
    query: Query,
    document: Candidate,
}

pub(crate) fn run(args: &ScoreArgs, is_quiet: bool) -> anyhow::Result<()> {
    let mut lines = JsonLines::open(&args.pairs)?;
    // Logits are for comparisons, so they are exact by default.
    let mut section = args.model.section(args.adapter.as_slice())?;
    if !args.model.has("model.precision") {
        section.precision = PrecisionChoice::Fixed(Precision::F32).into();
    }
    let models = models::load(&section, args.data.folder().ok(), is_quiet)?;
    let model = models::resolve_default(&models)?;
    let model = models::instructed(&models.bases, model, args.instruction.as_deref())?;
    let progress = progress::counter("pairs", is_quiet);
    loop {
        let (pairs, bad_line) = read_chunk(&mut lines, args.instruction.as_deref())?;
        // Pairs before an invalid line are scored and written before the program exits.
        score(&models.bases, &model, &pairs, args.activation, &progress)?;
        bad_line.map_or(Ok(()), Err)?;
        if pairs.len() < CHUNK {
            progress.finish_and_clear();
            return Ok(());
        }
    }
}

/// Reads up to a chunk of pairs, and the error that ended it early.
fn read_chunk(lines: &mut JsonLines, instruction: Option<&str>) -> anyhow::Result<(Vec<Pair>, Option<anyhow::Error>)> {
    let mut pairs = Vec::with_capacity(CHUNK);
    while pairs.len() < CHUNK {
        match lines.next() {
            None => break,
            Some(Err(error)) => return Ok((pairs, Some(error))),
            Some(Ok((line, pair))) => pairs.push(read_pair(line, pair, instruction)?),
        }
    }
    Ok((pairs, None))
}

fn read_pair(line: u64, pair: PairLine, instruction: Option<&str>) -> anyhow::Result<Pair> {
    let mut document = Candidate::new(line.to_string(), pair.text, Score::new(0.0)?);
    document.title = pair.title.map(Into::into);
    let query = Query { instruction: instruction.map(str::to_owned), ..Query::new(pair.query) };
    Ok(Pair { line, query, document })
}

fn score(
    reranker: &BaseModels,
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
        // On an error, dropping `out` writes the earlier scores; on success, errors of the final flush are reported.
        let scores =
            scores.map_err(|error| anyhow!(error)).with_context(|| format!("could not score line {}", pair.line))?;
        for score in scores {
            writeln!(out, "{}", serde_json::to_string(&ScoreLine { score: activation.apply(score) })?)?;
        }
        progress.inc(1);
    }
    Ok(out.flush()?)
}
