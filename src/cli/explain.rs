//! `pullgate explain`: everything that is asked and answered for one image, runtime by runtime. Credentials are named, never shown.

mod conversation;

use super::bare_image::bare_image;
use super::inputs::Options;
use super::{DENIED, eprint, print};
use crate::config::values;
use crate::manifests::{Keep, Rendering};
use crate::plan::Admission;
use crate::policy::Requester;
use crate::report::text::{Colour, Detail};
use crate::report::{Entry, Report, json, text};
use crate::runtime::Depth;
use crate::verdict::Verdict;
use crate::verdict::review_result::Judged;
use anyhow::Context as _;
use clap::ValueEnum;
use conversation::Pulled;
use serde::Serialize;
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

/// Options of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    inputs: Options,
    /// The image
    #[arg(long, value_name = "REF", required = true, env = "PULLGATE_IMAGE")]
    image: String,
    /// The namespace of the pod [default: default]
    #[arg(long, short = 'n', value_name = "NS", env = "PULLGATE_NAMESPACE")]
    namespace: Option<String>,
    /// The service account of the pod [default: default]
    #[arg(long, value_name = "NAME", env = "PULLGATE_SERVICE_ACCOUNT")]
    service_account: Option<String>,
    /// A pull secret of the pod (repeatable)
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "PULLGATE_PULL_SECRET")]
    pull_secret: Vec<String>,
    /// How much to ask: manifest, config or layers [default: the settings file's, else manifest]
    #[arg(long, value_enum, env = "PULLGATE_DEPTH")]
    depth: Option<super::check::How>,
    /// The form
    #[arg(short = 'o', long, value_enum, default_value_t = Format::Text, env = "PULLGATE_OUTPUT")]
    output: Format,
    /// Time limit for the whole run
    #[arg(long, default_value = "30s", value_parser = values::duration, env = "PULLGATE_DEADLINE")]
    deadline: Duration,
}

/// The form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs: pullgate.dev/explain/v1
    Json,
}

/// The schema's name.
const VERSION: &str = "pullgate.dev/explain/v1";

/// Everything, for programs. The report is that of `check`.
#[derive(Debug, Serialize)]
struct Written {
    version: &'static str,
    image: String,
    reference: Option<String>,
    pulls: Vec<Pulled>,
    report: Value,
}

/// Runs the command.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        mut inputs,
        image,
        namespace,
        service_account,
        pull_secret,
        depth,
        output,
        deadline,
    } = args;
    inputs.gather_places();
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let end = Instant::now() + deadline;
    let nothing = Rendering::default();
    let read = inputs.read(
        &namespace,
        Admission::StillToCome,
        depth.map(Depth::from),
        Keep::Objects,
        &nothing,
    );
    let mut inputs = read.await?;
    let errors = std::mem::take(&mut inputs.manifests.errors);
    let (transcripts, pools) = (inputs.transcribe(), inputs.pools());
    let (gate, said) = inputs.gate(end, deadline).await?;
    let workload = bare_image(&image, &namespace, service_account.as_deref(), &pull_secret);
    let answer = gate.judge(&workload, &Requester::default(), end).await;
    let pulls: Vec<Pulled> = transcripts.all().iter().map(|pull| Pulled::of(pull, &pools)).collect();
    let denied = answer.images.iter().any(|judged| judged.judgement.verdict == Verdict::Deny);
    let reference = answer
        .images
        .first()
        .and_then(|judged| judged.reference.as_ref())
        .map(ToString::to_string);
    let report = Report {
        entries: answer.images.into_iter().map(entry).collect(),
        problems: errors,
        ..Report::default()
    };
    let printed = match output {
        Format::Text => {
            let mut out = conversation::text(&image, reference.as_deref(), &pulls);
            out.push_str(&text::render(&report, Colour::None, Detail::Everything, |_| false));
            out
        }
        Format::Json => {
            let written = Written {
                version: VERSION,
                image,
                reference,
                pulls,
                report: json::value(&report).context("the report cannot be written as JSON")?,
            };
            serde_json::to_string_pretty(&written).context("the result cannot be written as JSON")? + "\n"
        }
    };
    let written = print(&printed);
    said.iter()
        .chain(&report.problems.iter().map(ToString::to_string).collect::<Vec<_>>())
        .for_each(|sentence| eprint(sentence));
    written?;
    Ok(match (report.problems.is_empty(), denied) {
        (false, _) => ExitCode::from(super::WRONG),
        (true, true) => ExitCode::from(DENIED),
        (true, false) => ExitCode::SUCCESS,
    })
}

fn entry(judged: Judged) -> Entry {
    Entry {
        source: None,
        line: None,
        origin: None,
        object: None,
        judged,
        accepted: Vec::new(),
    }
}
