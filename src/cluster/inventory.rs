//! The existing objects: every kind with pod specs that the API server knows, listed page by page. Read-only.

use super::convert;
use super::pages::{Broken, Pages, get};
use crate::workload::Kinds;
use kube::Client;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Objects per page. Most have a few kilobytes, none more than 1.5 MiB.
const PAGE: u32 = 100;

/// All lists to read, one object at a time. Owners come before what they own; pods come last.
#[derive(Default)]
pub struct Inventory {
    client: Option<Client>,
    lists: VecDeque<List>,
    page: VecDeque<Value>,
    /// What could not be listed, one sentence each.
    problems: Vec<String>,
}

#[derive(Debug)]
struct List {
    api_version: String,
    kind: String,
    pages: Pages,
    /// Whether it covers all namespaces at once.
    everywhere: bool,
}

/// The API server's description of a kind.
#[derive(Debug)]
struct Resource {
    api_version: String,
    plural: String,
    namespaced: bool,
}

impl Inventory {
    pub(super) async fn of(client: &Client, kinds: &Kinds, namespace: Option<&str>) -> Result<Self, String> {
        if let Some(namespace) = namespace.filter(|namespace| !convert::is_name(namespace)) {
            return Err(format!("{namespace:?} is not a valid namespace name"));
        }
        // A mistyped name must not look like "nothing would be denied". If namespaces may not be read, the lists will tell.
        if let Some(namespace) = namespace
            && let Err(broken) = get(client, &format!("/api/v1/namespaces/{namespace}")).await
            && broken.code() == Some(404)
        {
            return Err(format!("the cluster has no namespace {namespace}"));
        }
        let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (group, kind) in kinds.each() {
            wanted.entry(group).or_default().insert(kind);
        }
        let mut inventory = Self {
            client: Some(client.clone()),
            ..Self::default()
        };
        let known = groups(client)
            .await
            .map_err(|broken| format!("the cluster's kinds cannot be listed ({broken})"))?;
        let mut lists = Vec::new();
        for (group, kinds) in wanted {
            let Some(versions) = known.get(group) else { continue };
            let (found, problem) = resources(client, group, versions, &kinds).await;
            inventory.problems.extend(problem);
            for (kind, resource) in found {
                let Some(path) = resource.path(namespace) else { continue };
                let list = List {
                    pages: Pages::of(path, PAGE),
                    api_version: resource.api_version,
                    kind,
                    everywhere: namespace.is_none() && resource.namespaced,
                };
                lists.push((rank(group, &list.kind), list));
            }
        }
        lists.sort_by_key(|(rank, _)| *rank);
        inventory.lists = lists.into_iter().map(|(_, list)| list).collect();
        Ok(inventory)
    }

    /// The next object, with its type; `None` after the last.
    pub async fn next(&mut self) -> Option<Value> {
        let client = self.client.clone()?;
        loop {
            if let Some(object) = self.page.pop_front() {
                return Some(object);
            }
            let list = self.lists.front_mut()?;
            match list.pages.next(&client).await {
                Ok(Some(page)) => self.page = page.into_iter().map(|object| list.typed(object)).collect(),
                Ok(None) => {
                    self.lists.pop_front();
                }
                // The kind existed a moment ago.
                Err(broken) if broken.code() == Some(404) => {
                    self.lists.pop_front();
                }
                Err(broken) => {
                    self.problems.push(list.unjudged(&broken));
                    self.lists.pop_front();
                }
            }
        }
    }

    /// What could not be listed so far, one sentence each.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// Every `CustomResourceDefinition`. Lists omit the type of their items.
pub(super) async fn definitions(client: &Client) -> Result<Vec<Value>, String> {
    // Some have a megabyte.
    const FEW: u32 = 20;
    let mut pages = Pages::of("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", FEW);
    let mut all = Vec::new();
    while let Some(page) = pages.next(client).await.map_err(|broken| broken.to_string())? {
        all.extend(page.into_iter().map(|mut object| {
            if let Some(fields) = object.as_object_mut() {
                fields.insert("kind".to_owned(), "CustomResourceDefinition".into());
            }
            object
        }));
    }
    Ok(all)
}

impl std::fmt::Debug for Inventory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inventory")
            .field("lists", &self.lists)
            .finish_non_exhaustive()
    }
}

