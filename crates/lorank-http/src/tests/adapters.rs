//! The registry from the outside, over a host without a model.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lorank_adapters::{
    Entry, Existing, Limits, NewFile, ObjectPart, ObjectVersion, Objects, Outcome, Provenance, ReadObject, Registry,
    ResidencyStats,
};
use lorank_core::{AdapterId, BoxError, Digest, ModelVersion};
use serde_json::json;

use super::experiments::ask;
use super::*;

/// Takes any source of which it has heard, and adds its name as a file.
struct ToyHost(Registry);

impl AdapterHost for ToyHost {
    fn registry(&self) -> &Registry {
        &self.0
    }

    fn allows(&self, source: &str) -> bool {
        source.starts_with("allowed/")
    }

    fn add(
        &self,
        id: &AdapterId,
        source: &str,
        _base: Option<&AdapterId>,
        existing: Existing,
    ) -> Result<Outcome, BoxError> {
        if source.ends_with("misfit") {
            return Err("its shapes do not fit".into());
        }
        let provenance = Provenance {
            source: source.into(),
            revision: None,
            added_at_millis: 1_764_100_000_123,
            base_model: "toy".into(),
            rank: 8,
            targets: vec!["query".into()],
            n_parameters: 3,
            model_digest: toy::model(Some(id)).adapter.map_or(Digest::new([0; 32]), |adapter| adapter.digest),
            base_digest: None,
        };
        let file = NewFile::bytes("adapter_config.json", source.as_bytes().to_vec());
        Ok(self.0.add_with(id, &[file], provenance, existing)?)
    }

    fn own_adapters(&self) -> Vec<AdapterId> {
        vec!["own".parse().unwrap()]
    }

    fn max_length(&self, _: &ModelVersion) -> usize {
        512
    }

    fn is_in_memory(&self, _: &Entry) -> bool {
        false
    }

    fn residency(&self) -> ResidencyStats {
        ResidencyStats::default()
    }
}

fn adapter_service() -> (Router, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::open(folder.path()).unwrap();
    (service_with(registry), folder)
}

fn service_with(registry: Registry) -> Router {
    let reranker = FakeReranker::hashing().with_adapters(&["qa"]);
    let pipeline = Pipeline::new(ToyFirstStage::new(toy::candidates(5)), reranker, PipelineConfig::default()).unwrap();
    let service = Service::from(Arc::new(pipeline)).with_adapters(Arc::new(ToyHost(registry)));
    router(service, HttpConfig::default())
}

/// A store with nothing in it, which may be gone.
#[derive(Debug, Clone, Default)]
struct ToyStore(Arc<AtomicBool>);

impl ToyStore {
    fn answer<T>(&self, answer: T) -> Result<T, BoxError> {
        if self.0.load(Ordering::SeqCst) { Err("it is gone".into()) } else { Ok(answer) }
    }
}

impl Objects for ToyStore {
    fn location(&self) -> &'static str {
        "toy://store"
    }

    fn read(&self, _: &str, _: Option<&ObjectVersion>, _: u64) -> Result<ReadObject, BoxError> {
        self.answer(ReadObject::Missing)
    }

    fn write_if(&self, _: &str, _: &[u8], _: Option<&ObjectVersion>) -> Result<Option<ObjectVersion>, BoxError> {
        self.answer(None)
    }

    fn read_part(&self, _: &str, _: u64, _: u64) -> Result<Option<ObjectPart>, BoxError> {
        self.answer(None)
    }

    fn upload(&self, _: &str, _: &Path) -> Result<(), BoxError> {
        self.answer(())
    }
}

