//! The precision of a base model with each of its adapters, and the copies of the weights in these precisions.
//!
//! `auto` decides for each adapter, because an adapter decides how well int8 ranks; and an adapter may have a precision of its
//! own. Base models are therefore in memory once, and once more for each other precision while an adapter needs it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use lorank_core::{AdapterVersion, Digest, Precision};
use lorank_kernels::Isa;

use crate::int8_ranking::{Int8Ranking, Int8Rankings, MeasuredModel, ScoresToCompare};
use crate::load_model;
use crate::model::{BaseModel, ScoringModel};
use crate::precision::{ChosenPrecision, CpuProducts, Int8Effect, Int8Form};
use crate::weights::Weights;
use crate::{ForwardPass, LoadOptions, ModelError, PrecisionChoice};

/// The precision of a base model with each of its adapters.
#[derive(Debug)]
pub(crate) struct Precisions {
    /// The precision of the first copy.
    first: ChosenPrecision,
    /// The products of the CPU, if the kernels run on it; otherwise all adapters have the first copy's precision.
    cpu: Option<CpuProducts>,
    rankings: Int8Rankings,
    /// The form of int8.
    form: Int8Form,
    base: BaseModel,
    base_digest: Digest,
    options: LoadOptions,
    /// The copies in other precisions, while an adapter has them.
    others: Mutex<BTreeMap<Precision, Weak<dyn ScoringModel>>>,
}

impl Precisions {
    /// Loads a base model in the precision that it has without an adapter. `digest` computes its digest from the weights
    /// that were read.
    pub(crate) fn load(
        base: BaseModel,
        weights: &mut Weights,
        options: &LoadOptions,
        has_head: bool,
        digest: impl FnOnce(&Weights) -> Result<Digest, ModelError>,
    ) -> Result<(Self, Box<dyn ScoringModel>), ModelError> {
        let rankings = options.int8_rankings.clone().with_files(&base.files)?;
        // The digest is known once the weights are read, and the name nearly always gives the same answer.
        let guess = Int8Effect::Assumed(rankings.may_hold(&base.name));
        let model = load_model::load(base.clone(), weights, options, guess)?;
        let form = Int8Form::of(&base.architecture);
        let facts = model.facts();
        let is_fast_on_cpu = facts.device == "cpu" && options.pass == ForwardPass::Fast;
        let mut all = Self {
            first: facts.precision.clone(),
            cpu: is_fast_on_cpu.then(|| CpuProducts::of(Isa::detect(), form)),
            form,
            rankings,
            base,
            base_digest: digest(weights)?,
            options: options.clone(),
            others: Mutex::default(),
        };
        let right = match has_head {
            true => all.chosen(None, false),
            // It is never scored without an adapter, so it gets the precision that its adapters may have.
            false => all.chosen_for(
                options.precision,
                Int8Effect::Assumed(all.rankings.some_holds(all.base_digest, all.arithmetic())),
            ),
        };
        let is_right = right.precision == all.first.precision;
        all.first = right;
        let model = if is_right { model } else { all.read(weights, all.first.precision)? };
        Ok((all, model))
    }

    /// The form of int8.
    pub(crate) fn int8_form(&self) -> Int8Form {
        self.form
    }

