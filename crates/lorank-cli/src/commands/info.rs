//! `lorank info`: describes this build, a model or an index.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use lorank_core::{AdapterId, Reranker};
use lorank_model::{AdapterSummary, BaseModels, BaseSummary, GpuFacts, ModelReranker, NamedBase, Prompt};
use lorank_server::{AdapterSpec, starter};
use lorank_tantivy::{Index, IndexSettings, IndexStats};
use serde_json::{Value, json};

use crate::data::DataArgs;
use crate::flags::ModelFlags;
use crate::output::text::count;
use crate::{environment, models, output};

/// Show information about this build, with --index about an index, with --base and --adapter about a model
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// Folder of an index
    #[arg(long, value_name = "DIR")]
    index: Option<PathBuf>,
    /// Adapter to load on its base model; repeatable [default: all built-in adapters on the built-in model]
    #[arg(long = "adapter", value_name = "[ID[@BASE]=]ADAPTER", help_heading = "Model options")]
    adapters: Vec<AdapterSpec>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelFlags,
    #[command(flatten)]
    data: DataArgs,
}

/// The features, and whether this build has them.
const FEATURES: [(&str, bool); 4] = [
    ("starter", cfg!(feature = "starter")),
    ("cuda", cfg!(feature = "cuda")),
    ("metal", cfg!(feature = "metal")),
    ("otlp", cfg!(feature = "otlp")),
];

pub(crate) fn run(args: &InfoArgs, is_quiet: bool) -> anyhow::Result<()> {
    let index = args.index.as_deref().map(Index::open).transpose()?;
    let index = index.as_ref().map(|index| Ok::<_, anyhow::Error>((index.settings(), index.stats()?))).transpose()?;
    // `--index` alone does not load a model.
    let section = args.model.section(&args.adapters)?;
    let is_named = !section.base.is_empty() || !section.adapters.is_empty();
    let is_wanted = is_named || (index.is_none() && starter::BASE.is_some());
    let load = || models::load(&section.with_starter_adapters(), args.data.folder().ok(), is_quiet);
    let models = is_wanted.then(load).transpose()?;
    let bases = models.as_ref().map(|models| &models.bases);
    if args.json { print_json(bases, index) } else { print_text(bases, index) }
}

fn print_text(bases: Option<&BaseModels>, index: Option<(&IndexSettings, IndexStats)>) -> anyhow::Result<()> {
    let mut out = output::stdout();
    let mut line = |name: &str, value: String| writeln!(out, "{name:<14}{value}");
    line("version", env!("CARGO_PKG_VERSION").to_owned())?;
    let features = FEATURES.iter().filter(|(_, is_on)| *is_on).map(|(name, _)| *name).collect::<Vec<_>>();
    line("features", if features.is_empty() { "none".into() } else { features.join(", ") })?;
    let hub = environment::hub();
    line("hub cache", format!("{}{}", hub.cache.display(), if hub.offline { " (offline)" } else { "" }))?;
    match bases {
        None if starter::BASE.is_none() => line("base model", "none in this build; name one with --base".into())?,
        None => {}
        Some(bases) => {
            for base in bases.iter() {
                if !bases.is_one() {
                    line("", String::new())?;
                    line("name", names(base))?;
                }
                describe_model(base.reranker()).into_iter().try_for_each(|(name, value)| line(name, value))?;
            }
            if !bases.is_one() {
                let sum = indicatif::HumanBytes(bases.n_bytes() as u64);
                line("", String::new())?;
                line("memory", format!("{sum} of weights in {} base models", bases.iter().len()))?;
            }
        }
    }
    if let Some((settings, stats)) = index {
        let fields = settings.text_fields.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let n_documents = count(usize::try_from(stats.n_documents)?);
        let size = indicatif::HumanBytes(stats.bytes_on_disk);
        line("index", format!("{n_documents} documents in {} segments, {size}", stats.n_segments))?;
        let id_field = settings.id_field.as_deref().unwrap_or("id, or a digest");
        line("", format!("searched: {fields}; id: {id_field}; language: {}", settings.language))?;
    }
    Ok(out.flush()?)
}

/// The name of a base model, and the further ones.
fn names(base: &NamedBase) -> String {
    let others = base.names().iter().map(|name| name.as_str()).filter(|name| *name != base.name());
    let others = others.collect::<Vec<_>>().join(", ");
    if others.is_empty() { base.name().to_owned() } else { format!("{} (also: {others})", base.name()) }
}

