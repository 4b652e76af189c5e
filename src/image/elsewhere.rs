//! Where an image that was not found might be: the same path and tag in other registries. Pure.

use super::Reference;

/// The most guesses.
const MOST: usize = 3;

/// Names for the image in `places` (registries, with an optional prefix: `registry.corp.example/team`), likeliest first, at most
/// three. Without invalid names, and without the image itself.
///
/// The first guess for each place comes before the second for any. Below `/team`, `team/app` is `app` rather than `team/app` again,
/// and an official image of Docker Hub (`library/nginx`) has lost its `library/` rather than kept it.
pub fn elsewhere(reference: &Reference, places: &[String]) -> Vec<Reference> {
    let guesses: Vec<Vec<Reference>> = places.iter().map(|place| at(reference, place)).collect();
    let rounds = guesses.iter().map(Vec::len).max().unwrap_or_default();
    let mut all: Vec<Reference> = Vec::new();
    for round in 0..rounds {
        for guess in guesses.iter().filter_map(|at| at.get(round)) {
            if guess.name() != reference.name() && !all.contains(guess) {
                all.push(guess.clone());
            }
            if all.len() == MOST {
                return all;
            }
        }
    }
    all
}

/// The guesses for one place, likeliest first.
fn at(reference: &Reference, place: &str) -> Vec<Reference> {
    let place = place.trim_end_matches('/');
    if place.is_empty() {
        return Vec::new();
    }
    let path = reference.path();
    let official = path.strip_prefix("library/").filter(|_| reference.domain() == "docker.io");
    let short = official.unwrap_or(path);
    let joined = [
        overlap(place, short).map(|rest| format!("{place}/{rest}")),
        Some(format!("{place}/{short}")),
        official.map(|_| format!("{place}/{}", overlap(place, path).unwrap_or(path))),
    ];
    joined
        .into_iter()
        .flatten()
        .filter_map(|name| reference.with_name(&name))
        .collect()
}

/// The rest of `path` after the components that it shares with the end of `place`.
fn overlap<'a>(place: &str, path: &'a str) -> Option<&'a str> {
    let (_, prefix) = place.split_once('/')?;
    path.match_indices('/')
        .map(|(at, _)| path.split_at(at))
        .filter(|(head, _)| prefix == *head || prefix.strip_suffix(head).is_some_and(|before| before.ends_with('/')))
        .map(|(_, rest)| rest.trim_start_matches('/'))
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(image: &str, places: &[&str], expected: &[&str]) {
        let places: Vec<String> = places.iter().map(ToString::to_string).collect();
        let found = elsewhere(&Reference::parse(image).unwrap(), &places);
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, expected, "{image} at {places:?}");
    }

    #[test]
    fn guesses() {
        check(
            "myapp:v1",
            &["registry.corp.example/team"],
            &[
                "registry.corp.example/team/myapp:v1",
                "registry.corp.example/team/library/myapp:v1",
            ],
        );
        check("team/app:v1", &["reg.example:5000"], &["reg.example:5000/team/app:v1"]);
        check(
            "team/app:v1",
            &["reg.example/team/"],
            &["reg.example/team/app:v1", "reg.example/team/team/app:v1"],
        );
        check(
            "a/b/c",
            &["reg.example/x/a/b"],
            &["reg.example/x/a/b/c:latest", "reg.example/x/a/b/a/b/c:latest"],
        );
        check("steam/app:1", &["reg.example/team"], &["reg.example/team/steam/app:1"]);
        check(
            "app:1",
            &["reg.example/app"],
            &["reg.example/app/app:1", "reg.example/app/library/app:1"],
        );
        let digest = format!("sha256:{}", "a".repeat(64));
        check(
            &format!("quay.io/team/app:v1@{digest}"),
            &["reg.example"],
            &[&format!("reg.example/team/app:v1@{digest}")],
        );
    }

    #[test]
    fn no_more_than_three_and_each_place_first() {
        check(
            "app:1",
            &["a.example", "b.example", "c.example", "d.example"],
            &["a.example/app:1", "b.example/app:1", "c.example/app:1"],
        );
        check(
            "app:1",
            &["a.example", "b.example"],
            &["a.example/app:1", "b.example/app:1", "a.example/library/app:1"],
        );
    }

    #[test]
    fn what_is_no_place() {
        check("app:1", &["docker.io", "docker.io/library"], &[]);
        check(
            "app:1",
            &["", "/", "reg.example/**", "Reg/x y", "reg.example/UPPER", "team"],
            &[],
        );
        check("reg.example/app:1", &["reg.example", "reg.example"], &[]);
        check(
            "app:1",
            &["a.example", "a.example"],
            &["a.example/app:1", "a.example/library/app:1"],
        );
        let long = format!("reg.example/{}", "a".repeat(300));
        check("app:1", &[&long], &[]);
    }

    proptest::proptest! {
        #[test]
        fn any_place_is_answered(places in proptest::collection::vec("[a-z./*:-]{0,20}", 0..6)) {
            let reference = Reference::parse("team/app:v1").unwrap();
            let found = elsewhere(&reference, &places);
            proptest::prop_assert!(found.len() <= MOST && !found.contains(&reference));
            proptest::prop_assert!(found.iter().all(|guess| guess.tag() == Some("v1")));
        }
    }
}
