//! `lorank search`: one query against an index.

use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, ValueEnum};
use lorank_core::{
    AdapterId, BlendWeight, BoxError, Deadline, EncodedPair, Filter, Fuzzy, Hit, ModelVersion, Query, QuerySyntax,
    RankedBy, Reranker, Score, ScoreOrigin, SortKey,
};
use lorank_http::{AnswerShape, RequestId, SearchAnswer};
use lorank_pipeline::{Answer, NamedRankBy, Pipeline, PipelineConfig, RankBy, RankByChoice, SearchRequest};
use lorank_server::{AdapterSpec, ModelSource};
use lorank_tantivy::{Bm25FirstStage, Index};

use super::index_dir::IndexDir;
use crate::data::DataArgs;
use crate::facet::{TypedFacet, parse_facet};
use crate::failure::WrongUsage;
use crate::flags::ModelFlags;
use crate::output::facets;
use crate::output::hits::{Row, emphasise, render};
use crate::output::style::{STRONG, paint};
use crate::output::text::{count, counted, duration, one_line};
use crate::{models, output};

/// Search an index: BM25 finds candidates, the model puts them in order
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    index: IndexDir,
    /// What is searched for
    #[arg(value_name = "QUERY", required_unless_present = "match_all", conflicts_with = "match_all")]
    query: Option<String>,
    /// Match every document instead of searching for a query, for filters, sort keys and facets; loads no model
    #[arg(long)]
    match_all: bool,
    /// The adapter: a starter's name, a folder, a name of the registry, or hf://owner/name[@revision]; none for the bare base model
    #[arg(long, value_name = "[ID=]ADAPTER", env = "LORANK_ADAPTER", help_heading = "Model options")]
    adapter: Option<AdapterSpec>,
    /// How many candidates are reranked [default: 100]
    #[arg(long, value_name = "N")]
    depth: Option<NonZeroUsize>,
    /// How many hits to show [default: 10]
    #[arg(long, value_name = "N")]
    top_k: Option<NonZeroUsize>,
    /// How many hits to leave out at the top
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: usize,
    /// Only documents for which this holds, as in `lang=en`, `year>=1990`; repeatable, and all must hold
    ///
    /// The operators are `=`, `!=`, `>`, `>=`, `<` and `<=`. `lang=en,de` is one of several values, `lang!=en,de` none of them, and two
    /// bounds make a range. A value is read by the types that the field has: numbers by value; true and false; dates, where `2024`,
    /// `2024-05` and `2024-05-01` are the whole year, month and day, and a time without a zone is in UTC; texts byte for byte. Double
    /// quotes stand around a value or a name with commas, operators or spaces at its ends. A document without the field meets `!=` alone.
    /// An unknown field, or a value of a type that the field never has, is an error
    #[arg(long = "filter", value_name = "FIELD OP VALUE")]
    filters: Vec<Filter>,
    /// Order the answer by this field and not by scores, as in `year` or `year:desc`; documents without it come last; no model
    /// is loaded; repeatable, the first one counts first
    #[arg(long, value_name = "FIELD[:desc]")]
    sort: Vec<SortKey>,
    /// Count the documents that match by this field: of its values, or of ranges as in `year=..1990,1990..2000,2000..`, which
    /// have their lower bound in them and their upper bound not; repeatable
    #[arg(long = "facet", value_name = "FIELD[=RANGES]", value_parser = parse_facet)]
    facets: Vec<TypedFacet>,
    /// How many values of a facet to show
    #[arg(long, value_name = "N", default_value = "10", requires = "facets")]
    facet_top_n: NonZeroUsize,
    /// How the query is read
    #[arg(long, value_name = "SYNTAX", value_enum, default_value_t, conflicts_with = "match_all")]
    syntax: SyntaxArg,
    /// Whether words with typos are found: one typo in words from five letters, two from nine
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, conflicts_with = "match_all")]
    fuzzy: FuzzyArg,
    /// Answer in first-stage order where the model takes longer than this
    #[arg(long, value_name = "N")]
    deadline_millis: Option<u64>,
    /// Keep the first stage's order; no model is loaded, and what only a model could honor (--adapter, --base, --blend and their like) is
    /// refused
    #[arg(long)]
    no_rerank: bool,
    /// How much the rerank score counts in the order, from 0 to 1; what is left of 1 is the first stage's score [default: 1]
    #[arg(long = "blend", value_name = "WEIGHT")]
    blend_weight: Option<BlendWeight>,
    /// Order the candidates by this expression and not by their scores, as in
    /// `sigmoid(rerank_score) * exp_decay(age_days(published), 30)`; it reads rerank_score, first_stage_score,
    /// first_stage_rank, now and stored fields (see docs/searching.md)
    #[arg(long, value_name = "EXPRESSION")]
    rank_by: Option<RankBy>,
    /// Leave out documents with a lower rerank score, and those past the depth, which have none
    #[arg(long, value_name = "SCORE", value_parser = parse_score, allow_negative_numbers = true)]
    min_rerank_score: Option<Score>,
    /// Show how each hit came to its place, and how long each step took
    #[arg(long)]
    explain: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum SyntaxArg {
    /// Words; nothing in them is an operator, but `so*` finds the words that begin so
    #[default]
    Plain,
    /// tantivy's query language: "a phrase", title:word, +must, -not, AND, OR, NOT, so*, typo~
    Advanced,
}

