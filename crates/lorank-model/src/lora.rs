//! LoRA adapters: converts PEFT's tensors to updates of a base model's layers.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lorank_core::{AdapterId, Digest};

use crate::ModelError;
use crate::backend::linear::{
    Adapter, Delta, Module, Modules, NormDelta, NormModule, TableDelta, TableModule, WeightDelta,
};
use crate::backend::{Backend, Storage};
use crate::files::Files;
use crate::head::{Head, HeadSpec, ScoreTokens};
use crate::labels::{HeadRow, Labels, NamedLabel};
use crate::lorank_file::LORANK_FILE;
use crate::peft::{self, BiasTraining, PeftConfig};
use crate::score_tokens::{LOGITS_MODULE, TokenLogits, difference};
use crate::tokenize::TOKENIZER_FILE;
use crate::tokenizer_config;
use crate::weights::{ADAPTER_FILE, Prefix, Table, Weights, modern_name};

/// The base model that an adapter must fit.
pub(crate) struct Fit<'a, B> {
    pub(crate) base: &'a str,
    pub(crate) modules: &'a Modules,
    pub(crate) head_spec: HeadSpec,
    /// The base model's own head.
    pub(crate) head: Option<&'a Head>,
    /// The tokens that make the score head, in place of a trained one.
    pub(crate) token_head: Option<TokenHead>,
    /// The labels of the base model's head, and the row of the one that is scored.
    pub(crate) labels: &'a Labels,
    pub(crate) head_row: Option<HeadRow>,
    /// The adapter's own `score_label`.
    pub(crate) score_label: Option<&'a NamedLabel>,
    pub(crate) hidden_size: usize,
    pub(crate) prefix: Prefix,
    pub(crate) backend: &'a B,
    /// Reads an embedding table of the base model.
    pub(crate) base_table: &'a dyn Fn(&TableModule) -> Result<Table, ModelError>,
    /// Opens the base model's weights.
    pub(crate) base_weights: &'a dyn Fn() -> Result<Weights, ModelError>,
}

/// A score head of two tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenHead {
    pub(crate) logits: TokenLogits,
    pub(crate) tokens: ScoreTokens,
    /// Whether the adapter names the tokens itself.
    pub(crate) is_own: bool,
}

impl<B> Fit<'_, B> {
    /// The name of the module with the head.
    fn head_module(&self) -> &'static str {
        if self.token_head.is_some() { LOGITS_MODULE } else { self.head_spec.module() }
    }
}

impl<B: Backend> Adapter<B> {
    /// Reads the adapter's tensors. Each tensor must belong to a module, and each targeted module must have its
    /// tensors.
    pub(crate) fn read(
        id: &AdapterId,
        files: &Files,
        config: &PeftConfig,
        fit: &Fit<'_, B>,
    ) -> Result<Self, ModelError> {
        let misfit = |why: String| ModelError::Misfit { adapter: id.clone(), base: fit.base.to_owned(), why };
        let tensors = Tensors::open(files, Some(fit.prefix))?;
        let config = &*tensors.named(config, fit.prefix);
        let mut reader = Reader { config, fit, tensors };
        let Modules { linears, norms, tables } = fit.modules;
        let is_targeted = |name: &str| config.targets(name);
        let head = fit.head_module();
        let mut targeted: Vec<&str> = linears.iter().map(|it| it.name.as_str()).filter(|it| is_targeted(it)).collect();
        targeted.extend(tables.iter().map(|it| it.name.as_str()).filter(|it| config.targets_table(it)));
        targeted.extend(reader.head_is_targeted().then_some(head));
        let updates = reader.tensors.weights.matrices(|name| name.contains(".lora_A.") || name.contains(".lora_B."));
        let reserved = fit.backend.before_reading(&updates, Storage::AsInFile);
        reserved.map_err(|error| ModelError::Compute(Arc::new(error)))?;
        let deltas = linears.iter().map(|module| reader.linear(module)).collect::<Result<Vec<_>, _>>()?;
        let norms = norms.iter().map(|norm| reader.norm(norm)).collect::<Result<Vec<_>, _>>()?;
        let tables = tables.iter().map(|table| reader.table(table)).collect::<Result<Vec<_>, _>>()?;
        let n_targets = deltas.iter().flatten().count() + tables.iter().flatten().count();
        if n_targets == 0 && targeted.is_empty() {
            return Err(misfit(format!(
                "`target_modules` of `{}` matches no linear layer of the base model",
                peft::FILE
            )));
        }
        let head = reader.head()?;
        reader.check_saved(&misfit)?;
        if let Some(left) = reader.tensors.left_over() {
            return Err(misfit(format!("its tensor `{left}` belongs to no module that an adapter can change")));
        }
        if let [first, rest @ ..] = &config.unmatched(&targeted)[..] {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            tracing::warn!("{first}{more} in `{}` of adapter `{id}` matches none of its modules", peft::FILE);
        }
        Ok(Self { deltas, norms, tables, head, n_parameters: reader.tensors.n_parameters, n_targets })
    }
}

