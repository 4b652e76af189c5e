//! `pullgate check`: the same engine in CI (DESIGN 4).

mod live;

use super::{DENIED, WRONG, engine, policies, say, tell};
use crate::cluster::{Cluster, Completeness, Directory};
use crate::config::values;
use crate::config::{self, Face, Live, Shelf};
use crate::gate::Gate;
use crate::image::{Platform, escape};
use crate::manifests::{Manifests, Walk};
use crate::plan::{Admission, Platforms};
use crate::policy::Requester;
use crate::providers::StandsFor;
use crate::registry::{Depth, Proxy};
use crate::report::{Entry, Source, github, json, junit, sarif, text};
use crate::telemetry::Metrics;
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
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Objects that are judged at the same time.
const AT_ONCE: usize = 32;

/// Options of `check`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Args {
    /// A manifest file, a folder of them, or `-` for standard input (repeatable)
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR|-", env = "PULLGATE_FILE")]
    files: Vec<String>,
    /// Look into the folders of a folder too
    #[arg(short = 'R', long, env = "PULLGATE_RECURSIVE", value_parser = clap::builder::FalseyValueParser::new())]
    recursive: bool,
    /// An image (repeatable)
    #[arg(long, value_name = "REF", env = "PULLGATE_IMAGE")]
    image: Vec<String>,
    /// Judge for these platforms, whatever the nodes are (repeatable) [default: the given Nodes', else linux/amd64]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_delimiter = ',', env = "PULLGATE_PLATFORM")]
    platform: Vec<String>,
    /// The namespace of objects that name none, and of --image [default: default]; with --live, the only one that is judged
    #[arg(long, short = 'n', value_name = "NS", env = "PULLGATE_NAMESPACE")]
    namespace: Option<String>,
    /// The given Secrets and `ServiceAccounts` are all there are: what is not among them is missing
    #[arg(long, env = "PULLGATE_COMPLETE", value_parser = clap::builder::FalseyValueParser::new())]
    complete: bool,
    /// The settings file
    #[arg(long, value_name = "F", env = "PULLGATE_CONFIG")]
    config: Option<PathBuf>,
    /// A folder of policy files, or one file (repeatable)
    #[arg(long = "policies", value_name = "DIR", value_delimiter = ',', env = "PULLGATE_POLICIES")]
    policy_files: Vec<PathBuf>,
    /// A folder with a docker config.json, as the node-level keyring [default: the usual one of this user, as a stand-in]
    #[arg(long, value_name = "DIR", env = "PULLGATE_DOCKER_CONFIG")]
    docker_config: Option<PathBuf>,
    /// Where docker keeps this user's config
    #[arg(long, env = "DOCKER_CONFIG", hide = true)]
    usual_docker_config: Option<PathBuf>,
    /// The proxy for https, as programs have it from the environment; the settings file's stands before it
    #[arg(long, env = "HTTPS_PROXY", hide = true, hide_env_values = true)]
    https_proxy: Option<OsString>,
    /// The same in lower case
    #[arg(long, env = "https_proxy", hide = true, hide_env_values = true)]
    https_proxy_lower: Option<OsString>,
    /// Hosts that are reached without the proxy
    #[arg(long, env = "NO_PROXY", hide = true)]
    no_proxy: Option<OsString>,
    /// The same in lower case
    #[arg(long, env = "no_proxy", hide = true)]
    no_proxy_lower: Option<OsString>,
    /// Set: no colour
    #[arg(long, env = "NO_COLOR", hide = true)]
    no_color: Option<OsString>,
    /// This user's home
    #[arg(long, env = "HOME", hide = true)]
    home: Option<PathBuf>,
    /// Take facts and policies from the cluster of the kubeconfig; the given manifests stand before its objects
    #[arg(long, env = "PULLGATE_CLUSTER", value_parser = clap::builder::FalseyValueParser::new())]
    cluster: bool,
    /// Judge what exists in the cluster, as if it were created now. Changes nothing
    // What goes with it is checked below: to clap, a variable that says `false` is a flag that was given.
    #[arg(long, env = "PULLGATE_LIVE", value_parser = clap::builder::FalseyValueParser::new())]
    live: bool,
    /// The kubeconfig's context [default: its current one]
    #[arg(long, value_name = "C", env = "PULLGATE_CONTEXT")]
    context: Option<String>,
    /// The kubeconfig [default: the usual one]
    #[arg(long, value_name = "F", env = "PULLGATE_KUBECONFIG", hide_env_values = true)]
    kubeconfig: Option<PathBuf>,
    /// How to print the report
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text, env = "PULLGATE_OUTPUT")]
    output: Output,
    /// When to exit with 1
    #[arg(long, value_enum, default_value_t = FailOn::Deny, env = "PULLGATE_FAIL_ON")]
    fail_on: FailOn,
    /// How far to look: into indexes and manifests, into configs, for every layer [default: the settings file's, else manifest]
    #[arg(long, value_enum, env = "PULLGATE_DEPTH")]
    depth: Option<How>,
    /// Time for the whole run; with --live, for each object
    #[arg(long, default_value = "30s", value_parser = values::duration, env = "PULLGATE_DEADLINE")]
    deadline: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For machines: pullgate.dev/report/v1
    Json,
    /// SARIF 2.1.0, for code scanners' dashboards
    Sarif,
    /// `JUnit` XML, for CI systems that list test results
    Junit,
    /// Workflow commands, which GitHub shows at the lines of a change
    Github,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    /// The index or manifest, and the config of a single manifest
    Manifest,
    /// And the manifests and configs that the nodes would fetch of an index
    Config,
    /// And whether their layers are there
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
    /// Something is denied or warned of
    Warn,
    /// Something is denied, or could not be found out
    Unknown,
}

