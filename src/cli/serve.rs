//! `pullgate serve`: wires the modules together and answers reviews until told to stop.

mod args;

pub use args::Args;

use super::{certs, engine, node_pools, openshift, policies};
use crate::cluster::{Cluster, WatchedDirectory};
use crate::config::policies::watch_policy_files;
use crate::config::{Changed, Frontend, Live, PolicyStore, ReloadTrigger, Settings, watch_settings};
use crate::engine::Gate;
use crate::files;
use crate::limits;
use crate::plan::Admission;
use crate::registry;
use crate::server::tls::{self, Certificate, Clients, Generated, Managed};
use crate::server::{self, Limits, Readiness, Reviewer, Server};
use crate::telemetry::{Metrics, PolicySource, log};
use crate::workload::Kinds;
use anyhow::Context;
use args::{Plan, Source, Tls};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How long the certificate of `--tls-dev` is valid: it does not outlive the process anyway.
const DEV_LIFETIME: Duration = Duration::from_hours(30 * 24);

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
            probes_apart: true,
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
