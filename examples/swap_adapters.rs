//! Two adapters on one base model, swapped while searches run.
//!
//!     cargo run --release --example swap_adapters
//!
//! A registry keeps adapters on disk and names them. A `RegistryReranker` follows those names at each request, so that an adapter
//! is promoted by moving one alias: no restart, no failed request, and no request that sees half of each.

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

/// Adds two adapters, promotes the one, then the other.
pub(crate) fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    // The registry is a folder; it outlives the program. Adding copies the files in, under the digest of what they hold.
    let folder = std::env::temp_dir().join(format!("lorank-swap-{}", std::process::id()));
    let registry = Arc::new(Registry::open(&folder)?);
    for (id, name) in [("qa", "minilm-qa"), ("science", "minilm-science")] {
        let adapter = lorank::starter::adapter(name).ok_or("the starter has it")?;
        let files = Files::embedded(name, adapter.files.iter().map(|file| (file.name, file.bytes)));
        add(&registry, &id.parse()?, &files, "the starter", None, Existing::Refuse)?;
    }
    let default = RegistryReranker::default_name();
    registry.set_alias(&default, &"qa".parse()?)?;

    // The base model is in memory once. Adapters are loaded when they are first asked for.
    let minilm = lorank::starter::base_model().iter().map(|file| (file.name, file.bytes));
    let base = ModelReranker::load(&Files::embedded("minilm", minilm), LoadOptions::default())?;
    let reranker = Arc::new(RegistryReranker::new(base, registry.clone(), None, RegistryReranker::BYTES_MAX));

    // The pipeline asks for the name `default` and leaves to the registry what that means.
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

    // Promotion. The next request sees it; those under way end on what they began with. Scores are cached under the
    // adapter's digest, so none of the old ones is taken for a new one.
    registry.set_alias(&default, &"science".parse()?)?;
    assert_eq!(search()?, Some("science".parse()?));

    // And back again: nothing was lost meanwhile, neither the adapter in memory nor its scores.
    registry.set_alias(&default, &"qa".parse()?)?;
    assert_eq!(search()?, Some("qa".parse()?));
    println!("in memory: {:?}", reranker.residency());

    drop((pipeline, reranker, registry));
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