/// Runs it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Done { report, said, code } = check(args).await?;
    let written = say(&report);
    for sentence in &said {
        tell(sentence);
    }
    written?;
    Ok(ExitCode::from(code))
}

/// What came of it.
#[derive(Debug)]
struct Done {
    /// For standard output.
    report: String,
    /// For standard error, a sentence each.
    said: Vec<String>,
    /// The exit code.
    code: u8,
}

async fn check(args: Args) -> anyhow::Result<Done> {
    let Args {
        files,
        recursive,
        image,
        platform,
        namespace,
        complete,
        config,
        policy_files,
        docker_config,
        usual_docker_config,
        home,
        https_proxy,
        https_proxy_lower,
        no_proxy,
        no_proxy_lower,
        no_color,
        cluster,
        live,
        context,
        kubeconfig,
        output,
        fail_on,
        depth,
        deadline,
    } = args;
    match (live, cluster) {
        (true, false) => bail!("--live judges what exists in a cluster: add --cluster"),
        (false, false) if context.is_some() => bail!("--context names a cluster of the kubeconfig: add --cluster"),
        (true, true) if recursive || !files.is_empty() || !image.is_empty() => {
            bail!("--live judges what exists in the cluster: it does not go with -f, -R and --image");
        }
        (true | false, _) => {}
    }
    if files.is_empty() && image.is_empty() && !live {
        bail!("nothing to check: name manifests by -f FILE|DIR|- or images by --image REF, or take --cluster --live");
    }
    if live && complete {
        bail!("--complete is about given manifests: it does not go with --live");
    }
    let only = namespace.clone();
    let namespace = namespace.unwrap_or_else(|| "default".to_owned());
    let mut said = Vec::new();
    let mut settings = match &config {
        Some(file) => config::Settings::read(file)?,
        None => config::Settings::default(),
    };
    if settings.proxy.is_none() {
        let given = |upper: Option<OsString>, lower: Option<OsString>| {
            let text = upper.filter(|text| !text.is_empty()).or(lower).unwrap_or_default();
            text.to_string_lossy().into_owned()
        };
        let (proxy, remark) = proxy(&given(https_proxy, https_proxy_lower), &given(no_proxy, no_proxy_lower));
        settings.proxy = proxy;
        said.extend(remark);
    }
    let shelf = Shelf::default();
    shelf.set_files(policies::load_some(&policy_files)?);
    let usual_folder = usual_docker_config.or_else(|| home.map(|home| home.join(".docker")));
    let walk = if recursive { Walk::Recursive } else { Walk::Flat };
    let mut manifests = Manifests::read(&files, walk, &namespace);
    let completeness = if complete {
        Completeness::Complete
    } else {
        Completeness::Partial
    };
    let directory = Directory::from_objects(manifests.objects.iter().map(|manifest| &manifest.object), completeness);

    // What the API server would refuse must not pass for a secret that is not there.
    for rejected in directory.rejected() {
        let file = manifests
            .objects
            .get(rejected.object)
            .map_or("-", |manifest| &manifest.source.file);
        let error = format!("{}: {}", escape(file), escape(&rejected.why));
        manifests.errors.push(error);
    }

    if let Some(depth) = depth {
        settings.depth = depth.into();
    }
    let metrics = Metrics::new();
    let admission = if live { Admission::HasRun } else { Admission::StillToCome };
    let mut engine = engine::build(&settings, Face::Check, admission, &metrics)?;
    if let Some(platforms) = platforms(&platform)? {
        engine.settings.platforms = Platforms::Exactly(platforms);
    } else if engine.settings.platforms == Platforms::Guess && !cluster {
        let usual = Platform {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            ..Platform::default()
        };
        engine.settings.platforms = Platforms::Default(vec![usual]);
    }
    match docker_config {
        Some(folder) => {
            let engine::UserConfig { entries, helpers } = engine::UserConfig::of_folder(&folder)?;
            engine.settings.docker_config = Arc::new(entries);
            engine.providers = engine.providers.with_helpers(helpers, StandsFor::TheNodes);
        }
        // A user's own login proves nothing about a cluster, or a set that is said to be everything.
        None if complete || cluster => {}
        None => {
            let engine::UserConfig { entries, helpers } = engine::UserConfig::usual(usual_folder);
            engine.settings.stand_in = Arc::new(entries);
            engine.providers = engine.providers.with_helpers(helpers, StandsFor::TheUnseen);
        }
    }
    let end = Instant::now() + deadline;
    let engine = Live::new(engine);
    let entries = if cluster {
        let cluster = engine::connect(kubeconfig, context, &settings).await?;
        // A cluster that does not answer leaves the registries their half. What exists is judged object by object, each in its own time.
        let known = if live { end } else { end - deadline / 2 };
        let (_, remarks) = tokio::join!(cluster.wait_synced(known), take_policies(&cluster, &shelf, known));
        if live {
            let inventory = cluster.inventory(&engine.load().settings.kinds, only.as_deref()).await;
            let inventory = inventory.map_err(|why| anyhow::anyhow!("{why}"))?;
            let found = live::judge(&Gate::new(engine, shelf.clone(), cluster), inventory, &shelf, deadline).await;
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
            found.entries
        } else {
            // Not this user's to mend, and not what was asked for: a word, and no error.
            said.extend(remarks);
            let gate = Gate::new(engine, shelf, Cluster::layered(directory, cluster));
            judge_given(&gate, &manifests, &image, &namespace, end).await
        }
    } else {
        judge_given(
            &Gate::new(engine, shelf, Cluster::from(directory)),
            &manifests,
            &image,
            &namespace,
            end,
        )
        .await
    };
    let no_colour = no_color.is_some_and(|value| !value.is_empty());
    let report = render(&entries, &manifests.errors, output, fail_on, no_colour)?;
    let code = code(&entries, fail_on, &manifests.errors);
    said.append(&mut manifests.errors);
    Ok(Done { report, said, code })
}

