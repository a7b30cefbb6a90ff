//! Expressions compared with known values, and with a stack machine.

use lorank_core::{Candidate, Score, Value};
use proptest::prelude::*;

use super::*;

const NOW: f64 = 1_700_000_000.0;

fn candidate() -> Candidate {
    let fields = vec![
        ("year".to_owned(), Value::Integer(2020)),
        ("views".to_owned(), Value::Unsigned(u64::MAX)),
        ("price".to_owned(), Value::Float(2.5)),
        ("sale".to_owned(), Value::Bool(true)),
        ("lang".to_owned(), Value::from("en")),
        ("day".to_owned(), Value::from("2023-11-12T22:13:20Z")),
        ("plain day".to_owned(), Value::from("2023-11-13")),
        ("local".to_owned(), Value::from("2023-11-12 22:13:20")),
        ("zoned".to_owned(), Value::from("2023-11-13T00:13:20.5+02:00")),
        ("old".to_owned(), Value::from("0001-01-01")),
        ("none".to_owned(), Value::Null),
        ("empty".to_owned(), Value::List(Vec::new())),
        ("list".to_owned(), Value::List(vec![Value::from("x"), Value::Integer(7), Value::Integer(8)])),
        ("author".to_owned(), Value::Object(vec![("born".to_owned(), Value::Integer(1970))])),
        ("dc.rating".to_owned(), Value::Integer(4)),
        ("now".to_owned(), Value::Integer(1)),
    ];
    Candidate { fields, ..Candidate::new("d", "text", Score::new(12.0).unwrap()) }
}

fn value(text: &str) -> Option<f64> {
    let candidate = candidate();
    let rerank_score = Some(Score::new(-2.0).unwrap());
    let rank_by: RankBy = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    rank_by.value(&Inputs { candidate: &candidate, rerank_score, first_stage_rank: 3, now: NOW })
}

#[track_caller]
fn check(text: &str, expected: Option<f64>) {
    match (value(text), expected) {
        (Some(found), Some(expected)) => {
            let is_near = found == expected || (found - expected).abs() <= 1e-12 * expected.abs();
            assert!(is_near, "{text}: {found}, not {expected}");
        }
        (found, expected) => assert_eq!(found, expected, "{text}"),
    }
}

#[test]
fn arithmetic_binds_as_it_does_on_paper() {
    for (text, expected) in [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("7 - 2 - 1", 4.0),
        ("8 / 4 / 2", 1.0),
        ("2 - -3", 5.0),
        ("-2 * -3", 6.0),
        ("--2", 2.0),
        ("-(1 + 1)", -2.0),
        (".5 + 1.", 1.5),
        ("1e3 + 2.5E-1", 1000.25),
        (" 1\t+\n2 ", 3.0),
        ("pow(2, 3) - -1", 9.0),
        ("min(3, 1, 2) + max(1, 2)", 3.0),
    ] {
        check(text, Some(expected));
    }
}

#[test]
fn names_are_scores_and_stored_fields() {
    for (text, expected) in [
        ("rerank_score", Some(-2.0)),
        ("first_stage_score", Some(12.0)),
        ("first_stage_rank", Some(3.0)),
        ("now", Some(NOW)),
        ("`now`", Some(1.0)),
        ("year", Some(2020.0)),
        ("views", Some(u64::MAX as f64)),
        ("price", Some(2.5)),
        ("sale", Some(1.0)),
        ("day", Some(NOW - 2.0 * 86_400.0)),
        ("age_days(day)", Some(2.0)),
        ("local - day", Some(0.0)),
        ("zoned - day", Some(0.5)),
        ("old", Some(-62_135_596_800.0)),
        ("`plain day`", Some(1_699_833_600.0)),
        ("list", Some(7.0)),
        ("author.born", Some(1970.0)),
        ("`author.born`", Some(1970.0)),
        ("dc.rating", Some(4.0)),
        ("lang", None),
        ("none", None),
        ("empty", None),
        ("author", None),
        ("author.name", None),
        ("missing", None),
    ] {
        check(text, expected);
    }
}

