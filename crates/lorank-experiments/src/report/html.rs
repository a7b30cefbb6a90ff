//! The report as an HTML page with inline styles and plots, without scripts or external resources.
//!
//! maud escapes all texts, including the names of arms and experiments.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::words::{arm_rows, differences, heading, method, notes, period, served};
use super::{ArmSummary, GuardrailCheck, Report, plot};
use crate::{Measure, Verdict};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d232b; --paper: #fff; --soft: #667085; --rule: #d8dde3; --fill: #2f6fb5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ed; --paper: #14181d; --soft: #98a2b3; --rule: #343b45; --fill: #6ea8e6; } }
body { margin: 2rem auto; max-width: 48rem; padding: 0 1rem; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
.verdict { border-left: 4px solid var(--fill); padding: .5rem 1rem; font-size: 1.1rem; }
.warning { border-left: 4px solid #d1443c; padding: .5rem 1rem; white-space: pre-line; }
.state { padding: 0 .6rem; border: 1px solid var(--soft); border-radius: 1rem; color: var(--soft); font-size: .9rem; font-weight: normal; }
.guardrails { padding: 0; list-style: none; } .guardrails b { display: inline-block; min-width: 4rem; } .look b { color: #d1443c; }
.note { color: var(--soft); font-size: .9rem; white-space: pre-line; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--rule); text-align: right; font-variant-numeric: tabular-nums; font-weight: normal; }
th:first-child, td:first-child { text-align: left; } thead th { font-weight: 600; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 12px; }
.band { fill: var(--fill); opacity: .25; } .line { fill: none; stroke: var(--fill); stroke-width: 2; } .bar { fill: var(--fill); }
.grid { stroke: var(--rule); } .zero { stroke: var(--ink); } .small { stroke: var(--soft); stroke-dasharray: 4 4; }
";

impl Report {
    /// The `Content-Security-Policy` for the page of [`to_html`](Self::to_html): only its own style, by its SHA-256.
    pub const HTML_SECURITY_POLICY: &str = "default-src 'none'; \
         style-src 'sha256-xwRTU7hj8clb3EnSe0+ic7WOz2/+YWiaHo9Q/PESdHM='; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    /// The report as an HTML page without external resources.
    pub fn to_html(&self) -> String {
        html! {
            (DOCTYPE) "\n"
            html lang="en" { "\n"
                head { "\n"
                    meta charset="utf-8"; "\n"
                    meta name="viewport" content="width=device-width, initial-scale=1"; "\n"
                    title { "Experiment " (self.experiment) } "\n"
                    style { (PreEscaped(STYLE)) } "\n"
                } "\n"
                body { "\n" (body(self)) } "\n"
            } "\n"
        }
        .into_string()
    }
}

fn body(report: &Report) -> Markup {
    let is_warning = matches!(
        report.verdict,
        Verdict::FixSampleRatio { .. }
            | Verdict::Changed { .. }
            | Verdict::CheckGuardrails { .. }
            | Verdict::SameVersion { .. }
    ) || report.sentence.contains("WARNING");
    let shown = if report.measure == Measure::Preference { Measure::ClickThrough } else { report.measure };
    html! {
        h1 { "Experiment " (report.experiment) " " span.state { (report.state.to_string()) } } "\n"
        p class=(if is_warning { "warning" } else { "verdict" }) { (report.sentence) } "\n"
        p.note { (method(report)) ", decided by " (report.measure.to_string()) "; " (period(report)) "." } "\n"
        @if let Some(notes) = notes(report) {
            p class=(if notes.contains("WARNING") { "warning" } else { "note" }) { (notes) } "\n"
        }
        @for (n, comparison) in report.comparisons.iter().enumerate() {
            h2 { (heading(report, comparison)) } "\n"
            @if let Some(plot) = plot::intervals(report, n) {
                (plot) "\n"
                p.note { (legend(report)) } "\n"
            }
            (table(None, &differences(comparison)))
        }
        h2 { "Guardrails" } "\n"
        ul.guardrails { "\n" @for check in &report.guardrails { (guardrail(check)) "\n" } } "\n"
        h2 { "Arms: " (shown.to_string()) } "\n"
        (plot::bars(report)) "\n"
        (arms(&report.arms))
        h2 { "Versions by arm" } "\n"
        (table(None, &served(report).into_iter().map(Vec::from).collect::<Vec<_>>()))
    }
}

fn guardrail(GuardrailCheck { name, found, is_fine }: &GuardrailCheck) -> Markup {
    html! {
        li class=[(!is_fine).then_some("look")] { b { @if *is_fine { "✓ fine" } @else { "! look" } } " " (name) ": " (found) }
    }
}

fn legend(report: &Report) -> String {
    let small = report.measure.difference(report.smallest_difference);
    format!(
        "The difference in {} with its interval by the number of units. Dashed: {small}, the smallest relevant difference.",
        report.measure
    )
}

/// A table with one column per arm.
fn arms(arms: &[ArmSummary]) -> Markup {
    let columns: Vec<_> = arms.iter().map(|arm| arm_rows(arm, arms)).collect();
    let head: Vec<String> = std::iter::once(String::new()).chain(arms.iter().map(|arm| arm.arm.clone())).collect();
    let n_rows = columns.first().map_or(0, Vec::len);
    let row =
        |n: usize| std::iter::once(columns[0][n].0.to_owned()).chain(columns.iter().map(move |rows| rows[n].1.clone()));
    table(Some(&head), &(0..n_rows).map(|n| row(n).collect()).collect::<Vec<_>>())
}

fn table(head: Option<&[String]>, rows: &[Vec<String>]) -> Markup {
    html! {
        div.scroll {
            table {
                @if let Some(cells) = head {
                    thead { tr { @for cell in cells { th { (cell) } } } "\n" }
                }
                "\n"
                tbody { "\n"
                    @for cells in rows {
                        tr { @for cell in cells { td { (cell) } } } "\n"
                    }
                }
            }
        }
        "\n"
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_allows_the_style_of_the_page() {
        let source = format!("style-src 'sha256-{}';", BASE64_STANDARD.encode(Sha256::digest(STYLE)));
        assert!(Report::HTML_SECURITY_POLICY.contains(&source), "{source} is not in the policy");
    }
}
