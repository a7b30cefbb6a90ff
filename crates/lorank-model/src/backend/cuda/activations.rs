//! Rows of a forward pass in a GPU's memory.

use lorank_cuda::{CudaError, Format, Op, Ops, Rows};

/// Rows that may have spare columns after their own ones, for the products with the first matrices of adapters.
#[derive(Debug, Clone)]
pub(crate) struct Activations {
    /// [n, width + spare]
    whole: Rows,
    /// [n, width]
    rows: Rows,
}

impl Activations {
    /// Rows of undefined numbers.
    pub(super) fn new<O: Ops>(
        ops: &O,
        [n, width]: [usize; 2],
        format: Format,
        n_spare: usize,
    ) -> Result<Self, CudaError> {
        let whole = ops.rows(n, width + n_spare, format)?;
        Ok(Self { rows: whole.columns(0..width), whole })
    }

    /// The rows without the spare columns.
    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The rows with the first spare columns; `None` if there are less.
    pub(super) fn with_spare(&self, n: usize) -> Option<Rows> {
        let width = self.rows.width() + n;
        (width <= self.whole.width()).then(|| self.whole.columns(0..width))
    }

    /// The same rows without gaps between them.
    pub(super) fn contiguous<O: Ops>(&self, ops: &O) -> Result<Rows, CudaError> {
        if self.rows.is_contiguous() {
            return Ok(self.rows.clone());
        }
        let copy = ops.rows(self.rows.n_rows(), self.rows.width(), self.rows.format())?;
        ops.run(Op::Copy { x: &self.rows, out: &copy })?;
        Ok(copy)
    }
}

impl From<Rows> for Activations {
    fn from(rows: Rows) -> Self {
        Self { whole: rows.clone(), rows }
    }
}
