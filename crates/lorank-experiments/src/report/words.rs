//! Texts of a report that the terminal and HTML forms share.

use super::{ArmSummary, Comparison, Difference, Report, ServedArm};
use crate::format::{time, with_separators};
use crate::{Measure, Method, PinnedVersion, Scope, ServedVersion};

/// The method of comparison.
pub(super) fn method(report: &Report) -> &'static str {
    match report.method {
        Method::Split => "traffic split by unit",
        Method::Interleave => "arms interleaved in one answer",
    }
}

/// The heading of a comparison.
pub(super) fn heading(report: &Report, comparison: &Comparison) -> String {
    let Comparison { arm, control, .. } = comparison;
    format!(
        "{arm} minus {control}, with {:.0} % confidence intervals that hold over all looks",
        report.confidence * 100.0
    )
}

/// The rows of the table of arms: the name of the row, and this arm's value.
pub(super) fn arm_rows(arm: &ArmSummary, among: &[ArmSummary]) -> Vec<(&'static str, String)> {
    let percent = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.1} %", share * 100.0));
    let millis = |millis: Option<f64>| millis.map_or("-".into(), |millis| format!("{millis:.1} ms"));
    let optional = [
        ("value per query", arm.value.map(|value| Measure::Value.value(value)), has(among, |arm| arm.value)),
        (
            "time to the first click",
            arm.time_to_first_click_seconds.map(|seconds| Measure::TimeToFirstClick.value(seconds)),
            has(among, |arm| arm.time_to_first_click_seconds),
        ),
        ("judged nDCG@10", arm.ndcg_at_10.map(|ndcg| Measure::Ndcg.value(ndcg)), has(among, |arm| arm.ndcg_at_10)),
        ("answers to judged queries", Some(with_separators(arm.n_judged)), has(among, |arm| arm.ndcg_at_10)),
        ("judged share of their first ten hits", Some(percent(arm.judged_share)), has(among, |arm| arm.ndcg_at_10)),
    ];
    let optional = optional.into_iter().filter(|(.., is_shown)| *is_shown);
    let optional = optional.map(|(what, value, _)| (what, value.unwrap_or_else(|| "-".into())));
    let mut rows = vec![
        ("units", with_separators(arm.n_units)),
        ("queries", with_separators(arm.n_queries)),
        ("clicks", with_separators(arm.n_clicks)),
        ("click-through", percent(arm.click_through)),
        ("clicks on ranks 1 to 3", percent(arm.top_click)),
        ("MRR of the first click", arm.reciprocal_rank.map_or("-".into(), |mrr| format!("{mrr:.3}"))),
        ("abandoned", percent(arm.abandonment)),
        ("latency, median", millis(arm.latency_p50_millis)),
        ("latency, 95 %", millis(arm.latency_p95_millis)),
        ("fallbacks", with_separators(arm.n_fallbacks)),
        ("forced (excluded)", with_separators(arm.n_forced)),
    ];
    rows.splice(6..6, optional);
    rows
}

/// Whether any arm has a nonzero value.
fn has(arms: &[ArmSummary], value: impl Fn(&ArmSummary) -> Option<f64>) -> bool {
    arms.iter().any(|arm| value(arm).is_some_and(|value| value != 0.0))
}

/// The versions of each arm as rows: its name and its model, with a row for each version if there are several.
pub(super) fn served(report: &Report) -> Vec<[String; 2]> {
    report.served.iter().flat_map(served_by).collect()
}

fn served_by(arm: &ServedArm) -> Vec<[String; 2]> {
    let model = match &arm.pinned {
        None => arm.model.clone(),
        Some(pinned) => {
            let adapter = pinned.name();
            let digest =
                pinned.digest_of_model().map_or_else(String::new, |digest| format!(", digest {}", short(digest)));
            let alias = if adapter == arm.model { String::new() } else { format!("{}: ", arm.model) };
            let stage = |(n, stage): (usize, &PinnedVersion)| {
                let digest = stage.digest_of_model().map_or_else(String::new, |digest| format!(" {}", short(digest)));
                format!(", stage {n} {}{digest}", stage.name())
            };
            let stages: String = (1..).zip(&pinned.stages).map(stage).collect();
            format!("{alias}{adapter}{digest}{stages}, pinned since {}", time(pinned.since_millis))
        }
    };
    let settings: String = arm.settings.iter().map(|(key, value)| format!("; {key} {value}")).collect();
    let mut rows = vec![[arm.arm.clone(), model + &settings]];
    let version = |version: &ServedVersion| {
        let (n, from, to) = (with_separators(version.n_answers), time(version.first_millis), time(version.last_millis));
        [String::new(), format!("{n} answers by {}, {from} to {to}", shortened(&version.model))]
    };
    if arm.versions.len() > 1 {
        rows.extend(arm.versions.iter().map(version));
    }
    rows
}

