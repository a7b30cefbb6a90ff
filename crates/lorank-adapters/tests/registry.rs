//! The registry on a real disk: adding, rejecting, verifying and collecting.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::fs;
use std::path::Path;

use lorank_adapters::{
    AliasRankBy, AliasTarget, Existing, Fault, Finding, Limits, NewFile, Outcome, Provenance, Registry, RegistryError,
    State,
};
use lorank_core::{AdapterId, Digest, ErrorKind};

fn id(text: &str) -> AdapterId {
    text.parse().unwrap()
}

fn provenance() -> Provenance {
    Provenance {
        source: "hf://someone/qa".into(),
        revision: Some("abc".into()),
        added_at_millis: 1,
        base_model: "tiny".into(),
        rank: 8,
        targets: vec!["q_proj".into(), "v_proj".into()],
        n_parameters: 1000,
        model_digest: Digest::new([3; 32]),
        base_digest: None,
    }
}

fn files(weights: &'static str) -> Vec<NewFile> {
    vec![NewFile::bytes("adapter_config.json", b"{}"), NewFile::bytes("adapter_model.safetensors", weights.as_bytes())]
}

fn add(registry: &Registry, name: &str, weights: &'static str) -> Outcome {
    registry.add(&id(name), &files(weights), provenance()).unwrap()
}

fn temporary() -> (tempfile::TempDir, Registry) {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).unwrap();
    (folder, registry)
}

fn n_folders(registry: &Registry) -> usize {
    fs::read_dir(registry.folder().join("adapters")).unwrap().count()
}

#[test]
fn adding_copies_once_and_says_what_it_did() {
    let (folder, registry) = temporary();
    assert_eq!(add(&registry, "qa", "one"), Outcome::Added);
    assert_eq!(add(&registry, "qa", "one"), Outcome::Unchanged);
    assert_eq!(add(&registry, "same-bytes", "one"), Outcome::Added);
    assert_eq!((n_folders(&registry), registry.state().generation()), (1, 2));
    let later = Provenance { added_at_millis: 9, ..provenance() };
    assert_eq!(registry.add(&id("qa"), &files("one"), later).unwrap(), Outcome::Unchanged);
    let old = registry.state().resolve(&id("qa")).unwrap().clone();
    assert_eq!(add(&registry, "qa", "two"), Outcome::Replaced { old: Box::new(old.clone()) });

    let state = registry.state();
    let entry = state.resolve(&id("qa")).unwrap();
    let weights = registry.folder_of(entry).join("adapter_model.safetensors");
    assert_eq!(fs::read_to_string(weights).unwrap(), "two");
    assert_eq!((entry.bytes(), &entry.provenance), (5, &provenance()));
    assert_ne!(entry.content, old.content);
    assert_eq!(*Registry::open(folder.path()).unwrap().state(), *state, "what is read back is what was written");
}

#[test]
fn the_order_of_files_and_where_they_come_from_do_not_change_the_digest() {
    let (folder, registry) = temporary();
    let source = folder.path().join("adapters-source");
    fs::write(&source, "one").unwrap();
    let copied =
        vec![NewFile::copy("adapter_model.safetensors", &source), NewFile::bytes("adapter_config.json", b"{}")];
    registry.add(&id("copied"), &copied, provenance()).unwrap();
    add(&registry, "written", "one");
    let state = registry.state();
    assert_eq!(state.resolve(&id("copied")).unwrap().content, state.resolve(&id("written")).unwrap().content);
}

/// Events in a registry with the adapters `qa` and `news`, and the aliases `default` of `qa` and `canary` of `news`.
fn check(make: impl FnOnce(&Registry) -> Result<(), RegistryError>, expected: Result<(), (ErrorKind, &str)>) {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes_max: 10, n_files_max: 2, n_names_max: 5 };
    let registry = Registry::open_with(folder.path(), limits).unwrap();
    for (name, alias) in [("qa", "default"), ("news", "canary")] {
        add(&registry, name, "one");
        registry.set_alias(&id(alias), &id(name)).unwrap();
    }
    let before = registry.state();
    let made = make(&registry).map_err(|error| (error.kind(), error.to_string()));
    match (made, expected) {
        (Ok(()), Ok(())) => {}
        (Err((kind, message)), Err((expected_kind, words))) => {
            assert_eq!(kind, expected_kind, "{message}");
            assert!(message.contains(words), "{message}");
            assert_eq!(*Registry::open(folder.path()).unwrap().state(), *before, "a refusal changes nothing");
        }
        (made, expected) => panic!("{made:?} instead of {expected:?}"),
    }
    assert_eq!(registry.verify().unwrap(), []);
}

