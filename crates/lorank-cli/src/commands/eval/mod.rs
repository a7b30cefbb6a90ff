//! `lorank eval`: measures adapters on a test collection.

mod replay;
mod scoring;
mod tables;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};
use lorank_cache::ScoreFile;
use lorank_core::{AdapterId, DocumentId, ModelVersion, RerankStage, RerankStages, Reranker, Score};
use lorank_eval::{
    Collection, DEFAULT_SPLIT, Evaluation, EvaluationOptions, Example, ExampleHit, FIRST_STAGE, Measure, RankerInfo,
    Run, ScoredQuery, Ties, Topic, ranking, to_html, write_run,
};
use lorank_pipeline::AdapterChoice;
use lorank_server::{AdapterSpec, LoadedModels, ServedFirstStage};
use lorank_tantivy::{Bm25FirstStage, Index};
use serde::Serialize;

use self::scoring::{Asked, Scorer};
use super::candidates::Candidates;
use super::first_stage;
use super::search::FuzzyArg;
use super::search_stages::{self, adapters_to_load};
use crate::data::StoreArgs;
use crate::failure::WrongUsage;
use crate::flags::{FirstStageFlags, ModelFlags, PassageFlags};
use crate::output::progress;
use crate::output::text::{count, cut, one_line};
use crate::{models, output};

/// Evaluate adapters on a test collection: trec_eval's measures, intervals and tests of the differences
///
/// Candidates are retrieved once, by BM25, a search engine or from a run, and every adapter scores them in the same batches. The first row is the first
/// stage itself. Scores are kept as they come: an evaluation that was interrupted goes on where it stopped.
#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    /// A test collection in BEIR's layout: a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv
    #[arg(long, value_name = "DIR", required_unless_present_any = ["qrels", "from_judgments", "from_log"])]
    dataset: Option<PathBuf>,
    /// Judgments of the data folder, which the service stores, over the documents of --index
    #[arg(long, requires = "index", conflicts_with_all = ["dataset", "qrels", "queries", "split", "run"])]
    from_judgments: bool,
    /// Replay the queries that a server logged in the data folder, over the documents of --index: agreement with the logged hits, and
    /// expected clicks without position bias
    #[arg(long, requires = "index", conflicts_with_all = ["dataset", "qrels", "queries", "split", "run", "from_judgments", "depths",
        "measures", "baseline", "ties", "runs", "html"])]
    from_log: bool,
    /// The index whose searches --from-log replays, by the server's name for it
    #[arg(long, value_name = "NAME", default_value = "default", requires = "from_log")]
    log_index: String,
    /// The number of first ranks whose clicks --from-log counts
    #[arg(long, value_name = "N", default_value = "10", requires = "from_log")]
    top_k: NonZeroUsize,
    /// The judgments to use: qrels/SPLIT.tsv
    #[arg(long, value_name = "SPLIT", default_value = DEFAULT_SPLIT, conflicts_with = "qrels")]
    split: String,
    /// Judgments from another file, in TREC's or BEIR's columns; with --queries and --index, no dataset is needed
    #[arg(long, value_name = "FILE")]
    qrels: Option<PathBuf>,
    /// Queries from another file: JSON lines, lines with an id, a tab and a text, or TREC topics
    #[arg(long, value_name = "FILE")]
    queries: Option<PathBuf>,
    /// Evaluate about N of the judged queries: every k-th
    #[arg(long, value_name = "N")]
    sample: Option<NonZeroUsize>,
    /// An index of the collection, instead of a temporary one
    #[arg(long, value_name = "DIR")]
    index: Option<PathBuf>,
    /// Candidates from a run in TREC's format, instead of BM25
    #[arg(long, value_name = "FILE", conflicts_with = "fuzzy")]
    run: Option<PathBuf>,
    /// Whether words with typos are found: one typo in words from five letters, two from nine
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    fuzzy: FuzzyArg,
    /// An adapter: a starter's name, a folder, a name of the registry, or hf://owner/name[@revision]; none for the bare base model, or
    /// the name of one of several base models; repeatable [default: the bare base models]
    #[arg(long = "adapter", value_name = "[ID[@BASE]=]ADAPTER", help_heading = "Model options")]
    adapters: Vec<AdapterSpec>,
    /// Rerank stages as one more ranker: models that rerank one after the other, each the best candidates of the stage before, as with
    /// --stage of `lorank search`; repeatable. The ranker's name is this text, and its depths are its own
    #[arg(long, value_name = "ADAPTER[@BASE]:DEPTH,...", conflicts_with = "from_log", help_heading = "Model options")]
    stages: Vec<RerankStages>,
    /// What the model shall judge, instead of its own instruction; an error if its prompt has no place for an instruction
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,
    /// How many candidates are reranked
    #[arg(long, value_name = "N", default_value = "100")]
    depth: NonZeroUsize,
    /// Measure at these depths too, from the same scores, as in 10,20,50,100
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    depths: Vec<NonZeroUsize>,
    /// A measure, as in ndcg@10, map, mrr@10, recall@100, p@10, success@1, rprec, judged@10, or as trec_eval writes it; repeatable, and the
    /// first one is compared by depth and by query [default: ndcg@10, mrr@10, recall@100]
    #[arg(long = "measure", value_name = "MEASURE")]
    measures: Vec<Measure>,
    /// The ranker that the others are compared with: first-stage, or an adapter's name
    #[arg(long, value_name = "NAME", default_value = FIRST_STAGE)]
    baseline: String,
    /// Which of two documents with equal scores is first
    #[arg(long, value_name = "RULE", value_enum, default_value_t)]
    ties: TiesArg,
    /// Keep scores in this file [default: evaluations/scores in the data folder]
    #[arg(long, value_name = "FILE")]
    scores: Option<PathBuf>,
    /// Write each ranker's rankings to this folder, as runs in TREC's format
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// Write a page with plots to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print one JSON document, with the values of each query
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    passages: PassageFlags,
    #[command(flatten)]
    first_stage: FirstStageFlags,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    data: StoreArgs,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum TiesArg {
    /// The document whose id is greater, as in trec_eval
    #[default]
    TrecEval,
    /// The document that the first stage has first, as in lorank's answers
    Input,
}

