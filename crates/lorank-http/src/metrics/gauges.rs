//! Counters and gauges that parts of the service keep themselves.

use std::fmt;
use std::sync::Arc;

use lorank_adapters::{ResidencyStats, StoreStatus};
use lorank_experiment_pipeline::ShadowStats;
use lorank_pipeline::{QueueStats, SharedStats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::LiveConfig;
use crate::admission::Admission;
use crate::connections::CloseReason;
use crate::service::{ServedGpu, Service};

/// See the [module](self).
pub(super) struct ServiceCollector {
    pub service: Service,
    pub admission: Arc<Admission>,
    pub config: LiveConfig,
}

impl fmt::Debug for ServiceCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceCollector")
    }
}

impl Collector for ServiceCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut to = Encoder(encoder);
        self.connections(&mut to)?;
        self.cache(&mut to)?;
        self.queue(&mut to)?;
        self.shadows(&mut to)?;
        self.exposures(&mut to)?;
        self.model(&mut to)?;
        let Some(host) = &self.service.adapters else { return Ok(()) };
        adapters(&host.residency(), &mut to)?;
        host.registry().store_status().map_or(Ok(()), |status| registry_store(&status, &mut to))
    }
}

impl ServiceCollector {
    fn connections(&self, to: &mut Encoder<'_>) -> fmt::Result {
        let connections = self.config.connections();
        to.gauge("searches", "Running searches", self.admission.n() as f64)?;
        to.gauge("connections", "Open connections", connections.n_open() as f64)?;
        let n_bytes = self.config.body_budget().n_bytes() as f64;
        to.gauge("request_bodies_bytes", "Bytes of request bodies in flight", n_bytes)?;
        let help = "Closed connections by reason";
        let mut ended = to.0.encode_descriptor("connections_ended", help, None, MetricType::Counter)?;
        CloseReason::ALL.into_iter().try_for_each(|reason| {
            let labels = [("reason", reason.name())];
            let mut family = ended.encode_family(&labels)?;
            family.encode_counter::<NoLabelSet, _, u64>(&connections.n_ended(reason), None)
        })
    }

    fn cache(&self, to: &mut Encoder<'_>) -> fmt::Result {
        let cache = self.service.engine.cache_stats();
        to.counter("cache_hits", "Score lookups that found a score", cache.hits)?;
        to.counter("cache_misses", "Score lookups that found none", cache.misses)?;
        to.counter("cache_evictions", "Evicted scores", cache.evictions)?;
        to.gauge("cache_entries", "Scores in the cache", cache.entries as f64)?;
        to.gauge("cache_bytes", "Approximate memory of the cached scores", cache.bytes as f64)?;
        cache.shared.map_or(Ok(()), |shared| shared_cache(&shared, to))
    }

    fn queue(&self, to: &mut Encoder<'_>) -> fmt::Result {
        let queue = self.service.engine.queue_stats();
        to.counter("batches", "Batches scored by the model", queue.n_batches)?;
        to.counter("batch_tokens", "Tokens of scored batches", queue.n_tokens_run)?;
        to.counter("pairs_scored", "Pairs scored by the model", queue.n_pairs_scored)?;
        to.gauge("queue_requests", "Waiting requests", queue.n_requests_waiting as f64)?;
        to.gauge("queue_pairs", "Waiting pairs", queue.n_pairs_waiting as f64)?;
        to.gauge("queue_tokens", "Waiting tokens", queue.n_tokens_waiting as f64)?;
        let max = self.service.engine.queue_max() as f64;
        to.gauge("queue_requests_max", "Maximum number of waiting requests", max)?;
        to.gauge("model_busy_seconds", "Time spent in forward passes", queue.busy.as_secs_f64())?;
        to.batch_sizes(&queue)
    }

    fn shadows(&self, to: &mut Encoder<'_>) -> fmt::Result {
        let all = self.service.indexes.values().map(|index| index.engine.shadow_stats());
        let shadow = all.fold(ShadowStats::default(), |sum, one| ShadowStats {
            n_followed: sum.n_followed + one.n_followed,
            n_dropped: sum.n_dropped + one.n_dropped,
        });
        to.counter("shadow_answers", "Answers ranked by shadows", shadow.n_followed)?;
        to.counter("shadow_dropped", "Answers dropped by shadows because their queue was full", shadow.n_dropped)
    }

