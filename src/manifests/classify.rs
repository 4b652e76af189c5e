//! Classifies files that are not Kubernetes manifests, by name and text.

use super::notes::NoteKind;
use serde_json::Value;
use std::path::Path;

/// Whether a text is a template that something has to render.
pub(super) fn is_template(text: &str) -> bool {
    let marks = ["{{", "{%", "<%", "%{"];
    marks.iter().any(|mark| text.contains(mark)) || has_configured(text)
}

/// Whether there is an `@NAME@`, which `configure`, `CMake` or `sed` fill in.
fn has_configured(text: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_uppercase())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    text.lines()
        .any(|line| line.split('@').skip(1).any(is_name) && line.matches('@').count() > 1)
}

/// Whether a text that does not parse has marks that a script fills in: `{NAME}` with text behind it, which is no YAML, or a line `%s`.
pub(super) fn is_format(text: &str) -> bool {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let in_braces = |line: &str| {
        line.split('{').skip(1).any(|part| {
            part.split_once('}')
                .is_some_and(|(name, rest)| is_name(name) && !rest.starts_with([',', ']', '}', ' ']) && !rest.trim().is_empty())
        })
    };
    text.lines()
        .any(|line| matches!(line.trim().trim_end_matches(','), "%s" | "%v") || in_braces(line))
}

/// Whether a text that does not parse was meant for a cluster: it has both fields that every object has, in their usual place.
pub(super) fn looks_like_kubernetes(text: &str) -> bool {
    let has = |key: &str| {
        let quoted = format!("\"{key}\"");
        text.lines()
            .any(|line| line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(':')))
            || text.contains(&quoted)
    };
    has("apiVersion") && has("kind")
}

/// Whether a text has nothing but comments and document markers.
pub(super) fn is_empty(text: &str) -> bool {
    text.trim_start_matches('\u{feff}').lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || matches!(line, "---" | "...")
    })
}

/// Whether a file has the default values of a chart.
pub(super) fn is_values(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "values.yaml") && path.with_file_name("Chart.yaml").is_file()
}

/// Whether a file is a kustomization, which may leave out `apiVersion` and `kind`.
pub(super) fn is_kustomization(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| matches!(name, "kustomization.yaml" | "kustomization.yml" | "Kustomization"))
}

/// Whether a file is for `check` itself: a baseline, or the settings of the repository.
pub(super) fn is_ours(path: &Path, text: &str) -> bool {
    path.file_name().is_some_and(|name| name == ".pullgate.yaml")
        || text.contains("\"pullgate.dev/baseline/")
        || text.contains("\"pullgate.dev/report/")
}

/// Whether SOPS has encrypted a document.
pub(super) fn is_encrypted(document: &Value) -> bool {
    let sops = document.get("sops").and_then(Value::as_object);
    sops.is_some_and(|sops| sops.contains_key("mac") || sops.contains_key("lastmodified"))
        || ["data", "stringData"].iter().any(|key| {
            let values = document.get(*key).and_then(Value::as_object);
            values.is_some_and(|values| {
                values
                    .values()
                    .any(|value| value.as_str().is_some_and(|text| text.starts_with("ENC[")))
            })
        })
}

/// The kind of a file that has no Kubernetes object.
pub(super) fn other(path: &Path, text: &str) -> NoteKind {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let below = |folder: &str| path.parent().is_some_and(|parent| parent.ends_with(folder));
    if text.contains("\nsops:") || text.contains("\"sops\"") {
        return NoteKind::Encrypted;
    }
    if path.extension().is_some_and(|ending| ending == "json") {
        let comment = |line: &str| line.trim_start().starts_with("//") || line.trim_start().starts_with("/*");
        return if text.lines().any(comment) {
            NoteKind::JsonWithComments
        } else if is_template(text) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
            NoteKind::Template
        } else {
            NoteKind::Json
        };
    }
    let chart_beside = || path.parent().is_some_and(|folder| folder.join("Chart.yaml").is_file());
    // The values that chart-testing tries.
    let tried = name.ends_with("-values.yaml") && path.parent().is_some_and(|folder| folder.ends_with("ci"));
    if name == "Chart.yaml" || name.starts_with("values") || tried || (name.contains("values") && chart_beside()) {
        NoteKind::ChartFile
    } else if below(".github/workflows") || name.starts_with(".gitlab-ci") || name == ".travis.yml" || below(".circleci") {
        NoteKind::Workflow
    } else if name.contains("compose") {
        NoteKind::Compose
    } else {
        NoteKind::Yaml
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_for_a_cluster_is_known_by_name_and_text() {
        for (path, text, is) in [
            ("charts/a/values.yaml", "image: {}\n", NoteKind::ChartFile),
            ("charts/a/values-prod.yaml", "image: {}\n", NoteKind::ChartFile),
            ("charts/a/ci/dev-values.yaml", "image: {}\n", NoteKind::ChartFile),
            (".github/workflows/ci.yml", "on: push\n", NoteKind::Workflow),
            ("docker-compose.yml", "services: {}\n", NoteKind::Compose),
            (
                "tsconfig.json",
                "{\n  // strict\n  \"strict\": true\n}\n",
                NoteKind::JsonWithComments,
            ),
            ("package.json", "{\"name\": \"x\"}\n", NoteKind::Json),
            ("package.json", "{\"name\": \"{{ x }}\"}\n", NoteKind::Json),
            ("{{cookiecutter.x}}/a.json", "{{% if x %}}\n", NoteKind::Template),
            ("a/secret.sops.yaml", "a: ENC[x]\nsops:\n  mac: x\n", NoteKind::Encrypted),
            ("mkdocs.yml", "site_name: x\n", NoteKind::Yaml),
        ] {
            assert_eq!(other(Path::new(path), text), is, "{path}");
        }
    }

    #[test]
    fn a_broken_text_looks_like_kubernetes_by_the_two_fields_of_every_object() {
        assert!(looks_like_kubernetes("apiVersion: v1\nkind: Pod\n  x: [\n"));
        assert!(is_template("name: @STS_NAME@\n") && is_template("%{ if x ~}\n"));
        assert!(!is_template("image: a@sha256:00\nmail: a@EXAMPLE\n"));
        assert!(is_format("clusterIP: {PREFIX}.16\n") && is_format("{\"items\": [\n  %s,\n  %s\n]}\n"));
        assert!(!is_format("a: {b}\nc: [{d}, {e}]\nf: {g} # h\nprintf: '%s'\n"));
        assert!(looks_like_kubernetes("{\"apiVersion\": \"v1\", \"kind\": "));
        assert!(!looks_like_kubernetes("a:\n  apiVersion: v1\n  kind: Pod\n x: [\n"));
        assert!(!looks_like_kubernetes("kind: x\n- a\n"));
    }
}
