//! The nodes of a cluster: turns, and pauses for nodes that failed.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::NodeUrl;
use crate::jitter::jittered;

/// The pause of a node after its first failure; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause: a node that comes back gets requests again after at most this time.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The nodes of a cluster.
#[derive(Debug)]
pub(crate) struct Nodes {
    nodes: Vec<Node>,
    /// The number of requests so far, which decides whose turn it is.
    turn: AtomicUsize,
    started: Instant,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub url: NodeUrl,
    /// The failures since the last answer.
    n_failures: AtomicU32,
    /// Until when the node is avoided, in milliseconds after the start.
    paused_until: AtomicU64,
}

impl Nodes {
    pub(crate) fn new(urls: Vec<NodeUrl>) -> Self {
        let node = |url| Node { url, n_failures: AtomicU32::new(0), paused_until: AtomicU64::new(0) };
        Self { nodes: urls.into_iter().map(node).collect(), turn: AtomicUsize::new(0), started: Instant::now() }
    }

    pub(crate) fn n(&self) -> usize {
        self.nodes.len()
    }

    /// All nodes in the order in which a request tries them: those that work first, each of them in turn, then the paused
    /// ones, which may have come back.
    pub(crate) fn in_order(&self) -> Vec<&Node> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.nodes.len();
        let now = self.millis();
        let turns = self.nodes[first..].iter().chain(&self.nodes[..first]);
        let (paused, working): (Vec<&Node>, Vec<&Node>) =
            turns.partition(|node| node.paused_until.load(Ordering::Relaxed) > now);
        working.into_iter().chain(paused).collect()
    }

    pub(crate) fn answered(&self, node: &Node) {
        if node.n_failures.swap(0, Ordering::Relaxed) > 0 {
            node.paused_until.store(0, Ordering::Relaxed);
            tracing::info!(node = %node.url, "the search engine's node answers again");
        }
    }

    pub(crate) fn failed(&self, node: &Node, reason: &str) {
        let n_before = node.n_failures.fetch_add(1, Ordering::Relaxed);
        let pause = jittered(PAUSE_MIN.saturating_mul(1 << n_before.min(6)).min(PAUSE_MAX));
        let until = self.millis() + u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        node.paused_until.store(until, Ordering::Relaxed);
        if n_before == 0 {
            tracing::warn!(node = %node.url, "the search engine's node does not answer: {reason}");
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(nodes: &Nodes) -> Vec<&str> {
        nodes.in_order().into_iter().map(|node| node.url.as_str()).collect()
    }

    #[test]
    fn nodes_take_turns_and_failed_ones_come_last() {
        let nodes = Nodes::new(["http://a", "http://b", "http://c"].map(|url| url.parse().unwrap()).to_vec());
        assert_eq!(order(&nodes), ["http://a", "http://b", "http://c"]);
        assert_eq!(order(&nodes), ["http://b", "http://c", "http://a"]);
        nodes.failed(&nodes.nodes[2], "refused");
        assert_eq!(order(&nodes), ["http://a", "http://b", "http://c"], "c's turn, but it failed");
        nodes.answered(&nodes.nodes[2]);
        order(&nodes);
        order(&nodes);
        assert_eq!(order(&nodes), ["http://c", "http://a", "http://b"]);
    }
}
