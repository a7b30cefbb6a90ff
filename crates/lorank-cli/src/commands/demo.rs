//! `lorank demo`: reranks three questions on the built-in corpus.

use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, anyhow};
use clap::Args;
use lorank_core::{Hit, ModelVersion};
use lorank_pipeline::{Answer, SearchRequest};
use lorank_server::{LoadedServer, ServedPipeline, ServerConfig, StartOptions};
use lorank_starter::{Corpus, N_PASSAGES};
use lorank_tantivy::input::{BadLine, Origin, SourcedDocument};
use lorank_tantivy::{BulkOptions, Document, Index, IndexSettings, WriterOptions, index_documents};
use serde::Deserialize;

use crate::models;
use crate::output::compare::{Order, Row, render};
use crate::output::style::{FAINT, STRONG, UP, paint};
use crate::output::text::{count, duration};
use crate::output::{self, progress};
use crate::serving::serve;

/// Index the built-in corpus, rerank three questions, and serve the index over HTTP
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Address to listen on; port 0 selects a free port
    #[arg(long, value_name = "ADDRESS", default_value_t = ServerConfig::default().listen)]
    listen: SocketAddr,
    /// Number of passages to rerank for each question
    #[arg(long, value_name = "N", default_value = "30")]
    depth: NonZeroUsize,
    /// Exit after the three questions
    #[arg(long)]
    no_serve: bool,
}

/// Questions whose judged passage has rank 6 or 7 for BM25, and rank 1 after reranking. They are chosen to illustrate reranking,
/// not to measure it: BM25 answers most questions of the corpus well, and `docs/evaluation.md` has the averages.
const QUESTIONS: [&str; 3] = ["q418", "q2845", "q2060"];

const ADAPTER: &str = "minilm-qa";

/// The number of hits shown of each ranking.
const SHOWN: usize = 5;

/// A question with the passage that was judged to answer it.
struct Question {
    text: String,
    answered_by: String,
}

pub(crate) fn run(args: &DemoArgs, is_quiet: bool) -> anyhow::Result<()> {
    let corpus = lorank_starter::corpus();
    let questions = QUESTIONS.map(|id| question(corpus, id)).into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let folder = tempfile::tempdir().context("could not create a temporary folder for the index")?;
    let (index_folder, data_folder) = (folder.path().join("index"), folder.path().join("data"));
    index(corpus, &index_folder, is_quiet)?;
    let mut config = ServerConfig::new(index_folder, data_folder);
    config.listen = args.listen;
    // The served temporary folder contains no user data.
    config.no_keys = true;
    config.search.depth = args.depth;
    config.search.depth_max = config.search.depth_max.max(args.depth);
    config.model.adapters = vec![ADAPTER.parse()?];
    let loaded = load(config, is_quiet)?;
    let mut out = output::stdout();
    writeln!(out, "\nthree questions that BM25 answers badly, before and after reranking")?;
    out.flush()?;
    for (question, n) in questions.iter().zip(1..) {
        show(loaded.pipeline(), question, n, is_quiet)?;
    }
    if args.no_serve {
        return Ok(());
    }
    let question = questions[0].text.replace(' ', "+");
    serve(loaded, None, |address| {
        let mut out = output::stdout();
        writeln!(out, "\nlistening on http://{address} (stop with Ctrl-C). Try")?;
        writeln!(out, "\n    curl 'http://{address}/v1/search?q={question}&top_k=3'")?;
        Ok(out.flush()?)
    })
}

/// Indexes the corpus into the folder.
fn index(corpus: &Corpus, folder: &Path, is_quiet: bool) -> anyhow::Result<()> {
    let settings = IndexSettings::default();
    let index = Index::create(folder, &settings)?;
    let mut writer = index.writer(&WriterOptions::default())?;
    let bar = progress::of(N_PASSAGES as u64, "passages", is_quiet);
    let lines = lines(corpus.passages.bytes).zip(1..);
    let documents = lines.map(|(line, number)| {
        let origin = Origin { file: corpus.passages.name.into(), line: Some(number), item: None };
        match Document::from_json(line, &settings) {
            Ok(document) => Ok(SourcedDocument { origin, document, folder: None }),
            Err(cause) => Err(BadLine { origin, raw: line.to_vec(), cause: Box::new(cause) }),
        }
    });
    let report =
        index_documents(&mut writer, documents, BulkOptions::default(), |done| bar.set_position(done.n_indexed))?;
    writer.close()?;
    bar.finish_and_clear();
    let mut out = output::stdout();
    let n_passages = count(usize::try_from(report.n_indexed)?);
    writeln!(out, "indexed the {}: {n_passages} passages of Wikipedia in {}", corpus.name, duration(report.elapsed))?;
    Ok(out.flush()?)
}

