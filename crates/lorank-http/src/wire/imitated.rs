//! The request keys of the compatible services, and the support for each. `docs/rerank-requests.md` shows this list, and requests
//! are checked against it.
//!
//! No key that changes a result is ignored: it is honored, or it accepts only the values that request the default behavior. Keys
//! without an effect on results are accepted.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::ServerError;

/// The maximum length in characters of the string kept in a [`Given`], for comparison and messages.
const SHOWN_CHARS_MAX: usize = 60;

/// The value of a key that accepts few values, as compact JSON up to the needed length. Null counts as missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Given(Option<String>);

/// The support for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    /// The key has the same effect as in the original service.
    Honored,
    /// The key is accepted; neither scores nor their order depend on it.
    NoEffect,
    /// The key accepts only these values, as compact JSON, which request the default behavior. With the reason for rejecting others.
    Only(&'static [&'static str], &'static str),
}

/// A key of a compatible service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImitatedKey {
    /// The key.
    pub name: &'static str,
    /// Its support.
    pub usage: Usage,
}

use Usage::{Honored, NoEffect, Only};

const fn key(name: &'static str, usage: Usage) -> ImitatedKey {
    ImitatedKey { name, usage }
}

const CUT_AT_END: &str = "texts longer than the model's limit are truncated at the end";
const OWN_LIMIT: &str = "pairs are truncated to the model's limit; use `max_tokens_per_doc` to truncate documents";
const OWN_PROMPT: &str = "the prompt belongs to the model or the adapter";
const TEXTS_ALONE: &str = "only texts are scored";
const NO_PRIORITIES: &str = "requests have no priorities; each gets a fair share of the model";
const SHARED_CACHE: &str = "the score cache is shared by all clients";
const ONE_SCORE: &str = "a model returns one score; use `use_activation` for its sigmoid";
const SCORES_ALONE: &str = "only scores are returned";
const SPECIAL_TOKENS: &str = "special tokens are part of the model's prompt";
const OWN_QUERY: &str = "the query is not rewritten";
const ANSWER_ALONE: &str = "the scores are in the response";

/// The priority of a request, for vLLM and Cohere.
const PRIORITY: ImitatedKey = key("priority", Only(&["0"], NO_PRIORITIES));

/// What the model shall judge. An empty instruction counts as none.
const INSTRUCTION: ImitatedKey = key("instruction", Honored);
/// The same for DashScope.
const INSTRUCT: ImitatedKey = key("instruct", Honored);

/// `POST /rerank` of text-embeddings-inference.
const TEI_KEYS: &[ImitatedKey] = &[
    key("query", Honored),
    key("texts", Honored),
    key("raw_scores", Honored),
    key("return_text", Honored),
    key("truncate", Only(&["true"], CUT_AT_END)),
    key("truncation_direction", Only(&["\"right\"", "\"Right\""], CUT_AT_END)),
];

/// The common keys of requests in Cohere's format.
const DOCUMENTS: [ImitatedKey; 5] = [
    key("model", Honored),
    key("query", Honored),
    key("documents", Honored),
    key("top_n", Honored),
    key("return_documents", Honored),
];

/// `POST /v1/rerank` of Cohere, in addition to [`DOCUMENTS`].
const COHERE_V1_KEYS: &[ImitatedKey] = &[key("rank_fields", Honored), key("max_chunks_per_doc", Honored)];

/// `POST /v2/rerank` of Cohere, in addition to [`DOCUMENTS`].
const COHERE_V2_KEYS: &[ImitatedKey] = &[key("max_tokens_per_doc", Honored), PRIORITY];

/// `POST /v1/rerank` of Jina, in addition to [`DOCUMENTS`].
const JINA_KEYS: &[ImitatedKey] = &[
    key("truncation", Only(&["true"], CUT_AT_END)),
    key("max_doc_length", Only(&[], OWN_LIMIT)),
    key("max_query_length", Only(&[], OWN_LIMIT)),
    key("return_embeddings", Only(&["false"], SCORES_ALONE)),
];

