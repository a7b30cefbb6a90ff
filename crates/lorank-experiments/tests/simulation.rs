//! Simulated searchers over the judgments of a real collection: how often a verdict is wrong, and how many queries it takes.
//!
//! The searchers follow one of several click models (Chuklin, Markov and de Rijke, "Click models for web search", 2015). Position-based:
//! rank `r` is examined with probability `1/r`, and an examined hit is clicked as its grade attracts. Cascade (Craswell, Zoeter,
//! Taylor and Ramsey, WSDM 2008): hits are examined from the top until one is clicked, or patience ends. Searchers come back, and differ in how
//! readily they click, so queries of one unit are not independent. The rankings are BM25's and a reranker's for BoolQ questions;
//! `crates/lorank-testing/tools/record_rankings.py` made them. All is seeded: the numbers printed are the same each time.

use std::collections::HashMap;

use lorank_experiments::{
    Analysis, AnalysisOptions, Assigner, Click, Experiment, Judged, Method, N_BUCKETS, QueryRecord, Verdict, team_draft,
};

const RANKINGS: &str = include_str!("fixtures/boolq.tsv");
/// Each searcher asks about so many times.
const N_QUERIES_PER_UNIT: u64 = 3;

#[test]
fn equal_arms_seldom_look_different() {
    let questions = questions();
    let n_runs = 1_000;
    // How many experiments ever claimed a difference, a mismatch, a change; and how often a decision was followed by another.
    let run = |method: Method, n_looks: u64| {
        let alarms = |seed: u64| {
            // Interleaving a ranking with itself would credit nobody: here either arm has BM25 or the reranker, by a coin.
            let coin = method == Method::Interleave;
            let mut run = Run::new(seed, method, &questions, if coin { Arms::Shuffled } else { Arms::Equal });
            let verdicts: Vec<&str> = (0..n_looks).map(|_| kind(&run.look_after(10))).collect();
            let ever = |kinds: &[&str]| u64::from(verdicts.iter().any(|verdict| kinds.contains(verdict)));
            [ever(&["ship", "keep"]), ever(&["mismatch"]), ever(&["changed"]), n_flips(&verdicts)]
        };
        let runs = in_parallel(n_runs, alarms);
        let sum = |n: usize| runs.iter().map(|alarms| alarms[n]).sum::<u64>();
        println!(
            "A/A {method:?}, {n_runs} experiments of {} units, looked at after every 10: claims of a difference {}, of a mismatch {}, \
             of a change {}; flips of a decision {}",
            n_looks * 10,
            sum(0),
            sum(1),
            sum(2),
            sum(3)
        );
        [sum(0), sum(1), sum(2), sum(3)]
    };
    for (method, n_looks) in [(Method::Split, 200), (Method::Interleave, 100)] {
        let [claims, mismatches, changes, flips] = run(method, n_looks);
        assert!(claims <= n_runs / 20 && changes <= n_runs / 20 && mismatches <= n_runs / 100 && flips == 0);
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

/// An answer without a click.
fn answer(unit: String, n: u64) -> QueryRecord {
    QueryRecord {
        request_id: String::new(),
        unit,
        arm: 0,
        forced: false,
        at_millis: n as i64 * 60_000,
        n_hits: 10,
        latency_micros: 1_000,
        fallback: None,
        model: None,
        teams: Vec::new(),
        arms: Vec::new(),
        value: None,
        judged: None,
        past: None,
        clicks: Vec::new(),
    }
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
    let questions = questions();
    for method in [Method::Split, Method::Interleave] {
        let run = |seed: u64| {
            let mut run = Run::new(seed, method, &questions, Arms::Better);
            let half_way = kind(&run.look_after(5_000));
            run.arms = Arms::Worse;
            (half_way, kind(&run.look_after(5_000)))
        };
        let runs = in_parallel(200, run);
        let shipped = runs.iter().filter(|(half_way, _)| *half_way == "ship").count();
        let at_the_end = |kind: &str| runs.iter().filter(|(_, end)| *end == kind).count();
        let (changed, recommended) = (at_the_end("changed"), at_the_end("ship"));
        println!(
            "{method:?}, an effect that reverses after 5,000 units, 200 experiments: {shipped} said ship before; after 5,000 units more \
             {recommended} still do, {changed} say that it changed"
        );
        assert!(shipped >= 20, "{method:?}: the effect was found before it went: {shipped}");
        assert_eq!(recommended, 0, "{method:?}");
    }
}

/// A verdict as one word.
fn kind(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Ship { .. } | Verdict::CheckGuardrails { .. } => "ship",
        Verdict::Keep { .. } => "keep",
        Verdict::SameVersion { .. } => "same version",
        Verdict::NoDifference { .. } | Verdict::SameAnswers { .. } => "alike",
        Verdict::FixSampleRatio { .. } => "mismatch",
        Verdict::Changed { .. } => "changed",
        Verdict::NotYet { .. } | Verdict::EndedUndecided { .. } => "wait",
    }
}

/// How often a decision is followed by another, or by none.
fn n_flips(verdicts: &[&str]) -> u64 {
    let is_decision = |verdict: &str| ["ship", "keep", "alike"].contains(&verdict);
    let flips =
        |pair: &&[&str]| is_decision(pair[0]) && pair[1] != pair[0] && pair[1] != "changed" && pair[1] != "mismatch";
    verdicts.windows(2).filter(flips).count() as u64
}

#[test]
fn the_better_arm_is_shipped_and_interleaving_is_quick() {
    let questions = questions();
    for (click_model, part_max) in [(ClickModel::PositionBased, 0.1), (ClickModel::Cascade, 0.1)] {
        let [split, interleaved] = decide(click_model, &questions, 200);
        assert!(split.right >= 0.95 && interleaved.right >= 0.95);
        assert!(interleaved.n_queries as f64 <= part_max * split.n_queries as f64);
    }
}

/// How much interleaving is worth depends on how people click: where they read on after a click, nearly every answer gets one from either
/// ranking, and a split sees no difference.
#[test]
fn interleaving_is_right_where_a_split_sees_little() {
    let [split, interleaved] = decide(ClickModel::DependentClick, &questions(), 40);
    assert!(interleaved.right >= 0.95 && interleaved.n_queries < split.n_queries);
}

/// How experiments between BM25 and the reranker went.
struct Decided {
    /// The share that recommend the reranker.
    right: f64,
    /// The queries until the decision, median; of one without a decision, all that were made.
    n_queries: u64,
}

/// Experiments that are split and interleaved, looked at after every 10 units until they decide or have met 30,000.
fn decide(click_model: ClickModel, questions: &[Question], n_runs: u64) -> [Decided; 2] {
    let decided = [Method::Split, Method::Interleave].map(|method| {
        let run = |seed: u64| {
            let mut run = Run { click_model, ..Run::new(seed, method, questions, Arms::Better) };
            let verdict =
                (0..3_000).map(|_| run.look_after(10)).find(|verdict| !matches!(verdict, Verdict::NotYet { .. }));
            (run.n_queries, matches!(verdict, Some(Verdict::Ship { .. })))
        };
        let mut runs = in_parallel(n_runs, run);
        runs.sort_unstable();
        let n_right = runs.iter().filter(|(_, is_right)| *is_right).count();
        Decided { right: n_right as f64 / n_runs as f64, n_queries: runs[runs.len() / 2].0 }
    });
    let [split, interleaved] = &decided;
    println!(
        "A/B {click_model:?}, BM25 against the reranker, {n_runs} experiments: right {:.1} % split, {:.1} % interleaved; median \
         queries {} split, {} interleaved ({:.1} %)",
        split.right * 100.0,
        interleaved.right * 100.0,
        split.n_queries,
        interleaved.n_queries,
        interleaved.n_queries as f64 / split.n_queries as f64 * 100.0
    );
    decided
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

/// The results for the seeds below `n`, in their order.
fn in_parallel<T: Send>(n: u64, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let half = |seeds: std::ops::Range<u64>| seeds.map(&run).collect::<Vec<T>>();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| half(0..n / 2));
        let second = half(n / 2..n);
        first.join().expect("no run panics").into_iter().chain(second).collect()
    })
}

