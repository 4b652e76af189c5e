//! What an object says about its controlling owner, and of which kind that is.
//!
//! Anyone can write an `ownerReference`, so it proves nothing by itself. It counts where the controller of the owner's kind makes the
//! object, or where the owner itself was read and matches.

use super::json;
use serde_json::Value;

/// The `ownerReference` with `controller: true`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnerReference {
    /// `apps/v1` …
    pub api_version: String,
    /// `ReplicaSet` …
    pub kind: String,
    /// The name.
    pub name: String,
    /// The UID.
    pub uid: String,
}

/// A built-in kind that owns pods, or what owns them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OwnerKind {
    /// `apps`.
    ReplicaSet,
    /// `apps`.
    Deployment,
    /// `apps`.
    StatefulSet,
    /// `apps`.
    DaemonSet,
    /// The core group.
    ReplicationController,
    /// `batch`.
    Job,
    /// `batch`.
    CronJob,
}

/// The user of the controller manager's own requests, and of its controllers if they have no accounts of their own
/// (`KubeControllerManager` in apiserver's `authentication/user`).
pub const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";

/// The beginning of a controller's user where each has an account (`--use-service-account-credentials`): those accounts are in
/// `kube-system` (`controller_policy.go` of Kubernetes 1.37 binds the roles `system:controller:NAME` to them).
pub const CONTROLLER_ACCOUNT: &str = "system:serviceaccount:kube-system:";

impl OwnerKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::ReplicaSet,
        Self::Deployment,
        Self::StatefulSet,
        Self::DaemonSet,
        Self::ReplicationController,
        Self::Job,
        Self::CronJob,
    ];

    /// The kind's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReplicaSet => "ReplicaSet",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::ReplicationController => "ReplicationController",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
        }
    }

    /// As in a URL and in a role.
    pub fn plural(self) -> &'static str {
        match self {
            Self::ReplicaSet => "replicasets",
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
            Self::ReplicationController => "replicationcontrollers",
            Self::Job => "jobs",
            Self::CronJob => "cronjobs",
        }
    }

    /// The API group; empty for the core group. All have the version `v1`.
    pub fn group(self) -> &'static str {
        match self {
            Self::ReplicaSet | Self::Deployment | Self::StatefulSet | Self::DaemonSet => "apps",
            Self::ReplicationController => "",
            Self::Job | Self::CronJob => "batch",
        }
    }

    /// `apps/v1`.
    pub fn api_version(self) -> String {
        match self.group() {
            "" => "v1".to_owned(),
            group => format!("{group}/v1"),
        }
    }

    /// The account of the controller that makes what objects of this kind own: `NewClient` in `cmd/kube-controller-manager/app`'s
    /// `apps.go`, `batch.go` and `core.go` of Kubernetes 1.37.
    pub fn controller(self) -> &'static str {
        match self {
            Self::ReplicaSet => "replicaset-controller",
            Self::Deployment => "deployment-controller",
            Self::StatefulSet => "statefulset-controller",
            Self::DaemonSet => "daemon-set-controller",
            Self::ReplicationController => "replication-controller",
            Self::Job => "job-controller",
            Self::CronJob => "cronjob-controller",
        }
    }

    /// That controller's user, if it has its own account.
    pub fn account(self) -> String {
        format!("{CONTROLLER_ACCOUNT}{}", self.controller())
    }

    /// Which kind owns objects of this kind, as a rule.
    pub fn usual_owner(self) -> Option<Self> {
        match self {
            Self::ReplicaSet => Some(Self::Deployment),
            Self::Job => Some(Self::CronJob),
            Self::Deployment | Self::StatefulSet | Self::DaemonSet | Self::ReplicationController | Self::CronJob => None,
        }
    }

    /// Which kind it is, if it is one of these.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        Self::ALL
            .into_iter()
            .find(|known| known.name() == kind && known.group() == group)
    }

    /// The same by its name alone.
    pub fn named(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == kind)
    }

    /// Whether this user is the controller of this kind: if so, an object that it creates really has the owner that it names.
    pub fn is_made_by(self, user: &str) -> bool {
        user == CONTROLLER_MANAGER || user.strip_prefix(CONTROLLER_ACCOUNT) == Some(self.controller())
    }
}

impl OwnerReference {
    /// From `metadata.ownerReferences`.
    pub(super) fn read(metadata: &Value) -> Option<Self> {
        let owner = json::list(metadata, "ownerReferences")
            .iter()
            .find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))?;
        Some(Self {
            api_version: json::string(owner, "apiVersion"),
            kind: json::string(owner, "kind"),
            name: json::string(owner, "name"),
            uid: json::string(owner, "uid"),
        })
    }

    /// Its kind, if it is a built-in one.
    pub fn owner_kind(&self) -> Option<OwnerKind> {
        OwnerKind::of(&self.api_version, &self.kind)
    }
}
