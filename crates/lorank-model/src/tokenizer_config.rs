//! Settings of the files beside `tokenizer.json`, as read by `AutoTokenizer.from_pretrained` and `CrossEncoder`.

use serde::Deserialize;
use serde_json::{Map, Value};
use tokenizers::{AddedToken, TruncationDirection};

use crate::ModelError;
use crate::chat::ChatSettings;
use crate::files::Files;
use crate::keys::{
    self, KeyTable, SENTENCE_BERT_CONFIG, SENTENCE_TRANSFORMERS_CONFIG, SPECIAL_TOKENS_MAP, TOKENIZER_CONFIG,
};
use crate::modules::MODULES_FILE;

const TOKENIZER_FILE: &str = TOKENIZER_CONFIG.file;
const TOKENS_MAP_FILE: &str = SPECIAL_TOKENS_MAP.file;
const ADDED_TOKENS_FILE: &str = "added_tokens.json";
const CHAT_TEMPLATE_FILE: &str = "chat_template.jinja";

/// The optional files beside `tokenizer.json` that affect tokenization.
pub(crate) const FILES: [&str; 7] = [
    CHAT_TEMPLATE_FILE,
    TOKENIZER_FILE,
    TOKENS_MAP_FILE,
    ADDED_TOKENS_FILE,
    MODULES_FILE,
    SENTENCE_TRANSFORMERS_CONFIG.file,
    SENTENCE_BERT_CONFIG.file,
];

/// The classes that are equivalent to BERT's tokenizer here.
const BERT_CLASSES: [&str; 8] = [
    "BertTokenizer",
    "ConvBertTokenizer",
    "DistilBertTokenizer",
    "ElectraTokenizer",
    "LayoutLMTokenizer",
    "LxmertTokenizer",
    "MobileBertTokenizer",
    "SqueezeBertTokenizer",
];

/// The keys of the tokens with a role.
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The classes that use `tokenizer.json` unchanged.
const GENERIC_CLASSES: [&str; 3] = ["PreTrainedTokenizer", "TokenizersBackend", "PythonBackend"];

/// The maximum length of an added token, in bytes. Longer ones are rejected, because every text is searched for each
/// token.
const TOKEN_BYTES_MAX: usize = 1 << 10;

/// The settings of a tokenizer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenizerSettings {
    pub(crate) pipeline: PipelineKind,
    /// Tokens that are matched in texts before anything else, in the order of their ids. `None`: only those of
    /// `tokenizer.json`.
    pub(crate) added_tokens: Option<Vec<AddedToken>>,
    /// Further such tokens, in the order in which missing ids are assigned.
    pub(crate) special_tokens: Vec<AddedToken>,
    /// The side on which long texts are truncated; `None` uses `tokenizer.json`'s.
    pub(crate) truncation: Option<TruncationDirection>,
    /// Whether tokens have the type of their text; otherwise all types are 0.
    pub(crate) has_type_ids: bool,
    /// Whether special tokens in a text are encoded as plain text.
    pub(crate) splits_special_tokens: bool,
    /// Whether texts are lowercased before the tokenizer's own normalization.
    pub(crate) lowercases: bool,
    /// The maximum tokens of a pair.
    pub(crate) max_length: Option<usize>,
    /// The tokens with a role, by the names that templates use: `bos` for `bos_token`.
    pub(crate) token_names: Vec<(&'static str, String)>,
    /// How a cross-encoder applies its chat template, if it does.
    pub(crate) chat: Option<ChatSettings>,
    /// The text before each query, of `default_prompt_name`, if the cross-encoder has no chat template.
    pub(crate) query_prompt: Option<String>,
}

