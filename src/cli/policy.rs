//! `pullgate policy`: for policy authors. Only `explain` and `try` may ask registries and a cluster.

mod explain;
mod export;
mod preview;
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
    /// Explain how policies treat images, rule by rule, and end in the verdict of `check`.
    Explain(Box<explain::Args>),
    /// Say what policies would deny of what exists, before anyone applies them. Changes nothing.
    Try(Box<preview::Args>),
    /// Export name rules in a form that the API server can enforce itself.
    Export(export::Args),
}

/// The policies.
#[derive(Debug, clap::Args)]
struct Places {
    /// A folder of policy files, or one file
    #[arg(value_name = "DIR", required = true)]
    places: Vec<PathBuf>,
    /// The settings file, whose `workloads` policies may name
    #[arg(long, value_name = "F")]
    config: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Validate(places) => validate::run(&places),
        Command::Test(args) => test::run(&args),
        Command::Explain(args) => explain::run(*args).await,
        Command::Try(args) => preview::run(*args).await,
        Command::Export(args) => export::run(&args),
    }
}

/// `1 policy`, `2 policies`.
fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
