//! The shapes of services beside text-embeddings-inference, Cohere and vLLM, and the names of models.

use serde_json::json;

use super::experiments::ask;
use super::rerank::{rerank_service, sigmoid};
use super::*;

const QUERY: &str = "q";
const TEXTS: [&str; 3] = ["four", "eightabc", "sixsix"];

/// The values of a key in a list of entries.
fn column<'a>(entries: &'a Json, key: &str) -> Vec<&'a Json> {
    entries.as_array().unwrap_or_else(|| panic!("{entries}")).iter().map(|entry| &entry[key]).collect()
}

fn scores(entries: &Json, key: &str) -> Vec<f32> {
    column(entries, key).into_iter().map(|score| score.as_f64().unwrap() as f32).collect()
}

async fn answered(service: &Router, path: &str, body: Json) -> Json {
    let (status, answer) = ask(service, "POST", path, body).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

#[tokio::test]
async fn voyage() {
    let service = rerank_service(HttpConfig::default());
    let best = json!({"query": QUERY, "documents": TEXTS, "model": "qa", "top_k": 2, "truncation": true, "return_documents": true});
    let answer = answered(&service, "/v1/rerank", best).await;
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("qa")));
    assert_eq!(column(&answer["data"], "index"), [1, 2]);
    assert_eq!(scores(&answer["data"], "relevance_score"), [sigmoid(3.0), sigmoid(1.0)]);
    assert_eq!(column(&answer["data"], "document"), ["eightabc", "sixsix"]);
    assert!(answer["usage"]["total_tokens"].as_u64().unwrap() > 0);
    // The client without `top_k` sends null; another one leaves it out, and needs the path.
    for (path, body) in [
        ("/v1/rerank", json!({"query": QUERY, "documents": TEXTS, "top_k": null})),
        ("/voyage/v1/rerank", json!({"query": QUERY, "documents": TEXTS})),
    ] {
        let answer = answered(&service, path, body).await;
        assert_eq!(column(&answer["data"], "index"), [1, 2, 0], "{path}");
        assert_eq!(answer["data"][0].get("document"), None);
    }
    assert!(answered(&service, "/v1/rerank", json!({"query": QUERY, "documents": TEXTS})).await["results"].is_array());
    for (body, message) in [
        (
            json!({"query": QUERY, "documents": TEXTS, "top_k": 1, "top_n": 1}),
            "`top_n` is unknown; did you mean `top_k`?",
        ),
        (json!({"query": QUERY, "documents": [{"text": "a"}], "top_k": 1}), "`documents[0]` must be a string"),
        (json!({"query": QUERY, "documents": [], "top_k": 1}), "`documents` cannot be empty"),
        (json!({"query": QUERY, "documents": TEXTS, "top_k": 0}), "`top_k` must be a whole number of at least 1"),
        (json!({"query": QUERY, "documents": TEXTS, "top_k": 1, "truncation": false}), "`truncation` cannot be false"),
    ] {
        let (status, answer) = ask(&service, "POST", "/v1/rerank", body).await;
        assert_eq!(status, 422, "{answer}");
        assert!(answer["detail"].as_str().unwrap().starts_with(message), "{answer}");
    }
}

#[tokio::test]
async fn mixedbread_and_llama_cpp() {
    let service = rerank_service(HttpConfig::default());
    let input = json!(["four", {"title": "eightabc", "body": "x"}, ["of", "parts"]]);
    let (status, answer) = ask(&service, "POST", "/v1/reranking", json!({"query": QUERY, "input": input})).await;
    assert_eq!((status, &answer["error"]["field"]), (422, &json!("input[2]")), "{answer}");
    let input = json!(["four", {"title": "eightabc", "body": "x"}]);
    let body = json!({"model": "qa", "query": QUERY, "input": input, "rank_fields": ["title"], "top_k": 1, "return_input": true});
    let answer = answered(&service, "/v1/reranking", body).await;
    let keys = [&answer["object"], &answer["model"], &answer["top_k"], &answer["return_input"]];
    assert_eq!(keys, [&json!("list"), &json!("qa"), &json!(1), &json!(true)]);
    let entry = &answer["data"][0];
    assert_eq!((&entry["index"], &entry["input"], &entry["object"]), (&json!(1), &input[1], &json!("rank_result")));
    assert_eq!(scores(&answer["data"], "score"), [sigmoid(3.0)]);
    let plain = answered(&service, "/v1/reranking", json!({"query": QUERY, "input": TEXTS})).await;
    assert_eq!(
        (column(&plain["data"], "index"), plain["data"][0].get("input")),
        (vec![&json!(1), &json!(2), &json!(0)], None)
    );
    let llama_cpp = answered(&service, "/v1/reranking", json!({"query": QUERY, "documents": TEXTS, "top_n": 2})).await;
    assert_eq!(column(&llama_cpp["results"], "index"), [1, 2]);
    let both = json!({"query": QUERY, "documents": TEXTS, "input": TEXTS});
    let (status, answer) = ask(&service, "POST", "/v1/reranking", both).await;
    assert_eq!(
        (status, answer["message"].as_str()),
        (422, Some("`input` cannot be combined with `documents`; send one of them"))
    );
}

