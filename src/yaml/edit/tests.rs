use super::*;
use proptest::prelude::*;
use serde_json::json;

/// What is added.
const MORE: &str = ":latest@sha256:0123";

fn addition(document: usize, path: &str, value: &str) -> Addition {
    Addition {
        document,
        path: path.to_owned(),
        value: value.to_owned(),
        text: MORE.to_owned(),
    }
}

fn read(text: &str) -> Parsed {
    let parsed = manifests(text);
    assert_eq!(parsed.errors, [], "{text}");
    parsed
}

/// `text` with the additions, none of which may be left out.
fn edited(text: &str, additions: &[Addition]) -> String {
    let Edited { text: out, left } = append(text, &read(text), additions).unwrap();
    assert_eq!(left, [], "{text}");
    out
}

fn left(text: &str, additions: &[Addition]) -> Vec<String> {
    let Edited { text: out, left } = append(text, &read(text), additions).unwrap();
    assert_eq!(out, text);
    left.iter().map(|(_, why)| why.to_string()).collect()
}

#[test]
fn every_kind_of_scalar_gets_it_at_its_end() {
    // `^` marks the place.
    for marked in [
        "image: nginx^\n",
        "image: nginx^",
        "image:    nginx^   \t# why: \"nginx\"\n",
        "image:\n    nginx^\n",
        "\u{feff}image: nginx^\n",
        "é: ö # ü\nimage: nginx^\n",
        "# c\r\nimage: nginx^ # c\r\nb: 1\r\n",
        "image: 'nginx^'\n",
        "image: \"nginx^\" # \"\n",
        "image: \"ng\\u0069nx^\"\n",
        "image: \"ng\\\n  inx^\"\n",
        "image: !!str nginx^\n",
        "image: &a nginx^\n",
        "image: &a !!str 'nginx^' # x\n",
        "? image\n: nginx^\n",
        "? \"image\"\n:\n  nginx^\n",
        "{image: nginx^}\n",
        "{image: nginx^, b: 1}\n",
        "{\"image\":\"nginx^\"}",
        "{\n\t\"b\": 1,\n\t\"image\": \"nginx^\"\n}\n",
        "{\"b\":\"\\\\\",\"image\":\"ng\\u0069nx^\"}\n",
        "image: |-\n  nginx^\nb: 1\n",
        "image: >-  # c\n    nginx^\n\n\n",
        "--- # c\nimage: nginx^\n...\n",
        "%YAML 1.1\n---\nimage: nginx^\n",
        "b: nginx\nimage: nginx^\nc: [nginx, \"nginx\"]\n",
        "image  :  nginx^\n",
    ] {
        let text = marked.replace('^', "");
        let want = marked.replace('^', MORE);
        assert_eq!(edited(&text, &[addition(0, "image", "nginx")]), want, "{text:?}");
    }
}

#[test]
fn the_right_document_and_item_get_it() {
    let text = "---\n# none\n---\na: nginx\n--- {a: nginx}\n---\na:\n- b: nginx\n- b: nginx\n  x.y/z: nginx\n";
    let all = [
        addition(1, "a", "nginx"),
        addition(2, "a[1].b", "nginx"),
        addition(2, "a[1][x.y/z]", "nginx"),
    ];
    let want =
        "---\n# none\n---\na: nginx\n--- {a: nginx^}\n---\na:\n- b: nginx\n- b: nginx^\n  x.y/z: nginx^\n".replace('^', MORE);
    assert_eq!(edited(text, &all), want);
    let json = "{\"a\":\"nginx\"} {\"a\":\"nginx\"}\n\n{\"a\":\"nginx\"}";
    let want = "{\"a\":\"nginx\"} {\"a\":\"nginx^\"}\n\n{\"a\":\"nginx^\"}".replace('^', MORE);
    assert_eq!(edited(json, &[addition(1, "a", "nginx"), addition(2, "a", "nginx")]), want);
}

#[test]
fn anchors_are_edited_once_and_only_if_all_their_places_agree() {
    let two = "a: &img nginx # one\nb: *img\n";
    let all = [addition(0, "a", "nginx"), addition(0, "b", "nginx")];
    assert_eq!(edited(two, &all), format!("a: &img nginx{MORE} # one\nb: *img\n"));
    assert_eq!(
        left(two, &all[..1]),
        ["through an anchor, the same text is also b (line 2), which must not change"]
    );
    assert_eq!(
        left(two, &all[1..]),
        ["through an anchor, the same text is also a (line 1), which must not change"]
    );
    let mut torn = all.clone();
    torn[1].text = "@sha256:4567".to_owned();
    let why = "through an anchor, the same text is also b (line 2), which needs a different text";
    assert_eq!(left(two, &torn), [why, why]);

    let merged = "- &base {image: nginx, n: a}\n- {<<: *base, n: b}\n- <<: *base\n  image: redis\n- *base\n";
    let all: Vec<Addition> = [0, 1, 3].map(|at| addition(0, &format!("[{at}].image"), "nginx")).into();
    assert_eq!(edited(merged, &all), merged.replace("nginx", &format!("nginx{MORE}")));
    assert_eq!(
        left(merged, &all[1..]),
        vec!["through an anchor, the same text is also [0].image (line 1), which must not change"; 2]
    );
    // A key that is an alias: the document would read otherwise.
    let key = "- &img nginx\n- *img : x\n";
    assert_eq!(
        append(key, &read(key), &[addition(0, "[0]", "nginx")]),
        Err(Mismatch { line: 1 })
    );
}

