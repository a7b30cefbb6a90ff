//! Tables as text.

use super::style::{FAINT, paint};
use super::text::{one_line, pad, width};

/// The alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Renders rows in columns that fit their contents. Nothing is truncated, so that ids can be copied. Each row has a cell for
/// each heading.
pub(crate) fn render<'a>(headings: impl AsRef<[(&'a str, Side)]>, rows: &[impl AsRef<[String]>]) -> String {
    let headings = headings.as_ref();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.as_ref().iter().map(|cell| one_line(cell)).collect()).collect();
    let widest = |n: usize| rows.iter().map(|row| width(&row[n])).chain([width(headings[n].0)]).max();
    let widths: Vec<usize> = (0..headings.len()).map(|n| widest(n).unwrap_or_default()).collect();
    let line = |cell: &dyn Fn(usize) -> String| {
        let cells = headings.iter().zip(&widths).enumerate().map(|(n, ((_, side), columns))| match side {
            Side::Left => pad(&cell(n), *columns),
            Side::Right => pad("", columns.saturating_sub(width(&cell(n)))) + &cell(n),
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