/// The beginning of a digest.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// The text of a version with shortened digests.
fn shortened(model: &str) -> String {
    let is_digest = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = model.split(' ').map(|word| if is_digest(word) { short(word) } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// The differences of a comparison as rows: the measure, the interval, and whether it decides.
pub(super) fn differences(comparison: &Comparison) -> Vec<Vec<String>> {
    let mut rows: Vec<_> = comparison.differences.iter().map(difference_row).collect();
    if let Some(duel) = &comparison.duel {
        let always = [("won", duel.n_won), ("lost", duel.n_lost), ("drawn", duel.n_drawn)];
        let sometimes = [("with the same ranking", duel.n_same), ("without one of the two", duel.n_missing)];
        let answers = always.into_iter().chain(sometimes.into_iter().filter(|(_, n)| *n > 0));
        let answers = answers.map(|(what, n)| format!("{} {what}", with_separators(n))).collect::<Vec<_>>().join(", ");
        let credits = format!("{:.1} against {:.1}", duel.credit, duel.control_credit);
        rows.push(vec!["answers".into(), answers, String::new()]);
        rows.push(vec!["credit".into(), credits, String::new()]);
    }
    rows
}

fn difference_row(difference: &Difference) -> Vec<String> {
    let measure = difference.measure;
    let interval = difference.interval.map_or("too few units".into(), |interval| measure.interval(interval));
    let mark = if difference.decides { "decides" } else { "" };
    vec![measure.to_string(), interval, mark.to_owned()]
}

/// The period of assignment in UTC.
pub(super) fn period(report: &Report) -> String {
    match (report.start_millis, report.end_millis) {
        (Some(start), Some(end)) => format!("from {} to {}", time(start), time(end)),
        (Some(start), None) => format!("since {}", time(start)),
        (None, _) => "start not recorded".to_owned(),
    }
}

/// The UTC date of the day that starts at this time.
fn day_name(start_millis: i64) -> String {
    let date =
        time::OffsetDateTime::from_unix_timestamp(start_millis.div_euclid(1_000)).map(time::OffsetDateTime::date);
    date.map_or_else(|_| format!("the day that began at {start_millis} ms"), |date| date.to_string())
}

/// Notes and warnings.
pub(super) fn notes(report: &Report) -> Option<String> {
    let mut notes = Vec::new();
    if let Some(ratio) = report.sample_ratio.as_ref().filter(|ratio| ratio.is_mismatch) {
        let (what, counts) = match (ratio.least_even, &ratio.worst_day) {
            (Scope::Queries, _) => ("the split of queries is".to_owned(), &ratio.n_queries),
            (Scope::Day, Some(day)) => (format!("on {} the split was", day_name(day.start_millis)), &day.n_units),
            (Scope::Day | Scope::Units, _) => ("the split is".to_owned(), &ratio.n_units),
        };
        let shares = report.arms.iter().zip(counts).zip(&ratio.expected);
        let total = counts.iter().sum::<u64>() as f64;
        let share = |((arm, n), expected): ((&ArmSummary, &u64), &f64)| {
            format!("{} {:.1} % (weighted {:.1} %)", arm.arm, *n as f64 / total * 100.0, expected * 100.0)
        };
        let shares: Vec<String> = shares.map(share).collect();
        notes.push(format!("WARNING: sample ratio mismatch; {what} {}", shares.join(", ")));
    }
    if report.n_inconsistent > 0 {
        let n = with_separators(report.n_inconsistent);
        notes.push(format!(
            "WARNING: {n} queries excluded: their unit was exposed to another arm before, or their arm does not exist"
        ));
    }
    if report.measure == Measure::Preference {
        notes.push("a click gives 1 / rank of credit to the arm of the hit; preference: the arm's leads minus the control's, relative to all leads".into());
    }
    (!notes.is_empty()).then(|| notes.join("\n"))
}