/// Reads an adapter's tensors, module by module.
struct Reader<'a, B: Backend> {
    config: &'a PeftConfig,
    fit: &'a Fit<'a, B>,
    tensors: Tensors,
}

impl<B: Backend> Reader<'_, B> {
    fn linear(&mut self, module: &Module) -> Result<Option<Delta<B>>, ModelError> {
        let (config, backend, name) = (self.config, self.fit.backend, &module.name);
        let is_low_rank = config.targets(name);
        let weight = if is_low_rank {
            let (rank, storage) = (config.rank_of(name), Storage::AsInFile);
            let a = self.tensors.matrix(&format!("{name}.lora_A.weight"), [rank, module.n_in], storage, backend)?;
            let b = self.tensors.matrix(&format!("{name}.lora_B.weight"), [module.n_out, rank], storage, backend)?;
            WeightDelta::LowRank { a, b, scale: config.scale_of(name) }
        } else if self.tensors.has(&format!("{name}.weight")) {
            let shape = [module.n_out, module.n_in];
            WeightDelta::Replaced(self.tensors.matrix(&format!("{name}.weight"), shape, Storage::Precision, backend)?)
        } else {
            WeightDelta::None
        };
        let is_replaced = matches!(weight, WeightDelta::Replaced(_));
        let bias = self.bias(name, module.n_out, module.bias.as_deref(), is_replaced, is_low_rank)?;
        let bias = bias.map(|bias| self.vector(bias)).transpose()?;
        let is_changed = bias.is_some() || !matches!(weight, WeightDelta::None);
        Ok(is_changed.then_some(Delta { weight, bias }))
    }

    /// The replacement of a bias: a trained one, plus the low-rank update's.
    fn bias(
        &mut self,
        name: &str,
        len: usize,
        base: Option<&[f32]>,
        is_replaced: bool,
        is_low_rank: bool,
    ) -> Result<Option<Vec<f32>>, ModelError> {
        let tensor = format!("{name}.bias");
        let may_have = base.is_some() && (is_replaced || self.config.bias == BiasTraining::Some);
        // A fully trained module has its bias; trained biases of other modules are read if they exist.
        let is_there = may_have && (is_replaced || self.tensors.has(&tensor));
        let own = is_there.then(|| self.tensors.values(&tensor, &[len])).transpose()?;
        if !(self.config.lora_bias && is_low_rank) {
            return Ok(own);
        }
        let added = self.tensors.values(&format!("{name}.lora_B.bias"), &[len])?;
        let scale = self.config.scale_of(name);
        let mut bias = own.or_else(|| base.map(<[f32]>::to_vec)).unwrap_or_else(|| vec![0.0; len]);
        bias.iter_mut().zip(added).for_each(|(bias, added)| *bias += (scale * f64::from(added)) as f32);
        Ok(Some(bias))
    }

    /// A fully trained norm, or its trained bias.
    fn norm(&mut self, norm: &NormModule) -> Result<Option<NormDelta<B>>, ModelError> {
        let (weight, bias) = (format!("{}.weight", norm.name), format!("{}.bias", norm.name));
        let is_replaced = self.tensors.has(&weight);
        let has_bias =
            norm.has_bias && (is_replaced || self.config.bias == BiasTraining::Some && self.tensors.has(&bias));
        let mut read = |tensor: &str, offset: f32| {
            let mut values = self.tensors.values(tensor, &[norm.width])?;
            values.iter_mut().for_each(|value| *value += offset);
            self.vector(values)
        };
        let weight = is_replaced.then(|| read(&weight, norm.offset)).transpose()?;
        let bias = has_bias.then(|| read(&bias, 0.0)).transpose()?;
        Ok((weight.is_some() || bias.is_some()).then_some(NormDelta { weight, bias }))
    }

    /// The low-rank update of an embedding table. A fully saved table must equal the base model's.
    fn table(&mut self, table: &TableModule) -> Result<Option<TableDelta>, ModelError> {
        let name = &table.name;
        let weight = format!("{name}.weight");
        if self.tensors.has(&weight) {
            self.check_unchanged(&weight, table)?;
        }
        if !self.config.targets_table(name) {
            return Ok(None);
        }
        let (rank, scale) = (self.config.rank_of(name), self.config.scale_of(name));
        let a = self.tensors.values(&format!("{name}.lora_embedding_A"), &[rank, table.n_rows])?;
        let b = self.tensors.values(&format!("{name}.lora_embedding_B"), &[table.width, rank])?;
        let n_rows = table.n_rows;
        let a =
            (0..n_rows).flat_map(|row| (0..rank).map(move |r| (r, row))).map(|(r, row)| a[r * n_rows + row]).collect();
        Ok(Some(TableDelta { a, b, rank, scale }))
    }

    fn check_unchanged(&mut self, tensor: &str, table: &TableModule) -> Result<(), ModelError> {
        let name = self.tensors.names.get(tensor).cloned().unwrap_or_default();
        let own = self.tensors.table(tensor, [table.n_rows, table.width])?;
        let base = (self.fit.base_table)(table)?;
        let (mut own_row, mut base_row) = (vec![0.0; table.width], vec![0.0; table.width]);
        for row in 0..table.n_rows {
            own.read(row, &mut own_row);
            base.read(row, &mut base_row);
            if own_row != base_row {
                return Err(ModelError::Unsupported {
                    folder: self.tensors.folder.clone(),
                    file: ADAPTER_FILE,
                    what: format!("embeddings that differ from the base model's (`{name}`, row {row})"),
                    hint: "; a low-rank update of embeddings is".into(),
                });
            }
        }
        Ok(())
    }

    /// Whether the head has a low-rank update. `all-linear` excludes the head of a sequence classifier.
    fn head_is_targeted(&self) -> bool {
        let module = self.fit.head_module();
        self.config.targets(module) && self.tensors.has(&format!("{module}.lora_A.weight"))
    }

    /// The head: a fully trained one, or the base model's with its trained changes.
    fn head(&mut self) -> Result<Option<Head>, ModelError> {
        let (spec, hidden) = (self.fit.head_spec, self.fit.hidden_size);
        if self.tensors.has(spec.weight) {
            if self.fit.token_head.is_some_and(|head| head.is_own) {
                let why = format!("the adapter also has a trained score head (`{}`); remove one of them", spec.weight);
                return Err(ModelError::ScoreTokens { folder: self.tensors.folder.clone(), why });
            }
            let row = self.saved_row()?;
            return self.tensors.head(spec, row, hidden).map(Some);
        }
        if let Some(head) = self.fit.token_head {
            return self.token_head(head);
        }
        let (Some(base), Some(base_row), module) = (self.fit.head, self.fit.head_row, spec.module()) else {
            return Ok(None);
        };
        let row = self.row_among(self.fit.labels)?.unwrap_or(base_row);
        let other = (row != base_row).then(|| {
            let weights = &mut (self.fit.base_weights)()?;
            Head::read(weights, spec, |name| name.to_owned(), row, hidden)
        });
        let other = other.transpose()?;
        let base = other.as_ref().unwrap_or(base);
        let is_low_rank = self.head_is_targeted();
        let bias = self.head_bias(module, row, base.bias(), is_low_rank)?;
        if !is_low_rank {
            return Ok((other.is_some() || bias.is_some()).then(|| base.updated(None, bias)));
        }
        let (rank, scale) = (self.config.rank_of(module), self.config.scale_of(module));
        let a = self.tensors.values(&format!("{module}.lora_A.weight"), &[rank, hidden])?;
        let b = self.tensors.values(&format!("{module}.lora_B.weight"), &[row.n_rows, rank])?;
        Ok(Some(base.updated(Some((&a, &b[row.row * rank..][..rank], scale)), bias)))
    }

    /// The row of the adapter's own `score_label` among these labels; `None` if it has none.
    fn row_among(&self, labels: &Labels) -> Result<Option<HeadRow>, ModelError> {
        let Some(named) = self.fit.score_label else { return Ok(None) };
        let refused = |why| ModelError::ScoreLabel { folder: self.tensors.folder.clone(), why };
        labels.row(Some(named)).map_err(refused)
    }

    /// The scored row of a head that was saved as a whole: that of the adapter's label, else of the base model's if both
    /// have equally many labels.
    fn saved_row(&self) -> Result<HeadRow, ModelError> {
        let n_labels = self.tensors.n_rows(self.fit.head_spec.weight);
        let is_of_base = self.fit.labels.len() == n_labels;
        let labels = if is_of_base { self.fit.labels } else { &Labels::numbered(n_labels) };
        let row = match self.row_among(labels)? {
            Some(row) => Some(row),
            None if n_labels == 1 => Some(HeadRow::ONLY),
            None => self.fit.head_row.filter(|_| is_of_base),
        };
        let folder = || self.tensors.folder.clone();
        row.ok_or_else(|| ModelError::UnnamedLabel { folder: folder(), n_labels, labels: labels.describe() })
    }

    /// The replacement of a label's bias: a trained one, plus the low-rank update's.
    fn head_bias(
        &mut self,
        module: &str,
        HeadRow { row, n_rows }: HeadRow,
        base: Option<f32>,
        is_low_rank: bool,
    ) -> Result<Option<f32>, ModelError> {
        let tensor = format!("{module}.bias");
        let is_trained = base.is_some() && self.config.bias == BiasTraining::Some && self.tensors.has(&tensor);
        let own = is_trained.then(|| self.tensors.values(&tensor, &[n_rows])).transpose()?.map(|bias| bias[row]);
        if !(self.config.lora_bias && is_low_rank) {
            return Ok(own);
        }
        let added = self.tensors.values(&format!("{module}.lora_B.bias"), &[n_rows])?[row];
        let bias = own.or(base).unwrap_or(0.0) + (self.config.scale_of(module) * f64::from(added)) as f32;
        Ok(Some(bias))
    }

    /// The head of two tokens, if it differs from the base model's: of other tokens, or with trained changes of the
    /// matrix of logits.
    fn token_head(&mut self, of: TokenHead) -> Result<Option<Head>, ModelError> {
        let (logits, [n_tokens, hidden]) = (of.logits, of.logits.shape());
        let weight = format!("{LOGITS_MODULE}.weight");
        let (is_low_rank, is_saved) = (self.head_is_targeted(), self.tensors.has(&weight));
        if logits.is_tied && self.config.ties_updates {
            return Err(ModelError::Unsupported {
                folder: self.tensors.folder.clone(),
                file: peft::FILE,
                what: "`ensure_weight_tying` = true with the score of two tokens".into(),
                hint: "; separate updates of `embed_tokens` and `lm_head` are".into(),
            });
        }
        if !(is_low_rank || is_saved || of.is_own) {
            return Ok(None);
        }
        let head = if is_saved {
            let name = self.tensors.take(&weight);
            self.tensors.n_parameters += n_tokens * hidden;
            logits.head(&mut self.tensors.weights, &name, of.tokens)?
        } else {
            logits.head(&mut (self.fit.base_weights)()?, logits.tensor(), of.tokens)?
        };
        if !is_low_rank {
            return Ok(Some(head));
        }
        let (rank, scale) = (self.config.rank_of(LOGITS_MODULE), self.config.scale_of(LOGITS_MODULE));
        let a = self.tensors.values(&format!("{LOGITS_MODULE}.lora_A.weight"), &[rank, hidden])?;
        let b = self.token_rows(&format!("{LOGITS_MODULE}.lora_B.weight"), of.tokens, [n_tokens, rank])?;
        let bias = match self.config.lora_bias {
            true => {
                let values = self.tensors.values(&format!("{LOGITS_MODULE}.lora_B.bias"), &[n_tokens])?;
                let of_token = |id: u32| f64::from(values[id as usize]);
                let difference = of_token(of.tokens.positive) - of.tokens.negative.map_or(0.0, of_token);
                Some((scale * difference) as f32)
            }
            false => None,
        };
        Ok(Some(head.updated(Some((&a, &b, scale)), bias)))
    }

    /// The difference of the rows of two tokens, [width]. shape: [n_tokens, width].
    fn token_rows(&mut self, plain: &str, tokens: ScoreTokens, shape: [usize; 2]) -> Result<Vec<f32>, ModelError> {
        let name = self.tensors.take(plain);
        self.tensors.n_parameters += shape.iter().product::<usize>();
        difference(tokens, &mut self.tensors.weights, &name, shape)
    }

    /// Checks that the file has all modules of `modules_to_save`.
    fn check_saved(&self, misfit: &dyn Fn(String) -> ModelError) -> Result<(), ModelError> {
        let Modules { linears, norms, tables } = self.fit.modules;
        let names = linears.iter().map(|module| &module.name);
        let names = names.chain(norms.iter().map(|norm| &norm.name)).chain(tables.iter().map(|table| &table.name));
        let heads = [self.fit.head_spec.module(), LOGITS_MODULE];
        let heads = heads.into_iter().filter(|module| *module != LOGITS_MODULE || self.fit.token_head.is_some());
        let mut names = names.map(String::as_str).chain(heads);
        match names.find(|name| self.config.is_saved(name) && !self.tensors.had(&format!("{name}.weight"))) {
            Some(name) => Err(misfit(format!(
                "`modules_to_save` includes `{name}`, but `{ADAPTER_FILE}` has no such tensor, so its weights are missing"
            ))),
            None => Ok(()),
        }
    }

    fn vector(&self, values: Vec<f32>) -> Result<B::Vector, ModelError> {
        self.fit.backend.vector(values).map_err(|error| ModelError::Compute(Arc::new(error)))
    }
}

