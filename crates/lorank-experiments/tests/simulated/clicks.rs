//! How simulated searchers click.

use lorank_experiments::Click;

use super::{Question, Random};

/// How searchers click.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ClickModel {
    /// Rank `r` is examined with probability `1/r`, and an examined hit is clicked as its grade attracts.
    PositionBased,
    /// Hits are examined from the top until one is clicked, or patience ends, by a fifth at each rank (Craswell, Zoeter, Taylor and
    /// Ramsey, WSDM 2008).
    Cascade,
    /// Every hit is examined until the searcher has enough, which half of the clicks satisfy (Guo, Liu and Wang, WSDM 2009).
    DependentClick,
    /// A hit is examined the less the further it is from the last click, by a fifth for each rank (after Dupret and Piwowarski's user
    /// browsing model, SIGIR 2008).
    UserBrowsing,
    /// The four searchers of Hofmann, Whiteson and de Rijke (ACM TOIS 2013): every relevant hit is clicked, and no other.
    Perfect,
    /// One relevant hit is enough.
    Navigational,
    /// Many hits are clicked, relevant ones twice as readily.
    Informational,
    /// Relevance hardly tells.
    AlmostRandom,
}

impl ClickModel {
    pub(crate) const ALL: [Self; 8] = [
        Self::PositionBased,
        Self::Cascade,
        Self::DependentClick,
        Self::UserBrowsing,
        Self::Perfect,
        Self::Navigational,
        Self::Informational,
        Self::AlmostRandom,
    ];

    /// The clicks on an answer of somebody who clicks this readily, from 0 to 1.
    pub(crate) fn clicks(self, random: &mut Random, eagerness: f64, question: &Question, ids: &[u32]) -> Vec<Click> {
        let is_relevant: Vec<bool> = ids.iter().map(|id| question.grades.contains_key(id)).collect();
        let attraction = |relevant: bool| if relevant { 0.9 } else { 0.1 };
        let dependent = |random: &mut Random, click: [f64; 2], stop: [f64; 2]| {
            down_the_list(
                random,
                &is_relevant,
                |relevant| click[usize::from(relevant)] * eagerness,
                |relevant| stop[usize::from(relevant)],
            )
        };
        match self {
            Self::PositionBased => {
                let chance = |(relevant, rank): (bool, usize)| attraction(relevant) * eagerness / rank as f64;
                let hits = is_relevant.into_iter().zip(1..);
                hits.filter(|hit| random.uniform() < chance(*hit)).map(|(_, rank)| click(rank)).collect()
            }
            Self::Cascade => cascade(random, eagerness, &is_relevant, attraction),
            Self::UserBrowsing => user_browsing(random, eagerness, &is_relevant, attraction),
            Self::DependentClick => dependent(random, [0.1, 0.9], [0.5, 0.5]),
            Self::Perfect => dependent(random, [0.0, 1.0], [0.0, 0.0]),
            Self::Navigational => dependent(random, [0.05, 0.95], [0.2, 0.9]),
            Self::Informational => dependent(random, [0.4, 0.9], [0.1, 0.5]),
            Self::AlmostRandom => dependent(random, [0.4, 0.6], [0.5, 0.5]),
        }
    }
}

fn click(rank: usize) -> Click {
    Click { rank, at_millis: 0 }
}

/// Every hit is examined until a click is the last.
fn down_the_list(
    random: &mut Random,
    is_relevant: &[bool],
    click_chance: impl Fn(bool) -> f64,
    stop_chance: impl Fn(bool) -> f64,
) -> Vec<Click> {
    let mut clicks = Vec::new();
    for (relevant, rank) in is_relevant.iter().zip(1..) {
        if random.uniform() < click_chance(*relevant) {
            clicks.push(click(rank));
            if random.uniform() < stop_chance(*relevant) {
                break;
            }
        }
    }
    clicks
}

fn cascade(random: &mut Random, eagerness: f64, is_relevant: &[bool], attraction: impl Fn(bool) -> f64) -> Vec<Click> {
    for (relevant, rank) in is_relevant.iter().zip(1..) {
        if random.uniform() < attraction(*relevant) * eagerness {
            return vec![click(rank)];
        }
        if random.uniform() < 0.2 {
            break;
        }
    }
    Vec::new()
}

fn user_browsing(
    random: &mut Random,
    eagerness: f64,
    is_relevant: &[bool],
    attraction: impl Fn(bool) -> f64,
) -> Vec<Click> {
    let mut clicks: Vec<Click> = Vec::new();
    for (relevant, rank) in is_relevant.iter().zip(1..) {
        let distance = rank - clicks.last().map_or(0, |click| click.rank);
        let examined = 0.8f64.powi(distance as i32 - 1);
        if random.uniform() < examined * attraction(*relevant) * eagerness {
            clicks.push(click(rank));
        }
    }
    clicks
}
