//! The paths below an index.

/// The paths that also exist below each index, such as `/v1/indexes/{index}/search` for `/v1/search`.
pub(crate) const PATHS: [&str; 4] = ["/v1/search", "/v1/compare", "/v1/documents", "/v1/documents/{id}"];

/// A path of [`PATHS`] below an index.
pub(crate) fn path_below(path: &str) -> String {
    path.replacen("/v1/", "/v1/indexes/{index}/", 1)
}
