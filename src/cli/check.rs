//! `pullgate check`: the same engine in CI (contract 4).

mod live;

use super::inputs::{AT_ONCE, Options, load_cluster_policies};
use super::{DENIED, WRONG, say, tell};
use crate::config::values;
use crate::engine::Gate;
use crate::manifests::{Keep, Manifests};
use crate::plan::Admission;
use crate::policy::Requester;
use crate::report::{Entry, Source, github, json, junit, sarif, text};
use crate::runtime::Depth;
use crate::verdict::answer::Judged;
use crate::verdict::{Outlook, Verdict};
use crate::workload::candidates::Scheduling;
use crate::workload::pod::{PodKind, PullPolicy};
use crate::workload::{FieldPath, ImageUse, Nature, ObjectId, PodNeeds, Role, Template, Workload};
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use futures_util::{StreamExt as _, stream};
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

/// Options of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    inputs: Options,
    /// An image (repeatable)
    #[arg(long, value_name = "REF", env = "PULLGATE_IMAGE")]
    image: Vec<String>,
    /// The namespace of objects that name none, and of --image [default: default]; with --live, the only one to check
    #[arg(long, short = 'n', value_name = "NS", env = "PULLGATE_NAMESPACE")]
    namespace: Option<String>,
    /// Set: no colour
    #[arg(long, env = "NO_COLOR", hide = true)]
    no_color: Option<OsString>,
    /// Check what exists in the cluster, as if it were created now. Changes nothing
    // Conflicts are checked below: to clap, a variable set to `false` is a flag that was given.
    #[arg(long, env = "PULLGATE_LIVE", value_parser = clap::builder::FalseyValueParser::new())]
    live: bool,
    /// Report format
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text, env = "PULLGATE_OUTPUT")]
    output: Output,
    /// When to exit with 1
    #[arg(long, value_enum, default_value_t = FailOn::Deny, env = "PULLGATE_FAIL_ON")]
    fail_on: FailOn,
    /// How much to check: indexes and manifests; also configs; also layers [default: the settings file's, else manifest]
    #[arg(long, value_enum, env = "PULLGATE_DEPTH")]
    depth: Option<How>,
    /// Time limit for the whole run; with --live, for each object
    #[arg(long, default_value = "30s", value_parser = values::duration, env = "PULLGATE_DEADLINE")]
    deadline: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For machines: pullgate.dev/report/v1
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// `JUnit` XML, for CI systems that list test results
    Junit,
    /// GitHub workflow commands, shown at the changed lines
    Github,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    /// The index or manifest, and the config of a single manifest
    Manifest,
    /// Also the manifests and configs that the nodes would fetch from an index
    Config,
    /// Also whether the layers exist
    Layers,
}

