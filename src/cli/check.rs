//! `pullgate check`: the same engine in CI (contract 4).

mod accept;
mod entry;
mod forms;
mod gather;
pub(super) mod live;
mod progress;
mod wait;

use super::bare_image::bare_image;
use super::inputs::{AT_ONCE, Ahead, Options, load_cluster_policies, taken};
use super::{DENIED, WRONG, eprint};
use crate::config::project::{self, Project};
use crate::config::values;
use crate::engine::Gate;
use crate::files;
use crate::image::{Pattern, escape};
use crate::limits;
use crate::manifests::{Keep, ManifestObject, Note, Rendering};
use crate::plan::Admission;
use crate::providers::changed_since;
use crate::report::text::{Colour, Detail};
use crate::report::{Problem, Report, plain};
use crate::runtime::Depth;
use crate::verdict::review_result::Judged;
use crate::workload::Workload;
use accept::{Accepting, Baseline};
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use forms::{FailOn, Form, Format, Forms};
pub(super) use gather::drop_absent_controllers;
use gather::{add, all_are_private, keep_changed, noted};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wait::Bounds;

/// Options of `check`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the command line")]
pub struct Args {
    #[command(flatten)]
    inputs: Options,
    /// An image (repeatable)
    #[arg(long, value_name = "REF", env = "PULLGATE_IMAGE")]
    image: Vec<String>,
    /// The service account under which each --image is pulled [default: default]
    #[arg(long, value_name = "NAME", env = "PULLGATE_SERVICE_ACCOUNT")]
    service_account: Option<String>,
    /// A pull secret of each --image (repeatable)
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "PULLGATE_PULL_SECRET")]
    pull_secret: Vec<String>,
    /// The namespace of objects that name none, and of --image [default: default]; with --live, the only one to check
    #[arg(long, short = 'n', value_name = "NS", env = "PULLGATE_NAMESPACE")]
    namespace: Option<String>,
    /// Set: no colour
    #[arg(long, env = "NO_COLOR", hide = true)]
    no_color: Option<OsString>,
    /// Where GitHub takes the summary of a job
    #[arg(long, env = "GITHUB_STEP_SUMMARY", hide = true)]
    github_step_summary: Option<PathBuf>,
    /// Render the charts and overlays in the folders (helm, and kustomize or kubectl, in PATH), and check the output. Uses no network
    #[arg(long, env = "PULLGATE_RENDER", value_parser = clap::builder::FalseyValueParser::new())]
    render: bool,
    /// Build the kustomization in this folder, and check the output (repeatable)
    #[arg(short = 'k', long, value_name = "DIR", env = "PULLGATE_KUSTOMIZE")]
    kustomize: Vec<String>,
    /// Check what exists in the cluster, as if it were created now. Changes nothing
    // Conflicts are checked below: to clap, a variable set to `false` is a flag that was given.
    #[arg(long, env = "PULLGATE_LIVE", value_parser = clap::builder::FalseyValueParser::new())]
    live: bool,
    /// Report format: text, json, sarif, junit, github, gitlab, markdown or html; with =FILE into that file (repeatable) [default: text]
    #[arg(
        short = 'o',
        long,
        value_name = "FORMAT[=FILE]",
        value_delimiter = ',',
        env = "PULLGATE_OUTPUT"
    )]
    output: Vec<Form>,
    /// Report only what is denied
    #[arg(short = 'q', long, env = "PULLGATE_QUIET", value_parser = clap::builder::FalseyValueParser::new())]
    quiet: bool,
    /// When to exit with 1
    #[arg(long, value_enum, default_value_t = FailOn::Deny, env = "PULLGATE_FAIL_ON")]
    fail_on: FailOn,
    /// How much to check: indexes and manifests; also configs; also layers [default: the settings file's, else manifest]
    #[arg(long, value_enum, env = "PULLGATE_DEPTH")]
    depth: Option<How>,
    /// Only judge objects in files that differ from this commit, or from the point where this branch left it
    #[arg(long, value_name = "COMMIT", env = "PULLGATE_SINCE")]
    since: Option<String>,
    /// Accept the findings in this file
    #[arg(long, value_name = "FILE", env = "PULLGATE_BASELINE")]
    baseline: Option<PathBuf>,
    /// Write the findings of this run into a file for --baseline, and exit with 0
    #[arg(long, value_name = "FILE", env = "PULLGATE_WRITE_BASELINE")]
    write_baseline: Option<PathBuf>,
    /// Accept nothing: neither the baseline nor comments (`# pullgate: ignore CAUSE because …`)
    #[arg(long, env = "PULLGATE_NO_EXCEPTIONS", value_parser = clap::builder::FalseyValueParser::new())]
    no_exceptions: bool,
    /// Accept that these images do not exist yet, such as `registry.corp/shop/**` (repeatable)
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', value_parser = Pattern::parse, env = "PULLGATE_EXPECT_MISSING")]
    expect_missing: Vec<Pattern>,
    /// Keep asking for this long while images do not exist yet
    #[arg(long, value_name = "TIME", value_parser = values::duration, env = "PULLGATE_WAIT")]
    wait: Option<Duration>,
    /// Time limit for the whole run; with --live, for each object [default: none; see --silence and --timeout]
    #[arg(long, value_parser = values::duration, env = "PULLGATE_DEADLINE")]
    deadline: Option<Duration>,
    /// Without --deadline: stop when nothing answers for this long
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = values::duration, env = "PULLGATE_SILENCE")]
    silence: Duration,
    /// Without --deadline: stop after this long
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = values::duration, env = "PULLGATE_TIMEOUT")]
    timeout: Duration,
}

