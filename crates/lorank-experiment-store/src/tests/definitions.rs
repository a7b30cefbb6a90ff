use std::time::Duration;

use lorank_core::ErrorKind::{Conflict, Invalid, NotFound};
use lorank_experiments::{BucketRange, Click};

use super::*;
use crate::Amendment;

fn names(experiments: &[Experiment]) -> Vec<&str> {
    experiments.iter().map(|experiment| experiment.id.as_str()).collect()
}

#[test]
fn an_experiment_goes_from_draft_to_running_to_stopped() {
    let folder = Home::new();
    let store = open(&folder);
    store.create(draft("b", 0.2)).unwrap();
    store.create(draft("a", 0.3)).unwrap();
    assert!(store.running().is_empty());

    assert_eq!(store.start("b", 10).unwrap().buckets, [BucketRange { start: 0, end: 2_000 }]);
    store.start("a", 20).unwrap();
    assert_eq!(names(&store.running()), ["a", "b"], "the snapshot shows it at once");
    let raised = store.raise_share("b", 0.7, 30).unwrap();
    assert_eq!(raised.buckets, [(0, 2_000), (5_000, 10_000)].map(|(start, end)| BucketRange { start, end }));
    assert_eq!(store.set_end("a", Some(99), 40).unwrap().end_millis, Some(99));
    assert_eq!(store.stop("b", 50).unwrap().end_millis, Some(50));
    assert_eq!(names(&store.running()), ["a"]);

    let list = store.list().unwrap();
    drop(store);
    let store = open(&folder);
    assert_eq!(names(&list), ["a", "b"]);
    assert_eq!(store.list().unwrap(), list, "a restart changes nothing");
    assert_eq!(names(&store.running()), ["a"]);
    assert_eq!(store.get("b").unwrap(), list[1]);
}

#[test]
fn what_is_not_allowed_changes_nothing() {
    let (_folder, store) = store();
    store.create(draft("wide", 0.6)).unwrap();
    let before = store.list().unwrap();
    let running = Experiment { state: ExperimentState::Running, ..draft("new", 0.1) };
    for (error, kind) in [
        (store.create(draft("e", 0.1)).unwrap_err(), Conflict),
        (store.create(draft("a b", 0.1)).unwrap_err(), Invalid),
        (store.create(running).unwrap_err(), Invalid),
        (store.start("wide", 5).unwrap_err(), Conflict),
        (store.start("e", 5).unwrap_err(), Conflict),
        (store.start("none", 5).unwrap_err(), NotFound),
        (store.get("none").unwrap_err(), NotFound),
        (store.records("none").unwrap_err(), NotFound),
        (store.stop("wide", 5).unwrap_err(), Conflict),
        (store.raise_share("e", 0.4, 5).unwrap_err(), Invalid),
        (store.delete_draft("e", 0).unwrap_err(), Conflict),
        (store.delete_draft("none", 0).unwrap_err(), NotFound),
    ] {
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert_eq!(store.list().unwrap(), before);
    assert_eq!(names(&store.running()), ["e"]);
}

#[test]
fn a_draft_can_be_deleted_and_its_name_used_again() {
    let (_folder, store) = store();
    store.create(draft("d", 0.1)).unwrap();
    store.delete_draft("d", 0).unwrap();
    assert_eq!(names(&store.list().unwrap()), ["e"]);
    store.create(draft("d", 0.2)).unwrap();
}

#[test]
fn an_experiment_past_its_end_is_stopped_where_another_wants_its_room() {
    let (_folder, store) = store();
    store.set_end("e", Some(100), 1).unwrap();
    store.create(draft("next", 1.0)).unwrap();
    assert!(store.start("next", 99).is_err());
    store.start("next", 100).unwrap();
    let ended = store.get("e").unwrap();
    assert_eq!((ended.state, ended.end_millis), (ExperimentState::Stopped, Some(100)));
}

#[test]
fn there_is_a_limit_to_experiments() {
    let folder = Home::new();
    let config = StoreConfig { experiments_max: 2, ..StoreConfig::default() };
    let store = open_with(&folder, config);
    store.create(draft("a", 0.1)).unwrap();
    store.create(draft("b", 0.1)).unwrap();
    let error = store.create(draft("c", 0.1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "3 experiments exceed the limit of 2; delete drafts, or use another folder for a new start"
    );
}

#[test]
fn two_stores_on_one_file_see_each_others_changes() {
    let folder = Home::new();
    let config = StoreConfig { refresh: Duration::from_millis(1), ..StoreConfig::default() };
    let server = open_with(&folder, config);
    let command = open(&folder);
    command.create(draft("e", 0.5)).unwrap();
    command.start("e", 0).unwrap();
    // Nothing is asked of the server's store: its writer sees the change by looking.
    while server.running().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(server.running(), command.running());

    // Both raise at once, each in sight of the other.
    std::thread::scope(|scope| {
        for (store, shares) in [(&server, 51..75), (&command, 75..99)] {
            scope.spawn(move || {
                // The other one may be ahead: a lower share is refused then.
                shares.for_each(|percent| drop(store.raise_share("e", f64::from(percent) / 100.0, 0)));
            });
        }
    });
    let raised = command.get("e").unwrap();
    assert_eq!((raised.traffic_share, raised.buckets.len()), (0.98, 1));

    server.submit_exposures(vec![exposure("r1", 1)]).unwrap();
    command.submit(vec![click("r1", "b", 2)], 2).unwrap();
    assert_eq!(counts(server.submit(vec![click("r1", "b", 2)], 3).unwrap()), (0, 1));
    assert_eq!(server.records("e").unwrap(), command.records("e").unwrap());
    assert_eq!(server.records("e").unwrap().records[0].clicks, [Click { rank: 2, at_millis: 2 }]);
}

#[test]
fn an_amendment_is_made_whole_or_not_at_all() {
    let (_folder, store) = store();
    for (traffic_share, end_millis, is_made) in [
        (Some(0.4), Some(Some(99)), false),
        (Some(2.0), Some(Some(99)), false),
        (Some(f64::NAN), Some(None), false),
        (Some(0.7), Some(Some(5)), false),
        (Some(0.7), Some(Some(0)), false),
        (None, Some(Some(5)), false),
        (None, None, true),
        (Some(0.6), None, true),
        (None, Some(Some(70)), true),
        (Some(0.7), Some(Some(80)), true),
        (Some(0.7), Some(Some(90)), false),
        (Some(0.8), Some(None), true),
    ] {
        let last = store.get("e").unwrap();
        let amended = store.amend("e", Amendment { traffic_share, end_millis }, 5);
        let now = store.get("e").unwrap();
        assert_eq!(amended.is_ok(), is_made, "{traffic_share:?} {end_millis:?}: {amended:?}");
        let expected = match is_made {
            true => (traffic_share.unwrap_or(last.traffic_share), end_millis.unwrap_or(last.end_millis)),
            false => (last.traffic_share, last.end_millis),
        };
        assert_eq!((now.traffic_share, now.end_millis), expected, "{traffic_share:?} {end_millis:?}");
        assert!(is_made || now == last, "nothing of it is kept");
    }
}
