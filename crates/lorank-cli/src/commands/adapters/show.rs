//! `lorank adapters list` and `show`: show the adapters of the registry.

use std::io::Write;

use clap::Args;
use lorank_adapters::{Entry, State};
use lorank_core::AdapterId;
use lorank_server::DataFolder;
use serde_json::{Map, json};

use super::server::{ServerArgs, ServerFacts};
use crate::output::table::{Side, render};
use crate::output::text::count;
use crate::{output, registry};

/// List the adapters, with their aliases
#[derive(Debug, Args)]
pub(crate) struct ListArgs {}

/// Show the details of an adapter
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Id or alias of the adapter
    id: AdapterId,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn list(data: &DataFolder, is_json: bool) -> anyhow::Result<()> {
    let registry = data.registry()?;
    let state = registry.state();
    if is_json {
        let adapters = state.adapters().map(|entry| registry::to_json(&state, entry));
        let aliases = state.aliases().map(|(name, id)| (name.to_string(), id.as_str().into()));
        let bases = state.base_aliases().map(|(name, base)| (name.to_string(), base.as_str().into()));
        let rank_by = state.rank_by().map(|(name, expression)| (name.to_string(), expression.into()));
        return output::print_json(&json!({
            "adapters": adapters.collect::<Vec<_>>(),
            "aliases": aliases.collect::<Map<_, _>>(),
            "bases": bases.collect::<Map<_, _>>(),
            "rank_by": rank_by.collect::<Map<_, _>>(),
        }));
    }
    let mut out = output::stdout();
    if state.adapters().len() + state.base_aliases().len() == 0 {
        let folder = registry.location();
        writeln!(out, "`{folder}` has no adapters; add one with `lorank adapters add ID SOURCE`")?;
    } else {
        if state.adapters().len() > 0 {
            write!(out, "{}", table(&state))?;
        }
        for (alias, base) in state.base_aliases() {
            writeln!(out, "{alias} points to the base model {base}")?;
        }
        for (alias, expression) in state.rank_by() {
            writeln!(out, "answers of {alias} are ordered by `{expression}`")?;
        }
    }
    Ok(out.flush()?)
}

fn table(state: &State) -> String {
    let headings = [
        ("id", Side::Left),
        ("aliases", Side::Left),
        ("rank", Side::Right),
        ("weights", Side::Right),
        ("size", Side::Right),
        ("digest", Side::Left),
        ("added", Side::Left),
        ("base model", Side::Left),
    ];
    let row = |entry: &Entry| {
        [
            entry.id.to_string(),
            aliases(state, entry),
            entry.provenance.rank.to_string(),
            count(entry.provenance.n_parameters),
            indicatif::HumanBytes(entry.bytes()).to_string(),
            entry.provenance.model_digest.short().to_string(),
            registry::added_at(entry),
            registry::base_model(entry).unwrap_or("-").to_owned(),
        ]
    };
    render(headings, &state.adapters().map(row).collect::<Vec<_>>())
}

pub(crate) fn show(args: &ShowArgs, data: &DataFolder, is_json: bool) -> anyhow::Result<()> {
    let registry = data.registry()?;
    let state = registry.state();
    let entry = state.resolve(&args.id)?;
    let served = args.server.ask(&entry.id)?;
    if is_json {
        let mut adapter = registry::to_json(&state, entry);
        if let Some(served) = &served {
            adapter["in_memory"] = json!(served.in_memory);
            adapter["cached_scores"] = json!(served.cached_scores);
        }
        return output::print_json(&adapter);
    }
    let mut out = output::stdout();
    write!(out, "{}", lines(&state, entry, &registry.place_of(entry)))?;
    if let Some(served) = &served {
        write!(out, "{}", server_lines(entry, served))?;
    }
    Ok(out.flush()?)
}

fn lines(state: &State, entry: &Entry, folder: &str) -> String {
    let provenance = &entry.provenance;
    let source = match &provenance.revision {
        Some(revision) => format!("{} at {revision}", provenance.source),
        None => provenance.source.clone(),
    };
    let size = indicatif::HumanBytes(entry.bytes());
    [
        ("id", entry.id.to_string()),
        ("aliases", aliases(state, entry)),
        ("source", source),
        ("added", registry::added_at(entry)),
        ("base model", registry::base_model(entry).unwrap_or("unknown").to_owned()),
        ("rank", provenance.rank.to_string()),
        ("targets", provenance.targets.join(", ")),
        ("weights", format!("{}, {size} in {} files", count(provenance.n_parameters), entry.files.len())),
        ("digest", provenance.model_digest.to_string()),
        ("content", entry.content.to_string()),
        ("folder", folder.to_owned()),
    ]
    .map(|(name, value)| line(name, &value))
    .concat()
}

fn server_lines(entry: &Entry, served: &ServerFacts) -> String {
    let in_memory = if served.in_memory { "yes" } else { "no, loaded on the next request" };
    let mut lines = line("in memory", in_memory) + &line("cached scores", &count(served.cached_scores));
    if served.digest != entry.provenance.model_digest.to_string() {
        lines += &line("note", &format!("the server has another version, with digest {}", served.digest));
    }
    lines
}

fn line(name: &str, value: &str) -> String {
    format!("{name:<14}{}\n", output::text::one_line(value))
}

fn aliases(state: &State, entry: &Entry) -> String {
    let names: Vec<&str> = state.aliases_of(&entry.id).map(AdapterId::as_str).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}