/// The pipeline that splits texts into tokens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PipelineKind {
    /// The pipeline of `tokenizer.json`.
    AsInFile,
    /// BERT's pipeline over the vocabulary of `tokenizer.json`.
    Bert { lowercase: bool, strip_accents: Option<bool>, splits_chinese: bool, unk: String, cls: String, sep: String },
    /// Llama's pipeline over the vocabulary and merges of `tokenizer.json`, unless that is byte-level.
    Llama { prepend_scheme: &'static str },
    /// Qwen2's pipeline over the vocabulary and merges of `tokenizer.json`: byte-level BPE.
    Qwen2 { adds_prefix_space: bool },
    /// Gemma's pipeline over the vocabulary and merges of `tokenizer.json`: BPE with bytes for unknown characters.
    Gemma { unk: String },
    /// RoBERTa's pipeline over the vocabulary and merges of `tokenizer.json`: byte-level BPE.
    Roberta { adds_prefix_space: bool, cls: String, sep: String },
    /// XLM-RoBERTa's pipeline over the vocabulary of `tokenizer.json`: unigram.
    XlmRoberta { prepend_scheme: &'static str, bos: String, eos: String },
}

impl PipelineKind {
    /// The class's default special tokens, by role.
    fn default_tokens(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::AsInFile | Self::Llama { .. } => &[],
            Self::Qwen2 { .. } => {
                &[("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")]
            }
            Self::Gemma { .. } => &[
                ("bos_token", "<bos>"),
                ("eos_token", "<eos>"),
                ("unk_token", "<unk>"),
                ("pad_token", "<pad>"),
                ("mask_token", "<mask>"),
            ],
            Self::Bert { .. } => &[
                ("unk_token", "[UNK]"),
                ("sep_token", "[SEP]"),
                ("pad_token", "[PAD]"),
                ("cls_token", "[CLS]"),
                ("mask_token", "[MASK]"),
            ],
            Self::Roberta { .. } | Self::XlmRoberta { .. } => &[
                ("bos_token", "<s>"),
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
                ("sep_token", "</s>"),
                ("pad_token", "<pad>"),
                ("cls_token", "<s>"),
                ("mask_token", "<mask>"),
            ],
        }
    }
}

impl TokenizerSettings {
    /// Reads the files beside `tokenizer.json`.
    ///
    /// `model_type` and `default_class` come from the model's `config.json`.
    pub(crate) fn read(files: &Files, model_type: &str, default_class: Option<&str>) -> Result<Self, ModelError> {
        let mut config =
            Fields::read(files, &TOKENIZER_CONFIG)?.unwrap_or_else(|| Fields::none(files, &TOKENIZER_CONFIG));
        let encoder = CrossEncoderFiles::read(files)?;
        let class = config.text("tokenizer_class")?.or(default_class.map(str::to_owned));
        let added_tokens = config.added_tokens_decoder()?;
        let has_decoder = added_tokens.is_some();
        if !has_decoder && let Some(map) = Fields::read(files, &SPECIAL_TOKENS_MAP)? {
            config.json.extend(map.json);
        }
        let added_tokens = if has_decoder { added_tokens } else { legacy_added_tokens(files)? };
        let pipeline = config.pipeline(class.as_deref(), model_type)?;
        let is_bert = matches!(pipeline, PipelineKind::Bert { .. });
        Ok(Self {
            special_tokens: config.special_tokens(pipeline.default_tokens())?,
            truncation: config.truncation()?,
            has_type_ids: config.has_type_ids(is_bert)?,
            pipeline,
            splits_special_tokens: config.flag("split_special_tokens")?.unwrap_or(false),
            lowercases: encoder.lowercases,
            max_length: encoder
                .max_length
                .map_or_else(|| config.max_length("model_max_length"), |length| Ok(Some(length)))?,
            added_tokens,
            token_names: config.token_names()?,
            chat: encoder.chat,
            query_prompt: encoder.query_prompt,
        })
    }

    /// The text of the token with a role, such as `pad`.
    pub(crate) fn token_named(&self, name: &str) -> Option<&str> {
        self.token_names.iter().find(|(known, _)| *known == name).map(|(_, token)| token.as_str())
    }
}

