//! Prometheus metrics of the service.

mod gauges;
mod process;

use std::sync::Arc;
use std::time::Duration;

use lorank_core::RerankStages;
use lorank_experiment_pipeline::ExperimentAnswer;
use lorank_pipeline::Answer;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use self::gauges::ServiceCollector;
use self::process::Process;
use crate::LiveConfig;
use crate::admission::Admission;
use crate::service::Service;

/// Histogram buckets in seconds, from half a millisecond (a cached answer) to half a minute.
const SECONDS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// The reasons for fallback answers, as [`Fallback::reason`](lorank_pipeline::Fallback::reason) returns them.
const REASONS: [&str; 5] = ["deadline_passed", "would_miss_deadline", "queue_full", "cancelled", "reranker_failed"];

/// The label for requests that no route matched. Clients can choose paths freely, so paths cannot be labels.
pub(crate) const UNKNOWN_ROUTE: &str = "unknown";

/// The method of requests to [`UNKNOWN_ROUTE`].
const ANY_METHOD: &str = "any";

/// The label for methods other than [`METHODS`], which clients can choose freely as well.
const OTHER_METHOD: &str = "other";

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    /// One of [`METHODS`], [`OTHER_METHOD`], or [`ANY_METHOD`] if the route is unknown.
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    stage: &'static str,
}

