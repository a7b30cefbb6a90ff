//! A search server with axum: its own index, routes and response format.
//!
//!     cargo run --release --example own_server
//!
//! `lorank serve` is a complete server; this example is for existing ones. A handler takes the question from the
//! request, searches where blocking is allowed, and returns the answer as JSON.

use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::{Json, Router, body::Body, http::Request, routing::get};
use lorank::core::Deadline;
use lorank::model::{Files, LoadOptions, ModelReranker};
use lorank::pipeline::{NoFirstStage, Pipeline, PipelineConfig, SearchRequest};
use lorank::tantivy::tantivy::query::QueryParser;
use lorank::tantivy::tantivy::schema::{STORED, Schema, TEXT};
use lorank::tantivy::tantivy::{Document, Index, IndexReader, TantivyDocument, doc};
use lorank::tantivy::{CandidateCollector, Texts};
use serde_json::{Value, json};
use tower::ServiceExt;

type BoxError = Box<dyn Error + Send + Sync>;

struct App {
    reader: IndexReader,
    parser: QueryParser,
    collector: CandidateCollector,
    pipeline: Pipeline<NoFirstStage, ModelReranker>,
}

/// Sets up the server and sends one request.
#[tokio::main]
pub(crate) async fn main() -> Result<(), BoxError> {
    let app = Arc::new(tokio::task::spawn_blocking(open).await??);
    let router = Router::new().route("/search", get(search)).with_state(app);

    // A real server continues with
    //     axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8080").await?, router).await
    // while this example sends one request without a socket.
    let request = Request::get("/search?q=who+invented+the+light+bulb").body(Body::empty())?;
    let response = router.oneshot(request).await?;
    assert_eq!(response.status(), StatusCode::OK);
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await?;
    let answer: Value = serde_json::from_slice(&body)?;
    println!("{answer:#}");
    assert_eq!(answer["hits"][0]["title"], json!(["Edison"]));
    Ok(())
}

fn open() -> Result<App, BoxError> {
    let mut schema = Schema::builder();
    let title = schema.add_text_field("title", TEXT | STORED);
    let body = schema.add_text_field("body", TEXT | STORED);
    let index = Index::create_in_ram(schema.build());
    let mut writer = index.writer(50_000_000)?;
    writer
        .add_document(doc!(title => "Tulips", body => "Plant the bulb in light soil: who wants light wants tulips."))?;
    writer.add_document(doc!(title => "Edison", body => "In 1880 he patented the lamp that burns in every house."))?;
    writer.commit()?;

    let minilm = lorank::starter::base_model().iter().map(|file| (file.name, file.bytes));
    let reranker = ModelReranker::load(&Files::embedded("minilm", minilm), LoadOptions::default())?;
    let depth = NonZeroUsize::new(50).ok_or("the depth is not zero")?;
    Ok(App {
        reader: index.reader()?,
        parser: QueryParser::for_index(&index, vec![title, body]),
        collector: CandidateCollector::new(Texts::fields(["body"]).title("title"), depth),
        pipeline: Pipeline::without_first_stage(reranker, PipelineConfig::default())?,
    })
}

/// `GET /search?q=...`
async fn search(
    State(app): State<Arc<App>>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, StatusCode> {
    let question = parameters.into_iter().find(|(name, _)| name == "q").ok_or(StatusCode::BAD_REQUEST)?.1;
    let answer = tokio::task::spawn_blocking(move || answer(&app, &question)).await;
    match answer {
        Ok(Ok(answer)) => Ok(Json(answer)),
        _ => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// The stored documents in the pipeline's order, and whether they are reranked.
fn answer(app: &App, question: &str) -> Result<Value, BoxError> {
    let searcher = app.reader.searcher();
    let (query, _) = app.parser.parse_query_lenient(question);
    let found = searcher.search(&query, &app.collector)?;
    let request = SearchRequest { deadline: Deadline::after(Duration::from_secs(60)), ..SearchRequest::new(question) };
    let answer = app.pipeline.rerank(&request, found.candidates)?;
    let mut hits = Vec::new();
    for hit in &answer.hits {
        let document: TantivyDocument = searcher.doc(found.addresses[hit.first_stage_rank - 1])?;
        hits.push(serde_json::from_str::<Value>(&document.to_json(searcher.schema()))?);
    }
    let fallback = answer.fallback.map(|fallback| fallback.reason());
    Ok(json!({"hits": hits, "reranked": answer.reranked, "fallback": fallback}))
}