/// The number of queries that the page shows with their rankings, and of hits per ranking.
const N_EXAMPLES: usize = 10;
const N_EXAMPLE_HITS: usize = 10;

/// A ranker that scores candidates.
struct RankedBy {
    name: String,
    model: ModelVersion,
}

/// A cascade of rerank stages, with their depths.
struct Cascade {
    name: String,
    stages: Vec<(RankedBy, NonZeroUsize)>,
}

/// A base model of the rankers.
#[derive(Debug, Serialize)]
struct UsedBase {
    name: String,
    digest: String,
    precision: &'static str,
}

#[derive(Serialize)]
struct JsonEvaluation<'a> {
    /// The first one's name and precision.
    base_model: &'a str,
    precision: &'static str,
    base_models: &'a [UsedBase],
    /// How long documents were scored, if a flag said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    passages: Option<String>,
    #[serde(flatten)]
    evaluation: &'a Evaluation,
}

pub(crate) fn run(args: &EvalArgs, is_quiet: bool) -> anyhow::Result<()> {
    if args.from_log {
        return replay::run(args, is_quiet);
    }
    let collection = collection(args)?;
    let run = args.run.as_deref().map(Run::read).transpose()?;
    for folder in [args.runs.as_deref(), args.html.as_deref().and_then(Path::parent)].into_iter().flatten() {
        std::fs::create_dir_all(folder).with_context(|| format!("could not make the folder `{}`", folder.display()))?;
    }
    let scores_path = args.scores.clone().map_or_else(|| default_scores(&args.data), Ok)?;
    let mut models = models::load(&args.model.section(&args.adapters_to_load()?)?, args.data.folder().ok(), is_quiet)?;
    let cascades = cascades(&models, args)?;
    // Adapters of stages alone are no rankers of their own.
    models.adapters.truncate(args.adapters.len());
    let rankers = rankers(&models, args.instruction.as_deref())?;
    check_names(&rankers, &cascades, &args.baseline)?;
    let topics = sampled(&collection.topics, args.sample);
    let run = args.run.clone().zip(run);
    let corpus = collection.corpus.as_deref();
    let candidates = Candidates::open(args.first_stage()?, corpus, run, args.fuzzy.into(), is_quiet)?;

    let mut scorer = Scorer::new(&models.bases, &rankers, &cascades, args.asked()?, ScoreFile::open(scores_path)?);
    let queries = score_all(&candidates, &topics, &mut scorer, args.deepest(), is_quiet)?;
    let bases = used_bases(rankers.iter().chain(cascades.iter().flat_map(Cascade::models)));
    let infos = infos(&rankers, &cascades, &candidates, &scorer, topics.len());
    let options = args.options();
    let evaluation = Evaluation::new(&collection.name, &infos, &queries, &collection.qrels, &options);

    if let Some(folder) = &args.runs {
        write_runs(folder, &evaluation, &queries, &options)?;
    }
    if let Some(path) = &args.html {
        let examples = examples(&evaluation, &queries, &collection, &candidates, &options)?;
        let page = to_html(&evaluation, &examples);
        std::fs::write(path, page).with_context(|| format!("could not write `{}`", path.display()))?;
    }
    if args.json {
        let (base_model, precision) = (&*bases[0].name, bases[0].precision);
        let (passages, evaluation) = (args.passages_rule()?, &evaluation);
        let base_models = &bases[..];
        return output::print_json(&JsonEvaluation { base_model, precision, base_models, passages, evaluation });
    }
    tables::print(&evaluation, &bases, &scorer, args)
}

