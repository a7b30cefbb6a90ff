//! The report as one page: its style and plots are inside, it asks for nothing and runs no script.

use std::fmt::Write;

use super::text::{differences, heading, method, notes};
use super::{ArmSummary, Report, plot};
use crate::{Measure, Verdict};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d232b; --paper: #fff; --soft: #667085; --rule: #d8dde3; --fill: #2f6fb5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ed; --paper: #14181d; --soft: #98a2b3; --rule: #343b45; --fill: #6ea8e6; } }
body { margin: 2rem auto; max-width: 48rem; padding: 0 1rem; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
.verdict { border-left: 4px solid var(--fill); padding: .5rem 1rem; font-size: 1.1rem; }
.warning { border-left: 4px solid #d1443c; padding: .5rem 1rem; white-space: pre-line; }
.note { color: var(--soft); font-size: .9rem; white-space: pre-line; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--rule); text-align: right; font-variant-numeric: tabular-nums; font-weight: normal; }
th:first-child, td:first-child { text-align: left; } thead th { font-weight: 600; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 12px; }
.band { fill: var(--fill); opacity: .25; } .line { fill: none; stroke: var(--fill); stroke-width: 2; } .bar { fill: var(--fill); }
.grid { stroke: var(--rule); } .zero { stroke: var(--ink); } .small { stroke: var(--soft); stroke-dasharray: 4 4; }
";

pub(super) fn render(report: &Report) -> String {
    let name = escape(&report.experiment);
    let is_warning = matches!(report.verdict, Verdict::FixSampleRatio { .. });
    let class = if is_warning { "warning" } else { "verdict" };
    let mut body = format!("<h1>Experiment {name}</h1>\n<p class=\"{class}\">{}</p>\n", escape(&report.sentence));
    let _ = writeln!(body, "<p class=\"note\">{}, decided by {}.</p>", method(report), report.measure);
    if let Some(notes) = notes(report) {
        let class = if notes.contains("WARNING") { "warning" } else { "note" };
        let _ = writeln!(body, "<p class=\"{class}\">{}</p>", escape(&notes));
    }
    for (n, comparison) in report.comparisons.iter().enumerate() {
        let _ = writeln!(body, "<h2>{}</h2>", escape(&heading(report, comparison)));
        if let Some(plot) = plot::sequence(report, n) {
            let _ = writeln!(body, "{plot}\n<p class=\"note\">{}</p>", legend(report));
        }
        body += &table(None, &differences(comparison));
    }
    let shown = if report.measure == Measure::Preference { Measure::ClickThrough } else { report.measure };
    let _ = writeln!(body, "<h2>Arms: {shown}</h2>\n{}", plot::bars(report));
    body += &arms(&report.arms);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Experiment {name}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

fn legend(report: &Report) -> String {
    let small = report.measure.difference(report.smallest_difference);
    format!(
        "The difference in {} and its interval as units came. Dashed: differences of {small}, the smallest that matter.",
        report.measure
    )
}

fn arms(arms: &[ArmSummary]) -> String {
    let columns: Vec<_> = arms.iter().map(ArmSummary::rows).collect();
    let head = std::iter::once(String::new()).chain(arms.iter().map(|arm| arm.arm.clone())).collect();
    let n_rows = columns.first().map_or(0, Vec::len);
    let row =
        |n: usize| std::iter::once(columns[0][n].0.to_owned()).chain(columns.iter().map(move |rows| rows[n].1.clone()));
    table(Some(head), &(0..n_rows).map(|n| row(n).collect()).collect::<Vec<_>>())
}

fn table(head: Option<Vec<String>>, rows: &[Vec<String>]) -> String {
    let line = |cells: &[String], tag: &str| {
        let cells = cells.iter().fold(String::new(), |line, cell| line + &format!("<{tag}>{}</{tag}>", escape(cell)));
        format!("<tr>{cells}</tr>\n")
    };
    let head = head.map_or(String::new(), |cells| format!("<thead>{}</thead>", line(&cells, "th")));
    let rows: String = rows.iter().map(|cells| line(cells, "td")).collect();
    format!("<div class=\"scroll\"><table>{head}\n<tbody>\n{rows}</tbody></table></div>\n")
}

/// Text as HTML and as an attribute's value.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}
