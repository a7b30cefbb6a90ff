//! The plots of the page, as SVG in the page's own colors.

use maud::{Markup, html};

use crate::Evaluation;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 280.0;
/// Room for labels.
const LEFT: f64 = 60.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 30.0;

/// How many colors there are.
const N_COLORS: usize = 6;

/// A point of a plot, with what is measured and its value.
type Point = (f64, f64);

/// The first measure of each ranker by depth; `None` if there are fewer than two depths.
pub(super) fn by_depth(evaluation: &Evaluation) -> Option<Markup> {
    if evaluation.depths.len() < 2 {
        return None;
    }
    let of = |ranker: usize| evaluation.depths.iter().map(|row| (row.depth as f64, row.means[ranker])).collect();
    let series: Vec<Vec<Point>> = (0..evaluation.rankers.len()).map(of).collect();
    let ticks: Vec<(f64, String)> =
        evaluation.depths.iter().map(|row| (row.depth as f64, row.depth.to_string())).collect();
    Some(plot(evaluation, "by depth", &series, &ticks))
}

/// The first measure by the time of a query; `None` if no ranker's time is known.
pub(super) fn by_cost(evaluation: &Evaluation) -> Option<Markup> {
    let of = |ranker: &crate::RankerResult| ranker.seconds_per_query.map(|seconds| (seconds, ranker.means[0]));
    let series: Vec<Vec<Point>> = evaluation.rankers.iter().map(|ranker| of(ranker).into_iter().collect()).collect();
    let times: Vec<f64> =
        series.iter().flatten().map(|(seconds, _)| *seconds).filter(|seconds| *seconds > 0.0).collect();
    let (low, high) = (times.iter().copied().reduce(f64::min)?, times.iter().copied().reduce(f64::max)?);
    let label = |seconds: f64| (seconds, format!("{seconds:.3} s"));
    let ticks = if high > low * 1.2 { vec![label(low), label(high)] } else { vec![label(high)] };
    Some(plot(evaluation, "by seconds a query", &series, &ticks))
}

/// Series of points, one for each ranker, over a logarithmic axis.
fn plot(evaluation: &Evaluation, by: &str, series: &[Vec<Point>], ticks: &[(f64, String)]) -> Markup {
    let points = || series.iter().flatten();
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (x_low, x_high) = range(&mut points().map(|(x, _)| x.max(1e-6).ln()));
    let (y_low, y_high) = range(&mut points().map(|(_, y)| *y));
    let share = |value: f64, low: f64, high: f64| if high > low { (value - low) / (high - low) } else { 0.5 };
    let x = |value: f64| LEFT + share(value.max(1e-6).ln(), x_low, x_high) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| TOP + (1.0 - share(value, y_low, y_high)) * (HEIGHT - TOP - BOTTOM);
    let path = |series: &[Point]| {
        series.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect::<Vec<_>>().join(" ")
    };
    let labels = if y_high > y_low { vec![y_low, (y_low + y_high) / 2.0, y_high] } else { vec![y_low] };
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={ (evaluation.measures[0]) " of each ranker " (by) } {
            @for value in labels {
                line.rule x1=(LEFT) x2=(WIDTH - RIGHT) y1=(tenths(y(value))) y2=(tenths(y(value))) {}
                text x=(LEFT - 6.0) y=(tenths(y(value) + 4.0)) text-anchor="end" { (format!("{value:.3}")) }
            }
            @for (at, label) in ticks {
                text x=(tenths(x(*at))) y=(HEIGHT - 8.0) text-anchor="middle" { (label) }
            }
            @for (n, (points, height)) in series.iter().zip(name_heights(series, &y)).enumerate() {
                @let color = format!("c{}", n % N_COLORS);
                @if points.len() > 1 { polyline class={ "line " (color) } points=(path(points)) {} }
                @for (at, value) in points { circle class=(color) cx=(tenths(x(*at))) cy=(tenths(y(*value))) r="3" {} }
                @if let (Some((at, _)), Some(height)) = (points.last(), height) {
                    text class={ "name " (color) } x=(tenths(x(*at) + 8.0)) y=(tenths(height + 4.0)) { (evaluation.rankers[n].name) }
                }
            }
        }
    }
}

/// The heights of the names beside the last points, moved apart where they would overlap.
fn name_heights(series: &[Vec<Point>], y: &dyn Fn(f64) -> f64) -> Vec<Option<f64>> {
    let mut heights: Vec<Option<f64>> = series.iter().map(|points| points.last().map(|(_, value)| y(*value))).collect();
    let mut order: Vec<usize> = (0..heights.len()).filter(|n| heights[*n].is_some()).collect();
    order.sort_by(|a, b| heights[*a].partial_cmp(&heights[*b]).unwrap_or(std::cmp::Ordering::Equal));
    let mut lowest = f64::NEG_INFINITY;
    for n in order {
        lowest = heights[n].unwrap_or(lowest).max(lowest + 14.0);
        heights[n] = Some(lowest);
    }
    heights
}

/// The differences of a ranker from the baseline, query by query, from the greatest gain to the greatest loss.
pub(super) fn differences(evaluation: &Evaluation, ranker: usize) -> Markup {
    const BARS_HEIGHT: f64 = 160.0;
    let mut differences = evaluation.differences(ranker);
    differences.sort_by(|a, b| b.total_cmp(a));
    let most = differences.iter().fold(1e-9f64, |most, difference| most.max(difference.abs()));
    let step = (WIDTH - LEFT) / differences.len().max(1) as f64;
    let middle = BARS_HEIGHT / 2.0;
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (BARS_HEIGHT) } role="img" aria-label={ "Differences of " (evaluation.rankers[ranker].name) " by query" } {
            text x=(LEFT - 6.0) y="12" text-anchor="end" { (format!("{most:+.3}")) }
            text x=(LEFT - 6.0) y=(BARS_HEIGHT - 2.0) text-anchor="end" { (format!("{:+.3}", -most)) }
            @for (n, difference) in differences.iter().enumerate().filter(|(_, difference)| difference.abs() > 1e-9) {
                @let height = difference.abs() / most * (middle - 2.0);
                @let top = if *difference > 0.0 { middle - height } else { middle };
                rect class={ "c" (ranker % N_COLORS) } x=(tenths(LEFT + n as f64 * step)) y=(tenths(top)) width=(tenths((step * 0.8).max(0.5))) height=(tenths(height)) {}
            }
            line.zero x1=(LEFT) x2=(WIDTH) y1=(middle) y2=(middle) {}
        }
    }
}

/// A length with one decimal.
fn tenths(length: f64) -> String {
    format!("{length:.1}")
}
