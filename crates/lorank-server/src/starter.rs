//! The built-in models. Empty in a build without the feature `starter`.

use lorank_model::Files;

#[cfg(feature = "starter")]
mod embedded {
    use super::Files;

    pub(crate) const BASE: Option<&str> = Some(lorank_starter::BASE_MODEL_NAME);

    pub(crate) fn base(name: &str) -> Option<Files> {
        let is_embedded = name == lorank_starter::BASE_MODEL_NAME;
        is_embedded.then(|| files(lorank_starter::BASE_MODEL_HUB_NAME, lorank_starter::base_model()))
    }

    pub(crate) fn adapter(name: &str) -> Option<Files> {
        lorank_starter::adapter(name).map(|adapter| files(adapter.id, adapter.files))
    }

    pub(crate) fn adapter_names() -> Vec<&'static str> {
        lorank_starter::adapters().iter().map(|adapter| adapter.id).collect()
    }

    fn files(name: &str, files: &'static [lorank_starter::File]) -> Files {
        Files::embedded(name, files.iter().map(|file| (file.name, file.bytes)))
    }
}

#[cfg(not(feature = "starter"))]
mod embedded {
    use super::Files;

    pub(crate) const BASE: Option<&str> = None;

    pub(crate) fn base(_name: &str) -> Option<Files> {
        None
    }

    pub(crate) fn adapter(_name: &str) -> Option<Files> {
        None
    }

    pub(crate) fn adapter_names() -> Vec<&'static str> {
        Vec::new()
    }
}

/// The name of the built-in base model, if the build has one.
pub const BASE: Option<&str> = embedded::BASE;

/// The built-in base model named `name`.
pub fn base(name: &str) -> Option<Files> {
    embedded::base(name)
}

/// The built-in adapter named `name`.
pub fn adapter(name: &str) -> Option<Files> {
    embedded::adapter(name)
}

/// The names of the built-in adapters.
pub fn adapter_names() -> Vec<&'static str> {
    embedded::adapter_names()
}
