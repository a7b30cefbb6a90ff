//! Sums of rows at their destinations, by lookups: `index_add` of candle adds the rows of a GPU one after another.

use candle_core::{Device, Result, Tensor};

/// For each row of a result the rows that are summed in it; often one, or none.
#[derive(Debug)]
pub(super) struct Scatter {
    /// The rows of sums of several rows, and how many are summed: [n_sums * n_summed], padded with the row of zeros.
    sums: Option<(Tensor, usize)>,
    /// The row of each result among the rows, the row of zeros after them, and the sums. [n_to]
    back: Tensor,
}

impl Scatter {
    /// Each pair is a row of the `n_from` rows, and the row of the `n_to` results that it is added to.
    pub(super) fn new(
        pairs: impl Iterator<Item = (usize, usize)>,
        n_from: usize,
        n_to: usize,
        device: &Device,
    ) -> Result<Self> {
        let mut sources: Vec<Vec<u32>> = vec![Vec::new(); n_to];
        pairs.for_each(|(from, to)| sources[to].push(from as u32));
        let zeros = n_from as u32;
        let n_summed = sources.iter().map(Vec::len).max().unwrap_or(0);
        let (mut sums, mut back) = (Vec::new(), Vec::with_capacity(n_to));
        for sources in &sources {
            back.push(match sources[..] {
                [] => zeros,
                [row] => row,
                _ => {
                    sums.extend(sources.iter().copied().chain(std::iter::repeat(zeros)).take(n_summed));
                    zeros + (sums.len() / n_summed) as u32
                }
            });
        }
        let sums = (!sums.is_empty()).then(|| Tensor::new(sums, device)).transpose()?;
        Ok(Self { sums: sums.map(|sums| (sums, n_summed)), back: Tensor::new(back, device)? })
    }

    /// rows: [n_from, width]; returns [n_to, width].
    pub(super) fn sum(&self, rows: &Tensor) -> Result<Tensor> {
        let width = rows.dim(1)?;
        let mut all = Tensor::cat(&[rows, &Tensor::zeros((1, width), rows.dtype(), rows.device())?], 0)?;
        if let Some((sums, n_summed)) = &self.sums {
            let sums = all.index_select(sums, 0)?.reshape(((), *n_summed, width))?.sum(1)?;
            all = Tensor::cat(&[&all, &sums], 0)?;
        }
        all.index_select(&self.back, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_summed_at_their_destinations() {
        let rows = Tensor::new(&[[1.0_f32, 2.0], [10.0, 20.0], [100.0, 200.0], [5.0, 5.0]], &Device::Cpu).unwrap();
        for (pairs, expected) in [
            (vec![(0, 2), (1, 0)], [[10.0, 20.0], [0.0, 0.0], [1.0, 2.0]]),
            (vec![(0, 1), (1, 1), (2, 0), (3, 2), (2, 2), (0, 2)], [[100.0, 200.0], [11.0, 22.0], [106.0, 207.0]]),
            (vec![], [[0.0; 2]; 3]),
        ] {
            let scatter = Scatter::new(pairs.into_iter(), 4, 3, &Device::Cpu).unwrap();
            let found: Vec<Vec<f32>> = scatter.sum(&rows).unwrap().to_vec2().unwrap();
            assert_eq!(found, expected);
        }
    }
}
