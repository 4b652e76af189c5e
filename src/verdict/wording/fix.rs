//! What to do about a failure.

use super::asked;
use super::hint::{self, Situation, hint, is_page};
use super::{Pulled, Topic, may_mean_another};
use crate::image::{Reference, Target, escape};
use crate::runtime::outcome::{ContentFault, Evidence, Failure, GuardRule, NodeSettingsFault, Rejection, TlsFault};

/// What to do next; the most telling clause first, as warnings show the beginning.
pub(in crate::verdict) fn fix(failure: &Failure, topic: Topic<'_>) -> String {
    // By the grammar this is a tag of a repository called sha256, which nobody means.
    let reference = topic.reference;
    if reference.name() == "docker.io/library/sha256"
        && reference.digest().is_none()
        && reference
            .tag()
            .is_some_and(|tag| Reference::is_image_id(&format!("sha256:{tag}")))
    {
        return "name the repository too, as in NAME@sha256:DIGEST; sha256:… alone is an image ID, which no registry knows"
            .to_owned();
    }
    let mut fix = of_evidence(failure, topic);
    if let Some(base) = asked::doubled(failure, reference).or(failure.doubled_v2_base.as_deref()) {
        fix = format!(
            "if {} is the whole path, write `override_path = true` beside it in the nodes' hosts.toml; {fix}",
            escape(base)
        );
    }
    if !may_mean_another(failure, topic) {
        return fix;
    }
    let elsewhere = "write the registry in front of the name";
    match &failure.evidence {
        // A repository that exists is mostly the one that was meant.
        Evidence::TagUnknown { repository_exists: true } => format!("{fix}; if it is in another registry, {elsewhere}"),
        _ => format!("if it is not Docker Hub's, {elsewhere}; {fix}"),
    }
}

