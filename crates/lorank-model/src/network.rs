//! The architectures behind one type: their properties, and their weights on a backend.

use crate::backend::Backend;
use crate::bert::{self, Bert};
use crate::config::{Architecture, BertSettings, BertVariant, Direction, LlamaSettings, LlamaVariant, StatePooling};
use crate::files::Files;
use crate::gte::{self, Gte};
use crate::head::HeadSpec;
use crate::llama::{self, Llama};
use crate::loader::Loader;
use crate::modernbert::{self, ModernBert};
use crate::pack::Scored;
use crate::pass::Pass;
use crate::score_tokens::TokenLogits;
use crate::weights::{ModuleTensors, Prefix, Weights};
use crate::{ModelError, Prompt};

/// The prompt of Llama-Nemotron rerankers, from the card of nvidia/llama-nemotron-rerank-1b-v2.
const NEMOTRON_TEMPLATE: &str = "question:{query} \n \n passage:{document}";

/// Their maximum length, from the same card.
const NEMOTRON_LENGTH: usize = 8192;

impl Architecture {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Llama(settings) => settings.variant.name(),
            Self::Bert(config) => match config.variant {
                BertVariant::Bert => "bert",
                BertVariant::Roberta { model_type, .. } => model_type,
                BertVariant::DistilBert => "distilbert",
                BertVariant::Electra { .. } => "electra",
            },
            Self::ModernBert(_) => "modernbert",
            Self::Gte(_) => "new",
        }
    }

    pub(crate) fn head_spec(&self) -> HeadSpec {
        match self {
            Self::Llama(_) => llama::HEAD,
            Self::Bert(config) => bert::head_spec(config.variant),
            Self::ModernBert(settings) => modernbert::head_spec(settings),
            Self::Gte(_) => gte::HEAD,
        }
    }

    /// The default prompt. A pair is limited by the model's positions and its tokenizer's `model_max_length`, as in
    /// sentence-transformers' `CrossEncoder`.
    pub(crate) fn prompt(&self, model_max_length: Option<usize>) -> Prompt {
        let positions = self.max_position_embeddings();
        let prompt = match self {
            Self::Llama(settings) if settings.variant == LlamaVariant::Llama => Prompt::llama(),
            Self::Llama(settings) if settings.variant == LlamaVariant::Bidirectional => Prompt::pair(NEMOTRON_LENGTH),
            Self::Llama(_) | Self::Bert(_) | Self::ModernBert(_) | Self::Gte(_) => Prompt::pair(positions),
        };
        let max_length = prompt.max_length().min(positions).min(model_max_length.unwrap_or(positions));
        prompt.with_max_length(max_length)
    }

    /// The template of the text that is the default prompt, for models that read query and document as one text, to which
    /// the tokenizer adds its special tokens.
    pub(crate) fn text_template(&self) -> Option<&'static str> {
        match self {
            Self::Llama(settings) if settings.variant == LlamaVariant::Bidirectional => Some(NEMOTRON_TEMPLATE),
            Self::Llama(_) | Self::Bert(_) | Self::ModernBert(_) | Self::Gte(_) => None,
        }
    }

    /// The divisor of the logits.
    pub(crate) fn temperature(&self) -> f32 {
        match self {
            Self::Llama(LlamaSettings { direction: Direction::Both { temperature, .. }, .. }) => *temperature,
            Self::Llama(_) | Self::Bert(_) | Self::ModernBert(_) | Self::Gte(_) => 1.0,
        }
    }

    /// The matrix of a causal model that computes the logit of each token; `None` for encoders.
    pub(crate) fn token_logits(&self) -> Option<TokenLogits> {
        let Self::Llama(settings) = self else { return None };
        (settings.direction == Direction::Causal).then_some(TokenLogits {
            is_tied: settings.ties_embeddings,
            n_tokens: settings.numbers.vocab_size,
            hidden: settings.numbers.hidden_size,
        })
    }

    pub(crate) fn hidden_size(&self) -> usize {
        match self {
            Self::Llama(settings) => settings.numbers.hidden_size,
            Self::Bert(config) => config.hidden_size,
            Self::ModernBert(settings) => settings.hidden_size,
            Self::Gte(settings) => settings.hidden_size,
        }
    }

    pub(crate) fn max_position_embeddings(&self) -> usize {
        match self {
            Self::Llama(settings) => settings.numbers.max_position_embeddings,
            Self::Bert(config) => config.n_positions(),
            Self::ModernBert(settings) => settings.max_position_embeddings,
            Self::Gte(settings) => settings.max_position_embeddings,
        }
    }

    /// The number of token ids with an embedding.
    pub(crate) fn vocab_size(&self) -> usize {
        match self {
            Self::Llama(settings) => settings.numbers.vocab_size,
            Self::Bert(config) => config.vocab_size,
            Self::ModernBert(settings) => settings.vocab_size,
            Self::Gte(settings) => settings.vocab_size,
        }
    }

    /// The number of token types with an embedding; `None` if types are not used.
    pub(crate) fn n_types(&self) -> Option<usize> {
        match self {
            Self::Llama(_) | Self::ModernBert(_) => None,
            Self::Bert(BertSettings { variant: BertVariant::DistilBert, .. }) => None,
            Self::Bert(config) => Some(config.type_vocab_size),
            Self::Gte(settings) => Some(settings.type_vocab_size).filter(|n_types| *n_types > 0),
        }
    }

    /// The prefix that tensor names of a backbone-only checkpoint lack, and how these names start.
    pub(crate) fn prefix(&self) -> Prefix {
        match self {
            Self::Llama(_) => Prefix { prefix: "model.", names: &["embed_tokens.", "layers.", "norm."] },
            Self::Bert(config) => bert::prefix(config.variant),
            Self::ModernBert(_) => modernbert::PREFIX,
            Self::Gte(_) => gte::PREFIX,
        }
    }

    /// The tensors of a head in the folders of sentence-transformers' modules.
    pub(crate) fn module_tensors(&self) -> &[ModuleTensors] {
        match self {
            Self::Llama(_) | Self::Bert(_) | Self::Gte(_) => &[],
            Self::ModernBert(settings) => &settings.head.tensors,
        }
    }

    /// Opens a base model's weights.
    pub(crate) fn open_weights(&self, files: &Files) -> Result<Weights, ModelError> {
        Weights::of_base(files, self.prefix(), self.module_tensors())
    }

    /// Which token of a pair is scored. A model with another pooling keeps the first token too.
    pub(crate) fn scored(&self) -> Scored {
        match self {
            Self::Llama(settings) => match settings.direction {
                Direction::Causal => Scored::Last,
                Direction::Both { pooling: StatePooling::Last, .. } => Scored::LastOfAll,
                Direction::Both { pooling: StatePooling::First | StatePooling::Mean, .. } => Scored::First,
            },
            Self::Bert(_) | Self::ModernBert(_) | Self::Gte(_) => Scored::First,
        }
    }
}