struct Question {
    grades: HashMap<u32, u32>,
    first_stage: Vec<u32>,
    reranked: Vec<u32>,
    turned_round: Vec<u32>,
}

fn questions() -> Vec<Question> {
    let number = |text: &str| text.trim_start_matches('p').parse().expect("a number");
    let ids = |text: &str| text.split(' ').map(number).collect();
    let question = |line: &str| {
        let [_, grades, first_stage, reranked] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let grade = |part: &str| part.split_once('=').map(|(id, grade)| (number(id), grade.parse().expect("a number")));
        let first_stage: Vec<u32> = ids(first_stage);
        Question {
            turned_round: first_stage.iter().rev().copied().collect(),
            grades: grades.split(' ').map(|part| grade(part).expect("an id and a grade")).collect(),
            first_stage,
            reranked: ids(reranked),
        }
    };
    RANKINGS.lines().map(question).collect()
}

/// What ranks for the two arms.
#[derive(Clone, Copy, PartialEq)]
enum Arms {
    /// BM25 for both.
    Equal,
    /// BM25 for one and the reranker for the other, by a coin at each query.
    Shuffled,
    /// The reranker for the second.
    Better,
    /// The reranker for the first.
    Worse,
    /// BM25's order turned round for the first, BM25 and the reranker for two others.
    TwoBetter,
}