/// When a plain query finds words that are spelled almost like its own.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum FuzzyArg {
    /// Never
    Off,
    /// For a word that no document has, and for all words where fewer than five documents match
    #[default]
    Auto,
    /// For all words; documents that have them as they are written come first
    On,
}

impl From<FuzzyArg> for Fuzzy {
    fn from(fuzzy: FuzzyArg) -> Self {
        match fuzzy {
            FuzzyArg::Off => Self::Off,
            FuzzyArg::Auto => Self::Auto,
            FuzzyArg::On => Self::On,
        }
    }
}

impl From<SyntaxArg> for QuerySyntax {
    fn from(syntax: SyntaxArg) -> Self {
        match syntax {
            SyntaxArg::Plain => Self::Plain,
            SyntaxArg::Advanced => Self::Advanced,
        }
    }
}

/// Runs the command. `matches` are its parsed arguments.
pub(crate) fn run(args: &SearchArgs, matches: &ArgMatches, is_quiet: bool) -> anyhow::Result<()> {
    let first_stage = Bm25FirstStage::new(Index::open(&args.index.dir)?);
    args.check_order(&flags_of_models(matches))?;
    args.check_fuzzy()?;
    let (reranker, default_adapter): (Arc<dyn Reranker>, _) = if !args.reranks() {
        (Arc::new(NoReranker), None)
    } else {
        let models = models::load(&args.model.section(args.adapter.as_slice())?, args.data.folder().ok(), is_quiet)?;
        let default_adapter = models.default_adapter();
        (Arc::new(models.reranker), default_adapter)
    };
    let config = PipelineConfig { rank_by_names: args.rank_by_names()?, ..args.config(default_adapter) };
    let pipeline = Pipeline::new(first_stage, reranker, config)?;
    let answer = pipeline.search(&args.request())?;
    if args.json {
        let shape = AnswerShape { explain: args.explain, ..AnswerShape::default() };
        let query = args.query.as_deref().unwrap_or_default();
        return output::print_json(&SearchAnswer::shaped(query, &answer, &RequestId::generate(), &shape));
    }
    let mut out = output::stdout();
    write!(out, "{}", text(args, &answer, output::columns()))?;
    Ok(out.flush()?)
}

impl SearchArgs {
    /// The limits protect a server from its callers; who types a command may go past them.
    fn config(&self, default_adapter: Option<AdapterId>) -> PipelineConfig {
        let default = PipelineConfig::default();
        let page_end = self.offset.saturating_add(self.top_k.unwrap_or(default.top_k).get());
        PipelineConfig {
            depth_max: default.depth_max.max(self.depth.unwrap_or(default.depth)),
            page_end_max: default.page_end_max.max(NonZeroUsize::new(page_end).unwrap_or(NonZeroUsize::MIN)),
            query_bytes_max: default.query_bytes_max.max(self.query.as_ref().map_or(0, String::len)),
            default_adapter,
            ..default
        }
    }

    /// The expressions of the registry's aliases, where the adapter may be one of them.
    fn rank_by_names(&self) -> anyhow::Result<Option<Arc<dyn NamedRankBy>>> {
        let is_word = matches!(&self.adapter, Some(AdapterSpec::Adapter { source: ModelSource::Word(_), .. }));
        let data = self.data.folder().ok().filter(|_| self.reranks() && is_word);
        Ok(data.map(|data| data.alias_rank_by()).transpose()?)
    }

