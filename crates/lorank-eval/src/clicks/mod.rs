//! Clicks as evidence of relevance: a log of searches, the position bias in it, and estimates without that bias.
//!
//! The model is the position-based one (Craswell, Zoeter, Taylor and Ramsey, WSDM 2008): a hit is clicked if the user
//! examines its rank and finds it relevant, and the probability of examination depends on the rank alone.

mod counterfactual;
mod examination;
mod groups;
mod log;

pub use counterfactual::Counterfactual;
pub use examination::Examination;
pub use groups::{ClickGroup, ClickedDocument};
pub use log::{CLIP, ClickLog, RANKS_MAX};