#[test]
fn functions_have_their_values() {
    for (text, expected) in [
        ("abs(-3)", Some(3.0)),
        ("exp(1)", Some(std::f64::consts::E)),
        ("log(exp(2))", Some(2.0)),
        ("log10(1000)", Some(3.0)),
        ("sqrt(16)", Some(4.0)),
        ("sigmoid(0)", Some(0.5)),
        ("pow(4, 0.5)", Some(2.0)),
        ("exp_decay(0, 10)", Some(1.0)),
        ("exp_decay(10, 10)", Some(0.5)),
        ("exp_decay(20, 10)", Some(0.25)),
        ("exp_decay(-20, 10, 0.1)", Some(0.01)),
        ("gauss_decay(10, 10)", Some(0.5)),
        ("gauss_decay(20, 10)", Some(0.0625)),
        ("linear_decay(10, 10)", Some(0.5)),
        ("linear_decay(5, 10)", Some(0.75)),
        ("linear_decay(1000, 10)", Some(0.0)),
        ("linear_decay(10, 10, 0.9)", Some(0.9)),
        ("coalesce(missing, lang, 5, 6)", Some(5.0)),
        ("coalesce(year, 5)", Some(2020.0)),
        ("coalesce(missing)", None),
    ] {
        check(text, expected);
    }
}

#[test]
fn what_is_no_number_stays_none_and_infinities_are_numbers() {
    for (text, expected) in [
        ("1 / 0", Some(f64::INFINITY)),
        ("-1 / 0", Some(f64::NEG_INFINITY)),
        ("log(0)", Some(f64::NEG_INFINITY)),
        ("1e308 * 10", Some(f64::INFINITY)),
        ("exp(1000)", Some(f64::INFINITY)),
        ("sigmoid(-1000)", Some(0.0)),
        ("0 / 0", None),
        ("1 / 0 - 1 / 0", None),
        ("log(-1)", None),
        ("sqrt(-1)", None),
        ("missing + 1", None),
        ("missing * 0", None),
        ("min(1, missing)", None),
        ("max(missing, 1)", None),
        ("pow(1, missing)", None),
        ("pow(missing, 0)", None),
        ("abs(missing)", None),
        ("exp_decay(1, 0)", None),
        ("gauss_decay(1, -1)", None),
        ("linear_decay(missing, 1)", None),
        ("exp_decay(1, 1, 1)", None),
        ("exp_decay(1, 1, 0)", None),
        ("coalesce(0 / 0, 3)", Some(3.0)),
    ] {
        check(text, expected);
    }
}

#[test]
fn what_is_no_expression_says_where_and_why() {
    let known = "`abs`, `age_days`, `coalesce`, `exp`, `exp_decay`, `gauss_decay`, `linear_decay`, `log`, `log10`, `max`, \
                 `min`, `pow`, `sigmoid`, `sqrt`";
    for (text, expected) in [
        ("", "expected a number, a name or a bracket, found the end at character 1".to_owned()),
        ("1 +", "expected a number, a name or a bracket, found the end at character 4".to_owned()),
        ("1 2", "expected an operator or the end, found `2` at character 3".to_owned()),
        ("(1", "expected `)`, found the end at character 3".to_owned()),
        ("1)", "expected an operator or the end, found `)` at character 2".to_owned()),
        ("+1", "expected a number, a name or a bracket, found `+` at character 1".to_owned()),
        ("ü * exq(1)", format!("unknown function `exq` (the functions are {known}) at character 5")),
        ("exp()", "`exp` takes one argument, not 0 at character 1".to_owned()),
        ("exp(1, 2)", "`exp` takes one argument, not 2 at character 1".to_owned()),
        ("pow(1)", "`pow` takes two arguments, not 1 at character 1".to_owned()),
        ("exp_decay(1)", "`exp_decay` takes two or three arguments, not 1 at character 1".to_owned()),
        ("min()", "`min` takes at least one argument, not 0 at character 1".to_owned()),
        ("year % 2", "unexpected `%`; quote special field names with backquotes at character 6".to_owned()),
        ("`year", "unclosed backquote at character 1".to_owned()),
        ("``", "expected a number, a name or a bracket, found `` at character 1".to_owned()),
        ("1.2.3", "`1.2.3` is not a number at character 1".to_owned()),
        ("2x", "`2x` is not a number at character 1".to_owned()),
        ("1e999", "`1e999` is not a number at character 1".to_owned()),
        ("rerank_score; 1", "unexpected `;`; quote special field names with backquotes at character 13".to_owned()),
    ] {
        let error = text.parse::<RankBy>().unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }
}

