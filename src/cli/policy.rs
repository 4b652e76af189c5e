//! `pullgate policy`: for people who write policies. Nothing here asks a registry or a cluster.

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
    /// Find everything that is wrong with policies and their tests, with file, line and column.
    Validate(Places),
    /// Run the tests (kind: `ImagePolicyTest`) that lie beside policies.
    Test(test::Args),
    /// Say what policies make of an image, rule by rule.
    Explain(explain::Args),
    /// Write the rules on names in a form that the API server holds by itself.
    Export(export::Args),
}

/// Where policies are.
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