/// An adapter's low-rank updates, to be merged into the base model's weights.
#[derive(Debug)]
pub(crate) struct Merge {
    /// The update of each linear layer of the base model, by slot.
    updates: Vec<Option<Update>>,
}

/// `scale b a`, to be added to a weight matrix.
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
    /// Reads the updates of an adapter that has been [loaded](Adapter::read) before.
    pub(crate) fn read(
        files: &Files,
        config: &PeftConfig,
        modules: &[Module],
        prefix: Prefix,
    ) -> Result<Self, ModelError> {
        let mut tensors = Tensors::open(files, Some(prefix))?;
        let config = &*tensors.named(config, prefix);
        let mut update = |module: &Module| {
            if !config.targets(&module.name) {
                return Ok(None);
            }
            let rank = config.rank_of(&module.name);
            let a = tensors.values(&format!("{}.lora_A.weight", module.name), &[rank, module.n_in])?;
            let b = tensors.values(&format!("{}.lora_B.weight", module.name), &[module.n_out, rank])?;
            Ok(Some(Update { a, b, rank, scale: config.scale_of(&module.name) }))
        };
        Ok(Self { updates: modules.iter().map(&mut update).collect::<Result<_, ModelError>>()? })
    }

    /// The update of the layer in a slot.
    pub(crate) fn update(&self, slot: usize) -> Option<&Update> {
        self.updates[slot].as_ref()
    }
}

