//! Simulated searchers over the judgments of a real collection: how often a verdict is wrong, and how many queries it takes.
//!
//! The searchers follow one of two click models (Chuklin, Markov and de Rijke, "Click models for web search", 2015). Position-based:
//! rank `r` is examined with probability `1/r`, and an examined hit is clicked as its grade attracts. Cascade (Craswell, Zoeter,
//! Taylor and Ramsey, WSDM 2008): hits are examined from the top until one is clicked, or patience ends. Searchers come back, and differ in how
//! readily they click, so queries of one unit are not independent. The rankings are BM25's and a reranker's for BoolQ questions;
//! `crates/lorank-testing/tools/record_rankings.py` made them. All is seeded: the numbers printed are the same each time.

use std::collections::HashMap;

use lorank_experiments::{
    Analysis, AnalysisOptions, Assigner, Click, Experiment, Method, N_BUCKETS, QueryRecord, Verdict, team_draft,
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
    let n_runs = 200;
    let decide = |method: Method, click_model: ClickModel| {
        let run = |seed: u64| {
            let mut run = Run { click_model, ..Run::new(seed, method, &questions, Arms::Better) };
            let verdict =
                (0..3_000).map(|_| run.look_after(10)).find(|verdict| !matches!(verdict, Verdict::NotYet { .. }));
            (run.n_queries, matches!(verdict, Some(Verdict::Ship { .. })))
        };
        let mut runs = in_parallel(n_runs, run);
        runs.sort_unstable();
        let n_right = runs.iter().filter(|(_, is_right)| *is_right).count();
        (n_right as f64 / n_runs as f64, runs[runs.len() / 2].0)
    };
    for (click_model, part_max) in [(ClickModel::PositionBased, 0.1), (ClickModel::Cascade, 0.1)] {
        let (split_right, split_queries) = decide(Method::Split, click_model);
        let (interleaved_right, interleaved_queries) = decide(Method::Interleave, click_model);
        let part = interleaved_queries as f64 / split_queries as f64;
        println!(
            "A/B {click_model:?}, BM25 against the reranker, {n_runs} experiments: right {:.1} % split, {:.1} % interleaved; \
             median queries {split_queries} split, {interleaved_queries} interleaved ({:.1} %)",
            split_right * 100.0,
            interleaved_right * 100.0,
            part * 100.0
        );
        assert!(split_right >= 0.95 && interleaved_right >= 0.95);
        assert!(part <= part_max);
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
}

fn questions() -> Vec<Question> {
    let number = |text: &str| text.trim_start_matches('p').parse().expect("a number");
    let ids = |text: &str| text.split(' ').map(number).collect();
    let question = |line: &str| {
        let [_, grades, first_stage, reranked] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let grade = |part: &str| part.split_once('=').map(|(id, grade)| (number(id), grade.parse().expect("a number")));
        Question {
            grades: grades.split(' ').map(|part| grade(part).expect("an id and a grade")).collect(),
            first_stage: ids(first_stage),
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
}

/// How searchers click.
#[derive(Debug, Clone, Copy, PartialEq)]
enum ClickModel {
    PositionBased,
    Cascade,
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
        let experiment: Experiment = serde_json::from_value(serde_json::json!({
            "id": "simulated", "salt": seed.to_string(), "traffic_share": 1.0, "layer": "default", "method": method,
            "arms": [{"name": "A", "model": "first-stage", "weight": 1}, {"name": "B", "model": "none", "weight": 1}],
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
                let drafted = team_draft(&format!("{}-{}", self.seed, self.n_queries), &rankings.map(Some), 10);
                let teams = drafted.iter().map(|hit| hit.team).collect();
                (0, drafted.iter().map(|hit| hit.id).collect(), teams)
            }
        };
        // From 0.6 to 1, the same at each of the searcher's queries.
        let eagerness = 0.6 + 0.4 * Random(unit ^ self.seed << 32).uniform();
        let clicks = match self.click_model {
            ClickModel::PositionBased => position_based(&mut self.random, eagerness, question, &ids),
            ClickModel::Cascade => cascade(&mut self.random, eagerness, question, &ids),
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
            clicks,
        });
    }

    fn rankings(&mut self, question: &'a Question) -> [&'a [u32]; 2] {
        let (first_stage, reranked) = (&question.first_stage[..], &question.reranked[..]);
        match self.arms {
            Arms::Equal => [first_stage, first_stage],
            Arms::Shuffled if self.random.below(2) == 0 => [reranked, first_stage],
            Arms::Shuffled | Arms::Better => [first_stage, reranked],
            Arms::Worse => [reranked, first_stage],
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
