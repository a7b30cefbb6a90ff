//! Simulated searchers over the judgments of a real collection, for the tests and for the table of `examples/simulations.rs`.
//!
//! The searchers follow one of several click models (Chuklin, Markov and de Rijke, "Click models for web search", 2015). Searchers
//! come back, and differ in how readily they click, so queries of one unit are not independent. The rankings are BM25's and a
//! reranker's for BoolQ questions; `crates/lorank-testing/tools/record_rankings.py` made them. All is seeded: the numbers are the same
//! each time.

mod clicks;

use std::collections::HashMap;

use lorank_experiments::{
    Analysis, AnalysisOptions, Assigner, Experiment, Method, N_BUCKETS, QueryRecord, Verdict, team_draft,
};

pub(crate) use clicks::ClickModel;

const RANKINGS: &str = include_str!("../fixtures/boolq.tsv");
/// Each searcher asks about so many times.
const N_QUERIES_PER_UNIT: u64 = 3;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub click_model: ClickModel,
    /// What decides a split.
    pub measure: &'static str,
    pub arms: Arms,
    /// The part of the queries for which the arms of [`Arms::Better`] differ.
    pub part: f64,
}

impl Default for Setting {
    fn default() -> Self {
        Self { click_model: ClickModel::PositionBased, measure: "click-through", arms: Arms::Better, part: 1.0 }
    }
}

/// What experiments with two equal arms ever claimed, in experiments.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    pub n_differences: u64,
    pub n_mismatches: u64,
    pub n_changes: u64,
    /// Decisions that were followed by another, or by none.
    pub n_flips: u64,
}

/// A/A experiments, looked at after every 10 units.
pub(crate) fn equal_arms(method: Method, n_runs: u64, n_looks: u64) -> Claims {
    let questions = questions();
    let run = |seed: u64| {
        // Interleaving a ranking with itself would credit nobody: here either arm has BM25 or the reranker, by a coin.
        let arms = if method == Method::Interleave { Arms::Shuffled } else { Arms::Equal };
        let mut run = Run::new(seed, method, &questions, arms);
        let verdicts: Vec<&str> = (0..n_looks).map(|_| kind(&run.look_after(10))).collect();
        let ever = |kinds: &[&str]| u64::from(verdicts.iter().any(|verdict| kinds.contains(verdict)));
        [ever(&["ship", "keep"]), ever(&["mismatch"]), ever(&["changed"]), n_flips(&verdicts)]
    };
    in_parallel(n_runs, run).into_iter().fold(Claims::default(), |sum, [difference, mismatch, change, flips]| Claims {
        n_differences: sum.n_differences + difference,
        n_mismatches: sum.n_mismatches + mismatch,
        n_changes: sum.n_changes + change,
        n_flips: sum.n_flips + flips,
    })
}

/// How experiments went whose effect reverses.
pub(crate) struct Reversed {
    /// How many recommended the arm that was better, before.
    pub n_shipped: usize,
    /// How many still do after as many units again.
    pub n_recommended: usize,
    /// How many say then that the effect changed.
    pub n_changed: usize,
}

/// Experiments whose effect reverses after so many units, looked at then and after as many again.
pub(crate) fn reversed(method: Method, n_runs: u64, n_units: u64) -> Reversed {
    let questions = questions();
    let run = |seed: u64| {
        let mut run = Run::new(seed, method, &questions, Arms::Better);
        let half_way = kind(&run.look_after(n_units));
        run.arms = Arms::Worse;
        (half_way, kind(&run.look_after(n_units)))
    };
    let runs = in_parallel(n_runs, run);
    let at_the_end = |kind: &str| runs.iter().filter(|(_, end)| *end == kind).count();
    Reversed {
        n_shipped: runs.iter().filter(|(half_way, _)| *half_way == "ship").count(),
        n_recommended: at_the_end("ship"),
        n_changed: at_the_end("changed"),
    }
}

/// How experiments between BM25 and the reranker went.
#[derive(Debug)]
pub(crate) struct Decided {
    /// The share that recommend the reranker.
    pub right: f64,
    /// The queries until the decision, median; of one without a decision, all that were made.
    pub n_queries: u64,
}

/// Experiments of one method, looked at after every 10 units until they decide or have met `n_units_max`.
pub(crate) fn decide(
    setting: &Setting,
    method: Method,
    questions: &[Question],
    n_runs: u64,
    n_units_max: u64,
) -> Decided {
    let run = |seed: u64| {
        let mut run = Run::of(setting, seed, method, questions);
        let mut looks = (0..n_units_max / 10).map(|_| run.look_after(10));
        let verdict = looks.find(|verdict| !matches!(verdict, Verdict::NotYet { .. }));
        (run.n_queries, matches!(verdict, Some(Verdict::Ship { .. })))
    };
    let mut runs = in_parallel(n_runs, run);
    runs.sort_unstable();
    let n_right = runs.iter().filter(|(_, is_right)| *is_right).count();
    Decided { right: n_right as f64 / n_runs as f64, n_queries: runs[runs.len() / 2].0 }
}