/// The fields of one JSON file.
struct Fields<'a> {
    files: &'a Files,
    table: &'static KeyTable,
    json: Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Reads the fields of a file, if it exists, and rejects unsupported ones.
    fn read(files: &'a Files, table: &'static KeyTable) -> Result<Option<Self>, ModelError> {
        let Some(mut json) = files.read_json::<Map<String, Value>>(table.file)? else { return Ok(None) };
        // A model may define its own special tokens, which are matched in texts like all others.
        let is_known = |(key, value): &(&String, &Value)| !is_own_token(key, value);
        let known: Map<String, Value> =
            json.iter().filter(is_known).map(|(key, value)| (key.clone(), value.clone())).collect();
        table.check(files.name(), &known)?;
        json.retain(|_, value| !value.is_null());
        Ok(Some(Self { files, table, json }))
    }

    fn none(files: &'a Files, table: &'static KeyTable) -> Self {
        Self { files, table, json: Map::new() }
    }

    fn refuse(&self, key: &str, expected: &str) -> ModelError {
        ModelError::Unsupported {
            folder: self.files.name().into(),
            file: self.table.file,
            what: keys::describe(key, &self.json[key]),
            hint: format!("; {expected}"),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        let Some(value) = self.json.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.refuse(key, "expected true or false"))
    }

    fn text(&self, key: &str) -> Result<Option<String>, ModelError> {
        let Some(value) = self.json.get(key) else { return Ok(None) };
        value.as_str().map(|text| Some(text.to_owned())).ok_or_else(|| self.refuse(key, "expected a string"))
    }

    /// A length in tokens. Python represents "no limit" by a number of 31 digits.
    fn max_length(&self, key: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.json.get(key) else { return Ok(None) };
        match value.as_f64() {
            Some(length) if length >= 1.0 => Ok(Some(length as usize)),
            _ => Err(self.refuse(key, "expected a number of tokens above zero")),
        }
    }

    fn token(&self, key: &str) -> Result<Option<AddedToken>, ModelError> {
        let Some(value) = self.json.get(key) else { return Ok(None) };
        read_token(value, true)
            .map(Some)
            .ok_or_else(|| self.refuse(key, "expected a token: a string, or an object with its `content`"))
    }

    fn truncation(&self) -> Result<Option<TruncationDirection>, ModelError> {
        match self.text("truncation_side")?.as_deref() {
            None => Ok(None),
            Some("left") => Ok(Some(TruncationDirection::Left)),
            Some("right") => Ok(Some(TruncationDirection::Right)),
            Some(_) => Err(self.refuse("truncation_side", "expected `left` or `right`")),
        }
    }

    /// The generic classes produce no types unless configured to.
    fn has_type_ids(&self, default: bool) -> Result<bool, ModelError> {
        let Some(names) = self.json.get("model_input_names") else { return Ok(default) };
        let names = names.as_array().ok_or_else(|| self.refuse("model_input_names", "expected a list of names"))?;
        Ok(names.iter().any(|name| name == "token_type_ids"))
    }

    fn pipeline(&self, class: Option<&str>, model_type: &str) -> Result<PipelineKind, ModelError> {
        // For these models the reference ignores the class.
        let class = class.filter(|_| !["modernbert", "mistral", "qwen2"].contains(&model_type));
        let class = class.map(|class| class.strip_suffix("Fast").unwrap_or(class));
        let is_of_bert = ["bert", "distilbert", "electra"].contains(&model_type);
        let is_bert = class.map_or(is_of_bert, |class| BERT_CLASSES.contains(&class));
        let is_class = |name, of_model| class.map_or(model_type == of_model, |class| class == name);
        let flag = |key, default| Ok::<_, ModelError>(self.flag(key)?.unwrap_or(default));
        let token = |key, default: &str| {
            Ok::<_, ModelError>(self.token(key)?.map_or_else(|| default.to_owned(), |token| token.content))
        };
        match class {
            _ if is_bert => Ok(PipelineKind::Bert {
                lowercase: flag("do_lower_case", true)?,
                strip_accents: self.flag("strip_accents")?,
                splits_chinese: flag("tokenize_chinese_chars", true)?,
                unk: token("unk_token", "[UNK]")?,
                cls: token("cls_token", "[CLS]")?,
                sep: token("sep_token", "[SEP]")?,
            }),
            Some("LlamaTokenizer") => {
                let prepend_scheme = match (flag("add_prefix_space", true)?, flag("legacy", false)?) {
                    (false, _) => "never",
                    (true, true) => "always",
                    (true, false) => "first",
                };
                Ok(PipelineKind::Llama { prepend_scheme })
            }
            _ if is_class("Qwen2Tokenizer", "qwen2") || is_class("Qwen2Tokenizer", "qwen3") => {
                Ok(PipelineKind::Qwen2 { adds_prefix_space: flag("add_prefix_space", false)? })
            }
            _ if is_class("GemmaTokenizer", "gemma") => Ok(PipelineKind::Gemma { unk: token("unk_token", "<unk>")? }),
            _ if is_class("RobertaTokenizer", "roberta") => Ok(PipelineKind::Roberta {
                adds_prefix_space: flag("add_prefix_space", false)?,
                cls: token("cls_token", "<s>")?,
                sep: token("sep_token", "</s>")?,
            }),
            _ if is_class("XLMRobertaTokenizer", "xlm-roberta") => Ok(PipelineKind::XlmRoberta {
                prepend_scheme: if flag("add_prefix_space", true)? { "always" } else { "never" },
                bos: token("bos_token", "<s>")?,
                eos: token("eos_token", "</s>")?,
            }),
            Some(class) if !GENERIC_CLASSES.contains(&class) => {
                let folder = self.files.name();
                tracing::warn!(
                    "`{TOKENIZER_FILE}` of `{folder}` names the `tokenizer_class` `{class}`, which may build another \
                     tokenizer in Python; here `tokenizer.json` is taken as it is"
                );
                Ok(PipelineKind::AsInFile)
            }
            _ => Ok(PipelineKind::AsInFile),
        }
    }

    /// `added_tokens_decoder`, ordered by id.
    fn added_tokens_decoder(&self) -> Result<Option<Vec<AddedToken>>, ModelError> {
        const KEY: &str = "added_tokens_decoder";
        let Some(value) = self.json.get(KEY) else { return Ok(None) };
        let refused = || self.refuse(KEY, "expected an object from ids to tokens");
        let mut tokens = Vec::new();
        for (id, token) in value.as_object().ok_or_else(refused)? {
            tokens.push((id.parse::<u32>().map_err(|_| refused())?, read_token(token, false).ok_or_else(refused)?));
        }
        tokens.sort_by_key(|(id, _)| *id);
        Ok(Some(tokens.into_iter().map(|(_, token)| token).collect()))
    }

    /// The text that `default_prompt_name` selects in `prompts`.
    fn default_prompt(&self) -> Result<Option<String>, ModelError> {
        const KEY: &str = "default_prompt_name";
        let Some(name) = self.text(KEY)?.filter(|name| !name.is_empty()) else { return Ok(None) };
        let prompt = self.json.get("prompts").and_then(|prompts| prompts.get(&name)).and_then(Value::as_str);
        prompt
            .map(|prompt| Some(prompt.to_owned()).filter(|prompt| !prompt.is_empty()))
            .ok_or_else(|| self.refuse(KEY, "`prompts` has no such prompt"))
    }

    /// How the chat template is applied; `None` if pairs are not messages.
    fn chat_settings(&self) -> Result<Option<ChatSettings>, ModelError> {
        let Some(message) = self.json.get("modality_config").and_then(|config| config.get("message")) else {
            return Ok(None);
        };
        let is_structured = match message.get("format").and_then(Value::as_str) {
            Some("flat") => false,
            Some("structured") => true,
            _ => return Err(self.refuse("modality_config", "expected the format `flat` or `structured`")),
        };
        let mut variables = Map::new();
        for (kind, settings) in self.json.get("processing_kwargs").and_then(Value::as_object).into_iter().flatten() {
            match settings.as_object() {
                Some(settings) if kind == "chat_template" => variables.extend(settings.clone()),
                Some(settings) if settings.is_empty() => {}
                _ => return Err(self.refuse("processing_kwargs", "only those of `chat_template` are")),
            }
        }
        let restores = variables.remove("restore_suffix").is_none_or(|restores| restores == true);
        let sizes = ["truncation", "max_length", "padding", "chat_template"];
        if !restores || sizes.iter().any(|key| variables.contains_key(*key)) {
            return Err(self.refuse("processing_kwargs", "only variables of the chat template are"));
        }
        Ok(Some(ChatSettings { is_structured, variables, instruction: None }))
    }

    /// The texts of the tokens with a role in the file.
    fn token_names(&self) -> Result<Vec<(&'static str, String)>, ModelError> {
        let mut names = Vec::new();
        for key in ROLES {
            let name = key.strip_suffix("_token").expect("roles end so");
            names.extend(self.token(key)?.map(|token| (name, token.content)));
        }
        Ok(names)
    }

    /// The tokens with a role, or listed as special. `defaults` apply to roles without a token in the file.
    fn special_tokens(&self, defaults: &[(&str, &str)]) -> Result<Vec<AddedToken>, ModelError> {
        let own = self.json.iter().filter(|(key, value)| is_own_token(key, value)).map(|(key, _)| key.as_str());
        let mut tokens = Vec::new();
        for key in ROLES.into_iter().chain(own) {
            let default = defaults.iter().find(|(role, _)| *role == key);
            let default = default.map(|(_, token)| AddedToken::from(*token, true));
            tokens.extend(self.token(key)?.or(default));
        }
        for key in ["model_specific_special_tokens", "extra_special_tokens", "additional_special_tokens"] {
            let listed: Vec<&Value> = match self.json.get(key) {
                None => continue,
                Some(Value::Array(listed)) => listed.iter().collect(),
                Some(Value::Object(named)) => named.values().collect(),
                Some(_) => return Err(self.refuse(key, "expected a list of tokens")),
            };
            let refused = || self.refuse(key, "expected a list of tokens");
            for token in listed {
                tokens.push(read_token(token, true).ok_or_else(refused)?);
            }
        }
        Ok(tokens)
    }
}

