//! The configuration of the first stage.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use crate::QueryTemplate;

/// The configuration of an [`ElasticFirstStage`](crate::ElasticFirstStage).
#[derive(Debug, Clone)]
pub struct ElasticConfig {
    /// The nodes of one cluster, at least one. Requests take turns, and go to another node if one fails.
    pub nodes: Vec<NodeUrl>,
    /// The index, alias or pattern that is searched.
    pub index: IndexPattern,
    /// The fields that the default query searches, with their boosts.
    pub search_fields: Vec<SearchField>,
    /// The field with the title that the reranker reads; `None` for no title.
    pub title_field: Option<String>,
    /// The fields with the text that the reranker reads, joined by spaces.
    pub text_fields: Vec<String>,
    /// The fields to return (`_source` filtering), besides title, text and id; `None` for all.
    pub source_fields: Option<Vec<String>>,
    /// The field with the document's id; `None` for the engine's `_id`.
    pub id_field: Option<String>,
    /// The search request to send, instead of the default query.
    pub query: Option<QueryTemplate>,
    /// The credentials.
    pub auth: Auth,
    /// The certificates (PEM) of the authorities that may sign the nodes' certificates; `None` for the public ones.
    pub ca: Option<Vec<u8>>,
    /// The time limit of a request without a deadline of its own.
    pub timeout: Duration,
    /// The time limit for connecting to a node, TLS included.
    pub connect_timeout: Duration,
    /// The maximum size of an answer, in bytes.
    pub answer_bytes_max: u64,
    /// The maximum number of idle connections per node.
    pub connections_max: NonZeroUsize,
    /// The number of matching documents up to which they are counted exactly (`track_total_hits`).
    pub total_hits_max: usize,
}

impl ElasticConfig {
    /// The defaults for an index: `title` and `text` are searched and read, without credentials.
    pub fn new(nodes: Vec<NodeUrl>, index: IndexPattern) -> Self {
        Self {
            nodes,
            index,
            search_fields: Self::default_search_fields(),
            title_field: Some("title".to_owned()),
            text_fields: vec!["text".to_owned()],
            source_fields: None,
            id_field: None,
            query: None,
            auth: Auth::None,
            ca: None,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(1),
            answer_bytes_max: 64 << 20,
            connections_max: NonZeroUsize::new(32).expect("not zero"),
            total_hits_max: 10_000,
        }
    }

    /// The fields that are searched by default: `title` and `text`.
    pub fn default_search_fields() -> Vec<SearchField> {
        ["title", "text"].map(|name| SearchField { name: name.to_owned(), boost: None }).to_vec()
    }
}

/// The address of a node: `http://` or `https://`, a host, and optionally a port and a path before the API's paths (as
/// `/api/v1/_elastic` for Quickwit).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUrl(String);

impl NodeUrl {
    /// The address without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NodeUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = |problem: &str| Err(format!("the address of a node {problem}"));
        let uri = text.parse::<ureq::http::Uri>();
        let Some((uri, authority)) = uri.ok().and_then(|uri| Some((uri.clone(), uri.authority()?.clone()))) else {
            return invalid("must be a URL such as `http://localhost:9200`");
        };
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return invalid("must begin with `http://` or `https://`");
        }
        // Not repeated in the message, because it may hold a password.
        if authority.as_str().contains('@') {
            return invalid("cannot have a user name or password; use the settings for credentials");
        }
        if uri.query().is_some() || text.contains('#') {
            return invalid("cannot have a query string or a fragment");
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

/// The name of an index or alias, a comma-separated list, or a pattern such as `docs-*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexPattern(String);

impl IndexPattern {
    /// The name or pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IndexPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for IndexPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_allowed = |c: char| c.is_alphanumeric() || "-_.,*:+".contains(c);
        // A leading underscore would name an endpoint of the API.
        if text.is_empty() || text.starts_with('_') || !text.chars().all(is_allowed) {
            return Err(format!("`{text}` is not the name of an index; names have letters, digits, `-`, `_` and `.`"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A searched field: `NAME`, or `NAME^BOOST`.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchField {
    /// The field's name; `*` stands for any characters.
    pub name: String,
    /// The factor for scores of this field; `None` for 1.
    pub boost: Option<f32>,
}

impl fmt::Display for SearchField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.boost {
            Some(boost) => write!(f, "{}^{boost}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl FromStr for SearchField {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, boost) = match text.split_once('^') {
            None => (text, None),
            Some((name, boost)) => match boost.parse::<f32>() {
                Ok(number) if number.is_finite() && number > 0.0 => (name, Some(number)),
                _ => return Err(format!("`{boost}` in `{text}` is not a boost; use a number above 0")),
            },
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(format!("`{text}` is not a field; use `NAME` or `NAME^BOOST`"));
        }
        Ok(Self { name: name.to_owned(), boost })
    }
}

/// Credentials for the engine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Auth {
    /// No credentials.
    #[default]
    None,
    /// A user name and a password.
    Basic {
        /// The user name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A bearer token.
    Bearer(Secret),
    /// An API key of Elasticsearch, in its encoded form.
    ApiKey(Secret),
}

/// A secret, which `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret, without white space at its ends.
    ///
    /// # Errors
    /// An empty secret, or one with characters that a header cannot have.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        match () {
            () if text.is_empty() => Err("the secret is empty".to_owned()),
            () if text.chars().any(char::is_control) => Err("the secret has more than one line".to_owned()),
            () => Ok(Self(text.to_owned())),
        }
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for (text, shown) in [
            ("http://localhost:9200", "http://localhost:9200"),
            ("https://search.example/", "https://search.example"),
            ("http://[::1]:7280/api/v1/_elastic/", "http://[::1]:7280/api/v1/_elastic"),
        ] {
            assert_eq!(text.parse::<NodeUrl>().unwrap().as_str(), shown);
        }
        for (text, part) in [
            ("localhost:9200", "must be"),
            ("", "must be a URL"),
            ("ftp://a", "must begin with"),
            ("http://user:secret@a", "cannot have a user name"),
            ("http://a/?x=1", "query string"),
            ("/only/a/path", "must be a URL"),
        ] {
            let error = text.parse::<NodeUrl>().unwrap_err();
            assert!(error.contains(part) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn names_of_indexes_name_no_endpoint() {
        for text in ["docs", "logs-*", "a,b", "Ünï", "remote:docs"] {
            assert!(text.parse::<IndexPattern>().is_ok(), "{text}");
        }
        for text in ["", "_all", "a/_doc", "a?x", "a b", "a%2f"] {
            assert!(text.parse::<IndexPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn fields_have_boosts() {
        for text in ["title^2", "text", "body.*^0.5"] {
            assert_eq!(text.parse::<SearchField>().unwrap().to_string(), text);
        }
        for text in ["", "^2", "a^", "a^0", "a^-1", "a^x", "a^inf", "a b"] {
            assert!(text.parse::<SearchField>().is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let auth = Auth::Basic { user: "u".to_owned(), password: Secret::new(" pass-word\n").unwrap() };
        assert_eq!(format!("{auth:?}"), "Basic { user: \"u\", password: (secret) }");
        assert!(Secret::new(" \n").is_err() && Secret::new("a\nb").is_err());
    }
}
