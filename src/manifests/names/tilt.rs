//! What a Tiltfile builds, as far as its text shows: Starlark is not run, but strings are built as it would.

use std::collections::HashMap;

/// The names that a Tiltfile builds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Built {
    /// Those that can be worked out.
    pub(super) names: Vec<String>,
    /// Whether there are others.
    pub(super) more: bool,
}

/// The first argument, or `ref`, of the functions that build (`docker_build`, `custom_build`, `docker_build_with_restart` and other
/// extensions).
pub(super) fn built(text: &str) -> Built {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut variables: HashMap<&str, String> = HashMap::new();
    for line in code.lines() {
        if let Some((name, value)) = line.split_once('=')
            && is_name(name.trim())
            && let Some(value) = value_of(value, &variables)
        {
            variables.insert(name.trim(), value);
        }
    }
    let mut found = Built::default();
    for (at, _) in code.match_indices('(') {
        let (before, after) = code.split_at(at);
        let function = before
            .rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .next()
            .unwrap_or_default();
        let defined = before
            .strip_suffix(function)
            .is_some_and(|before| before.trim_end().ends_with("def"));
        if !function.contains("build") || defined {
            continue;
        }
        let arguments = split(after.get(1..).unwrap_or_default(), ',');
        let by_name = arguments.iter().find_map(|argument| {
            let (name, value) = argument.split_once('=')?;
            (name.trim() == "ref").then_some(value)
        });
        let Some(argument) = by_name.or_else(|| arguments.first().copied()) else {
            continue;
        };
        match value_of(argument, &variables) {
            Some(name) => found.names.push(name),
            None => found.more = true,
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The parts of an expression between separators outside quotes and brackets. The expression ends at the bracket that closes it, or
/// with its line if no bracket is open.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0_usize);
    let mut quote: Option<char> = None;
    let mut end = text.len();
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') if depth == 0 => {
                end = at;
                break;
            }
            (None, ')' | ']' | '}') => depth -= 1,
            (None, c) if c == separator && depth == 0 => {
                parts.extend(text.get(from..at));
                from = at + c.len_utf8();
            }
            (Some(_) | None, _) => {}
        }
    }
    parts.extend(text.get(from..end));
    parts
}

/// The text that an expression gives: literals, variables, `+`, `%`, `.format()` and f-strings.
fn value_of(expression: &str, variables: &HashMap<&str, String>) -> Option<String> {
    let parts = split(expression, '+');
    if parts.len() > 1 {
        return parts.into_iter().map(|part| value_of(part, variables)).collect();
    }
    let text = parts.first()?.trim();
    let of = |name: &str| value_of(name, variables);
    if let [format, values] = split(text, '%')[..] {
        let values = values.trim().trim_start_matches('(').trim_end_matches(')');
        return filled(&of(format)?, &["%s", "%d"], split(values, ',').into_iter().map(of));
    }
    if is_name(text) {
        return variables.get(text).cloned();
    }
    let (formatted, literal) = text.strip_prefix('f').map_or((false, text), |rest| (true, rest));
    let quote = literal.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (inner, rest) = literal.get(1..)?.split_once(quote)?;
    match rest.trim() {
        "" if formatted => {
            let mut out = String::new();
            let mut left = inner;
            while let Some((before, after)) = left.split_once('{') {
                let (name, after) = after.split_once('}')?;
                out.push_str(before);
                out.push_str(&of(name)?);
                left = after;
            }
            Some(out + left)
        }
        "" => Some(inner.to_owned()),
        rest => {
            let values = rest.strip_prefix(".format(")?.strip_suffix(')')?;
            filled(inner, &["{}"], split(values, ',').into_iter().map(of))
        }
    }
}

/// A text with its placeholders replaced in order.
fn filled(text: &str, marks: &[&str], values: impl Iterator<Item = Option<String>>) -> Option<String> {
    let mut text = text.to_owned();
    for value in values {
        let mark = marks.iter().find(|mark| text.contains(**mark))?;
        text = text.replacen(mark, &value?, 1);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tiltfile_builds() {
        let text = "# docker_build('old', '.')\ndocker_build('reg.example/app', '.')\ncustom_build(\n  ref=\"worker\", command='x')\n\
                    load('ext://restart_process', 'docker_build_with_restart')\ndocker_build_with_restart('third', '.')\nk8s_yaml('x.yaml')\n\
                    custom_build(command='x', deps=['.', f('a')], ref='fourth')\ndef my_build(name):\n  pass\n";
        let expected = ["reg.example/app", "worker", "third", "fourth"].map(str::to_owned);
        assert_eq!(built(text).names, expected);
        assert!(!built(text).more);
    }

    #[test]
    fn names_that_are_put_together() {
        for (argument, expected) in [
            ("NAME", Some("app")),
            ("REG + '/app'", Some("reg.example/app")),
            ("'%s/app' % REG", Some("reg.example/app")),
            ("'%s/%s' % (REG, NAME)", Some("reg.example/app")),
            ("'{}/{}'.format(REG, NAME)", Some("reg.example/app")),
            ("f\"{REG}/{NAME}\"", Some("reg.example/app")),
            ("BOTH", Some("reg.example/app")),
            ("name", None),
            ("os.getenv('IMAGE')", None),
            ("config['image']", None),
        ] {
            let text = format!("REG = 'reg.example'\nNAME=\"app\"\nBOTH = REG + '/' + NAME\ndocker_build({argument}, '.')\n");
            let found = built(&text);
            assert_eq!(found.names.first().map(String::as_str), expected, "{argument}");
            assert_eq!(found.more, expected.is_none(), "{argument}");
        }
    }
}