/// The queries and judgments: of a dataset, of two files, or of the data folder.
fn collection(args: &EvalArgs) -> anyhow::Result<Collection> {
    if args.from_judgments {
        let folder = args.data.folder()?;
        let judgments = folder.existing_experiments()?.map(|store| store.judgments()).transpose()?.unwrap_or_default();
        if judgments.is_empty() {
            bail!(
                "`{}` has no judgments; store some with `PUT /v1/judgments` or `lorank experiments judge`, or name files \
                 with --queries and --qrels",
                folder.path().display()
            );
        }
        let judged = judgments.iter().map(|judgment| {
            let grade = i32::try_from(judgment.grade).unwrap_or(i32::MAX);
            (judgment.query.as_str(), judgment.document.as_str(), grade)
        });
        return Ok(Collection::of_texts("judgments", judged));
    }
    match (&args.dataset, &args.queries, &args.qrels) {
        (Some(folder), queries, qrels) => {
            Ok(Collection::open(folder, &args.split, queries.as_deref(), qrels.as_deref())?)
        }
        (None, Some(queries), Some(qrels)) if args.index.is_some() || args.first_stage.is_engine() => {
            Ok(Collection::without_corpus(queries, qrels)?)
        }
        _ => bail!(
            "without --dataset, the documents, queries and judgments are needed: add --index, --queries and --qrels"
        ),
    }
}

impl EvalArgs {
    /// The search engine or the index that was named.
    fn first_stage(&self) -> anyhow::Result<Option<ServedFirstStage>> {
        match (first_stage::engine(&self.first_stage)?, &self.index) {
            (Some(_), Some(_)) => Err(first_stage::both()),
            (Some(engine), None) => Ok(Some(ServedFirstStage::Elastic(Arc::new(engine)))),
            (None, Some(dir)) => Ok(Some(ServedFirstStage::Tantivy(Bm25FirstStage::new(Index::open(dir)?)))),
            (None, None) => Ok(None),
        }
    }

