use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn listed(ranges: &[&str]) -> Reach {
    Reach::Listed(ranges.iter().map(|r| r.parse().unwrap()).collect())
}

#[test]
fn metadata_and_link_local_are_never_reached() {
    let everything = [Reach::Everything, listed(&["0.0.0.0/0", "::/0"])];
    for address in [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "224.0.0.1",
        "255.255.255.255",
        "ff02::1",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "::ffff:0:169.254.169.254",
        "2001:0:4136:e378:8000:63bf:5601:5601",
    ] {
        for reach in &everything {
            assert!(
                matches!(reach.admits(ip(address)), Err(NotAdmitted::Never(_))),
                "{address} with {reach:?}"
            );
        }
    }
}

#[test]
fn private_ranges_are_named() {
    for (address, range) in [
        ("127.0.0.1", "127.0.0.0/8"),
        ("10.1.2.3", "10.0.0.0/8"),
        ("172.31.0.1", "172.16.0.0/12"),
        ("192.168.1.1", "192.168.0.0/16"),
        ("100.64.0.1", "100.64.0.0/10"),
        ("192.0.0.1", "192.0.0.0/24"),
        ("198.19.0.1", "198.18.0.0/15"),
        ("192.0.2.1", "192.0.2.0/24"),
        ("240.0.0.1", "240.0.0.0/4"),
        ("::1", "::1/128"),
        ("fd12::1", "fc00::/7"),
        ("fec0::1", "fec0::/10"),
        ("::ffff:10.0.0.1", "10.0.0.0/8"),
        ("64:ff9b::10.0.0.1", "10.0.0.0/8"),
        ("2002:a00:1::", "10.0.0.0/8"),
        ("4000::1", "4000::1/128"),
    ] {
        assert_eq!(
            listed(&[]).admits(ip(address)),
            Err(NotAdmitted::Range(range.parse().unwrap())),
            "{address}"
        );
        assert_eq!(Reach::Everything.admits(ip(address)), Ok(()), "{address}");
        assert_eq!(listed(&[range]).admits(ip(address)), Ok(()), "{address} with {range}");
    }
}

#[test]
fn public_addresses_pass() {
    for address in [
        "1.1.1.1",
        "172.32.0.1",
        "100.128.0.1",
        "198.20.0.1",
        "2606:4700::1111",
        "::ffff:1.1.1.1",
        "64:ff9b::808:808",
    ] {
        assert_eq!(listed(&[]).admits(ip(address)), Ok(()), "{address}");
    }
}

#[test]
fn of_several_addresses_only_admitted_ones_are_used() {
    let all = vec![ip("10.0.0.1"), ip("1.1.1.1"), ip("169.254.169.254")];
    assert_eq!(listed(&[]).choose(all.clone(), |ip| *ip), Ok(vec![ip("1.1.1.1")]));
    assert_eq!(
        listed(&[]).choose(vec![ip("169.254.169.254"), ip("10.0.0.1")], |ip| *ip),
        Err(NotAdmitted::Range("10.0.0.0/8".parse().unwrap()))
    );
    assert_eq!(listed(&[]).choose(Vec::<IpAddr>::new(), |ip| *ip), Ok(vec![]));
}

#[test]
fn addresses_in_disguise_are_seen_as_literals() {
    for url in [
        "https://2130706433/",
        "https://0x7f.1/",
        "https://127.1:5000/",
        "https://[::1]/",
        "https://[::ffff:7f00:1]/",
        "https://017700000001/",
    ] {
        let url = Url::parse(url).unwrap();
        assert!(listed(&[]).admits_host(&url).is_err(), "{url}");
    }
}

#[test]
fn metadata_services_are_refused_by_name() {
    for host in [
        "metadata.google.internal",
        "METADATA.Google.Internal.",
        "x.metadata.google.internal",
        "metadata.goog",
        "metadata:80",
        "instance-data",
        "instance-data.ec2.internal",
        "metadata.platformequinix.com",
    ] {
        let url = Url::parse(&format!("https://{host}/")).unwrap();
        for reach in [listed(&[]), Reach::Everything] {
            assert!(matches!(reach.admits_host(&url), Err(NotAdmitted::Metadata(_))), "{url}");
        }
    }
    for host in [
        "metadata.example",
        "notmetadata.google.internal",
        "google.internal",
        "metadata.google",
    ] {
        let url = Url::parse(&format!("https://{host}/")).unwrap();
        assert_eq!(listed(&[]).admits_host(&url), Ok(()), "{url}");
    }
}
