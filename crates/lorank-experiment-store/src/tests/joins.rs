use lorank_experiments::{AnalysisOptions, Click, QueryRecord, ShadowOutcome, ShadowRecord};

use super::*;
use crate::{ExperimentStoreError, Forgotten, JoinCounts, Records, ShadowSummary, Unattributed};

fn ranks(record: &QueryRecord) -> Vec<usize> {
    record.clicks.iter().map(|click| click.rank).collect()
}

#[test]
fn an_event_counts_once_however_often_it_comes() {
    let (folder, store) = store();
    store.submit_exposures(vec![exposure("r1", 1)]).unwrap();
    let named = Event { event_id: Some("mine".into()), ..click("r1", "b", 4) };
    let renamed = Event { event_id: Some("other".into()), ..named.clone() };
    let twice = vec![click("r1", "a", 3), click("r1", "a", 3), named.clone()];
    assert_eq!(counts(store.submit(twice, 5).unwrap()), (2, 1));
    assert_eq!(counts(store.submit(vec![named.clone(), renamed], 6).unwrap()), (1, 1));
    drop(store);
    let store = open(&folder);
    // The client's id says that it is the same event, whatever else it says.
    let changed = Event { object_id: Some("c".into()), ..named };
    assert_eq!(counts(store.submit(vec![changed, click("r1", "a", 3)], 7).unwrap()), (0, 2));
    assert_eq!(ranks(&store.records("e").unwrap().records[0]), [1, 2, 2]);
    assert_eq!(counts(store.submit_exposures(vec![exposure("r1", 9), exposure("r2", 9)]).unwrap()), (1, 1));
    assert_eq!(store.records("e").unwrap().records[0].at_millis, 1, "the first exposure stays");
}

#[test]
fn events_of_unknown_queries_are_counted_apart_until_the_exposure_comes() {
    let (_folder, store) = store();
    let nameless = Event { query_id: None, ..click("r1", "a", 3) };
    let early = vec![click("r1", "c", 3), click("r9", "a", 3), nameless];
    assert_eq!(counts(store.submit(early, 3).unwrap()), (3, 0));
    let unknown = |store: &ExperimentStore| store.records("e").unwrap().counts.n_unknown_events;
    assert_eq!((unknown(&store), store.stats().unwrap().n_unknown_events), (3, 3));
    store.submit_exposures(vec![exposure("r1", 1)]).unwrap();
    assert_eq!(unknown(&store), 2);
    assert_eq!(ranks(&store.records("e").unwrap().records[0]), [3]);
    // An answer that no experiment was part of makes its events known, and is in no experiment's records.
    store.submit_exposures(vec![Exposure { assigned: None, ..exposure("r9", 1) }]).unwrap();
    let records = store.records("e").unwrap();
    assert_eq!((records.records.len(), records.counts.n_unknown_events), (1, 1));
}

#[test]
fn searches_are_read_across_experiments() {
    let (_folder, store) = store();
    let outside = Exposure { assigned: None, ..exposure("r1", 1) };
    let later = Exposure { first_rank: 3, ..exposure("r3", 3) };
    let elsewhere = Exposure { index: "shop".into(), ..exposure("r4", 4) };
    store.submit_exposures(vec![exposure("r2", 2), outside, later, elsewhere]).unwrap();
    store.submit(vec![click("r1", "b", 5), click("r1", "x", 5), click("r2", "c", 6), click("r2", "a", 7)], 8).unwrap();
    let mut found = Vec::new();
    let n_later = store.read_searches("default", |search| found.push((search.at_millis, search.clicked))).unwrap();
    assert_eq!((found, n_later), (vec![(1, vec![2]), (2, vec![3, 1])], 1));
    assert_eq!(store.read_searches("nope", |_| panic!("no search")).unwrap(), 0);
}

