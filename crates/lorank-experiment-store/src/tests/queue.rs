use lorank_experiments::EXPOSURE_BYTES_MAX;

use super::*;
use crate::database::Mode;
use crate::{ExperimentStoreError, StoreStats};

#[test]
fn a_full_queue_drops_and_counts_and_never_blocks() {
    let (folder, store) = store();
    drop(store);
    let config = StoreConfig { queue_max: 2, ..StoreConfig::default() };
    let store = open_with(&folder, config);
    // As long as another process writes, our writer cannot.
    let other = folder.database();
    other.begin(Mode::Write).unwrap();
    let taken = (0..).take_while(|n| store.record_exposure(exposure(&format!("r{n}"), 1))).count() as u64;
    let also_taken = (0..9).filter(|n| store.record_exposure(exposure(&format!("s{n}"), 1))).count() as u64;
    other.rollback();
    store.flush().unwrap();
    let stats = store.stats().unwrap();
    assert!(taken >= 2, "two wait, whatever the writer holds");
    assert_eq!((stats.n_exposures, stats.n_dropped, stats.n_lost), (taken + also_taken, 1 + 9 - also_taken, 0));
}

#[test]
fn a_queue_of_many_bytes_drops_and_counts() {
    let (folder, store) = store();
    drop(store);
    let config = StoreConfig { queue_bytes_max: 2_000, ..StoreConfig::default() };
    let store = open_with(&folder, config);
    let long = |n| Exposure { query: "x".repeat(3_000), ..exposure(&format!("l{n}"), 1) };
    let taken = |exposure| store.record_exposure(exposure);
    assert_eq!([taken(long(1)), taken(exposure("s1", 1)), taken(long(2))], [false, true, false]);
    store.flush().unwrap();
    // What was written makes room.
    assert!((0..100).all(|n| {
        let is_taken = taken(exposure(&format!("t{n}"), 1));
        store.flush().unwrap();
        is_taken
    }));
    assert_eq!((store.n_dropped(), store.n_lost(), store.stats().unwrap().n_exposures), (2, 0, 101));
}

#[test]
fn what_waits_is_written_before_the_store_closes() {
    let (folder, store) = store();
    for n in 0..500 {
        assert!(store.record_exposure(exposure(&format!("r{n}"), n)));
    }
    drop(store);
    assert_eq!(open(&folder).records("e").unwrap().records.len(), 500);
}

#[test]
fn threads_that_submit_at_once_are_each_told_their_own_counts() {
    let (_folder, store) = store();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..50 {
                    let own = click(&format!("r{thread}-{n}"), "a", 1);
                    let events = vec![own.clone(), own, click("shared", "a", n)];
                    let Submitted { accepted, duplicates, .. } = store.submit(events, 1).unwrap();
                    assert!(accepted + duplicates == 3 && (1..=2).contains(&accepted));
                }
            });
        }
    });
    assert_eq!(store.stats().unwrap().n_events, 8 * 50 + 50);
}

#[test]
fn what_cannot_be_kept_is_never_acknowledged() {
    let (folder, store) = store();
    let other = folder.database();
    other.execute("ALTER TABLE exposures RENAME TO gone", &[]).unwrap();
    assert!(store.record_exposure(exposure("r1", 1)));
    assert!(matches!(store.submit_exposures(vec![exposure("r2", 1)]), Err(ExperimentStoreError::Database { .. })));
    other.execute("ALTER TABLE gone RENAME TO exposures", &[]).unwrap();
    assert_eq!(counts(store.submit_exposures(vec![exposure("r3", 1)]).unwrap()), (1, 0), "the writer goes on");
    let stats = store.stats().unwrap();
    assert_eq!((stats.n_exposures, stats.n_lost), (1, 1));
}

#[test]
fn submissions_have_limits_and_are_refused_whole() {
    let folder = Home::new();
    let config = StoreConfig { submission_max: 2, ..StoreConfig::default() };
    let store = open_with(&folder, config);
    let events = |n| (0..n).map(|n| click("r", "a", n)).collect::<Vec<_>>();
    assert_eq!(
        store.submit(events(3), 1).unwrap_err().to_string(),
        "3 events exceed the limit of 2; send them in several submissions"
    );
    let unnamed = Event { action_name: String::new(), ..click("r", "a", 1) };
    assert!(store.submit(vec![click("r", "a", 1), unnamed], 1).is_err());
    let huge = Exposure { query: "x".repeat(EXPOSURE_BYTES_MAX), ..exposure("r", 1) };
    assert!(!store.record_exposure(huge.clone()));
    assert!(store.submit_exposures(vec![huge]).is_err());
    let mut uneven = exposure("r", 1);
    uneven.assigned = uneven.assigned.map(|assigned| Assigned { teams: vec![0], ..assigned });
    let error = store.submit_exposures(vec![uneven]).unwrap_err();
    assert_eq!(error.to_string(), "`teams` of the exposure names 1 teams for 3 hits; give one for each");
    assert_eq!(counts(store.submit(Vec::new(), 1).unwrap()), (0, 0));
    assert_eq!(counts(store.submit(events(2), 1).unwrap()), (2, 0));
    assert_eq!(
        store.stats().unwrap(),
        StoreStats { n_events: 2, n_unknown_events: 2, n_dropped: 1, ..StoreStats::default() }
    );
}