/// `POST /v1/rerank` of Together, in addition to [`DOCUMENTS`].
const TOGETHER_KEYS: &[ImitatedKey] = &[key("rank_fields", Honored)];

/// `POST /rerank` of Infinity, in addition to [`DOCUMENTS`].
const INFINITY_KEYS: &[ImitatedKey] = &[key("raw_scores", Honored)];

/// `POST /v1/rerank` of SiliconFlow, in addition to [`DOCUMENTS`].
const SILICONFLOW_KEYS: &[ImitatedKey] =
    &[key("max_chunks_per_doc", Honored), key("overlap_tokens", Honored), INSTRUCTION];

/// `POST /v1/rerank` of Xinference, which RAGFlow calls, in addition to [`DOCUMENTS`].
const XINFERENCE_KEYS: &[ImitatedKey] = &[key("max_chunks_per_doc", Honored), key("return_len", NoEffect)];

/// `POST /compatible-api/v1/reranks` of DashScope, in addition to [`DOCUMENTS`].
const DASHSCOPE_COMPATIBLE_KEYS: &[ImitatedKey] = &[INSTRUCT];

/// `POST /api/v1/services/rerank/text-rerank/text-rerank` of DashScope.
const DASHSCOPE_KEYS: &[ImitatedKey] = &[key("model", Honored), key("input", Honored), key("parameters", Honored)];
const DASHSCOPE_INPUT_KEYS: &[ImitatedKey] = &[key("query", Honored), key("documents", Honored)];
const DASHSCOPE_PARAMETERS_KEYS: &[ImitatedKey] = &[key("top_n", Honored), key("return_documents", Honored), INSTRUCT];

/// `POST /v1/rerank` of Voyage.
const VOYAGE_KEYS: &[ImitatedKey] = &[
    key("model", Honored),
    key("query", Honored),
    key("documents", Honored),
    key("top_k", Honored),
    key("return_documents", Honored),
    key("truncation", Only(&["true"], CUT_AT_END)),
];

/// `POST /v1/reranking` of mixedbread.
const MIXEDBREAD_KEYS: &[ImitatedKey] = &[
    key("model", Honored),
    key("query", Honored),
    key("input", Honored),
    key("rank_fields", Honored),
    key("top_k", Honored),
    key("return_input", Honored),
    key("rewrite_query", Only(&["false"], OWN_QUERY)),
];

/// `POST /v1/ranking` and `/v1/retrieval/{model}/reranking` of NVIDIA NIM; a passage and the query are objects with a `text`.
const NIM_KEYS: &[ImitatedKey] = &[
    key("model", Honored),
    key("query", Honored),
    key("passages", Honored),
    key("top_k", Honored),
    key("top_n", Honored),
    key("truncate", Only(&["\"END\""], CUT_AT_END)),
];

/// `POST /v1/inference/{model}` of DeepInfra.
const DEEPINFRA_KEYS: &[ImitatedKey] = &[
    key("queries", Honored),
    key("documents", Honored),
    INSTRUCTION,
    key("service_tier", NoEffect),
    key("webhook", Only(&[], ANSWER_ALONE)),
];

/// The common keys of vLLM's requests.
const VLLM_OPTIONS: [ImitatedKey; 15] = [
    key("use_activation", Honored),
    key("activation", Honored),
    key("request_id", Honored),
    key("user", NoEffect),
    key("padding", NoEffect),
    PRIORITY,
    key("truncate_prompt_tokens", Only(&["-1"], OWN_LIMIT)),
    key("truncation_side", Only(&["\"right\""], CUT_AT_END)),
    key("mm_processor_kwargs", Only(&["{}"], TEXTS_ALONE)),
    key("media_io_kwargs", Only(&["{}"], TEXTS_ALONE)),
    key("chat_template", Only(&[], OWN_PROMPT)),
    key("chat_template_kwargs", Only(&["{}"], OWN_PROMPT)),
    INSTRUCTION,
    key("cache_salt", Only(&[], SHARED_CACHE)),
    key("softmax", Only(&[], ONE_SCORE)),
];

