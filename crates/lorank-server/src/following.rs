//! A running server follows its registry of adapters.

use std::sync::Arc;
use std::time::Duration;

use lorank_adapters::Registry;
use lorank_core::with_causes;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

/// How often changes of the registry by others are looked for, and downloads that failed may be repeated.
const REFRESH: Duration = Duration::from_secs(1);

/// Applies changes of the registry by others, and downloads adapters that are not here, until it is dropped. If the
/// registry cannot be read, the previous state stays, and reading is retried.
pub(crate) async fn follow(registry: Arc<Registry>) {
    let needs_files = Notify::new();
    tokio::join!(refresh(&registry, &needs_files), fetch(&registry, &needs_files));
}

async fn refresh(registry: &Arc<Registry>, needs_files: &Notify) {
    let mut ticks = interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_failing = false;
    loop {
        ticks.tick().await;
        let read = {
            let registry = registry.clone();
            spawn_blocking(move || registry.refresh()).await
        };
        let Ok(read) = read else { return };
        match &read {
            Ok(true) => tracing::info!("reloaded the adapter registry after a change by another process"),
            Ok(false) => {}
            // An outage is logged once.
            Err(_) if is_failing => {}
            Err(error) => {
                tracing::warn!("the adapters stay as they are until the registry can be read: {}", with_causes(error));
            }
        }
        if is_failing && read.is_ok() {
            tracing::info!("the adapter registry can be read again");
        }
        is_failing = read.is_err();
        if registry.needs_files() {
            needs_files.notify_one();
        }
    }
}

/// Downloads beside the looking for changes, which must not wait for a large adapter.
async fn fetch(registry: &Arc<Registry>, needs_files: &Notify) {
    loop {
        needs_files.notified().await;
        let registry = registry.clone();
        if spawn_blocking(move || registry.fetch_missing()).await.is_err() {
            return;
        }
    }
}
