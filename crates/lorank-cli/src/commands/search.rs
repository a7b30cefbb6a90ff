//! `lorank search`: searches an index.

use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, ValueEnum};
use lorank_core::{
    AdapterId, BlendWeight, Deadline, Filter, Fuzzy, Hit, ModelVersion, Passage, Query, QuerySyntax, RankedBy,
    RerankStage, RerankStages, Reranker, Score, ScoreOrigin, SortKey,
};
use lorank_http::{AnswerShape, RequestId, SearchAnswer};
use lorank_pipeline::{Answer, NamedRankBy, NoReranker, Pipeline, PipelineConfig, RankBy, RankByChoice, SearchRequest};
use lorank_server::{AdapterSpec, ModelSource};

use super::first_stage::FirstStageArgs;
use super::search_stages::{self, adapters_to_load};
use crate::data::DataArgs;
use crate::facet::{TypedFacet, parse_facet};
use crate::failure::WrongUsage;
use crate::flags::{ModelFlags, PassageFlags};
use crate::output::facets;
use crate::output::hits::{Row, emphasise, render};
use crate::output::style::{STRONG, paint};
use crate::output::text::{count, counted, duration, one_line};
use crate::{models, output};

/// Search an index: BM25, or a search engine, finds candidates, the model reranks them
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    first_stage: FirstStageArgs,
    /// Query text
    #[arg(value_name = "QUERY", required_unless_present = "match_all", conflicts_with = "match_all")]
    query: Option<String>,
    /// Match every document instead of a query, for use with --filter, --sort and --facet; loads no model
    #[arg(long)]
    match_all: bool,
    /// Adapter: a starter's name, a folder, a name in the registry, or hf://owner/name[@revision]; none for the base model
    /// without an adapter
    #[arg(long, value_name = "[ID=]ADAPTER", env = "LORANK_ADAPTER", help_heading = "Model options")]
    adapter: Option<AdapterSpec>,
    /// Number of candidates to rerank [default: 100]
    #[arg(long, value_name = "N")]
    depth: Option<NonZeroUsize>,
    /// Rerank stage, such as `none@minilm:1000` or `minilm-qa:50:0.7`; repeatable, at most four: each reranks the first DEPTH
    /// candidates of the stage before it. SHARE is its share of the time left before the deadline, with a decimal point. The
    /// adapters are those of --adapter, by its ID, and others by their names
    #[arg(long = "stage", value_name = "ADAPTER[@BASE]:DEPTH[:SHARE]", conflicts_with = "depth")]
    stages: Vec<RerankStage>,
    /// Number of hits to show [default: 10]
    #[arg(long, value_name = "N")]
    top_k: Option<NonZeroUsize>,
    /// Number of top hits to skip
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: usize,
    /// Filter by a stored field, such as `lang=en` or `year>=1990`; repeatable, all filters must match
    ///
    /// The operators are `=`, `!=`, `>`, `>=`, `<` and `<=`. `lang=en,de` matches any of the values, `lang!=en,de` none of them; two
    /// bounds form a range. Values are parsed by the types of the field: numbers; true and false; dates, where `2024`, `2024-05` and
    /// `2024-05-01` are the whole year, month and day, and times without a zone are in UTC; texts, compared exactly. Put a value or name
    /// with commas, operators or outer spaces in double quotes. A document without the field only matches `!=`. An unknown field, or a
    /// value of a type that the field does not have, is an error
    #[arg(long = "filter", value_name = "FIELD OP VALUE")]
    filters: Vec<Filter>,
    /// Sort by this field instead of scores, such as `year` or `year:desc`; repeatable, in order of precedence. Documents
    /// without the field are last; no model is loaded
    #[arg(long, value_name = "FIELD[:desc]")]
    sort: Vec<SortKey>,
    /// Count the matching documents by the values of this field, or by ranges such as `year=..1990,1990..2000,2000..`, which
    /// include their lower bound and exclude their upper bound; repeatable
    #[arg(long = "facet", value_name = "FIELD[=RANGES]", value_parser = parse_facet)]
    facets: Vec<TypedFacet>,
    /// Number of values to show per facet
    #[arg(long, value_name = "N", default_value = "10", requires = "facets")]
    facet_top_n: NonZeroUsize,
    /// Query syntax
    #[arg(long, value_name = "SYNTAX", value_enum, default_value_t, conflicts_with = "match_all")]
    syntax: SyntaxArg,
    /// Typo tolerance: one typo in words of five or more letters, two in words of nine or more
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, conflicts_with = "match_all")]
    fuzzy: FuzzyArg,
    /// Deadline in milliseconds, after which the answer is in first-stage order
    #[arg(long, value_name = "N")]
    deadline_millis: Option<u64>,
    /// Keep first-stage order and load no model; flags that only affect reranking (--adapter, --base, --blend and others) are
    /// rejected
    #[arg(long)]
    no_rerank: bool,
    /// Weight w of the rerank score, from 0 to 1: hits are ordered by w * rerank_score + (1 - w) * first_stage_score, both
    /// normalized [default: 1]
    #[arg(long = "blend", value_name = "WEIGHT")]
    blend_weight: Option<BlendWeight>,
    /// Order the candidates by this expression instead of their scores, such as
    /// `sigmoid(rerank_score) * exp_decay(age_days(published), 30)`; names are rerank_score, first_stage_score,
    /// first_stage_rank, now and stored fields (see docs/searching.md)
    #[arg(long, value_name = "EXPRESSION")]
    rank_by: Option<RankBy>,
    /// What the model shall judge, instead of its own instruction; an error if its prompt has no place for an instruction
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,
    /// Minimum rerank score; also omits documents below the depth, which have none
    #[arg(long, value_name = "SCORE", value_parser = parse_score, allow_negative_numbers = true)]
    min_rerank_score: Option<Score>,
    /// Explain the rank of each hit, and show the duration of each step
    #[arg(long)]
    explain: bool,
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

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum SyntaxArg {
    /// Words without operators, except that `so*` matches words with this prefix
    #[default]
    Plain,
    /// tantivy's query language: "a phrase", title:word, +must, -not, AND, OR, NOT, so*, typo~
    Advanced,
}

