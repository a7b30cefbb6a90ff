//! `/v1/indexes`: the indexes of the service, and the search and document routes below each.

use axum::Json as JsonBody;
use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};

use super::{App, OfIndex, Shared, compare, documents, search};
use crate::ServerError;
use crate::index_paths::path_below;
use crate::lanes::Lane;
use crate::wire::{ErrorAnswer, IndexJson, IndexList};

/// List indexes
#[utoipa::path(
    get,
    path = "/v1/indexes",
    tag = "documents",
    responses(
        (status = 200, description = "The indexes in the order of their names.", body = IndexList),
        (status = 503, description = "An index is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn list(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, |app| {
        let indexes = app.service.indexes.keys().map(|name| app.index_json(name.as_str()));
        Ok(JsonBody(IndexList { indexes: indexes.collect::<Result<_, _>>()? }))
    })
    .await
}

/// Get index statistics
#[utoipa::path(
    get,
    path = "/v1/indexes/{index}/stats",
    tag = "documents",
    params(("index" = String, Path, description = "The name of the index.", example = "default")),
    responses(
        (status = 200, description = "The documents and fields of the index.", body = IndexJson),
        (status = 404, description = "Unknown index.", body = ErrorAnswer<'_>),
        (status = 503, description = "The index is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn stats(State(app): State<App>, OfIndex(index): OfIndex) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, move |app| Ok(JsonBody(app.index_json(&index)?))).await
}

impl App {
    fn index_json(&self, name: &str) -> Result<IndexJson, ServerError> {
        let documents = self.service.index(name)?.documents.as_ref();
        let stats = documents.map(|host| host.stats()).transpose()?;
        let fields = documents.map(|host| host.fields()).transpose()?.flatten();
        let fields = fields.map(|fields| fields.into_iter().map(Into::into).collect());
        Ok(IndexJson { name: name.to_owned(), documents: stats.map(Into::into), fields })
    }
}

/// The routes below an index for the role `search`.
pub(crate) fn search_routes() -> Router<Shared> {
    Router::new()
        .route(&path_below("/v1/search"), get(search::by_query_string).post(search::by_body))
        .route(&path_below("/v1/compare"), post(compare::compare))
        .route(&path_below("/v1/documents/{id}"), get(documents::show))
}

/// The routes below an index for the role `write`.
pub(crate) fn write_routes() -> Router<Shared> {
    Router::new()
        .route(&path_below("/v1/documents"), delete(documents::delete_matching))
        .route(&path_below("/v1/documents/{id}"), delete(documents::delete))
}

/// The routes below an index for the role `write` whose bodies are streamed.
pub(crate) fn bulk_routes() -> Router<Shared> {
    Router::new().route(&path_below("/v1/documents"), post(documents::add))
}
