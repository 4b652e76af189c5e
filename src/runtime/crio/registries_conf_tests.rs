use super::*;

#[track_caller]
fn fails(main: &str, drop_ins: &[&str], drop_in: Option<usize>, why: &str) {
    let found = RegistriesConf::parse(main, drop_ins).unwrap_err();
    assert_eq!((found.drop_in, found.why.as_str()), (drop_in, why));
}

#[test]
fn what_an_entry_may_say() {
    let conf = RegistriesConf::parse(
        r#"
            unqualified-search-registries = ["docker.io", "quay.io:443/"]
            short-name-mode = "enforcing"
            credential-helpers = ["containers-auth.json"]
            unknown = 5
            [[registry]]
            prefix = "a.example/team/"
            Location = "b.example:5000/x"
            insecure = true
            blocked = true
            mirror-by-digest-only = true
            [[registry.mirror]]
            location = "m.test"
            insecure = true
            [aliases]
            "app" = "docker.io/app"
        "#,
        &[],
    )
    .unwrap();
    assert_eq!(
        conf,
        RegistriesConf {
            registries: vec![Registry {
                prefix: "a.example/team".into(),
                location: "b.example:5000/x".into(),
                insecure: true,
                blocked: true,
                mirror_by_digest_only: true,
                mirrors: vec![Mirror {
                    location: "m.test".into(),
                    insecure: true,
                    asked_for: AskedFor::All,
                    at: Line { file: 0, line: 12 },
                }],
                at: Line { file: 0, line: 6 },
            }],
            search_at: Line { file: 0, line: 2 },
            aliases_at: BTreeMap::from([("app".into(), Line { file: 0, line: 16 })]),
            search: vec!["docker.io".into(), "quay.io:443".into()],
            aliases: BTreeMap::from([("app".into(), "docker.io/library/app".into())]),
            tries_all: false,
        }
    );
    assert_eq!(RegistriesConf::parse("", &[]).unwrap(), RegistriesConf::default());
}

#[test]
fn later_files_win() {
    let main = "unqualified-search-registries = ['a.example']\n[aliases]\nx = 'a.example/x'\ny = 'a.example/y'\n\
                [[registry]]\nlocation = 'a.example'\ninsecure = true\n[[registry.mirror]]\nlocation = 'm.test'\n\
                [[registry]]\nlocation = 'a.example'\nblocked = false\ninsecure = true\n";
    let first = "[[registry]]\nlocation = 'a.example'\n[aliases]\nx = ''\ny = 'b.example/y'\n";
    let second = "unqualified-search-registries = []\n[[registry]]\nlocation = 'b.example'\nblocked = true\n";
    let conf = RegistriesConf::parse(main, &[first, second]).unwrap();
    let of = |location: &str, blocked| Registry {
        prefix: location.to_owned(),
        location: location.to_owned(),
        blocked,
        at: if location == "a.example" {
            Line { file: 1, line: 1 }
        } else {
            Line { file: 2, line: 2 }
        },
        ..Registry::default()
    };
    // Taken whole: neither insecure nor the mirror is left.
    assert_eq!(conf.registries, [of("a.example", false), of("b.example", true)]);
    assert_eq!(conf.aliases, BTreeMap::from([("y".to_owned(), "b.example/y".to_owned())]));
    assert!(conf.search.is_empty());
    let main_only = RegistriesConf::parse(main, &[]).unwrap();
    assert_eq!(main_only.registries.len(), 1);
    assert_eq!(
        main_only.registries[0].mirrors.len(),
        1,
        "of two entries of one prefix the first counts"
    );
    let kept = RegistriesConf::parse(main, &["[[registry]]\nlocation = 'c.example'\n"]).unwrap();
    assert_eq!(kept.search, ["a.example"]);
}

#[test]
fn the_old_form() {
    let old = "[registries.search]\nregistries = ['docker.io']\n[registries.insecure]\nregistries = ['a.example:5000']\n\
               [registries.block]\nregistries = ['b.example', 'a.example:5000']\n";
    let conf = RegistriesConf::parse(old, &[]).unwrap();
    let of = |location: &str, insecure| Registry {
        prefix: location.to_owned(),
        location: location.to_owned(),
        insecure,
        blocked: true,
        ..Registry::default()
    };
    assert_eq!(conf.registries, [of("a.example:5000", true), of("b.example", false)]);
    assert_eq!(conf.search, ["docker.io"]);
    fails("", &["", old], Some(1), "registry must be in v2 format but is in v1");
    fails(
        &format!("short-name-mode = 'enforcing'\n{old}"),
        &[],
        None,
        "mixing sysregistry v1/v2 is not supported",
    );
    assert_eq!(RegistriesConf::parse("[registries]\n", &[]), Ok(RegistriesConf::default()));
}

