//! An engine of its own as the first stage: its settings, and its documents, which belong to it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lorank_core::{DocumentId, Fields};
use lorank_elastic::{Auth, ElasticConfig, ElasticFirstStage, Error as ElasticError, Secret};
use lorank_http::{
    BulkForm, BulkLimits, DocumentError, DocumentHost, DocumentSelection, DocumentStats, FieldStats, LineOutcome,
};

use crate::Error;
use crate::config::ElasticSection;

/// Secrets that are given directly, instead of in files. `Debug` does not show them.
#[derive(Debug, Clone, Default)]
pub struct ElasticSecrets {
    /// The password of `elastic.user`.
    pub password: Option<Secret>,
    /// A bearer token.
    pub bearer: Option<Secret>,
    /// An API key.
    pub api_key: Option<Secret>,
}

impl ElasticSection {
    /// Opens the first stage. Reads the files of the settings, and does not connect to the engine.
    ///
    /// # Errors
    /// A missing or contradictory setting, or a file that cannot be read.
    pub fn open(&self, secrets: &ElasticSecrets) -> Result<ElasticFirstStage, Error> {
        let missing = |setting, flag: &str| setting_error(setting, format!("is missing; set it ({flag})"));
        if self.urls.is_empty() {
            return Err(missing("elastic.urls", "--elastic-url"));
        }
        let index = self.index.clone().ok_or_else(|| missing("elastic.index", "--elastic-index"))?;
        let query = self.query_file.as_deref().map(|path| {
            let text = read(path, "elastic.query_file")?;
            let invalid =
                |problem: String| setting_error("elastic.query_file", format!("(`{}`) {problem}", path.display()));
            String::from_utf8_lossy(&text).parse().map_err(invalid)
        });
        let config = ElasticConfig {
            search_fields: self.search_fields.clone(),
            title_field: Some(self.title_field.clone().unwrap_or_else(|| "title".to_owned())),
            text_fields: self.text_fields.clone(),
            source_fields: Some(self.source_fields.clone()).filter(|fields| !fields.is_empty()),
            id_field: self.id_field.clone(),
            query: query.transpose()?,
            auth: self.auth(secrets)?,
            ca: self.ca_file.as_deref().map(|path| read(path, "elastic.ca_file")).transpose()?,
            timeout: Duration::from_millis(self.timeout_millis),
            connect_timeout: Duration::from_millis(self.connect_millis),
            answer_bytes_max: self.answer_bytes_max,
            connections_max: self.connections_max,
            total_hits_max: self.total_hits_max,
            ..ElasticConfig::new(self.urls.clone(), index)
        };
        Ok(ElasticFirstStage::new(config)?)
    }

    fn auth(&self, secrets: &ElasticSecrets) -> Result<Auth, Error> {
        let secret = |file: &Option<PathBuf>, given: &Option<Secret>, setting| match (file, given) {
            (Some(_), Some(_)) => {
                Err(setting_error(setting, "is set, and so is the variable with the secret; unset one".to_owned()))
            }
            (Some(path), None) => {
                let text = read(path, setting)?;
                let secret = Secret::new(&String::from_utf8_lossy(&text));
                let invalid = |problem| setting_error(setting, format!("(`{}`): {problem}", path.display()));
                Ok(Some(secret.map_err(invalid)?))
            }
            (None, given) => Ok(given.clone()),
        };
        let password = secret(&self.password_file, &secrets.password, "elastic.password_file")?;
        let bearer = secret(&self.bearer_file, &secrets.bearer, "elastic.bearer_file")?;
        let api_key = secret(&self.api_key_file, &secrets.api_key, "elastic.api_key_file")?;
        match (&self.user, password, bearer, api_key) {
            (None, None, None, None) => Ok(Auth::None),
            (Some(user), Some(password), None, None) => Ok(Auth::Basic { user: user.clone(), password }),
            (None, None, Some(token), None) => Ok(Auth::Bearer(token)),
            (None, None, None, Some(key)) => Ok(Auth::ApiKey(key)),
            (Some(_), None, None, None) => Err(setting_error(
                "elastic.user",
                "has no password; set `elastic.password_file` (--elastic-password-file) or LORANK_ELASTIC_PASSWORD"
                    .to_owned(),
            )),
            (None, Some(_), None, None) => {
                Err(setting_error("elastic.user", "is missing for the password; set it (--elastic-user)".to_owned()))
            }
            _ => Err(setting_error(
                "elastic.user",
                "is one of several kinds of credentials; use a user with a password, a bearer token or an API key"
                    .to_owned(),
            )),
        }
    }
}