impl Update {
    /// Adds a row of the update to the corresponding row of the weights.
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

/// An adapter's tensors under the base model's module names.
pub(crate) struct Tensors {
    folder: String,
    pub(crate) weights: Weights,
    /// Maps the tensors of modules (`...q_proj.lora_A.weight`) that were not read yet to their names in the file.
    names: BTreeMap<String, String>,
    /// All tensors of modules.
    all: BTreeSet<String>,
    n_parameters: usize,
    /// Whether the names in the file lack the base model's prefix.
    lacks_prefix: bool,
}

impl Tensors {
    /// Opens an adapter's file. If no name has the base model's prefix, as in an adapter of the backbone alone, adds
    /// the prefix to the names that lack it.
    pub(crate) fn open(files: &Files, prefix: Option<Prefix>) -> Result<Self, ModelError> {
        let weights = Weights::of_adapter(files)?;
        // PEFT's copy of a fully trained module before training.
        let is_used = |name: &&str| !name.split('.').any(|part| part == "original_module");
        let names = || weights.names().filter(is_used).map(|name| (plain_name(name), name.to_owned()));
        let has_prefix = prefix.is_none_or(|prefix| names().any(|(plain, _)| plain.starts_with(prefix.prefix)));
        let whole = |plain: String| match prefix {
            Some(Prefix { prefix, names }) if !has_prefix && names.iter().any(|name| plain.starts_with(name)) => {
                format!("{prefix}{plain}")
            }
            _ => plain,
        };
        let is_of_backbone =
            |prefix: Prefix| names().any(|(plain, _)| prefix.names.iter().any(|it| plain.starts_with(it)));
        let lacks_prefix = !has_prefix && prefix.is_some_and(is_of_backbone);
        let names: BTreeMap<String, String> = names().map(|(plain, name)| (whole(plain), name)).collect();
        let all = names.keys().cloned().collect();
        Ok(Self { folder: files.name().to_owned(), weights, names, all, n_parameters: 0, lacks_prefix })
    }