impl List {
    /// In lists of built-in kinds, the items omit their type.
    fn typed(&self, mut object: Value) -> Value {
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), self.api_version.as_str().into());
            fields.insert("kind".to_owned(), self.kind.as_str().into());
        }
        object
    }

    fn unjudged(&self, broken: &Broken) -> String {
        let hint = match broken.code() {
            Some(403) if self.everywhere => "; use -n NAMESPACE to list a single namespace",
            _ => "",
        };
        format!(
            "not every {} ({}) could be listed and checked: {broken}{hint}",
            self.kind, self.api_version
        )
    }
}

impl Resource {
    /// The path of the list; `None` if none of its objects can be in the namespace.
    fn path(&self, namespace: Option<&str>) -> Option<String> {
        let root = match self.api_version.as_str() {
            "v1" => "/api/v1".to_owned(),
            version => format!("/apis/{version}"),
        };
        let plural = &self.plural;
        match (namespace, self.namespaced) {
            (None, _) => Some(format!("{root}/{plural}")),
            (Some(namespace), true) => Some(format!("{root}/namespaces/{namespace}/{plural}")),
            (Some(_), false) => None,
        }
    }
}

/// Owners come first.
fn rank(group: &str, kind: &str) -> u8 {
    match (group, kind) {
        ("", "Pod") => 3,
        ("apps", "ReplicaSet") => 2,
        ("batch", "Job") => 1,
        _ => 0,
    }
}

/// The API groups, with their versions, the preferred one first.
pub(super) async fn groups(client: &Client) -> Result<BTreeMap<String, Vec<String>>, Broken> {
    let answer = get(client, "/apis").await?;
    let listed = answer.get("groups").and_then(Value::as_array).ok_or(Broken::NoList)?;
    let version = |value: &Value| value.get("groupVersion").and_then(Value::as_str).map(str::to_owned);
    let mut groups: BTreeMap<String, Vec<String>> = listed
        .iter()
        .filter_map(|group| {
            let name = group.get("name")?.as_str()?;
            let preferred = group.get("preferredVersion").and_then(version);
            let others = group.get("versions").and_then(Value::as_array).into_iter().flatten();
            let mut versions: Vec<String> = preferred.into_iter().chain(others.filter_map(version)).collect();
            let mut seen = BTreeSet::new();
            versions.retain(|version| is_path(version) && seen.insert(version.clone()));
            Some((name.to_owned(), versions))
        })
        .collect();
    groups.insert(String::new(), vec!["v1".to_owned()]);
    Ok(groups)
}

/// The resources of these kinds in a group, and why some could not be looked up.
async fn resources(
    client: &Client,
    group: &str,
    versions: &[String],
    kinds: &BTreeSet<&str>,
) -> (BTreeMap<String, Resource>, Option<String>) {
    let (mut found, mut problem) = (BTreeMap::new(), None);
    for version in versions {
        if kinds.iter().all(|kind| found.contains_key(*kind)) {
            break;
        }
        let path = if group.is_empty() { "/api/" } else { "/apis/" };
        let answer = match get(client, &format!("{path}{version}")).await {
            Ok(answer) => answer,
            // The version is gone.
            Err(broken) if broken.code() == Some(404) => continue,
            Err(broken) => {
                problem = Some(format!("the kinds of {version} could not be listed and checked: {broken}"));
                continue;
            }
        };
        let rows = answer.get("resources").and_then(Value::as_array).into_iter().flatten();
        for row in rows {
            let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
            let (kind, plural) = (text("kind"), text("name"));
            let verbs = row.get("verbs").and_then(Value::as_array).into_iter().flatten();
            // A plural with a slash is a subresource.
            if kinds.contains(kind) && is_path(plural) && !plural.contains('/') && verbs.into_iter().any(|verb| verb == "list") {
                found.entry(kind.to_owned()).or_insert_with(|| Resource {
                    api_version: version.clone(),
                    plural: plural.to_owned(),
                    namespaced: row.get("namespaced").and_then(Value::as_bool).unwrap_or(true),
                });
            }
        }
    }
    (found, problem)
}

/// Whether it can be a group and version, or a plural, in a path.
fn is_path(text: &str) -> bool {
    !text.is_empty() && text.split('/').all(convert::is_name)
}
