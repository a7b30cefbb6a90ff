//! What computes: this project's packed kernels on the CPU, or candle on any device.
//!
//! A model's structure is written once, over [`Rows`]. The kernels are fast. candle on the CPU is the reference, which the
//! kernels are judged by, and candle on a GPU is how a GPU is used.

use std::borrow::Cow;
use std::fmt;

use candle_core::{DType, Device, Tensor};
use lorank_core::Precision;
use lorank_kernels::{Format, Input, Isa, PackedMatrix};

use crate::ModelError;
use crate::weights::{Table, Weights};

/// Who computes, and where.
#[derive(Debug, Clone)]
pub(crate) enum Engine {
    /// The weights and rows are of the type; norms, softmax and rotary positions compute in f32 whatever it is.
    Candle {
        device: Device,
        dtype: DType,
    },
    Kernels {
        isa: Isa,
        precision: Precision,
    },
}

/// Activations: one row a token, without padding between sequences.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    /// [n, width]
    Candle(Tensor),
    Kernels {
        /// [n, width], row by row.
        numbers: Vec<f32>,
        width: usize,
    },
}

/// A weight matrix, [out, in].
#[derive(Debug)]
pub(crate) enum Matrix {
    Candle(Tensor),
    Kernels(PackedMatrix),
}

/// An embedding table, [vocab, width].
#[derive(Debug)]
pub(crate) enum Embeddings {
    /// Coded as in its file; rows are read as they are needed.
    Coded(Table),
    OnDevice(Tensor),
}

/// A bias, or the weights of a norm.
#[derive(Debug)]
pub(crate) enum Vector {
    Candle(Tensor),
    Kernels(Vec<f32>),
}

/// Rows made ready for the linear layers that read them.
pub(crate) enum Prepared<'a> {
    Candle(&'a Tensor),
    Kernels(Input<'a>),
}

/// What the two engines never do to each other.
pub(crate) const ONE_ENGINE: &str = "a model's weights and rows are of one engine";

impl Engine {
    /// The engine that a model runs on.
    pub(crate) fn new(device: Device, precision: Precision, is_reference: bool) -> Self {
        match device {
            Device::Cpu if !is_reference => Self::Kernels { isa: Isa::detect(), precision },
            device => {
                let dtype = if precision == Precision::Bf16 { DType::BF16 } else { DType::F32 };
                Self::Candle { device, dtype }
            }
        }
    }

    /// Where it computes: `cpu`, `cuda` or `metal`.
    pub(crate) fn device(&self) -> &'static str {
        match self {
            Self::Kernels { .. } | Self::Candle { device: Device::Cpu, .. } => "cpu",
            Self::Candle { device: Device::Cuda(_), .. } => "cuda",
            Self::Candle { device: Device::Metal(_), .. } => "metal",
        }
    }

    /// The format of a linear layer of the base model.
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Candle { .. } | Self::Kernels { precision: Precision::F32, .. } => Format::F32,
            Self::Kernels { precision: Precision::Bf16, .. } => Format::Bf16,
            Self::Kernels { .. } => Format::Int8,
        }
    }

    /// Reads a matrix; `adjust` may change each row before it is rounded to the format.
    pub(crate) fn matrix(
        &self,
        weights: &mut Weights,
        tensor: &str,
        [n_out, n_in]: [usize; 2],
        format: Format,
        mut adjust: impl FnMut(usize, &mut [f32]),
    ) -> Result<Matrix, ModelError> {
        match self {
            Self::Kernels { isa, .. } => weights.matrix(tensor, [n_out, n_in], |read| {
                Matrix::Kernels(PackedMatrix::pack(format, *isa, n_out, n_in, |row, values| {
                    read(row, values);
                    adjust(row, values);
                }))
            }),
            Self::Candle { device, dtype } => {
                let mut values = weights.values(tensor, &[n_out, n_in])?;
                values.chunks_mut(n_in).enumerate().for_each(|(row, values)| adjust(row, values));
                Ok(Matrix::Candle(Tensor::from_vec(values, (n_out, n_in), device)?.to_dtype(*dtype)?))
            }
        }
    }

    /// Reads a vector.
    pub(crate) fn vector(&self, weights: &mut Weights, tensor: &str, len: usize) -> Result<Vector, ModelError> {
        let values = weights.values(tensor, &[len])?;
        match self {
            Self::Kernels { .. } => Ok(Vector::Kernels(values)),
            Self::Candle { device, dtype } => {
                Ok(Vector::Candle(Tensor::from_vec(values, len, device)?.to_dtype(*dtype)?))
            }
        }
    }

    /// Reads an embedding table. A GPU's is in its own memory: rows that were looked up elsewhere would have to be sent to it.
    pub(crate) fn embeddings(
        &self,
        weights: &mut Weights,
        tensor: &str,
        [n, width]: [usize; 2],
    ) -> Result<Embeddings, ModelError> {
        let table = weights.table(tensor, [n, width])?;
        match self {
            Self::Candle { device, dtype } if !device.is_cpu() => {
                let mut values = vec![0.0; n * width];
                values.chunks_mut(width).enumerate().for_each(|(at, row)| table.read(at, row));
                Ok(Embeddings::OnDevice(Tensor::from_vec(values, (n, width), device)?.to_dtype(*dtype)?))
            }
            _ => Ok(Embeddings::Coded(table)),
        }
    }

    /// For each place the sum of one row of each table, whose numbers stand beside it.
    pub(crate) fn look_up(&self, tables: &[(&Embeddings, &[u32])]) -> candle_core::Result<Rows> {
        let ((first, ids), others) = tables.split_first().expect("there is a table to look in");
        match first {
            Embeddings::OnDevice(table) => {
                let mut sum = rows_of(table, ids)?;
                for (table, ids) in others {
                    sum = (sum + rows_of(table.on_device(), ids)?)?;
                }
                Ok(Rows::Candle(sum))
            }
            Embeddings::Coded(table) => {
                let width = table.width();
                let mut numbers = vec![0.0; ids.len() * width];
                ids.iter().zip(numbers.chunks_mut(width)).for_each(|(id, row)| table.read(*id as usize, row));
                let mut part = vec![0.0; width];
                for (table, ids) in others {
                    for (id, row) in ids.iter().zip(numbers.chunks_mut(width)) {
                        table.coded().read(*id as usize, &mut part);
                        row.iter_mut().zip(&part).for_each(|(x, y)| *x += y);
                    }
                }
                self.rows(numbers, width)
            }
        }
    }

    /// Rows from their numbers.
    pub(crate) fn rows(&self, numbers: Vec<f32>, width: usize) -> candle_core::Result<Rows> {
        match self {
            Self::Kernels { .. } => Ok(Rows::Kernels { numbers, width }),
            Self::Candle { device, dtype } => {
                let n = numbers.len() / width;
                Tensor::from_vec(numbers, (n, width), device)?.to_dtype(*dtype).map(Rows::Candle)
            }
        }
    }

    /// Makes rows ready for the base model's linear layers.
    pub(crate) fn prepare<'a>(&self, rows: &'a Rows) -> Prepared<'a> {
        match (self, rows) {
            (Self::Kernels { isa, .. }, Rows::Kernels { numbers, width }) => {
                Prepared::Kernels(Input::new(numbers, *width, self.format(), *isa))
            }
            (Self::Candle { .. }, Rows::Candle(tensor)) => Prepared::Candle(tensor),
            _ => unreachable!("{ONE_ENGINE}"),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernels { isa, .. } => write!(f, "kernels ({isa})"),
            Self::Candle { .. } => f.write_str("candle"),
        }
    }
}

