//! `mode`: what pullgate does about findings on which no policy votes.

use super::file;
use super::problem::Problem;
use crate::policy::model::{LabelSelector, Operator, Requirement};
use crate::policy::{Mode, Modes};
use crate::yaml::unknown;
use serde_saphyr::Spanned;

/// Checks it; problems are added to `problems`.
pub(super) fn read(written: Spanned<file::Modes>, problems: &mut Vec<Problem>) -> Modes {
    let entries = match written.value {
        file::Modes::Everywhere(name) => {
            const ALL: [Mode; 3] = [Mode::Enforce, Mode::Warn, Mode::Audit];
            let mode = ALL.into_iter().find(|mode| mode.name() == name);
            return mode.map_or_else(
                || {
                    let why = unknown("value", &name, &ALL.map(Mode::name));
                    problems.push(Problem::at(written.referenced, why));
                    Modes::default()
                },
                Modes::everywhere,
            );
        }
        file::Modes::Listed(entries) => entries,
    };
    let mut modes = Modes::default();
    for entry in entries {
        let file::ModeEntry {
            namespace_selector,
            mode,
        } = entry.value;
        let added = modes.add(&selector(namespace_selector.unwrap_or_default()), self::mode(mode));
        if let Err(why) = added {
            problems.push(Problem::at(entry.referenced, why));
        }
    }
    modes
}

fn mode(written: file::Mode) -> Mode {
    match written {
        file::Mode::Enforce => Mode::Enforce,
        file::Mode::Warn => Mode::Warn,
        file::Mode::Audit => Mode::Audit,
    }
}

fn selector(written: file::NamespaceSelector) -> LabelSelector {
    let requirement = |written: file::Requirement| Requirement {
        key: written.key,
        operator: match written.operator {
            file::Operator::In => Operator::In,
            file::Operator::NotIn => Operator::NotIn,
            file::Operator::Exists => Operator::Exists,
            file::Operator::DoesNotExist => Operator::DoesNotExist,
        },
        values: written.values,
    };
    LabelSelector {
        match_labels: written.match_labels,
        match_expressions: written
            .match_expressions
            .map(|list| list.into_iter().map(requirement).collect()),
    }
}
