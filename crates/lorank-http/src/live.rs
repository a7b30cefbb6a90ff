//! A configuration that can change while it is served with.

use std::sync::{Arc, PoisonError, RwLock};

use crate::HttpConfig;
use crate::body_budget::BodyBudget;
use crate::connections::ConnectionCounts;

/// A [`HttpConfig`] that can be replaced while the service runs. Clones are one configuration: give one to
/// [`router`](crate::router), one to [`serve`](crate::serve), and keep one to [`replace`](Self::replace) it by.
#[derive(Debug, Clone, Default)]
pub struct LiveConfig(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    current: RwLock<Arc<HttpConfig>>,
    /// How connections ended: counted by the loop that serves them, shown by the metrics.
    connections: ConnectionCounts,
    /// The bytes of bodies in flight, for the limit on all of them together.
    body_budget: Arc<BodyBudget>,
}

impl LiveConfig {
    /// Begins with this configuration.
    pub fn new(config: HttpConfig) -> Self {
        let current = RwLock::new(Arc::new(config));
        Self(Arc::new(Inner { current, connections: ConnectionCounts::default(), body_budget: Arc::default() }))
    }

    /// The configuration as it is now.
    pub fn current(&self) -> Arc<HttpConfig> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Holds requests that come from here on to another configuration. Those under way keep the one that they began with.
    pub fn replace(&self, config: HttpConfig) {
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    pub(crate) fn connections(&self) -> &ConnectionCounts {
        &self.0.connections
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
