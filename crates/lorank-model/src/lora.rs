//! LoRA adapters: from PEFT's tensors to the updates of a base model's linear layers.

use std::collections::BTreeMap;

use lorank_core::{AdapterId, Digest};

use crate::ModelError;
use crate::backend::linear::{Adapter, Delta, Module};
use crate::backend::{Backend, Storage};
use crate::files::Files;
use crate::head::{Head, HeadSpec};

use crate::peft::{self, PeftConfig};
use crate::prompt::PROMPT_FILE;
use crate::weights::{ADAPTER_FILE, Weights};

/// What an adapter must fit.
pub(crate) struct Fit<'a, B> {
    pub(crate) base: &'a str,
    pub(crate) modules: &'a [Module],
    pub(crate) head: HeadSpec,
    pub(crate) hidden_size: usize,
    pub(crate) backend: &'a B,
}

impl<B: Backend> Adapter<B> {
    /// Reads the adapter's tensors. Each must have a module, and each targeted module its tensors.
    pub(crate) fn read(
        id: &AdapterId,
        files: &Files,
        config: &PeftConfig,
        fit: &Fit<'_, B>,
    ) -> Result<Self, ModelError> {
        let misfit = |why: String| ModelError::Misfit { adapter: id.clone(), base: fit.base.to_owned(), why };
        let mut tensors = Tensors::open(files)?;
        let mut read_delta = |module: &Module| {
            if config.targets(&module.name) {
                return low_rank(module, config, &mut tensors, fit.backend).map(Some);
            }
            replaced(module, &mut tensors, fit.backend)
        };
        let deltas = fit.modules.iter().map(&mut read_delta).collect::<Result<Vec<_>, _>>()?;
        let n_targets = deltas.iter().flatten().count();
        if n_targets == 0 {
            return Err(misfit(format!(
                "`target_modules` of `{}` matches none of the base model's linear layers",
                peft::FILE
            )));
        }
        let head = tensors.head(fit.head, fit.hidden_size)?;
        if let Some(left) = tensors.left_over() {
            return Err(misfit(format!("its tensor `{left}` belongs to nothing there that an adapter can change")));
        }
        Ok(Self { deltas, head, n_parameters: tensors.n_parameters, n_targets })
    }
}

fn low_rank<B: Backend>(
    module: &Module,
    config: &PeftConfig,
    tensors: &mut Tensors,
    backend: &B,
) -> Result<Delta<B>, ModelError> {
    let (rank, storage) = (config.rank_of(&module.name), Storage::AsInFile);
    let a = tensors.matrix(&format!("{}.lora_A.weight", module.name), [rank, module.n_in], storage, backend)?;
    let b = tensors.matrix(&format!("{}.lora_B.weight", module.name), [module.n_out, rank], storage, backend)?;
    Ok(Delta::LowRank { a, b, scale: config.scale_of(&module.name) })
}

/// A linear layer that was trained whole and saved beside the updates.
fn replaced<B: Backend>(module: &Module, tensors: &mut Tensors, backend: &B) -> Result<Option<Delta<B>>, ModelError> {
    let (weight, bias) = (format!("{}.weight", module.name), format!("{}.bias", module.name));
    if !tensors.has(&weight) {
        return Ok(None);
    }
    let weight = tensors.matrix(&weight, [module.n_out, module.n_in], Storage::Precision, backend)?;
    let bias = module.has_bias.then(|| tensors.vector(&bias, module.n_out, backend)).transpose()?;
    Ok(Some(Delta::Replaced { weight, bias }))
}

/// An adapter's low-rank updates, to be added to the base model's weights.
#[derive(Debug)]
pub(crate) struct Merge {
    /// For each linear layer of the base model, by its slot, what is added to it.
    updates: Vec<Option<Update>>,
}

/// `scale b a`, added to one weight matrix.
#[derive(Debug)]
pub(crate) struct Update {
    /// [r, in]
    a: Vec<f32>,
    /// [out, r]
    b: Vec<f32>,
    rank: usize,
    scale: f64,
}

impl Merge {
    /// Reads the updates of an adapter that has been [read](Adapter::read) before.
    pub(crate) fn read(files: &Files, config: &PeftConfig, modules: &[Module]) -> Result<Self, ModelError> {
        let mut tensors = Tensors::open(files)?;
        let mut update = |module: &Module| {
            if !config.targets(&module.name) {
                return Ok(None);
            }
            let rank = config.rank_of(&module.name);
            let a = tensors.values(&format!("{}.lora_A.weight", module.name), [rank, module.n_in])?;
            let b = tensors.values(&format!("{}.lora_B.weight", module.name), [module.n_out, rank])?;
            Ok(Some(Update { a, b, rank, scale: config.scale_of(&module.name) }))
        };
        Ok(Self { updates: modules.iter().map(&mut update).collect::<Result<_, ModelError>>()? })
    }

    /// The update of the layer of this slot.
    pub(crate) fn update(&self, slot: usize) -> Option<&Update> {
        self.updates[slot].as_ref()
    }
}

impl Update {
    /// Adds a row of the update to the same row of the weights.
    pub(crate) fn add_row(&self, row: usize, weights: &mut [f32]) {
        let mut sums = vec![0.0; weights.len()];
        for (b, a) in self.b[row * self.rank..][..self.rank].iter().zip(self.a.chunks(weights.len())) {
            for (sum, a) in sums.iter_mut().zip(a) {
                *sum += f64::from(*b) * f64::from(*a);
            }
        }
        for (weight, sum) in weights.iter_mut().zip(sums) {
            *weight = (f64::from(*weight) + self.scale * sum) as f32;
        }
    }
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

    /// The name in the file; an absent tensor is reported by the name that PEFT would have given it.
    fn take(&mut self, plain: &str) -> String {
        self.names.remove(plain).unwrap_or_else(|| format!("{PREFIX}{plain}"))
    }

    fn matrix<B: Backend>(
        &mut self,
        plain: &str,
        shape: [usize; 2],
        storage: Storage,
        backend: &B,
    ) -> Result<B::Matrix, ModelError> {
        let name = self.take(plain);
        self.n_parameters += shape.iter().product::<usize>();
        backend.matrix(&mut self.weights, &name, shape, storage, |_, _| {})
    }

    fn vector<B: Backend>(&mut self, plain: &str, len: usize, backend: &B) -> Result<B::Vector, ModelError> {
        let name = self.take(plain);
        self.n_parameters += len;
        backend.vector(&mut self.weights, &name, len)
    }

    fn values(&mut self, plain: &str, shape: [usize; 2]) -> Result<Vec<f32>, ModelError> {
        let name = self.take(plain);
        self.weights.values(&name, &shape)
    }

    fn head(&mut self, spec: HeadSpec, hidden_size: usize) -> Result<Option<Head>, ModelError> {
        if !self.has(spec.weight) {
            return Ok(None);
        }
        let names: BTreeMap<&str, String> =
            [Some(spec.weight), spec.bias].into_iter().flatten().map(|plain| (plain, self.take(plain))).collect();
        let head = Head::read(&mut self.weights, spec, |plain| names[plain].clone(), hidden_size)?;
        self.n_parameters += head.n_parameters();
        Ok(Some(head))
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

/// The files that an adapter is made of. The last one need not be there.
pub(crate) const FILES: [&str; 3] = [peft::FILE, ADAPTER_FILE, PROMPT_FILE];

/// The hash of an adapter's files.
pub(crate) fn digest(files: &Files) -> Result<Digest, ModelError> {
    let mut hasher = blake3::Hasher::new();
    for name in FILES {
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
