//! Plots as inline SVG in the page's colors.

use maud::{Markup, html};

use super::{ArmSummary, Report};
use crate::format::with_separators;
use crate::{Interval, Look, Measure};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
/// The width of the axis labels.
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 30.0;
const TOP: f64 = 10.0;

/// The height of the row of a bar.
const ROW: f64 = 34.0;

/// The interval of an arm by the number of units; `None` before the first interval.
pub(super) fn intervals(report: &Report, challenger: usize) -> Option<Markup> {
    let known = |look: &Look| Some((look.n_units as f64, (*look.differences.get(challenger)?)?));
    let points: Vec<(f64, Interval)> = report.looks.iter().filter_map(known).collect();
    let (n_last, last) = *points.last()?;
    // The first intervals are very wide and would flatten the rest.
    let value_max = (last.high - last.low).max(last.estimate.abs()).max(report.smallest_difference) * 2.0;
    let x = |n: f64| LEFT + n / n_last * (WIDTH - LEFT - 10.0);
    let y = |value: f64| TOP + (1.0 - value.clamp(-value_max, value_max) / value_max) / 2.0 * (HEIGHT - TOP - BOTTOM);
    let path = |ends: &mut dyn Iterator<Item = (f64, f64)>| {
        ends.map(|(n, value)| format!("{:.1},{:.1}", x(n), y(value))).collect::<Vec<_>>().join(" ")
    };
    let upper = path(&mut points.iter().map(|(n, interval)| (*n, interval.high)));
    let lower = path(&mut points.iter().rev().map(|(n, interval)| (*n, interval.low)));
    let estimates = path(&mut points.iter().map(|(n, interval)| (*n, interval.estimate)));
    Some(html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" {
            (grid(report, value_max, &y))
            polygon.band points={ (upper) " " (lower) } {}
            polyline.line points=(estimates) {}
            (axis(n_last))
        }
    })
}

/// Lines at zero, at the smallest relevant difference, and at the ends of the plot.
fn grid(report: &Report, value_max: f64, y: &dyn Fn(f64) -> f64) -> Markup {
    let small = report.smallest_difference;
    let lines = [(0.0, "zero"), (small, "small"), (-small, "small"), (value_max, "grid"), (-value_max, "grid")];
    // Labels close to that of zero would overlap it.
    let has_label =
        |value: f64| value == 0.0 || value == value_max || value == -value_max || value.abs() > value_max / 8.0;
    html! {
        @for (value, class) in lines {
            line class=(class) x1=(LEFT) x2=(WIDTH) y1=(tenths(y(value))) y2=(tenths(y(value))) {}
            @if has_label(value) {
                text x=(LEFT - 6.0) y=(tenths(y(value) + 4.0)) text-anchor="end" { (label(report.measure, value)) }
            }
        }
    }
}

fn axis(n_last: f64) -> Markup {
    let y = HEIGHT - 8.0;
    html! {
        text x=(LEFT) y=(y) { "0" }
        text x=(WIDTH) y=(y) text-anchor="end" { (with_separators(n_last as u64)) " units" }
    }
}

/// A bar for each arm's mean of the primary measure.
pub(super) fn bars(report: &Report) -> Markup {
    let value = |arm: &ArmSummary| match report.measure {
        Measure::ReciprocalRank => arm.reciprocal_rank,
        Measure::Value => arm.value,
        Measure::TimeToFirstClick => arm.time_to_first_click_seconds,
        Measure::Ndcg => arm.ndcg_at_10,
        Measure::TopClick => arm.top_click,
        Measure::ClickThrough | Measure::Preference => arm.click_through,
    };
    let values: Vec<f64> = report.arms.iter().map(|arm| value(arm).unwrap_or(0.0)).collect();
    let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let height = report.arms.len() as f64 * ROW;
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (height) } role="img" {
            @for (n, (arm, value)) in report.arms.iter().zip(values).enumerate() {
                (bar(&arm.arm, n as f64 * ROW + 4.0, (value / most).max(0.0) * (WIDTH - 300.0), &mean_label(report.measure, value)))
            }
        }
    }
}

/// A bar at a height, with its name to the left and its value to the right.
fn bar(name: &str, y: f64, width: f64, value: &str) -> Markup {
    let text_y = y + 16.0;
    html! {
        text x="190" y=(text_y) text-anchor="end" { (name) }
        rect.bar x="200" y=(y) width=(tenths(width)) height="24" {}
        text x=(tenths(206.0 + width)) y=(text_y) { (value) }
    }
}

/// A length with one decimal.
fn tenths(length: f64) -> String {
    format!("{length:.1}")
}

fn label(measure: Measure, value: f64) -> String {
    match measure {
        Measure::ClickThrough | Measure::TopClick | Measure::Preference => format!("{:+.1}", value * 100.0),
        _ => format!("{}{}", if value < 0.0 { "" } else { "+" }, measure.difference(value)),
    }
}

fn mean_label(measure: Measure, value: f64) -> String {
    measure.value(value)
}
