//! `/v1/experiments` and `/v1/shadows`.

use std::sync::Arc;

use axum::Json as JsonBody;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lorank_experiments::{AnalysisOptions, Arm, ArmModel, Experiment, ExperimentStore};
use lorank_pipeline::AdapterChoice;
use serde::Deserialize;
use serde_json::json;

use super::{App, Name, Params, now_millis, read};
use crate::ServerError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    traffic_share: Option<f64>,
    /// Absent leaves the end as it is; null takes it away.
    #[serde(default, deserialize_with = "present")]
    end_millis: Option<Option<i64>>,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<i64>>, D::Error> {
    Option::deserialize(from).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportQuery {
    format: Option<ReportFormat>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReportFormat {
    Json,
    Text,
    Html,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportQuery {
    #[serde(default)]
    what: Exported,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Exported {
    #[default]
    Queries,
    Events,
}

pub(crate) async fn list(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.blocking(|app| Ok(JsonBody(json!({ "experiments": app.store()?.list()? })))).await
}

/// Creates a draft.
pub(crate) async fn create(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    let draft: Experiment = read("an experiment", app.json(&headers, body)?)?;
    app.blocking(move |app| {
        let store = app.store()?;
        draft.arms.iter().enumerate().try_for_each(|(n, arm)| app.check_arm(n, arm))?;
        let id = draft.id.clone();
        store.create(draft)?;
        Ok((StatusCode::CREATED, JsonBody(store.get(&id)?)))
    })
    .await
}

pub(crate) async fn show(State(app): State<App>, Name(id): Name) -> Result<impl IntoResponse, ServerError> {
    app.blocking(move |app| Ok(JsonBody(app.store()?.get(&id)?))).await
}

pub(crate) async fn delete(State(app): State<App>, Name(id): Name) -> Result<impl IntoResponse, ServerError> {
    app.blocking(move |app| {
        app.store()?.delete_draft(&id)?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

pub(crate) async fn start(State(app): State<App>, Name(id): Name) -> Result<impl IntoResponse, ServerError> {
    app.blocking(move |app| {
        let store = app.store()?;
        // What a draft names may have gone since.
        store.get(&id)?.arms.iter().enumerate().try_for_each(|(n, arm)| app.check_arm(n, arm))?;
        Ok(JsonBody(store.start(&id, now_millis())?))
    })
    .await
}

pub(crate) async fn stop(State(app): State<App>, Name(id): Name) -> Result<impl IntoResponse, ServerError> {
    app.blocking(move |app| Ok(JsonBody(app.store()?.stop(&id, now_millis())?))).await
}

/// Raises the share, or sets the end.
pub(crate) async fn change(
    State(app): State<App>,
    Name(id): Name,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<impl IntoResponse, ServerError> {
    let change: ChangeBody = read("a change of `traffic_share` or `end_millis`", app.json(&headers, body)?)?;
    app.blocking(move |app| {
        let (store, now) = (app.store()?, now_millis());
        let mut experiment = store.get(&id)?;
        if let Some(end) = change.end_millis {
            experiment = store.set_end(&id, end, now)?;
        }
        if let Some(share) = change.traffic_share {
            experiment = store.raise_share(&id, share, now)?;
        }
        Ok(JsonBody(experiment))
    })
    .await
}

/// The report as the query string or the header `accept` wants it: JSON, a table or a page.
pub(crate) async fn report(
    State(app): State<App>,
    Name(id): Name,
    Params(query): Params<ReportQuery>,
    headers: HeaderMap,
) -> Result<Response, ServerError> {
    let format = query.format.unwrap_or_else(|| accepted(&headers));
    app.blocking(move |app| {
        let report = app.store()?.report(&id, AnalysisOptions::default())?;
        Ok(match format {
            ReportFormat::Json => JsonBody(report).into_response(),
            ReportFormat::Text => report.to_text().into_response(),
            ReportFormat::Html => axum::response::Html(report.to_html()).into_response(),
        })
    })
    .await
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

/// The answers or the events as CSV.
pub(crate) async fn export(
    State(app): State<App>,
    Name(id): Name,
    Params(ExportQuery { what }): Params<ExportQuery>,
) -> Result<impl IntoResponse, ServerError> {
    app.blocking(move |app| {
        let (store, mut csv) = (app.store()?, Vec::new());
        match what {
            Exported::Queries => store.export_queries(&id, &mut csv)?,
            Exported::Events => store.export_events(&id, &mut csv)?,
        };
        Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], csv))
    })
    .await
}

/// What the shadows have found.
pub(crate) async fn shadows(State(app): State<App>) -> Result<impl IntoResponse, ServerError> {
    app.blocking(|app| {
        let shadow = |one: lorank_experiments::ShadowSummary| {
            json!({
                "name": one.name,
                "adapter": one.candidate,
                "n_answers": one.n_answers,
                "n_failures": one.n_failures,
                "mean_rbo": one.mean_rbo,
                "mean_kendall_tau": one.mean_kendall_tau,
                "mean_overlap_at_10": one.mean_overlap_at_10,
                "mean_latency_millis": one.mean_latency_micros.map(|micros| micros / 1_000.0),
            })
        };
        let shadows: Vec<_> = app.store()?.shadows()?.into_iter().map(shadow).collect();
        Ok(JsonBody(json!({ "shadows": shadows })))
    })
    .await
}

impl App {
    pub(super) fn store(&self) -> Result<&Arc<ExperimentStore>, ServerError> {
        self.service.engine.store().ok_or(ServerError::WithoutPart { part: "experiments" })
    }

    /// That an arm's model is there.
    fn check_arm(&self, n: usize, arm: &Arm) -> Result<(), ServerError> {
        let choice = match &arm.model {
            ArmModel::FirstStage => return Ok(()),
            ArmModel::Base => AdapterChoice::Base,
            ArmModel::Adapter(id) => AdapterChoice::Named(id.clone()),
        };
        let missing = |error: lorank_pipeline::PipelineError| {
            let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
            ServerError::InvalidValue {
                field: format!("arms[{n}].model"),
                problem: format!("is refused: {error}{cause}"),
            }
        };
        self.service.engine.model(&choice).map(drop).map_err(missing)
    }
}
