//! `/ready`: whether the server should receive requests now.
//!
//! `/health` is for supervisors, which restart a process that does not respond. `/ready` is for load balancers, which stop sending
//! requests to a server that could not answer a search; restarting it would not help.

use std::time::Duration;

use axum::Json as JsonBody;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lorank_core::Deadline;

use super::{App, Shared};
use crate::lanes::Lane;
use crate::wire::{Checks, ErrorAnswer, FailedDevice, Ready};
use crate::{ServedGpu, ServerError};

/// Check readiness
#[utoipa::path(
    get,
    path = "/ready",
    tag = "service",
    responses(
        (status = 200, description = "The server can answer a search now.", body = Ready),
        (status = 429, description = "Too many readiness checks at the same time.", body = ErrorAnswer<'_>),
        (status = 503, description = "The server cannot answer a search now; `checks` has the reason.", body = Ready),
    ),
)]
pub(crate) async fn ready(State(shared): State<Shared>) -> Result<Response, ServerError> {
    let server = server_check(shared.config.is_stopping());
    App::from_ref(&shared)
        .in_lane(Lane::Readiness, move |app| {
            let failed_devices = app.failed_devices();
            let checks = Checks {
                server: server.to_owned(),
                index: app.index_check(),
                model: app.model_check(),
                queue: app.queue_check(),
            };
            let is_ready =
                [&checks.server, &checks.index, &checks.model, &checks.queue].into_iter().all(|check| check == OK);
            let (status, word) = match is_ready {
                true => (StatusCode::OK, "ready"),
                false => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
            };
            Ok((status, JsonBody(Ready { status: word, checks, failed_devices })).into_response())
        })
        .await
}

const OK: &str = "ok";

/// The time that an adapter may take to load before the model counts as not ready.
const MODEL_TIMEOUT: Duration = Duration::from_secs(10);

/// Checks that the server was not asked to stop. It still answers then, but a load balancer should choose another server.
fn server_check(is_stopping: bool) -> &'static str {
    if is_stopping { "the server is shutting down" } else { OK }
}

impl App {
    /// Searches every index for one hit.
    fn index_check(&self) -> String {
        let failed = self.service.indexes.iter().find_map(|(name, index)| {
            let outcome = self.outcome_of(index.engine.probe().map_err(ServerError::from));
            (outcome != OK).then(|| match self.service.indexes.len() {
                1 => outcome,
                _ => format!("`{name}`: {outcome}"),
            })
        });
        failed.unwrap_or_else(|| OK.to_owned())
    }

    /// Checks that the default model is in memory, and loads it otherwise.
    fn model_check(&self) -> String {
        let Some(deadline) = Deadline::after(MODEL_TIMEOUT) else { return OK.to_owned() };
        self.outcome_of(self.service.engine.probe_model(deadline).map_err(ServerError::from))
    }

    /// The GPUs that were taken out.
    fn failed_devices(&self) -> Vec<FailedDevice> {
        let failed = |ServedGpu { base_model, device, failure, .. }: ServedGpu| {
            failure.map(|error| FailedDevice { base_model, device, error })
        };
        self.service.adapters.iter().flat_map(|host| host.gpus()).filter_map(failed).collect()
    }

    /// Checks that neither the number of running searches nor the queue is at its limit.
    fn queue_check(&self) -> String {
        let (n_searches, n_searches_max) = (self.admission.n(), self.config.n_searches_max.get());
        let (n_waiting, queue_max) =
            (self.service.engine.queue_stats().n_requests_waiting, self.service.engine.queue_max());
        if n_searches >= n_searches_max {
            return format!("{n_searches} searches are running, which is the limit");
        }
        if n_waiting >= queue_max {
            return format!("{n_waiting} requests are waiting for the model, which is the limit");
        }
        OK.to_owned()
    }

    /// Logs the causes and does not return them, because they may contain file names.
    fn outcome_of(&self, check: Result<(), ServerError>) -> String {
        check.map_or_else(
            |error| {
                error.log(StatusCode::SERVICE_UNAVAILABLE);
                error.message()
            },
            |()| OK.to_owned(),
        )
    }
}
