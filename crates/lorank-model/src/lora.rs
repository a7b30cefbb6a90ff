//! LoRA adapters: from PEFT's tensors to the updates of a base model's linear layers.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use lorank_core::{AdapterId, Digest};

use crate::ModelError;
use crate::files::Files;
use crate::linear::{Delta, Head, HeadSpec, Module};
use crate::peft::{self, PeftConfig};
use crate::prompt::PROMPT_FILE;
use crate::weights::Weights;

/// The weights of one adapter, laid out for one base model.
#[derive(Debug)]
pub(crate) struct Adapter {
    /// One place per linear layer of the base model.
    deltas: Vec<Option<Delta>>,
    pub(crate) head: Option<Head>,
    pub(crate) n_parameters: usize,
    pub(crate) n_targets: usize,
}

/// What an adapter must fit.
pub(crate) struct Fit<'a> {
    pub(crate) base: &'a str,
    pub(crate) modules: &'a [Module],
    pub(crate) head: HeadSpec,
    pub(crate) hidden_size: usize,
    pub(crate) device: &'a Device,
}

impl Adapter {
    /// What the adapter changes of the layer in this slot.
    pub(crate) fn delta(&self, slot: usize) -> Option<&Delta> {
        self.deltas[slot].as_ref()
    }

    /// Reads the adapter's tensors. Each must have a module, and each targeted module its tensors.
    pub(crate) fn read(id: &AdapterId, files: &Files, config: &PeftConfig, fit: &Fit<'_>) -> Result<Self, ModelError> {
        let misfit = |why: String| ModelError::Misfit { adapter: id.clone(), base: fit.base.to_owned(), why };
        let mut tensors = Tensors::open(files)?;
        let mut read_delta = |module: &Module| {
            if config.targets(&module.name) {
                return low_rank(module, config, &mut tensors, fit.device).map(Some);
            }
            replaced(module, &mut tensors, fit.device)
        };
        let deltas = fit.modules.iter().map(&mut read_delta).collect::<Result<Vec<_>, _>>()?;
        let n_targets = deltas.iter().flatten().count();
        if n_targets == 0 {
            return Err(misfit(format!(
                "`target_modules` of `{}` matches none of the base model's linear layers",
                peft::FILE
            )));
        }
        let head = tensors.head(fit)?;
        if let Some(left) = tensors.left_over() {
            return Err(misfit(format!("its tensor `{left}` belongs to nothing there that an adapter can change")));
        }
        Ok(Self { deltas, head, n_parameters: tensors.n_parameters, n_targets })
    }
}

fn low_rank(module: &Module, config: &PeftConfig, tensors: &mut Tensors, device: &Device) -> Result<Delta, ModelError> {
    let rank = config.rank_of(&module.name);
    let a = tensors.take(&format!("{}.lora_A.weight", module.name), &[rank, module.n_in], device)?;
    let b = tensors.take(&format!("{}.lora_B.weight", module.name), &[module.n_out, rank], device)?;
    Ok(Delta::LowRank { a, b: (b * config.scale_of(&module.name))? })
}

/// A linear layer that was trained whole and saved beside the updates.
fn replaced(module: &Module, tensors: &mut Tensors, device: &Device) -> Result<Option<Delta>, ModelError> {
    let (weight, bias) = (format!("{}.weight", module.name), format!("{}.bias", module.name));
    if !tensors.has(&weight) {
        return Ok(None);
    }
    let weight = tensors.take(&weight, &[module.n_out, module.n_in], device)?;
    let bias = module.has_bias.then(|| tensors.take(&bias, &[module.n_out], device)).transpose()?;
    Ok(Some(Delta::Replaced { weight, bias }))
}

/// An adapter's tensors under the names of the base model's modules.
struct Tensors {
    weights: Weights,
    /// From a module's tensor (`...q_proj.lora_A.weight`) to the name in the file.
    names: BTreeMap<String, String>,
    n_parameters: usize,
}

impl Tensors {
    fn open(files: &Files) -> Result<Self, ModelError> {
        let weights = Weights::of_adapter(files)?;
        let names = weights.names().map(|name| (plain_name(name), name.to_owned())).collect();
        Ok(Self { weights, names, n_parameters: 0 })
    }

    fn has(&self, plain: &str) -> bool {
        self.names.contains_key(plain)
    }

    fn take(&mut self, plain: &str, shape: &[usize], device: &Device) -> Result<Tensor, ModelError> {
        // An absent tensor is reported by the name that PEFT would have given it.
        let name = self.names.remove(plain).unwrap_or_else(|| format!("{PREFIX}{plain}"));
        self.n_parameters += shape.iter().product::<usize>();
        self.weights.tensor(&name, shape, device)
    }

    fn head(&mut self, fit: &Fit<'_>) -> Result<Option<Head>, ModelError> {
        if !self.has(fit.head.weight) {
            return Ok(None);
        }
        let weight = self.take(fit.head.weight, &[1, fit.hidden_size], fit.device)?;
        let bias = fit.head.bias.map(|bias| self.take(bias, &[1], fit.device)).transpose()?;
        Ok(Some(Head { weight, bias }))
    }

    fn left_over(&self) -> Option<&str> {
        self.names.values().next().map(String::as_str)
    }
}

const PREFIX: &str = "base_model.model.";

/// PEFT's name of a tensor without its wrapping: the prefix, and the adapter's name where an older PEFT left it in.
///
/// `base_model.model.m.lora_A.default.weight` is `m.lora_A.weight`; `base_model.model.score.modules_to_save.default.weight`
/// is `score.weight`.
fn plain_name(name: &str) -> String {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    let mut parts: Vec<&str> = name.split('.').collect();
    if let Some(at) = parts.iter().position(|part| *part == "modules_to_save") {
        parts.drain(at..(at + 2).min(parts.len() - 1));
    }
    if let Some(at) = parts.iter().position(|part| matches!(*part, "lora_A" | "lora_B")) {
        parts.drain(at + 1..(parts.len() - 1).max(at + 1));
    }
    parts.join(".")
}

/// The hash of an adapter's files.
pub(crate) fn digest(files: &Files) -> Result<Digest, ModelError> {
    let mut hasher = blake3::Hasher::new();
    for name in [peft::FILE, "adapter_model.safetensors", PROMPT_FILE] {
        let bytes = files.read(name)?.unwrap_or_default();
        hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
    }
    Ok(Digest::new(*hasher.finalize().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unwrapped() {
        let check = |name: &str, plain: &str| assert_eq!(plain_name(name), plain);
        check(
            "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
            "model.layers.0.self_attn.q_proj.lora_A.weight",
        );
        check("base_model.model.bert.pooler.dense.lora_B.default.weight", "bert.pooler.dense.lora_B.weight");
        check("base_model.model.score.weight", "score.weight");
        check("base_model.model.score.modules_to_save.default.weight", "score.weight");
        check("base_model.model.classifier.modules_to_save.bias", "classifier.bias");
    }
}
