//! The OpenAPI document, compared with the service that it describes.

use std::collections::BTreeSet;

use serde_json::json;

use super::experiments::{ask, lab_service};
use super::*;

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// Routes that only the API page loads.
const ASSETS: [&str; 1] = ["/docs/style.css"];

async fn described() -> Json {
    let (status, api) = get(&toy_service(), "/openapi.json").await;
    assert_eq!((status.as_u16(), &api["openapi"]), (200, &json!("3.1.0")));
    api
}

/// Path, method and description of each operation.
fn operations(api: &Json) -> Vec<(&str, &str, &Json)> {
    let paths = api["paths"].as_object().unwrap().iter();
    let methods = paths.flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |it| (path, it)));
    methods.map(|(path, (method, operation))| (path.as_str(), method.as_str(), operation)).collect()
}

#[tokio::test]
async fn every_operation_is_there() {
    let (api, service) = (described().await, toy_service());
    assert!(operations(&api).len() > 30);
    for (path, method, _) in operations(&api) {
        let uri = path.replace(['{', '}'], "");
        let (status, _, body) = send(&service, request(&method.to_uppercase(), &uri, "", "")).await;
        assert!(status != StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        assert!(!body.contains("unknown route"), "{method} {path}: {body}");
    }
}

/// `routes!` describes the routes that it adds; this test finds routes added without it.
#[tokio::test]
async fn every_route_is_described() {
    let api = described().await;
    let added = include_str!("../server.rs").split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    for path in added.filter(|path| !ASSETS.contains(path)) {
        assert!(api["paths"].get(path).is_some(), "`{path}` is not in the OpenAPI document: add it with `routes!`");
    }
}

#[tokio::test]
async fn the_description_is_whole() {
    let api = described().await;
    let mut ids = BTreeSet::new();
    let tags: Vec<&Json> = api["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    for (path, method, operation) in operations(&api) {
        let at = format!("{method} {path}");
        assert!(METHODS.contains(&method), "{at}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{at}: duplicate operation id");
        assert!(tags.contains(&&operation["tags"][0]) && operation["tags"].as_array().unwrap().len() == 1, "{at}");
        assert!(operation["summary"].as_str().is_some_and(|summary| summary.len() < 90), "{at}");
        let in_path = operation["parameters"].as_array().into_iter().flatten().filter(|one| one["in"] == "path");
        let named: BTreeSet<&str> = in_path.map(|one| one["name"].as_str().unwrap()).collect();
        let in_braces = path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap());
        assert_eq!(named, in_braces.collect(), "{at}");
        let samples: Vec<&str> = crate::curl::samples(operation.as_object().unwrap()).collect();
        assert!(!samples.is_empty(), "{at} has no curl command");
        assert!(
            samples.iter().all(|sample| sample.starts_with("curl ") && !sample.contains(['{', '}'])
                || sample.contains(" -d")
                || sample.contains(" --data")),
            "{at}: {samples:?}"
        );
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')) && responses.contains_key("500"), "{at}");
        assert_eq!(operation.get("security").is_some(), responses.contains_key("401"), "{at}");
    }
    let text = api.to_string();
    for name in text.split("\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(api["components"]["schemas"].get(name).is_some(), "no schema `{name}`");
    }
}

#[tokio::test]
async fn keys_are_for_all_but_the_service_s_own_pages() {
    let api = described().await;
    let open = operations(&api).into_iter().filter(|(_, _, operation)| operation.get("security").is_none());
    let open: Vec<&str> = open.map(|(path, _, _)| path).collect();
    assert_eq!(open, ["/docs", "/health", "/openapi.json", "/ready"]);
    let role = |path: &str, method: &str| api["paths"][path][method]["description"].as_str().unwrap().to_owned();
    assert!(role("/v1/documents/{id}", "get").ends_with("Required role: `search`."));
    assert!(role("/v1/documents/{id}", "delete").ends_with("Required role: `write`."));
    assert!(role("/v1/aliases/{name}", "put").ends_with("Required role: `admin`."));
}

