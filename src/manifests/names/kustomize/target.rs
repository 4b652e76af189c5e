//! Which resources a patch or a replacement is for: kustomize's `Selector` (`api/types/selector.go`).

use super::text;
use regex::Regex;
use serde_json::Value;

/// What a kustomization changes in the identity of resources.
#[derive(Debug, Default)]
pub(super) struct Identity {
    pub(super) prefix: String,
    pub(super) suffix: String,
    pub(super) namespace: String,
    pub(super) labels: Vec<(String, String)>,
}

/// The identity of a resource on its way through kustomizations. Its earlier names still select it.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) names: Vec<String>,
    pub(super) namespaces: Vec<String>,
    pub(super) labels: Vec<(String, String)>,
    pub(super) annotations: Vec<(String, String)>,
}

impl Known {
    /// Adds what a kustomization changes: the old and the new names both select it.
    pub(super) fn change(&mut self, identity: &Identity) {
        let Identity {
            prefix,
            suffix,
            namespace,
            labels,
        } = identity;
        if let Some(last) = self.names.last().filter(|_| !prefix.is_empty() || !suffix.is_empty()) {
            self.names.push(format!("{prefix}{last}{suffix}"));
        }
        if !namespace.is_empty() {
            self.namespaces.push(namespace.clone());
        }
        for (key, value) in labels {
            self.labels.retain(|(known, _)| known != key);
            self.labels.push((key.clone(), value.clone()));
        }
    }
}

/// A selector. An empty field selects everything; the others are regular expressions for the whole text.
#[derive(Debug, Default)]
pub(super) struct Target {
    group: Pattern,
    version: Pattern,
    kind: Pattern,
    name: Pattern,
    namespace: Pattern,
    labels: String,
    annotations: String,
}

/// A regular expression for a whole text; `None` takes everything.
#[derive(Debug, Default)]
struct Pattern(Option<Kind>);

#[derive(Debug)]
enum Kind {
    Plain(String),
    Expression(Regex),
}

impl Pattern {
    fn new(text: String) -> Self {
        if text.is_empty() {
            return Self(None);
        }
        if text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Self(Some(Kind::Plain(text)));
        }
        let expression = Regex::new(&format!("^(?:{text})$"));
        Self(Some(expression.map_or(Kind::Plain(text), Kind::Expression)))
    }

    fn exactly(text: String) -> Self {
        Self((!text.is_empty()).then_some(Kind::Plain(text)))
    }

    fn fits(&self, is: &str) -> bool {
        match &self.0 {
            None => true,
            Some(Kind::Plain(text)) => text == is,
            Some(Kind::Expression(expression)) => expression.is_match(is),
        }
    }
}

impl Target {
    /// Of `target`, `select` or an entry of `reject`.
    pub(super) fn read(value: &Value) -> Self {
        let pattern = |field: &str| Pattern::new(text(value, field));
        Self {
            group: pattern("group"),
            version: pattern("version"),
            kind: pattern("kind"),
            name: pattern("name"),
            namespace: pattern("namespace"),
            labels: text(value, "labelSelector"),
            annotations: text(value, "annotationSelector"),
        }
    }

    /// The resource that a strategic merge patch names.
    pub(super) fn of_body(body: &Value) -> Self {
        let name = body.get("metadata").map(|metadata| text(metadata, "name"));
        Self {
            kind: Pattern::exactly(text(body, "kind")),
            name: Pattern::exactly(name.unwrap_or_default()),
            ..Self::default()
        }
    }

    pub(super) fn fits(&self, known: &Known) -> bool {
        let (group, version) = known.api_version.split_once('/').unwrap_or(("", &known.api_version));
        self.group.fits(group)
            && self.version.fits(version)
            && self.kind.fits(&known.kind)
            && known.names.iter().any(|name| self.name.fits(name))
            && (known.namespaces.is_empty() || known.namespaces.iter().any(|name| self.namespace.fits(name)))
            && selects(&self.labels, &known.labels)
            && selects(&self.annotations, &known.annotations)
    }
}

/// Whether a label selector in its text form (`a=b,c!=d,e in (x, y),f,!g`) selects these labels.
fn selects(selector: &str, labels: &[(String, String)]) -> bool {
    let mut depth = 0_usize;
    let requirements = selector.split(|c: char| {
        depth = match c {
            '(' => depth + 1,
            ')' => depth.saturating_sub(1),
            _ => depth,
        };
        c == ',' && depth == 0
    });
    let label = |key: &str| {
        labels
            .iter()
            .find(|(known, _)| known == key.trim())
            .map(|(_, value)| value.as_str())
    };
    let among = |list: &str, value: &str| list.trim().trim_matches(['(', ')']).split(',').any(|one| one.trim() == value);
    requirements.map(str::trim).filter(|one| !one.is_empty()).all(|one| {
        if let Some((key, list)) = one.split_once(" notin ") {
            label(key).is_none_or(|value| !among(list, value))
        } else if let Some((key, list)) = one.split_once(" in ") {
            label(key).is_some_and(|value| among(list, value))
        } else if let Some((key, value)) = one.split_once("!=") {
            label(key) != Some(value.trim())
        } else if let Some((key, value)) = one.split_once('=') {
            label(key) == Some(value.trim_start_matches('=').trim())
        } else if let Some(key) = one.strip_prefix('!') {
            label(key).is_none()
        } else {
            label(one).is_some()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_target_is_for() {
        let known = Known {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            names: vec!["app".to_owned(), "prod-app".to_owned()],
            namespaces: vec!["default".to_owned()],
            labels: vec![("tier".to_owned(), "web".to_owned())],
            annotations: Vec::new(),
        };
        for (target, fits) in [
            (json!({}), true),
            (json!({"kind": "Deployment|StatefulSet", "name": ".*app"}), true),
            (json!({"kind": "Deploy"}), false),
            (json!({"name": "prod-app"}), true),
            (json!({"name": "ap"}), false),
            (json!({"group": "apps", "version": "v1"}), true),
            (json!({"group": "batch"}), false),
            (json!({"namespace": "other"}), false),
            (json!({"labelSelector": "tier=web"}), true),
            (json!({"labelSelector": "tier in (db, web),!canary"}), true),
            (json!({"labelSelector": "tier!=web"}), false),
            (json!({"labelSelector": "tier notin (web)"}), false),
            (json!({"labelSelector": "canary"}), false),
            (json!({"annotationSelector": "x=y"}), false),
        ] {
            assert_eq!(Target::read(&target).fits(&known), fits, "{target}");
        }
        let body = json!({"kind": "Deployment", "metadata": {"name": "app"}});
        assert!(Target::of_body(&body).fits(&known));
    }
}
