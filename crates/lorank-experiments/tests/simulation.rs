//! Simulated searchers over the judgments of a real collection: how often a verdict is wrong, and how many queries it takes.
//!
//! The searchers follow a position-based click model (Chuklin, Markov and de Rijke, "Click models for web search", 2015): rank `r`
//! is examined with probability `1/r`, and an examined hit is clicked as its grade attracts. They come back, and differ in how
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
    let false_alarms = |method: Method, n_looks: u64| {
        let cries_wolf = |seed: u64| {
            // Interleaving a ranking with itself would credit nobody: here either arm has BM25 or the reranker, by a coin.
            let coin = method == Method::Interleave;
            let mut run = Run::new(seed, method, &questions, if coin { Arms::Shuffled } else { Arms::Equal });
            (0..n_looks).any(|_| {
                matches!(
                    run.look_after(100),
                    Verdict::Ship { .. } | Verdict::Keep { .. } | Verdict::FixSampleRatio { .. }
                )
            })
        };
        in_parallel(n_runs, cries_wolf).into_iter().filter(|cries| *cries).count() as f64 / n_runs as f64
    };
    let (split, interleaved) = (false_alarms(Method::Split, 20), false_alarms(Method::Interleave, 10));
    println!(
        "A/A, 1,000 experiments looked at after every 100 units: false alarms {:.1} % split, {:.1} % interleaved",
        split * 100.0,
        interleaved * 100.0
    );
    assert!(split <= 0.05 && interleaved <= 0.05);
}

#[test]
fn the_better_arm_is_shipped_and_interleaving_is_quick() {
    let questions = questions();
    let n_runs = 200;
    let decide = |method: Method| {
        let run = |seed: u64| {
            let mut run = Run::new(seed, method, &questions, Arms::Better);
            let verdict =
                (0..3_000).map(|_| run.look_after(10)).find(|verdict| !matches!(verdict, Verdict::NotYet { .. }));
            (run.n_queries, matches!(verdict, Some(Verdict::Ship { .. })))
        };
        let mut runs = in_parallel(n_runs, run);
        runs.sort_unstable();
        let n_right = runs.iter().filter(|(_, is_right)| *is_right).count();
        (n_right as f64 / n_runs as f64, runs[runs.len() / 2].0)
    };
    let (split_right, split_queries) = decide(Method::Split);
    let (interleaved_right, interleaved_queries) = decide(Method::Interleave);
    let part = interleaved_queries as f64 / split_queries as f64;
    println!(
        "A/B, BM25 against the reranker, {n_runs} experiments: right {:.1} % split, {:.1} % interleaved; \
         median queries {split_queries} split, {interleaved_queries} interleaved ({:.1} %)",
        split_right * 100.0,
        interleaved_right * 100.0,
        part * 100.0
    );
    assert!(split_right >= 0.95 && interleaved_right >= 0.95);
    assert!(part <= 0.1);
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
}

/// One simulated experiment.
struct Run<'a> {
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
        let clicks = clicks(&mut self.random, eagerness, question, &ids);
        self.analysis.add(&QueryRecord {
            request_id: String::new(),
            unit: unit_id,
            arm,
            forced: false,
            at_millis: self.n_queries as i64,
            n_hits: ids.len(),
            latency_micros: 1_000,
            fallback: None,
            teams,
            clicks,
        });
    }

    fn rankings(&mut self, question: &'a Question) -> [&'a [u32]; 2] {
        let (first_stage, reranked) = (&question.first_stage[..], &question.reranked[..]);
        match self.arms {
            Arms::Equal => [first_stage, first_stage],
            Arms::Shuffled if self.random.below(2) == 0 => [reranked, first_stage],
            Arms::Shuffled | Arms::Better => [first_stage, reranked],
        }
    }
}

fn clicks(random: &mut Random, eagerness: f64, question: &Question, ids: &[u32]) -> Vec<Click> {
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