/// Typo tolerance of plain queries.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum FuzzyArg {
    /// No typos
    Off,
    /// In words that no document has, and in all words if fewer than five documents match
    #[default]
    Auto,
    /// In all words; exact matches rank first
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
    let first_stage = args.first_stage.open()?;
    args.check_order(&flags_of_models(matches))?;
    args.check_fuzzy()?;
    let (reranker, default_adapter): (Arc<dyn Reranker>, _) = if !args.reranks() {
        (Arc::new(NoReranker), None)
    } else {
        let bases = args.model.section(&[])?.base_specs()?;
        let adapters = adapters_to_load(args.adapter.as_slice(), &args.stages, &bases);
        let models = models::load(&args.model.section(&adapters)?, args.data.folder().ok(), is_quiet)?;
        let default_adapter = models.default_adapter();
        (Arc::new(models.bases), default_adapter)
    };
    let (passages, passages_max) = args.passages.read()?;
    let config = PipelineConfig { rank_by_names: args.rank_by_names()?, passages_max, ..args.config(default_adapter) };
    let pipeline = Pipeline::new(first_stage, reranker, config)?;
    let answer = pipeline.search(&SearchRequest { passages, ..args.request()? })?;
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
    /// Without the limits, which protect servers from their clients.
    fn config(&self, default_adapter: Option<AdapterId>) -> PipelineConfig {
        let default = PipelineConfig::default();
        let page_end = self.offset.saturating_add(self.top_k.unwrap_or(default.top_k).get());
        PipelineConfig {
            depth_max: self.stages.iter().map(|stage| stage.depth).chain(self.depth).fold(default.depth_max, Ord::max),
            page_end_max: default.page_end_max.max(NonZeroUsize::new(page_end).unwrap_or(NonZeroUsize::MIN)),
            query_bytes_max: default.query_bytes_max.max(n_bytes(&self.query)).max(n_bytes(&self.instruction)),
            default_adapter,
            ..default
        }
    }

    /// The `rank_by` expressions of the registry's aliases, if the adapter may be an alias.
    fn rank_by_names(&self) -> anyhow::Result<Option<Arc<dyn NamedRankBy>>> {
        let is_word = matches!(&self.adapter, Some(AdapterSpec::Adapter { source: ModelSource::Word(_), .. }))
            || !self.stages.is_empty();
        let data = self.data.folder().ok().filter(|_| self.reranks() && is_word);
        Ok(data.map(|data| data.alias_rank_by()).transpose()?)
    }

    fn request(&self) -> Result<SearchRequest, WrongUsage> {
        let stages = (!self.stages.is_empty()).then(|| RerankStages::new(self.stages.clone())).transpose();
        let stages = stages.map_err(|error| WrongUsage(format!("--stage is invalid: {error}")))?;
        let query = match &self.query {
            Some(text) => {
                let (syntax, fuzzy) = (QuerySyntax::from(self.syntax), Fuzzy::from(self.fuzzy));
                Query { syntax, fuzzy, ..Query::new(text.as_str()) }
            }
            None => Query::match_all(),
        };
        Ok(SearchRequest {
            depth: self.depth,
            stages,
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
            ..SearchRequest::from_query(Query {
                filters: self.filters.clone(),
                instruction: self.instruction.clone(),
                ..query
            })
        })
    }

    /// Whether the answer is reranked.
    fn reranks(&self) -> bool {
        !self.no_rerank && !self.match_all && self.sort.is_empty()
    }

    /// Rejects flags that only affect reranking if the answer is not reranked.
    fn check_order(&self, flags_of_models: &[String]) -> Result<(), WrongUsage> {
        let keys =
            [("--sort", !self.sort.is_empty()), ("--match-all", self.match_all), ("--no-rerank", self.no_rerank)];
        let Some((why, _)) = keys.into_iter().find(|(_, is_given)| *is_given) else { return Ok(()) };
        let own = [
            ("--stage", !self.stages.is_empty()),
            ("--blend", self.blend_weight.is_some()),
            ("--min-rerank-score", self.min_rerank_score.is_some()),
            ("--instruction", self.instruction.is_some()),
        ];
        let own = own.iter().find_map(|(flag, is_given)| is_given.then_some(*flag));
        match own.or(flags_of_models.first().map(String::as_str)) {
            Some(flag) => Err(WrongUsage(format!("{flag} cannot be used with {why}: such an answer is not reranked"))),
            None => Ok(()),
        }
    }

    /// Rejects `--fuzzy on` with the advanced syntax, in which a query marks the words that may have typos.
    fn check_fuzzy(&self) -> Result<(), WrongUsage> {
        match (self.fuzzy, self.syntax) {
            (FuzzyArg::On, SyntaxArg::Advanced) => Err(WrongUsage(
                "--fuzzy on is only supported for plain queries; in the advanced syntax, use `word~` for one typo and `word~2` for two"
                    .into(),
            )),
            _ => Ok(()),
        }
    }
}