/// Whether a key defines a special token of the model, such as `image_token`.
fn is_own_token(key: &str, value: &Value) -> bool {
    const KNOWN: [&str; 9] = [
        "bos_token",
        "eos_token",
        "unk_token",
        "sep_token",
        "pad_token",
        "cls_token",
        "mask_token",
        "add_bos_token",
        "add_eos_token",
    ];
    let is_token = value.is_string() || value.get("content").is_some();
    is_token && key.ends_with("_token") && !KNOWN.contains(&key)
}

/// A token, as a string or with its properties. Special tokens are matched in a text before it is normalized.
fn read_token(value: &Value, is_special: bool) -> Option<AddedToken> {
    #[derive(Deserialize)]
    struct Properties {
        content: String,
        #[serde(default)]
        single_word: bool,
        #[serde(default)]
        lstrip: bool,
        #[serde(default)]
        rstrip: bool,
        normalized: Option<bool>,
        special: Option<bool>,
    }
    let token = match value {
        Value::String(text) => AddedToken::from(text.as_str(), is_special),
        _ => {
            let token = Properties::deserialize(value).ok()?;
            let special = is_special || token.special.unwrap_or(false);
            let plain = AddedToken::from(token.content, special);
            let normalized = token.normalized.unwrap_or(!special);
            plain.single_word(token.single_word).lstrip(token.lstrip).rstrip(token.rstrip).normalized(normalized)
        }
    };
    Some(token).filter(|token| token.content.len() <= TOKEN_BYTES_MAX)
}

