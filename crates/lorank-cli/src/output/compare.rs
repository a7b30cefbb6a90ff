//! Two orders of the same documents, side by side where the terminal is wide enough.

use super::hits::arrow;
use super::style::{FAINT, STRONG, UP, paint};
use super::text::{cut, one_line, pad, width};

/// One order, best first.
pub(crate) struct Order {
    pub heading: String,
    pub entries: Vec<Entry>,
}

/// A document in an order.
pub(crate) struct Entry {
    pub rank: usize,
    /// Its place in the other order, where that came first.
    pub first_stage_rank: Option<usize>,
    /// Whether it was judged to answer the question.
    pub is_relevant: bool,
    pub text: String,
}

/// Below this width the orders stand one above the other.
const COLUMNS_SIDE_BY_SIDE: usize = 90;
const GAP: usize = 3;

/// Both orders, in lines of at most `columns`.
pub(crate) fn render(before: &Order, after: &Order, columns: usize) -> String {
    if columns < COLUMNS_SIDE_BY_SIDE {
        let lines = lines(before, columns).into_iter().chain([String::new()]).chain(lines(after, columns));
        return lines.map(|line| line + "\n").collect();
    }
    let half = (columns - GAP) / 2;
    let (left, right) = (lines(before, half), lines(after, half));
    let rows = left.len().max(right.len());
    let line = |lines: &[String], at: usize| lines.get(at).cloned().unwrap_or_default();
    let row = |at| {
        let row = format!("{}{}{}", pad(&line(&left, at), half), " ".repeat(GAP), line(&right, at));
        format!("{}\n", row.trim_end())
    };
    (0..rows).map(row).collect()
}

fn lines(order: &Order, columns: usize) -> Vec<String> {
    let heading = paint(STRONG, cut(&order.heading, columns));
    let moves_width = order.entries.iter().map(|entry| width(&moved(entry))).max().unwrap_or(0);
    let entry = |entry: &Entry| {
        let start = match moves_width {
            0 => format!("{:>2}", entry.rank),
            _ => format!("{:>2} {}", entry.rank, pad(&moved(entry), moves_width)),
        };
        let mark = if entry.is_relevant { paint(UP, "✓") } else { " ".to_owned() };
        let text = cut(&one_line(&entry.text), columns.saturating_sub(width(&start) + 3));
        let text = if entry.is_relevant { paint(STRONG, text) } else { text };
        format!("{start} {mark} {text}").trim_end().to_owned()
    };
    std::iter::once(heading).chain(order.entries.iter().map(entry)).collect()
}

fn moved(entry: &Entry) -> String {
    entry.first_stage_rank.map_or(String::new(), |before| arrow(entry.rank, before))
}

/// The line that explains the mark, where one of the documents has it.
pub(crate) fn legend(found: &str) -> String {
    format!("{} {}", paint(UP, "✓"), paint(FAINT, found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(heading: &str, entries: &[(usize, Option<usize>, bool, &str)]) -> Order {
        let entries = entries.iter().map(|&(rank, first_stage_rank, is_relevant, text)| Entry {
            rank,
            first_stage_rank,
            is_relevant,
            text: text.into(),
        });
        Order { heading: heading.into(), entries: entries.collect() }
    }

    fn check(columns: usize) -> String {
        let before = order(
            "BM25, 0.4 ms",
            &[
                (1, None, false, "A light year is the distance that light travels in a year."),
                (2, None, false, "Bulbs are planted in autumn."),
            ],
        );
        let after = order(
            "reranked, 812 ms",
            &[
                (1, Some(12), true, "Edison's lamp burned for fourteen hours."),
                (2, Some(1), false, "A light year is the distance that light travels in a year."),
            ],
        );
        let text = anstream::adapter::strip_str(&render(&before, &after, columns)).to_string();
        assert!(text.lines().all(|line| width(line) <= columns), "{text}");
        text
    }

    #[test]
    fn wide_terminals_show_both_orders_in_one_row() {
        insta::assert_snapshot!(check(93), @r"
        BM25, 0.4 ms                                    reranked, 812 ms
         1   A light year is the distance that light…    1 ↑11 ✓ Edison's lamp burned for fourteen h…
         2   Bulbs are planted in autumn.                2 ↓1    A light year is the distance that l…
        ");
    }

    #[test]
    fn narrow_terminals_show_one_after_the_other() {
        insta::assert_snapshot!(check(40), @r"
        BM25, 0.4 ms
         1   A light year is the distance that…
         2   Bulbs are planted in autumn.

        reranked, 812 ms
         1 ↑11 ✓ Edison's lamp burned for fourt…
         2 ↓1    A light year is the distance t…
        ");
    }
}
