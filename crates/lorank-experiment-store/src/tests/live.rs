//! Reports that are asked for again are those that a new start comes to, and cost what came since.

use std::time::Instant;

use lorank_experiments::{AnalysisOptions, Report};
use proptest::prelude::*;

use super::*;
use crate::Judgment;
use crate::database::Mode;
use crate::live::{EventsBy, LiveAnalysis};

/// Far after all records.
const NOW: i64 = 100_000_000;
const OPTIONS: AnalysisOptions =
    AnalysisOptions { alpha: 0.05, smallest_difference: None, n_units_min: 3, mismatch_alpha: 0.01 };

/// Something that comes to a store.
#[derive(Debug, Clone)]
enum Arrival {
    /// An answer to a unit's query, on this page.
    Answer { unit: u8, query: u8, page: usize, at: i64 },
    /// An event on one of the answers so far, or on one that comes later.
    Event { answer: usize, hit: u8, is_click: bool, value: Option<i16>, at: i64 },
    /// A look at the report.
    Look,
    /// Judgments of the queries.
    Judgments,
    /// Everything before this time is deleted.
    Forget { before: i64 },
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let at = || 1_000_000..2_000_000i64;
    let answer = (0..12u8, 0..3u8, prop_oneof![4 => Just(0usize), 1 => 1..3usize], at())
        .prop_map(|(unit, query, page, at)| Arrival::Answer { unit, query, page, at });
    let event = (0..80usize, 0..25u8, any::<bool>(), prop::option::of(-5..90i16), at())
        .prop_map(|(answer, hit, is_click, value, at)| Arrival::Event { answer, hit, is_click, value, at });
    let forget = at().prop_map(|before| Arrival::Forget { before: 1_000_000 + (before - 1_000_000) / 10 });
    let arrival = prop_oneof![
        10 => answer,
        8 => event,
        4 => Just(Arrival::Look),
        1 => Just(Arrival::Judgments),
        1 => forget,
    ];
    prop::collection::vec(arrival, 1..90)
}

fn arrive(store: &ExperimentStore, arrival: &Arrival, n_answers: &mut usize, n_events: usize) {
    match arrival {
        Arrival::Answer { unit, query, page, at } => {
            let mut answer = exposure(&format!("r{n_answers}"), *at);
            answer.query = format!("query {query}");
            answer.first_rank = page * 10 + 1;
            answer.hits = (0..page * 10 + 10).map(|hit| format!("d{hit}")).collect();
            answer.assigned = answer.assigned.map(|assigned| Assigned {
                unit: format!("u{unit}"),
                arm: usize::from(unit % 2),
                forced: *unit == 11,
                ..assigned
            });
            // The past of some units, from before the experiment.
            if *unit == 10 {
                (answer.assigned, answer.unit_id) = (None, Some("u1".into()));
            }
            store.submit_exposures(vec![answer]).unwrap();
            *n_answers += 1;
        }
        Arrival::Event { answer, hit, is_click, value, at } => {
            let action = if *is_click { "Click" } else { "purchase" };
            // Two that come one after the other have the same id: the second is known.
            let id = format!("e{}", n_events / 2);
            let mut event = json!({"event_id": id, "action_name": action, "query_id": format!("r{answer}"), "timestamp": at,
                "value": value});
            match hit % 5 {
                // On the answer as a whole, and on a rank.
                0 => {}
                1 => event["event_attributes"] = json!({"position": {"ordinal": hit}}),
                _ => event["object_id"] = json!(format!("d{hit}")),
            }
            store.submit(vec![Event::from_json(event).unwrap()], 2_000_000).unwrap();
        }
        Arrival::Judgments => {
            let judgment = |n: usize| Judgment {
                query: format!("query {}", n % 3),
                document: format!("d{n}"),
                grade: n as u32 % 3,
            };
            store.set_judgments((0..*n_answers % 7).map(judgment).collect()).unwrap();
        }
        Arrival::Forget { before } => drop(store.forget(*before).unwrap()),
        Arrival::Look => {}
    }
}

fn report(store: &ExperimentStore) -> Report {
    (*store.report("e", OPTIONS, NOW).unwrap().report).clone()
}

/// An analysis that reads events in one way.
fn live(store: &ExperimentStore, events_by: EventsBy) -> LiveAnalysis {
    LiveAnalysis::with(&store.get("e").unwrap().at(NOW), OPTIONS, events_by)
}

