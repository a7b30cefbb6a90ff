//! Registries over `object_store`'s store in memory, and stores that cannot be reached. `tests/stores/registry.py` does the
//! same with servers and the protocol of S3.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::fs;
use std::sync::Arc;
use std::thread;

use lorank_adapters::{
    AliasRankBy, AliasTarget, Limits, NewFile, ObjectPart, Objects, Provenance, ReadObject, Registry, RegistryError,
};
use lorank_core::{AdapterId, Digest, ErrorKind, with_causes};
use lorank_object_registry::object_store::ObjectStoreExt;
use lorank_object_registry::object_store::memory::InMemory;
use lorank_object_registry::object_store::path::Path;
use lorank_object_registry::{RegistryLocation, StoreObjects, StoreOptions};
use tempfile::TempDir;

fn objects(store: &Arc<InMemory>) -> StoreObjects {
    StoreObjects::over(store.clone(), "models/production", "memory://models/production").unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn the_state_is_read_and_written_by_its_version() {
    let store = Arc::new(InMemory::new());
    let (one, other) = (objects(&store), objects(&store));
    assert_eq!(one.read("registry.json", None, 10).unwrap(), ReadObject::Missing);
    let first = one.write_if("registry.json", b"one", None).unwrap().unwrap();
    assert_eq!(other.write_if("registry.json", b"other", None).unwrap(), None, "there is one");
    let second = other.write_if("registry.json", b"two", Some(&first)).unwrap().unwrap();
    assert_eq!(one.write_if("registry.json", b"three", Some(&first)).unwrap(), None, "it has changed");
    assert_eq!(one.read("registry.json", Some(&second), 10).unwrap(), ReadObject::Unchanged);
    let found = ReadObject::Found { bytes: b"two".to_vec(), version: second };
    assert_eq!(one.read("registry.json", Some(&first), 10).unwrap(), found);
    let error = one.read("registry.json", None, 2).unwrap_err().to_string();
    assert_eq!(error, "`registry.json` has 3 bytes, more than the limit of 2");
    // Below the prefix.
    assert!(block_on(store.head(&Path::from("models/production/registry.json"))).is_ok());
}

#[test]
fn files_are_written_whole_and_read_in_parts() {
    let (store, folder) = (Arc::new(InMemory::new()), tempfile::tempdir().unwrap());
    let objects = objects(&store);
    // One part more than a request has.
    let long: Vec<u8> = (0..(16 << 20) + 5_u32).map(|n| (n * 7 + n / 300) as u8).collect();
    for (name, bytes) in [("empty", &[][..]), ("short", b"abcdef"), ("long", &long)] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        objects.upload(&format!("adapters/5eed/{name}"), &path).unwrap();
    }
    let read =
        |name: &str, start, n_bytes| objects.read_part(&format!("adapters/5eed/{name}"), start, n_bytes).unwrap();
    let part = |bytes: &[u8], n_bytes_total| Some(ObjectPart { bytes: bytes.to_vec(), n_bytes_total });
    assert_eq!(read("nothing", 0, 3), None);
    assert_eq!(read("nothing", 0, 0), None);
    assert_eq!(read("short", 0, 3), part(b"abc", 6));
    assert_eq!(read("short", 3, 8), part(b"def", 6));
    assert_eq!(read("short", 0, 0), part(b"", 6));
    assert_eq!(read("empty", 0, 0), part(b"", 0));
    assert_eq!(read("empty", 0, 3), part(b"", 0), "a range beyond the end is no failure of the store");
    let n_bytes = long.len() as u64;
    assert!(read("long", 0, n_bytes) == part(&long, n_bytes), "parts are put together in their order");
}

fn id(text: &str) -> AdapterId {
    text.parse().unwrap()
}

fn add(registry: &Registry, name: &str, weights: &str) {
    let provenance = Provenance {
        source: "test".into(),
        revision: None,
        added_at_millis: 1,
        base_model: "tiny".into(),
        rank: 8,
        targets: Vec::new(),
        n_parameters: 1000,
        model_digest: Digest::new([3; 32]),
        base_digest: None,
    };
    let files = [NewFile::bytes("adapter_model.safetensors", weights.as_bytes().to_vec())];
    registry.add(&id(name), &files, provenance).unwrap();
}

fn server(store: &Arc<InMemory>) -> (Registry, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Registry::follow(folder.path(), Limits::default(), Arc::new(objects(store))).unwrap(), folder)
}

fn poll(registry: &Registry) {
    registry.refresh().unwrap();
    registry.fetch_missing();
}

