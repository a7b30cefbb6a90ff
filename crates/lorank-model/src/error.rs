//! Errors of loading and running models.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use lorank_core::{AdapterId, BoxError, DocumentId, ErrorKind, Precision};

/// An error of loading or running a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The folder does not exist.
    #[error("no model folder at `{}`", path.display())]
    NoFolder {
        /// The folder's path.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file's path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("could not write `{}`", path.display())]
    Write {
        /// The file's path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A base model whose score is made of the logits of tokens, for which no adapter can be trained.
    #[error(
        "no adapter can be trained for the base model `{base}`, whose score is made of the logits of tokens (`score_tokens`)"
    )]
    TokenHead {
        /// The base model's name.
        base: String,
    },
    /// A base model whose head has several labels, for which no adapter can be trained.
    #[error("no adapter can be trained for the base model `{base}`, whose head has {n_labels} labels")]
    LabeledHead {
        /// The base model's name.
        base: String,
        /// The number of labels.
        n_labels: usize,
    },
    /// A target of a new adapter matches no linear layer.
    #[error("the base model `{base}` has no linear layer `{target}` to train; it has {known}")]
    NoTarget {
        /// The target.
        target: String,
        /// The base model's name.
        base: String,
        /// The last parts of the linear layers' names.
        known: String,
    },
    /// A file is not a regular file.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// The file's path.
        path: PathBuf,
    },
    /// A file is a link that leads out of its folder.
    #[error("`{}` is a link that leads out of its folder; replace it by the file itself", path.display())]
    LeavesFolder {
        /// The link's path.
        path: PathBuf,
    },
    /// A file that is read as a whole exceeds the size limit.
    #[error("`{}` exceeds the limit of {bytes_max} bytes", path.display())]
    FileTooLarge {
        /// The file's path.
        path: PathBuf,
        /// The limit, in bytes.
        bytes_max: u64,
    },
    /// A required file is missing.
    #[error("`{folder}` has no `{file}`; {hint}")]
    MissingFile {
        /// The folder's name.
        folder: String,
        /// The missing file.
        file: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The weights exist only as a pickle.
    #[error(
        "`{folder}` has its weights as a pickle (`{file}`), which can run code when opened and is therefore not read; \
         convert them to safetensors (in Python: `model.save_pretrained(folder, safe_serialization=True)`)"
    )]
    PickleRefused {
        /// The folder's name.
        folder: String,
        /// The pickle file.
        file: String,
    },
    /// The weights exist only as a GGUF file.
    #[error(
        "`{folder}` has its weights as a GGUF file (`{file}`), which is not read; use the repository of safetensors \
         that it was made from, or convert it (in Python: `AutoModelForCausalLM.from_pretrained(folder, \
         gguf_file=\"{file}\").save_pretrained(new_folder)`, and the same with `AutoTokenizer`)"
    )]
    GgufRefused {
        /// The folder's name.
        folder: String,
        /// The GGUF file.
        file: String,
    },
    /// A JSON file is invalid.
    #[error("could not parse `{file}` of `{folder}`")]
    Config {
        /// The folder's name.
        folder: String,
        /// The file name.
        file: &'static str,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// A setting that is not supported.
    #[error("`{file}` of `{folder}` asks for {what}, which is not supported{hint}")]
    Unsupported {
        /// The folder's name.
        folder: String,
        /// The file name.
        file: &'static str,
        /// The setting with its value.
        what: String,
        /// What is supported, or what to do.
        hint: String,
    },
    /// A model with an unsupported architecture.
    #[error("`{folder}` is {found}{nearest}; the supported architectures are {known}")]
    UnknownArchitecture {
        /// The folder's name.
        folder: String,
        /// The `model_type` and `architectures` found.
        found: String,
        /// The supported architecture with the nearest name, in parentheses, or nothing.
        nearest: String,
        /// The supported architectures.
        known: &'static str,
    },
    /// A safetensors file is damaged.
    #[error("`{file}` is not a valid safetensors file: {why}")]
    Corrupt {
        /// The file name.
        file: String,
        /// A description of the damage.
        why: String,
    },
    /// A tensor is missing.
    #[error("`{file}` has no tensor `{tensor}`")]
    MissingTensor {
        /// The file, or the folder of a sharded model.
        file: String,
        /// The tensor's name.
        tensor: String,
    },
    /// A tensor's shape differs from the configuration.
    #[error("tensor `{tensor}` of `{file}` has shape {found:?}, but {expected:?} was expected")]
    Shape {
        /// The file, or the folder of a sharded model.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The expected shape.
        expected: Vec<usize>,
        /// The shape found.
        found: Vec<usize>,
    },
    /// A tensor has an unsupported element type.
    #[error(
        "tensor `{tensor}` of `{file}` has the element type {found}; supported are F32, F16, BF16, and 8-bit \
         integers with a scale"
    )]
    ElementType {
        /// The file, or the folder of a sharded model.
        file: String,
        /// The tensor's name.
        tensor: String,
        /// The element type found.
        found: String,
    },
    /// A weight is NaN or infinite.
    #[error("tensor `{tensor}` of `{file}` contains NaN or infinity; its training run has failed")]
    NotFiniteWeight {
        /// The file, or the folder of a sharded model.
        file: String,
        /// The tensor's name.
        tensor: String,
    },
    /// The adapter is not a LoRA adapter.
    #[error("`{folder}` is not a LoRA adapter: its `peft_type` is `{found}`")]
    NotLora {
        /// The folder's name.
        folder: String,
        /// The `peft_type` found.
        found: String,
    },
    /// The adapter was trained on another base model, which the options do not allow.
    #[error("adapter `{adapter}` was trained on `{expected}`, but the base model is `{found}`")]
    OtherBase {
        /// The adapter's id.
        adapter: AdapterId,
        /// The base model that the adapter was trained on.
        expected: String,
        /// The loaded base model.
        found: String,
    },
    /// No base model was given.
    #[error("no base model is given; at least one is needed")]
    NoBases,
    /// Two base models have the same name.
    #[error("two base models have the name `{name}`; give them different names with `NAME=BASE`")]
    DuplicateBaseName {
        /// The name.
        name: String,
    },
    /// A base model has no name that another one does not have.
    #[error("the base model `{base}` has no name of its own that requests could use; give it one with `NAME=BASE`")]
    BaseWithoutName {
        /// The model's name.
        base: String,
    },
    /// Two base models have the same files.
    #[error("the base models `{one}` and `{other}` are the same model; give each model once")]
    SameBase {
        /// The first one's name.
        one: String,
        /// The second one's name.
        other: String,
    },
    /// No base model has this name.
    #[error("no base model `{name}` is loaded; {known}")]
    UnknownBaseName {
        /// The name.
        name: AdapterId,
        /// A description of the loaded base models.
        known: String,
    },
    /// A model version is of a base model that is not loaded.
    #[error("no base model `{base}` of this version is loaded; {known}")]
    UnknownBase {
        /// The base model's name.
        base: String,
        /// A description of the loaded base models.
        known: String,
    },
    /// An adapter fits none of several base models.
    #[error("adapter `{adapter}` fits none of the base models: {why}")]
    FitsNoBase {
        /// The adapter's id.
        adapter: AdapterId,
        /// The reason for each base model.
        why: String,
    },
    /// An adapter fits several base models, and its configuration names none of them.
    #[error(
        "adapter `{adapter}` fits the base models {bases}, and its configuration does not say which one it was trained \
         on; name the base model"
    )]
    FitsSeveralBases {
        /// The adapter's id.
        adapter: AdapterId,
        /// The base models' names.
        bases: String,
    },
    /// The adapter's targets or tensors do not match the base model.
    #[error("adapter `{adapter}` does not fit the base model `{base}`: {why}")]
    Misfit {
        /// The adapter's id.
        adapter: AdapterId,
        /// The base model's name.
        base: String,
        /// A description of the mismatch.
        why: String,
    },
    /// Neither the base model nor the adapter has a score head.
    #[error(
        "{model} has no score head (`{head}`); a base model without one needs an adapter with a head \
         (`modules_to_save`), or a causal one the `score_tokens` of a `lorank.json`"
    )]
    MissingHead {
        /// The base model, and the adapter if there is one.
        model: String,
        /// The head's tensor.
        head: &'static str,
    },
    /// The tokens of a score head are invalid.
    #[error("`score_tokens` of `{folder}` is invalid: {why}")]
    ScoreTokens {
        /// The folder's name.
        folder: String,
        /// What is wrong with it.
        why: String,
    },
    /// The label of a score head is invalid.
    #[error("`score_label` of `{folder}` is invalid: {why}")]
    ScoreLabel {
        /// The folder's name.
        folder: String,
        /// What is wrong with it.
        why: String,
    },
    /// The score head has several labels, and none of them is named.
    #[error(
        "the score head of `{folder}` has {n_labels} labels, and no file names the one to rank by; set `score_label` in \
         `lorank.json`: {labels}"
    )]
    UnnamedLabel {
        /// The folder's name.
        folder: String,
        /// The number of labels.
        n_labels: usize,
        /// A description of the labels.
        labels: String,
    },
    /// The adapter is not loaded.
    #[error("no adapter `{adapter}` is loaded; {known}")]
    UnknownAdapter {
        /// The requested adapter.
        adapter: AdapterId,
        /// A description of the loaded adapters.
        known: String,
    },
    /// The adapter was replaced by another one of the same name after the model was resolved.
    #[error("adapter `{adapter}` has been replaced by another version; retry the request")]
    Replaced {
        /// The requested adapter.
        adapter: AdapterId,
    },
    /// A template or length in `lorank.json`, or a requested maximum length, is invalid.
    #[error("{what} of `{folder}` is invalid: {why}")]
    Prompt {
        /// The folder's name.
        folder: String,
        /// The setting's name.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The tokenizer could not be read or could not encode a text.
    #[error("the tokenizer of `{folder}` failed")]
    Tokenizer {
        /// The folder's name.
        folder: String,
        /// The cause.
        #[source]
        source: tokenizers::Error,
    },
    /// The model produced a score that is not finite.
    #[error("the model's score {score} for document `{document}` is not a finite number")]
    NotFiniteScore {
        /// The document's id.
        document: DocumentId,
        /// The score.
        score: f32,
    },
    /// A query and a document have no tokens.
    #[error(
        "query and document `{document}` are both empty, and the tokenizer adds no special tokens, so there is \
         nothing to score"
    )]
    NoTokens {
        /// The document's id.
        document: DocumentId,
    },
    /// The tokenizer produced a token without an embedding in the model.
    #[error(
        "document `{document}` or its query has the token {token}, but the model has only {n_known} tokens; \
         `tokenizer.json` and the weights belong to different models"
    )]
    UnknownToken {
        /// The document's id.
        document: DocumentId,
        /// The token's id.
        token: u32,
        /// The number of tokens with an embedding.
        n_known: usize,
    },
    /// The precision is not supported.
    #[error("the precision `{precision}` cannot be used: {why}")]
    Precision {
        /// The requested precision.
        precision: Precision,
        /// The reason.
        why: &'static str,
    },
    /// An adapter has a precision of its own, but the base model's copies in other precisions are only for the kernels.
    #[error(
        "adapter `{adapter}` cannot have the precision `{precision}`: on a GPU, in the reference pass and in training, all \
         adapters have the base model's, which is `{first}` here"
    )]
    AdapterPrecision {
        /// The adapter.
        adapter: AdapterId,
        /// The precision requested for it.
        precision: Precision,
        /// The precision of the base model.
        first: Precision,
    },
    /// The device cannot be used.
    #[error("device `{device}` cannot be used; {hint}")]
    Device {
        /// The requested device.
        device: String,
        /// What is missing, or what to do.
        hint: Cow<'static, str>,
        /// The driver's message, if there is one.
        #[source]
        source: Option<BoxError>,
    },
    /// Every GPU has failed.
    #[error("no GPU is left that could run the model ({failures}); restart the process")]
    NoGpuLeft {
        /// The GPUs, and why each failed.
        failures: String,
    },
    /// The backend failed. All pairs of the forward pass have the same error.
    #[error("the forward pass failed")]
    Compute(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The adapter was loaded on another base model instance.
    #[error("adapter `{adapter}` was loaded on another base model instance; load it on the one that scores")]
    OtherModel {
        /// The adapter's id.
        adapter: AdapterId,
    },
    /// A file could not be downloaded from the hub.
    #[error("could not download `{file}` of `{repository}` from the hub; {hint}")]
    Hub {
        /// The repository's name, with its revision.
        repository: String,
        /// The file name.
        file: String,
        /// What to do.
        hint: &'static str,
        /// The cause.
        #[source]
        source: Option<hf_hub::api::sync::ApiError>,
    },
    /// A text that is not a valid model source.
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
            Self::NoFolder { .. }
            | Self::UnknownAdapter { .. }
            | Self::UnknownBase { .. }
            | Self::UnknownBaseName { .. }
            | Self::NoTarget { .. } => ErrorKind::NotFound,
            Self::PickleRefused { .. }
            | Self::GgufRefused { .. }
            | Self::Unsupported { .. }
            | Self::UnknownArchitecture { .. }
            | Self::TokenHead { .. }
            | Self::LabeledHead { .. }
            | Self::UnnamedLabel { .. }
            | Self::AdapterPrecision { .. }
            | Self::Precision { .. }
            | Self::NotLora { .. } => ErrorKind::UnsupportedFormat,
            Self::FileTooLarge { .. } => ErrorKind::TooLarge,
            Self::Device { .. } | Self::NoGpuLeft { .. } | Self::Hub { .. } | Self::Replaced { .. } => {
                ErrorKind::Unavailable
            }
            Self::NotFiniteScore { .. } | Self::Compute(_) | Self::Read { .. } => ErrorKind::Internal,
            Self::Corrupt { .. } | Self::Config { .. } | Self::Source { .. } => ErrorKind::Malformed,
            _ => ErrorKind::Invalid,
        }
    }
}