/// After how many units the alarm of a mismatch sounds, median, where the second of two arms of equal weights gets this share.
pub(crate) fn units_to_alarm(share: f64, n_runs: u64, n_units_max: u64) -> u64 {
    let run = |seed: u64| {
        let (mut analysis, mut random) = (
            Analysis::new(&experiment(seed, Method::Split, "click-through", 2), AnalysisOptions::default()),
            Random(seed),
        );
        let sounds = (1..=n_units_max).find(|n| {
            let arm = usize::from(random.uniform() < share);
            analysis.add(&QueryRecord { arm, ..answer(format!("u{n}"), *n) });
            matches!(analysis.verdict(), Verdict::FixSampleRatio { .. })
        });
        sounds.unwrap_or(u64::MAX)
    };
    let mut runs = in_parallel(n_runs, run);
    runs.sort_unstable();
    runs[runs.len() / 2]
}

/// A running experiment with these many arms of equal weights.
pub(crate) fn experiment(seed: u64, method: Method, measure: &str, n_arms: usize) -> Experiment {
    let arm = |(name, model): (&str, &str)| serde_json::json!({"name": name, "model": model});
    let arms = [("A", "first-stage"), ("B", "none"), ("C", "qa")].map(arm)[..n_arms].to_vec();
    serde_json::from_value(serde_json::json!({
        "id": "simulated", "salt": seed.to_string(), "traffic_share": 1.0, "layer": "default", "method": method,
        "primary_measure": measure, "arms": arms, "start_millis": null, "end_millis": null, "state": "running",
        "buckets": [{"start": 0, "end": N_BUCKETS}]
    }))
    .expect("an experiment")
}

/// An answer without a click.
pub(crate) fn answer(unit: String, n: u64) -> QueryRecord {
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

/// A verdict as one word.
pub(crate) fn kind(verdict: &Verdict) -> &'static str {
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
pub(crate) fn n_flips(verdicts: &[&str]) -> u64 {
    let is_decision = |verdict: &str| ["ship", "keep", "alike"].contains(&verdict);
    let flips =
        |pair: &&[&str]| is_decision(pair[0]) && pair[1] != pair[0] && pair[1] != "changed" && pair[1] != "mismatch";
    verdicts.windows(2).filter(flips).count() as u64
}

/// The results for the seeds below `n`, in their order.
pub(crate) fn in_parallel<T: Send>(n: u64, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let half = |seeds: std::ops::Range<u64>| seeds.map(&run).collect::<Vec<T>>();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| half(0..n / 2));
        let second = half(n / 2..n);
        first.join().expect("no run panics").into_iter().chain(second).collect()
    })
}

pub(crate) struct Question {
    pub grades: HashMap<u32, u32>,
    pub first_stage: Vec<u32>,
    pub reranked: Vec<u32>,
    turned_round: Vec<u32>,
}

pub(crate) fn questions() -> Vec<Question> {
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
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Arms {
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

/// One simulated experiment.
pub(crate) struct Run<'a> {
    click_model: ClickModel,
    part: f64,
    random: Random,
    pub arms: Arms,
    questions: &'a [Question],
    assigner: Assigner,
    analysis: Analysis,
    method: Method,
    n_units: u64,
    pub n_queries: u64,
    seed: u64,
}

impl<'a> Run<'a> {
    pub(crate) fn new(seed: u64, method: Method, questions: &'a [Question], arms: Arms) -> Self {
        Self::of(&Setting { arms, ..Setting::default() }, seed, method, questions)
    }

    pub(crate) fn of(setting: &Setting, seed: u64, method: Method, questions: &'a [Question]) -> Self {
        let Setting { click_model, measure, arms, part } = *setting;
        let n_arms = if arms == Arms::TwoBetter { 3 } else { 2 };
        let experiment = experiment(seed, method, measure, n_arms);
        Self {
            click_model,
            part,
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
    pub(crate) fn look_after(&mut self, n_units: u64) -> Verdict {
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
        let clicks = self.click_model.clicks(&mut self.random, eagerness, question, &ids);
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
            Arms::Better if self.part < 1.0 && self.random.uniform() >= self.part => vec![first_stage, first_stage],
            Arms::Shuffled | Arms::Better => vec![first_stage, reranked],
            Arms::Worse => vec![reranked, first_stage],
            Arms::TwoBetter => vec![&question.turned_round[..], first_stage, reranked],
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub(crate) struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    pub(crate) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