fn load(config: ServerConfig, is_quiet: bool) -> anyhow::Result<LoadedServer> {
    let started = Instant::now();
    let spinner = progress::spinner("loading the model", is_quiet);
    let options = StartOptions { loader: models::loader(&spinner, is_quiet), ..StartOptions::default() };
    let loaded = LoadedServer::load(config, options)?;
    spinner.finish_and_clear();
    let base = loaded.reranker().base().base();
    let mut out = output::stdout();
    let (n_weights, took) = (count(base.n_parameters), duration(started.elapsed()));
    writeln!(out, "loaded {} ({n_weights} weights) with the adapter {ADAPTER} in {took}", base.name)?;
    out.flush()?;
    Ok(loaded)
}

/// Searches for one question and prints both orders.
fn show(pipeline: &ServedPipeline, question: &Question, n: usize, is_quiet: bool) -> anyhow::Result<()> {
    let depth = pipeline.config().depth;
    let spinner = progress::spinner(format!("reranking {depth} passages for `{}`", question.text), is_quiet);
    let answer = pipeline.search(&SearchRequest { top_k: Some(depth), ..SearchRequest::new(&question.text) })?;
    spinner.finish_and_clear();
    if let Some(fallback) = &answer.fallback {
        return Err(anyhow!("{fallback}").context("could not rerank"));
    }
    let mut out = output::stdout();
    write!(
        out,
        "\n{}\n\n{}",
        paint(STRONG, format!("{n}. {}", question.text)),
        comparison(&answer, question, output::columns())
    )?;
    Ok(out.flush()?)
}

fn comparison(answer: &Answer, question: &Question, columns: usize) -> String {
    let is_relevant = |hit: &Hit| hit.candidate.id.as_str() == question.answered_by;
    let entry = |hit: &Hit, rank, first_stage_rank| Row {
        rank,
        first_stage_rank,
        is_relevant: is_relevant(hit),
        text: hit.candidate.text.to_string(),
    };
    let timings = &answer.timings;
    let mut by_first_stage: Vec<&Hit> = answer.hits.iter().collect();
    by_first_stage.sort_by_key(|hit| hit.first_stage_rank);
    let before = Order {
        heading: format!("BM25, {}", duration(timings.first_stage)),
        entries: by_first_stage.iter().take(SHOWN).map(|hit| entry(hit, hit.first_stage_rank, None)).collect(),
    };
    let after = Order {
        heading: format!(
            "reranked with {}, {} for {} passages",
            adapter(&answer.model),
            duration(timings.rerank),
            answer.n_candidates
        ),
        entries: answer.hits.iter().take(SHOWN).map(|hit| entry(hit, hit.rank, Some(hit.first_stage_rank))).collect(),
    };
    let found = match answer.hits.iter().find(|hit| is_relevant(hit)) {
        Some(hit) => legend(&format!(
            "judged to answer the question: rank {} for BM25, rank {} reranked",
            hit.first_stage_rank, hit.rank
        )),
        None => paint(FAINT, "the judged passage is not among the candidates"),
    };
    format!("{}\n{found}\n", render(&[&before, &after], columns))
}

fn adapter(model: &Option<ModelVersion>) -> &str {
    let adapter = model.as_ref().and_then(|model| model.adapter.as_ref());
    adapter.map_or("the base model", |adapter| adapter.id.as_str())
}

/// A question of the corpus by its id.
fn question(corpus: &Corpus, id: &str) -> anyhow::Result<Question> {
    #[derive(Deserialize)]
    struct Line {
        _id: String,
        text: String,
    }
    let missing = || anyhow!("the built-in corpus has no question `{id}` with a judgment");
    let parsed = lines(corpus.questions.bytes).map(serde_json::from_slice::<Line>);
    let found = parsed.filter_map(Result::ok).find(|line| line._id == id).ok_or_else(missing)?;
    let judgments = lines(corpus.judgments.bytes).filter_map(|line| std::str::from_utf8(line).ok());
    let mut judged = judgments.filter_map(|line| line.strip_prefix(id)?.strip_prefix('\t')?.split('\t').next());
    Ok(Question { text: found.text, answered_by: judged.next().ok_or_else(missing)?.to_owned() })
}

fn lines(bytes: &'static [u8]) -> impl Iterator<Item = &'static [u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The line that explains the mark, if a document has it.
fn legend(found: &str) -> String {
    format!("{} {}", paint(UP, "✓"), paint(FAINT, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_questions_are_in_the_corpus() {
        let corpus = lorank_starter::corpus();
        for id in QUESTIONS {
            let question = question(corpus, id).unwrap();
            let passage = format!("{{\"_id\": \"{}\"", question.answered_by);
            assert!(lines(corpus.passages.bytes).any(|line| line.starts_with(passage.as_bytes())), "{id}");
            // The printed curl line does not quote the question.
            assert!(question.text.chars().all(|c| c.is_ascii_alphanumeric() || c == ' '), "{}", question.text);
        }
    }
}
