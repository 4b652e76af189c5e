use super::*;
use serde_json::json;

fn values(text: &str) -> Vec<Value> {
    let parsed = documents(text);
    assert_eq!(parsed.errors, [], "{text}");
    parsed.documents.into_iter().map(|document| document.value).collect()
}

fn errors(text: &str) -> Vec<String> {
    documents(text).errors.iter().map(ToString::to_string).collect()
}

#[test]
fn scalars_are_those_of_kubectl() {
    let text = "a: yes\nb: Off\nc: on\nd: 0644\ne: 0x1f\nf: ~\ng:\nh: 'yes'\ni: 1.10\nj: 2024-01-01\nk: -5\nl: 1e3\nm: \"0644\"\n8080: web\ntrue: x\n";
    let expected = json!({
        "a": true, "b": false, "c": true, "d": 420, "e": 31, "f": null, "g": null, "h": "yes", "i": 1.1, "j": "2024-01-01", "k": -5,
        "l": 1000.0, "m": "0644", "8080": "web", "true": "x",
    });
    assert_eq!(values(text), [expected]);
}

#[test]
fn anchors_aliases_and_merge_keys() {
    let text = "base: &base {p: 1, q: 2}\nother:\n  <<: *base\n  q: 3\nsame: *base\n";
    assert_eq!(
        values(text),
        [json!({"base": {"p": 1, "q": 2}, "other": {"p": 1, "q": 3}, "same": {"p": 1, "q": 2}})]
    );
    let popular = format!("a: &a 1\nb: [{}]\n", "*a, ".repeat(500));
    assert_eq!(values(&popular)[0]["b"].as_array().map(Vec::len), Some(500));
}

#[test]
fn streams_are_split_and_empty_documents_skipped() {
    let text = "# a comment\n---\n\n---\na: 1\n--- # more\n# only a comment\n---\nb: 2\n...\nc: 3\n---\n%odd: 1\n--- {d: 4}\n---\n";
    let parsed = documents(text);
    assert_eq!(parsed.errors.len(), 1, "{:?}", parsed.errors);
    let found: Vec<(usize, usize, Value)> = parsed.documents.into_iter().map(|d| (d.index, d.line, d.value)).collect();
    assert_eq!(
        found,
        [
            (0, 5, json!({"a": 1})),
            (1, 9, json!({"b": 2})),
            (2, 11, json!({"c": 3})),
            (4, 14, json!({"d": 4}))
        ]
    );
    assert_eq!((parsed.errors[0].document, parsed.errors[0].line), (3, 13));
    assert_eq!(values("%YAML 1.1\n---\na: 1\n"), [json!({"a": 1})]);
    for empty in ["", "\n\n", "---\n", "---\n---\n# x\n", "null\n", "\u{feff}"] {
        assert_eq!(documents(empty), Parsed::default(), "{empty:?}");
    }
}

#[test]
fn markers_inside_text_are_text() {
    let text = "a: |\n  ---\n  x\nb: \"--- y\"\n----: z\n";
    assert_eq!(values(text), [json!({"a": "---\nx\n", "b": "--- y", "----": "z"})]);
}

#[test]
fn windows_files_are_read() {
    let text = "\u{feff}a: 1\r\nb: |\r\n  x\r\n---\r\nc: 3\r\n...\r\n";
    assert_eq!(values(text), [json!({"a": 1, "b": "x\n"}), json!({"c": 3})]);
}

#[test]
fn json_of_any_shape() {
    assert_eq!(
        values("{\n\t\"a\": \"\\ud83d\\ude00\\/\",\n\t\"b\": [1,\n\t2]\n}\n"),
        [json!({"a": "😀/", "b": [1, 2]})]
    );
    assert_eq!(
        values("{\"a\":1}{\"b\":2}\n{\"c\":3}"),
        [json!({"a": 1}), json!({"b": 2}), json!({"c": 3})]
    );
    assert_eq!(values("---\n{\"a\": 1}\n---\n[1]\n"), [json!({"a": 1}), json!([1])]);
    assert_eq!(values("{a: b, c: [d]}\n"), [json!({"a": "b", "c": ["d"]})]);
    assert_eq!(values("{\"a\": b}\n"), [json!({"a": "b"})]);
    let parsed = documents("\n{\"a\":1}\n\n{\n\"b\":\n{\"c\": 2}}");
    let lines: Vec<(usize, usize)> = parsed.documents.iter().map(|d| (d.line, d.line_of("b.c"))).collect();
    assert_eq!(lines, [(2, 2), (4, 6)]);
}

