//! `--tls-self-managed`: certificates without cert-manager.
//!
//! All replicas do the same, without a leader: every few seconds each reads the registration and then the Secret, serves what the
//! Secret contains, and makes at most one write, which succeeds only if nobody wrote in between. [`decide`] decides what to do, as
//! a pure function; this module reads and writes. `docs/decisions/0010-certificate-rotation.md` explains the protocol.

mod contents;
mod decide;
mod issue;
mod pace;
mod status;
mod subject;
#[cfg(test)]
mod tests;
mod trust;

pub use decide::Lifetimes;
pub use subject::Subject;

use super::clock::Clock;
use super::{Certificate, timestamp};
use crate::cluster::{CertificateClient, Registration, RequestError, SecretData, StoredSecret, Webhook, WebhookTarget};
use crate::telemetry::{CertificateFailure, Metrics, RenewalReason, RenewalStep};
use contents::Stored;
use decide::{Entry, Observed, Serve, Step};
use issue::Issuer;
use pace::{Budget, between};
use rustls::pki_types::CertificateDer;
use status::Status;
use std::time::Duration;
use tokio::time::Instant;
use trust::{Bundle, verify};

/// How long a CA must have been in every bundle before a certificate that needs it is served: API servers learn of a change through
/// a watch, each in its own time.
const SETTLE_TIME: Duration = Duration::from_secs(30);

/// How often the two objects are read, with jitter.
const POLL: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(6));

/// The most rounds in a row, as long as each changes something.
const MAX_ROUNDS: usize = 8;

/// The same failure is logged at most this often.
const LOG_EVERY: Duration = Duration::from_mins(5);

/// Keeps the certificate, the Secret and the registration in sync.
#[derive(Debug)]
pub struct Managed {
    client: CertificateClient,
    subject: Subject,
    names: Vec<String>,
    certificate: Certificate,
    clock: Clock,
    metrics: Metrics,
    status: Status,
    /// How long until all API servers are assumed to know a bundle.
    settled: Duration,
    /// CAs that are in every bundle of ours, each with the time it was first seen there.
    held: Vec<(CertificateDer<'static>, Instant)>,
    /// The trust bundle of the Secret when it was last valid: one of these signed the served certificate.
    trusted: Vec<CertificateDer<'static>>,
    secret_writes: Budget,
    registration_writes: Budget,
    /// The first failure of this round.
    failure: Option<String>,
    logged: Option<(String, Instant)>,
}

/// The result of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// It wrote something: run another round.
    Wrote,
    /// Somebody else wrote first: run another round.
    Overtaken,
    /// Nothing is left to do.
    Done,
}

impl Managed {
    /// Sends no request yet: [`Managed::run`] does.
    pub fn new(client: CertificateClient, subject: Subject, metrics: Metrics) -> Self {
        let clock = Clock::default();
        Self {
            names: subject.names(client.namespace()),
            certificate: Certificate::pending(metrics.clone(), clock.clone()),
            status: Status::new(format!("the {} has not been read yet", client.secret_name())),
            failure: None,
            settled: SETTLE_TIME.min(subject.lifetimes.leaf / 10),
            client,
            subject,
            clock,
            metrics,
            held: Vec::new(),
            trusted: Vec::new(),
            secret_writes: Budget::new(),
            registration_writes: Budget::new(),
            logged: None,
        }
    }

    /// The certificate to serve. Empty until the Secret has been read or created.
    pub fn certificate(&self) -> Certificate {
        self.certificate.clone()
    }

    /// A probe: whether the served certificate chains to the registered bundle. The error is a clause.
    pub fn readiness(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        let status = self.status.clone();
        move || status.verdict()
    }

