//! Experiments, events, comparisons and keys from the outside.

use std::sync::Arc;

use axum::http::StatusCode;
use lorank_experiment_pipeline::{ExperimentPipeline, ShadowConfig};
use lorank_experiment_store::{ExperimentStore, StoreConfig};
use serde_json::json;

use super::*;

/// A service with experiments, and the folder of their store.
pub(super) fn lab_service(config: HttpConfig) -> (Router, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(ExperimentStore::open(folder.path(), StoreConfig::default()).unwrap());
    let reranker = FakeReranker::hashing().with_adapters(&["a", "b"]);
    let first_stage = ToyFirstStage::new(toy::candidates(20));
    let pipeline = Arc::new(Pipeline::new(first_stage, reranker, PipelineConfig::default()).unwrap());
    let shadow = ShadowConfig { name: "b".into(), adapter: "b".parse().unwrap(), share: 1.0 };
    let experiments = ExperimentPipeline::new(pipeline, store, vec![shadow]).unwrap();
    (router(Service::new(Arc::new(experiments)), config), folder)
}

fn now_millis() -> i64 {
    crate::routes::now_millis()
}

/// Sends JSON and reads JSON, where there is any.
pub(super) async fn ask(service: &Router, method: &str, uri: &str, body: Json) -> (u16, Json) {
    let sent = if body.is_null() { (String::new(), "") } else { (body.to_string(), JSON) };
    let (status, _, body) = send(service, request(method, uri, sent.1, sent.0)).await;
    (status.as_u16(), serde_json::from_str(&body).unwrap_or(Json::String(body)))
}

fn experiment(method: &str) -> Json {
    json!({"id": "x", "salt": "s", "layer": "main", "traffic_share": 1.0, "method": method, "arms": [
        {"name": "control", "model": "none", "weight": 1}, {"name": "a", "model": "a", "weight": 1}]})
}

