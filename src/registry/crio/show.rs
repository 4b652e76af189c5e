//! CRI-O's files, explained to people.

use super::folder::Folder;
use crate::image::{Reference, Target, escape};
use crate::registry::show_section::Image;
use crate::registry::show_section::{Section, place};
use crate::runtime::crio::Crio;
use crate::runtime::crio::auth::NodeAuth;
use crate::runtime::crio::candidates::candidates;
use crate::runtime::crio::node::NodeSettings;
use crate::runtime::crio::openshift::{CONFIG_NAMESPACE, GlobalPullSecret, OperatorConfig, PULL_SECRET};
use crate::runtime::crio::policy::{Policy, Says};
use crate::runtime::crio::pull_sources::pull_sources;
use crate::runtime::crio::registries_conf::{AskedFor, RegistriesConf, Registry};
use crate::runtime::crio::short_names::written;
use crate::runtime::outcome::NodeSettingsFault;
use crate::runtime::request::Scheme;
use crate::yaml;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// By a `registries.conf`, or a folder laid out as the nodes have it.
pub(in crate::registry) fn by_files(path: &Path, by: Crio) -> Result<Vec<Section>, Vec<String>> {
    let folder = Folder::read(path);
    let parsed = folder.parse()?;
    let node = NodeSettings {
        registries: parsed.registries,
        auth: Arc::clone(&parsed.auth),
        files: parsed.files,
        ..NodeSettings::default()
    };
    let names = folder.names()?;
    let mut sections = of_registries(&node, by);
    for (host, certificates) in &parsed.certificates {
        let mut section = Section::new(
            format!("certificates for {}", escape(host)),
            Some(folder.shown(&Path::new("certs.d").join(host))),
        );
        match certificates {
            Ok(read) => {
                let client = if read.identity.is_some() {
                    ", and a client certificate"
                } else {
                    ""
                };
                section.row(format!("{} files of authorities{client}", read.roots.len()), None);
            }
            Err(why) => section.row(format!("every pull from there fails: {}", escape(why)), None),
        }
        sections.push(section);
    }
    let with_text = |at: &Path| Some((folder.shown(at), folder.text(at).ok()?.to_owned()));
    if let Some((file, text)) =
        with_text(&names.auth).filter(|_| !parsed.auth.entries.is_empty() || !parsed.auth.helpers.is_empty())
    {
        sections.push(credentials("the node's credentials", &file, &text));
    } else if parsed.auth.unknown {
        sections
            .push(Section::new("the node's credentials", None).with("not known: global_auth_file names a file that is not here"));
    }
    for name in parsed.auths.keys() {
        if let Some((file, text)) = with_text(&names.auths.join(format!("{name}.json"))) {
            sections.push(credentials(&format!("credentials for {} alone", escape(name)), &file, &text));
        }
    }
    if let Some((file, text)) = with_text(&names.policy).filter(|_| parsed.policy.is_some()) {
        sections.push(policy("what may run (policy.json)", &file, &text));
    }
    for namespace in parsed.policies.keys() {
        if let Some((file, text)) = with_text(&names.policies.join(format!("{namespace}.json"))) {
            sections.push(policy(
                &format!("what may run in namespace {} instead", escape(namespace)),
                &file,
                &text,
            ));
        }
    }
    Ok(sections)
}

/// By the same, for one image.
pub(in crate::registry) fn image_by_files(path: &Path, by: Crio, image: Image<'_>) -> Result<Vec<Section>, Vec<String>> {
    let folder = Folder::read(path);
    let parsed = folder.parse()?;
    let node = NodeSettings {
        registries: parsed.registries,
        auth: Arc::clone(&parsed.auth),
        policy: parsed.policy,
        files: parsed.files,
        ..NodeSettings::default()
    };
    Ok(of_image(&node, by, image))
}

/// By OpenShift's objects, for one image.
pub(in crate::registry) fn image_by_openshift(config: &OperatorConfig, by: Crio, image: Image<'_>) -> Vec<Section> {
    let mut node = NodeSettings::from(config.conf.clone());
    match &config.pull_secret {
        GlobalPullSecret::Known(json) => node.auth = Arc::new(NodeAuth::parse(json.bytes()).unwrap_or_default().0),
        GlobalPullSecret::Hidden => {
            node.auth = Arc::new(NodeAuth {
                unknown: true,
                ..NodeAuth::default()
            });
        }
        GlobalPullSecret::None => {}
    }
    let policy = config
        .policy
        .as_ref()
        .and_then(|json| Policy::parse(json.to_string().as_bytes()).ok());
    node.policy = policy.map(Arc::new);
    of_image(&node, by, image)
}

