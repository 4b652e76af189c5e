//! `--tls-self-managed`: certificates without a helper.
//!
//! Every replica does the same, without a leader: every few seconds it reads the registration and then the Secret, serves what the
//! Secret holds, and makes at most one write, which counts only if nobody wrote in between. What is to be done is decided in
//! [`decide`], purely; here is the reading and the writing. `docs/decisions/0010-certificate-rotation.md` argues for the protocol.

mod contents;
mod decide;
mod judgement;
mod make;
mod pace;
mod subject;
#[cfg(test)]
mod tests;
mod trust;

pub use decide::Lifetimes;
pub use subject::Subject;

use super::Certificate;
use super::clock::Clock;
use crate::cluster::{Custody, Kept, Registered, SecretData, Target, Trouble, Webhook};
use crate::telemetry::{CertificateFailure, Metrics, RenewalReason, RenewalStep};
use contents::Stored;
use decide::{Entry, Scene, Serve, Step};
use judgement::Judgement;
use make::Means;
use pace::{Budget, between};
use rustls::pki_types::CertificateDer;
use std::time::Duration;
use tokio::time::Instant;
use trust::{Bundle, verify};

/// How long a bundle must have held a CA before something is served by it alone: API servers learn of a change by a watch, each in its
/// own time.
const SETTLED: Duration = Duration::from_secs(30);

/// How often the two objects are looked at, more or less.
const POLL: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(6));

/// Rounds in a row, as long as each has changed something.
const MAX_ROUNDS: usize = 8;

/// The same trouble is logged once in this time.
const LOG_EVERY: Duration = Duration::from_mins(5);

/// Keeps the certificate, the Secret and the registration in step.
#[derive(Debug)]
pub struct Managed {
    custody: Custody,
    subject: Subject,
    names: Vec<String>,
    certificate: Certificate,
    clock: Clock,
    metrics: Metrics,
    judgement: Judgement,
    /// How long until a bundle counts as known to all.
    settled: Duration,
    /// CAs that every bundle of ours holds, each with the time since when that has been seen.
    held: Vec<(CertificateDer<'static>, Instant)>,
    /// What the Secret said to trust when it was last sound: the served certificate is of one of these.
    trusted: Vec<CertificateDer<'static>>,
    secret_writes: Budget,
    registration_writes: Budget,
    /// The first of this round.
    trouble: Option<String>,
    logged: Option<(String, Instant)>,
}

/// What a round came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// Something was written: look again.
    Wrote,
    /// Somebody else wrote first: look again.
    Overtaken,
    /// Nothing is left to do.
    Rested,
}

