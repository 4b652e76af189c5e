//! Shell completions and man pages, generated from the command line by clap's own crates.

use super::{Cli, print};
use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Options of `man`.
#[derive(Debug, clap::Args)]
pub struct Pages {
    /// A folder to write a page for each command into; without it, the first page is printed
    folder: Option<PathBuf>,
}

/// Prints a shell's completions.
pub fn completions(args: &Completions) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pullgate", &mut text);
    print(&String::from_utf8(text).context("the completions are not UTF-8 text")?)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints or writes man pages.
pub fn pages(args: &Pages) -> anyhow::Result<ExitCode> {
    let Some(folder) = &args.folder else {
        let mut text = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut text)?;
        print(&String::from_utf8(text).context("the page is not UTF-8 text")?)?;
        return Ok(ExitCode::SUCCESS);
    };
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder).with_context(|| format!("{} cannot be written to", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