#[test]
fn length_and_depth_are_bounded() {
    let long = vec!["1"; 600].join("+");
    assert!(long.parse::<RankBy>().unwrap_err().problem.contains("1199 bytes; the maximum is 1024"));
    for (open, close) in [("(", ")"), ("abs(", ")"), ("-", ""), ("-(", ")")] {
        let nested = |n: usize| format!("{}1{}", open.repeat(n), close.repeat(n)).parse::<RankBy>();
        let levels = if open == "-(" { 16 } else { 32 };
        assert!(nested(levels).is_ok(), "{open}");
        let problem = nested(levels + 1).unwrap_err().problem;
        assert_eq!(problem, "more than 32 nested levels", "{open}");
    }
    assert!(vec!["1"; 500].join("*").parse::<RankBy>().is_ok(), "a long chain is not deep");
}

#[test]
fn an_expression_knows_what_it_reads() {
    let rank_by: RankBy = "sigmoid(rerank_score) + `a b` * year - year + now".parse().unwrap();
    assert_eq!(rank_by.fields(), ["a b", "year"]);
    for (text, needs) in [
        ("rerank_score", true),
        ("1 + log(rerank_score)", true),
        ("year * first_stage_score", false),
        ("coalesce(rerank_score, 0)", false),
        ("coalesce(rerank_score, -rerank_score)", true),
        ("coalesce(rerank_score, 0) + rerank_score", true),
        ("min(rerank_score, 1)", true),
    ] {
        assert_eq!(text.parse::<RankBy>().unwrap().needs_rerank_score(), needs, "{text}");
    }
}

#[test]
fn the_best_comes_first_and_what_is_no_number_last() {
    let mut values = [None, Some(-1.0), Some(f64::INFINITY), Some(0.0), None, Some(f64::NEG_INFINITY), Some(2.0)];
    values.sort_by(|a, b| best_first(*a, *b));
    let expected = [Some(f64::INFINITY), Some(2.0), Some(0.0), Some(-1.0), Some(f64::NEG_INFINITY), None, None];
    assert_eq!(values, expected);
    assert_eq!(best_first(Some(0.0), Some(-0.0)), Ordering::Equal);
}

/// A step of a stack machine.
#[derive(Debug, Clone)]
enum Step {
    Number(i8),
    Field,
    Missing,
    Negate,
    Operator(char),
    Min,
    Coalesce,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<i8>().prop_map(Step::Number),
        1 => Just(Step::Field),
        1 => Just(Step::Missing),
        1 => Just(Step::Negate),
        6 => prop::sample::select(vec!['+', '-', '*', '/']).prop_map(Step::Operator),
        1 => Just(Step::Min),
        1 => Just(Step::Coalesce),
    ]
}

/// The calculation as a text with brackets, and its value.
fn calculate(steps: &[Step]) -> (String, f64) {
    let mut stack: Vec<(String, f64)> = Vec::new();
    for step in steps {
        let top = stack.len();
        match step {
            Step::Number(n) => stack.push((format!("({n})"), f64::from(*n))),
            Step::Field => stack.push(("year".to_owned(), 2020.0)),
            Step::Missing => stack.push(("missing".to_owned(), f64::NAN)),
            Step::Negate if top >= 1 => {
                let (text, value) = stack.pop().unwrap();
                stack.push((format!("(-{text})"), -value));
            }
            Step::Operator(_) | Step::Min | Step::Coalesce if top >= 2 => {
                let ((right_text, right), (left_text, left)) = (stack.pop().unwrap(), stack.pop().unwrap());
                let is_none = left.is_nan() || right.is_nan();
                stack.push(match step {
                    Step::Operator('+') => (format!("({left_text} + {right_text})"), left + right),
                    Step::Operator('-') => (format!("({left_text} - {right_text})"), left - right),
                    Step::Operator('*') => (format!("({left_text} * {right_text})"), left * right),
                    Step::Operator(_) => (format!("({left_text} / {right_text})"), left / right),
                    Step::Min => {
                        (format!("min({left_text}, {right_text})"), if is_none { f64::NAN } else { left.min(right) })
                    }
                    _ => (format!("coalesce({left_text}, {right_text})"), if left.is_nan() { right } else { left }),
                });
            }
            _ => {}
        }
    }
    stack.pop().unwrap_or_else(|| ("0".to_owned(), 0.0))
}

proptest! {
    #[test]
    fn values_are_those_of_a_calculation_on_a_stack(steps in prop::collection::vec(step(), 0..24)) {
        let (text, expected) = calculate(&steps);
        prop_assume!(text.len() <= RankBy::BYTES_MAX);
        let found = value(&text);
        prop_assert_eq!(found, Some(expected).filter(|value| !value.is_nan()), "{}", text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[-+*/(),.`a-z0-9_ éß%]{0,60}") {
        drop(text.parse::<RankBy>());
    }
}
