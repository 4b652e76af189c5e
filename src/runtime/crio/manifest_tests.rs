use super::*;
use crate::runtime::content::document;

const NEW: Version = Version(1, 36, 3);
const DIGEST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

#[test]
fn content_types_as_go_reads_them() {
    for (text, expected) in [
        ("application/vnd.oci.image.manifest.v1+json", OCI_IMAGE_MEDIA_TYPE),
        (" Application/Vnd.OCI.image.manifest.v1+JSON ", OCI_IMAGE_MEDIA_TYPE),
        (
            "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
            OCI_IMAGE_MEDIA_TYPE,
        ),
        ("application/vnd.oci.image.manifest.v1+json;", OCI_IMAGE_MEDIA_TYPE),
        ("text/html;charset=\"a;\\\"b\"; x=y", "text/html"),
        ("application/vnd.oci.image.manifest.v1+json; charset", ""),
        ("application/vnd.oci.image.manifest.v1+json; a=b; A=c", ""),
        ("application/vnd.oci.image.manifest.v1+json; a=", ""),
        ("application/vnd.oci.image.manifest.v1+json; a=\"b", ""),
        ("application/vnd.oci.image.manifest.v1+json, */*", ""),
        ("text/", ""),
        ("text", "text"),
        ("", ""),
    ] {
        assert_eq!(Form::media_type(text), expected, "{text}");
    }
    assert_eq!(
        Form::of("application/vnd.oci.image.manifest.v1+json; charset=utf-8"),
        Form::Oci
    );
    assert_eq!(Form::of("application/json"), Form::Schema1);
    assert_eq!(Form::of(""), Form::Schema1);
}

fn read(version: Version, form: Form, text: &str) -> Result<Manifest, ContentFault> {
    manifest(version, form, form.media_type_of(), &document(text.as_bytes())?)
}

fn of(form: Form, config_type: &str, layer: &str, more: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{config_type}","digest":"{DIGEST}","size":5}},
            "layers":[{{"mediaType":"{layer}","digest":"{DIGEST}","size":7}}]{more}}}"#,
        form.media_type_of()
    )
}

#[test]
fn a_docker_manifest_is_one_all_through() {
    let docker = |layer: &str| of(Form::Docker, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, layer, "");
    let gzip = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    assert!(read(NEW, Form::Docker, &docker(gzip)).is_ok());
    let unsupported = |kind: &str| ContentFault::BodyMismatch(format!("unsupported docker v2s2 media type: \"{kind}\""));
    for other in ["application/vnd.oci.image.layer.v1.tar+gzip", "application/x-example", ""] {
        assert_eq!(read(NEW, Form::Docker, &docker(other)), Err(unsupported(other)));
    }
    let zstd = "application/vnd.docker.image.rootfs.diff.tar.zstd";
    assert!(read(NEW, Form::Docker, &docker(zstd)).is_ok());
    assert_eq!(read(Version(1, 34, 11), Form::Docker, &docker(zstd)), Err(unsupported(zstd)));
    // What its body calls itself counts as well.
    let oci = of(Form::Oci, IMAGE_DOCKER_CONFIG_MEDIA_TYPE, gzip, "");
    assert_eq!(read(NEW, Form::Docker, &oci), Err(unsupported(OCI_IMAGE_MEDIA_TYPE)));
}

#[test]
fn an_oci_manifest_may_have_any_layers() {
    let oci = |config_type: &str| read(NEW, Form::Oci, &of(Form::Oci, config_type, "application/x-example", ""));
    assert_eq!(oci(IMAGE_CONFIG_MEDIA_TYPE).unwrap().is_image(), Ok(true));
    assert!(oci(IMAGE_DOCKER_CONFIG_MEDIA_TYPE).unwrap().is_image().is_err());
    assert_eq!(oci("application/x-chart").unwrap().is_image(), Ok(false));
    assert_eq!(oci("").unwrap().is_image(), Ok(false));
    // Looked for as an artifact, what has no type is an image.
    assert!(!oci("").unwrap().is_artifact());
    assert!(!oci(IMAGE_CONFIG_MEDIA_TYPE).unwrap().is_artifact());
    assert!(oci("application/x-chart").unwrap().is_artifact());
    let typed = of(
        Form::Oci,
        IMAGE_CONFIG_MEDIA_TYPE,
        "",
        r#","artifactType":"application/x-thing""#,
    );
    let typed = read(NEW, Form::Oci, &typed).unwrap();
    assert_eq!(
        (typed.is_image(), typed.is_artifact(), typed.kind().as_str()),
        (Ok(true), true, "application/x-thing")
    );
}