#[test]
fn what_is_wrong_has_a_place() {
    let place = |text: &str| RegistriesConf::parse(text, &[]).unwrap_err().to_string();
    for (text, expected) in [
        ("\n x = [", "2:7: unclosed array, expected `]`"),
        ("# a\n  short-name-mode = 'maybe'", "2:3: invalid short-name mode: \"maybe\""),
        (
            "[[registry]]\nlocation = 'a.example'\n\n[[registry]]\n",
            "4:1: invalid condition: both location and prefix are unset",
        ),
        (
            "[[registry]]\nlocation = 'a.example'\n[[registry.mirror]]\nlocation = 'm.test'\n[[registry.mirror]]\ninsecure = true\n",
            "5:1: invalid condition: mirror location is unset",
        ),
        (
            "[[registry]]\nlocation = 'a.example'\n[[registry]]\nlocation = 'a.example'\nblocked = true\n",
            "3:1: registry 'a.example' is defined multiple times with conflicting 'blocked' setting",
        ),
        // At the key, where one is to blame.
        (
            "[[registry]]\nlocation = 'a.example'\n  insecure = 'yes'\n",
            "3:3: insecure must be true or false",
        ),
        (
            "[[registry]]\nprefix = 'a.example'\nlocation = 'http://b.example'\n",
            "3:1: invalid location 'http://b.example': URI schemes are not supported",
        ),
        (
            "[[registry]]\nlocation = 'a.example'\n[[registry.mirror]]\nlocation = 'm.test'\npull-from-mirror = 'tags'\n",
            "5:1: unsupported pull-from-mirror value \"tags\" for mirror \"m.test\"",
        ),
        (
            "[aliases]\n'a' = 'b.example/a'\n'b:v1' = 'b.example/b'\n",
            "3:1: invalid short name \"b:v1\"",
        ),
    ] {
        assert_eq!(place(text), expected, "{text}");
    }
}

#[test]
fn what_crio_passes_over_is_noted_with_its_place() {
    let notes = |text: &str| -> Vec<String> { RegistriesConf::passed_over(text).iter().map(ToString::to_string).collect() };
    assert_eq!(
        notes(
            "[[registry]]\nlocation = 'a.example'\nblokced = true\n[[registry.mirror]]\nlocation = 'm.test'\n  blocked = true\n\
             unqualified-search-registries = ['docker.io']\n[registries.serach]\nregistries = []\n[other]\nx = 1\n"
        ),
        [
            "3:1: unknown key \"blokced\"; did you mean \"blocked\"?; CRI-O ignores it",
            "6:3: unknown key \"blocked\"; known here: location, insecure, pull-from-mirror; CRI-O ignores it",
            "7:1: unknown key \"unqualified-search-registries\"; known here: location, insecure, pull-from-mirror; CRI-O ignores it",
            "8:13: unknown key \"serach\"; did you mean \"search\"?; CRI-O ignores it",
            "10:2: unknown key \"other\"; known here: registry, unqualified-search-registries, credential-helpers, short-name-mode, \
             additional-layer-store-auth-helper, aliases, registries; CRI-O ignores it",
        ]
    );
    assert_eq!(
        notes(
            "unqualified-search-registries = []\nshort-name-mode = ''\n[aliases]\nx = 'a.example/x'\n\
             [[registry]]\nPrefix = '*.a.example'\nmirror = [{location = 'm', insecure = true}]\n"
        ),
        [""; 0]
    );
    assert_eq!(notes("[registries.insecure]\nregistries = ['a.example']\n"), [""; 0]);
}

#[test]
fn what_keeps_crio_from_starting() {
    let entry = |text: &str| format!("[[registry]]\n{text}\n");
    let mirror = |text: &str| entry(&format!("location = 'a.example'\n[[registry.mirror]]\n{text}"));
    for (text, why) in [
        ("x = [".to_owned(), "unclosed array, expected `]`"),
        (entry("insecure = 'yes'"), "insecure must be true or false"),
        (entry("location = 5"), "location must be text"),
        ("registry = 5".to_owned(), "registry must be a list of tables"),
        (
            "unqualified-search-registries = 'x'".to_owned(),
            "unqualified-search-registries must be a list of texts",
        ),
        (entry(""), "invalid condition: both location and prefix are unset"),
        (
            entry("prefix = 'a.example'"),
            "invalid condition: location is unset and prefix is not in the format: *.example.com",
        ),
        (
            entry("location = 'http://a.example'"),
            "invalid location 'http://a.example': URI schemes are not supported",
        ),
        (
            entry("prefix = '*.a.example/x'\nlocation = 'b.example'"),
            "a prefix with a wildcard should be in the format *.example.com, and \"*.a.example/x\" is not",
        ),
        (
            entry("location = 'a.example'\npull-from-mirror = 'all'"),
            "pull-from-mirror must not be set for a non-mirror registry \"a.example\"",
        ),
        (mirror("insecure = true"), "invalid condition: mirror location is unset"),
        (
            mirror("location = 'm.test'\npull-from-mirror = 'never'"),
            "unsupported pull-from-mirror value \"never\" for mirror \"m.test\"",
        ),
        (
            entry(
                "location = 'a.example'\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = 'm.test'\npull-from-mirror = 'all'",
            ),
            "cannot set mirror usage mirror-by-digest-only for the registry (\"a.example\") and pull-from-mirror for per-mirror \
             (\"m.test\") at the same time",
        ),
        (
            entry("prefix = 'x.example'\nlocation = 'a.example'\ninsecure = true") + &entry("location = 'a.example'"),
            "registry 'a.example' is defined multiple times with conflicting 'insecure' setting",
        ),
        (
            "unqualified-search-registries = ['a.example/x']".to_owned(),
            "invalid unqualified-search-registries entry \"a.example/x\"",
        ),
        ("short-name-mode = 'maybe'".to_owned(), "invalid short-name mode: \"maybe\""),
        (
            "[aliases]\n'a.example/x' = 'b.example/x'".to_owned(),
            "invalid short name \"a.example/x\"",
        ),
        ("[aliases]\n'x:v1' = 'b.example/x'".to_owned(), "invalid short name \"x:v1\""),
        (
            "[aliases]\nx = 'team/x'".to_owned(),
            "invalid alias \"team/x\": must contain registry and repository",
        ),
        (
            "[aliases]\nx = 'b.example/x:v1'".to_owned(),
            "invalid alias \"b.example/x:v1\": must contain registry and repository",
        ),
    ] {
        fails(&text, &[], None, why);
    }
    fails("", &["x = ["], Some(0), "unclosed array, expected `]`");
}
