//! `/v1/compare`: one query under several adapters.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use lorank_pipeline::{Answer, PipelineError, Ranker};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

use super::search::CancelOnDrop;
use super::{App, OfIndex};
use crate::request_id::Arrival;
use crate::wire::{Comparison, ErrorAnswer, ParsedSearch};
use crate::{SearchBody, ServerError};

/// How many rankers one comparison may have.
pub(crate) const RANKERS_MAX: usize = 8;

/// A comparison. Beside `adapters` its keys mean what they mean in a search.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = CompareRequest)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompareBody {
    /// What is searched for; needed.
    query: Option<String>,
    /// Adapters and aliases, `none` for the bare base model; `first-stage` is always there, and first.
    #[serde(default)]
    adapters: Vec<String>,
    /// How many hits each ranker shows.
    #[schema(value_type = Option<usize>, minimum = 1)]
    top_k: Option<std::num::NonZeroUsize>,
    /// How many hits each ranker leaves out at the top; 0 by default.
    offset: Option<usize>,
    /// How many candidates are reranked.
    #[schema(value_type = Option<usize>, minimum = 1)]
    depth: Option<std::num::NonZeroUsize>,
    /// The time after which the answers come in first-stage order, counted from the request's arrival.
    deadline_millis: Option<u64>,
    /// Conditions on stored fields, as in a search.
    #[schema(value_type = Option<Object>)]
    filters: Option<Map<String, Json>>,
    /// Whether documents get a snippet; true by default.
    snippets: Option<bool>,
    /// The stored fields that documents carry; all by default.
    fields: Option<Vec<String>>,
    /// How `query` is read; `plain` by default.
    syntax: Option<crate::SyntaxJson>,
    /// Whether words that are spelled almost like those of a plain query match too, as in a search; `auto` by default.
    fuzzy: Option<crate::FuzzyJson>,
}

/// One query under several adapters
///
/// The candidates are retrieved once. The first stage's own order stands beside those of the adapters.
#[utoipa::path(
    post,
    path = "/v1/compare",
    tag = "search",
    request_body(content = CompareBody, example = json!({"query": "light bulb", "adapters": ["none"], "top_k": 5})),
    responses(
        (status = 200, description = "Each ranker's hits.", body = Comparison<'_>),
        (status = 404, description = "It names an adapter that is not there.", body = ErrorAnswer<'_>),
        (status = 429, description = "Too much is asked at once.", body = ErrorAnswer<'_>,
            headers(("retry-after" = u64, description = "When to try again, in seconds."))),
        (status = 503, description = "The service is not set up to answer it now.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn compare(
    State(app): State<App>,
    OfIndex(index): OfIndex,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ServerError> {
    app.service.index(&index)?;
    let body: CompareBody = app.json_with_filters("a comparison", &headers, body).await?;
    let rankers = rankers(&body.adapters)?;
    let search = SearchBody {
        query: body.query,
        top_k: body.top_k,
        offset: body.offset,
        depth: body.depth,
        deadline_millis: body.deadline_millis,
        filters: body.filters,
        snippets: body.snippets,
        fields: body.fields,
        syntax: body.syntax,
        fuzzy: body.fuzzy,
        ..SearchBody::default()
    };
    let ParsedSearch { request, shape, .. } = search.into_request(arrival.at)?;
    let _cancel = CancelOnDrop(request.cancellation.clone());
    let work = move |app: &App| {
        let ranked = app.service.index(&index)?.engine.search_each(&request, &rankers)?.into_iter();
        let answers: Vec<(String, Answer)> =
            ranked.map(|ranked| Ok((ranked.key.to_string(), ranked.answer?))).collect::<Result<_, PipelineError>>()?;
        let named: Vec<(&str, &Answer)> = answers.iter().map(|(name, answer)| (name.as_str(), answer)).collect();
        let comparison = Comparison::shaped(&request.query.text, &named, &arrival.request_id, &shape);
        let body = serde_json::to_vec(&comparison).expect("the answer's keys are all texts");
        Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
    };
    app.search_work(work).await
}

fn rankers(adapters: &[String]) -> Result<Vec<Ranker>, ServerError> {
    let invalid = |problem: String| ServerError::InvalidValue { field: "adapters".to_owned(), problem };
    let mut rankers = vec![Ranker::FirstStage];
    for name in adapters.iter().filter(|name| *name != Ranker::FIRST_STAGE) {
        let ranker = name.parse().map_err(|error| invalid(format!("is refused: {error}")))?;
        if rankers.contains(&ranker) {
            return Err(invalid(format!("names `{name}` twice")));
        }
        rankers.push(ranker);
    }
    match rankers.len() {
        1 => Err(invalid("is missing or names no adapter; give those to compare with the first stage".to_owned())),
        n if n > RANKERS_MAX => Err(invalid(format!("names {} adapters, and {} is the most", n - 1, RANKERS_MAX - 1))),
        _ => Ok(rankers),
    }
}
