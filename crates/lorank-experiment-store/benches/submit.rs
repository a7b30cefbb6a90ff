//! How many events are acknowledged in a second, each submitted by itself and synced to the disk before it is.
//!
//! `cargo bench -p lorank-experiment-store --bench submit [FOLDER]`; the folder says which disk is measured.

#![expect(clippy::unwrap_used, reason = "a measurement may fail where it stands")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lorank_experiment_store::{ExperimentStore, StoreConfig};
use lorank_experiments::Event;
use serde_json::json;

const TIME: Duration = Duration::from_secs(3);

fn main() {
    let folder =
        std::env::args().skip(1).find(|arg| !arg.starts_with('-')).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder).unwrap();
    println!("a sync of 4 KiB takes {:?}", sync(folder.path()));
    for n_threads in [1, 8, 64] {
        let n = acknowledged(&folder.path().join(n_threads.to_string()), n_threads);
        println!("{n_threads:2} threads: {:.0} events/s", n as f64 / TIME.as_secs_f64());
    }
}

/// The events that so many threads have acknowledged in [`TIME`].
fn acknowledged(folder: &Path, n_threads: usize) -> usize {
    let store = ExperimentStore::open(folder, StoreConfig::default()).unwrap();
    let end = Instant::now() + TIME;
    let store = &store;
    let submit = move |thread: usize| {
        let fresh = (0..).take_while(|_| Instant::now() < end);
        fresh.map(|n| store.submit(vec![event(thread, n)], n).unwrap().accepted).sum::<usize>()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n_threads).map(|thread| scope.spawn(move || submit(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

fn event(thread: usize, n: i64) -> Event {
    let json = json!({
        "action_name": "click", "query_id": format!("0197f0c2-7000-7abc-8def-{thread:06}{n:06}"), "client_id": "browser",
        "timestamp": n, "event_attributes": {"object": {"object_id": format!("doc-{n}")}, "position": {"ordinal": 3}}
    });
    Event::from_json(json).unwrap()
}

/// The mean time of appending a block to a file and syncing it, which bounds what one thread can get.
fn sync(folder: &Path) -> Duration {
    const N: u32 = 100;
    let mut file = File::create(folder.join("block")).unwrap();
    let start = Instant::now();
    for _ in 0..N {
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
    }
    start.elapsed() / N
}
