//! Simulated searchers of a small engine with two rankers, whose examination of ranks is known.

use std::collections::HashMap;

use lorank_eval::ClickLog;

/// The number of ranks of an answer, and of documents of a query.
pub(crate) const N_RANKS: usize = 10;

/// What users do beyond the position-based model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Users {
    /// A click is an examined and relevant hit.
    PositionBased,
    /// Users trust high ranks: an examined hit at rank k is clicked with probability 0.98 - k / 100 if it is relevant, and
    /// 0.65 / k if not (the values of Agarwal et al., "Addressing Trust Bias for Unbiased Learning-to-Rank", WWW 2019).
    Trusting,
}

/// Queries with the relevance of their documents; the n-th query is searched with a share of 1 / n.
pub(crate) struct World {
    /// How fast examination falls: the probability at rank k is k to the power of minus this.
    pub(crate) eta: f64,
    /// The relevance of each query's documents.
    relevance: Vec<Vec<f64>>,
    /// Each query's documents as two rankers and a candidate order them.
    rankings: Vec<[Vec<usize>; 3]>,
}

impl World {
    pub(crate) fn new(seed: u64, n_queries: usize, eta: f64) -> Self {
        let mut random = Random(seed);
        let mut query = || {
            let relevance: Vec<f64> = (0..N_RANKS)
                .map(|at| if at < 3 { 0.3 + 0.4 * random.unit() } else { 0.02 + 0.1 * random.unit() })
                .collect();
            let mut ranked = |noise: f64| {
                let scores: Vec<f64> = relevance.iter().map(|relevance| relevance + noise * random.unit()).collect();
                let mut order: Vec<usize> = (0..N_RANKS).collect();
                order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
                order
            };
            let rankings = [ranked(1.0), ranked(0.7), ranked(0.4)];
            (relevance, rankings)
        };
        let (relevance, rankings) = (0..n_queries).map(|_| query()).unzip();
        Self { eta, relevance, rankings }
    }

    /// The true probability that a rank, from 0, is examined.
    pub(crate) fn examined(&self, rank: usize) -> f64 {
        ((rank + 1) as f64).powf(-self.eta)
    }

    /// A log of searches that a coin splits between the two rankers.
    pub(crate) fn search(&self, seed: u64, n_searches: usize, users: Users) -> ClickLog {
        let mut random = Random(seed);
        let shares: Vec<f64> = self.cumulative_shares();
        let mut log = ClickLog::default();
        for _ in 0..n_searches {
            let drawn = random.unit();
            let query = shares.partition_point(|share| *share < drawn).min(shares.len() - 1);
            let ranking = &self.rankings[query][(random.next() & 1) as usize];
            let names: Vec<String> = ranking.iter().map(|document| format!("d{document}")).collect();
            let mut clicked = Vec::new();
            for (rank, document) in ranking.iter().enumerate() {
                let k = (rank + 1) as f64;
                let is_relevant = random.unit() < self.relevance[query][*document];
                let on_examination = match users {
                    Users::PositionBased => f64::from(u8::from(is_relevant)),
                    Users::Trusting => {
                        if is_relevant {
                            0.98 - k / 100.0
                        } else {
                            0.65 / k
                        }
                    }
                };
                if random.unit() < self.examined(rank) * on_examination {
                    clicked.push(rank + 1);
                }
            }
            log.add(&name(query), names.iter().map(String::as_str), clicked);
        }
        log
    }

    /// The candidate's rankings.
    pub(crate) fn candidate(&self) -> HashMap<String, Vec<String>> {
        let ranking = |query: usize| self.rankings[query][2].iter().map(|document| format!("d{document}")).collect();
        (0..self.rankings.len()).map(|query| (name(query), ranking(query))).collect()
    }

    /// The true difference in clicks per search between the candidate and the average of the two rankers.
    pub(crate) fn true_difference(&self) -> f64 {
        let clicks = |query: usize, ranker: usize| -> f64 {
            let ranking = self.rankings[query][ranker].iter().enumerate();
            ranking.map(|(rank, document)| self.examined(rank) * self.relevance[query][*document]).sum()
        };
        let shares = self.cumulative_shares();
        let share = |query: usize| shares[query] - if query == 0 { 0.0 } else { shares[query - 1] };
        (0..self.rankings.len())
            .map(|query| share(query) * (clicks(query, 2) - (clicks(query, 0) + clicks(query, 1)) / 2.0))
            .sum()
    }

    fn cumulative_shares(&self) -> Vec<f64> {
        let total: f64 = (1..=self.relevance.len()).map(|n| 1.0 / n as f64).sum();
        let mut sum = 0.0;
        (1..=self.relevance.len())
            .map(|n| {
                sum += 1.0 / n as f64 / total;
                sum
            })
            .collect()
    }
}

/// The largest error of the estimated examination of ranks 1 to 10.
pub(crate) fn error_of(world: &World, log: &ClickLog) -> f64 {
    let estimated = log.examination().expect("the rankers differ").probabilities;
    (0..N_RANKS).map(|rank| (estimated[rank] - world.examined(rank)).abs()).fold(0.0, f64::max)
}

fn name(query: usize) -> String {
    format!("q{query}")
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
