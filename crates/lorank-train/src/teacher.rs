//! The teacher's scores, and negatives that they show to be relevant.

use lorank_core::Candidate;

use crate::{Group, GroupDocument};

/// Sets the teacher's score of each document that has none. `score` scores the documents of a query.
///
/// # Errors
/// Of `score`.
pub fn add_scores<E>(
    groups: &mut [Group],
    mut score: impl FnMut(&str, &[Candidate]) -> Result<Vec<f32>, E>,
) -> Result<(), E> {
    for group in groups.iter_mut().filter(|group| group.documents.iter().any(|document| document.teacher.is_none())) {
        let candidates: Vec<Candidate> = group.documents.iter().map(GroupDocument::candidate).collect();
        for (document, score) in group.documents.iter_mut().zip(score(&group.query, &candidates)?) {
            document.teacher = Some(f64::from(score));
        }
    }
    Ok(())
}

/// Removes the negatives that the teacher scores higher than the group's best relevant document minus `margin`: they are
/// probably relevant and were not judged (arXiv 2407.15831). Of the others, at most `n_max` stay.
pub fn drop_false_negatives(groups: &mut [Group], margin: f64, n_max: usize) {
    for group in groups {
        let relevant = group.documents.iter().filter(|document| document.label > 0.0);
        let best = relevant.filter_map(|document| document.teacher).fold(f64::NEG_INFINITY, f64::max);
        let mut n_kept = 0;
        group.documents.retain(|document| {
            if document.label > 0.0 {
                return true;
            }
            let is_kept = document.teacher.is_none_or(|score| score <= best - margin) && n_kept < n_max;
            n_kept += usize::from(is_kept);
            is_kept
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negatives_above_the_margin_are_removed() {
        let document = |label: f64, teacher: f64| GroupDocument {
            id: None,
            title: None,
            text: String::new(),
            label,
            teacher: Some(teacher),
        };
        let documents =
            vec![document(1.0, 5.0), document(0.0, 6.0), document(0.0, 4.5), document(0.0, 4.0), document(0.0, 1.0)];
        let mut groups = [Group { query_id: None, query: "q".to_owned(), documents }];
        drop_false_negatives(&mut groups, 1.0, 9);
        let left = |groups: &[Group]| groups[0].documents.iter().filter_map(|it| it.teacher).collect::<Vec<f64>>();
        assert_eq!(left(&groups), [5.0, 4.0, 1.0]);
        drop_false_negatives(&mut groups, 1.0, 1);
        assert_eq!(left(&groups), [5.0, 4.0]);
    }
}
