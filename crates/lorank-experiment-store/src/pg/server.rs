//! A server of PostgreSQL: connections, with TLS by rustls, and those that readers share.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use postgres::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::schema::{self, Unusable};
use super::{Postgres, StoreUrl};
use crate::ExperimentStoreError;
use crate::database::{Database, DatabaseError};

/// The time limit of connecting, unless the address has one.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The maximum number of idle connections of readers.
const IDLE_MAX: usize = 8;

/// A transaction waits for its turn, or for another lock, at most ten seconds. What is acknowledged is on disk even where
/// the server's own default is otherwise. The statements are too short for compilation to pay.
const SET_UP: &str = "
    SET lock_timeout = '10s';
    SET jit = off;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
";

/// A server with the store's tables.
pub(crate) struct Server {
    url: StoreUrl,
    connector: Arc<Connector>,
    idle: Arc<Mutex<Vec<Postgres>>>,
}

/// How to connect.
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
}

impl Server {
    /// Connects, and makes or upgrades the tables. `ca` are certificates of the authorities that sign the server's
    /// certificate, in PEM; by default the public authorities.
    pub(crate) fn open(url: &StoreUrl, ca: Option<&[u8]>) -> Result<Self, ExperimentStoreError> {
        let mut config = url.config();
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_LIMIT);
        }
        if config.get_application_name().is_none() {
            config.application_name("lorank");
        }
        let path = || PathBuf::from(url.to_string());
        let open_error = |error: DatabaseError| ExperimentStoreError::Open { path: path(), source: error.source };
        let tls = tls(ca).map_err(|problem| open_error(DatabaseError::new(problem)))?;
        let connector = Arc::new(Connector { config, tls: MakeRustlsConnect::new(tls) });
        let mut client = connector.connect().map_err(open_error)?;
        schema::migrate(&mut client).map_err(|unusable| match unusable {
            Unusable::Newer(found, known) => ExperimentStoreError::NewerSchema { path: path(), found, known },
            Unusable::Failed(error) => open_error(error.into()),
        })?;
        let idle = Arc::new(Mutex::new(vec![Postgres::new(connector.clone(), client)]));
        Ok(Self { url: url.clone(), connector, idle })
    }

    /// A connection of its own.
    pub(crate) fn database(&self) -> Result<Postgres, ExperimentStoreError> {
        let client = self.connector.connect().map_err(ExperimentStoreError::database("connect"))?;
        Ok(Postgres::new(self.connector.clone(), client))
    }

    /// An idle connection, or a new one.
    pub(crate) fn reader(&self) -> Result<Reader, ExperimentStoreError> {
        let idle = std::iter::from_fn(|| lock(&self.idle).pop()).find(Postgres::is_valid);
        let database = idle.map_or_else(|| self.database(), Ok)?;
        Ok(Reader { database: Some(database), idle: self.idle.clone() })
    }
}

impl Connector {
    /// A new connection.
    pub(super) fn connect(&self) -> Result<Client, DatabaseError> {
        let mut client = self.config.connect(self.tls.clone())?;
        client.batch_execute(SET_UP)?;
        Ok(client)
    }
}

fn lock(idle: &Mutex<Vec<Postgres>>) -> MutexGuard<'_, Vec<Postgres>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A connection that is used again after it is dropped.
pub(crate) struct Reader {
    /// `None` only while it is dropped.
    database: Option<Postgres>,
    idle: Arc<Mutex<Vec<Postgres>>>,
}

impl Deref for Reader {
    type Target = dyn Database;

    fn deref(&self) -> &Self::Target {
        self.database.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(database) = self.database.take() else { return };
        let mut idle = lock(&self.idle);
        if idle.len() < IDLE_MAX && !std::thread::panicking() {
            idle.push(database);
        }
    }
}

fn tls(ca: Option<&[u8]>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate =
                    certificate.map_err(|error| format!("the certificates of authorities cannot be read: {error}"))?;
                roots.add(certificate).map_err(|error| format!("a certificate of an authority is invalid: {error}"))?;
            }
            if roots.is_empty() {
                return Err("the file of authorities has no certificate in PEM form".to_owned());
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
