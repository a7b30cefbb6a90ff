//! The score cache that several servers share: from its settings to its store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lorank_cache::{RedisConfig, RedisScores};
use lorank_pipeline::SharedScoresConfig;

use crate::Error;
use crate::config::CacheSection;

impl CacheSection {
    /// The shared score cache, if its address is set. Reads the files of the settings, and does not connect.
    ///
    /// # Errors
    /// A contradictory setting, or a file that cannot be read.
    pub(crate) fn shared(&self) -> Result<Option<SharedScoresConfig>, Error> {
        let Some(url) = &self.url else { return self.check_without_url().map(|()| None) };
        let password = self.password_file.as_deref().map(|path| read(path, "cache.password_file")).transpose()?;
        let config = RedisConfig {
            url: url.clone(),
            password: password.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()),
            ca: self.ca_file.as_deref().map(|path| read(path, "cache.ca_file")).transpose()?,
            is_cluster: self.cluster,
            ttl: Duration::from_secs(self.ttl_seconds.get() as u64),
        };
        let limit = Duration::from_millis(self.timeout_millis.get() as u64);
        tracing::info!(%url, "sharing scores with other servers");
        Ok(Some(SharedScoresConfig { store: Arc::new(RedisScores::new(&config)?), limit }))
    }

    fn check_without_url(&self) -> Result<(), Error> {
        for (is_set, setting) in [
            (self.cluster, "cache.cluster"),
            (self.password_file.is_some(), "cache.password_file"),
            (self.ca_file.is_some(), "cache.ca_file"),
        ] {
            if is_set {
                return Err(Error::CacheWithoutUrl { setting });
            }
        }
        Ok(())
    }
}

fn read(path: &Path, setting: &'static str) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::CacheFile { setting, path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut CacheSection), part_of_error: Option<&str>) {
        let mut section = CacheSection::default();
        change(&mut section);
        match (section.shared(), part_of_error) {
            (Ok(found), None) => assert_eq!(found.is_some(), section.url.is_some()),
            (Err(error), Some(part)) => {
                let error = lorank_core::with_causes(&error);
                assert!(error.contains(part) && !error.contains("sesame"), "{error}");
            }
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, "sesame\n").unwrap();
        let url = |text: &str| Some(text.parse().unwrap());
        check(|_| (), None);
        check(|section| section.url = url("redis://:sesame@localhost"), None);
        check(
            |section| {
                section.url = url("redis://localhost");
                section.password_file = Some(password.clone());
            },
            None,
        );
        check(
            |section| {
                section.url = url("redis://:sesame@localhost");
                section.password_file = Some(password.clone());
            },
            Some("has a password, and another one is given"),
        );
        check(|section| section.cluster = true, Some("`cache.cluster` is set"));
        check(|section| section.password_file = Some(password.clone()), Some("`cache.password_file` is set"));
        check(
            |section| {
                section.url = url("rediss://localhost");
                section.ca_file = Some("/nowhere".into());
            },
            Some("could not read `/nowhere`, which is `cache.ca_file`"),
        );
    }

    #[test]
    fn what_is_shown_has_no_password() {
        let section = CacheSection { url: Some("redis://ali:sesame@localhost".parse().unwrap()), ..Default::default() };
        let shown = serde_json::to_string(&section).unwrap() + &format!("{section:?}");
        assert!(shown.contains("redis://ali:***@localhost") && !shown.contains("sesame"), "{shown}");
    }
}
