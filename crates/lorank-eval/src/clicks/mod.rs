//! Clicks as evidence of relevance: a log of searches, the position bias in it, and estimates without that bias.
//!
//! The model is the position-based one (Craswell, Zoeter, Taylor and Ramsey, WSDM 2008): a hit is clicked if the user
//! examines its rank and finds it relevant, and the probability of examination depends on the rank alone.

mod counterfactual;
mod examination;
mod log;

pub use counterfactual::Counterfactual;
pub use examination::Examination;
pub use log::{ClickGroup, ClickLog, ClickedDocument, RANKS_MAX};

/// The maximum weight of a click: clicks at ranks that are examined less often than 1 / `CLIP` count as if they were
/// examined that often. It bounds the variance at the cost of a bias toward the logged order.
pub const CLIP: f64 = 50.0;