/// Puts the cluster's policies on the shelf. Returns what is to be said of them.
async fn take_policies(cluster: &Cluster, shelf: &Shelf, deadline: Instant) -> Vec<String> {
    let listed = tokio::time::timeout_at(deadline, cluster.policies()).await;
    let listed = listed.unwrap_or_else(|_| Err("the cluster's ImagePolicies could not be read in time".to_owned()));
    match listed {
        Ok(listed) => {
            shelf.set_cluster(listed.policies);
            listed.problems
        }
        Err(why) => vec![format!("{why}; what they say is not in this report")],
    }
}

async fn judge_given(gate: &Gate, manifests: &Manifests, images: &[String], namespace: &str, deadline: Instant) -> Vec<Entry> {
    let mut entries = judge_manifests(gate, manifests, deadline).await;
    entries.extend(judge_images(gate, images, namespace, deadline).await);
    entries
}

/// The proxy of the environment, and what is to be said of it. One that cannot be used is no fault of the command: it is there for all
/// programs, and may be of a kind (SOCKS) that some know. Registries that it is not for are reached.
fn proxy(url: &str, exceptions: &str) -> (Option<Proxy>, Option<String>) {
    if url.trim().is_empty() {
        return (None, None);
    }
    let exceptions: Vec<&str> = exceptions.split(',').collect();
    match Proxy::new(url, &exceptions) {
        Ok(proxy) => (Some(proxy), None),
        Err(why) => {
            let fault = format!("the proxy of HTTPS_PROXY cannot be used: {why}");
            let remark = format!("{fault}; registries behind it are not asked (proxy.https of the settings file stands before it)");
            (Some(Proxy::unusable(&fault, &exceptions)), Some(remark))
        }
    }
}

fn platforms(given: &[String]) -> anyhow::Result<Option<Vec<Platform>>> {
    if given.is_empty() {
        return Ok(None);
    }
    let parsed: Result<Vec<Platform>, String> = given.iter().map(|text| Platform::parse(text)).collect();
    parsed.map(Some).map_err(|why| anyhow::anyhow!("--platform: {why}"))
}

async fn judge_manifests(gate: &Gate, manifests: &Manifests, deadline: Instant) -> Vec<Entry> {
    let (subjects, nobody) = (manifests.subjects(&gate.kinds()), Requester::default());
    let answers: Vec<_> = stream::iter(&subjects)
        .map(|subject| gate.judge(&subject.workload, &nobody, deadline))
        .buffered(AT_ONCE)
        .collect()
        .await;
    subjects
        .iter()
        .zip(answers)
        .flat_map(|(subject, answer)| answer.images.into_iter().map(move |judged| (subject, judged)))
        .map(|(subject, judged)| Entry {
            source: Some(subject.manifest.source.clone()),
            line: Some(subject.manifest.line_of(judged.image.path.as_str())),
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

/// An image by itself, as a pod without secrets of its own would pull it.
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

/// Whether an image makes the command exit with 1.
fn objects(entry: &Entry, fail_on: FailOn) -> bool {
    let judgement = &entry.judged.judgement;
    judgement.verdict == Verdict::Deny
        || match fail_on {
            FailOn::Deny => false,
            FailOn::Warn => judgement.verdict == Verdict::Warn,
            FailOn::Unknown => judgement.outlook == Outlook::Unknown,
        }
}
