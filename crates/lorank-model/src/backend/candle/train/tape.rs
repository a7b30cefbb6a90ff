//! Rows that remember how they were computed, the gradients that follow from it, and which of them are kept.
//!
//! An operation runs twice: in the forward pass, and again in the backward pass for rows between two layers, which are not kept
//! ([`Rows::keep_only_this`]). Both runs give the same numbers, because dropout is part of the operation.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Result, Tensor};
use candle_nn::ops;
use lorank_kernels::Activation;

use super::attention::Plan;
use super::dropout::Window;
use super::gradients;
use super::scatter::Scatter;
use crate::backend::Backend;
use crate::backend::candle::{Candle, activated, product};

/// Rows of a forward pass. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Rows(Arc<Node>);

#[derive(Debug)]
struct Node {
    /// [n_rows, width]
    shape: [usize; 2],
    /// `None` for rows that are computed again when they are needed.
    tensor: Mutex<Option<Tensor>>,
    history: Option<History>,
}

#[derive(Debug)]
struct History {
    /// Greater than those of the rows that it was computed from.
    number: u64,
    /// Whether a gradient flows through it.
    has_gradient: bool,
    /// Whether the rows are kept until the backward pass.
    is_kept: AtomicBool,
    operation: Operation,
}

/// How rows were computed.
#[derive(Debug)]
pub(super) enum Operation {
    Linear {
        x: Rows,
        add: Option<Rows>,
        /// [n_out, n_in]
        weight: Tensor,
        /// [n_out]
        bias: Option<Tensor>,
        update: Option<Update>,
    },
    Activation {
        x: Rows,
        activation: Activation,
    },
    /// A layer norm with a bias, an RMS norm without one.
    Norm {
        x: Rows,
        weight: Tensor,
        bias: Option<Tensor>,
        eps: f32,
    },
    Gated {
        gate: Rows,
        up: Rows,
        activation: Activation,
    },
    Attention {
        qkv: [Rows; 3],
        plan: Arc<Plan>,
    },
    Gather {
        x: Rows,
        indices: Vec<usize>,
    },
    Columns {
        x: Rows,
        start: usize,
        width: usize,
    },
    Mean {
        x: Rows,
        ranges: Vec<Range<usize>>,
    },
    Concat {
        parts: Vec<Rows>,
    },
    Reshape {
        x: Rows,
        width: usize,
    },
    Scale {
        x: Rows,
        factor: f32,
    },
}

/// A low-rank update of a linear layer. Its products are in f32.
#[derive(Debug)]
pub(super) struct Update {
    /// [r, n_in]
    pub(super) a: Tensor,
    /// [n_out, r]
    pub(super) b: Tensor,
    /// The numbers of both among the parameters, if they are trained.
    pub(super) parameters: Option<[usize; 2]>,
    pub(super) scale: f64,
    /// What is dropped of the input.
    pub(super) dropout: Option<Window>,
}

static N_OPERATIONS: AtomicU64 = AtomicU64::new(0);

impl Rows {
    /// Rows that depend on no parameter.
    pub(super) fn constant(tensor: Tensor) -> Result<Self> {
        let shape = tensor.dims2()?.into();
        Ok(Self(Arc::new(Node { shape, tensor: Mutex::new(Some(tensor)), history: None })))
    }

    /// Runs an operation. Its history is kept if `records`.
    pub(super) fn computed(operation: Operation, candle: &Candle, records: bool) -> Result<Self> {
        let rows = Self::constant(operation.run(candle)?)?;
        if !records {
            return Ok(rows);
        }
        let history = History {
            number: N_OPERATIONS.fetch_add(1, Ordering::Relaxed),
            has_gradient: operation.has_gradient(),
            is_kept: AtomicBool::new(false),
            operation,
        };
        let tensor = rows.held();
        Ok(Self(Arc::new(Node { shape: rows.0.shape, tensor: Mutex::new(tensor), history: Some(history) })))
    }

    pub(super) fn n_rows(&self) -> usize {
        self.0.shape[0]
    }

    pub(super) fn width(&self) -> usize {
        self.0.shape[1]
    }

