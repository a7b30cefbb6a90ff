use std::num::{NonZeroU32, NonZeroUsize};

use lorank_core::{PassageOptions, PassageRule, RankerSettings};
use proptest::prelude::*;

use super::*;
use crate::{Arm, ArmModel, BucketRange, PrimaryMeasure, UnitKind};

fn arm(name: &str, weight: u32) -> Arm {
    let (weight, settings) = (NonZeroU32::new(weight).unwrap(), RankerSettings::default());
    Arm { name: name.into(), model: ArmModel::Base, settings, weight, pinned: None }
}

fn draft(id: &str, share: f64) -> Experiment {
    Experiment {
        id: id.into(),
        arms: vec![arm("control", 1), arm("qa", 1)],
        method: Method::Split,
        unit: UnitKind::UnitId,
        salt: id.into(),
        traffic_share: share,
        layer: "main".into(),
        primary_measure: PrimaryMeasure::ClickThrough,
        start_millis: None,
        end_millis: None,
        state: ExperimentState::Draft,
        buckets: Vec::new(),
    }
}

/// The field that `check` complains about, after a change to a sound draft.
#[track_caller]
fn check(change: impl FnOnce(&mut Experiment), expected: Option<&str>) {
    let mut experiment = draft("e", 0.5);
    change(&mut experiment);
    let field = experiment.check().map_or_else(
        |error| match error {
            ExperimentError::Invalid { field, .. } => Some(field),
            error => panic!("{error}"),
        },
        |()| None,
    );
    assert_eq!(field, expected);
}

#[test]
fn definitions_are_checked_field_by_field() {
    check(|_| (), None);
    check(|e| e.id = "a b".into(), Some("id"));
    check(|e| e.id = String::new(), Some("id"));
    check(|e| e.layer = "../main".into(), Some("layer"));
    check(|e| e.salt = String::new(), None);
    check(|e| e.salt = "x".repeat(129), Some("salt"));
    check(|e| e.arms.truncate(1), Some("arms"));
    check(|e| e.arms = (0..16).map(|n| arm(&format!("a{n}"), 1)).collect(), None);
    check(|e| e.arms = (0..17).map(|n| arm(&format!("a{n}"), 1)).collect(), Some("arms"));
    check(|e| e.arms[1].name = "control".into(), Some("arms.name"));
    check(|e| e.arms[1].name = "-".into(), Some("arms.name"));
    check(|e| e.arms[1].weight = NonZeroU32::MAX, None);
    check(|e| e.method = Method::Interleave, None);
    check(|e| (e.method, e.arms[1].weight) = (Method::Interleave, NonZeroU32::MAX), Some("arms.weight"));
    for (share, is_good) in [(1.0, true), (0.0001, true), (0.0, false), (0.00001, false), (1.001, false), (-0.5, false)]
    {
        check(|e| e.traffic_share = share, (!is_good).then_some("traffic_share"));
    }
    check(|e| e.traffic_share = f64::NAN, Some("traffic_share"));
    check(|e| (e.start_millis, e.end_millis) = (Some(5), Some(6)), None);
    check(|e| (e.start_millis, e.end_millis) = (Some(5), Some(5)), Some("end_millis"));
}

#[test]
fn settings_without_an_effect_are_refused() {
    let depth = || RankerSettings { depth: NonZeroUsize::new(5), ..RankerSettings::default() };
    let tokens = |rule| RankerSettings {
        passages: PassageOptions { rule, tokens: NonZeroUsize::new(64), stride: None },
        ..RankerSettings::default()
    };
    let instruction = |n_bytes| RankerSettings { instruction: Some("x".repeat(n_bytes)), ..RankerSettings::default() };
    check(|e| e.arms[1].settings = depth(), None);
    check(|e| (e.arms[1].settings, e.arms[1].model) = (depth(), ArmModel::FirstStage), Some("arms.depth"));
    let stages = |text: &str| RankerSettings { stages: text.parse().ok(), ..RankerSettings::default() };
    let both = || RankerSettings { depth: NonZeroUsize::new(5), ..stages("qa:9,none:5") };
    check(|e| e.arms[1].settings = stages("qa:9,none:5"), None);
    check(|e| e.arms[1].settings = stages("none:9,qa:5"), Some("arms.stages"));
    check(|e| e.arms[1].settings = both(), Some("arms.depth"));
    check(|e| e.arms[1].settings = tokens(Some(PassageRule::Max)), None);
    check(|e| e.arms[1].settings = tokens(None), Some("arms.passage_tokens"));
    check(|e| e.arms[1].settings = instruction(4096), None);
    check(|e| e.arms[1].settings = instruction(4097), Some("arms.instruction"));
    let mut experiment = draft("e", 0.5);
    experiment.arms[1].settings = tokens(None);
    assert_eq!(
        experiment.check().unwrap_err().to_string(),
        "`arms.passage_tokens` of experiment `e` (arm `qa`) is invalid: it needs `passages` with `max` or \
         `mean-top-3`; set that too, or remove it"
    );
}