impl From<How> for Depth {
    fn from(how: How) -> Self {
        match how {
            How::Manifest => Self::Manifest,
            How::Config => Self::Config,
            How::Layers => Self::Layers,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Something is denied
    Deny,
    /// Something is denied or causes a warning
    Warn,
    /// Something is denied, or its outcome is unknown
    Unknown,
}

/// Runs the command.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Done { report, said, code } = check(args).await?;
    let written = say(&report);
    for sentence in &said {
        tell(sentence);
    }
    written?;
    Ok(ExitCode::from(code))
}

/// The result.
#[derive(Debug)]
struct Done {
    /// For standard output.
    report: String,
    /// For standard error, one sentence each.
    said: Vec<String>,
    /// The exit code.
    code: u8,
}

async fn check(args: Args) -> anyhow::Result<Done> {
    let Args {
        mut inputs,
        image,
        namespace,
        no_color,
        live,
        output,
        fail_on,
        depth,
        deadline,
    } = args;
    inputs.gather_places();
    if live && !inputs.cluster {
        bail!("--live checks what exists in a cluster: add --cluster");
    }
    if live && (inputs.recursive || !inputs.files.is_empty() || !image.is_empty()) {
        bail!("--live checks what exists in the cluster: it cannot be combined with -f, -R or --image");
    }
    if inputs.files.is_empty() && image.is_empty() && !live {
        bail!("nothing to check: give manifests with -f FILE|DIR|-, images with --image REF, or use --cluster --live");
    }
    if live && inputs.complete {
        bail!("--complete is for manifests: it cannot be combined with --live");
    }
    let only = namespace.clone();
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let admission = if live { Admission::HasRun } else { Admission::StillToCome };
    let mut inputs = inputs.read(&namespace, admission, depth.map(Depth::from), Keep::Objects)?;
    let mut manifests = std::mem::take(&mut inputs.manifests);
    let end = Instant::now() + deadline;
    let (entries, mut said) = if live {
        let mut said = std::mem::take(&mut inputs.said);
        let (engine, store, cluster) = inputs.cluster().await?;
        // Existing objects are checked one by one, each with its own time limit.
        let (_, remarks) = tokio::join!(cluster.wait_synced(end), load_cluster_policies(&cluster, &store, end));
        let inventory = cluster.inventory(&engine.load().settings.kinds, only.as_deref()).await;
        let inventory = inventory.map_err(|why| anyhow::anyhow!("{why}"))?;
        let found = live::judge(&Gate::new(engine, store.clone(), cluster), inventory, &store, deadline).await;
        manifests.errors.extend(remarks.into_iter().chain(found.problems));
        if found.exempt > 0 {
            said.push(format!(
                "{} exempt, by a label of the namespace or an annotation",
                if found.exempt == 1 {
                    "1 object is".to_owned()
                } else {
                    format!("{} objects are", found.exempt)
                }
            ));
        }
        (found.entries, said)
    } else {
        let (gate, said) = inputs.gate(end, deadline).await?;
        (judge_inputs(&gate, &manifests, &image, &namespace, end).await, said)
    };
    let no_colour = no_color.is_some_and(|value| !value.is_empty());
    let report = render(&entries, &manifests.errors, output, fail_on, no_colour)?;
    let code = code(&entries, fail_on, &manifests.errors);
    said.extend(manifests.notes.summary());
    said.append(&mut manifests.errors);
    Ok(Done { report, said, code })
}

async fn judge_inputs(gate: &Gate, manifests: &Manifests, images: &[String], namespace: &str, deadline: Instant) -> Vec<Entry> {
    let mut entries = judge_manifests(gate, manifests, deadline).await;
    entries.extend(judge_images(gate, images, namespace, deadline).await);
    entries
}

async fn judge_manifests(gate: &Gate, manifests: &Manifests, deadline: Instant) -> Vec<Entry> {
    let (subjects, nobody) = (&manifests.subjects, Requester::default());
    let answers: Vec<_> = stream::iter(subjects)
        .map(|subject| gate.judge(&subject.workload, &nobody, deadline))
        .buffered(AT_ONCE)
        .collect()
        .await;
    subjects
        .iter()
        .zip(answers)
        .flat_map(|(subject, answer)| answer.images.into_iter().map(move |judged| (subject, judged)))
        .map(|(subject, judged)| Entry {
            source: Some(subject.source.clone()),
            line: Some(subject.line_of(judged.image.path.as_str())),
            object: Some(subject.workload.object.clone()),
            judged,
        })
        .collect()
}

async fn judge_images(gate: &Gate, images: &[String], namespace: &str, deadline: Instant) -> Vec<Entry> {
    let subjects: Vec<Workload> = images.iter().map(|image| lone(image, namespace)).collect();
    let nobody = Requester::default();
    let answers: Vec<_> = stream::iter(&subjects)
        .map(|subject| gate.judge(subject, &nobody, deadline))
        .buffered(AT_ONCE)
        .collect()
        .await;
    answers
        .into_iter()
        .flat_map(|answer| answer.images)
        .map(|judged: Judged| Entry {
            source: None::<Source>,
            line: None,
            object: None,
            judged,
        })
        .collect()
}

/// A bare image, as a pod without secrets of its own would pull it.
fn lone(image: &str, namespace: &str) -> Workload {
    let needs = PodNeeds {
        pull_secrets: Vec::new(),
        service_account: "default".to_owned(),
        scheduling: Scheduling::default(),
    };
    let image = ImageUse {
        path: FieldPath::root(),
        name: String::new(),
        role: Role::Container,
        image: image.to_owned(),
        pull_policy: PullPolicy::default_for(image),
        unchanged: false,
    };
    Workload {
        object: ObjectId {
            namespace: namespace.to_owned(),
            ..ObjectId::default()
        },
        templates: vec![Template {
            kind: PodKind::Pod,
            needs,
            uses: vec![image],
            nature: Nature::default(),
            ran: Vec::new(),
        }],
        annotations: Vec::new(),
        controller: None,
    }
}

fn render(entries: &[Entry], errors: &[String], output: Output, fail_on: FailOn, no_colour: bool) -> anyhow::Result<String> {
    match output {
        Output::Json => json::render(entries).context("the report cannot be written as JSON"),
        Output::Sarif => sarif::render(entries, errors).context("the report cannot be written as SARIF"),
        Output::Junit => junit::render(entries, errors, |entry| objects(entry, fail_on))
            .map(|text| text + "\n")
            .context("the report cannot be written as JUnit XML"),
        Output::Github => Ok(github::render(entries, errors)),
        Output::Text => {
            let plain = no_colour || !std::io::stdout().is_terminal();
            Ok(text::render(
                entries,
                if plain { text::Colour::None } else { text::Colour::Ansi },
            ))
        }
    }
}

fn code(entries: &[Entry], fail_on: FailOn, errors: &[String]) -> u8 {
    if !errors.is_empty() {
        WRONG
    } else if entries.iter().any(|entry| objects(entry, fail_on)) {
        DENIED
    } else {
        0
    }
}

/// Whether an image leads to exit code 1.
fn objects(entry: &Entry, fail_on: FailOn) -> bool {
    let judgement = &entry.judged.judgement;
    judgement.verdict == Verdict::Deny
        || match fail_on {
            FailOn::Deny => false,
            FailOn::Warn => judgement.verdict == Verdict::Warn,
            FailOn::Unknown => judgement.outlook == Outlook::Unknown,
        }
}
