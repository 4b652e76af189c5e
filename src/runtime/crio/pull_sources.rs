//! Where CRI-O asks for a repository, and in which order (`PullSourcesFromReference` of containers/image).

use crate::image::Reference;
use crate::runtime::containerd::hosts::contacted;
use crate::runtime::crio::registries_conf::{AskedFor, Line, RegistriesConf};
use crate::runtime::crio::version::Version;
use crate::runtime::outcome::NodeSettingsFault;
use crate::runtime::request::{HostSettingsId, Origin, Scheme};

/// One place where an image is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PullSource {
    /// The reference by its name at this place.
    pub(crate) reference: Reference,
    /// Plain HTTP is allowed, and certificates are not checked.
    pub(crate) insecure: bool,
    /// The line of the file that names it.
    pub(crate) at: Line,
    /// The settings block it.
    pub(crate) blocked: bool,
    /// It has the host and port that the reference names: the pod's credential is sent only there.
    pub(crate) own: bool,
}

impl PullSource {
    /// Its address; `None` if name and port do not make one.
    pub(crate) fn origin(&self, scheme: Scheme) -> Option<Origin> {
        Origin::new(scheme, contacted(self.reference.domain()))
    }

    /// Its settings for TLS.
    pub(crate) fn host_settings(&self) -> HostSettingsId {
        match (self.insecure, is_loopback(self.reference.domain())) {
            (true, _) => HostSettingsId::UNVERIFIED,
            (false, true) => HostSettingsId::VERIFIED,
            (false, false) => HostSettingsId::default(),
        }
    }
}

/// The places of a reference that names its registry, in the order in which they are asked: mirrors, then the registry itself.
pub(crate) fn pull_sources(
    conf: &RegistriesConf,
    version: Version,
    reference: &Reference,
) -> Result<Vec<PullSource>, NodeSettingsFault> {
    let name = reference.name();
    let loopback = version.trusts_loopback() && is_loopback(reference.domain());
    let place = |name: &str, insecure: bool, at: Line| {
        let there = reference.with_name(name).ok_or(NodeSettingsFault::InvalidName)?;
        // containers/image does not support IPv6 addresses.
        if there.domain().is_empty() || there.domain().starts_with('[') {
            return Err(NodeSettingsFault::InvalidName);
        }
        Ok(PullSource {
            at,
            insecure: insecure || loopback,
            blocked: conf.find(name).is_some_and(|registry| registry.blocked),
            own: there.domain() == reference.domain(),
            reference: there,
        })
    };
    let Some(registry) = conf.find(&name) else {
        return Ok(vec![place(&name, false, Line::default())?]);
    };
    let rest = registry.matches(&name).and_then(|end| name.get(end..)).unwrap_or_default();
    let by_digest = reference.digest().is_some();
    let asked = |asked_for: AskedFor| match asked_for {
        AskedFor::All => by_digest || !registry.mirror_by_digest_only,
        AskedFor::Digests => by_digest,
        AskedFor::Tags => !by_digest,
    };
    let mut places = Vec::new();
    for mirror in registry.mirrors.iter().filter(|mirror| asked(mirror.asked_for)) {
        places.push(place(&format!("{}{rest}", mirror.location), mirror.insecure, mirror.at)?);
    }
    let own = match registry.location.as_str() {
        "" => name.clone(),
        location => format!("{location}{rest}"),
    };
    places.push(place(&own, registry.insecure, registry.at)?);
    Ok(places)
}

