//! `pullgate certs generate`: certificates for development.

use crate::server::tls::{self, Generated};
use anyhow::{Context, bail};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How long a development certificate is valid.
const LIFETIME: Duration = Duration::from_hours(365 * 24);

/// Arguments of `certs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Generate a CA and a server certificate signed by it: ca.crt, tls.crt and tls.key. The CA's own key is discarded.
    Generate(GenerateArgs),
}

#[derive(Debug, clap::Args)]
struct GenerateArgs {
    /// A DNS name or IP address for the certificate (repeatable).
    #[arg(long = "dns", value_name = "NAME", required = true, num_args = 1.., value_delimiter = ',', env = "PULLGATE_DNS")]
    names: Vec<String>,
    /// The folder for the files; created if missing.
    #[arg(long, value_name = "DIR", env = "PULLGATE_OUT")]
    out: PathBuf,
    /// Overwrite existing files.
    #[arg(long, env = "PULLGATE_FORCE", value_parser = clap::builder::FalseyValueParser::new())]
    force: bool,
}

/// Who may read a file.
#[derive(Debug, Clone, Copy)]
enum Readers {
    Everyone,
    Owner,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Generate(args) => generate(args),
    }
}

fn generate(args: GenerateArgs) -> anyhow::Result<ExitCode> {
    let GenerateArgs { names, out, force } = args;
    let Generated { ca, certificate, key } = tls::generate(&names, LIFETIME)?;
    let files = [
        ("ca.crt", ca, Readers::Everyone),
        ("tls.crt", certificate, Readers::Everyone),
        ("tls.key", key, Readers::Owner),
    ];
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create the folder {}", out.display()))?;
    // Checked before any file is written: half a set is worse than none.
    let present = files
        .iter()
        .map(|(name, ..)| out.join(name))
        .find(|path| path.symlink_metadata().is_ok());
    if let (Some(path), false) = (present, force) {
        bail!("{} already exists; use --force to overwrite it", path.display());
    }
    let mut said = std::io::stdout().lock();
    for (name, content, readers) in files {
        let path = out.join(name);
        write(&path, &content, readers).with_context(|| format!("cannot write {}", path.display()))?;
        // If standard output is closed, the files are written anyway.
        let _ = writeln!(said, "{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a temporary file and renames it, so that no reader sees half a file and an old file's wider permissions do not survive.
fn write(path: &Path, content: &str, readers: Readers) -> std::io::Result<()> {
    let mode = match readers {
        Readers::Everyone => 0o644,
        Readers::Owner => 0o600,
    };
    let temporary = path.with_extension("new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

/// Writes the CA of `serve --tls-dev` to `folder`, so that clients can trust it.
pub(super) fn write_ca(folder: &Path, ca: &str) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
    let path = folder.join("ca.crt");
    write(&path, ca, Readers::Everyone).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
