//! The routes that clients of other services call.

use lorank_core::{AdapterId, EncodedPair, ModelVersion, Reranker, Score};
use serde_json::json;

use super::experiments::ask;
use super::*;

/// A service whose model likes long documents: a document's score is the length of its text, less five.
pub(super) fn rerank_service(config: HttpConfig) -> Router {
    let reranker = FakeReranker::by(|_, _, candidate| candidate.text.len() as f32 - 5.0).with_adapters(&["qa"]);
    let pipeline = Pipeline::new(ToyFirstStage::new(toy::candidates(3)), reranker, PipelineConfig::default()).unwrap();
    router(Arc::new(pipeline), config)
}

pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

#[tokio::test]
async fn text_embeddings_inference() {
    let service = rerank_service(HttpConfig::default());
    let texts = json!(["four", "eightabc", "sixsix"]);
    let (status, ranks) = ask(&service, "POST", "/rerank", json!({"query": "q", "texts": texts})).await;
    assert_eq!(status, 200, "{ranks}");
    let ranks: Vec<(u64, f32, usize)> = ranks
        .as_array()
        .unwrap()
        .iter()
        .map(|rank| {
            (rank["index"].as_u64().unwrap(), rank["score"].as_f64().unwrap() as f32, rank.as_object().unwrap().len())
        })
        .collect();
    assert_eq!(ranks, [(1, sigmoid(3.0), 2), (2, sigmoid(1.0), 2), (0, sigmoid(-1.0), 2)]);
    let body = json!({"query": "q", "texts": texts, "raw_scores": true, "return_text": true, "truncate": true});
    let (_, ranks) = ask(&service, "POST", "/rerank", body).await;
    assert_eq!(ranks[0], json!({"index": 1, "score": 3.0, "text": "eightabc"}));
    let (_, ranks) = ask(&service, "POST", "/rerank", json!({"query": "q", "texts": texts, "top_n": 2})).await;
    assert_eq!(ranks.as_array().map(Vec::len), Some(2));

    let small = rerank_service(HttpConfig { n_documents_max: NonZeroUsize::new(2).unwrap(), ..HttpConfig::default() });
    for (body, status, error_type, error) in [
        (json!({"query": "q", "texts": []}), 400, "Empty", "`texts` cannot be empty"),
        (
            json!({"query": "q", "texts": texts}),
            413,
            "Validation",
            "`texts` has 3 values, which is above the limit of 2",
        ),
        (
            // Refused before the list is read: its last value would be refused for its type.
            json!({"query": "q", "texts": ["a", "b", 3]}),
            413,
            "Validation",
            "`texts` has 3 values, which is above the limit of 2",
        ),
        (json!({"query": "q"}), 422, "Validation", "`texts` is missing"),
        (
            json!({"query": "q", "texts": ["a"], "truncation_direction": "Left"}),
            422,
            "Validation",
            "`truncation_direction` cannot be \"Left\": texts longer than the model's limit are truncated at the end",
        ),
        (
            json!({"query": "q", "texts": ["a"], "model": "gone"}),
            404,
            "Validation",
            "the adapter `gone` cannot be used: ",
        ),
    ] {
        let (found, answer) = ask(&small, "POST", "/rerank", body).await;
        assert_eq!((found, &answer["error_type"]), (status, &json!(error_type)), "{answer}");
        assert!(answer["error"].as_str().unwrap().starts_with(error), "{answer}");
    }
    let (_, info) = ask(&service, "GET", "/info", Json::Null).await;
    let known = json!([info["model_id"], info["model_dtype"], info["max_client_batch_size"], info["auto_truncate"]]);
    assert_eq!(known, json!(["toy", "f32", 10_000, true]));
    assert!(info["model_type"]["reranker"]["id2label"].is_object());
}

