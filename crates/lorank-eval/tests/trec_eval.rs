//! Values that trec_eval computed, recorded by `fixtures/record.py`.

use std::path::{Path, PathBuf};

use lorank_eval::{Graded, Measure, Qrels, Run};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

#[test]
fn every_value_is_trec_evals() {
    let (qrels, run) = (Qrels::read(fixture("qrels.txt")).unwrap(), Run::read(fixture("run.txt")).unwrap());
    let values = std::fs::read_to_string(fixture("values.tsv")).unwrap();
    let mut n_compared = 0;
    for line in values.lines() {
        let [query, name, expected] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let measure: Measure = name.parse().unwrap();
        assert_eq!(measure.trec_name(), name);
        let ranking = run.ranking(query).unwrap().iter().map(|scored| scored.document.as_str());
        let found = measure.of(&Graded::new(ranking, qrels.grades(query).unwrap()));
        let expected: f64 = expected.parse().unwrap();
        assert!((found - expected).abs() < 1e-6, "{line}: {found}");
        n_compared += 1;
    }
    // 39 queries are judged and ranked.
    assert_eq!(n_compared, 39 * 15);
}
