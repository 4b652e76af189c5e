//! The command line: one file per command.
//!
//! Exit codes: 0 no objections, 1 something is denied, 2 a wrong command or unreadable input (also clap's own code for usage
//! errors).

mod bare_image;
pub mod certs;
pub mod check;
pub mod config;
pub mod demo;
mod early;
mod engine;
pub mod explain;
mod inputs;
mod node_pools;
mod openshift;
pub mod pin;
mod policies;
pub mod policy;
pub mod schema;
pub mod serve;
pub mod shell;

use crate::telemetry::log;
use clap::builder::Resettable;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

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
    /// Log format.
    #[arg(long, global = true, value_enum, default_value_t, env = "PULLGATE_LOG_FORMAT")]
    log_format: log::Format,
    /// Log filter, such as `info,pullgate=debug`; overrides `-v`.
    #[arg(long, global = true, value_name = "FILTER", env = "PULLGATE_LOG")]
    log: Option<String>,
    /// Log more; repeat for even more. To `check`, the first one means a longer report.
    #[arg(short, long, global = true, action = ArgAction::Count, env = "PULLGATE_VERBOSE")]
    verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    /// Answer admission reviews over HTTPS.
    Serve(Box<serve::Args>),
    /// Check manifests and images as the webhook would.
    Check(Box<check::Args>),
    /// Show everything that is asked and answered for one image.
    Explain(Box<explain::Args>),
    /// Add digests to the tags of images.
    Pin(Box<pin::Args>),
    /// Check, explain and test policies.
    Policy(Box<policy::Args>),
    /// Check settings files, and find entries for them.
    Config(config::Args),
    /// Print the JSON Schema of an input or output format.
    Schema(schema::Args),
    /// Generate certificates for development.
    Certs(certs::Args),
    /// Print the version.
    Version,
    /// Print completions for a shell.
    Completions(shell::Completions),
    /// Print the man page, or write those of all commands.
    Man(shell::Pages),
    /// See pullgate at work: a sample registry and real reviews, in one process.
    Demo(demo::Args),
}

/// How long to wait at the end for the log to be read.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The exit code when something is denied.
const DENIED: u8 = 1;

/// The exit code of a wrong command or unreadable input.
const WRONG: u8 = 2;

impl Cli {
    /// Parses the command line and its environment variables; exits on errors. An empty variable counts as unset.
    pub fn read() -> Self {
        let mut command = without_unset_env(Self::command(), &|arg, name| {
            std::env::var_os(name).is_some_and(|value| value.is_empty() || is_for_check(arg, &value))
        });
        // kubectl runs a program of that name as `kubectl pullgate`.
        let called = std::env::args_os().next();
        if called.is_some_and(|path| Path::new(&path).file_name() == Some(OsStr::new("kubectl-pullgate"))) {
            command = command.bin_name("kubectl pullgate");
        }
        let matches = command.get_matches_mut();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
    }

    /// Runs the command.
    pub async fn run(self) -> ExitCode {
        let Self { log: options, command } = self;
        let LogArgs {
            log_format,
            log: filter,
            verbose,
        } = options;
        // To `check`, the first `-v` is about the report.
        let verbose_log = match command {
            Command::Check(_) if verbose == 1 => 0,
            _ => verbose,
        };
        let quiet = !matches!(command, Command::Serve(_)) && verbose_log == 0;
        let usual = if quiet {
            "error,rustls_platform_verifier=off"
        } else {
            log::default_filter(verbose_log)
        };
        let filter = filter.as_deref().unwrap_or(usual);
        let delivery = match command {
            Command::Serve(_) => log::Delivery::Background,
            Command::Check(_)
            | Command::Explain(_)
            | Command::Pin(_)
            | Command::Version
            | Command::Completions(_)
            | Command::Man(_)
            | Command::Policy(_)
            | Command::Config(_)
            | Command::Schema(_)
            | Command::Certs(_)
            | Command::Demo(_) => log::Delivery::AtOnce,
        };
        if let Err(why) = log::start(log_format, filter, delivery) {
            return report_error(&why);
        }
        let ended = match command {
            Command::Serve(args) => serve::run(*args).await,
            Command::Check(args) => check::run(*args, verbose).await,
            Command::Explain(args) => explain::run(*args).await,
            Command::Pin(args) => pin::run(*args).await,
            Command::Completions(args) => shell::completions(&args),
            Command::Man(args) => shell::pages(&args),
            Command::Version => print(concat!("pullgate ", env!("CARGO_PKG_VERSION"), "\n")).map(|()| ExitCode::SUCCESS),
            Command::Policy(args) => policy::run(*args).await,
            Command::Config(args) => config::run(args).await,
            Command::Schema(args) => schema::run(&args),
            Command::Certs(args) => certs::run(args),
            Command::Demo(args) => demo::run(args).await,
        };
        log::flush_pending(LAST_LINES);
        ended.unwrap_or_else(|error| report_error(&format!("{error:#}")))
    }
}

