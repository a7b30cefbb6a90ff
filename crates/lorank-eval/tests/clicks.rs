//! Estimates from simulated clicks, compared with the truth of the simulation.

mod simulated;

use std::collections::HashMap;

use simulated::{N_RANKS, Users, World, error_of};

#[test]
fn the_examination_of_ten_ranks_is_recovered() {
    for (seed, eta) in [(1, 1.0), (2, 1.0), (3, 0.5), (4, 0.7), (5, 1.5)] {
        let world = World::new(seed, 300, eta);
        let error = error_of(&world, &world.search(seed, 20_000, Users::PositionBased));
        assert!(error < 0.05, "seed {seed}, eta {eta}: {error}");
    }
}

#[test]
fn raw_click_rates_are_no_estimate() {
    // What the test above would accept if the relevance at high ranks were mistaken for examination.
    let world = World::new(1, 300, 1.0);
    let log = world.search(1, 20_000, Users::Trusting);
    assert!(error_of(&world, &log) > 0.05, "trust bias is not part of the model");
}

#[test]
fn intervals_of_counterfactual_clicks_cover_the_truth() {
    let mut n_covered = 0;
    let mut n_better = 0;
    for seed in 0..200 {
        let world = World::new(seed, 100, 1.0);
        let log = world.search(seed, 4_000, Users::PositionBased);
        let candidate = world.candidate();
        let rankings: HashMap<&str, Vec<&str>> = candidate
            .iter()
            .map(|(query, ranking)| (query.as_str(), ranking.iter().map(String::as_str).collect()))
            .collect();
        let examination = log.examination().unwrap();
        let estimate = log.counterfactual(&rankings, &examination, N_RANKS).unwrap();
        let truth = world.true_difference();
        n_covered += u32::from(estimate.low <= truth && truth <= estimate.high);
        n_better += u32::from(estimate.low > 0.0);
        assert!(estimate.unseen_share < 1e-9);
    }
    println!("{n_covered} of 200 intervals cover the truth; {n_better} exclude zero");
    assert!(n_covered >= 186, "{n_covered} of 200");
}
