use super::*;
use crate::budget::Claim;
use crate::runtime::content::{ReadConfig, config, document};

/// Reads the bytes of a manifest.
fn read(media_type: &str, body: &[u8]) -> Result<Parsed, ContentFault> {
    super::read(media_type, &document(body)?)
}

const INDEX: &str = OCI_IMAGE_INDEX_MEDIA_TYPE;
const MANIFEST: &str = OCI_IMAGE_MEDIA_TYPE;
const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn digest(c: char) -> String {
    format!("sha256:{}", c.to_string().repeat(64))
}

fn image(config_type: &str, layers: &[&str]) -> String {
    let layers: Vec<String> = layers
        .iter()
        .map(|mt| format!(r#"{{"mediaType":"{mt}","digest":"{}","size":1}}"#, digest('b')))
        .collect();
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{config_type}","digest":"{}","size":2}},"layers":[{}]}}"#,
        digest('a'),
        layers.join(",")
    )
}

#[test]
fn content_types() {
    assert_eq!(media_type("Text/HTML; charset=utf-8"), "Text/HTML");
    assert_eq!(media_type(""), "");
    for (mt, expected) in [
        ("application/vnd.docker.distribution.manifest.v2+json", Form::Manifest),
        ("application/vnd.docker.distribution.manifest.list.v2+json", Form::Index),
        ("application/vnd.oci.image.manifest.v1+json", Form::Manifest),
        ("application/vnd.oci.image.index.v1+json", Form::Index),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", Form::Schema1),
        ("text/plain", Form::Schema1),
        ("text/html", Form::Other),
        ("application/json", Form::Other),
        ("application/octet-stream", Form::Other),
        ("", Form::Other),
    ] {
        assert_eq!(form(mt), expected, "{mt}");
    }
    let types: Vec<&str> = ACCEPT.split(", ").collect();
    assert_eq!(
        types,
        [
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.distribution.manifest.list.v2+json",
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.index.v1+json",
            "*/*"
        ]
    );
}

#[test]
fn an_index_keeps_every_entry() {
    let body = format!(
        r#"{{"schemaVersion":2,"manifests":[
          {{"mediaType":"m","digest":"{}","size":7,"platform":{{"os":"linux","architecture":"arm","variant":"v7"}}}},
          {{"digest":"x","platform":null}},
          {{"digest":"{}","size":-1,"platform":{{"os":"unknown","architecture":"unknown"}},"annotations":{{"a":"b"}}}},
          {{"platform":{{"os":"windows","architecture":"amd64","os.version":"10.0.1","os.features":["win32k"],"features":["sse"]}}}}]}}"#,
        digest('a'),
        digest('b')
    );
    let Ok(Parsed::Index(entries)) = read(INDEX, body.as_bytes()) else {
        panic!("not an index")
    };
    assert_eq!(entries.len(), 4);
    assert_eq!(entries[0].digest, digest('a'));
    assert_eq!(entries[0].size, 7);
    let arm = entries[0].platform.as_ref().unwrap();
    assert_eq!(
        (arm.os.as_str(), arm.architecture.as_str(), arm.variant.as_str()),
        ("linux", "arm", "v7")
    );
    assert_eq!(entries[1].platform, None);
    assert_eq!(entries[2].size, 0);
    let windows = entries[3].platform.as_ref().unwrap();
    assert_eq!(windows.os_version, "10.0.1");
    assert_eq!(windows.os_features, ["win32k"]);
}