#[test]
fn fields_know_their_lines() {
    let text = "# first\n---\nkind: Pod\nspec:\n  containers:\n    - name: a\n      image: |\n        nginx\n    -\n      name: b\n      image: redis\n  odd: [x,\n    y]\n";
    let parsed = documents(text);
    let document = &parsed.documents[0];
    for (path, line) in [
        ("", 3),
        ("kind", 3),
        ("spec", 4),
        ("spec.containers", 5),
        ("spec.containers[0]", 6),
        ("spec.containers[0].name", 6),
        ("spec.containers[0].image", 7),
        ("spec.containers[1].image", 11),
        ("spec.odd[0]", 12),
        ("spec.odd[1]", 13),
        ("spec.containers[1].missing.more", 10),
        ("spec.containers[7]", 5),
        ("spec[0]", 4),
        ("[0].[x.]", 3),
    ] {
        assert_eq!(document.line_of(path), line, "{path}");
    }
}

#[test]
fn a_broken_document_loses_only_itself() {
    let parsed = documents("a: 1\n---\nb: [1\n---\nc: 3\nc: 4\n---\n{\"d\": 1\n---\ne: 5\n");
    let found: Vec<(usize, Value)> = parsed.documents.into_iter().map(|d| (d.index, d.value)).collect();
    assert_eq!(found, [(0, json!({"a": 1})), (4, json!({"e": 5}))]);
    let errors: Vec<(usize, usize)> = parsed.errors.iter().map(|e| (e.document, e.line)).collect();
    assert_eq!(errors[1..], [(2, 6), (3, 9)], "{:?}", parsed.errors);
    assert_eq!(errors[0].0, 1);
}

#[test]
fn errors_are_sentences_with_a_place() {
    let template = " (this looks like a template that has not been rendered)";
    for (text, expected) in [
        ("a: 1\na: 2", "line 2, column 1: duplicate mapping key: a not allowed here"),
        ("{\"a\": 1, \"a\": 2}", "line 1, column 16: duplicate mapping key: a"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed in this context"),
        (
            "a:\n\t- b",
            "line 2, column 2: tabs disallowed within this context (block indentation)",
        ),
        ("a: *nope", "line 1, column 4: reference to unknown value"),
        ("a: .nan", "line 1, column 4: value `.nan` is not a finite number"),
        ("? [1]\n: x", "line 1, column 3: expected string scalar"),
        (
            "a: {{ .Values.image }}",
            &format!("line 1, column 5: expected string scalar{template}"),
        ),
        ("{{ if .x }}", &format!("line 1, column 2: expected string scalar{template}")),
        ("{\"a\": 1\n", "line 2, column 1: EOF while parsing an object"),
        ("\n\n{\"a\": 1}\n{\"b\": }", "line 4, column 7: expected value"),
        ("a: 'x", "line 1, column 4: unclosed quote"),
    ] {
        assert_eq!(errors(text), [expected], "{text:?}");
    }
}

#[test]
fn laughs_and_depth_are_bounded() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let items = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb = format!("{bomb}a{level}: &a{level} [{items}]\n");
    }
    assert_eq!(errors(&bomb).len(), 1);
    for text in [
        "[".repeat(5_000),
        "{\"a\":".repeat(5_000),
        "- ".repeat(5_000),
        format!("{}1{}", "[".repeat(130), "]".repeat(130)),
        (0..200).map(|depth| " ".repeat(depth) + "a:\n").collect(),
    ] {
        assert!(documents(&text).documents.is_empty(), "{}", text.len());
    }
    let deep = format!("{}1{}", "[".repeat(90), "]".repeat(90));
    assert_eq!(documents(&deep).documents.len(), 1);
}

#[test]
fn fields_have_columns() {
    let text = "kind: X\nspec:\n  mode: Enfrce\n  list:\n  - a\n  -   b: 1\n  labels:\n    team.corp/x.y: v\n    team: {corp/x: w, é: \"z\", n: 5}\n  block: |\n    x\n";
    let parsed = documents(text);
    let document = &parsed.documents[0];
    for (path, key, value) in [
        ("kind", (1, 1), (1, 7)),
        ("spec", (2, 1), (2, 1)),
        ("spec.mode", (3, 3), (3, 9)),
        ("spec.mode.deeper", (3, 3), (3, 9)),
        ("spec.list[0]", (5, 5), (5, 5)),
        ("spec.list[1].b", (6, 7), (6, 10)),
        ("spec.list[7]", (4, 3), (4, 3)),
        ("spec.labels.team.corp/x.y", (8, 5), (8, 20)),
        ("spec.labels.team.corp/x", (9, 12), (9, 20)),
        ("spec.labels.team.n", (9, 31), (9, 34)),
        ("spec.block", (10, 3), (10, 3)),
        ("", (1, 1), (1, 1)),
        ("nothing", (1, 1), (1, 1)),
    ] {
        assert_eq!(document.place_of(path), key, "{path}");
        assert_eq!(document.place_of_value(path), value, "value of {path}");
    }
    let json = documents("{\"a\": 1} {\"b\":\n {\"c\": 2}}\n");
    assert_eq!(json.documents[1].place_of_value("b"), (1, 11));
    assert_eq!(json.documents[1].place_of("b.c"), (2, 3));
    assert_eq!(documents("---\n---\n\n a:\n   b\n").documents[0].place_of("a"), (4, 2));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in r"[-a:{}\[\]*&<!|>#%. \n\r\t'0-9,?~]{0,60}|.{0,30}") {
        let parsed = documents(&text);
        for document in &parsed.documents {
            proptest::prop_assert!(document.line >= 1 && document.line <= text.split(['\n', '\r']).count());
        }
    }

    #[test]
    fn json_comes_back(keys in proptest::collection::btree_map("[a-z\"\\\\ é😀\n]{0,6}", ".{0,8}", 0..5)) {
        let value = json!({"map": keys, "list": [1, -2.5, true, null, ["x"]]});
        proptest::prop_assert_eq!(values(&value.to_string()), vec![value.clone()]);
        proptest::prop_assert_eq!(values(&format!("{value:#}\n")), vec![value]);
    }
}