#[test]
fn a_click_has_the_rank_of_its_object_or_else_its_ordinal() {
    let with = |object_id: Option<&str>, ordinal| Event {
        object_id: object_id.map(str::to_owned),
        ordinal,
        ..click("r1", "x", 5)
    };
    for (object_id, ordinal, rank) in [
        (Some("b"), None, Some(2)),
        (Some("b"), Some(1), Some(2)),
        (Some("advert"), Some(1), None),
        (None, Some(3), Some(3)),
        (None, Some(0), None),
        (None, Some(4), None),
        (None, None, None),
    ] {
        let (_folder, store) = store();
        store.submit_exposures(vec![exposure("r1", 1)]).unwrap();
        store.submit(vec![with(object_id, ordinal)], 5).unwrap();
        let Records { records, counts } = store.records("e").unwrap();
        assert_eq!(ranks(&records[0]), Vec::from_iter(rank), "{object_id:?} {ordinal:?}");
        let outside = u64::from(rank.is_none());
        let expected =
            JoinCounts { n_records: 1, n_clicks: 1 - outside, n_clicks_outside: outside, n_unknown_events: 0 };
        assert_eq!(counts, expected, "{object_id:?} {ordinal:?}");
    }
}

#[test]
fn records_say_what_was_shown_oldest_first() {
    let (_folder, store) = store();
    let arms = || {
        [ArmRanking::Same, ArmRanking::Different, ArmRanking::Missing]
            .map(|ranking| InterleavedArm {
                model: Some("5eed".into()).filter(|_| ranking != ArmRanking::Missing),
                ranking,
            })
            .to_vec()
    };
    let mut interleaved = exposure("r2", 20);
    interleaved.fallback = Some("deadline".into());
    interleaved.assigned = interleaved.assigned.map(|assigned| Assigned {
        unit: "u2".into(),
        arm: 0,
        arm_name: String::new(),
        forced: true,
        teams: vec![1, 0, 1],
        arms: arms(),
        ..assigned
    });
    store.submit_exposures(vec![exposure("r3", 30), interleaved, exposure("r1", 20)]).unwrap();
    store.submit(vec![click("r2", "c", 42), click("r2", "a", 41)], 42).unwrap();
    let record = |request_id: &str, at_millis| QueryRecord {
        request_id: request_id.into(),
        unit: "u1".into(),
        arm: 1,
        forced: false,
        at_millis,
        n_hits: 3,
        latency_micros: 1_500,
        fallback: None,
        model: Some("5eed".into()),
        teams: Vec::new(),
        arms: Vec::new(),
        value: None,
        judged: None,
        past: None,
        clicks: Vec::new(),
    };
    let interleaved = QueryRecord {
        unit: "u2".into(),
        arm: 0,
        forced: true,
        fallback: Some("deadline".into()),
        teams: vec![1, 0, 1],
        arms: arms(),
        clicks: vec![Click { rank: 1, at_millis: 41 }, Click { rank: 3, at_millis: 42 }],
        ..record("r2", 20)
    };
    let expected = [interleaved, record("r1", 20), record("r3", 30)];
    assert_eq!(store.records("e").unwrap().records, expected);
}

#[test]
fn which_actions_are_clicks_is_a_setting() {
    let folder = Home::new();
    let config = StoreConfig { click_actions: vec!["purchase".into()], ..StoreConfig::default() };
    let store = open_with(&folder, config);
    store.create(draft("e", 0.5)).unwrap();
    store.submit_exposures(vec![exposure("r1", 1)]).unwrap();
    let bought = Event { action_name: "purchase".into(), ..click("r1", "b", 3) };
    store.submit(vec![click("r1", "a", 2), bought], 3).unwrap();
    assert_eq!(ranks(&store.records("e").unwrap().records[0]), [2]);
    drop(store);
    assert_eq!(ranks(&open(&folder).records("e").unwrap().records[0]), [1], "the events are kept as they came");
}

