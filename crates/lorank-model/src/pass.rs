//! One forward pass over one pack: what its layers share, and where its time goes.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use crate::attention::{Angles, Attention, Spans};
use crate::engine::{Engine, Rows};
use crate::linear::{Linear, Part, Then};
use crate::norm::Norm;
use crate::pack::Pack;

/// A pack on its way through a model.
pub(crate) struct Pass<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) pack: &'a Pack<'a>,
    parts: Vec<Part<'a>>,
    /// The adapters over the scored rows.
    pub(crate) scored_parts: Vec<Part<'a>>,
    spans: Spans,
    scored_spans: Spans,
    times: RefCell<PieceTimes>,
}

/// A part of a forward pass, as its time is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    Embedding,
    Linear,
    Attention,
    Activation,
    Norm,
}

/// How long the parts of forward passes took, the times of all threads together, and over how many tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PieceTimes {
    /// Turning texts into token ids.
    pub tokenise: Duration,
    /// Looking up embeddings.
    pub embedding: Duration,
    /// Linear layers: the products with the base model's weights and with adapters', and of BERT the activations too, which
    /// are done while the sums are at hand.
    pub linear: Duration,
    /// Attention: products of queries, keys and values, softmax, rotary positions.
    pub attention: Duration,
    /// What stands between Llama's gate and up projections and its down projection.
    pub activation: Duration,
    /// Norms.
    pub norm: Duration,
    /// How many tokens went through the model.
    pub n_tokens: usize,
}

impl PieceTimes {
    /// Each part by its name, the whole in their sum.
    pub fn by_name(&self) -> [(&'static str, Duration); 6] {
        [
            ("tokenise", self.tokenise),
            ("embedding", self.embedding),
            ("linear", self.linear),
            ("attention", self.attention),
            ("activation", self.activation),
            ("norm", self.norm),
        ]
    }

    /// Adds other times to these.
    pub fn add(&mut self, other: &Self) {
        self.tokenise += other.tokenise;
        self.embedding += other.embedding;
        self.linear += other.linear;
        self.attention += other.attention;
        self.activation += other.activation;
        self.norm += other.norm;
        self.n_tokens += other.n_tokens;
    }
}

impl<'a> Pass<'a> {
    pub(crate) fn new(engine: &'a Engine, pack: &'a Pack<'a>) -> Self {
        Self {
            engine,
            pack,
            parts: pack.parts(),
            scored_parts: pack.scored_parts(),
            spans: Spans::new(pack.spans()),
            scored_spans: Spans::new(pack.scored_spans()),
            times: RefCell::default(),
        }
    }

    /// How long each part has taken so far.
    pub(crate) fn times(&self) -> PieceTimes {
        *self.times.borrow()
    }

    /// Does something and adds the time that it took to a part's.
    pub(crate) fn time<T>(&self, piece: Piece, run: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let value = run();
        let mut times = self.times.borrow_mut();
        *match piece {
            Piece::Embedding => &mut times.embedding,
            Piece::Linear => &mut times.linear,
            Piece::Attention => &mut times.attention,
            Piece::Activation => &mut times.activation,
            Piece::Norm => &mut times.norm,
        } += started.elapsed();
        value
    }

    /// A linear layer alone with its input.
    pub(crate) fn linear(
        &self,
        layer: &Linear,
        x: &Rows,
        parts: &[Part<'_>],
        then: Then<'_>,
    ) -> candle_core::Result<Rows> {
        self.time(Piece::Linear, || layer.forward(&self.engine.prepare(x), parts, then))
    }

    /// Several linear layers of one input.
    pub(crate) fn linears<const N: usize>(
        &self,
        layers: [&Linear; N],
        x: &Rows,
        parts: &[Part<'_>],
    ) -> candle_core::Result<[Rows; N]> {
        self.time(Piece::Linear, || {
            let x = self.engine.prepare(x);
            let rows = layers.map(|layer| layer.forward(&x, parts, Then::default()));
            let mut rows = rows.into_iter().collect::<candle_core::Result<Vec<_>>>()?.into_iter();
            Ok(std::array::from_fn(|_| rows.next().expect("one for each layer")))
        })
    }

    /// Attention with its query, key and value layers, after a norm where there is one.
    ///
    /// The mixed values, the rows of `x` that go on with them, and the adapters over those: all rows, or in the last layer
    /// the scored ones, since nothing reads the others after it.
    pub(crate) fn attention(
        &self,
        attention: &Attention,
        [q, k, v]: [&Linear; 3],
        x: Rows,
        norm: Option<&Norm>,
        angles: Option<&Angles>,
        is_last: bool,
    ) -> candle_core::Result<(Rows, Rows, &[Part<'a>])> {
        let normed = norm.map(|norm| self.time(Piece::Norm, || norm.forward(x.clone()))).transpose()?;
        let input = normed.as_ref().unwrap_or(&x);
        if !is_last {
            let [q, k, v] = self.linears([q, k, v], input, &self.parts)?;
            let mixed = self.time(Piece::Attention, || attention.forward([&q, &k, &v], &self.spans, angles))?;
            return Ok((mixed, x, &self.parts));
        }
        let rows = self.pack.scored_rows();
        let [k, v] = self.linears([k, v], input, &self.parts)?;
        let q = self.linear(q, &input.gather(&rows)?, &self.scored_parts, Then::default())?;
        let mixed = self.time(Piece::Attention, || attention.forward([&q, &k, &v], &self.scored_spans, angles))?;
        Ok((mixed, x.gather(&rows)?, &self.scored_parts))
    }
}
