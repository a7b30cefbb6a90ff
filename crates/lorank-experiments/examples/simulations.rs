//! Prints what simulated experiments show of verdicts, as tables in Markdown.
//!
//!     cargo run -p lorank-experiments --example simulations [PART] [N]
//!
//! `PART` is `equal`, `reversed`, `mismatch` or `interleaving`; without it all are printed. `N` is the number of experiments in a row of
//! the table of click models (default: 100). All is seeded: the numbers are the same each time.

#[path = "../tests/simulated/mod.rs"]
mod simulated;

use lorank_experiments::{Method, Verdict};
use simulated::{
    Arms, Claims, ClickModel, Decided, Reversed, Run, Setting, decide, equal_arms, in_parallel, questions, reversed,
    units_to_alarm,
};

const N_RUNS: u64 = 1_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let part = arguments.next();
    let n_runs = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(100);
    let is_wanted = |name: &str| part.as_ref().is_none_or(|part| part == name);
    if is_wanted("equal") {
        equal();
        two_better();
    }
    if is_wanted("reversed") {
        reversals();
    }
    if is_wanted("mismatch") {
        mismatches();
    }
    if is_wanted("interleaving") {
        interleaving(n_runs);
    }
}

/// Equal arms, looked at after every 10 units.
fn equal() {
    println!("| {N_RUNS} A/A experiments | Called different | Mismatch | Called changed | Decisions that flipped |");
    println!("|---|---:|---:|---:|---:|");
    for (name, method, n_looks) in [("split", Method::Split, 200), ("interleaved", Method::Interleave, 100)] {
        let Claims { n_differences, n_mismatches, n_changes, n_flips } = equal_arms(method, N_RUNS, n_looks);
        println!("| {name}, {} units | {n_differences} | {n_mismatches} | {n_changes} | {n_flips} |", n_looks * 10);
    }
    println!();
}

/// Two arms that are better than the control: the recommended one may change once, and never comes back.
fn two_better() {
    let questions = questions();
    let run = |seed: u64| {
        let mut run = Run::new(seed, Method::Split, &questions, Arms::TwoBetter);
        let looks = (0..150).filter_map(|_| match run.look_after(10) {
            Verdict::Ship { arm, .. } => Some(arm),
            _ => None,
        });
        let mut recommended: Vec<String> = looks.collect();
        recommended.dedup();
        recommended
    };
    let runs = in_parallel(N_RUNS, run);
    let returns =
        |recommended: &&Vec<String>| (0..recommended.len()).any(|n| recommended[..n].contains(&recommended[n]));
    println!("| {N_RUNS} experiments with two better arms | Recommend one | Change to the other | Come back |");
    println!("|---|---:|---:|---:|");
    let n_decided = runs.iter().filter(|recommended| !recommended.is_empty()).count();
    let n_changed = runs.iter().filter(|recommended| recommended.len() > 1).count();
    println!("| split, 1500 units | {n_decided} | {n_changed} | {} |\n", runs.iter().filter(returns).count());
}

/// Effects that reverse half-way.
fn reversals() {
    println!(
        "| 200 experiments whose effect reverses after 5,000 units | Ship before | Still ship after 5,000 more | Changed |"
    );
    println!("|---|---:|---:|---:|");
    for (name, method) in [("split", Method::Split), ("interleaved", Method::Interleave)] {
        let Reversed { n_shipped, n_recommended, n_changed } = reversed(method, 200, 5_000);
        println!("| {name} | {n_shipped} | {n_recommended} | {n_changed} |");
    }
    println!();
}

/// How soon an uneven split is told.
fn mismatches() {
    println!("| True share of one arm (equal weights) | Units until the mismatch alarm, median of 101 |");
    println!("|---:|---:|");
    for share in [0.8, 0.67, 0.6, 0.55] {
        println!("| {share} | {} |", units_to_alarm(share, 101, 20_000));
    }
    println!();
}

/// How many queries a decision between BM25 and the reranker takes, split and interleaved, by click model, by the measure that decides the
/// split, and by how often the two differ: the medians of experiments of up to 20,000 units.
fn interleaving(n_runs: u64) {
    println!(
        "| Click model | Queries that differ | Split by click-through | Split by MRR | Interleaved | Interleaved to the better split |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
    let questions = questions();
    for part in [1.0, 0.3] {
        for click_model in ClickModel::ALL {
            let decided = |measure, method| {
                let setting = Setting { click_model, measure, part, ..Setting::default() };
                decide(&setting, method, &questions, n_runs, 20_000)
            };
            let clicks = decided("click-through", Method::Split);
            let ranks = decided("reciprocal-rank", Method::Split);
            let interleaved = decided("click-through", Method::Interleave);
            // A split that says that the two are alike has decided soon, and wrongly.
            let right = [&clicks, &ranks].into_iter().filter(|split| split.right >= 0.5);
            let ratio = match right.map(|split| split.n_queries).min() {
                Some(best) => format!("{:.1} %", interleaved.n_queries as f64 / best as f64 * 100.0),
                None => "-".to_owned(),
            };
            let [clicks, ranks, interleaved] = [clicks, ranks, interleaved].map(shown);
            println!("| {click_model:?} | {:.0} % | {clicks} | {ranks} | {interleaved} | {ratio} |", part * 100.0);
        }
    }
}

fn shown(Decided { right, n_queries }: Decided) -> String {
    format!("{n_queries} ({:.0} % right)", right * 100.0)
}
