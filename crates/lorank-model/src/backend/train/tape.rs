//! Rows that remember how they were computed, and the gradients that follow from it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lorank_kernels::{
    Activation, Attention, Dropout, InputUpdate, Isa, PackedMatrix, Rotary, Span, copied, recycle, zeros,
};

use crate::attention::{Angles, AttentionShape};

/// Rows of a forward pass, with their history if they depend on a trained parameter. Clones share both.
#[derive(Debug, Clone)]
pub(crate) struct Rows(Arc<Node>);

#[derive(Debug)]
struct Node {
    /// [n_rows, width], row by row.
    numbers: Vec<f32>,
    width: usize,
    history: Option<History>,
}

#[derive(Debug)]
struct History {
    /// Greater than those of the rows that it was computed from.
    number: u64,
    operation: Operation,
}

/// How rows were computed, with the data that the gradient needs.
#[derive(Debug)]
pub(super) enum Operation {
    Linear {
        x: Rows,
        add: Option<Rows>,
        weight: Arc<PackedMatrix>,
        update: Option<Update>,
    },
    Activation {
        x: Rows,
        activation: Activation,
    },
    Norm {
        x: Rows,
        weight: Arc<Vec<f32>>,
        eps: f32,
        kind: NormKind,
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
    /// Columns from `start`.
    Columns {
        x: Rows,
        start: usize,
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
    },
    Scale {
        x: Rows,
        factor: f32,
    },
}

/// A trained low-rank update of a linear layer.
#[derive(Debug)]
pub(super) struct Update {
    /// [r, n_in]
    pub(super) a: Arc<PackedMatrix>,
    /// [n_out, r]
    pub(super) b: Arc<PackedMatrix>,
    /// The numbers of both among the parameters.
    pub(super) parameters: Option<[usize; 2]>,
    pub(super) scale: f32,
    /// What the product with `a` dropped of its input.
    pub(super) dropout: Option<Dropout>,
    /// The product of the input and `a`: [n, r].
    pub(super) low: Vec<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NormKind {
    Layer,
    Rms,
}

/// The sequences of a pass under one shape of attention.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) shape: AttentionShape,
    pub(super) spans: Vec<Span>,
    pub(super) angles: Option<Arc<Angles>>,
}

impl Plan {
    pub(super) fn attention<'a>(&'a self, [q, k, v]: [&'a Rows; 3]) -> Attention<'a> {
        let AttentionShape { n_heads, n_kv_heads, head_dim, mask } = self.shape;
        Attention {
            q: q.numbers(),
            k: k.numbers(),
            v: v.numbers(),
            n_heads,
            n_kv_heads,
            head_dim,
            mask,
            rotary: self.angles.as_ref().map(|angles| Rotary { cos: &angles.cos, sin: &angles.sin }),
            q_gap: 0,
            kv_gap: 0,
            spans: &self.spans,
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        recycle(std::mem::take(&mut self.numbers));
    }
}

static N_OPERATIONS: AtomicU64 = AtomicU64::new(0);

impl Rows {
    /// Rows that depend on no parameter.
    pub(super) fn constant(numbers: Vec<f32>, width: usize) -> Self {
        Self(Arc::new(Node { numbers, width, history: None }))
    }

    /// The result of an operation. The history is kept only if a gradient flows through it.
    pub(super) fn computed(numbers: Vec<f32>, width: usize, operation: Operation) -> Self {
        let has_gradient = operation.has_gradient();
        let history = || History { number: N_OPERATIONS.fetch_add(1, Ordering::Relaxed), operation };
        Self(Arc::new(Node { numbers, width, history: has_gradient.then(history) }))
    }

    pub(super) fn numbers(&self) -> &[f32] {
        &self.0.numbers
    }

    pub(super) fn width(&self) -> usize {
        self.0.width
    }

    pub(super) fn n_rows(&self) -> usize {
        self.0.numbers.len() / self.0.width
    }

    fn has_gradient(&self) -> bool {
        self.0.history.is_some()
    }

    /// Adds the gradients of all parameters that these rows depend on, given the rows' own, [n_rows, width].
    ///
    /// `parameters` has a gradient for each parameter's number: of `a` [r, n_in], and of `b` transposed [r, n_out].
    pub(crate) fn backward(self, gradient: Vec<f32>, parameters: &mut [Vec<f32>], isa: Isa) {
        let mut waiting = Waiting { by_number: BTreeMap::new(), parameters, isa };
        waiting.give(&self, gradient);
        drop(self);
        // What uses rows has a greater number than they have, so the gradient of the last rows is complete. Rows are dropped
        // here, and with them the memory of their pass.
        while let Some((_, (rows, gradient))) = waiting.by_number.pop_last() {
            let history = rows.0.history.as_ref().expect("rows without history get no gradient");
            history.operation.backward(&rows, gradient, &mut waiting);
        }
    }
}

/// The gradients of rows that are not complete or not passed on.
struct Waiting<'a> {
    by_number: BTreeMap<u64, (Rows, Vec<f32>)>,
    parameters: &'a mut [Vec<f32>],
    isa: Isa,
}

impl Waiting<'_> {
    /// Adds a gradient to that of these rows.
    fn give(&mut self, rows: &Rows, gradient: Vec<f32>) {
        let Some(history) = &rows.0.history else { return recycle(gradient) };
        match self.by_number.entry(history.number) {
            Entry::Vacant(entry) => drop(entry.insert((rows.clone(), gradient))),
            Entry::Occupied(mut entry) => {
                add(&mut entry.get_mut().1, &gradient);
                recycle(gradient);
            }
        }
    }

