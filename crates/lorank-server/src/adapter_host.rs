//! The adapters of a running server: the registry, and the base models that the adapters must fit.

use std::sync::Arc;
use std::time::Duration;

use lorank_adapters::{Entry, Existing, Outcome, Registry, ResidencyStats};
use lorank_core::{Activation, AdapterId, BoxError, ModelVersion};
use lorank_http::{AdapterHost, ModelStats, ServedBase, ServedGpu};
use lorank_model::{GpuFacts, ModelReranker, NamedBase};
use lorank_registry_reranker::{AddError, RegistryReranker, add_for_base};

use crate::allowed_source::AllowedSource;
use crate::models::ModelLoader;
use crate::source::ModelSource;

/// The adapters of a running server.
pub(crate) struct RegistryAdapters {
    pub reranker: Arc<RegistryReranker>,
    pub loader: ModelLoader,
    pub allowed: Vec<AllowedSource>,
}

impl AdapterHost for RegistryAdapters {
    fn registry(&self) -> &Registry {
        self.reranker.registry()
    }

    fn allows(&self, source: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed.allows(source))
    }

    fn add(
        &self,
        id: &AdapterId,
        source: &str,
        base: Option<&AdapterId>,
        existing: Existing,
    ) -> Result<Outcome, BoxError> {
        if !self.reranker.bases().is_one() && self.reranker.bases().place_of_name(id).is_some() {
            return Err(format!("the id `{id}` is the name of a base model; choose another one").into());
        }
        let found = self.loader.find_adapter(&source.parse::<ModelSource>()?)?;
        // Links among the source's files must not lead out of the allowed folder.
        let within = self.allowed.iter().find(|allowed| allowed.allows(source)).and_then(AllowedSource::folder);
        let files = within.map_or_else(|| found.files.clone(), |folder| found.files.clone().confined_to(folder));
        let base_digest = self.reranker.check(id, &files, base)?;
        let origin = (&*found.source, found.revision.as_deref());
        match add_for_base(self.registry(), id, &files, origin, existing, base_digest) {
            Ok(outcome) => Ok(outcome),
            // Registry errors keep their own type, so that the HTTP layer can map their kinds.
            Err(AddError::Registry(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        }
    }

    fn check(&self, id: &AdapterId) -> Result<(), BoxError> {
        self.reranker.check_registered(id)
    }

    fn own_adapters(&self) -> Vec<AdapterId> {
        self.reranker.bases().adapters().into_iter().map(|adapter| adapter.version.id).collect()
    }

    fn base_models(&self) -> Vec<ServedBase> {
        let served = |base: &NamedBase| {
            let (reranker, summary) = (base.reranker(), base.reranker().base());
            ServedBase {
                name: base.name().to_owned(),
                digest: summary.digest,
                precision: reranker.precision(),
                precision_reason: reranker.precision_reason().to_owned(),
                n_parameters: summary.n_parameters,
                bytes: summary.n_bytes as u64,
            }
        };
        self.reranker.bases().iter().map(served).collect()
    }

    fn gpus(&self) -> Vec<ServedGpu> {
        let of_base =
            |base: &NamedBase| base.reranker().gpus().into_iter().map(|gpu| served_gpu(base, gpu)).collect::<Vec<_>>();
        self.reranker.bases().iter().flat_map(of_base).collect()
    }

    fn base_of(&self, entry: &Entry) -> Option<String> {
        self.reranker.base_of(entry).ok().map(str::to_owned)
    }

    fn max_length(&self, model: &ModelVersion) -> usize {
        self.base_of_version(model).base().max_length
    }

    fn activation(&self, model: &ModelVersion) -> Activation {
        self.base_of_version(model).base().activation
    }

    fn is_in_memory(&self, entry: &Entry) -> bool {
        self.reranker.is_in_memory(entry)
    }

    fn residency(&self) -> ResidencyStats {
        self.reranker.residency()
    }

    fn model_stats(&self) -> Option<ModelStats> {
        let times = self.reranker.times();
        let kept: Vec<_> = self.reranker.bases().iter().map(|base| base.reranker().token_cache_stats()).collect();
        Some(ModelStats {
            tokenise: times.tokenise,
            forward: times.forward,
            n_tokens: times.n_tokens as u64,
            token_cache_hits: kept.iter().map(|of_base| of_base.hits).sum(),
            token_cache_misses: kept.iter().map(|of_base| of_base.misses).sum(),
            token_cache_entries: kept.iter().map(|of_base| of_base.entries as u64).sum(),
            token_cache_bytes: kept.iter().map(|of_base| of_base.bytes as u64).sum(),
        })
    }
}

fn served_gpu(base: &NamedBase, gpu: GpuFacts) -> ServedGpu {
    let bytes = |n: usize| n as u64;
    ServedGpu {
        base_model: base.name().to_owned(),
        device: gpu.device,
        failure: gpu.failure,
        name: gpu.name,
        compute_capability: gpu.compute_capability,
        driver: gpu.driver,
        cublaslt: gpu.cublaslt,
        nvrtc: gpu.nvrtc,
        kernels: Duration::from_millis(gpu.kernels_millis),
        has_compiled: gpu.has_compiled,
        memory_bytes: gpu.memory_total.map(bytes),
        memory_free_bytes: gpu.memory_free.map(bytes),
        weights_bytes: bytes(gpu.weights_bytes),
        activation_bytes: bytes(gpu.activation_bytes),
        budget_tokens: gpu.tokens_max,
        budget_limit: gpu.tokens_limit.describe(),
        adapter_slots: gpu.adapter_slots,
        adapter_slots_used: gpu.adapter_slots_used,
        n_passes_halved: gpu.n_passes_halved,
    }
}

impl RegistryAdapters {
    /// The base model of a version, else the default one.
    fn base_of_version(&self, model: &ModelVersion) -> &ModelReranker {
        let bases = self.reranker.bases();
        bases.place_of(model).map_or_else(|_| bases.first(), |place| bases.at(place).reranker())
    }
}

#[cfg(test)]
mod tests {
    use lorank_http::{HttpConfig, LiveConfig, Service};
    use lorank_model::{Files, ForwardPass, HostFault, LoadOptions};
    use lorank_pipeline::{Pipeline, PipelineConfig};
    use lorank_testing::toy::{self, ToyFirstStage};
    use serde_json::Value;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use tokio::net::TcpListener;

    use super::*;

    /// The fixture's name in its configuration.
    const NAME: &str = "tiny-bert-fixture/base";

    /// A service whose base model runs on the host in a GPU's place.
    fn service(folder: &std::path::Path, options: LoadOptions) -> Service {
        let files = Files::folder(lorank_testing::fixture("tiny-bert/base")).unwrap();
        let base = ModelReranker::load(&files, LoadOptions { pass: ForwardPass::GpuOnHost, ..options }).unwrap();
        let registry = Arc::new(Registry::open(folder).unwrap());
        let reranker = Arc::new(RegistryReranker::new(base, registry, None, 0));
        let first_stage = ToyFirstStage::new(toy::candidates(3));
        let pipeline = Pipeline::new(first_stage, reranker.clone(), PipelineConfig::default()).unwrap();
        let adapters = RegistryAdapters { reranker, loader: ModelLoader::default(), allowed: Vec::new() };
        Service::from(Arc::new(pipeline)).with_adapters(Arc::new(adapters))
    }

    /// Status and body of the answer to a request.
    fn get(address: SocketAddr, target: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The answers to requests for these targets.
    fn ask(service: Service, targets: &'static [&str]) -> Vec<(u16, String)> {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let config = LiveConfig::new(HttpConfig::default());
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = lorank_http::router(service, config.clone());
            let serving = tokio::spawn(lorank_http::serve(listener, router, config, std::future::pending()));
            let ask = move || targets.iter().map(|target| get(address, target)).collect();
            let answers = tokio::task::spawn_blocking(ask).await.unwrap();
            serving.abort();
            answers
        })
    }

    #[test]
    fn an_operator_sees_the_gpu_of_a_base_model() {
        let folder = tempfile::tempdir().unwrap();
        let service = service(folder.path(), LoadOptions::default());
        let answers = ask(service, &["/v1/search?q=egg", "/v1/stats", "/metrics"]);
        assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
        let stats: Value = serde_json::from_str(&answers[1].1).unwrap();
        let base = &stats["base_models"][0];
        assert_eq!((&base["name"], &base["precision"]), (&NAME.into(), &"bf16".into()));
        assert!(base["precision_reason"].as_str().is_some_and(|why| !why.is_empty()), "{base}");
        let gpu = &base["gpus"][0];
        assert_eq!(
            (&gpu["name"], &gpu["device"], &gpu["compute_capability"]),
            (&"host".into(), &"cpu".into(), &Value::Null)
        );
        assert_eq!((&gpu["budget_tokens"], &gpu["adapter_slots"]), (&8_192.into(), &8.into()));
        assert_eq!(gpu["budget_limit"], "the default");
        assert_eq!((&gpu["adapter_slots_used"], &gpu["n_passes_halved"]), (&0.into(), &0.into()));
        let (metrics, labels) = (&answers[2].1, format!("{{base_model=\"{NAME}\",device=\"cpu\"}}"));
        for (name, member) in [
            ("memory_bytes", "memory_bytes"),
            ("memory_free_bytes", "memory_free_bytes"),
            ("weights_bytes", "weights_bytes"),
            ("activation_bytes", "activation_bytes"),
            ("budget_tokens", "budget_tokens"),
            ("adapter_slots", "adapter_slots"),
            ("adapter_slots_used", "adapter_slots_used"),
            ("passes_halved_total", "n_passes_halved"),
        ] {
            let name = format!("lorank_device_{name}{labels} ");
            let line = metrics.lines().find_map(|line| line.strip_prefix(&name)).expect(&name);
            assert_eq!(line.parse::<f64>().ok(), gpu[member].as_f64(), "{name}");
        }
    }

    /// Two devices on the host stand in for two GPUs.
    #[test]
    fn a_server_is_ready_while_a_gpu_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (HostFault::default(), HostFault::default());
        let options = LoadOptions {
            device: "cuda:0,cuda:1".parse().unwrap(),
            host_faults: vec![first.clone(), second.clone()],
            ..LoadOptions::default()
        };
        let service = service(folder.path(), options);
        let ask = |targets| ask(service.clone(), targets);
        let json = |answer: &(u16, String)| serde_json::from_str::<Value>(&answer.1).unwrap();
        let answers = ask(&["/ready"]);
        assert_eq!((answers[0].0, json(&answers[0]).get("failed_devices")), (200, None));

        second.after(5);
        let answers = ask(&["/v1/search?q=egg", "/ready", "/v1/stats", "/metrics"]);
        assert_eq!(json(&answers[0])["reranked"], true, "{answers:?}");
        let ready = json(&answers[1]);
        assert_eq!((answers[1].0, &ready["status"], &ready["checks"]["model"]), (200, &"ready".into(), &"ok".into()));
        let failed = &ready["failed_devices"];
        assert_eq!((&failed[0]["base_model"], &failed[0]["device"]), (&NAME.into(), &"cuda:1".into()));
        assert!(failed[0]["error"].as_str().unwrap().contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{failed}");
        let stats = json(&answers[2]);
        let gpus = &stats["base_models"][0]["gpus"];
        assert!(gpus[0]["failure"].is_null() && gpus[1]["failure"] == failed[0]["error"], "{gpus}");
        assert!(gpus[1]["memory_free_bytes"].is_null(), "{gpus}");
        for (device, value) in [("cuda:0", "1.0"), ("cuda:1", "0.0")] {
            let line = format!("lorank_device_up{{base_model=\"{NAME}\",device=\"{device}\"}} {value}");
            assert!(answers[3].1.contains(&line), "{line} is not in {}", answers[3].1);
        }

        first.after(0);
        let answers = ask(&["/v1/search?q=another", "/ready", "/v1/search?q=third"]);
        for answer in [&answers[0], &answers[2]] {
            let found = json(answer);
            let fallback = (&found["reranked"], &found["fallback"]["reason"]);
            assert_eq!((answer.0, fallback), (200, (&false.into(), &"reranker_failed".into())), "{found}");
        }
        let ready = json(&answers[1]);
        assert_eq!((answers[1].0, &ready["status"]), (503, &"not_ready".into()));
        assert!(ready["checks"]["model"].as_str().unwrap().contains("no GPU is left"), "{ready}");
        assert_eq!(ready["failed_devices"].as_array().unwrap().len(), 2);
    }
}