#[tokio::test]
async fn nvidia_nim() {
    let service = rerank_service(HttpConfig::default());
    let passages: Vec<Json> = TEXTS.iter().map(|text| json!({"text": text})).collect();
    let body = json!({"model": "qa", "query": {"text": QUERY}, "passages": passages, "truncate": "END"});
    for path in ["/v1/ranking", "/v1/retrieval/qa/reranking", "/v1/retrieval/nvidia/reranking"] {
        let answer = answered(&service, path, body.clone()).await;
        assert_eq!(column(&answer["rankings"], "index"), [1, 2, 0]);
        assert_eq!(scores(&answer["rankings"], "logit"), [3.0, 1.0, -1.0]);
    }
    for key in ["top_k", "top_n"] {
        let mut body = body.clone();
        body[key] = json!(1);
        assert_eq!(column(&answered(&service, "/v1/ranking", body).await["rankings"], "index"), [1]);
    }
    let with = |key: &str, value: Json| {
        let mut body = body.clone();
        body[key] = value;
        body
    };
    for (path, body, status, message) in [
        ("/v1/ranking", with("truncate", json!("NONE")), 422, "`truncate` cannot be \"NONE\""),
        ("/v1/ranking", with("passages", json!([{"text": "a", "image": "b"}])), 422, "`passages[0].image` is unknown"),
        ("/v1/ranking", with("query", json!("q")), 422, "`query` must be an object"),
        ("/v1/retrieval/none/reranking", body.clone(), 422, "`model` is `qa`, but the path names `none`"),
        ("/v1/retrieval/qa", body.clone(), 404, "unknown route `/v1/retrieval/qa`"),
        ("/v1/retrieval/a/b/reranking", with("model", json!("a/b")), 404, "the adapter `a/b` cannot be used"),
    ] {
        let (found, answer) = ask(&service, "POST", path, body).await;
        assert_eq!(found, status, "{path}: {answer}");
        assert!(answer["detail"].as_str().unwrap().starts_with(message), "{path}: {answer}");
    }
}

#[tokio::test]
async fn deepinfra() {
    let service = rerank_service(HttpConfig::default());
    for queries in [json!([QUERY]), json!([QUERY, QUERY, "other"])] {
        let body = json!({"queries": queries, "documents": TEXTS, "service_tier": "default", "instruction": ""});
        let answer = answered(&service, "/v1/inference/qa", body).await;
        let found: Vec<f32> =
            answer["scores"].as_array().unwrap().iter().map(|it| it.as_f64().unwrap() as f32).collect();
        assert_eq!(found, [sigmoid(-1.0), sigmoid(3.0), sigmoid(1.0)]);
        assert!(answer["input_tokens"].as_u64().unwrap() > 0 && answer["inference_status"]["status"] == "succeeded");
    }
    for (path, body, status, message) in [
        (
            "/v1/inference/qa",
            json!({"queries": ["a", "b"], "documents": TEXTS}),
            422,
            "`queries` has 2 texts, but `documents` has 3",
        ),
        ("/v1/inference/qa", json!({"queries": [], "documents": TEXTS}), 422, "`queries` cannot be empty"),
        ("/v1/inference/qa", json!({"queries": ["a"], "documents": ["b"], "webhook": "c"}), 422, "`webhook` cannot be"),
        ("/v1/inference/a/b", json!({"queries": ["a"], "documents": ["b"]}), 404, "the adapter `a/b` cannot be used"),
        (
            "/v1/inference/experiment:x",
            json!({"queries": ["a"], "documents": ["b"]}),
            422,
            "`model` cannot be `experiment:x` here: experiments need a ranking",
        ),
    ] {
        let (found, answer) = ask(&service, "POST", path, body).await;
        assert_eq!(found, status, "{path}: {answer}");
        assert!(answer["detail"].as_str().unwrap().starts_with(message), "{path}: {answer}");
    }
}

