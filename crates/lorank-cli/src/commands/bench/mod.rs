//! `lorank bench`: measures the latency and throughput of a model, and the time of each stage.

mod ranking;

use std::fmt;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use clap::Args;
use lorank_core::{AdapterId, Candidate, Group, ModelVersion, Query, Reranker, Score};
use lorank_model::{Measure, ModelReranker, Peaks, StageClock, StageTimes};
use lorank_pipeline::{AdapterChoice, CacheConfig, Pipeline, PipelineConfig, SearchRequest};
use lorank_server::{AdapterSpec, LoadedModels};
#[cfg(feature = "starter")]
use serde::Deserialize;
use serde_json::json;

use crate::commands::int8::Request;
use crate::commands::score::PairLine;
use crate::data::DataArgs;
use crate::flags::ModelFlags;
use crate::lines::JsonLines;
use crate::models;
use crate::output::text::counted;
use crate::output::{self, progress};

/// Measure the latency and throughput of a model on this machine, and the time of each stage
///
/// Linear layers and attention are also shown as a share of what a thread of this processor can do at most: the multiply-adds of the
/// same instructions without memory, measured after the runs. On a GPU, an additional run measures the stages, by events on the
/// device, because measuring them slows a run down.
///
/// Consecutive pairs with the same query form a request. Without --pairs, the request is a question with 100 passages of
/// the built-in corpus. Neither scores nor tokens are cached between runs.
///
/// With --ranking, no time is measured, but how int8 ranks, compared with f32: the error of the scores, and the share of
/// f32's first ten that int8 keeps. The precision `auto` takes int8 only for models for which this was measured to be good
/// enough; the result is kept in the data folder.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// JSON Lines {"query", "title"?, "text"}; - reads standard input
    #[arg(long, value_name = "FILE")]
    pairs: Option<PathBuf>,
    /// Adapter; repeatable. Several adapters share the documents of a request in one batch, or the clients with --clients
    #[arg(long = "adapter", value_name = "[ID=]ADAPTER", env = "LORANK_ADAPTER", help_heading = "Model options")]
    adapters: Vec<AdapterSpec>,
    /// Number of runs, after one run to warm up
    #[arg(long, value_name = "N", default_value = "5")]
    runs: NonZeroUsize,
    /// Split each request over this many concurrent clients of the queue
    #[arg(long, value_name = "N", default_value = "1")]
    clients: NonZeroUsize,
    /// Measure how int8 ranks, compared with f32: on --pairs, on --index with --queries, or on questions of the built-in
    /// corpus with BM25's first passages
    #[arg(long, conflicts_with_all = ["runs", "clients"])]
    ranking: bool,
    /// With --ranking: folder of an index, whose first candidates for --queries are scored
    #[arg(long, value_name = "DIR", requires_all = ["ranking", "queries"], conflicts_with = "pairs")]
    index: Option<PathBuf>,
    /// With --ranking: queries for --index, as JSON Lines {"_id", "text"}, lines of an id, a tab and a text, or TREC topics
    #[arg(long, value_name = "FILE", requires_all = ["ranking", "index"])]
    queries: Option<PathBuf>,
    /// With --ranking: number of queries to measure, without those that have fewer candidates than --depth
    #[arg(long, value_name = "N", default_value = "20", requires = "ranking", conflicts_with = "pairs")]
    queries_max: NonZeroUsize,
    /// With --ranking: number of candidates per query
    #[arg(long, value_name = "N", default_value = "20", requires = "ranking", conflicts_with = "pairs")]
    depth: NonZeroUsize,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    data: DataArgs,
}

/// The measurements.
struct Measured {
    n_requests: usize,
    n_pairs: usize,
    /// The duration of each run in seconds.
    runs: Vec<f64>,
    /// The duration of each request of each run in seconds.
    requests: Vec<f64>,
    /// The total time of each stage over some runs; `None` with several clients.
    pieces: Option<StageTimes>,
    /// The number of these runs.
    n_runs_of_pieces: usize,
    /// The clock that measured them.
    clock: StageClock,
    /// What the processor can do at most; `None` if it was not measured.
    peaks: Option<Peaks>,
}

/// The multiply-adds of a stage.
struct Products {
    /// A second of a thread.
    rate: f64,
    /// The same at most.
    peak: Option<f64>,
}