/// The lines about a base model with its adapters.
fn describe_model(reranker: &ModelReranker) -> Vec<(&'static str, String)> {
    let base = reranker.base();
    let n_bytes = indicatif::HumanBytes(reranker.n_bytes() as u64);
    let head = if base.has_head { "" } else { ", without a score head" };
    let (n_weights, digest) = (count(base.n_parameters), base.digest.short());
    let mut lines = vec![
        ("device", reranker.device().to_owned()),
        ("engine", format!("{}, up to {} tokens per batch", reranker.engine(), reranker.batch_tokens())),
    ];
    lines.extend(reranker.gpus().iter().flat_map(describe_gpu));
    lines.extend(reranker.left_out_instructions().into_iter().map(|(set, why)| ("left out", format!("{set}: {why}"))));
    lines.extend([
        ("precision", format!("{}, {n_bytes} of weights in memory", reranker.precision())),
        ("", reranker.precision_reason().to_owned()),
    ]);
    // A GPU has no int8.
    lines.extend(
        (reranker.device() == "cpu").then(|| ("int8", format!("{} (`--precision int8`)", reranker.int8_form()))),
    );
    lines.extend([
        ("base model", format!("{} ({}, {n_weights} weights{head}, digest {digest})", base.name, base.architecture)),
        ("score", describe_score(base)),
    ]);
    lines.extend(describe_prompt(reranker.prompt()));
    lines.push(("targets", base.linear_targets.join(", ")));
    lines.push(("", format!("also: {}", base.other_targets.join(", "))));
    let full_names = of_any_layer(base.linear_modules.iter().chain(&base.other_modules));
    let labels = ["full names"].into_iter().chain(std::iter::repeat(""));
    lines.extend(labels.zip(full_names));
    for adapter in reranker.adapters() {
        lines.push(("adapter", describe(&adapter)));
        lines.push(("", format!("{}, {}", adapter.precision, adapter.precision_reason)));
    }
    lines
}

/// The lines about a GPU.
fn describe_gpu(gpu: &GpuFacts) -> Vec<(&'static str, String)> {
    let bytes = |n: usize| indicatif::HumanBytes(n as u64);
    let known = |facts: &[(&str, &Option<String>)]| {
        let known = facts.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
        known.collect::<Vec<_>>().join(", ")
    };
    let capability = known(&[("compute capability", &gpu.compute_capability)]);
    let libraries = known(&[("driver for CUDA", &gpu.driver), ("cublasLt", &gpu.cublaslt), ("NVRTC", &gpu.nvrtc)]);
    let origin = if gpu.has_compiled { "compiled" } else { "read from the cache" };
    let kernels = format!("kernels {origin} in {} ms", gpu.kernels_millis);
    let free = match (gpu.memory_free, gpu.memory_total) {
        (Some(free), Some(total)) => format!("{} of {} free", bytes(free), bytes(total)),
        _ => "unknown memory".to_owned(),
    };
    let memory =
        format!("{free}, {} of weights, {} for activations", bytes(gpu.weights_bytes), bytes(gpu.activation_bytes));
    let tokens = format!("passes of up to {} tokens: {}", gpu.tokens_max, gpu.tokens_limit.describe());
    let slots = format!("{} of {} adapter slots in use", gpu.adapter_slots_used, gpu.adapter_slots);
    let joined = |parts: &[&str]| {
        let known = parts.iter().copied().filter(|part| !part.is_empty());
        known.collect::<Vec<_>>().join(", ")
    };
    let mut lines = vec![
        ("gpu", joined(&[&gpu.device, &gpu.name, &capability])),
        ("", joined(&[&libraries, &kernels])),
        ("", memory),
        ("", tokens),
        ("", slots),
    ];
    lines.extend(gpu.failure.as_ref().map(|why| ("", format!("failed: {why}"))));
    lines
}

fn describe_score(base: &BaseSummary) -> String {
    match (&base.score_tokens[..], &base.score_label) {
        ([positive, negative], _) => format!("logit of `{positive}` minus logit of `{negative}`"),
        ([positive], _) => format!("logit of `{positive}`"),
        (_, Some(label)) => format!("score head, label `{label}`"),
        _ if base.has_head => "score head".to_owned(),
        _ => "none without an adapter: the base model has no score head".to_owned(),
    }
}

/// The lines about a prompt. Templates are JSON strings, because they may have line breaks.
fn describe_prompt(prompt: &Prompt) -> Vec<(&'static str, String)> {
    let form = if prompt.is_whole() { "the parts of one sequence" } else { "a pair of texts" };
    let mut lines = vec![("prompt", format!("{form}, at most {} tokens", prompt.max_length()))];
    lines.extend(prompt.templates().into_iter().map(|template| ("", Value::from(template).to_string())));
    lines.extend(prompt.instruction().map(|instruction| ("instruction", Value::from(instruction).to_string())));
    lines
}

/// The names of modules, with `N` in place of layers' numbers.
fn of_any_layer<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in names {
        let part = |part| if str::parse::<usize>(part).is_ok() { "N" } else { part };
        let name = name.split('.').map(part).collect::<Vec<_>>().join(".");
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

fn describe(adapter: &AdapterSummary) -> String {
    format!(
        "{} (rank {} on {} layers, {} weights, max_length {}, digest {})",
        adapter.version.id,
        adapter.rank,
        adapter.n_targets,
        count(adapter.n_parameters),
        adapter.max_length,
        adapter.version.digest.short()
    )
}

fn print_json(bases: Option<&BaseModels>, index: Option<(&IndexSettings, IndexStats)>) -> anyhow::Result<()> {
    let hub = environment::hub();
    let features = FEATURES.iter().map(|(name, is_on)| ((*name).to_owned(), Value::from(*is_on)));
    output::print_json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "features": features.collect::<serde_json::Map<_, _>>(),
        "hub": {"cache": hub.cache, "offline": hub.offline},
        "model": bases.map(|bases| model_info(bases.first())),
        "models": bases.map(|bases| {
            let model = |base: &NamedBase| json!({"names": name_list(base), "model": model_info(base.reranker())});
            bases.iter().map(model).collect::<Vec<_>>()
        }),
        "models_bytes": bases.map(BaseModels::n_bytes),
        "index": index.map(|(settings, stats)| index_info(settings, &stats)),
    }))
}