/// The given flags that select or configure the model. Environment variables apply to all commands, so they do not count.
fn flags_of_models(matches: &ArgMatches) -> Vec<String> {
    let of_models = PassageFlags::augment_args(ModelFlags::augment_args(Command::new("model")));
    let is_given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let given = of_models.get_arguments().filter(|flag| is_given(flag.get_id().as_str()));
    let names = given.filter_map(|flag| flag.get_long()).chain(is_given("adapter").then_some("adapter"));
    names.map(|name| format!("--{name}")).collect()
}

fn n_bytes(text: &Option<String>) -> usize {
    text.as_ref().map_or(0, String::len)
}

fn parse_score(text: &str) -> Result<Score, String> {
    text.parse().ok().and_then(|score| Score::new(score).ok()).ok_or_else(|| format!("`{text}` is not a score"))
}

/// The answer as text.
fn text(args: &SearchArgs, answer: &Answer, columns: usize) -> String {
    let mut text = String::new();
    if let Some(fallback) = &answer.fallback {
        let order = match answer.fallen_stage().filter(|_| answer.reranked) {
            Some(stage) => format!("stage {stage} did not rerank"),
            None => "in first-stage order".to_owned(),
        };
        text += &format!("{}: {fallback}\n\n", paint(STRONG, &order));
    }
    for warning in &answer.warnings {
        text += &format!("{}: {warning}\n\n", paint(STRONG, "warning"));
    }
    match answer.hits.as_slice() {
        [] if args.offset > 0 => text += "no hits at this offset\n",
        [] if answer.n_left_out.is_some_and(|n| n > 0) => text += "no document has this minimum rerank score\n",
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
    let passage = hit.passage.as_ref().map_or_else(String::new, |passage| format!(", {}", text_of_passage(passage)));
    let stages = search_stages::of_hit(hit);
    Row {
        rank: hit.rank,
        first_stage_rank: hit.first_stage_rank,
        rerank_score: hit.rerank_score.map(Score::get),
        first_stage_score: Some(candidate.first_stage_score.get()),
        id: candidate.id.to_string(),
        title: candidate.title.as_deref().map(str::to_owned),
        passage: hit.snippet.as_ref().map_or_else(beginning, emphasise),
        note: is_explained
            .then(|| format!("first-stage rank {}{origin}{blend}{ranked_by}{passage}{stages}", hit.first_stage_rank)),
    }
}

/// The place of a passage in its document.
pub(super) fn text_of_passage(passage: &Passage) -> String {
    let (span, n) = (passage.span(), passage.windows.len());
    let rest = if passage.is_complete { "" } else { ", the rest of the text was not scored" };
    format!("passage {} of {n} (bytes {} to {}{rest})", passage.best + 1, span.start, span.end)
}

/// The value of an expression, and its inputs.
fn ranked_by(RankedBy { value, inputs }: &RankedBy) -> String {
    let number = |value: &Option<f64>| value.map_or("not a number".to_owned(), |value| format!("{value:.4}"));
    let inputs: Vec<String> = inputs.iter().map(|(name, value)| format!("{name} {}", number(value))).collect();
    let of = if inputs.is_empty() { String::new() } else { format!(" of {}", inputs.join(", ")) };
    format!(", ranked by {}{of}", number(value))
}

/// The number of matching documents.
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

pub(super) fn name(model: &ModelVersion) -> String {
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
    let model = answer.model.as_ref().map_or("not requested".to_owned(), |model| {
        let adapter =
            model.adapter.as_ref().map_or(String::new(), |adapter| format!(", adapter {}", adapter.digest.short()));
        format!("{} (base {}{adapter}, {})", name(model), model.base_digest.short(), model.precision)
    });
    let by = answer.rank_by.as_ref().map_or_else(String::new, |rank_by| format!("ordered by {rank_by}"));
    let line = |step: &str, took, what: &str| format!("{step:<12}{:>9}  {what}\n", duration(took));
    line("first stage", timings.first_stage, &found)
        + &line("cache", timings.cache, &cache)
        + &search_stages::lines(answer, &name, &line)
        + &line("rerank", timings.rerank, &model)
        + line("total", timings.total, &by).trim_end()
        + "\n"
}
