//! Where a registry is: a folder, or the objects below a prefix.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::Error;

/// Where a registry is: `FOLDER`, `file:///FOLDER`, `s3://BUCKET[/PREFIX]`, `gs://BUCKET[/PREFIX]` or
/// `az://CONTAINER[/PREFIX]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryLocation {
    /// A folder, which is the registry itself.
    Folder(PathBuf),
    /// A store of objects.
    Store(StoreAddress),
}

/// The address of a registry in a store of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAddress {
    pub(crate) kind: StoreKind,
    pub(crate) bucket: String,
    /// Segments with slashes between them; empty for the whole bucket.
    pub(crate) prefix: String,
}

/// The protocol of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    S3,
    Google,
    Azure,
}

impl StoreKind {
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }
}

impl StoreAddress {
    /// A name for a folder with a copy, which no other address has.
    pub fn folder_name(&self) -> String {
        // An underscore is escaped, so that two of them stand for a slash alone.
        let parts = [self.kind.scheme(), &self.bucket, &self.prefix];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join("/").replace('_', "_u").replace('/', "__")
    }
}

impl FromStr for RegistryLocation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let Some((scheme, rest)) = text.split_once("://") else { return folder(text) };
        let kind = match scheme {
            "file" if rest.starts_with('/') => return folder(rest),
            "file" => return Err(Error::Folder { problem: "has a host" }),
            "s3" => StoreKind::S3,
            "gs" => StoreKind::Google,
            "az" => StoreKind::Azure,
            _ => return Err(Error::Scheme { scheme: scheme.to_owned() }),
        };
        let error = |problem| Error::Address { scheme: scheme.to_owned(), problem };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        match bucket {
            "" => return Err(error("has no bucket")),
            _ if bucket.contains('@') => {
                return Err(error("has credentials or an account; set them in the environment"));
            }
            _ if !is_name(bucket) || bucket.starts_with('.') => return Err(error("has an invalid bucket")),
            _ => {}
        }
        let prefix = prefix.trim_end_matches('/');
        let is_segment = |text: &str| is_name(text) && !["", ".", ".."].contains(&text);
        if !prefix.is_empty() && !prefix.split('/').all(is_segment) {
            return Err(error("has an invalid prefix (letters, digits, `.`, `_`, `-` between slashes)"));
        }
        Ok(Self::Store(StoreAddress { kind, bucket: bucket.to_owned(), prefix: prefix.to_owned() }))
    }
}

fn folder(text: &str) -> Result<RegistryLocation, Error> {
    match text {
        "" => Err(Error::Folder { problem: "is empty" }),
        _ if ["s3:", "gs:", "az:", "file:"].iter().any(|scheme| text.starts_with(scheme)) => {
            Err(Error::Folder { problem: "starts with a scheme, but has no `//` after it" })
        }
        _ => Ok(RegistryLocation::Folder(text.into())),
    }
}

impl fmt::Display for RegistryLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "{}", folder.display()),
            Self::Store(address) => write!(f, "{address}"),
        }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.kind.scheme(), self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood_and_shown() {
        for (text, shown) in [
            ("s3://models", "s3://models"),
            ("s3://models/", "s3://models"),
            ("s3://models/production/lorank/", "s3://models/production/lorank"),
            ("gs://models.example.org/a_b-c.d", "gs://models.example.org/a_b-c.d"),
            ("az://container/prefix", "az://container/prefix"),
            ("adapters", "adapters"),
            ("/srv/adapters", "/srv/adapters"),
            ("file:///srv/adapters", "/srv/adapters"),
        ] {
            let location: RegistryLocation = text.parse().unwrap();
            assert_eq!(location.to_string(), shown);
            assert_eq!(shown.parse::<RegistryLocation>().unwrap(), location);
        }
    }

    #[test]
    fn other_addresses_are_refused_without_being_shown() {
        for (text, part) in [
            ("http://models/sesame", "`http` is not a known scheme"),
            ("memory:///sesame", "`s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`"),
            ("s3://", "has no bucket"),
            ("s3:///sesame", "has no bucket"),
            ("s3://key:sesame@models", "has credentials"),
            ("s3://models?secret=sesame", "has an invalid bucket"),
            ("s3://models/a?secret=sesame", "has an invalid prefix"),
            ("s3://models/a//sesame", "has an invalid prefix"),
            ("s3://models/../sesame", "has an invalid prefix"),
            ("s3:/models/sesame", "has no `//`"),
            ("file://sesame/adapters", "has a host"),
            ("", "is empty"),
        ] {
            let error = text.parse::<RegistryLocation>().unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("sesame"), "{text}: {error}");
        }
    }

    #[test]
    fn copies_of_different_registries_have_different_folders() {
        let texts = [
            "s3://a",
            "gs://a",
            "s3://a/b",
            "s3://a_b",
            "s3://a/b/c",
            "s3://a/b_c",
            "s3://a/b__c",
            "s3://a_b/c",
            "s3://a_/b",
            "s3://a/_b",
            "s3://au/b",
            "s3://a/ub",
        ];
        let name = |text: &str| match text.parse().unwrap() {
            RegistryLocation::Store(address) => address.folder_name(),
            RegistryLocation::Folder(folder) => panic!("{} is no store", folder.display()),
        };
        let mut names = texts.map(name).to_vec();
        assert_eq!(names[2], "s3__a__b");
        assert!(names.iter().all(|name| lorank_core::is_plain_name(name)));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), texts.len());
    }
}
