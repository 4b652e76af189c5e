//! Manifests that are about to be applied, layered over a cluster: they take precedence over what exists.

use super::{Cluster, Directory, Facts, Object, Visible};
use crate::workload::Template;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// The two layers.
#[derive(Debug)]
pub struct Layered {
    pub(super) given: Directory,
    pub(super) cluster: Cluster,
}

impl Layered {
    pub(super) async fn facts(&self, namespace: &str, templates: &[Template], deadline: Instant) -> Facts {
        let given = self.given.facts(namespace, templates);
        let asked = below(&given, templates);
        let facts = Box::pin(self.cluster.facts(namespace, &asked, deadline)).await;
        overlay(facts, given)
    }

    pub(super) async fn reread(
        &self,
        facts: &Facts,
        namespace: &str,
        templates: &[Template],
        objects: &[Object],
        deadline: Instant,
    ) -> Facts {
        let given = self.given.facts(namespace, templates);
        let asked = below(&given, templates);
        let fresh = Box::pin(self.cluster.reread(facts, namespace, &asked, objects, deadline)).await;
        overlay(fresh, given)
    }
}

/// What to ask the cluster for: the secrets of a given service account by name, since the cluster's version of it may list others.
fn below(given: &Facts, templates: &[Template]) -> Vec<Template> {
    let mut templates = templates.to_vec();
    for template in templates.iter_mut().filter(|template| template.needs.pull_secrets.is_empty()) {
        if let Some(Visible::Seen(Some(account))) = given.service_accounts.get(&template.needs.service_account) {
            template.needs.pull_secrets.clone_from(&account.pull_secrets);
        }
    }
    templates
}

fn overlay(mut facts: Facts, given: Facts) -> Facts {
    put(&mut facts.service_accounts, given.service_accounts);
    put(&mut facts.secrets, given.secrets);
    Arc::make_mut(&mut facts.image_streams).extend(&given.image_streams);
    put(&mut facts.runtime_classes, given.runtime_classes);
    if !given.nodes.is_empty() {
        facts.nodes = given.nodes;
    }
    if matches!(given.namespace, Visible::Seen(Some(_))) {
        facts.namespace = given.namespace;
    }
    facts
}

/// What exists above replaces what is below; what does not, leaves it.
fn put<T>(below: &mut BTreeMap<String, Visible<T>>, above: BTreeMap<String, Visible<T>>) {
    for (name, value) in above {
        let there = matches!(value, Visible::Seen(Some(_)));
        if there || !below.contains_key(&name) {
            below.insert(name, value);
        }
    }
}
