//! Names of kinds, as policies, their tests and `policy explain` take them.

use crate::workload::Kinds;
use crate::yaml::nearest;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// The kinds that pullgate knows without settings.
pub fn built_in_kinds() -> &'static Kinds {
    static KINDS: LazyLock<Kinds> = LazyLock::new(Kinds::default);
    &KINDS
}

/// A kind that is one of `kinds`; the error is a clause for its author.
pub fn kind(text: &str, kinds: &Kinds) -> Result<String, String> {
    let known: BTreeSet<&str> = kinds.each().map(|(_, kind)| kind).collect();
    if known.contains(text) {
        return Ok(text.to_owned());
    }
    if text.contains('*') {
        return Err(format!(
            "{text:?} is not a kind, and kinds have no wildcards: leave the field out to mean all kinds"
        ));
    }
    // `apps/v1/Deployment` and `deployments.apps`, as other tools have it.
    let mut parts = text.split(['/', '.']);
    if let Some(part) = parts.find_map(|part| known.get(part)).filter(|_| text.contains(['/', '.'])) {
        return Err(format!("{text:?} is not a kind: write {part}, without group and version"));
    }
    let known: Vec<&str> = known.into_iter().collect();
    let last = text.rsplit('/').next().unwrap_or(text);
    let first = last.split('.').next().unwrap_or(last);
    Err(match nearest(first, &known) {
        Some(near) => format!("unknown kind {text:?}; did you mean {near:?}?"),
        None => format!(
            "unknown kind {text:?}: neither Kubernetes nor the tools that pullgate knows have such a kind with pods \
             (docs/kinds.md); add a kind of your own to `workloads` in the settings file (--config)"
        ),
    })
}
