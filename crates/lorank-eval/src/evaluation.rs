//! Several rankers measured on the same queries and candidates.

use serde::Serialize;

use crate::ranking::reranked;
use crate::statistics::mean;
use crate::{Comparison, Graded, Grades, Measure, Qrels, Scored, Ties, Topic, compare};

/// The name of the first stage among the rankers.
pub const FIRST_STAGE: &str = "first-stage";

/// A query with its candidates, and the scores that each ranker gave them.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredQuery {
    /// The query.
    pub topic: Topic,
    /// The candidates with the first stage's scores, best first.
    pub candidates: Vec<Scored>,
    /// For each ranker after the first stage, the scores of the first candidates, in the order of the candidates.
    pub scores: Vec<Vec<f32>>,
    /// For each ranker after those, its order: the indices of all candidates, best first. Such a ranker has depths of its own, as a
    /// cascade of rerank stages has, and equal scores are its own concern.
    pub orders: Vec<Vec<usize>>,
}

/// A ranker that is evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct RankerInfo {
    /// The name by which it is shown.
    pub name: String,
    /// The digest of its adapter; `None` for the first stage and for the bare base model.
    pub adapter_digest: Option<String>,
    /// The mean time that retrieving or scoring a query's candidates took, in seconds; `None` if it is not known.
    pub seconds_per_query: Option<f64>,
}

/// The options of an evaluation.
#[derive(Debug, Clone)]
pub struct EvaluationOptions {
    /// The measures. The first is the one of depths, plots and differences by query.
    pub measures: Vec<Measure>,
    /// The number of reranked candidates.
    pub depth: usize,
    /// Further depths at which the first measure is computed.
    pub depths: Vec<usize>,
    /// Which of two documents with equal scores is first.
    pub ties: Ties,
    /// The name of the ranker that the others are compared with.
    pub baseline: String,
}

/// The results of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The name of the test collection.
    pub collection: String,
    /// The number of evaluated queries. All of them count in the means, as with `trec_eval -c`.
    pub n_queries: usize,
    /// The number of queries without a relevant document; each measure is 0 for them.
    pub n_without_relevant: usize,
    /// The number of reranked candidates.
    pub depth: usize,
    /// The name of the ranker that the others are compared with.
    pub baseline: String,
    /// The measures.
    pub measures: Vec<Measure>,
    /// The rankers, the first stage first.
    pub rankers: Vec<RankerResult>,
    /// The first measure at several depths.
    pub depths: Vec<DepthResult>,
    /// The values of each query.
    pub queries: Vec<QueryResult>,
}

/// The values of one ranker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RankerResult {
    /// The ranker's name.
    pub name: String,
    /// The digest of its adapter; `None` for the bare base model and for the first stage.
    pub adapter_digest: Option<String>,
    /// The mean time that retrieving or scoring a query's candidates took, in seconds; `None` if it is not known.
    pub seconds_per_query: Option<f64>,
    /// For each measure, the mean over queries.
    pub means: Vec<f64>,
    /// For each measure, the comparison with the baseline; empty for the baseline itself.
    pub comparisons: Vec<Comparison>,
}

/// The first measure at one depth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DepthResult {
    /// The number of reranked candidates; the others follow in first-stage order.
    pub depth: usize,
    /// For each ranker, the mean over queries.
    pub means: Vec<f64>,
}

/// The values of one query.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueryResult {
    /// The query's id.
    pub id: String,
    /// The query's text.
    pub text: String,
    /// The number of documents that are relevant to it.
    pub n_relevant: usize,
    /// The number of candidates that the first stage found.
    pub n_candidates: usize,
    /// For each ranker, the value of each measure.
    pub values: Vec<Vec<f64>>,
}

/// The ranking of a query by a ranker (0: the first stage), with a score for each document that holds the order: the documents
/// that are not reranked follow with scores below all others.
pub fn ranking(query: &ScoredQuery, ranker: usize, depth: usize, ties: Ties) -> Vec<Scored> {
    let ids: Vec<String> = query.candidates.iter().map(|candidate| candidate.document.clone()).collect();
    if let Some(cascade) = ranker.checked_sub(1 + query.scores.len()) {
        let order = query.orders[cascade].iter().enumerate();
        return order.map(|(rank, at)| Scored { document: ids[*at].clone(), score: -(rank as f32) }).collect();
    }
    let first_stage: Vec<f32>;
    let (scores, depth) = match ranker.checked_sub(1) {
        Some(reranker) => (&query.scores[reranker], depth),
        None => {
            first_stage = query.candidates.iter().map(|candidate| candidate.score).collect();
            (&first_stage, ids.len())
        }
    };
    let order = reranked(&ids, scores, depth, ties);
    let mut lowest = f32::INFINITY;
    order
        .into_iter()
        .enumerate()
        .map(|(rank, at)| {
            lowest = if rank < depth { scores[at] } else { below(lowest) };
            Scored { document: ids[at].clone(), score: lowest }
        })
        .collect()
}

