//! The status of a policy: the condition `Accepted`. Pure, except for the time of a transition.

use crate::image::escape;
use crate::policy::{Policy, Problem};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The condition's type.
const ACCEPTED: &str = "Accepted";
/// The field that says which version is in force, where the newest one is not.
const IN_FORCE: &str = "inForce";
/// The field with its generation.
const GENERATION_IN_FORCE: &str = "generationInForce";
/// The length of the message about problems, in characters; the rest is counted.
const LONGEST: usize = 2_000;

/// Which version of a policy is in force if its newest one is invalid. From best to worst: if replicas differ, because one started
/// later and never saw the good version, the worse one is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InForce {
    /// An earlier version; the API server did not give its generation.
    Earlier,
    /// That generation.
    Generation(i64),
    /// None here; an older replica may have an earlier version.
    NothingSinceStart,
    /// None: there was no earlier version.
    Nothing,
}

impl InForce {
    /// The end of the message.
    pub(super) fn clause(self) -> String {
        match self {
            Self::Earlier => "; an earlier version still holds".to_owned(),
            Self::Generation(generation) => format!("; generation {generation} still holds"),
            Self::NothingSinceStart => "; nothing of it holds where pullgate started after the last good version".to_owned(),
            Self::Nothing => "; it does not hold".to_owned(),
        }
    }

    /// As the status has it: `inForce`, and `generationInForce` where it is known.
    fn fields(self) -> (&'static str, Option<i64>) {
        match self {
            Self::Earlier => ("Earlier", None),
            Self::Generation(generation) => ("Earlier", Some(generation)),
            Self::NothingSinceStart => ("NothingSinceStart", None),
            Self::Nothing => ("Nothing", None),
        }
    }

    /// What a status says. Where it has no fields for it (older versions wrote none, and their CRD drops them), the end of the message says it.
    fn read(status: &Value, clause: &str) -> Option<Self> {
        let Some(in_force) = status.get(IN_FORCE).and_then(Value::as_str) else {
            return Self::read_clause(clause);
        };
        let generation = status.get(GENERATION_IN_FORCE).and_then(Value::as_i64);
        [Self::Earlier, Self::NothingSinceStart, Self::Nothing]
            .into_iter()
            .chain(generation.map(Self::Generation))
            .find(|one| one.fields() == (in_force, generation))
    }

    fn read_clause(clause: &str) -> Option<Self> {
        let number = clause
            .strip_prefix("; generation ")
            .and_then(|rest| rest.strip_suffix(" still holds"));
        if let Some(number) = number {
            return number.parse().ok().map(Self::Generation);
        }
        [Self::Earlier, Self::NothingSinceStart, Self::Nothing]
            .into_iter()
            .find(|in_force| in_force.clause() == clause)
    }

    /// How bad it is.
    fn loss(self) -> (u8, i64) {
        match self {
            Self::Earlier => (0, 0),
            Self::Generation(generation) => (1, generation.saturating_neg()),
            Self::NothingSinceStart => (2, 0),
            Self::Nothing => (3, 0),
        }
    }
}

/// All problems in one text of bounded length.
pub(super) fn tell(problems: &[Problem]) -> String {
    let mut out = String::new();
    let mut length = 0;
    for (at, problem) in problems.iter().enumerate() {
        let text = escape(&problem.to_string());
        let more = text.chars().count() + 2;
        if at > 0 && length + more > LONGEST {
            let _ = write!(out, "; and {} more", problems.len() - at);
            break;
        }
        if at > 0 {
            out.push_str("; ");
        }
        length += more;
        out.push_str(&text);
    }
    out
}

/// What else a valid policy's status says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// What changes at which time, as clauses.
    pub(super) schedule: Vec<String>,
    /// How many exemptions it has.
    pub(super) exemptions: usize,
}