#[tokio::test]
async fn dashscope() {
    let service = rerank_service(HttpConfig::default());
    let parameters = json!({"top_n": 2, "return_documents": true});
    let body = json!({"model": "qa", "input": {"query": QUERY, "documents": TEXTS}, "parameters": parameters});
    let path = "/api/v1/services/rerank/text-rerank/text-rerank";
    let answer = answered(&service, path, body).await;
    let results = &answer["output"]["results"];
    assert_eq!(
        (column(results, "index"), &results[0]["document"]),
        (vec![&json!(1), &json!(2)], &json!({"text": "eightabc"}))
    );
    assert!(answer["request_id"].is_string() && answer["usage"]["total_tokens"].as_u64().unwrap() > 0);
    let compatible = json!({"model": "qa", "query": QUERY, "documents": TEXTS, "top_n": 2, "return_documents": true});
    let answer = answered(&service, "/v1/reranks", compatible).await;
    assert_eq!(answer["results"][0]["document"], json!({"text": "eightabc"}));
    for (body, message) in [
        (json!({"input": {"query": QUERY, "documents": []}}), "`input.documents` cannot be empty"),
        (
            json!({"input": {"query": QUERY, "documents": ["a"]}, "parameters": {"top_k": 1}}),
            "`parameters.top_k` is unknown",
        ),
    ] {
        let (status, answer) = ask(&service, "POST", path, body).await;
        assert_eq!((status, &answer["code"]), (422, &json!("invalid_value")), "{answer}");
        assert!(answer["message"].as_str().unwrap().starts_with(message), "{answer}");
    }
}

#[tokio::test]
async fn jina_infinity_together_and_xinference() {
    let service = rerank_service(HttpConfig::default());
    let body = json!({"query": QUERY, "documents": ["four", {"title": "eightabc"}], "model": "qa"});
    // Documents come back by each service's own default, as it writes them.
    let object = json!({"title": "eightabc"});
    for (path, by_default, as_sent, kind) in [
        ("/v1/rerank", None, &object, "rerank"),
        ("/jina/v1/rerank", Some(&object), &object, "list"),
        ("/infinity/rerank", None, &json!("title: eightabc"), "rerank"),
    ] {
        let answer = answered(&service, path, body.clone()).await;
        assert_eq!((answer["results"][0].get("document"), &answer["object"]), (by_default, &json!(kind)), "{path}");
        // RAGFlow writes booleans as texts.
        for yes in [json!(true), json!("true")] {
            let mut body = body.clone();
            body["return_documents"] = yes.clone();
            body["return_len"] = yes;
            let answer = answered(&service, path, body).await;
            assert_eq!(&answer["results"][0]["document"], as_sent, "{path}");
            let tokens = &answer["meta"]["tokens"];
            assert_eq!(
                (&tokens["input_tokens"], &tokens["output_tokens"]),
                (&answer["usage"]["total_tokens"], &json!(0))
            );
        }
        let mut body = body.clone();
        body["return_documents"] = json!("false");
        let answer = answered(&service, path, body).await;
        assert_eq!(answer["results"][0].get("document"), None, "{path}");
        assert_eq!(answer["usage"]["completion_tokens"], 0);
    }
    let not_specified = json!({"query": QUERY, "documents": ["four"], "model": "default/not-specified"});
    assert_eq!(answered(&service, "/infinity/rerank", not_specified).await["model"], "toy");
    let (status, answer) = ask(&service, "POST", "/infinity/rerank", json!({"query": QUERY, "documents": [1]})).await;
    let detail = json!([{"loc": ["body", "documents[0]"], "msg": answer["error"]["message"], "type": "invalid_value"}]);
    assert_eq!((status, &answer["detail"]), (422, &detail));
}

#[tokio::test]
async fn a_long_document_has_the_score_of_its_best_chunk() {
    // The model likes the letter `x`: a text's score is its share of them.
    let reranker = FakeReranker::by(|_, _, candidate| {
        candidate.text.bytes().filter(|byte| *byte == b'x').count() as f32 / candidate.text.len() as f32
    });
    let pipeline = Pipeline::new(ToyFirstStage::new(toy::candidates(3)), reranker, PipelineConfig::default()).unwrap();
    let service = router(Arc::new(pipeline), HttpConfig::default());
    // A chunk has 512 - 8 tokens of 3 bytes: two and a half chunks, the last of them liked best.
    let document = format!("{}{}", "a".repeat(2 * 1512), "x".repeat(756));
    let score = async |body: Json| {
        let mut body = body;
        body["query"] = json!("q");
        body["documents"] = json!([document]);
        body["raw_scores"] = json!(true);
        scores(&answered(&service, "/v1/rerank", body).await["results"], "relevance_score")[0]
    };
    let whole = 756.0 / document.len() as f32;
    assert!((score(json!({})).await - whole).abs() < 1e-6);
    assert!((score(json!({"max_chunks_per_doc": 1})).await - whole).abs() < 1e-6);
    assert_eq!(score(json!({"max_chunks_per_doc": 1024})).await, 1.0);
    // The second of two chunks has the rest.
    assert!((score(json!({"max_chunks_per_doc": 2})).await - 756.0 / (1512.0 + 756.0)).abs() < 1e-6);
    // With an overlap of 80 tokens the last chunk begins 240 bytes earlier than the one before it ends.
    let overlapped = 756.0 / (document.len() - 2 * (1512 - 240)) as f32;
    assert!((score(json!({"max_chunks_per_doc": 1024, "overlap_tokens": 80})).await - overlapped).abs() < 1e-6);
    for (body, message) in [
        (
            json!({"max_chunks_per_doc": 2, "overlap_tokens": 300}),
            "`overlap_tokens` is 300, and the maximum is half of a chunk of 504 tokens",
        ),
        (
            json!({"max_chunks_per_doc": 99_999, "documents": ["b".repeat(10_001 * 1512)]}),
            "`max_chunks_per_doc` splits the documents into 10001 chunks",
        ),
    ] {
        let mut body = body;
        body["query"] = json!("q");
        body["documents"] = body.get("documents").cloned().unwrap_or(json!(["a"]));
        let (status, answer) = ask(&service, "POST", "/v1/rerank", body).await;
        assert_eq!(status, 422, "{answer}");
        assert!(answer["message"].as_str().unwrap().starts_with(message), "{answer}");
    }
}