    fn exposures(&self, to: &mut Encoder<'_>) -> fmt::Result {
        let store = self.service.engine.store();
        let (n_dropped, n_lost) = store.map_or((0, 0), |store| (store.n_dropped(), store.n_lost()));
        let help = "Exposures dropped because the queue of the experiment store was full";
        to.counter("exposures_dropped", help, n_dropped)?;
        to.counter("exposures_lost", "Exposures that could not be written", n_lost)
    }

    fn model(&self, to: &mut Encoder<'_>) -> fmt::Result {
        let Some(stats) = self.service.adapters.as_ref().and_then(|adapters| adapters.model_stats()) else {
            return Ok(());
        };
        let tokenise = stats.tokenise.as_secs_f64();
        to.counter("model_tokenise_seconds", "Time spent in tokenization", tokenise)?;
        let help = "Time spent in forward passes, summed over threads";
        to.counter("model_forward_seconds", help, stats.forward.as_secs_f64())?;
        to.counter("model_tokens", "Tokens processed by the model", stats.n_tokens)?;
        to.counter("token_cache_hits", "Documents found in the token cache", stats.token_cache_hits)?;
        to.counter("token_cache_misses", "Documents not found in the token cache", stats.token_cache_misses)?;
        to.gauge("token_cache_entries", "Documents in the token cache", stats.token_cache_entries as f64)?;
        to.gauge("token_cache_bytes", "Approximate memory of the token cache", stats.token_cache_bytes as f64)?;
        self.base_models(to)
    }

    fn base_models(&self, to: &mut Encoder<'_>) -> fmt::Result {
        let bases = self.service.adapters.as_ref().map_or_else(Vec::new, |adapters| adapters.base_models());
        let help = "Memory of the weights by base model";
        let mut bytes = to.0.encode_descriptor("base_model_bytes", help, None, MetricType::Gauge)?;
        bases.iter().try_for_each(|base| {
            let labels = [("base_model", base.name.as_str())];
            bytes.encode_family(&labels)?.encode_gauge(&(base.bytes as f64))
        })?;
        let help = "Throughput of the recent batches by base model, from its first batch on";
        let mut paces = to.0.encode_descriptor("base_model_tokens_per_second", help, None, MetricType::Gauge)?;
        bases.iter().try_for_each(|base| {
            let Some(pace) = self.service.engine.tokens_per_second_of(&base.digest) else { return Ok(()) };
            let labels = [("base_model", base.name.as_str())];
            paces.encode_family(&labels)?.encode_gauge(&pace)
        })?;
        gpus(&self.service.adapters.as_ref().map_or_else(Vec::new, |adapters| adapters.gpus()), to)
    }
}

/// The metrics of NVIDIA GPUs: name, help and value; a value may be unknown.
type OfGpu = (&'static str, &'static str, fn(&ServedGpu) -> Option<f64>);

const OF_GPU: [OfGpu; 8] = [
    ("device_up", "Whether the GPU runs the model: 1, or 0 if it failed and was taken out", |gpu| {
        Some(if gpu.failure.is_none() { 1.0 } else { 0.0 })
    }),
    ("device_memory_bytes", "Memory of the GPU", |gpu| gpu.memory_bytes.map(|n| n as f64)),
    ("device_memory_free_bytes", "Free memory of the GPU", |gpu| gpu.memory_free_bytes.map(|n| n as f64)),
    ("device_weights_bytes", "Memory of the weights on the GPU", |gpu| Some(gpu.weights_bytes as f64)),
    ("device_activation_bytes", "Memory of the GPU reserved for activations", |gpu| Some(gpu.activation_bytes as f64)),
    ("device_budget_tokens", "Maximum tokens of a forward pass on the GPU", |gpu| Some(gpu.budget_tokens as f64)),
    ("device_adapter_slots", "Slots for adapters beside the weights", |gpu| Some(gpu.adapter_slots as f64)),
    ("device_adapter_slots_used", "Slots that adapters have", |gpu| Some(gpu.adapter_slots_used as f64)),
];

