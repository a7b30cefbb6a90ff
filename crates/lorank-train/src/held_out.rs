//! Held-out queries, by which an adapter is measured during training.

use std::collections::BTreeMap;

use lorank_core::Candidate;
use lorank_eval::{Graded, Grades, Measure, Scored, by_trec_eval};
use lorank_model::{Pair, PassMode, TrainableModel, TrainedAdapter};

use crate::TrainError;
use crate::workers::Workers;

/// Held-out queries with their candidates.
#[derive(Debug, Clone, Default)]
pub struct HeldOut {
    queries: Vec<HeldOutQuery>,
}

#[derive(Debug, Clone)]
struct HeldOutQuery {
    ids: Vec<String>,
    pairs: Vec<Pair>,
    grades: Grades,
}

/// The candidates, tokens and grades of a query.
type Contents<'a> = (&'a [String], &'a [Pair], BTreeMap<&'a str, i32>);

impl HeldOut {
    /// Adds a query with its candidates, and the grades of all judged documents.
    ///
    /// # Errors
    /// A failure of the tokenizer.
    pub fn push(
        &mut self,
        model: &TrainableModel<'_>,
        query: &str,
        candidates: &[Candidate],
        grades: Grades,
    ) -> Result<(), TrainError> {
        let ids = candidates.iter().map(|candidate| candidate.id.as_str().to_owned()).collect();
        self.queries.push(HeldOutQuery { ids, pairs: model.encode(query, candidates)?, grades });
        Ok(())
    }

    /// The number of queries.
    pub fn n_queries(&self) -> usize {
        self.queries.len()
    }

    /// The candidates, tokens and grades of each query, in an order that does not change between runs.
    pub(crate) fn contents(&self) -> Vec<Contents<'_>> {
        let contents = self.queries.iter().map(|HeldOutQuery { ids, pairs, grades }| {
            (&**ids, &**pairs, grades.iter().map(|(id, grade)| (id.as_str(), *grade)).collect())
        });
        contents.collect()
    }

    /// The mean nDCG@10 of an adapter over the queries.
    pub(crate) fn ndcg(
        &self,
        model: &TrainableModel<'_>,
        adapter: &TrainedAdapter,
        workers: &Workers,
    ) -> Result<f64, TrainError> {
        let packed = model.pack(adapter)?;
        let of_query = |query: &HeldOutQuery| -> Result<f64, TrainError> {
            let pairs: Vec<(&Pair, usize)> = query.pairs.iter().map(|pair| (pair, 0)).collect();
            let scores = model.score(&packed, &pairs, PassMode::Score)?.scores;
            let scored = |(id, score): (&String, f32)| Scored { document: id.clone(), score };
            let mut ranking: Vec<Scored> = query.ids.iter().zip(scores).map(scored).collect();
            by_trec_eval(&mut ranking);
            let graded = Graded::new(ranking.iter().map(|scored| scored.document.as_str()), &query.grades);
            Ok(Measure::NDCG_AT_10.of(&graded))
        };
        let values = workers.map(&self.queries, of_query).into_iter().collect::<Result<Vec<f64>, TrainError>>()?;
        Ok(values.iter().sum::<f64>() / values.len().max(1) as f64)
    }
}