pub(crate) fn run(args: &BenchArgs, is_quiet: bool) -> anyhow::Result<()> {
    if args.ranking {
        return ranking::run(args, is_quiet);
    }
    let requests = args.pairs.as_deref().map_or_else(starter_request, requests_of_pairs)?;
    let models = models::load(&args.model.section_of_one(&args.adapters)?, args.data.folder().ok(), is_quiet)?;
    let adapters = models.rankers();
    let base = models.bases.first();
    let facts = json!({
        "base_model": base.base().name,
        "adapters": adapters.iter().map(|id| id.as_ref().map(AdapterId::as_str)).collect::<Vec<_>>(),
        "precision": precisions(&models)?,
        "device": base.device(),
        "engine": base.engine(),
        "threads": rayon::current_num_threads(),
        "clients": args.clients,
    });
    let bar = progress::of(args.runs.get() as u64 + 1, "runs", is_quiet);
    let mut measured = Measured {
        n_requests: requests.len(),
        n_pairs: requests.iter().map(|request| request.candidates.len()).sum(),
        runs: Vec::new(),
        requests: Vec::new(),
        pieces: None,
        n_runs_of_pieces: args.runs.get(),
        clock: base.stage_clock(),
        peaks: None,
    };
    if args.clients.get() > 1 {
        let config = PipelineConfig {
            cache: CacheConfig { entries_max: 0, ..CacheConfig::default() },
            ..PipelineConfig::default()
        };
        let bases = Arc::new(models.bases);
        let pipeline = Pipeline::without_first_stage(Arc::clone(&bases), config)?;
        let choice = |id: &Option<AdapterId>| id.clone().map_or(AdapterChoice::Base, AdapterChoice::Named);
        let choices: Vec<AdapterChoice> = adapters.iter().map(choice).collect();
        measured.repeat(args.runs, &bar, |_| {
            bases.first().clear_token_cache();
            requests.iter().map(|one| at_once(&pipeline, one, &choices, args.clients)).collect()
        })?;
    } else {
        let versions: Vec<ModelVersion> = adapters
            .iter()
            .map(|id| models.bases.resolve(id.as_ref()).map_err(|error| anyhow!(error)))
            .collect::<anyhow::Result<_>>()?;
        let run = |measure, pieces: &mut Option<StageTimes>| {
            base.clear_token_cache();
            requests.iter().map(|request| in_one_call(base, request, &versions, measure, pieces)).collect()
        };
        let measure = if measured.clock == StageClock::Host { Measure::Stages } else { Measure::Total };
        measured.repeat(args.runs, &bar, |pieces| run(measure, pieces))?;
        if measure == Measure::Total {
            measured.pieces = None;
            run(Measure::Stages, &mut measured.pieces)?;
            measured.n_runs_of_pieces = 1;
        }
        // Those of another precision are unknown.
        measured.peaks = if facts["precision"] == base.precision().name() { base.peaks() } else { None };
    }
    bar.finish_and_clear();
    if args.json { print_json(facts, &measured) } else { print_text(&facts, &measured) }
}

/// The precisions of the rankers, each once.
fn precisions(models: &LoadedModels) -> anyhow::Result<String> {
    let mut names: Vec<&str> = Vec::new();
    for id in models.rankers() {
        let name = models.bases.resolve(id.as_ref()).map_err(|error| anyhow!(error))?.precision.name();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names.join(", "))
}

/// The requests of a file of pairs.
fn requests_of_pairs(path: &Path) -> anyhow::Result<Vec<Request>> {
    let mut lines = JsonLines::open(path)?;
    let mut requests: Vec<Request> = Vec::new();
    while let Some(line) = lines.next() {
        let (number, PairLine { query, title, text }) = line?;
        let mut candidate = Candidate::new(number.to_string(), text, Score::new(0.0)?);
        candidate.title = title.map(Into::into);
        match requests.last_mut().filter(|request| request.query.text == query) {
            Some(request) => request.candidates.push(candidate),
            None => requests.push(Request { query: Query::new(query), candidates: vec![candidate] }),
        }
    }
    if requests.is_empty() {
        bail!("`{}` has no pairs; it needs one JSON object per line: {{\"query\", \"text\"}}", path.display());
    }
    Ok(requests)
}

#[cfg(feature = "starter")]
fn starter_request() -> anyhow::Result<Vec<Request>> {
    #[derive(Deserialize)]
    struct Passage {
        #[serde(rename = "_id")]
        id: String,
        text: String,
    }
    let corpus = lorank_starter::corpus();
    let passages = serde_json::Deserializer::from_slice(corpus.passages.bytes).into_iter::<Passage>().take(100);
    let candidates = passages
        .map(|passage| passage.map(|Passage { id, text }| Candidate::new(id, text, Score::new(0.0).expect("finite"))))
        .collect::<Result<_, _>>()?;
    let question = serde_json::Deserializer::from_slice(corpus.questions.bytes).into_iter::<Passage>().next();
    let question = question.expect("the starter has questions")?;
    Ok(vec![Request { query: Query::new(question.text), candidates }])
}

