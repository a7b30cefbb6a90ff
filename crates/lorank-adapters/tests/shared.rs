//! Registries that share a store of objects which fails, loses answers, and has broken objects.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use lorank_adapters::{
    Existing, Limits, NewFile, ObjectPart, ObjectVersion, Objects, Outcome, Provenance, ReadObject, Registry,
    RegistryError,
};
use lorank_core::{AdapterId, BoxError, Digest, ErrorKind};
use tempfile::TempDir;

/// A store in memory, with faults that a test sets.
#[derive(Default)]
struct Store {
    objects: Mutex<BTreeMap<String, (u64, Vec<u8>)>>,
    faults: Mutex<Faults>,
    /// Runs once, before the next write of the state.
    before_write: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

#[derive(Default)]
struct Faults {
    is_down: bool,
    /// Writes of the state take effect, and their answers are lost.
    loses_answers: bool,
    refuses_writes: bool,
    ignores_conditions: bool,
    n_uploads: usize,
    n_reads_of_state: usize,
    n_unchanged: usize,
}

/// A registry's view of a store.
#[derive(Clone)]
struct Client(Arc<Store>);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    fn faults<R>(&self, change: impl FnOnce(&mut Faults) -> R) -> R {
        change(&mut self.0.faults.lock().unwrap())
    }

    fn check_is_up(&self) -> Result<(), BoxError> {
        if self.faults(|faults| faults.is_down) { Err("the store is down".into()) } else { Ok(()) }
    }

    fn keys(&self, part: &str) -> Vec<String> {
        self.0.objects.lock().unwrap().keys().filter(|key| key.contains(part)).cloned().collect()
    }

    /// Replaces the bytes of the weights whose contents are given, or removes the object.
    fn spoil(&self, contents: &str, with: Option<&str>) {
        let mut objects = self.0.objects.lock().unwrap();
        let key = objects.iter().find(|(_, (_, bytes))| bytes == contents.as_bytes()).unwrap().0.clone();
        match with {
            Some(bytes) => drop(objects.insert(key, (0, bytes.as_bytes().to_vec()))),
            None => drop(objects.remove(&key)),
        }
    }
}

fn version(n: u64) -> ObjectVersion {
    ObjectVersion { e_tag: Some(n.to_string()), version: None }
}

impl Objects for Client {
    fn location(&self) -> &str {
        "memory://test"
    }

    fn read(&self, key: &str, known: Option<&ObjectVersion>, _: u64) -> Result<ReadObject, BoxError> {
        self.check_is_up()?;
        self.faults(|faults| faults.n_reads_of_state += 1);
        let objects = self.0.objects.lock().unwrap();
        Ok(match objects.get(key) {
            None => ReadObject::Missing,
            Some((n, _)) if known == Some(&version(*n)) => {
                self.faults(|faults| faults.n_unchanged += 1);
                ReadObject::Unchanged
            }
            Some((n, bytes)) => ReadObject::Found { bytes: bytes.clone(), version: version(*n) },
        })
    }

    fn write_if(
        &self,
        key: &str,
        bytes: &[u8],
        expected: Option<&ObjectVersion>,
    ) -> Result<Option<ObjectVersion>, BoxError> {
        self.check_is_up()?;
        if key == "registry.json" {
            let before = self.0.before_write.lock().unwrap().take();
            if let Some(before) = before {
                before();
            }
        }
        if self.faults(|faults| faults.refuses_writes) {
            return Err("access denied".into());
        }
        let mut objects = self.0.objects.lock().unwrap();
        let found = objects.get(key).map(|(n, _)| *n);
        if found.map(version).as_ref() != expected && !self.faults(|faults| faults.ignores_conditions) {
            return Ok(None);
        }
        let n = found.unwrap_or(0) + 1;
        objects.insert(key.to_owned(), (n, bytes.to_vec()));
        if key == "registry.json" && self.faults(|faults| std::mem::take(&mut faults.loses_answers)) {
            return Err("the connection broke".into());
        }
        Ok(Some(version(n)))
    }

