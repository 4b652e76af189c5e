use super::*;

/// Texts made by Go's `encoding/json`.
const REFUSED: &[(&[u8], &str)] = &[
    (b"", "unexpected end of JSON input"),
    (b"{", "unexpected end of JSON input"),
    (b"{\"a\":\"", "unexpected end of JSON input"),
    (b"\"\xff", "unexpected end of JSON input"),
    (b"{\"a\" 1}", "invalid character '1' after object key"),
    (b"{\"a\":}", "invalid character '}' looking for beginning of value"),
    (
        b"{\"a\":1,}",
        "invalid character '}' looking for beginning of object key string",
    ),
    (b"{a:1}", "invalid character 'a' looking for beginning of object key string"),
    (
        b"{'a':1}",
        "invalid character '\\'' looking for beginning of object key string",
    ),
    (b"{\"a\":01}", "invalid character '1' after object key:value pair"),
    (b"{\"a\":1.}", "invalid character '}' after decimal point in numeric literal"),
    (b"{\"a\":1e}", "invalid character '}' in exponent of numeric literal"),
    (b"{\"a\":1e+}", "invalid character '}' in exponent of numeric literal"),
    (b"{\"a\":tru}", "invalid character '}' in literal true (expecting 'e')"),
    (b"{\"a\":truth}", "invalid character 't' in literal true (expecting 'e')"),
    (b"nul", "invalid character ' ' in literal null (expecting 'l')"),
    (b"{\"a\":\"\\x\"}", "invalid character 'x' in string escape code"),
    (
        b"{\"a\":\"\\u12g4\"}",
        "invalid character 'g' in \\u hexadecimal character escape",
    ),
    (b"{\"a\":\"\\u00", "invalid character ' ' in \\u hexadecimal character escape"),
    (b"{\"a\":\"\t\"}", "invalid character '\\t' in string literal"),
    (b"{\"a\":1} x", "invalid character 'x' after top-level value"),
    (b"\xef\xbb\xbf{}", "invalid character '\u{ef}' looking for beginning of value"),
    (b"\x00", "invalid character '\\x00' looking for beginning of value"),
    (b"{\"a\":-}", "invalid character '}' in numeric literal"),
    (b"[1 2]", "invalid character '2' after array element"),
    (b"[1,]", "invalid character ']' looking for beginning of value"),
    (b"{\"a\":1 \"b\":2}", "invalid character '\"' after object key:value pair"),
    (b"{\"a\":+1}", "invalid character '+' looking for beginning of value"),
];

#[test]
fn refuses_in_the_words_of_go() {
    for (document, text) in REFUSED {
        assert_eq!(check(document), Err((*text).to_owned()), "{}", document.escape_ascii());
    }
}

/// A document cut short anywhere: where Go says something else than "unexpected end of JSON input", it says it of this part of what is left.
#[test]
fn a_cut_document_is_refused_in_the_words_of_go() {
    let whole = br#"{"schemaVersion":2,"a":[true,false,null],"n":[-0.5e+10,12E3],"t":"\u00e9\\\"x\n","o":{"k":{}}}"#;
    let odd = [
        (25..=25, "in literal true (expecting 'r')"),
        (26..=26, "in literal true (expecting 'u')"),
        (27..=27, "in literal true (expecting 'e')"),
        (30..=30, "in literal false (expecting 'a')"),
        (31..=31, "in literal false (expecting 'l')"),
        (32..=32, "in literal false (expecting 's')"),
        (33..=33, "in literal false (expecting 'e')"),
        (36..=36, "in literal null (expecting 'u')"),
        (37..=38, "in literal null (expecting 'l')"),
        (47..=47, "in numeric literal"),
        (49..=49, "after decimal point in numeric literal"),
        (51..=52, "in exponent of numeric literal"),
        (58..=58, "in exponent of numeric literal"),
        (67..=67, "in string escape code"),
        (68..=71, "in \\u hexadecimal character escape"),
        (73..=73, "in string escape code"),
        (75..=75, "in string escape code"),
        (78..=78, "in string escape code"),
    ];
    for length in 0..whole.len() {
        let words = odd.iter().find(|(lengths, _)| lengths.contains(&length));
        let expected = words.map_or("unexpected end of JSON input".to_owned(), |(_, text)| {
            format!("invalid character ' ' {text}")
        });
        assert_eq!(check(&whole[..length]), Err(expected), "{length}");
    }
    assert_eq!(check(whole), Ok(()));
}

#[test]
fn accepts_what_go_accepts() {
    for document in [
        &b" {} "[..],
        b"null",
        b"-0.1e-2",
        b"[[],{},\"\\ud800\",true,false,null,0]",
        b"{\"a\":\"\x7f\xff\"}",
        b"{\"a\":{\"b\":[1]}}",
    ] {
        assert_eq!(check(document), Ok(()), "{}", document.escape_ascii());
    }
}

#[test]
fn depth_is_bounded_as_in_go() {
    assert_eq!(check(&[b"[".repeat(10_000), b"]".repeat(10_000)].concat()), Ok(()));
    assert_eq!(check(&b"[".repeat(10_000)), Err("unexpected end of JSON input".to_owned()));
    assert_eq!(
        check(&b"[".repeat(10_001)),
        Err("invalid character '[' exceeded max depth".to_owned())
    );
}

#[test]
fn members_come_in_document_order() {
    let object = br#" { "z" : {"x":[1,"]}"]} ,"a":"q\"}", "n":null,"z":-1.5e3 } "#;
    assert_eq!(check(object), Ok(()));
    let found: Vec<(String, String)> = members(object)
        .into_iter()
        .map(|(key, value)| (key, String::from_utf8_lossy(value).into_owned()))
        .collect();
    let expected = [("z", r#"{"x":[1,"]}"]}"#), ("a", r#""q\"}""#), ("n", "null"), ("z", "-1.5e3")];
    assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    assert!(members(b"{}").is_empty());
    assert!(members(b"[1]").is_empty());
}

#[test]
fn strings_are_unquoted_as_go_does() {
    assert_eq!(string(br#""a\n\/\"\\A\ud83d\ude00""#), "a\n/\"\\A😀");
    assert_eq!(string(br#""\ud800x\udc00""#), "\u{fffd}x\u{fffd}");
    assert_eq!(string(b"\"\xff\""), "\u{fffd}");
}

#[test]
fn fields_match_without_case() {
    assert!(same_field("AUTHS", "auths"));
    assert!(same_field("authſ", "auths"));
    assert!(!same_field("auth", "auths"));
}

proptest::proptest! {
    #[test]
    fn accepts_and_refuses_like_another_parser(text in r#"[\[\]{}:,"a1e.\-tnrul \\]{0,24}"#) {
        // Both know the same grammar; only lone surrogates and numbers out of range differ, and neither is in this alphabet.
        let ours = check(text.as_bytes()).is_ok();
        let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
        proptest::prop_assert_eq!(ours, theirs, "{}", text);
    }

    #[test]
    fn reading_never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
        let _ = check(&bytes);
        let _ = members(&bytes);
        let _ = string(&bytes);
        let _ = kind(&bytes);
    }
}
