//! `demo`, as a pipe sees it.

use crate::command::Lorank;

#[test]
fn the_demo_shows_three_questions_that_reranking_answers() {
    let text = Lorank::new().run(&["demo", "--no-serve", "--depth", "10"]);
    assert!(text.starts_with("indexed the BoolQ development set: 2,938 passages"), "{text}");
    assert!(!text.contains('\u{1b}'), "no styles in a pipe");
    let judged: Vec<&str> = text.lines().filter(|line| line.contains("judged to answer the question")).collect();
    assert_eq!(judged.len(), 3, "{text}");
    for line in judged {
        assert!(line.ends_with("rank 1 reranked") && !line.contains("rank 1 for BM25"), "{line}");
    }
}