    /// What the queries ask of the models.
    fn asked(&self) -> anyhow::Result<Asked> {
        Ok(Asked { instruction: self.instruction.clone(), passages: self.passages.read()? })
    }

    /// The rule for long documents, if a flag sets one.
    fn passages_rule(&self) -> anyhow::Result<Option<String>> {
        let (passages, _) = self.passages.read()?;
        Ok(passages.rule.map(|rule| rule.to_string()))
    }

    fn options(&self) -> EvaluationOptions {
        let default =
            || ["ndcg@10", "mrr@10", "recall@100"].map(|name| name.parse().expect("a known measure")).to_vec();
        let mut depths: Vec<usize> = self.depths.iter().map(|depth| depth.get()).collect();
        depths.sort_unstable();
        depths.dedup();
        EvaluationOptions {
            measures: if self.measures.is_empty() { default() } else { self.measures.clone() },
            depth: self.depth.get(),
            depths,
            ties: match self.ties {
                TiesArg::TrecEval => Ties::TrecEval,
                TiesArg::Input => Ties::Input,
            },
            baseline: self.baseline.clone(),
        }
    }

    /// How many candidates the rankers score, except for cascades.
    fn deepest(&self) -> NonZeroUsize {
        self.depths.iter().copied().fold(self.depth, NonZeroUsize::max)
    }

    /// The adapters to evaluate, and those that stages name.
    fn adapters_to_load(&self) -> anyhow::Result<Vec<AdapterSpec>> {
        let stages: Vec<RerankStage> = self.stages.iter().flat_map(|stages| stages.iter().cloned()).collect();
        if let Some(stage) = stages.iter().find(|stage| stage.deadline_share.is_some()) {
            let text = format!("--stages: an evaluation has no deadline; leave out the share of `{stage}`");
            return Err(WrongUsage(text).into());
        }
        Ok(adapters_to_load(&self.adapters, &stages, &self.model.section(&[])?.base_specs()?))
    }
}

fn default_scores(data: &StoreArgs) -> anyhow::Result<PathBuf> {
    Ok(data.folder()?.path().join("evaluations").join("scores"))
}

/// The adapters, each once.
fn rankers(models: &LoadedModels, instruction: Option<&str>) -> anyhow::Result<Vec<RankedBy>> {
    let mut rankers: Vec<RankedBy> = Vec::new();
    for adapter in models.rankers() {
        let name = adapter.as_ref().map_or(AdapterChoice::BASE, AdapterId::as_str).to_owned();
        if rankers.iter().any(|ranker| ranker.name == name) {
            bail!("`{name}` is given twice; evaluate different adapters");
        }
        let model = models.bases.resolve(adapter.as_ref()).map_err(|error| anyhow!(error))?;
        let model = models::instructed(&models.bases, model, instruction)?;
        rankers.push(RankedBy { name, model });
    }
    Ok(rankers)
}

/// The cascades, each once.
fn cascades(models: &LoadedModels, args: &EvalArgs) -> anyhow::Result<Vec<Cascade>> {
    let mut cascades: Vec<Cascade> = Vec::new();
    for stages in &args.stages {
        let name = stages.to_string();
        if cascades.iter().any(|cascade| cascade.name == name) {
            bail!("the stages `{name}` are given twice; evaluate different ones");
        }
        let ranked_by = |stage: &RerankStage| -> anyhow::Result<(RankedBy, NonZeroUsize)> {
            let model = search_stages::model(models, stage)?;
            let model = models::instructed(&models.bases, model, args.instruction.as_deref())?;
            Ok((RankedBy { name: stage.to_string(), model }, stage.depth))
        };
        let stages = stages.iter().map(ranked_by).collect::<anyhow::Result<_>>()?;
        cascades.push(Cascade { name, stages });
    }
    Ok(cascades)
}

