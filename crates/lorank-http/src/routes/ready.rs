//! `/ready`: whether requests should be sent here now.
//!
//! `/health` says that the process answers, and a supervisor restarts one that does not. `/ready` says that a search would be
//! answered, and a load balancer leaves out a server that is not: restarting it would not help.

use std::time::Duration;

use axum::Json as JsonBody;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lorank_core::Deadline;

use super::App;
use crate::ServerError;
use crate::lanes::Lane;
use crate::wire::{Checks, ErrorAnswer, Ready};

/// That a search would be answered now
#[utoipa::path(
    get,
    path = "/ready",
    tag = "service",
    responses(
        (status = 200, description = "It would.", body = Ready),
        (status = 429, description = "Too many such checks at once.", body = ErrorAnswer<'_>),
        (status = 503, description = "It would not, and why.", body = Ready),
    ),
)]
pub(crate) async fn ready(State(app): State<App>) -> Result<Response, ServerError> {
    app.in_lane(Lane::Readiness, |app| {
        let checks = Checks { index: app.index_check(), model: app.model_check(), queue: app.queue_check() };
        let is_ready = [&checks.index, &checks.model, &checks.queue].into_iter().all(|check| check == OK);
        let (status, word) = match is_ready {
            true => (StatusCode::OK, "ready"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
        };
        Ok((status, JsonBody(Ready { status: word, checks })).into_response())
    })
    .await
}

const OK: &str = "ok";

/// How long an adapter may take to load before the model is not ready.
const MODEL_TIMEOUT: Duration = Duration::from_secs(10);

impl App {
    /// Every index answers a search for one hit.
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

    /// The model that requests get which name none is in memory; it is brought there if need be.
    fn model_check(&self) -> String {
        let Some(deadline) = Deadline::after(MODEL_TIMEOUT) else { return OK.to_owned() };
        self.outcome_of(self.service.engine.probe_model(deadline).map_err(ServerError::from))
    }

    /// Neither the searches under way nor those that wait for the model are at their limit.
    fn queue_check(&self) -> String {
        let (n_searches, n_searches_max) = (self.admission.n(), self.config.n_searches_max.get());
        let (n_waiting, queue_max) =
            (self.service.engine.queue_stats().n_requests_waiting, self.service.engine.queue_max());
        if n_searches >= n_searches_max {
            return format!("{n_searches} searches are under way, which is the limit");
        }
        if n_waiting >= queue_max {
            return format!("{n_waiting} requests wait for the model, which is the limit");
        }
        OK.to_owned()
    }

    /// The causes are for the log, as with answers: they may name files.
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
