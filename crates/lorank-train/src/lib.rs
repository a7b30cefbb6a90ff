//! lorank's training of LoRA adapters.
//!
//! An adapter is trained on [`Group`]s: queries with documents that are judged, or scored by a teacher. Groups are read from JSON
//! lines ([`read_groups`]), made from judgments and a first stage, whose other hits are the negatives ([`mine`]), or made from
//! clicks ([`from_clicks`]).
//! A [`Training`] runs AdamW on a [`Loss`] over each group, measures held-out queries by nDCG@10, and keeps the best adapter.
//!
//! The crate does *not* compute scores or gradients of a model: those are `lorank-model`'s
//! ([`TrainableModel`](lorank_model::TrainableModel)).

mod clicks;
mod encoded;
mod error;
mod groups;
mod held_out;
mod json_line;
mod loss;
mod mining;
mod optimizer;
mod schedule;
mod state;
mod teacher;
mod trainer;
mod workers;

pub use clicks::{FromClicks, from_clicks};
pub use encoded::EncodedGroup;
pub use error::TrainError;
pub use groups::{Group, GroupDocument, LABEL_MAX, read_groups, split, write_groups};
pub use held_out::HeldOut;
pub use loss::{Distillation, Loss, Objective, RankingLoss};
pub use mining::{MiningOptions, mine};
pub use optimizer::{AdamW, clip};
pub use schedule::learning_rate;
pub use state::was_interrupted;
pub use teacher::{add_scores, drop_false_negatives};
pub use trainer::{Event, Outcome, StopReason, TrainOptions, Training};