fn refused(kind: ErrorKind, words: &str) -> Result<(), (ErrorKind, &str)> {
    Err((kind, words))
}

#[test]
fn ids_and_aliases_share_their_names() {
    use ErrorKind::{Conflict, NotFound};
    let add = |name: &'static str| move |r: &Registry| r.add(&id(name), &files("two"), provenance()).map(drop);
    let alias = |name: &'static str, to: &'static str| move |r: &Registry| r.set_alias(&id(name), &id(to)).map(drop);
    let unalias = |name: &'static str| move |r: &Registry| r.remove_alias(&id(name)).map(drop);
    check(add("qa"), Ok(()));
    check(add("canary"), refused(Conflict, "`canary` is an alias of `news`"));
    check(add("default"), refused(Conflict, "the adapter id `default` is reserved"));
    check(alias("default", "news"), Ok(()));
    check(alias("qa", "news"), refused(Conflict, "`qa` is an adapter id"));
    check(alias("other", "canary"), refused(Conflict, "an alias must point to an adapter id"));
    check(
        alias("other", "nothing"),
        refused(NotFound, "no alias `nothing`; known names: `news`, `qa`, `canary`, `default`"),
    );
    check(unalias("canary"), Ok(()));
    check(unalias("qa"), refused(NotFound, "no alias `qa`"));
    // A fifth name fits, and so do new targets of existing ones; then the registry is full.
    check(|r| alias("fifth", "qa")(r).and_then(|()| alias("default", "news")(r)), Ok(()));
    let folder = tempfile::tempdir().unwrap();
    let small = Registry::open_with(folder.path(), Limits { n_names_max: 1, ..Limits::default() }).unwrap();
    add("qa")(&small).unwrap();
    for full in [add("news")(&small), alias("default", "qa")(&small)] {
        assert_eq!(
            full.unwrap_err().to_string(),
            "the registry has reached its limit of 1 adapters and aliases; remove one first"
        );
    }
}

#[test]
fn an_alias_may_point_to_a_base_model() {
    use ErrorKind::{Conflict, NotFound};
    let base = |name: &'static str, to: &'static str| {
        let to = id(to);
        move |r: &Registry| r.set_alias_with(&id(name), AliasTarget::Base(&to), AliasRankBy::Keep)
    };
    check(
        |r| {
            assert_eq!(base("canary", "ettin")(r)?, Some(id("news")), "it moves from an adapter");
            let state = r.state();
            assert_eq!((state.base_of_alias(&id("canary")), state.aliases().len()), (Some(&id("ettin")), 1));
            let error = state.resolve(&id("canary")).unwrap_err();
            assert_eq!(error.to_string(), "`canary` is an alias of the base model `ettin` and names no adapter");
            assert_eq!(base("default", "none")(r)?, Some(id("qa")));
            assert!(r.state().default_adapter().is_none());
            assert_eq!(r.set_alias(&id("canary"), &id("news"))?, Some(id("ettin")), "and back");
            r.set_alias_with(&id("default"), AliasTarget::Base(&id("b")), AliasRankBy::Set("now".to_owned()))?;
            assert_eq!(r.state().rank_by_of(&id("default")), Some("now"));
            assert_eq!(r.remove_alias(&id("default"))?, id("b"));
            assert_eq!((r.state().base_aliases().len(), r.state().rank_by().len()), (0, 0));
            Ok(())
        },
        Ok(()),
    );
    check(|r| base("qa", "ettin")(r).map(drop), refused(Conflict, "`qa` is an adapter id"));
    check(|r| base("none", "ettin")(r).map(drop), refused(Conflict, "the name `none` is reserved"));
    let message = |refused: Result<_, RegistryError>| refused.unwrap_err().to_string();
    check(
        |r| {
            base("fresh", "x")(r)?;
            let added = r.add(&id("fresh"), &files("two"), provenance()).map(drop);
            assert!(message(added).starts_with("`fresh` is an alias of `x`"));
            assert!(message(base("sixth", "x")(r).map(drop)).contains("limit of 5 adapters and aliases"));
            Ok(())
        },
        Ok(()),
    );
    check(|r| r.remove_alias(&id("ettin")).map(drop), refused(NotFound, "no alias `ettin`"));
}

