//! What is worth knowing about one kind of registry: host → software, and situation → hint. A table to read and to extend
//! (pull-semantics 6.3).

use super::Topic;
use crate::runtime::outcome::{Purpose, WEB_PAGE};
use crate::verdict::Failure;

/// Registries that behave in a way of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::verdict) enum Software {
    DockerHub,
    Ghcr,
    Quay,
    Ecr,
    EcrPublic,
    Google,
    Acr,
    Harbor,
    GitLab,
    Artifactory,
    Nexus,
}

/// What somebody wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::verdict) enum Situation {
    /// Which credential reads there; none was sent.
    Login,
    /// What became of a credential that is refused.
    Renew,
    /// Which right a credential lacks.
    Right,
    /// What a 404 may hide.
    Missing,
    /// What blocks an image by a rule.
    Blocked,
    /// What admits an address.
    Address,
    /// How to pull more.
    Throttled,
    /// How names look there.
    Name,
    /// What a web page instead of an answer means.
    Page,
    /// What a 401 without a challenge means.
    NoChallenge,
}

use Situation::{Address, Blocked, Login, Missing, Name, NoChallenge, Page, Renew, Right, Throttled};
use Software::{Acr, Artifactory, DockerHub, Ecr, EcrPublic, Ghcr, GitLab, Google, Harbor, Nexus, Quay};

/// The longest hint, in characters: behind `check the spelling; ` it must be seen whole in a warning, which shows 110 of a fix.
#[cfg(test)]
pub(in crate::verdict) const LONGEST: usize = 88;

/// The hints. Each is a clause that says what to do.
pub(in crate::verdict) const HINTS: &[(Software, Situation, &str)] = &[
    (
        DockerHub,
        Login,
        "for a private image, use an access token of a Docker Hub account",
    ),
    (DockerHub, Renew, "make a new access token at Docker Hub"),
    (
        DockerHub,
        Right,
        "give the account read access to the repository at Docker Hub",
    ),
    (
        DockerHub,
        Throttled,
        "log in to Docker Hub: an account has a limit of its own, an address shares one",
    ),
    (Ghcr, Login, "make the package public, or use a token with read:packages"),
    (
        Ghcr,
        Renew,
        "use a token (classic) with read:packages, authorised for the organisation",
    ),
    (
        Ghcr,
        Right,
        "give the token's owner access to the package, and the token read:packages",
    ),
    (
        Quay,
        Login,
        "make the repository public, or use a robot account of its organisation",
    ),
    (
        Quay,
        Renew,
        "look up the robot account's token at Quay; its name is ORGANISATION+ROBOT",
    ),
    (
        Quay,
        Right,
        "give the robot account read permission on the repository at Quay",
    ),
    (
        Ecr,
        Login,
        "let the nodes' role pull (ecr:BatchGetImage), or run `aws ecr get-login-password`",
    ),
    (Ecr, Renew, "run `aws ecr get-login-password` again; ECR's tokens last 12 h"),
    (
        Ecr,
        Right,
        "allow ecr:BatchGetImage in the repository's policy; ECR's tokens last 12 h",
    ),
    (
        Ecr,
        Missing,
        "create the repository in this account and region: ECR does not create it by itself",
    ),
    (Ecr, Throttled, "spread the pulls: ECR throttles by account and region"),
    (
        EcrPublic,
        Login,
        "check the alias: what public.ecr.aws has can be read without a credential",
    ),
    (
        EcrPublic,
        Renew,
        "remove the entry for public.ecr.aws, which needs none; its tokens last 12 h",
    ),
    (
        EcrPublic,
        Right,
        "remove the entry for public.ecr.aws, which needs none; its tokens last 12 h",
    ),
    (
        EcrPublic,
        Throttled,
        "log in (`aws ecr-public get-login-password`): 10 pulls a second instead of 1",
    ),
    (
        Google,
        Login,
        "grant roles/artifactregistry.reader to the nodes' service account",
    ),
    (Google, Renew, "use a key (user _json_key): access tokens of Google last 1 h"),
    (
        Google,
        Right,
        "grant roles/artifactregistry.reader to the service account on the repository",
    ),
    (
        Google,
        Name,
        "write HOST/PROJECT/REPOSITORY/IMAGE: Artifact Registry has three parts or more",
    ),
    (
        Acr,
        Login,
        "grant AcrPull to the nodes' identity, or use a token or service principal",
    ),
    (Acr, Renew, "renew the service principal's or token's password, which expires"),
    (
        Acr,
        Right,
        "grant AcrPull to the identity, or content/read on the repository to the token",
    ),
    (
        Acr,
        Address,
        "admit the nodes' addresses in the registry's network rules, or use a private endpoint",
    ),
    (
        Harbor,
        Login,
        "use a robot account of the project (quote its $ in a shell: 'robot$ci')",
    ),
    (
        Harbor,
        Renew,
        "check that the robot account has not expired; quote its $ in a shell: 'robot$ci'",
    ),
    (
        Harbor,
        Right,
        "give the robot account pull on the project; quote its $ in a shell: 'robot$ci'",
    ),
    (
        Harbor,
        Blocked,
        "sign the image or fix its vulnerabilities, as the Harbor project's policy demands",
    ),
    (
        Harbor,
        NoChallenge,
        "check the project's name: Harbor gives this answer if it does not exist",
    ),
    (GitLab, Login, "use a deploy token with read_registry"),
    (GitLab, Renew, "make a new deploy token with read_registry"),
    (
        GitLab,
        Right,
        "use a deploy token of this project or its group, with read_registry",
    ),
    (
        Artifactory,
        Login,
        "use an identity token of a user who may read the repository",
    ),
    (Artifactory, Renew, "make a new identity token or API key"),
    (
        Artifactory,
        Right,
        "check the tag too: a virtual repository may answer 403 for a missing one",
    ),
    (
        Artifactory,
        Missing,
        "a remote repository shows an upstream failure as 404 for a while: zap its cache",
    ),
    (
        Artifactory,
        Page,
        "put the repository's key before the image, as Artifactory's Docker access method says",
    ),
    (
        Nexus,
        Login,
        "use a Nexus user, or activate the Docker Bearer Token Realm for anonymous pulls",
    ),
    (Nexus, Renew, "check the Nexus user's password or token"),
    (Nexus, Right, "give the Nexus user the privilege to read the repository"),
    (
        Nexus,
        Missing,
        "check the port: each Docker repository of Nexus has a connector of its own",
    ),
    (
        Nexus,
        Page,
        "check the port: each Docker repository of Nexus has a connector of its own",
    ),
];