#[tokio::test]
async fn cohere_jina_and_vllm() {
    let service = rerank_service(HttpConfig::default());
    let body = json!({"query": "q", "documents": ["four", {"text": "eightabc", "title": "t"}, {"title": "sixsix"}], "top_n": 2,
        "model": "qa", "return_documents": true});
    for path in ["/v1/rerank", "/v2/rerank", "/rerank"] {
        let (status, answer) = ask(&service, "POST", path, body.clone()).await;
        assert_eq!(status, 200, "{answer}");
        // Without a `text` an object is read as `title: sixsix`.
        let results = json!([
            {"index": 2, "relevance_score": sigmoid(8.0), "document": {"title": "sixsix"}},
            {"index": 1, "relevance_score": sigmoid(3.0), "document": {"text": "eightabc", "title": "t"}},
        ]);
        let close = |one: &Json, other: &Json| (one.as_f64().unwrap() - other.as_f64().unwrap()).abs() < 1e-6;
        for (found, expected) in answer["results"].as_array().unwrap().iter().zip(results.as_array().unwrap()) {
            assert_eq!((&found["index"], &found["document"]), (&expected["index"], &expected["document"]));
            assert!(close(&found["relevance_score"], &expected["relevance_score"]), "{found}");
        }
        assert_eq!((answer["results"].as_array().map(Vec::len), &answer["model"]), (Some(2), &json!("qa")));
        assert_eq!(answer["meta"]["billed_units"]["search_units"], 1);
        assert!(answer["usage"]["total_tokens"].as_u64().unwrap() > 0 && answer["id"].is_string());
    }
    // The default of documents that come back is each service's own.
    for (path, returned) in [("/v1/rerank", false), ("/v2/rerank", false), ("/rerank", true)] {
        let (_, answer) = ask(&service, "POST", path, json!({"query": "q", "documents": ["four"]})).await;
        assert_eq!(answer["results"][0].get("document").is_some(), returned, "{path}");
    }
    let (_, cut) = ask(
        &service,
        "POST",
        "/v2/rerank",
        json!({"query": "q", "documents": ["é".repeat(99)], "max_tokens_per_doc": 1}),
    )
    .await;
    assert!((cut["results"][0]["relevance_score"].as_f64().unwrap() - f64::from(sigmoid(-1.0))).abs() < 1e-6, "{cut}");
    for (body, status, message) in [
        (json!({"query": "q", "documents": []}), 422, "`documents` cannot be empty"),
        (json!({"query": "q", "documents": [1]}), 422, "`documents[0]` must be a string or an object with fields"),
        (
            json!({"query": "q", "documents": ["a"], "top_n": 0}),
            422,
            "`top_n` must be a whole number of at least 1, not `0`",
        ),
        (json!({"query": "q", "documents": ["a"], "model": "gone"}), 404, "the adapter `gone` cannot be used: "),
        (
            json!({"query": "q", "documents": ["a"], "model": "owner/other"}),
            404,
            "the adapter `owner/other` cannot be used: ",
        ),
        (json!({"query": "q", "documents": ["a"], "model": "an other"}), 422, "`model` is invalid: "),
    ] {
        let (found, answer) = ask(&service, "POST", "/v1/rerank", body).await;
        assert_eq!(found, status, "{answer}");
        assert!(answer["message"].as_str().unwrap().starts_with(message), "{answer}");
        assert_eq!((&answer["message"], &answer["message"]), (&answer["error"]["message"], &answer["detail"]));
        assert_eq!(answer["code"], answer["error"]["kind"]);
    }
}

#[tokio::test]
async fn vllm_scores() {
    let service = rerank_service(HttpConfig::default());
    let scores = |answer: &Json| -> Vec<f32> {
        answer["data"].as_array().unwrap().iter().map(|pair| pair["score"].as_f64().unwrap() as f32).collect()
    };
    for (text_1, text_2, expected) in [
        (json!("q"), json!("four"), vec![-1.0]),
        (json!("q"), json!(["four", "eightabc"]), vec![-1.0, 3.0]),
        (json!(["q"]), json!(["four", "eightabc"]), vec![-1.0, 3.0]),
        (json!(["q", "r"]), json!(["four", "eightabc"]), vec![-1.0, 3.0]),
    ] {
        let (status, answer) =
            ask(&service, "POST", "/v1/score", json!({"model": "none", "text_1": text_1, "text_2": text_2})).await;
        assert_eq!((status, &answer["object"], &answer["model"]), (200, &json!("list"), &json!("toy")), "{answer}");
        assert_eq!(scores(&answer), expected.into_iter().map(sigmoid).collect::<Vec<_>>());
    }
    let (status, answer) = ask(&service, "POST", "/score", json!({"text_1": ["a", "b"], "text_2": ["c"]})).await;
    assert_eq!(
        (status, &answer["message"]),
        (422, &json!("`text_1` has 2 texts, but `text_2` has 1; send one, or the same number"))
    );
}

#[tokio::test]
async fn models_are_listed_as_openai_does() {
    let service = rerank_service(HttpConfig::default());
    let (_, models) = ask(&service, "GET", "/v1/models", Json::Null).await;
    let ids: Vec<&str> = models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!((models["object"].as_str(), ids), (Some("list"), vec!["toy", "none"]));
}

