//! A ranked list as text.

use lorank_core::Snippet;

use super::style::{DOWN, FAINT, STRONG, UP, paint};
use super::text::{cut, one_line, pad, width, wrap};

/// An entry of the list.
pub(crate) struct Row {
    pub rank: usize,
    pub first_stage_rank: usize,
    /// `None` if the document was not reranked.
    pub rerank_score: Option<f32>,
    /// `None` if there was no first stage.
    pub first_stage_score: Option<f32>,
    pub id: String,
    pub title: Option<String>,
    /// A passage, possibly styled.
    pub passage: String,
    /// The explanation of the rank, if requested.
    pub note: Option<String>,
}

/// The indentation of passages and titles.
const INDENT: usize = 6;

/// The rows with their scores, ranks and moves, each with up to two lines of its passage.
pub(crate) fn render(rows: &[Row], columns: usize) -> String {
    let table: Vec<[String; 4]> = rows.iter().map(cells).collect();
    let names = ["rank", "move", "rerank score", "first stage"];
    let has_moves = rows.iter().any(|row| row.rerank_score.is_some());
    let is_used = |n: &usize| match n {
        0 => true,
        1 => has_moves,
        _ => table.iter().any(|cells| cells[*n] != "-"),
    };
    let used: Vec<usize> = (0..names.len()).filter(is_used).collect();
    let widths =
        used.iter().map(|&n| table.iter().map(|cells| width(&cells[n])).chain([names[n].len()]).max().unwrap_or(0));
    let widths: Vec<usize> = widths.collect();
    let line = |cells: &dyn Fn(usize) -> String| {
        let cells = used.iter().zip(&widths).map(|(&n, &width)| right(&cells(n), width));
        cells.collect::<Vec<_>>().join("  ")
    };
    let mut out = format!("{}\n", paint(FAINT, format!("{}  document", line(&|n| names[n].to_owned()))));
    for (row, cells) in rows.iter().zip(&table) {
        let start = line(&|n| cells[n].clone());
        let room = columns.saturating_sub(width(&start) + 2);
        out += &format!("{start}  {}\n", heading(row, room));
        for passage in wrap(&row.passage, columns.saturating_sub(INDENT), 2) {
            out += &format!("{}{passage}\n", " ".repeat(INDENT));
        }
        if let Some(note) = &row.note {
            out += &format!("{}{}\n", " ".repeat(INDENT), paint(FAINT, note));
        }
    }
    out
}

/// The id and the title on one line.
fn heading(row: &Row, room: usize) -> String {
    let id = cut(&one_line(&row.id), room);
    let left = room.saturating_sub(width(&id) + 2);
    match row.title.as_deref().map(one_line).filter(|title| !title.is_empty() && left > 8) {
        Some(title) => format!("{id}  {}", paint(STRONG, cut(&title, left))),
        None => id,
    }
}

fn cells(row: &Row) -> [String; 4] {
    let score = |score: Option<f32>, digits: usize| score.map_or("-".to_owned(), |score| format!("{score:.digits$}"));
    [
        row.rank.to_string(),
        // A document that was not reranked has not moved; others moved past it.
        if row.rerank_score.is_some() { arrow(row.rank, row.first_stage_rank) } else { paint(FAINT, "·") },
        score(row.rerank_score, 3),
        score(row.first_stage_score, 2),
    ]
}

/// The move of a document: `↑3`, `↓1`, or `=` for none.
pub(crate) fn arrow(rank: usize, first_stage_rank: usize) -> String {
    match first_stage_rank.cmp(&rank) {
        std::cmp::Ordering::Greater => paint(UP, format!("↑{}", first_stage_rank - rank)),
        std::cmp::Ordering::Less => paint(DOWN, format!("↓{}", rank - first_stage_rank)),
        std::cmp::Ordering::Equal => paint(FAINT, "="),
    }
}

/// A snippet with its marked terms in bold, without control characters.
pub(crate) fn emphasise(snippet: &Snippet) -> String {
    let harmless = |text: &str| text.replace(|c: char| c.is_control(), " ");
    one_line_styled(&snippet.render(&STRONG.render().to_string(), &STRONG.render_reset().to_string(), harmless))
}

fn one_line_styled(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn right(text: &str, columns: usize) -> String {
    pad("", columns.saturating_sub(width(text))) + text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    fn row(rank: usize, first_stage_rank: usize, rerank_score: Option<f32>, title: &str) -> Row {
        Row {
            rank,
            first_stage_rank,
            rerank_score,
            first_stage_score: Some(12.345),
            id: format!("p{first_stage_rank}"),
            title: Some(title.into()),
            passage: "He tried a thousand materials before a carbonised bamboo thread burned for a whole night.".into(),
            note: None,
        }
    }

    #[test]
    fn a_list_is_a_table_with_passages() {
        let rows =
            [row(1, 7, Some(8.1), "Thomas Edison"), row(2, 1, Some(-0.5), ""), row(10, 10, None, "Lamp\u{1b}[2J")];
        insta::assert_snapshot!(plain(&render(&rows, 60)), @r"
        rank  move  rerank score  first stage  document
           1    ↑6         8.100        12.35  p7  Thomas Edison
              He tried a thousand materials before a carbonised
              bamboo thread burned for a whole night.
           2    ↓1        -0.500        12.35  p1
              He tried a thousand materials before a carbonised
              bamboo thread burned for a whole night.
          10     ·             -        12.35  p10  Lamp [2J
              He tried a thousand materials before a carbonised
              bamboo thread burned for a whole night.
        ");
    }

    #[test]
    fn columns_without_scores_are_left_out() {
        let mut row = row(1, 1, Some(0.5), "");
        row.first_stage_score = None;
        row.note = Some("score from the cache".into());
        let list = plain(&render(&[row], 60));
        assert!(list.starts_with("rank  move  rerank score  document\n"), "{list}");
        assert!(list.ends_with("      score from the cache\n"), "{list}");
    }

    #[test]
    fn marks_become_bold() {
        let snippet = Snippet::new("the light\u{1b}[2J\nbulb", std::iter::once(4..9));
        assert_eq!(emphasise(&snippet), "the \u{1b}[1mlight\u{1b}[0m [2J bulb");
    }
}
