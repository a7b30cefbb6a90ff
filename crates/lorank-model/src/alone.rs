//! Checks of an adapter's tensors without its base model.

use crate::ModelError;
use crate::files::Files;
use crate::lora::Tensors;
use crate::peft::{BiasTraining, HEADS, PeftConfig};
use crate::weights::ADAPTER_FILE;

/// The endings of the two matrices of an update, for linear layers and for embedding tables.
const PAIRS: [(&str, &str); 2] = [(".lora_A.weight", ".lora_B.weight"), (".lora_embedding_A", ".lora_embedding_B")];

/// The tables that PEFT may save unchanged beside the updates.
const TABLES: [&str; 6] =
    ["embed_tokens", "word_embeddings", "position_embeddings", "token_type_embeddings", "tok_embeddings", "lm_head"];

/// Checks that low-rank updates are complete and have the configured ranks, that all numbers are finite, that every
/// tensor belongs to a module that the configuration names, and that the named head exists. Returns the number of
/// parameters.
pub(crate) fn check(files: &Files, config: &PeftConfig) -> Result<usize, ModelError> {
    let mut tensors = Tensors::open(files, None)?;
    let names: Vec<(String, String)> =
        tensors.names().map(|(plain, name)| (plain.to_owned(), name.to_owned())).collect();
    let refused = |what: String, hint: &str| ModelError::Unsupported {
        folder: files.name().to_owned(),
        file: ADAPTER_FILE,
        what,
        hint: hint.to_owned(),
    };
    let mut n_updates = 0;
    for (plain, name) in &names {
        let shape = tensors.weights.shape(name).unwrap_or_default();
        if let Some((module, other, is_first)) = update_of(plain) {
            check_pair(&tensors, config, module, name, &other, is_first)?;
            if !config.targets(module) {
                let what = format!("an update of `{module}` (`{name}`)");
                return Err(refused(what, "; `target_modules` of `adapter_config.json` does not include that module"));
            }
            n_updates += 1;
        } else if !is_expected(plain, config) {
            let hint = "; it does not belong to a LoRA adapter with this configuration";
            return Err(refused(format!("the tensor `{name}`"), hint));
        }
        // Reading a tensor checks that its numbers are finite.
        tensors.weights.values(name, &shape)?;
    }
    if n_updates == 0 {
        return Err(refused("no low-rank update".to_owned(), "; an adapter has matrices `lora_A` and `lora_B`"));
    }
    let is_head = |plain: &str| HEADS.iter().any(|head| plain == format!("{head}.weight"));
    let named: Vec<&str> = HEADS.into_iter().filter(|head| config.saved.iter().any(|name| name == head)).collect();
    if !named.is_empty() && !names.iter().any(|(plain, _)| is_head(plain)) {
        let what = format!("the head `{}` of `modules_to_save` without its tensor", named.join("` or `"));
        return Err(refused(what, "; its trained weights are missing, so save the adapter again"));
    }
    Ok(tensors.weights.n_parameters())
}

/// The module that a tensor updates, the name of the other matrix, and whether the tensor is the first of the two.
fn update_of(plain: &str) -> Option<(&str, String, bool)> {
    PAIRS.iter().find_map(|(first, second)| {
        let of_first = plain.strip_suffix(first).map(|module| (module, format!("{module}{second}"), true));
        of_first.or_else(|| plain.strip_suffix(second).map(|module| (module, format!("{module}{first}"), false)))
    })
}

/// Checks that the other matrix of an update exists, and that this one has the update's rank.
fn check_pair(
    tensors: &Tensors,
    config: &PeftConfig,
    module: &str,
    name: &str,
    other: &str,
    is_first: bool,
) -> Result<(), ModelError> {
    if !tensors.names().any(|(plain, _)| plain == other) {
        return Err(ModelError::MissingTensor {
            file: ADAPTER_FILE.into(),
            tensor: format!("base_model.model.{other}"),
        });
    }
    let (rank, shape) = (config.rank_of(module), tensors.weights.shape(name).unwrap_or_default());
    let expected = match (&shape[..], is_first) {
        ([found, n_in], true) if *found != rank => vec![rank, *n_in],
        ([n_out, found], false) if *found != rank => vec![*n_out, rank],
        ([_, _], _) => return Ok(()),
        (_, true) => vec![rank, 0],
        (_, false) => vec![0, rank],
    };
    Err(ModelError::Shape { file: ADAPTER_FILE.into(), tensor: name.to_owned(), expected, found: shape })
}

/// Whether an adapter may have this tensor although it is no update: it belongs to a fully trained module, is a trained
/// bias, or is an embedding table.
fn is_expected(plain: &str, config: &PeftConfig) -> bool {
    let Some((module, kind)) = plain.rsplit_once('.') else { return false };
    let is_update_bias = config.lora_bias && plain.ends_with(".lora_B.bias");
    let is_bias = kind == "bias" && config.bias == BiasTraining::Some;
    let is_table = kind == "weight" && TABLES.iter().any(|table| module.rsplit('.').next() == Some(table));
    let is_head = HEADS.contains(&module);
    is_update_bias || is_bias || is_table || is_head || config.is_saved(module)
}
