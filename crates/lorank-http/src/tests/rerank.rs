//! The routes that clients of other services call.

use serde_json::json;

use super::experiments::ask;
use super::*;

/// A service whose model likes long documents: a document's score is the length of its text, less five.
fn rerank_service(config: HttpConfig) -> Router {
    let reranker = FakeReranker::by(|_, _, candidate| candidate.text.len() as f32 - 5.0).with_adapters(&["qa"]);
    let pipeline = Pipeline::new(ToyFirstStage::new(toy::candidates(3)), reranker, PipelineConfig::default()).unwrap();
    router(Arc::new(pipeline), config)
}

fn sigmoid(x: f32) -> f32 {
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

    let small = rerank_service(HttpConfig { n_documents_max: NonZeroUsize::new(2).unwrap(), ..HttpConfig::default() });
    for (body, status, error_type, error) in [
        (json!({"query": "q", "texts": []}), 400, "Empty", "`texts` cannot be empty"),
        (
            json!({"query": "q", "texts": texts}),
            413,
            "Validation",
            "`texts` has 3 documents, which is above the limit of 2",
        ),
        (
            // Refused before the list is read: its last value would be refused for its type.
            json!({"query": "q", "texts": ["a", "b", 3]}),
            413,
            "Validation",
            "`texts` has 3 documents, which is above the limit of 2",
        ),
        (json!({"query": "q"}), 422, "Validation", "the body is not a rerank request: missing field `texts`"),
        (
            json!({"query": "q", "texts": ["a"], "truncation_direction": "Left"}),
            422,
            "Validation",
            "`truncation_direction` can be `Right` alone: the end of what is too long is cut",
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
        "model": "qa", "return_documents": true, "unknown_key": 1});
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
        (
            json!({"query": "q", "documents": [1]}),
            422,
            "`documents[0]` is refused: expected a text or an object with fields",
        ),
        (json!({"query": "q", "documents": ["a"], "top_n": 0}), 422, "`top_n` is 0; leave it out for all documents"),
        (json!({"query": "q", "documents": ["a"], "model": "gone"}), 404, "the adapter `gone` cannot be used: "),
        (json!({"query": "q", "documents": ["a"], "model": "owner/other"}), 422, "`model` is refused: "),
    ] {
        let (found, answer) = ask(&service, "POST", "/v1/rerank", body).await;
        assert_eq!(found, status, "{answer}");
        assert!(answer["message"].as_str().unwrap().starts_with(message), "{answer}");
        assert_eq!(answer["message"], answer["error"]["message"]);
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
        (422, &json!("`text_1` has 2 texts and `text_2` has 1; give one, or as many"))
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