/// The name of the model that answers for a name, by the answer, and its warning.
async fn model_for(service: &Router, model: &str) -> (Json, Json) {
    let answer = answered(service, "/v1/rerank", json!({"query": "q", "documents": ["a"], "model": model})).await;
    (answer["model"].clone(), answer["meta"]["warnings"].clone())
}

#[tokio::test]
async fn a_model_goes_by_the_names_that_clients_have_for_it() {
    let aliases = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<ModelAlias>>();
    let config = |texts: &[&str]| HttpConfig { model_aliases: aliases(texts), ..HttpConfig::default() };
    let service = rerank_service(config(&["rerank-v3.5", "BAAI/bge-reranker-v2-m3=qa", "amazon.rerank-v1:0=none"]));
    for (name, model) in [
        ("", "toy"),
        ("none", "toy"),
        ("toy", "toy"),
        ("qa", "qa"),
        ("rerank-v3.5", "toy"),
        ("BAAI/bge-reranker-v2-m3", "qa"),
        ("amazon.rerank-v1:0", "toy"),
    ] {
        assert_eq!(model_for(&service, name).await, (json!(model), Json::Null), "{name}");
    }
    let (status, answer) =
        ask(&service, "POST", "/v1/rerank", json!({"query": "q", "documents": ["a"], "model": "gone"})).await;
    assert_eq!(status, 404, "{answer}");
    let any = rerank_service(config(&["*=qa"]));
    let warning = json!(["the model `an unknown one` is not served here; `qa` answered (the model alias `*`)"]);
    assert_eq!(model_for(&any, "an unknown one").await, (json!("qa"), warning));
    assert_eq!(model_for(&any, "none").await, (json!("toy"), Json::Null), "a known name keeps its meaning");
    // Shapes without a model of their own say it in a header.
    let body = json!({"query": "q", "texts": ["a"], "model": "gone"}).to_string();
    let (status, headers, _) = send(&any, request("POST", "/rerank", JSON, body)).await;
    assert_eq!(
        (status.as_u16(), &headers["x-model"], &headers["x-scores"]),
        (200, &"qa".parse().unwrap(), &"model".parse().unwrap())
    );
}

#[tokio::test]
async fn each_model_is_listed_once_and_can_be_looked_up() {
    let aliases = vec!["owner/name:v1".parse().unwrap(), "none".parse().unwrap(), "*".parse().unwrap()];
    let service = rerank_service(HttpConfig { model_aliases: aliases, ..HttpConfig::default() });
    let (_, models) = ask(&service, "GET", "/v1/models", Json::Null).await;
    assert_eq!(column(&models["data"], "id"), ["toy", "none", "owner/name:v1"]);
    for id in ["toy", "none", "owner/name:v1", "owner%2Fname:v1", "anything"] {
        let (status, model) = ask(&service, "GET", &format!("/v1/models/{id}"), Json::Null).await;
        assert_eq!((status, &model["id"]), (200, &json!(id.replace("%2F", "/"))), "{model}");
    }
    let service = rerank_service(HttpConfig::default());
    assert_eq!(ask(&service, "GET", "/v1/models/qa", Json::Null).await.1["object"], "model");
    let (status, answer) = ask(&service, "GET", "/v1/models/owner/gone", Json::Null).await;
    assert_eq!(
        (status, answer["error"]["message"].as_str()),
        (404, Some("unknown model `owner/gone`; `/v1/models` lists the models"))
    );
    assert_eq!(ask(&service, "GET", "/v1/models/experiment:x", Json::Null).await.0, 404);
}