/// The text of a folder's chat template: `chat_template.jinja`, else the one in `tokenizer_config.json`.
pub(crate) fn chat_template(files: &Files) -> Result<Option<String>, ModelError> {
    if let Some(bytes) = files.read(CHAT_TEMPLATE_FILE)? {
        return Ok(Some(String::from_utf8_lossy(&bytes).into_owned()));
    }
    let Some(config) = files.read_json::<Map<String, Value>>(TOKENIZER_FILE)? else { return Ok(None) };
    // A text, or a list of templates with names.
    let template = match config.get("chat_template") {
        Some(Value::Array(named)) => {
            named.iter().find(|it| it["name"] == "default").and_then(|it| it["template"].as_str())
        }
        template => template.and_then(Value::as_str),
    };
    Ok(template.map(str::to_owned))
}

/// The tokens of `added_tokens.json`, ordered by id: older tokenizers stored added tokens there.
fn legacy_added_tokens(files: &Files) -> Result<Option<Vec<AddedToken>>, ModelError> {
    let Some(ids) = files.read_json::<Map<String, Value>>(ADDED_TOKENS_FILE)? else { return Ok(None) };
    let mut tokens = Vec::new();
    for (token, id) in &ids {
        let id = id.as_u64().filter(|_| token.len() <= TOKEN_BYTES_MAX).ok_or_else(|| ModelError::Unsupported {
            folder: files.name().into(),
            file: ADDED_TOKENS_FILE,
            what: keys::describe(token, id),
            hint: "; expected a token with its id".into(),
        })?;
        tokens.push((id, AddedToken::from(token.as_str(), false)));
    }
    tokens.sort_by_key(|(id, _)| *id);
    Ok(Some(tokens.into_iter().map(|(_, token)| token).collect()))
}

