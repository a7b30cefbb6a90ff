//! Plots as inline SVG, drawn in the page's own colours.

use std::fmt::Write;

use super::html::escape;
use super::{Report, grouped};
use crate::{Interval, Measure};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
/// Room for the labels of the axes.
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 30.0;
const TOP: f64 = 10.0;

/// How an arm's interval narrowed as units came; `None` before the first interval.
pub(super) fn sequence(report: &Report, challenger: usize) -> Option<String> {
    let known = |look: &crate::Look| Some((look.n_units as f64, (*look.differences.get(challenger)?)?));
    let points: Vec<(f64, Interval)> = report.looks.iter().filter_map(known).collect();
    let (n_last, last) = *points.last()?;
    // The first intervals are so wide that they would flatten the rest.
    let reach = (last.high - last.low).max(last.estimate.abs()).max(report.smallest_difference) * 2.0;
    let x = |n: f64| LEFT + n / n_last * (WIDTH - LEFT - 10.0);
    let y = |value: f64| TOP + (1.0 - value.clamp(-reach, reach) / reach) / 2.0 * (HEIGHT - TOP - BOTTOM);
    let path = |ends: &mut dyn Iterator<Item = (f64, f64)>| {
        ends.map(|(n, value)| format!("{:.1},{:.1}", x(n), y(value))).collect::<Vec<_>>().join(" ")
    };
    let upper = path(&mut points.iter().map(|(n, interval)| (*n, interval.high)));
    let lower = path(&mut points.iter().rev().map(|(n, interval)| (*n, interval.low)));
    let estimates = path(&mut points.iter().map(|(n, interval)| (*n, interval.estimate)));
    let band =
        format!(r#"<polygon class="band" points="{upper} {lower}"/><polyline class="line" points="{estimates}"/>"#);
    Some(frame(&format!("{}{band}{}", grid(report, reach, &y), axis(n_last))))
}

/// Lines at zero, at the smallest difference that matters, and at the plot's ends.
fn grid(report: &Report, reach: f64, y: &dyn Fn(f64) -> f64) -> String {
    let small = report.smallest_difference;
    let lines = [(0.0, "zero"), (small, "small"), (-small, "small"), (reach, "grid"), (-reach, "grid")];
    let is_apart = |value: f64| value == 0.0 || value == reach || value == -reach || value.abs() > reach / 8.0;
    lines.into_iter().fold(String::new(), |mut svg, (value, class)| {
        let at = y(value);
        let _ = write!(svg, r#"<line class="{class}" x1="{LEFT}" x2="{WIDTH}" y1="{at:.1}" y2="{at:.1}"/>"#);
        if is_apart(value) {
            let label = label(report.measure, value);
            let _ = write!(svg, r#"<text x="{}" y="{:.1}" text-anchor="end">{label}</text>"#, LEFT - 6.0, at + 4.0);
        }
        svg
    })
}

fn axis(n_last: f64) -> String {
    let y = HEIGHT - 8.0;
    let last = grouped(n_last as u64);
    format!(r#"<text x="{LEFT}" y="{y}">0</text><text x="{WIDTH}" y="{y}" text-anchor="end">{last} units</text>"#)
}

/// A bar for each arm's mean of the measure that decides.
pub(super) fn bars(report: &Report) -> String {
    let value = |arm: &super::ArmSummary| match report.measure {
        Measure::ReciprocalRank => arm.reciprocal_rank,
        Measure::TopClick => arm.top_click,
        Measure::ClickThrough | Measure::Preference => arm.click_through,
    };
    let values: Vec<f64> = report.arms.iter().map(|arm| value(arm).unwrap_or(0.0)).collect();
    let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let mut svg = String::new();
    for (n, (arm, value)) in report.arms.iter().zip(values).enumerate() {
        let (y, width) = (n as f64 * 34.0 + 4.0, value / most * (WIDTH - 300.0));
        let (text_y, end, name) = (y + 16.0, 206.0 + width, escape(&arm.arm));
        let _ = write!(svg, r#"<text x="190" y="{text_y}" text-anchor="end">{name}</text>"#);
        let _ = write!(svg, r#"<rect class="bar" x="200" y="{y}" width="{width:.1}" height="24"/>"#);
        let _ = write!(svg, r#"<text x="{end:.1}" y="{text_y}">{}</text>"#, label_of_mean(report.measure, value));
    }
    let height = report.arms.len() as f64 * 34.0;
    format!(r#"<svg viewBox="0 0 {WIDTH} {height}" role="img">{svg}</svg>"#)
}

fn frame(content: &str) -> String {
    format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{content}</svg>"#)
}

fn label(measure: Measure, value: f64) -> String {
    if measure == Measure::ReciprocalRank { format!("{value:+.3}") } else { format!("{:+.1}", value * 100.0) }
}

fn label_of_mean(measure: Measure, value: f64) -> String {
    if measure == Measure::ReciprocalRank { format!("{value:.3}") } else { format!("{:.1} %", value * 100.0) }
}