#[test]
fn what_containerd_refuses() {
    let check = |mt: &str, body: &str, expected: &ContentFault| {
        assert_eq!(read(mt, body.as_bytes()).as_ref(), Err(expected), "{mt} {body}");
    };
    let structure = |text: &str| ContentFault::Structure(text.to_owned());
    let not_json = |said: &str| ContentFault::NotJson(said.to_owned());
    let ends = not_json("unexpected end of JSON input");
    check(MANIFEST, "", &ends);
    check(
        MANIFEST,
        "<html>",
        &not_json("invalid character '<' looking for beginning of value"),
    );
    check(MANIFEST, r#"{"config":{}"#, &ends);
    // Before Go looks at a member, it checks all of the syntax.
    check(MANIFEST, r#"{"schemaVersion":"2","config":{}"#, &ends);
    check(
        MANIFEST,
        r#"{"config":nul"#,
        &not_json("invalid character ' ' in literal null (expecting 'l')"),
    );
    let mismatch = |text: String| ContentFault::BodyMismatch(text);
    let is_index = mismatch(format!("expected manifest but found index ({MANIFEST})"));
    let is_manifest = mismatch(format!("expected index but found manifest ({INDEX})"));
    check(MANIFEST, r#"{"manifests":[]}"#, &is_index);
    check(MANIFEST, &format!(r#"{{"mediaType":"{INDEX}"}}"#), &is_index);
    check(INDEX, r#"{"config":{}}"#, &is_manifest);
    check(INDEX, r#"{"layers":[]}"#, &is_manifest);
    check(INDEX, &format!(r#"{{"mediaType":"{MANIFEST}"}}"#), &is_manifest);
    check(
        MANIFEST,
        r#"{"schemaVersion":1,"fsLayers":[{}]}"#,
        &mismatch("schema 1 not supported".to_owned()),
    );
    check(INDEX, r#"{"manifests":[]}"#, &ContentFault::NoImage);
    check(INDEX, "{}", &ContentFault::NoImage);
    check(
        INDEX,
        r#"{"manifests":[{"platform":{"os":"unknown","architecture":"unknown"}}]}"#,
        &ContentFault::NoImage,
    );
    for body in [r#"{"manifests":[7]}"#, r#"{"manifests":{}}"#, "7"] {
        check(INDEX, body, &ContentFault::WrongKind("manifest"));
    }
    let no_config = ContentFault::SizeOf {
        part: "config",
        digest: String::new(),
        says: 0,
    };
    check(MANIFEST, "{}", &no_config);
    check(
        MANIFEST,
        &format!(r#"{{"config":{{"mediaType":"{IMAGE_CONFIG_MEDIA_TYPE}","digest":"md5:0"}}}}"#),
        &structure("the config's digest is malformed: md5:0"),
    );
}

#[test]
fn images_and_artifacts() {
    let check = |config_type: &str, layers: &[&str], expected: Option<Unpack>| {
        let parsed = read(MANIFEST, image(config_type, layers).as_bytes()).unwrap();
        match (parsed, expected) {
            (Parsed::Image { config, .. }, None) => {
                assert_eq!(config.claims.layers.len(), layers.len(), "{config_type} {layers:?}");
            }
            (Parsed::Artifact { unpack, .. }, Some(expected)) => {
                assert_eq!(unpack, expected, "{config_type} {layers:?}");
            }
            (other, _) => panic!("{config_type} {layers:?}: {other:?}"),
        }
    };
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    check(IMAGE_CONFIG_MEDIA_TYPE, &[], None);
    check(
        IMAGE_CONFIG_MEDIA_TYPE,
        &[GZIP, foreign, "application/vnd.oci.image.layer.v1.tar+zstd"],
        None,
    );
    check(
        IMAGE_DOCKER_CONFIG_MEDIA_TYPE,
        &["application/vnd.docker.image.rootfs.diff.tar.gzip"],
        None,
    );
    check(
        "application/vnd.cncf.helm.config.v1+json",
        &["application/vnd.cncf.helm.chart.content.v1.tar+gzip"],
        Some(Unpack::Foreign),
    );
    check("application/vnd.cncf.helm.config.v1+json", &[GZIP], Some(Unpack::Partly));
    check("application/vnd.oci.empty.v1+json", &["text/plain"], Some(Unpack::Foreign));
    check("application/vnd.oci.empty.v1+json", &[GZIP], Some(Unpack::Partly));
    check("application/octet-stream", &[GZIP], Some(Unpack::Partly));
    check(IMAGE_CONFIG_MEDIA_TYPE, &["application/x-squashfs"], Some(Unpack::Partly));

    let body = image("application/vnd.oci.empty.v1+json", &[]).replacen('{', r#"{"artifactType":"application/x.y","#, 1);
    let Ok(Parsed::Artifact { kind, unpack, body }) = read(MANIFEST, body.as_bytes()) else {
        panic!("an artifact")
    };
    assert_eq!((kind.as_str(), unpack), ("application/x.y", Unpack::Nothing));
    assert_eq!(body.blobs.len(), 1, "nobody reads its config");
    assert_eq!(body.blobs[0].part, "config");
}

#[test]
fn what_a_manifest_refers_to() {
    let layer =
        |digest: &str, size: &str, urls: &str| format!(r#"{{"mediaType":"{GZIP}","digest":"{digest}"{size},"urls":{urls}}}"#);
    let body = |layers: &[String]| {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{IMAGE_CONFIG_MEDIA_TYPE}","digest":"{}","size":2}},"layers":[{}]}}"#,
            digest('a'),
            layers.join(",")
        );
        match read(MANIFEST, text.as_bytes()) {
            Ok(Parsed::Image { body, .. }) => body,
            other => panic!("{other:?}"),
        }
    };
    let (b, c) = (digest('b'), digest('c'));
    let twice = body(&[
        layer(&b, r#","size":100"#, "[]"),
        layer(&b, r#","size":100"#, "null"),
        layer(
            &c,
            r#","size":1000"#,
            r#"["ftp://x.example/l", "https://user:pw@mcr.example/l?sig=s", "http://other.example/"]"#,
        ),
    ]);
    assert_eq!(twice.size, Some(1102), "each blob once, and the config");
    assert_eq!(twice.blobs.len(), 3);
    assert_eq!(twice.blobs[1].elsewhere, None);
    assert_eq!(twice.blobs[2].elsewhere.as_deref(), Some("mcr.example"));
    assert_eq!(body(&[layer(&b, r#","size":-1"#, "[]")]).size, None);
    assert_eq!(body(&[layer(&b, "", "[]")]).size, Some(2));
    let huge = layer(&b, r#","size":9223372036854775807"#, "[]");
    let more = layer(&c, r#","size":9223372036854775807"#, "[]");
    let most = layer(&digest('d'), r#","size":9223372036854775807"#, "[]");
    assert_eq!(body(&[huge, more, most]).size, Some(u64::MAX), "no overflow");
}

#[test]
fn configs() {
    let read = |body: &str| config(body.as_bytes());
    let id = Digest::sha256(b"a layer");
    let body = format!(
        r#"{{"Architecture":"arm64","os":"linux","variant":"v8","rootfs":{{"type":"layers","Diff_IDs":["{id}","{id}"]}}}}"#
    );
    let full = read(&body).unwrap();
    assert_eq!(full.diff_ids, [id.to_string(), id.to_string()]);
    assert_eq!(full.platform.architecture, "arm64");
    assert_eq!(
        read("{}"),
        Ok(ReadConfig {
            platform: Platform::default(),
            diff_ids: Vec::new(),
            held: Claim::default(),
        })
    );
    assert_eq!(read(r#"{"os":"linux","rootfs":null}"#).unwrap().platform.architecture, "");
    for (bad, said) in [
        ("", "unexpected end of JSON input"),
        ("x", "invalid character 'x' looking for beginning of value"),
        (r#"{"os":"linux"} x"#, "invalid character 'x' after top-level value"),
        (r#"{"architecture":7"#, "unexpected end of JSON input"),
    ] {
        assert_eq!(read(bad), Err(ContentFault::ConfigNotJson(said.to_owned())), "{bad}");
    }
    for bad in [
        "[]",
        r#"{"architecture":7}"#,
        r#"{"rootfs":{"diff_ids":7}}"#,
        r#"{"config":{"Env":"A=b"}}"#,
        r#"{"config":{"User":1000}}"#,
        r#"{"config":{"ExposedPorts":[]}}"#,
        r#"{"config":{"Labels":{"a":1}}}"#,
        r#"{"created":"yesterday"}"#,
        r#"{"created":""}"#,
        r#"{"created":"yesterday","created":"2024-05-06T07:08:09Z"}"#,
        r#"{"history":"none"}"#,
        r#"{"history":[{"created":"2024-05-06"}]}"#,
    ] {
        assert_eq!(read(bad), Err(ContentFault::ConfigWrongKind), "{bad}");
    }
    for good in [
        "null",
        r#"{"config":null,"history":[null,{"created":null,"empty_layer":true}],"os":null}"#,
        r#"{"config":{"Env":null,"Cmd":[null,"a"],"ExposedPorts":{"80/tcp":{}},"Volumes":{"/a":null},"Labels":{"a":null}}}"#,
        r#"{"created":"2024-05-06T07:08:09.123456789Z","history":[{"created":"0001-01-01T00:00:00Z"}]}"#,
        r#"{"container_config":7,"docker_version":null,"moby.buildkit.buildinfo.v1":"x"}"#,
    ] {
        assert!(read(good).is_ok(), "{good}");
    }
    let malformed = read(r#"{"rootfs":{"diff_ids":["rubbish"]}}"#).unwrap();
    let fault = Claims::default().hold(&malformed);
    assert_eq!(fault, Err(ContentFault::DiffId("rubbish".to_owned())));
}

#[test]
fn members_are_read_as_go_reads_them() {
    let id = Digest::sha256(b"a config");
    let capitals = format!(r#"{{"CONFIG":{{"MediaType":"{IMAGE_CONFIG_MEDIA_TYPE}","DIGEST":"{id}","Size":7}},"Layers":[]}}"#);
    let Ok(Parsed::Image { config, .. }) = read(MANIFEST, capitals.as_bytes()) else {
        panic!("{capitals}");
    };
    assert_eq!((config.digest, config.size), (id, 7));
    let twice = r#"{"manifests":[{"size":1}],"manifests":[{"size":1},{"size":2}]}"#;
    assert!(matches!(read(INDEX, twice.as_bytes()), Ok(Parsed::Index(entries)) if entries.len() == 2));
    for bad in [
        r#"{"schemaVersion":"2"}"#,
        r#"{"schemaVersion":2.5}"#,
        r#"{"annotations":{"a":1}}"#,
        r#"{"annotations":[]}"#,
        r#"{"manifests":[{"size":"7"}]}"#,
        r#"{"manifests":[{"platform":"linux/amd64"}]}"#,
        r#"{"manifests":[{"artifactType":7}]}"#,
        r#"{"manifests":[{"data":7}]}"#,
        r#"{"manifests":[{"data":"***"}]}"#,
    ] {
        let read = read(INDEX, bad.as_bytes());
        assert!(
            matches!(read, Err(ContentFault::Structure(_) | ContentFault::WrongKind(_))),
            "{bad} {read:?}"
        );
    }
    let good = r#"{"artifactType":"x","subject":null,"manifests":[{"data":"e3\n0="}],"annotations":{"a":null}}"#;
    assert!(read(INDEX, good.as_bytes()).is_ok());
    for odd in [r#""artifactType":7"#, r#""subject":7"#, r#""subject":{"size":"7"}"#] {
        let odd = format!(r#"{{{odd},"manifests":[{{}}]}}"#);
        let read = read(INDEX, odd.as_bytes());
        assert!(
            matches!(read, Err(ContentFault::UnreadableSinceContainerd2(_))),
            "old runtimes do not know these members: {read:?}"
        );
    }
}

#[test]
fn what_is_taken_for_plain_tar_must_be_what_the_config_says() {
    let id = Digest::sha256(b"a layer");
    let with = |media_type: &str, diff_id: &str| {
        let layer = format!(r#"{{"mediaType":"{media_type}","digest":"{id}","size":7}}"#);
        let manifest =
            format!(r#"{{"config":{{"mediaType":"{IMAGE_CONFIG_MEDIA_TYPE}","digest":"{id}","size":7}},"layers":[{layer}]}}"#);
        let Ok(Parsed::Image { config: named, .. }) = read(MANIFEST, manifest.as_bytes()) else {
            panic!("{manifest}");
        };
        let written = format!(r#"{{"rootfs":{{"diff_ids":["{diff_id}"]}}}}"#);
        named.claims.hold(&config(written.as_bytes()).unwrap())
    };
    let other = Digest::sha256(b"what it unpacks to").to_string();
    let oci = "application/vnd.oci.image.layer.v1.tar";
    let docker = "application/vnd.docker.image.rootfs.diff.tar";
    for plain in [
        oci.to_owned(),
        format!("{oci}+bzip2"),
        format!("{oci}+gzip+xz"),
        format!("{oci}+GZIP"),
        format!("{docker}+gzip"),
    ] {
        assert_eq!(
            with(&plain, &other),
            Err(ContentFault::CompressedUnderPlainType(plain.clone()))
        );
        assert_eq!(with(&plain, id.as_str()), Ok(()), "{plain}");
    }
    for found in [
        format!("{oci}+gzip"),
        format!("{oci}+zstd"),
        format!("{oci}+gzip+bzip2"),
        docker.to_owned(),
        format!("{docker}.gzip"),
        format!("{docker}.zstd"),
    ] {
        assert_eq!(with(&found, &other), Ok(()), "{found}");
    }
}

#[test]
fn parts_that_are_said_to_be_for_others() {
    let id = Digest::sha256(b"a config");
    let with = |architecture: &str| {
        let manifest = format!(
            r#"{{"config":{{"mediaType":"{IMAGE_CONFIG_MEDIA_TYPE}","digest":"{id}","size":7,
                "platform":{{"os":"linux","architecture":"{architecture}"}}}}}}"#
        );
        let Ok(Parsed::Image { config: named, .. }) = read(MANIFEST, manifest.as_bytes()) else {
            panic!("{manifest}");
        };
        named
            .claims
            .hold(&config(br#"{"os":"linux","architecture":"amd64"}"#).unwrap())
    };
    assert_eq!(with("x86_64"), Ok(()));
    assert_eq!(
        with("arm64"),
        Err(ContentFault::PartForOtherPlatform("linux/arm64".to_owned()))
    );
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = read(INDEX, &body);
        let _ = read(MANIFEST, &body);
        let _ = config(&body);
    }
}