#[test]
fn exports_are_tables_with_a_row_for_each_query_or_event() {
    let (_folder, store) = store();
    let mut quoted = exposure("r1", 1);
    quoted.query = "a \"quoted\", query".into();
    store.submit_exposures(vec![quoted, exposure("r2", 2)]).unwrap();
    let viewed = Event { action_name: "view".into(), event_id: Some("v".into()), ..click("r1", "c", 4) };
    let clicks = ["b", "a", "x"].map(|object| Event { event_id: Some(object.into()), ..click("r1", object, 3) });
    store.submit([clicks.as_slice(), &[viewed]].concat(), 5).unwrap();

    let mut csv = Vec::new();
    assert_eq!(store.export_queries("e", &mut csv).unwrap(), 2);
    assert_eq!(
        String::from_utf8(csv).unwrap(),
        "request_id,at_millis,query,unit,experiment,arm,arm_name,forced,n_hits,hits,teams,latency_micros,fallback,model,\
         n_clicks,n_clicks_outside,first_click_rank,click_ranks,click_millis,index\n\
         r1,1,\"a \"\"quoted\"\", query\",u1,e,1,qa,false,3,\"[\"\"a\"\",\"\"b\"\",\"\"c\"\"]\",,1500,,5eed,2,1,2,2 1,3 3,default\n\
         r2,2,boil an egg,u1,e,1,qa,false,3,\"[\"\"a\"\",\"\"b\"\",\"\"c\"\"]\",,1500,,5eed,0,0,,,,default\n"
    );
    let mut csv = Vec::new();
    assert_eq!(store.export_events("e", &mut csv).unwrap(), 4);
    assert_eq!(
        String::from_utf8(csv).unwrap(),
        "request_id,unit,experiment,arm,arm_name,forced,answered_millis,event_id,at_millis,action_name,is_click,object_id,\
         object_id_field,ordinal,rank,team,client_id,session_id,message,attributes\n\
         r1,u1,e,1,qa,false,1,b,3,click,true,b,,,2,,,,,{}\n\
         r1,u1,e,1,qa,false,1,a,3,click,true,a,,,1,,,,,{}\n\
         r1,u1,e,1,qa,false,1,x,3,click,true,x,,,,,,,,{}\n\
         r1,u1,e,1,qa,false,1,v,4,view,false,c,,,3,,,,,{}\n"
    );
}

#[test]
fn an_empty_table_has_its_columns() {
    let (_folder, store) = store();
    let (mut queries, mut events) = (Vec::new(), Vec::new());
    assert_eq!(
        (store.export_queries("e", &mut queries).unwrap(), store.export_events("e", &mut events).unwrap()),
        (0, 0)
    );
    assert!(queries.starts_with(b"request_id,at_millis,") && queries.ends_with(b",click_millis,index\n"));
    assert!(events.starts_with(b"request_id,unit,") && events.ends_with(b",attributes\n"));
}

#[test]
fn a_table_that_cannot_be_written_is_an_error() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (_folder, store) = store();
    store.submit_exposures(vec![exposure("r1", 1)]).unwrap();
    assert!(matches!(store.export_queries("e", Full), Err(ExperimentStoreError::Export { .. })));
}

#[test]
fn what_is_old_is_forgotten_and_events_go_with_their_answers() {
    let (_folder, store) = store();
    let exposures = (0..2_500).map(|n| exposure(&format!("r{n}"), n)).collect::<Vec<_>>();
    for part in exposures.chunks(1_000) {
        store.submit_exposures(part.to_vec()).unwrap();
    }
    // A late click on an old answer, one on an answer that stays, and clicks on nothing, come in early and late.
    store.submit(vec![click("r1", "a", 9_000), click("none", "a", 9_000)], 100).unwrap();
    store.submit(vec![click("r2", "a", 5), click("r2400", "a", 5), click("none", "b", 5)], 2_450).unwrap();
    let n = |n_exposures, n_events| Forgotten { n_exposures, n_events, n_shadows: 0 };
    assert_eq!(store.forget(2_400).unwrap(), n(2_400, 3));
    let records = store.records("e").unwrap();
    assert_eq!((records.records.len(), records.records[0].request_id.as_str()), (100, "r2400"));
    assert_eq!((records.counts.n_clicks, records.counts.n_unknown_events), (1, 1));
    assert_eq!(store.forget(2_400).unwrap(), n(0, 0));
}

