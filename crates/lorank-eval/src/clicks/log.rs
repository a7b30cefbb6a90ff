//! A log of searches with their clicks, as counts per query, document and rank.

use std::collections::HashMap;

use crate::random::Random;

/// The number of ranks of an answer that are read; hits and clicks below are ignored.
pub const RANKS_MAX: usize = 64;

/// The maximum weight of a click: clicks at ranks that are examined less often than 1 / `CLIP` count as if they were
/// examined that often. It bounds the variance at the cost of a bias toward the logged order.
pub const CLIP: f64 = 50.0;

/// The searches of a log with their clicks.
///
/// Takes 16 bytes per search, and the texts of distinct queries, documents and rankings once.
#[derive(Debug, Default)]
pub struct ClickLog {
    ids: HashMap<String, u32>,
    pub(super) queries: Vec<Query>,
    pub(super) pairs: Vec<Pair>,
    pub(super) cells: Vec<Cell>,
    pub(super) searches: Vec<Search>,
}

/// A distinct query.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) text: String,
    /// The pairs of its documents.
    pub(super) pair_of: HashMap<String, u32>,
    /// The distinct rankings, as the cell of each rank.
    rankings: Vec<Vec<u32>>,
    ranking_ids: HashMap<Vec<u32>, u32>,
    /// The ranking of the last search.
    last: u32,
}

/// A document of a query, with its cells.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) query: u32,
    pub(super) document: String,
    pub(super) cells: Vec<u32>,
}

/// A document of a query at a rank.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) pair: u32,
    /// From 0.
    pub(super) rank: usize,
}

#[derive(Debug)]
pub(super) struct Search {
    pub(super) query: u32,
    ranking: u32,
    /// One bit per rank.
    clicks: u64,
}

/// How often each cell was shown and clicked, and each query searched; searches may have weights.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) shown: Vec<f64>,
    pub(super) clicked: Vec<f64>,
    pub(super) searched: Vec<f64>,
}

impl ClickLog {
    /// Adds a search with its hits from rank 1 and the clicked ranks, from 1. Several clicks on a hit are one.
    pub fn add<'a>(
        &mut self,
        query: &str,
        hits: impl IntoIterator<Item = &'a str>,
        clicked: impl IntoIterator<Item = usize>,
    ) {
        let query = self.query_id(query);
        let cells: Vec<u32> =
            hits.into_iter().take(RANKS_MAX).enumerate().map(|(rank, hit)| self.cell(query, hit, rank)).collect();
        let n_hits = cells.len();
        let clicks =
            clicked.into_iter().filter(|rank| (1..=n_hits).contains(rank)).fold(0, |bits, rank| bits | 1 << (rank - 1));
        let ranking = self.queries[query as usize].ranking_id(cells);
        self.queries[query as usize].last = ranking;
        self.searches.push(Search { query, ranking, clicks });
    }

    /// The number of searches.
    pub fn n_searches(&self) -> usize {
        self.searches.len()
    }

    /// The number of clicked hits.
    pub fn n_clicks(&self) -> u64 {
        self.searches.iter().map(|search| u64::from(search.clicks.count_ones())).sum()
    }

    /// The distinct queries with their numbers of searches, in the order of their first search.
    pub fn queries(&self) -> Vec<(&str, u64)> {
        let searched = self.counts(|_| 1.0).searched;
        self.queries.iter().zip(searched).map(|(query, n)| (query.text.as_str(), n as u64)).collect()
    }

    /// The hits of a query's last search, best first; none for an unknown query.
    pub fn last_hits(&self, query: &str) -> Vec<&str> {
        let query = self.ids.get(query).map(|id| &self.queries[*id as usize]);
        let cells = query.map_or(&[][..], |query| &query.rankings[query.last as usize]);
        cells.iter().map(|cell| self.pairs[self.cells[*cell as usize].pair as usize].document.as_str()).collect()
    }

    /// The expected number of examinations of a document.
    pub(super) fn n_examined(&self, pair: &Pair, counts: &Counts, probabilities: &[f64]) -> f64 {
        let examined = |cell: &u32| {
            let rank = self.cells[*cell as usize].rank;
            counts.shown[*cell as usize] * probabilities.get(rank).copied().unwrap_or(0.0).max(1.0 / CLIP)
        };
        pair.cells.iter().map(examined).sum()
    }

    /// The counts, with a weight for each search.
    pub(super) fn counts(&self, mut weight: impl FnMut(&Search) -> f64) -> Counts {
        let zeros = |n| vec![0.0; n];
        let mut counts = Counts {
            shown: zeros(self.cells.len()),
            clicked: zeros(self.cells.len()),
            searched: zeros(self.queries.len()),
        };
        for search in &self.searches {
            let weight = weight(search);
            if weight == 0.0 {
                continue;
            }
            let query = &self.queries[search.query as usize];
            counts.searched[search.query as usize] += weight;
            for (rank, cell) in query.rankings[search.ranking as usize].iter().enumerate() {
                counts.shown[*cell as usize] += weight;
                if search.clicks >> rank & 1 == 1 {
                    counts.clicked[*cell as usize] += weight;
                }
            }
        }
        counts
    }

    /// The counts of a bootstrap sample of the searches: each has a Poisson weight of mean 1 (Chamandy, Muralidharan,
    /// Najmi and Naidu, 2012).
    pub(super) fn resampled(&self, random: &mut Random) -> Counts {
        self.counts(|_| f64::from(random.poisson()))
    }

    fn query_id(&mut self, text: &str) -> u32 {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = self.queries.len() as u32;
        self.ids.insert(text.to_owned(), id);
        self.queries.push(Query {
            text: text.to_owned(),
            pair_of: HashMap::new(),
            rankings: Vec::new(),
            ranking_ids: HashMap::new(),
            last: 0,
        });
        id
    }

    fn cell(&mut self, query: u32, document: &str, rank: usize) -> u32 {
        let pair_of = &mut self.queries[query as usize].pair_of;
        let pair = pair_of.get(document).copied().unwrap_or_else(|| {
            let pair = self.pairs.len() as u32;
            pair_of.insert(document.to_owned(), pair);
            self.pairs.push(Pair { query, document: document.to_owned(), cells: Vec::new() });
            pair
        });
        let cells = &mut self.pairs[pair as usize].cells;
        let found = cells.iter().copied().find(|cell| self.cells[*cell as usize].rank == rank);
        found.unwrap_or_else(|| {
            let cell = self.cells.len() as u32;
            self.cells.push(Cell { pair, rank });
            cells.push(cell);
            cell
        })
    }
}

impl Query {
    fn ranking_id(&mut self, cells: Vec<u32>) -> u32 {
        if let Some(id) = self.ranking_ids.get(&cells) {
            return *id;
        }
        let id = self.rankings.len() as u32;
        self.rankings.push(cells.clone());
        self.ranking_ids.insert(cells, id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_become_counts_by_document_and_rank() {
        let mut log = ClickLog::default();
        log.add("q", ["a", "b"], [1, 1, 2, 7, 0]);
        log.add("q", ["b", "a"], []);
        log.add("q", ["b", "c"], [2]);
        log.add("p", ["a"], []);
        assert_eq!((log.n_searches(), log.n_clicks()), (4, 3));
        assert_eq!(log.queries(), [("q", 3), ("p", 1)]);
        assert_eq!((log.last_hits("q"), log.last_hits("none")), (vec!["b", "c"], vec![]));
    }
}
