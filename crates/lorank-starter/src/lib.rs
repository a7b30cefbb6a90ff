//! What `lorank` works with before anybody has given it anything: a small real base model, two real LoRA adapters and a
//! small real corpus, compiled into the program, so that a first search needs no download and no particular folder.
//!
//! It is *not* a model zoo and reads nothing: it holds bytes, under the names that the files have in a Hugging Face
//! folder (the models) and a BEIR folder (the corpus). `lorank-model` loads the former, `lorank-tantivy` indexes the
//! latter. The program grows by about 47 MB; an embedder who wants a small one leaves this crate out.
//!
//! ```
//! let files: Vec<_> = lorank_starter::base_model().iter().map(|file| file.name).collect();
//! assert!(files.contains(&"config.json") && files.contains(&"model.int8.safetensors"));
//!
//! let passages = lorank_starter::corpus().passages.bytes;
//! assert_eq!(passages.iter().filter(|&&byte| byte == b'\n').count(), lorank_starter::N_PASSAGES);
//! ```
//!
//! Where everything comes from, under which licence, and what was changed stands in this crate's README and, for the
//! program's users, in [`notices`].

/// The name by which the base model is asked for on a command line or in a config file.
pub const BASE_MODEL_NAME: &str = "minilm";

/// The base model's name on the Hugging Face hub, which its adapters and its `config.json` carry too.
pub const BASE_MODEL_HUB_NAME: &str = "cross-encoder/ms-marco-MiniLM-L-12-v2";

/// The number of passages in [`corpus`].
pub const N_PASSAGES: usize = 2_938;

/// The number of questions in [`corpus`], each with one judged passage.
pub const N_QUESTIONS: usize = 3_270;

/// One embedded file.
#[derive(Clone, Copy)]
pub struct File {
    /// The path inside its folder, with `/` between the parts: `config.json`, `qrels/test.tsv`.
    pub name: &'static str,
    /// The content.
    pub bytes: &'static [u8],
}

/// One embedded LoRA adapter of the base model.
#[derive(Clone, Copy, Debug)]
pub struct Adapter {
    /// The name by which it is asked for.
    pub id: &'static str,
    /// What it was trained on, and what it is good for, in one sentence.
    pub description: &'static str,
    /// `adapter_config.json` and `adapter_model.safetensors` as PEFT writes them, and `lorank.json` with the templates.
    pub files: &'static [File],
}

/// The embedded corpus: a BEIR folder.
#[derive(Clone, Copy, Debug)]
pub struct Corpus {
    /// A short name for people.
    pub name: &'static str,
    /// `corpus.jsonl`: one passage per line, with `_id`, an empty `title`, and `text`.
    pub passages: File,
    /// `queries.jsonl`: one question per line, with `_id` and `text`.
    pub questions: File,
    /// `qrels/test.tsv`: a header, then query id, passage id and grade (always 1).
    pub judgments: File,
}

/// What must be told about a part of the embedded data to whoever gets a program that holds it.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    /// The part, in words.
    pub covers: &'static str,
    /// Its licence as an SPDX identifier.
    pub licence: &'static str,
    /// The text to show.
    pub text: &'static str,
}

/// The files `$name` of the folder `$folder` under `data`.
macro_rules! files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$(File { name: $name, bytes: include_bytes!(concat!("../data/", $folder, "/", $name)) }),+]
    };
}

static BASE_MODEL: &[File] = files!(
    "minilm":
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "model.int8.safetensors",
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
    Notice { covers: "the base model: licence", licence: "Apache-2.0", text: include_str!("../data/minilm/LICENSE") },
    Notice { covers: "the adapters", licence: "Apache-2.0", text: include_str!("../data/adapters/ORIGIN.md") },
    Notice { covers: "the corpus", licence: "CC-BY-SA-3.0", text: include_str!("../data/corpus/ATTRIBUTION.md") },
];

/// The files of the base model: a BERT cross-encoder with 12 layers, hidden size 384 and one label.
///
/// The weights are in `model.int8.safetensors`. A tensor `X` that was quantised is held as `X` (`I8` or `U8`, in the
/// shape that the model wants), `X.scale` (`F32`, one element) and `X.zero_point` (as `X`, one element); its values are
/// `(X - X.zero_point) * X.scale`. The others (biases and layer norms) are `F32` under their own names.
pub fn base_model() -> &'static [File] {
    BASE_MODEL
}

/// The adapters, in the order of their ids.
pub fn adapters() -> &'static [Adapter] {
    ADAPTERS
}

/// The adapter with this id, if there is one.
pub fn adapter(id: &str) -> Option<&'static Adapter> {
    ADAPTERS.iter().find(|adapter| adapter.id == id)
}

/// The corpus: Wikipedia passages, yes/no questions that people asked a search engine, and which passage answers which.
pub fn corpus() -> &'static Corpus {
    &CORPUS
}

/// The licences and attributions of everything in this crate.
pub fn notices() -> &'static [Notice] {
    NOTICES
}

impl std::fmt::Debug for File {
    /// The name and the size: nobody wants to read 34 MB of weights in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.bytes.len())
    }
}
