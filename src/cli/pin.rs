//! `pullgate pin`: turns tags into `tag@digest` and keeps comments and layout (contract 4).

use super::inputs::{AT_ONCE, Options};
use super::{DENIED, WRONG, say, tell};
use crate::config::values;
use crate::engine::Gate;
use crate::image::escape;
use crate::manifests::{Keep, Manifests, Text, replace};
use crate::pin::{Outcome, Stand, apart, is_asked, outcome, reduce};
use crate::plan::Admission;
use crate::policy::Requester;
use crate::report::diff::unified;
use crate::report::text::Colour;
use crate::runtime::Depth;
use crate::verdict::answer::{Answer, Judged};
use crate::verdict::message::{explain, object_of, shown, user_of};
use crate::verdict::{Cause, Finding, Judgement};
use crate::workload::ImageUse;
use crate::yaml::{self, Addition};
use anyhow::bail;
use clap::builder::FalseyValueParser;
use futures_util::{StreamExt as _, stream};
use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

/// The end of the `--help` text.
const MORE: &str = "\
Each image that has a tag gets the digest that its registry has for the tag now: nginx:1.25 becomes nginx:1.25@sha256:..., and nginx \
becomes nginx:latest@sha256:... . Nothing else is changed, not a byte; what has a digest keeps it.

Of files a diff is printed; --write writes them. Standard input (-f -) is printed with the digests.

Exit codes: 0 everything is pinned; 1 something could not be pinned, or was not where only a diff is printed; 2 the command was wrong, or \
something could not be read or written.";

/// Options of `pin`.
#[derive(Debug, clap::Args)]
#[command(after_help = MORE)]
pub struct Args {
    #[command(flatten)]
    inputs: Options,
    /// Write the files instead of printing the changes
    #[arg(long, env = "PULLGATE_WRITE", value_parser = FalseyValueParser::new())]
    write: bool,
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

/// Where the result goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Prints what would change in the files.
    Show(Colour),
    /// Writes the files.
    Write,
    /// From standard input to standard output.
    Through,
}

/// Runs the command.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        mut inputs,
        write,
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
    let plain = no_color.is_some_and(|value| !value.is_empty()) || !std::io::stdout().is_terminal();
    let way = match (from_input, write) {
        (true, _) => Way::Through,
        (false, true) => Way::Write,
        (false, false) => Way::Show(if plain { Colour::None } else { Colour::Ansi }),
    };
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    // Whether the other parts of an image exist is for `check` to say.
    let mut inputs = inputs.read(&namespace, Admission::StillToCome, Some(Depth::Manifest), Keep::Texts(apart))?;
    let mut manifests = std::mem::take(&mut inputs.manifests);
    let end = Instant::now() + deadline;
    let (gate, said) = inputs.gate(end, deadline).await?;
    let found = ask(&gate, &mut manifests, end).await;
    let mut report = Report {
        errors: manifests.errors.iter().map(ToString::to_string).collect(),
        ..Report::default()
    };
    report.apart(&manifests);
    for (at, text) in manifests.texts.iter().enumerate() {
        let here: Vec<&Found> = found.iter().filter(|found| found.text == at).collect();
        report.text(text, &here, way);
    }
    let written = say(&report.printed);
    for note in &report.notes {
        // Standard error is closed: there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{note}");
    }
    for sentence in said.iter().chain(&manifests.notes.summary()).chain(&report.errors) {
        tell(sentence);
    }
    let _ = writeln!(std::io::stderr(), "{}", report.count.sentence(way));
    written?;
    Ok(ExitCode::from(report.code(way)))
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
    /// As written.
    image: String,
    outcome: Outcome,
    judged: Option<Judged>,
}

/// Asks for the images of every file.
async fn ask(gate: &Gate, manifests: &mut Manifests, end: Instant) -> Vec<Found> {
    let subjects = &mut manifests.subjects;
    let images: Vec<Vec<(ImageUse, Stand)>> = subjects.iter_mut().map(|subject| reduce(&mut subject.workload)).collect();
    let nobody = Requester::default();
    let answers: Vec<Answer> = stream::iter(&*subjects)
        .map(|subject| gate.judge(&subject.workload, &nobody, end))
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut found = Vec::new();
    for ((subject, images), answer) in subjects.iter().zip(images).zip(answers) {
        let mut judged = answer.images.into_iter();
        for (image, stand) in images {
            let judged = if is_asked(&stand) { judged.next() } else { None };
            found.push(Found {
                text: subject.text,
                document: subject.source.document,
                path: subject.path_of(image.path.as_str()),
                line: subject.line_of(image.path.as_str()),
                user: format!("{}, {}", object_of(&subject.workload.object), user_of(&image)),
                outcome: outcome(&image, &stand, judged.as_ref(), answer.exempt.as_ref()),
                image: image.image,
                judged,
            });
        }
    }
    found
}

/// What to print.
#[derive(Debug, Default)]
struct Report {
    count: Count,
    /// For standard output.
    printed: String,
    /// For standard error, about images; some have several lines.
    notes: Vec<String>,
    /// What could not be read or written, one sentence each.
    errors: Vec<String>,
}

/// How many images had each outcome.
#[derive(Debug, Default)]
struct Count {
    pinned: usize,
    before: usize,
    skipped: usize,
    failed: usize,
}

