//! Reads tests of policies, and says what is wrong with them.

use super::PolicyTest;
use crate::image::Platform;
use crate::policy::model::{API_VERSION, Quantity};
use crate::policy::{Problem, built_in_kinds, dates, kind, quantity, schema};
use crate::workload::{Kinds, OwnerKind};
use crate::yaml::unknown;
use serde_json::Value;
use std::collections::BTreeMap;

impl PolicyTest {
    /// Reads a document of kind `ImagePolicyTest`; the error lists everything that is wrong with it. Tests may name the kinds known without
    /// settings.
    pub fn read(document: &Value) -> Result<Self, Vec<Problem>> {
        Self::read_with(document, built_in_kinds())
    }

    /// The same with the `kinds` of the settings.
    pub fn read_with(document: &Value, kinds: &Kinds) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let version = document.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        if version != API_VERSION {
            problems.push(Problem::at("apiVersion", format!("expected {API_VERSION}, got {version:?}")));
        }
        problems.extend(schema::check_test(document));
        problems.extend(meaningless(document, kinds));
        if !problems.is_empty() {
            problems.sort_by(|a, b| a.path.cmp(&b.path));
            return Err(problems);
        }
        let spec = document.get("spec").cloned().unwrap_or_default();
        serde_json::from_value(spec).map_err(|error| vec![Problem::at("spec", error.to_string())])
    }
}

/// Values that the schema accepts but that make no sense. Looks at the raw document, so that these are reported together with what
/// the schema refuses.
fn meaningless(document: &Value, kinds: &Kinds) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    let cases = document.pointer("/spec/cases").and_then(Value::as_array);
    for (at, case) in cases.into_iter().flatten().enumerate() {
        let registry = format!("spec.cases[{at}].given.registry");
        let text = |pointer: &str| case.pointer(pointer).and_then(Value::as_str);
        if let Some(Err(why)) = text("/given/kind").map(|text| kind(text, kinds)) {
            problems.push(Problem::at(format!("spec.cases[{at}].given.kind"), why));
        }
        if let Some(owner) = text("/given/owner/kind")
            && OwnerKind::named(owner).is_none()
        {
            let known = OwnerKind::ALL.map(OwnerKind::name);
            problems.push(Problem::at(
                format!("spec.cases[{at}].given.owner.kind"),
                unknown("kind of owner", owner, &known),
            ));
        }
        let platforms = case.pointer("/given/registry/platforms").and_then(Value::as_array);
        for (place, platform) in platforms.into_iter().flatten().enumerate() {
            if let Some(Err(why)) = platform.as_str().map(Platform::parse) {
                problems.push(Problem::at(format!("{registry}.platforms[{place}]"), why));
            }
        }
        if let Some(Err(why)) = text("/given/now").map(dates::parse) {
            problems.push(Problem::at(format!("spec.cases[{at}].given.now"), why));
        }
        let size = case.pointer("/given/registry/size").cloned();
        let size = size.and_then(|size| serde_json::from_value::<Quantity>(size).ok());
        if let Some(Err(why)) = size.map(|size| quantity::bytes(&size.to_string())) {
            problems.push(Problem::at(format!("{registry}.size"), why));
        }
        let Some(name) = text("/name").filter(|name| !name.is_empty()) else {
            continue;
        };
        let first = *names.entry(name).or_insert(at);
        if first < at {
            let text = format!("case {} already has the name {name:?}", first + 1);
            problems.push(Problem::at(format!("spec.cases[{at}].name"), text));
        }
    }
    problems
}