impl Matrix {
    /// The bytes that it takes in memory.
    pub(crate) fn n_bytes(&self) -> usize {
        match self {
            Self::Candle(tensor) => tensor.elem_count() * tensor.dtype().size_in_bytes(),
            Self::Kernels(packed) => packed.n_bytes(),
        }
    }
}

/// Some rows of a table in a device's memory.
fn rows_of(table: &Tensor, ids: &[u32]) -> candle_core::Result<Tensor> {
    table.index_select(&Tensor::new(ids, table.device())?, 0)
}

impl Embeddings {
    /// How many rows it has.
    pub(crate) fn n_rows(&self) -> usize {
        match self {
            Self::Coded(table) => table.n_rows(),
            Self::OnDevice(tensor) => tensor.dims()[0],
        }
    }

    fn coded(&self) -> &Table {
        match self {
            Self::Coded(table) => table,
            Self::OnDevice(_) => unreachable!("{ONE_ENGINE}"),
        }
    }

    fn on_device(&self) -> &Tensor {
        match self {
            Self::OnDevice(table) => table,
            Self::Coded(_) => unreachable!("{ONE_ENGINE}"),
        }
    }

    /// The bytes that it takes in memory.
    pub(crate) fn n_bytes(&self) -> usize {
        match self {
            Self::Coded(table) => table.n_bytes(),
            Self::OnDevice(tensor) => tensor.elem_count() * tensor.dtype().size_in_bytes(),
        }
    }
}

impl Vector {
    pub(crate) fn candle(&self) -> &Tensor {
        match self {
            Self::Candle(tensor) => tensor,
            Self::Kernels(_) => unreachable!("{ONE_ENGINE}"),
        }
    }

    pub(crate) fn kernels(&self) -> &[f32] {
        match self {
            Self::Kernels(values) => values,
            Self::Candle(_) => unreachable!("{ONE_ENGINE}"),
        }
    }
}

impl Rows {
    /// Some of the rows, in the given order.
    pub(crate) fn gather(&self, rows: &[usize]) -> candle_core::Result<Self> {
        match self {
            Self::Kernels { numbers, width } => {
                let picked = rows.iter().flat_map(|row| &numbers[row * width..][..*width]).copied().collect();
                Ok(Self::Kernels { numbers: picked, width: *width })
            }
            Self::Candle(tensor) => {
                let indices: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
                tensor.index_select(&Tensor::new(indices, tensor.device())?, 0).map(Self::Candle)
            }
        }
    }

    /// All numbers, row by row.
    pub(crate) fn numbers(&self) -> candle_core::Result<Cow<'_, [f32]>> {
        match self {
            Self::Kernels { numbers, .. } => Ok(Cow::Borrowed(numbers)),
            Self::Candle(tensor) => tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1().map(Cow::Owned),
        }
    }
}