    /// The numbers. Rows that were not kept are computed again, and with them those between them and the last kept ones.
    pub(super) fn tensor(&self, candle: &Candle) -> Result<Tensor> {
        if let Some(tensor) = self.held() {
            return Ok(tensor);
        }
        let history = self.0.history.as_ref().expect("rows without history are kept");
        let tensor = history.operation.run(candle)?;
        *self.slot() = Some(tensor.clone());
        Ok(tensor)
    }

    fn held(&self) -> Option<Tensor> {
        self.slot().clone()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Tensor>> {
        self.0.tensor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_gradient(&self) -> bool {
        self.0.history.as_ref().is_some_and(|history| history.has_gradient)
    }

    /// Keeps these rows until the backward pass, and drops those that they were computed from, back to rows that are kept. Rows
    /// without a gradient forget how they were computed.
    pub(super) fn keep_only_this(self) -> Result<Self> {
        let Some(history) = &self.0.history else { return Ok(self) };
        if !history.has_gradient {
            return Self::constant(self.held().expect("rows of the running layer are held"));
        }
        history.is_kept.store(true, Ordering::Relaxed);
        let mut to_drop = history.operation.operands();
        while let Some(rows) = to_drop.pop() {
            let Some(history) = &rows.0.history else { continue };
            if !history.is_kept.load(Ordering::Relaxed) && rows.slot().take().is_some() {
                to_drop.extend(history.operation.operands());
            }
        }
        Ok(self)
    }

    /// Adds the gradients of all parameters that these rows depend on, given the rows' own, [n_rows, width].
    ///
    /// `parameters` has a gradient for each parameter's number: of `a` [r, n_in], and of `b` transposed [r, n_out].
    pub(super) fn backward(self, gradient: Vec<f32>, parameters: &mut [Vec<f32>], candle: &Candle) -> Result<()> {
        let gradient = candle.tensor(gradient, (self.n_rows(), self.width()))?;
        let mut waiting = Waiting { by_number: BTreeMap::new(), parameters: BTreeMap::new(), candle };
        waiting.give(&self, || Ok(gradient))?;
        drop(self);
        // What uses rows has a greater number than they have, so the gradient of the last rows is complete. Rows are dropped
        // here, and with them the memory of their layer.
        while let Some((_, (rows, gradient))) = waiting.by_number.pop_last() {
            let history = rows.0.history.as_ref().expect("rows without history get no gradient");
            history.operation.backward(&gradient, &mut waiting)?;
        }
        for (number, gradient) in waiting.parameters {
            let gradient: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
            parameters[number].iter_mut().zip(gradient).for_each(|(to, number)| *to += number);
        }
        Ok(())
    }
}

/// The gradients of rows that are not complete or not passed on.
struct Waiting<'a> {
    by_number: BTreeMap<u64, (Rows, Tensor)>,
    /// The gradients of parameters by their numbers.
    parameters: BTreeMap<usize, Tensor>,
    candle: &'a Candle,
}

impl Waiting<'_> {
    /// Adds a gradient to that of these rows, if a gradient flows through them. It gets the type of the rows.
    fn give(&mut self, rows: &Rows, gradient: impl FnOnce() -> Result<Tensor>) -> Result<()> {
        let Some(history) = rows.0.history.as_ref().filter(|history| history.has_gradient) else { return Ok(()) };
        let gradient = gradient()?.to_dtype(self.candle.dtype)?;
        match self.by_number.entry(history.number) {
            Entry::Vacant(entry) => drop(entry.insert((rows.clone(), gradient))),
            Entry::Occupied(mut entry) => {
                let sum = (&entry.get().1 + gradient)?;
                entry.get_mut().1 = sum;
            }
        }
        Ok(())
    }

    fn give_parameter(&mut self, number: usize, gradient: Tensor) -> Result<()> {
        let sum = match self.parameters.remove(&number) {
            Some(sum) => (sum + gradient)?,
            None => gradient,
        };
        self.parameters.insert(number, sum);
        Ok(())
    }
}

