//! Making, opening, writing.

use std::fs;
use std::path::Path;

use lorank_core::DocumentId;
use lorank_tantivy::{Document, Error, ErrorKind, Index, IndexSettings, Language, SettingsRequest, WriterOptions};

use crate::{Corpus, document_of, whole, writer};

#[test]
fn an_index_keeps_its_settings() {
    let settings = IndexSettings {
        text_fields: vec!["body^2".parse().unwrap(), "notes".parse().unwrap()],
        id_field: Some("key".into()),
        language: Language::German,
    };
    let corpus = Corpus::with_settings(&settings, &[r#"{"key": 1, "body": "die Häuser"}"#]);
    let opened = Index::open(corpus.dir.path()).unwrap();
    assert_eq!(opened.settings(), &settings);
    assert_eq!(corpus.search("Haus"), ["1"]);
}

#[test]
fn a_folder_that_is_no_index_is_told_from_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir(path("empty")).unwrap();
    fs::create_dir(path("photos")).unwrap();
    fs::write(path("photos/cat.jpg"), "").unwrap();
    fs::write(path("file"), "").unwrap();
    fs::create_dir(path("other")).unwrap();
    fs::write(path("other/meta.json"), "{}").unwrap();

    check_open(&path("missing"), ErrorKind::NotFound, "there is no index in");
    check_open(&path("empty"), ErrorKind::NotFound, "there is no index in");
    check_open(&path("photos"), ErrorKind::Invalid, "it holds other files, such as `cat.jpg`");
    check_open(&path("file"), ErrorKind::Invalid, "it is a file");
    check_open(&path("other"), ErrorKind::Invalid, "it has a `meta.json`, but no `lorank-index.json`");
    for name in ["photos", "file", "other"] {
        let error = Index::create(path(name), &IndexSettings::default()).unwrap_err();
        assert!(matches!(error, Error::NotAnIndex { .. }), "{error}");
    }
}

fn check_open(dir: &Path, kind: ErrorKind, text: &str) {
    let error = Index::open(dir).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(text), "{error}");
    assert!(error.to_string().contains(&dir.display().to_string()), "{error}");
}