    /// Takes the gradient of these rows so far, if there is one.
    fn take(&mut self, rows: &Rows) -> Option<Vec<f32>> {
        let history = rows.0.history.as_ref()?;
        self.by_number.remove(&history.number).map(|(_, gradient)| gradient)
    }

    /// The gradient of these rows, to add to.
    fn of(&mut self, rows: &Rows) -> Option<&mut Vec<f32>> {
        let history = rows.0.history.as_ref()?;
        let new = || (rows.clone(), zeros(rows.numbers().len()));
        Some(&mut self.by_number.entry(history.number).or_insert_with(new).1)
    }
}

fn add(to: &mut [f32], numbers: &[f32]) {
    to.iter_mut().zip(numbers).for_each(|(to, number)| *to += number);
}

impl Operation {
    fn has_gradient(&self) -> bool {
        match self {
            Self::Linear { x, add, update, .. } => {
                let is_trained = update.as_ref().is_some_and(|update| update.parameters.is_some());
                is_trained || x.has_gradient() || add.as_ref().is_some_and(Rows::has_gradient)
            }
            Self::Gated { gate, up, .. } => gate.has_gradient() || up.has_gradient(),
            Self::Attention { qkv, .. } => qkv.iter().any(Rows::has_gradient),
            Self::Concat { parts } => parts.iter().any(Rows::has_gradient),
            Self::Activation { x, .. }
            | Self::Norm { x, .. }
            | Self::Gather { x, .. }
            | Self::Columns { x, .. }
            | Self::Mean { x, .. }
            | Self::Reshape { x }
            | Self::Scale { x, .. } => x.has_gradient(),
        }
    }