    /// A note that does not affect readiness: what could not be read or written, so that a future renewal may fail.
    pub fn note(&self) -> impl Fn() -> Option<String> + Send + Sync + 'static {
        let status = self.status.clone();
        move || status.note()
    }

    /// Runs forever.
    pub async fn run(mut self) {
        loop {
            for _ in 0..MAX_ROUNDS {
                match self.round().await {
                    Round::Done => break,
                    Round::Wrote => {}
                    Round::Overtaken => tokio::time::sleep(between(Duration::ZERO, Duration::from_millis(200))).await,
                }
            }
            tokio::time::sleep(between(POLL.0, POLL.1)).await;
        }
    }

    /// Reads both objects, and writes at most once.
    async fn round(&mut self) -> Round {
        let round = self.look().await;
        self.status.failure(self.failure.take());
        round
    }

    async fn look(&mut self) -> Round {
        // The registration is read before the Secret, and written only if unchanged since: so a bundle is never replaced by one
        // from an older Secret.
        let registration = self.client.registration().await;
        let secret = self.client.secret().await;
        let date = match (&secret, &registration) {
            (Ok(answer), _) => answer.date,
            (_, Ok(answer)) => answer.date,
            (Err(_), Err(_)) => None,
        };
        if let Some(date) = date
            && !self.clock.hear(date)
        {
            // Nothing is served, issued or written on the basis of such a time; the next round comes within seconds.
            let failure = RequestError::Failed(format!(
                "the API server's clock says {}, far from its earlier times and from this machine's clock ({}): pullgate believes it once it is repeated",
                timestamp(date),
                timestamp(self.clock.now())
            ));
            return self.failed(CertificateFailure::Date, &failure);
        }
        let secret = match secret {
            Ok(answer) => answer.value,
            Err(failure) => return self.failed(CertificateFailure::SecretRead, &failure),
        };
        let registered = match &registration {
            Ok(answer) => answer.value.as_ref(),
            Err(_) => None,
        };
        let entries = registered.map(|registered| self.entries(registered)).unwrap_or_default();
        if registration.is_ok() {
            self.watch_bundles(&entries);
        }

        let stored = Stored::read(secret.as_ref(), &self.client.secret_name());
        let settled = Bundle::of(
            self.held
                .iter()
                .filter(|(_, since)| registration.is_ok() && since.elapsed() >= self.settled)
                .map(|(ca, _)| ca.clone()),
        );
        let names = self.names.clone();
        let observed = Observed {
            stored: &stored,
            settled: &settled,
            now: self.clock.now(),
            names: &names,
            lifetimes: self.subject.lifetimes,
        };
        // If the registration cannot be read, the served certificate and its verdict stay as they were.
        if let Ok(answer) = &registration {
            self.adopt(&observed, &entries);
            let taken = self.judge(&observed, answer.value.as_ref(), &entries);
            self.status.accepted(taken);
        }

        let step = decide::step(&observed);
        let known = entries.iter().flat_map(|entry| entry.bundle.certificates());
        let known: Vec<_> = self.trusted.iter().chain(known).cloned().collect();
        let wrote = self.write(&step, &observed, secret.as_ref(), known).await;
        if let Some(round) = self.outcome(wrote, CertificateFailure::SecretWrite) {
            return round;
        }
        let registered = match registration {
            Ok(answer) => answer.value,
            Err(failure) => return self.failed(CertificateFailure::RegistrationRead, &failure),
        };
        let wrote = match &registered {
            Some(registered) => self.register(registered, &decide::bundles(&observed, &entries)).await,
            None => Ok(Round::Done),
        };
        self.outcome(wrote, CertificateFailure::RegistrationWrite)
            .unwrap_or(Round::Done)
    }

    /// The webhooks that call this service.
    fn entries(&self, registered: &Registration) -> Vec<Entry> {
        let of = |webhook: &Webhook| {
            let server = match webhook.target.as_ref()? {
                WebhookTarget::Service { namespace, name } => (namespace == self.client.namespace()
                    && *name == self.subject.service)
                    .then(|| format!("{name}.{namespace}.svc")),
                WebhookTarget::Host(host) => self
                    .subject
                    .others
                    .iter()
                    .find(|name| name.eq_ignore_ascii_case(host))
                    .cloned(),
            }?;
            Some(Entry {
                index: webhook.index,
                webhook: webhook.name.clone(),
                server,
                bundle: Bundle::parse(&webhook.ca_bundle),
            })
        };
        registered.webhooks.iter().filter_map(of).collect()
    }

    /// Records since when each CA has been in every bundle.
    fn watch_bundles(&mut self, entries: &[Entry]) {
        let everywhere = |ca: &CertificateDer<'static>| entries.iter().all(|entry| entry.bundle.holds(ca));
        let common = entries.first().map(|first| first.bundle.certificates()).unwrap_or_default();
        let common: Vec<_> = common.iter().filter(|ca| everywhere(ca)).cloned().collect();
        self.held.retain(|(ca, _)| common.contains(ca));
        for ca in common {
            if self.held.iter().all(|(held, _)| *held != ca) {
                self.held.push((ca, Instant::now()));
            }
        }
    }

    /// Serves the Secret's certificate, if it is time.
    fn adopt(&mut self, observed: &Observed<'_>, entries: &[Entry]) {
        let Stored::Ours(contents) = observed.stored else {
            return;
        };
        let end = contents
            .authority
            .as_ref()
            .map_or(0, |authority| authority.validity.not_after);
        self.metrics.certificate_authority_expiry(end);
        let present = self.certificate.leaf();
        if let (Serve::Stored, Ok(leaf)) = (decide::serve(observed, entries, present.as_ref()), &contents.leaf)
            && present.as_ref() != Some(&leaf.certificate)
            && let Ok(loaded) = leaf.load()
        {
            self.certificate.put(loaded);
        }
        if decide::leaf_fault(observed, contents).is_none() {
            self.trusted = contents.trust.certificates().to_vec();
        }
    }

    /// Whether the API server would accept the served certificate.
    fn judge(&self, observed: &Observed<'_>, registered: Option<&Registration>, entries: &[Entry]) -> Result<(), String> {
        let (secret, configuration) = (self.client.secret_name(), self.client.configuration_name());
        if let Stored::Foreign(why) = observed.stored {
            return Err(why.clone());
        }
        let Some(served) = self.certificate.leaf() else {
            return Err(format!("the {secret} holds no certificate that can be served yet"));
        };
        if registered.is_none() {
            return Err(format!("waiting for the {configuration}: it does not exist"));
        }
        if entries.is_empty() {
            return Err(format!(
                "no webhook of the {configuration} names the Service {}/{} or a host of --tls-dns-name",
                self.client.namespace(),
                self.subject.service
            ));
        }
        entries.iter().try_for_each(|entry| {
            verify(&served, &entry.bundle, &entry.server, observed.now).map_err(|why| {
                format!(
                    "the API server would refuse the served certificate: checked against the caBundle of the webhook {} in the \
                     {configuration}, it {why}",
                    entry.webhook
                )
            })
        })
    }

    /// Performs the step. Nothing is signed if nothing may be written.
    async fn write(
        &mut self,
        step: &Step,
        observed: &Observed<'_>,
        secret: Option<&StoredSecret>,
        mut known: Vec<CertificateDer<'static>>,
    ) -> Result<Round, RequestError> {
        if *step == Step::Keep {
            return Ok(Round::Done);
        }
        if !self.secret_writes.allows() {
            return Err(RequestError::Failed(format!(
                "the {} keeps being changed: pullgate now writes it at most once a minute",
                self.client.secret_name()
            )));
        }
        let before = match observed.stored {
            Stored::Ours(contents) => Some(contents.as_ref()),
            Stored::Absent | Stored::Foreign(_) => None,
        };
        known.extend(before.iter().flat_map(|contents| contents.trust.certificates().to_vec()));
        let issuer = Issuer {
            now: observed.now,
            names: observed.names,
            lifetimes: observed.lifetimes,
            known: &known,
        };
        let Some(after) = issue::after(step, before, &issuer).map_err(RequestError::Failed)? else {
            return Ok(Round::Done);
        };
        match secret {
            Some(secret) => self.client.replace(secret, &after.write(&secret.data)).await?,
            None => self.client.create(&after.write(&SecretData::default())).await?,
        }
        self.secret_writes.spend();
        self.announce(step);
        Ok(Round::Wrote)
    }

    /// Writes the trust bundle into the registration.
    async fn register(&mut self, registered: &Registration, bundles: &[(usize, String)]) -> Result<Round, RequestError> {
        if bundles.is_empty() {
            return Ok(Round::Done);
        }
        let name = self.client.configuration_name();
        if registered.injected {
            return Err(RequestError::Failed(format!(
                "the {name} has annotations of cert-manager, which also writes its caBundle: remove them"
            )));
        }
        if !self.registration_writes.allows() {
            return Err(RequestError::Failed(format!(
                "something else keeps writing the caBundle of the {name}: pullgate now writes it at most once a minute"
            )));
        }
        self.client.register(registered, bundles).await?;
        self.registration_writes.spend();
        self.metrics
            .certificate_renewal(RenewalStep::Registration, RenewalReason::Differs);
        tracing::info!(webhooks = bundles.len(), "updated the caBundle of the {name}");
        Ok(Round::Wrote)
    }

    fn announce(&self, step: &Step) {
        let (what, why, said) = step.describe();
        self.metrics.certificate_renewal(what, why);
        tracing::info!(step = what.name(), why = why.name(), "{}: {said}", self.client.secret_name());
    }

    /// The result of the round, if it ends here.
    fn outcome(&mut self, wrote: Result<Round, RequestError>, what: CertificateFailure) -> Option<Round> {
        match wrote {
            Ok(Round::Done) => None,
            Ok(round) => Some(round),
            Err(RequestError::Conflict) => Some(Round::Overtaken),
            Err(failure) => {
                self.failed(what, &failure);
                None
            }
        }
    }

    /// Counts it, logs it (throttled), and keeps it for `/readyz`.
    fn failed(&mut self, what: CertificateFailure, failure: &RequestError) -> Round {
        self.metrics.certificate_failure(what);
        let said = failure.to_string();
        if self
            .logged
            .as_ref()
            .is_none_or(|(last, at)| *last != said || at.elapsed() >= LOG_EVERY)
        {
            tracing::warn!(what = what.name(), "certificates: {said}");
            self.logged = Some((said.clone(), Instant::now()));
        }
        self.failure.get_or_insert(said);
        Round::Done
    }
}
