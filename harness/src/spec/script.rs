//! A schedule in words: `at 5s partition leader; at 12s heal`.

use super::PlannedFault;
use anyhow::{Context, Result, bail, ensure};
use schism_targets::registry::Options;
use std::time::Duration;

/// A fault whose end is still to be read.
struct Open {
    at: Duration,
    lasts: Option<Duration>,
    fault: String,
    options: Options,
    recovers_within: Option<Duration>,
}

/// Reads statements, one a line or between semicolons:
/// `at TIME FAULT [SHAPE] [KEY=VALUE]... [for TIME] [recovers within TIME]` and `at TIME heal [FAMILY]`, which ends what is in force by then.
pub(super) fn read(script: &str) -> Result<Vec<PlannedFault>> {
    let mut open: Vec<Open> = Vec::new();
    let statements = script.split([';', '\n']).map(str::trim);
    for statement in statements.filter(|s| !s.is_empty()) {
        one(statement, &mut open).with_context(|| format!("in the script, {statement:?}"))?;
    }
    ensure!(!open.is_empty(), "the script has no fault");
    open.into_iter().map(closed).collect()
}

fn one(statement: &str, open: &mut Vec<Open>) -> Result<()> {
    let mut words = statement.split_whitespace();
    ensure!(
        words.next() == Some("at"),
        "a statement begins with a time: at 5s partition leader"
    );
    let at = time(words.next())?;
    let what = words.next().context("what is to happen then?")?;
    if what == "heal" {
        let family = words.next();
        ensure!(
            words.next().is_none(),
            "heal takes at most one family: at 12s heal partition"
        );
        return heal(at, family, open);
    }
    let mut fault = Open {
        at,
        lasts: None,
        fault: what.to_owned(),
        options: Options::new(),
        recovers_within: None,
    };
    while let Some(word) = words.next() {
        if word == "for" {
            fault.lasts = Some(time(words.next())?);
        } else if word == "recovers" {
            ensure!(
                words.next() == Some("within"),
                "it recovers within a time: recovers within 10s"
            );
            fault.recovers_within = Some(time(words.next())?);
        } else if let Some((key, value)) = word.split_once('=') {
            fault.options.insert(key.to_owned(), value.to_owned());
        } else if fault.fault.contains(':') {
            bail!("{word:?} is neither an option (key=value) nor `for`");
        } else {
            fault.fault = format!("{what}:{word}");
        }
    }
    open.push(fault);
    Ok(())
}

fn time(word: Option<&str>) -> Result<Duration> {
    let word = word.context("a time is missing, such as 5s")?;
    humantime::parse_duration(word).with_context(|| format!("{word:?} is no time such as 5s"))
}

/// Ends what has begun and has no end yet, of one family or of all.
fn heal(at: Duration, family: Option<&str>, open: &mut [Open]) -> Result<()> {
    let of = |fault: &Open| family.is_none_or(|f| fault.fault.split(':').next() == Some(f));
    let mut healed = 0;
    for fault in open
        .iter_mut()
        .filter(|f| f.lasts.is_none() && f.at < at && of(f))
    {
        fault.lasts = Some(at.saturating_sub(fault.at));
        healed += 1;
    }
    ensure!(healed > 0, "there is nothing to heal then");
    Ok(())
}

fn closed(open: Open) -> Result<PlannedFault> {
    let lasts = open.lasts.with_context(|| {
        format!(
            "in the script, {} is never healed: add `for 5s`, or `at TIME heal` after it",
            open.fault
        )
    })?;
    Ok(PlannedFault {
        at: open.at,
        lasts,
        fault: open.fault,
        options: open.options,
        when: Vec::new(),
        until: Vec::new(),
        recovers_within: open.recovers_within,
        stream: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_heal_ends_what_is_in_force() {
        let faults = read(
            "at 5s partition leader; at 6s kill:n2 for 1s
             at 8s packets n1>n2 delay=50ms loss=10% recovers within 3s
             at 9s heal partition; at 12s heal",
        )
        .unwrap();
        let told: Vec<_> = faults
            .iter()
            .map(|f| (f.at, f.lasts, f.fault.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (seconds(5), seconds(4), "partition:leader"),
                (seconds(6), seconds(1), "kill:n2"),
                (seconds(8), seconds(4), "packets:n1>n2"),
            ]
        );
        assert_eq!(faults[2].options["delay"], "50ms");
        assert_eq!(faults[2].recovers_within, Some(seconds(3)));
    }

    #[test]
    fn mistakes_are_said_with_their_statement() {
        for (script, says) in [
            ("", "no fault"),
            ("at 5s partition", "never healed"),
            ("at 5s heal", "nothing to heal"),
            ("at 5s kill; at 7s heal partition", "nothing to heal"),
            ("at noon kill", "no time"),
            ("kill at 5s", "begins with a time"),
            ("at 5s", "what is to happen"),
            ("at 5s kill:n1 n2 for 1s", "neither an option"),
            ("at 5s kill for", "a time is missing"),
        ] {
            let error = format!("{:#}", read(script).unwrap_err());
            assert!(error.contains(says), "{script}: {error}");
        }
    }
}
