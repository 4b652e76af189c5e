//! `workloads`: kinds with pod specs or images, besides the built-in ones.

use super::file;
use super::problem::Problem;
use crate::workload::kinds::Registration;
use crate::workload::{Configured, Kinds, Route, Scope, is_kind};
use serde_saphyr::Spanned;

/// Checks the list; problems are added to `problems`.
pub(super) fn read(list: Vec<file::Workload>, problems: &mut Vec<Problem>) -> Vec<Configured> {
    let known = Kinds::default();
    let mut kinds: Vec<Configured> = Vec::new();
    for written in list {
        if let Some(kind) = one(written, &known, &kinds, problems) {
            kinds.push(kind);
        }
    }
    kinds
}

fn one(written: file::Workload, known: &Kinds, before: &[Configured], problems: &mut Vec<Problem>) -> Option<Configured> {
    let file::Workload {
        group,
        kind,
        pod_specs,
        images,
        scope,
    } = written;
    let place = kind.referenced;
    let wrong = problems.len();
    let group = match group {
        Some(group) => check(&group, problems, self::group),
        None => Some(String::new()),
    };
    let kind = check(&kind, problems, self::kind);
    let mut routes = |list: Option<Vec<Spanned<String>>>| -> Vec<Route> {
        let list = list.into_iter().flatten();
        list.filter_map(|text| check(&text, problems, Route::parse)).collect()
    };
    let (pod_specs, images) = (routes(pod_specs), routes(images));
    let (group, kind) = (group?, kind?);
    if problems.len() > wrong {
        return None;
    }
    let registration = known.registration(&group, &kind);
    let says_nothing = pod_specs.is_empty() && images.is_empty();
    let shown = if group.is_empty() {
        kind.clone()
    } else {
        format!("{kind} ({group})")
    };
    let problem = if registration == Some(Registration::BuiltIn) {
        Some(format!("{shown} is built into Kubernetes and already checked"))
    } else if before.iter().any(|other| (&other.group, &other.kind) == (&group, &kind)) {
        Some(format!("{shown} appears twice"))
    } else if says_nothing && registration.is_none() {
        Some(format!(
            "pullgate does not know {shown}: set podSpecs or images to say where its images are"
        ))
    } else {
        None
    };
    match problem {
        Some(text) => {
            problems.push(Problem::at(place, text));
            None
        }
        None => Some(Configured {
            group,
            kind,
            pod_specs,
            images,
            scope: scope.map(|scope| match scope {
                file::Scope::Namespaced => Scope::Namespaced,
                file::Scope::Cluster => Scope::Cluster,
            }),
        }),
    }
}

fn check<T>(text: &Spanned<String>, problems: &mut Vec<Problem>, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
    match read(&text.value) {
        Ok(value) => Some(value),
        Err(why) => {
            problems.push(Problem::at(text.referenced, why));
            None
        }
    }
}

fn group(text: &str) -> Result<String, String> {
    if let Some((group, _)) = text.split_once('/') {
        return Err(format!("write the group without a version: {group}"));
    }
    // The core group is empty.
    if text
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
    {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not an API group"))
    }
}

fn kind(text: &str) -> Result<String, String> {
    if is_kind(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a kind; write it as in manifests: Rollout"))
    }
}