/// For one image where the node's file is not known: as with an empty one.
pub(in crate::registry) fn image_by_nothing(by: Crio, image: Image<'_>) -> Vec<Section> {
    const UNKNOWN: &str = "the node's registries.conf is not known here: give it as registriesConf";
    if written(image.written).is_some() {
        return vec![
            Section::new(escape(image.written), None)
                .with(UNKNOWN)
                .with("a short name is not known without it"),
        ];
    }
    let sections = of_image(&NodeSettings::default(), by, image);
    sections.into_iter().map(|section| section.with(UNKNOWN)).collect()
}

/// The places that are asked for an image, name by name.
fn of_image(node: &NodeSettings, by: Crio, image: Image<'_>) -> Vec<Section> {
    let fails = |title: &str, why: NodeSettingsFault| {
        let why = match why {
            NodeSettingsFault::NoSearchRegistry => "a short name, and there is neither an alias for it nor a search registry",
            NodeSettingsFault::Ambiguous => "a short name, and CRI-O takes none of several search registries",
            _ => "the settings turn the name into an invalid one",
        };
        Section::new(escape(title), None).with(format!("fails: {why}"))
    };
    let short = written(image.written);
    let names = match short {
        Some(short) => match candidates(&node.registries, by.version, short, image.reference) {
            Ok(names) => names,
            Err(why) => return vec![fails(image.written, why)],
        },
        None => vec![image.reference.clone()],
    };
    let one = |name: &Reference| {
        let entry = node.registries.find(&name.name()).map(|registry| registry.at);
        let all = match pull_sources(&node.registries, by.version, name) {
            Ok(all) => all,
            Err(why) => return fails(&name.to_string(), why),
        };
        let mut section = Section::new(escape(&name.to_string()), entry.and_then(|at| node.place(at)));
        if let Some(at) = short.and_then(|short| node.registries.aliases_at.get(short)) {
            section.row(format!("\"{}\" is an alias of it", escape(image.written)), node.place(*at));
        } else if short.is_some() {
            section.row("by the search registries", node.place(node.registries.search_at));
        }
        for place in all {
            let there = &place.reference;
            let at = node.place(place.at).filter(|_| entry.is_some());
            if place.blocked {
                section.row(format!("{} is blocked", escape(&there.name())), at);
                continue;
            }
            let target = match there.target() {
                Target::Tag(tag) => tag,
                Target::Digest(digest) => digest.to_string(),
            };
            let host = place
                .origin(Scheme::Https)
                .map_or_else(|| there.domain().to_owned(), |origin| origin.to_string());
            let url = format!("{host}/v2/{}/manifests/{target}", there.repository());
            let credential = credential(&node.auth, &there.name(), place.own);
            let credential = credential.trim_start_matches("; credential: ").to_owned();
            section.asks(vec![url], insecure(place.insecure), credential, at);
        }
        let says = match node.says(name) {
            Says::Accept => None,
            Says::Reject => Some("policy.json rejects it, once the manifest is found"),
            Says::IfSigned => Some("policy.json admits it if it is signed, and signatures are not checked here"),
        };
        if let Some(says) = says {
            section.row(says, None);
        }
        section
    };
    names.iter().map(one).collect()
}

/// By what OpenShift's operator makes of the cluster's objects.
pub(in crate::registry) fn by_openshift(config: &OperatorConfig, by: Crio) -> Vec<Section> {
    let mut node = NodeSettings::from(config.conf.clone());
    let title = format!("the node's credentials ({CONFIG_NAMESPACE}/{PULL_SECRET})");
    let secret = match &config.pull_secret {
        GlobalPullSecret::Known(json) => {
            node.auth = Arc::new(NodeAuth::parse(json.bytes()).unwrap_or_default().0);
            let keys = node.auth.entries.keys().map(|key| format!("\"{}\"", escape(key)));
            Some(keys.fold(Section::new(title, None), Section::with))
        }
        GlobalPullSecret::Hidden => Some(Section::new(title, None).with("not known: it may not be read")),
        GlobalPullSecret::None => None,
    };
    let mut sections = of_registries(&node, by);
    for host in config.certificates.keys() {
        let title = format!("certificates for {}", escape(host));
        sections.push(Section::new(title, None).with("authorities of additionalTrustedCA"));
    }
    sections.extend(secret);
    if let Some(policy_json) = &config.policy {
        sections.push(policy("what may run (policy.json)", "", &policy_json.to_string()));
    }
    sections
}

fn of_registries(node: &NodeSettings, by: Crio) -> Vec<Section> {
    let conf = &node.registries;
    let mut sections = vec![short_names(node, by)];
    sections.extend(conf.registries.iter().map(|registry| of_registry(node, registry)));
    let credential = "the pod's, else the node's for that HOST:PORT";
    let title = if conf.registries.is_empty() {
        "every registry"
    } else {
        "every other registry"
    };
    sections.push(Section::new(title, None).with(format!("1. the registry itself; credential: {credential}")));
    sections
}

