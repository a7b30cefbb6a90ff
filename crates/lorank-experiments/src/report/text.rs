//! The report as text for a terminal.

use std::fmt::Write;

use super::Report;
use super::words::{arm_rows, differences, heading, method, notes, served};

impl Report {
    /// The report as text for a terminal.
    pub fn to_text(&self) -> String {
        let mut text = format!("experiment {}: {}, decided by {}\n\n", self.experiment, method(self), self.measure);
        text += &arms(self);
        for comparison in &self.comparisons {
            text += &format!("\n{}\n", heading(self, comparison));
            text += &table(&differences(comparison));
        }
        text += "\nversions by arm\n";
        for [arm, what] in served(self) {
            text += &format!("  {arm}{}{what}\n", if arm.is_empty() { "  " } else { ": " });
        }
        if let Some(note) = notes(self) {
            text += &format!("\n{note}\n");
        }
        text + &format!("\n{}\n", self.sentence)
    }
}

/// A table with one column per arm.
fn arms(report: &Report) -> String {
    let mut rows = vec![vec![String::new()]];
    for arm in &report.arms {
        rows[0].push(arm.arm.clone());
        for (n, (what, value)) in arm_rows(arm, &report.arms).into_iter().enumerate() {
            if rows.len() == n + 1 {
                rows.push(vec![what.to_owned()]);
            }
            rows[n + 1].push(value);
        }
    }
    table(&rows)
}

/// A table with the first column aligned to the left, the others to the right.
fn table(rows: &[Vec<String>]) -> String {
    let n_columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (n, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Writing to a string cannot fail.
            let _ = if n == 0 { write!(line, "  {cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}