/// The values of a text without errors.
fn taken(text: &str) -> Vec<Value> {
    let parsed = manifests(text);
    assert_eq!(parsed.errors, [], "{text}");
    parsed.documents.into_iter().map(|document| document.value).collect()
}

#[test]
fn what_kubectl_takes_is_taken() {
    // k8s.io/apimachinery's decoder 0.37.2 gave the same value for each.
    let comments = "  # a comment that is long enough to be looked at twice\n".repeat(400);
    assert_eq!(taken(&format!("a:\n{comments}  b: 1\n")), [json!({"a": {"b": 1}})]);
    assert_eq!(taken(&format!("a:\n  b: # c\n{comments}    c\n")), [json!({"a": {"b": "c"}})]);
    assert_eq!(
        taken("m:\n  a: \"some text\n  continued\n  here\"\n  b: 'x\n\n  y'\nc: \"p\nq\"\n"),
        [json!({"m": {"a": "some text continued here", "b": "x\ny"}, "c": "p q"})]
    );
    assert_eq!(taken("a: 1\nb: {c: 1, c: 2}\na: 2\n"), [json!({"a": 2, "b": {"c": 2}})]);
    assert_eq!(taken(r#"{"a": 1, "a": 2}"#), [json!({"a": 2})]);
    assert_eq!(
        taken("\u{feff}a: 1\n---\n\u{feff}b: 1\n---\n# x\n\u{feff}c: 1\n"),
        [json!({"a": 1}), json!({"b": 1}), json!({"c": 1})]
    );
    assert_eq!(taken("---\r\na: 1\r\n---\r\nb: 2\r\n"), [json!({"a": 1}), json!({"b": 2})]);
    assert_eq!(
        taken("--- # one\na: 1\n---\n\n---\n# none\n--- \nb: 2\n...\n"),
        [json!({"a": 1}), json!({"b": 2})]
    );
    assert_eq!(taken("[{\"a\": 1}, {\"a\": 2}]"), [json!([{"a": 1}, {"a": 2}])]);
}

#[test]
fn repeated_keys_are_told_with_their_lines() {
    let document = manifests("a: 1\nb:\n  c: 1\n  c: 2\na: 2\n").documents.remove(0);
    assert_eq!(document.repeated, [(4, "c".to_owned()), (5, "a".to_owned())]);
    assert_eq!(document.line_of("a"), 5, "the one that counts");
    assert!(
        manifests("a: &a {x: 1}\nb: {<<: *a, x: 2}\n").documents[0]
            .repeated
            .is_empty()
    );
}

#[test]
fn places_behind_a_continued_scalar_are_those_of_the_text() {
    let text = "a: \"x\ny\nz\"\nimage: nginx:1\n";
    let parsed = manifests(text);
    let document = &parsed.documents[0];
    assert_eq!(document.place_of_value("image"), (4, 8));
    let addition = Addition {
        document: 0,
        path: "image".to_owned(),
        value: "nginx:1".to_owned(),
        text: "@sha256:0".to_owned(),
    };
    let edited = append(text, &parsed, &[addition]).unwrap();
    assert_eq!(edited.text, "a: \"x\ny\nz\"\nimage: nginx:1@sha256:0\n");
    // A quote that is never closed is still an error, at its line.
    let broken = manifests("a: 1\nb: \"x\nc: 2\nd: 3\n");
    assert_eq!(broken.errors.len(), 1, "{broken:?}");
}

#[test]
fn documents_of_other_kinds_are_checked_and_not_built() {
    let text = "kind: ConfigMap\na: 1\n---\nkind: Pod\n---\nkind: ConfigMap\na: [1\n---\nmetadata: {kind: x}\n---\nkind: 'Pod'\n";
    let mut found = Vec::new();
    each(text, &|kind| kind == "Pod", &mut |one| {
        found.push(match one {
            FoundDocument::Document(document) => format!("{} {}", document.index, document.value),
            FoundDocument::PassedOver => "passed over".to_owned(),
            FoundDocument::Broken(error) => format!("broken {}", error.document),
        });
    });
    assert_eq!(
        found,
        [
            "passed over",
            "1 {\"kind\":\"Pod\"}",
            "broken 2",
            "3 {\"metadata\":{\"kind\":\"x\"}}",
            "4 {\"kind\":\"Pod\"}"
        ]
    );
}
