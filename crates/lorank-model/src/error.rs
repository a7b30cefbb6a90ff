//! What can go wrong between a model folder and a score.

use std::path::PathBuf;
use std::sync::Arc;

use lorank_core::{AdapterId, BoxError, DocumentId, ErrorKind, Precision};

/// An error of loading or running a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The folder is not there.
    #[error("no model folder at `{}`", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something that is not a regular file stands in the place of one.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// Its path.
        path: PathBuf,
    },
    /// A file is a link to somewhere else.
    #[error("`{}` is a link that leads out of its folder; put the file itself there", path.display())]
    LeavesFolder {
        /// The link.
        path: PathBuf,
    },
    /// A file that is read as a whole is larger than any such file has reason to be.
    #[error("`{}` has more than {bytes_max} bytes, which is the limit", path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        bytes_max: u64,
    },
    /// A file that every such folder has is missing.
    #[error("`{folder}` has no `{file}`; {hint}")]
    MissingFile {
        /// The folder.
        folder: String,
        /// The file.
        file: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The weights are only there as a pickle.
    #[error(
        "`{folder}` holds its weights as a pickle (`{file}`), which runs code when it is opened and is never read; \
         convert them to safetensors (in Python: `model.save_pretrained(folder, safe_serialization=True)`)"
    )]
    PickleRefused {
        /// The folder.
        folder: String,
        /// The pickle.
        file: String,
    },
    /// A JSON file does not say what it must.
    #[error("`{file}` of `{folder}` could not be understood")]
    Config {
        /// The folder.
        folder: String,
        /// The file.
        file: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A setting that this version does not implement.
    #[error("`{file}` of `{folder}` asks for {what}, which is not supported{hint}")]
    Unsupported {
        /// The folder.
        folder: String,
        /// The file.
        file: &'static str,
        /// The setting and its value.
        what: String,
        /// What is supported, or what to do.
        hint: String,
    },
    /// A model of another architecture.
    #[error("`{folder}` is a `{found}` model; the architectures known here are {known}")]
    UnknownArchitecture {
        /// The folder.
        folder: String,
        /// The `model_type` and `architectures` found.
        found: String,
        /// Those that are known.
        known: &'static str,
    },
    /// A safetensors file is broken.
    #[error("`{file}` is not a whole safetensors file: {why}")]
    Corrupt {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// A tensor is missing.
    #[error("`{file}` has no tensor `{tensor}`")]
    MissingTensor {
        /// The file, or the folder of a sharded model.
        file: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor `{tensor}` of `{file}` has shape {found:?}, but {expected:?} was expected")]
    Shape {
        /// The file, or the folder of a sharded model.
        file: String,
        /// The tensor.
        tensor: String,
        /// The expected shape.
        expected: Vec<usize>,
        /// The shape found.
        found: Vec<usize>,
    },
    /// A tensor has an element type that weights do not come in.
    #[error(
        "tensor `{tensor}` of `{file}` has the element type {found}; weights are read as F32, F16, BF16, or 8-bit integers with a scale"
    )]
    ElementType {
        /// The file, or the folder of a sharded model.
        file: String,
        /// The tensor.
        tensor: String,
        /// The element type found.
        found: String,
    },
    /// A weight is NaN or infinite.
    #[error("tensor `{tensor}` of `{file}` holds a NaN or an infinity; the training run that wrote it went wrong")]
    NotFiniteWeight {
        /// The file, or the folder of a sharded model.
        file: String,
        /// The tensor.
        tensor: String,
    },
    /// The folder's adapter is not a LoRA.
    #[error("`{folder}` is not a LoRA adapter: its `peft_type` is `{found}`")]
    NotLora {
        /// The folder.
        folder: String,
        /// The `peft_type` found.
        found: String,
    },
    /// The adapter was trained on another base model, and the caller wants that refused.
    #[error("adapter `{adapter}` was trained on `{expected}`, but the base model is `{found}`")]
    OtherBase {
        /// The adapter.
        adapter: AdapterId,
        /// The base model that it names.
        expected: String,
        /// The base model that is loaded.
        found: String,
    },
    /// The adapter's targets and its tensors disagree with the base model.
    #[error("adapter `{adapter}` does not fit the base model `{base}`: {why}")]
    Misfit {
        /// The adapter.
        adapter: AdapterId,
        /// The base model.
        base: String,
        /// How it does not fit.
        why: String,
    },
    /// Neither the base model nor the adapter has a score head.
    #[error(
        "{model} has no score head (`{head}`); a base model without one needs an adapter that brings it (`modules_to_save`)"
    )]
    MissingHead {
        /// The base model, and the adapter where there is one.
        model: String,
        /// The tensor of the head.
        head: &'static str,
    },
    /// The adapter is not loaded.
    #[error("no adapter `{adapter}` is loaded; {known}")]
    UnknownAdapter {
        /// The adapter that was asked for.
        adapter: AdapterId,
        /// Those that are loaded, as a phrase.
        known: String,
    },
    /// The adapter was replaced by another of the same name after the model had been chosen.
    #[error("adapter `{adapter}` was replaced by another version meanwhile; ask again")]
    Replaced {
        /// The adapter that was asked for.
        adapter: AdapterId,
    },
    /// The templates or lengths of `lorank.json`, or a given maximum length, make no sense.
    #[error("{what} of `{folder}` cannot be used: {why}")]
    Prompt {
        /// The folder.
        folder: String,
        /// The setting.
        what: String,
        /// Why.
        why: String,
    },
    /// The tokenizer could not be read or could not encode a text.
    #[error("the tokenizer of `{folder}` failed")]
    Tokenizer {
        /// The folder.
        folder: String,
        /// Why.
        #[source]
        source: tokenizers::Error,
    },
    /// The model gave a score that is not a number.
    #[error("the model gave the score {score} to document `{document}`, which is not a finite number")]
    NotFiniteScore {
        /// The document.
        document: DocumentId,
        /// The score.
        score: f32,
    },
    /// A query and a document made no token at all.
    #[error(
        "query and document `{document}` are both empty and the tokenizer adds no special token, so there is nothing to score"
    )]
    NoTokens {
        /// The document.
        document: DocumentId,
    },
    /// The tokenizer gave a token that the model has no embedding for.
    #[error(
        "document `{document}` or its query has the token {token}, but the model knows {n_known} tokens; \
         `tokenizer.json` and the weights are not of one model"
    )]
    UnknownToken {
        /// The document.
        document: DocumentId,
        /// The token's id.
        token: u32,
        /// How many the model has embeddings for.
        n_known: usize,
    },
    /// The arithmetic is not to be had here.
    #[error("the precision `{precision}` cannot be used: {why}")]
    Precision {
        /// The arithmetic that was asked for.
        precision: Precision,
        /// Why not.
        why: &'static str,
    },
    /// The device cannot be used.
    #[error("device `{device}` cannot be used; {hint}")]
    Device {
        /// The device that was asked for.
        device: String,
        /// What to do.
        hint: &'static str,
        /// Why, where the driver said so.
        #[source]
        source: Option<BoxError>,
    },
    /// The backend failed to compute. All pairs of a forward pass have one error.
    #[error("the forward pass failed")]
    Compute(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The adapter is of another base model in memory than the one that it is to be used with.
    #[error("adapter `{adapter}` was loaded on another base model in memory; load it on the one that scores")]
    OtherModel {
        /// The adapter.
        adapter: AdapterId,
    },
    /// A file could not be fetched from the hub.
    #[error("could not fetch `{file}` of `{repository}` from the hub; {hint}")]
    Hub {
        /// The repository, with its revision.
        repository: String,
        /// The file.
        file: String,
        /// What to do.
        hint: &'static str,
        /// Why.
        #[source]
        source: Option<hf_hub::api::sync::ApiError>,
    },
    /// A text that names no model source.
    #[error("`{found}` is not a model source; write a folder's path or `hf://owner/name[@revision]`")]
    Source {
        /// The text.
        found: String,
    },
}

impl ModelError {
    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoFolder { .. } | Self::UnknownAdapter { .. } => ErrorKind::NotFound,
            Self::PickleRefused { .. }
            | Self::Unsupported { .. }
            | Self::UnknownArchitecture { .. }
            | Self::Precision { .. }
            | Self::NotLora { .. } => ErrorKind::UnsupportedFormat,
            Self::FileTooLarge { .. } => ErrorKind::TooLarge,
            Self::Device { .. } | Self::Hub { .. } | Self::Replaced { .. } => ErrorKind::Unavailable,
            Self::NotFiniteScore { .. } | Self::Compute(_) | Self::Read { .. } => ErrorKind::Internal,
            Self::Corrupt { .. } | Self::Config { .. } | Self::Source { .. } => ErrorKind::Malformed,
            _ => ErrorKind::Invalid,
        }
    }
}
