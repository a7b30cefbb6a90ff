//! `lorank adapters add`: adds an adapter to the registry.

use std::io::Write;

use anyhow::Context;
use clap::Args;
use lorank_adapters::{Entry, Existing, Outcome, Registry, RegistryError};
use lorank_core::AdapterId;
use lorank_model::{DeviceChoice, Int8Ranking, PrecisionChoice};
use lorank_registry_reranker::{AddError, add_for_base};
use lorank_server::{BaseSpec, DataFolder, FoundAdapter, LoadedModels, ModelSection, ModelSource};
use serde_json::json;

use super::fit::{Checked, Fit, check_fit};
use super::running::{named, running, warn_of_experiments};
use crate::commands::int8;
use crate::output::text::count;
use crate::{models, output, registry, times};

/// Copy an adapter into the registry
///
/// The files are checked first: complete pairs of low-rank matrices of the same rank, finite numbers, and the score head if there is
/// one. The files of an existing id are only replaced with --replace, and not while a running experiment uses it. Cached scores of
/// replaced files are never used for the new ones.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The id: 1 to 128 letters, digits, `.`, `_`, `-`, `:` or `/`
    id: AdapterId,
    /// A starter's name, a folder, or hf://owner/name[@revision]
    source: ModelSource,
    /// Replace an existing adapter with this id
    #[arg(long)]
    replace: bool,
    /// Point this alias to the adapter
    #[arg(long, value_name = "NAME")]
    alias: Option<AdapterId>,
    /// Base model on which the adapter must load first: a starter's name, a folder, or hf://owner/name[@revision]; of several,
    /// the one that the adapter is for; repeatable [default with --alias: those of running servers with this registry]
    #[arg(long, value_name = "BASE")]
    base: Vec<BaseSpec>,
    /// With --alias, do not check the adapter on the base models of running servers
    #[arg(long, conflicts_with = "base", requires = "alias")]
    unchecked: bool,
    /// Do not measure how int8 ranks with the adapter. It is measured on the base models on which the adapter is loaded, and the
    /// precision `auto` takes int8 only if it preserves the ranking; `lorank bench --ranking` measures later
    #[arg(long)]
    unmeasured: bool,
}

pub(crate) fn run(args: &AddArgs, data: &DataFolder, is_json: bool, is_quiet: bool) -> anyhow::Result<()> {
    let registry = data.registry()?;
    check_alias(args, &registry)?;
    let found = models::find_adapter(&args.source, is_quiet)?;
    let mut fit = Fit::default();
    if args.is_checked() {
        let adapter = Checked { id: &args.id, files: &found.files, base_digest: None };
        fit = check_fit(&adapter, &args.base, data, is_quiet)?;
    }
    let outcome = add(args, &registry, &found, &fit, data)?;
    let moved = args.alias.as_ref().map(|alias| registry.set_alias(alias, &args.id)).transpose()?.flatten();
    let state = registry.state();
    let entry = state.resolve(&args.id)?;
    warn(args, moved.as_ref(), data)?;
    let measured = if args.unmeasured { Vec::new() } else { measure(args, &found, &fit, data, is_quiet) };
    if is_json {
        let mut adapter = registry::to_json(&state, entry);
        adapter["outcome"] = json!(name(&outcome));
        adapter["checked_on"] = json!(fit.bases);
        adapter["int8"] =
            measured.iter().map(|ranking| json!({"holds": ranking.holds(), "measurement": ranking})).collect();
        return output::print_json(&adapter);
    }
    print_text(args, &outcome, entry, &fit, &measured)
}

/// Measures how int8 ranks with the adapter on the base models where this is not known. The adapter is added already, so a
/// failure is a warning.
fn measure(args: &AddArgs, found: &FoundAdapter, fit: &Fit, data: &DataFolder, is_quiet: bool) -> Vec<Int8Ranking> {
    let mut measured = Vec::new();
    for base in &fit.unmeasured {
        match measure_on(base, args, found, data, is_quiet) {
            Ok(ranking) => measured.push(ranking),
            Err(error) => tracing::warn!(
                "it was not measured how int8 ranks with `{}` on `{base}`, so `auto` does not take int8 for it: {error:#}",
                args.id
            ),
        }
    }
    measured
}

fn measure_on(
    base: &BaseSpec,
    args: &AddArgs,
    found: &FoundAdapter,
    data: &DataFolder,
    is_quiet: bool,
) -> anyhow::Result<Int8Ranking> {
    let requests = int8::starter_requests(Int8Ranking::QUERIES_MIN, Int8Ranking::CANDIDATES_MIN, is_quiet)?;
    let load = |precision| {
        let (base, precision) = (vec![base.clone()], PrecisionChoice::Fixed(precision).into());
        let section = ModelSection { base, precision, device: DeviceChoice::Cpu, ..ModelSection::default() };
        let models = models::load(&section, None, is_quiet)?;
        models.fit(&args.id, &found.files, None)?;
        Ok(LoadedModels { adapters: vec![Some(args.id.clone())], ..models })
    };
    let measured = int8::measure(&requests, is_quiet, load)?.remove(0);
    data.keep_int8_ranking(&measured.ranking)?;
    Ok(measured.ranking)
}

impl AddArgs {
    /// Whether the adapter is loaded on its base models first.
    fn is_checked(&self) -> bool {
        !self.base.is_empty() || (self.alias.is_some() && !self.unchecked)
    }
}

/// Checks that the alias can be set before the adapter is added.
fn check_alias(args: &AddArgs, registry: &Registry) -> Result<(), RegistryError> {
    let state = registry.state();
    let is_taken = |name: &AdapterId| *name == args.id || state.adapters().any(|entry| entry.id == *name);
    match args.alias.as_ref().filter(|name| is_taken(name)) {
        Some(name) => Err(RegistryError::IsAdapter { name: name.clone() }),
        None => Ok(()),
    }
}

/// Adds the adapter. The files of an adapter in use by a running experiment are not replaced.
fn add(
    args: &AddArgs,
    registry: &Registry,
    found: &FoundAdapter,
    fit: &Fit,
    data: &DataFolder,
) -> anyhow::Result<Outcome> {
    let users = match args.replace {
        true => named(&registry::used_by(&args.id, &registry.state(), &running(data)?, times::now_millis())),
        false => Vec::new(),
    };
    let existing = if args.replace && users.is_empty() { Existing::Replace } else { Existing::Refuse };
    let origin = (&*found.source, found.revision.as_deref());
    match add_for_base(registry, &args.id, &found.files, origin, existing, fit.base_digest) {
        Err(AddError::Registry(error)) => Err(error.of_users(&users).into()),
        outcome => outcome.with_context(|| format!("cannot add an adapter from `{}`", args.source)),
    }
}

/// Warns about running experiments that the moved alias affects.
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

fn print_text(
    args: &AddArgs,
    outcome: &Outcome,
    entry: &Entry,
    fit: &Fit,
    measured: &[Int8Ranking],
) -> anyhow::Result<()> {
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
        Outcome::Unchanged => writeln!(out, "{} exists already with the same files ({what})", entry.id)?,
    }
    if let Some(alias) = &args.alias {
        writeln!(out, "{alias} now points to {}", entry.id)?;
    }
    if args.is_checked() {
        writeln!(out, "{}", fit.said())?;
    }
    for ranking in measured {
        let effect = if ranking.holds() { "preserves" } else { "changes" };
        writeln!(out, "int8 {effect} its ranking on `{}`: {ranking}", ranking.base_model)?;
    }
    Ok(out.flush()?)
}
