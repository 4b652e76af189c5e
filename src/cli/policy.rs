//! `pullgate policy`: for policy authors. Nothing here contacts a registry or a cluster.

mod explain;
mod export;
mod test;
mod validate;

use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `policy`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Report every problem of policies and their tests, with file, line and column.
    Validate(Places),
    /// Run the tests (kind: `ImagePolicyTest`) of policies.
    Test(test::Args),
    /// Explain how policies treat an image, rule by rule.
    Explain(explain::Args),
    /// Export name rules in a form that the API server can enforce itself.
    Export(export::Args),
}

/// The policies.
#[derive(Debug, clap::Args)]
struct Places {
    /// A folder of policy files, or one file
    #[arg(value_name = "DIR", required = true)]
    places: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Validate(places) => validate::run(&places.places),
        Command::Test(args) => test::run(&args),
        Command::Explain(args) => explain::run(args),
        Command::Export(args) => export::run(&args),
    }
}

/// `1 policy`, `2 policies`.
fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