#[test]
fn a_damaged_an_older_and_a_newer_index_say_so() {
    let corpus = Corpus::of(&[]);
    let file = corpus.dir.path().join("lorank-index.json");
    let valid = fs::read_to_string(&file).unwrap();
    let check = |content: String, kind: ErrorKind, text: &str| {
        fs::write(&file, content).unwrap();
        let error = Index::open(corpus.dir.path()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    };
    let newer = valid.replace("\"format\": 3", "\"format\": 9");
    check(newer, ErrorKind::UnsupportedFormat, "has format 9, but this version supports format 3; update lorank");
    let older = valid.replace("\"format\": 3", "\"format\": 1");
    check(older, ErrorKind::UnsupportedFormat, "has format 1 of an earlier version");
    let german = valid.replace("english", "german");
    check(german, ErrorKind::Internal, "`lorank-index.json` does not fit the index beside it");
    check(valid[..20].to_owned(), ErrorKind::Internal, "`lorank-index.json` is not readable");
    fs::write(corpus.dir.path().join("meta.json"), "{}").unwrap();
    fs::write(&file, &valid).unwrap();
    assert_eq!(Index::open(corpus.dir.path()).unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn an_interrupted_making_is_begun_again() {
    let corpus = Corpus::of(&[]);
    fs::remove_file(corpus.dir.path().join("meta.json")).unwrap();
    check_open(corpus.dir.path(), ErrorKind::NotFound, "there is no index in");
    assert!(Index::open_or_create(corpus.dir.path(), &SettingsRequest::default()).is_ok());
}

#[test]
fn an_existing_index_is_opened_if_it_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let german = SettingsRequest { language: Some(Language::German), ..SettingsRequest::default() };
    Index::open_or_create(dir.path(), &german).unwrap();
    let opened = Index::open_or_create(dir.path(), &SettingsRequest::default()).unwrap();
    assert_eq!(opened.settings().language, Language::German);

    let english = SettingsRequest { language: Some(Language::English), ..SettingsRequest::default() };
    let error = Index::open_or_create(dir.path(), &english).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("was created with language `german`, not `english`"), "{error}");
    let error = Index::create(dir.path(), &IndexSettings::default()).unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
}

#[test]
fn a_document_replaces_the_one_with_its_id() {
    let corpus = Corpus::of(&[r#"{"id": "a", "text": "cat"}"#, r#"{"id": "b", "text": "cat"}"#]);
    corpus.add(&[r#"{"id": "a", "text": "dog"}"#]);
    assert_eq!((corpus.search("cat"), corpus.search("dog")), (vec!["b".to_owned()], vec!["a".to_owned()]));
    // Within one commit too, the last one counts.
    corpus.add(&[r#"{"id": 1, "text": "one"}"#, r#"{"id": "1", "text": "uno"}"#, r#"{"_id": 1, "text": "eins"}"#]);
    assert_eq!((corpus.search("one uno"), corpus.search("eins")), (vec![], vec!["1".to_owned()]));
    assert_eq!(corpus.index.n_documents().unwrap(), 3);
}

#[test]
fn a_document_without_an_id_gets_a_digest_of_itself() {
    let corpus = Corpus::of(&[
        r#"{"text": "cat", "a": {"b": 1, "c": [1, {"x": 1, "y": 2}]}}"#,
        r#"{"a": {"c": [1, {"y": 2, "x": 1}], "b": 1}, "text": "cat"}"#,
        r#"{"text": "cat", "a": {"b": 1, "c": [{"x": 1, "y": 2}, 1]}}"#,
        r#"{"text": "cat"}"#,
        r#"{"id": "own", "text": "cat"}"#,
    ]);
    let ids = corpus.search("cat");
    assert_eq!(ids.len(), 4, "the first two are one document: {ids:?}");
    assert!(
        ids.iter().all(|id| id == "own" || (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))),
        "{ids:?}"
    );
    let settings = corpus.index.settings();
    let again = document_of(r#"{"text": "cat"}"#, settings);
    assert!(corpus.index.contains(again.id()).unwrap());

    let named = IndexSettings { id_field: Some("key".into()), ..IndexSettings::default() };
    let error = Document::from_json(br#"{"id": 1, "text": "cat"}"#, &named).unwrap_err().to_string();
    assert_eq!(error, "no id: the field `key` is missing");
    for (json, misnamed) in
        [(r#"{"ID": 1}"#, "ID"), (r#"{"Id": 1}"#, "Id"), (r#"{" id": 1}"#, " id"), (r#"{"_ID": 1}"#, "_ID")]
    {
        let error = Document::from_json(json.as_bytes(), settings).unwrap_err().to_string();
        assert!(error.contains(&format!("rename `{misnamed}` to `id`")), "{error}");
    }
}

#[test]
fn documents_are_deleted_by_id() {
    let corpus = Corpus::of(&[r#"{"id": "a", "text": "cat"}"#, r#"{"id": "b", "text": "cat"}"#]);
    let mut writer = writer(&corpus.index);
    writer.delete(&DocumentId::new("a"));
    writer.delete(&DocumentId::new("never there"));
    assert_eq!(corpus.search("cat"), ["a", "b"]);
    writer.commit().unwrap();
    assert_eq!(corpus.search("cat"), ["b"]);
    assert_eq!(corpus.index.get(&DocumentId::new("a")).unwrap(), None);
}

#[test]
fn what_is_not_committed_is_not_kept() {
    let corpus = Corpus::of(&[r#"{"id": "a", "text": "cat"}"#]);
    let add = document_of(r#"{"id": "b", "text": "cat"}"#, corpus.index.settings());
    let mut first = writer(&corpus.index);
    first.add(&add).unwrap();
    first.delete(&DocumentId::new("a"));
    first.rollback().unwrap();
    first.commit().unwrap();
    assert_eq!(corpus.search("cat"), ["a"]);
    first.add(&add).unwrap();
    drop(first);
    let mut second = writer(&corpus.index);
    assert_eq!(corpus.search("cat"), ["a"]);
    second.add(&add).unwrap();
    second.commit().unwrap();
    second.close().unwrap();
    assert_eq!(corpus.search("cat"), ["a", "b"]);
}

#[test]
fn a_second_writer_is_refused() {
    let corpus = Corpus::of(&[]);
    let first = writer(&corpus.index);
    for index in [corpus.index.clone(), Index::open(corpus.dir.path()).unwrap()] {
        let error = index.writer(&WriterOptions::default()).unwrap_err();
        assert!(matches!(error, Error::WriterBusy { .. }), "{}", whole(&error));
        assert!(error.to_string().contains(&corpus.dir.path().display().to_string()), "{error}");
    }
    drop(first);
    writer(&corpus.index);
}

#[test]
fn readers_see_commits_without_being_told() {
    let corpus = Corpus::of(&[]);
    // An index that is opened on its own learns of commits as another process would.
    let reader = Index::open(corpus.dir.path()).unwrap();
    assert_eq!(reader.n_documents().unwrap(), 0);
    let mut writer = writer(&corpus.index);
    for n in 1..=5 {
        writer.add(&document_of(&format!(r#"{{"id": {n}}}"#), corpus.index.settings())).unwrap();
        writer.commit().unwrap();
        assert_eq!(reader.n_documents().unwrap(), n);
        assert_eq!(corpus.index.n_documents().unwrap(), n);
    }
}

#[test]
fn a_document_comes_back_as_it_went() {
    let json = r#"{"z": [1, 2.5, -0.0, 18446744073709551615, null], "id": "a", "text": "x", "a": {"y": {}, "b": "\u0000é"}, "_id": 3}"#;
    let corpus = Corpus::of(&[json]);
    let document = document_of(json, corpus.index.settings());
    assert_eq!(corpus.index.get(document.id()).unwrap().as_ref(), Some(&document));
    let names: Vec<_> = document.fields().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["z", "text", "a", "_id"]);
}

#[test]
fn stats_count_documents_segments_and_bytes() {
    let corpus = Corpus::of(&[r#"{"id": 1}"#]);
    corpus.add(&[r#"{"id": 2}"#]);
    let stats = corpus.index.stats().unwrap();
    assert_eq!((stats.n_documents, stats.n_segments), (2, 2));
    assert!(stats.bytes_on_disk > 1000);
}

#[test]
fn fields_to_filter_by_are_listed_with_their_types() {
    let corpus = Corpus::of(&[r#"{"id": 1, "text": "x", "year": 1990, "by": {"name": "Ann"}}"#]);
    corpus.add(&[r#"{"id": 2, "title": "y", "year": "unknown", "when": "2024-05-01", "open": true}"#]);
    let fields = corpus.index.filter_fields().unwrap();
    let fields: Vec<_> = fields.iter().map(|field| (field.name.as_str(), field.types.join(" "))).collect();
    let expected = [("by.name", "texts"), ("open", "booleans"), ("when", "dates"), ("year", "numbers texts")];
    assert_eq!(fields, expected.map(|(name, types)| (name, types.to_owned())));
}

#[test]
fn a_document_that_cannot_be_is_refused_and_the_writer_goes_on() {
    let corpus = Corpus::of(&[]);
    let mut writer = writer(&corpus.index);
    let bad = lorank_tantivy::Document::new(DocumentId::new(""), Vec::new());
    assert_eq!(writer.add(&bad).unwrap_err().kind(), ErrorKind::Invalid);
    let good = document_of(r#"{"id": 1}"#, corpus.index.settings());
    writer.add(&good).unwrap();
    writer.commit().unwrap();
    assert_eq!(corpus.index.n_documents().unwrap(), 1);
}

#[test]
fn names_and_ids_of_every_kind_are_taken() {
    let long = "k".repeat(70_000);
    let documents = [
        format!(r#"{{"id": "{}", "text": "cat"}}"#, "i".repeat(4096)),
        format!(r#"{{"id": "\u0000\u0001é", "text": "cat", "{long}": "{long}"}}"#),
        r#"{"id": "b", "text": "cat", "": 1, "\u0000": 2, "\u0001": {"": "x"}, "a.b": 3, "\\": 4}"#.to_owned(),
        format!(r#"{{"id": "deep", "text": "cat", "x": {}{}}}"#, r#"{"y":"#.repeat(60) + "1", "}".repeat(60)),
        format!(r#"{{"id": "word", "text": "cat {long}"}}"#),
    ];
    let corpus = Corpus::of(&documents.each_ref().map(String::as_str));
    assert_eq!(corpus.search("cat").len(), 5);
    for json in &documents {
        let document = document_of(json, corpus.index.settings());
        assert_eq!(corpus.index.get(document.id()).unwrap(), Some(document));
    }
}