fn weights(registry: &Registry, name: &str) -> Option<String> {
    let state = registry.state();
    let entry = state.resolve(&id(name)).ok()?;
    Some(fs::read_to_string(registry.folder_of(entry).join("adapter_model.safetensors")).unwrap())
}

#[test]
fn many_writers_lose_no_change() {
    let store = Arc::new(InMemory::new());
    let servers = [server(&store), server(&store), server(&store)];
    thread::scope(|scope| {
        for (n, (registry, _)) in servers.iter().enumerate() {
            scope.spawn(move || {
                for k in 0..5 {
                    add(registry, &format!("adapter-{n}-{k}"), &format!("weights {k}"));
                    let (alias, target) = (id(&format!("alias-{n}-{k}")), id("none"));
                    registry.set_alias_with(&alias, AliasTarget::Base(&target), AliasRankBy::Keep).unwrap();
                }
            });
        }
    });
    for (registry, _) in &servers {
        poll(registry);
        let state = registry.state();
        assert_eq!((state.adapters().len(), state.base_aliases().len(), state.generation()), (15, 15, 30));
        assert_eq!(weights(registry, "adapter-2-4").as_deref(), Some("weights 4"));
        assert_eq!(registry.verify().unwrap(), []);
    }
}

#[test]
fn a_broken_object_never_becomes_an_answer() {
    let store = Arc::new(InMemory::new());
    let ((one, _one), (other, _other)) = (server(&store), server(&store));
    add(&one, "qa", "first");
    one.set_alias(&id("default"), &id("qa")).unwrap();
    poll(&other);
    add(&one, "new", "second");
    one.set_alias(&id("default"), &id("new")).unwrap();
    let content = one.state().resolve(&id("new")).unwrap().content;
    let key = Path::from(format!("models/production/adapters/{content}/adapter_model.safetensors"));
    block_on(store.put(&key, "SECOND".into())).unwrap();
    poll(&other);
    assert_eq!(["default", "new"].map(|name| weights(&other, name)), [Some("first".to_owned()), None]);
    let problem = other.store_status().unwrap().unavailable.remove(0);
    let expected = format!(
        "`memory://models/production/adapters/{content}/adapter_model.safetensors` was changed; add adapter `new` again"
    );
    assert_eq!(problem.error, Some(expected));
    block_on(store.delete(&key)).unwrap();
    add(&one, "new", "second");
    poll(&other);
    assert_eq!(weights(&other, "default").as_deref(), Some("second"));
}

/// The error of a registry at an address, with variables of the environment.
fn error_of(address: &str, variables: &[(&str, &str)]) -> (ErrorKind, String) {
    let RegistryLocation::Store(address) = address.parse().unwrap() else { panic!("{address} is a folder") };
    let secrets = [("AWS_ACCESS_KEY_ID", "id-sesame"), ("AWS_SECRET_ACCESS_KEY", "sesame")];
    let variables = secrets.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let folder = tempfile::tempdir().unwrap();
    let (kind, text) = match StoreObjects::open(&address, &StoreOptions::from_variables(variables)) {
        Err(error) => (error.kind(), with_causes(&error)),
        Ok(objects) => {
            let error: RegistryError = Registry::view(folder.path(), Limits::default(), Arc::new(objects)).unwrap_err();
            (error.kind(), with_causes(&error))
        }
    };
    assert!(!text.contains("sesame"), "{text}");
    (kind, text)
}

#[test]
fn a_store_that_cannot_be_used_is_a_clear_error() {
    // A port that is free, at which nothing listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    for (address, variables, kind, parts) in [
        (
            "s3://models/production",
            vec![("AWS_ENDPOINT", &*endpoint), ("AWS_ALLOW_HTTP", "true")],
            ErrorKind::Unavailable,
            ["could not read the registry at `s3://models/production`; check", "refused"],
        ),
        (
            "s3://models",
            vec![("AWS_ENDPOINT", &*endpoint)],
            ErrorKind::Unavailable,
            ["could not read the registry at `s3://models`", "set AWS_ALLOW_HTTP"],
        ),
        (
            "s3://models",
            vec![("AWS_ALLOW_HTTP", "perhaps")],
            ErrorKind::Invalid,
            ["the registry at `s3://models` cannot be used", "perhaps"],
        ),
        ("az://models", vec![], ErrorKind::Invalid, ["the registry at `az://models` cannot be used", "ccount"]),
    ] {
        let (found, text) = error_of(address, &variables);
        assert!(found == kind && parts.iter().all(|part| text.contains(part)), "{address}: {found:?} {text}");
    }
}