    /// The adapter's configuration, for modules with the base model's prefix.
    fn named<'c>(&self, config: &'c PeftConfig, prefix: Prefix) -> Cow<'c, PeftConfig> {
        match self.lacks_prefix {
            true => Cow::Owned(config.without_prefix(prefix.prefix)),
            false => Cow::Borrowed(config),
        }
    }

    fn has(&self, plain: &str) -> bool {
        self.names.contains_key(plain)
    }

    /// Whether the file has the tensor, read or not.
    fn had(&self, plain: &str) -> bool {
        self.all.contains(plain)
    }

    /// The tensors of modules, with their names in the file.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.names.iter().map(|(plain, name)| (plain.as_str(), name.as_str()))
    }

    /// The name in the file. An absent tensor is reported with the name that PEFT would use.
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
        backend.matrix(&mut self.weights, &name, shape, storage, None)
    }

    fn values(&mut self, plain: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let name = self.take(plain);
        self.n_parameters += shape.iter().product::<usize>();
        self.weights.values(&name, shape)
    }

    fn table(&mut self, plain: &str, shape: [usize; 2]) -> Result<Table, ModelError> {
        let name = self.take(plain);
        self.n_parameters += shape.iter().product::<usize>();
        self.weights.table(&name, shape)
    }

    /// The number of rows of a tensor that was not read yet.
    fn n_rows(&self, plain: &str) -> usize {
        let shape = self.names.get(plain).and_then(|name| self.weights.shape(name));
        shape.and_then(|shape| shape.first().copied()).unwrap_or(0)
    }

    fn head(&mut self, spec: HeadSpec, row: HeadRow, hidden_size: usize) -> Result<Head, ModelError> {
        let names: BTreeMap<&str, String> =
            [Some(spec.weight), spec.bias].into_iter().flatten().map(|plain| (plain, self.take(plain))).collect();
        let head = Head::read(&mut self.weights, spec, |plain| names[plain].clone(), row, hidden_size)?;
        self.n_parameters += row.n_rows * head.n_parameters();
        Ok(head)
    }

    fn left_over(&self) -> Option<&str> {
        self.names.values().next().map(String::as_str)
    }
}

