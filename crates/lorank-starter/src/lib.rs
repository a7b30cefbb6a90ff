//! The built-in data of `lorank`: a small base model, two LoRA adapters and a small corpus, compiled into the program,
//! so that a first search needs no download.
//!
//! The crate is *not* a model zoo and reads no files: it contains bytes, under the file names of a Hugging Face folder
//! (the models) and a BEIR folder (the corpus). `lorank-model` loads the former, `lorank-tantivy` indexes the latter.
//! The program grows by about 47 MB; leave this crate out for a small one.
//!
//! ```
//! let files: Vec<_> = lorank_starter::base_model().iter().map(|file| file.name).collect();
//! assert!(files.contains(&"config.json") && files.contains(&"model.int8.safetensors"));
//!
//! let passages = lorank_starter::corpus().passages.bytes;
//! assert_eq!(passages.iter().filter(|&&byte| byte == b'\n').count(), lorank_starter::N_PASSAGES);
//! ```
//!
//! This crate's README and, for users of the program, [`notices`] list the origin, license and changes of each part.

/// The name of the base model on the command line and in configuration files.
pub const BASE_MODEL_NAME: &str = "minilm";

/// The base model's name on the Hugging Face Hub, which its adapters and `config.json` refer to.
pub const BASE_MODEL_HUB_NAME: &str = "cross-encoder/ms-marco-MiniLM-L-12-v2";

/// The number of passages in [`corpus`].
pub const N_PASSAGES: usize = 2_938;

/// The number of questions in [`corpus`], each with one judged passage.
pub const N_QUESTIONS: usize = 3_270;

/// An embedded file.
#[derive(Clone, Copy)]
pub struct File {
    /// The path in its folder, with `/` as separator: `config.json`, `qrels/test.tsv`.
    pub name: &'static str,
    /// The content.
    pub bytes: &'static [u8],
}

/// An embedded LoRA adapter of the base model.
#[derive(Clone, Copy, Debug)]
pub struct Adapter {
    /// The adapter's name.
    pub id: &'static str,
    /// Its training data and use, in one sentence.
    pub description: &'static str,
    /// `adapter_config.json` and `adapter_model.safetensors` as PEFT writes them, and `lorank.json` with the templates.
    pub files: &'static [File],
}

/// The embedded corpus: a BEIR folder.
#[derive(Clone, Copy, Debug)]
pub struct Corpus {
    /// The corpus's display name.
    pub name: &'static str,
    /// `corpus.jsonl`: one passage per line, with `_id`, an empty `title`, and `text`.
    pub passages: File,
    /// `queries.jsonl`: one question per line, with `_id` and `text`.
    pub questions: File,
    /// `qrels/test.tsv`: a header, then query id, passage id and grade (always 1).
    pub judgments: File,
}

/// A notice that must accompany a program with the embedded data.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    /// The part it applies to.
    pub covers: &'static str,
    /// The part's license as an SPDX identifier.
    pub licence: &'static str,
    /// The text to show.
    pub text: &'static str,
}

/// The files `$name` in the folder `$folder` below `data`.
macro_rules! files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$(File { name: $name, bytes: include_bytes!(concat!("../data/", $folder, "/", $name)) }),+]
    };
}

static BASE_MODEL: &[File] = files!(
    "minilm":
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "model.int8.safetensors",
    "int8.json",
);

static ADAPTERS: &[Adapter] = &[
    Adapter {
        id: "minilm-qa",
        description: "trained on everyday questions; a little better than the base on questions about Wikipedia",
        files: files!("adapters/minilm-qa": "adapter_config.json", "adapter_model.safetensors", "lorank.json"),
    },
    Adapter {
        id: "minilm-science",
        description: "trained on scientific claims and abstracts; clearly better than the base on scientific text",
        files: files!("adapters/minilm-science": "adapter_config.json", "adapter_model.safetensors", "lorank.json"),
    },
];

static CORPUS: Corpus = {
    let [passages, questions, judgments] = *files!("corpus": "corpus.jsonl", "queries.jsonl", "qrels/test.tsv");
    Corpus { name: "BoolQ development set", passages, questions, judgments }
};

static NOTICES: &[Notice] = &[
    Notice {
        covers: "the base model: origin and changes",
        licence: "Apache-2.0",
        text: include_str!("../data/minilm/ORIGIN.md"),
    },
    Notice {
        covers: "the base model: notice of the package it was taken from",
        licence: "Apache-2.0",
        text: include_str!("../data/minilm/NOTICE"),
    },
    Notice { covers: "the base model: license", licence: "Apache-2.0", text: include_str!("../data/minilm/LICENSE") },
    Notice { covers: "the adapters", licence: "Apache-2.0", text: include_str!("../data/adapters/ORIGIN.md") },
    Notice { covers: "the corpus", licence: "CC-BY-SA-3.0", text: include_str!("../data/corpus/ATTRIBUTION.md") },
];

/// The files of the base model: a BERT cross-encoder with 12 layers, hidden size 384 and one label.
///
/// The weights are in `model.int8.safetensors`. A quantized tensor `X` is stored as `X` (`I8` or `U8`, in the model's
/// shape), `X.scale` (`F32`, one element) and `X.zero_point` (type of `X`, one element); its values are
/// `(X - X.zero_point) * X.scale`. Other tensors (biases and layer norms) are stored as `F32` under their own names.
///
/// `int8.json` has measurements of how 8-bit products rank, compared with f32: of the base model, and of each adapter.
pub fn base_model() -> &'static [File] {
    BASE_MODEL
}

/// The adapters, ordered by id.
pub fn adapters() -> &'static [Adapter] {
    ADAPTERS
}

/// The adapter with this id, if there is one.
pub fn adapter(id: &str) -> Option<&'static Adapter> {
    ADAPTERS.iter().find(|adapter| adapter.id == id)
}

/// The corpus: Wikipedia passages, yes/no questions from a search engine, and the passage that answers each question.
pub fn corpus() -> &'static Corpus {
    &CORPUS
}

/// The licenses and attributions of all embedded data.
pub fn notices() -> &'static [Notice] {
    NOTICES
}

impl std::fmt::Debug for File {
    /// Prints the name and size instead of the contents.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.bytes.len())
    }
}