/// The numbers of the rerank stages of a search as labels.
const RERANK_STAGES: [&str; RerankStages::MAX] = ["1", "2", "3", "4"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageReasonLabels {
    stage: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    /// `first-stage`, `none` for the base model without an adapter, the adapter, or `interleaved`.
    adapter: String,
    experiment: String,
    arm: String,
    /// The name of the index.
    index: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// The metrics.
pub(crate) struct Metrics {
    registry: Registry,
    /// Standard metrics of processes, without a prefix.
    process: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Durations<RouteLabels>,
    stage_seconds: Durations<StageLabels>,
    answers: Family<AnswerLabels, Counter>,
    answer_seconds: Durations<AnswerLabels>,
    fallbacks: Family<ReasonLabels, Counter>,
    rerank_stage_seconds: Durations<StageLabels>,
    rerank_stage_fallbacks: Family<StageReasonLabels, Counter>,
}

impl Metrics {
    /// Metrics of a service without requests. The parts of the service have their own counters.
    pub(crate) fn new(service: &Service, admission: &Arc<Admission>, config: &LiveConfig) -> Self {
        let mut registry = Registry::with_prefix("lorank");
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        let (requests, answers) = (Family::default(), Family::default());
        let fallbacks = Family::<ReasonLabels, Counter>::default();
        // Initialized, because Prometheus would not see the increase to a counter's first value.
        for reason in REASONS {
            drop(fallbacks.get_or_create(&ReasonLabels { reason }));
        }
        let request_seconds = Family::new_with_constructor(histogram);
        let stage_seconds = Family::new_with_constructor(histogram);
        let answer_seconds = Family::new_with_constructor(histogram);
        registry.register("requests", "HTTP requests", Family::clone(&requests));
        let seconds = Unit::Seconds;
        registry.register_with_unit(
            "request_duration",
            "Duration of HTTP requests",
            seconds.clone(),
            Family::clone(&request_seconds),
        );
        registry.register_with_unit(
            "search_stage_duration",
            "Duration of the stages of searches",
            seconds.clone(),
            Family::clone(&stage_seconds),
        );
        registry.register("answers", "Answered searches by ranker", Family::clone(&answers));
        registry.register_with_unit(
            "answer_duration",
            "Duration of searches by ranker",
            seconds,
            Family::clone(&answer_seconds),
        );
        registry.register(
            "fallbacks",
            "Answers in first-stage order although reranking was requested",
            Family::clone(&fallbacks),
        );
        let rerank_stage_seconds = Family::new_with_constructor(histogram);
        registry.register_with_unit(
            "rerank_stage_duration",
            "Duration of the rerank stages of searches with several",
            Unit::Seconds,
            Family::clone(&rerank_stage_seconds),
        );
        let rerank_stage_fallbacks = Family::<StageReasonLabels, Counter>::default();
        registry.register(
            "rerank_stage_fallbacks",
            "Rerank stages that handed on the order that they got",
            Family::clone(&rerank_stage_fallbacks),
        );
        registry.register("build", "The version of lorank", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let (admission, config) = (admission.clone(), config.clone());
        registry.register_collector(Box::new(ServiceCollector { service: service.clone(), admission, config }));
        let mut process = Registry::default();
        process.register_collector(Box::new(Process::begun_now()));
        Self {
            registry,
            process,
            requests,
            request_seconds,
            stage_seconds,
            answers,
            answer_seconds,
            fallbacks,
            rerank_stage_seconds,
            rerank_stage_fallbacks,
        }
    }

    /// Counts a request.
    pub(crate) fn request(&self, route: &str, method: &str, status: u16, took: Duration) {
        let known = METHODS.into_iter().find(|known| *known == method).unwrap_or(OTHER_METHOD);
        let method = if route == UNKNOWN_ROUTE { ANY_METHOD } else { known };
        let labels = RequestLabels { route: route.to_owned(), method, status };
        self.requests.get_or_create(&labels).inc();
        self.request_seconds.get_or_create(&RouteLabels { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// Counts a search.
    pub(crate) fn answered(&self, index: &str, answered: &ExperimentAnswer) {
        let ExperimentAnswer { answer, participation: part } = answered;
        let timings = &answer.timings;
        let forward = timings.rerank.saturating_sub(timings.queue);
        for (stage, took) in [
            ("first_stage", timings.first_stage),
            ("cache", timings.cache),
            ("queue", timings.queue),
            ("model", forward),
            ("total", timings.total),
        ] {
            self.stage_seconds.get_or_create(&StageLabels { stage }).observe(took.as_secs_f64());
        }
        for (stage, rerank_stage) in RERANK_STAGES.into_iter().zip(&answer.stages) {
            let took = rerank_stage.timings.rerank.as_secs_f64();
            self.rerank_stage_seconds.get_or_create(&StageLabels { stage }).observe(took);
            // Initialized, as those of answers, once a search has such a stage.
            for reason in REASONS {
                drop(self.rerank_stage_fallbacks.get_or_create(&StageReasonLabels { stage, reason }));
            }
            if let Some(fallback) = &rerank_stage.fallback {
                let labels = StageReasonLabels { stage, reason: fallback.reason() };
                self.rerank_stage_fallbacks.get_or_create(&labels).inc();
            }
        }
        let of_part = |name: Option<&String>| name.cloned().unwrap_or_default();
        let labels = AnswerLabels {
            adapter: ranker(answer, part.as_ref().is_some_and(|part| part.arm.is_none())),
            experiment: of_part(part.as_ref().map(|part| &part.experiment)),
            arm: of_part(part.as_ref().and_then(|part| part.arm.as_ref())),
            index: index.to_owned(),
        };
        self.answers.get_or_create(&labels).inc();
        self.answer_seconds.get_or_create(&labels).observe(timings.total.as_secs_f64());
        if let Some(fallback) = &answer.fallback {
            self.fallbacks.get_or_create(&ReasonLabels { reason: fallback.reason() }).inc();
        }
    }

    /// All metrics in the OpenMetrics text format.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        let mut registries = [&self.registry, &self.process].into_iter();
        let written = registries.try_for_each(|registry| encode_registry(&mut text, registry));
        written.and_then(|()| encode_eof(&mut text)).expect("writing to a string cannot fail");
        text
    }
}

fn ranker(answer: &Answer, is_interleaved: bool) -> String {
    match answer.model.as_ref().filter(|_| answer.reranked) {
        _ if is_interleaved => "interleaved".to_owned(),
        None => "first-stage".to_owned(),
        Some(model) => model.adapter.as_ref().map_or_else(|| "none".to_owned(), |adapter| adapter.id.to_string()),
    }
}
