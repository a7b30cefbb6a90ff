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
    AdapterStatsJson, BulkAnswer, DeleteAnswer, DeleteBody, ErrorAnswer, FieldsJson, StatsJson, StoredDocument,
};
use crate::{BulkForm, BulkLimits, DocumentHost, IndexName, RetryAfter, ServerError};

/// The content types of JSON lines. None of them is registered, so all are in use. An array, or one document, is `application/json`.
const LINES: [&str; 5] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "text/x-ndjson"];

/// How many long bodies may be in files at once.
const N_UPLOADS_MAX: usize = 64;

const NO_DOCUMENTS: ServerError = ServerError::WithoutPart { part: "documents of its own" };

/// When to try again where all places are taken: most changes are a commit, and that is short.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One document
#[utoipa::path(
    get,
    path = "/v1/documents/{id}",
    tag = "documents",
    params(("id" = String, Path, description = "The document's id.", example = "p12")),
    responses(
        (status = 200, description = "The document.", body = StoredDocument<'_>),
        (status = 404, description = "There is no such document.", body = ErrorAnswer<'_>),
        (status = 503, description = "The index cannot be read or written.", body = ErrorAnswer<'_>),
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
/// As JSON lines (`application/x-ndjson`) each line is a document; as JSON (`application/json`) the body is an array of documents, or
/// one document. A document is an object; one whose id is there replaces that document. What is no document is told with its number,
/// and the others stand. The answer comes when all is on the disk and seen by every search that begins later. Of a
/// body that breaks off nothing is kept: send it again.
#[utoipa::path(
    post,
    path = "/v1/documents",
    tag = "documents",
    request_body(content(
        (String = "application/x-ndjson",
            example = "{\"id\": 1, \"title\": \"Light\", \"text\": \"A light bulb burns.\"}\n{\"id\": 2, \"text\": \"A tulip bulb grows.\"}\n"),
        (Vec<Object> = "application/json",
            example = json!([{"id": 1, "title": "Light", "text": "A light bulb burns."}, {"id": 2, "text": "A tulip bulb grows."}])),
    )),
    responses(
        (status = 200, description = "What became of each document.", body = BulkAnswer<'_>),
        (status = 404, description = "This service holds no documents of its own.", body = ErrorAnswer<'_>),
        (status = 409, description = "Somebody else writes to the index.", body = ErrorAnswer<'_>),
        (status = 429, description = "Too many changes at once.", body = ErrorAnswer<'_>,
            headers(("retry-after" = u64, description = "When to try again, in seconds."))),
        (status = 503, description = "The index cannot be read or written.", body = ErrorAnswer<'_>),
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
    params(("id" = String, Path, description = "The document's id.", example = "p12")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, description = "There is no such document.", body = ErrorAnswer<'_>),
        (status = 409, description = "Somebody else writes to the index.", body = ErrorAnswer<'_>),
        (status = 429, description = "Too many changes at once.", body = ErrorAnswer<'_>,
            headers(("retry-after" = u64, description = "When to try again, in seconds."))),
        (status = 503, description = "The index cannot be read or written.", body = ErrorAnswer<'_>),
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

/// Delete the documents that a query matches
///
/// With the plain syntax, those that have any of its words.
#[utoipa::path(
    delete,
    path = "/v1/documents",
    tag = "documents",
    request_body(content = DeleteBody, example = json!({"filters": {"year": {"lt": 1900}}})),
    responses(
        (status = 200, description = "They are gone.", body = DeleteAnswer),
        (status = 404, description = "This service holds no documents of its own.", body = ErrorAnswer<'_>),
        (status = 409, description = "Somebody else writes to the index.", body = ErrorAnswer<'_>),
        (status = 429, description = "Too many changes at once.", body = ErrorAnswer<'_>,
            headers(("retry-after" = u64, description = "When to try again, in seconds."))),
        (status = 503, description = "The index cannot be read or written.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn delete_matching(
    State(app): State<App>,
    OfIndex(index): OfIndex,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    app.documents(&index)?;
    let body: DeleteBody = app.json_with_filters("a deletion by `query`, `filters` or `all`", &headers, body).await?;
    let selection = body.into_selection()?;
    app.change(index, move |host| {
        let n_deleted = host.delete_matching(selection)?;
        let (n_documents, request_id) = (host.stats()?.n_documents, arrival.request_id.to_string());
        Ok(JsonBody(DeleteAnswer { n_deleted, n_documents, request_id }))
    })
    .await
}

/// What the service holds, and has done since it was started
#[utoipa::path(
    get,
    path = "/v1/stats",
    tag = "service",
    responses(
        (status = 200, description = "It.", body = StatsJson),
        (status = 503, description = "The index cannot be read or written.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn stats(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, |app| {
        let service = &app.service;
        let default = service.indexes.get(&IndexName::default());
        let documents = default.and_then(|index| index.documents.as_ref()).map(|host| host.stats()).transpose()?;
        let adapters = service.adapters.as_ref();
        Ok(JsonBody(StatsJson {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: app.started.elapsed().as_secs_f64(),
            documents: documents.map(Into::into),
            cache: service.engine.cache_stats().into(),
            queue: service.engine.queue_stats().into(),
            adapters: adapters
                .map(|host| AdapterStatsJson::new(host.registry().state().adapters().count(), &host.residency())),
        }))
    })
    .await
}

impl App {
    pub(super) fn documents(&self, index: &str) -> Result<&dyn DocumentHost, ServerError> {
        self.service.index(index)?.documents.as_deref().ok_or(NO_DOCUMENTS)
    }

    /// Runs a change of documents, as one of the few that may be under way.
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