#[test]
fn shadows_come_to_counts_and_means() {
    let (folder, store) = store();
    let record = |request_id: &str, candidate: &str, outcome, latency_micros| ShadowRecord {
        request_id: request_id.into(),
        name: "nightly".into(),
        candidate: candidate.parse().unwrap(),
        outcome,
        latency_micros,
        at_millis: 1,
    };
    let ranked = |rbo, kendall_tau| ShadowOutcome::Ranked { rbo, kendall_tau, overlap_at_10: 0.5 };
    for record in [
        record("r1", "qa", ranked(0.5, Some(-1.0)), 100),
        record("r2", "qa", ranked(1.0, None), 300),
        record("r3", "qa", ShadowOutcome::Failed("out of memory".into()), 9_000),
        record("r1", "qa", ranked(0.0, None), 7),
        record("r1", "legal", ShadowOutcome::Failed("no such adapter".into()), 1),
    ] {
        assert!(store.record_shadow(record));
    }
    store.flush().unwrap();
    let summary = |candidate: &str, n_answers, n_failures| ShadowSummary {
        name: "nightly".into(),
        candidate: candidate.into(),
        n_answers,
        n_failures,
        mean_rbo: None,
        mean_kendall_tau: None,
        mean_overlap_at_10: None,
        mean_latency_micros: None,
    };
    let ranked = ShadowSummary {
        mean_rbo: Some(0.75),
        mean_kendall_tau: Some(-1.0),
        mean_overlap_at_10: Some(0.5),
        mean_latency_micros: Some(200.0),
        ..summary("qa", 3, 1)
    };
    assert_eq!(store.shadows().unwrap(), [summary("legal", 1, 1), ranked.clone()]);
    // Asked again, what came since is added; who asks for the first time finds the same.
    store.record_shadow(record(
        "r4",
        "qa",
        ShadowOutcome::Ranked { rbo: 0.0, kendall_tau: Some(1.0), overlap_at_10: 0.5 },
        500,
    ));
    store.flush().unwrap();
    let more = ShadowSummary {
        n_answers: 4,
        mean_rbo: Some(0.5),
        mean_kendall_tau: Some(0.0),
        mean_latency_micros: Some(300.0),
        ..ranked
    };
    for asked in [&store, &store, &open(&folder)] {
        assert_eq!(asked.shadows().unwrap(), [summary("legal", 1, 1), more.clone()]);
    }
    assert_eq!(store.forget(2).unwrap().n_shadows, 5);
    assert_eq!(store.shadows().unwrap(), []);
}

#[test]
fn a_report_is_made_of_what_is_stored() {
    let (_folder, store) = store();
    store.submit_exposures(vec![exposure("r1", 1), exposure("r2", 2)]).unwrap();
    store.submit(vec![click("r1", "b", 3)], 3).unwrap();
    let report = store.report("e", AnalysisOptions { n_units_min: 7, ..AnalysisOptions::default() }, 0).unwrap().report;
    let qa = &report.arms[1];
    assert_eq!((qa.arm.as_str(), qa.n_units, qa.n_queries, qa.click_through), ("qa", 1, 2, Some(0.5)));
    assert!(report.sentence.contains("not yet: each comparison needs 7 units"), "{}", report.sentence);
    assert!(matches!(store.report("f", AnalysisOptions::default(), 0), Err(ExperimentStoreError::Unknown { .. })));
}

#[test]
fn actions_are_clicks_in_upper_and_lower_case() {
    for action in ["click", "CLICK", "Click", "cLiCk", "CLICK_THROUGH", "Click_Through", "ITEM_CLICK", "Item_click"] {
        let (_folder, store) = store();
        store.submit_exposures(vec![exposure("r1", 1)]).unwrap();
        store.submit(vec![Event { action_name: action.into(), ..click("r1", "b", 3) }], 3).unwrap();
        assert_eq!(ranks(&store.records("e").unwrap().records[0]), [2], "{action}");
        let mut csv = Vec::new();
        store.export_events("e", &mut csv).unwrap();
        assert!(String::from_utf8(csv).unwrap().contains(&format!(",{action},true,b,")), "{action}");
    }
    let folder = Home::new();
    let config = StoreConfig { click_actions: vec!["Purchase".into()], ..StoreConfig::default() };
    let store = open_with(&folder, config);
    store.create(draft("e", 0.5)).unwrap();
    store.submit_exposures(vec![exposure("r1", 1)]).unwrap();
    store
        .submit(vec![Event { action_name: "PURCHASE".into(), ..click("r1", "b", 3) }, click("r1", "a", 3)], 3)
        .unwrap();
    assert_eq!(ranks(&store.records("e").unwrap().records[0]), [2]);
}