    fn arithmetic(&self) -> &'static str {
        self.form.arithmetic(Isa::detect())
    }

    pub(crate) fn base_digest(&self) -> Digest {
        self.base_digest
    }

    /// The precision of the first copy.
    pub(crate) fn first(&self) -> &ChosenPrecision {
        &self.first
    }

    /// The precision of the base model with an adapter.
    pub(crate) fn chosen(&self, adapter: Option<&AdapterVersion>, merged: bool) -> ChosenPrecision {
        self.chosen_for(self.choice(adapter), self.effect(adapter, merged))
    }

    fn chosen_for(&self, choice: PrecisionChoice, int8: Int8Effect<'_>) -> ChosenPrecision {
        self.cpu.map_or_else(|| self.first.clone(), |cpu| choice.on_cpu(int8, cpu))
    }

    /// Rejects a precision of an adapter's own where there can be only one.
    pub(crate) fn check(&self, adapter: &AdapterVersion) -> Result<(), ModelError> {
        match self.choice(Some(adapter)) {
            PrecisionChoice::Fixed(precision) if self.cpu.is_none() && precision != self.first.precision => {
                let (adapter, first) = (adapter.id.clone(), self.first.precision);
                Err(ModelError::AdapterPrecision { adapter, precision, first })
            }
            _ => Ok(()),
        }
    }

    /// The requested precision.
    fn choice(&self, adapter: Option<&AdapterVersion>) -> PrecisionChoice {
        let own = adapter.and_then(|adapter| self.options.adapter_precisions.get(&adapter.id));
        own.copied().unwrap_or(self.options.precision)
    }

    fn effect(&self, adapter: Option<&AdapterVersion>, merged: bool) -> Int8Effect<'_> {
        self.ranking(adapter.map(|adapter| adapter.digest), merged).map_or(Int8Effect::Unmeasured, Int8Effect::Measured)
    }

    /// The measurement of the base model with an adapter.
    pub(crate) fn ranking(&self, adapter: Option<Digest>, merged: bool) -> Option<&Int8Ranking> {
        self.rankings.of(MeasuredModel { base: self.base_digest, adapter, merged, arithmetic: self.arithmetic() })
    }

    pub(crate) fn has_fast_int8(&self) -> bool {
        self.cpu.is_some_and(|cpu| cpu.int8)
    }

    /// What is wrong with int8 for a model that was asked for in int8.
    pub(crate) fn warning(&self, adapter: Option<&AdapterVersion>, merged: bool) -> Option<String> {
        let is_asked = self.cpu.is_some() && self.choice(adapter) == PrecisionChoice::Fixed(Precision::Int8);
        match self.effect(adapter, merged) {
            _ if !is_asked => None,
            effect => effect.warning(),
        }
    }

    /// The measurement that scores of both precisions give.
    pub(crate) fn compare(&self, model: &lorank_core::ModelVersion, queries: &[ScoresToCompare]) -> Int8Ranking {
        let model = lorank_core::ModelVersion { base_model: self.base.name.clone(), ..model.clone() };
        Int8Ranking::compare(&model, self.arithmetic(), Isa::detect(), queries)
    }

    /// The copy of the weights in a precision; `None` for the first copy. Loads it if no adapter has it.
    pub(crate) fn copy_in(&self, precision: Precision) -> Result<Option<Arc<dyn ScoringModel>>, ModelError> {
        if precision == self.first.precision {
            return Ok(None);
        }
        // Under the lock, so that two adapters that are loaded at once share the copy.
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(copy) = others.get(&precision).and_then(Weak::upgrade) {
            return Ok(Some(copy));
        }
        let mut weights = self.base.architecture.open_weights(&self.base.files)?;
        let copy: Arc<dyn ScoringModel> = Arc::from(self.read(&mut weights, precision)?);
        others.insert(precision, Arc::downgrade(&copy));
        tracing::info!(base_model = self.base.name, %precision, n_bytes = copy.facts().n_bytes, "loaded one more copy");
        Ok(Some(copy))
    }

    /// The memory of the copies in other precisions, in bytes.
    pub(crate) fn bytes_of_copies(&self) -> usize {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.values().filter_map(Weak::upgrade).map(|copy| copy.facts().n_bytes).sum()
    }

    fn read(&self, weights: &mut Weights, precision: Precision) -> Result<Box<dyn ScoringModel>, ModelError> {
        let device = crate::DeviceChoice::Cpu;
        let options = LoadOptions { precision: precision.into(), device, ..self.options.clone() };
        load_model::load(self.base.clone(), weights, &options, Int8Effect::Unmeasured)
    }
}
