//! The arguments of `serve`, checked.

use crate::cluster::ObjectNames;
use crate::config::values;
use crate::server::tls::{Lifetimes, Subject};
use anyhow::bail;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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
pub(super) enum Tls {
    Files { certificate: PathBuf, key: PathBuf },
    SelfManaged { names: ObjectNames, subject: Subject },
    Development { out: Option<PathBuf> },
}

/// The source of facts about the cluster.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    InCluster,
    Kubeconfig(PathBuf),
    Folder(PathBuf),
    Nothing,
}

/// The checked arguments.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) listen: SocketAddr,
    pub(super) metrics_listen: SocketAddr,
    pub(super) tls: Tls,
    pub(super) clients: Option<PathBuf>,
    pub(super) source: Source,
    pub(super) config: Option<PathBuf>,
    pub(super) policies: Vec<PathBuf>,
    pub(super) deadline: Duration,
    pub(super) drain_delay: Duration,
}

impl Args {
    pub(super) fn plan(self) -> anyhow::Result<Plan> {
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

#[cfg(test)]
mod tests;