    fn request(&self) -> SearchRequest {
        let query = match &self.query {
            Some(text) => {
                let (syntax, fuzzy) = (QuerySyntax::from(self.syntax), Fuzzy::from(self.fuzzy));
                Query { syntax, fuzzy, ..Query::new(text.as_str()) }
            }
            None => Query::match_all(),
        };
        SearchRequest {
            depth: self.depth,
            top_k: self.top_k,
            offset: self.offset,
            rerank: self.reranks(),
            sort: self.sort.clone(),
            facets: self.facets.iter().map(|facet| facet.request(self.facet_top_n)).collect(),
            blend_weight: self.blend_weight.unwrap_or_default(),
            rank_by: self.rank_by.clone().map_or(RankByChoice::Default, |it| RankByChoice::Expression(Arc::new(it))),
            min_rerank_score: self.min_rerank_score,
            deadline: self.deadline_millis.map(Duration::from_millis).and_then(Deadline::after),
            snippets: true,
            ..SearchRequest::from_query(Query { filters: self.filters.clone(), ..query })
        }
    }

    /// Whether a model orders the answer.
    fn reranks(&self) -> bool {
        !self.no_rerank && !self.match_all && self.sort.is_empty()
    }

    /// Refuses what only a model's order could honour where there is none.
    fn check_order(&self, flags_of_models: &[String]) -> Result<(), WrongUsage> {
        let keys =
            [("--sort", !self.sort.is_empty()), ("--match-all", self.match_all), ("--no-rerank", self.no_rerank)];
        let Some((why, _)) = keys.into_iter().find(|(_, is_given)| *is_given) else { return Ok(()) };
        let own = [("--blend", self.blend_weight.is_some()), ("--min-rerank-score", self.min_rerank_score.is_some())];
        let own = own.iter().find_map(|(flag, is_given)| is_given.then_some(*flag));
        match own.or(flags_of_models.first().map(String::as_str)) {
            Some(flag) => Err(WrongUsage(format!("{flag} cannot be used with {why}: such an answer is not reranked"))),
            None => Ok(()),
        }
    }

    /// Refuses typos of all words where a query says itself which words may have some.
    fn check_fuzzy(&self) -> Result<(), WrongUsage> {
        match (self.fuzzy, self.syntax) {
            (FuzzyArg::On, SyntaxArg::Advanced) => Err(WrongUsage(
                "--fuzzy on is for a plain query; in the advanced syntax write `word~` for one typo, `word~2` for two"
                    .into(),
            )),
            _ => Ok(()),
        }
    }
}

/// The flags of the command line that say which model ranks, and how. A variable of the environment is for all commands.
fn flags_of_models(matches: &ArgMatches) -> Vec<String> {
    let of_models = ModelFlags::augment_args(Command::new("model"));
    let is_given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let given = of_models.get_arguments().filter(|flag| is_given(flag.get_id().as_str()));
    let names = given.filter_map(|flag| flag.get_long()).chain(is_given("adapter").then_some("adapter"));
    names.map(|name| format!("--{name}")).collect()
}

fn parse_score(text: &str) -> Result<Score, String> {
    text.parse().ok().and_then(|score| Score::new(score).ok()).ok_or_else(|| format!("`{text}` is not a score"))
}

/// Stands where a model would, in a search that asks for none.
struct NoReranker;

impl Reranker for NoReranker {
    fn resolve(&self, _adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        Err("reranking is switched off".into())
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        batch.iter().map(|_| Err("reranking is switched off".into())).collect()
    }
}

/// The answer for people.
fn text(args: &SearchArgs, answer: &Answer, columns: usize) -> String {
    let mut text = String::new();
    if let Some(fallback) = &answer.fallback {
        text += &format!("{}: {fallback}\n\n", paint(STRONG, "in first-stage order"));
    }
    for warning in &answer.warnings {
        text += &format!("{}: {warning}\n\n", paint(STRONG, "warning"));
    }
    match answer.hits.as_slice() {
        [] if args.offset > 0 => text += "no hits so far down the list\n",
        [] if answer.n_left_out.is_some_and(|n| n > 0) => text += "no document has so high a rerank score\n",
        [] => text += "no document matches\n",
        hits => {
            let rows: Vec<Row> = hits.iter().map(|hit| row(hit, args.explain)).collect();
            text += &render(&rows, columns);
        }
    }
    text += &facets::render(&answer.facets);
    text + "\n" + &if args.explain { explanation(answer) } else { summary(args, answer) }
}

