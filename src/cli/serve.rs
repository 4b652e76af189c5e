//! `pullgate serve`: wires the modules together and answers reviews until told to stop.

use super::{certs, engine, node_pools, openshift, policies};
use crate::cluster::{Cluster, ObjectNames, WatchedDirectory};
use crate::config::policies::watch_policy_files;
use crate::config::{Changed, Frontend, Live, PolicyStore, ReloadTrigger, Settings, values, watch_settings};
use crate::engine::Gate;
use crate::files;
use crate::limits;
use crate::plan::Admission;
use crate::registry;
use crate::server::tls::{self, Certificate, Clients, Generated, Lifetimes, Managed, Subject};
use crate::server::{self, Limits, Readiness, Reviewer, Server};
use crate::telemetry::{Metrics, PolicySource, log};
use crate::workload::Kinds;
use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long the certificate of `--tls-dev` is valid: it does not outlive the process anyway.
const DEV_LIFETIME: Duration = Duration::from_hours(30 * 24);

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address of the webhook port (HTTPS).
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8443", env = "PULLGATE_LISTEN")]
    listen: SocketAddr,
    /// Address of the port for /metrics, /healthz and /readyz (plain HTTP).
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8080",
        env = "PULLGATE_METRICS_LISTEN"
    )]
    metrics_listen: SocketAddr,
    /// The certificate to serve, with its chain (PEM); reloaded when it changes.
    #[arg(long, value_name = "FILE", env = "PULLGATE_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM); reloaded when it changes.
    #[arg(long, value_name = "FILE", env = "PULLGATE_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// Generate the certificate and its CA, keep them in a Secret, renew them, and keep the webhook registration's caBundle up to
    /// date.
    #[arg(long, env = "PULLGATE_TLS_SELF_MANAGED", value_parser = clap::builder::FalseyValueParser::new())]
    tls_self_managed: bool,
    /// With --tls-self-managed: the Secret [default: pullgate-tls].
    #[arg(long, value_name = "NAME", env = "PULLGATE_TLS_SECRET")]
    tls_secret: Option<String>,
    /// With --tls-self-managed: the namespace of the Secret and the Service [default: the pod's own].
    #[arg(long, value_name = "NAMESPACE", env = "PULLGATE_TLS_NAMESPACE")]
    tls_namespace: Option<String>,
    /// With --tls-self-managed: the Service that the API server calls [default: pullgate].
    #[arg(long, value_name = "NAME", env = "PULLGATE_TLS_SERVICE")]
    tls_service: Option<String>,
    /// With --tls-self-managed: the ValidatingWebhookConfiguration [default: pullgate].
    #[arg(long, value_name = "NAME", env = "PULLGATE_TLS_WEBHOOK_CONFIGURATION")]
    tls_webhook_configuration: Option<String>,
    /// With --tls-self-managed: more DNS names and IP addresses for the certificate, for webhooks registered by URL.
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "PULLGATE_TLS_DNS_NAME")]
    tls_dns_name: Vec<String>,
    /// With --tls-self-managed: the lifetime of a certificate, which is renewed after two thirds of it [default: 90d].
    #[arg(long, value_name = "DURATION", value_parser = values::duration, env = "PULLGATE_TLS_LIFETIME")]
    tls_lifetime: Option<Duration>,
    /// With --tls-self-managed: the lifetime of a CA, which is replaced after two thirds of it [default: 730d].
    #[arg(long, value_name = "DURATION", value_parser = values::duration, env = "PULLGATE_TLS_CA_LIFETIME")]
    tls_ca_lifetime: Option<Duration>,
    /// Serve a throwaway certificate for localhost and the loopback addresses. For development.
    #[arg(long, env = "PULLGATE_TLS_DEV", value_parser = clap::builder::FalseyValueParser::new())]
    tls_dev: bool,
    /// With --tls-dev: write the certificate's CA to DIR/ca.crt.
    #[arg(long, value_name = "DIR", env = "PULLGATE_TLS_DEV_OUT")]
    tls_dev_out: Option<PathBuf>,
    /// Only accept clients with a certificate of these CAs (PEM) on the webhook port; reloaded when it changes. The API server
    /// presents one only if configured to [default: accept everybody].
    #[arg(long, value_name = "FILE", env = "PULLGATE_TLS_CLIENT_CA")]
    tls_client_ca: Option<PathBuf>,
    /// The settings file (YAML); reloaded when it changes.
    #[arg(long, value_name = "FILE", env = "PULLGATE_CONFIG")]
    config: Option<PathBuf>,
    /// A folder of policy files, or one file; reloaded when they change (repeatable).
    #[arg(long, value_name = "DIR", value_delimiter = ',', env = "PULLGATE_POLICIES")]
    policies: Vec<PathBuf>,
    /// The kubeconfig of the cluster to read secrets, service accounts, nodes and namespaces from [default: the cluster it runs
    /// in].
    #[arg(long, value_name = "FILE", env = "PULLGATE_KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// Run without a cluster.
    #[arg(long, env = "PULLGATE_NO_CLUSTER", value_parser = clap::builder::FalseyValueParser::new())]
    no_cluster: bool,
    /// With --no-cluster: a folder of manifests (secrets, service accounts, nodes, namespaces) to use instead.
    #[arg(long, value_name = "DIR", env = "PULLGATE_FACTS")]
    facts: Option<PathBuf>,
    /// The longest that a review may take, even if the API server would wait longer.
    #[arg(long, value_name = "DURATION", default_value = "8s", value_parser = positive, env = "PULLGATE_DEADLINE")]
    deadline: Duration,
    /// How long to accept connections after SIGTERM, until the cluster routes reviews elsewhere; up to 6 s longer while some still
    /// arrive.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = values::duration, env = "PULLGATE_DRAIN_DELAY")]
    drain_delay: Duration,
}