fn of_evidence(failure: &Failure, topic: Topic<'_>) -> String {
    let host = escape(&failure.host);
    let registry = escape(topic.reference.registry());
    let repository = escape(topic.reference.repository());
    let software = hint::software(failure, topic);
    let hint = |situation| hint(software, situation);
    // As a clause of its own, behind or before others.
    let behind = |situation| hint(situation).map_or_else(String::new, |hint| format!("; {hint}"));
    let before = |situation| hint(situation).map_or_else(String::new, |hint| format!("{hint}; "));
    let nodes = format!("if the nodes hold credentials for {registry}, add it to nodeCredentials");
    match &failure.evidence {
        Evidence::TagUnknown { .. } | Evidence::DigestUnknown if is_page(failure) => {
            let own = hint(Situation::Page).unwrap_or("check its port and path");
            format!("check that {registry} is a registry; {own}")
        }
        Evidence::TagUnknown { .. } => {
            let closest = if failure.suggestions.is_empty() {
                String::new()
            } else {
                let all: Vec<String> = failure.suggestions.iter().map(|tag| escape(tag)).collect();
                format!(" (closest: {})", all.join(", "))
            };
            format!(
                "use a tag that exists{closest}, or push {}{}",
                target(topic),
                behind(Situation::Missing)
            )
        }
        Evidence::TagWithoutManifest => format!(
            "push {} again, or use another tag{}",
            target(topic),
            behind(Situation::Missing)
        ),
        Evidence::RepositoryUnknown => format!(
            "check the spelling of \"{repository}\", or push the image to {registry}{}",
            behind(Situation::Missing)
        ),
        Evidence::DigestUnknown => format!(
            "use a digest that the repository holds, or push that manifest{}",
            behind(Situation::Missing)
        ),
        // The name is right then; and the latter is likelier.
        Evidence::AuthenticationRequired { .. }
        | Evidence::InsufficientScope {
            with_credential: false, ..
        } if topic.pulled == Pulled::Before => format!("list a pull secret; {nodes}"),
        Evidence::AuthenticationRequired { .. }
        | Evidence::InsufficientScope {
            with_credential: false, ..
        } => format!(
            "check the spelling; {}for a private image list a pull secret for {registry} in imagePullSecrets (namespace {}); {nodes}",
            before(Situation::Login),
            if topic.namespace.is_empty() {
                "of the pod".to_owned()
            } else {
                escape(topic.namespace)
            }
        ),
        Evidence::InsufficientScope {
            with_credential: true, ..
        } => format!(
            "check the spelling; {}give {} read access to \"{repository}\"; {nodes}",
            before(Situation::Right),
            topic.tried.unwrap_or("the credential")
        ),
        Evidence::CredentialRefused { .. } => {
            let tried = topic.tried.unwrap_or("the credential");
            let own = hint(Situation::Renew).map_or_else(String::new, |hint| format!(" ({hint})"));
            let right = match failure.status {
                Some(403) => {
                    hint(Situation::Right).map_or_else(|| ", or give it read access".to_owned(), |hint| format!("; {hint}"))
                }
                _ => String::new(),
            };
            format!("renew {tried}{own}{right}, or remove its entry for {registry} if the image is public")
        }
        Evidence::CredentialNotText { .. } => {
            let tried = topic.tried.unwrap_or("the credential");
            format!("write {tried} again in UTF-8, or remove its entry for {registry} if the image is public")
        }
        Evidence::Forbidden { address_bound: true, .. } => {
            hint(Situation::Address).map_or_else(|| format!("check that {host} admits the nodes' addresses"), str::to_owned)
        }
        Evidence::Forbidden { with_credential, .. } => match failure.status {
            Some(412) => format!(
                "{}ask the owners of {host} why the image is blocked (signature, scan), and push one that passes",
                before(Situation::Blocked)
            ),
            Some(451) => "use another source of the image".to_owned(),
            _ => {
                let situation = match (with_credential, is_about_age(failure)) {
                    (true, true) => Situation::Renew,
                    (true, false) => Situation::Right,
                    (false, _) => Situation::Login,
                };
                format!(
                    "{}grant read access to \"{repository}\" to {}; {nodes}",
                    before(situation),
                    topic.tried.unwrap_or("a credential, and list it as a pull secret")
                )
            }
        },
        Evidence::Rejected(rejection) => {
            let own = match rejection {
                Rejection::NoUsableChallenge => before(Situation::NoChallenge),
                Rejection::Status if failure.status == Some(400) => before(Situation::Name),
                Rejection::Status
                | Rejection::UnauthorizedAgain
                | Rejection::TokenStatus
                | Rejection::NoToken
                | Rejection::RedirectLoop
                | Rejection::NoRealm
                | Rejection::HeadOnly => String::new(),
            };
            format!("{own}ask the owners of {host}; the same request by a node gets the same answer")
        }
        Evidence::NodeSettings(NodeSettingsFault::NoHost) => {
            format!("give a host in the nodes' hosts.toml for {registry} the capabilities \"pull\" and \"resolve\"")
        }
        Evidence::NodeSettings(NodeSettingsFault::PeersOnly) => format!(
            "load the image onto a node that has the embedded registry, or name {registry} among the endpoints of its mirror in registries.yaml"
        ),
        Evidence::NodeSettings(NodeSettingsFault::NoAddress) => "write the name or the address of the registry".to_owned(),
        Evidence::NodeSettings(NodeSettingsFault::ShortName) => {
            "write the registry in front of the name, or give pullgate the nodes' file (registries.registriesConf in its settings)"
                .to_owned()
        }
        Evidence::NodeSettings(NodeSettingsFault::PlainHttp) => format!(
            "serve {host} over TLS; or make it insecure in the nodes' registries.conf, and give pullgate that file (registries.registriesConf in \
             its settings)"
        ),
        Evidence::NodeSettings(NodeSettingsFault::NodeCredential) => {
            "give pullgate the nodes' auth.json, in the folder of registries.registriesConf".to_owned()
        }
        Evidence::NodeSettings(NodeSettingsFault::RejectedByPolicy) => {
            format!("use an image that the nodes may run, or allow {repository} in their policy.json")
        }
        Evidence::NodeSettings(NodeSettingsFault::SignatureNotChecked) => {
            "check the signature with the tool that made it, or try the pull on a node".to_owned()
        }
        Evidence::NodeSettings(NodeSettingsFault::NoSearchRegistry | NodeSettingsFault::Ambiguous) => {
            "write the registry in front of the name".to_owned()
        }
        Evidence::NodeSettings(NodeSettingsFault::Unreadable) => "repair that file; pullgate's log says where".to_owned(),
        Evidence::NodeSettings(NodeSettingsFault::Blocked) => {
            format!("use a registry that the nodes may ask, or unblock {registry} in their registries.conf")
        }
        Evidence::NodeSettings(NodeSettingsFault::InvalidName) => {
            format!("repair the entry for {registry} in the nodes' registries.conf")
        }
        Evidence::RateLimited => format!(
            "{}wait, or pull with a credential or through a mirror; nothing is wrong with {repository}",
            before(Situation::Throttled)
        ),
        Evidence::NameNotResolved if host.split(':').next() == registry.split(':').next() => {
            format!("check the spelling of {host}, and that the nodes can resolve it")
        }
        // Nobody wrote this host: Docker Hub's registry-1.docker.io, a mirror, a token server.
        Evidence::NameNotResolved => format!("check that the nodes can resolve {host}, which they ask for images of {registry}"),
        Evidence::ConnectionFailed(_) | Evidence::TimedOut(_) => {
            format!("check that {host} is up and that the nodes reach it; pullgate could not")
        }
        Evidence::Tls(TlsFault::PlainHttp) => {
            format!("serve {host} over TLS, or configure it as plain HTTP on the nodes")
        }
        Evidence::Tls(_) => format!("check the certificate of {host}; the nodes must trust it, and so must pullgate to check it"),
        Evidence::ServerError { .. } => format!("try again when {host} works"),
        Evidence::StoppedByGuard(GuardRule::Address { range }) => {
            format!("if a registry may live there, add {range} to network.allow in pullgate's settings")
        }
        Evidence::StoppedByGuard(GuardRule::CredentialNotSent) => {
            format!("try the pull on a node; pullgate does not support everything that {registry} asks of a client")
        }
        Evidence::StoppedByGuard(_) => format!("check the registry {registry}: pullgate does not go where it points"),
        Evidence::ContentInvalid(ContentFault::DigestIsBlob) => "use the digest of the manifest or index".to_owned(),
        Evidence::ContentInvalid(ContentFault::MediaType(media_type)) if media_type.starts_with("text/html") => format!(
            "{}check the name and the port, or repair what {host} serves",
            before(Situation::Page)
        ),
        Evidence::ContentInvalid(ContentFault::NotServed) => {
            format!("push the image again; if {host} is a cache, clear {repository} from it")
        }
        Evidence::ContentInvalid(_) | Evidence::ContentMissing { .. } => {
            format!("push the image again, or repair what {host} serves")
        }
        Evidence::ForeignUrls { host, .. } => format!(
            "check that the nodes reach {}, or push the image again with its layers in the registry",
            escape(host)
        ),
        Evidence::Redirected { by, .. } => format!(
            "let the nodes reach {host} too, not only {}{}",
            escape(by),
            data_endpoint(&host)
        ),
        Evidence::ByChance { .. } => {
            format!("change the rewrite patterns for {registry} so that one matches \"{repository}\"")
        }
        Evidence::TooLong { .. } => "push a smaller manifest or index (fewer entries or annotations)".to_owned(),
        Evidence::NoRegistry { .. } => {
            let own = hint(Situation::Page).map_or_else(String::new, |hint| format!("; {hint}"));
            format!("check what answers at {host} (ingress, proxy, firewall, login page), and that {registry} is a registry{own}")
        }
        Evidence::Internal => "try again; report the bug with pullgate's log".to_owned(),
    }
}

/// The tag or the digest.
fn target(topic: Topic<'_>) -> String {
    match topic.reference.target() {
        Target::Tag(tag) => tag,
        Target::Digest(digest) => digest.to_string(),
    }
}

/// Azure's registries keep manifests at one host and everything else at another; firewall rules that know the first only are common.
fn data_endpoint(host: &str) -> &'static str {
    let name = host.split(':').next().unwrap_or_default();
    if name.ends_with(".data.azurecr.io") || name.ends_with(".blob.core.windows.net") {
        " (firewall rules for Azure's registry need its data endpoint, *.data.azurecr.io or *.blob.core.windows.net)"
    } else {
        ""
    }
}

/// Whether a registry says that a credential was good once.
fn is_about_age(failure: &Failure) -> bool {
    failure
        .detail
        .as_ref()
        .is_some_and(|detail| detail.to_ascii_lowercase().contains("expired"))
}
