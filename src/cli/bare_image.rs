//! A bare image, for `check --image` and `explain`.

use crate::workload::candidates::Scheduling;
use crate::workload::pod::{PodKind, PullPolicy};
use crate::workload::{FieldPath, ImageUse, Injection, Nature, ObjectId, PodNeeds, Role, Template, Workload};

/// A bare image, as a pod of this namespace would pull it under this service account and with these secrets of its own.
pub(super) fn bare_image(image: &str, namespace: &str, account: Option<&str>, secrets: &[String]) -> Workload {
    let needs = PodNeeds {
        pull_secrets: secrets.to_vec(),
        service_account: account.unwrap_or("default").to_owned(),
        scheduling: Scheduling::default(),
    };
    let image = ImageUse {
        path: FieldPath::root(),
        name: String::new(),
        role: Role::Container,
        image: image.to_owned(),
        pull_policy: PullPolicy::default_for(image),
        unchanged: false,
        stream: None,
        later: None,
    };
    Workload {
        object: ObjectId {
            namespace: namespace.to_owned(),
            ..ObjectId::default()
        },
        templates: vec![Template {
            kind: PodKind::Pod,
            needs,
            uses: vec![image],
            nature: Nature::default(),
            injection: Injection::default(),
            ran: Vec::new(),
        }],
        annotations: Vec::new(),
        controller: None,
        owner: None,
        uid: String::new(),
    }
}