const PREFIX: &str = "base_model.model.";

/// The layers of heads with several layers. Older PEFT versions omit the adapter's name before them.
const HEAD_PARTS: [&str; 2] = ["dense", "out_proj"];

/// PEFT's name of a tensor without the wrapper's parts: the prefix, the wrapped layer, and the adapter's name in files
/// of older PEFT versions.
///
/// `base_model.model.m.lora_A.default.weight` is `m.lora_A.weight`;
/// `base_model.model.score.modules_to_save.default.weight` is `score.weight`; `base_model.model.m.base_layer.bias` is
/// `m.bias`.
fn plain_name(name: &str) -> String {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    let mut parts: Vec<&str> = name.split('.').filter(|part| *part != "base_layer").collect();
    if let Some(at) = parts.iter().position(|part| *part == "modules_to_save") {
        let has_name = !parts.get(at + 1).is_some_and(|part| HEAD_PARTS.contains(part));
        parts.drain(at..(at + 1 + usize::from(has_name)).min(parts.len() - 1));
    }
    if let Some(at) = parts.iter().position(|part| matches!(*part, "lora_A" | "lora_B")) {
        parts.drain(at + 1..(parts.len() - 1).max(at + 1));
    }
    if let Some(at) = parts.iter().position(|part| matches!(*part, "lora_embedding_A" | "lora_embedding_B")) {
        parts.truncate(at + 1);
    }
    modern_name(&parts.join("."))
}