/// Settings in the files of a sentence-transformers `CrossEncoder`.
#[derive(Default)]
struct CrossEncoderFiles {
    max_length: Option<usize>,
    lowercases: bool,
    chat: Option<ChatSettings>,
    query_prompt: Option<String>,
}

impl CrossEncoderFiles {
    /// Reads the files if they describe a cross-encoder. Those of an embedding model are ignored, as in the reference,
    /// which converts such a folder.
    fn read(files: &Files) -> Result<Self, ModelError> {
        let Some(config) = Fields::read(files, &SENTENCE_TRANSFORMERS_CONFIG)? else { return Ok(Self::default()) };
        if config.text("model_type")?.as_deref() != Some("CrossEncoder") {
            return Ok(Self::default());
        }
        let prompt = config.default_prompt()?;
        let Some(modules) = files.read_json::<Vec<Map<String, Value>>>(MODULES_FILE)? else {
            return Ok(Self { query_prompt: prompt, ..Self::default() });
        };
        let Some(config) = Fields::read(files, &SENTENCE_BERT_CONFIG)? else {
            return Ok(Self { query_prompt: prompt, ..Self::default() });
        };
        // A transformer alone must be the classifier, one before a score of two tokens must generate, and one before
        // another head must do neither.
        let expected = match modules.len() {
            1 => "sequence-classification",
            2 => "text-generation",
            _ => "feature-extraction",
        };
        if config.text("transformer_task")?.is_some_and(|task| task != expected) {
            let hint = format!("expected `{expected}` with {} modules in `{MODULES_FILE}`", modules.len());
            return Err(config.refuse("transformer_task", &hint));
        }
        let chat = config.chat_settings()?;
        let (instruction, query_prompt) = if chat.is_some() { (prompt, None) } else { (None, prompt) };
        Ok(Self {
            max_length: config.max_length("max_seq_length")?,
            lowercases: config.flag("do_lower_case")?.unwrap_or(false),
            chat: chat.map(|chat| ChatSettings { instruction, ..chat }),
            query_prompt,
        })
    }
}