#[tokio::test]
async fn a_full_queue_and_a_broken_model_are_said_in_each_services_words() {
    let reranker = Arc::new(FakeReranker::hashing());
    reranker.set_fault(Some(Fault::Error("out of memory")));
    let first_stage = ToyFirstStage::new(toy::candidates(3));
    let service = service(first_stage, reranker, PipelineConfig::default());
    let (status, answer) = ask(&service, "POST", "/rerank", json!({"query": "q", "texts": ["a"]})).await;
    assert_eq!((status, &answer["error_type"]), (424, &json!("Backend")), "{answer}");
    let (status, answer) = ask(&service, "POST", "/v2/rerank", json!({"query": "q", "documents": ["a"]})).await;
    assert_eq!((status, &answer["error"]["kind"]), (500, &json!("internal")), "{answer}");
}

/// A body, and the field and a part of the message that it is refused with.
async fn check_refused(service: &Router, path: &str, body: Json, field: &str, message: &str) {
    let (status, answer) = ask(service, "POST", path, body.clone()).await;
    assert_eq!(status, 422, "{path} {body}: {answer}");
    let said = answer["message"].as_str().or_else(|| answer["error"].as_str()).unwrap();
    assert!(said.starts_with(&format!("`{field}` ")) && said.contains(message), "{path} {body}: {said}");
}

#[tokio::test]
async fn nothing_that_changes_a_result_is_left_aside() {
    let service = rerank_service(HttpConfig::default());
    let objects = json!([{"title": "eggs", "body": "boil"}, {"title": "cars", "body": "wheels"}]);
    let rerank = |key: &str, value: Json| {
        let mut body = json!({"query": "q", "documents": objects});
        body[key] = value;
        body
    };
    for (body, field, message) in [
        // Fields that nothing is read from.
        (rerank("rank_fields", json!(["nosuch"])), "rank_fields[0]", "is not a field of any document"),
        (rerank("rank_fields", json!(["title", "bdy"])), "rank_fields[1]", "did you mean `body`?"),
        (rerank("rank_fields", json!([])), "rank_fields", "is empty"),
        (rerank("rank_fields", json!("title")), "rank_fields", "must be an array, not \"title\""),
        (rerank("rank_fields", json!([1])), "rank_fields[0]", "must be a string, not `1`"),
        (rerank("rank_fields", json!(vec!["title"; 65])), "rank_fields", "names 65 fields, and the maximum is 64"),
        (
            json!({"query": "q", "documents": ["a"], "rank_fields": ["title"]}),
            "rank_fields",
            "no document is an object",
        ),
        (json!({"query": "q", "documents": ["a", {}]}), "documents[1]", "has no field with a value"),
        (json!({"query": "q", "documents": [{"text": null}]}), "documents[0]", "has no field with a value"),
        (json!({"query": "q", "documents": [null]}), "documents[0]", "must be a string or an object"),
        // Values that leave nothing, or are of another type.
        (rerank("max_tokens_per_doc", json!(0)), "max_tokens_per_doc", "at least 1, not `0`"),
        (rerank("max_tokens_per_doc", json!(-1)), "max_tokens_per_doc", "at least 1, not `-1`"),
        (rerank("max_tokens_per_doc", json!("9")), "max_tokens_per_doc", "at least 1, not \"9\""),
        (rerank("top_n", json!(0)), "top_n", "at least 1, not `0`"),
        (rerank("top_n", json!(1.0)), "top_n", "at least 1, not `1.0`"),
        (rerank("return_documents", json!("yes")), "return_documents", "must be `true` or `false`, not \"yes\""),
        // Keys that are none, and keys of other services.
        (rerank("topn", json!(1)), "topn", "did you mean `top_n`?"),
        (rerank("topN", json!(1)), "topN", "did you mean `top_n`?"),
        (rerank("returnDocuments", json!(true)), "returnDocuments", "did you mean `return_documents`?"),
        (rerank("overwrite", json!(true)), "overwrite", "is unknown; the keys are `model`, `query`"),
        (rerank("return_text", json!(true)), "return_text", "is unknown"),
        (rerank("truncate", json!(true)), "truncate", "is unknown; the keys are"),
        (rerank("max_chunks_per_doc", json!(0)), "max_chunks_per_doc", "at least 1, not `0`"),
        (rerank("overlap_tokens", json!(8)), "overlap_tokens", "requires `max_chunks_per_doc`"),
        (rerank("truncate_prompt_tokens", json!(16)), "truncate_prompt_tokens", "remove it, or send -1"),
        (rerank("truncation_side", json!("left")), "truncation_side", "truncated at the end"),
        (rerank("priority", json!(5)), "priority", "no priorities"),
        (rerank("mm_processor_kwargs", json!({"a": 1})), "mm_processor_kwargs", "only texts are scored"),
    ] {
        for path in ["/rerank", "/v1/rerank", "/v2/rerank"] {
            check_refused(&service, path, body.clone(), field, message).await;
        }
    }
    check_refused(&service, "/v2/rerank", rerank("top_k", json!(1)), "top_k", "did you mean `top_n`?").await;
    let tei = |key: &str, value: Json| {
        let mut body = json!({"query": "q", "texts": ["a"]});
        body[key] = value;
        body
    };
    for (body, field, message) in [
        (tei("documents", json!(["b"])), "texts", "cannot be combined with `documents`"),
        (tei("truncate", json!(false)), "truncate", "truncated at the end"),
        (tei("top_n", json!(0)), "top_n", "at least 1, not `0`"),
        (tei("return_texts", json!(true)), "return_texts", "did you mean `return_text`?"),
        (tei("raw_score", json!(true)), "raw_score", "did you mean `raw_scores`?"),
        (tei("texts", json!([null])), "texts[0]", "must be a string, not `null`"),
        (tei("texts", json!(null)), "texts", "must be an array, not `null`"),
    ] {
        check_refused(&service, "/rerank", body, field, message).await;
    }
    check_refused(&service, "/v1/rerank", json!({"query": "q", "texts": ["a"]}), "texts", "is unknown").await;
    let score = |key: &str, value: Json| {
        let mut body = json!({"text_1": "q", "text_2": ["a"]});
        body[key] = value;
        body
    };
    for (body, field, message) in [
        (score("truncate_prompt_tokens", json!(16)), "truncate_prompt_tokens", "cannot be 16"),
        (score("use_activations", json!(false)), "use_activations", "did you mean `use_activation`?"),
        (score("documents", json!(["b"])), "text_2", "is given twice"),
        (score("text_2", json!([null])), "text_2", "must be a string or an array of strings"),
        (score("text_1", json!([])), "text_1", "cannot be empty"),
        (score("chat_template", json!("{{ a }}")), "chat_template", "the prompt belongs to the model"),
        (score("activation", json!("sigmoid")), "activation", "must be `true` or `false`"),
        (score("top_n", json!(1)), "top_n", "is unknown"),
    ] {
        for path in ["/score", "/v1/score"] {
            check_refused(&service, path, body.clone(), field, message).await;
        }
    }
}

