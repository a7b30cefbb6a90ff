//! The tables of an evaluation on a terminal.

use std::io::Write;

use lorank_eval::Evaluation;
use lorank_pipeline::Warning;

use super::scoring::Scorer;
use super::{EvalArgs, UsedBase, heading};
use crate::output;
use crate::output::table::{Side, render};
use crate::output::text::count;

pub(super) fn print(
    evaluation: &Evaluation,
    bases: &[UsedBase],
    scorer: &Scorer<'_>,
    args: &EvalArgs,
) -> anyhow::Result<()> {
    let mut out = output::stdout();
    writeln!(out, "{}\n\n{}", heading(evaluation, bases, args)?, means(evaluation))?;
    writeln!(out, "{} compared with {}\n", evaluation.measures[0], evaluation.baseline)?;
    writeln!(out, "{}", comparisons(evaluation))?;
    if !evaluation.depths.is_empty() {
        writeln!(out, "{} by depth\n\n{}", evaluation.measures[0], depths(evaluation))?;
    }
    if evaluation.n_without_relevant > 0 {
        let n = count(evaluation.n_without_relevant);
        writeln!(out, "{n} of the queries have no relevant document; each measure is 0 for them")?;
    }
    let n_without = evaluation.queries.iter().filter(|query| query.n_candidates == 0).count();
    if n_without > 0 {
        writeln!(out, "{} of the queries have no candidates; each measure is 0 for them", count(n_without))?;
    }
    if scorer.n_kept() > 0 {
        writeln!(out, "{} scores were known from an earlier evaluation", count(scorer.n_kept()))?;
    }
    if scorer.n_cut_off() > 0 {
        writeln!(out, "{}", Warning::PassagesLimited { n_documents: scorer.n_cut_off() })?;
    }
    let written = [("the runs are in", &args.runs), ("the page is", &args.html)];
    for (what, path) in written.into_iter().filter_map(|(what, path)| Some((what, path.as_ref()?))) {
        writeln!(out, "{what} `{}`", path.display())?;
    }
    Ok(out.flush()?)
}

fn means(evaluation: &Evaluation) -> String {
    let names: Vec<String> = evaluation.measures.iter().map(ToString::to_string).collect();
    let mut headings = vec![("ranker", Side::Left)];
    headings.extend(names.iter().map(|name| (name.as_str(), Side::Right)));
    headings.push(("seconds a query", Side::Right));
    let rows = evaluation.rankers.iter().map(|ranker| {
        let mut row = vec![ranker.name.clone()];
        row.extend(ranker.means.iter().map(|mean| format!("{mean:.4}")));
        row.push(ranker.seconds_per_query.map_or("–".to_owned(), |seconds| format!("{seconds:.4}")));
        row
    });
    render(headings, &rows.collect::<Vec<_>>())
}

/// The comparisons of the first measure.
fn comparisons(evaluation: &Evaluation) -> String {
    let headings = [
        ("ranker", Side::Left),
        ("difference", Side::Right),
        ("95 % interval", Side::Right),
        ("p (Holm)", Side::Right),
        ("wins", Side::Right),
        ("ties", Side::Right),
        ("losses", Side::Right),
    ];
    let rows = evaluation.rankers.iter().filter_map(|ranker| {
        let comparison = ranker.comparisons.first()?;
        Some([
            ranker.name.clone(),
            format!("{:+.4}", comparison.difference),
            format!("{:+.4} to {:+.4}", comparison.low, comparison.high),
            format!("{:.4}", comparison.p_holm),
            count(comparison.wins),
            count(comparison.ties),
            count(comparison.losses),
        ])
    });
    render(headings, &rows.collect::<Vec<_>>())
}

fn depths(evaluation: &Evaluation) -> String {
    let mut headings = vec![("depth", Side::Right)];
    headings.extend(evaluation.rankers.iter().map(|ranker| (ranker.name.as_str(), Side::Right)));
    let rows = evaluation.depths.iter().map(|row| {
        let means = row.means.iter().map(|mean| format!("{mean:.4}"));
        std::iter::once(count(row.depth)).chain(means).collect::<Vec<_>>()
    });
    render(headings, &rows.collect::<Vec<_>>())
}
