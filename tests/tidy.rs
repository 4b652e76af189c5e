//! The invariants of docs/architecture.md, held against the sources.
#![allow(clippy::unwrap_used, reason = "a failed expectation is how a test reports")]

#[path = "tidy/citations.rs"]
mod citations;
#[path = "support/documents.rs"]
mod documents;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules by layer, as docs/architecture.md draws them.
const LAYERS: &[&[&str]] = &[
    &["image", "yaml", "telemetry", "go", "net", "files", "limits", "budget", "ask"],
    &["workload", "credentials"],
    &["runtime"],
    &["verdict", "diagnosis"],
    &["policy"],
    &["registry", "cluster", "providers", "review", "report"],
    &["plan", "manifests", "config", "pin"],
    &["gate"],
    &["engine"],
    &["server"],
    &["cli"],
];

/// Modules that must not reach for the world.
const PURE: &[&str] = &[
    "image",
    "go",
    "net",
    "limits",
    "budget",
    "ask",
    "runtime",
    "diagnosis",
    "workload",
    "credentials",
    "verdict",
    "policy",
    "review",
    "plan",
    "pin",
    "gate",
];
const WORLD: &[&str] = &[
    "tokio::",
    "reqwest",
    "kube::",
    "std::fs",
    "std::env",
    "std::net",
    "SystemTime::now",
    "Instant::now",
    "std::process",
    "std::thread",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The module a source file belongs to; `None` for `lib.rs` and `main.rs`.
fn module(path: &Path) -> Option<String> {
    let below = path.strip_prefix(root()).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_str().unwrap();
    let name = first.trim_end_matches(".rs");
    (name != "lib" && name != "main").then(|| name.to_owned())
}

/// The code of a file: without comments, and without its test module. The derives that make a CRD of the policy's model are words, not
/// a client.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap().to_owned();
    let text = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let text = text.collect::<Vec<_>>().join("\n");
    ["kube::{CustomResource, KubeSchema}", "kube::CustomResourceExt"]
        .iter()
        .fold(text, |text, derive| text.replace(derive, ""))
}

fn is_test(path: &Path) -> bool {
    path.components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
}

#[test]
fn every_module_is_in_a_layer_and_in_the_drawing() {
    let drawing = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md")).unwrap();
    for path in sources(&root()) {
        let Some(module) = module(&path) else { continue };
        assert!(
            LAYERS.iter().flat_map(|layer| layer.iter()).any(|known| *known == module),
            "{module} is in no layer"
        );
        assert!(
            drawing.contains(&format!("`{module}`")),
            "docs/architecture.md does not draw {module}"
        );
    }
}

#[test]
fn a_module_imports_only_from_layers_below() {
    let layer_of: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(at, modules)| modules.iter().map(move |module| (*module, at)))
        .collect();
    let mut wrong = Vec::new();
    for path in sources(&root()).into_iter().filter(|path| !is_test(path)) {
        let Some(module) = module(&path) else { continue };
        let here = layer_of[module.as_str()];
        let code = code(&path);
        for (imported, there) in &layer_of {
            let used = code.contains(&format!("crate::{imported}::")) || code.contains(&format!("crate::{imported};"));
            // A group at the root would hide what it imports.
            assert!(
                !code.contains("use crate::{"),
                "{} imports a group of modules",
                path.display()
            );
            if used && *imported != module && *there >= here {
                wrong.push(format!(
                    "{} (layer {}) imports {imported} (layer {})",
                    path.display(),
                    here + 1,
                    there + 1
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_modules_do_not_reach_for_the_world() {
    let mut wrong = Vec::new();
    for path in sources(&root()).into_iter().filter(|path| !is_test(path)) {
        let Some(module) = module(&path) else { continue };
        if !PURE.contains(&module.as_str()) {
            continue;
        }
        let code = code(&path);
        // Addresses are values.
        let allowed = |word: &str| module == "net" && word == "std::net";
        for word in WORLD.iter().filter(|word| code.contains(**word) && !allowed(word)) {
            wrong.push(format!("{} uses {word}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_two_doors_know_their_clients() {
    for path in sources(&root()).into_iter().filter(|path| !is_test(path)) {
        let Some(module) = module(&path) else { continue };
        let code = code(&path);
        // The demo is its own client of the gate.
        let demo = path.ends_with("cli/demo.rs");
        assert!(
            module == "registry"
                || demo && !code.contains("hyper_rustls::")
                || !code.contains("reqwest::") && !code.contains("hyper_rustls::"),
            "{} knows the HTTP client",
            path.display()
        );
        assert!(
            module == "cluster" || !code.contains("kube::"),
            "{} knows the API server's client",
            path.display()
        );
    }
}

#[test]
fn only_one_module_runs_programs_and_serve_asks_no_credential_helper() {
    for path in sources(&root()).into_iter().filter(|path| !is_test(path)) {
        let Some(module) = module(&path) else { continue };
        let code = code(&path);
        let runs = code.contains("process::Command") || code.contains("process::{Command");
        assert!(module == "providers" || !runs, "{} runs programs", path.display());
        let helpers = code.contains("with_helpers(");
        assert!(
            module == "providers" || path.ends_with("cli/inputs.rs") || !helpers,
            "{} asks credential helpers",
            path.display()
        );
    }
}

#[test]
fn no_file_is_left_unfinished() {
    for path in sources(&root()) {
        let code = code(&path);
        for word in ["todo!(", "unimplemented!(", "FIXME", "XXX", "(skeleton)"] {
            assert!(!code.contains(word), "{} holds {word}", path.display());
        }
    }
}

/// Words that pullgate once had of its own for what the field has a term for.
#[test]
fn no_word_is_our_own() {
    const OWN: &[&str] = &[
        "purse", "desk", "shelf", "scene", "jury", "trial", "fates", "fortunes", "roster", "tend", "custody", "poison", "anew",
    ];
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = fs::read_dir(top.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let documents = documents.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let texts = sources(&root()).into_iter().chain([top.join("README.md")]).chain(documents);
    for path in texts {
        let text = fs::read_to_string(&path).unwrap().to_lowercase();
        let mut words = text.split(|c: char| !c.is_alphanumeric());
        if let Some(word) = words.find(|word| OWN.contains(word)) {
            panic!("{} says {word}", path.display());
        }
    }
}
