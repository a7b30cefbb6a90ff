//! Adapters of the registry for output.

use lorank_adapters::{Entry, State};
use lorank_core::AdapterId;
use lorank_experiments::{Experiment, experiments_naming};
use serde_json::{Value, json};

use crate::times;

/// The base model that an adapter was trained on, if known.
pub(crate) fn base_model(entry: &Entry) -> Option<&str> {
    Some(entry.provenance.base_model.as_str()).filter(|name| !name.is_empty())
}

/// The experiments that use the adapter by its id or an alias and have not ended.
pub(crate) fn used_by<'a>(
    id: &AdapterId,
    state: &State,
    experiments: &'a [Experiment],
    now_millis: i64,
) -> Vec<&'a Experiment> {
    let names: Vec<&AdapterId> = std::iter::once(id).chain(state.aliases_of(id)).collect();
    experiments_naming(&names, experiments, now_millis)
}

/// An adapter of the registry as JSON.
pub(crate) fn to_json(state: &State, entry: &Entry) -> Value {
    let provenance = &entry.provenance;
    let mut adapter = json!({
        "id": entry.id.as_str(),
        "digest": provenance.model_digest.to_string(),
        "content": entry.content.to_string(),
        "source": provenance.source,
        "revision": provenance.revision,
        "added_at": added_at(entry),
        "base_model": base_model(entry),
        "rank": provenance.rank,
        "targets": provenance.targets,
        "n_parameters": provenance.n_parameters,
        "bytes": entry.bytes(),
        "aliases": state.aliases_of(&entry.id).map(AdapterId::as_str).collect::<Vec<_>>(),
    });
    // Only an adapter that was added for one of several base models has it.
    if let Some(digest) = provenance.base_digest {
        adapter["base_digest"] = digest.to_string().into();
    }
    adapter
}

/// The time at which it was added, in ISO 8601.
pub(crate) fn added_at(entry: &Entry) -> String {
    times::show(i64::try_from(entry.provenance.added_at_millis).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "starter")]
    use lorank_adapters::{Existing, Outcome, Registry};
    #[cfg(feature = "starter")]
    use lorank_model::{AdapterFacts, Files};
    #[cfg(feature = "starter")]
    use lorank_registry_reranker::add;

    use super::*;

    /// A registry with one adapter, `qa`, and its folder.
    #[cfg(feature = "starter")]
    fn registry() -> (tempfile::TempDir, Registry) {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(folder.path()).unwrap();
        let files = lorank_server::starter::adapter("minilm-qa").unwrap();
        let source = "starter:minilm-qa";
        let added = add(&registry, &"qa".parse().unwrap(), &files, source, None, Existing::Refuse).unwrap();
        assert_eq!(added, Outcome::Added);
        (folder, registry)
    }

    #[test]
    #[cfg(feature = "starter")]
    fn what_is_added_has_its_facts_and_its_files() {
        let (_folder, registry) = registry();
        let state = registry.state();
        let entry = state.adapters().next().unwrap();
        let copy = AdapterFacts::read(&Files::folder(registry.folder_of(entry)).unwrap()).unwrap();
        assert_eq!((entry.provenance.model_digest, entry.provenance.rank), (copy.digest, copy.rank));
        assert_eq!(to_json(&state, entry)["source"], "starter:minilm-qa");
        let files = lorank_server::starter::adapter("minilm-qa").unwrap();
        let again = add(&registry, &entry.id, &files, "starter:minilm-qa", None, Existing::Refuse).unwrap();
        assert_eq!(again, Outcome::Unchanged);
    }

    #[test]
    #[cfg(feature = "starter")]
    fn experiments_use_adapters_directly_or_by_alias() {
        let (_folder, registry) = registry();
        let id: AdapterId = "qa".parse().unwrap();
        registry.set_alias(&"default".parse().unwrap(), &id).unwrap();
        let experiment = |id: &str, model: &str, end_millis: Option<i64>| -> Experiment {
            let arms = json!([{"name": "a", "model": "none", "weight": 1}, {"name": "b", "model": model, "weight": 1}]);
            serde_json::from_value(json!({"id": id, "arms": arms, "salt": "", "traffic_share": 1.0, "layer": "main",
                "end_millis": end_millis}))
            .unwrap()
        };
        let pinned = |id: &str, model: &str, adapter: &str| {
            let mut experiment = experiment(id, model, None);
            let (adapter, digest) = (Some(adapter.parse().unwrap()), Some("5eed".to_owned()));
            experiment.pin(
                1,
                lorank_experiments::PinnedVersion {
                    adapter,
                    digest,
                    base_model: None,
                    stages: Vec::new(),
                    since_millis: 0,
                },
            );
            experiment
        };
        let experiments = [
            experiment("direct", "qa", None),
            experiment("alias", "default", Some(11)),
            experiment("over", "qa", Some(10)),
            experiment("other", "first-stage", None),
            experiment("unknown", "science", None),
            pinned("pinned", "other-alias", "qa"),
            pinned("pinned-elsewhere", "default", "science"),
        ];
        let names: Vec<&str> =
            used_by(&id, &registry.state(), &experiments, 10).iter().map(|one| one.id.as_str()).collect();
        assert_eq!(names, ["direct", "alias", "pinned"]);
    }
}
