//! An analysis that is revised is the one that it would have been.

use proptest::prelude::*;

use super::*;
use crate::examples::{experiment, record};
use crate::{Click, InterleavedArm, Judged, PrimaryMeasure};

/// What happens to one answer: its unit and arm, and the clicks, value and judgments that come with it or later.
#[derive(Debug, Clone)]
struct Story {
    unit: u8,
    seconds: i64,
    early: Vec<usize>,
    late: Vec<usize>,
    value: Option<i16>,
    is_judged: bool,
    /// After how many further answers the rest comes.
    delay: usize,
    is_same: bool,
}

fn stories() -> impl Strategy<Value = Vec<Story>> {
    let story = (
        0..60u8,
        0..100_000i64,
        prop::collection::vec(1..6usize, 0..2),
        prop::collection::vec(1..6usize, 0..3),
        prop::option::of(-50..500i16),
        any::<bool>(),
        0..200usize,
        prop::bool::weighted(0.2),
    );
    let story = story.prop_map(|(unit, seconds, early, late, value, is_judged, delay, is_same)| Story {
        unit,
        seconds,
        early,
        late,
        value,
        is_judged,
        delay,
        is_same,
    });
    prop::collection::vec(story, 1..500)
}

/// An answer as it is known at first, or with all that came later.
fn answer(n: usize, story: &Story, method: Method, is_complete: bool) -> QueryRecord {
    let ranks = story.early.iter().chain(story.late.iter().filter(|_| is_complete)).copied();
    let at_millis = n as i64 * 1_000 + story.seconds;
    let click = |rank| Click { rank, at_millis: at_millis + 3_000 };
    let is_interleaved = method == Method::Interleave;
    let ranking = if story.is_same { ArmRanking::Same } else { ArmRanking::Different };
    let teams = if story.is_same { vec![NO_TEAM; 5] } else { vec![0, 1, 2, 1, 0] };
    let arms = [ArmRanking::Same, ranking, ranking].map(|ranking| InterleavedArm { model: None, ranking });
    // Some units meet another arm than at first, and are left out.
    let arm = if n % 97 == 13 { 2 } else { usize::from(story.unit % 3) };
    QueryRecord {
        at_millis,
        latency_micros: 1_000 + story.seconds as u64,
        forced: n % 31 == 7,
        teams: if is_interleaved { teams } else { Vec::new() },
        arms: if is_interleaved { arms.to_vec() } else { Vec::new() },
        n_hits: if is_complete { 20 } else { 10 },
        clicks: ranks.map(click).collect(),
        value: story.value.map(f64::from).filter(|_| is_complete),
        judged: story.is_judged.then_some(Judged { ndcg_at_10: 1.0 / (1.0 + story.early.len() as f64), share: 0.3 }),
        past: Some(f64::from(story.unit % 7) / 3.0),
        ..record(&format!("u{}", story.unit % 60 + (n / 100 * 60) as u8 % 180), arm, &[])
    }
}

fn check(stories: &[Story], method: Method, primary_measure: PrimaryMeasure) -> Result<(), TestCaseError> {
    let experiment = Experiment { method, primary_measure, ..experiment(&[1, 1, 1]) };
    let options = AnalysisOptions { n_units_min: 5, ..AnalysisOptions::default() };
    let (mut whole, mut revised) = (Analysis::new(&experiment, options), Analysis::new(&experiment, options));
    let revise = |revised: &mut Analysis, n: usize| {
        let (old, new) = (answer(n, &stories[n], method, false), answer(n, &stories[n], method, true));
        revised.revise(n as u64 * 10, &old, &new);
    };
    for (n, story) in stories.iter().enumerate() {
        whole.add_at(n as u64 * 10, &answer(n, story, method, true));
        revised.add_at(n as u64 * 10, &answer(n, story, method, false));
        (0..=n).filter(|before| before + stories[*before].delay == n).for_each(|before| revise(&mut revised, before));
        if n % 50 == 0 {
            revised.settle();
        }
    }
    (0..stories.len()).filter(|n| n + stories[*n].delay >= stories.len()).for_each(|n| revise(&mut revised, n));
    prop_assert_eq!(revised.report(), whole.report());
    revised.settle();
    prop_assert_eq!(revised.report(), whole.report());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_late_counts_as_if_it_had_been_there(stories in stories(), measure in 0..6usize) {
        use PrimaryMeasure::{ClickThrough, Ndcg, ReciprocalRank, TimeToFirstClick, TopClick, Value};
        let primary = [ClickThrough, TopClick, ReciprocalRank, Value, TimeToFirstClick, Ndcg][measure];
        check(&stories, Method::Split, primary)?;
        check(&stories, Method::Interleave, primary)?;
    }
}
