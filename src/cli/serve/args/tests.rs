use super::*;
use clap::Parser;

#[derive(Debug, Parser)]
struct Only {
    #[command(flatten)]
    args: Args,
}

fn plan(line: &str) -> Result<Plan, String> {
    let words = std::iter::once("serve").chain(line.split_whitespace());
    let only = Only::try_parse_from(words).map_err(|error| error.to_string())?;
    only.args.plan().map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_those_of_the_manual() {
    let plan = plan("--tls-dev").unwrap();
    assert_eq!(plan.listen.to_string(), "0.0.0.0:8443");
    assert_eq!(plan.metrics_listen.to_string(), "0.0.0.0:8080");
    assert_eq!(plan.deadline, Duration::from_secs(8));
    assert_eq!(plan.source, Source::InCluster);
    assert_eq!(plan.tls, Tls::Development { out: None });
    assert_eq!(plan.config, None);
    assert_eq!(plan.clients, None, "whoever reaches the port may ask");
}

#[test]
fn clients_of_a_ca_go_with_every_kind_of_certificate() {
    for tls in ["--tls-dev", "--tls-self-managed", "--tls-cert a --tls-key b"] {
        let plan = plan(&format!("{tls} --tls-client-ca c")).unwrap();
        assert_eq!(plan.clients, Some("c".into()), "{tls}");
    }
}

#[test]
fn where_things_come_from() {
    let given = plan("--tls-cert a --tls-key b --kubeconfig k").unwrap();
    let files = Tls::Files {
        certificate: "a".into(),
        key: "b".into(),
    };
    assert_eq!((given.tls, given.source), (files, Source::Kubeconfig("k".into())));
    assert_eq!(plan("--tls-dev --no-cluster").unwrap().source, Source::Nothing);
    assert_eq!(
        plan("--tls-dev --no-cluster --facts d").unwrap().source,
        Source::Folder("d".into())
    );
}

#[test]
fn self_managed_certificates_by_default_and_by_flags() {
    let subject = |service: &str, others: &[&str], days: [u64; 2]| {
        let [leaf, authority] = days.map(|days| Duration::from_hours(24 * days));
        let others = others.iter().map(|&name| name.to_owned()).collect();
        Subject::new(service.to_owned(), others, Lifetimes { leaf, authority }).unwrap()
    };
    let names = |namespace: Option<&str>, secret: &str, configuration: &str| ObjectNames {
        namespace: namespace.map(str::to_owned),
        secret: secret.to_owned(),
        configuration: configuration.to_owned(),
    };
    assert_eq!(
        plan("--tls-self-managed").unwrap().tls,
        Tls::SelfManaged {
            names: names(None, "pullgate-tls", "pullgate"),
            subject: subject("pullgate", &[], [90, 730]),
        }
    );
    let all = "--tls-self-managed --tls-secret s --tls-namespace n --tls-service w --tls-webhook-configuration c \
               --tls-dns-name a.example,10.0.0.1 --tls-dns-name ::1 --tls-lifetime 10d --tls-ca-lifetime 480h";
    assert_eq!(
        plan(all).unwrap().tls,
        Tls::SelfManaged {
            names: names(Some("n"), "s", "c"),
            subject: subject("w", &["a.example", "10.0.0.1", "::1"], [10, 20]),
        }
    );
}

#[test]
fn what_does_not_go_together_is_refused_with_a_sentence() {
    for (line, expect) in [
        ("", "use --tls-cert and --tls-key, or --tls-self-managed, or --tls-dev"),
        (
            "--tls-self-managed --tls-cert a --tls-key b",
            "cannot be combined with --tls-cert",
        ),
        ("--tls-self-managed --tls-key b", "cannot be combined with --tls-cert"),
        ("--tls-self-managed --tls-dev", "cannot be combined"),
        ("--tls-self-managed --no-cluster", "keeps its certificates in the cluster"),
        ("--tls-self-managed --tls-dev-out d", "--tls-dev-out needs --tls-dev"),
        ("--tls-dev --tls-secret s", "--tls-secret needs --tls-self-managed"),
        ("--tls-dev --tls-dns-name a", "--tls-dns-name needs --tls-self-managed"),
        ("--tls-cert a --tls-key b --tls-ca-lifetime 9d", "--tls-ca-lifetime needs"),
        ("--tls-self-managed --tls-secret ../x", "is not a valid object name"),
        ("--tls-self-managed --tls-namespace A", "is not a valid object name"),
        ("--tls-self-managed --tls-service a.b", "is not a valid Service name"),
        ("--tls-self-managed --tls-dns-name *.example.com", "neither a DNS name"),
        ("--tls-self-managed --tls-dns-name a_b", "neither a DNS name"),
        ("--tls-self-managed --tls-lifetime 30s", "valid for at least a minute"),
        ("--tls-self-managed --tls-ca-lifetime 100d", "at least twice as long"),
        ("--tls-cert a", "--tls-cert needs --tls-key"),
        ("--tls-key a", "--tls-key needs --tls-cert"),
        ("--tls-dev --tls-cert a --tls-key b", "cannot be combined with"),
        ("--tls-dev --tls-key b", "cannot be combined with"),
        ("--tls-cert a --tls-key b --tls-dev-out d", "--tls-dev-out needs --tls-dev"),
        ("--tls-dev --facts d", "--facts needs --no-cluster"),
        ("--tls-dev --kubeconfig k --facts d", "--facts needs --no-cluster"),
        (
            "--tls-dev --kubeconfig k --no-cluster",
            "--no-cluster and --kubeconfig cannot be combined",
        ),
        ("--tls-dev --deadline 0s", "must be longer than zero"),
        ("--tls-dev --deadline soon", "is not a duration"),
        ("--tls-dev --listen nowhere", "invalid value 'nowhere'"),
    ] {
        let error = plan(line).expect_err(line);
        assert!(error.contains(expect), "{line}: {error}");
    }
}
