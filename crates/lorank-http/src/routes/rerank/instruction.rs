//! The instruction of a rerank request.

use lorank_core::with_causes;

use crate::ServerError;

/// What the model shall judge, and the key of the request that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instruction {
    key: &'static str,
    text: String,
}

impl Instruction {
    /// The instruction of a key. An empty text counts as none, as clients send it by default.
    pub(super) fn of(key: &'static str, text: Option<String>) -> Option<Self> {
        text.filter(|text| !text.is_empty()).map(|text| Self { key, text })
    }

    /// The instruction of one of two keys.
    pub(super) fn of_one(
        key: &'static str,
        text: Option<String>,
        other_key: &'static str,
        other_text: Option<String>,
    ) -> Result<Option<Self>, ServerError> {
        match (Self::of(key, text), Self::of(other_key, other_text)) {
            (Some(one), Some(other)) if one.text != other.text => {
                let problem = format!("contradicts `{key}`; send one of them");
                Err(ServerError::InvalidValue { field: other_key.to_owned(), problem })
            }
            (one, other) => Ok(one.or(other)),
        }
    }

    /// The text of an instruction, for a query.
    pub(super) fn text(instruction: Option<&Self>) -> Option<String> {
        instruction.map(|instruction| instruction.text.clone())
    }

    /// An error about the instruction, with the key of the request.
    pub(super) fn name_in(error: ServerError, instruction: Option<&Self>) -> ServerError {
        match instruction.filter(|it| error.field() == Some("instruction") && it.key != "instruction") {
            Some(instruction) => {
                let problem = format!("cannot be used: {}", with_causes(&error));
                ServerError::InvalidValue { field: instruction.key.to_owned(), problem }
            }
            None => error,
        }
    }
}