    /// Passes the gradient of the result, `rows`, on to the operands.
    fn backward(&self, rows: &Rows, mut gradient: Vec<f32>, to: &mut Waiting<'_>) {
        let (width, isa) = (rows.width(), to.isa);
        match self {
            Self::Linear { x, add, weight, update } => {
                let low = update.as_ref().map(|update| update.backward(x, &gradient, to));
                if x.has_gradient() {
                    let dx = to.take(x);
                    let dx = match update.as_ref().zip(low) {
                        Some((Update { a, dropout, .. }, low)) => {
                            let update = InputUpdate { low: &low, a, dropout: *dropout };
                            weight.updated_transposed(&gradient, &update, dx)
                        }
                        None => weight.transposed(&gradient, 1.0, dx),
                    };
                    to.give(x, dx);
                }
                match add {
                    Some(add) => to.give(add, gradient),
                    None => recycle(gradient),
                }
            }
            Self::Activation { x, activation } => {
                lorank_kernels::activation_gradient(&mut gradient, x.numbers(), *activation, isa);
                to.give(x, gradient);
            }
            Self::Norm { x, weight, eps, kind } => {
                match kind {
                    NormKind::Layer => {
                        lorank_kernels::layer_norm_gradient(&mut gradient, x.numbers(), weight, *eps, isa)
                    }
                    NormKind::Rms => lorank_kernels::rms_norm_gradient(&mut gradient, x.numbers(), weight, *eps, isa),
                }
                to.give(x, gradient);
            }
            Self::Gated { gate, up, activation } => {
                if up.has_gradient() {
                    let mut d_up = copied(gate.numbers());
                    lorank_kernels::gated(&mut d_up, &gradient, *activation, isa);
                    to.give(up, d_up);
                }
                gradient.iter_mut().zip(up.numbers()).for_each(|(gradient, up)| *gradient *= up);
                lorank_kernels::activation_gradient(&mut gradient, gate.numbers(), *activation, isa);
                to.give(gate, gradient);
            }
            Self::Attention { qkv, plan } => {
                let gradients = plan.attention(qkv.each_ref()).gradients(&gradient, isa);
                recycle(gradient);
                qkv.iter().zip(gradients).for_each(|(rows, gradient)| to.give(rows, gradient));
            }
            Self::Gather { x, indices } => {
                if let Some(dx) = to.of(x) {
                    for (index, gradient) in indices.iter().zip(gradient.chunks_exact(width)) {
                        self::add(&mut dx[index * width..][..width], gradient);
                    }
                }
            }
            Self::Columns { x, start } => {
                if let Some(dx) = to.of(x) {
                    for (dx, gradient) in dx.chunks_exact_mut(x.width()).zip(gradient.chunks_exact(width)) {
                        self::add(&mut dx[*start..][..width], gradient);
                    }
                }
            }
            Self::Mean { x, ranges } => {
                if let Some(dx) = to.of(x) {
                    for (range, gradient) in ranges.iter().zip(gradient.chunks_exact(width)) {
                        for dx in dx[range.start * width..range.end * width].chunks_exact_mut(width) {
                            dx.iter_mut().zip(gradient).for_each(|(dx, gradient)| *dx += gradient / range.len() as f32);
                        }
                    }
                }
            }
            Self::Reshape { x } => to.give(x, gradient),
            Self::Scale { x, factor } => {
                gradient.iter_mut().for_each(|gradient| *gradient *= factor);
                to.give(x, gradient);
            }
            Self::Concat { parts } => {
                let mut rest = &gradient[..];
                for part in parts {
                    let (own, others) = rest.split_at(part.numbers().len());
                    rest = others;
                    to.give(part, own.to_vec());
                }
            }
        }
    }
}

impl Update {
    /// Adds the gradients of both matrices, and returns that of the product with `a`: [n, r].
    fn backward(&self, x: &Rows, gradient: &[f32], to: &mut Waiting<'_>) -> Vec<f32> {
        let rank = self.a.n_out();
        let d_low = self.b.transposed(gradient, self.scale, None);
        if let Some([a, b]) = self.parameters {
            let x = (x.numbers(), x.width());
            lorank_kernels::add_products((&d_low, rank), x, self.dropout, 1.0, &mut to.parameters[a], to.isa);
            let y = (gradient, self.b.n_out());
            lorank_kernels::add_products((&self.low, rank), y, None, self.scale, &mut to.parameters[b], to.isa);
        }
        d_low
    }
}
