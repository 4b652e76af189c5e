//! The command line: one file a command.
//!
//! Exit codes: 0 nothing to object to, 1 something is denied, 2 the command was wrong or its input unreadable (clap's own code for
//! usage errors, too).

pub mod certs;
pub mod check;
pub mod demo;
mod engine;
mod given;
pub mod pin;
mod policies;
pub mod policy;
pub mod schema;
pub mod serve;

use crate::telemetry::log;
use clap::builder::Resettable;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsStr;
use std::io::Write;
use std::process::ExitCode;

/// Would a node be able to pull the images of this object, and if not, why?
#[derive(Debug, Parser)]
#[command(name = "pullgate", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    log: LogArgs,
    #[command(subcommand)]
    command: Command,
}

/// What is logged, and how.
#[derive(Debug, clap::Args)]
struct LogArgs {
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value_t, env = "PULLGATE_LOG_FORMAT")]
    log_format: log::Format,
    /// Which events are logged, as `info,pullgate=debug`; `-v` is ignored then.
    #[arg(long, global = true, value_name = "FILTER", env = "PULLGATE_LOG")]
    log: Option<String>,
    /// Log more; twice for still more.
    #[arg(short, long, global = true, action = ArgAction::Count, env = "PULLGATE_VERBOSE")]
    verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Answer admission reviews over HTTPS.
    Serve(Box<serve::Args>),
    /// Judge manifests and images, as the webhook would.
    Check(Box<check::Args>),
    /// Write the digests of images behind their tags.
    Pin(Box<pin::Args>),
    /// Check, explain and test policies.
    Policy(policy::Args),
    /// Print the JSON Schema of what pullgate reads or writes.
    Schema(schema::Args),
    /// Make certificates for development.
    Certs(certs::Args),
    /// Show the gate at work: a sample registry and real reviews, in one process.
    Demo(demo::Args),
}

/// The exit code when something is denied.
const DENIED: u8 = 1;

/// The exit code of a wrong command or unreadable input.
const WRONG: u8 = 2;

impl Cli {
    /// Reads the command line and what is set by variables; a wrong one ends the process. A variable that is empty is as good as none.
    pub fn read() -> Self {
        let mut command = without_empty(Self::command(), &|name| {
            std::env::var_os(name).is_some_and(|value| value.is_empty())
        });
        let matches = command.get_matches_mut();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
    }

    /// Runs the command to its end.
    pub async fn run(self) -> ExitCode {
        let Self { log: options, command } = self;
        let LogArgs {
            log_format,
            log: filter,
            verbose,
        } = options;
        let quiet = !matches!(command, Command::Serve(_)) && verbose == 0;
        let usual = if quiet {
            "error,rustls_platform_verifier=off"
        } else {
            log::default_filter(verbose)
        };
        let filter = filter.as_deref().unwrap_or(usual);
        if let Err(why) = log::start(log_format, filter) {
            return complain(&why);
        }
        let ended = match command {
            Command::Serve(args) => serve::run(*args).await,
            Command::Check(args) => check::run(*args).await,
            Command::Pin(args) => pin::run(*args).await,
            Command::Policy(args) => policy::run(args),
            Command::Schema(args) => schema::run(&args),
            Command::Certs(args) => certs::run(args),
            Command::Demo(args) => demo::run(args).await,
        };
        ended.unwrap_or_else(|error| complain(&format!("{error:#}")))
    }
}

/// The command, where no argument of it or of its own commands takes the variables that are empty.
fn without_empty(command: clap::Command, is_empty: &dyn Fn(&OsStr) -> bool) -> clap::Command {
    command
        .mut_args(|arg| match arg.get_env() {
            Some(name) if is_empty(name) => arg.env(Resettable::Reset),
            Some(_) | None => arg,
        })
        .mut_subcommands(|command| without_empty(command, is_empty))
}

/// Says on standard error what was wrong with the command or its input; the exit code for that.
pub fn complain(why: &str) -> ExitCode {
    tell(why);
    ExitCode::from(WRONG)
}

/// Says something beside the result on standard error.
fn tell(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "pullgate: {text}");
}

/// Prints a command's result on standard output.
///
/// # Errors
/// When it cannot be written (a full disk): what was found must not pass for nothing.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // A reader that went away (`| head`) needs no more of it.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("the result cannot be written to standard output"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// Every option of a command, those of its own commands too.
    fn options(command: &clap::Command) -> Vec<&clap::Arg> {
        let own = command.get_arguments().filter(|arg| !arg.is_hide_set());
        own.chain(command.get_subcommands().flat_map(options)).collect()
    }

    #[test]
    fn every_option_can_be_set_by_a_variable_of_its_name() {
        let cli = Cli::command();
        let mut seen = 0;
        // `policy` is asked by hand: what is set for `check` must not turn up there.
        for command in cli.get_subcommands().filter(|command| command.get_name() != "policy") {
            for arg in options(command).into_iter().chain(cli.get_arguments()) {
                let Some(long) = arg.get_long().filter(|long| !matches!(*long, "help" | "version")) else {
                    continue;
                };
                let expect = format!("PULLGATE_{}", long.replace('-', "_").to_uppercase());
                assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(expect.as_str()), "--{long}");
                seen += 1;
            }
        }
        assert!(seen > 40, "{seen}");
    }

    #[test]
    fn a_variable_that_is_empty_is_as_good_as_none() {
        let set = |empty: &dyn Fn(&OsStr) -> bool| {
            let command = without_empty(Cli::command(), empty);
            let all = options(&command);
            all.iter().filter(|arg| arg.get_env().is_some()).count()
        };
        assert!(set(&|_| false) > 40);
        assert_eq!(set(&|_| true), 0);
        assert_eq!(set(&|name| name != "PULLGATE_LOG"), 1);
    }
}