/// A score that is lower than this one, by about 1.
fn below(score: f32) -> f32 {
    (score - 1.0).min(score.next_down())
}

impl Evaluation {
    /// Measures each ranker on each query. The first of `rankers` is the first stage.
    ///
    /// # Panics
    /// If a query has no judgments, has fewer scores than the deepest depth needs, or the baseline is not a ranker.
    pub fn new(
        collection: &str,
        rankers: &[RankerInfo],
        queries: &[ScoredQuery],
        qrels: &Qrels,
        options: &EvaluationOptions,
    ) -> Self {
        let grades = |query: &ScoredQuery| qrels.grades(&query.topic.id).expect("each query is judged");
        let results: Vec<QueryResult> =
            queries.iter().map(|query| measured(query, rankers.len(), grades(query), options)).collect();
        let depths = options.depths.iter().map(|depth| DepthResult {
            depth: *depth,
            means: (0..rankers.len())
                .map(|ranker| {
                    let values = queries.iter().map(|query| {
                        options.measures[0].of(&graded(query, ranker, *depth, options.ties, grades(query)))
                    });
                    mean(&values.collect::<Vec<f64>>())
                })
                .collect(),
        });
        Self {
            collection: collection.to_owned(),
            n_queries: results.len(),
            n_without_relevant: results.iter().filter(|query| query.n_relevant == 0).count(),
            depth: options.depth,
            baseline: options.baseline.clone(),
            measures: options.measures.clone(),
            rankers: ranker_results(rankers, &results, options),
            depths: depths.collect(),
            queries: results,
        }
    }

    /// The index of the ranker that the others are compared with.
    pub fn baseline_index(&self) -> usize {
        self.rankers.iter().position(|ranker| ranker.name == self.baseline).expect("the baseline is a ranker")
    }

    /// The differences of a ranker from the baseline in the first measure, query by query.
    pub fn differences(&self, ranker: usize) -> Vec<f64> {
        let baseline = self.baseline_index();
        self.queries.iter().map(|query| query.values[ranker][0] - query.values[baseline][0]).collect()
    }
}

fn graded(query: &ScoredQuery, ranker: usize, depth: usize, ties: Ties, grades: &Grades) -> Graded {
    let ranking = ranking(query, ranker, depth, ties);
    Graded::new(ranking.iter().map(|scored| scored.document.as_str()), grades)
}

fn measured(query: &ScoredQuery, n_rankers: usize, grades: &Grades, options: &EvaluationOptions) -> QueryResult {
    let graded: Vec<Graded> =
        (0..n_rankers).map(|ranker| graded(query, ranker, options.depth, options.ties, grades)).collect();
    QueryResult {
        id: query.topic.id.clone(),
        text: query.topic.text.clone(),
        n_relevant: graded[0].n_relevant(),
        n_candidates: query.candidates.len(),
        values: graded.iter().map(|one| options.measures.iter().map(|measure| measure.of(one)).collect()).collect(),
    }
}

