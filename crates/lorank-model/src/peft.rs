//! `adapter_config.json` of PEFT: the modules that a LoRA adapter changes, with their ranks and scales.
//!
//! The matching rules are PEFT's (`check_target_module_exists`, `get_pattern_key`). Unsupported settings that affect
//! the computation are rejected by name; so are unknown settings, unless they are off.

use std::panic::catch_unwind;

use fancy_regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::ModelError;
use crate::files::Files;
use crate::keys::{self, ADAPTER_CONFIG};

pub(crate) const FILE: &str = "adapter_config.json";

/// PEFT's name for all linear layers except the head.
const ALL_LINEAR: &str = "all-linear";

/// Initializations that change the base model's weights, so that the adapter does not fit the original base model.
const REWRITES_BASE: &[&str] = &["pissa", "olora", "corda", "loftq", "lora_ga"];

/// Initializations that do not change the base model's weights, besides true and false.
const KNOWN_INITS: &[&str] = &["", "gaussian", "eva", "orthogonal", "true"];

/// PEFT's names for the head of a sequence classifier.
pub(crate) const HEADS: [&str; 2] = ["classifier", "score"];

/// A LoRA adapter's configuration.
#[derive(Debug, Clone)]
pub(crate) struct PeftConfig {
    /// The base model that the adapter was trained on.
    pub(crate) trained_on: Option<String>,
    pub(crate) rank: usize,
    alpha: f64,
    use_rslora: bool,
    /// Which biases of the base model were trained.
    pub(crate) bias: BiasTraining,
    /// Whether the updates have their own biases.
    pub(crate) lora_bias: bool,
    /// Whether updates of the embeddings and of the matrix of logits are one (`ensure_weight_tying`).
    pub(crate) ties_updates: bool,
    /// Fully trained modules, by the endings of their names.
    pub(crate) saved: Vec<String>,
    targets: Selector,
    excluded: Option<Selector>,
    layers: Option<Vec<u64>>,
    layers_pattern: Vec<Regex>,
    rank_pattern: Vec<Pattern<usize>>,
    alpha_pattern: Vec<Pattern<f64>>,
    /// What the names of modules lacked in the model that PEFT wrapped.
    absent_prefix: &'static str,
}

/// Which biases of the base model were trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BiasTraining {
    None,
    /// All of them, or those of the target modules.
    Some,
}

/// A value for the modules that match a pattern.
#[derive(Debug, Clone)]
struct Pattern<T> {
    /// The pattern in the file.
    given: String,
    regex: Regex,
    value: T,
}

