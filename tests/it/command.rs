//! Running the built program.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// The program in an empty folder of its own, with nothing of the developer's environment, and no network.
pub(crate) struct Lorank {
    pub folder: TempDir,
}

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_lorank");

impl Lorank {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::from_std(std_command(self.folder.path()));
        command.args(args);
        command
    }

    /// Standard output of a run that succeeds.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        self.run_with(args, "")
    }

    /// Standard output of a run that succeeds, given a standard input.
    pub(crate) fn run_with(&self, args: &[&str], stdin: &str) -> String {
        let output = self.command(args).write_stdin(stdin).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard output of a run that succeeds, as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(args)).unwrap()
    }

    /// Status and standard error of a run that does not succeed.
    pub(crate) fn fail(&self, args: &[&str], stdin: &str) -> (i32, String) {
        let output = self.command(args).write_stdin(stdin).assert().failure().get_output().clone();
        let code = output.status.code().expect("the program ended by itself");
        (code, String::from_utf8(output.stderr).unwrap())
    }
}

/// The program, to be started in a folder.
pub(crate) fn std_command(folder: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(PROGRAM);
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let others = ["LORANK_", "HF_", "OTEL_", "AWS_", "GOOGLE_", "AZURE_", "NO_COLOR", "CLICOLOR"];
        if others.iter().any(|start| name.starts_with(start)) {
            command.env_remove(&*name);
        }
    }
    command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", folder.join("hf")).env("XDG_DATA_HOME", folder.join("share"));
    // An S3 that is not there.
    command
        .env("AWS_ENDPOINT", "https://127.0.0.1:9")
        .env("AWS_ACCESS_KEY_ID", "id")
        .env("AWS_SECRET_ACCESS_KEY", "key");
    command
}