fn positive(text: &str) -> Result<Duration, String> {
    values::duration(text).and_then(|duration| {
        if duration.is_zero() {
            Err("the deadline must be longer than zero".to_owned())
        } else {
            Ok(duration)
        }
    })
}

/// The source of the certificate.
#[derive(Debug, PartialEq, Eq)]
enum Tls {
    Files { certificate: PathBuf, key: PathBuf },
    SelfManaged { names: ObjectNames, subject: Subject },
    Development { out: Option<PathBuf> },
}

/// The source of facts about the cluster.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    InCluster,
    Kubeconfig(PathBuf),
    Folder(PathBuf),
    Nothing,
}

/// The checked arguments.
#[derive(Debug)]
struct Plan {
    listen: SocketAddr,
    metrics_listen: SocketAddr,
    tls: Tls,
    clients: Option<PathBuf>,
    source: Source,
    config: Option<PathBuf>,
    policies: Vec<PathBuf>,
    deadline: Duration,
    drain_delay: Duration,
}

impl Args {
    fn plan(self) -> anyhow::Result<Plan> {
        // Destructured, so that a new flag cannot be forgotten.
        let Self {
            listen,
            metrics_listen,
            tls_cert,
            tls_key,
            tls_self_managed,
            tls_secret,
            tls_namespace,
            tls_service,
            tls_webhook_configuration,
            tls_dns_name,
            tls_lifetime,
            tls_ca_lifetime,
            tls_dev,
            tls_dev_out,
            tls_client_ca,
            config,
            policies,
            kubeconfig,
            no_cluster,
            facts,
            deadline,
            drain_delay,
        } = self;
        let needs_self_managed = [
            ("--tls-secret", tls_secret.is_some()),
            ("--tls-namespace", tls_namespace.is_some()),
            ("--tls-service", tls_service.is_some()),
            ("--tls-webhook-configuration", tls_webhook_configuration.is_some()),
            ("--tls-dns-name", !tls_dns_name.is_empty()),
            ("--tls-lifetime", tls_lifetime.is_some()),
            ("--tls-ca-lifetime", tls_ca_lifetime.is_some()),
        ];
        if let (false, Some((flag, _))) = (tls_self_managed, needs_self_managed.iter().find(|(_, given)| *given)) {
            bail!("{flag} needs --tls-self-managed");
        }
        let tls = match (tls_cert, tls_key, tls_self_managed, tls_dev) {
            (Some(certificate), Some(key), false, false) => Tls::Files { certificate, key },
            (None, None, true, false) => {
                let usual = || "pullgate".to_owned();
                let defaults = Lifetimes::default();
                let lifetimes = Lifetimes {
                    leaf: tls_lifetime.unwrap_or(defaults.leaf),
                    authority: tls_ca_lifetime.unwrap_or(defaults.authority),
                };
                let names = ObjectNames {
                    namespace: tls_namespace,
                    secret: tls_secret.unwrap_or_else(|| "pullgate-tls".to_owned()),
                    configuration: tls_webhook_configuration.unwrap_or_else(usual),
                };
                if let Some(name) = names.impossible() {
                    bail!("--tls-self-managed: {name:?} is not a valid object name");
                }
                let subject = Subject::new(tls_service.unwrap_or_else(usual), tls_dns_name, lifetimes);
                Tls::SelfManaged {
                    subject: subject.map_err(|why| anyhow::anyhow!("--tls-self-managed: {why}"))?,
                    names,
                }
            }
            (None, None, false, true) => Tls::Development {
                out: tls_dev_out.clone(),
            },
            (None, None, false, false) => bail!(
                "the API server calls webhooks over HTTPS only: use --tls-cert and --tls-key, or --tls-self-managed, or --tls-dev for \
                 a throwaway certificate"
            ),
            (_, _, true, true) => bail!("--tls-self-managed and --tls-dev cannot be combined"),
            (_, _, true, false) => {
                bail!("--tls-self-managed generates its own certificate: it cannot be combined with --tls-cert and --tls-key")
            }
            (_, _, false, true) => {
                bail!("--tls-dev generates its own certificate: it cannot be combined with --tls-cert and --tls-key")
            }
            (Some(_), None, false, false) => bail!("--tls-cert needs --tls-key"),
            (None, Some(_), false, false) => bail!("--tls-key needs --tls-cert"),
        };
        if tls_dev_out.is_some() && !tls_dev {
            bail!("--tls-dev-out needs --tls-dev");
        }
        if tls_self_managed && no_cluster {
            bail!("--tls-self-managed keeps its certificates in the cluster: it cannot be combined with --no-cluster");
        }
        let source = match (kubeconfig, no_cluster, facts) {
            (None, false, None) => Source::InCluster,
            (Some(file), false, None) => Source::Kubeconfig(file),
            (None, true, Some(folder)) => Source::Folder(folder),
            (None, true, None) => Source::Nothing,
            (Some(_), true, _) => bail!("--no-cluster and --kubeconfig cannot be combined"),
            (_, false, Some(_)) => bail!("--facts needs --no-cluster: facts come from a folder or from a cluster, not from both"),
        };
        Ok(Plan {
            listen,
            metrics_listen,
            tls,
            clients: tls_client_ca,
            source,
            config,
            policies,
            deadline,
            drain_delay,
        })
    }
}