impl Count {
    /// `4 images: 2 pinned, 1 before, 1 skipped, 0 could not be pinned`
    fn sentence(&self, way: Way) -> String {
        let Self {
            pinned,
            before,
            skipped,
            failed,
        } = self;
        let all = pinned + before + skipped + failed;
        let noun = if all == 1 { "image" } else { "images" };
        let now = match way {
            Way::Show(_) => "to pin",
            Way::Write | Way::Through => "pinned now",
        };
        format!("{all} {noun}: {pinned} {now}, {before} pinned before, {skipped} skipped, {failed} could not be pinned")
    }
}

impl Report {
    /// Adds notes where names and tags are in separate fields.
    fn apart(&mut self, manifests: &Manifests) {
        for marked in &manifests.marked {
            self.notes.push(format!(
                "{}: {} has the name and the tag in separate fields; pin only edits whole names, so add the digest yourself",
                place(&marked.file, marked.line),
                escape(&marked.path)
            ));
        }
    }

    /// Pins the images `found` in a text.
    fn text(&mut self, text: &Text, found: &[&Found], way: Way) {
        let mut pinned: Vec<(&Found, Addition)> = Vec::new();
        for found in found {
            let note = |what: &str| {
                format!(
                    "{}: {}: {} {what}",
                    place(&text.file, found.line),
                    found.user,
                    shown(&found.image)
                )
            };
            match &found.outcome {
                Outcome::Pin(addition) => {
                    let addition = Addition {
                        document: found.document,
                        path: found.path.clone(),
                        value: found.image.clone(),
                        text: addition.clone(),
                    };
                    pinned.push((found, addition));
                }
                Outcome::Pinned(now) => {
                    self.count.before += 1;
                    if let Some(now) = now {
                        self.notes.push(note(&format!("unchanged; its tag now resolves to {now}")));
                    }
                }
                Outcome::Left(why) => {
                    self.count.skipped += 1;
                    self.notes.push(note(&format!("skipped: {why}")));
                }
                Outcome::Failed => {
                    self.count.failed += 1;
                    let mut note = note("could not be pinned");
                    findings(&mut note, found, |finding| finding.cause != Cause::DigestRequired);
                    self.notes.push(note);
                }
            }
        }
        let after = self.edit(text, &pinned, way);
        if way == Way::Through {
            self.printed.push_str(after.as_deref().unwrap_or(&text.text));
        }
    }

    /// Edits a text, and its file. Returns the new text.
    fn edit(&mut self, text: &Text, pinned: &[(&Found, Addition)], way: Way) -> Option<String> {
        if pinned.is_empty() {
            return None;
        }
        let file = escape(&text.file);
        let parsed = yaml::manifests(&text.text);
        if !parsed.errors.is_empty() {
            self.count.failed += pinned.len();
            self.notes
                .push(format!("{file}: not changed, because part of it cannot be read"));
            return None;
        }
        let additions: Vec<Addition> = pinned.iter().map(|(_, addition)| addition.clone()).collect();
        let edited = match yaml::append(&text.text, &parsed, &additions) {
            Ok(edited) => edited,
            Err(mismatch) => {
                self.count.failed += pinned.len();
                let place = place(&text.file, mismatch.line);
                let note = format!("{place}: adding the digests would change what this document means; the file is not changed");
                self.notes.push(note);
                return None;
            }
        };
        let mut done = Vec::new();
        for (at, (found, addition)) in pinned.iter().enumerate() {
            let head = format!("{}: {}: {}", place(&text.file, found.line), found.user, shown(&found.image));
            if let Some((_, why)) = edited.left.iter().find(|(left, _)| *left == at) {
                self.count.failed += 1;
                self.notes
                    .push(format!("{head} could not be pinned: {why}\n    fix: {}", why.fix()));
                continue;
            }
            done.push(format!("{head} -> {}{}\n", shown(&found.image), addition.text));
            let mut note = format!("{head} is pinned, but:");
            findings(&mut note, found, crate::pin::is_reservation);
            if note.contains('\n') {
                self.notes.push(note);
            }
        }
        if done.is_empty() {
            return None;
        }
        match (way, &text.path) {
            (Way::Show(colour), _) => self.printed.push_str(&unified(&text.file, &text.text, &edited.text, colour)),
            (Way::Through, _) | (Way::Write, None) => {}
            (Way::Write, Some(path)) => {
                if let Err(why) = replace(path, &text.text, &edited.text) {
                    self.count.failed += done.len();
                    self.errors.push(format!("{file} was not written: {why}"));
                    return None;
                }
                self.printed.push_str(&done.concat());
            }
        }
        self.count.pinned += done.len();
        Some(edited.text)
    }

    fn code(&self, way: Way) -> u8 {
        let open = match way {
            Way::Show(_) => self.count.pinned,
            Way::Write | Way::Through => 0,
        };
        if !self.errors.is_empty() {
            WRONG
        } else if self.count.failed + open > 0 {
            DENIED
        } else {
            0
        }
    }
}

/// `k8s/api.yaml:23`
fn place(file: &str, line: usize) -> String {
    format!("{}:{line}", escape(file))
}

/// Adds findings below a note.
fn findings(note: &mut String, found: &Found, tells: impl Fn(&Finding) -> bool) {
    let judgement = found.judged.as_ref().map(|judged| &judged.judgement);
    for (finding, decision) in judgement
        .into_iter()
        .flat_map(Judgement::ruled)
        .filter(|(finding, _)| tells(finding))
    {
        explain(note, finding, decision, "    ");
    }
}
