//! The servers that run with a data folder, and the base models that they score with.
//!
//! Each has a file in the folder for as long as its process lives, and holds a lock on it, which the system takes back however the
//! process ends. A file without a lock is what a killed process left.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lorank_model::Source;
use serde::{Deserialize, Serialize};

use crate::data::DataFolder;
use crate::source::{BaseSpec, ModelSource};
use crate::starter;

const ENDING: &str = "json";

/// A server that runs, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Announcement {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningServer {
    /// The id of its process.
    pub process: u32,
    /// The base models that it scores with, as `--base` takes them: a name of the starter's, a whole path, or
    /// `hf://owner/name`, after the given name and `=`.
    pub bases: Vec<String>,
}

impl DataFolder {
    /// Says that this process serves with base models.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub(crate) fn announce(&self, bases: &[BaseSpec]) -> io::Result<Announcement> {
        let server = RunningServer { process: std::process::id(), bases: bases.iter().map(whole_name).collect() };
        let folder = self.servers();
        fs::create_dir_all(&folder)?;
        // One process may serve more than once.
        let mut names = (0..).map(|n| folder.join(format!("{}-{n}.{ENDING}", server.process)));
        let path = names.find(|path| !path.exists()).expect("there are more numbers than servers");
        // Nobody may see it without its lock and take it for a killed process'.
        let unseen = path.with_extension("new");
        let mut file = File::create(&unseen)?;
        file.lock()?;
        file.write_all(&serde_json::to_vec(&server)?)?;
        fs::rename(&unseen, &path)?;
        Ok(Announcement { path, _file: file })
    }

    /// The servers that run with this folder, in the order of their processes. What killed ones left is removed.
    ///
    /// # Errors
    /// A folder that is there and cannot be read.
    pub fn running_servers(&self) -> io::Result<Vec<RunningServer>> {
        let entries = match fs::read_dir(self.servers()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut servers = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == ENDING) {
                servers.extend(running(&path)?);
            }
        }
        servers.sort_by(|a, b| (a.process, &a.bases).cmp(&(b.process, &b.bases)));
        Ok(servers)
    }

    fn servers(&self) -> PathBuf {
        self.path().join("servers")
    }
}

/// The server of a file, if it runs.
fn running(path: &Path) -> io::Result<Option<RunningServer>> {
    let file = match File::open(path) {
        // It has just ended.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Ok(serde_json::from_slice(&fs::read(path)?).ok()),
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => {
            // Where it cannot be removed it is no server all the same.
            let _ = fs::remove_file(path);
            Ok(None)
        }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The base model as it is understood from every folder.
fn whole_name(base: &BaseSpec) -> String {
    let folder = match &base.source {
        ModelSource::Word(word) if starter::base(word).is_some() => return base.to_string(),
        ModelSource::Word(word) => PathBuf::from(word),
        ModelSource::Source(Source::Folder(folder)) => folder.clone(),
        ModelSource::Source(Source::Hub(_)) => return base.to_string(),
    };
    let whole = Source::Folder(folder.canonicalize().unwrap_or(folder));
    BaseSpec { name: base.name.clone(), source: ModelSource::Source(whole) }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_known_while_they_run() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::new(folder.path().join("data"));
        assert!(data.running_servers().unwrap().is_empty());
        let model = folder.path().join("model");
        fs::create_dir(&model).unwrap();
        let process = std::process::id();
        let bases = |texts: &[&str]| -> Vec<BaseSpec> { texts.iter().map(|text| text.parse().unwrap()).collect() };
        let one = data.announce(&bases(&[model.to_str().unwrap(), "b=hf://owner/b@main"])).unwrap();
        let other = data.announce(&bases(&["hf://owner/name@main"])).unwrap();
        let server = |bases: &[&str]| RunningServer { process, bases: bases.iter().map(ToString::to_string).collect() };
        let whole = model.canonicalize().unwrap();
        let mut both =
            vec![server(&["hf://owner/name@main"]), server(&[whole.to_str().unwrap(), "b=hf://owner/b@main"])];
        both.sort_by(|a, b| a.bases.cmp(&b.bases));
        assert_eq!(data.running_servers().unwrap(), both);
        drop(one);
        assert_eq!(data.running_servers().unwrap(), [server(&["hf://owner/name@main"])]);
        drop(other);
        assert!(data.running_servers().unwrap().is_empty());

        // What a killed process left has no lock.
        fs::write(data.servers().join("1-0.json"), r#"{"process": 1, "bases": ["minilm"]}"#).unwrap();
        assert!(data.running_servers().unwrap().is_empty());
        assert_eq!(fs::read_dir(data.servers()).unwrap().count(), 0);
    }
}