/// `POST /rerank`, `/v1/rerank` and `/v2/rerank` of vLLM, in addition to [`VLLM_OPTIONS`].
const VLLM_RERANK_TEXTS: &[ImitatedKey] = &[
    key("model", Honored),
    key("query", Honored),
    key("documents", Honored),
    key("top_n", Honored),
    key("max_tokens_per_query", Honored),
    key("max_tokens_per_doc", Honored),
    key("add_special_tokens", Only(&["true"], SPECIAL_TOKENS)),
];

/// `POST /score` and `/v1/score` of vLLM, in addition to [`VLLM_OPTIONS`].
const VLLM_SCORE_TEXTS: &[ImitatedKey] = &[
    key("model", Honored),
    key("text_1", Honored),
    key("queries", Honored),
    key("data_1", Honored),
    key("text_2", Honored),
    key("documents", Honored),
    key("items", Honored),
    key("data_2", Honored),
    key("add_special_tokens", Only(&["true"], SPECIAL_TOKENS)),
];

/// The type that a request is parsed into. A type has the keys of all services that share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// [`TeiRerank`](super::TeiRerank).
    Tei,
    /// [`Rerank`](super::Rerank).
    Documents,
    /// [`ScoreBody`](super::ScoreBody).
    Score,
    /// [`VoyageRerank`](super::VoyageRerank).
    Voyage,
    /// [`MixedbreadRerank`](super::MixedbreadRerank).
    Mixedbread,
    /// [`NimRanking`](super::NimRanking).
    Nim,
    /// [`DeepInfraScore`](super::DeepInfraScore).
    DeepInfra,
    /// [`DashScopeRerank`](super::DashScopeRerank), its `input` and its `parameters`.
    DashScope,
    /// See [`DashScope`](Self::DashScope).
    DashScopeInput,
    /// See [`DashScope`](Self::DashScope).
    DashScopeParameters,
}

