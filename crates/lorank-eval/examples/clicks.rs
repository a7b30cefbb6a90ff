//! Estimates position bias from simulated clicks, and prints their errors.
//!
//!     cargo run -p lorank-eval --example clicks

#[path = "../tests/simulated/mod.rs"]
mod simulated;

use simulated::{N_RANKS, Users, World, error_of};

fn main() {
    let world = World::new(1, 300, 1.0);
    println!("20,000 searches of 300 queries, split between two rankers; examination at rank k is 1 / k\n");
    println!("{:>4} {:>6} {:>15} {:>15}", "rank", "truth", "position-based", "with trust bias");
    let logs = [Users::PositionBased, Users::Trusting].map(|users| world.search(1, 20_000, users));
    let estimates = logs.each_ref().map(|log| log.examination().expect("the rankers differ").probabilities);
    for rank in 0..N_RANKS {
        let [plain, trusting] = estimates.each_ref().map(|estimate| estimate[rank]);
        println!("{:>4} {:>6.3} {plain:>15.3} {trusting:>15.3}", rank + 1, world.examined(rank));
    }
    let [plain, trusting] = logs.each_ref().map(|log| error_of(&world, log));
    println!("\nlargest error: {plain:.3} position-based, {trusting:.3} with trust bias");
    let candidate = world.candidate();
    let rankings = candidate.iter().map(|(query, ranking)| (query.as_str(), ranking.clone())).collect();
    for (log, users) in logs.iter().zip(["position-based", "with trust bias"]) {
        let examination = log.examination().expect("the rankers differ");
        let estimate = log.counterfactual(&rankings, &examination, N_RANKS).expect("each query is ranked");
        println!(
            "clicks per search {users}: logged {:.3}, candidate {:.3}, difference {:+.3} ({:+.3} to {:+.3}), truth {:+.3}",
            estimate.logged,
            estimate.candidate,
            estimate.difference,
            estimate.low,
            estimate.high,
            world.true_difference()
        );
    }
}