/// Checks that an object has exactly the keys of a schema.
fn check_keys(api: &Json, schema: &str, value: &Json) {
    let schema = &api["components"]["schemas"][schema];
    let known = schema["properties"].as_object().unwrap();
    let found = value.as_object().unwrap();
    for key in found.keys() {
        assert!(known.contains_key(key), "`{key}` is not described");
    }
    for key in known.keys() {
        assert!(found.contains_key(key), "`{key}` is described but missing: {value}");
    }
}

#[tokio::test]
async fn what_others_write_is_described_as_it_is() {
    let api = described().await;
    let (service, _folder) = lab_service(HttpConfig::default());
    let mut draft = api["paths"]["/v1/experiments"]["post"]["requestBody"]["content"][JSON]["example"].clone();
    let stages = json!([{"adapter": "none", "depth": 9, "deadline_share": 0.5}, {"adapter": "a", "depth": 7}]);
    draft["arms"][1] = json!({"name": "qa", "model": "a", "stages": stages, "blend_weight": 0.5, "passages": "max",
        "passage_tokens": 16, "stride": 8, "instruction": "Find cases"});
    draft["arms"][0]["depth"] = json!(7);
    let (status, experiment) = ask(&service, "POST", "/v1/experiments", draft).await;
    assert_eq!(status, 201, "{experiment}");
    check_keys(&api, "Experiment", &experiment);
    // No arm has both a depth and stages.
    let mut arm = experiment["arms"][1].clone();
    arm["depth"] = experiment["arms"][0]["depth"].clone();
    check_keys(&api, "Arm", &arm);
    let (_, running) = ask(&service, "POST", "/v1/experiments/spring/start", Json::Null).await;
    check_keys(&api, "BucketRange", &running["buckets"][0]);
    check_keys(&api, "Report", &ask(&service, "GET", "/v1/experiments/spring/report", Json::Null).await.1);
    let (_, answer) =
        ask(&service, "GET", "/v1/search?q=egg&explain=true&passages=max&stages=none:9,none:5", Json::Null).await;
    check_keys(&api, "SearchAnswer", &answer);
    check_keys(&api, "Hit", &answer["hits"][0]);
    check_keys(&api, "Passage", &answer["hits"][0]["passage"]);
    check_keys(&api, "Explanation", &answer["hits"][0]["explanation"]);
    check_keys(&api, "StageAnswer", &answer["stages"][1]);
    check_keys(&api, "StageTimings", &answer["stages"][1]["timings_millis"]);
    check_keys(&api, "StageRank", &answer["hits"][0]["explanation"]["stages"][1]);
    check_keys(&api, "ScoredPassage", &answer["hits"][0]["explanation"]["passages"][0]);
    let event = api["paths"]["/v1/events"]["post"]["requestBody"]["content"][JSON]["example"].clone();
    assert_eq!(ask(&service, "POST", "/v1/events", event).await.0, 200);
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let service = toy_service();
    let (status, headers, page) = send(&service, request("GET", "/docs", "", "")).await;
    assert_eq!((status.as_u16(), &headers["content-type"]), (200, &"text/html; charset=utf-8".parse().unwrap()));
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none';"));
    for never in ["<script", "=\"http", "style=\"", "onclick", "src="] {
        assert!(!page.contains(never), "{never}");
    }
    let api = described().await;
    for (path, _, operation) in operations(&api) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(page.contains(&format!("<h3 id=\"{id}\">")) && page.contains(path), "{id}");
    }
    for link in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(page.contains(&format!("id=\"{link}\"")), "broken link to `{link}`");
    }
    let (status, headers, style) = send(&service, request("GET", "/docs/style.css", "", "")).await;
    assert_eq!((status.as_u16(), &headers["content-type"]), (200, &"text/css; charset=utf-8".parse().unwrap()));
    assert!(!style.contains("url(") && !style.contains("@import"));
}
