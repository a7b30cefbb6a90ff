//! Simulated experiments: how often a verdict is wrong, and how many queries it takes. `examples/simulations.rs` prints the same
//! figures, and more, as one table.

mod simulated;

use lorank_experiments::{
    Analysis, AnalysisOptions, Assigner, Click, Experiment, Judged, Method, N_BUCKETS, QueryRecord, Verdict,
};

use simulated::{
    Arms, Claims, ClickModel, Decided, Question, Random, Run, Setting, answer, decide, equal_arms, in_parallel, kind,
    questions, reversed, units_to_alarm,
};

#[test]
fn equal_arms_seldom_look_different() {
    let n_runs = 1_000;
    for (method, n_looks) in [(Method::Split, 200), (Method::Interleave, 100)] {
        let claims = equal_arms(method, n_runs, n_looks);
        println!(
            "A/A {method:?}, {n_runs} experiments of {} units, looked at after every 10: {claims:?}",
            n_looks * 10
        );
        let Claims { n_differences, n_mismatches, n_changes, n_flips } = claims;
        assert!(
            n_differences <= n_runs / 20 && n_changes <= n_runs / 20 && n_mismatches <= n_runs / 100 && n_flips == 0
        );
    }
}

/// The unit test of the mismatch test looks after every unit; this is what a reader of verdicts sees.
#[test]
fn an_uneven_split_is_told_by_the_verdict() {
    for (share, n_units_max) in [(0.8, 60), (0.67, 140)] {
        let n_units = units_to_alarm(share, 101, 1_000);
        println!("true share {share}: no verdict but a mismatch after {n_units} units (median of 101 runs)");
        assert!(n_units <= n_units_max, "{share}: {n_units}");
    }
}

#[test]
fn of_two_better_arms_the_recommended_one_does_not_alternate() {
    let questions = questions();
    let n_runs = 1_000;
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
    let runs = in_parallel(n_runs, run);
    let n_decided = runs.iter().filter(|recommended| !recommended.is_empty()).count();
    let n_changed = runs.iter().filter(|recommended| recommended.len() > 1).count();
    let returns =
        |recommended: &&Vec<String>| (0..recommended.len()).any(|n| recommended[..n].contains(&recommended[n]));
    let n_alternating = runs.iter().filter(returns).count();
    println!(
        "two better arms, {n_runs} experiments of 1,500 units, looked at after every 10: {n_decided} recommend one, {n_changed} \
         change to the other, {n_alternating} come back"
    );
    assert!(n_decided > 500 && n_alternating == 0 && n_changed <= n_decided / 20);
}

