//! Suggestions for misspelled names.

/// Longer names are not misspellings of names that lorank knows, and comparing them would take long.
const NAME_BYTES_MAX: usize = 64;

/// The known name nearest to an unknown one, if any is near: it differs only in case and separators, or by at most one
/// edit (insertion, deletion, substitution, transposition of neighbors) per three characters. Ties go to the first.
pub fn nearest_name<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let plain = plain(name);
    let n_edits_max = plain.chars().count() / 3;
    let distance = |known: &str| strsim::damerau_levenshtein(&plain, &self::plain(known));
    let near = known.into_iter().map(|known| (distance(known), known));
    let (_, nearest) = near.filter(|(n_edits, _)| *n_edits <= n_edits_max).min_by_key(|(n_edits, _)| *n_edits)?;
    Some(nearest)
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | '.' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_find_the_name_that_was_meant() {
        let known = ["query", "documents", "top_n", "rank_fields", "return_documents", "use_activation"];
        for (name, expected) in [
            ("topn", Some("top_n")),
            ("topN", Some("top_n")),
            ("Top-N", Some("top_n")),
            ("top_k", Some("top_n")),
            ("qeury", Some("query")),
            ("querry", Some("query")),
            ("document", Some("documents")),
            ("documnets", Some("documents")),
            ("returnDocuments", Some("return_documents")),
            ("rank_field", Some("rank_fields")),
            ("use_activations", Some("use_activation")),
            ("overwrite", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest_name(name, known), expected, "{name}");
        }
        assert_eq!(nearest_name(&"a".repeat(1 << 20), known), None);
        assert_eq!(nearest_name("a", [""; 0]), None);
    }
}
