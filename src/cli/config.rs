//! `pullgate config`: for whoever writes the settings. Nothing here contacts a registry or a cluster.

use super::{DENIED, say};
use crate::config::{Frontend, Settings};
use crate::registry;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Report every problem of a settings file, and of the nodes' files that it names
    Validate(Validate),
}

#[derive(Debug, clap::Args)]
struct Validate {
    /// The settings file
    #[arg(value_name = "FILE", env = "PULLGATE_CONFIG")]
    config: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Command::Validate(Validate { config }) = &args.command;
    let lines: Vec<String> = match Settings::read(config) {
        Err(error) => error.to_string().lines().map(str::to_owned).collect(),
        Ok(settings) => registry::faults(&settings.registry(Frontend::Check)),
    };
    for line in &lines {
        say(&format!("{line}\n"))?;
    }
    if lines.is_empty() {
        say(&format!("{}: no problems\n", config.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let problems = if lines.len() == 1 { "problem" } else { "problems" };
    say(&format!("{} {problems}\n", lines.len()))?;
    Ok(ExitCode::from(DENIED))
}