#[test]
fn messages_say_what_to_do() {
    let mut experiment = draft("e", 2.0);
    let text = |error: ExperimentError| error.to_string();
    assert_eq!(
        experiment.check().map_err(text).unwrap_err(),
        "`traffic_share` of experiment `e` cannot be 2; give a number from 0.0001 to 1"
    );
    experiment.traffic_share = 0.5;
    let mut other = draft("other", 0.755);
    other.start(0, &[]).unwrap();
    assert_eq!(
        experiment.start(0, &[other]).map_err(text).unwrap_err(),
        "`traffic_share` of experiment `e` needs 50 % of layer `main`, of which 24.5 % is free; \
         ask for less, use another layer, or stop one of its experiments (`other`)"
    );
    assert_eq!(
        experiment.stop(0).map_err(text).unwrap_err(),
        "experiment `e` (draft) cannot be stopped; only a running experiment can be"
    );
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Start,
    Stop,
    Share(f64),
    End(Option<i64>),
}

/// Takes steps at the times 1, 2, 3 ..., all of which but the last must succeed. Whether the last did, and the state after it.
fn walk(mut experiment: Experiment, steps: &[Step]) -> (bool, ExperimentState) {
    let mut last = true;
    for (now, step) in (1..).zip(steps) {
        assert!(last, "{steps:?}");
        let before = experiment.clone();
        last = match *step {
            Step::Start => experiment.start(now, &[]),
            Step::Stop => experiment.stop(now),
            Step::Share(share) => experiment.raise_share(share, now, &[]),
            Step::End(end) => experiment.set_end(end, now),
        }
        .is_ok();
        assert!(last || experiment == before, "a step that fails leaves the experiment as it was");
    }
    (last, experiment.state)
}

#[test]
fn drafts_run_and_running_experiments_stop() {
    use ExperimentState::{Draft, Running, Stopped};
    use Step::{End, Share, Start, Stop};
    for (steps, expected) in [
        (&[Start][..], (true, Running)),
        (&[Stop], (false, Draft)),
        (&[Share(0.7)], (false, Draft)),
        (&[End(Some(9))], (true, Draft)),
        (&[End(Some(1))], (false, Draft)),
        (&[Start, Start], (false, Running)),
        (&[Start, Stop], (true, Stopped)),
        (&[Start, Stop, Start], (false, Stopped)),
        (&[Start, Stop, Stop], (false, Stopped)),
        (&[Start, Stop, Share(0.7)], (false, Stopped)),
        (&[Start, Stop, End(None)], (false, Stopped)),
        (&[Start, Share(0.7), Share(1.0)], (true, Running)),
        (&[Start, Share(0.5)], (false, Running)),
        (&[Start, Share(0.4)], (false, Running)),
        (&[Start, Share(1.1)], (false, Running)),
        (&[Start, End(Some(9)), End(Some(8)), End(None)], (true, Running)),
        (&[Start, End(Some(2))], (false, Running)),
        // Past its end (4, at the times 4 and 5) nothing but stopping is left.
        (&[Start, End(Some(4)), Share(0.6), Share(0.7)], (false, Running)),
        (&[Start, End(Some(4)), Share(0.6), End(None)], (false, Running)),
        (&[Start, End(Some(4)), Share(0.6), Stop], (true, Stopped)),
    ] {
        assert_eq!(walk(draft("e", 0.5), steps), expected, "{steps:?}");
    }
}

#[test]
fn a_start_ahead_is_kept_and_one_behind_is_now() {
    for (planned, begun) in [(None, 10), (Some(5), 10), (Some(20), 20)] {
        let mut experiment = Experiment { start_millis: planned, ..draft("e", 1.0) };
        experiment.start(10, &[]).unwrap();
        assert_eq!(experiment.start_millis, Some(begun));
        assert!(!experiment.assigns_at(begun - 1) && experiment.assigns_at(begun));
    }
    let mut late = Experiment { end_millis: Some(10), ..draft("e", 1.0) };
    assert!(late.start(10, &[]).is_err());
}

