//! Facets as text: a table for each.

use lorank_core::{Facet, FacetCounts, Test, Value};

use super::style::{FAINT, paint};
use super::table::{self, Side};
use super::text::count;

/// The tables of the facets.
pub(crate) fn render(facets: &[Facet]) -> String {
    facets.iter().map(|facet| format!("\n{}", render_one(facet))).collect()
}

fn render_one(facet: &Facet) -> String {
    let row = |label: String, n: u64| [label, number(n)];
    let (rows, note): (Vec<[String; 2]>, String) = match &facet.counts {
        FacetCounts::Values { top, n_values, n_missing } => {
            let rows = top.iter().map(|(value, n)| row(text_of(value), *n)).collect();
            let n_more = n_values - top.len();
            let more = if n_more == 0 { String::new() } else { format!("{} more values", count(n_more)) };
            let missing =
                if *n_missing == 0 { String::new() } else { format!("{} without a value", number(*n_missing)) };
            (rows, [more, missing].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", "))
        }
        FacetCounts::Ranges(ranges) => {
            (ranges.iter().map(|(range, n)| row(range_text(range), *n)).collect(), String::new())
        }
    };
    let table = table::render([(facet.field.as_str(), Side::Left), ("documents", Side::Right)], &rows);
    if note.is_empty() { table } else { format!("{table}{}\n", paint(FAINT, note)) }
}

fn number(n: u64) -> String {
    count(usize::try_from(n).unwrap_or(usize::MAX))
}

/// A range in the syntax of the command line.
fn range_text(test: &Test) -> String {
    let bound = |bound: &Option<(Value, bool)>| bound.as_ref().map(|(value, _)| text_of(value)).unwrap_or_default();
    match test {
        Test::Range { lower, upper } => format!("{}..{}", bound(lower), bound(upper)),
        _ => String::new(),
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Unsigned(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Decimal(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_facet_is_a_table() {
        let values = Facet {
            field: "lang".to_owned(),
            counts: FacetCounts::Values {
                top: vec![("en".into(), 1_234), ("de".into(), 7)],
                n_values: 5,
                n_missing: 2,
            },
        };
        let bound = |n, is_included| Some((Value::Integer(n), is_included));
        let ranges = vec![
            (Test::Range { lower: None, upper: bound(1990, false) }, 3),
            (Test::Range { lower: bound(1990, true), upper: None }, 0),
        ];
        let ranges = Facet { field: "year".to_owned(), counts: FacetCounts::Ranges(ranges) };
        let text = anstream::adapter::strip_str(&render(&[values, ranges])).to_string();
        insta::assert_snapshot!(text, @r"

        lang  documents
        en        1,234
        de            7
        3 more values, 2 without a value

        year    documents
        ..1990          3
        1990..          0
        ");
    }
}
