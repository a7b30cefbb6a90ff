//! Credentials and other options of a store.

use std::fmt;

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use crate::Error;
use crate::address::StoreKind;

/// Credentials and other options of a store. `Debug` does not show them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StoreOptions {
    variables: Vec<(String, String)>,
    ca: Option<Vec<u8>>,
}

impl StoreOptions {
    /// The options among environment variables: those that start with `AWS_`, `GOOGLE_` or `AZURE_`, as `object_store`
    /// names them, such as `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `GOOGLE_SERVICE_ACCOUNT` and `AZURE_STORAGE_ACCOUNT_NAME`.
    /// Others are left out, and so are empty ones.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let is_option = |name: &str| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|prefix| name.starts_with(prefix));
        let mut variables: Vec<_> =
            variables.into_iter().filter(|(name, value)| is_option(name) && !value.is_empty()).collect();
        // Of two names for one option, the same wins whatever their order in the environment.
        variables.sort();
        Self { variables, ca: None }
    }

    /// With the certificates (PEM) of the authorities that sign the store's certificate, in place of the public ones.
    #[must_use]
    pub fn with_ca(self, ca: Option<Vec<u8>>) -> Self {
        Self { ca, ..self }
    }

    /// The options for one kind of store, with names in lower case.
    pub(crate) fn of(&self, kind: StoreKind) -> impl Iterator<Item = (String, String)> {
        let prefix = match kind {
            StoreKind::S3 => "AWS_",
            StoreKind::Google => "GOOGLE_",
            StoreKind::Azure => "AZURE_",
        };
        let of_kind = self.variables.iter().filter(move |(name, _)| name.starts_with(prefix));
        of_kind.map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
    }

    pub(crate) fn roots(&self) -> Result<RootCerts, Error> {
        let Some(pem) = &self.ca else { return Ok(RootCerts::WebPki) };
        let error = |problem: String| Error::Certificates { problem };
        let mut certificates: Vec<Certificate<'static>> = Vec::new();
        for item in parse_pem(pem) {
            match item.map_err(|cause| error(format!("cannot be read ({cause})")))? {
                PemItem::Certificate(certificate) => certificates.push(certificate),
                _ => return Err(error("have a private key among them".to_owned())),
            }
        }
        match certificates.is_empty() {
            true => Err(error("are missing".to_owned())),
            false => Ok(RootCerts::new_with_certs(&certificates)),
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.variables.iter().map(|(name, _)| name).collect();
        f.debug_struct("StoreOptions").field("variables", &names).field("has_ca", &self.ca.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn each_store_gets_its_own_variables_and_nothing_is_shown() {
        let options = StoreOptions::from_variables(pairs(&[
            ("PATH", "/bin"),
            ("TOKEN", "sesame"),
            ("AWS_SECRET_ACCESS_KEY", "sesame"),
            ("AWS_ENDPOINT", ""),
            ("AZURE_STORAGE_ACCOUNT_KEY", "sesame"),
        ]));
        let of = |kind| options.of(kind).collect::<Vec<_>>();
        assert_eq!(of(StoreKind::S3), pairs(&[("aws_secret_access_key", "sesame")]));
        assert_eq!(of(StoreKind::Azure), pairs(&[("azure_storage_account_key", "sesame")]));
        assert_eq!(of(StoreKind::Google), []);
        let shown = format!("{options:?}");
        assert!(shown.contains("AWS_SECRET_ACCESS_KEY") && !shown.contains("sesame"), "{shown}");
    }

    #[test]
    fn certificates_must_be_certificates() {
        for (pem, part) in [("", "are missing"), ("-----BEGIN CERTIFICATE-----\nx", "cannot be read")] {
            let error = StoreOptions::default().with_ca(Some(pem.as_bytes().to_vec())).roots().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(StoreOptions::default().roots().is_ok());
    }
}
