//! Rankings of the same documents, side by side if the terminal is wide enough.

use super::hits::arrow;
use super::style::{STRONG, UP, paint};
use super::text::{cut, one_line, pad, width};

/// A ranking.
pub(crate) struct Order {
    pub heading: String,
    pub entries: Vec<Row>,
}

/// A document of a ranking.
pub(crate) struct Row {
    pub rank: usize,
    /// The rank in first-stage order, if this is another ranking.
    pub first_stage_rank: Option<usize>,
    /// Whether it was judged relevant.
    pub is_relevant: bool,
    pub text: String,
}

/// The minimum number of columns of a ranking; below it, rankings are printed below each other.
const COLUMNS_OF_AN_ORDER: usize = 43;
const GAP: usize = 3;

/// The rankings in lines of at most `columns`.
pub(crate) fn render(orders: &[&Order], columns: usize) -> String {
    let n_orders = orders.len().max(1);
    let part = columns.saturating_sub(GAP * (n_orders - 1)) / n_orders;
    if part < COLUMNS_OF_AN_ORDER {
        let blocks = orders.iter().map(|order| lines(order, columns).join("\n") + "\n");
        return blocks.collect::<Vec<_>>().join("\n");
    }
    let blocks: Vec<Vec<String>> = orders.iter().map(|order| lines(order, part)).collect();
    let n_rows = blocks.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |block: &Vec<String>, at: usize| pad(block.get(at).map_or("", String::as_str), part);
    let row = |at| {
        let cells: Vec<String> = blocks.iter().map(|block| cell(block, at)).collect();
        format!("{}\n", cells.join(&" ".repeat(GAP)).trim_end())
    };
    (0..n_rows).map(row).collect()
}

fn lines(order: &Order, columns: usize) -> Vec<String> {
    let heading = paint(STRONG, cut(&order.heading, columns));
    let moves_width = order.entries.iter().map(|entry| width(&moved(entry))).max().unwrap_or(0);
    let entry = |entry: &Row| {
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

fn moved(entry: &Row) -> String {
    entry.first_stage_rank.map_or(String::new(), |before| arrow(entry.rank, before))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(heading: &str, entries: &[(usize, Option<usize>, bool, &str)]) -> Order {
        let entries = entries.iter().map(|&(rank, first_stage_rank, is_relevant, text)| Row {
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
        let text = anstream::adapter::strip_str(&render(&[&before, &after], columns)).to_string();
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