fn check_names(rankers: &[RankedBy], cascades: &[Cascade], baseline: &str) -> anyhow::Result<()> {
    let mut names = rankers.iter().map(|ranker| &*ranker.name).chain(cascades.iter().map(|cascade| &*cascade.name));
    if baseline != FIRST_STAGE && !names.clone().any(|name| name == baseline) {
        let names = names.by_ref().collect::<Vec<_>>().join(", ");
        bail!("the baseline `{baseline}` is not evaluated; it can be {FIRST_STAGE}, {names}");
    }
    Ok(())
}

impl Cascade {
    fn models(&self) -> impl Iterator<Item = &RankedBy> {
        self.stages.iter().map(|(stage, _)| stage)
    }
}

/// The rankers' base models, each once in a precision.
fn used_bases<'a>(rankers: impl IntoIterator<Item = &'a RankedBy>) -> Vec<UsedBase> {
    let mut bases: Vec<UsedBase> = Vec::new();
    for RankedBy { model, .. } in rankers {
        let (digest, precision) = (model.base_digest.to_string(), model.precision.name());
        if bases.iter().all(|base| (&base.digest, base.precision) != (&digest, precision)) {
            bases.push(UsedBase { name: model.base_model.clone(), digest, precision });
        }
    }
    bases
}

/// The base models with their precisions.
fn written(bases: &[UsedBase]) -> String {
    let bases = bases.iter().map(|base| format!("{} in {}", base.name, base.precision));
    bases.collect::<Vec<_>>().join(", ")
}

/// About `n` topics: every k-th.
fn sampled(topics: &[Topic], n: Option<NonZeroUsize>) -> Vec<Topic> {
    let step = n.map_or(1, |n| topics.len().div_ceil(n.get()).max(1));
    topics.iter().step_by(step).cloned().collect()
}

/// Retrieves and scores the candidates of each query.
fn score_all(
    candidates: &Candidates,
    topics: &[Topic],
    scorer: &mut Scorer<'_>,
    depth: NonZeroUsize,
    is_quiet: bool,
) -> anyhow::Result<Vec<ScoredQuery>> {
    let pairs_of_query = scorer.n_pairs_of_query(depth.get()) as u64;
    let bar = progress::of(topics.len() as u64 * pairs_of_query, "pairs", is_quiet);
    let mut queries = Vec::with_capacity(topics.len());
    for (n_left, topic) in (0..topics.len()).rev().zip(topics) {
        let found = candidates.of(topic, scorer.deepest(depth))?;
        let (scored, n_new) = scorer.score(topic, &found, depth)?;
        queries.push(scored);
        // Pairs that were known, or that do not exist, are not work that was done.
        bar.inc(n_new as u64);
        bar.set_length(bar.position() + n_left as u64 * pairs_of_query);
    }
    bar.finish_and_clear();
    Ok(queries)
}

/// The rankers' names, digests and times, the first stage first.
fn infos(
    rankers: &[RankedBy],
    cascades: &[Cascade],
    candidates: &Candidates,
    scorer: &Scorer<'_>,
    n_queries: usize,
) -> Vec<RankerInfo> {
    let first_stage = RankerInfo {
        name: FIRST_STAGE.to_owned(),
        adapter_digest: None,
        seconds_per_query: candidates.seconds().map(|seconds| seconds / n_queries.max(1) as f64),
    };
    let info = |(n, ranker): (usize, &RankedBy)| RankerInfo {
        name: ranker.name.clone(),
        adapter_digest: ranker.model.adapter.as_ref().map(|adapter| adapter.digest.to_string()),
        seconds_per_query: scorer.seconds_per_query(n, n_queries),
    };
    let of_cascade = |(n, cascade): (usize, &Cascade)| RankerInfo {
        name: cascade.name.clone(),
        adapter_digest: None,
        seconds_per_query: scorer.seconds_per_query_of_cascade(n, n_queries),
    };
    let adapters = rankers.iter().enumerate().map(info);
    std::iter::once(first_stage).chain(adapters).chain(cascades.iter().enumerate().map(of_cascade)).collect()
}

