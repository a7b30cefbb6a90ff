//! `lorank compare`: ranks the candidates of one query by several adapters.

use std::io::Write;
use std::num::NonZeroUsize;

use anyhow::{Context, bail};
use clap::Args;
use lorank_core::{AdapterId, Filter, Fuzzy, Query, QuerySyntax};
use lorank_http::{AnswerShape, Comparison, RequestId};
use lorank_pipeline::{AdapterChoice, Answer, Pipeline, PipelineConfig, PipelineError, Ranker, SearchRequest};
use lorank_server::AdapterSpec;

use super::first_stage::FirstStageArgs;
use super::search::{FuzzyArg, SyntaxArg};
use crate::data::DataArgs;
use crate::flags::{ModelFlags, PassageFlags};
use crate::output::compare::{Order, Row, render};
use crate::output::style::{STRONG, paint};
use crate::output::text::{counted, duration};
use crate::{models, output};

/// Compare the rankings of several adapters and of the first stage for one query
///
/// The candidates are retrieved once and scored together. An arrow shows how far a hit moved from its rank in first-stage
/// order.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    first_stage: FirstStageArgs,
    /// Query text
    #[arg(value_name = "QUERY")]
    query: String,
    /// Adapter: a starter's name, a folder, a name in the registry, or hf://owner/name[@revision]; none for the base model
    /// without an adapter, or the name of one of several base models; repeatable [default with --base: the bare base models]
    #[arg(
        long = "adapter",
        value_name = "[ID[@BASE]=]ADAPTER",
        required_unless_present = "model.base",
        help_heading = "Model options"
    )]
    adapters: Vec<AdapterSpec>,
    /// Number of candidates to rerank
    #[arg(long, value_name = "N", default_value = "100")]
    depth: NonZeroUsize,
    /// Number of hits to show
    #[arg(long, value_name = "N", default_value = "10")]
    top_k: NonZeroUsize,
    /// Filter by a stored field, such as `lang=en` or `year>=1990`; repeatable
    #[arg(long = "filter", value_name = "FIELD OP VALUE")]
    filters: Vec<Filter>,
    /// Query syntax
    #[arg(long, value_name = "SYNTAX", value_enum, default_value_t)]
    syntax: SyntaxArg,
    /// Typo tolerance: one typo in words of five or more letters, two in words of nine or more
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    fuzzy: FuzzyArg,
    /// What the model shall judge, instead of its own instruction; an error if its prompt has no place for an instruction
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,
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

pub(crate) fn run(args: &CompareArgs, is_quiet: bool) -> anyhow::Result<()> {
    let first_stage = args.first_stage.open()?;
    let models = models::load(&args.model.section(&args.adapters)?, args.data.folder().ok(), is_quiet)?;
    let rankers = rankers(&models.rankers())?;
    let default = PipelineConfig::default();
    let (passages, passages_max) = args.passages.read()?;
    let config = PipelineConfig {
        passages_max,
        depth_max: default.depth_max.max(args.depth),
        page_end_max: default.page_end_max.max(args.top_k),
        query_bytes_max: default
            .query_bytes_max
            .max(args.query.len())
            .max(args.instruction.as_ref().map_or(0, String::len)),
        ..default
    };
    let pipeline = Pipeline::new(first_stage, models.bases, config)?;
    let query = Query {
        text: args.query.clone(),
        syntax: QuerySyntax::from(args.syntax),
        fuzzy: Fuzzy::from(args.fuzzy),
        filters: args.filters.clone(),
        instruction: args.instruction.clone(),
    };
    let request = SearchRequest {
        depth: Some(args.depth),
        top_k: Some(args.top_k),
        snippets: args.json,
        passages,
        ..SearchRequest::from_query(query)
    };
    let ranked =
        pipeline.search_each(&request, rankers.into_iter().map(|ranker| (ranker.to_string(), ranker)))?.into_iter();
    let answers: Vec<(String, Answer)> =
        ranked.map(|ranked| Ok((ranked.key, ranked.answer?))).collect::<Result<_, PipelineError>>()?;
    let named: Vec<(&str, &Answer)> = answers.iter().map(|(name, answer)| (name.as_str(), answer)).collect();
    if args.json {
        let comparison = Comparison::shaped(&args.query, &named, &RequestId::generate(), &AnswerShape::default());
        return output::print_json(&comparison);
    }
    let orders: Vec<Order> = named.iter().map(|(name, answer)| order(name, answer)).collect();
    let mut out = output::stdout();
    for (name, warning) in named.iter().flat_map(|(name, answer)| answer.warnings.iter().map(move |it| (name, it))) {
        writeln!(out, "{}: {name}: {warning}\n", paint(STRONG, "warning"))?;
    }
    write!(out, "{}", render(&orders.iter().collect::<Vec<_>>(), output::columns()))?;
    writeln!(out, "\n{} of depth {}", counted(answers[0].1.n_candidates, "candidate"), args.depth)?;
    Ok(out.flush()?)
}

/// The first stage and the adapters.
fn rankers(adapters: &[Option<AdapterId>]) -> anyhow::Result<Vec<Ranker>> {
    let mut rankers = vec![Ranker::FirstStage];
    for adapter in adapters {
        let name = adapter.as_ref().map_or(AdapterChoice::BASE, AdapterId::as_str);
        let ranker = name.parse().context("invalid adapter name")?;
        if rankers.contains(&ranker) {
            bail!("duplicate adapter `{name}`; compare different adapters");
        }
        rankers.push(ranker);
    }
    Ok(rankers)
}

fn order(name: &str, answer: &Answer) -> Order {
    let timings = &answer.timings;
    let heading = match &answer.fallback {
        Some(fallback) => format!("{name}: {fallback}"),
        None if !answer.reranked => format!("{name}, {}", duration(timings.first_stage)),
        None => format!("{name}, {}", duration(timings.cache + timings.rerank)),
    };
    let entries = answer.hits.iter().map(|hit| {
        let candidate = &hit.candidate;
        let text = candidate.title.as_deref().filter(|title| !title.is_empty()).unwrap_or(&candidate.text);
        Row {
            rank: hit.rank,
            first_stage_rank: answer.reranked.then_some(hit.first_stage_rank),
            is_relevant: false,
            text: format!("{}  {}", candidate.id, text.chars().take(200).collect::<String>()),
        }
    });
    Order { heading, entries: entries.collect() }
}