    fn read_part(&self, key: &str, start: u64, n_bytes: u64) -> Result<Option<ObjectPart>, BoxError> {
        self.check_is_up()?;
        let objects = self.0.objects.lock().unwrap();
        Ok(objects.get(key).map(|(_, bytes)| {
            let (start, end) = (start as usize, (start + n_bytes.min(3)) as usize);
            let part = bytes[start.min(bytes.len())..end.min(bytes.len())].to_vec();
            ObjectPart { bytes: part, n_bytes_total: bytes.len() as u64 }
        }))
    }

    fn upload(&self, key: &str, file: &Path) -> Result<(), BoxError> {
        self.check_is_up()?;
        self.faults(|faults| faults.n_uploads += 1);
        self.0.objects.lock().unwrap().insert(key.to_owned(), (0, fs::read(file)?));
        Ok(())
    }
}

fn id(text: &str) -> AdapterId {
    text.parse().unwrap()
}

fn provenance() -> Provenance {
    Provenance {
        source: "test".into(),
        revision: None,
        added_at_millis: 1,
        base_model: "tiny".into(),
        rank: 8,
        targets: Vec::new(),
        n_parameters: 1000,
        model_digest: Digest::new([3; 32]),
        base_digest: None,
    }
}

fn files(weights: &str) -> Vec<NewFile> {
    vec![
        NewFile::bytes("adapter_config.json", b"{}"),
        NewFile::bytes("adapter_model.safetensors", weights.as_bytes().to_vec()),
    ]
}

fn add(registry: &Registry, name: &str, weights: &str) -> Result<Outcome, RegistryError> {
    registry.add(&id(name), &files(weights), provenance())
}

/// A server with a copy in a folder of its own.
struct Server {
    registry: Registry,
    folder: TempDir,
}

fn server(client: &Client) -> Server {
    let folder = tempfile::tempdir().unwrap();
    Server { registry: follow(client, folder.path()).unwrap(), folder }
}

fn follow(client: &Client, folder: &Path) -> Result<Registry, RegistryError> {
    Registry::follow(folder, Limits::default(), Arc::new(client.clone()))
}

fn view(client: &Client, folder: &Path) -> Registry {
    Registry::view(folder, Limits::default(), Arc::new(client.clone())).unwrap()
}

/// What a server does every second.
fn poll(registry: &Registry) {
    registry.refresh().unwrap();
    registry.fetch_missing();
}

/// The weights that a name stands for.
fn weights(registry: &Registry, name: &str) -> Option<String> {
    let state = registry.state();
    let entry = state.resolve(&id(name)).ok()?;
    Some(fs::read_to_string(registry.folder_of(entry).join("adapter_model.safetensors")).unwrap())
}

fn unavailable(registry: &Registry) -> Vec<(String, String)> {
    let status = registry.store_status().unwrap();
    status.unavailable.into_iter().map(|one| (one.id.to_string(), one.error.unwrap_or_default())).collect()
}

#[test]
fn what_one_server_adds_and_promotes_another_one_serves() {
    let client = Client(Arc::default());
    let (one, other) = (server(&client), server(&client));
    assert_eq!(add(&one.registry, "qa", "first").unwrap(), Outcome::Added);
    assert_eq!(weights(&one.registry, "qa").as_deref(), Some("first"), "the one that adds it has it at once");
    assert_eq!(weights(&other.registry, "qa"), None);
    poll(&other.registry);
    assert_eq!(weights(&other.registry, "qa").as_deref(), Some("first"));

    let command = tempfile::tempdir().unwrap();
    assert_eq!(view(&client, command.path()).set_alias(&id("default"), &id("qa")).unwrap(), None);
    for Server { registry, folder } in [&one, &other] {
        assert!(registry.refresh().unwrap(), "an alias needs no download");
        assert_eq!(weights(registry, "default").as_deref(), Some("first"));
        assert!(!registry.refresh().unwrap());
        assert_eq!(registry.verify().unwrap(), []);
        // The copy is an ordinary registry.
        assert_eq!(*Registry::open(folder.path()).unwrap().state(), *registry.state());
    }
    let n_unchanged = client.faults(|faults| faults.n_unchanged);
    assert!(n_unchanged > 0, "an unchanged state is not read again");
}

