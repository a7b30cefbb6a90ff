//! Several processes that use one registry, and processes that are killed while writing.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use lorank_adapters::{NewFile, Provenance, Registry, RegistryError};
use lorank_core::{AdapterId, Digest, ErrorKind};

const FOLDER: &str = "LORANK_TEST_REGISTRY";
const FIRST_STEP: &str = "LORANK_TEST_FIRST_STEP";
const ACKNOWLEDGED: &str = "acknowledged ";
const N_KILLS: u64 = 20;

fn id(text: &str) -> AdapterId {
    text.parse().unwrap()
}

fn provenance(n: u64) -> Provenance {
    Provenance {
        source: "test".into(),
        revision: None,
        added_at_millis: n,
        base_model: "tiny".into(),
        rank: 4,
        targets: vec!["q_proj".into()],
        n_parameters: 64,
        model_digest: Digest::new([0; 32]),
        base_digest: None,
    }
}

fn weights(version: u64) -> Vec<u8> {
    version.to_le_bytes().repeat(20_000)
}

/// A change in a sequence that parent and child both know.
#[derive(Debug)]
enum Step {
    Add(String, u64),
    Alias(String, String),
    RemoveAlias(String),
    Remove(String),
}

impl Step {
    /// The n-th step: arbitrary, but reproducible.
    fn nth(n: u64) -> Self {
        let hash = blake3::hash(&n.to_le_bytes());
        let of = |at: usize, bound: u8| hash.as_bytes()[at] % bound;
        let (adapter, alias) = (format!("adapter-{}", of(1, 5)), format!("alias-{}", of(2, 3)));
        match of(0, 7) {
            0..=2 => Self::Add(adapter, of(3, 4).into()),
            3 | 4 => Self::Alias(alias, adapter),
            5 => Self::RemoveAlias(alias),
            _ => Self::Remove(adapter),
        }
    }

    fn make(&self, n: u64, registry: &Registry) -> Result<(), RegistryError> {
        match self {
            Self::Add(name, version) => {
                let files = [NewFile::bytes("adapter_model.safetensors", weights(*version))];
                registry.add(&id(name), &files, provenance(n)).map(drop)
            }
            Self::Alias(name, target) => registry.set_alias(&id(name), &id(target)).map(drop),
            Self::RemoveAlias(name) => registry.remove_alias(&id(name)).map(drop),
            Self::Remove(name) => registry.remove(&id(name), &[], true).map(drop),
        }
    }
}

/// The expected contents of a registry: versions of weights by adapter, and adapters by alias.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Expected {
    adapters: BTreeMap<String, u64>,
    aliases: BTreeMap<String, String>,
}

impl Expected {
    fn after(&self, step: &Step) -> Self {
        let mut new = self.clone();
        match step {
            Step::Add(name, version) => drop(new.adapters.insert(name.clone(), *version)),
            Step::Alias(name, target) if self.adapters.contains_key(target) => {
                new.aliases.insert(name.clone(), target.clone());
            }
            Step::Alias(..) => {}
            Step::RemoveAlias(name) => drop(new.aliases.remove(name)),
            Step::Remove(name) => {
                new.adapters.remove(name);
                new.aliases.retain(|_, target| target != name);
            }
        }
        new
    }

    fn found_in(registry: &Registry) -> Self {
        let state = registry.state();
        let version = |bytes: Vec<u8>| {
            let version = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert_eq!(bytes, weights(version));
            version
        };
        let read = |entry| fs::read(registry.folder_of(entry).join("adapter_model.safetensors")).unwrap();
        Self {
            adapters: state.adapters().map(|entry| (entry.id.to_string(), version(read(entry)))).collect(),
            aliases: state.aliases().map(|(name, target)| (name.to_string(), target.to_string())).collect(),
        }
    }
}

