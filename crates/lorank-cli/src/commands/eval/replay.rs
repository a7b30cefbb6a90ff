//! `lorank eval --from-log`: logged queries under candidate adapters.

use std::collections::HashMap;
use std::io::Write;

use lorank_cache::ScoreFile;
use lorank_eval::{ClickLog, Counterfactual, Examination, ScoredQuery, Ties, Topic, ranking};
use lorank_experiments::agreement::{kendall_tau, overlap_at, rank_biased_overlap};
use serde::Serialize;

use super::scoring::Scorer;
use super::{EvalArgs, RankerInfo, UsedBase, default_scores, infos, rankers, sampled, score_all, used_bases, written};
use crate::commands::candidates::Candidates;
use crate::commands::click_log;
use crate::output::table::{Side, render};
use crate::output::text::{count, counted};
use crate::{models, output};

/// The persistence of rank-biased overlap: 86 % of the weight is on the first ten ranks.
const RBO_P: f64 = 0.9;

/// The result of a replay.
#[derive(Serialize)]
struct Replay {
    index: String,
    base_model: String,
    precision: &'static str,
    base_models: Vec<UsedBase>,
    depth: usize,
    /// The log: searches whose first page was shown, and their clicks.
    n_searches: usize,
    n_queries: usize,
    n_clicks: u64,
    n_later_pages: u64,
    /// The number of distinct queries that were replayed.
    n_replayed: usize,
    /// The position bias in the log; null if no document was clicked at several ranks of a query.
    examination: Option<Examination>,
    rankers: Vec<Replayed>,
}

/// A ranker beside the logged answers. Means are over the searches of the replayed queries.
#[derive(Serialize)]
struct Replayed {
    name: String,
    adapter_digest: Option<String>,
    seconds_per_query: Option<f64>,
    rbo: f64,
    /// Over the queries with at least two common documents.
    kendall_tau: Option<f64>,
    overlap_at_10: f64,
    /// The expected clicks; null without an estimate of the position bias.
    clicks: Option<Counterfactual>,
}

pub(super) fn run(args: &EvalArgs, is_quiet: bool) -> anyhow::Result<()> {
    let (log, n_later_pages) = click_log::read(&args.data.folder()?, &args.log_index)?;
    let logged: Vec<Topic> =
        log.queries().into_iter().map(|(text, _)| Topic { id: text.to_owned(), text: text.to_owned() }).collect();
    let topics = sampled(&logged, args.sample);
    let models = models::load(&args.model.section(&args.adapters)?, args.data.folder().ok(), is_quiet)?;
    let rankers = rankers(&models, args.instruction.as_deref())?;
    let scores = args.scores.clone().map_or_else(|| default_scores(&args.data), Ok)?;
    let candidates = Candidates::open(args.first_stage()?, None, None, args.fuzzy.into(), is_quiet)?;
    let mut scorer = Scorer::new(&models.bases, &rankers, &[], args.asked()?, ScoreFile::open(scores)?);
    let queries = score_all(&candidates, &topics, &mut scorer, args.depth, is_quiet)?;
    let infos = infos(&rankers, &[], &candidates, &scorer, topics.len());

    let examination = log.examination();
    let bases = used_bases(&rankers);
    let replay = Replay {
        index: args.log_index.clone(),
        base_model: bases[0].name.clone(),
        precision: bases[0].precision,
        base_models: bases,
        depth: args.depth.get(),
        n_searches: log.n_searches(),
        n_queries: logged.len(),
        n_clicks: log.n_clicks(),
        n_later_pages,
        n_replayed: topics.len(),
        rankers: replayed(infos, &queries, &log, examination.as_ref(), args),
        examination,
    };
    if args.json { output::print_json(&replay) } else { print(&replay) }
}

/// The documents of each query, best first.
type Rankings<'a> = HashMap<&'a str, Vec<String>>;

/// The rankers beside the logged answers.
fn replayed(
    infos: Vec<RankerInfo>,
    queries: &[ScoredQuery],
    log: &ClickLog,
    examination: Option<&Examination>,
    args: &EvalArgs,
) -> Vec<Replayed> {
    let searches = log.queries();
    let rankings: Vec<Rankings<'_>> =
        (0..infos.len()).map(|n| queries.iter().map(|query| ranked(query, n, args)).collect()).collect();
    let clicks = match examination {
        Some(examination) => log.counterfactuals(&rankings, examination, args.top_k.get()),
        None => vec![None; rankings.len()],
    };
    let rankers = infos.into_iter().zip(&rankings).zip(clicks);
    rankers.map(|((info, rankings), clicks)| beside(info, rankings, clicks, log, &searches)).collect()
}

