//! Published rerankers whose prompts are built in.
//!
//! Their files do not contain the prompt, only the model's card or its own package does. They are recognized by their
//! names.

use crate::score_tokens::NamedTokens;
use crate::template::TokenNames;
use crate::whole::{Whole, WholeTemplates};

/// A published reranker.
#[derive(Debug)]
pub(crate) struct KnownModel {
    /// What its name contains, in lower case and without separators.
    name: &'static [&'static str],
    model_type: &'static str,
    /// The template with an instruction; its parts are encoded one by one.
    instructed: &'static [&'static str],
    /// The template without an instruction.
    plain: Option<&'static [&'static str]>,
    pub(crate) instruction: Option<&'static str>,
    pub(crate) max_length: usize,
    positive: &'static str,
    negative: Option<&'static str>,
}

/// The task of mxbai-rerank-v2, after the document.
const MXBAI_TASK: &str = "You are a search relevance expert who evaluates how well documents match search queries. For each query-document \
     pair, carefully analyze the semantic relationship between them, then provide your binary relevance judgment (0 for \
     not relevant, 1 for relevant).\nRelevance:";

const MXBAI_START: &str = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful \
                           assistant.<|im_end|>\n<|im_start|>user\n";

const CHAT_END: &str = "<|im_end|>\n<|im_start|>assistant\n";

const ALL: [KnownModel; 3] = [
    // The cards of Qwen3-Reranker-0.6B, 4B and 8B.
    KnownModel {
        name: &["qwen3reranker"],
        model_type: "qwen3",
        instructed: &[
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct \
             provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n",
            "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
            "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ],
        plain: None,
        instruction: Some("Given a web search query, retrieve relevant passages that answer the query"),
        max_length: 8192,
        positive: "yes",
        negative: Some("no"),
    },
    // The package mxbai-rerank, `MxbaiRerankV2`.
    KnownModel {
        name: &["mxbairerank", "v2"],
        model_type: "qwen2",
        instructed: &[
            MXBAI_START,
            "instruction: {instruction}\nquery: {query}",
            "\n",
            "document: {document}",
            "\n",
            MXBAI_TASK,
            CHAT_END,
        ],
        plain: Some(&[MXBAI_START, "query: {query}", "\n", "document: {document}", "\n", MXBAI_TASK, CHAT_END]),
        instruction: None,
        max_length: 8192,
        positive: "1",
        negative: Some("0"),
    },
    // The card of bge-reranker-v2-gemma, `get_inputs`.
    KnownModel {
        name: &["bgererankerv2gemma"],
        model_type: "gemma",
        instructed: &["{bos}", "A: {query}", "\n", "B: {document}", "\n", "{instruction}"],
        plain: None,
        instruction: Some(
            "Given a query A and a passage B, determine whether the passage contains an answer to the query by \
             providing a prediction of either 'Yes' or 'No'.",
        ),
        max_length: 1024,
        positive: "Yes",
        negative: None,
    },
];

impl KnownModel {
    /// The known model of this `model_type` with one of these names.
    pub(crate) fn find(model_type: &str, names: &[&str]) -> Option<&'static Self> {
        const { &ALL }
            .iter()
            .find(|known| known.model_type == model_type && names.iter().any(|name| known.is_named(name)))
    }

    fn is_named(&self, name: &str) -> bool {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        self.name.iter().all(|part| plain.contains(part))
    }

    /// Its templates.
    pub(crate) fn templates(&self, tokens: &TokenNames) -> Result<WholeTemplates, String> {
        let plain = self.plain.map(|parts| Whole::parse(parts, tokens)).transpose()?;
        WholeTemplates::new(Whole::parse(self.instructed, tokens)?, plain)
    }

    /// The tokens whose logits are the score.
    pub(crate) fn score_tokens(&self) -> NamedTokens {
        NamedTokens::texts(self.positive, self.negative)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_known_by_their_names() {
        let max_length = |model_type, name| KnownModel::find(model_type, &[name]).map(|known| known.max_length);
        for (model_type, name) in [
            ("qwen3", "Qwen/Qwen3-Reranker-0.6B"),
            ("qwen3", "qwen3_reranker_8b"),
            ("qwen2", "mixedbread-ai/mxbai-rerank-large-v2"),
            ("gemma", "bge-reranker-v2-gemma"),
        ] {
            assert!(max_length(model_type, name).is_some(), "{name}");
        }
        for (model_type, name) in [
            ("qwen3", "Qwen/Qwen3-0.6B"),
            ("qwen2", "Qwen3-Reranker-0.6B"),
            ("qwen2", "mixedbread-ai/mxbai-rerank-base-v1"),
            ("gemma", "bge-reranker-v2-m3"),
        ] {
            assert_eq!(max_length(model_type, name), None, "{name}");
        }
    }

    #[test]
    fn the_built_in_templates_are_valid() {
        for known in &ALL {
            let templates = known.templates(&[("bos", "<bos>".to_owned())]).unwrap();
            assert!(templates.choose(known.instruction).is_ok(), "{:?}", known.name);
        }
    }
}