fn gpus(gpus: &[ServedGpu], to: &mut Encoder<'_>) -> fmt::Result {
    let labels = |gpu: &ServedGpu| [("base_model", gpu.base_model.clone()), ("device", gpu.device.clone())];
    for (name, help, value) in OF_GPU {
        let mut family = to.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (gpu, value) in gpus.iter().filter_map(|gpu| Some((gpu, value(gpu)?))) {
            family.encode_family(&labels(gpu))?.encode_gauge(&value)?;
        }
    }
    let help = "Forward passes that did not fit into the memory of the GPU and were run in halves";
    let mut halved = to.0.encode_descriptor("device_passes_halved", help, None, MetricType::Counter)?;
    gpus.iter().try_for_each(|gpu| {
        halved.encode_family(&labels(gpu))?.encode_counter::<NoLabelSet, _, u64>(&gpu.n_passes_halved, None)
    })
}

fn shared_cache(shared: &SharedStats, to: &mut Encoder<'_>) -> fmt::Result {
    let help = "Whether lookups use the shared score cache: 1, or 0 while it does not answer";
    to.gauge("shared_cache_used", help, f64::from(u8::from(shared.is_used)))?;
    to.counter("shared_cache_hits", "Scores found in the shared score cache", shared.hits)?;
    to.counter("shared_cache_misses", "Scores not found in the shared score cache", shared.misses)?;
    let help = "Scores not looked up in the shared score cache because it does not answer";
    to.counter("shared_cache_skipped", help, shared.skipped)?;
    to.counter("shared_cache_failures", "Failed calls of the shared score cache", shared.failures)?;
    to.counter("shared_cache_stored", "Scores stored in the shared score cache", shared.stored)?;
    to.counter("shared_cache_dropped", "Scores not stored in the shared score cache", shared.dropped)
}

fn adapters(residency: &ResidencyStats, to: &mut Encoder<'_>) -> fmt::Result {
    to.counter("adapter_loads", "Adapters loaded into memory", residency.n_loads)?;
    to.counter("adapter_load_failures", "Adapters that could not be loaded", residency.n_failed_loads)?;
    to.counter("adapter_evictions", "Adapters evicted from memory", residency.n_evictions)?;
    to.gauge("adapters_in_memory", "Adapters in memory", residency.n_held as f64)?;
    to.gauge("adapters_bytes", "Approximate memory of the adapters", residency.bytes as f64)?;
    to.gauge("adapter_load_seconds", "Total time of loading adapters", residency.load_time.as_secs_f64())?;
    let last = residency.last_load_time.as_secs_f64();
    to.gauge("adapter_last_load_seconds", "Duration of the last load of an adapter", last)
}

fn registry_store(status: &StoreStatus, to: &mut Encoder<'_>) -> fmt::Result {
    let help = "Whether the store of the adapter registry could be read the last time: 1, or 0";
    to.gauge("registry_readable", help, f64::from(u8::from(status.poll_error.is_none())))?;
    to.counter("registry_polls", "Reads of the adapter registry in its store", status.n_polls)?;
    to.counter("registry_poll_failures", "Failed reads of the adapter registry in its store", status.n_failed_polls)?;
    let help = "Adapters of the registry whose files are not here yet, or are broken";
    to.gauge("registry_unavailable_adapters", help, status.unavailable.len() as f64)
}

struct Encoder<'a>(DescriptorEncoder<'a>);

impl Encoder<'_> {
    fn counter<N>(&mut self, name: &str, help: &str, n: N) -> fmt::Result
    where
        ConstCounter<N>: EncodeMetric,
    {
        let counter = ConstCounter::new(n);
        counter.encode(self.0.encode_descriptor(name, help, None, counter.metric_type())?)
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.0.encode_descriptor(name, help, None, gauge.metric_type())?)
    }

    fn batch_sizes(&mut self, queue: &QueueStats) -> fmt::Result {
        let bounds = QueueStats::BATCH_TOKENS.iter().map(|max| *max as f64).chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.zip(queue.n_batches_by_tokens).collect();
        let help = "Tokens per batch";
        let mut histogram = self.0.encode_descriptor("batch_size_tokens", help, None, MetricType::Histogram)?;
        histogram.encode_histogram::<NoLabelSet>(queue.n_tokens_run as f64, queue.n_batches, &buckets, None)
    }
}