impl Facts {
    /// Those of the policy in force.
    pub(super) fn of(policy: Option<&Policy>) -> Self {
        policy.map_or_else(Self::default, |policy| Self {
            schedule: policy.schedule(),
            exemptions: policy.exemptions(),
        })
    }

    /// The message of a valid policy, of bounded length.
    fn message(&self) -> String {
        let mut text = "the policy is valid and in force".to_owned();
        for (at, clause) in self.schedule.iter().enumerate() {
            if text.chars().count() + clause.chars().count() > LONGEST {
                let _ = write!(text, "; and {} more dates", self.schedule.len() - at);
                break;
            }
            let _ = write!(text, "; {clause}");
        }
        text
    }
}

/// Whether an existing status says what we would write. It may report a worse version in force than we would.
pub(super) fn agrees(status: &Value, generation: Option<i64>, problems: &[Problem], in_force: InForce, facts: &Facts) -> bool {
    let Some(condition) = accepted(status) else { return false };
    let about = |value: &Value| value.get("observedGeneration").and_then(Value::as_i64) == generation;
    let text = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default();
    if !about(status) || !about(condition) || (text("status"), text("reason")) != words(problems) {
        return false;
    }
    if problems.is_empty() {
        // The schedule is not compared: it only changes with the generation, and other versions of pullgate may word it differently.
        let exemptions = status.get("exemptions").and_then(Value::as_u64).unwrap_or_default();
        return u64::try_from(facts.exemptions) == Ok(exemptions);
    }
    text("message")
        .strip_prefix(&tell(problems))
        .and_then(|clause| InForce::read(status, clause))
        .is_some_and(|said| said.loss() >= in_force.loss())
}

/// The status to write. Other conditions are kept, and so is the transition time if the condition's status has not changed.
pub(super) fn write(before: &Value, generation: Option<i64>, problems: &[Problem], in_force: InForce, facts: &Facts) -> Value {
    let (status, reason) = words(problems);
    let since = accepted(before)
        .filter(|old| old.get("status").and_then(Value::as_str) == Some(status))
        .and_then(|old| old.get("lastTransitionTime")?.as_str())
        .filter(|time| time.parse::<jiff::Timestamp>().is_ok())
        .map_or_else(
            || jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            str::to_owned,
        );
    let message = if problems.is_empty() {
        facts.message()
    } else {
        tell(problems) + &in_force.clause()
    };
    let mut condition = json!({
        "type": ACCEPTED, "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
    });
    let others = conditions(before).filter(|condition| !is_accepted(condition)).cloned();
    let mut all: Vec<Value> = others.collect();
    let mut written = json!({});
    if let Some(generation) = generation {
        condition["observedGeneration"] = generation.into();
        written["observedGeneration"] = generation.into();
    }
    all.insert(0, condition);
    // A merge patch removes what is null.
    for gone in [IN_FORCE, GENERATION_IN_FORCE]
        .into_iter()
        .filter(|key| before.get(*key).is_some())
    {
        written[gone] = Value::Null;
    }
    if problems.is_empty() {
        written["exemptions"] = facts.exemptions.into();
    } else {
        let (which, generation) = in_force.fields();
        written[IN_FORCE] = which.into();
        if let Some(generation) = generation {
            written[GENERATION_IN_FORCE] = generation.into();
        }
    }
    written["conditions"] = all.into();
    written
}

fn words(problems: &[Problem]) -> (&'static str, &'static str) {
    if problems.is_empty() {
        ("True", "Valid")
    } else {
        ("False", "Invalid")
    }
}

fn conditions(status: &Value) -> impl Iterator<Item = &Value> {
    status.get("conditions").and_then(Value::as_array).into_iter().flatten()
}

fn is_accepted(condition: &Value) -> bool {
    condition.get("type").and_then(Value::as_str) == Some(ACCEPTED)
}

fn accepted(status: &Value) -> Option<&Value> {
    conditions(status).find(|condition| is_accepted(condition))
}
