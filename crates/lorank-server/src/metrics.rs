//! What the service counts, in the format of Prometheus.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lorank_lab::LabAnswer;
use lorank_pipeline::Answer;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::LiveConfig;
use crate::admission::Admission;
use crate::service::Service;

/// From half a millisecond, a cached answer, to half a minute, more than anybody waits.
const SECONDS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: String,
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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    /// `first-stage`, `none` for the bare base model, or the adapter; `interleaved` where there were several.
    adapter: String,
    experiment: String,
    arm: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// The counts.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Durations<RouteLabels>,
    stage_seconds: Durations<StageLabels>,
    answers: Family<AnswerLabels, Counter>,
    fallbacks: Family<ReasonLabels, Counter>,
}

impl Metrics {
    /// Counts nothing yet; of the service's parts, what they count themselves.
    pub fn new(service: &Service, admission: &Arc<Admission>, config: &LiveConfig) -> Self {
        let mut registry = Registry::with_prefix("lorank");
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        let (requests, answers, fallbacks) = (Family::default(), Family::default(), Family::default());
        let request_seconds = Family::new_with_constructor(histogram);
        let stage_seconds = Family::new_with_constructor(histogram);
        registry.register("requests", "Requests that were answered", Family::clone(&requests));
        let seconds = Unit::Seconds;
        registry.register_with_unit(
            "request_duration",
            "How long requests took",
            seconds.clone(),
            Family::clone(&request_seconds),
        );
        registry.register_with_unit(
            "search_stage_duration",
            "How long the stages of searches took",
            seconds,
            Family::clone(&stage_seconds),
        );
        registry.register("answers", "Searches that were answered, by what ranked them", Family::clone(&answers));
        registry.register(
            "fallbacks",
            "Answers in first-stage order that were to be reranked",
            Family::clone(&fallbacks),
        );
        let (admission, config) = (admission.clone(), config.clone());
        registry.register_collector(Box::new(Parts { service: service.clone(), admission, config }));
        Self { registry, requests, request_seconds, stage_seconds, answers, fallbacks }
    }

    /// Counts a request that was answered.
    pub fn request(&self, route: &str, method: &str, status: u16, took: Duration) {
        let labels = RequestLabels { route: route.to_owned(), method: method.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
        self.request_seconds.get_or_create(&RouteLabels { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// Counts a search that was answered.
    pub fn answered(&self, answered: &LabAnswer) {
        let LabAnswer { answer, part } = answered;
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
        let of_part = |name: Option<&String>| name.cloned().unwrap_or_default();
        let labels = AnswerLabels {
            adapter: ranker(answer, part.as_ref().is_some_and(|part| part.arm.is_none())),
            experiment: of_part(part.as_ref().map(|part| &part.experiment)),
            arm: of_part(part.as_ref().and_then(|part| part.arm.as_ref())),
        };
        self.answers.get_or_create(&labels).inc();
        if let Some(fallback) = &answer.fallback {
            self.fallbacks.get_or_create(&ReasonLabels { reason: fallback.reason() }).inc();
        }
    }

    /// All that is counted, as Prometheus reads it (the OpenMetrics text format).
    pub fn encode(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("writing to a string cannot fail");
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

/// What the service's parts count themselves.
struct Parts {
    service: Service,
    admission: Arc<Admission>,
    config: LiveConfig,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}

impl Collector for Parts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let engine = &self.service.engine;
        let (cache, queue, shadow) = (engine.cache_stats(), engine.queue_stats(), engine.shadow_stats());
        let residency = self.service.adapters.as_ref().map(|adapters| adapters.residency());
        let mut counter = |name: &str, help: &str, n: u64| {
            let counter = ConstCounter::new(n);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
        };
        counter("cache_hits", "Scores that the cache held", cache.hits)?;
        counter("cache_misses", "Scores that it did not", cache.misses)?;
        counter("cache_evictions", "Scores that made room for others", cache.evictions)?;
        counter("batches", "Batches that the model has scored", queue.n_batches)?;
        counter("batch_tokens", "Tokens in them, by the model's estimate", queue.n_tokens_run)?;
        counter("pairs_scored", "Pairs that the model has scored", queue.n_pairs_scored)?;
        counter("shadow_answers", "Answers that shadows have ranked once more", shadow.n_followed)?;
        counter("shadow_dropped", "Answers that shadows left out, since too many waited", shadow.n_dropped)?;
        if let Some(residency) = &residency {
            counter("adapter_loads", "Adapters that were loaded into memory", residency.n_loads)?;
            counter("adapter_load_failures", "Adapters that could not be loaded", residency.n_failed_loads)?;
            counter("adapter_evictions", "Adapters that memory was taken from", residency.n_evictions)?;
        }
        let mut gauge = |name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        gauge("cache_entries", "Scores in the cache", cache.entries as f64)?;
        gauge("cache_bytes", "The memory that they take, about", cache.bytes as f64)?;
        gauge("searches", "Searches under way", self.admission.n() as f64)?;
        gauge("connections", "Connections that are open", self.config.connections().n_open() as f64)?;
        gauge("queue_requests", "Requests that wait for the model", queue.n_requests_waiting as f64)?;
        gauge("queue_pairs", "Pairs that wait for the model", queue.n_pairs_waiting as f64)?;
        gauge("queue_tokens", "Tokens that wait for the model", queue.n_tokens_waiting as f64)?;
        gauge("model_busy_seconds", "How long the model has computed", queue.busy.as_secs_f64())?;
        if let Some(residency) = &residency {
            gauge("adapters_in_memory", "Adapters of the registry in memory", residency.n_held as f64)?;
            gauge("adapters_bytes", "The memory that they take, about", residency.bytes as f64)?;
            gauge("adapter_load_seconds", "How long all cold loads took together", residency.load_time.as_secs_f64())?;
            gauge(
                "adapter_last_load_seconds",
                "How long the last cold load took",
                residency.last_load_time.as_secs_f64(),
            )?;
        }
        Ok(())
    }
}