/// A reranker whose prompt has no place for an instruction.
struct Uninstructed;

impl Reranker for Uninstructed {
    fn resolve(&self, _adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
        Ok(toy::model(None))
    }

    fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
        batch.iter().map(|_| Ok(Score::new(0.0)?)).collect()
    }
}

#[tokio::test]
async fn an_instruction_reaches_the_model_or_is_refused_by_its_key() {
    let length = |query: &Query, _: &ModelVersion, _: &Candidate| {
        query.instruction.as_ref().map_or(0.0, |instruction| instruction.len() as f32)
    };
    let (toy, plain) = (|| ToyFirstStage::new(toy::candidates(3)), PipelineConfig::default());
    let service = service(toy(), FakeReranker::by(length), plain.clone());
    let uninstructed = router(Arc::new(Pipeline::new(toy(), Uninstructed, plain).unwrap()), HttpConfig::default());
    let rerank = |key: &str, value: &str| json!({"query": "q", "documents": ["a"], "raw_scores": true, key: value});
    let score = |value: &str| json!({"text_1": "q", "text_2": "a", "raw_scores": true, "instruction": value});
    let native = |value: &str| json!({"input": {"query": "q", "documents": ["a"]}, "parameters": {"instruct": value}});
    let tei = |value: &str| json!({"query": "q", "texts": ["a"], "raw_scores": true, "instruction": value});
    let deepinfra = |value: &str| json!({"queries": ["q"], "documents": ["a"], "instruction": value});
    let native_path = "/api/v1/services/rerank/text-rerank/text-rerank";
    for (path, body, pointer, is_logit) in [
        (
            "/v1/rerank",
            &(|it: &str| rerank("instruction", it)) as &dyn Fn(&str) -> Json,
            "/results/0/relevance_score",
            true,
        ),
        ("/v2/rerank", &|it: &str| rerank("instruction", it), "/results/0/relevance_score", true),
        ("/jina/v1/rerank", &|it: &str| rerank("instruction", it), "/results/0/relevance_score", true),
        ("/rerank", &|it: &str| rerank("instruction", it), "/results/0/relevance_score", true),
        ("/v1/reranks", &|it: &str| rerank("instruct", it), "/results/0/relevance_score", true),
        ("/rerank", &tei, "/0/score", true),
        ("/score", &score, "/data/0/score", true),
        (native_path, &native, "/output/results/0/relevance_score", false),
        ("/v1/inference/none", &deepinfra, "/scores/0", false),
    ] {
        for (instruction, expected) in [("", 0.0), ("Judge.", 6.0)] {
            let (status, answer) = ask(&service, "POST", path, body(instruction)).await;
            let expected = if is_logit { expected } else { sigmoid(expected) };
            let found = answer.pointer(pointer).and_then(Json::as_f64).unwrap_or_else(|| panic!("{path}: {answer}"));
            assert!(status == 200 && (found as f32 - expected).abs() < 1e-6, "{path} {instruction:?}: {answer}");
        }
        let (status, answer) = ask(&uninstructed, "POST", path, body("")).await;
        assert_eq!(status, 200, "{path}: {answer}");
        let (status, answer) = ask(&uninstructed, "POST", path, body("Judge.")).await;
        assert!(status == 422 && answer.to_string().contains("the model takes no instructions"), "{path}: {answer}");
        let key = if path == native_path { "parameters.instruct" } else { "instruct" };
        assert!(answer.to_string().contains(key), "{path}: {answer}");
    }
    let both = json!({"query": "q", "documents": ["a"], "instruction": "a", "instruct": "b"});
    check_refused(&service, "/v1/rerank", both, "instruct", "contradicts `instruction`").await;
}