/// A selection of modules, in any of PEFT's forms.
#[derive(Debug, Clone)]
enum Selector {
    /// All linear layers except the head.
    AllLinear,
    /// A regular expression for the whole name, with its text in the file.
    Pattern { given: String, whole: Regex },
    /// Names, or the last parts of names.
    Names(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected one value or an array of them")]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

impl PeftConfig {
    pub(crate) fn read(files: &Files) -> Result<Self, ModelError> {
        let hint = "an adapter folder is written by PEFT's `save_pretrained`";
        Self::parse(files, &files.require(FILE, hint)?)
    }

    /// Parses and validates `adapter_config.json`.
    pub(crate) fn parse(files: &Files, bytes: &[u8]) -> Result<Self, ModelError> {
        let mut reader = Reader { files, json: files.parse_json(FILE, bytes)? };
        reader.check_is_lora()?;
        ADAPTER_CONFIG.check(files.name(), &reader.json)?;
        reader.check_init()?;
        let config = Self {
            trained_on: reader.take("base_model_name_or_path")?,
            rank: reader.take("r")?.ok_or_else(|| reader.refuse("r", &Value::Null, "; expected a rank"))?,
            alpha: reader
                .take("lora_alpha")?
                .ok_or_else(|| reader.refuse("lora_alpha", &Value::Null, "; expected a number"))?,
            use_rslora: reader.take("use_rslora")?.unwrap_or(false),
            bias: reader.bias()?,
            lora_bias: reader.take("lora_bias")?.unwrap_or(false),
            ties_updates: reader.take("ensure_weight_tying")?.unwrap_or(false),
            saved: reader.saved()?,
            targets: reader.selector("target_modules")?.ok_or_else(|| {
                reader.refuse(
                    "target_modules",
                    &Value::Null,
                    "; expected a list of names, a regular expression or `all-linear`",
                )
            })?,
            excluded: reader.selector("exclude_modules")?,
            layers: reader.take::<OneOrMany<u64>>("layers_to_transform")?.map(OneOrMany::into_vec),
            layers_pattern: reader.layers_pattern()?,
            rank_pattern: reader.patterns("rank_pattern")?,
            alpha_pattern: reader.patterns("alpha_pattern")?,
            absent_prefix: "",
        };
        // PEFT rejects it too; the scale divides by the rank.
        if config.rank == 0 {
            return Err(reader.refuse("r", &0.into(), "; expected a rank above zero"));
        }
        if let Some(pattern) = config.rank_pattern.iter().find(|pattern| pattern.value == 0) {
            let what = json!({ pattern.given.as_str(): 0 });
            return Err(reader.refuse("rank_pattern", &what, "; expected ranks above zero"));
        }
        Ok(config)
    }

    /// This configuration of an adapter of the backbone alone, whose modules' names lack the prefix. PEFT matches names,
    /// regular expressions and layers with the names of the model that it wrapped.
    pub(crate) fn without_prefix(&self, prefix: &'static str) -> Self {
        Self { absent_prefix: prefix, ..self.clone() }
    }

    /// The module's name in the model that PEFT wrapped.
    fn own_name<'m>(&self, module: &'m str) -> &'m str {
        module.strip_prefix(self.absent_prefix).unwrap_or(module)
    }

    /// Whether `name` in `target_modules` names the module.
    pub(crate) fn is_named(name: &str, module: &str) -> bool {
        is_tail(name, module)
    }

    /// Whether the adapter changes the module.
    pub(crate) fn targets(&self, module: &str) -> bool {
        let module = self.own_name(module);
        if self.excluded.as_ref().is_some_and(|excluded| excluded.matches(module)) {
            return false;
        }
        match (&self.targets, &self.layers) {
            (Selector::Names(names), Some(layers))
                if !layers.is_empty() && !names.iter().any(|name| name == module) =>
            {
                self.targets.matches(module) && self.layer_of(module).is_some_and(|layer| layers.contains(&layer))
            }
            (targets, _) => targets.matches(module),
        }
    }

    /// Whether the adapter changes the embedding table. `all-linear` excludes tables.
    pub(crate) fn targets_table(&self, table: &str) -> bool {
        !matches!(self.targets, Selector::AllLinear) && self.targets(table)
    }

    /// `target_modules` as in the file: names, a regular expression, or `all-linear`.
    pub(crate) fn targets_as_given(&self) -> Vec<String> {
        self.targets.as_given()
    }

    /// The keys of `rank_pattern` and `alpha_pattern`, and the names among the targets, that match none of the
    /// adapter's modules.
    pub(crate) fn unmatched(&self, modules: &[&str]) -> Vec<String> {
        let modules: Vec<&str> = modules.iter().map(|module| self.own_name(module)).collect();
        let no_match = |regex: &Regex| !modules.iter().any(|module| regex.is_match(module).unwrap_or(false));
        let ranks = self
            .rank_pattern
            .iter()
            .filter(|pattern| no_match(&pattern.regex))
            .map(|pattern| ("rank_pattern", &pattern.given));
        let alphas = self
            .alpha_pattern
            .iter()
            .filter(|pattern| no_match(&pattern.regex))
            .map(|pattern| ("alpha_pattern", &pattern.given));
        let names = match &self.targets {
            Selector::Names(names) => names.as_slice(),
            Selector::AllLinear | Selector::Pattern { .. } => &[],
        };
        let targets = names.iter().filter(|name| !modules.iter().any(|module| is_tail(name, module)));
        let targets = targets.map(|name| ("target_modules", name));
        ranks.chain(alphas).chain(targets).map(|(key, given)| format!("`{given}` of `{key}`")).collect()
    }