/// How searchers click.
#[derive(Debug, Clone, Copy, PartialEq)]
enum ClickModel {
    PositionBased,
    Cascade,
    /// Every hit is examined until the searcher has enough, which is more likely after a click (Guo, Liu and Wang, WSDM 2009).
    DependentClick,
}

/// One simulated experiment.
struct Run<'a> {
    click_model: ClickModel,
    random: Random,
    arms: Arms,
    questions: &'a [Question],
    assigner: Assigner,
    analysis: Analysis,
    method: Method,
    n_units: u64,
    n_queries: u64,
    seed: u64,
}

impl<'a> Run<'a> {
    fn new(seed: u64, method: Method, questions: &'a [Question], arms: Arms) -> Self {
        let n_arms = if arms == Arms::TwoBetter { 3 } else { 2 };
        let arm = |(name, model): (&str, &str)| serde_json::json!({"name": name, "model": model});
        let arms_json = [("A", "first-stage"), ("B", "none"), ("C", "qa")].map(arm)[..n_arms].to_vec();
        let experiment: Experiment = serde_json::from_value(serde_json::json!({
            "id": "simulated", "salt": seed.to_string(), "traffic_share": 1.0, "layer": "default", "method": method,
            "arms": arms_json,
            "start_millis": null, "end_millis": null, "state": "running", "buckets": [{"start": 0, "end": N_BUCKETS}]
        }))
        .expect("an experiment");
        Self {
            click_model: ClickModel::PositionBased,
            random: Random(seed),
            arms,
            questions,
            assigner: Assigner::new(&experiment),
            analysis: Analysis::new(&experiment, AnalysisOptions::default()),
            method,
            n_units: 0,
            n_queries: 0,
            seed,
        }
    }

    /// The verdict after so many units more.
    fn look_after(&mut self, n_units: u64) -> Verdict {
        let until = self.n_units + n_units;
        while self.n_units < until {
            self.query();
        }
        self.analysis.verdict()
    }