/// The child: makes changes and acknowledges each one, until it is killed.
fn write_until_killed(folder: &str, first: u64) {
    let registry = Registry::open(folder).unwrap();
    for n in first.. {
        match Step::nth(n).make(n, &registry) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
            _ => println!("\n{ACKNOWLEDGED}{n}"),
        }
    }
}

fn start_child(test: &str, folder: &str, first: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(FOLDER, folder).env(FIRST_STEP, first.to_string());
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// Kills the child after some acknowledgements, and returns the total number of acknowledged steps.
fn kill_after(mut child: Child, n_acknowledged: usize, then: Duration) -> u64 {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut acknowledged = lines.filter_map(|line| line.strip_prefix(ACKNOWLEDGED).map(|n| n.parse::<u64>().unwrap()));
    let mut n = acknowledged.by_ref().take(n_acknowledged).count();
    assert_eq!(n, n_acknowledged, "the child ended by itself");
    thread::sleep(then);
    child.kill().unwrap();
    child.wait().unwrap();
    n += acknowledged.count();
    n as u64
}

#[test]
fn a_killed_writer_leaves_the_old_state_or_the_new_one() {
    if let (Ok(folder), Ok(first)) = (std::env::var(FOLDER), std::env::var(FIRST_STEP)) {
        return write_until_killed(&folder, first.parse().unwrap());
    }
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().to_str().unwrap();
    let (mut step, mut expected, mut n_unacknowledged) = (0, Expected::default(), 0);
    for kill in 0..N_KILLS {
        let child = start_child("a_killed_writer_leaves_the_old_state_or_the_new_one", folder, step);
        let n_made = kill_after(child, 1 + (kill as usize * 7) % 5, Duration::from_micros(kill * 311));
        for n in step..step + n_made {
            expected = expected.after(&Step::nth(n));
        }
        step += n_made;

        let registry = Registry::open(folder).unwrap();
        assert_eq!(registry.verify().unwrap(), [], "after kill {kill}");
        let found = Expected::found_in(&registry);
        if found != expected {
            // The interrupted step may be complete or missing, but not partial.
            expected = expected.after(&Step::nth(step));
            assert_eq!(found, expected, "after kill {kill} in {:?}", Step::nth(step));
            step += 1;
            n_unacknowledged += 1;
        }
    }
    println!("{N_KILLS} kills in {step} steps, {n_unacknowledged} of them made and not acknowledged");
}

#[test]
fn writers_wait_for_each_other_and_readers_see_whole_states() {
    const N_WRITERS: u64 = 4;
    const N_ADAPTERS: u64 = 8;
    let folder = tempfile::tempdir().unwrap();
    let reader = Registry::open(folder.path()).unwrap();
    thread::scope(|scope| {
        let write = |writer: u64| {
            let registry = Registry::open(folder.path()).unwrap();
            for n in 0..N_ADAPTERS {
                let name = id(&format!("adapter-{writer}-{n}"));
                let files = [NewFile::bytes("adapter_model.safetensors", weights(writer * N_ADAPTERS + n))];
                registry.add(&name, &files, provenance(n)).unwrap();
                registry.set_alias(&id("default"), &name).unwrap();
            }
        };
        let writers: Vec<_> = (0..N_WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        let mut generation = 0;
        while !writers.iter().all(|writer| writer.is_finished()) {
            reader.reload_if_changed().unwrap();
            let state = reader.state();
            assert!(state.generation() >= generation, "it went back in time");
            assert!(state.adapters().all(|entry| reader.folder_of(entry).is_dir()));
            assert!(state.default_adapter().is_some() || state.aliases().len() == 0);
            generation = state.generation();
            thread::yield_now();
        }
    });
    reader.reload_if_changed().unwrap();
    assert_eq!(reader.state().adapters().len() as u64, N_WRITERS * N_ADAPTERS);
    assert_eq!(reader.state().generation(), 2 * N_WRITERS * N_ADAPTERS);
    assert_eq!(reader.verify().unwrap(), []);
}