    /// Whether `modules_to_save` includes the module or one that contains it.
    pub(crate) fn is_saved(&self, module: &str) -> bool {
        let outer = module.match_indices('.').map(|(at, _)| &module[..at]);
        outer.chain([module]).any(|module| self.saved.iter().any(|name| module.ends_with(name.as_str())))
    }

    /// The rank of the module's update.
    pub(crate) fn rank_of(&self, module: &str) -> usize {
        first_match(&self.rank_pattern, self.own_name(module)).unwrap_or(self.rank)
    }

    /// The factor of the module's update: alpha / r, or alpha / sqrt(r) (rank-stabilized, arXiv 2312.03732).
    pub(crate) fn scale_of(&self, module: &str) -> f64 {
        let (alpha, rank) = (
            first_match(&self.alpha_pattern, self.own_name(module)).unwrap_or(self.alpha),
            self.rank_of(module) as f64,
        );
        if self.use_rslora { alpha / rank.sqrt() } else { alpha / rank }
    }

    /// The number of the layer that contains the module.
    fn layer_of(&self, module: &str) -> Option<u64> {
        let number = |regex: &Regex| regex.captures(module).ok().flatten()?.get(1)?.as_str().parse().ok();
        self.layers_pattern.iter().find_map(number)
    }
}

impl Selector {
    fn as_given(&self) -> Vec<String> {
        match self {
            Self::AllLinear => vec![ALL_LINEAR.to_owned()],
            Self::Pattern { given, .. } => vec![given.clone()],
            Self::Names(names) => names.clone(),
        }
    }

    fn matches(&self, module: &str) -> bool {
        match self {
            Self::AllLinear => true,
            Self::Pattern { whole, .. } => whole.is_match(module).unwrap_or(false),
            Self::Names(names) => names.iter().any(|name| is_tail(name, module)),
        }
    }
}

/// Whether `name` is the module's name or its last parts.
fn is_tail(name: &str, module: &str) -> bool {
    module.strip_suffix(name).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

fn first_match<T: Copy>(patterns: &[Pattern<T>], module: &str) -> Option<T> {
    patterns.iter().find(|pattern| pattern.regex.is_match(module).unwrap_or(false)).map(|pattern| pattern.value)
}

/// Takes the supported settings out of the file; the others remain for validation.
struct Reader<'a> {
    files: &'a Files,
    json: Map<String, Value>,
}