/// Whether a text is a value of `-o`.
pub(super) fn is_form(text: &str) -> bool {
    text.parse::<Form>().is_ok()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum How {
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

/// Objects are judged, and added to the report, in batches of this size.
const BATCH: usize = 4096;

/// How long to wait for a cluster, and with `--live` for each object, without `--deadline`.
const USUAL_DEADLINE: Duration = Duration::from_secs(30);

/// Runs the command. `verbose`: how often `-v` was given.
pub async fn run(args: Args, verbose: u8) -> anyhow::Result<ExitCode> {
    let Done {
        report,
        forms,
        said,
        code,
    } = check(args, verbose).await?;
    let written = forms.write(&report);
    for sentence in &said {
        eprint(sentence);
    }
    written?;
    Ok(ExitCode::from(code))
}

#[derive(Debug)]
struct Done {
    report: Report,
    /// How it is written.
    forms: Forms,
    /// For standard error, one sentence each.
    said: Vec<String>,
    code: u8,
}

async fn check(mut args: Args, verbose: u8) -> anyhow::Result<Done> {
    args.inputs.gather_places();
    if !args.live {
        let project = read_project(Path::new(project::NAME))?;
        let alone = args.image.is_empty() && args.kustomize.is_empty();
        if alone || !args.inputs.files.is_empty() {
            args.inputs.take_project(&project);
        }
        if args.output.is_empty() {
            let forms = project.output.iter().map(|form| {
                form.parse()
                    .map_err(|why: String| anyhow::anyhow!("{}: {why}", project::NAME))
            });
            args.output = forms.collect::<anyhow::Result<_>>()?;
        }
        if args.baseline.is_none() && args.write_baseline.is_none() {
            args.baseline = project.baseline.as_ref().map(PathBuf::from);
        }
    }
    let Args {
        mut inputs,
        image,
        service_account,
        pull_secret,
        namespace,
        no_color,
        github_step_summary,
        render: render_all,
        kustomize,
        live,
        output,
        quiet,
        fail_on,
        depth,
        since,
        baseline,
        write_baseline,
        no_exceptions,
        expect_missing,
        wait,
        deadline,
        silence,
        timeout,
    } = args;
    if live && !inputs.cluster {
        bail!("--live checks what exists in a cluster: add --cluster");
    }
    let rendering = Rendering {
        all: render_all,
        overlays: kustomize,
    };
    let nothing = inputs.files.is_empty() && image.is_empty() && rendering.overlays.is_empty();
    if live && (inputs.recursive || rendering.all || !nothing) {
        bail!("--live checks what exists in the cluster: it cannot be combined with -f, -k, -R, --render or --image");
    }
    if nothing && !live {
        bail!("nothing to check: give manifests with -f FILE|DIR|-, images with --image REF, or use --cluster --live");
    }
    if live && inputs.complete {
        bail!("--complete is for manifests: it cannot be combined with --live");
    }
    if live && (wait.is_some() || since.is_some()) {
        bail!("--wait and --since are for manifests and images: they cannot be combined with --live");
    }
    if output.iter().filter(|form| form.file.is_none()).count() > 1 {
        bail!("only one report goes to standard output: give the others a file, as -o sarif=report.sarif");
    }
    let baseline = match baseline.filter(|_| !no_exceptions) {
        Some(file) => Some(Baseline::read(&file)?),
        None => None,
    };
    let changed = match &since {
        Some(reference) => Some(changed_since(reference).await.map_err(|why| anyhow::anyhow!("{why}"))?),
        None => None,
    };
    let only = namespace.clone();
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let admission = if live { Admission::HasRun } else { Admission::StillToCome };
    inputs.ours = output
        .iter()
        .filter_map(|form| form.file.clone())
        .chain(write_baseline.clone())
        .collect();
    let begun = Instant::now();
    let bounds = Bounds {
        end: begun + deadline.unwrap_or(timeout),
        silence: deadline.unwrap_or(silence),
    };
    inputs.early = (!live).then(|| Ahead {
        until: bounds.end,
        changed: changed.clone(),
    });
    let mut inputs = inputs
        .read(&namespace, admission, depth.map(Depth::from), Keep::Objects, &rendering)
        .await?;
    let mut manifests = std::mem::take(&mut inputs.manifests);
    // Reading files does not count against the time limit.
    let begun = Instant::now();
    let bounds = Bounds {
        end: begun + deadline.unwrap_or(timeout),
        ..bounds
    };
    let usual = deadline.unwrap_or(USUAL_DEADLINE);
    let mut report = Report::default();
    let mut said;
    if live {
        said = std::mem::take(&mut inputs.said);
        let (engine, store, cluster, remark) = inputs.cluster().await?;
        said.extend(remark);
        // Existing objects are checked one by one, each with its own time limit.
        let end = begun + usual;
        let kinds = Arc::clone(&engine.load().settings.kinds);
        let (_, remarks) = tokio::join!(cluster.wait_synced(end), load_cluster_policies(&cluster, &kinds, &store, end));
        eprint(&taken(&cluster, &store).await);
        let inventory = cluster.inventory(&engine.load().settings.kinds, only.as_deref()).await;
        let inventory = inventory.map_err(|why| anyhow::anyhow!("{why}"))?;
        let found = live::judge(&Gate::new(engine, store.clone(), cluster), inventory, &store, usual).await;
        manifests
            .errors
            .extend(remarks.into_iter().chain(found.problems).map(Problem::from));
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
        report.entries = found.entries;
    } else {
        if let Some(changed) = &changed {
            keep_changed(&mut manifests, changed);
        }
        let remarks;
        let gate;
        (gate, remarks) = inputs.gate(begun + usual, usual).await?;
        said = remarks;
        drop_absent_controllers(&mut manifests.subjects);
        let lone: Vec<Workload> = image
            .iter()
            .map(|image| bare_image(image, &namespace, service_account.as_deref(), &pull_secret))
            .collect();
        let subjects = std::mem::take(&mut manifests.subjects);
        let all = subjects.len() + lone.len();
        // An object is dropped once it is judged, but `--wait` needs all of them at the same time.
        let batch = if wait.is_some() { usize::MAX } else { BATCH };
        let images = subjects.iter().flat_map(|subject| &subject.workload.templates);
        report.entries.reserve_exact(images.map(|template| template.uses.len()).sum());
        let mut subjects = subjects.into_iter();
        let (mut bounds, mut judged) = (bounds, 0);
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date().to_string();
        let accepting = Accepting {
            today: (!no_exceptions).then_some(today.as_str()),
            missing: &expect_missing,
            baseline: baseline.as_ref(),
        };
        while judged < all {
            let some: Vec<ManifestObject> = subjects.by_ref().take(batch).collect();
            let lone = if subjects.len() == 0 { lone.as_slice() } else { &[] };
            let workloads: Vec<&Workload> = some.iter().map(|subject| &subject.workload).chain(lone).collect();
            let mut answers = wait::judge(&gate, &workloads, &mut bounds, (judged, all)).await;
            if let Some(time) = wait {
                let accepted = |at: usize, judged: &Judged| accepting.causes(some.get(at), judged);
                wait::wait(
                    &gate,
                    &workloads,
                    &mut answers,
                    begun + time,
                    bounds.silence,
                    accepted,
                    eprint,
                )
                .await;
            }
            judged += workloads.len();
            let mut answers = answers.into_iter();
            for (subject, answer) in some.iter().zip(answers.by_ref()) {
                let expired = add(&mut report, Some(subject), answer, accepting.today);
                said.extend(
                    expired
                        .into_iter()
                        .map(|why| format!("{}: {why}", escape(plain(&subject.source.file)))),
                );
            }
            for answer in answers {
                add(&mut report, None, answer, None);
            }
        }
        if report.entries.is_empty() && report.skipped.is_empty() {
            said.push(match &since {
                Some(since) => format!(
                    "no file that changed since {} has an image: nothing was checked",
                    escape(since)
                ),
                None => "there is no image in the input: nothing was checked".to_owned(),
            });
        } else if all_are_private(&report.entries) {
            let sentence = "every image needs a credential, and none given here works: nothing was checked; log in (docker \
                            login), or give the pull secrets (--facts)";
            said.push(sentence.to_owned());
        }
    }
    for entry in &mut report.entries {
        accept::missing(entry, &expect_missing);
    }
    if let Some(file) = &write_baseline {
        let known = Baseline::of(&report.entries);
        std::fs::write(file, known.text()?).with_context(|| format!("{} cannot be written", file.display()))?;
        let many = known.len();
        said.push(format!(
            "{many} {} in {}; check --baseline {} accepts them",
            if many == 1 { "finding is" } else { "findings are" },
            file.display(),
            file.display()
        ));
    }
    if let Some(baseline) = &baseline {
        let stale = baseline.accept(&mut report.entries);
        // If only some files were checked, nobody knows what became of the findings in the others.
        if stale > 0 && changed.is_none() {
            let gone = if stale == 1 {
                "finding of the baseline is"
            } else {
                "findings of the baseline are"
            };
            said.push(format!("{stale} {gone} gone: write it again with --write-baseline"));
        }
    }
    report.notes = manifests.notes.iter().map(noted).collect();
    report.problems = std::mem::take(&mut manifests.errors);
    if verbose > 0 {
        said.extend(manifests.notes.iter().map(Note::sentence));
    } else if !quiet {
        said.extend(manifests.notes.summary());
    }
    let plain_text = no_color.is_some_and(|value| !value.is_empty()) || !std::io::stdout().is_terminal();
    let usual = || Form {
        format: Format::Text,
        file: None,
    };
    let forms = Forms {
        all: if output.is_empty() { vec![usual()] } else { output },
        colour: if plain_text { Colour::None } else { Colour::Ansi },
        detail: match (quiet, verbose) {
            (true, _) => Detail::Failures,
            (false, 0) => Detail::Usual,
            (false, _) => Detail::Everything,
        },
        fail_on,
        summary: github_step_summary,
    };
    let objected = report.entries.iter().any(|entry| fail_on.objects(entry));
    let code = if !report.problems.is_empty() {
        WRONG
    } else if objected && write_baseline.is_none() {
        DENIED
    } else {
        0
    };
    if forms.all.iter().all(|form| form.file.is_some()) {
        said.push(report.tally().sentence());
    }
    said.extend(report.problems.iter().map(ToString::to_string));
    Ok(Done {
        report,
        forms,
        said,
        code,
    })
}

/// What the repository's own file says, if there is one.
fn read_project(file: &Path) -> anyhow::Result<Project> {
    if !file.is_file() {
        return Ok(Project::default());
    }
    let bytes = files::read(file, limits::SETTINGS_FILE).with_context(|| format!("{} cannot be read", file.display()))?;
    let project = Project::read(&String::from_utf8_lossy(&bytes));
    let project = project.map_err(|why| anyhow::anyhow!("{}: {why}", file.display()))?;
    if let Some(path) = project.leads_out(Path::new(".")) {
        bail!("{}: {path:?} is a link that leads out of the repository", file.display());
    }
    Ok(project)
}
