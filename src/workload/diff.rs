//! What an UPDATE changed that affects a pull (contract 6, UPDATE).

use super::{ImageUse, PodNeeds, Role, Template};
use std::collections::{HashMap, VecDeque};

/// Whether an UPDATE changed anything that a pull depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// All images are used as before.
    Nothing,
    /// At least one use is new or different.
    Something,
}

/// Marks the uses in `new` that are unchanged from `old`: image, pull policy, pull secrets, service account and node selection.
///
/// Compares templates by key, and containers by role and name (their order may change); several with one name in order. Runs in
/// linear time.
pub(super) fn mark_unchanged(new: &mut [Template], old: &[Template]) -> Change {
    let mut change = Change::Nothing;
    let mut known: HashMap<&str, &Template> = HashMap::with_capacity(old.len());
    for template in old {
        known.entry(template.nature.key.as_str()).or_insert(template);
    }
    for template in new {
        let before = known
            .get(template.nature.key.as_str())
            .filter(|before| same_needs(&before.needs, &template.needs));
        let mut before = before.map(|before| by_name(&before.uses)).unwrap_or_default();
        for image_use in &mut template.uses {
            let same_name = before
                .get_mut(&(place(image_use.role), image_use.name.as_str()))
                .and_then(VecDeque::pop_front);
            image_use.unchanged = same_name.is_some_and(|before| {
                // From now on, containers wait for it.
                let is_mounted_now = before.role != image_use.role && image_use.role == Role::Volume;
                before.image == image_use.image && before.pull_policy == image_use.pull_policy && !is_mounted_now
            });
            if !image_use.unchanged {
                change = Change::Something;
            }
        }
    }
    change
}

/// Whether pull secrets, service account and node selection are the same. Tolerations select no nodes (and may be added to a
/// running Pod); no definite finding depends on them.
fn same_needs(before: &PodNeeds, after: &PodNeeds) -> bool {
    let (a, b) = (&before.scheduling, &after.scheduling);
    before.pull_secrets == after.pull_secrets
        && before.service_account == after.service_account
        && a.node_name == b.node_name
        && a.node_selector == b.node_selector
        && a.required_affinity == b.required_affinity
        && a.os_name == b.os_name
        && a.runtime_class == b.runtime_class
}

/// The list that contains a use: a volume is the same whether it is mounted or not.
fn place(role: Role) -> Role {
    match role {
        Role::UnmountedVolume => Role::Volume,
        Role::Init | Role::Container | Role::Ephemeral | Role::Volume => role,
    }
}

fn by_name(uses: &[ImageUse]) -> HashMap<(Role, &str), VecDeque<&ImageUse>> {
    let mut map: HashMap<(Role, &str), VecDeque<&ImageUse>> = HashMap::with_capacity(uses.len());
    for image_use in uses {
        map.entry((place(image_use.role), image_use.name.as_str()))
            .or_default()
            .push_back(image_use);
    }
    map
}

#[cfg(test)]
mod tests;
