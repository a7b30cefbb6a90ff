//! `lorank adapters add`: an adapter into the registry.

use std::io::Write;

use clap::Args;
use lorank_adapters::{Entry, Existing, Outcome, Registry, RegistryError};
use lorank_core::AdapterId;
use lorank_registry_reranker::AddError;
use lorank_server::{AdapterSpec, DataFolder, FoundAdapter, ModelSource};
use serde_json::json;

use super::fit::{check_fit, said};
use super::running::{named, running, warn_of_experiments};
use crate::output::text::count;
use crate::{models, output, registry, times};

/// Copy an adapter into the registry, under an id
///
/// Its files are checked first: complete pairs of low-rank matrices of one rank, finite numbers, the head that it names. An id
/// that the registry has gets the new files with --replace alone, and not while a running experiment serves it; what was scored
/// with the old ones is never taken for theirs.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The id: 1 to 128 letters, digits, `.`, `_`, `-`, `:` or `/`
    id: AdapterId,
    /// A starter's name, a folder, or hf://owner/name[@revision]
    source: ModelSource,
    /// Put it in the place of another one that has the id
    #[arg(long)]
    replace: bool,
    /// Point this alias to it as well
    #[arg(long, value_name = "NAME")]
    alias: Option<AdapterId>,
    /// Load it on this base model first, and refuse it where it does not fit: a starter's name, a folder, or
    /// hf://owner/name[@revision] [default with --alias: those of the servers that run with this registry]
    #[arg(long, value_name = "BASE")]
    base: Option<ModelSource>,
    /// With --alias, do not load it on the base models of running servers first
    #[arg(long, conflicts_with = "base", requires = "alias")]
    unchecked: bool,
}

pub(crate) fn run(args: &AddArgs, data: &DataFolder, is_json: bool, is_quiet: bool) -> anyhow::Result<()> {
    let registry = data.registry()?;
    check_alias(args, &registry)?;
    let found = models::find_adapter(&args.source, is_quiet)?;
    let mut checked = Vec::new();
    if args.base.is_some() || (args.alias.is_some() && !args.unchecked) {
        let adapter = AdapterSpec::Adapter { id: Some(args.id.clone()), source: args.source.clone() };
        checked = check_fit(&adapter, args.base.as_ref(), data, is_quiet)?;
    }
    let outcome = add(args, &registry, &found, data)?;
    let moved = args.alias.as_ref().map(|alias| registry.set_alias(alias, &args.id)).transpose()?.flatten();
    let state = registry.state();
    let entry = state.resolve(&args.id)?;
    warn(args, moved.as_ref(), data)?;
    if is_json {
        let mut adapter = registry::to_json(&state, entry);
        adapter["outcome"] = json!(name(&outcome));
        adapter["checked_on"] = json!(checked);
        return output::print_json(&adapter);
    }
    print_text(args, &outcome, entry, &checked)
}

/// Finds out that the alias cannot be had before an adapter is added without it.
fn check_alias(args: &AddArgs, registry: &Registry) -> Result<(), RegistryError> {
    let state = registry.state();
    let is_taken = |name: &AdapterId| *name == args.id || state.adapters().any(|entry| entry.id == *name);
    match args.alias.as_ref().filter(|name| is_taken(name)) {
        Some(name) => Err(RegistryError::IsAdapter { name: name.clone() }),
        None => Ok(()),
    }
}

/// Adds the adapter. One that a running experiment serves keeps its files: an experiment compares what it began with.
fn add(args: &AddArgs, registry: &Registry, found: &FoundAdapter, data: &DataFolder) -> anyhow::Result<Outcome> {
    let users = match args.replace {
        true => named(&registry::used_by(&args.id, &registry.state(), &running(data)?, times::now_millis())),
        false => Vec::new(),
    };
    let existing = if args.replace && users.is_empty() { Existing::Replace } else { Existing::Refuse };
    let (source, revision) = (&found.source, found.revision.as_deref());
    match lorank_registry_reranker::add(registry, &args.id, &found.files, source, revision, existing) {
        Err(AddError::Registry(error)) => Err(error.of_users(&users).into()),
        outcome => Ok(outcome?),
    }
}

/// Says which running experiments the moved alias reaches.
fn warn(args: &AddArgs, moved_from: Option<&AdapterId>, data: &DataFolder) -> anyhow::Result<()> {
    if let Some(alias) = args.alias.as_ref().filter(|_| moved_from.is_some_and(|old| *old != args.id)) {
        let experiments = running(data)?;
        warn_of_experiments(
            &lorank_experiments::experiments_naming(&[alias], &experiments, times::now_millis()),
            alias,
        );
    }
    Ok(())
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Added => "added",
        Outcome::Replaced { .. } => "replaced",
        Outcome::Unchanged => "unchanged",
    }
}

fn print_text(args: &AddArgs, outcome: &Outcome, entry: &Entry, checked: &[String]) -> anyhow::Result<()> {
    let digest = |entry: &Entry| entry.provenance.model_digest.short().to_string();
    let what = format!(
        "rank {} on {}; {} weights; digest {}",
        entry.provenance.rank,
        entry.provenance.targets.join(", "),
        count(entry.provenance.n_parameters),
        digest(entry)
    );
    let mut out = output::stdout();
    match outcome {
        Outcome::Added => writeln!(out, "added {} ({what})", entry.id)?,
        Outcome::Replaced { old } => {
            writeln!(out, "replaced {} ({what}), whose digest was {}", entry.id, digest(old))?;
        }
        Outcome::Unchanged => writeln!(out, "{} is there already, with these files ({what})", entry.id)?,
    }
    if let Some(alias) = &args.alias {
        writeln!(out, "{alias} now points to {}", entry.id)?;
    }
    if args.base.is_some() || (args.alias.is_some() && !args.unchecked) {
        writeln!(out, "{}", said(checked))?;
    }
    Ok(out.flush()?)
}
