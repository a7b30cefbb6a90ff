//! What the reranker gets to read.

use std::sync::{Arc, Mutex};

use lorank_tantivy::collector::{FallbackReason, Outcome, Passage};
use lorank_tantivy::tantivy::query::AllQuery;
use lorank_tantivy::tantivy::schema::{
    FAST, JsonObjectOptions, OwnedValue, STORED, STRING, Schema, SchemaBuilder, TEXT, TextOptions,
};
use lorank_tantivy::tantivy::{DocAddress, Index, TantivyDocument};
use lorank_tantivy::{CandidateCollector, RerankCollector, Texts};

use super::{Shelf, by_length, n, places, rerank, texts};

/// Title and text of each document of an index with this schema and these documents, in JSON.
fn read(
    schema: fn(&mut SchemaBuilder),
    documents: &[&str],
    texts: Texts,
) -> Result<Vec<(Option<String>, String)>, String> {
    let mut builder = Schema::builder();
    schema(&mut builder);
    let schema = builder.build();
    let index = Index::create_in_ram(schema.clone());
    let mut writer = index.writer_with_num_threads(1, 15_000_000).unwrap();
    for json in documents {
        writer.add_document(TantivyDocument::parse_json(&schema, json).unwrap()).unwrap();
    }
    writer.commit().unwrap();
    let searcher = index.reader().unwrap().searcher();
    let found = searcher.search(&AllQuery, &CandidateCollector::new(texts, n(100)));
    let found = found.map_err(|error| error.to_string())?;
    Ok(found
        .candidates
        .into_iter()
        .map(|candidate| (candidate.title.map(|title| title.to_string()), candidate.text.to_string()))
        .collect())
}

fn check(schema: fn(&mut SchemaBuilder), json: &str, texts: Texts, title: Option<&str>, text: &str) {
    assert_eq!(read(schema, &[json], texts), Ok(vec![(title.map(str::to_owned), text.to_owned())]), "{json}");
}

fn refuse(schema: fn(&mut SchemaBuilder), texts: Texts, error: &str) {
    assert_eq!(read(schema, &[], texts), Err(error.to_owned()));
}

/// Two stored fields, or the same as fast ones.
fn stored(schema: &mut SchemaBuilder) {
    schema.add_text_field("title", TEXT | STORED);
    schema.add_text_field("body", TEXT | STORED);
    schema.add_text_field("more", STORED);
}

fn fast(schema: &mut SchemaBuilder) {
    for name in ["title", "body", "more"] {
        schema.add_text_field(name, TextOptions::default() | FAST);
    }
}

fn mixed(schema: &mut SchemaBuilder) {
    schema.add_text_field("title", STRING | FAST);
    schema.add_text_field("body", TEXT | STORED | FAST);
    schema.add_text_field("more", TextOptions::default() | FAST);
}

