//! `/v1/documents`: reading, adding and deleting documents while they are searched; `/v1/stats`.

use std::future::poll_fn;
use std::io::{self, Read};
use std::pin::{Pin, pin};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::{Extension, Json as JsonBody};
use lorank_core::DocumentId;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tower_http::timeout::TimeoutBody;

use super::{App, Name};
use crate::request_id::Arrival;
use crate::wire::{
    AdapterStatsJson, BulkAnswer, DeleteAnswer, DeleteBody, ErrorAnswer, FieldsJson, StatsJson, StoredDocument,
};
use crate::{BulkLimits, DocumentHost, RetryAfter, ServerError};

/// The content types of JSON lines. None of them is registered, so all are in use.
const LINES: [&str; 5] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "text/x-ndjson"];

/// How many chunks of a body may wait until their lines are indexed. The sender is held up meanwhile.
const CHUNKS_WAITING_MAX: usize = 8;

/// How long nothing may come of a body that has not ended. Whoever sends it holds one of few places.
const PAUSE_MAX: Duration = Duration::from_secs(30);

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
pub(crate) async fn show(State(app): State<App>, Name(id): Name) -> Result<impl IntoResponse, ServerError> {
    app.blocking(move |app| {
        let id = DocumentId::new(id);
        let fields = app.documents()?.get(&id)?.ok_or_else(|| ServerError::NoDocument { id: id.to_string() })?;
        Ok(JsonBody(StoredDocument { id: id.as_str(), fields: FieldsJson::new(&fields, None) }).into_response())
    })
    .await
}

/// Add documents, one a line
///
/// Each line is a JSON object with an `id`; one whose id is there replaces that document. Lines are read while they come. A line
/// that is no document is told with its number, and the others stand. The answer comes when all is on the disk and seen by
/// every search that begins later. Where the body breaks off there is no answer, and whole lines may be kept: send it again.
#[utoipa::path(
    post,
    path = "/v1/documents",
    tag = "documents",
    request_body(content = String, content_type = "application/x-ndjson",
        example = "{\"id\": 1, \"title\": \"Light\", \"text\": \"A light bulb burns.\"}\n{\"id\": 2, \"text\": \"A tulip bulb grows.\"}\n"),
    responses(
        (status = 200, description = "What became of each line.", body = BulkAnswer<'_>),
        (status = 404, description = "This service holds no documents of its own.", body = ErrorAnswer<'_>),
        (status = 409, description = "Somebody else writes to the index.", body = ErrorAnswer<'_>),
        (status = 429, description = "Too many changes at once.", body = ErrorAnswer<'_>,
            headers(("retry-after" = u64, description = "When to try again, in seconds."))),
        (status = 503, description = "The index cannot be read or written.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn add(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, ServerError> {
    app.documents()?;
    expect_lines(&headers)?;
    let bytes_max = app.config.bulk_bytes_max;
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(ServerError::BodyTooLarge { bytes_max });
    }
    let (chunks, waiting) = channel(CHUNKS_WAITING_MAX);
    let limits = BulkLimits { line_bytes_max: app.config.body_bytes_max, n_lines_max: app.config.bulk_lines_max };
    let work = app.change(move |host| {
        let lines = Box::new(BodyReader { waiting, chunk: Bytes::new(), is_over: false });
        let outcomes = host.add(lines, limits)?;
        let n_documents = host.stats()?.n_documents;
        Ok(JsonBody(BulkAnswer::new(&outcomes, n_documents, arrival.at.elapsed(), &arrival.request_id)).into_response())
    });
    let (answer, sent) = tokio::join!(work, hand_over(body, chunks, bytes_max));
    sent?;
    answer
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
pub(crate) async fn delete(State(app): State<App>, Name(id): Name) -> Result<impl IntoResponse, ServerError> {
    app.change(move |host| {
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
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    app.documents()?;
    let body: DeleteBody = app.json("a deletion by `query`, `filters` or `all`", &headers, body).await?;
    let selection = body.into_selection()?;
    app.change(move |host| {
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
    app.blocking(|app| {
        let service = &app.service;
        let documents = service.documents.as_ref().map(|host| host.stats()).transpose()?;
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
    fn documents(&self) -> Result<&dyn DocumentHost, ServerError> {
        self.service.documents.as_deref().ok_or(ServerError::WithoutPart { part: "documents of its own" })
    }

    /// Runs a change of documents, as one of the few that may be under way.
    async fn change<T: Send + 'static>(
        self,
        work: impl FnOnce(&dyn DocumentHost) -> Result<T, ServerError> + Send + 'static,
    ) -> Result<T, ServerError> {
        let n_changes_max = self.config.n_changes_max.get();
        let too_many = || ServerError::TooManyChanges { n_changes_max, retry_after: RetryAfter::new(RETRY_AFTER) };
        let admitted = self.changes.admit(n_changes_max).ok_or_else(too_many)?;
        self.blocking(move |app| {
            let _admitted = admitted;
            work(app.documents()?)
        })
        .await
    }
}

fn expect_lines(headers: &HeaderMap) -> Result<(), ServerError> {
    let value = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence =
        value.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if LINES.contains(&essence.as_str()) {
        return Ok(());
    }
    Err(ServerError::NotLines { found: value.map_or_else(|| "of no type".to_owned(), |found| format!("`{found}`")) })
}

/// A chunk of a body; `None` at the end of the body.
type Chunk = io::Result<Option<Bytes>>;

/// Hands a body over as it comes. An error that ends it goes to the reader; the limit on its bytes is answered here.
async fn hand_over(body: Body, chunks: Sender<Chunk>, bytes_max: usize) -> Result<(), ServerError> {
    let mut body = pin!(TimeoutBody::new(PAUSE_MAX, body));
    let mut n_bytes = 0;
    loop {
        let chunk = next_chunk(body.as_mut()).await;
        n_bytes += chunk.as_ref().map_or(0, |chunk| chunk.as_ref().map_or(0, Bytes::len));
        if n_bytes > bytes_max {
            return Err(ServerError::BodyTooLarge { bytes_max });
        }
        let is_last = !matches!(chunk, Ok(Some(_)));
        // Where nobody reads on, the answer says why.
        if chunks.send(chunk).await.is_err() || is_last {
            return Ok(());
        }
    }
}

async fn next_chunk(mut body: Pin<&mut TimeoutBody<Body>>) -> Chunk {
    loop {
        match poll_fn(|context| body.as_mut().poll_frame(context)).await {
            None => return Ok(None),
            // A frame without data is trailers.
            Some(frame) => {
                if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A body as a thread reads it that may block.
struct BodyReader {
    waiting: Receiver<Chunk>,
    chunk: Bytes,
    is_over: bool,
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.is_over {
            // A caller that hangs up takes the sender along, without an end.
            match self.waiting.blocking_recv().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))? {
                Some(chunk) => self.chunk = chunk,
                None => self.is_over = true,
            }
        }
        let n = buffer.len().min(self.chunk.len());
        buffer[..n].copy_from_slice(&self.chunk.split_to(n));
        Ok(n)
    }
}