#[tokio::test]
async fn an_experiment_goes_from_draft_to_report() {
    let (service, _folder) = lab_service(HttpConfig::default());
    let (status, draft) = ask(&service, "POST", "/v1/experiments", experiment("split")).await;
    assert_eq!((status, &draft["state"]), (201, &json!("draft")));
    assert_eq!(ask(&service, "POST", "/v1/experiments", experiment("split")).await.0, 409, "it is there");
    assert_eq!(ask(&service, "POST", "/v1/experiments/x/start", Json::Null).await.1["state"], "running");
    assert_eq!(ask(&service, "DELETE", "/v1/experiments/x", Json::Null).await.0, 409, "only a draft can be");

    let mut seen = std::collections::BTreeSet::new();
    for n in 0..40 {
        let search = json!({"query": "egg", "unit_id": format!("u{n}"), "top_k": 5});
        let (status, answer) = ask(&service, "POST", "/v1/search", search).await;
        assert_eq!((status, &answer["experiment"]["id"]), (200, &json!("x")));
        let arm = answer["experiment"]["arm"].as_str().unwrap();
        let adapter = if arm == "a" { json!("a") } else { Json::Null };
        assert_eq!(answer["adapter"]["id"], adapter);
        seen.insert(arm.to_owned());
        let click = json!([{"action_name": "click", "query_id": answer["request_id"], "client_id": "c",
            "timestamp": now_millis(), "event_id": format!("e{n}"),
            "event_attributes": {"object": {"object_id": answer["hits"][0]["id"]}, "position": {"ordinal": 1}}}]);
        let counts =
            |answer: &Json| [&answer["accepted"], &answer["duplicates"], &answer["unattributed"]].map(Json::clone);
        let (status, answer) = ask(&service, "POST", "/v1/events", click.clone()).await;
        assert_eq!((status, counts(&answer)), (200, [1, 0, 0].map(Json::from)), "{answer}");
        assert_eq!(counts(&ask(&service, "POST", "/v1/events", click).await.1), [0, 1, 0].map(Json::from));
    }
    assert_eq!(seen.len(), 2);
    let (_, report) = ask(&service, "GET", "/v1/experiments/x/report", Json::Null).await;
    let n_clicks: u64 = report["arms"].as_array().unwrap().iter().map(|arm| arm["n_clicks"].as_u64().unwrap()).sum();
    assert_eq!((n_clicks, report["sentence"].as_str().unwrap().contains("ot yet")), (40, true), "{report}");
    let (_, table) = ask(&service, "GET", "/v1/experiments/x/report?format=text", Json::Null).await;
    assert!(table.as_str().unwrap().contains("click-through"), "{table}");
    let mut page = request("GET", "/v1/experiments/x/report", "", "");
    page.headers_mut().insert("accept", "text/html,application/xhtml+xml".parse().unwrap());
    let (_, headers, page) = send(&service, page).await;
    assert!(headers["content-type"].to_str().unwrap().starts_with("text/html") && page.starts_with("<!"), "{page:.40}");
    for format in ["json", "text", "html"] {
        let asked = |tag: Option<&str>| {
            let mut asked = request("GET", &format!("/v1/experiments/x/report?format={format}"), "", "");
            tag.into_iter().for_each(|tag| drop(asked.headers_mut().insert("if-none-match", tag.parse().unwrap())));
            asked
        };
        let (status, headers, _) = send(&service, asked(None)).await;
        let tag = headers["etag"].to_str().unwrap().to_owned();
        assert_eq!((status.as_u16(), &headers["vary"]), (200, &"accept".parse().unwrap()));
        for (sent, status) in [(&*tag, 304), ("*", 304), ("W/\"other\"", 200)] {
            let (found, _, body) = send(&service, asked(Some(sent))).await;
            assert_eq!((found.as_u16(), body.is_empty()), (status, status == 304), "{format} {sent}");
        }
        let list = format!("\"other\", W/{tag}");
        assert_eq!(send(&service, asked(Some(&list))).await.0, 304);
    }
    let (_, csv) = ask(&service, "GET", "/v1/experiments/x/export", Json::Null).await;
    assert_eq!(csv.as_str().unwrap().lines().count(), 41);

    assert_eq!(ask(&service, "PATCH", "/v1/experiments/x", json!({"traffic_share": 0.5})).await.0, 422);
    assert_eq!(ask(&service, "POST", "/v1/experiments/x/stop", Json::Null).await.1["state"], "stopped");
    assert_eq!(ask(&service, "GET", "/v1/search?q=egg&unit_id=u1", Json::Null).await.1["experiment"], Json::Null);
}

#[tokio::test]
async fn what_a_definition_leaves_out_has_defaults() {
    let (service, _folder) = lab_service(HttpConfig::default());
    let short = json!({"id": "short", "arms": [{"name": "control", "model": "none"}, {"name": "a", "model": "a"}]});
    let (status, draft) = ask(&service, "POST", "/v1/experiments", short).await;
    assert_eq!(status, 201, "{draft}");
    assert_eq!(
        (&draft["salt"], &draft["layer"], &draft["traffic_share"]),
        (&json!("short"), &json!("main"), &json!(1.0))
    );
    assert_eq!((&draft["arms"][1]["weight"], &draft["arms"][1]["pinned"]), (&json!(1), &Json::Null));
    let (_, started) = ask(&service, "POST", "/v1/experiments/short/start", Json::Null).await;
    let pinned = &started["arms"][1]["pinned"];
    assert_eq!((&pinned["adapter"], pinned["digest"].as_str().unwrap().len()), (&json!("a"), 64));
    assert_eq!(started["arms"][0]["pinned"], Json::Null, "the bare base model is no adapter");
    let (_, report) = ask(&service, "GET", "/v1/experiments/short/report", Json::Null).await;
    assert_eq!((&report["state"], &report["served"][1]["pinned"]), (&json!("running"), pinned));
}