#[test]
fn an_event_before_its_answer_is_kept_and_counts_for_nothing() {
    const DAY: i64 = 86_400_000;
    const HOUR: i64 = 3_600_000;
    let (_folder, store) = store();
    store.submit_exposures(vec![exposure("r1", 10 * DAY)]).unwrap();
    for (at_millis, is_before) in [
        (0, true),
        (9 * DAY, true),
        (10 * DAY - HOUR - 1, true),
        (10 * DAY - HOUR, false),
        (10 * DAY - 1, false),
        (10 * DAY, false),
        (11 * DAY, false),
    ] {
        let submitted = store.submit(vec![click("r1", "a", at_millis)], 12 * DAY).unwrap();
        let expected = Unattributed { n_before_answer: usize::from(is_before), ..Unattributed::default() };
        assert_eq!((submitted.accepted, submitted.unattributed), (1, expected), "{at_millis}");
    }
    let Records { records, counts } = store.records("e").unwrap();
    assert_eq!((records[0].clicks.len(), counts.n_clicks, counts.n_clicks_outside), (4, 4, 3));
    let late = store.submit(vec![click("r1", "b", 13 * DAY)], 12 * DAY).unwrap_err().to_string();
    assert!(late.contains("`timestamp` of the event is 1970-01-14T00:00:00Z, which is in the future"), "{late}");
}

#[test]
fn what_belongs_to_no_answer_is_counted_by_its_reason() {
    let (_folder, store) = store();
    store.submit_exposures(vec![exposure("r1", 1)]).unwrap();
    let event = |query_id: Option<&str>, object_id: Option<&str>, ordinal| Event {
        query_id: query_id.map(str::to_owned),
        object_id: object_id.map(str::to_owned),
        ordinal,
        ..click("", "x", 5)
    };
    for (event, [unknown_query, unknown_object]) in [
        (event(Some("r1"), Some("a"), None), [0, 0]),
        (event(Some("r1"), None, Some(3)), [0, 0]),
        // About the answer as a whole.
        (event(Some("r1"), None, None), [0, 0]),
        (event(Some("r1"), Some("advert"), Some(1)), [0, 1]),
        (event(Some("r1"), None, Some(0)), [0, 1]),
        (event(Some("r1"), None, Some(4)), [0, 1]),
        (event(Some("r2"), Some("a"), None), [1, 0]),
        (event(None, Some("a"), None), [1, 0]),
    ] {
        let submitted = store.submit(vec![event.clone()], 5).unwrap();
        let expected = Unattributed {
            n_unknown_query: unknown_query,
            n_unknown_object: unknown_object,
            ..Unattributed::default()
        };
        assert_eq!(submitted.unattributed, expected, "{event:?}");
        assert_eq!(store.submit(vec![event], 5).unwrap().unattributed.n(), 0, "a duplicate is no news");
    }
}

#[test]
fn pages_of_one_query_are_one_query() {
    let page = |request_id: &str, at_millis: i64, first_rank: usize| Exposure {
        first_rank,
        hits: (0..first_rank + 9).map(|n| format!("h{n}")).collect(),
        ..exposure(request_id, at_millis)
    };
    let (_folder, store) = store();
    let other_query = Exposure { query: "another".into(), ..page("q", 4, 11) };
    let mut other_unit = page("u", 5, 11);
    if let Some(assigned) = &mut other_unit.assigned {
        assigned.unit = "u2".into();
    }
    let exposures = vec![page("r1", 1, 1), page("r2", 2, 11), page("r3", 3, 21), other_query, other_unit];
    store.submit_exposures(exposures).unwrap();
    // The query once more, and its second page.
    store.submit_exposures(vec![page("s1", 10, 1), page("s2", 11, 11)]).unwrap();
    let clicks = vec![click("r2", "h12", 9), click("r1", "h0", 8), click("r3", "h25", 7), click("s2", "h10", 12)];
    store.submit(clicks, 12).unwrap();
    let Records { records, counts } = store.records("e").unwrap();
    let found: Vec<(&str, usize, Vec<usize>)> =
        records.iter().map(|record| (record.request_id.as_str(), record.n_hits, ranks(record))).collect();
    assert_eq!(
        found,
        [
            ("r1", 30, vec![26, 1, 13]),
            // Pages whose first page is not known are queries of their own.
            ("q", 20, vec![]),
            ("u", 20, vec![]),
            ("s1", 20, vec![11]),
        ]
    );
    assert_eq!((counts.n_records, counts.n_clicks), (4, 4));
    let report = store.report("e", AnalysisOptions::default(), 12).unwrap().report;
    assert_eq!((report.arms[1].n_queries, report.arms[1].click_through), (4, Some(0.5)));
}