fn updated(live: &mut LiveAnalysis, database: &dyn Database) -> Report {
    live.update(database, &StoreConfig::default(), NOW).unwrap();
    live.analysis().report()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_report_that_is_kept_up_to_date_is_that_of_a_new_start(arrivals in arrivals()) {
        let (folder, store) = store();
        let (mut n_answers, mut n_looks) = (0, 0);
        let database = folder.database();
        let mut scanning = live(&store, EventsBy::Scan);
        for (n, arrival) in arrivals.iter().chain([&Arrival::Look]).enumerate() {
            arrive(&store, arrival, &mut n_answers, n);
            if matches!(arrival, Arrival::Look) {
                n_looks += 1;
                let kept = report(&store);
                prop_assert_eq!(&kept, &report(&open(&folder)), "at look {}", n_looks);
                for events_by in [EventsBy::Scan, EventsBy::Lookup] {
                    let new = updated(&mut live(&store, events_by), &*database);
                    prop_assert_eq!(&kept, &new, "at look {} by {:?}", n_looks, events_by);
                }
                prop_assert_eq!(&kept, &updated(&mut scanning, &*database), "at look {}, kept", n_looks);
            }
        }
    }
}

#[test]
fn a_report_is_made_once_while_nothing_comes() {
    let (folder, store) = store();
    let ask = |now_millis: i64| store.report("e", OPTIONS, now_millis).unwrap();
    store.submit_exposures(vec![exposure("r1", 10)]).unwrap();
    let first = ask(20);
    assert!(Arc::ptr_eq(&first.report, &ask(30).report));
    store.submit(vec![click("r1", "a", 11)], 12).unwrap();
    let second = ask(30);
    assert_eq!((first.report.arms[1].n_clicks, second.report.arms[1].n_clicks), (0, 1));
    store.stop("e", 40).unwrap();
    let stopped = ask(50);
    assert_eq!(stopped.report.state, ExperimentState::Stopped);
    // Another process counts its revisions from elsewhere.
    let elsewhere = open(&folder).report("e", OPTIONS, 50).unwrap();
    assert_eq!(elsewhere.report, stopped.report);
    let revisions = [&first, &second, &stopped, &elsewhere].map(|current| current.revision);
    assert_eq!(std::collections::HashSet::from(revisions).len(), 4, "{revisions:?}");
}

#[test]
fn what_comes_for_others_leaves_a_report_as_it_is() {
    let (_folder, store) = store();
    let of_other = Exposure { assigned: None, ..exposure("other", 10) };
    let unclicked = json!({"action_name": "view", "query_id": "r1", "timestamp": 11});
    store.submit_exposures(vec![exposure("r1", 10)]).unwrap();
    let first = store.report("e", OPTIONS, 20).unwrap();
    store.submit_exposures(vec![of_other]).unwrap();
    store.submit(vec![click("other", "a", 11), Event::from_json(unclicked).unwrap()], 12).unwrap();
    let same = store.report("e", OPTIONS, 20).unwrap();
    assert_eq!(same.revision, first.revision);
    assert!(Arc::ptr_eq(&first.report, &same.report));
    // It has read them: the next click on an answer of its own counts once.
    store.submit(vec![click("r1", "a", 11)], 12).unwrap();
    let next = store.report("e", OPTIONS, 20).unwrap();
    assert_eq!((next.report.arms[1].n_clicks, next.revision == first.revision), (1, false));
}

#[test]
fn values_count_for_answers_and_their_past_does_not() {
    let (_folder, store) = {
        let folder = Home::new();
        let store = open(&folder);
        store.create(draft("e", 1.0)).unwrap();
        store.start("e", 1_000_000).unwrap();
        (folder, store)
    };
    let paid = |request_id: &str, value: f64, at: i64| {
        let event = json!({"action_name": "purchase", "query_id": request_id, "timestamp": at, "event_attributes": {"value": value}});
        store.submit(vec![Event::from_json(event).unwrap()], at).unwrap();
    };
    store
        .submit_exposures(vec![Exposure { assigned: None, unit_id: Some("u1".into()), ..exposure("p", 900_000) }])
        .unwrap();
    paid("p", 30.0, 900_500);
    store.submit_exposures(vec![exposure("r1", 1_000_001), exposure("r2", 1_000_002)]).unwrap();
    paid("r1", 12.5, 1_000_100);
    paid("r1", -2.5, 1_000_200);
    let report = report(&store);
    assert_eq!(report.arms[1].value, Some(5.0));
    assert_eq!(report.arms[0].value, None);
}

