//! The `lorank` command.

use std::process::ExitCode;

/// Gives memory back to the system some seconds after it was freed, whichever thread freed it.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    lorank_cli::main()
}
