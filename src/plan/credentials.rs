//! The pod's credentials: which secrets count, what is wrong with them, and what is offered to a repository
//! (pull-semantics 4.1, 4.2 and 4.5).

use super::Offer;
use super::{Admission, PlanSettings};
use crate::cluster::{Facts, Visible};
use crate::credentials::node::{Entries, Provided, StandIn, WantedCredentials};
use crate::credentials::{Contents, Credential, CredentialSource, Entry, Keyring, ParseError, PasswordLocation};
use crate::image::escape;
use crate::runtime::kubelet::Sent;
use crate::verdict::image_case::SecretNote;
use crate::workload::Template;
use crate::workload::pod::PodKind;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The credentials of the pods of one template.
#[derive(Debug, Default)]
pub(super) struct PullSecrets {
    keyring: Arc<Keyring>,
    /// Missing and ignored secrets.
    notes: Vec<SecretNote>,
    /// Secrets that were read and are usable.
    read: Vec<String>,
    /// Where the passwords of secrets are that have none, as clauses, by secret.
    elsewhere: HashMap<String, String>,
    /// What a secret without any entry says of where they are, as a clause.
    stored: Option<String>,
    /// The first secret whose parser error fails the whole pod.
    pub(super) malformed: Option<(String, ParseError)>,
    /// A template lists a secret, or names a service account, that may still come.
    pub(super) may_come: bool,
    /// What could not be seen, as a clause.
    pub(super) hidden: Option<String>,
    /// Repositories for which the nearest key was sought.
    sought: Cell<usize>,
}

/// For how many repositories of one template the nearest key is looked for: each takes a few hundred comparisons.
const MOST_SOUGHT: usize = 50;

impl PullSecrets {
    /// Collects what the pods of `template` will hold. The service account's list counts only where the pod's own is empty, and
    /// never for a Pod that admission has already seen (pull-semantics 4.1).
    pub(super) fn of(template: &Template, facts: &Facts, admission: Admission) -> Self {
        let mut secrets = Self::written(template, facts, admission);
        if let Some(why) = template.nature.other_credentials {
            // A credential that is present is worth a try, and a fault in it proves nothing.
            secrets.notes.clear();
            secrets.malformed = None;
            secrets.may_come = false;
            secrets.hidden = Some(why.to_owned());
        }
        secrets
    }

    fn written(template: &Template, facts: &Facts, admission: Admission) -> Self {
        let mut secrets = Self::default();
        let needs = &template.needs;
        if !needs.pull_secrets.is_empty() {
            secrets.collect(&needs.pull_secrets, template.kind, facts);
            return secrets;
        }
        let account = &needs.service_account;
        let found = facts.service_accounts.get(account);
        if template.kind == PodKind::Pod && admission == Admission::HasRun {
            // Admission gave this pod nothing. Where nothing of the cluster can be seen, not even that is sure (contract 3).
            if let Some(Visible::Hidden(why)) = found {
                secrets.hide(why.clone());
            }
            return secrets;
        }
        match found {
            Some(Visible::Seen(Some(found))) => secrets.collect(&found.pull_secrets, template.kind, facts),
            // Every namespace gets a `default` account, and it lists nothing until somebody says so.
            Some(Visible::Seen(None)) | None if facts.complete => {
                secrets.may_come = template.kind == PodKind::Template && account != "default";
            }
            Some(Visible::Seen(None)) | None => {
                secrets.hide(format!(
                    "service account \"{}\" is not among the given manifests",
                    escape(account)
                ));
            }
            Some(Visible::Hidden(why)) => secrets.hide(why.clone()),
        }
        secrets
    }

    fn hide(&mut self, why: String) {
        self.hidden.get_or_insert(why);
    }

