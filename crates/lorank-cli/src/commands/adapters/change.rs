//! `lorank adapters alias`, `unalias`, `remove` and `verify`.

use std::io::Write;

use anyhow::bail;
use clap::Args;
use lorank_adapters::{Fault, Finding};
use lorank_core::AdapterId;
use lorank_experiments::{ArmModel, Experiment};
use serde_json::json;

use crate::data::DataFolder;
use crate::{output, registry, times};

/// Point an alias to an adapter; the alias `default` is for requests that name none
#[derive(Debug, Args)]
pub(crate) struct AliasArgs {
    /// The alias
    name: AdapterId,
    /// The id of the adapter
    id: AdapterId,
}

/// Remove an alias; the adapter stays
#[derive(Debug, Args)]
pub(crate) struct UnaliasArgs {
    /// The alias
    name: AdapterId,
}

/// Remove an adapter
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Its id
    id: AdapterId,
    /// Remove it even where an alias points to it (which goes too) or a running experiment uses it
    #[arg(long)]
    force: bool,
}

/// Read every byte and name each file that is not as it was added; the exit status is then 1
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {}

pub(crate) fn alias(args: &AliasArgs, data: &DataFolder, is_json: bool) -> anyhow::Result<()> {
    let old = data.registry()?.set_alias(&args.name, &args.id)?.filter(|old| *old != args.id);
    if old.is_some() {
        warn_of_experiments(&args.name, &running(data)?);
    }
    if is_json {
        return output::print_json(&json!({"alias": args.name.as_str(), "id": args.id.as_str(),
            "old": old.as_ref().map(AdapterId::as_str)}));
    }
    match old {
        Some(old) => say(&format!("{} now points to {} (before, to {old})", args.name, args.id)),
        None => say(&format!("{} points to {}", args.name, args.id)),
    }
}

/// An arm's model is looked up at each request, so an alias that moves changes what a running experiment compares.
fn warn_of_experiments(alias: &AdapterId, experiments: &[Experiment]) {
    let follows = |experiment: &&Experiment| {
        !experiment.has_ended(times::now_millis())
            && experiment.arms.iter().any(|arm| arm.model == ArmModel::Adapter(alias.clone()))
    };
    for Experiment { id, .. } in experiments.iter().filter(follows) {
        tracing::warn!(
            "running experiment `{id}` has an arm that follows `{alias}`: it compares other models from now on"
        );
    }
}

pub(crate) fn unalias(args: &UnaliasArgs, data: &DataFolder, is_json: bool) -> anyhow::Result<()> {
    let old = data.registry()?.remove_alias(&args.name)?;
    if is_json {
        return output::print_json(&json!({"alias": args.name.as_str(), "old": old.as_str()}));
    }
    say(&format!("{} points to nothing any more (before, to {old})", args.name))
}

pub(crate) fn remove(args: &RemoveArgs, data: &DataFolder, is_json: bool) -> anyhow::Result<()> {
    let registry = data.registry()?;
    let experiments = running(data)?;
    let users = registry::used_by(&args.id, &registry.state(), &experiments, times::now_millis());
    let users: Vec<String> = users.iter().map(|experiment| format!("running experiment `{}`", experiment.id)).collect();
    let removed = registry.remove(&args.id, &users, args.force)?;
    if is_json {
        return output::print_json(&json!({"id": removed.id.as_str(),
            "digest": removed.provenance.model_digest.to_string(), "was_used_by": users}));
    }
    say(&format!("removed {}", removed.id))
}

pub(crate) fn verify(data: &DataFolder, is_json: bool) -> anyhow::Result<()> {
    let registry = data.registry()?;
    let findings = registry.verify()?;
    let n_adapters = registry.state().adapters().len();
    if is_json {
        let findings: Vec<_> = findings.iter().map(finding_json).collect();
        output::print_json(&json!({"n_adapters": n_adapters, "findings": findings}))?;
    } else if findings.is_empty() {
        say(&format!("{n_adapters} adapters are byte for byte what was added"))?;
    } else {
        say(&findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n"))?;
    }
    match findings.len() {
        0 => Ok(()),
        n => bail!("{n} of the files and folders in `{}` are not as they were added", registry.folder().display()),
    }
}

fn finding_json(finding: &Finding) -> serde_json::Value {
    let what = match finding.what {
        Fault::Changed => "changed",
        Fault::Missing => "missing",
        Fault::Extra => "extra",
        _ => "unreadable",
    };
    let ids: Vec<&str> = finding.ids.iter().map(AdapterId::as_str).collect();
    json!({"path": finding.path, "what": what, "ids": ids})
}

/// The running experiments.
fn running(data: &DataFolder) -> anyhow::Result<Vec<Experiment>> {
    Ok(data.existing_experiments()?.map(|store| store.running().to_vec()).unwrap_or_default())
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut out = output::stdout();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