fn short_names(node: &NodeSettings, by: Crio) -> Section {
    let conf: &RegistriesConf = &node.registries;
    let mut section = Section::new("short names", None);
    for (name, full) in &conf.aliases {
        let at = conf.aliases_at.get(name).and_then(|at| node.place(*at));
        section.row(format!("{} is {}", escape(name), escape(full)), at);
    }
    let at = || node.place(conf.search_at);
    let all = conf
        .search
        .iter()
        .map(|registry| escape(registry))
        .collect::<Vec<_>>()
        .join(", ");
    match conf.search.len() {
        0 => section.row("others fail: there is no search registry", None),
        1 => section.row(format!("others are looked for at {all}"), at()),
        _ if conf.tries_all || !by.version.refuses_ambiguous_names() => {
            section.row(format!("others are looked for at {all}, in this order"), at());
        }
        _ => section.row(
            format!("others fail: of several search registries ({all}) none is taken"),
            at(),
        ),
    }
    section
}

fn of_registry(node: &NodeSettings, registry: &Registry) -> Section {
    let mut section = Section::new(escape(&registry.prefix), node.place(registry.at));
    let own_host = |location: &str| host(location) == host(&registry.prefix);
    let mut number = 0;
    for mirror in &registry.mirrors {
        number += 1;
        let only = match mirror.asked_for {
            AskedFor::All if registry.mirror_by_digest_only => ", for digests only",
            AskedFor::All => "",
            AskedFor::Digests => ", for digests only",
            AskedFor::Tags => ", for tags only",
        };
        let text = format!(
            "{number}. {}{only}{}{}",
            escape(&mirror.location),
            insecure(mirror.insecure),
            credential(&node.auth, &mirror.location, own_host(&mirror.location))
        );
        section.row(text, node.place(mirror.at));
    }
    let location = match registry.location.as_str() {
        "" => "the registry itself".to_owned(),
        location if location == registry.prefix => "the registry itself".to_owned(),
        location => escape(location),
    };
    let place = if registry.location.is_empty() {
        &registry.prefix
    } else {
        &registry.location
    };
    let blocked = registry.blocked && (registry.location.is_empty() || registry.location == registry.prefix);
    let text = if blocked {
        format!("{}. {location} is blocked", number + 1)
    } else {
        let own = registry.location.is_empty() || own_host(place);
        format!(
            "{}. {location}{}{}",
            number + 1,
            insecure(registry.insecure),
            credential(&node.auth, place, own)
        )
    };
    section.row(text, node.place(registry.at));
    section
}

fn host(location: &str) -> &str {
    location.split('/').next().unwrap_or_default()
}

fn insecure(insecure: bool) -> &'static str {
    if insecure {
        ", certificate not checked, plain HTTP if HTTPS fails"
    } else {
        ""
    }
}

/// Whose credential a place is shown.
fn credential(auth: &NodeAuth, location: &str, own: bool) -> String {
    let node = if auth.unknown {
        Some("the node's, which is not known here".to_owned())
    } else if auth.helpers.contains_key(host(location)) {
        Some(format!("the node's, of the helper for \"{}\"", escape(host(location))))
    } else {
        auth.key(location, host(location))
            .map(|key| format!("the node's, key \"{}\"", escape(key)))
    };
    match (own, node) {
        (true, Some(node)) => format!("; credential: the pod's, else {node}"),
        (true, None) => "; credential: the pod's".to_owned(),
        (false, Some(node)) => format!("; credential: {node}"),
        (false, None) => "; credential: none".to_owned(),
    }
}

/// The keys of a file with credentials.
fn credentials(title: &str, file: &str, text: &str) -> Section {
    let mut section = Section::new(title, Some(file.to_owned()));
    for document in &yaml::documents(text).documents {
        for (field, what) in [("credHelpers", "of a credential helper"), ("auths", "of auths")] {
            let Some(entries) = document.value.get(field).and_then(Value::as_object) else {
                continue;
            };
            for key in entries.keys() {
                let (line, _) = document.place_of(&format!("{field}[{key}]"));
                section.row(format!("\"{}\" {what}", escape(key)), Some(place(file, line)));
            }
        }
    }
    section
}

/// The scopes of a policy.
fn policy(title: &str, file: &str, text: &str) -> Section {
    let mut section = Section::new(title, (!file.is_empty()).then(|| file.to_owned()));
    let asks = |value: &Value| {
        let all = value.as_array().into_iter().flatten();
        let all: Vec<String> = all.filter_map(|one| Some(escape(one.get("type")?.as_str()?))).collect();
        all.join(", ")
    };
    for document in &yaml::documents(text).documents {
        let at = |path: &str| (!file.is_empty()).then(|| place(file, document.place_of(path).0));
        let scopes = document.value.pointer("/transports/docker").and_then(Value::as_object);
        for (scope, value) in scopes.into_iter().flatten() {
            section.row(
                format!("{}: {}", escape(scope), asks(value)),
                at(&format!("transports.docker[{scope}]")),
            );
        }
        if let Some(value) = document.value.get("default") {
            section.row(format!("all others: {}", asks(value)), at("default"));
        }
    }
    section
}
