//! An evaluation as one page of HTML, with plots. The page has its style inside, loads nothing and runs no script.

mod plots;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::{Comparison, Evaluation};

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1d232b; --paper: #fff; --soft: #667085; --rule: #d8dde3; --c0: #667085; --c1: #2f6fb5; --c2: #b4532a; --c3: #2e7d4f; --c4: #7b4fa3; --c5: #96761c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ed; --paper: #14181d; --soft: #98a2b3; --rule: #343b45; --c0: #98a2b3; --c1: #6ea8e6; --c2: #e8956b; --c3: #6cc08f; --c4: #b993dd; --c5: #d3b04f; } }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin-top: 2rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
.note { color: var(--soft); font-size: .9rem; } .scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--rule); text-align: right; font-variant-numeric: tabular-nums; font-weight: normal; }
th:first-child, td:first-child { text-align: left; } thead th { font-weight: 600; } .lists td { text-align: left; vertical-align: top; font-size: .9rem; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 12px; } .rule { stroke: var(--rule); } .zero { stroke: var(--ink); }
.line { fill: none; stroke-width: 2; } .c0 { stroke: var(--c0); fill: var(--c0); } .c1 { stroke: var(--c1); fill: var(--c1); } .c2 { stroke: var(--c2); fill: var(--c2); }
.c3 { stroke: var(--c3); fill: var(--c3); } .c4 { stroke: var(--c4); fill: var(--c4); } .c5 { stroke: var(--c5); fill: var(--c5); }
svg polyline.line { fill: none; } svg text.name { stroke: none; }
";

/// A query whose rankings are shown side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The query's index in [`Evaluation::queries`].
    pub query: usize,
    /// For each ranker, its first hits.
    pub rankings: Vec<Vec<ExampleHit>>,
}

/// A hit of an [`Example`].
#[derive(Debug, Clone, PartialEq)]
pub struct ExampleHit {
    /// The document's id.
    pub document: String,
    /// Its grade; `None` if it is not judged.
    pub grade: Option<i32>,
    /// The beginning of its title or text.
    pub text: String,
}

/// The evaluation as one page of HTML. `examples` are queries whose rankings are shown side by side.
pub fn to_html(evaluation: &Evaluation, examples: &[Example]) -> String {
    let title = format!("Evaluation on {}", evaluation.collection);
    html! {
        (DOCTYPE) "\n"
        html lang="en" { "\n"
            head { "\n"
                meta charset="utf-8"; "\n"
                meta name="viewport" content="width=device-width, initial-scale=1"; "\n"
                title { (title) } "\n"
                style { (PreEscaped(STYLE)) } "\n"
            } "\n"
            body { "\n" h1 { (title) } "\n" (body(evaluation, examples)) } "\n"
        } "\n"
    }
    .into_string()
}

fn body(evaluation: &Evaluation, examples: &[Example]) -> Markup {
    let measure = evaluation.measures[0];
    html! {
        p { (summary(evaluation)) } "\n"
        h2 { "Means" } "\n" (means(evaluation))
        h2 { "Compared with " (evaluation.baseline) ", " (measure) } "\n" (comparisons(evaluation))
        p.note { "The interval is a 95 % percentile bootstrap over queries; p is the randomization test's, with Holm's correction for the number of rankers." } "\n"
        @if let Some(plot) = plots::by_depth(evaluation) {
            h2 { (measure) " by depth" } "\n" (plot) "\n"
            p.note { "How many candidates are reranked; the others follow in the first stage's order." } "\n"
        }
        @if let Some(plot) = plots::by_cost(evaluation) {
            h2 { (measure) " by time" } "\n" (plot) "\n"
        }
        @for ranker in (0..evaluation.rankers.len()).filter(|ranker| *ranker != evaluation.baseline_index()) {
            h2 { (evaluation.rankers[ranker].name) ": differences by query, " (measure) } "\n" (plots::differences(evaluation, ranker)) "\n"
        }
        @if !examples.is_empty() {
            h2 { "Queries that lose most against " (evaluation.baseline) } "\n"
            @for example in examples { (side_by_side(evaluation, example)) }
        }
    }
}

fn summary(evaluation: &Evaluation) -> String {
    let none = match evaluation.n_without_relevant {
        0 => String::new(),
        n => format!(" {n} of them have no relevant document; each measure is 0 for them."),
    };
    format!("{} queries, depth {}.{none}", evaluation.n_queries, evaluation.depth)
}

