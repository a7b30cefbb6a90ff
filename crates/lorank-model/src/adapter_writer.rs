//! Writes adapters as PEFT's `save_pretrained` does.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use crate::ModelError;
use crate::lorank_file::LORANK_FILE;
use crate::peft::{self, HEADS};
use crate::weights::ADAPTER_FILE;

/// The settings of a new adapter, with PEFT's names.
#[derive(Debug, Clone)]
pub struct AdapterSettings {
    /// The rank of the updates (`r`).
    pub rank: NonZeroUsize,
    /// The updates are scaled by `alpha / rank` (`lora_alpha`).
    pub alpha: f64,
    /// The linear layers with updates, by name or by the last parts of names (`target_modules`); none for all layers except
    /// the head.
    pub targets: Vec<String>,
    /// The probability with which an input of an update is set to zero in training (`lora_dropout`). Below 1.
    pub dropout: f32,
}

/// The prefix of tensor names in PEFT's files.
pub(crate) const PREFIX: &str = "base_model.model.";

/// A tensor to write.
pub(crate) struct SavedTensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

/// `adapter_config.json`. `modules` are the names of the base model's linear layers.
pub(crate) fn config(settings: &AdapterSettings, base: &str, modules: &[&str]) -> String {
    let targets = match settings.targets.as_slice() {
        [] => last_parts(modules),
        names => names.to_vec(),
    };
    // The layers of a head are saved as a whole, so they have no updates.
    let excluded: Vec<&str> = modules.iter().copied().filter(|module| is_in_head(module)).collect();
    let config = json!({
        "base_model_name_or_path": base,
        "bias": "none",
        "exclude_modules": if excluded.is_empty() { None } else { Some(excluded) },
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": whole(settings.alpha),
        "lora_dropout": f64::from((settings.dropout * 1e6).round()) / 1e6,
        "modules_to_save": HEADS,
        "peft_type": "LORA",
        "r": settings.rank,
        "rank_pattern": {},
        "alpha_pattern": {},
        "target_modules": targets,
        "task_type": "SEQ_CLS",
        "use_dora": false,
        "use_rslora": false,
    });
    format!("{config:#}\n")
}

/// A number without a fraction as an integer, as PEFT writes it.
fn whole(number: f64) -> serde_json::Value {
    if number.fract() == 0.0 && number.abs() < 1e15 { json!(number as i64) } else { json!(number) }
}

/// The last parts of the names of all linear layers outside the head.
pub(crate) fn last_parts(modules: &[&str]) -> Vec<String> {
    let outside = modules.iter().filter(|module| !is_in_head(module));
    let parts: BTreeSet<&str> = outside.map(|module| module.rsplit('.').next().unwrap_or(module)).collect();
    parts.into_iter().map(str::to_owned).collect()
}

/// Whether PEFT saves a linear layer as a part of the head: it or a module around it has a name that ends like a head's, as
/// `pre_classifier` of DistilBERT does.
pub(crate) fn is_in_head(module: &str) -> bool {
    let outer = module.match_indices('.').map(|(at, _)| &module[..at]);
    outer.chain([module]).any(|module| HEADS.iter().any(|head| module.ends_with(head)))
}

/// Writes the adapter's files to a folder, which is made if it does not exist.
pub(crate) fn write(
    folder: &Path,
    config: &str,
    mut tensors: Vec<SavedTensor>,
    max_length: Option<usize>,
) -> Result<(), ModelError> {
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|tensor| tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|(tensor, bytes)| {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes);
        (tensor.name.clone(), view.expect("a tensor has as many numbers as its shape"))
    });
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    let weights = safetensors::serialize(views, metadata).expect("tensors of memory can be serialized");
    fs::create_dir_all(folder).map_err(|source| ModelError::Write { path: folder.to_owned(), source })?;
    replace(&folder.join(ADAPTER_FILE), &weights)?;
    if let Some(max_length) = max_length {
        replace(&folder.join(LORANK_FILE), format!("{:#}\n", json!({ "max_length": max_length })).as_bytes())?;
    }
    replace(&folder.join(peft::FILE), config.as_bytes())
}

/// Writes a file under another name first, so that no half of it is ever read.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let write = || -> io::Result<()> {
        fs::write(&new, bytes)?;
        fs::rename(&new, path)
    };
    write().map_err(|source| ModelError::Write { path: path.to_owned(), source })
}
