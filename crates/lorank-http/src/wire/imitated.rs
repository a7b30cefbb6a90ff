//! The keys of the services whose requests are imitated, and what becomes of each: the one list, which `docs/rerank-requests.md`
//! shows and the requests are held to.
//!
//! Nothing that changes a result is left aside: a key is honored, or without effect on results there as here, or it takes only the
//! values that ask for what is done anyway.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::ServerError;

/// The longest string of a [`Given`] value that is kept, in characters: to compare and to show.
const SHOWN_CHARS_MAX: usize = 60;

/// The value of a key that takes few values, as compact JSON, as far as it can be one of them. Null is as good as missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Given(Option<String>);

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    /// It does here what it does there.
    Honored,
    /// Neither scores nor their order depend on it.
    NoEffect,
    /// These values, as compact JSON, ask for what is done anyway; others are refused.
    Only(&'static [&'static str], &'static str),
}

/// A key of an imitated service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImitatedKey {
    /// The key.
    pub name: &'static str,
    /// What becomes of it.
    pub usage: Usage,
}

use Usage::{Honored, NoEffect, Only};

const fn key(name: &'static str, usage: Usage) -> ImitatedKey {
    ImitatedKey { name, usage }
}

const CUT_AT_END: &str = "what is longer than the model's limit is cut at its end";
const ONE_TEXT: &str = "a document is scored as one text, cut at the model's limit";
const OWN_LIMIT: &str = "a pair is cut to the model's limit, and `max_tokens_per_doc` cuts documents";
const OWN_PROMPT: &str = "the prompt is the model's or the adapter's own";
const TEXTS_ALONE: &str = "texts alone are scored";
const NO_PRIORITIES: &str = "requests have no priorities, and share the model in fair parts";
const SHARED_CACHE: &str = "the score cache serves all callers";
const ONE_SCORE: &str = "a model gives one score; `use_activation` is about its sigmoid";
const SCORES_ALONE: &str = "scores alone are returned";
const SPECIAL_TOKENS: &str = "special tokens are part of the model's prompt";

/// Keys of all requests in vLLM's shape beside their texts.
const PRIORITY: ImitatedKey = key("priority", Only(&["0"], NO_PRIORITIES));

/// `POST /rerank` of text-embeddings-inference.
pub(crate) const TEI_KEYS: &[ImitatedKey] = &[
    key("query", Honored),
    key("texts", Honored),
    key("raw_scores", Honored),
    key("return_text", Honored),
    key("truncate", Only(&["true"], CUT_AT_END)),
    key("truncation_direction", Only(&["\"right\"", "\"Right\""], CUT_AT_END)),
];

/// `POST /v1/rerank` of Cohere.
pub(crate) const COHERE_V1_KEYS: &[ImitatedKey] = &[
    key("model", Honored),
    key("query", Honored),
    key("documents", Honored),
    key("top_n", Honored),
    key("rank_fields", Honored),
    key("return_documents", Honored),
    key("max_chunks_per_doc", Only(&["1"], ONE_TEXT)),
];

/// `POST /v2/rerank` of Cohere.
pub(crate) const COHERE_V2_KEYS: &[ImitatedKey] = &[
    key("model", Honored),
    key("query", Honored),
    key("documents", Honored),
    key("top_n", Honored),
    key("return_documents", Honored),
    key("max_tokens_per_doc", Honored),
    PRIORITY,
];

/// `POST /v1/rerank` of Jina.
pub(crate) const JINA_KEYS: &[ImitatedKey] = &[
    key("model", Honored),
    key("query", Honored),
    key("documents", Honored),
    key("top_n", Honored),
    key("return_documents", Honored),
    key("truncation", Only(&["true"], CUT_AT_END)),
    key("max_doc_length", Only(&[], OWN_LIMIT)),
    key("max_query_length", Only(&[], OWN_LIMIT)),
    key("return_embeddings", Only(&["false"], SCORES_ALONE)),
];

/// What vLLM's requests have in common.
const VLLM_OPTIONS: [ImitatedKey; 16] = [
    key("model", Honored),
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
    key("instruction", Only(&[], OWN_PROMPT)),
    key("cache_salt", Only(&[], SHARED_CACHE)),
    key("softmax", Only(&[], ONE_SCORE)),
];

/// `POST /rerank`, `/v1/rerank` and `/v2/rerank` of vLLM, beside [`VLLM_OPTIONS`].
const VLLM_RERANK_TEXTS: &[ImitatedKey] = &[
    key("query", Honored),
    key("documents", Honored),
    key("top_n", Honored),
    key("add_special_tokens", Only(&["true"], SPECIAL_TOKENS)),
];

/// `POST /score` and `/v1/score` of vLLM, beside [`VLLM_OPTIONS`].
const VLLM_SCORE_TEXTS: &[ImitatedKey] = &[
    key("text_1", Honored),
    key("queries", Honored),
    key("data_1", Honored),
    key("text_2", Honored),
    key("documents", Honored),
    key("items", Honored),
    key("data_2", Honored),
    key("add_special_tokens", Only(&["true"], SPECIAL_TOKENS)),
];

