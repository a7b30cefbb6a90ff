//! The command line as a whole. Each command's own arguments stand beside the command.

use clap::{Parser, Subcommand};

use crate::commands::{
    adapters, bench, compare, completions, config, delete, experiments, health, index, info, key, rerank, score,
    search, serve,
};
#[cfg(feature = "starter")]
use crate::commands::{demo, notices};
use crate::logging::LogArgs;

/// Search and rerank: BM25 finds candidates, a cross-encoder with a LoRA adapter puts them in a better order
///
/// Every flag with a variable (LORANK_...) may be set in the environment instead. Models from the Hugging Face Hub are
/// fetched and kept as HF_HOME, HF_TOKEN, HF_HUB_OFFLINE and their like say.
#[derive(Debug, Parser)]
#[command(name = "lorank", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub log: LogArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[cfg(feature = "starter")]
    Demo(demo::DemoArgs),
    Index(index::IndexArgs),
    Delete(delete::DeleteArgs),
    Search(search::SearchArgs),
    Compare(compare::CompareArgs),
    Rerank(rerank::RerankArgs),
    Score(score::ScoreArgs),
    Serve(Box<serve::ServeArgs>),
    Adapters(adapters::AdaptersArgs),
    Experiments(experiments::ExperimentsArgs),
    Key(key::KeyArgs),
    Config(config::ConfigArgs),
    Health(health::HealthArgs),
    Bench(bench::BenchArgs),
    Info(info::InfoArgs),
    Completions(completions::CompletionsArgs),
    #[cfg(feature = "starter")]
    Notices(notices::NoticesArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