#[tokio::test]
async fn logits_are_given_where_they_are_asked_for() {
    let service = rerank_service(HttpConfig::default());
    for (key, value, score) in [
        ("use_activation", false, 3.0),
        ("activation", false, 3.0),
        ("raw_scores", true, 3.0),
        ("use_activation", true, sigmoid(3.0)),
        ("raw_scores", false, sigmoid(3.0)),
    ] {
        let rerank = json!({"query": "q", "documents": ["eightabc"], key: value});
        for path in ["/rerank", "/v1/rerank", "/v2/rerank"] {
            let (_, answer) = ask(&service, "POST", path, rerank.clone()).await;
            let found = answer["results"][0]["relevance_score"].as_f64().unwrap() as f32;
            assert!((found - score).abs() < 1e-6, "{path} {key} {value}: {answer}");
        }
        let (_, answer) = ask(
            &service,
            "POST",
            "/score",
            json!({"text_1": "q", "items": "eightabc", key: value, "request_id": "r1"}),
        )
        .await;
        assert!((answer["data"][0]["score"].as_f64().unwrap() as f32 - score).abs() < 1e-6, "{key} {value}: {answer}");
        assert_eq!(answer["id"], "r1");
    }
    let contradiction = json!({"query": "q", "documents": ["a"], "raw_scores": true, "use_activation": true});
    check_refused(&service, "/v1/rerank", contradiction, "use_activation", "contradicts `raw_scores`").await;
}

#[tokio::test]
async fn a_passed_deadline_is_no_failure_of_the_service() {
    let late = PipelineConfig { deadline: Some(std::time::Duration::ZERO), ..PipelineConfig::default() };
    let service = service(ToyFirstStage::new(toy::candidates(3)), FakeReranker::hashing(), late);
    for (path, body) in [
        ("/rerank", json!({"query": "q", "texts": ["a"]})),
        ("/rerank", json!({"query": "q", "documents": ["a"]})),
        ("/v1/rerank", json!({"query": "q", "documents": ["a"]})),
        ("/v2/rerank", json!({"query": "q", "documents": ["a"]})),
        ("/score", json!({"text_1": "q", "text_2": "a"})),
        ("/v1/score", json!({"text_1": "q", "text_2": "a"})),
    ] {
        let (status, answer) = ask(&service, "POST", path, body).await;
        let said = answer["message"].as_str().or_else(|| answer["error"].as_str()).unwrap();
        assert!(status == 504 && said.starts_with("the deadline passed"), "{path}: {status} {answer}");
    }
    for (method, path, body) in [
        ("POST", "/v1/search", json!({"query": "q"})),
        ("POST", "/v1/compare", json!({"query": "q", "adapters": ["none"]})),
        ("GET", "/v1/search?q=a", Json::Null),
    ] {
        let (status, answer) = ask(&service, method, path, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
    }
}
