//! The architectures, as one.

use crate::ModelError;
use crate::bert::{self, Bert};
use crate::config::Architecture;
use crate::engine::Rows;
use crate::linear::{HeadSpec, Loader};
use crate::llama::{self, Llama};
use crate::pack::Scored;
use crate::pass::Pass;
use crate::{Pair, Prompt};

/// A base model without its head.
#[derive(Debug)]
pub(crate) enum Network {
    Llama(Llama),
    Bert(Bert),
}

impl Network {
    pub(crate) fn load(
        architecture: Architecture,
        pad_token_id: Option<u32>,
        from: &mut Loader<'_>,
    ) -> Result<Self, ModelError> {
        match architecture {
            Architecture::Llama(settings) => Llama::load(settings, pad_token_id, from).map(Self::Llama),
            Architecture::Bert(config) => Bert::load(config, from).map(Self::Bert),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Llama(_) => "llama",
            Self::Bert(_) => "bert",
        }
    }

    pub(crate) fn head_spec(&self) -> HeadSpec {
        match self {
            Self::Llama(_) => llama::HEAD,
            Self::Bert(_) => bert::HEAD,
        }
    }

    pub(crate) fn prompt(&self) -> Prompt {
        match self {
            Self::Llama(_) => Prompt::llama(),
            Self::Bert(bert) => Prompt::bert(bert.max_position_embeddings()),
        }
    }

    pub(crate) fn hidden_size(&self) -> usize {
        match self {
            Self::Llama(llama) => llama.hidden_size(),
            Self::Bert(bert) => bert.hidden_size(),
        }
    }

    pub(crate) fn max_position_embeddings(&self) -> usize {
        match self {
            Self::Llama(llama) => llama.max_position_embeddings(),
            Self::Bert(bert) => bert.max_position_embeddings(),
        }
    }

    /// The bytes that the linear layers and the embeddings take in memory.
    pub(crate) fn n_bytes(&self) -> usize {
        match self {
            Self::Llama(llama) => llama.n_bytes(),
            Self::Bert(bert) => bert.n_bytes(),
        }
    }

    /// How many token ids have an embedding.
    pub(crate) fn n_tokens_known(&self) -> usize {
        match self {
            Self::Llama(llama) => llama.n_tokens_known(),
            Self::Bert(bert) => bert.n_tokens_known(),
        }
    }

    /// The first token of a pair that has no embedding: the tokenizer knows more than the model.
    pub(crate) fn unknown_token(&self, pair: &Pair) -> Option<u32> {
        let n_known = self.n_tokens_known();
        pair.ids.iter().copied().find(|id| *id as usize >= n_known)
    }

    /// Which token of a pair is scored.
    pub(crate) fn scored(&self) -> Scored {
        match self {
            Self::Llama(llama) => llama.scored(),
            Self::Bert(_) => bert::SCORED,
        }
    }

    /// The states that a head reads, [n_entries, hidden].
    pub(crate) fn scored_states(&self, pass: &Pass<'_>) -> candle_core::Result<Rows> {
        match self {
            Self::Llama(llama) => llama.scored_states(pass),
            Self::Bert(bert) => bert.scored_states(pass),
        }
    }
}