impl Operation {
    fn operands(&self) -> Vec<&Rows> {
        match self {
            Self::Linear { x, add, .. } => std::iter::once(x).chain(add).collect(),
            Self::Gated { gate, up, .. } => vec![gate, up],
            Self::Attention { qkv, .. } => qkv.iter().collect(),
            Self::Concat { parts } => parts.iter().collect(),
            Self::Activation { x, .. }
            | Self::Norm { x, .. }
            | Self::Gather { x, .. }
            | Self::Columns { x, .. }
            | Self::Mean { x, .. }
            | Self::Reshape { x, .. }
            | Self::Scale { x, .. } => vec![x],
        }
    }

    fn has_gradient(&self) -> bool {
        let is_trained = matches!(self, Self::Linear { update: Some(Update { parameters: Some(_), .. }), .. });
        is_trained || self.operands().into_iter().any(Rows::has_gradient)
    }

    fn run(&self, candle: &Candle) -> Result<Tensor> {
        match self {
            Self::Linear { x, add, weight, bias, update } => {
                let x = x.tensor(candle)?;
                let y = product(&x, weight, bias.as_ref())?;
                let y = match update {
                    Some(update) => (&y + update.product(&x)?.to_dtype(y.dtype())?)?,
                    None => y,
                };
                match add {
                    Some(add) => add.tensor(candle)? + y,
                    None => Ok(y),
                }
            }
            Self::Activation { x, activation } => activated(&x.tensor(candle)?, *activation),
            Self::Norm { x, weight, bias: Some(bias), eps } => ops::layer_norm(&x.tensor(candle)?, weight, bias, *eps),
            Self::Norm { x, weight, bias: None, eps } => ops::rms_norm(&x.tensor(candle)?, weight, *eps),
            Self::Gated { gate, up, activation } => {
                activated(&gate.tensor(candle)?, *activation)? * up.tensor(candle)?
            }
            Self::Attention { qkv: [q, k, v], plan } => {
                plan.attend([&q.tensor(candle)?, &k.tensor(candle)?, &v.tensor(candle)?])
            }
            Self::Gather { x, indices } => candle.gather(&x.tensor(candle)?, indices),
            Self::Columns { x, start, width } => x.tensor(candle)?.narrow(1, *start, *width)?.contiguous(),
            Self::Mean { x, ranges } => candle.mean(&x.tensor(candle)?, ranges),
            Self::Concat { parts } => {
                let parts = parts.iter().map(|part| part.tensor(candle)).collect::<Result<Vec<_>>>()?;
                Tensor::cat(&parts, 0)
            }
            Self::Reshape { x, width } => candle.reshape(x.tensor(candle)?, *width),
            Self::Scale { x, factor } => candle.scale(x.tensor(candle)?, *factor),
        }
    }

    /// Passes the gradient of the result on to the operands.
    fn backward(&self, gradient: &Tensor, to: &mut Waiting<'_>) -> Result<()> {
        let candle = to.candle;
        match self {
            Self::Linear { x, add, weight, update, .. } => {
                let d_low = update.as_ref().map(|update| update.backward(x, gradient, to)).transpose()?;
                to.give(x, || {
                    let dx = gradient.matmul(weight)?;
                    match update.as_ref().zip(d_low) {
                        Some((update, d_low)) => &dx + update.d_input(&d_low)?.to_dtype(dx.dtype())?,
                        None => Ok(dx),
                    }
                })?;
                add.as_ref().map_or(Ok(()), |add| to.give(add, || Ok(gradient.clone())))
            }
            Self::Activation { x, activation } => {
                to.give(x, || times_derivative(gradient, &x.tensor(candle)?, *activation))
            }
            Self::Norm { x, weight, bias, eps } => {
                to.give(x, || gradients::of_norm(gradient, &x.tensor(candle)?, weight, *eps, bias.is_some()))
            }
            Self::Gated { gate, up, activation } => {
                to.give(up, || gradient * activated(&gate.tensor(candle)?, *activation)?)?;
                to.give(gate, || {
                    times_derivative(&(gradient * up.tensor(candle)?)?, &gate.tensor(candle)?, *activation)
                })
            }
            Self::Attention { qkv: [q, k, v], plan } => {
                let rows = [&q.tensor(candle)?, &k.tensor(candle)?, &v.tensor(candle)?];
                let [dq, dk, dv] = plan.gradients(rows, gradient)?;
                to.give(q, || Ok(dq))?;
                to.give(k, || Ok(dk))?;
                to.give(v, || Ok(dv))
            }
            Self::Gather { x, indices } => to.give(x, || {
                let places = indices.iter().copied().enumerate();
                Scatter::new(places, indices.len(), x.n_rows(), gradient.device())?.sum(gradient)
            }),
            Self::Columns { x, start, width } => {
                to.give(x, || gradient.pad_with_zeros(1, *start, x.width() - start - width))
            }
            Self::Mean { x, ranges } => to.give(x, || {
                let places = ranges.iter().enumerate().flat_map(|(n, range)| range.clone().map(move |row| (n, row)));
                let shares: Vec<f32> = ranges.iter().map(|range| 1.0 / range.len() as f32).collect();
                let shares = Tensor::from_vec(shares, (ranges.len(), 1), gradient.device())?;
                let each = gradient.to_dtype(DType::F32)?.broadcast_mul(&shares)?;
                Scatter::new(places, ranges.len(), x.n_rows(), gradient.device())?.sum(&each)
            }),
            Self::Concat { parts } => {
                let mut start = 0;
                for part in parts {
                    to.give(part, || gradient.narrow(0, start, part.n_rows()))?;
                    start += part.n_rows();
                }
                Ok(())
            }
            Self::Reshape { x, .. } => to.give(x, || gradient.reshape((x.n_rows(), x.width()))),
            Self::Scale { x, factor } => to.give(x, || gradient * f64::from(*factor)),
        }
    }
}