fn beside(
    info: RankerInfo,
    rankings: &Rankings<'_>,
    clicks: Option<Counterfactual>,
    log: &ClickLog,
    searches: &[(&str, u64)],
) -> Replayed {
    let (mut rbo, mut overlap, mut tau) = (Mean::default(), Mean::default(), Mean::default());
    // In the order of the log, so that sums are the same in every run.
    for (query, n_searches) in searches.iter().filter(|(query, _)| rankings.contains_key(query)) {
        let (weight, shown) = (*n_searches as f64, log.last_hits(query));
        let ranked: Vec<&str> = rankings[query].iter().take(shown.len()).map(String::as_str).collect();
        rbo.add(rank_biased_overlap(&shown, &ranked, RBO_P), weight);
        overlap.add(overlap_at(10, &shown, &ranked), weight);
        if let Some(value) = kendall_tau(&shown, &ranked) {
            tau.add(value, weight);
        }
    }
    Replayed {
        name: info.name,
        adapter_digest: info.adapter_digest,
        seconds_per_query: info.seconds_per_query,
        rbo: rbo.value().unwrap_or_default(),
        kendall_tau: tau.value(),
        overlap_at_10: overlap.value().unwrap_or_default(),
        clicks,
    }
}

/// A query with a ranker's order of its candidates.
fn ranked<'a>(query: &'a ScoredQuery, ranker: usize, args: &EvalArgs) -> (&'a str, Vec<String>) {
    let ranked = ranking(query, ranker, args.depth.get(), Ties::Input);
    (query.topic.text.as_str(), ranked.into_iter().map(|scored| scored.document).collect())
}

/// A weighted mean.
#[derive(Default)]
struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    fn add(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
    }

    fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

fn print(replay: &Replay) -> anyhow::Result<()> {
    let mut out = output::stdout();
    writeln!(
        out,
        "{}; {} replayed at depth {}, {}\n",
        click_log::contents(&replay.index, replay.n_searches, replay.n_queries, replay.n_clicks),
        count(replay.n_replayed),
        replay.depth,
        written(&replay.base_models)
    )?;
    writeln!(out, "Agreement with the logged hits\n\n{}", agreement(replay))?;
    match &replay.examination {
        Some(examination) => {
            writeln!(out, "{}\n\n{}", click_log::position_bias(examination), clicks(replay))?;
            writeln!(
                out,
                "Expected clicks are those of a user who examines ranks as above and clicks a document as often per \
                 examination as in the log.\nDocuments that no search showed count as never clicked."
            )?;
        }
        None => writeln!(
            out,
            "No expected clicks: position bias can only be estimated from queries that showed a clicked document at \
             several ranks, as an experiment between two rankers does."
        )?,
    }
    if replay.n_later_pages > 0 {
        writeln!(out, "{} were left out", counted(replay.n_later_pages as usize, "later page"))?;
    }
    Ok(out.flush()?)
}

/// With its sign, which zero does not have.
fn signed(value: f64) -> String {
    let rounded = (value * 1e4).round() / 1e4;
    if rounded == 0.0 { "0.0000".to_owned() } else { format!("{rounded:+.4}") }
}

fn agreement(replay: &Replay) -> String {
    let headings = [
        ("ranker", Side::Left),
        ("rbo", Side::Right),
        ("kendall's tau", Side::Right),
        ("overlap@10", Side::Right),
        ("seconds a query", Side::Right),
    ];
    let rows = replay.rankers.iter().map(|ranker| {
        [
            ranker.name.clone(),
            format!("{:.3}", ranker.rbo),
            ranker.kendall_tau.map_or("–".to_owned(), |tau| format!("{tau:.3}")),
            format!("{:.3}", ranker.overlap_at_10),
            ranker.seconds_per_query.map_or("–".to_owned(), |seconds| format!("{seconds:.4}")),
        ]
    });
    render(headings, &rows.collect::<Vec<_>>())
}

fn clicks(replay: &Replay) -> String {
    let Some(logged) = replay.rankers.iter().find_map(|ranker| ranker.clicks) else { return String::new() };
    let headings = [
        ("ranker", Side::Left),
        ("clicks a search", Side::Right),
        ("difference", Side::Right),
        ("95 % interval", Side::Right),
        ("never shown", Side::Right),
    ];
    let blank = String::new;
    let mut rows = vec![["logged".to_owned(), format!("{:.4}", logged.logged), blank(), blank(), blank()]];
    rows.extend(replay.rankers.iter().filter_map(|ranker| {
        let clicks = ranker.clicks?;
        Some([
            ranker.name.clone(),
            format!("{:.4}", clicks.candidate),
            signed(clicks.difference),
            format!("{} to {}", signed(clicks.low), signed(clicks.high)),
            format!("{:.0} %", clicks.unseen_share * 100.0),
        ])
    }));
    render(headings, &rows)
}