#[test]
fn members_of_other_kinds_make_it_ambiguous() {
    let with = |form, more: &str| read(NEW, form, &of(form, IMAGE_CONFIG_MEDIA_TYPE, "", more));
    for more in [r#","manifests":[]"#, r#","fsLayers":[]"#, r#","history":[]"#] {
        assert!(matches!(with(Form::Oci, more), Err(ContentFault::BodyMismatch(_))), "{more}");
    }
    assert!(with(Form::Oci, r#","manifests":null,"signatures":[]"#).is_ok());
    let list = |text: &str| index(Form::OciIndex, &document(text.as_bytes()).unwrap());
    assert!(matches!(
        list(r#"{"manifests":[{}],"layers":[]}"#),
        Err(ContentFault::BodyMismatch(_))
    ));
    assert_eq!(list(r#"{"manifests":[]}"#), Err(ContentFault::NoImage));
    assert_eq!(
        list(r#"{"manifests":[{"platform":{"os":"unknown","architecture":"unknown"}}]}"#),
        Err(ContentFault::NoImage)
    );
    assert!(list(r#"{"manifests":[{}]}"#).is_ok());
    assert_eq!(
        list(r#"{"manifests":[{}],"subject":"x"}"#),
        Err(ContentFault::WrongKind("descriptor"))
    );
    assert!(index(Form::DockerList, &document(br#"{"manifests":[{}],"subject":"x"}"#).unwrap()).is_ok());
}

fn commit(text: &str, ids: &[&str], length: u64) -> Result<(), ContentFault> {
    let document = document(text.as_bytes()).unwrap();
    let manifest = manifest(NEW, Form::Oci, OCI_IMAGE_MEDIA_TYPE, &document).unwrap();
    let config = ReadConfig {
        platform: crate::image::Platform::default(),
        diff_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        held: crate::budget::Claim::default(),
    };
    manifest.commits(NEW, &document, Some((&config, length)))
}

#[test]
fn what_fails_an_image_at_its_end() {
    let image = of(
        Form::Oci,
        IMAGE_CONFIG_MEDIA_TYPE,
        "application/vnd.oci.image.layer.v1.tar",
        "",
    );
    let sha512 = format!("sha512:{}", "1".repeat(128));
    for ids in [&[][..], &[""], &[DIGEST], &[DIGEST, DIGEST]] {
        assert_eq!(commit(&image, ids, 5), Ok(()), "{ids:?}");
    }
    assert_eq!(
        commit(&image, &["rubbish"], 5),
        Err(ContentFault::DiffId("rubbish".to_owned()))
    );
    assert!(matches!(commit(&image, &[&sha512], 5), Err(ContentFault::DiffId(_))));
    let other = ContentFault::OtherSize {
        part: "config",
        by: "manifest",
        has: 6,
        says: 5,
    };
    assert_eq!(commit(&image, &[DIGEST], 6), Err(other));
    assert_eq!(commit(&image.replace("\"size\":5", "\"size\":-1"), &[DIGEST], 6), Ok(()));
    assert!(commit(&image.replace("\"size\":5", "\"x\":5"), &[DIGEST], 6).is_err());
    let unpacked = format!("sha256:{}", "2".repeat(64));
    for (media_type, good) in [
        ("v1.tar", false),
        ("v1.tar+bzip2", false),
        ("v1.tar+gzip", true),
        ("v1.tar+zstd", true),
    ] {
        let packed = image.replace("v1.tar", media_type);
        assert_eq!(commit(&packed, &[&unpacked], 5).is_ok(), good, "{media_type}");
    }
    let encrypted = image.replace("v1.tar", "v1.tar+gzip+encrypted");
    assert!(matches!(commit(&encrypted, &[DIGEST], 5), Err(ContentFault::NeedsPlugin(_))));
    for (says, good) in [
        (OCI_IMAGE_MEDIA_TYPE, true),
        ("", true),
        ("application/x-other", true),
        (IMAGE_MANIFEST_MEDIA_TYPE, false),
        (OCI_IMAGE_INDEX_MEDIA_TYPE, false),
        (IMAGE_MANIFEST_LIST_MEDIA_TYPE, false),
    ] {
        let text = image.replace(
            &format!("\"mediaType\":\"{OCI_IMAGE_MEDIA_TYPE}\""),
            &format!("\"mediaType\":\"{says}\""),
        );
        assert_eq!(commit(&text, &[DIGEST], 5).is_ok(), good, "{says}");
    }
    // Without a type, its version tells.
    let old = image.replace(&format!("\"mediaType\":\"{OCI_IMAGE_MEDIA_TYPE}\","), "");
    assert_eq!(commit(&old, &[DIGEST], 5), Ok(()));
    assert!(commit(&old.replace("\"schemaVersion\":2", "\"schemaVersion\":1"), &[DIGEST], 5).is_err());
}