#[cfg(not(feature = "starter"))]
fn starter_request() -> anyhow::Result<Vec<Request>> {
    bail!("this build has no built-in passages; name a file with --pairs")
}

impl Measured {
    /// Runs once to warm up and then `n` times; `run` returns the seconds of each request.
    fn repeat(
        &mut self,
        n: NonZeroUsize,
        bar: &indicatif::ProgressBar,
        run: impl Fn(&mut Option<StageTimes>) -> anyhow::Result<Vec<f64>>,
    ) -> anyhow::Result<()> {
        run(&mut None)?;
        bar.inc(1);
        for _ in 0..n.get() {
            let started = Instant::now();
            let requests = run(&mut self.pieces)?;
            self.runs.push(started.elapsed().as_secs_f64());
            self.requests.extend(requests);
            bar.inc(1);
        }
        self.runs.sort_by(f64::total_cmp);
        self.requests.sort_by(f64::total_cmp);
        Ok(())
    }

    fn median(&self) -> f64 {
        quantile(&self.runs, 0.5)
    }

    /// The multiply-adds of a stage, if they were counted and take time.
    fn products(&self, stage: &str) -> Option<Products> {
        let (pieces, peaks) = (self.pieces.as_ref()?, self.peaks);
        let (n, time, peak) = match stage {
            "linear" => (pieces.linear_products, pieces.linear, peaks.map(|peaks| peaks.linear)),
            "attention" => (pieces.attention_products, pieces.attention, peaks.map(|peaks| peaks.attention)),
            _ => return None,
        };
        (n > 0 && !time.is_zero()).then(|| Products { rate: n as f64 / time.as_secs_f64(), peak })
    }

    /// The number of tokens of one run.
    fn n_tokens(&self) -> Option<usize> {
        self.pieces.map(|pieces| pieces.n_tokens / self.n_runs_of_pieces)
    }
}

/// The quantile `q` of sorted values by the nearest-rank method.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Scores a request in one call, with its documents distributed over the adapters. Returns the seconds.
fn in_one_call(
    reranker: &ModelReranker,
    request: &Request,
    versions: &[ModelVersion],
    measure: Measure,
    pieces: &mut Option<StageTimes>,
) -> anyhow::Result<f64> {
    let started = Instant::now();
    let share = request.candidates.len().div_ceil(versions.len());
    let groups = request.candidates.chunks(share).zip(versions);
    let mut encoded = Vec::with_capacity(request.candidates.len());
    for (candidates, model) in groups {
        encoded.extend(reranker.encode_with(Group { query: &request.query, model, candidates }, None)?);
    }
    let tokenise = started.elapsed();
    let (scores, times) = reranker.score_timed(&encoded.iter().collect::<Vec<_>>(), measure);
    for score in scores {
        score.map_err(|error| anyhow!(error))?;
    }
    pieces.get_or_insert_default().add(&StageTimes { tokenise, ..times });
    Ok(started.elapsed().as_secs_f64())
}

/// Scores the parts of a request by concurrent clients, with alternating adapters. Returns the seconds until the last answer.
fn at_once<F: Sync, R: Reranker + 'static>(
    pipeline: &Pipeline<F, R>,
    request: &Request,
    choices: &[AdapterChoice],
    n_clients: NonZeroUsize,
) -> anyhow::Result<f64> {
    let started = Instant::now();
    let share = request.candidates.len().div_ceil(n_clients.get());
    let ask = |candidates: &[Candidate], adapter: AdapterChoice| -> anyhow::Result<()> {
        let depth = NonZeroUsize::new(candidates.len());
        let search = SearchRequest { adapter, depth, ..SearchRequest::from_query(request.query.clone()) };
        let answer = pipeline.rerank(&search, candidates.to_vec())?;
        answer.fallback.map_or(Ok(()), |fallback| bail!("a request fell back: {fallback}"))
    };
    std::thread::scope(|scope| {
        let shares = request.candidates.chunks(share).zip(choices.iter().cycle());
        let clients: Vec<_> = shares.map(|(share, adapter)| scope.spawn(move || ask(share, adapter.clone()))).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("a client does not panic"))
    })?;
    Ok(started.elapsed().as_secs_f64())
}