/// Serves until SIGTERM or SIGINT. Errors are those that prevent the start.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Plan {
        listen,
        metrics_listen,
        tls,
        clients,
        source,
        config,
        policies: places,
        deadline,
        drain_delay,
    } = args.plan()?;
    log::log_panics();
    raise_file_limit();
    registry::start_io_threads();
    // Registered first, so that a signal during start-up is not lost.
    let stop = told_to_stop()?;
    let metrics = Metrics::new();
    let mut background = tokio::task::JoinSet::new();
    let again = ReloadTrigger::new(());
    background.spawn(told_to_read_again(again.clone())?);

    let settings = match &config {
        Some(file) => Settings::read(file).context("the settings cannot be used")?,
        None => Settings::default(),
    };
    let kinds = Live::new(Kinds::with(&settings.workloads));
    let store = PolicyStore::default();
    let note = Live::new(None);
    if !places.is_empty() {
        let (files, sound) = policies::load(&places, &kinds.load())?;
        for folder in files.empty() {
            tracing::warn!(folder = %folder.display(), "no policy files in this folder");
        }
        tracing::info!(policies = sound.len(), "policy files loaded");
        metrics.policies(PolicySource::Files, sound.len(), 0);
        store.set_files(sound);
        background.spawn(watch_policy_files(
            places,
            files,
            store.clone(),
            metrics.clone(),
            note.clone(),
            kinds.clone(),
            again.subscribe(),
        ));
    }
    // From here on, signals end the process: a kubeconfig may name a helper that takes a while.
    let mut stop = Box::pin(stop);
    let kubeconfig = match &source {
        Source::Kubeconfig(file) => Some(file.clone()),
        Source::InCluster | Source::Folder(_) | Source::Nothing => None,
    };
    let cluster = tokio::select! {
        cluster = cluster(source, &settings) => cluster?,
        () = &mut stop => return Ok(ExitCode::SUCCESS),
    };
    let to_keep = store.clone();
    let nameable = kinds.clone();
    cluster.follow_policies(
        &metrics,
        move || nameable.load(),
        move |policies| to_keep.set_cluster(policies),
    );
    background.spawn(count_days(store.clone(), metrics.clone()));
    let held = Live::new(settings.clone());
    let (reviewer, apply, follow) = wire(&held, store, kinds, cluster.clone(), &metrics, deadline)?;
    background.spawn(follow);
    if let Some(file) = config {
        background.spawn(watch_settings(file, settings, metrics.clone(), again.subscribe(), apply));
    }
    background.spawn(measure_silence(cluster.clone(), metrics.clone()));
    let mut readiness = readiness(cluster).with_note("mode", move || {
        let modes = &held.load().modes;
        (!modes.enforce_everywhere()).then(|| {
            format!(
                "{} (settings): findings on which no policy votes are not denied everywhere",
                modes.described()
            )
        })
    });
    let certificate = match tls {
        Tls::Files { certificate, key } => {
            let served = Certificate::from_files(&certificate, &key, metrics.clone())
                .await
                .context("the certificate cannot be served")?;
            background.spawn(served.clone().watch(certificate, key));
            served
        }
        Tls::SelfManaged { names, subject } => {
            let certificate_client = tokio::select! {
                certificate_client = engine::certificate_client(kubeconfig, names) => certificate_client?,
                () = &mut stop => return Ok(ExitCode::SUCCESS),
            };
            let managed = Managed::new(certificate_client, subject, metrics.clone());
            let served = managed.certificate();
            readiness = readiness
                .with("registration", managed.readiness())
                .with_note("registration", managed.note());
            background.spawn(managed.run());
            served
        }
        Tls::Development { out } => development(out, &metrics)?,
    };
    let clients = match clients {
        Some(file) => {
            let clients = Clients::from_file(&file, metrics.clone())
                .await
                .context("--tls-client-ca cannot be used")?;
            background.spawn(clients.clone().watch(file));
            Some(clients)
        }
        None => None,
    };
    let descriptors = limits::descriptors(files::most_open());
    let options = server::Options {
        listen,
        metrics_listen,
        certificate,
        clients,
        readiness: readiness.with_note("policies", move || note.load().as_ref().clone()),
        metrics,
        limits: Limits {
            connections: descriptors.webhook,
            plain_connections: descriptors.plain,
            // After the reviewer's own deadline: a 503 is for reviews that missed it.
            answer: deadline + Duration::from_secs(1),
            drain_delay,
            drain: deadline + Duration::from_secs(7),
            ..Limits::default()
        },
    };
    let server = Server::bind(options, reviewer).await?;
    tracing::info!(
        webhook = %server.webhook_address(),
        metrics = %server.metrics_address(),
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    server.run(stop).await;
    background.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

/// Raises the limit of open files as far as allowed. The default is often 1,024, for the sake of programs that cannot handle more;
/// connections to registries and from the API server may need more at bad times.
fn raise_file_limit() {
    const ENOUGH: u64 = 1 << 16;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "could not raise the limit of open files");
        }
    }
}

