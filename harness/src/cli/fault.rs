//! `schism fault` and `schism exec`: by hand, into a run that goes on or is held.

use super::{Failure, usage};
use crate::control::{self, Request};
use crate::exit;
use crate::nemesis::FaultOptions;
use crate::summary::to_stdout;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct FaultArgs {
    /// The run's folder
    #[arg(long, default_value = "results/latest", value_name = "DIR")]
    run: PathBuf,
    /// `partition n1 / n2,n3`, `kill leader for 5s`, `packets n1 delay=50ms`; `heal [FAMILY|NUMBER]`; `status`; `end`
    #[arg(required = true, value_name = "WORD")]
    words: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct ExecArgs {
    /// The run's folder
    #[arg(long, default_value = "results/latest", value_name = "DIR")]
    run: PathBuf,
    /// A node, or `clients`
    node: String,
    /// The program and its arguments
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

impl FaultArgs {
    /// Asks the run. 2: it could not be seen to be so.
    pub(super) fn carry_out(&self) -> Result<i32, Failure> {
        let request = usage(request(&self.words))?;
        let answer = usage(control::ask(&self.run, &request))?;
        usage(to_stdout(&format!("{}\n", answer.said.trim_end())))?;
        Ok(if answer.proved {
            exit::PASS
        } else {
            exit::INCONCLUSIVE
        })
    }
}

impl ExecArgs {
    /// The command's own exit code.
    pub(super) fn carry_out(&self) -> Result<i32, Failure> {
        usage(control::carry_out(&self.run, &self.node, &self.command))
    }
}

/// What the words ask for.
fn request(words: &[String]) -> Result<Request> {
    let words: Vec<&str> = words.iter().flat_map(|w| w.split_whitespace()).collect();
    let (first, rest) = words.split_first().context("what is to happen?")?;
    match (*first, rest) {
        ("status", []) => Ok(Request::Status),
        ("end", []) => Ok(Request::End),
        ("heal", []) => Ok(Request::Heal(None)),
        ("heal", [what]) => Ok(Request::Heal(Some((*what).to_owned()))),
        ("status" | "end" | "heal", _) => bail!("{first} takes no more words than that"),
        _ => fault(first, rest),
    }
}

fn fault(family: &str, words: &[&str]) -> Result<Request> {
    let (mut shape, mut options, mut for_ms) = (String::new(), FaultOptions::new(), None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if *word == "for" {
            let time = words.next().context("`for` wants a time, such as 5s")?;
            let time: Duration = humantime::parse_duration(time)
                .with_context(|| format!("{time:?} is no time such as 5s"))?;
            for_ms = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        } else if let Some((key, value)) = word.split_once('=') {
            options.insert(key.to_owned(), value.to_owned());
        } else {
            shape += &word.replace(',', "+");
        }
    }
    let fault = match (family.contains(':'), shape.is_empty()) {
        (_, true) => family.to_owned(),
        (false, false) => format!("{family}:{shape}"),
        (true, false) => bail!("{family} has its shape already: what is {shape:?}?"),
    };
    ensure!(for_ms != Some(0), "a fault must last a while");
    Ok(Request::Fault {
        fault,
        options,
        for_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Request> {
        request(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn words_become_a_request() {
        let fault = |fault: &str, options: &[(&str, &str)], for_ms| {
            let options = options.iter().map(|(k, v)| ((*k).into(), (*v).into()));
            Request::Fault {
                fault: fault.to_owned(),
                options: options.collect(),
                for_ms,
            }
        };
        for (text, request) in [
            (
                "partition n1 / n2,n3",
                fault("partition:n1/n2+n3", &[], None),
            ),
            ("kill:leader for 5s", fault("kill:leader", &[], Some(5000))),
            ("pause", fault("pause", &[], None)),
            (
                "packets n1>n2 delay=50ms",
                fault("packets:n1>n2", &[("delay", "50ms")], None),
            ),
            ("heal", Request::Heal(None)),
            ("heal 3", Request::Heal(Some("3".into()))),
            ("status", Request::Status),
            ("end", Request::End),
        ] {
            assert_eq!(asked(text).unwrap(), request, "{text}");
        }
        for bad in [
            "kill for",
            "kill for soon",
            "kill:n1 n2",
            "heal a b",
            "end now",
            "kill n1 for 0s",
        ] {
            assert!(asked(bad).is_err(), "{bad}");
        }
    }
}
