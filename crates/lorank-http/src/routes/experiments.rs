//! `/v1/experiments` and `/v1/shadows`.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use lorank_core::with_causes;
use lorank_experiment_pipeline::pin_of_arm;
use lorank_experiment_store::{Amendment, CurrentReport, ExperimentStore};
use lorank_experiments::{AnalysisOptions, Arm, ArmModel, Experiment, PinnedVersion, Report};
use lorank_pipeline::{AdapterChoice, Ranker};
use serde::Deserialize;
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::{App, Name, Params, now_millis};
use crate::ServerError;
use crate::lanes::Lane;
use crate::streamed::streamed;
use crate::wire::{ErrorAnswer, ExperimentList, ExperimentSchema, ReportSchema, ShadowJson, ShadowList};

/// A change of a started experiment.
#[derive(Deserialize, ToSchema)]
#[schema(as = ExperimentChange)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeBody {
    /// The share of units that take part. It can only be increased.
    traffic_share: Option<f64>,
    /// End of the assignment, in milliseconds since 1970. Null removes the end; if the key is missing, the end does not change.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<i64>)]
    end_millis: Option<Option<i64>>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<i64>>, D::Error> {
    Option::deserialize(from).map(Some)
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportQuery {
    /// The format of the report. Default: chosen by the header `accept`, else `json`.
    #[param(inline)]
    format: Option<ReportFormat>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ReportFormat {
    Json,
    Text,
    Html,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportQuery {
    /// The rows of the table. Default: `queries`.
    #[serde(default)]
    #[param(inline)]
    what: Exported,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Exported {
    #[default]
    Queries,
    Events,
}

/// List experiments
#[utoipa::path(
    get,
    path = "/v1/experiments",
    tag = "experiments",
    responses(
        (status = 200, description = "The experiments.", body = ExperimentList),
        (status = 404, description = "The server runs without experiments.", body = ErrorAnswer<'_>),
        (status = 503, description = "The experiment store is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn list(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, |app| {
        let now = now_millis();
        let experiments: Vec<Experiment> = app.store()?.list()?.into_iter().map(|one| one.at(now)).collect();
        Ok(JsonBody(json!({ "experiments": experiments })))
    })
    .await
}

/// Create an experiment
///
/// The new experiment is a draft: it assigns no traffic until it is started.
#[utoipa::path(
    post,
    path = "/v1/experiments",
    tag = "experiments",
    request_body(content = ExperimentSchema, example = json!({
        "id": "spring",
        "arms": [{"name": "control", "model": "none", "weight": 1}, {"name": "qa", "model": "minilm-qa", "weight": 1}],
        "method": "split",
        "salt": "2026",
        "traffic_share": 0.5,
        "layer": "ranking"
    })),
    responses(
        (status = 201, description = "The created draft.", body = ExperimentSchema),
        (status = 404, description = "The server runs without experiments.", body = ErrorAnswer<'_>),
        (status = 409, description = "An experiment with this id exists.", body = ErrorAnswer<'_>),
        (status = 503, description = "The experiment store is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    let draft: Experiment = app.json("an experiment", &headers, body).await?;
    app.in_lane(Lane::Operations, move |app| {
        let store = app.store()?;
        draft.arms.iter().enumerate().try_for_each(|(n, arm)| app.version_of(n, arm).map(drop))?;
        let id = draft.id.clone();
        store.create(draft)?;
        Ok((StatusCode::CREATED, JsonBody(store.get(&id)?)))
    })
    .await
}

/// Get an experiment
#[utoipa::path(
    get,
    path = "/v1/experiments/{id}",
    tag = "experiments",
    params(("id" = String, Path, description = "The id of the experiment.", example = "spring")),
    responses(
        (status = 200, description = "The experiment.", body = ExperimentSchema),
        (status = 404, description = "Unknown experiment, or the server runs without experiments.", body = ErrorAnswer<'_>),
        (status = 503, description = "The experiment store is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn show(State(app): State<App>, Name(id): Name) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reads, move |app| Ok(JsonBody(app.store()?.get(&id)?.at(now_millis())))).await
}

/// Delete a draft experiment
///
/// A started experiment cannot be deleted, because its records refer to it; stop it instead. `lorank experiments forget` deletes old
/// records.
#[utoipa::path(
    delete,
    path = "/v1/experiments/{id}",
    tag = "experiments",
    params(("id" = String, Path, description = "The id of the experiment.", example = "spring")),
    responses(
        (status = 204, description = "The draft was deleted."),
        (status = 404, description = "Unknown experiment, or the server runs without experiments.", body = ErrorAnswer<'_>),
        (status = 409, description = "The experiment was started already.", body = ErrorAnswer<'_>),
        (status = 503, description = "The experiment store is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn delete(State(app): State<App>, Name(id): Name) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Operations, move |app| {
        app.store()?.delete_draft(&id, now_millis())?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// Start an experiment
///
/// Pins each arm to the version that its adapter or alias refers to now. The arm uses that version until the experiment ends.
#[utoipa::path(
    post,
    path = "/v1/experiments/{id}/start",
    tag = "experiments",
    params(("id" = String, Path, description = "The id of the experiment.", example = "spring")),
    responses(
        (status = 200, description = "The experiment is running.", body = ExperimentSchema),
        (status = 404, description = "Unknown experiment, or the server runs without experiments.", body = ErrorAnswer<'_>),
        (status = 409, description = "The experiment is stopped, or its layer has no free traffic.", body = ErrorAnswer<'_>),
        (status = 422, description = "The model of an arm does not exist, or cannot serve its settings.", body = ErrorAnswer<'_>),
        (status = 503, description = "The experiment store is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn start(State(app): State<App>, Name(id): Name) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Operations, move |app| {
        let store = app.store()?;
        let (arms, now) = (store.get(&id)?.arms, now_millis());
        // Adapters of the draft may have been removed since it was created.
        let version =
            |(n, arm)| Ok(app.version_of(n, arm)?.map(|version| (n, PinnedVersion { since_millis: now, ..version })));
        let versions: Vec<Option<_>> = arms.iter().enumerate().map(version).collect::<Result<_, ServerError>>()?;
        Ok(JsonBody(store.start_pinned(&id, versions.into_iter().flatten().collect(), now)?))
    })
    .await
}

/// Stop an experiment
///
/// A stopped experiment cannot be started again.
#[utoipa::path(
    post,
    path = "/v1/experiments/{id}/stop",
    tag = "experiments",
    params(("id" = String, Path, description = "The id of the experiment.", example = "spring")),
    responses(
        (status = 200, description = "The experiment is stopped.", body = ExperimentSchema),
        (status = 404, description = "Unknown experiment, or the server runs without experiments.", body = ErrorAnswer<'_>),
        (status = 409, description = "The experiment is not running.", body = ErrorAnswer<'_>),
        (status = 503, description = "The experiment store is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn stop(State(app): State<App>, Name(id): Name) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Operations, move |app| Ok(JsonBody(app.store()?.stop(&id, now_millis())?))).await
}

/// Update a running experiment
///
/// Increases its traffic share, or sets its end.
#[utoipa::path(
    patch,
    path = "/v1/experiments/{id}",
    tag = "experiments",
    params(("id" = String, Path, description = "The id of the experiment.", example = "spring")),
    request_body(content = ChangeBody, example = json!({"traffic_share": 1.0})),
    responses(
        (status = 200, description = "The updated experiment.", body = ExperimentSchema),
        (status = 404, description = "Unknown experiment, or the server runs without experiments.", body = ErrorAnswer<'_>),
        (status = 409, description = "The experiment's state or its layer does not allow the change.", body = ErrorAnswer<'_>),
        (status = 503, description = "The experiment store is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn change(
    State(app): State<App>,
    Name(id): Name,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    let change: ChangeBody = app.json("a change of `traffic_share` or `end_millis`", &headers, body).await?;
    app.in_lane(Lane::Operations, move |app| {
        let ChangeBody { traffic_share, end_millis } = change;
        Ok(JsonBody(app.store()?.amend(&id, Amendment { traffic_share, end_millis }, now_millis())?))
    })
    .await
}

/// Get an experiment's report
///
/// The response has an `etag`. A request with the same tag in `if-none-match` gets status 304 without a body while the report is
/// unchanged.
#[utoipa::path(
    get,
    path = "/v1/experiments/{id}/report",
    tag = "experiments",
    params(
        ("id" = String, Path, description = "The id of the experiment.", example = "spring"),
        ReportQuery,
    ),
    responses(
        (status = 200, description = "The report.", content(
            (ReportSchema = "application/json"), (String = "text/plain"), (String = "text/html")
        )),
        (status = 304, description = "The report has not changed since the tag in `if-none-match`."),
        (status = 404, description = "Unknown experiment, or the server runs without experiments.", body = ErrorAnswer<'_>),
        (status = 409, description = "The experiment was not started yet.", body = ErrorAnswer<'_>),
        (status = 503, description = "The experiment store is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn report(
    State(app): State<App>,
    Name(id): Name,
    Params(query): Params<ReportQuery>,
    headers: HeaderMap,
) -> Result<Response, ServerError> {
    let format = query.format.unwrap_or_else(|| accepted(&headers));
    app.in_lane(Lane::Reports, move |app| {
        let CurrentReport { report, revision } = app.store()?.report(&id, AnalysisOptions::default(), now_millis())?;
        let tag = format!("\"{revision:016x}-{}\"", format.word());
        let vary = (header::VARY, header::ACCEPT.to_string());
        let tags = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".to_owned()), vary];
        if is_known(&headers, &tag) {
            return Ok((StatusCode::NOT_MODIFIED, tags).into_response());
        }
        Ok((tags, rendered(&report, format)).into_response())
    })
    .await
}

fn rendered(report: &Report, format: ReportFormat) -> Response {
    match format {
        ReportFormat::Json => JsonBody(report).into_response(),
        ReportFormat::Text => report.to_text().into_response(),
        ReportFormat::Html => {
            let policy = [(header::CONTENT_SECURITY_POLICY, Report::HTML_SECURITY_POLICY)];
            (policy, Html(report.to_html())).into_response()
        }
    }
}

impl ReportFormat {
    /// The entity tag of a body, which also depends on its format.
    fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Html => "html",
        }
    }
}

/// Whether the client has the body with this tag already.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let sent = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut tags = sent.flat_map(|value| value.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
    tags.any(|sent| sent == tag || sent == "*")
}

fn accepted(headers: &HeaderMap) -> ReportFormat {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let known = first.filter_map(|kind| match kind {
        "text/html" => Some(ReportFormat::Html),
        "text/plain" => Some(ReportFormat::Text),
        "application/json" => Some(ReportFormat::Json),
        _ => None,
    });
    known.into_iter().next().unwrap_or(ReportFormat::Json)
}

/// Export an experiment's records as CSV
#[utoipa::path(
    get,
    path = "/v1/experiments/{id}/export",
    tag = "experiments",
    params(
        ("id" = String, Path, description = "The id of the experiment.", example = "spring"),
        ExportQuery,
    ),
    responses(
        (status = 200, description = "A table with a header row: the answers of the experiment, or the events on them.", body = String, content_type = "text/csv"),
        (status = 404, description = "Unknown experiment, or the server runs without experiments.", body = ErrorAnswer<'_>),
        (status = 503, description = "The experiment store is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn export(
    State(app): State<App>,
    Name(id): Name,
    Params(ExportQuery { what }): Params<ExportQuery>,
) -> Result<impl IntoResponse, ServerError> {
    let place = app.lanes.enter(Lane::Reports).await?;
    let (mut csv, answer) = streamed();
    // The export continues while the response is sent.
    tokio::spawn(app.blocking(move |app| {
        let _place = place;
        let written = app.store().and_then(|store| match what {
            Exported::Queries => Ok(store.export_queries(&id, &mut csv)?),
            Exported::Events => Ok(store.export_events(&id, &mut csv)?),
        });
        csv.finish(written.map(drop));
        Ok(())
    }));
    Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], answer.begin().await?))
}

/// Get shadow statistics
#[utoipa::path(
    get,
    path = "/v1/shadows",
    tag = "experiments",
    responses(
        (status = 200, description = "The statistics of each shadow.", body = ShadowList),
        (status = 404, description = "The server runs without experiments.", body = ErrorAnswer<'_>),
        (status = 503, description = "The experiment store is unavailable.", body = ErrorAnswer<'_>),
    ),
)]
pub(crate) async fn shadows(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.in_lane(Lane::Reports, |app| {
        let shadows = app.store()?.shadows()?.into_iter().map(ShadowJson::from).collect();
        Ok(JsonBody(ShadowList { shadows }))
    })
    .await
}

impl App {
    pub(super) fn store(&self) -> Result<&Arc<ExperimentStore>, ServerError> {
        self.service.engine.store().ok_or(ServerError::WithoutPart { part: "experiments" })
    }

    /// Checks that an arm's settings are within the limits, and that its model can serve them.
    fn check_settings(&self, n: usize, arm: &Arm, choice: AdapterChoice) -> Result<(), ServerError> {
        let checked = self.service.engine.check_ranker(&Ranker::Model(choice), &arm.settings);
        checked.map_err(|error| ServerError::InvalidValue {
            field: format!("arms[{n}].{}", error.field().unwrap_or("model")),
            problem: format!("is invalid: {}", with_causes(&error)),
        })
    }

    /// Checks that the models of an arm exist and serve its settings, and returns the current versions of adapters and
    /// aliases.
    fn version_of(&self, n: usize, arm: &Arm) -> Result<Option<PinnedVersion>, ServerError> {
        let choice = match &arm.model {
            ArmModel::FirstStage => return Ok(None),
            ArmModel::Base => AdapterChoice::Base,
            ArmModel::Adapter(id) => AdapterChoice::Named(id.clone()),
        };
        let missing = |error: lorank_pipeline::PipelineError| {
            let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
            ServerError::InvalidValue {
                field: format!("arms[{n}].model"),
                problem: format!("is invalid: {error}{cause}"),
            }
        };
        self.service.engine.model(&choice).map_err(missing)?;
        self.check_settings(n, arm, choice)?;
        pin_of_arm(arm, &|choice| self.service.engine.model(choice), now_millis()).map_err(missing)
    }
}