/// The possible file names of an adapter, whether or not they exist. Tokenizer files belong to it only if it has a
/// `tokenizer.json`.
pub(crate) fn file_names(files: &Files) -> Vec<&'static str> {
    let mut names = OWN_FILES.to_vec();
    if files.has(TOKENIZER_FILE) {
        names.push(TOKENIZER_FILE);
        names.extend(tokenizer_config::FILES);
    }
    names
}

/// PEFT's files, and the prompt.
const OWN_FILES: [&str; 3] = [peft::FILE, ADAPTER_FILE, LORANK_FILE];

/// The hash of an adapter's files.
pub(crate) fn digest(files: &Files) -> Result<Digest, ModelError> {
    let mut hasher = blake3::Hasher::new();
    for name in file_names(files) {
        let bytes = files.read(name)?;
        // The adapter's own files come first and always count; the others count if they exist.
        match bytes {
            None if !OWN_FILES.contains(&name) => continue,
            Some(_) if !OWN_FILES.contains(&name) => hasher.update(name.as_bytes()),
            _ => &mut hasher,
        };
        let bytes = bytes.unwrap_or_default();
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
        check("base_model.model.classifier.modules_to_save.dense.weight", "classifier.dense.weight");
        check("base_model.model.classifier.modules_to_save.default.out_proj.bias", "classifier.out_proj.bias");
        check("base_model.model.classifier.dense.lora_A.weight", "classifier.dense.lora_A.weight");
        check(
            "base_model.model.bert.encoder.layer.0.attention.self.query.base_layer.bias",
            "bert.encoder.layer.0.attention.self.query.bias",
        );
        check("base_model.model.model.embed_tokens.lora_embedding_A", "model.embed_tokens.lora_embedding_A");
        check("base_model.model.model.embed_tokens.lora_embedding_B.default", "model.embed_tokens.lora_embedding_B");
        check("base_model.model.q_proj.lora_B.bias", "q_proj.lora_B.bias");
        check("base_model.model.bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.weight");
    }
}
