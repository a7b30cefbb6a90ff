//! Embedding tables with low-rank updates.

use crate::backend::Backend;
use crate::backend::linear::{AdapterRows, TableDelta};

/// An embedding table of the base model.
#[derive(Debug)]
pub(crate) struct Table<B: Backend> {
    /// The table's index among the base model's tables.
    pub(crate) slot: usize,
    /// [n_rows, width]
    pub(crate) rows: B::Embeddings,
}

/// For each token the sum of one row of each table, with its adapter's updates: [n_tokens, width].
pub(crate) fn look_up<B: Backend>(
    backend: &B,
    tables: &[(&Table<B>, &[u32])],
    width: usize,
    adapters: &[AdapterRows<'_, B>],
) -> Result<B::Rows, B::Error> {
    let lookups: Vec<_> = tables.iter().map(|(table, ids)| (&table.rows, *ids)).collect();
    let sum = backend.look_up(lookups[0], &lookups[1..])?;
    match updates(tables, width, adapters) {
        Some(updates) => backend.add_values(sum, updates),
        None => Ok(sum),
    }
}

/// An adapter's update of the table in a slot.
fn delta<'a, B: Backend>(rows: &AdapterRows<'a, B>, slot: usize) -> Option<&'a TableDelta> {
    rows.adapter.and_then(|adapter| adapter.tables[slot].as_ref())
}

/// The adapters' updates of all tables for all tokens, [n_tokens, width]; `None` if there are none.
fn updates<B: Backend>(
    tables: &[(&Table<B>, &[u32])],
    width: usize,
    adapters: &[AdapterRows<'_, B>],
) -> Option<Vec<f32>> {
    let is_any = adapters.iter().any(|rows| tables.iter().any(|(table, _)| delta(rows, table.slot).is_some()));
    let mut values = vec![0.0; if is_any { tables[0].1.len() * width } else { 0 }];
    let mut start = 0;
    for rows in adapters.iter().filter(|_| is_any) {
        let end = start + rows.n_rows;
        for (table, ids) in tables {
            let Some(delta) = delta(rows, table.slot) else { continue };
            let own = values[start * width..end * width].chunks_mut(width);
            ids[start..end].iter().zip(own).for_each(|(id, row)| delta.add_row(*id, row));
        }
        start = end;
    }
    is_any.then_some(values)
}