/// The command and its subcommands, whose arguments no longer read environment variables that count as unset.
fn without_unset_env(command: clap::Command, is_unset: &dyn Fn(&clap::Arg, &OsStr) -> bool) -> clap::Command {
    command
        .mut_args(|arg| match arg.get_env() {
            Some(name) if is_unset(&arg, name) => arg.env(Resettable::Reset),
            Some(_) | None => arg,
        })
        .mut_subcommands(|command| without_unset_env(command, is_unset))
}

/// Whether the value of `PULLGATE_OUTPUT` names formats that only `check` has: a pipeline sets it once, and runs other commands too.
fn is_for_check(arg: &clap::Arg, value: &OsStr) -> bool {
    let own = arg.get_possible_values();
    let Some(text) = value
        .to_str()
        .filter(|_| arg.get_env() == Some(OsStr::new("PULLGATE_OUTPUT")))
    else {
        return false;
    };
    let is_own = own.iter().any(|known| known.matches(text, false));
    !own.is_empty() && !is_own && text.split(',').all(check::is_form)
}

/// Reports an error on standard error; returns the exit code for it.
pub fn report_error(why: &str) -> ExitCode {
    eprint(why);
    ExitCode::from(WRONG)
}

/// Prints something besides the result on standard error.
fn eprint(text: &str) {
    // Standard error is closed: there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "pullgate: {text}");
}

/// Prints a command's result on standard output.
///
/// # Errors
/// If it cannot be written (a full disk): a finding must not get lost.
fn print(text: &str) -> anyhow::Result<()> {
    print_by(|out| out.write_all(text.as_bytes()))
}

/// The same for a result that is written bit by bit.
fn print_by(write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout());
    match write(&mut out).and_then(|()| out.flush()) {
        // A reader that has gone (`| head`) needs nothing more.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
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

    /// All options of a command and its subcommands.
    fn options(command: &clap::Command) -> Vec<&clap::Arg> {
        let own = command.get_arguments().filter(|arg| !arg.is_hide_set());
        own.chain(command.get_subcommands().flat_map(options)).collect()
    }

    #[test]
    fn every_option_can_be_set_by_a_variable_of_its_name() {
        let cli = Cli::command();
        let mut seen = 0;
        // `policy` is for interactive use: a variable set for `check` must not affect it.
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
            let command = without_unset_env(Cli::command(), &|_, name| empty(name));
            let all = options(&command);
            all.iter().filter(|arg| arg.get_env().is_some()).count()
        };
        assert!(set(&|_| false) > 40);
        assert_eq!(set(&|_| true), 0);
        assert_eq!(set(&|name| name != "PULLGATE_LOG"), 1);
    }

    #[test]
    fn a_form_of_check_in_the_variable_is_nothing_to_commands_without_it() {
        let left = |value: &str| {
            let command = without_unset_env(Cli::command(), &|arg, _| is_for_check(arg, OsStr::new(value)));
            let has = |name: &str| {
                let command = command.find_subcommand(name).unwrap();
                let output = command.get_arguments().find(|arg| arg.get_long() == Some("output"));
                output.unwrap().get_env().is_some()
            };
            ["check", "pin", "explain"].map(has)
        };
        assert_eq!(left("github"), [true, false, false]);
        assert_eq!(left("text,sarif=a.sarif"), [true, false, false]);
        assert_eq!(left("json"), [true, true, true]);
        assert_eq!(left("nonsense"), [true, true, true], "that is a mistake everywhere");
    }
}
