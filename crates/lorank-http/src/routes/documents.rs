//! `/v1/documents`: reading, adding and deleting documents while they are searched; `/v1/stats`.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json as JsonBody};
use lorank_core::DocumentId;

use super::{App, Name, OfIndex};
use crate::encoding::expect_decoded;
use crate::lanes::Lane;
use crate::request_id::Arrival;
use crate::upload::{Scratch, UploadLimits, not_kept, receive};
use crate::wire::{
    AdapterStatsJson, BaseModelJson, BulkAnswer, DeleteAnswer, DeleteBody, ErrorAnswer, FieldsJson, StatsJson,
    StoredDocument,
};
use crate::{BulkForm, BulkLimits, DocumentHost, IndexName, RetryAfter, ServerError};

/// The content types of JSON Lines; none is registered, and all are in use. An array or a single document is `application/json`.
const LINES: [&str; 5] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "text/x-ndjson"];

/// The maximum number of large bodies in temporary files at the same time.
const N_UPLOADS_MAX: usize = 64;

const NO_DOCUMENTS: ServerError = ServerError::WithoutPart { part: "documents of its own" };

/// `Retry-After` when all slots are taken. Most changes are one commit, which is short.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Get a document
#[utoipa::path(
    get,
    path = "/v1/documents/{id}",
    tag = "documents",
    params(("id" = String, Path, description = "The id of the document.", example = "p12")),
    responses(
        (status = 200, description = "The document.", body = StoredDocument<'_>),
        (status = 404, description = "Unknown document or index.", body = ErrorAnswer<'_>),
        (status = 503, description = "The index is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn show(
    State(app): State<App>,
    OfIndex(index): OfIndex,
    Name(id): Name,
) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, move |app| {
        let id = DocumentId::new(id);
        let fields = app.documents(&index)?.get(&id)?.ok_or_else(|| ServerError::NoDocument { id: id.to_string() })?;
        Ok(JsonBody(StoredDocument { id: id.as_str(), fields: FieldsJson::new(&fields, None) }).into_response())
    })
    .await
}

/// Add documents
///
/// The body is JSON Lines (`application/x-ndjson`) with one document per line, or JSON (`application/json`) with an array of
/// documents or a single document. A document is an object; it replaces an existing document with the same id.
///
/// Invalid lines are reported by number, and the other documents are added. The response is sent after the commit: the documents
/// are on disk, and every later search sees them. If the connection breaks before the body is complete, nothing is added.
#[utoipa::path(
    post,
    path = "/v1/documents",
    tag = "documents",
    request_body(content(
        (String = "application/x-ndjson",
            example = "{\"id\": \"p12\", \"title\": \"Light\", \"text\": \"A light bulb burns.\", \"year\": 1879}\n{\"id\": \"p13\", \"text\": \"A tulip bulb grows.\", \"year\": 1637}\n"),
        (Vec<Object> = "application/json",
            example = json!([{"id": "p12", "title": "Light", "text": "A light bulb burns.", "year": 1879}, {"id": "p13", "text": "A tulip bulb grows.", "year": 1637}])),
    )),
    responses(
        (status = 200, description = "The outcome of each document.", body = BulkAnswer<'_>),
        (status = 404, description = "Unknown index, or the server does not manage its documents.", body = ErrorAnswer<'_>),
        (status = 405, description = "The documents belong to the search engine that is the first stage.", body = ErrorAnswer<'_>),
        (status = 409, description = "Another process is writing to the index.", body = ErrorAnswer<'_>),
        (status = 429, description = "Too many changes at the same time; retry after the time in `Retry-After`.", body = ErrorAnswer<'_>,
            headers(("retry-after" = u64, description = "Seconds to wait before retrying."))),
        (status = 503, description = "The index is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn add(
    State(app): State<App>,
    OfIndex(index): OfIndex,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, ServerError> {
    let host = app.service.index(&index)?.documents.clone().ok_or(NO_DOCUMENTS)?;
    host.check_writable()?;
    let form = form_of(&headers)?;
    let make_file = || {
        let full = || ServerError::LaneFull { work: "long uploads", retry_after: RetryAfter::new(RETRY_AFTER) };
        let place = app.uploads.admit(N_UPLOADS_MAX).ok_or_else(full)?;
        Ok(Scratch::new(host.scratch_file().map_err(not_kept)?, place))
    };
    let documents = receive(body, UploadLimits::from(&*app.config), make_file).await?;
    let limits =
        BulkLimits { document_bytes_max: app.config.body_bytes_max, n_documents_max: app.config.bulk_lines_max };
    app.change(index, move |host| {
        let outcomes = host.add(documents, form, limits)?;
        let n_documents = host.stats()?.n_documents;
        Ok(JsonBody(BulkAnswer::new(&outcomes, n_documents, arrival.at.elapsed(), &arrival.request_id)).into_response())
    })
    .await
}

/// Delete a document
#[utoipa::path(
    delete,
    path = "/v1/documents/{id}",
    tag = "documents",
    params(("id" = String, Path, description = "The id of the document.", example = "p12")),
    responses(
        (status = 204, description = "The document was deleted."),
        (status = 404, description = "Unknown document or index.", body = ErrorAnswer<'_>),
        (status = 405, description = "The documents belong to the search engine that is the first stage.", body = ErrorAnswer<'_>),
        (status = 409, description = "Another process is writing to the index.", body = ErrorAnswer<'_>),
        (status = 429, description = "Too many changes at the same time; retry after the time in `Retry-After`.", body = ErrorAnswer<'_>,
            headers(("retry-after" = u64, description = "Seconds to wait before retrying."))),
        (status = 503, description = "The index is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    OfIndex(index): OfIndex,
    Name(id): Name,
) -> Result<impl IntoResponse, ServerError> {
    app.change(index, move |host| {
        let is_gone = host.delete(&DocumentId::new(id.as_str()))?;
        if is_gone { Ok(StatusCode::NO_CONTENT) } else { Err(ServerError::NoDocument { id }) }
    })
    .await
}

/// Delete documents by query
///
/// Deletes the documents that match `query` and `filters`. A plain query matches documents with any of its words.
#[utoipa::path(
    delete,
    path = "/v1/documents",
    tag = "documents",
    request_body(content = DeleteBody, example = json!({"filters": {"year": {"lt": 1900}}})),
    responses(
        (status = 200, description = "The documents were deleted.", body = DeleteAnswer),
        (status = 404, description = "Unknown index, or the server does not manage its documents.", body = ErrorAnswer<'_>),
        (status = 405, description = "The documents belong to the search engine that is the first stage.", body = ErrorAnswer<'_>),
        (status = 409, description = "Another process is writing to the index.", body = ErrorAnswer<'_>),
        (status = 429, description = "Too many changes at the same time; retry after the time in `Retry-After`.", body = ErrorAnswer<'_>,
            headers(("retry-after" = u64, description = "Seconds to wait before retrying."))),
        (status = 503, description = "The index is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn delete_matching(
    State(app): State<App>,
    OfIndex(index): OfIndex,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    app.documents(&index)?.check_writable()?;
    let body: DeleteBody = app.json_with_filters("a deletion by `query`, `filters` or `all`", &headers, body).await?;
    let selection = body.into_selection()?;
    app.change(index, move |host| {
        let n_deleted = host.delete_matching(selection)?;
        let (n_documents, request_id) = (host.stats()?.n_documents, arrival.request_id.to_string());
        Ok(JsonBody(DeleteAnswer { n_deleted, n_documents, request_id }))
    })
    .await
}

/// Get service statistics
#[utoipa::path(
    get,
    path = "/v1/stats",
    tag = "service",
    responses(
        (status = 200, description = "Documents, cache, queue and adapters, with counts since the start of the server.", body = StatsJson),
        (status = 503, description = "The index is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn stats(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, |app| {
        let service = &app.service;
        let default = service.indexes.get(&IndexName::default());
        let documents = default.and_then(|index| index.documents.as_ref()).map(|host| host.stats()).transpose()?;
        let adapters = service.adapters.as_ref();
        let gpus = adapters.map_or_else(Vec::new, |host| host.gpus());
        let base_models = adapters.map_or_else(Vec::new, |host| host.base_models());
        Ok(JsonBody(StatsJson {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: app.started.elapsed().as_secs_f64(),
            documents: documents.map(Into::into),
            cache: service.engine.cache_stats().into(),
            queue: service.engine.queue_stats().into(),
            adapters: adapters
                .map(|host| AdapterStatsJson::new(host.registry().state().adapters().count(), &host.residency())),
            base_models: base_models.into_iter().map(|base| BaseModelJson::new(base, &gpus)).collect(),
        }))
    })
    .await
}

impl App {
    pub(super) fn documents(&self, index: &str) -> Result<&dyn DocumentHost, ServerError> {
        self.service.index(index)?.documents.as_deref().ok_or(NO_DOCUMENTS)
    }

    /// Runs a change of documents, within the limit on concurrent changes.
    async fn change<T: Send + 'static>(
        self,
        index: String,
        work: impl FnOnce(&dyn DocumentHost) -> Result<T, ServerError> + Send + 'static,
    ) -> Result<T, ServerError> {
        let n_changes_max = self.config.n_changes_max.get();
        let too_many = || ServerError::TooManyChanges { n_changes_max, retry_after: RetryAfter::new(RETRY_AFTER) };
        let admitted = self.changes.admit(n_changes_max).ok_or_else(too_many)?;
        self.blocking(move |app| {
            let _admitted = admitted;
            work(app.documents(&index)?)
        })
        .await
    }
}

fn form_of(headers: &HeaderMap) -> Result<BulkForm, ServerError> {
    expect_decoded(headers)?;
    let value = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence =
        value.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if LINES.contains(&essence.as_str()) {
        return Ok(BulkForm::Lines);
    }
    if essence == "application/json" {
        return Ok(BulkForm::Array);
    }
    Err(ServerError::NotDocuments { found: value.map_or_else(|| "(none)".to_owned(), |found| format!("`{found}`")) })
}