/// Standard normal, by the method of Box and Muller.
fn normal(random: &mut Random) -> f64 {
    let radius = (-2.0 * (1.0 - random.uniform()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.uniform()).cos()
}

/// A split experiment decided by what its units spend, a query each. What they spent before is correlated with it by 0.7 where it is
/// `known`.
fn spending(seed: u64, n_units: u64, lift: f64, is_known: bool) -> (bool, f64) {
    let experiment: Experiment = serde_json::from_value(serde_json::json!({
        "id": "simulated", "salt": seed.to_string(), "primary_measure": "value", "state": "running",
        "arms": [{"name": "A", "model": "first-stage"}, {"name": "B", "model": "none"}],
        "buckets": [{"start": 0, "end": N_BUCKETS}]
    }))
    .expect("an experiment");
    let assigner = Assigner::new(&experiment);
    let (mut analysis, mut random) = (Analysis::new(&experiment, AnalysisOptions::default()), Random(seed));
    let mut has_claimed = false;
    for n in 0..n_units {
        let (unit, before) = (format!("u{n}"), normal(&mut random));
        let arm = assigner.arm(&unit).expect("all take part");
        let now = 0.7 * before + (1.0f64 - 0.49).sqrt() * normal(&mut random);
        analysis.add(&QueryRecord {
            arm,
            value: Some(20.0 + 5.0 * now + if arm == 1 { lift } else { 0.0 }),
            past: is_known.then_some(20.0 + 5.0 * before),
            ..answer(unit, n)
        });
        if n % 10 == 0 {
            has_claimed |= matches!(analysis.verdict(), Verdict::Ship { .. } | Verdict::Keep { .. });
        }
    }
    let report = analysis.report();
    let width = report.comparisons[0].differences.iter().find(|difference| difference.decides);
    let width = width.and_then(|difference| difference.interval).map_or(f64::NAN, |it| it.high - it.low);
    (has_claimed, width)
}

#[test]
fn what_units_spent_before_narrows_the_interval() {
    let n_runs = 1_000;
    let claims = |is_known: bool| {
        let runs = in_parallel(n_runs, |seed| spending(seed, 1_000, 0.0, is_known));
        let mean_width = runs.iter().map(|(_, width)| width).sum::<f64>() / n_runs as f64;
        (runs.iter().filter(|(has_claimed, _)| *has_claimed).count(), mean_width)
    };
    let ((plain_claims, plain_width), (claims, width)) = (claims(false), claims(true));
    println!(
        "value, A/A, {n_runs} experiments of 1,000 units, looked at after every 10: claims of a difference {plain_claims} without a \
         past, {claims} with one; intervals {:.3} times as wide at a correlation of 0.7",
        width / plain_width
    );
    assert!(plain_claims < 50 && claims < 50 && width / plain_width <= 0.75);
    let n_found = in_parallel(100, |seed| spending(seed, 1_000, 1.5, true)).iter().filter(|run| run.0).count();
    println!("value, B spends 0.3 standard deviations more, 100 experiments of 1,000 units: {n_found} say so");
    assert!(n_found >= 90);
}

#[test]
fn times_and_judgments_seldom_look_different_where_they_are_not() {
    for (measure, n_units) in [("time-to-first-click", 1_000), ("ndcg", 1_000)] {
        let run = |seed: u64, lift: f64| {
            let experiment: Experiment = serde_json::from_value(serde_json::json!({
                "id": "simulated", "salt": seed.to_string(), "primary_measure": measure, "state": "running",
                "arms": [{"name": "A", "model": "first-stage"}, {"name": "B", "model": "none"}],
                "buckets": [{"start": 0, "end": N_BUCKETS}]
            }))
            .expect("an experiment");
            let assigner = Assigner::new(&experiment);
            let (mut analysis, mut random) = (Analysis::new(&experiment, AnalysisOptions::default()), Random(seed));
            let mut verdicts = Vec::new();
            for n in 0..n_units {
                let answer = answer(format!("u{n}"), n);
                let arm = assigner.arm(&answer.unit).expect("all take part");
                let better = if arm == 1 { lift } else { 0.0 };
                // Seconds are distributed exponentially, nDCG over its whole range; two in three answers have either.
                let seconds = -20.0 * (1.0 - better) * (1.0 - random.uniform()).ln();
                let ndcg_at_10 = (random.uniform() + better).min(1.0);
                let has = random.below(3) > 0;
                let click = Click { rank: 1, at_millis: answer.at_millis + (seconds * 1_000.0) as i64 };
                let judged = Judged { ndcg_at_10, share: 0.5 };
                let clicks = if has { vec![click] } else { Vec::new() };
                analysis.add(&QueryRecord { arm, clicks, judged: has.then_some(judged), ..answer });
                if n % 10 == 0 {
                    verdicts.push(kind(&analysis.verdict()));
                }
            }
            [verdicts.iter().any(|verdict| ["ship", "keep"].contains(verdict)), verdicts.last() == Some(&"ship")]
        };
        let n_claims = in_parallel(1_000, |seed| run(seed, 0.0)).iter().filter(|run| run[0]).count();
        let n_found = in_parallel(100, |seed| run(seed, 0.4)).iter().filter(|run| run[1]).count();
        println!(
            "{measure}, A/A, 1,000 experiments of {n_units} units, looked at after every 10: claims of a difference {n_claims}; 40 % \
             better, 100 experiments: {n_found} ship"
        );
        assert!(n_claims < 50 && n_found >= 90, "{measure}: {n_claims} {n_found}");
    }
}

#[test]
fn an_effect_that_reverses_half_way_is_not_recommended() {
    for method in [Method::Split, Method::Interleave] {
        let found = reversed(method, 200, 5_000);
        println!(
            "{method:?}, an effect that reverses after 5,000 units, 200 experiments: {} said ship before; after 5,000 units more {} \
             still do, {} say that it changed",
            found.n_shipped, found.n_recommended, found.n_changed
        );
        assert!(found.n_shipped >= 20, "{method:?}: the effect was found before it went: {}", found.n_shipped);
        assert_eq!(found.n_recommended, 0, "{method:?}");
    }
}

/// Both methods between BM25 and the reranker.
fn both(setting: &Setting, n_runs: u64) -> [Decided; 2] {
    let questions = questions();
    let found = [Method::Split, Method::Interleave].map(|method| decide(setting, method, &questions, n_runs, 30_000));
    println!("{setting:?}, {n_runs} experiments, split and interleaved: {found:?}");
    found
}

#[test]
fn the_better_arm_is_shipped_and_interleaving_is_quick() {
    for click_model in [ClickModel::PositionBased, ClickModel::Cascade] {
        let [split, interleaved] = both(&Setting { click_model, ..Setting::default() }, 200);
        assert!(split.right >= 0.95 && interleaved.right >= 0.95);
        assert!(interleaved.n_queries as f64 <= 0.1 * split.n_queries as f64);
    }
}

/// How much interleaving is worth depends on how people click and on what decides the split: `examples/simulations.rs` has the table.
#[test]
fn interleaving_is_right_and_quick_under_every_click_model() {
    for click_model in ClickModel::ALL {
        let setting = Setting { click_model, ..Setting::default() };
        let found = decide(&setting, Method::Interleave, &questions(), 40, 30_000);
        println!("{click_model:?}, 40 experiments, interleaved: {found:?}");
        assert!(found.right >= 0.9 && found.n_queries < 10_000, "{click_model:?}: {found:?}");
    }
}

#[test]
fn the_reranker_is_better_on_these_questions() {
    let mrr = |ranking: fn(&Question) -> &Vec<u32>| {
        let questions = questions();
        let reciprocal = |question: &Question| {
            let first = ranking(question).iter().position(|id| question.grades.contains_key(id));
            first.map_or(0.0, |rank| 1.0 / (rank as f64 + 1.0))
        };
        questions.iter().map(reciprocal).sum::<f64>() / questions.len() as f64
    };
    let (first_stage, reranked) = (mrr(|question| &question.first_stage), mrr(|question| &question.reranked));
    println!("MRR@10 {first_stage:.3} first stage, {reranked:.3} reranked");
    assert!(reranked > first_stage + 0.03);
}
