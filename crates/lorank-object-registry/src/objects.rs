//! The objects of a registry, over `object_store`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lorank_adapters::{ObjectPart, ObjectVersion, Objects, ReadObject};
use lorank_core::BoxError;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as ObjectPath;
use object_store::{
    BackoffConfig, GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    PutResult, RetryConfig, UpdateVersion,
};
use tokio::runtime::{Builder, Runtime};

use crate::address::{StoreAddress, StoreKind};
use crate::client::Connector;
use crate::error::flat;
use crate::{Error, StoreOptions};

/// The time limit of a request for the state, which servers send every second.
const STATE_LIMIT: Duration = Duration::from_secs(5);

/// The time limit of a request with a part of a file, and of its repetitions together.
const PART_LIMIT: Duration = Duration::from_secs(60);
const PART_RETRIES: usize = 3;

/// The length up to which a file is uploaded at once, and that of the parts of longer ones. Every store takes parts of this
/// length.
const PART_BYTES: u64 = 16 << 20;

/// Threads for requests: servers look at the state while they download.
const THREADS_MAX: usize = 4;

/// The objects of a registry below a prefix of a bucket or container. Its methods block, so async code must not call them.
pub struct StoreObjects {
    location: String,
    prefix: ObjectPath,
    /// For the state: short time limits and no repetitions, because servers ask again.
    state: Arc<dyn ObjectStore>,
    files: Arc<dyn ObjectStore>,
    /// Taken when this is dropped.
    runtime: Option<Runtime>,
}

impl StoreObjects {
    /// The objects at an address. Sends no request.
    ///
    /// # Errors
    /// Contradictory or incomplete options.
    pub fn open(address: &StoreAddress, options: &StoreOptions) -> Result<Self, Error> {
        let location = address.to_string();
        let roots = options.roots()?;
        let no_retries = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let retries = RetryConfig {
            max_retries: PART_RETRIES,
            retry_timeout: PART_LIMIT,
            backoff: BackoffConfig { init_backoff: Duration::from_millis(200), ..BackoffConfig::default() },
        };
        let open = |limit, retries| {
            store(address, options, Connector { roots: roots.clone(), limit }, retries)
                .map_err(|error| Error::Configuration { location: location.clone(), source: flat(&error) })
        };
        let (state, files) = (open(STATE_LIMIT, no_retries)?, open(PART_LIMIT, retries)?);
        Self::with(state, files, &address.prefix, location)
    }

    /// The objects below a prefix of another store, with a name for messages. Its requests have the store's own time
    /// limits.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn over(store: Arc<dyn ObjectStore>, prefix: &str, location: &str) -> Result<Self, Error> {
        Self::with(store.clone(), store, prefix, location.to_owned())
    }

    fn with(
        state: Arc<dyn ObjectStore>,
        files: Arc<dyn ObjectStore>,
        prefix: &str,
        location: String,
    ) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(THREADS_MAX)
            .thread_name("lorank-registry")
            .enable_time()
            .build();
        let runtime = runtime.map_err(|source| Error::Thread { location: location.clone(), source })?;
        Ok(Self { location, prefix: ObjectPath::from(prefix), state, files, runtime: Some(runtime) })
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("it is there until this is dropped").block_on(future)
    }

    fn path(&self, key: &str) -> ObjectPath {
        let parts = self.prefix.parts().collect::<Vec<_>>().into_iter();
        parts.chain(ObjectPath::from(key).parts().map(|part| part.as_ref().to_owned().into())).collect()
    }

    /// The error that a request met, unless there is no such object.
    fn found<T>(result: object_store::Result<T>) -> Result<Option<T>, BoxError> {
        match result {
            Ok(found) => Ok(Some(found)),
            // A bucket that is not there would otherwise look like an empty one.
            Err(error @ object_store::Error::NotFound { .. }) if !is_bucket_missing(&error) => Ok(None),
            Err(error) => Err(flat(&error)),
        }
    }
}

impl Objects for StoreObjects {
    fn location(&self) -> &str {
        &self.location
    }

    fn read(&self, key: &str, known: Option<&ObjectVersion>, bytes_max: u64) -> Result<ReadObject, BoxError> {
        let if_none_match = known.and_then(|known| known.e_tag.clone());
        let options = GetOptions { if_none_match, ..GetOptions::default() };
        self.block_on(async {
            let found = match self.state.get_opts(&self.path(key), options).await {
                Err(object_store::Error::NotModified { .. }) => return Ok(ReadObject::Unchanged),
                other => Self::found(other)?,
            };
            let Some(found) = found else { return Ok(ReadObject::Missing) };
            let n_bytes = found.meta.size;
            if n_bytes > bytes_max {
                return Err(format!("`{key}` has {n_bytes} bytes, more than the limit of {bytes_max}").into());
            }
            let version = ObjectVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
            if version.e_tag.is_none() {
                return Err("the store gives no entity tags (ETag), so changes cannot be conditional".into());
            }
            let bytes = found.bytes().await.map_err(|error| flat(&error))?.to_vec();
            Ok(ReadObject::Found { bytes, version })
        })
    }