impl Managed {
    /// Nothing is asked yet: [`Managed::run`] does that.
    pub fn new(custody: Custody, subject: Subject, metrics: Metrics) -> Self {
        let clock = Clock::default();
        Self {
            names: subject.names(custody.namespace()),
            certificate: Certificate::pending(metrics.clone(), clock.clone()),
            judgement: Judgement::new(format!("the {} has not been read yet", custody.secret_name())),
            trouble: None,
            settled: SETTLED.min(subject.lifetimes.leaf / 10),
            custody,
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

    /// What to serve. There is none until the Secret has been read or made.
    pub fn certificate(&self) -> Certificate {
        self.certificate.clone()
    }

    /// A probe: whether the served certificate chains to what is registered. The error is a clause.
    pub fn readiness(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
        let judgement = self.judgement.clone();
        move || judgement.verdict()
    }

    /// A note for whoever is ready: what could not be read or written, so that a renewal may fail one day.
    pub fn note(&self) -> impl Fn() -> Option<String> + Send + Sync + 'static {
        let judgement = self.judgement.clone();
        move || judgement.note()
    }

    /// For ever.
    pub async fn run(mut self) {
        loop {
            for _ in 0..MAX_ROUNDS {
                match self.round().await {
                    Round::Rested => break,
                    Round::Wrote => {}
                    Round::Overtaken => tokio::time::sleep(between(Duration::ZERO, Duration::from_millis(200))).await,
                }
            }
            tokio::time::sleep(between(POLL.0, POLL.1)).await;
        }
    }

    /// One look, and at most one write.
    async fn round(&mut self) -> Round {
        let round = self.look().await;
        self.judgement.trouble(self.trouble.take());
        round
    }

    async fn look(&mut self) -> Round {
        // The registration is read before the Secret, and written only as it was read: so a bundle is never replaced by one of an older
        // Secret.
        let registration = self.custody.registration().await;
        let secret = self.custody.secret().await;
        let date = match (&secret, &registration) {
            (Ok(answer), _) => answer.date,
            (_, Ok(answer)) => answer.date,
            (Err(_), Err(_)) => None,
        };
        if let Some(date) = date {
            self.clock.set(date);
        }
        let kept = match secret {
            Ok(answer) => answer.value,
            Err(trouble) => return self.troubled(CertificateFailure::SecretRead, &trouble),
        };
        let registered = match &registration {
            Ok(answer) => answer.value.as_ref(),
            Err(_) => None,
        };
        let entries = registered.map(|registered| self.entries(registered)).unwrap_or_default();
        if registration.is_ok() {
            self.watch_bundles(&entries);
        }

        let stored = Stored::read(kept.as_ref(), &self.custody.secret_name());
        let settled = Bundle::of(
            self.held
                .iter()
                .filter(|(_, since)| registration.is_ok() && since.elapsed() >= self.settled)
                .map(|(ca, _)| ca.clone()),
        );
        let names = self.names.clone();
        let scene = Scene {
            stored: &stored,
            settled: &settled,
            now: self.clock.now(),
            names: &names,
            lifetimes: self.subject.lifetimes,
        };
        // Where the registration cannot be read, what was found last stays: what is served, and whether it is taken.
        if let Ok(answer) = &registration {
            self.take_over(&scene, &entries);
            let taken = self.judge(&scene, answer.value.as_ref(), &entries);
            self.judgement.taken(taken);
        }

        let step = decide::step(&scene);
        let known = entries.iter().flat_map(|entry| entry.bundle.certificates());
        let known: Vec<_> = self.trusted.iter().chain(known).cloned().collect();
        let wrote = self.write(&step, &scene, kept.as_ref(), known).await;
        if let Some(round) = self.outcome(wrote, CertificateFailure::SecretWrite) {
            return round;
        }
        let registered = match registration {
            Ok(answer) => answer.value,
            Err(trouble) => return self.troubled(CertificateFailure::RegistrationRead, &trouble),
        };
        let wrote = match &registered {
            Some(registered) => self.register(registered, &decide::bundles(&scene, &entries)).await,
            None => Ok(Round::Rested),
        };
        self.outcome(wrote, CertificateFailure::RegistrationWrite)
            .unwrap_or(Round::Rested)
    }

    /// The webhooks that call us.
    fn entries(&self, registered: &Registered) -> Vec<Entry> {
        let of = |webhook: &Webhook| {
            let server = match webhook.target.as_ref()? {
                Target::Service { namespace, name } => (namespace == self.custody.namespace() && *name == self.subject.service)
                    .then(|| format!("{name}.{namespace}.svc")),
                Target::Host(host) => self
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

    /// Notes since when every bundle holds which CA.
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

    /// Serves what the Secret holds, if it is time.
    fn take_over(&mut self, scene: &Scene<'_>, entries: &[Entry]) {
        let Stored::Ours(contents) = scene.stored else {
            return;
        };
        let end = contents
            .authority
            .as_ref()
            .map_or(0, |authority| authority.validity.not_after);
        self.metrics.certificate_authority_expiry(end);
        let present = self.certificate.leaf();
        if let (Serve::Stored, Ok(leaf)) = (decide::serve(scene, entries, present.as_ref()), &contents.leaf)
            && present.as_ref() != Some(&leaf.certificate)
            && let Ok(loaded) = leaf.load()
        {
            self.certificate.put(loaded);
        }
        if decide::leaf_fault(scene, contents).is_none() {
            self.trusted = contents.trust.certificates().to_vec();
        }
    }

    /// Whether the API server would take what is served.
    fn judge(&self, scene: &Scene<'_>, registered: Option<&Registered>, entries: &[Entry]) -> Result<(), String> {
        let (secret, configuration) = (self.custody.secret_name(), self.custody.configuration_name());
        if let Stored::Foreign(why) = scene.stored {
            return Err(why.clone());
        }
        let Some(served) = self.certificate.leaf() else {
            return Err(format!("the {secret} holds no certificate that can be served yet"));
        };
        if registered.is_none() {
            return Err(format!("waiting for the {configuration}: there is none"));
        }
        if entries.is_empty() {
            return Err(format!(
                "no webhook of the {configuration} names the Service {}/{} or a host of --tls-dns-name",
                self.custody.namespace(),
                self.subject.service
            ));
        }
        entries.iter().try_for_each(|entry| {
            verify(&served, &entry.bundle, &entry.server, scene.now).map_err(|why| {
                format!(
                    "the API server would not take the served certificate: held against the caBundle of the webhook {} in the \
                     {configuration}, it {why}",
                    entry.webhook
                )
            })
        })
    }

    /// Makes the step. Nothing is signed where nothing may be written.
    async fn write(
        &mut self,
        step: &Step,
        scene: &Scene<'_>,
        kept: Option<&Kept>,
        mut known: Vec<CertificateDer<'static>>,
    ) -> Result<Round, Trouble> {
        if *step == Step::Keep {
            return Ok(Round::Rested);
        }
        if !self.secret_writes.allows() {
            return Err(Trouble::Failed(format!(
                "the {} was changed again and again: it is written once a minute now",
                self.custody.secret_name()
            )));
        }
        let before = match scene.stored {
            Stored::Ours(contents) => Some(contents.as_ref()),
            Stored::Absent | Stored::Foreign(_) => None,
        };
        known.extend(before.iter().flat_map(|contents| contents.trust.certificates().to_vec()));
        let means = Means {
            now: scene.now,
            names: scene.names,
            lifetimes: scene.lifetimes,
            known: &known,
        };
        let Some(after) = make::after(step, before, &means).map_err(Trouble::Failed)? else {
            return Ok(Round::Rested);
        };
        match kept {
            Some(kept) => self.custody.replace(kept, &after.write(&kept.data)).await?,
            None => self.custody.create(&after.write(&SecretData::default())).await?,
        }
        self.secret_writes.spend();
        self.announce(step);
        Ok(Round::Wrote)
    }

    /// Writes what is to be trusted into the registration.
    async fn register(&mut self, registered: &Registered, bundles: &[(usize, String)]) -> Result<Round, Trouble> {
        if bundles.is_empty() {
            return Ok(Round::Rested);
        }
        let name = self.custody.configuration_name();
        if registered.injected {
            return Err(Trouble::Failed(format!(
                "the {name} has annotations of cert-manager, which writes its caBundle too: take them away"
            )));
        }
        if !self.registration_writes.allows() {
            return Err(Trouble::Failed(format!(
                "somebody else writes the caBundle of the {name} again and again: it is written once a minute now"
            )));
        }
        self.custody.register(registered, bundles).await?;
        self.registration_writes.spend();
        self.metrics
            .certificate_renewal(RenewalStep::Registration, RenewalReason::Differs);
        tracing::info!(webhooks = bundles.len(), "the caBundle of the {name} is written");
        Ok(Round::Wrote)
    }

    fn announce(&self, step: &Step) {
        let (what, why, said) = step.told();
        self.metrics.certificate_renewal(what, why);
        tracing::info!(step = what.name(), why = why.name(), "{}: {said}", self.custody.secret_name());
    }

    /// What the round comes to, if it ends here.
    fn outcome(&mut self, wrote: Result<Round, Trouble>, what: CertificateFailure) -> Option<Round> {
        match wrote {
            Ok(Round::Rested) => None,
            Ok(round) => Some(round),
            Err(Trouble::Conflict) => Some(Round::Overtaken),
            Err(trouble) => {
                self.troubled(what, &trouble);
                None
            }
        }
    }

    /// Counts it, logs it now and then, and keeps it for `/readyz`.
    fn troubled(&mut self, what: CertificateFailure, trouble: &Trouble) -> Round {
        self.metrics.certificate_failure(what);
        let said = trouble.to_string();
        if self
            .logged
            .as_ref()
            .is_none_or(|(last, at)| *last != said || at.elapsed() >= LOG_EVERY)
        {
            tracing::warn!(what = what.name(), "certificates: {said}");
            self.logged = Some((said.clone(), Instant::now()));
        }
        self.trouble.get_or_insert(said);
        Round::Rested
    }
}