#[tokio::test]
async fn arms_have_settings_that_reports_list_and_answers_have() {
    let (service, _folder) = lab_service(HttpConfig::default());
    let deep = json!({"name": "deep", "model": "a", "depth": 7, "blend_weight": 0.5, "instruction": "Find cases"});
    let body = json!({"id": "x", "arms": [{"name": "control", "model": "a"}, deep]});
    let (status, draft) = ask(&service, "POST", "/v1/experiments", body).await;
    assert_eq!((status, &draft["arms"][1]["depth"]), (201, &json!(7)), "{draft}");
    assert_eq!((&draft["arms"][1]["blend_weight"], draft["arms"][0].get("depth")), (&json!(0.5), None));
    assert_eq!(ask(&service, "POST", "/v1/experiments/x/start", Json::Null).await.0, 200);

    let search = json!({"query": "egg", "arm": "deep", "depth": 9});
    let (status, answer) = ask(&service, "POST", "/v1/search", search).await;
    assert_eq!((status, &answer["depth"], &answer["n_candidates"]), (200, &json!(7), &json!(7)), "{answer}");
    let message = "`depth` has no effect in this answer of an experiment: an arm that ranks sets it";
    assert_eq!(answer["warnings"][0]["message"], message, "{answer}");
    let (_, report) = ask(&service, "GET", "/v1/experiments/x/report", Json::Null).await;
    let settings = json!({"blend_weight": "0.5", "depth": "7", "instruction": "Find cases"});
    assert_eq!((&report["served"][1]["settings"], report["served"][0].get("settings")), (&settings, None));
}

