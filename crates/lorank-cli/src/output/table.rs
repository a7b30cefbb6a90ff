//! Tables as text.

use super::style::{FAINT, paint};
use super::text::{one_line, pad, width};

/// The alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Renders rows in columns that fit their contents. Nothing is truncated, so that ids can be copied.
pub(crate) fn render<const N: usize>(headings: [(&str, Side); N], rows: &[[String; N]]) -> String {
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| one_line(cell))).collect();
    let widths: [usize; N] = std::array::from_fn(|n| {
        rows.iter().map(|row| width(&row[n])).chain([width(headings[n].0)]).max().unwrap_or_default()
    });
    let line = |cell: &dyn Fn(usize) -> String| {
        let cells = (0..N).map(|n| match headings[n].1 {
            Side::Left => pad(&cell(n), widths[n]),
            Side::Right => pad("", widths[n].saturating_sub(width(&cell(n)))) + &cell(n),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let heading = paint(FAINT, line(&|n| headings[n].0.to_owned()));
    let lines = rows.iter().map(|row| line(&|n| row[n].clone()));
    std::iter::once(heading).chain(lines).map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_under_their_headings() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let rows = [row(["minilm-qa", "8", "default"]), row(["qa", "16", ""])];
        let table = render([("id", Side::Left), ("rank", Side::Right), ("aliases", Side::Left)], &rows);
        insta::assert_snapshot!(anstream::adapter::strip_str(&table).to_string(), @r"
        id         rank  aliases
        minilm-qa     8  default
        qa           16
        ");
    }
}