#[test]
fn what_is_used_is_not_removed() {
    use ErrorKind::{Conflict, NotFound};
    let remove = |name: &'static str, by: &'static [&'static str], force| {
        let by: Vec<String> = by.iter().map(ToString::to_string).collect();
        move |r: &Registry| r.remove(&id(name), &by, force).map(drop)
    };
    check(remove("qa", &[], false), refused(Conflict, "in use by alias `default`;"));
    let both = "in use by alias `canary`, experiment `spring`;";
    check(remove("news", &["experiment `spring`"], false), refused(Conflict, both));
    check(remove("news", &["experiment `spring`"], true), Ok(()));
    check(remove("canary", &[], true), refused(Conflict, "is an alias of `news`"));
    check(remove("nothing", &[], true), refused(NotFound, "no adapter and no alias `nothing`"));
    check(
        |r| {
            r.remove(&id("qa"), &[], true)?;
            assert_eq!((r.state().default_adapter(), r.state().aliases().len()), (None, 1));
            r.remove_alias(&id("canary"))?;
            r.remove(&id("news"), &[], false).map(drop)
        },
        Ok(()),
    );
}

#[test]
fn only_plain_files_within_the_limits_are_taken() {
    use ErrorKind::{Internal, Invalid};
    let add = |files: Vec<NewFile>| move |r: &Registry| r.add(&id("new"), &files, provenance()).map(drop);
    let one = |name: &str| add(vec![NewFile::bytes(name, b"x")]);
    check(add(files("12345678")), Ok(()));
    check(add(files("123456789")), refused(Invalid, "limit of 10 bytes"));
    check(add([files("1"), files("2")].concat()), refused(Invalid, "limit of 2 files"));
    check(add(vec![]), refused(Invalid, "no files"));
    check(add(vec![NewFile::bytes("a", b"1"), NewFile::bytes("A", b"2")]), refused(Invalid, "two files named `A`"));
    check(add(vec![NewFile::copy("a", "/nowhere/a")]), refused(Internal, "could not read `/nowhere/a`"));
    check(add(vec![NewFile::copy("a", std::env::temp_dir())]), refused(Invalid, "is not a file"));
    check(add(vec![NewFile::copy("a", "/nowhere/a.bin")]), refused(Invalid, "is a pickle"));
    for name in ["../a", "a/b", "a\\b", "", ".", "..", ".hidden"] {
        check(one(name), refused(Invalid, "is not a plain file name"));
    }
    for name in ["pytorch_model.bin", "a.pt", "a.PTH", "a.pkl", "a.ckpt"] {
        check(one(name), refused(Invalid, "is a pickle"));
    }
}

#[test]
fn verify_names_what_was_touched_and_adding_again_repairs_it() {
    type Touch = fn(&Path, &Path);
    let weights = "adapter_model.safetensors";
    let rows: [(Touch, Fault, &str, bool); 9] = [
        (
            |_, content| fs::write(content.join("adapter_model.safetensors"), "onE").unwrap(),
            Fault::Changed,
            weights,
            true,
        ),
        (
            |_, content| fs::write(content.join("adapter_model.safetensors"), "one ").unwrap(),
            Fault::Changed,
            weights,
            true,
        ),
        (
            |_, content| fs::remove_file(content.join("adapter_config.json")).unwrap(),
            Fault::Missing,
            "adapter_config.json",
            true,
        ),
        (|_, content| fs::write(content.join("more"), "").unwrap(), Fault::Extra, "more", true),
        (|_, content| fs::create_dir(content.join("folder")).unwrap(), Fault::Extra, "folder", true),
        (|_, content| fs::remove_dir_all(content).unwrap(), Fault::Missing, "", true),
        (|root, _| fs::create_dir(root.join("adapters/mine")).unwrap(), Fault::Extra, "mine", false),
        (|root, _| fs::write(root.join("notes"), "").unwrap(), Fault::Extra, "notes", false),
        (
            |root, _| {
                let path = root.join("registry.json");
                let text = fs::read_to_string(&path).unwrap();
                fs::write(&path, text.replace("\"rank\": 8", "\"rank\": 9")).unwrap();
            },
            Fault::Changed,
            "registry.json",
            false,
        ),
    ];
    for (touch, what, end, is_repaired) in rows {
        let (folder, registry) = temporary();
        add(&registry, "qa", "one");
        add(&registry, "twin", "one");
        assert_eq!(registry.verify().unwrap(), []);
        touch(folder.path(), &registry.folder_of(registry.state().resolve(&id("qa")).unwrap()));
        let [Finding { path, what: found, ids, .. }] = &registry.verify().unwrap()[..] else { panic!("{end}") };
        assert_eq!(
            (*found, path.ends_with(end) || end.is_empty(), ids.len()),
            (what, true, if is_repaired { 2 } else { 0 })
        );
        add(&registry, "qa", "one");
        assert_eq!(registry.verify().unwrap().is_empty(), is_repaired || end == "registry.json", "{end}");
    }
}

