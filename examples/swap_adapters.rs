//! Swapping two adapters of one base model during searches.
//!
//!     cargo run --release --example swap_adapters
//!
//! A registry stores adapters on disk under names. A `RegistryReranker` resolves these names for each request, so
//! moving an alias promotes an adapter: without a restart, without failed requests, and without mixing versions in a
//! request.

use std::error::Error;
use std::sync::Arc;

use lorank::adapters::{Existing, Registry};
use lorank::core::{AdapterId, Candidate, Score};
use lorank::model::{Files, LoadOptions, ModelReranker};
use lorank::pipeline::{Pipeline, PipelineConfig, SearchRequest};
use lorank::registry_reranker::{RegistryReranker, add};

const PASSAGES: [&str; 4] = [
    "Boil an egg for seven minutes if the yolk shall be soft.",
    "The boiling point of water falls by one degree for each 300 metres of height.",
    "Egg albumen denatures between 62 and 65 degrees Celsius, yolk between 65 and 70.",
    "The hen lays one egg a day, for most of the year.",
];

/// Adds two adapters, promotes one, and then the other.
pub(crate) fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    // The registry is a folder that outlives the program. Adding an adapter copies its files, addressed by their
    // digest.
    let folder = std::env::temp_dir().join(format!("lorank-swap-{}", std::process::id()));
    let registry = Arc::new(Registry::open(&folder)?);
    for (id, name) in [("qa", "minilm-qa"), ("science", "minilm-science")] {
        let adapter = lorank::starter::adapter(name).ok_or("the starter has it")?;
        let files = Files::embedded(name, adapter.files.iter().map(|file| (file.name, file.bytes)));
        add(&registry, &id.parse()?, &files, "the starter", None, Existing::Refuse)?;
    }
    let default = RegistryReranker::default_name();
    registry.set_alias(&default, &"qa".parse()?)?;

    // The base model is in memory once. Adapters are loaded on first use.
    let minilm = lorank::starter::base_model().iter().map(|file| (file.name, file.bytes));
    let base = ModelReranker::load(&Files::embedded("minilm", minilm), LoadOptions::default())?;
    let reranker = Arc::new(RegistryReranker::new(base, registry.clone(), None, RegistryReranker::BYTES_MAX));

    // The pipeline requests the name `default`, which the registry resolves.
    let config = PipelineConfig { default_adapter: Some(default.clone()), ..PipelineConfig::default() };
    let pipeline = Pipeline::without_first_stage(reranker.clone(), config)?;
    let question = SearchRequest::new("how long does an egg take to boil");
    let search = || -> Result<Option<AdapterId>, Box<dyn Error + Send + Sync>> {
        let found = PASSAGES.iter().enumerate();
        let found = found.map(|(n, text)| Ok(Candidate::new(n.to_string(), *text, Score::new(-(n as f32))?)));
        let answer = pipeline.rerank(&question, found.collect::<Result<_, lorank::core::NotFinite>>()?)?;
        let model = answer.model.ok_or("it was reranked")?;
        let best = answer.hits.first().ok_or("there are passages")?;
        let adapter = model.adapter.map(|adapter| adapter.id);
        println!("{:?}, {} of {} scores cached: {}", adapter, answer.cache.hits, PASSAGES.len(), best.candidate.text);
        Ok(adapter)
    };
    assert_eq!(search()?, Some("qa".parse()?));

    // Promotion takes effect for the next request; requests in progress keep their version. Scores are cached under the
    // adapter's digest, so the adapters' scores are never mixed up.
    registry.set_alias(&default, &"science".parse()?)?;
    assert_eq!(search()?, Some("science".parse()?));

    // Rolling back loses nothing: the adapter is still in memory, and its scores are cached.
    registry.set_alias(&default, &"qa".parse()?)?;
    assert_eq!(search()?, Some("qa".parse()?));
    println!("in memory: {:?}", reranker.residency());

    drop((pipeline, reranker, registry));
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
