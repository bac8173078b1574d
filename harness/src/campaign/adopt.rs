//! A saved run as a cell of its own: what was found once is looked for every night.

use super::file::Campaign;
use crate::store::Run;
use anyhow::{Context, Result, bail};
use schism_checkers::verdict::{Decision, Verdict};
use std::fs;
use std::path::Path;
use toml::{Table, Value};

/// The cell as TOML: the run's spec, its seed, and the properties that it violated.
pub fn cell(run: &Run, id: &str) -> Result<String> {
    let spec = run.spec()?.spec;
    let finds = found(&run.verdict()?);
    let mut table: Table = toml::from_str(&spec.to_toml()?).context("the run's spec is no TOML")?;
    table.insert("id".to_owned(), Value::from(id));
    let about = format!(
        "adopted from {}",
        run.folder()
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned())
    );
    table.insert("about".to_owned(), Value::from(about));
    if !finds.is_empty() {
        table.insert("finds".to_owned(), Value::from(finds));
    }
    let cells = Value::from(vec![Value::Table(table)]);
    let whole = Table::from_iter([("cell".to_owned(), cells)]);
    toml::to_string(&whole).context("cannot write the cell as TOML")
}

fn found(verdict: &Verdict) -> Vec<String> {
    let violated = verdict
        .properties
        .iter()
        .filter(|(_, p)| p.decides && p.verdict == Decision::Violated);
    violated.map(|(name, _)| name.clone()).collect()
}

/// Adds the cell to a campaign file, which is made where there is none. What would be no campaign any more is not written.
pub fn add(cell: &str, file: &Path) -> Result<()> {
    let name = file
        .file_stem()
        .map_or_else(|| "adopted".into(), |n| n.to_string_lossy());
    let before = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("name = {name:?}\n")
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let after = format!("{}\n\n{cell}", before.trim_end());
    let whole = file.with_file_name(format!(".{name}.adopting"));
    fs::write(&whole, after).with_context(|| format!("cannot write {}", whole.display()))?;
    if let Err(error) = Campaign::read(&whole) {
        fs::remove_file(&whole).with_context(|| format!("cannot remove {}", whole.display()))?;
        bail!("{error:#}");
    }
    fs::rename(&whole, file).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{PlannedFault, Spec};
    use std::time::Duration;

    #[test]
    fn a_run_becomes_a_cell_with_its_seed() {
        let out = tempfile::tempdir().unwrap();
        let spec = Spec {
            seed: 41,
            nodes: 3,
            workload: "set".into(),
            faults: vec![PlannedFault {
                options: crate::nemesis::FaultOptions::new(),
                at: Duration::from_secs(1),
                lasts: Duration::from_secs(2),
                fault: "kill:leader".into(),
                when: Vec::new(),
                until: Vec::new(),
                recovers_within: None,
                stream: None,
            }],
            ..Spec::default()
        };
        let run = Run::create(&spec.clone().resolve().unwrap(), out.path()).unwrap();
        let violated = r#"{"verdict":"violation","stats":{},"meaningful":{},"properties":{"lost-writes":{"verdict":"violated","count":1,"checked":1,
            "anomalies":[],"decides":true},"set":{"verdict":"violated","count":1,"checked":1,"anomalies":[],"decides":false}}}"#;
        run.write("results.json", violated).unwrap();
        let file = out.path().join("found.toml");
        add(&cell(&run, "F1").unwrap(), &file).unwrap();
        add(&cell(&run, "F2").unwrap(), &file).unwrap();
        assert!(
            add(&cell(&run, "F2").unwrap(), &file).is_err(),
            "an id stands for one cell"
        );
        let campaign = Campaign::read(&file).unwrap();
        let [first, second] = campaign.cells.as_slice() else {
            panic!("two cells: {campaign:?}")
        };
        assert_eq!((first.id.as_str(), second.id.as_str()), ("F1", "F2"));
        assert_eq!((first.seed, first.seeds), (Some(41), 1));
        assert_eq!(
            first.finds,
            ["lost-writes"],
            "what only was shown does not count"
        );
        assert_eq!(first.spec.faults, spec.faults);
    }
}