/// The weights of a base model without its head.
#[derive(Debug)]
pub(crate) enum Network<B: Backend> {
    Llama(Llama<B>),
    Bert(Bert<B>),
    ModernBert(ModernBert<B>),
    Gte(Gte<B>),
}

impl<B: Backend> Network<B> {
    pub(crate) fn load(architecture: &Architecture, from: &mut Loader<'_, B>) -> Result<Self, ModelError> {
        match architecture {
            Architecture::Llama(settings) => Llama::load(settings, from).map(Self::Llama),
            Architecture::Bert(config) => Bert::load(config, from).map(Self::Bert),
            Architecture::ModernBert(settings) => ModernBert::load(settings, from).map(Self::ModernBert),
            Architecture::Gte(settings) => Gte::load(settings, from).map(Self::Gte),
        }
    }

    /// The memory of the linear layers and embeddings, in bytes.
    pub(crate) fn n_bytes(&self) -> usize {
        match self {
            Self::Llama(llama) => llama.n_bytes(),
            Self::Bert(bert) => bert.n_bytes(),
            Self::ModernBert(bert) => bert.n_bytes(),
            Self::Gte(gte) => gte.n_bytes(),
        }
    }

    /// The states for the head: [n_entries, hidden].
    pub(crate) fn scored_states(&self, pass: &Pass<'_, B>) -> Result<B::Rows, B::Error> {
        match self {
            Self::Llama(llama) => llama.scored_states(pass),
            Self::Bert(bert) => bert.scored_states(pass),
            Self::ModernBert(bert) => bert.scored_states(pass),
            Self::Gte(gte) => gte.scored_states(pass),
        }
    }
}