/// The hint for this situation, if there is one.
pub(in crate::verdict) fn hint(software: Option<Software>, situation: Situation) -> Option<&'static str> {
    let software = software?;
    HINTS
        .iter()
        .find(|(of, when, _)| (*of, *when) == (software, situation))
        .map(|(_, _, hint)| *hint)
}

/// The software behind an image's registry: by its host, else by what it answered.
pub(in crate::verdict) fn software(failure: &Failure, topic: Topic<'_>) -> Option<Software> {
    by_host(topic.reference.registry()).or_else(|| by_answer(failure))
}

/// The software that answers under a host of this name.
pub(in crate::verdict) fn by_host(registry: &str) -> Option<Software> {
    let registry = registry.to_ascii_lowercase();
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        Some(_) | None => registry.as_str(),
    };
    let ends = |with: &[&str]| with.iter().any(|end| host.ends_with(end));
    match host {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => return Some(DockerHub),
        "ghcr.io" => return Some(Ghcr),
        "quay.io" => return Some(Quay),
        "public.ecr.aws" => return Some(EcrPublic),
        "gcr.io" => return Some(Google),
        _ => {}
    }
    if (host.contains(".dkr.ecr.") || host.contains(".dkr.ecr-fips.")) && ends(&[".amazonaws.com", ".amazonaws.com.cn"]) {
        return Some(Ecr);
    }
    if ends(&[".gcr.io", ".pkg.dev"]) {
        return Some(Google);
    }
    if ends(&[".azurecr.io", ".azurecr.cn", ".azurecr.us"]) {
        return Some(Acr);
    }
    if ends(&[".jfrog.io"]) {
        return Some(Artifactory);
    }
    // Self-hosted ones are mostly called by their names: harbor.corp.example, registry.gitlab.example.
    host.split(['.', '-']).find_map(|word| match word {
        "harbor" => Some(Harbor),
        "gitlab" => Some(GitLab),
        "artifactory" | "jfrog" => Some(Artifactory),
        "nexus" => Some(Nexus),
        "quay" => Some(Quay),
        _ => None,
    })
}

/// The software that answers so: its token server's address, or a code of its own.
fn by_answer(failure: &Failure) -> Option<Software> {
    if failure.code.as_deref() == Some("PROJECTPOLICYVIOLATION") {
        return Some(Harbor);
    }
    let request = failure
        .request
        .as_ref()
        .filter(|request| request.purpose != Purpose::Content)?;
    let url = request.url.split('?').next().unwrap_or_default();
    if url.ends_with("/service/token") {
        Some(Harbor)
    } else if url.ends_with("/jwt/auth") {
        Some(GitLab)
    } else if url.contains("/api/docker/") {
        Some(Artifactory)
    } else if url.ends_with("/v2/auth") {
        Some(Quay)
    } else {
        None
    }
}

/// Whether a web page came where a registry answers.
pub(in crate::verdict) fn is_page(failure: &Failure) -> bool {
    failure.code.is_none() && failure.detail.as_deref() == Some(WEB_PAGE)
}