impl Reader<'_> {
    fn check_is_lora(&mut self) -> Result<(), ModelError> {
        match self.json.remove("peft_type") {
            Some(kind) if kind == "LORA" => Ok(()),
            other => {
                let found =
                    other.map_or("missing".to_owned(), |kind| kind.as_str().map_or(kind.to_string(), str::to_owned));
                Err(ModelError::NotLora { folder: self.files.name().into(), found })
            }
        }
    }

    fn take<T: for<'de> Deserialize<'de>>(&mut self, key: &str) -> Result<Option<T>, ModelError> {
        let Some(value) = self.json.remove(key).filter(|value| !value.is_null()) else { return Ok(None) };
        T::deserialize(&value).map(Some).map_err(|_| self.refuse(key, &value, "; the file may be damaged"))
    }

    fn refuse(&self, key: &str, value: &Value, hint: &str) -> ModelError {
        ModelError::Unsupported {
            folder: self.files.name().into(),
            file: FILE,
            what: keys::describe(key, value),
            hint: hint.into(),
        }
    }

    fn regex(&self, key: &str, text: &str, whole: String) -> Result<Regex, ModelError> {
        // The library panics, where overflow is checked, at repetitions of repetitions whose product is too large.
        let compiled = catch_unwind(|| Regex::new(&whole)).ok().and_then(Result::ok);
        compiled.ok_or_else(|| self.refuse(key, &text.into(), "; the regular expression is invalid"))
    }

    fn selector(&mut self, key: &str) -> Result<Option<Selector>, ModelError> {
        Ok(match self.take::<OneOrMany<String>>(key)? {
            None => None,
            Some(OneOrMany::One(text)) if text == ALL_LINEAR => Some(Selector::AllLinear),
            Some(OneOrMany::One(text)) => {
                // As Python's `re.fullmatch`.
                let whole = self.regex(key, &text, format!("^(?:{text})$"))?;
                Some(Selector::Pattern { given: text, whole })
            }
            Some(OneOrMany::Many(names)) => Some(Selector::Names(names)),
        })
    }

    /// Patterns for the layer number in a module's name: PEFT's patterns, or the number after the first `name.`.
    fn layers_pattern(&mut self) -> Result<Vec<Regex>, ModelError> {
        let given = self.take::<OneOrMany<String>>("layers_pattern")?.map(OneOrMany::into_vec).unwrap_or_default();
        let given = if given.is_empty() { vec!["[^.]*".to_owned()] } else { given };
        given.iter().map(|pattern| self.regex("layers_pattern", pattern, format!(r"^.*\.{pattern}\.(\d+)\."))).collect()
    }

    fn patterns<T: for<'de> Deserialize<'de>>(&mut self, key: &str) -> Result<Vec<Pattern<T>>, ModelError> {
        let given = self.take::<Map<String, Value>>(key)?.unwrap_or_default();
        let parse = |(pattern, value): (&String, &Value)| {
            let regex = self.regex(key, pattern, format!(r"^(?:.*\.)?(?:{pattern})$"))?;
            let value = T::deserialize(value).map_err(|_| self.refuse(key, value, "; expected a number"))?;
            Ok(Pattern { given: pattern.clone(), regex, value })
        };
        given.iter().map(parse).collect()
    }

    fn bias(&mut self) -> Result<BiasTraining, ModelError> {
        match self.take::<String>("bias")?.as_deref() {
            None | Some("none") => Ok(BiasTraining::None),
            Some("all" | "lora_only") => Ok(BiasTraining::Some),
            Some(other) => Err(self.refuse("bias", &other.into(), "; `none`, `all` and `lora_only` are")),
        }
    }

    /// The fully trained modules. PEFT adds the head of a sequence classifier under both of its possible names.
    fn saved(&mut self) -> Result<Vec<String>, ModelError> {
        let mut saved = self.take::<OneOrMany<String>>("modules_to_save")?.map(OneOrMany::into_vec).unwrap_or_default();
        if self.json.get("task_type").and_then(Value::as_str) == Some("SEQ_CLS") {
            saved.extend(HEADS.map(str::to_owned));
        }
        saved.retain(|name| !name.is_empty());
        Ok(saved)
    }

    /// Rejects initializations that change the base model's weights.
    fn check_init(&self) -> Result<(), ModelError> {
        let way = self.json.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
        if KNOWN_INITS.contains(&way) {
            return Ok(());
        }
        let hint = if REWRITES_BASE.iter().any(|known| way.starts_with(known)) {
            "; it changes the base model's weights, so convert the adapter with PEFT's `path_initial_model_for_weight_conversion`"
        } else {
            "; it may change the base model's weights"
        };
        Err(self.refuse("init_lora_weights", &way.into(), hint))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(changes: Value) -> Result<PeftConfig, ModelError> {
        let mut config = json!({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"], "bias": "none"});
        let changes = changes.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(changes);
        let bytes: &'static [u8] = Box::leak(config.to_string().into_bytes().into_boxed_slice());
        PeftConfig::read(&Files::embedded("adapter", [(FILE, bytes)]))
    }

    fn check_targets(changes: Value, expected: &[&str]) {
        let config = read(changes).unwrap();
        let modules = ["q_proj", "k_proj", "v_proj"].into_iter();
        let names = (0..3).flat_map(|n| modules.clone().map(move |m| format!("model.layers.{n}.self_attn.{m}")));
        let found: Vec<_> = names.filter(|name| config.targets(name)).collect();
        let short: Vec<_> = found
            .iter()
            .map(|name| name.replace("model.layers.", "").replace(".self_attn", "").replace("_proj", ""))
            .collect();
        assert_eq!(short, expected);
    }

    #[test]
    fn targets_follow_peft() {
        check_targets(json!({}), &["0.q", "0.v", "1.q", "1.v", "2.q", "2.v"]);
        check_targets(
            json!({"target_modules": "all-linear", "exclude_modules": ["k_proj", "v_proj"]}),
            &["0.q", "1.q", "2.q"],
        );
        check_targets(json!({"target_modules": r".*\.1\..*(q|k)_proj"}), &["1.q", "1.k"]);
        check_targets(json!({"target_modules": r"1\..*q_proj"}), &[]);
        check_targets(json!({"target_modules": ["proj"]}), &[]);
        check_targets(json!({"layers_to_transform": 2}), &["2.q", "2.v"]);
        check_targets(
            json!({"layers_to_transform": [0, 1], "layers_pattern": "layers"}),
            &["0.q", "0.v", "1.q", "1.v"],
        );
        check_targets(json!({"layers_to_transform": [0], "layers_pattern": ["blocks"]}), &[]);
        check_targets(
            json!({"target_modules": ["model.layers.1.self_attn.k_proj"], "layers_to_transform": [0]}),
            &["1.k"],
        );
        check_targets(json!({"exclude_modules": r".*\.0\..*"}), &["1.q", "1.v", "2.q", "2.v"]);
    }

    #[test]
    fn rank_and_scale_follow_peft() {
        let check = |changes: Value, module: &str, rank: usize, scale: f64| {
            let config = read(changes).unwrap();
            assert_eq!((config.rank_of(module), config.scale_of(module)), (rank, scale));
        };
        check(json!({}), "a.q_proj", 8, 2.0);
        check(json!({"use_rslora": true, "r": 16, "lora_alpha": 8}), "a.q_proj", 16, 2.0);
        let patterns = json!({"rank_pattern": {"q_proj": 4, r"layers\.1\.v_proj": 2}, "alpha_pattern": {"^x.v_proj": 3, "v_proj": 24}});
        check(patterns.clone(), "layers.0.q_proj", 4, 4.0);
        check(patterns.clone(), "layers.1.v_proj", 2, 12.0);
        check(patterns.clone(), "layers.11.v_proj", 8, 3.0);
        check(patterns, "layers.0.xq_proj", 8, 2.0);
    }

    #[test]
    fn what_would_change_the_arithmetic_is_refused_by_name() {
        let refused = [
            (json!({"use_dora": true}), "`use_dora` = true"),
            (json!({"bias": "some"}), "`bias`"),
            (json!({"lora_bias": "yes"}), "`lora_bias`"),
            (json!({"target_parameters": ["w"]}), "`target_parameters`"),
            (json!({"trainable_token_indices": [1]}), "`trainable_token_indices`"),
            (json!({"use_qalora": true}), "`use_qalora`"),
            (json!({"alora_invocation_tokens": [1]}), "`alora_invocation_tokens`"),
            (json!({"megatron_config": {"a": 1}}), "`megatron_config`"),
            (json!({"init_lora_weights": "olora"}), "olora"),
            (json!({"init_lora_weights": "corda"}), "corda"),
            (json!({"init_lora_weights": "mica"}), "mica"),
            (json!({"layer_replication": [[0, 4]]}), "`layer_replication`"),
            (json!({"init_lora_weights": "pissa_niter_16"}), "pissa_niter_16"),
            (json!({"some_new_method": {"a": 1}}), "`some_new_method`"),
            (json!({"target_modules": null}), "`target_modules`"),
            (json!({"target_modules": "(q"}), "regular expression"),
            (json!({"target_modules": "((a{9223372036854775807}){999}){999}"}), "regular expression"),
            (json!({"r": "many"}), "`r`"),
            (json!({"r": 0}), "`r` = 0"),
            (json!({"rank_pattern": {"q_proj": 0}}), "`rank_pattern`"),
            (json!({"peft_type": "IA3"}), "`IA3`"),
            (json!({"peft_type": null}), "not a LoRA"),
        ];
        for (changes, part) in refused {
            let message = read(changes.clone()).unwrap_err().to_string();
            assert!(message.contains(part), "{changes}: {message}");
        }
        let ignored = json!({"use_dora": false, "new_flag": false, "new_thing": null, "new_list": [], "init_lora_weights": "gaussian",
            "peft_version": "9.9", "loftq_config": {}, "modules_to_save": ["score"], "task_type": "SEQ_CLS"});
        assert!(read(ignored).is_ok());
    }
}