/// An index, as the member `index` of `lorank info --json`.
pub fn index_info(settings: &IndexSettings, stats: &IndexStats) -> Value {
    json!({
        "n_documents": stats.n_documents,
        "n_segments": stats.n_segments,
        "bytes_on_disk": stats.bytes_on_disk,
        "text_fields": settings.text_fields.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "id_field": settings.id_field,
        "language": settings.language.name(),
    })
}

fn name_list(base: &NamedBase) -> Vec<&str> {
    base.names().iter().map(|name| name.as_str()).collect()
}

/// A base model and its adapters, as the member `model` of `lorank info --json`.
pub fn model_info(reranker: &ModelReranker) -> Value {
    let base = reranker.base();
    let adapter = |adapter: AdapterSummary| {
        json!({
            "id": adapter.version.id.as_str(),
            "digest": adapter.version.digest.to_string(),
            "trained_on": adapter.trained_on,
            "rank": adapter.rank,
            "n_targets": adapter.n_targets,
            "n_parameters": adapter.n_parameters,
            "max_length": adapter.max_length,
            "merged_bytes": adapter.merged_bytes,
            "precision": adapter.precision.name(),
            "precision_reason": adapter.precision_reason,
            "int8": measurement(reranker, Some(&adapter.version.id)),
        })
    };
    let left_out = reranker.left_out_instructions().into_iter().map(|(set, why)| json!({"set": set, "why": why}));
    json!({
        "base_model": base.name,
        "digest": base.digest.to_string(),
        "architecture": base.architecture,
        "n_parameters": base.n_parameters,
        "has_head": base.has_head,
        "max_length": base.max_length,
        "score_tokens": base.score_tokens,
        "score_label": base.score_label,
        "prompt": {
            "is_whole": reranker.prompt().is_whole(),
            "templates": reranker.prompt().templates(),
            "instruction": reranker.prompt().instruction(),
        },
        "linear_targets": base.linear_targets,
        "other_targets": base.other_targets,
        "linear_modules": base.linear_modules,
        "other_modules": base.other_modules,
        "device": reranker.device(),
        "engine": reranker.engine(),
        "gpus": reranker.gpus().iter().map(gpu_json).collect::<Vec<_>>(),
        "left_out_instructions": left_out.collect::<Vec<_>>(),
        "precision": reranker.precision().name(),
        "precision_reason": reranker.precision_reason(),
        "int8": measurement(reranker, None),
        "int8_form": reranker.int8_form(),
        "tokens_max": reranker.tokens_max(),
        "n_bytes": reranker.n_bytes(),
        "adapters": reranker.adapters().into_iter().map(adapter).collect::<Vec<_>>(),
    })
}

/// The measurement of how int8 ranks with an adapter; null if there is none.
fn measurement(reranker: &ModelReranker, adapter: Option<&AdapterId>) -> Value {
    let ranking = reranker.resolve(adapter).ok().and_then(|model| reranker.int8_ranking(&model).cloned());
    ranking.map_or(Value::Null, |ranking| json!({"holds": ranking.holds(), "measurement": ranking}))
}

fn gpu_json(gpu: &GpuFacts) -> Value {
    json!({
        "device": gpu.device,
        "failure": gpu.failure,
        "name": gpu.name,
        "compute_capability": gpu.compute_capability,
        "driver_cuda": gpu.driver,
        "cublaslt": gpu.cublaslt,
        "nvrtc": gpu.nvrtc,
        "kernels_millis": gpu.kernels_millis,
        "kernels_compiled": gpu.has_compiled,
        "memory_bytes": gpu.memory_total,
        "memory_free_bytes": gpu.memory_free,
        "weights_bytes": gpu.weights_bytes,
        "activation_bytes": gpu.activation_bytes,
        "tokens_max": gpu.tokens_max,
        "tokens_limit": gpu.tokens_limit.describe(),
        "adapter_slots": gpu.adapter_slots,
        "adapter_slots_used": gpu.adapter_slots_used,
        "n_passes_halved": gpu.n_passes_halved,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_layers_are_shown_once() {
        let names = ["encoder.layer.0.output.dense", "encoder.layer.11.output.dense", "pooler.dense", "score2"];
        let names = names.map(str::to_owned);
        assert_eq!(of_any_layer(names.iter()), ["encoder.layer.N.output.dense", "pooler.dense", "score2"]);
    }
}
