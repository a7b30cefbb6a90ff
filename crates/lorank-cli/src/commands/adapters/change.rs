//! `lorank adapters alias`, `unalias`, `remove` and `verify`.

use std::io::Write;

use anyhow::bail;
use clap::Args;
use lorank_adapters::{AliasRankBy, AliasTarget, BARE_BASE, Fault, Finding, Registry};
use lorank_core::AdapterId;
use lorank_model::Files;
use lorank_pipeline::RankBy;
use lorank_server::{BaseSpec, DataFolder};
use serde_json::json;

use super::fit::{Checked, Fit, check_fit};
use super::running::{named, running, warn_of_experiments};
use crate::{output, registry, times};

/// Point an alias to an adapter or, with --bare, to a base model; requests that name no adapter use the alias `default`
#[derive(Debug, Args)]
pub(crate) struct AliasArgs {
    /// Name of the alias
    name: AdapterId,
    /// Id of the adapter, or name of the base model
    id: AdapterId,
    /// Point the alias to the base model with this name, as servers have it, without an adapter; none is their default one
    #[arg(long, conflicts_with = "base")]
    bare: bool,
    /// Base model on which the adapter must load first: a starter's name, a folder, or hf://owner/name[@revision]; of several,
    /// the one that the adapter is for; repeatable [default: those of running servers with this registry]
    #[arg(long, value_name = "BASE")]
    base: Vec<BaseSpec>,
    /// Do not check the adapter, or the name of the base model, on running servers
    #[arg(long, conflicts_with = "base")]
    unchecked: bool,
    /// Expression that orders the answers of this alias, such as `sigmoid(rerank_score) + 0.1 * log(1 + views)`. It stays
    /// when the alias is moved; the `rank_by` of a search takes precedence
    #[arg(long, value_name = "EXPRESSION")]
    rank_by: Option<RankBy>,
    /// Remove the alias's expression, so that rerank scores order its answers
    #[arg(long, conflicts_with = "rank_by")]
    no_rank_by: bool,
}

/// Remove an alias; the adapter stays
#[derive(Debug, Args)]
pub(crate) struct UnaliasArgs {
    /// Name of the alias
    name: AdapterId,
    /// Remove the alias even if a running experiment uses it
    #[arg(long)]
    force: bool,
}

/// Remove an adapter
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Id of the adapter
    id: AdapterId,
    /// Remove the adapter even if a running experiment uses it, together with the aliases that point to it
    #[arg(long)]
    force: bool,
}

/// Verify all files of the registry; the exit status is 1 if a file is damaged, missing or unexpected
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {}

pub(crate) fn alias(args: &AliasArgs, data: &DataFolder, is_json: bool, is_quiet: bool) -> anyhow::Result<()> {
    let registry = data.registry()?;
    let fit = args.check(&registry, data, is_quiet)?;
    let target = if args.bare { AliasTarget::Base(&args.id) } else { AliasTarget::Adapter(&args.id) };
    let old = registry.set_alias_with(&args.name, target, args.change_of_rank_by())?;
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
        let key = if args.bare { "base" } else { "id" };
        return output::print_json(&json!({"alias": args.name.as_str(), key: args.id.as_str(),
            "old": old.as_ref().map(AdapterId::as_str), "rank_by": rank_by, "checked_on": fit.bases}));
    }
    let ordered = rank_by.map_or_else(String::new, |it| format!(", and its answers are ordered by `{it}`"));
    let moved = match old {
        Some(old) => format!("{} now points to {} (before, to {old}){ordered}", args.name, args.id),
        None => format!("{} points to {}{ordered}", args.name, args.id),
    };
    print_line(&moved)?;
    if args.unchecked || args.bare { Ok(()) } else { print_line(&fit.said()) }
}

impl AliasArgs {
    /// Loads the adapter on its base models, or checks that running servers have the base model.
    fn check(&self, registry: &Registry, data: &DataFolder, is_quiet: bool) -> anyhow::Result<Fit> {
        if self.bare {
            self.check_name(registry, data)?;
            return Ok(Fit::default());
        }
        let entry = registry.state().resolve(&self.id)?.clone();
        if self.unchecked {
            return Ok(Fit::default());
        }
        let files = Files::folder(registry.fetch(&entry)?)?;
        let adapter = Checked { id: &self.id, files: &files, base_digest: entry.provenance.base_digest };
        check_fit(&adapter, &self.base, data, is_quiet)
    }

    /// Checks that each running server has a base model with this name.
    fn check_name(&self, registry: &Registry, data: &DataFolder) -> anyhow::Result<()> {
        if registry.state().resolve(&self.id).is_ok() {
            bail!("`{}` is an adapter or an alias of one; leave out --bare, or give the name of a base model", self.id);
        }
        if self.unchecked || self.id.as_str() == BARE_BASE {
            return Ok(());
        }
        for server in data.running_servers()? {
            let specs = server.bases.iter().map(|base| base.parse()).collect::<Result<Vec<BaseSpec>, _>>()?;
            let named: Vec<String> = specs
                .into_iter()
                .map(|spec| spec.name.map_or(spec.source.to_string(), |name| name.to_string()))
                .collect();
            if !named.iter().any(|name| name == self.id.as_str()) {
                let known = named.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                bail!(
                    "the server that runs as process {} has no base model `{}`; its base models are {known}; add \
                     --unchecked to go on all the same",
                    server.process,
                    self.id
                );
            }
        }
        Ok(())
    }

    fn change_of_rank_by(&self) -> AliasRankBy {
        match &self.rank_by {
            Some(rank_by) => AliasRankBy::Set(rank_by.to_string()),
            None if self.no_rank_by => AliasRankBy::Remove,
            None => AliasRankBy::Keep,
        }
    }
}

pub(crate) fn unalias(args: &UnaliasArgs, data: &DataFolder, is_json: bool) -> anyhow::Result<()> {
    let registry = data.registry()?;
    let users = named(&lorank_experiments::experiments_naming(&[&args.name], &running(data)?, times::now_millis()));
    if !users.is_empty() && !args.force {
        bail!("alias `{}` is in use by {}; stop it first, or use --force", args.name, users.join(", "));
    }
    let old = registry.remove_alias(&args.name)?;
    if is_json {
        return output::print_json(&json!({"alias": args.name.as_str(), "old": old.as_str(), "was_used_by": users}));
    }
    print_line(&format!("removed the alias {} (before, to {old})", args.name))
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
        print_line(&format!("{n_adapters} adapters are unchanged since they were added"))?;
    } else {
        print_line(&findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n"))?;
    }
    match findings.len() {
        0 => Ok(()),
        n => bail!("{n} of the files and folders in `{}` are damaged, missing or unexpected", registry.location()),
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

/// The registry, if it has the name. Otherwise an error, without creating an empty registry.
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