pub(crate) fn setting_error(setting: &'static str, problem: String) -> Error {
    Error::Elastic(ElasticError::Config { setting, problem })
}

fn read(path: &Path, setting: &'static str) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::ElasticFile { setting, path: path.to_owned(), source })
}

/// The documents of an engine, which lorank reads and does not change.
pub(crate) struct ElasticDocuments(pub Arc<ElasticFirstStage>);

/// The engine's documents change in the engine.
const FOREIGN: DocumentError = DocumentError::Foreign { engine: "the search engine" };

impl DocumentHost for ElasticDocuments {
    fn check_writable(&self) -> Result<(), DocumentError> {
        Err(FOREIGN)
    }

    fn get(&self, id: &DocumentId) -> Result<Option<Fields>, DocumentError> {
        self.0.document(id).map_err(failed)
    }

    fn add(&self, _: Box<dyn Read + Send>, _: BulkForm, _: BulkLimits) -> Result<Vec<LineOutcome>, DocumentError> {
        Err(FOREIGN)
    }

    fn delete(&self, _: &DocumentId) -> Result<bool, DocumentError> {
        Err(FOREIGN)
    }

    fn delete_matching(&self, _: DocumentSelection) -> Result<u64, DocumentError> {
        Err(FOREIGN)
    }

    fn stats(&self) -> Result<DocumentStats, DocumentError> {
        let stats = self.0.stats().map_err(failed)?;
        Ok(DocumentStats {
            n_documents: stats.n_documents,
            n_segments: usize::try_from(stats.n_segments).unwrap_or(usize::MAX),
            bytes_on_disk: stats.bytes_on_disk,
        })
    }

    fn fields(&self) -> Result<Option<Vec<FieldStats>>, DocumentError> {
        let searched = &self.0.config().search_fields;
        let boost = |name: &str| {
            let found = searched.iter().find(|field| field.name == name)?;
            Some(found.boost.unwrap_or(1.0))
        };
        let fields = self.0.fields().map_err(failed)?.into_iter().map(|field| FieldStats {
            boost: boost(&field.name),
            types: field.values.into_iter().collect(),
            name: field.name,
        });
        let (searched, others): (Vec<_>, Vec<_>) = fields.partition(|field| field.boost.is_some());
        Ok(Some(searched.into_iter().chain(others).collect()))
    }
}

fn failed(source: ElasticError) -> DocumentError {
    DocumentError::Engine { message: source.to_string(), kind: source.kind() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(change: impl FnOnce(&mut ElasticSection)) -> ElasticSection {
        let mut section = ElasticSection {
            urls: vec!["http://localhost:9200".parse().unwrap()],
            index: Some("articles".parse().unwrap()),
            ..ElasticSection::default()
        };
        change(&mut section);
        section
    }

    #[test]
    fn credentials_are_of_one_kind() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "open sesame\n").unwrap();
        let given = || Some(Secret::new("open sesame").unwrap());
        let (none, by_variable) =
            (ElasticSecrets::default(), ElasticSecrets { password: given(), ..ElasticSecrets::default() });
        let user = |section: &mut ElasticSection| section.user = Some("ali".to_owned());
        let basic = Auth::Basic { user: "ali".to_owned(), password: given().unwrap() };
        assert_eq!(section(|_| ()).auth(&none).unwrap(), Auth::None);
        assert_eq!(section(user).auth(&by_variable).unwrap(), basic);
        let in_file = section(|section| {
            user(section);
            section.password_file = Some(file.clone());
        });
        assert_eq!(in_file.auth(&none).unwrap(), basic);
        let key = section(|section| section.api_key_file = Some(file.clone()));
        assert_eq!(key.auth(&none).unwrap(), Auth::ApiKey(given().unwrap()));
        for (section, secrets, part) in [
            (section(user), &none, "has no password"),
            (section(|_| ()), &by_variable, "is missing for the password"),
            (in_file, &by_variable, "so is the variable"),
            (key, &by_variable, "one of several kinds"),
            (section(|section| section.bearer_file = Some("/nowhere".into())), &none, "could not read `/nowhere`"),
        ] {
            let error = section.auth(secrets).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(!error.contains("sesame"), "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let query = folder.path().join("query.json");
        std::fs::write(&query, r#"{"query": {"match_all": {}}}"#).unwrap();
        for (section, part) in [
            (section(|section| section.urls.clear()), "--elastic-url"),
            (section(|section| section.index = None), "--elastic-index"),
            (section(|section| section.query_file = Some(query.clone())), "does not have `{{query}}`"),
            (section(|section| section.text_fields.clear()), "`elastic.text_fields` is empty"),
        ] {
            let error = section.open(&ElasticSecrets::default()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