#[test]
fn files_that_are_there_are_not_uploaded_again_and_broken_ones_are() {
    let client = Client(Arc::default());
    let (one, other) = (server(&client), server(&client));
    add(&one.registry, "qa", "first").unwrap();
    add(&other.registry, "same", "first").unwrap();
    assert_eq!(client.faults(|faults| faults.n_uploads), 2);
    let refused = one.registry.add_with(&id("qa"), &files("second"), provenance(), Existing::Refuse).unwrap_err();
    assert_eq!((refused.kind(), client.faults(|faults| faults.n_uploads)), (ErrorKind::Conflict, 2));

    client.spoil("first", Some("fjrst"));
    let third = server(&client);
    assert_eq!((weights(&third.registry, "qa"), unavailable(&third.registry).len()), (None, 2));
    assert_eq!(add(&one.registry, "qa", "first").unwrap(), Outcome::Unchanged);
    assert_eq!(client.faults(|faults| faults.n_uploads), 3);
    // The repair is a change of the state, so that no server waits for its next attempt.
    poll(&third.registry);
    assert_eq!((weights(&third.registry, "qa").as_deref(), unavailable(&third.registry)), (Some("first"), vec![]));
}

#[test]
fn of_two_changes_at_once_none_is_lost() {
    let client = Client(Arc::default());
    let (one, other) = (server(&client), server(&client));
    add(&one.registry, "qa", "first").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let command = view(&client, folder.path());
    let between = move || drop(command.set_alias(&id("canary"), &id("qa")).unwrap());
    *client.0.before_write.lock().unwrap() = Some(Box::new(between));
    one.registry.set_alias(&id("default"), &id("qa")).unwrap();
    let aliases =
        |registry: &Registry| registry.state().aliases().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    assert_eq!(aliases(&one.registry), ["canary", "default"]);

    // A refusal on the other writer's state is a refusal.
    let folder = tempfile::tempdir().unwrap();
    let command = view(&client, folder.path());
    let between = move || drop(command.remove(&id("qa"), &[], true).unwrap());
    *client.0.before_write.lock().unwrap() = Some(Box::new(between));
    let error = one.registry.set_alias(&id("third"), &id("qa")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    thread::scope(|scope| {
        for (registry, name) in [(&one.registry, "a"), (&other.registry, "b")] {
            scope.spawn(move || (0..10).for_each(|n| drop(add(registry, &format!("{name}{n}"), name).unwrap())));
        }
    });
    poll(&one.registry);
    assert_eq!(one.registry.state().adapters().len(), 20);
}

#[test]
fn a_write_whose_answer_is_lost_is_made_once() {
    let client = Client(Arc::default());
    let one = server(&client);
    client.faults(|faults| faults.loses_answers = true);
    assert_eq!(add(&one.registry, "qa", "first").unwrap(), Outcome::Added);
    client.faults(|faults| faults.loses_answers = true);
    assert_eq!(one.registry.set_alias(&id("default"), &id("qa")).unwrap(), None);
    client.faults(|faults| faults.loses_answers = true);
    assert_eq!(one.registry.remove_alias(&id("default")).unwrap(), id("qa"));
    assert_eq!(one.registry.state().generation(), 3);
    client.faults(|faults| faults.refuses_writes = true);
    let error = one.registry.set_alias(&id("default"), &id("qa")).unwrap_err();
    assert_eq!(
        lorank_core::with_causes(&error),
        "could not change the registry at `memory://test`; check its address, its credentials and the network: access denied"
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[test]
fn a_store_without_conditional_writes_is_refused() {
    let client = Client(Arc::default());
    client.faults(|faults| faults.ignores_conditions = true);
    let error = add(&server(&client).registry, "qa", "first").unwrap_err();
    assert!(error.to_string().contains("`memory://test` ignores the conditions of writes"), "{error}");
    assert_eq!(client.keys("registry.json"), [""; 0]);
}

/// A new version of the default adapter whose object is as `spoil` leaves it.
fn check_broken(spoil: impl Fn(&Client), part: &str) {
    let client = Client(Arc::default());
    let (one, other) = (server(&client), server(&client));
    add(&one.registry, "qa", "first").unwrap();
    one.registry.set_alias(&id("default"), &id("qa")).unwrap();
    poll(&other.registry);
    add(&one.registry, "new", "second").unwrap();
    add(&one.registry, "qa", "third").unwrap();
    one.registry.set_alias(&id("default"), &id("new")).unwrap();
    spoil(&client);
    poll(&other.registry);
    let served = ["default", "new", "qa"].map(|name| weights(&other.registry, name));
    assert_eq!(served, [Some("third".to_owned()), None, Some("third".to_owned())]);
    let problems = unavailable(&other.registry);
    assert!(problems.len() == 1 && problems[0].0 == "new" && problems[0].1.contains(part), "{problems:?}");
    let findings = other.registry.verify().unwrap();
    assert!(findings.len() == 1 && findings[0].to_string().contains(part), "{findings:?}");
    assert_eq!(fs::read_dir(other.folder.path().join("incoming")).unwrap().count(), 0);

    // A command says so, and a server that starts has the rest. Its default is the state's, once that is complete.
    let folder = tempfile::tempdir().unwrap();
    let command = view(&client, folder.path());
    let error = command.fetch(command.state().resolve(&id("new")).unwrap()).unwrap_err();
    assert!(error.to_string().contains(part) && error.to_string().contains("add adapter `new` again"), "{error}");
    let third = server(&client);
    assert_eq!(["default", "qa"].map(|name| weights(&third.registry, name)), [None, Some("third".to_owned())]);

    add(&command, "new", "second").unwrap();
    for server in [&other, &third] {
        poll(&server.registry);
        assert_eq!(weights(&server.registry, "default").as_deref(), Some("second"));
        assert_eq!(unavailable(&server.registry), []);
    }
}

#[test]
fn a_broken_adapter_never_becomes_an_answer() {
    check_broken(|client| client.spoil("second", None), "adapter_model.safetensors` is missing");
    check_broken(|client| client.spoil("second", Some("sec")), "adapter_model.safetensors` was changed");
    check_broken(|client| client.spoil("second", Some("")), "adapter_model.safetensors` was changed");
    check_broken(|client| client.spoil("second", Some("seconds")), "adapter_model.safetensors` was changed");
    check_broken(|client| client.spoil("second", Some("SECOND")), "adapter_model.safetensors` was changed");
}

#[test]
fn while_the_store_is_gone_servers_go_on_and_start_with_their_copies() {
    let client = Client(Arc::default());
    let Server { registry, folder } = server(&client);
    add(&registry, "qa", "first").unwrap();
    client.faults(|faults| faults.is_down = true);
    assert_eq!(registry.refresh().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(weights(&registry, "qa").as_deref(), Some("first"));
    let status = registry.store_status().unwrap();
    assert!(status.poll_error.unwrap().contains("the store is down") && status.n_failed_polls == 1);
    for error in [add(&registry, "new", "second").unwrap_err(), registry.remove(&id("qa"), &[], true).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
    drop(registry);

    let registry = follow(&client, folder.path()).unwrap();
    assert_eq!(weights(&registry, "qa").as_deref(), Some("first"));
    let nowhere = tempfile::tempdir().unwrap();
    let error = follow(&client, nowhere.path()).unwrap_err();
    assert!(error.to_string().starts_with("could not read the registry at `memory://test`"), "{error}");
    // A copy that cannot be read is none.
    fs::write(folder.path().join("registry.json"), "{").unwrap();
    assert_eq!(follow(&client, folder.path()).unwrap_err().kind(), ErrorKind::Unavailable);

    client.faults(|faults| faults.is_down = false);
    poll(&registry);
    assert_eq!(
        (weights(&registry, "qa").as_deref(), registry.store_status().unwrap().poll_error),
        (Some("first"), None)
    );
    assert_eq!(registry.verify().unwrap(), [], "the copy is made again");
}

#[test]
fn a_registry_that_disappears_is_no_new_one() {
    let client = Client(Arc::default());
    let Server { registry, folder } = server(&client);
    drop(registry);
    // One that has not had a change yet is one.
    let registry = follow(&client, folder.path()).unwrap();
    registry.refresh().unwrap();
    add(&registry, "qa", "first").unwrap();
    client.0.objects.lock().unwrap().remove("registry.json");
    let is_gone = |error: RegistryError| error.to_string().contains("`memory://test/registry.json` has disappeared");
    assert!(is_gone(registry.refresh().unwrap_err()));
    assert!(is_gone(add(&registry, "new", "second").unwrap_err()));
    drop(registry);
    let registry = follow(&client, folder.path()).unwrap();
    assert!(is_gone(registry.refresh().unwrap_err()));
    assert_eq!(weights(&registry, "qa").as_deref(), Some("first"));
    assert_eq!(client.keys("registry.json"), [""; 0]);
}

#[test]
fn what_a_killed_server_left_is_removed_and_incomplete_files_are_fetched_again() {
    let client = Client(Arc::default());
    let Server { registry, folder } = server(&client);
    add(&registry, "qa", "first").unwrap();
    let content = registry.state().resolve(&id("qa")).unwrap().content;
    drop(registry);
    let incoming = folder.path().join("incoming");
    fs::create_dir_all(incoming.join("1-0")).unwrap();
    fs::write(incoming.join("1-0").join("adapter_config.json"), "{").unwrap();
    fs::write(incoming.join("1-0.lock"), "").unwrap();
    fs::write(folder.path().join(format!("adapters/{content}/adapter_model.safetensors")), "fir").unwrap();
    let registry = follow(&client, folder.path()).unwrap();
    assert_eq!(fs::read_dir(&incoming).unwrap().count(), 0);
    assert_eq!((weights(&registry, "qa").as_deref(), registry.verify().unwrap()), (Some("first"), vec![]));
}

#[test]
fn a_command_downloads_only_what_it_needs() {
    let client = Client(Arc::default());
    let one = server(&client);
    add(&one.registry, "qa", "first").unwrap();
    add(&one.registry, "news", "second").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let command = view(&client, &folder.path().join("copy"));
    let state = command.state();
    assert_eq!(state.adapters().len(), 2);
    assert!(!folder.path().join("copy").exists());
    let files = command.fetch(state.resolve(&id("qa")).unwrap()).unwrap();
    assert_eq!(fs::read_to_string(files.join("adapter_model.safetensors")).unwrap(), "first");
    assert_eq!(fs::read_dir(folder.path().join("copy/adapters")).unwrap().count(), 1);
    // What it adds is there without a download.
    client.spoil("second", None);
    add(&command, "third", "third").unwrap();
    client.faults(|faults| faults.is_down = true);
    assert!(command.fetch(command.state().resolve(&id("third")).unwrap()).is_ok());
    client.faults(|faults| faults.is_down = false);
    let findings: Vec<String> = command.verify().unwrap().iter().map(ToString::to_string).collect();
    assert!(findings.len() == 1 && findings[0].contains("is missing; add adapter `news` again"), "{findings:?}");
}

#[test]
fn two_servers_may_share_one_copy() {
    let client = Client(Arc::default());
    let Server { registry: one, folder } = server(&client);
    let other = follow(&client, folder.path()).unwrap();
    add(&one, "qa", "first").unwrap();
    add(&other, "news", "second").unwrap();
    one.set_alias(&id("default"), &id("news")).unwrap();
    poll(&other);
    assert_eq!([&one, &other].map(|it| weights(it, "default").unwrap()), ["second", "second"]);
    other.remove(&id("news"), &[], true).unwrap();
    poll(&one);
    assert_eq!(one.state().adapters().len(), 1);
    assert_eq!(one.verify().unwrap(), []);
}
