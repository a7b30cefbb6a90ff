//! `/info` and `/v1/models`: what clients ask before they rerank.

use std::collections::BTreeMap;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::response::IntoResponse;
use lorank_pipeline::AdapterChoice;
use serde_json::json;

use super::super::App;
use crate::ServerError;
use crate::lanes::Lane;
use crate::wire::{ErrorAnswer, Info, ListedModel, ModelList};

/// Model information, as text-embeddings-inference has it
#[utoipa::path(
    get,
    path = "/info",
    tag = "rerank",
    responses(
        (status = 200, description = "The default model.", body = Info),
        (status = 503, description = "There is no default model.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn info(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, |app| {
        let model = app.service.engine.model(&AdapterChoice::Default)?;
        let labels = json!({"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}});
        Ok(JsonBody(Info {
            model_id: model.base_model,
            model_sha: model.base_digest.to_string(),
            model_dtype: model.precision.name(),
            model_type: BTreeMap::from([("reranker", labels)]),
            max_concurrent_requests: app.config.n_searches_max.get(),
            max_input_length: app.service.adapters.as_ref().map(|host| host.max_length()),
            max_client_batch_size: app.config.n_documents_max.get(),
            auto_truncate: true,
            version: env!("CARGO_PKG_VERSION"),
        }))
    })
    .await
}

/// List models, as OpenAI has it
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "rerank",
    responses((status = 200, description = "The base model, adapters and aliases.", body = ModelList)),
)]
pub(crate) async fn models(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, |app| {
        let mut names: Vec<String> = Vec::new();
        if let Ok(model) = app.service.engine.model(&AdapterChoice::Base) {
            names.extend([model.base_model, AdapterChoice::BASE.to_owned()]);
        }
        if let Some(host) = &app.service.adapters {
            let state = host.registry().state();
            names.extend(host.own_adapters().iter().map(ToString::to_string));
            names.extend(state.adapters().map(|entry| entry.id.to_string()));
            names.extend(state.aliases().map(|(name, _)| name.to_string()));
        }
        let model = |id| ListedModel { id, object: "model", created: 0, owned_by: "lorank" };
        Ok(JsonBody(ModelList { object: "list", data: names.into_iter().map(model).collect() }))
    })
    .await
}
