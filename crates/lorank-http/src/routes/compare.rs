//! `/v1/compare`: one query under several adapters.

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use lorank_core::{AdapterChoice, Candidate, RankerSettings, RerankStages};
use lorank_pipeline::{Answer, Contestant, PipelineError, Ranker};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use utoipa::ToSchema;

use super::search::CancelOnDrop;
use super::{App, OfIndex};
use crate::request_id::Arrival;
use crate::wire::{Comparison, ErrorAnswer, ParsedSearch, StageBody, rerank_stages};
use crate::{SearchBody, ServerError};

/// The maximum number of rankers in a comparison.
pub(crate) const RANKERS_MAX: usize = 8;

/// A comparison of rankers. All keys except `adapters` have the same meaning as in a search.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = CompareRequest)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompareBody {
    /// The query text. Required.
    query: Option<String>,
    /// The adapters and aliases to compare; `none` is the base model without an adapter. `first-stage` is always included, as the
    /// first ranker.
    #[serde(default)]
    adapters: Vec<String>,
    /// Rerank stages, as in a search: one more ranker, which is the last. Its name is the text form of the stages, such as
    /// `none:100,qa:10`. `adapters` can be empty then.
    stages: Option<Vec<StageBody>>,
    /// The number of hits per ranker.
    #[schema(value_type = Option<usize>, minimum = 1)]
    top_k: Option<std::num::NonZeroUsize>,
    /// The number of top hits to skip per ranker. Default: 0.
    offset: Option<usize>,
    /// The number of candidates to rerank.
    #[schema(value_type = Option<usize>, minimum = 1)]
    depth: Option<std::num::NonZeroUsize>,
    /// Deadline in milliseconds after the request's arrival. Rankings that miss it are in first-stage order.
    deadline_millis: Option<u64>,
    /// Filters on stored fields, as in a search.
    #[schema(value_type = Option<Object>)]
    filters: Option<Map<String, Json>>,
    /// Whether to return snippets. Default: true.
    snippets: Option<bool>,
    /// The stored fields to return. Default: all.
    fields: Option<Vec<String>>,
    /// The syntax of `query`. Default: `plain`.
    syntax: Option<crate::SyntaxJson>,
    /// Typo tolerance for plain queries, as in a search. Default: `auto`.
    fuzzy: Option<crate::FuzzyJson>,
    /// What the models shall judge, as in a search.
    instruction: Option<String>,
    /// How documents that are longer than the model's limit are scored, as in a search.
    #[schema(pattern = "^(first|max|mean-top-[1-9][0-9]*)$")]
    passages: Option<String>,
    /// The length of a passage in tokens, as in a search.
    #[schema(value_type = Option<usize>, minimum = 16)]
    passage_tokens: Option<std::num::NonZeroUsize>,
    /// The number of tokens from a passage to the next one, as in a search.
    #[schema(value_type = Option<usize>, minimum = 1)]
    stride: Option<std::num::NonZeroUsize>,
}

/// Compare rankers
///
/// Ranks the candidates of one query by several adapters and by the first stage. The candidates are retrieved once.
#[utoipa::path(
    post,
    path = "/v1/compare",
    tag = "search",
    request_body(content = CompareBody, example = json!({"query": "light bulb", "adapters": ["none"], "top_k": 5})),
    responses(
        (status = 200, description = "The hits of each ranker.", body = Comparison<'_>),
        (status = 404, description = "Unknown index or adapter.", body = ErrorAnswer<'_>),
        (status = 429, description = "Too many requests; retry after the time in `Retry-After`.", body = ErrorAnswer<'_>,
            headers(("retry-after" = u64, description = "Seconds to wait before retrying."))),
        (status = 503, description = "The index or the model is unavailable.", body = ErrorAnswer<'_>),
        (status = 504, description = "A search engine that is the first stage did not answer by the deadline.", body = ErrorAnswer<'_>),
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
    let contestants = contestants(&body.adapters, body.stages.map(rerank_stages).transpose()?)?;
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
        instruction: body.instruction,
        passages: body.passages,
        passage_tokens: body.passage_tokens,
        stride: body.stride,
        ..SearchBody::default()
    };
    let ParsedSearch { request, shape, .. } = search.into_request(arrival.at)?;
    let _cancel = CancelOnDrop(request.cancellation.clone());
    let work = move |app: &App| {
        let index = app.service.index(&index)?;
        let ranked = index.engine.contest(&request, contestants)?.into_iter();
        let answers: Vec<(String, Answer)> =
            ranked.map(|ranked| Ok((ranked.key, ranked.answer?))).collect::<Result<_, PipelineError>>()?;
        let named: Vec<(&str, &Answer)> = answers.iter().map(|(name, answer)| (name.as_str(), answer)).collect();
        let mut comparison = Comparison::shaped(&request.query.text, &named, &arrival.request_id, &shape);
        let hits: Vec<&Candidate> =
            named.iter().flat_map(|(_, answer)| &answer.hits).map(|hit| &hit.candidate).collect();
        comparison.warnings = index.unknown_fields(&shape, &hits);
        let body = serde_json::to_vec(&comparison).expect("the answer's keys are all texts");
        Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
    };
    app.search_work(work).await
}

/// The rankers by their names: the first stage, the adapters, and the stages.
fn contestants(adapters: &[String], stages: Option<RerankStages>) -> Result<Vec<Contestant<String>>, ServerError> {
    let invalid = |problem: String| ServerError::InvalidValue { field: "adapters".to_owned(), problem };
    let contestant =
        |ranker: Ranker| Contestant { key: ranker.to_string(), ranker, settings: RankerSettings::default() };
    let mut contestants = vec![contestant(Ranker::FirstStage)];
    for name in adapters.iter().filter(|name| *name != Ranker::FIRST_STAGE) {
        let one = contestant(name.parse().map_err(|error| invalid(format!("is invalid: {error}")))?);
        if contestants.contains(&one) {
            return Err(invalid(format!("has `{name}` twice")));
        }
        contestants.push(one);
    }
    contestants.extend(stages.map(|stages| Contestant {
        key: stages.to_string(),
        ranker: Ranker::Model(AdapterChoice::Default),
        settings: RankerSettings { stages: Some(stages), ..RankerSettings::default() },
    }));
    match contestants.len() {
        1 => Err(invalid("is missing or empty; name the adapters to compare with the first stage".to_owned())),
        n if n > RANKERS_MAX => Err(invalid(format!(
            "has {} names, and the maximum is {}, which counts `stages` as one",
            adapters.len(),
            RANKERS_MAX - 1
        ))),
        _ => Ok(contestants),
    }
}