    fn collect(&mut self, names: &[String], kind: PodKind, facts: &Facts) {
        // The kubelet silently skips empty names. It tries a name that is listed twice twice, with the same result.
        let mut seen = HashSet::new();
        for name in names.iter().filter(|name| !name.is_empty() && seen.insert(name.as_str())) {
            match facts.secrets.get(name) {
                Some(Visible::Seen(Some(secret))) => {
                    let opened = secret.open();
                    match &opened.contents {
                        Contents::Usable(entries) => {
                            if self.keyring.is_empty() {
                                self.keyring = Arc::clone(&opened.keyring);
                            } else {
                                Arc::make_mut(&mut self.keyring).add(&CredentialSource::Secret(name.clone()), entries);
                            }
                            if let Some(place) = &opened.password_location {
                                let place = where_it_is(place);
                                if entries.is_empty() {
                                    let name = escape(name);
                                    self.stored = Some(format!("secret \"{name}\" holds no user name and password: {place}"));
                                }
                                self.elsewhere.insert(name.clone(), place);
                            }
                            self.read.push(name.clone());
                        }
                        Contents::WrongType { kind } => self.notes.push(SecretNote::WrongType {
                            name: name.clone(),
                            kind: kind.clone(),
                        }),
                        Contents::Malformed(error) => {
                            self.malformed.get_or_insert_with(|| (name.clone(), error.clone()));
                        }
                    }
                }
                Some(Visible::Seen(None)) | None => {
                    if !facts.complete {
                        self.notes.push(SecretNote::NotGiven { name: name.clone() });
                        self.hide(format!("pull secret \"{}\" is not among the given manifests", escape(name)));
                        continue;
                    }
                    self.notes.push(SecretNote::Missing { name: name.clone() });
                    if kind == PodKind::Template {
                        self.may_come = true;
                    }
                }
                Some(Visible::Hidden(why)) => self.hide(why.clone()),
            }
        }
    }

    /// Whether the user's own docker config is of use for a repository: something could not be seen, and nothing else is offered.
    pub(super) fn stand_in(&self, name: &str, settings: &PlanSettings) -> StandIn {
        let idle = self.hidden.is_none()
            || !self.keyring.lookup(name).is_empty()
            || !from_config(&settings.docker_config, name).is_empty();
        if idle { StandIn::Idle } else { StandIn::Wanted }
    }

    /// Why a kubelet built with an older Go may hold more for a repository, as a clause.
    pub(super) fn matched_with_older_go(&self, name: &str, settings: &PlanSettings) -> Option<String> {
        let config = &settings.docker_config;
        let of_config = || keyring_of(config).matched_with_older_go(name).cloned();
        let entry = self.keyring.matched_with_older_go(name).cloned().or_else(of_config)?;
        Some(format!(
            "a kubelet built with a Go before 1.24.8 or 1.25.2 takes the key \"{}\" in {} for a pattern that matches, and later ones skip it",
            escape(&entry.key),
            whose(&entry.source)
        ))
    }

    /// What the pod's own secrets hold for a repository.
    pub(super) fn own(&self, name: &str) -> Vec<Offer> {
        self.keyring.lookup(name).into_iter().map(offer).collect()
    }