fn ranker_results(infos: &[RankerInfo], queries: &[QueryResult], options: &EvaluationOptions) -> Vec<RankerResult> {
    let baseline = infos.iter().position(|info| info.name == options.baseline).expect("the baseline is a ranker");
    let n_measures = options.measures.len();
    let column = |ranker: usize, measure: usize| -> Vec<f64> {
        queries.iter().map(|query| query.values[ranker][measure]).collect()
    };
    // By measure, the comparisons of all rankers but the baseline.
    let others: Vec<usize> = (0..infos.len()).filter(|ranker| *ranker != baseline).collect();
    let by_measure: Vec<Vec<Comparison>> = (0..n_measures)
        .map(|measure| {
            let columns: Vec<Vec<f64>> = others.iter().map(|ranker| column(*ranker, measure)).collect();
            let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
            compare(&column(baseline, measure), &columns)
        })
        .collect();
    let result = |(ranker, info): (usize, &RankerInfo)| RankerResult {
        name: info.name.clone(),
        adapter_digest: info.adapter_digest.clone(),
        seconds_per_query: info.seconds_per_query,
        means: (0..n_measures).map(|measure| mean(&column(ranker, measure))).collect(),
        comparisons: match others.iter().position(|other| *other == ranker) {
            Some(at) => by_measure.iter().map(|comparisons| comparisons[at].clone()).collect(),
            None => Vec::new(),
        },
    };
    infos.iter().enumerate().map(result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(id: &str, candidates: &[(&str, f32)], scores: &[f32]) -> ScoredQuery {
        ScoredQuery {
            topic: Topic { id: id.into(), text: format!("what is {id}") },
            candidates: candidates.iter().map(|(id, score)| Scored { document: (*id).into(), score: *score }).collect(),
            scores: vec![scores.to_vec()],
            orders: Vec::new(),
        }
    }

    fn evaluation(depth: usize, ties: Ties) -> Evaluation {
        let queries = [
            query("q1", &[("a", 3.0), ("b", 2.0), ("c", 1.0)], &[0.1, 0.2, 0.9]),
            query("q2", &[("a", 3.0), ("b", 3.0)], &[0.5, 0.5]),
            query("q3", &[], &[]),
        ];
        let mut qrels = Qrels::default();
        for (query, document, grade) in [("q1", "c", 1), ("q2", "a", 1), ("q3", "a", 0)] {
            qrels.insert(query, document, grade);
        }
        let ranker = |name: &str| RankerInfo { name: name.into(), adapter_digest: None, seconds_per_query: Some(0.5) };
        let rankers = [ranker(FIRST_STAGE), ranker("qa")];
        let options = EvaluationOptions {
            measures: vec!["mrr".parse().unwrap(), "p@1".parse().unwrap()],
            depth,
            depths: vec![1, 2, 3],
            ties,
            baseline: FIRST_STAGE.into(),
        };
        Evaluation::new("eggs", &rankers, &queries, &qrels, &options)
    }

    #[test]
    fn rankers_are_measured_on_the_same_queries() {
        let found = evaluation(3, Ties::Input);
        assert_eq!((found.n_queries, found.n_without_relevant), (3, 1));
        let thirds = |values: [f64; 3]| values.iter().sum::<f64>() / 3.0;
        assert_eq!(found.rankers[0].means, [thirds([1.0 / 3.0, 1.0, 0.0]), thirds([0.0, 1.0, 0.0])]);
        assert_eq!(found.rankers[1].means, [thirds([1.0, 1.0, 0.0]), thirds([1.0, 1.0, 0.0])]);
        assert!(found.rankers[0].comparisons.is_empty());
        let comparison = &found.rankers[1].comparisons[0];
        assert!((comparison.difference - 2.0 / 9.0).abs() < 1e-12);
        assert_eq!((comparison.wins, comparison.ties, comparison.losses), (1, 2, 0));
        assert_eq!(found.differences(1).len(), 3);
        let depths: Vec<(usize, f64)> = found.depths.iter().map(|row| (row.depth, row.means[1])).collect();
        assert_eq!(
            depths,
            [(1, thirds([1.0 / 3.0, 1.0, 0.0])), (2, thirds([1.0 / 3.0, 1.0, 0.0])), (3, thirds([1.0, 1.0, 0.0]))]
        );
        assert!(found.depths.iter().all(|row| row.means[0] == found.rankers[0].means[0]));
    }

    #[test]
    fn ties_are_broken_as_asked() {
        // b is first in both rankings of q2: its id is greater.
        let found = evaluation(3, Ties::TrecEval);
        assert_eq!(found.queries[1].values, [[0.5, 0.0], [0.5, 0.0]]);
        assert_eq!(evaluation(3, Ties::Input).queries[1].values, [[1.0, 1.0], [1.0, 1.0]]);
    }

    #[test]
    fn a_ranker_with_an_order_has_depths_of_its_own() {
        let candidates = [("a", 9.0), ("b", 8.0), ("c", 7.0)];
        let query = ScoredQuery { orders: vec![vec![2, 0, 1]], ..query("q1", &candidates, &[0.1, 0.2]) };
        for (depth, ties) in [(1, Ties::TrecEval), (2, Ties::Input), (3, Ties::TrecEval)] {
            let ranked = ranking(&query, 2, depth, ties);
            let ids: Vec<&str> = ranked.iter().map(|scored| &*scored.document).collect();
            assert_eq!(ids, ["c", "a", "b"], "{depth}");
            let mut sorted = ranked.clone();
            crate::by_trec_eval(&mut sorted);
            assert_eq!(ranked, sorted, "{depth}");
        }
        let ids: Vec<String> = ranking(&query, 1, 2, Ties::Input).into_iter().map(|scored| scored.document).collect();
        assert_eq!(ids, ["b", "a", "c"], "the others are as they were");
    }

    #[test]
    fn written_scores_hold_the_order() {
        let query = query("q1", &[("a", 9.0), ("b", 8.0), ("c", 7.0), ("d", 6.0)], &[0.1, 0.2, 0.9, 1e30]);
        for depth in 1..=4 {
            let ranked = ranking(&query, 1, depth, Ties::TrecEval);
            let mut sorted = ranked.clone();
            crate::by_trec_eval(&mut sorted);
            assert_eq!(ranked, sorted, "{depth}");
        }
        let ids: Vec<String> = ranking(&query, 1, 2, Ties::Input).into_iter().map(|scored| scored.document).collect();
        assert_eq!(ids, ["b", "a", "c", "d"]);
    }
}
