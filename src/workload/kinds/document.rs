//! The table of kinds as a page of the documentation.

use super::table::{ROWS, SOURCES};
use super::{Registration, Scope};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// `docs/kinds.md`, written from the table.
pub fn document() -> String {
    let mut page = "# Kinds that pullgate knows\n\n\
        Written from `src/workload/kinds/table/rows.rs` by `UPDATE_GENERATED=1 cargo test --test policies`; do not edit. A path with `[*]` means every element \
        of a list, `*` every value of a map. *pods* are whole pod specs, *image* is the name of one, *objects* are objects of other kinds of this page. \
        Group and kind decide; versions are ignored. What is not certain softens findings: where another image may run, they are at most warnings; where \
        pull secrets or the service account are another's to choose, an authentication failure is `Unknown`. \
        [configuration.md](configuration.md#kinds) says how kinds are registered and added.\n"
        .to_owned();
    let mut group = None;
    for row in ROWS {
        if group != Some(row.group) {
            group = Some(row.group);
            let name = if row.group.is_empty() { "core" } else { row.group };
            let source = SOURCES
                .iter()
                .find(|(known, _)| *known == row.group)
                .map_or("", |(_, source)| source);
            let _ = write!(
                page,
                "\n## {name}\n\nFrom: {source}\n\n| kind | where | not certain |\n|---|---|---|\n"
            );
        }
        let scope = match (row.scope, row.registration) {
            (Scope::Cluster, _) => " (cluster-scoped)",
            (Scope::Namespaced, Registration::BuiltIn | Registration::Listed | Registration::Configured) => "",
        };
        let kinds: Vec<String> = row.kinds.iter().map(|kind| format!("`{kind}`")).collect();
        let mut places = Vec::new();
        let mut doubts = BTreeSet::new();
        for site in row.sites {
            let path = |below: &str| {
                let parts = [row.within, site.at, below];
                let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                parts.join(".")
            };
            match site.images {
                _ if site.objects => places.push(format!("objects `{}`", path(""))),
                [] => places.push(format!("pods `{}`", path(""))),
                images => places.extend(images.iter().map(|(image, _)| format!("image `{}`", path(image)))),
            }
            doubts.extend(site.doubts.iter().map(|doubt| doubt.why));
        }
        let doubts: Vec<&str> = doubts.into_iter().collect();
        let _ = writeln!(
            page,
            "| {}{scope} | {} | {} |",
            kinds.join(", "),
            places.join("<br>"),
            doubts.join("; ")
        );
    }
    page
}
