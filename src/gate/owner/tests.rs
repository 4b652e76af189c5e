use super::*;
use crate::ask::{Log, Recall, Step, step};
use crate::policy::{Policy, PolicyLocation};
use crate::workload::{Kinds, extract};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Owners by kind and name; what is not in it does not exist, or cannot be read.
#[derive(Default)]
struct Cluster {
    owners: BTreeMap<(String, String), Owner>,
    hidden: bool,
    asked: RefCell<usize>,
}

impl Recall<ReviewQuestion> for Cluster {
    fn recall(&self, about: &ReviewQuestion) -> Option<Fact> {
        let ReviewQuestion::Owner(reference) = about else {
            panic!("{about:?}")
        };
        *self.asked.borrow_mut() += 1;
        Some(Fact::Owner(if self.hidden {
            Visible::Hidden("pullgate may not read it".to_owned())
        } else {
            let key = (reference.kind.clone(), reference.name.clone());
            Visible::Seen(self.owners.get(&key).cloned())
        }))
    }
}

fn reference(kind: OwnerKind, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: kind.api_version(),
        kind: kind.name().to_owned(),
        name: "o".to_owned(),
        uid: uid.to_owned(),
    }
}

impl Cluster {
    fn with(mut self, kind: OwnerKind, image: &str, owner: Option<OwnerReference>) -> Self {
        let stored = Owner {
            uid: format!("uid of the {}", kind.name()),
            images: BTreeSet::from([image.to_owned()]),
            owner,
        };
        self.owners.insert((kind.name().to_owned(), "o".to_owned()), stored);
        self
    }

    /// A Deployment and its `ReplicaSet`, a `CronJob` and its Job, each with this image.
    fn of(image: &str) -> Self {
        let uid = |kind: OwnerKind| format!("uid of the {}", kind.name());
        let owned_by = |kind| Some(reference(kind, &uid(kind)));
        Self::default()
            .with(OwnerKind::Deployment, image, None)
            .with(OwnerKind::ReplicaSet, image, owned_by(OwnerKind::Deployment))
            .with(OwnerKind::CronJob, image, None)
            .with(OwnerKind::Job, image, owned_by(OwnerKind::CronJob))
    }
}

fn pod(image: &str, owner: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "ownerReferences": [owner]},
           "spec": {"containers": [{"name": "c", "image": image}]}})
}

fn owned_by(kind: OwnerKind) -> Value {
    json!({"apiVersion": kind.api_version(), "kind": kind.name(), "name": "o", "uid": format!("uid of the {}", kind.name()), "controller": true})
}

fn policies() -> Policies {
    let object = json!({"apiVersion": "pullgate.dev/v1alpha1", "kind": "ImagePolicy", "metadata": {"name": "digests"},
                        "spec": {"match": {"excludeKinds": ["Job", "CronJob"]}, "tags": {"requireDigest": true}}});
    Policies::new(vec![Arc::new(Policy::compile(&object, PolicyLocation::Cluster).unwrap())])
}

fn count(object: &Value, old: Option<&Value>, user: &str, cluster: &Cluster) -> String {
    let workload = extract(object, old, "shop", &Kinds::default()).unwrap();
    let requester = Requester {
        user: user.to_owned(),
        groups: Vec::new(),
    };
    let policies = policies();
    let Step::Done(kinds) = step(&mut Log::default(), cluster, |ask| {
        counts_as(&workload, &requester, &policies, ask)
    }) else {
        panic!("everything is answered")
    };
    kinds.join(" or ")
}

const TENANT: &str = "jane";

#[test]
fn what_a_controller_makes_counts_as_its_root_owner() {
    use OwnerKind::*;
    let cluster = Cluster::of("app:1");
    for (owner, user, kind) in [
        (
            ReplicaSet,
            "system:serviceaccount:kube-system:replicaset-controller",
            "Deployment",
        ),
        (ReplicaSet, "system:kube-controller-manager", "Deployment"),
        (Job, "system:serviceaccount:kube-system:job-controller", "CronJob"),
        (
            StatefulSet,
            "system:serviceaccount:kube-system:statefulset-controller",
            "StatefulSet",
        ),
        (
            DaemonSet,
            "system:serviceaccount:kube-system:daemon-set-controller",
            "DaemonSet",
        ),
    ] {
        // Injectors add containers that no owner names: what the controller makes is the owner's all the same.
        let mut made = pod("app:1", &owned_by(owner));
        made["spec"]["containers"] = json!([{"name": "c", "image": "app:1"}, {"name": "proxy", "image": "istio/proxyv2:1"}]);
        assert_eq!(count(&made, None, user, &cluster), kind, "{owner:?}");
    }
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "ownerReferences": [owned_by(CronJob)]},
                     "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "app:1"}]}}}});
    let user = "system:serviceaccount:kube-system:cronjob-controller";
    assert_eq!(count(&job, None, user, &cluster), "CronJob");
}

