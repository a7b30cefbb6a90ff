//! Where the registry of adapters is: in the data folder, in another folder, or in a store of objects.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lorank_adapters::{Limits, Registry, RegistryError};
use lorank_object_registry::{RegistryLocation, StoreAddress, StoreObjects, StoreOptions};

use crate::Error;
use crate::config::ServerConfig;

/// The folder of copies in the data folder.
const COPIES: &str = "registries";

/// Where the registry of a data folder is, with its settings. By default, it is `adapters` in the folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistrySettings {
    /// The folder or the store; `None` for the data folder.
    pub location: Option<RegistryLocation>,
    /// The folder with the copy of a store; `None` for one in the data folder.
    pub copy: Option<PathBuf>,
    /// The file with the authorities that sign the store's certificate, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Credentials and other options of the store.
    pub options: StoreOptions,
}

impl RegistrySettings {
    /// The settings of a server, with the options of its store.
    pub fn of(config: &ServerConfig, options: StoreOptions) -> Self {
        let ServerConfig { registry, registry_copy, registry_ca_file, .. } = config.clone();
        Self { location: registry, copy: registry_copy, ca_file: registry_ca_file, options }
    }

    /// Opens the registry for a command, in `data` unless it is elsewhere.
    pub(crate) fn view(&self, data: &Path) -> Result<Registry, Error> {
        self.open(data, |folder, objects| Registry::view(folder, Limits::default(), objects))
    }

    /// Opens the registry for a server.
    pub(crate) fn follow(&self, data: &Path) -> Result<Registry, Error> {
        self.open(data, |folder, objects| Registry::follow(folder, Limits::default(), objects))
    }

    fn open(
        &self,
        data: &Path,
        open_store: impl FnOnce(PathBuf, Arc<StoreObjects>) -> Result<Registry, RegistryError>,
    ) -> Result<Registry, Error> {
        self.check()?;
        match &self.location {
            None => Ok(Registry::open(data.join("adapters"))?),
            Some(RegistryLocation::Folder(folder)) => Ok(Registry::open(folder)?),
            Some(RegistryLocation::Store(address)) => {
                let own = || data.join(COPIES).join(address.folder_name());
                let folder = self.copy.clone().unwrap_or_else(own);
                Ok(open_store(folder, self.objects(address)?)?)
            }
        }
    }

    /// Rejects settings of a store where the registry is a folder.
    fn check(&self) -> Result<(), Error> {
        let is_store = matches!(self.location, Some(RegistryLocation::Store(_)));
        for (is_set, setting) in [(self.copy.is_some(), "registry_copy"), (self.ca_file.is_some(), "registry_ca_file")]
        {
            if is_set && !is_store {
                return Err(Error::RegistryWithoutStore { setting });
            }
        }
        Ok(())
    }

    fn objects(&self, address: &StoreAddress) -> Result<Arc<StoreObjects>, Error> {
        let read =
            |path: &PathBuf| std::fs::read(path).map_err(|source| Error::RegistryFile { path: path.clone(), source });
        let ca = self.ca_file.as_ref().map(read).transpose()?;
        Ok(Arc::new(StoreObjects::open(address, &self.options.clone().with_ca(ca))?))
    }
}

#[cfg(test)]
mod tests {
    use lorank_core::with_causes;

    use super::*;
    use crate::DataFolder;

    #[test]
    fn settings_of_a_store_need_one() {
        let data = DataFolder::new("data");
        let check = |settings: RegistrySettings, part: &str| {
            let error = data.clone().with_registry(settings).registry().unwrap_err();
            let text = with_causes(&error);
            assert!(text.contains(part), "{text}");
        };
        let none = RegistrySettings::default;
        check(RegistrySettings { copy: Some("copy".into()), ..none() }, "`registry_copy` is set");
        let folder = Some("adapters".parse().unwrap());
        check(RegistrySettings { location: folder, ca_file: Some("ca".into()), ..none() }, "`registry_ca_file` is set");
        let store = Some("s3://models".parse().unwrap());
        check(
            RegistrySettings { location: store.clone(), ca_file: Some("/nowhere".into()), ..none() },
            "could not read `/nowhere`, which is `registry_ca_file`",
        );
        let variables = [("AWS_ACCESS_KEY_ID".to_owned(), "sesame".to_owned())];
        let options = StoreOptions::from_variables(variables);
        check(RegistrySettings { location: store, options, ..none() }, "the registry at `s3://models` cannot be used");
    }

    #[test]
    fn a_folder_may_be_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("shared");
        let location = Some(RegistryLocation::Folder(place.clone()));
        let data = DataFolder::new("data").with_registry(RegistrySettings { location, ..RegistrySettings::default() });
        assert_eq!(data.registry().unwrap().folder(), place);
        assert_eq!(data.served_registry().unwrap().folder(), place);
    }
}