#[test]
fn a_registry_that_is_damaged_or_of_another_version_is_refused() {
    let check = |from: &str, to: &str, words: &str| {
        let (folder, registry) = temporary();
        add(&registry, "qa", "one");
        registry.set_alias(&id("default"), &id("qa")).unwrap();
        let path = folder.path().join("registry.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
        let error = Registry::open(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.to_string().contains(words), "{error}");
        assert!(registry.reload_if_changed().is_err());
        assert!(registry.state().resolve(&id("qa")).is_ok(), "what was read before stays");
    };
    check("\"schema\": 1", "\"schema\": 2", "has schema version 2, but this version of lorank supports 1");
    check("\"default\": \"qa\"", "\"default\": \"other\"", "alias `default` is invalid");
    check("\"bytes\": 3", "\"bytes\": 4", "do not have its digest");
    check("\"adapters\"", "\"adapter\"", "could not parse");
    check("{", "", "could not parse");
}

#[test]
fn a_registry_whose_file_is_gone_is_not_taken_for_an_empty_one() {
    let (folder, registry) = temporary();
    add(&registry, "qa", "one");
    fs::remove_file(folder.path().join("registry.json")).unwrap();
    let kind = |result: Result<(), RegistryError>| result.unwrap_err().kind();
    assert_eq!(kind(registry.reload_if_changed().map(drop)), ErrorKind::Internal);
    assert_eq!(kind(registry.verify().map(drop)), ErrorKind::Internal);
    assert_eq!(kind(registry.remove(&id("qa"), &[], true).map(drop)), ErrorKind::Internal);
    assert_eq!(n_folders(&registry), 1);
}

#[test]
fn one_registry_sees_what_another_promoted_and_a_request_keeps_what_it_began_with() {
    let (folder, server) = temporary();
    let tool = Registry::open(folder.path()).unwrap();
    add(&tool, "old", "one");
    add(&tool, "new", "two");
    tool.set_alias(&id("default"), &id("old")).unwrap();
    assert!(server.reload_if_changed().unwrap());
    assert!(!server.reload_if_changed().unwrap());
    let default = |state: &State| state.default_adapter().unwrap().id.to_string();
    let request = server.state();
    assert_eq!(tool.set_alias(&id("default"), &id("new")).unwrap(), Some(id("old")));
    assert!(server.reload_if_changed().unwrap());
    assert_eq!((default(&request), default(&server.state())), ("old".into(), "new".into()));
}

#[test]
fn unused_folders_are_collected_by_a_later_write_but_not_under_a_request() {
    let (_folder, registry) = temporary();
    add(&registry, "old", "one");
    add(&registry, "new", "two");
    let request = registry.state();
    registry.remove(&id("old"), &[], false).unwrap();
    registry.set_alias(&id("default"), &id("new")).unwrap();
    assert!(registry.folder_of(request.resolve(&id("old")).unwrap()).is_dir());
    assert_eq!((n_folders(&registry), registry.verify().unwrap()), (2, vec![]));
    drop(request);
    registry.remove_alias(&id("default")).unwrap();
    assert_eq!(n_folders(&registry), 1);
}

#[test]
fn an_id_that_is_taken_is_replaced_only_where_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).unwrap();
    let add = |weights: &'static [u8], existing| {
        let files = [NewFile::bytes("adapter_model.safetensors", weights)];
        registry.add_with(&id("qa"), &files, provenance(), existing)
    };
    assert_eq!(add(b"one", Existing::Refuse).unwrap(), Outcome::Added);
    assert_eq!(add(b"one", Existing::Refuse).unwrap(), Outcome::Unchanged);
    let content = registry.state().resolve(&id("qa")).unwrap().content;
    let error = add(b"two", Existing::Refuse).unwrap_err();
    assert!(matches!(error, RegistryError::Exists { .. }) && error.to_string().contains("--replace"), "{error}");
    assert_eq!(registry.state().resolve(&id("qa")).unwrap().content, content);
    assert!(matches!(add(b"two", Existing::Replace).unwrap(), Outcome::Replaced { .. }));
}

#[test]
fn words_for_other_rankings_are_no_names() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).unwrap();
    let files = [NewFile::bytes("adapter_model.safetensors", b"one")];
    registry.add(&id("qa"), &files, provenance()).unwrap();
    for word in ["none", "first-stage"] {
        let refused =
            [registry.add(&id(word), &files, provenance()).err(), registry.set_alias(&id(word), &id("qa")).err()];
        for error in refused {
            assert!(error.unwrap().to_string().contains(&format!("`{word}`")), "{word}");
        }
    }
}