impl fmt::Display for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "; {:.0} billion multiply-adds a second", self.rate / 1e9)?;
        match self.peak {
            Some(peak) => {
                write!(f, ", {:.0} % of the {:.0} that a thread can do", 100.0 * self.rate / peak, peak / 1e9)
            }
            None => Ok(()),
        }
    }
}

fn print_json(mut facts: serde_json::Value, measured: &Measured) -> anyhow::Result<()> {
    let Measured { n_requests, n_pairs, runs, requests, pieces, n_runs_of_pieces, clock, peaks: _ } = measured;
    let median = measured.median();
    let per_run = |time: Duration| time.as_secs_f64() / *n_runs_of_pieces as f64;
    let pieces = pieces.map(|pieces| pieces.by_name().map(|(name, time)| (name.to_owned(), json!(per_run(time)))));
    let products = ["linear", "attention"].into_iter().filter_map(|stage| {
        let Products { rate, peak } = measured.products(stage)?;
        Some((
            stage.to_owned(),
            json!({"per_thread_second": rate, "peak": peak, "share": peak.map(|peak| rate / peak)}),
        ))
    });
    let more = json!({
        "n_requests": n_requests,
        "n_pairs": n_pairs,
        "n_tokens": measured.n_tokens(),
        "seconds": {"median": median, "runs": runs},
        "pairs_per_second": *n_pairs as f64 / median,
        "tokens_per_second": measured.n_tokens().map(|n| n as f64 / median),
        "request_millis": {"p50": quantile(requests, 0.5) * 1e3, "p99": quantile(requests, 0.99) * 1e3},
        "piece_clock": clock.to_string(),
        "thread_seconds_by_piece": pieces.map(serde_json::Map::from_iter),
        "multiply_adds_by_piece": serde_json::Map::from_iter(products),
    });
    if let (Some(facts), serde_json::Value::Object(more)) = (facts.as_object_mut(), more) {
        facts.extend(more);
    }
    output::print_json(&facts)
}

fn print_text(facts: &serde_json::Value, measured: &Measured) -> anyhow::Result<()> {
    let mut out = output::stdout();
    let mut line = |name: &str, value: String| writeln!(out, "{name:<18}{value}");
    let fact = |name: &str| facts[name].as_str().map_or_else(|| facts[name].to_string(), str::to_owned);
    let named = |id: &serde_json::Value| id.as_str().unwrap_or("none").to_owned();
    let adapters = facts["adapters"].as_array().into_iter().flatten().map(named).collect::<Vec<_>>().join(", ");
    line("base model", fact("base_model"))?;
    line("adapters", adapters)?;
    line(
        "precision",
        format!("{} by {} on {}, {} threads", fact("precision"), fact("engine"), fact("device"), fact("threads")),
    )?;
    line(
        "pairs",
        format!(
            "{} in {} from {} client{}",
            measured.n_pairs,
            counted(measured.n_requests, "request"),
            fact("clients"),
            if facts["clients"] == 1 { "" } else { "s" }
        ),
    )?;
    let median = measured.median();
    let (fastest, slowest) = (measured.runs[0], measured.runs[measured.runs.len() - 1]);
    line("seconds per run", format!("{median:.3} ({fastest:.3} to {slowest:.3}, {} runs)", measured.runs.len()))?;
    line("pairs per second", format!("{:.1}", measured.n_pairs as f64 / median))?;
    if let Some(n_tokens) = measured.n_tokens() {
        line("tokens per second", format!("{:.0} ({n_tokens} tokens per run)", n_tokens as f64 / median))?;
    }
    let millis = |q| quantile(&measured.requests, q) * 1e3;
    line("request", format!("p50 {:.1} ms, p99 {:.1} ms", millis(0.5), millis(0.99)))?;
    if let Some(pieces) = measured.pieces {
        let all: f64 = pieces.by_name().iter().map(|(_, time)| time.as_secs_f64()).sum();

        for (name, time) in pieces.by_name() {
            let (share, millis) =
                (time.as_secs_f64() / all, time.as_secs_f64() * 1e3 / measured.n_runs_of_pieces as f64);
            let products = measured.products(name).map(|products| products.to_string()).unwrap_or_default();
            line(
                &format!("  {name}"),
                format!("{:5.1} %  {millis:8.1} ms per run, {}{products}", share * 100.0, measured.clock),
            )?;
        }
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let check = |sorted: &[f64], q: f64, expected: f64| assert_eq!(quantile(sorted, q), expected);
        check(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.5, 3.0);
        check(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.99, 5.0);
        check(&[7.0], 0.5, 7.0);
        check(&[1.0, 2.0], 0.5, 1.0);
    }
}
