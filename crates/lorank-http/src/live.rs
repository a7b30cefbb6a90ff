//! A configuration that can change at run time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::HttpConfig;
use crate::body_budget::BodyBudget;
use crate::connections::ConnectionCounts;

/// A [`HttpConfig`] that can be replaced at run time. Clones share the configuration: pass one to [`router`](crate::router) and one
/// to [`serve`](crate::serve), and keep one for [`replace`](Self::replace).
#[derive(Debug, Clone, Default)]
pub struct LiveConfig(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    current: RwLock<Arc<HttpConfig>>,
    /// Counts of connections, for the metrics.
    connections: ConnectionCounts,
    /// The bytes of bodies in flight, for their total limit.
    body_budget: Arc<BodyBudget>,
    /// True once the service was asked to stop.
    is_stopping: AtomicBool,
}

impl LiveConfig {
    /// Starts with this configuration.
    pub fn new(config: HttpConfig) -> Self {
        let current = RwLock::new(Arc::new(config));
        Self(Arc::new(Inner { current, ..Inner::default() }))
    }

    /// The current configuration.
    pub fn current(&self) -> Arc<HttpConfig> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the configuration for new requests. Requests in flight keep the configuration that they started with.
    pub fn replace(&self, config: HttpConfig) {
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    pub(crate) fn connections(&self) -> &ConnectionCounts {
        &self.0.connections
    }

    /// Whether the service was asked to stop: it answers requests for the time in `drain`, and load balancers should send no more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.is_stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.0.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn body_budget(&self) -> &Arc<BodyBudget> {
        &self.0.body_budget
    }
}

impl From<HttpConfig> for LiveConfig {
    fn from(config: HttpConfig) -> Self {
        Self::new(config)
    }
}