/// A request of a service, the type that it is parsed into, and its keys.
pub(crate) type ImitatedRequest = (&'static str, Shape, Vec<ImitatedKey>);

/// The keys of each compatible request.
pub(crate) fn imitated() -> Vec<ImitatedRequest> {
    let documents = |keys: &[ImitatedKey]| [&DOCUMENTS, keys].concat();
    vec![
        ("text-embeddings-inference `/rerank`", Shape::Tei, TEI_KEYS.to_vec()),
        ("Cohere `/v1/rerank`", Shape::Documents, documents(COHERE_V1_KEYS)),
        ("Cohere `/v2/rerank`", Shape::Documents, documents(COHERE_V2_KEYS)),
        ("Jina `/v1/rerank`", Shape::Documents, documents(JINA_KEYS)),
        ("Together `/v1/rerank`", Shape::Documents, documents(TOGETHER_KEYS)),
        ("Infinity `/rerank`", Shape::Documents, documents(INFINITY_KEYS)),
        ("SiliconFlow `/v1/rerank`", Shape::Documents, documents(SILICONFLOW_KEYS)),
        ("Xinference `/v1/rerank`", Shape::Documents, documents(XINFERENCE_KEYS)),
        ("DashScope `/v1/reranks`", Shape::Documents, documents(DASHSCOPE_COMPATIBLE_KEYS)),
        ("vLLM `/rerank`", Shape::Documents, [VLLM_RERANK_TEXTS, &VLLM_OPTIONS].concat()),
        ("vLLM `/score`", Shape::Score, [VLLM_SCORE_TEXTS, &VLLM_OPTIONS].concat()),
        ("Voyage `/v1/rerank`", Shape::Voyage, VOYAGE_KEYS.to_vec()),
        ("mixedbread `/v1/reranking`", Shape::Mixedbread, MIXEDBREAD_KEYS.to_vec()),
        ("NVIDIA NIM `/v1/ranking`", Shape::Nim, NIM_KEYS.to_vec()),
        ("DeepInfra `/v1/inference/{model}`", Shape::DeepInfra, DEEPINFRA_KEYS.to_vec()),
        ("DashScope `text-rerank`", Shape::DashScope, DASHSCOPE_KEYS.to_vec()),
        ("DashScope `text-rerank`, `input`", Shape::DashScopeInput, DASHSCOPE_INPUT_KEYS.to_vec()),
        ("DashScope `text-rerank`, `parameters`", Shape::DashScopeParameters, DASHSCOPE_PARAMETERS_KEYS.to_vec()),
    ]
}

/// Rejects values that request anything but the default behavior.
pub(crate) fn check_given<const N: usize>(shape: Shape, given: [(&'static str, &Given); N]) -> Result<(), ServerError> {
    if given.iter().all(|(_, Given(value))| value.is_none()) {
        return Ok(());
    }
    let of_shape = imitated().into_iter().filter(|(_, reads, _)| *reads == shape);
    let keys: Vec<ImitatedKey> = of_shape.flat_map(|(_, _, keys)| keys).collect();
    for (name, Given(value)) in given {
        let (Some(value), Some(key)) = (value, keys.iter().find(|key| key.name == name)) else { continue };
        let Only(accepted, done) = key.usage else { continue };
        if !accepted.contains(&value.as_str()) {
            let alone = accepted.last().map_or("remove it".to_owned(), |only| format!("remove it, or send {only}"));
            let problem = format!("cannot be {value}: {done}; {alone}");
            return Err(ServerError::InvalidValue { field: name.to_owned(), problem });
        }
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GivenVisitor)
    }
}

/// Parses any value without keeping the contents of arrays and objects.
struct GivenVisitor;

impl GivenVisitor {
    fn given<E>(text: impl fmt::Display) -> Result<Given, E> {
        Ok(Given(Some(text.to_string())))
    }
}

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Given, E> {
        Ok(Given(None))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Given, E> {
        Self::given(value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Given, E> {
        Self::given(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Given, E> {
        Self::given(value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Given, E> {
        Self::given(value)
    }

    fn visit_str<E>(self, value: &str) -> Result<Given, E> {
        let shown: String = value.chars().take(SHOWN_CHARS_MAX).collect();
        Self::given(serde_json::Value::from(shown))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<Given, A::Error> {
        IgnoredAny.visit_seq(values)?;
        Self::given("an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        let mut is_empty = true;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            is_empty = false;
        }
        Self::given(if is_empty { "{}" } else { "an object" })
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::json::read_object;
    use crate::wire::{
        DashScopeInput, DashScopeParameters, DashScopeRerank, DeepInfraScore, MixedbreadRerank, NimRanking, Rerank,
        ScoreBody, TeiRerank, VoyageRerank,
    };

    /// The keys of a type, taken from the error message for an unknown key.
    fn keys_of(shape: Shape) -> Vec<String> {
        fn read<T: DeserializeOwned>() -> String {
            serde_json::from_str::<T>("{\"no such key\": 1}").map(drop).unwrap_err().to_string()
        }
        let error = match shape {
            Shape::Tei => read::<TeiRerank>(),
            Shape::Documents => read::<Rerank>(),
            Shape::Score => read::<ScoreBody>(),
            Shape::Voyage => read::<VoyageRerank>(),
            Shape::Mixedbread => read::<MixedbreadRerank>(),
            Shape::Nim => read::<NimRanking>(),
            Shape::DeepInfra => read::<DeepInfraScore>(),
            Shape::DashScope => read::<DashScopeRerank>(),
            Shape::DashScopeInput => read::<DashScopeInput>(),
            Shape::DashScopeParameters => read::<DashScopeParameters>(),
        };
        error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_key_of_a_service_is_read_and_every_key_that_is_read_is_in_the_list() {
        let all = imitated();
        for (service, shape, keys) in &all {
            let read = keys_of(*shape);
            for key in keys {
                assert!(read.iter().any(|read| read == key.name), "{service}: {}", key.name);
            }
            let of_shape = all.iter().filter(|(_, other, _)| other == shape);
            let listed: Vec<&str> = of_shape.flat_map(|(_, _, keys)| keys).map(|key| key.name).collect();
            // Extensions of lorank: `model`, `top_n` and `instruction` in TEI's format, passages in Cohere's, `raw_scores` for vLLM's
            // scores.
            let own: &[&str] = match shape {
                Shape::Tei => &["model", "top_n", "instruction"],
                Shape::Documents => &["passages", "passage_tokens", "stride"],
                Shape::Score => &["raw_scores"],
                _ => &[],
            };
            let is_unlisted = |key: &&String| !listed.contains(&key.as_str()) && !own.contains(&key.as_str());
            assert_eq!(read.iter().filter(is_unlisted).collect::<Vec<_>>(), [""; 0], "{service}");
        }
    }

    /// The error message for a request with an additional key.
    fn refusal(shape: Shape, key: &str, value: &str) -> Option<String> {
        fn read<T: DeserializeOwned>(body: &str, check: fn(&T) -> Result<(), ServerError>) -> Result<(), ServerError> {
            read_object("a request", body.as_bytes()).and_then(|body: T| check(&body))
        }
        let with = |rest: &str| format!("{{{rest}, \"{key}\": {value}}}");
        let documents = "\"query\": \"q\", \"documents\": [\"a\"]";
        let checked = match shape {
            Shape::Tei => read(&with("\"query\": \"q\", \"texts\": [\"a\"]"), TeiRerank::check),
            Shape::Documents => read(&with(documents), Rerank::check),
            Shape::Score => read(&with("\"text_1\": \"q\", \"text_2\": [\"a\"]"), ScoreBody::check),
            Shape::Voyage => read(&with(documents), VoyageRerank::check),
            Shape::Mixedbread => read(&with("\"query\": \"q\", \"input\": [\"a\"]"), MixedbreadRerank::check),
            Shape::Nim => {
                read(&with("\"query\": {\"text\": \"q\"}, \"passages\": [{\"text\": \"a\"}]"), NimRanking::check)
            }
            Shape::DeepInfra => read(&with("\"queries\": [\"q\"], \"documents\": [\"a\"]"), DeepInfraScore::check),
            Shape::DashScope | Shape::DashScopeInput | Shape::DashScopeParameters => Ok(()),
        };
        checked.err().map(|error| error.to_string())
    }

    #[test]
    fn a_key_takes_the_values_that_ask_for_what_is_done_and_no_other() {
        const OTHERS: [&str; 12] =
            ["1", "0", "-1", "16", "true", "false", "\"left\"", "\"Left\"", "\"x\"", "[1]", "{\"a\": 1}", "1.5"];
        for (service, shape, keys) in imitated() {
            for key in keys {
                match key.usage {
                    Honored => {}
                    NoEffect => {
                        for value in OTHERS.iter().chain(&["null"]) {
                            assert_eq!(refusal(shape, key.name, value), None, "{service} {} {value}", key.name);
                        }
                    }
                    Only(accepted, _) => {
                        for value in accepted.iter().chain(&["null"]) {
                            assert_eq!(refusal(shape, key.name, value), None, "{service} {} {value}", key.name);
                        }
                        for value in OTHERS.iter().filter(|value| !accepted.contains(*value)) {
                            let message = refusal(shape, key.name, value).expect(key.name);
                            assert!(message.contains(&format!("{}` cannot be ", key.name)), "{message}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_page_shows_the_list() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rerank-requests.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (before, rest) = page.split_once("<!-- keys -->\n").unwrap();
        let (_, after) = rest.split_once("<!-- end of keys -->\n").unwrap();
        let page_now = format!("{before}<!-- keys -->\n{}<!-- end of keys -->\n{after}", table());
        assert!(page == page_now, "the page should be:\n{page_now}");
    }

    fn table() -> String {
        let mut text = "\n| Request | Key | Here |\n|---|---|---|\n".to_owned();
        for (service, _, keys) in imitated() {
            for key in keys {
                let usage = match key.usage {
                    Honored => "honored".to_owned(),
                    NoEffect => "no effect on scores".to_owned(),
                    Only([], done) => format!("not supported: {done}"),
                    Only(accepted, done) => {
                        let accepted: Vec<String> = accepted.iter().map(|value| format!("`{value}`")).collect();
                        format!("only {}: {done}", accepted.join(" or "))
                    }
                };
                text += &format!("| {service} | `{}` | {usage} |\n", key.name);
            }
        }
        text + "\n"
    }
}
