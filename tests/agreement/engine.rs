//! What our engine says of a case.

use crate::cases::Case;
use crate::objects;
use crate::server::Registries;
use pullgate::cluster::{Cluster, Completeness, Directory};
use pullgate::config::{Live, PolicyStore};
use pullgate::engine::{Engine, Gate};
use pullgate::plan::{Admission, PlanSettings};
use pullgate::policy::Requester;
use pullgate::runtime::Depth;
use pullgate::workload::extract;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// What we said.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Opinion {
    pub(crate) outlook: String,
    pub(crate) causes: Vec<String>,
    /// Of the finding that the outlook rests on.
    pub(crate) message: String,
    /// The reason that a kubelet would show, and its message.
    pub(crate) kubelet: Option<(String, String)>,
}

/// Judges a case where these are the nodes.
pub(crate) async fn judge(case: &Case, registries: &Registries, nodes: &[Value]) -> Opinion {
    let world = registries.world(case);
    let mut objects = objects::beside(case, world);
    objects.extend_from_slice(nodes);
    let directory = Directory::from_objects(&objects, Completeness::Complete);
    let rejected = directory.rejected();
    assert!(rejected.is_empty(), "{}: {rejected:?}", case.name);
    let engine = Engine {
        registry: registries.door(),
        settings: PlanSettings {
            node_credentials: case
                .node_credentials
                .iter()
                .map(|pattern| crate::cases::fill(pattern, &world.values))
                .collect(),
            depth: Depth::Layers,
            ..PlanSettings::bare(Admission::StillToCome)
        },
        providers: pullgate::providers::Providers::default(),
    };
    let gate = Gate::new(Live::new(engine), PolicyStore::default(), Cluster::from(directory));
    let workload = extract(&objects::object(case, world), None, case.namespace(), &gate.kinds())
        .unwrap_or_else(|skip| panic!("{}: {skip:?}", case.name));
    let answer = gate
        .judge(&workload, &Requester::default(), Instant::now() + Duration::from_secs(20))
        .await;
    let image = answer.images.iter().find(|judged| judged.image.name == case.container);
    let judgement = &image
        .unwrap_or_else(|| panic!("{}: no container {}", case.name, case.container))
        .judgement;
    let worst = judgement
        .findings
        .iter()
        .rev()
        .find(|finding| finding.outlook == judgement.outlook);
    Opinion {
        outlook: judgement.outlook.name().to_owned(),
        causes: judgement
            .findings
            .iter()
            .map(|finding| finding.cause.name().to_owned())
            .collect(),
        message: worst.map(|finding| finding.message.clone()).unwrap_or_default(),
        kubelet: judgement
            .findings
            .iter()
            .rev()
            .find_map(|finding| finding.kubelet.as_ref())
            .map(|kubelet| (kubelet.reason.clone(), kubelet.message.clone())),
    }
}