    /// What is offered for a repository, in the kubelet's order (pod, node's docker config, plugins; pull-semantics 4.5), and what is
    /// to be said about the secrets if that fails.
    pub(super) fn offers(
        &self,
        wanted: &WantedCredentials,
        settings: &PlanSettings,
        node: Option<&Provided>,
    ) -> OfferedCredentials {
        let name = wanted.name.as_str();
        let mut offers = self.own(name);
        let mut notes = self.notes.clone();
        if offers.is_empty() && !self.read.is_empty() {
            let near = self.sought.get() < MOST_SOUGHT;
            self.sought.set(self.sought.get() + 1);
            let nearest = near.then(|| self.keyring.nearest(name)).flatten().map(|miss| {
                let whose = whose(&miss.source);
                format!("the nearest key is \"{}\" in {whose}: {}", escape(&miss.key), miss.why)
            });
            let nearest = nearest.or_else(|| self.stored.clone());
            notes.push(SecretNote::NoMatch {
                names: self.read.clone(),
                nearest,
            });
        }
        let empty = offers.iter().filter(|offer| offer.credential.is_anonymous());
        let mut named = HashSet::new();
        for offer in empty.filter(|_| offers.iter().all(|offer| offer.credential.is_anonymous())) {
            if let Some(CredentialSource::Secret(name)) = &offer.source
                && named.insert(name)
            {
                notes.push(SecretNote::Empty {
                    name: name.clone(),
                    elsewhere: self.elsewhere.get(name).cloned(),
                });
            }
        }
        let unasked = Provided::default();
        let node = node.unwrap_or(&unasked);
        // A helper's credential comes before the file's, as in docker.
        offers.extend(node.docker_config.iter().map(from_helper));
        offers.extend(from_config(&settings.docker_config, name));
        offers.extend(from_plugins(&node.plugins, name));
        let mut hidden = self.hidden.clone();
        // The user's own config replaces a secret that could not be seen. It proves nothing, so an anonymous attempt follows it.
        if offers.is_empty()
            && let Some(why) = &mut hidden
        {
            offers.extend(node.stand_in.iter().map(from_helper));
            offers.extend(from_config(&settings.stand_in, name));
            if !offers.is_empty() {
                offers.push(Offer {
                    source: None,
                    ..from_helper(&Credential::default())
                });
            }
            if let Some(failed) = &node.stand_in_failed {
                why.push_str("; ");
                why.push_str(failed);
            }
        }
        OfferedCredentials {
            offers,
            notes,
            hidden,
            unanswered: node.unanswered.clone(),
        }
    }
}

/// The credentials that are tried for one repository, and what to say if that fails.
#[derive(Debug, Clone)]
pub(super) struct OfferedCredentials {
    /// In order.
    pub(super) offers: Vec<Offer>,
    /// About the pull secrets.
    pub(super) notes: Vec<SecretNote>,
    /// What could not be seen, as a clause.
    pub(super) hidden: Option<String>,
    /// Why the nodes may hold more, as a clause.
    pub(super) unanswered: Option<String>,
}

/// Where a password is, as a clause.
fn where_it_is(place: &PasswordLocation) -> String {
    match place {
        PasswordLocation::Store(store) => format!(
            "it was made on a machine that keeps them in its credential store (\"{}\"), which no node has",
            escape(store)
        ),
        PasswordLocation::IdentityToken => "it holds an identity token, which kubelets do not read".to_owned(),
    }
}

/// A source, as a phrase.
pub(super) fn whose(source: &CredentialSource) -> String {
    match source {
        CredentialSource::Secret(name) => format!("secret \"{}\"", escape(name)),
        CredentialSource::DockerConfig => "the docker config".to_owned(),
        CredentialSource::K3s => CredentialSource::K3s.to_string(),
        CredentialSource::Provider(name) => format!("credential provider \"{}\"", escape(name)),
    }
}

fn from_config(entries: &[(String, Credential)], name: &str) -> Vec<Offer> {
    if entries.is_empty() {
        return Vec::new();
    }
    keyring_of(entries).lookup(name).into_iter().map(offer).collect()
}

fn keyring_of(config: &[(String, Credential)]) -> Keyring {
    let mut keyring = Keyring::default();
    keyring.add(&CredentialSource::DockerConfig, config);
    keyring
}

/// The answers of all plugins make one keyring.
fn from_plugins(plugins: &[(String, Entries)], name: &str) -> Vec<Offer> {
    let mut keyring = Keyring::default();
    for (plugin, entries) in plugins {
        keyring.add(&CredentialSource::Provider(plugin.clone()), entries);
    }
    keyring.lookup(name).into_iter().map(offer).collect()
}

fn from_helper(credential: &Credential) -> Offer {
    Offer {
        credential: credential.clone(),
        source: Some(CredentialSource::DockerConfig),
        sent: Sent::default(),
    }
}

fn offer(entry: &Entry) -> Offer {
    Offer {
        credential: entry.credential.clone(),
        source: Some(entry.source.clone()),
        sent: Sent::default(),
    }
}
