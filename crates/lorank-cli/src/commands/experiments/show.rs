//! `lorank experiments list` and `show`, and the summary that other commands print.

use std::io::Write;

use clap::Args;
use lorank_experiments::{Arm, Experiment, ExperimentState, PinnedVersion};
use lorank_server::DataFolder;
use serde_json::json;

use super::one::{OneExperiment, store_with, word};
use crate::output::table::{Side, render};
use crate::{output, times};

/// List experiments
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Show an experiment's definition
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    one: OneExperiment,
}

pub(crate) fn list(args: &ListArgs, data: &DataFolder) -> anyhow::Result<()> {
    let (store, now) = (data.existing_experiments()?, times::now_millis());
    let experiments = store.map(|store| store.list()).transpose()?.unwrap_or_default();
    let experiments: Vec<Experiment> = experiments.into_iter().map(|experiment| experiment.at(now)).collect();
    if args.json {
        return output::print_json(&json!({"experiments": experiments}));
    }
    let mut out = output::stdout();
    if experiments.is_empty() {
        let place = data.experiments_place();
        writeln!(out, "`{place}` has no experiments; create one with `lorank experiments create`")?;
    } else {
        write!(out, "{}", table(&experiments, now))?;
    }
    Ok(out.flush()?)
}

fn table(experiments: &[Experiment], now_millis: i64) -> String {
    let headings = ["id", "state", "method", "share", "layer", "starts", "ends", "arms"].map(|name| (name, Side::Left));
    let time = |millis: Option<i64>| millis.map_or("-".to_owned(), times::show);
    let row = |experiment: &Experiment| {
        [
            experiment.id.clone(),
            state(experiment, now_millis),
            word(experiment.method),
            percent(experiment.traffic_share),
            experiment.layer.clone(),
            time(experiment.start_millis),
            time(experiment.end_millis),
            experiment.arms.iter().map(arm).collect::<Vec<_>>().join(", "),
        ]
    };
    render(headings, &experiments.iter().map(row).collect::<Vec<_>>())
}

pub(crate) fn show(args: &ShowArgs, data: &DataFolder) -> anyhow::Result<()> {
    let experiment = store_with(&args.one.id, data)?.get(&args.one.id)?.at(times::now_millis());
    if args.one.json {
        return output::print_json(&experiment);
    }
    let mut out = output::stdout();
    write!(out, "{}", lines(&experiment, times::now_millis()))?;
    Ok(out.flush()?)
}

/// Prints an experiment after a change.
pub(crate) fn print_change(experiment: &Experiment, is_json: bool) -> anyhow::Result<()> {
    if is_json { output::print_json(experiment) } else { print_summary(experiment) }
}

/// Prints a summary on one line.
pub(crate) fn print_summary(experiment: &Experiment) -> anyhow::Result<()> {
    let mut out = output::stdout();
    writeln!(out, "{}", summary(experiment, times::now_millis()))?;
    Ok(out.flush()?)
}

fn summary(experiment: &Experiment, now_millis: i64) -> String {
    let arms: Vec<String> = experiment.arms.iter().map(arm).collect();
    let (id, state) = (&experiment.id, state(experiment, now_millis));
    let start = match experiment.state {
        ExperimentState::Draft => format!("; start it with `lorank experiments start {id}`"),
        ExperimentState::Running | ExperimentState::Stopped => String::new(),
    };
    format!("{id} ({state}): {} on {} of the units{start}", arms.join(" against "), percent(experiment.traffic_share))
}

fn lines(experiment: &Experiment, now_millis: i64) -> String {
    let time = |millis: Option<i64>, none: &str| millis.map_or(none.to_owned(), times::show);
    let starts = match experiment.state {
        ExperimentState::Draft => "when it is started",
        ExperimentState::Running | ExperimentState::Stopped => "-",
    };
    let mut lines = vec![
        ("id", experiment.id.clone()),
        ("state", state(experiment, now_millis)),
        ("method", word(experiment.method)),
        ("unit", word(experiment.unit)),
        ("share", percent(experiment.traffic_share)),
        ("layer", experiment.layer.clone()),
        ("salt", experiment.salt.clone()),
        ("measure", word(experiment.primary_measure)),
        ("starts", time(experiment.start_millis, starts)),
        ("ends", time(experiment.end_millis, "when it is stopped")),
    ];
    let roles = std::iter::once("control").chain(std::iter::repeat("arm"));
    let arms = experiment.arms.iter();
    let arms = arms.map(|one| format!("{}, weight {}{}{}", arm(one), one.weight, settings(one), pinned(one)));
    lines.extend(roles.zip(arms));
    let line = |(name, value): (&str, String)| format!("{name:<10}{}\n", output::text::one_line(&value));
    lines.into_iter().map(line).collect()
}