/// How many answers the test below makes, each with an event. `LORANK_TEST_ANSWERS` in the environment of the build asks for more, to
/// measure: without optimization two hundred thousand take a minute.
const N_ANSWERS: u64 = match option_env!("LORANK_TEST_ANSWERS") {
    Some(text) => match u64::from_str_radix(text, 10) {
        Ok(n) => n,
        Err(_) => panic!("LORANK_TEST_ANSWERS is no number"),
    },
    None => 5_000,
};

#[test]
fn a_report_that_is_asked_for_again_costs_what_came_since() {
    let n_answers = N_ANSWERS;
    let (folder, store) = store();
    fill(&folder, n_answers);
    let timed = || {
        let started = Instant::now();
        let report = store.report("e", OPTIONS, NOW).unwrap().report;
        (report, started.elapsed())
    };
    let (first, all) = timed();
    let n_queries = |report: &Report| report.arms.iter().map(|arm| arm.n_queries).sum::<u64>();
    assert_eq!(n_queries(&first), n_answers);
    let (same, nothing) = timed();
    assert!(Arc::ptr_eq(&first, &same));
    // A click on the very first answer, a new answer, and a click on that.
    store.submit(vec![click("g1", "b", 1_500_000)], 2_000_000).unwrap();
    store.submit_exposures(vec![exposure("new", 1_600_000)]).unwrap();
    store.submit(vec![click("new", "b", 1_600_001)], 2_000_000).unwrap();
    let (next, some) = timed();
    assert_eq!(n_queries(&next), n_answers + 1);
    println!(
        "{n_answers} answers with an event each: {all:?} at first, {nothing:?} again, {some:?} after two more clicks"
    );
    assert_eq!(*next, report(&open(&folder)));
    assert!(some < all / 4 + std::time::Duration::from_millis(50), "{some:?} of {all:?}");
}

#[test]
fn a_report_after_many_late_clicks_is_that_of_a_new_start() {
    let (folder, store) = store();
    fill(&folder, 3_000);
    let (first, database) = (report(&store), folder.database());
    let mut by_lookup = live(&store, EventsBy::Lookup);
    assert_eq!(updated(&mut by_lookup, &*database), first);
    // 999 are revised, then 1,200 are too many.
    for clicks in [1..1_000, 1_000..2_200] {
        let clicks: Vec<Event> = clicks.map(|n| click(&format!("g{n}"), "c", 1_500_000 + n)).collect();
        for clicks in clicks.chunks(1_000) {
            store.submit(clicks.to_vec(), 2_000_000).unwrap();
        }
        let kept = report(&store);
        assert_eq!(kept, report(&open(&folder)));
        assert_eq!(kept, updated(&mut by_lookup, &*database));
    }
}

/// Answers to a fifth as many units, each with a click on one of its hits for two in three.
fn fill(folder: &Home, n_answers: u64) {
    let numbers = format!("WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {n_answers})");
    let unit = format!("n * 7919 % ({n_answers} / 5 + 1)");
    // PostgreSQL has the `WITH` of an insertion before it, too.
    let exposures = format!(
        "{numbers}
         INSERT INTO exposures (request_id, experiment, unit, arm, arm_name, forced, index_name, query, hits, first_rank,
                                latency_micros, fallback, model, at_millis)
         SELECT 'g' || n, 'e', 'u' || ({unit}), {unit} % 2, '', 0, 'default', 'q' || (n % 1000), '[\"a\",\"b\",\"c\"]', 1,
                1000 + n % 5000, NULL, '5eed', 1000000 + n / 100 FROM n"
    );
    let events = format!(
        "{numbers}
         INSERT INTO events (event_id, query_id, action_name, object_id, attributes, at_millis, received_millis)
         SELECT 'g' || n, 'g' || n, CASE WHEN n % 3 > 0 THEN 'click' ELSE 'view' END, substr('abc', CAST(n % 2 + 1 AS INTEGER), 1),
                '{{}}', 1000000 + n / 100, 1000000 + n / 100 FROM n"
    );
    let database = folder.database();
    database.begin(Mode::Write).unwrap();
    for sql in [exposures, events] {
        database.execute(&sql, &[]).unwrap();
    }
    database.commit().unwrap();
}