#[tokio::test]
async fn a_registry_in_a_store_says_how_it_is() {
    let (store, folder) = (ToyStore::default(), tempfile::tempdir().unwrap());
    let registry = Registry::follow(folder.path(), Limits::default(), Arc::new(store.clone())).unwrap();
    store.0.store(true, Ordering::SeqCst);
    registry.refresh().unwrap_err();
    let service = service_with(registry);
    let problem = "could not read the registry at `toy://store`; check its address, its credentials and the network";
    let expected = json!({"adapters": [], "registry": {
        "location": "toy://store", "error": format!("{problem}: it is gone"), "unavailable": [],
    }});
    assert_eq!(ask(&service, "GET", "/v1/adapters", Json::Null).await.1, expected);
    let (_, _, metrics) = send(&service, request("GET", "/metrics", "", "")).await;
    for line in
        ["lorank_registry_readable 0.0", "lorank_registry_polls_total 2", "lorank_registry_poll_failures_total 1"]
    {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    let (status, answer) = ask(&service, "PUT", "/v1/adapters/qa", json!({"source": "allowed/qa"})).await;
    let said = answer["error"]["message"].as_str().unwrap();
    assert!(status == 503 && said.starts_with(problem), "{status}: {said}");
}

#[tokio::test]
async fn adapters_come_are_promoted_and_go() {
    let (service, _folder) = adapter_service();
    assert_eq!(ask(&service, "GET", "/v1/adapters", Json::Null).await.1, json!({"adapters": []}));
    let (status, added) = ask(&service, "PUT", "/v1/adapters/qa", json!({"source": "allowed/qa"})).await;
    assert_eq!((status, &added["added_at"]), (201, &json!("2025-11-25T19:46:40.123Z")));
    assert_eq!(ask(&service, "PUT", "/v1/adapters/qa", json!({"source": "allowed/qa2"})).await.0, 200, "replaced");
    let (_, alias) = ask(&service, "PUT", "/v1/aliases/default", json!({"adapter": "qa"})).await;
    assert_eq!(alias, json!({"name": "default", "adapter": "qa", "base": null, "before": null, "rank_by": null}));
    let expected = json!({"aliases": {"default": "qa"}, "bases": {}, "rank_by": {}});
    assert_eq!(ask(&service, "GET", "/v1/aliases", Json::Null).await.1, expected);
    for (rank_by, kept) in [
        (json!({"rank_by": "first_stage_score"}), json!("first_stage_score")),
        (json!({}), json!("first_stage_score")),
        (json!({"rank_by": null}), Json::Null),
    ] {
        let mut body = json!({"adapter": "qa"});
        body.as_object_mut().unwrap().extend(rank_by.as_object().unwrap().clone());
        let (_, alias) = ask(&service, "PUT", "/v1/aliases/default", body).await;
        assert_eq!(alias, json!({"name": "default", "adapter": "qa", "base": null, "before": "qa", "rank_by": kept}));
    }

    ask(&service, "GET", "/v1/search?q=egg&adapter=qa", Json::Null).await;
    let (_, shown) = ask(&service, "GET", "/v1/adapters/default", Json::Null).await;
    let known = json!([shown["id"], shown["source"], shown["aliases"], shown["cached_scores"], shown["in_memory"]]);
    assert_eq!(known, json!(["qa", "allowed/qa2", ["default"], 5, false]));
    assert_eq!(
        ask(&service, "POST", "/v1/registry/verify", Json::Null).await.1,
        json!({"is_sound": true, "findings": []})
    );

    let (status, refused) = ask(&service, "DELETE", "/v1/adapters/qa", Json::Null).await;
    assert_eq!((status, &refused["error"]["kind"]), (409, &json!("conflict")), "an alias points to it");
    assert_eq!(ask(&service, "DELETE", "/v1/aliases/default", Json::Null).await.0, 204);
    assert_eq!(ask(&service, "DELETE", "/v1/adapters/qa", Json::Null).await.0, 204);
    assert_eq!(ask(&service, "GET", "/v1/adapters/qa", Json::Null).await.0, 404);
}

#[tokio::test]
async fn an_alias_may_point_to_a_base_model() {
    let (service, _folder) = adapter_service();
    ask(&service, "PUT", "/v1/adapters/qa", json!({"source": "allowed/qa"})).await;
    ask(&service, "PUT", "/v1/aliases/default", json!({"adapter": "qa"})).await;
    let (status, alias) = ask(&service, "PUT", "/v1/aliases/default", json!({"base": "none"})).await;
    let expected = json!({"name": "default", "adapter": null, "base": "none", "before": "qa", "rank_by": null});
    assert_eq!((status, alias), (200, expected));
    let expected = json!({"aliases": {}, "bases": {"default": "none"}, "rank_by": {}});
    assert_eq!(ask(&service, "GET", "/v1/aliases", Json::Null).await.1, expected);
    let (_, models) = ask(&service, "GET", "/v1/models", Json::Null).await;
    assert!(models["data"].as_array().unwrap().iter().any(|model| model["id"] == "default"), "{models}");
    assert_eq!(ask(&service, "GET", "/v1/adapters/default", Json::Null).await.0, 409, "it is no adapter");
    for (body, message) in [
        (json!({}), "`adapter` is missing; give an `adapter`, or a `base`"),
        (json!({"adapter": "qa", "base": "none"}), "`base` cannot be combined with `adapter`; an alias has one target"),
        (json!({"base": "qa"}), "`base` is invalid: `qa` is no base model of this server; "),
        (json!({"base": "gone"}), "`base` is invalid: `gone` is no base model of this server; "),
    ] {
        let (status, answer) = ask(&service, "PUT", "/v1/aliases/other", body).await;
        let said = answer["error"]["message"].as_str().unwrap();
        assert!(status == 422 && said.starts_with(message), "{status}: {said}");
    }
    assert_eq!(ask(&service, "DELETE", "/v1/aliases/default", Json::Null).await.0, 204);
}

#[tokio::test]
async fn what_cannot_be_added_is_refused_with_the_reason() {
    let (service, _folder) = adapter_service();
    for (uri, body, status, message) in [
        (
            "/v1/adapters/qa",
            json!({"source": "/etc"}),
            403,
            "adapters cannot be added from `/etc`; allow the source with `--adapter-source` or `adapter_sources`",
        ),
        (
            "/v1/adapters/qa",
            json!({"source": "allowed/misfit"}),
            422,
            "cannot add an adapter from `allowed/misfit`: its shapes do not fit",
        ),
        (
            "/v1/adapters/default",
            json!({"source": "allowed/qa"}),
            409,
            "the adapter id `default` is reserved: it is the alias for requests that name no adapter; add the adapter under another id and point `default` to it",
        ),
        ("/v1/adapters/a%20b", json!({"source": "allowed/qa"}), 422, "`id` is invalid: "),
        ("/v1/adapters/qa", json!({"from": "allowed/qa"}), 422, "`from` is unknown; the keys are `source`"),
        ("/v1/aliases/default", json!({"adapter": "gone", "rank_by": "1 +"}), 422, "`rank_by` is invalid: "),
        (
            "/v1/aliases/default",
            json!({"adapter": "gone"}),
            404,
            "the registry has no adapter and no alias `gone`; the registry is empty",
        ),
    ] {
        let (found, answer) = ask(&service, "PUT", uri, body).await;
        let said = answer["error"]["message"].as_str().unwrap();
        assert!(found == status && said.starts_with(message), "{found}: {said}");
    }
}
