//! The report as a table for a terminal.

use std::fmt::Write;

use super::{Comparison, Report, grouped};
use crate::{Measure, Method};

pub(super) fn render(report: &Report) -> String {
    let mut text = format!("experiment {}: {}, decided by {}\n\n", report.experiment, method(report), report.measure);
    text += &arms(report);
    for comparison in &report.comparisons {
        text += &format!("\n{}\n", heading(report, comparison));
        text += &table(&differences(comparison));
    }
    if let Some(note) = notes(report) {
        text += &format!("\n{note}\n");
    }
    text + &format!("\n{}\n", report.sentence)
}

pub(super) fn method(report: &Report) -> &'static str {
    match report.method {
        Method::Split => "traffic split by unit",
        Method::Interleave => "arms interleaved in one answer",
    }
}

pub(super) fn heading(report: &Report, comparison: &Comparison) -> String {
    let Comparison { arm, control, .. } = comparison;
    format!("{arm} less {control}, with intervals that hold at {:.0} % over all looks", report.confidence * 100.0)
}

/// The differences of a comparison as rows: what, how much, and whether it decides.
pub(super) fn differences(comparison: &Comparison) -> Vec<Vec<String>> {
    let mark = |decides: bool| if decides { "decides" } else { "" };
    let row = |difference: &super::Difference| {
        vec![difference.measure.to_string(), difference.in_words(), mark(difference.decides).to_owned()]
    };
    let mut rows: Vec<_> = comparison.differences.iter().map(row).collect();
    if let Some(duel) = &comparison.duel {
        let answers = [("won", duel.n_won), ("lost", duel.n_lost), ("drawn", duel.n_drawn)];
        let answers = answers.map(|(what, n)| format!("{} {what}", grouped(n))).join(", ");
        let credits = format!("{:.1} against {:.1}", duel.credit, duel.control_credit);
        rows.push(vec!["answers".into(), answers, String::new()]);
        rows.push(vec!["credit".into(), credits, String::new()]);
    }
    rows
}

/// What a reader must know beside the numbers.
pub(super) fn notes(report: &Report) -> Option<String> {
    let mut notes = Vec::new();
    if let Some(ratio) = report.sample_ratio.as_ref().filter(|ratio| ratio.is_mismatch) {
        let shares = report.arms.iter().zip(&ratio.n_units).zip(&ratio.expected);
        let total = ratio.n_units.iter().sum::<u64>() as f64;
        let share = |((arm, n), expected): ((&super::ArmSummary, &u64), &f64)| {
            format!("{} {:.1} % (weighted {:.1} %)", arm.arm, *n as f64 / total * 100.0, expected * 100.0)
        };
        let shares: Vec<String> = shares.map(share).collect();
        notes.push(format!("WARNING: the split is not as weighted: {}", shares.join(", ")));
    }
    if report.n_inconsistent > 0 {
        let n = grouped(report.n_inconsistent);
        notes.push(format!(
            "WARNING: {n} queries left out: their unit had met another arm, or the experiment has no such arm"
        ));
    }
    if report.measure == Measure::Preference {
        notes.push("a click is worth 1 / rank to the arm that put the hit there; preference: an arm's leads less the control's, of all leads".into());
    }
    (!notes.is_empty()).then(|| notes.join("\n"))
}

/// One column an arm.
fn arms(report: &Report) -> String {
    let mut rows = vec![vec![String::new()]];
    for arm in &report.arms {
        rows[0].push(arm.arm.clone());
        for (n, (what, value)) in arm.rows().into_iter().enumerate() {
            if rows.len() == n + 1 {
                rows.push(vec![what.to_owned()]);
            }
            rows[n + 1].push(value);
        }
    }
    table(&rows)
}

/// The first column to the left, the others to the right.
fn table(rows: &[Vec<String>]) -> String {
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (n, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a string cannot fail.
            let _ = if n == 0 { write!(line, "  {cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}
