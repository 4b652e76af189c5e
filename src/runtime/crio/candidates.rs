//! How CRI-O completes names without a registry (`pkg/shortnames` of containers/image).

use crate::image::Reference;
use crate::runtime::crio::registries_conf::RegistriesConf;
use crate::runtime::crio::version::Version;
use crate::runtime::outcome::NodeSettingsFault;

/// Which references a short name stands for, in the order in which they are tried.
pub fn candidates(
    conf: &RegistriesConf,
    version: Version,
    short: &str,
    reference: &Reference,
) -> Result<Vec<Reference>, NodeSettingsFault> {
    let rest = |name: &str| reference.with_name(name).ok_or(NodeSettingsFault::InvalidName);
    if let Some(alias) = conf.aliases.get(short) {
        return Ok(vec![rest(alias)?]);
    }
    let all = conf.search.iter().map(|registry| {
        let full = Reference::parse(&format!("{registry}/{short}")).map_err(|_| NodeSettingsFault::InvalidName)?;
        rest(&full.name())
    });
    let all: Vec<Reference> = all.collect::<Result<_, _>>()?;
    match all.len() {
        0 => Err(NodeSettingsFault::NoSearchRegistry),
        1 => Ok(all),
        _ if version.refuses_ambiguous_names() && !conf.tries_all => Err(NodeSettingsFault::Ambiguous),
        _ => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::crio::short_names::written;

    const NEW: Version = Version(1, 36, 3);
    const OLD: Version = Version(1, 33, 0);

    fn conf(text: &str) -> RegistriesConf {
        RegistriesConf::parse(text, &[]).unwrap()
    }

    #[track_caller]
    fn check(conf: &RegistriesConf, version: Version, name: &str, expected: Result<&[&str], NodeSettingsFault>) {
        let reference = Reference::parse(name).unwrap();
        let found = candidates(conf, version, written(name).unwrap(), &reference);
        let found = found.map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>());
        let expected = expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn what_they_stand_for() {
        let none = conf("");
        check(&none, NEW, "app", Err(NodeSettingsFault::NoSearchRegistry));
        let hub = conf("unqualified-search-registries = ['docker.io']\n[aliases]\n'app' = 'quay.io/team/app'\n");
        check(&hub, NEW, "app:v1", Ok(&["quay.io/team/app:v1"]));
        check(&hub, NEW, "other", Ok(&["docker.io/library/other:latest"]));
        check(&hub, NEW, "team/other:v2", Ok(&["docker.io/team/other:v2"]));
        check(&hub, NEW, "LOCALHOST/foo", Err(NodeSettingsFault::InvalidName));
        let both = conf("unqualified-search-registries = ['a.example', 'b.example:5000']\n");
        check(&both, NEW, "app:v1", Err(NodeSettingsFault::Ambiguous));
        let all: &[&str] = &["a.example/app:v1", "b.example:5000/app:v1"];
        check(&both, OLD, "app:v1", Ok(all));
        let tries_all = RegistriesConf { tries_all: true, ..both };
        check(&tries_all, NEW, "app:v1", Ok(all));
    }
}
