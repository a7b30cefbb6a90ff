//! `/info`, `/v1/models` and `/v1/models/{id}`: model information for clients.

use std::collections::BTreeMap;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::response::IntoResponse;
use lorank_pipeline::AdapterChoice;
use serde_json::json;

use super::super::{App, Name};
use super::scoring::name;
use crate::ServerError;
use crate::lanes::Lane;
use crate::wire::{ErrorAnswer, Info, ListedModel, ModelList};

/// Get model information (text-embeddings-inference)
#[utoipa::path(
    get,
    path = "/info",
    tag = "rerank",
    responses(
        (status = 200, description = "The default model.", body = Info),
        (status = 503, description = "The default model is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn info(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, |app| {
        let model = app.service.engine.model(&AdapterChoice::Default)?;
        let labels = json!({"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}});
        Ok(JsonBody(Info {
            max_input_length: app.service.adapters.as_ref().map(|host| host.max_length(&model)),
            model_id: model.base_model,
            model_sha: model.base_digest.to_string(),
            model_dtype: model.precision.name(),
            model_type: BTreeMap::from([("reranker", labels)]),
            max_concurrent_requests: app.config.n_searches_max.get(),
            max_client_batch_size: app.config.n_documents_max.get(),
            auto_truncate: true,
            version: env!("CARGO_PKG_VERSION"),
        }))
    })
    .await
}

/// List models (OpenAI)
///
/// The default adapter is first.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "rerank",
    responses((status = 200, description = "The base models, adapters and aliases.", body = ModelList)),
)]
pub(crate) async fn models(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, |app| {
        let data = app.model_names().into_iter().map(listed).collect();
        Ok(JsonBody(ModelList { object: "list", data }))
    })
    .await
}

/// Get a model (OpenAI)
///
/// The name may contain slashes.
#[utoipa::path(
    get,
    path = "/v1/models/{*id}",
    tag = "rerank",
    params(("id" = String, Path, description = "The name of a base model, an adapter or an alias.", example = "none")),
    responses(
        (status = 200, description = "The model.", body = ListedModel),
        (status = 404, description = "Unknown model.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn model(State(app): State<App>, Name(id): Name) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, move |app| {
        let is_served =
            app.model_names().contains(&id) || app.asked(Some(&id)).is_ok_and(|asked| asked.experiment.is_none());
        if is_served { Ok(JsonBody(listed(id))) } else { Err(ServerError::UnknownModel { id }) }
    })
    .await
}

impl App {
    /// All names that a rerank request's `model` accepts, without duplicates.
    fn model_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let mut add = |name: String| {
            if !names.contains(&name) {
                names.push(name);
            }
        };
        if let Ok(model) = self.service.engine.model(&AdapterChoice::Default) {
            add(name(&model));
        }
        if let Ok(model) = self.service.engine.model(&AdapterChoice::Base) {
            add(model.base_model);
            add(AdapterChoice::BASE.to_owned());
        }
        if let Some(host) = &self.service.adapters {
            let state = host.registry().state();
            host.base_models().into_iter().for_each(|base| add(base.name));
            host.own_adapters().iter().for_each(|id| add(id.to_string()));
            state.adapters().for_each(|entry| add(entry.id.to_string()));
            state.aliases().chain(state.base_aliases()).for_each(|(name, _)| add(name.to_string()));
        }
        self.config.model_aliases.iter().filter_map(|alias| alias.name.clone()).for_each(add);
        names
    }
}

fn listed(id: String) -> ListedModel {
    ListedModel { id, object: "model", created: 0, owned_by: "lorank" }
}
