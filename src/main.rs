//! The `lorank` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    lorank_cli::main()
}