#[test]
fn a_tenant_does_not_get_past_a_policy_by_an_owner_reference() {
    use OwnerKind::*;
    let cluster = Cluster::of("allowed:1");
    let forged = |owner: &Value, user: &str| count(&pod("evil:1", owner), None, user, &cluster);
    // A Job that exists, with its UID, that runs another image.
    assert_eq!(forged(&owned_by(Job), TENANT), "Pod");
    // No such Job; no UID at all; the UID of an earlier one.
    let mut other = owned_by(Job);
    other["name"] = json!("nowhere");
    assert_eq!(forged(&other, TENANT), "Pod");
    for uid in ["", "another"] {
        let mut other = owned_by(Job);
        other["uid"] = json!(uid);
        assert_eq!(count(&pod("allowed:1", &other), None, TENANT, &cluster), "Pod", "{uid:?}");
    }
    // Accounts that only look like a controller's, and a controller that does not make what such an owner owns.
    for user in [
        "system:serviceaccount:shop:job-controller",
        "system:serviceaccount:kube-system:job-controller2",
        "system:serviceaccount:kube-system:replicaset-controller",
        "kube-system:job-controller",
    ] {
        assert_eq!(forged(&owned_by(Job), user), "Pod", "{user}");
    }
    // A kind of the tenant's own that bears a known name.
    let mut own = owned_by(Job);
    own["apiVersion"] = json!("evil.example/v1");
    assert_eq!(forged(&own, "system:kube-controller-manager"), "Pod");
    // What is no controller reference counts for nothing.
    let mut plain = owned_by(Job);
    plain["controller"] = json!(false);
    assert_eq!(forged(&plain, "system:kube-controller-manager"), "Pod");
    // One of two containers is the Job's.
    let mut half = pod("allowed:1", &owned_by(Job));
    half["spec"]["initContainers"] = json!([{"name": "i", "image": "evil:1"}]);
    assert_eq!(count(&half, None, TENANT, &cluster), "Pod");
    // An owner that cannot be read proves nothing.
    let hidden = Cluster {
        hidden: true,
        ..Cluster::default()
    };
    assert_eq!(count(&pod("evil:1", &owned_by(Job)), None, TENANT, &hidden), "Pod");
}

#[test]
fn a_job_of_a_tenants_own_does_not_become_a_cron_jobs() {
    use OwnerKind::*;
    // The Job was made by a tenant, who wrote that it is the CronJob's; the CronJob runs something else.
    let cluster = Cluster::of("allowed:1").with(Job, "evil:1", Some(reference(CronJob, "uid of the CronJob")));
    let user = "system:serviceaccount:kube-system:job-controller";
    assert_eq!(count(&pod("evil:1", &owned_by(Job)), None, user, &cluster), "Job");
}

#[test]
fn a_debug_container_in_a_jobs_pod_is_no_jobs() {
    let cluster = Cluster::of("app:1");
    let old = pod("app:1", &owned_by(OwnerKind::Job));
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "evil:1"}]);
    assert_eq!(count(&new, Some(&old), TENANT, &cluster), "Pod");
}

#[test]
fn whoever_makes_a_pod_as_its_owner_would_has_that_owner() {
    let cluster = Cluster::of("app:1");
    assert_eq!(
        count(&pod("app:1", &owned_by(OwnerKind::Job)), None, TENANT, &cluster),
        "CronJob"
    );
    assert_eq!(*cluster.asked.borrow(), 2);
}

#[test]
fn what_cannot_be_read_above_a_known_owner_is_left_open() {
    let hidden = Cluster {
        hidden: true,
        ..Cluster::default()
    };
    let made = |owner: OwnerKind| {
        let user = "system:kube-controller-manager";
        count(&pod("app:1", &owned_by(owner)), None, user, &hidden)
    };
    assert_eq!(made(OwnerKind::Job), "Job or CronJob");
    assert_eq!(made(OwnerKind::ReplicaSet), "ReplicaSet or Deployment");
    assert_eq!(*hidden.asked.borrow(), 2);
    assert_eq!(made(OwnerKind::DaemonSet), "DaemonSet");
    assert_eq!(*hidden.asked.borrow(), 2, "nothing owns a DaemonSet");
}

#[test]
fn nobody_is_asked_where_no_policy_minds_kinds() {
    let workload = extract(&pod("app:1", &owned_by(OwnerKind::Job)), None, "shop", &Kinds::default()).unwrap();
    let cluster = Cluster::of("app:1");
    let none = Policies::default();
    let requester = Requester::default();
    let Step::Done(kinds) = step(&mut Log::default(), &cluster, |ask| {
        counts_as(&workload, &requester, &none, ask)
    }) else {
        panic!("nothing is asked")
    };
    assert_eq!((kinds, *cluster.asked.borrow()), (vec!["Pod".to_owned()], 0));
}
