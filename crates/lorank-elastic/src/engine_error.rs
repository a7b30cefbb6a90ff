//! The errors of the engine: their reasons, and who can fix them.

use lorank_core::shortened;
use serde_json::Value as Json;

use crate::Error;

/// The engine's own reason in the body of an error: the root cause with its causes, each once.
pub(crate) fn reason(body: &[u8]) -> String {
    let Ok(json) = serde_json::from_slice::<Json>(body) else {
        let text = String::from_utf8_lossy(body);
        return if text.trim().is_empty() { "no reason".to_owned() } else { shortened(text.trim()) };
    };
    let error = json.get("error").unwrap_or(&json);
    if let Some(text) =
        error.as_str().or_else(|| error.get("message")?.as_str()).or_else(|| json.get("message")?.as_str())
    {
        return shortened(text);
    }
    let root = error.get("root_cause").and_then(|causes| causes.get(0)).unwrap_or(error);
    let shard = error.get("failed_shards").and_then(|shards| shards.get(0)?.get("reason"));
    let mut parts = Vec::new();
    for cause in [Some(root), shard.or_else(|| error.get("caused_by"))].into_iter().flatten() {
        add_causes(cause, &mut parts);
    }
    if parts.is_empty() {
        return shortened(&error.to_string());
    }
    shortened(&parts.join(": "))
}

/// Whether an error is a lost connection between two nodes: of the error itself, its root cause or a failed shard. A node that dies
/// in the middle of a search is the usual reason.
pub(crate) fn is_lost_node(body: &[u8]) -> bool {
    let Ok(json) = serde_json::from_slice::<Json>(body) else { return false };
    let error = json.get("error").unwrap_or(&json);
    let list = |key: &str| error.get(key).and_then(Json::as_array).into_iter().flatten();
    let shards = list("failed_shards").filter_map(|shard| shard.get("reason"));
    let mut errors = [error].into_iter().chain(list("root_cause")).chain(shards);
    errors.any(|error| error.get("type").and_then(Json::as_str).is_some_and(|kind| LOST_NODE.contains(&kind)))
}

/// Errors of the transport between nodes, in OpenSearch and Elasticsearch.
const LOST_NODE: [&str; 5] = [
    "node_disconnected_exception",
    "node_not_connected_exception",
    "node_closed_exception",
    "connect_transport_exception",
    "send_request_transport_exception",
];

/// Adds the reason of an error and of its causes, without repeating any.
pub(crate) fn add_causes(error: &Json, parts: &mut Vec<String>) {
    let mut error = Some(error);
    while let Some(this) = error {
        let text = |key: &str| this.get(key).and_then(Json::as_str).filter(|text| !text.is_empty());
        let part = match (text("type"), text("reason")) {
            (Some(kind), Some(reason)) => Some(format!("{kind}: {reason}")),
            (kind, reason) => reason.or(kind).map(str::to_owned),
        };
        parts.extend(part.filter(|part| !parts.contains(part)));
        error = this.get("caused_by");
    }
}

/// The parts of a search that the caller brought, to which a refusal is attributed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CallersParts {
    pub syntax: bool,
    pub filters: bool,
    pub sort: bool,
    pub facets: bool,
}

impl CallersParts {
    /// The error for a refusal (status 400): the caller's if a part of the caller can be the reason, else the
    /// configuration's.
    pub(crate) fn refusal(self, status: u16, reason: String) -> Error {
        let says = |word: &str| reason.to_lowercase().contains(word);
        let parts = [
            ("sort", self.sort && says("sort")),
            ("facets", self.facets && says("aggregat")),
            ("query", self.syntax),
            ("filters", self.filters),
            ("sort", self.sort),
            ("facets", self.facets),
        ];
        match parts.into_iter().find(|(_, is_it)| *is_it) {
            Some((part, _)) => Error::InvalidQuery { part, message: format!("the search engine refuses it: {reason}") },
            None => Error::Refused { status, reason },
        }
    }
}

/// Checks the status of an answer.
///
/// # Errors
/// The engine's reason.
pub(crate) fn check(status: u16, body: Vec<u8>, index: &str, callers: CallersParts) -> Result<Vec<u8>, Error> {
    if (200..300).contains(&status) {
        return Ok(body);
    }
    let reason = reason(&body);
    Err(match status {
        401 | 403 => Error::Credentials { status, reason },
        404 => Error::NoIndex { index: index.to_owned(), reason },
        400 => callers.refusal(status, reason),
        _ => Error::Refused { status, reason },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_root_with_its_causes() {
        for (body, expected) in [
            (
                r#"{"error":{"root_cause":[{"type":"index_not_found_exception","reason":"no such index [nix]"}],"type":"index_not_found_exception","reason":"no such index [nix]"},"status":404}"#,
                "index_not_found_exception: no such index [nix]",
            ),
            (
                r#"{"error":{"root_cause":[{"type":"query_shard_exception","reason":"Failed to parse query [a AND]"}],"type":"search_phase_execution_exception","reason":"all shards failed","failed_shards":[{"shard":0,"reason":{"type":"query_shard_exception","reason":"Failed to parse query [a AND]","caused_by":{"type":"parse_exception","reason":"Cannot parse 'a AND'"}}}]},"status":400}"#,
                "query_shard_exception: Failed to parse query [a AND]: parse_exception: Cannot parse 'a AND'",
            ),
            (r#"{"error":"no handler found for uri [/x]"}"#, "no handler found for uri [/x]"),
            (r#"{"message":"index not found"}"#, "index not found"),
            (r#"{"status":400,"error":{"reason":"unknown field"}}"#, "unknown field"),
            ("Unauthorized", "Unauthorized"),
            ("", "no reason"),
        ] {
            assert_eq!(reason(body.as_bytes()), expected);
        }
    }

    #[test]
    fn a_refusal_is_the_callers_only_if_they_brought_something() {
        let sorted = CallersParts { sort: true, filters: true, ..CallersParts::default() };
        let part = |parts: CallersParts, reason: &str| match parts.refusal(400, reason.to_owned()) {
            Error::InvalidQuery { part, .. } => part,
            Error::Refused { .. } => "",
            error => panic!("{error}"),
        };
        assert_eq!(part(sorted, "No mapping found for [x] in order to sort on"), "sort");
        assert_eq!(part(sorted, "failed to parse date field"), "filters");
        assert_eq!(part(CallersParts { syntax: true, ..CallersParts::default() }, "Failed to parse query"), "query");
        assert_eq!(part(CallersParts::default(), "unknown query [nix]"), "");
    }
}