/// The keys that each imitated request has there.
pub(crate) fn imitated() -> [(&'static str, Vec<ImitatedKey>); 6] {
    [
        ("text-embeddings-inference `/rerank`", TEI_KEYS.to_vec()),
        ("Cohere `/v1/rerank`", COHERE_V1_KEYS.to_vec()),
        ("Cohere `/v2/rerank`", COHERE_V2_KEYS.to_vec()),
        ("Jina `/v1/rerank`", JINA_KEYS.to_vec()),
        ("vLLM `/rerank`", [VLLM_RERANK_TEXTS, &VLLM_OPTIONS].concat()),
        ("vLLM `/score`", [VLLM_SCORE_TEXTS, &VLLM_OPTIONS].concat()),
    ]
}

/// Refuses values that ask for something else than is done anyway.
pub(crate) fn check_given<const N: usize>(given: [(&'static str, &Given); N]) -> Result<(), ServerError> {
    let keys: Vec<ImitatedKey> = imitated().into_iter().flat_map(|(_, keys)| keys).collect();
    for (name, Given(value)) in given {
        let (Some(value), Some(key)) = (value, keys.iter().find(|key| key.name == name)) else { continue };
        let Only(accepted, done) = key.usage else { continue };
        if !accepted.contains(&value.as_str()) {
            let alone =
                accepted.last().map_or("leave it out".to_owned(), |only| format!("leave it out, or send {only}"));
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

/// Reads any value, and keeps nothing of what is within an array or an object.
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
    use super::*;
    use crate::json::read_object;
    use crate::wire::{Rerank, ScoreBody, TeiRerank};

    /// The keys that a request reads, from the error that names one that it does not.
    fn keys_of<T: serde::de::DeserializeOwned>() -> Vec<String> {
        let error = serde_json::from_str::<T>("{\"no such key\": 1}").map(drop).unwrap_err().to_string();
        error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_key_of_a_service_is_read_and_every_key_that_is_read_is_in_the_list() {
        let read = [keys_of::<TeiRerank>(), keys_of::<Rerank>(), keys_of::<ScoreBody>()];
        // lorank's own: `model` for TEI's shape, `raw_scores` for the others'.
        let mut listed = [vec!["model"], vec!["raw_scores"], vec!["raw_scores"]];
        for ((service, keys), place) in imitated().iter().zip([0, 1, 1, 1, 1, 2]) {
            for key in keys {
                assert!(read[place].iter().any(|read| read == key.name), "{service}: {}", key.name);
                listed[place].push(key.name);
            }
        }
        for (read, listed) in read.iter().zip(&listed) {
            let unlisted: Vec<&String> = read.iter().filter(|key| !listed.contains(&key.as_str())).collect();
            assert_eq!(unlisted, [""; 0]);
        }
    }

    /// The message for a request with one key more, by the place of its service.
    fn refusal(service: usize, key: &str, value: &str) -> Option<String> {
        let checked = match service {
            0 => {
                let body = format!("{{\"query\": \"q\", \"texts\": [\"a\"], \"{key}\": {value}}}");
                read_object("a request", body.as_bytes()).and_then(|body: TeiRerank| body.check())
            }
            5 => {
                let body = format!("{{\"text_1\": \"q\", \"text_2\": [\"a\"], \"{key}\": {value}}}");
                read_object("a request", body.as_bytes()).and_then(|body: ScoreBody| body.check())
            }
            _ => {
                let body = format!("{{\"query\": \"q\", \"documents\": [\"a\"], \"{key}\": {value}}}");
                read_object("a request", body.as_bytes()).and_then(|body: Rerank| body.check())
            }
        };
        checked.err().map(|error| error.to_string())
    }

    #[test]
    fn a_key_takes_the_values_that_ask_for_what_is_done_and_no_other() {
        const OTHERS: [&str; 12] =
            ["1", "0", "-1", "16", "true", "false", "\"left\"", "\"Left\"", "\"x\"", "[1]", "{\"a\": 1}", "1.5"];
        for (service, (_, keys)) in imitated().iter().enumerate() {
            for key in keys {
                match key.usage {
                    Honored => {}
                    NoEffect => {
                        for value in OTHERS.iter().chain(&["null"]) {
                            assert_eq!(refusal(service, key.name, value), None, "{} {value}", key.name);
                        }
                    }
                    Only(accepted, _) => {
                        for value in accepted.iter().chain(&["null"]) {
                            assert_eq!(refusal(service, key.name, value), None, "{} {value}", key.name);
                        }
                        for value in OTHERS.iter().filter(|value| !accepted.contains(*value)) {
                            let message = refusal(service, key.name, value).expect(key.name);
                            assert!(message.starts_with(&format!("`{}` cannot be ", key.name)), "{message}");
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
        for (service, keys) in imitated() {
            for key in keys {
                let usage = match key.usage {
                    Honored => "honored".to_owned(),
                    NoEffect => "no effect on scores".to_owned(),
                    Only([], done) => format!("refused: {done}"),
                    Only(accepted, done) => {
                        let accepted: Vec<String> = accepted.iter().map(|value| format!("`{value}`")).collect();
                        format!("{} alone: {done}", accepted.join(" or "))
                    }
                };
                text += &format!("| {service} | `{}` | {usage} |\n", key.name);
            }
        }
        text + "\n"
    }
}
