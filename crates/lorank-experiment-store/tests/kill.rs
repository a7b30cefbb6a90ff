//! Killing the process under load: what was acknowledged is there, and nothing is there twice.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lorank_core::RankerSettings;
use lorank_experiment_store::{ExperimentStore, StoreConfig};
use lorank_experiments::{
    Arm, ArmModel, Assigned, Event, Experiment, ExperimentState, Exposure, Method, PrimaryMeasure, UnitKind,
};
use serde_json::json;
use tempfile::TempDir;

const N_ROUNDS: usize = 20;
const N_THREADS: usize = 4;

/// Where the child finds its folder and its round. Without it, this executable is the parent.
const CHILD: &str = "LORANK_TEST_KILL";

#[test]
fn acknowledged_events_outlive_twenty_kills_and_none_is_kept_twice() {
    let folder = TempDir::new().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..N_ROUNDS {
        // Rounds without an acknowledgement kill the store while it is opened, the first one while the file is made.
        let n_acknowledged = round % 5 * (17 + 13 * round);
        let lines = kill_after(n_acknowledged, &mut child(folder.path(), round));
        assert!(lines.len() >= n_acknowledged);
        acknowledged.extend(lines);
        let kept = kept(folder.path());
        let lost: Vec<_> = acknowledged.iter().filter(|id| !kept.contains_key(*id)).collect();
        assert!(lost.is_empty(), "round {round}: {lost:?} were acknowledged");
        let doubled: Vec<_> = kept.iter().filter(|(_, n)| **n != 1).collect();
        assert!(doubled.is_empty(), "round {round}: {doubled:?}");
    }
    assert!(acknowledged.len() > 1_000, "{} events are no load", acknowledged.len());
}

/// Not a test by itself: what the parent starts and kills.
#[test]
fn child_under_load() {
    let Ok(value) = std::env::var(CHILD) else { return };
    let (round, folder) = value.split_once(' ').unwrap();
    // The harness may have begun a line.
    println!("\nopening");
    let store = open(Path::new(folder));
    std::thread::scope(|scope| {
        for thread in 0..N_THREADS {
            let (store, name) = (&store, format!("{round}-{thread}"));
            scope.spawn(move || work(store, &name));
        }
    });
}

/// Submits until it is killed: an exposure, a click on it, and that click again with the next one.
fn work(store: &ExperimentStore, name: &str) {
    let mut last = None;
    for n in 0.. {
        let id = format!("{name}-{n}");
        assert!(store.record_exposure(exposure(&id)));
        let event = click(&id);
        let again = usize::from(last.is_some());
        let submitted = store.submit(last.into_iter().chain([event.clone()]).collect(), n).unwrap();
        assert_eq!((submitted.accepted, submitted.duplicates), (1, again));
        println!("acknowledged {id}");
        last = Some(event);
    }
}

fn child(folder: &Path, round: usize) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_under_load", "--nocapture"]).stdout(Stdio::piped());
    command.env(CHILD, format!("{round} {}", folder.display())).spawn().unwrap()
}

/// Reads what the child acknowledges, kills it (SIGKILL on Unix) after so many, and reads what it had still said.
fn kill_after(n_acknowledged: usize, child: &mut Child) -> Vec<String> {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let (mut acknowledged, mut is_killed) = (Vec::new(), false);
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        // Without its end a line may be half an id.
        let id = line.strip_suffix('\n').and_then(|line| line.strip_prefix("acknowledged "));
        acknowledged.extend(id.map(str::to_owned));
        if !is_killed && acknowledged.len() >= n_acknowledged && line.starts_with(|c: char| "ao".contains(c)) {
            child.kill().unwrap();
            is_killed = true;
        }
        line.clear();
    }
    assert!(!child.wait().unwrap().success() && is_killed, "it ended by being killed");
    acknowledged
}

/// Opens the store anew, and counts each event that is joined to its answer.
fn kept(folder: &Path) -> BTreeMap<String, usize> {
    let store = open(folder);
    let mut csv = Vec::new();
    store.export_events("e", &mut csv).unwrap();
    let file = rusqlite::Connection::open(folder.join("experiments.sqlite")).unwrap();
    let check: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let mut table = csv::Reader::from_reader(csv.as_slice());
    let at = table.headers().unwrap().iter().position(|name| name == "object_id").unwrap();
    let mut kept = BTreeMap::new();
    for row in table.records() {
        *kept.entry(row.unwrap()[at].to_owned()).or_default() += 1;
    }
    kept
}

fn open(folder: &Path) -> ExperimentStore {
    let store = ExperimentStore::open(folder, StoreConfig::default()).unwrap();
    if store.list().unwrap().is_empty() {
        store.create(draft()).unwrap();
    }
    store
}

fn draft() -> Experiment {
    let arm = |name: &str| Arm {
        name: name.into(),
        model: ArmModel::Base,
        settings: RankerSettings::default(),
        weight: NonZeroU32::MIN,
        pinned: None,
    };
    Experiment {
        id: "e".into(),
        arms: vec![arm("control"), arm("qa")],
        method: Method::Split,
        unit: UnitKind::UnitId,
        salt: "e".into(),
        traffic_share: 1.0,
        layer: "main".into(),
        primary_measure: PrimaryMeasure::ClickThrough,
        start_millis: None,
        end_millis: None,
        state: ExperimentState::Draft,
        buckets: Vec::new(),
    }
}

fn exposure(id: &str) -> Exposure {
    Exposure {
        request_id: id.into(),
        index: "default".into(),
        query: "boil an egg".into(),
        unit_id: None,
        assigned: Some(Assigned {
            experiment: "e".into(),
            unit: id.into(),
            arm: 0,
            arm_name: "control".into(),
            forced: false,
            teams: Vec::new(),
            arms: Vec::new(),
        }),
        hits: vec![id.into()],
        first_rank: 1,
        latency_micros: 1,
        fallback: None,
        model: None,
        at_millis: 1,
    }
}

/// A click on the only hit of an answer. Its id is made of its content.
fn click(id: &str) -> Event {
    let json = json!({"action_name": "click", "query_id": id, "object_id": id, "timestamp": 1});
    Event::from_json(json).unwrap()
}