#[test]
fn stopping_ends_it_and_never_later_than_planned() {
    for (planned, ended) in [(None, 10), (Some(5), 5), (Some(20), 10)] {
        let mut experiment = draft("e", 1.0);
        experiment.start(1, &[]).unwrap();
        experiment.end_millis = planned;
        experiment.stop(10).unwrap();
        assert_eq!(experiment.end_millis, Some(ended));
        assert!(!experiment.assigns_at(2));
    }
}

#[test]
fn other_layers_and_stopped_experiments_leave_their_room() {
    let mut first = draft("first", 0.8);
    first.start(0, &[]).unwrap();
    assert!(draft("second", 0.3).start(0, std::slice::from_ref(&first)).is_err());
    assert!(draft("second", 0.2).start(0, std::slice::from_ref(&first)).is_ok());
    let elsewhere = Experiment { layer: "other".into(), ..first.clone() };
    assert!(draft("second", 0.3).start(0, &[elsewhere]).is_ok());
    first.stop(1).unwrap();
    assert!(draft("second", 0.3).start(2, &[first]).is_ok());
}

#[test]
fn a_definition_reads_what_it_writes_and_needs_neither_state_nor_buckets() {
    let mut experiment = draft("e", 0.25);
    experiment.start(7, &[]).unwrap();
    let json = serde_json::to_string(&experiment).unwrap();
    assert_eq!(serde_json::from_str::<Experiment>(&json).unwrap(), experiment);
    let short = r#"{"id": "e", "salt": "s", "traffic_share": 1, "layer": "main", "arms": [
        {"name": "control", "model": "first-stage", "weight": 1}, {"name": "qa", "model": "qa", "weight": 3}]}"#;
    let short: Experiment = serde_json::from_str(short).unwrap();
    assert_eq!((short.state, short.buckets.len()), (ExperimentState::Draft, 0));
}

#[derive(Debug, Clone)]
enum Move {
    Start { share: f64 },
    Raise { which: prop::sample::Index, share: f64 },
    Stop { which: prop::sample::Index },
}

fn moves() -> impl Strategy<Value = Move> {
    let share = || (1_u16..6_000).prop_map(|n| f64::from(n) / 10_000.0);
    prop_oneof![
        share().prop_map(|share| Move::Start { share }),
        (any::<prop::sample::Index>(), share()).prop_map(|(which, share)| Move::Raise { which, share }),
        any::<prop::sample::Index>().prop_map(|which| Move::Stop { which }),
    ]
}

fn owned(experiment: &Experiment) -> HashSet<u16> {
    (0..crate::N_BUCKETS).filter(|&bucket| experiment.has_bucket(bucket)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is started, raised and stopped: each experiment owns its share, all of it its own, and loses no bucket.
    #[test]
    fn experiments_of_a_layer_never_share_a_unit(moves in prop::collection::vec(moves(), 1..20)) {
        let mut all: Vec<Experiment> = Vec::new();
        for (n, step) in moves.into_iter().enumerate() {
            let others = all.clone();
            match step {
                Move::Start { share } => {
                    let mut new = draft(&format!("e{n}"), share);
                    all.extend(new.start(0, &others).is_ok().then_some(new));
                }
                Move::Raise { which, share } if !all.is_empty() => {
                    let at = which.index(all.len());
                    let _ = all[at].raise_share(share, 0, &others);
                    prop_assert!(owned(&others[at]).is_subset(&owned(&all[at])), "raising moves no unit");
                }
                Move::Stop { which } if !all.is_empty() => {
                    let _ = all[which.index(others.len())].stop(0);
                }
                _ => (),
            }
            let running: Vec<_> = all.iter().filter(|e| e.state == ExperimentState::Running).collect();
            let union: HashSet<u16> = running.iter().flat_map(|e| owned(e)).collect();
            let shares: usize = running.iter().map(|e| usize::from(buckets_of(e.traffic_share))).sum();
            prop_assert_eq!(union.len(), shares);
            prop_assert!(running.iter().all(|e| owned(e).len() == usize::from(buckets_of(e.traffic_share))));
            prop_assert!(all.iter().flat_map(|e| &e.buckets).all(|range: &BucketRange| range.start < range.end));
        }
    }
}