fn means(evaluation: &Evaluation) -> Markup {
    let seconds = |seconds: Option<f64>| seconds.map_or("–".to_owned(), |seconds| format!("{seconds:.3}"));
    html! {
        div.scroll { table {
            thead { tr { th { "ranker" } @for measure in &evaluation.measures { th { (measure) } } th { "seconds a query" } } } "\n"
            tbody {
                @for ranker in &evaluation.rankers {
                    tr { td { (ranker.name) } @for mean in &ranker.means { td { (format!("{mean:.4}")) } } td { (seconds(ranker.seconds_per_query)) } } "\n"
                }
            }
        } } "\n"
    }
}

fn comparisons(evaluation: &Evaluation) -> Markup {
    let row = |name: &str, comparison: &Comparison| {
        let Comparison { difference, low, high, p_holm, wins, ties, losses, .. } = comparison;
        html! {
            tr {
                td { (name) } td { (format!("{difference:+.4}")) } td { (format!("{low:+.4} to {high:+.4}")) } td { (format!("{p_holm:.4}")) }
                td { (wins) } td { (ties) } td { (losses) }
            } "\n"
        }
    };
    html! {
        div.scroll { table {
            thead { tr { th { "ranker" } th { "difference" } th { "95 % interval" } th { "p" } th { "wins" } th { "ties" } th { "losses" } } } "\n"
            tbody {
                @for ranker in &evaluation.rankers {
                    @if let Some(comparison) = ranker.comparisons.first() { (row(&ranker.name, comparison)) }
                }
            }
        } } "\n"
    }
}

fn side_by_side(evaluation: &Evaluation, example: &Example) -> Markup {
    let query = &evaluation.queries[example.query];
    let n_rows = example.rankings.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |hit: Option<&ExampleHit>| {
        hit.map_or(String::new(), |ExampleHit { document, grade, text }| {
            let grade = grade.map_or("not judged".to_owned(), |grade| format!("grade {grade}"));
            format!("{document} ({grade}) {text}")
        })
    };
    html! {
        h3 { (query.id) ": " (query.text) } "\n"
        div.scroll { table.lists {
            thead { tr {
                th { "" }
                @for (ranker, values) in evaluation.rankers.iter().zip(&query.values) { th { (ranker.name) " " (format!("{:.3}", values[0])) } }
            } } "\n"
            tbody {
                @for row in 0..n_rows {
                    tr { td { (row + 1) } @for ranking in &example.rankings { td { (cell(ranking.get(row))) } } } "\n"
                }
            }
        } } "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EvaluationOptions, FIRST_STAGE, Measure, Qrels, RankerInfo, Scored, ScoredQuery, Ties, Topic};

    fn evaluation() -> Evaluation {
        let scored = |document: &str, score| Scored { document: document.into(), score };
        let queries = [("q1", [0.1, 0.9]), ("q2", [0.9, 0.1])].map(|(id, scores)| ScoredQuery {
            topic: Topic { id: id.into(), text: format!("<b>{id}</b>") },
            candidates: vec![scored("a", 2.0), scored("b", 1.0)],
            scores: vec![scores.to_vec()],
            orders: Vec::new(),
        });
        let mut qrels = Qrels::default();
        qrels.insert("q1", "b", 1);
        qrels.insert("q2", "b", 1);
        let info =
            |name: &str, seconds| RankerInfo { name: name.into(), adapter_digest: None, seconds_per_query: seconds };
        let rankers = [info(FIRST_STAGE, None), info("a & b", Some(0.25))];
        let options = EvaluationOptions {
            measures: vec![Measure::NDCG_AT_10, "mrr".parse().unwrap()],
            depth: 2,
            depths: vec![1, 2],
            ties: Ties::Input,
            baseline: FIRST_STAGE.into(),
        };
        Evaluation::new("eggs", &rankers, &queries, &qrels, &options)
    }

    #[test]
    fn the_page_shows_everything_and_escapes_names() {
        let hit = ExampleHit { document: "a".into(), grade: None, text: "<i>eggs</i>".into() };
        let example = Example { query: 0, rankings: vec![vec![hit.clone()], vec![hit]] };
        let page = to_html(&evaluation(), &[example]);
        for part in [
            "<h1>Evaluation on eggs</h1>",
            "a &amp; b",
            "&lt;b&gt;q1&lt;/b&gt;",
            "&lt;i&gt;eggs&lt;/i&gt;",
            "a (not judged)",
            "ndcg@10 by depth",
            "ndcg@10 by time",
            "differences by query",
            "0.250",
            "95 % interval",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
        assert!(!page.contains("<b>q1") && !page.contains("<script") && !page.contains("http"));
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
