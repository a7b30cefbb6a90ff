//! The sources from which adapters may be added over HTTP.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A source from which adapters may be added over HTTP: a folder and its subfolders, the hub (`hf://`), or one owner on
/// the hub (`hf://owner`). A client that may add adapters can neither read other files nor make the server download
/// from other hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedSource(String);

impl fmt::Display for AllowedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AllowedSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl AllowedSource {
    /// The allowed folder, if this is a folder.
    pub(crate) fn folder(&self) -> Option<&Path> {
        (!self.0.starts_with("hf://")).then(|| Path::new(&self.0))
    }

    /// Whether `source` is allowed.
    pub(crate) fn allows(&self, source: &str) -> bool {
        match (self.0.strip_prefix("hf://"), source.strip_prefix("hf://")) {
            (Some(""), Some(_)) => true,
            (Some(owner), Some(name)) => {
                let rest = name.strip_prefix(owner.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '@']))
            }
            (None, None) => is_below(Path::new(source), Path::new(&self.0)),
            _ => false,
        }
    }
}

/// Resolves links and `..` first, because the real location decides.
fn is_below(path: &Path, folder: &Path) -> bool {
    match (path.canonicalize(), folder.canonicalize()) {
        (Ok(path), Ok(folder)) => path.starts_with(folder),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allowed: &str, source: &str, expected: bool) {
        let allowed: AllowedSource = allowed.parse().unwrap_or_else(|never| match never {});
        assert_eq!(allowed.allows(source), expected, "{source} under {allowed:?}");
    }

    #[test]
    fn the_hub_is_allowed_whole_or_by_owner_or_by_name() {
        check("hf://", "hf://owner/name@v1", true);
        check("hf://owner", "hf://owner/name", true);
        check("hf://owner/", "hf://owner/name", true);
        check("hf://owner/name", "hf://owner/name@v1", true);
        check("hf://owner/name", "hf://owner/name-2", false);
        check("hf://owner", "hf://owner2/name", false);
        check("hf://owner", "/etc", false);
    }

    #[test]
    fn a_folder_is_left_by_no_path_and_no_link() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("models/qa");
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::create_dir_all(folder.path().join("secret")).unwrap();
        let models = folder.path().join("models");
        let models = models.to_str().unwrap();
        check(models, inside.to_str().unwrap(), true);
        check(models, &format!("{models}/qa/../qa"), true);
        check(models, &format!("{models}/../secret"), false);
        check(models, &format!("{models}/missing"), false);
        check(models, "minilm-qa", false);
        check(models, "hf://owner/name", false);
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(folder.path().join("secret"), inside.join("link")).unwrap();
            check(models, &format!("{models}/qa/link"), false);
        }
    }
}
