//! The exact models that ranked an arm's answers.

use serde::Serialize;

/// The maximum number of versions of an arm. Answers of further versions count for the last.
const VERSIONS_MAX: usize = 16;

/// An exact model that ranked answers of an arm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServedVersion {
    /// The digests of everything that scores depend on except the texts, as in [`Exposure::model`](crate::Exposure::model).
    pub model: String,
    /// The number of answers that it ranked, without forced ones.
    pub n_answers: u64,
    /// The time of the first of them, in milliseconds since 1970.
    pub first_millis: i64,
    /// The time of the last of them, in milliseconds since 1970.
    pub last_millis: i64,
}

/// The versions of an arm, in the order of their first answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Versions(Vec<ServedVersion>);

impl Versions {
    /// Counts an answer ranked by this model.
    pub(crate) fn add(&mut self, model: &str, at_millis: i64) {
        let known = self.0.iter().position(|version| version.model == model);
        let Some(n) = known.or_else(|| (self.0.len() == VERSIONS_MAX).then_some(VERSIONS_MAX - 1)) else {
            let model = model.to_owned();
            self.0.push(ServedVersion { model, n_answers: 1, first_millis: at_millis, last_millis: at_millis });
            return;
        };
        let version = &mut self.0[n];
        version.n_answers += 1;
        version.first_millis = version.first_millis.min(at_millis);
        version.last_millis = version.last_millis.max(at_millis);
    }

    pub(crate) fn all(&self) -> &[ServedVersion] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_counted_apart_and_are_not_many() {
        let mut versions = Versions::default();
        for (model, at_millis) in [("one", 5), ("two", 6), ("one", 7), ("one", 3)] {
            versions.add(model, at_millis);
        }
        let found: Vec<_> =
            versions.all().iter().map(|one| (&*one.model, one.n_answers, one.first_millis, one.last_millis)).collect();
        assert_eq!(found, [("one", 3, 3, 7), ("two", 1, 6, 6)]);
        (0..100).for_each(|n| versions.add(&format!("version {n}"), n));
        assert_eq!(versions.all().len(), VERSIONS_MAX);
        assert_eq!(versions.all().iter().map(|one| one.n_answers).sum::<u64>(), 104);
    }
}
