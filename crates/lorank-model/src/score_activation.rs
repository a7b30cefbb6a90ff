//! The activation in a model's configuration.

use lorank_core::Activation;
use serde_json::Value;

/// The activation of a cross-encoder: `activation_fn` in `config_sentence_transformers.json`, if that exists
/// (`encoder`); in `config.json`, `sentence_transformers.activation_fn`, or formerly
/// `sbert_ce_default_activation_function`. As in a `CrossEncoder`, the default is the sigmoid, but none with several labels.
///
/// The published code of Qwen3-Reranker, mxbai-rerank-v2 and bge-reranker-v2-gemma computes probabilities with the sigmoid
/// of the logit, if at all, and their configurations name no activation.
///
/// It does not affect lorank's scores; the routes that are compatible with other services apply it.
pub(crate) fn score_activation(config: &[u8], encoder: Option<&[u8]>, n_labels: usize) -> Activation {
    let config: Value = serde_json::from_slice(config).unwrap_or_default();
    let encoder: Value = encoder.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default();
    let named = [
        &encoder["activation_fn"],
        &config["sentence_transformers"]["activation_fn"],
        &config["sbert_ce_default_activation_function"],
    ];
    let Some(path) = named.into_iter().find_map(Value::as_str) else {
        return if n_labels > 1 { Activation::Identity } else { Activation::default() };
    };
    // The path of a class: `torch.nn.modules.linear.Identity`.
    match path.rsplit('.').next() {
        Some("Identity") => Activation::Identity,
        Some("Sigmoid") => Activation::Sigmoid,
        _ => {
            tracing::warn!("the model's activation `{path}` is not supported; routes that apply it use the sigmoid");
            Activation::Sigmoid
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_activation_is_the_configurations_own() {
        for (config, expected) in [
            ("{}", Activation::Sigmoid),
            (
                r#"{"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}"#,
                Activation::Identity,
            ),
            (
                r#"{"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}"#,
                Activation::Sigmoid,
            ),
            (r#"{"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}"#, Activation::Identity),
            (r#"{"sbert_ce_default_activation_function": null}"#, Activation::Sigmoid),
            (r#"{"sentence_transformers": {"version": "5.0.0"}}"#, Activation::Sigmoid),
            (
                r#"{"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}}"#,
                Activation::Sigmoid,
            ),
        ] {
            assert_eq!(score_activation(config.as_bytes(), None, 1), expected, "{config}");
        }
        let encoder = br#"{"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.linear.Identity"}"#;
        assert_eq!(score_activation(b"{}", Some(encoder), 1), Activation::Identity);
        assert_eq!(score_activation(b"{}", Some(br#"{"activation_fn": null}"#), 1), Activation::Sigmoid);
        assert_eq!(score_activation(b"{}", None, 3), Activation::Identity);
    }
}
