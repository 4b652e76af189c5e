//! `pullgate pin`: turns tags into `tag@digest` and keeps comments and layout (contract 4).

mod edits;
mod outcome;

use super::inputs::{AT_ONCE, Options};
use super::{eprint, print};
use crate::config::values;
use crate::engine::Gate;
use crate::image::Digest;
use crate::manifests::{Keep, Manifests, Rendering};
use crate::pin::{Outcome, Stand, is_asked, outcome, reduce};
use crate::plan::Admission;
use crate::policy::Requester;
use crate::report::text::Colour;
use crate::runtime::Depth;
use crate::verdict::message::{object_of, user_of};
use crate::verdict::review_result::{Judged, ReviewResult};
use crate::workload::ImageUse;
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use clap::builder::FalseyValueParser;
use edits::Report;
use futures_util::{StreamExt as _, stream};
use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

/// The end of the `--help` text.
const MORE: &str = "Each image that has a tag gets the digest that its registry has for the tag now: nginx:1.25 becomes \
nginx:1.25@sha256:..., and nginx becomes nginx:latest@sha256:... . In kustomize's images and in a chart's values the digest goes \
into its own field. No other byte changes. An image that has a digest keeps it, unless --refresh moves it to where its tag \
points now.

For files, pin prints a diff; --write changes the files. Standard input (-f -) is printed with the digests.

Exit codes: 0 everything is pinned; 1 something could not be pinned, or the printed diff is not empty; 2 the command was wrong, \
or something could not be read or written.";

/// Options of `pin`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    inputs: Options,
    /// Write the files instead of printing the changes
    #[arg(long, env = "PULLGATE_WRITE", value_parser = FalseyValueParser::new())]
    write: bool,
    /// Also move digests to where their tags point now
    #[arg(long, env = "PULLGATE_REFRESH", value_parser = FalseyValueParser::new())]
    refresh: bool,
    /// What goes to standard output
    #[arg(short = 'o', long, value_enum, default_value_t = Format::Text, env = "PULLGATE_OUTPUT")]
    output: Format,
    /// The namespace of objects that name none [default: default]
    #[arg(long, short = 'n', value_name = "NS", env = "PULLGATE_NAMESPACE")]
    namespace: Option<String>,
    /// Set: no colour
    #[arg(long, env = "NO_COLOR", hide = true)]
    no_color: Option<OsString>,
    /// Time limit for the whole run
    #[arg(long, default_value = "30s", value_parser = values::duration, env = "PULLGATE_DEADLINE")]
    deadline: Duration,
}

/// The form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The diff; with --write the images
    Text,
    /// pullgate.dev/pin/v1: every image with what was done
    Json,
}

/// Where the result goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Destination {
    /// Prints what would change in the files.
    Diff(Colour),
    /// Writes the files.
    Files,
    /// From standard input to standard output.
    Stdout,
}

/// Runs the command.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        mut inputs,
        write,
        refresh,
        output,
        namespace,
        no_color,
        deadline,
    } = args;
    inputs.gather_places();
    if inputs.files.is_empty() {
        bail!("nothing to pin: give manifests with -f FILE|DIR|-");
    }
    let from_input = inputs.files.iter().any(|file| file == "-");
    if from_input && inputs.files.len() > 1 {
        bail!("standard input goes to standard output: use -f - alone");
    }
    if from_input && write {
        bail!("standard input goes to standard output: --write works on files only");
    }
    if from_input && output == Format::Json {
        bail!("standard input goes to standard output: -o json works on files only");
    }
    let plain = no_color.is_some_and(|value| !value.is_empty()) || !std::io::stdout().is_terminal();
    let to = match (from_input, write) {
        (true, _) => Destination::Stdout,
        (false, true) => Destination::Files,
        (false, false) => Destination::Diff(if plain { Colour::None } else { Colour::Ansi }),
    };
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    // Whether the other parts of an image exist is for `check` to say.
    let nothing = Rendering::default();
    let inputs = inputs.read(
        &namespace,
        Admission::StillToCome,
        Some(Depth::Manifest),
        Keep::Texts,
        &nothing,
    );
    let mut inputs = inputs.await?;
    let mut manifests = std::mem::take(&mut inputs.manifests);
    let end = Instant::now() + deadline;
    let (gate, said) = inputs.gate(end, deadline).await?;
    let mut found = ask(&gate, &mut manifests, end).await;
    if refresh {
        found.iter_mut().for_each(Found::refresh);
    }
    let mut report = Report::new(manifests.errors.iter().map(ToString::to_string).collect());
    for (at, text) in manifests.texts.iter().enumerate() {
        let here: Vec<&Found> = found.iter().filter(|found| found.text == at).collect();
        report.text(text, &here, to);
    }
    let written = match output {
        Format::Text => print(&report.printed),
        Format::Json => {
            let text = serde_json::to_string_pretty(&report.written()).context("the result cannot be written as JSON")?;
            print(&format!("{text}\n"))
        }
    };
    for note in &report.notes {
        // Standard error is closed: there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{note}");
    }
    for sentence in said.iter().chain(&manifests.notes.summary()).chain(&report.errors) {
        eprint(sentence);
    }
    let _ = writeln!(std::io::stderr(), "{}", report.count.sentence(to));
    written?;
    Ok(ExitCode::from(report.code(to)))
}

/// An image, and its outcome.
#[derive(Debug)]
struct Found {
    /// The index of its text in the manifests' texts.
    text: usize,
    document: usize,
    /// Its path in the document.
    path: String,
    line: usize,
    /// `Deployment shop/api, container api`.
    user: String,
    /// As written; if name and tag are in separate fields, the image that they make together.
    image: String,
    /// Whether name and tag are in separate fields: only the author knows whether such fields make an image.
    apart: bool,
    /// The digest that it has.
    before: Option<Digest>,
    outcome: Outcome,
    judged: Option<Judged>,
}

impl Found {
    /// Moves the digest to where the tag points now.
    fn refresh(&mut self) {
        if let (Outcome::Pinned(Some(now)), Some(before)) = (&self.outcome, &self.before) {
            self.outcome = Outcome::Move(before.clone(), now.clone());
        }
    }
}

/// Asks for the images of every file.
async fn ask(gate: &Gate, manifests: &mut Manifests, end: Instant) -> Vec<Found> {
    let subjects = &mut manifests.subjects;
    let images: Vec<Vec<(ImageUse, Stand)>> = subjects.iter_mut().map(|subject| reduce(&mut subject.workload)).collect();
    let nobody = Requester::default();
    let results: Vec<ReviewResult> = stream::iter(&*subjects)
        .map(|subject| gate.judge(&subject.workload, &nobody, end))
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut found = Vec::new();
    for ((subject, images), result) in subjects.iter().zip(images).zip(results) {
        let mut judged = result.images.into_iter();
        for (image, stand) in images {
            let judged = if is_asked(&stand) { judged.next() } else { None };
            found.push(Found {
                text: subject.text,
                document: subject.source.document,
                path: subject.path_of(image.path.as_str()),
                line: subject.line_of(image.path.as_str()),
                user: format!("{}, {}", object_of(&subject.workload.object), user_of(&image)),
                outcome: outcome(&image, &stand, judged.as_ref(), result.exempt.as_ref()),
                before: match stand {
                    Stand::Pinned(digest) => Some(digest),
                    Stand::Open | Stand::Fixed | Stand::Elsewhere(_) => None,
                },
                // An entry of kustomize's `images` certainly is an image.
                apart: subject.apart && !image.path.as_str().starts_with("images["),
                image: image.image,
                judged,
            });
        }
    }
    found
}