/// The gradient times the derivative of an activation at x, in f32.
fn times_derivative(gradient: &Tensor, x: &Tensor, activation: Activation) -> Result<Tensor> {
    gradient.to_dtype(DType::F32)? * gradients::derivative(x, activation)?
}

impl Update {
    /// The input after dropout, and its product with `a` times the scale: [n, n_in] and [n, r].
    fn low(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let x = self.dropped(x.to_dtype(DType::F32)?)?;
        // The scale is applied to the low-rank product, which is the smallest.
        let low = (x.matmul(&self.a.to_dtype(DType::F32)?.t()?)? * self.scale)?;
        Ok((x, low))
    }

    /// x: [n, n_in]; returns [n, n_out].
    fn product(&self, x: &Tensor) -> Result<Tensor> {
        self.low(x)?.1.matmul(&self.b.to_dtype(DType::F32)?.t()?)
    }

    /// Adds the gradients of both matrices, and returns that of the product with `a`: [n, r].
    fn backward(&self, x: &Rows, gradient: &Tensor, to: &mut Waiting<'_>) -> Result<Tensor> {
        let gradient = gradient.to_dtype(DType::F32)?;
        let d_low = (gradient.matmul(&self.b.to_dtype(DType::F32)?)? * self.scale)?;
        if let Some([a, b]) = self.parameters {
            let (x, low) = self.low(&x.tensor(to.candle)?)?;
            to.give_parameter(a, d_low.t()?.matmul(&x)?)?;
            to.give_parameter(b, low.t()?.matmul(&gradient)?)?;
        }
        Ok(d_low)
    }

    /// The gradient of the input, given that of the product with `a`: [n, n_in].
    fn d_input(&self, d_low: &Tensor) -> Result<Tensor> {
        self.dropped(d_low.matmul(&self.a.to_dtype(DType::F32)?)?)
    }

    fn dropped(&self, x: Tensor) -> Result<Tensor> {
        match &self.dropout {
            Some(dropout) => dropout.of(&x),
            None => Ok(x),
        }
    }
}

#[cfg(test)]
impl Rows {
    /// The shapes of all rows that are in memory because these rows are.
    pub(crate) fn shapes_held(&self) -> Vec<[usize; 2]> {
        let (mut seen, mut shapes, mut waiting) = (std::collections::BTreeSet::new(), Vec::new(), vec![self]);
        while let Some(rows) = waiting.pop() {
            if !seen.insert(Arc::as_ptr(&rows.0)) {
                continue;
            }
            shapes.extend(rows.held().map(|tensor| <[usize; 2]>::from(tensor.dims2().expect("rows are a matrix"))));
            waiting.extend(rows.0.history.iter().flat_map(|history| history.operation.operands()));
        }
        shapes
    }
}
