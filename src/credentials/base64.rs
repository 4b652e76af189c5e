//! Standard base64 as Go's `encoding/base64` decodes it, including its error offsets: they are part of the text in a pod's status
//! (pull-semantics 4.3).

/// Decodes `auth`. Text that ends in `=` (ignoring white space) must be padded, other text must not be: that is how the kubelet
/// chooses its decoder. The error is the `N` of `illegal base64 data at input byte N`.
pub(super) fn decode_auth(field: &str) -> Result<Vec<u8>, usize> {
    let padding = if field.trim().ends_with('=') {
        Padding::Required
    } else {
        Padding::Forbidden
    };
    decode(field.as_bytes(), padding)
}

/// Decodes a value of a Secret's `data`, as the API server does (`encoding/json` into bytes: padded).
pub(crate) fn decode_padded(text: &str) -> Result<Vec<u8>, usize> {
    decode(text.as_bytes(), Padding::Required)
}

/// Whether the decoder expects `=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Padding {
    Required,
    Forbidden,
}

fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

fn is_newline(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

/// The position of the first byte from `at` on that is not a line break.
fn past_newlines(input: &[u8], mut at: usize) -> usize {
    while input.get(at).is_some_and(|&byte| is_newline(byte)) {
        at += 1;
    }
    at
}

fn decode(input: &[u8], padding: Padding) -> Result<Vec<u8>, usize> {
    let mut out = Vec::with_capacity(input.len() / 4 * 3 + 3);
    // The 6-bit values of the current group.
    let mut group: Vec<u8> = Vec::with_capacity(4);
    let mut at = 0;
    while let Some(&byte) = input.get(at) {
        if let Some(bits) = sextet(byte) {
            group.push(bits);
            if group.len() == 4 {
                flush(&mut group, &mut out);
            }
        } else if byte == b'=' && padding == Padding::Required {
            return finish_padded(input, at, group, out);
        } else if !is_newline(byte) {
            return Err(at);
        }
        at += 1;
    }
    match (group.len(), padding) {
        (0, _) => Ok(out),
        // Go counts back by the length of the unfinished group, ignoring line breaks.
        (1, _) | (_, Padding::Required) => Err(at.saturating_sub(group.len())),
        (_, Padding::Forbidden) => {
            flush(&mut group, &mut out);
            Ok(out)
        }
    }
}

/// The rest of the input from the first `=` on: one or two of them, then only line breaks.
fn finish_padded(input: &[u8], at: usize, mut group: Vec<u8>, mut out: Vec<u8>) -> Result<Vec<u8>, usize> {
    let mut next = at + 1;
    match group.len() {
        0 | 1 => return Err(at),
        2 => {
            next = past_newlines(input, next);
            match input.get(next) {
                None => return Err(input.len()),
                Some(b'=') => next += 1,
                Some(_) => return Err(next - 1),
            }
        }
        _ => {}
    }
    next = past_newlines(input, next);
    if next < input.len() {
        return Err(next);
    }
    flush(&mut group, &mut out);
    Ok(out)
}

/// Turns up to four groups of 6 bits into bytes (n of them make n - 1 whole bytes).
fn flush(group: &mut Vec<u8>, out: &mut Vec<u8>) {
    let bits = (0..4).fold(0u32, |bits, i| bits << 6 | u32::from(group.get(i).copied().unwrap_or(0)));
    let whole = group.len().saturating_sub(1);
    out.extend(bits.to_be_bytes().iter().skip(1).take(whole));
    group.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_those_of_go() {
        // Produced by Go's own decoders, chosen as the kubelet chooses them.
        for (text, expected) in [
            ("", Ok("")),
            ("\n", Ok("")),
            ("dTpw", Ok("u:p")),
            ("dTpw=", Err(4)),
            ("dTpwdw==", Ok("u:pw")),
            ("dTpwdw=", Err(7)),
            ("dTpwdw", Ok("u:pw")),
            ("dTpwd", Err(4)),
            ("dT\npw\r\n", Ok("u:p")),
            ("dTpwdw==\n", Ok("u:pw")),
            ("dTpwdw=\n=", Ok("u:pw")),
            (" dTpwdw==", Err(0)),
            ("dTpwdw== ", Err(8)),
            ("dTp-", Err(3)),
            ("dT_w", Err(2)),
            ("dTpwdw=x", Err(6)),
            ("=", Err(0)),
            ("d=", Err(1)),
            ("dTpwdw==dTpw", Err(6)),
            ("dTpwdw==dTpw=", Err(8)),
            ("!!", Err(0)),
            ("dTpw\nd", Err(5)),
        ] {
            assert_eq!(decode_auth(text), expected.map(|s: &str| s.as_bytes().to_vec()), "{text:?}");
        }
    }

    #[test]
    fn secret_data_is_padded() {
        assert_eq!(decode_padded("dTpwdw=="), Ok(b"u:pw".to_vec()));
        assert_eq!(decode_padded("dTpwdw"), Err(4));
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_comes_back(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            use ::base64::Engine as _;
            use ::base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
            proptest::prop_assert_eq!(decode_padded(&STANDARD.encode(&bytes)), Ok(bytes.clone()));
            proptest::prop_assert_eq!(decode_auth(&STANDARD_NO_PAD.encode(&bytes)), Ok(bytes.clone()));
            proptest::prop_assert_eq!(decode_auth(&STANDARD.encode(&bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in "[A-Za-z0-9+/= \r\n!-]{0,40}|.{0,20}") {
            let _ = decode_auth(&text);
            let _ = decode_padded(&text);
        }
    }
}
