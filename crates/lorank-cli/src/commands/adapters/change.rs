//! `lorank adapters alias`, `unalias`, `remove` and `verify`.

use std::io::Write;

use anyhow::bail;
use clap::Args;
use lorank_adapters::{AliasRankBy, Fault, Finding, Registry};
use lorank_core::AdapterId;
use lorank_model::Source;
use lorank_pipeline::RankBy;
use lorank_server::{AdapterSpec, DataFolder, ModelSource};
use serde_json::json;

use super::fit::{check_fit, said};
use super::running::{named, running, warn_of_experiments};
use crate::{output, registry, times};

/// Point an alias to an adapter; the alias `default` is for requests that name none
#[derive(Debug, Args)]
pub(crate) struct AliasArgs {
    /// The alias
    name: AdapterId,
    /// The id of the adapter
    id: AdapterId,
    /// Load the adapter on this base model first, and leave the alias alone where it does not fit: a starter's name, a folder, or
    /// hf://owner/name[@revision] [default: those of the servers that run with this registry]
    #[arg(long, value_name = "BASE")]
    base: Option<ModelSource>,
    /// Do not load the adapter on the base models of running servers first
    #[arg(long, conflicts_with = "base")]
    unchecked: bool,
    /// Order the answers that are ranked by the alias by this expression, as in `sigmoid(rerank_score) + 0.1 * log(1 + views)`; it stays
    /// when the alias is moved, and a search that brings an order of its own keeps that
    #[arg(long, value_name = "EXPRESSION")]
    rank_by: Option<RankBy>,
    /// Take the alias's expression away: rerank scores order
    #[arg(long, conflicts_with = "rank_by")]
    no_rank_by: bool,
}

/// Remove an alias; the adapter stays
#[derive(Debug, Args)]
pub(crate) struct UnaliasArgs {
    /// The alias
    name: AdapterId,
    /// Remove it even where a running experiment follows it
    #[arg(long)]
    force: bool,
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

pub(crate) fn alias(args: &AliasArgs, data: &DataFolder, is_json: bool, is_quiet: bool) -> anyhow::Result<()> {
    let registry = registry_with(&args.id, data)?;
    let folder = registry.folder_of(registry.state().resolve(&args.id)?);
    let source = ModelSource::Source(Source::Folder(folder));
    let adapter = AdapterSpec::Adapter { id: Some(args.id.clone()), source };
    let checked = if args.unchecked { Vec::new() } else { check_fit(&adapter, args.base.as_ref(), data, is_quiet)? };
    let old = registry.set_alias_with(&args.name, &args.id, args.change_of_rank_by())?;
    let old = old.filter(|old| *old != args.id);
    let state = registry.state();
    let rank_by = state.rank_by_of(&args.name);
    if old.is_some() {
        warn_of_experiments(
            &lorank_experiments::experiments_naming(&[&args.name], &running(data)?, times::now_millis()),
            &args.name,
        );
    }
    if is_json {
        return output::print_json(&json!({"alias": args.name.as_str(), "id": args.id.as_str(),
            "old": old.as_ref().map(AdapterId::as_str), "rank_by": rank_by, "checked_on": checked}));
    }
    let ordered = rank_by.map_or_else(String::new, |it| format!(", and its answers are ordered by `{it}`"));
    let moved = match old {
        Some(old) => format!("{} now points to {} (before, to {old}){ordered}", args.name, args.id),
        None => format!("{} points to {}{ordered}", args.name, args.id),
    };
    print_line(&moved)?;
    if args.unchecked { Ok(()) } else { print_line(&said(&checked)) }
}

impl AliasArgs {
    fn change_of_rank_by(&self) -> AliasRankBy {
        match &self.rank_by {
            Some(rank_by) => AliasRankBy::Set(rank_by.to_string()),
            None if self.no_rank_by => AliasRankBy::Remove,
            None => AliasRankBy::Keep,
        }
    }
}

pub(crate) fn unalias(args: &UnaliasArgs, data: &DataFolder, is_json: bool) -> anyhow::Result<()> {
    let registry = registry_with(&args.name, data)?;
    let users = named(&lorank_experiments::experiments_naming(&[&args.name], &running(data)?, times::now_millis()));
    if !users.is_empty() && !args.force {
        bail!("alias `{}` is in use by {}; end that use first, or force the removal", args.name, users.join(", "));
    }
    let old = registry.remove_alias(&args.name)?;
    if is_json {
        return output::print_json(&json!({"alias": args.name.as_str(), "old": old.as_str(), "was_used_by": users}));
    }
    print_line(&format!("{} points to nothing any more (before, to {old})", args.name))
}

pub(crate) fn remove(args: &RemoveArgs, data: &DataFolder, is_json: bool) -> anyhow::Result<()> {
    let registry = registry_with(&args.id, data)?;
    let users = named(&registry::used_by(&args.id, &registry.state(), &running(data)?, times::now_millis()));
    let removed = registry.remove(&args.id, &users, args.force)?;
    if is_json {
        return output::print_json(&json!({"id": removed.id.as_str(),
            "digest": removed.provenance.model_digest.to_string(), "was_used_by": users}));
    }
    print_line(&format!("removed {}", removed.id))
}

pub(crate) fn verify(data: &DataFolder, is_json: bool) -> anyhow::Result<()> {
    let registry = data.registry()?;
    let findings = registry.verify()?;
    let n_adapters = registry.state().adapters().len();
    if is_json {
        let findings: Vec<_> = findings.iter().map(finding_json).collect();
        output::print_json(&json!({"n_adapters": n_adapters, "findings": findings}))?;
    } else if findings.is_empty() {
        print_line(&format!("{n_adapters} adapters are byte for byte what was added"))?;
    } else {
        print_line(&findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n"))?;
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

/// The registry, where something has the name. Where nothing has, an empty registry is not made for the error's sake.
fn registry_with(name: &AdapterId, data: &DataFolder) -> anyhow::Result<Registry> {
    let registry = data.registry()?;
    registry.state().resolve(name)?;
    Ok(registry)
}

fn print_line(text: &str) -> anyhow::Result<()> {
    let mut out = output::stdout();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