fn arm(arm: &Arm) -> String {
    let Arm { name, model, .. } = arm;
    if *name == model.to_string() { name.clone() } else { format!("{name} ({model})") }
}

/// The settings of an arm, if any.
fn settings(arm: &Arm) -> String {
    if arm.settings.is_empty() { String::new() } else { format!(", {}", arm.settings) }
}

/// The pinned version of an arm, if any.
fn pinned(arm: &Arm) -> String {
    let Some(pinned) = &arm.pinned else { return String::new() };
    let stage = |(n, stage): (usize, &PinnedVersion)| format!(", stage {n} {}{}", stage.name(), digest_of(stage));
    let stages: String = (1..).zip(&pinned.stages).map(stage).collect();
    let since = times::show(pinned.since_millis);
    format!("; pinned to {}{}{stages} since {since}", pinned.name(), digest_of(pinned))
}

/// The beginning of the digest of a pinned model, if it has one.
fn digest_of(pinned: &PinnedVersion) -> String {
    let digest = pinned.digest_of_model();
    digest.map_or_else(String::new, |digest| format!(", digest {}", digest.get(..12).unwrap_or(digest)))
}

/// The state, considering its start and end.
fn state(experiment: &Experiment, now_millis: i64) -> String {
    match experiment.state {
        ExperimentState::Running if experiment.has_ended(now_millis) => ExperimentState::Stopped.to_string(),
        ExperimentState::Running if !experiment.assigns_at(now_millis) => "waiting".to_owned(),
        state => state.to_string(),
    }
}

fn percent(share: f64) -> String {
    // A share is a multiple of 0.0001.
    format!("{} %", (share * 10_000.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn experiment(changes: serde_json::Value) -> Experiment {
        let mut json = json!({"id": "summer", "salt": "summer", "traffic_share": 0.123, "layer": "main", "arms": [
            {"name": "control", "model": "none", "weight": 1}, {"name": "minilm-qa", "model": "minilm-qa", "weight": 3}]});
        json.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn experiments_are_lines_for_people() {
        let running = json!({"id": "winter", "state": "running", "start_millis": 1_000, "end_millis": 86_400_000,
            "method": "interleave", "primary_measure": "reciprocal-rank"});
        insta::assert_snapshot!(
            summary(&experiment(json!({})), 0),
            @"summer (draft): control (none) against minilm-qa on 12.3 % of the units; start it with `lorank experiments start summer`"
        );
        insta::assert_snapshot!(lines(&experiment(running.clone()), 2_000), @r"
        id        winter
        state     running
        method    interleave
        unit      unit-id
        share     12.3 %
        layer     main
        salt      summer
        measure   reciprocal-rank
        starts    1970-01-01T00:00:01Z
        ends      1970-01-02T00:00:00Z
        control   control (none), weight 1
        arm       minilm-qa, weight 3
        ");
        let list = table(&[experiment(json!({})), experiment(running)], 2_000);
        insta::assert_snapshot!(anstream::adapter::strip_str(&list).to_string(), @r"
        id      state    method      share   layer  starts                ends                  arms
        summer  draft    split       12.3 %  main   -                     -                     control (none), minilm-qa
        winter  running  interleave  12.3 %  main   1970-01-01T00:00:01Z  1970-01-02T00:00:00Z  control (none), minilm-qa
        ");
    }

    #[test]
    fn settings_of_an_arm_are_shown() {
        let arm = json!({"name": "deep", "model": "qa", "depth": 200, "passages": "max", "weight": 1});
        let lines = lines(&experiment(json!({"arms": [{"name": "control", "model": "none"}, arm]})), 0);
        assert!(lines.ends_with("arm       deep (qa), weight 1, depth 200, passages max\n"), "{lines}");
    }

    #[test]
    fn a_state_is_told_in_the_light_of_its_times() {
        let running = experiment(json!({"state": "running", "start_millis": 10, "end_millis": 20}));
        let told = [9, 10, 19, 20].map(|now_millis| state(&running, now_millis));
        assert_eq!(told, ["waiting", "running", "running", "stopped"]);
        assert_eq!(state(&experiment(json!({})), 0), "draft");
    }
}