fn row(hit: &Hit, is_explained: bool) -> Row {
    let candidate = &hit.candidate;
    let beginning = || one_line(&candidate.text.chars().take(400).collect::<String>());
    let origin = match hit.score_origin {
        Some(ScoreOrigin::Cache) => ", score from the cache",
        Some(ScoreOrigin::Model) => ", score from the model",
        None => ", not reranked",
    };
    let blend = hit.blend.map_or_else(String::new, |blend| {
        let (rerank, first_stage) = (blend.normalised_rerank_score, blend.normalised_first_stage_score);
        format!(", blended score {:.3} of {rerank:.3} and {first_stage:.3}", blend.blended_score)
    });
    let ranked_by = hit.ranked_by.as_ref().map_or_else(String::new, ranked_by);
    Row {
        rank: hit.rank,
        first_stage_rank: hit.first_stage_rank,
        rerank_score: hit.rerank_score.map(Score::get),
        first_stage_score: Some(candidate.first_stage_score.get()),
        id: candidate.id.to_string(),
        title: candidate.title.as_deref().map(str::to_owned),
        passage: hit.snippet.as_ref().map_or_else(beginning, emphasise),
        note: is_explained.then(|| format!("first-stage rank {}{origin}{blend}{ranked_by}", hit.first_stage_rank)),
    }
}

/// The value of an expression, and what it was made of.
fn ranked_by(RankedBy { value, inputs }: &RankedBy) -> String {
    let number = |value: &Option<f64>| value.map_or("no number".to_owned(), |value| format!("{value:.4}"));
    let inputs: Vec<String> = inputs.iter().map(|(name, value)| format!("{name} {}", number(value))).collect();
    let of = if inputs.is_empty() { String::new() } else { format!(" of {}", inputs.join(", ")) };
    format!(", ranked by {}{of}", number(value))
}

/// How many documents match.
fn matches(answer: &Answer) -> String {
    let n = usize::try_from(answer.total_hits.n()).unwrap_or(usize::MAX);
    let at_least = if answer.total_hits.relation() == "gte" { "at least " } else { "" };
    let verb = if n == 1 { "document matches" } else { "documents match" };
    format!("{at_least}{} {verb}", count(n))
}

fn summary(args: &SearchArgs, answer: &Answer) -> String {
    let matches = matches(answer);
    let took = duration(answer.timings.total);
    let left_out = answer.n_left_out.map_or_else(String::new, |n| format!(", {} left out", count(n)));
    match answer.model.as_ref().filter(|_| answer.reranked) {
        Some(model) => {
            let n_candidates = counted(answer.n_candidates, "candidate");
            format!("{matches}; {n_candidates} reranked by {} in {took}{left_out}\n", name(model))
        }
        None if !args.sort.is_empty() => {
            let keys: Vec<String> = args.sort.iter().map(SortKey::to_string).collect();
            format!("{matches}; sorted by {}, in {took}\n", keys.join(", "))
        }
        None => format!("{matches}; first-stage order, in {took}\n"),
    }
}

fn name(model: &ModelVersion) -> String {
    match &model.adapter {
        Some(adapter) => format!("{} with {}", model.base_model, adapter.id),
        None => model.base_model.clone(),
    }
}

fn explanation(answer: &Answer) -> String {
    let timings = &answer.timings;
    let left_out = answer.n_left_out.map_or_else(String::new, |n| format!(", {} left out", count(n)));
    let n_candidates = counted(answer.n_candidates, "candidate");
    let found = format!("{}, {n_candidates} within depth {}{left_out}", matches(answer), answer.depth);
    let cache = format!("{}, {} not cached", counted(answer.cache.hits, "cache hit"), count(answer.cache.misses));
    let model = answer.model.as_ref().map_or("not asked for".to_owned(), |model| {
        let adapter =
            model.adapter.as_ref().map_or(String::new(), |adapter| format!(", adapter {}", adapter.digest.short()));
        format!("{} (base {}{adapter}, {})", name(model), model.base_digest.short(), model.precision)
    });
    let by = answer.rank_by.as_ref().map_or_else(String::new, |rank_by| format!("ordered by {rank_by}"));
    let line = |step: &str, took, what: &str| format!("{step:<12}{:>9}  {what}\n", duration(took));
    line("first stage", timings.first_stage, &found)
        + &line("cache", timings.cache, &cache)
        + &line("rerank", timings.rerank, &model)
        + line("total", timings.total, &by).trim_end()
        + "\n"
}