#[test]
fn what_cannot_be_found_is_left() {
    for (text, path) in [
        ("image: nginx\n", "nothing"),
        ("image: {a: nginx}\n", "image"),
        ("image: nginx\n", "image.deeper"),
        ("image: redis\n", "image"),
        ("image: 1\n", "image"),
    ] {
        assert_eq!(
            left(text, &[addition(0, path, "nginx")]),
            [Obstacle::PositionUnknown.to_string()],
            "{text}"
        );
    }
    assert_eq!(
        left("a: b\n", &[addition(7, "a", "b")]),
        [Obstacle::PositionUnknown.to_string()]
    );
}

#[test]
fn what_would_read_otherwise_is_refused() {
    let text = "{a: nginx}\n";
    let breaks = Addition {
        text: ", b: 1".to_owned(),
        ..addition(0, "a", "nginx")
    };
    assert_eq!(append(text, &read(text), &[breaks]), Err(Mismatch { line: 1 }));
    let ends = Addition {
        text: "}\n---\n{".to_owned(),
        ..addition(0, "a", "nginx")
    };
    assert!(append(text, &read(text), &[ends]).is_err());
}

/// A container in one of many layouts, with `^` where its image ends; and whether it is a flow one.
fn container() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("NAME^".to_owned()),
        Just("'NAME^'".to_owned()),
        Just("\"NAME^\"".to_owned()),
        Just("!!str NAME^".to_owned()),
        Just("!!str \"NAME^\"".to_owned()),
    ];
    let block = prop_oneof![
        Just("|-\n      NAME^".to_owned()),
        Just(">-\n      NAME^\n".to_owned()),
        Just("\n      NAME^".to_owned())
    ];
    let comment = prop_oneof![Just(""), Just(" # é: NAME"), Just("   "), Just("\t# '\"")];
    let name = "[a-z0-9]{1,6}(/[a-z0-9]{1,4}){0,2}(:[a-z0-9.]{1,5})?";
    let plain = (scalar.clone(), comment, 0..3usize).prop_map(|(scalar, comment, order)| match order {
        0 => format!("- image: {scalar}{comment}\n  name: a\n"),
        1 => format!("- name: 'a: b'{comment}\n  image:   {scalar}{comment}\n"),
        _ => format!("-   # c\n  name: \"x\\\"y\"\n\n  image: {scalar}\n  z: [1,  2]{comment}\n"),
    });
    let block = block.prop_map(|scalar| format!("- image: {scalar}\n  name: |\n    image: NAME\n"));
    let flow = scalar.prop_map(|scalar| format!("- {{ image: {scalar} ,name: b}}\n"));
    (prop_oneof![plain, block, flow], name).prop_map(|(layout, name)| {
        // What YAML reads as a number or a boolean is not an image name.
        let name = format!("r{name}x");
        layout.replace("NAME", &name)
    })
}

proptest! {
    #[test]
    fn every_byte_beside_the_scalars_stays(
        documents in proptest::collection::vec(proptest::collection::vec((container(), any::<bool>()), 1..5), 1..4),
        line_end in prop_oneof![Just("\n"), Just("\r\n")],
        mark in prop_oneof![Just(""), Just("\u{feff}")],
    ) {
        let mut marked = mark.to_owned();
        let mut chosen = Vec::new();
        for (at, containers) in documents.iter().enumerate() {
            marked.push_str(if at == 0 { "# first\n" } else { "--- # é\n" });
            marked.push_str("spec:\n");
            for (number, (container, choose)) in containers.iter().enumerate() {
                if *choose {
                    marked.push_str(container);
                    chosen.push((at, format!("spec[{number}].image")));
                } else {
                    marked.push_str(&container.replace('^', ""));
                }
            }
        }
        let marked = marked.replace('\n', line_end);
        let text = marked.replace('^', "");
        let parsed = super::manifests(&text);
        prop_assert_eq!(&parsed.errors, &[]);
        let additions: Vec<Addition> = chosen
            .iter()
            .map(|(document, path)| {
                let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
                let value = parsed.documents[*document].value.pointer(&pointer).and_then(Value::as_str).unwrap();
                addition(*document, path, value)
            })
            .collect();
        let edited = append(&text, &parsed, &additions).unwrap();
        prop_assert_eq!(&edited.left, &[]);
        prop_assert_eq!(&edited.text, &marked.replace('^', MORE));
        // Checked independently: the values are the same, except for what was added at the end of those images.
        let again = super::manifests(&edited.text);
        for (before, after) in parsed.documents.iter().zip(&again.documents) {
            let (before, after) = (before.value["spec"].as_array().unwrap(), after.value["spec"].as_array().unwrap());
            prop_assert_eq!(before.len(), after.len());
            for (before, after) in before.iter().zip(after) {
                let mut after = after.clone();
                let image = after["image"].as_str().unwrap();
                after["image"] = json!(image.strip_suffix(MORE).unwrap_or(image));
                prop_assert_eq!(before, &after);
            }
        }
    }

    #[test]
    fn no_text_panics(text in r"[-a:{}\[\]*&<!|>#%. \n\r\t'0-9,?~\u{e9}\\]{0,60}", path in r"[a\[\]0-9.]{0,6}") {
        let parsed = super::manifests(&text);
        if parsed.errors.is_empty() {
            for at in 0..parsed.documents.len() {
                let value = parsed.documents[at].value.get("a").and_then(Value::as_str).unwrap_or("a").to_owned();
                let _ = append(&text, &parsed, &[addition(at, &path, &value), addition(at, "a", &value)]);
            }
        }
    }
}
