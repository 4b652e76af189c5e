use super::*;

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
    assert_eq!(media_type(Some("Text/HTML; charset=utf-8")), "Text/HTML");
    assert_eq!(media_type(None), "");
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
    check(MANIFEST, "", &ContentFault::NotJson);
    check(MANIFEST, "<html>", &ContentFault::NotJson);
    check(MANIFEST, r#"{"config":{}"#, &ContentFault::NotJson);
    check(MANIFEST, r#"{"manifests":[]}"#, &ContentFault::BodyMismatch);
    check(
        MANIFEST,
        &format!(r#"{{"mediaType":"{INDEX}"}}"#),
        &ContentFault::BodyMismatch,
    );
    check(INDEX, r#"{"config":{}}"#, &ContentFault::BodyMismatch);
    check(INDEX, r#"{"layers":[]}"#, &ContentFault::BodyMismatch);
    check(
        INDEX,
        &format!(r#"{{"mediaType":"{MANIFEST}"}}"#),
        &ContentFault::BodyMismatch,
    );
    check(
        MANIFEST,
        r#"{"schemaVersion":1,"fsLayers":[{}]}"#,
        &ContentFault::BodyMismatch,
    );
    check(INDEX, r#"{"manifests":[]}"#, &structure("the index lists no image"));
    check(INDEX, "{}", &structure("the index lists no image"));
    check(
        INDEX,
        r#"{"manifests":[{"platform":{"os":"unknown","architecture":"unknown"}}]}"#,
        &structure("the index lists no image"),
    );
    check(
        INDEX,
        r#"{"manifests":[7]}"#,
        &structure("the descriptor has a member of the wrong kind"),
    );
    check(
        INDEX,
        r#"{"manifests":{}}"#,
        &structure("the manifest has a member of the wrong kind"),
    );
    check(INDEX, "7", &structure("the manifest has a member of the wrong kind"));
    check(MANIFEST, "{}", &structure("the manifest names no config"));
    check(
        MANIFEST,
        &image(IMAGE_CONFIG_MEDIA_TYPE, &["application/vnd.oci.image.layer.v1.tar+lz4"]),
        &structure("no runtime unpacks a layer of type application/vnd.oci.image.layer.v1.tar+lz4"),
    );
    check(
        MANIFEST,
        &format!(r#"{{"config":{{"mediaType":"{IMAGE_CONFIG_MEDIA_TYPE}","digest":"md5:0"}}}}"#),
        &structure("the config's digest is malformed: md5:0"),
    );
    let many = format!(r#"{{"manifests":[{}]}}"#, vec!["{}"; MOST_ENTRIES + 1].join(","));
    check(INDEX, &many, &structure("the index has 20001 entries"));
}

#[test]
fn images_and_artifacts() {
    let check = |config_type: &str, layers: &[&str], expected: Option<bool>| {
        let parsed = read(MANIFEST, image(config_type, layers).as_bytes()).unwrap();
        match (parsed, expected) {
            (Parsed::Image { layers: n, .. }, None) => assert_eq!(n, layers.len(), "{config_type} {layers:?}"),
            (Parsed::Artifact { unpack_fails, .. }, Some(expected)) => {
                assert_eq!(unpack_fails, expected, "{config_type} {layers:?}");
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
        Some(false),
    );
    check("application/vnd.cncf.helm.config.v1+json", &[GZIP], Some(true));
    check("application/vnd.oci.empty.v1+json", &["text/plain"], Some(false));
    check("application/vnd.oci.empty.v1+json", &[GZIP], Some(true));
    check("application/octet-stream", &[GZIP], Some(true));
    check(IMAGE_CONFIG_MEDIA_TYPE, &["application/x-squashfs"], Some(true));

    let body = image("application/vnd.oci.empty.v1+json", &[]).replacen('{', r#"{"artifactType":"application/x.y","#, 1);
    assert_eq!(
        read(MANIFEST, body.as_bytes()),
        Ok(Parsed::Artifact {
            kind: "application/x.y".into(),
            unpack_fails: false
        })
    );
}

#[test]
fn configs() {
    let read = |body: &str| config(body.as_bytes());
    let full =
        read(r#"{"architecture":"arm64","os":"linux","variant":"v8","rootfs":{"type":"layers","diff_ids":["a","b"]}}"#).unwrap();
    assert_eq!(full.diff_ids, 2);
    assert_eq!(full.platform.unwrap().architecture, "arm64");
    assert_eq!(
        read("{}"),
        Ok(ReadConfig {
            platform: None,
            diff_ids: 0
        })
    );
    assert_eq!(read(r#"{"os":"linux","rootfs":null}"#).unwrap().platform, None);
    for bad in ["", "x", "[]", r#"{"architecture":7}"#, r#"{"rootfs":{"diff_ids":7}}"#] {
        assert_eq!(read(bad), Err(ContentFault::ConfigNotJson), "{bad}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = read(INDEX, &body);
        let _ = read(MANIFEST, &body);
        let _ = config(&body);
    }
}