#[test]
fn fields_are_joined_whatever_keeps_them() {
    for schema in [stored, fast, mixed] {
        let texts = || Texts::fields(["body", "more"]).title("title");
        check(schema, r#"{"title": "T", "body": "B", "more": "M"}"#, texts(), Some("T"), "B M");
        check(schema, r#"{"title": ["T", "U"], "body": ["B", "C"], "more": "M"}"#, texts(), Some("T\nU"), "B\nC M");
        check(schema, r#"{"title": "", "more": "M"}"#, texts(), Some(""), "M");
        check(schema, r#"{"body": "B", "more": ""}"#, texts(), None, "B");
        check(schema, r#"{}"#, texts(), None, "");
        check(schema, r#"{"title": "T", "body": "B"}"#, Texts::fields(["title", "body"]), None, "T B");
        check(schema, r#"{"title": "T", "body": "B"}"#, Texts::fields([""; 0]).title("title"), Some("T"), "");
    }
}

#[test]
fn json_fields_are_read_at_a_path() {
    fn stored(schema: &mut SchemaBuilder) {
        schema.add_json_field("a", STORED);
    }
    fn fast(schema: &mut SchemaBuilder) {
        schema.add_json_field("a", JsonObjectOptions::default().set_fast("raw"));
    }
    for schema in [stored, fast] {
        check(schema, r#"{"a": {"b": {"c": "text"}, "d": "other"}}"#, Texts::fields(["a.b.c"]), None, "text");
        check(schema, r#"{"a": {"b": "x"}}"#, Texts::fields(["a.b.c"]).title("a.b"), Some("x"), "");
        check(schema, r#"{"a": {"b": ["x", "y"]}}"#, Texts::fields(["a.b"]), None, "x\ny");
        refuse(
            schema,
            Texts::fields(["a"]),
            "Schema error: 'the reranker cannot read the field `a`: it is a JSON field; give a path into it (`field.path`)'",
        );
    }
}

#[test]
fn a_field_that_cannot_be_read_is_named() {
    fn schema(schema: &mut SchemaBuilder) {
        schema.add_text_field("lost", TEXT);
        schema.add_u64_field("year", STORED | FAST);
    }
    refuse(schema, Texts::fields(["absent"]), "The field does not exist: 'absent'");
    refuse(
        schema,
        Texts::fields(["lost"]),
        "Schema error: 'the reranker cannot read the field `lost`: it is neither stored nor fast; \
         make it stored or fast, or provide the texts with `Texts::from_fn`'",
    );
    refuse(
        schema,
        Texts::fields(["year"]),
        "Schema error: 'the reranker cannot read the field `year`: it is not a text field'",
    );
    refuse(schema, Texts::fields(["lost"]).title("absent"), "The field does not exist: 'absent'");
    refuse(schema, Texts::fields([""; 0]), "An invalid argument was passed: 'no text field for the reranker is given'");
}

#[test]
fn pre_tokenized_text_is_its_text() {
    let tokenized = lorank_tantivy::tantivy::tokenizer::PreTokenizedString { text: "a cat".into(), tokens: Vec::new() };
    let shelf = Shelf::empty();
    let mut writer = shelf.writer();
    let mut document = TantivyDocument::default();
    document.add_field_value(shelf.body, &OwnedValue::PreTokStr(tokenized));
    writer.add_document(document).unwrap();
    writer.commit().unwrap();
    let found = shelf.searcher().search(&AllQuery, &CandidateCollector::new(texts(), n(1))).unwrap();
    assert_eq!(&*found.candidates[0].text, "a cat");
}

#[test]
fn candidates_have_the_ids_of_a_field() {
    let mut builder = Schema::builder();
    builder.add_text_field("body", STORED);
    builder.add_text_field("isbn", STRING | FAST);
    builder.add_u64_field("number", FAST);
    builder.add_i64_field("change", FAST);
    builder.add_u64_field("slow", STORED);
    let schema = builder.build();
    let index = Index::create_in_ram(schema.clone());
    let mut writer = index.writer_with_num_threads(1, 15_000_000).unwrap();
    for json in [r#"{"isbn": "x-1", "number": 7, "change": -7, "slow": 1}"#, "{}"] {
        writer.add_document(TantivyDocument::parse_json(&schema, json).unwrap()).unwrap();
    }
    writer.commit().unwrap();
    let searcher = index.reader().unwrap().searcher();
    let search = |name: &str| {
        let found = searcher.search(&AllQuery, &CandidateCollector::new(texts(), n(10)).id_field(name));
        let ids = |candidates: Vec<lorank_core::Candidate>| crate::ids(&candidates).join(" ");
        found.map(|found| ids(found.candidates)).map_err(|error| error.to_string())
    };
    for (name, expected) in [("isbn", "x-1 0:1"), ("number", "7 0:1"), ("change", "-7 0:1")] {
        assert_eq!(search(name).as_deref(), Ok(expected));
    }
    assert_eq!(search("absent").unwrap_err(), "The field does not exist: 'absent'");
    for name in ["body", "slow"] {
        let error = format!(
            "Schema error: '`{name}` cannot be the id field: ids need a fast field with texts or whole numbers'"
        );
        assert_eq!(search(name), Err(error));
    }
}

/// Texts that are the documents' numbers, and the addresses that each call asked for.
fn numbers() -> (Texts, Arc<Mutex<Vec<Vec<DocAddress>>>>) {
    let calls: Arc<Mutex<Vec<_>>> = Arc::default();
    let keeps = calls.clone();
    let texts = Texts::from_fn(move |documents| {
        keeps.lock().unwrap().push(documents.iter().map(|document| document.address).collect());
        let number = |document: &lorank_tantivy::collector::DocRef<'_>| {
            let column = document.segment.fast_fields().u64("number")?;
            Ok(Passage::from(format!("number {:02}", column.first(document.address.doc_id).ok_or("no number")?)))
        };
        documents.iter().map(number).collect()
    });
    (texts, calls)
}

#[test]
fn a_function_is_asked_once_for_the_best_in_the_order_of_their_addresses() {
    let shelf = Shelf::of(&[&["cat and dog", "cat", "dog"], &["cat cat", "a cat in a long text"], &["cat"]]);
    let (texts, calls) = numbers();
    // The greatest number first.
    let by_text = lorank_testing::toy::FakeReranker::by(|_, _, candidate| candidate.text[7..].parse().unwrap());
    let collector = RerankCollector::new("cat", Arc::new(by_text), texts).depth(n(4)).top_k(n(10));
    let answer = shelf.search("cat", &collector);
    let calls = calls.lock().unwrap();
    assert_eq!((calls.len(), calls[0].len()), (1, 4), "five match, four are read");
    assert!(calls[0].is_sorted());
    assert_eq!((answer.hits.len(), answer.hits[4].rerank_score), (5, None));
    let column = |address: DocAddress| {
        let searcher = shelf.searcher();
        searcher.segment_reader(address.segment_ord).fast_fields().u64("number").unwrap().first(address.doc_id).unwrap()
    };
    for hit in &answer.hits[..4] {
        assert_eq!(hit.rerank_score.unwrap().get(), column(hit.address) as f32);
    }
}

#[test]
fn without_texts_the_order_is_the_first_stages_and_the_answer_says_so() {
    let shelf = Shelf::of(&[&["cat and dog", "cat"]]);
    let expected = shelf.search("cat", &rerank(by_length()).rerank(false));
    let none = |texts, message: &str| {
        let answer = shelf.search("cat", &RerankCollector::new("cat", by_length(), texts));
        assert_eq!(answer.outcome, Outcome::FellBack { reason: FallbackReason::NoTexts { message: message.into() } });
        assert_eq!(places(&answer), places(&expected));
    };
    none(Texts::from_fn(|_| Err("the shelf is locked".into())), "the shelf is locked");
    none(Texts::from_fn(|_| Ok(vec!["one".into()])), "the function for texts returned 1 for 2 documents");

    // Candidates for somebody else cannot fall back.
    let texts = Texts::from_fn(|_| Err("the shelf is locked".into()));
    let found = shelf.searcher().search(&*shelf.query("cat"), &CandidateCollector::new(texts, n(1)));
    assert_eq!(found.unwrap_err().to_string(), "An IO error occurred: 'the shelf is locked'");
}