/// An address in 127.0.0.0/8, or a name that always resolves to one. Which other names resolve to loopback, only a node knows.
fn is_loopback(domain: &str) -> bool {
    let host = domain.split(':').next().unwrap_or_default();
    host == "localhost" || crate::net::is_loopback(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Version = Version(1, 36, 3);
    const DIGEST: &str = "@sha256:1111111111111111111111111111111111111111111111111111111111111111";

    #[track_caller]
    fn check(conf: &str, name: &str, expected: &[&str]) -> Vec<PullSource> {
        let conf = RegistriesConf::parse(conf, &[]).unwrap();
        let found = pull_sources(&conf, NEW, &Reference::parse(name).unwrap()).unwrap();
        let names: Vec<String> = found.iter().map(|place| place.reference.name()).collect();
        assert_eq!(names, expected, "{name}");
        found
    }

    #[track_caller]
    fn fails(conf: &str, name: &str) {
        let conf = RegistriesConf::parse(conf, &[]).unwrap();
        assert_eq!(
            pull_sources(&conf, NEW, &Reference::parse(name).unwrap()),
            Err(NodeSettingsFault::InvalidName),
            "{name}"
        );
    }

    #[test]
    fn without_an_entry_it_is_the_registry_itself() {
        let [place] = &check("", "docker.io/app:v1", &["docker.io/library/app"])[..] else {
            panic!("one place")
        };
        assert!(!place.insecure && !place.blocked && place.own);
        assert_eq!(
            place.origin(Scheme::Https).unwrap().to_string(),
            "https://registry-1.docker.io"
        );
        assert_eq!(place.host_settings(), HostSettingsId::default());
        fails("", "[::1]:5000/app");
    }

    #[test]
    fn the_longest_prefix_counts_and_only_that() {
        let conf = "[[registry]]\nlocation = 'a.example'\ninsecure = true\n\
                    [[registry]]\nprefix = 'a.example/team'\nlocation = 'b.example/x'\n";
        let found = check(conf, "a.example/team/app:v1", &["b.example/x/app"]);
        assert!(!found[0].insecure && !found[0].own);
        let found = check(conf, "a.example/teams/app", &["a.example/teams/app"]);
        assert!(found[0].insecure && found[0].own);
        assert_eq!(found[0].host_settings(), HostSettingsId::UNVERIFIED);
        // A prefix may end before a port, but its location then leaves no room for the port.
        check(conf, "a.example:5000/app", &["a.example:5000/app"]);
        fails(
            "[[registry]]\nprefix = 'a.example'\nlocation = 'b.example:5000'\n",
            "a.example:8443/x",
        );
        // Not fully qualified: it would be a name on Docker Hub.
        fails("[[registry]]\nprefix = 'a.example'\nlocation = 'mirror'\n", "a.example/x");
        fails("[[registry]]\nprefix = 'a.example'\nlocation = '[::1]:5000'\n", "a.example/x");
    }

    #[test]
    fn a_wildcard_matches_every_name_below() {
        let stays = "[[registry]]\nprefix = '*.example.com'\nblocked = true\n";
        assert!(check(stays, "a.b.example.com:5000/x", &["a.b.example.com:5000/x"])[0].blocked);
        assert!(!check(stays, "example.com/x", &["example.com/x"])[0].blocked);
        let led = "[[registry]]\nprefix = '*.example.com'\nlocation = 'proxy.test/all'\n";
        check(led, "a.example.com/x/y", &["proxy.test/all/x/y"]);
        check(led, "other.test/a.example.com/x", &["other.test/a.example.com/x"]);
    }

    #[test]
    fn mirrors_come_first_where_they_are_asked_for_this() {
        let conf = "[[registry]]\nlocation = 'a.example'\n\
                    [[registry.mirror]]\nlocation = 'all.test/a'\ninsecure = true\n\
                    [[registry.mirror]]\nlocation = 'digests.test'\npull-from-mirror = 'digest-only'\n\
                    [[registry.mirror]]\nlocation = 'tags.test'\npull-from-mirror = 'tag-only'\n";
        let found = check(conf, "a.example/x:v1", &["all.test/a/x", "tags.test/x", "a.example/x"]);
        assert_eq!(
            found.iter().map(|place| place.insecure).collect::<Vec<_>>(),
            [true, false, false]
        );
        check(
            conf,
            &format!("a.example/x:v1{DIGEST}"),
            &["all.test/a/x", "digests.test/x", "a.example/x"],
        );
        let by_digest = "[[registry]]\nlocation = 'a.example'\nmirror-by-digest-only = true\n\
                         [[registry.mirror]]\nlocation = 'm.test'\n";
        check(by_digest, "a.example/x:v1", &["a.example/x"]);
        check(by_digest, &format!("a.example/x{DIGEST}"), &["m.test/x", "a.example/x"]);
    }

    #[test]
    fn what_is_blocked_is_the_place_of_that_name() {
        let conf = "[[registry]]\nlocation = 'a.example'\nblocked = true\n[[registry.mirror]]\nlocation = 'm.test'\n";
        let found = check(conf, "a.example/x", &["m.test/x", "a.example/x"]);
        assert_eq!(found.iter().map(|place| place.blocked).collect::<Vec<_>>(), [false, true]);
        // On an entry with another location, `blocked` has no effect.
        let led = "[[registry]]\nprefix = 'a.example'\nlocation = 'b.example'\nblocked = true\n";
        assert!(!check(led, "a.example/x", &["b.example/x"])[0].blocked);
    }

    #[test]
    fn old_versions_trust_loopback() {
        let insecure = |version, name: &str| {
            let places = pull_sources(&RegistriesConf::default(), version, &Reference::parse(name).unwrap()).unwrap();
            places[0].insecure
        };
        for name in ["127.0.0.1:5000/x", "127.8.8.8/x", "localhost/x", "localhost:5000/x"] {
            assert!(insecure(Version(1, 34, 11), name), "{name}");
            assert!(!insecure(Version(1, 35, 0), name), "{name}");
        }
        assert!(!insecure(Version(1, 34, 11), "10.0.0.1:5000/x"));
    }
}