fn write_runs(
    folder: &Path,
    evaluation: &Evaluation,
    queries: &[ScoredQuery],
    options: &EvaluationOptions,
) -> anyhow::Result<()> {
    for (n, ranker) in evaluation.rankers.iter().enumerate() {
        let rankings: Vec<_> = queries
            .iter()
            .map(|query| (query.topic.id.as_str(), ranking(query, n, options.depth, options.ties)))
            .collect();
        // A name may have `/`, which a file's name cannot.
        let path = folder.join(format!("{}.run", ranker.name.replace('/', "_")));
        write_run(&path, &format!("lorank-{}", ranker.name), rankings.iter().map(|(id, ranking)| (*id, &ranking[..])))?;
    }
    Ok(())
}

/// The queries in which a ranker loses most against the baseline, with all rankings.
fn examples(
    evaluation: &Evaluation,
    queries: &[ScoredQuery],
    collection: &Collection,
    candidates: &Candidates,
    options: &EvaluationOptions,
) -> anyhow::Result<Vec<Example>> {
    let worst = |query: usize| {
        let differences = (0..evaluation.rankers.len()).map(|ranker| {
            evaluation.queries[query].values[ranker][0]
                - evaluation.queries[query].values[evaluation.baseline_index()][0]
        });
        differences.fold(f64::INFINITY, f64::min)
    };
    let mut losing: Vec<(f64, usize)> =
        (0..queries.len()).map(|query| (worst(query), query)).filter(|(worst, _)| *worst < 0.0).collect();
    losing.sort_by(|a, b| a.0.total_cmp(&b.0));
    let example = |(_, query): &(f64, usize)| {
        let rankings = (0..evaluation.rankers.len()).map(|ranker| {
            let first = ranking(&queries[*query], ranker, options.depth, options.ties);
            first
                .iter()
                .take(N_EXAMPLE_HITS)
                .map(|hit| shown(&hit.document, &queries[*query], collection, candidates))
                .collect()
        });
        Ok(Example { query: *query, rankings: rankings.collect::<anyhow::Result<_>>()? })
    };
    losing.iter().take(N_EXAMPLES).map(example).collect()
}

fn shown(
    document: &str,
    query: &ScoredQuery,
    collection: &Collection,
    candidates: &Candidates,
) -> anyhow::Result<ExampleHit> {
    let found = candidates.read(&DocumentId::new(document), Score::new(0.0)?)?;
    let text = found.map_or(String::new(), |found| {
        let title = found.title.filter(|title| !title.is_empty());
        cut(&one_line(&title.unwrap_or(found.text)), 80)
    });
    let grade = collection.qrels.grades(&query.topic.id).and_then(|grades| grades.get(document)).copied();
    Ok(ExampleHit { document: document.to_owned(), grade, text })
}

/// The source of the candidates.
fn source(args: &EvalArgs) -> String {
    match &args.run {
        Some(run) => format!("candidates of `{}`", run.display()),
        None => args.first_stage.name(),
    }
}

/// The first line of the printed tables.
fn heading(evaluation: &Evaluation, bases: &[UsedBase], args: &EvalArgs) -> anyhow::Result<String> {
    let queries = if evaluation.n_queries == 1 { "query" } else { "queries" };
    let passages = args.passages_rule()?.map_or_else(String::new, |rule| format!(", passages {rule}"));
    Ok(format!(
        "{}: {} {queries}, {}, depth {}, {}{passages}",
        evaluation.collection,
        count(evaluation.n_queries),
        source(args),
        evaluation.depth,
        written(bases)
    ))
}
