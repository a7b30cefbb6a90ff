//! Environment variables of Hugging Face's tools and of the XDG specification, and secrets. Other variables of lorank are
//! declared with their flags.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use lorank_elastic::Secret;
use lorank_model::{GpuOptions, Hub};
use lorank_server::{ElasticSecrets, StoreOptions};

/// The hub's address, cache and token from the environment.
pub fn hub() -> Hub {
    let variable = |name: &str| std::env::var(name).ok();
    read(variable, &std::env::home_dir().unwrap_or_default(), |path| std::fs::read_to_string(path).ok())
}

/// The secrets for the search engine that is the first stage. They are not flags, because a process's arguments can be
/// read by others.
pub(crate) fn elastic_secrets() -> anyhow::Result<ElasticSecrets> {
    let secret = |name: &str| match std::env::var(name) {
        Ok(text) if !text.trim().is_empty() => {
            Secret::new(&text).map(Some).map_err(|problem| anyhow!("the variable {name} is invalid: {problem}"))
        }
        _ => Ok(None),
    };
    Ok(ElasticSecrets {
        password: secret("LORANK_ELASTIC_PASSWORD")?,
        bearer: secret("LORANK_ELASTIC_BEARER")?,
        api_key: secret("LORANK_ELASTIC_API_KEY")?,
    })
}

/// The credentials and other options of the store that the registry of adapters is in. They have the names of the stores'
/// own tools.
pub(crate) fn registry_options() -> StoreOptions {
    let variables = std::env::vars_os();
    StoreOptions::from_variables(
        variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    )
}

/// Where a GPU's libraries are besides the system's folders: in the virtual environment of Python in use. Compiled kernels are kept in
/// the user's cache folder by the XDG Base Directory Specification.
pub fn gpu() -> GpuOptions {
    let folders_of = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    read_gpu(|name| std::env::var(name).ok(), std::env::home_dir(), folders_of)
}

fn read_gpu(
    variable: impl Fn(&str) -> Option<String>,
    home: Option<PathBuf>,
    folders_of: impl Fn(&Path) -> Vec<PathBuf>,
) -> GpuOptions {
    let path = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.filter(|home| !home.as_os_str().is_empty());
    let cache = path("XDG_CACHE_HOME").or_else(|| Some(home?.join(".cache")));
    let mut pythons = path("VIRTUAL_ENV").map_or_else(Vec::new, |folder| folders_of(&folder.join("lib")));
    pythons.sort();
    GpuOptions {
        folders: pythons.into_iter().map(|python| python.join("site-packages")).collect(),
        cache: cache.map(|folder| folder.join("lorank").join("kernels")),
    }
}

/// The user's data folder by the XDG Base Directory Specification; `None` without a home folder.
pub(crate) fn data_home() -> Option<PathBuf> {
    read_data_home(|name| std::env::var(name).ok(), std::env::home_dir())
}

fn read_data_home(variable: impl Fn(&str) -> Option<String>, home: Option<PathBuf>) -> Option<PathBuf> {
    // By the specification, relative paths are ignored.
    let given = variable("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.filter(|home| !home.as_os_str().is_empty());
    given.or_else(|| Some(home?.join(".local").join("share")))
}

fn read(variable: impl Fn(&str) -> Option<String>, home: &Path, read_file: impl Fn(&Path) -> Option<String>) -> Hub {
    // In all these tools, an empty variable counts as unset.
    let filled = |text: String| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let variable = |name| variable(name).and_then(filled);
    let path = |name| variable(name).map(PathBuf::from);
    let hf_home = || path("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache")).join("huggingface");
    let hf_home = path("HF_HOME").unwrap_or_else(hf_home);
    let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| hf_home.join("token"));
    let is_true = |value: String| matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
    Hub {
        cache: path("HF_HUB_CACHE").unwrap_or_else(|| hf_home.join("hub")),
        token: variable("HF_TOKEN").or_else(|| read_file(&token_file).and_then(filled)),
        endpoint: variable("HF_ENDPOINT"),
        offline: variable("HF_HUB_OFFLINE").is_some_and(is_true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(variables: &[(&str, &str)], cache: &str, token: &str, endpoint: Option<&str>, offline: bool) {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let file = |path: &Path| path.ends_with("token").then(|| format!("in {}\n", path.display()));
        let hub = read(variable, Path::new("/home/u"), file);
        assert_eq!(hub.cache, Path::new(cache), "{variables:?}");
        assert_eq!((hub.token.as_deref(), hub.endpoint.as_deref()), (Some(token), endpoint), "{variables:?}");
        assert_eq!(hub.offline, offline, "{variables:?}");
    }

    #[test]
    fn variables_mean_what_they_mean_to_hugging_face() {
        let (cache, token) = ("/home/u/.cache/huggingface/hub", "in /home/u/.cache/huggingface/token");
        check(&[], cache, token, None, false);
        check(&[("HF_TOKEN", " "), ("HF_HOME", ""), ("HF_HUB_OFFLINE", "0")], cache, token, None, false);
        check(&[("HF_HUB_OFFLINE", "yes"), ("HF_ENDPOINT", "http://m")], cache, token, Some("http://m"), true);
        check(&[("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub", "in /x/huggingface/token", None, false);
        check(&[("HF_HOME", "/hf"), ("HF_TOKEN", "secret")], "/hf/hub", "secret", None, false);
        check(&[("HF_HUB_CACHE", "/c"), ("HF_TOKEN_PATH", "/t/token")], "/c", "in /t/token", None, false);
    }
    #[test]
    #[cfg(unix)]
    fn data_is_kept_where_xdg_says() {
        let data_home = |variable: &str, home: Option<&str>| {
            let variable = |name: &str| (name == "XDG_DATA_HOME").then(|| variable.to_owned());
            read_data_home(variable, home.map(PathBuf::from)).map(|path| path.display().to_string())
        };
        for (variable, home, expected) in [
            ("", Some("/home/u"), Some("/home/u/.local/share")),
            ("/data", Some("/home/u"), Some("/data")),
            ("/data", None, Some("/data")),
            ("data", Some("/home/u"), Some("/home/u/.local/share")),
            ("", Some(""), None),
            ("", None, None),
        ] {
            assert_eq!(data_home(variable, home).as_deref(), expected, "{variable} {home:?}");
        }
    }

    #[test]
    fn the_libraries_of_a_gpu_are_looked_for_in_the_virtual_environment() {
        let folders_of = |folder: &Path| {
            assert_eq!(folder, Path::new("/venv/lib"));
            vec![folder.join("python3.12"), folder.join("python3.11")]
        };
        let read = |variables: &[(&str, &str)], home: &str| {
            let find =
                |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
            read_gpu(find, Some(home.into()), folders_of)
        };
        let both = read(&[("VIRTUAL_ENV", "/venv"), ("XDG_CACHE_HOME", "/cache")], "/home/u");
        let folders = ["/venv/lib/python3.11/site-packages", "/venv/lib/python3.12/site-packages"].map(PathBuf::from);
        assert_eq!((both.folders, both.cache), (folders.into(), Some("/cache/lorank/kernels".into())));
        let neither = read(&[("VIRTUAL_ENV", "venv")], "/home/u");
        assert_eq!((neither.folders, neither.cache), (Vec::new(), Some("/home/u/.cache/lorank/kernels".into())));
        assert_eq!(read(&[], "").cache, None);
    }
}