/// Applies new settings, or says why it cannot.
type Apply = Box<dyn Fn(&Settings, Changed) -> Result<(), String> + Send + Sync>;

/// Sets up the source of facts.
async fn cluster(source: Source, settings: &Settings) -> anyhow::Result<Cluster> {
    match source {
        Source::Nothing => Ok(Cluster::Absent),
        Source::Folder(folder) => Ok(Cluster::Manifests(WatchedDirectory::watch(&folder)?)),
        Source::InCluster => engine::connect(None, None, settings).await,
        Source::Kubeconfig(file) => engine::connect(Some(file), None, settings).await,
    }
}

/// Keeps the metric of the API server's silence up to date.
async fn measure_silence(cluster: Cluster, metrics: Metrics) {
    while let Some(silence) = cluster.silence() {
        metrics.api_server_silence(silence);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// Keeps the metrics of days left up to date.
async fn count_days(store: PolicyStore, metrics: Metrics) {
    loop {
        let (policies, now) = (store.load(), jiff::Timestamp::now());
        metrics.days_left(policies.iter().map(|policy| {
            let left = policy.days_left(now);
            (&*policy.name, left.enforced, left.exemption)
        }));
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
}

/// What `/readyz` checks besides the certificate: that every watch has had its first list.
fn readiness(cluster: Cluster) -> Readiness {
    let source = cluster.clone();
    let remark = move || {
        let watches = source.ready().into_iter().filter(|watch| watch.synced);
        let notes: Vec<String> = watches
            .filter_map(|watch| watch.note.map(|note| format!("{} ({note})", watch.what)))
            .collect();
        let silent = source.silence().filter(|silence| *silence >= limits::API_SILENCE);
        let silence = silent.map(|silence| {
            format!(
                "the API server has sent nothing for {} s: pullgate denies nothing that it cannot confirm",
                silence.as_secs()
            )
        });
        let notes: Vec<String> = notes.into_iter().chain(silence).collect();
        (!notes.is_empty()).then(|| notes.join(", "))
    };
    let readiness = Readiness::default().with_note("cluster", remark);
    readiness.with("cluster", move || {
        let waiting: Vec<String> = cluster
            .ready()
            .into_iter()
            .filter(|watch| !watch.synced)
            .map(|watch| match watch.note {
                Some(note) => format!("{} ({note})", watch.what),
                None => watch.what.to_owned(),
            })
            .collect();
        if waiting.is_empty() {
            Ok(())
        } else {
            Err(format!("waiting for the first list of {}", waiting.join(", ")))
        }
    })
}

/// Builds the gate: the reviewer, and the function that replaces the settings while serving.
fn wire(
    held: &Live<Settings>,
    policies: PolicyStore,
    kinds: Live<Kinds>,
    cluster: Cluster,
    metrics: &Metrics,
    deadline: Duration,
) -> anyhow::Result<(Reviewer, Apply, impl Future<Output = ()> + Send + use<>)> {
    let settings = &*held.load();
    let live = Live::new(engine::build(settings, Frontend::Serve, Admission::HasRun, metrics)?);
    let events = cluster.event_recorder(metrics);
    let gate = Gate::new(live.clone(), policies, cluster.clone());
    let reviewer = server::reviewer(gate, metrics.clone(), events.clone(), deadline);
    let apply_rest = move |settings: &Settings| {
        events.set_filter(settings.events);
        log::adjust(settings.log_level)
    };
    apply_rest(settings).map_err(|why| anyhow::anyhow!(why))?;
    let (metrics, held) = (metrics.clone(), held.clone());
    let follow_openshift = openshift::follow(cluster.clone(), held.clone(), live.clone());
    let follow_pools = node_pools::follow(cluster, held.clone(), metrics.clone());
    let follow = async move {
        tokio::join!(follow_openshift, follow_pools);
    };
    let apply = move |settings: &Settings, changed: Changed| {
        let before = held.load();
        if settings.secret_access != before.secret_access {
            return Err("secrets.access only takes effect after a restart".to_owned());
        }
        let same = Settings {
            log_level: settings.log_level,
            events: settings.events,
            ..before.as_ref().clone()
        };
        // Keep the cached answers of registries if the change does not affect them.
        if changed == Changed::Settings && same == *settings {
            held.store(settings.clone());
            return apply_rest(settings);
        }
        let but_modes = Settings {
            modes: settings.modes.clone(),
            ..same
        };
        let built = match changed {
            Changed::Settings if but_modes != *settings => engine::build(settings, Frontend::Serve, Admission::HasRun, &metrics),
            // The cached answers of registries stay: they are stored by the credentials they were obtained with.
            Changed::Settings | Changed::NamedFile => {
                engine::build_around(live.load().registry.clone(), settings, Admission::HasRun, &metrics)
            }
        };
        live.store(built.map_err(|error| format!("{error:#}"))?);
        kinds.store(Kinds::with(&settings.workloads));
        held.store(settings.clone());
        apply_rest(settings)
    };
    Ok((reviewer, Box::new(apply), follow))
}

/// A throwaway certificate; writes its CA to `out`, if given.
fn development(out: Option<PathBuf>, metrics: &Metrics) -> anyhow::Result<Certificate> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let Generated { ca, certificate, key } = tls::generate(&names, DEV_LIFETIME)?;
    let served = Certificate::from_pem(certificate.as_bytes(), key.as_bytes(), metrics.clone())?;
    if let Some(folder) = out {
        let path = certs::write_ca(&folder, &ca)?;
        tracing::warn!(ca = %path.display(), "serving a throwaway certificate; clients need its CA to trust it");
    } else {
        tracing::warn!("serving a throwaway certificate; use --tls-dev-out to get the CA that clients need to trust it");
    }
    Ok(served)
}

/// Completes at the first signal that would end the process: SIGTERM, SIGINT and those that are sent by mistake or by habit, so that none
/// of them cuts off reviews. SIGHUP makes it read files again. SIGXFSZ does nothing: a log that has reached its `ulimit -f` loses lines, which are
/// counted. The handlers are installed before this returns.
fn told_to_stop() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let kinds = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::alarm(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        SignalKind::io(),
        SignalKind::from_raw(Signal::VTALARM.as_raw()),
        SignalKind::from_raw(Signal::PROF.as_raw()),
        SignalKind::from_raw(Signal::XCPU.as_raw()),
    ];
    // Its handler stays when this is dropped.
    drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).context("cannot listen for SIGXFSZ")?);
    let mut signals = kinds
        .into_iter()
        .map(|kind| signal(kind).with_context(|| format!("cannot listen for signal {}", kind.as_raw_value())))
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(async move {
        let received = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures_util::future::select_all(received).await;
    })
}

/// Requests that settings and policies are read again at each SIGHUP. The handler is installed before this returns.
fn told_to_read_again(again: ReloadTrigger) -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP: settings and policies are read again");
            again.send_replace(());
        }
    })
}

#[cfg(test)]
mod tests;