    fn write_if(
        &self,
        key: &str,
        bytes: &[u8],
        expected: Option<&ObjectVersion>,
    ) -> Result<Option<ObjectVersion>, BoxError> {
        let mode = match expected.cloned() {
            None => PutMode::Create,
            Some(ObjectVersion { e_tag, version }) => PutMode::Update(UpdateVersion { e_tag, version }),
        };
        let (path, payload) = (self.path(key), PutPayload::from(bytes.to_vec()));
        let written = self.state.put_opts(&path, payload, PutOptions::from(mode));
        match self.block_on(written) {
            Ok(PutResult { e_tag, version, .. }) => Ok(Some(ObjectVersion { e_tag, version })),
            Err(object_store::Error::Precondition { .. } | object_store::Error::AlreadyExists { .. }) => Ok(None),
            Err(error) => Err(flat(&error)),
        }
    }

    fn read_part(&self, key: &str, start: u64, n_bytes: u64) -> Result<Option<ObjectPart>, BoxError> {
        let path = self.path(key);
        let head = async || {
            let meta = Self::found(self.files.head(&path).await)?;
            Ok(meta.map(|meta| ObjectPart { bytes: Vec::new(), n_bytes_total: meta.size }))
        };
        self.block_on(async {
            if n_bytes == 0 {
                return head().await;
            }
            let range = Some(GetRange::Bounded(start..start + n_bytes));
            let found = self.files.get_opts(&path, GetOptions { range, ..GetOptions::default() }).await;
            match Self::found(found) {
                Ok(None) => Ok(None),
                Ok(Some(found)) => part(found).await.map(Some),
                // Stores refuse a range beyond the end in different ways; then the length says what is wrong.
                Err(error) => match head().await {
                    Ok(Some(part)) if part.n_bytes_total <= start => Ok(Some(part)),
                    Ok(None) => Ok(None),
                    _ => Err(error),
                },
            }
        })
    }

    fn upload(&self, key: &str, file: &Path) -> Result<(), BoxError> {
        let (path, mut file) = (self.path(key), File::open(file)?);
        let n_bytes = file.metadata()?.len();
        self.block_on(async {
            if n_bytes <= PART_BYTES {
                self.files.put(&path, next_part(&mut file)?.into()).await.map_err(|error| flat(&error))?;
                return Ok(());
            }
            // The object is there when the last part is, and all of it at once.
            let mut upload = self.files.put_multipart(&path).await.map_err(|error| flat(&error))?;
            let uploaded = async {
                let mut n_left = n_bytes;
                while n_left > 0 {
                    let part = next_part(&mut file)?;
                    if part.is_empty() {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                    n_left = n_left.saturating_sub(part.len() as u64);
                    upload.put_part(part.into()).await.map_err(|error| flat(&error))?;
                }
                upload.complete().await.map_err(|error| flat(&error))?;
                Ok(())
            };
            let uploaded: Result<(), BoxError> = uploaded.await;
            if uploaded.is_err() {
                // What is left of a failed upload costs space; the store's own rules remove it where this fails too.
                let _ = upload.abort().await;
            }
            uploaded
        })
    }
}

async fn part(found: GetResult) -> Result<ObjectPart, BoxError> {
    let n_bytes_total = found.meta.size;
    let bytes = found.bytes().await.map_err(|error| flat(&error))?;
    Ok(ObjectPart { bytes: bytes.to_vec(), n_bytes_total })
}

fn next_part(file: &mut File) -> io::Result<Vec<u8>> {
    let mut part = Vec::new();
    file.take(PART_BYTES).read_to_end(&mut part)?;
    Ok(part)
}

/// Whether the answer says that the bucket or container does not exist. Only the text of the answer tells it from a missing
/// object.
fn is_bucket_missing(error: &object_store::Error) -> bool {
    let text = error.to_string();
    ["NoSuchBucket", "ContainerNotFound", "bucket does not exist"].iter().any(|code| text.contains(code))
}

fn store(
    address: &StoreAddress,
    options: &StoreOptions,
    connector: Connector,
    retries: RetryConfig,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let url = format!("{}://{}", address.kind.scheme(), address.bucket);
    // Variables for other programs are left out, as `from_env` of the builders does.
    macro_rules! built {
        ($builder:ty) => {{
            let builder =
                options.of(address.kind).fold(<$builder>::new(), |builder, (name, value)| match name.parse() {
                    Ok(key) => builder.with_config(key, value),
                    Err(_) => builder,
                });
            Ok(Arc::new(builder.with_url(url).with_http_connector(connector).with_retry(retries).build()?))
        }};
    }
    match address.kind {
        StoreKind::S3 => built!(AmazonS3Builder),
        StoreKind::Google => built!(GoogleCloudStorageBuilder),
        StoreKind::Azure => built!(MicrosoftAzureBuilder),
    }
}

impl fmt::Debug for StoreObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreObjects").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Drop for StoreObjects {
    /// Without waiting for requests, because it may be dropped by async code, which must not block.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