    /// Somebody new, or one of the last hundred, asks a question.
    fn query(&mut self) {
        let is_new = self.n_units == 0 || self.random.below(N_QUERIES_PER_UNIT) == 0;
        self.n_units += u64::from(is_new);
        self.n_queries += 1;
        let unit = if is_new { self.n_units } else { self.n_units - self.random.below(self.n_units.min(100)) };
        let unit_id = format!("u{unit}");
        let question = &self.questions[self.random.below(self.questions.len() as u64) as usize];
        let rankings = self.rankings(question);
        let (arm, ids, teams) = match self.method {
            Method::Split => {
                let arm = self.assigner.arm(&unit_id).expect("all take part");
                (arm, rankings[arm].to_vec(), Vec::new())
            }
            Method::Interleave => {
                let rankings: Vec<Option<&[u32]>> = rankings.into_iter().map(Some).collect();
                let drafted = team_draft(&format!("{}-{}", self.seed, self.n_queries), &rankings, 10);
                let teams = drafted.iter().map(|hit| hit.team).collect();
                (0, drafted.iter().map(|hit| hit.id).collect(), teams)
            }
        };
        // From 0.6 to 1, the same at each of the searcher's queries.
        let eagerness = 0.6 + 0.4 * Random(unit ^ self.seed << 32).uniform();
        let clicks = match self.click_model {
            ClickModel::PositionBased => position_based(&mut self.random, eagerness, question, &ids),
            ClickModel::Cascade => cascade(&mut self.random, eagerness, question, &ids),
            ClickModel::DependentClick => dependent_click(&mut self.random, eagerness, question, &ids),
        };
        self.analysis.add(&QueryRecord {
            request_id: String::new(),
            unit: unit_id,
            arm,
            forced: false,
            at_millis: self.n_queries as i64,
            n_hits: ids.len(),
            latency_micros: 1_000,
            fallback: None,
            model: None,
            teams,
            arms: Vec::new(),
            value: None,
            judged: None,
            past: None,
            clicks,
        });
    }

    fn rankings(&mut self, question: &'a Question) -> Vec<&'a [u32]> {
        let (first_stage, reranked) = (&question.first_stage[..], &question.reranked[..]);
        match self.arms {
            Arms::Equal => vec![first_stage, first_stage],
            Arms::Shuffled if self.random.below(2) == 0 => vec![reranked, first_stage],
            Arms::Shuffled | Arms::Better => vec![first_stage, reranked],
            Arms::Worse => vec![reranked, first_stage],
            Arms::TwoBetter => vec![&question.turned_round[..], first_stage, reranked],
        }
    }
}

/// At most one click: the first hit that attracts, before patience ends, by a fifth at each rank.
fn cascade(random: &mut Random, eagerness: f64, question: &Question, ids: &[u32]) -> Vec<Click> {
    for (id, rank) in ids.iter().zip(1..) {
        let attraction = if question.grades.contains_key(id) { 0.9 } else { 0.1 };
        if random.uniform() < attraction * eagerness {
            return vec![Click { rank, at_millis: 0 }];
        }
        if random.uniform() < 0.2 {
            break;
        }
    }
    Vec::new()
}

fn dependent_click(random: &mut Random, eagerness: f64, question: &Question, ids: &[u32]) -> Vec<Click> {
    let mut clicks = Vec::new();
    for (id, rank) in ids.iter().zip(1..) {
        let attraction = if question.grades.contains_key(id) { 0.9 } else { 0.1 };
        if random.uniform() < attraction * eagerness {
            clicks.push(Click { rank, at_millis: 0 });
            if random.uniform() < 0.5 {
                break;
            }
        }
    }
    clicks
}

fn position_based(random: &mut Random, eagerness: f64, question: &Question, ids: &[u32]) -> Vec<Click> {
    let mut is_clicked = |(id, rank): &(&u32, usize)| {
        let attraction = if question.grades.contains_key(id) { 0.9 } else { 0.1 };
        random.uniform() < attraction * eagerness / *rank as f64
    };
    ids.iter().zip(1..).filter(|hit| is_clicked(hit)).map(|(_, rank)| Click { rank, at_millis: 0 }).collect()
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