#[tokio::test]
async fn settings_that_cannot_be_served_are_refused_by_name() {
    let (service, _folder) = lab_service(HttpConfig::default());
    for (arm, field, part) in [
        (json!({"name": "b", "model": "a", "depth": 1_001}), "arms[1].depth", "above the limit of 1000"),
        (json!({"name": "b", "model": "a", "depth": 0}), "arms[1].depth", ""),
        (json!({"name": "b", "model": "a", "blend_weight": 2}), "arms[1].blend_weight", "from 0 to 1, not `2`"),
        (json!({"name": "b", "model": "a", "passages": "best"}), "arms[1].passages", "`best` is not a rule"),
        (json!({"name": "b", "model": "a", "stride": 5}), "arms.stride", "(arm `b`) is invalid: it needs `passages`"),
        (
            json!({"name": "b", "model": "first-stage", "depth": 5}),
            "arms.depth",
            "has no effect on the order of the first",
        ),
    ] {
        let body = json!({"id": "x", "arms": [{"name": "control", "model": "a"}, arm]});
        let (status, answer) = ask(&service, "POST", "/v1/experiments", body).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert_eq!((status, &answer["error"]["field"]), (422, &json!(field)), "{answer}");
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn an_experiment_past_its_end_is_stopped() {
    let (service, folder) = lab_service(HttpConfig::default());
    let store = ExperimentStore::open(folder.path(), StoreConfig::default()).unwrap();
    let mut past = experiment("split");
    past["end_millis"] = 2_000.into();
    store.create(serde_json::from_value(past).unwrap()).unwrap();
    store.start("x", 1_000).unwrap();
    for (uri, path) in [
        ("/v1/experiments", "/experiments/0/state"),
        ("/v1/experiments/x", "/state"),
        ("/v1/experiments/x/report", "/state"),
    ] {
        let (_, answer) = ask(&service, "GET", uri, Json::Null).await;
        assert_eq!(answer.pointer(path), Some(&json!("stopped")), "{uri}: {answer}");
    }
    let (status, answer) = ask(&service, "DELETE", "/v1/experiments/x", Json::Null).await;
    let message = answer["error"]["message"].as_str().unwrap();
    assert_eq!(
        (status, message),
        (
            409,
            "experiment `x` (stopped) cannot be deleted; its records refer to it; it assigns no more units, and `lorank \
             experiments forget` deletes old records"
        )
    );
    assert_eq!(ask(&service, "PATCH", "/v1/experiments/x", json!({"traffic_share": 1.0})).await.0, 409);
    assert_eq!(ask(&service, "GET", "/v1/search?q=egg&unit_id=u1", Json::Null).await.1["experiment"], Json::Null);
}

#[tokio::test]
async fn an_empty_unit_is_refused_at_every_door() {
    let (service, _folder) = lab_service(HttpConfig::default());
    let mut by_header = request("GET", "/v1/search?q=egg", "", "");
    by_header.headers_mut().insert("x-unit-id", "".parse().unwrap());
    let mut by_body_and_header = request("POST", "/v1/search", JSON, json!({"query": "egg"}).to_string());
    by_body_and_header.headers_mut().insert("x-unit-id", "".parse().unwrap());
    for (asked, field) in [
        (by_header, "x-unit-id"),
        (by_body_and_header, "x-unit-id"),
        (request("GET", "/v1/search?q=egg&unit_id=", "", ""), "unit_id"),
        (request("POST", "/v1/search", JSON, json!({"query": "egg", "unit_id": ""}).to_string()), "unit_id"),
    ] {
        let (status, _, body) = send(&service, asked).await;
        let answer: Json = serde_json::from_str(&body).unwrap();
        assert_eq!((status.as_u16(), &answer["error"]["field"]), (422, &json!(field)), "{answer}");
    }
}

#[tokio::test]
async fn interleaved_hits_do_not_tell_their_arm() {
    let (service, _folder) = lab_service(HttpConfig::default());
    ask(&service, "POST", "/v1/experiments", experiment("interleave")).await;
    ask(&service, "POST", "/v1/experiments/x/start", Json::Null).await;
    let mut search = request("GET", "/v1/search?q=egg&explain=true", "", "");
    search.headers_mut().insert("x-unit-id", "u".parse().unwrap());
    let (_, _, body) = send(&service, search).await;
    let answer: Json = serde_json::from_str(&body).unwrap();
    let part = json!({"id": "x", "arm": null, "interleaved": true, "forced": false, "failed_arms": []});
    assert_eq!((&answer["experiment"], &answer["adapter"], &answer["reranked"]), (&part, &Json::Null, &json!(true)));
    for hit in answer["hits"].as_array().unwrap() {
        assert_eq!((&hit["rerank_score"], &hit["explanation"]["score_origin"]), (&Json::Null, &Json::Null));
    }
    let (_, forced) = ask(&service, "GET", "/v1/search?q=egg&arm=a", Json::Null).await;
    assert_eq!((&forced["experiment"]["forced"], &forced["adapter"]["id"]), (&json!(true), &json!("a")));
}

#[tokio::test]
async fn what_is_wrong_with_an_experiment_or_event_is_named() {
    let (service, _folder) = lab_service(HttpConfig::default());
    let mut missing = experiment("split");
    missing["arms"][1]["model"] = "gone".into();
    let click = |query_id: &str| json!({"action_name": query_id, "timestamp": now_millis()});
    for (method, uri, body, status, field) in [
        ("POST", "/v1/experiments", missing, 422, json!("arms[1].model")),
        ("POST", "/v1/experiments", json!({"id": "x"}), 422, json!("arms")),
        ("GET", "/v1/experiments/x", Json::Null, 404, Json::Null),
        ("GET", "/v1/experiments/x/report?format=pdf", Json::Null, 400, Json::Null),
        ("POST", "/v1/search", json!({"query": "egg", "experiment": "x"}), 404, json!("experiment")),
        ("POST", "/v1/search", json!({"query": "egg", "arm": "x"}), 404, json!("arm")),
        ("POST", "/v1/search", json!({"query": "egg", "unit_id": ""}), 422, json!("unit_id")),
        ("POST", "/v1/events", json!([click("click"), click("")]), 422, json!("action_name")),
        ("POST", "/v1/events", json!({"action_name": "click"}), 422, json!("timestamp")),
        ("POST", "/v1/compare", json!({"query": "egg"}), 422, json!("adapters")),
        ("POST", "/v1/compare", json!({"query": "egg", "adapters": ["a", "a"]}), 422, json!("adapters")),
        ("POST", "/v1/compare", json!({"query": "egg", "adapters": ["gone"]}), 404, json!("adapter")),
        ("POST", "/v1/compare", json!({"query": "egg", "adapters": ["a"], "rerank": true}), 422, json!("rerank")),
        ("GET", "/v1/adapters", Json::Null, 404, Json::Null),
    ] {
        let (found, answer) = ask(&service, method, uri, body.clone()).await;
        assert_eq!(
            (found, answer["error"].get("field").unwrap_or(&Json::Null)),
            (status, &field),
            "{method} {uri} {body}: {answer}"
        );
    }
    let (_, report) = ask(&service, "POST", "/v1/events", json!([click("click"), click("")])).await;
    assert!(
        report["error"]["message"].as_str().unwrap().starts_with("event 1 (counted from 0) is invalid"),
        "{report}"
    );
}

#[tokio::test]
async fn a_comparison_shows_every_rankers_hits_and_where_the_others_have_them() {
    let (service, _folder) = lab_service(HttpConfig::default());
    let body = json!({"query": "egg", "adapters": ["a", "none"], "top_k": 5, "depth": 10, "fields": ["year"]});
    let (status, answer) = ask(&service, "POST", "/v1/compare", body).await;
    assert_eq!(status, 200, "{answer}");
    let rankers = answer["rankers"].as_array().unwrap();
    assert_eq!(
        rankers.iter().map(|one| one["name"].as_str().unwrap()).collect::<Vec<_>>(),
        ["first-stage", "a", "none"]
    );
    for ranker in rankers {
        for hit in ranker["hits"].as_array().unwrap() {
            let id = hit["id"].as_str().unwrap();
            assert!(answer["documents"][id]["fields"]["year"].is_u64(), "{id}");
            let origin = if ranker["name"] == "first-stage" { Json::Null } else { json!("model") };
            assert_eq!(hit["score_origin"], origin, "{id}");
            for other in rankers.iter().filter(|other| other["name"] != ranker["name"]) {
                let there = other["hits"].as_array().unwrap().iter().find(|hit| hit["id"] == id);
                let rank = there.map_or(Json::Null, |hit| hit["rank"].clone());
                assert_eq!(hit["ranks"][other["name"].as_str().unwrap()], rank);
            }
        }
        let name = ranker["name"].as_str().unwrap();
        let alone = if name == "first-stage" { "rerank=false".to_owned() } else { format!("adapter={name}") };
        let (_, alone) = ask(&service, "GET", &format!("/v1/search?q=egg&top_k=5&depth=10&{alone}"), Json::Null).await;
        assert_eq!(ids(ranker), ids(&alone));
    }
}

#[tokio::test]
async fn pages_of_a_comparison_follow_each_other() {
    let (service, _folder) = lab_service(HttpConfig::default());
    let page = async |top_k: usize, offset: usize| {
        let body = json!({"query": "egg", "adapters": ["a"], "depth": 12, "top_k": top_k, "offset": offset});
        ask(&service, "POST", "/v1/compare", body).await.1
    };
    let (whole, first, second) = (page(10, 0).await, page(5, 0).await, page(5, 5).await);
    for n in 0..2 {
        let ranker = |answer: &Json| answer["rankers"][n].clone();
        assert_eq!([ids(&ranker(&first)), ids(&ranker(&second))].concat(), ids(&ranker(&whole)));
        assert_eq!(second["rankers"][n]["hits"][0]["rank"], 6);
    }
}

#[tokio::test]
async fn shadows_and_counts_can_be_read() {
    let (service, _folder) = lab_service(HttpConfig::default());
    ask(&service, "GET", "/v1/search?q=egg&adapter=a", Json::Null).await;
    let shadow = loop {
        let (_, shadows) = ask(&service, "GET", "/v1/shadows", Json::Null).await;
        if let Some(shadow) = shadows["shadows"].get(0) {
            break shadow.clone();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&shadow["adapter"], &shadow["n_answers"], &shadow["n_failures"]), (&json!("b"), &json!(1), &json!(0)));
    assert!(shadow["mean_rbo"].as_f64().unwrap() < 1.0);
    let (_, text) = ask(&service, "GET", "/metrics", Json::Null).await;
    let text = text.as_str().unwrap();
    for line in [
        "lorank_requests_total{route=\"/v1/search\",method=\"GET\",status=\"200\"} 1",
        "lorank_answers_total{adapter=\"a\",experiment=\"\",arm=\"\",index=\"default\"} 1",
        "lorank_search_stage_duration_seconds_count{stage=\"model\"} 1",
        "lorank_cache_misses_total",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn keys_open_what_their_role_may_do() {
    let key = |text: &str, role| Key::new(text, role, &Key::hash_of(text)).unwrap();
    let keys = vec![key("searching", Role::Search), key("administering", Role::Admin)];
    let (service, _folder) = lab_service(HttpConfig { access: Access { keys }, ..HttpConfig::default() });
    for (uri, key, status) in [
        ("/health", "", 200),
        ("/v1/search?q=egg", "", 401),
        ("/v1/search?q=egg", "guessed", 401),
        ("/v1/search?q=egg", "searching", 200),
        ("/v1/experiments", "searching", 403),
        ("/v1/experiments", "administering", 200),
        ("/v1/search?q=egg", "administering", 200),
        ("/nowhere", "", 404),
    ] {
        let mut request = request("GET", uri, "", "");
        if !key.is_empty() {
            request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        let (found, headers, _) = send(&service, request).await;
        assert_eq!(found.as_u16(), status, "{uri} with `{key}`");
        assert_eq!(headers.contains_key("www-authenticate"), found == StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn events_that_no_report_will_count_are_told_at_once() {
    let (service, _folder) = lab_service(HttpConfig::default());
    ask(&service, "POST", "/v1/experiments", experiment("split")).await;
    ask(&service, "POST", "/v1/experiments/x/start", Json::Null).await;
    let (_, answer) = ask(&service, "POST", "/v1/search", json!({"query": "egg", "unit_id": "u"})).await;
    let shown = answer["hits"][0]["id"].clone();
    let now = now_millis();
    let event = |query_id: &Json, object_id: &Json, timestamp: Json| json!({"action_name": "CLICK", "query_id": query_id, "object_id": object_id, "timestamp": timestamp});
    for (timestamp, part) in [
        (json!(0), "is 1970-01-01T00:00:00Z, which is before any answer"),
        (json!(now / 1_000), "which looks like seconds; send milliseconds since 1970"),
        (json!(now + 7_200_000), "which is in the future"),
        (json!("2999-01-01T00:00:00Z"), "which is in the future"),
    ] {
        let (status, answer) =
            ask(&service, "POST", "/v1/events", event(&answer["request_id"], &shown, timestamp)).await;
        let said = answer["error"]["message"].as_str().unwrap();
        assert!(status == 422 && answer["error"]["field"] == "timestamp" && said.contains(part), "{answer}");
    }
    let sent = json!([
        event(&answer["request_id"], &shown, json!(now)),
        event(&answer["request_id"], &json!("elsewhere"), json!(now)),
        event(&json!("unknown"), &shown, json!(now)),
        event(&answer["request_id"], &shown, json!(now - 86_400_000)),
    ]);
    let (status, kept) = ask(&service, "POST", "/v1/events", sent).await;
    let expected = json!({"accepted": 4, "duplicates": 0, "unattributed": 3,
        "unattributed_reasons": {"unknown_query": 1, "unknown_object": 1, "before_answer": 1}});
    assert_eq!((status, kept), (200, expected));
    for offset in [10, 20] {
        let body = json!({"query": "egg", "unit_id": "u", "offset": offset});
        assert_eq!(ask(&service, "POST", "/v1/search", body).await.0, 200);
    }
    let (_, report) = ask(&service, "GET", "/v1/experiments/x/report", Json::Null).await;
    let of_unit = report["arms"].as_array().unwrap().iter().find(|arm| arm["n_units"] == 1).unwrap();
    assert_eq!((&of_unit["n_queries"], &of_unit["click_through"]), (&json!(1), &json!(1.0)), "{report}");
}

/// Sends an event as a page does that is being left.
async fn beacon(service: &Router, uri: &str, content_type: &str, origin: Option<&str>) -> (u16, String) {
    let event = json!({"action_name": "click", "timestamp": now_millis()}).to_string();
    let mut request = request("POST", uri, content_type, event);
    request.headers_mut().insert("host", "localhost:7788".parse().unwrap());
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    let (status, _, body) = send(service, request).await;
    (status.as_u16(), body)
}

#[tokio::test]
async fn beacons_are_taken_from_the_servers_own_pages_and_those_of_allowed_origins() {
    const TEXT: &str = "text/plain;charset=UTF-8";
    let allowed = vec!["https://other.example".parse().unwrap()];
    let (service, _folder) = lab_service(HttpConfig { cors_origins: allowed, ..HttpConfig::default() });
    for (content_type, origin, status) in [
        (TEXT, Some("http://localhost:7788"), 200),
        (TEXT, Some("https://localhost:7788"), 200),
        (TEXT, Some("https://other.example"), 200),
        ("text/plain", Some("https://other.example"), 200),
        (TEXT, Some("https://evil.example"), 403),
        (TEXT, Some("https://other.example.evil.example"), 403),
        (TEXT, Some("http://localhost"), 403),
        (TEXT, Some("null"), 403),
        (TEXT, None, 415),
        ("text/html", Some("http://localhost:7788"), 415),
        ("application/x-www-form-urlencoded", Some("http://localhost:7788"), 415),
        ("", Some("http://localhost:7788"), 415),
        (JSON, Some("https://evil.example"), 403),
        (JSON, None, 200),
    ] {
        let (found, body) = beacon(&service, "/v1/events", content_type, origin).await;
        assert_eq!(found, status, "{content_type} from {origin:?}: {body}");
    }
    // No other route takes text, whoever sends it.
    for (method, uri) in [
        ("POST", "/v1/search"),
        ("POST", "/v1/compare"),
        ("POST", "/rerank"),
        ("POST", "/score"),
        ("POST", "/v1/experiments"),
        ("POST", "/v1/experiments/x/start"),
        ("POST", "/v1/experiments/x/stop"),
        ("PATCH", "/v1/experiments/x"),
        ("DELETE", "/v1/experiments/x"),
    ] {
        let mut sent = request(method, uri, TEXT, "");
        sent.headers_mut().insert("origin", "https://other.example".parse().unwrap());
        assert_eq!(send(&service, sent).await.0, 415, "{method} {uri}");
    }
}

#[tokio::test]
async fn a_publishable_key_sends_events_and_nothing_else() {
    let keys = Role::ALL.map(|role| Key::new(role.name(), role, &Key::hash_of(role.name())).unwrap()).into();
    let (service, _folder) = lab_service(HttpConfig { access: Access { keys }, ..HttpConfig::default() });
    let own = Some("http://localhost:7788");
    for (uri, content_type, status) in [
        ("/v1/events?key=events", "text/plain;charset=UTF-8", 200),
        ("/v1/events?key=events", JSON, 200),
        ("/v1/events?a=b&key=events", JSON, 200),
        ("/v1/events?key=search", JSON, 403),
        ("/v1/events?key=admin", "text/plain", 403),
        ("/v1/events?key=guessed", JSON, 401),
        ("/v1/events?key=", JSON, 401),
        ("/v1/events", JSON, 401),
    ] {
        let (found, body) = beacon(&service, uri, content_type, own).await;
        assert_eq!(found, status, "{uri} {content_type}: {body}");
    }
    for (method, uri) in [
        ("GET", "/v1/search?q=egg"),
        ("GET", "/v1/search?q=egg&key=events"),
        ("GET", "/v1/stats"),
        ("GET", "/metrics"),
        ("GET", "/v1/experiments"),
        ("POST", "/v1/experiments/x/start"),
    ] {
        let mut sent = request(method, uri, "", "");
        if !uri.contains("key=") {
            sent.headers_mut().insert("authorization", "Bearer events".parse().unwrap());
        }
        let status = send(&service, sent).await.0.as_u16();
        assert!(status == 401 || status == 403, "{method} {uri}: {status}");
    }
}
