//! The campaign file: cells, each a spec with what is expected of it.
//!
//! ```toml
//! name = "tour"
//! seed = 1                      # the first seed; each further one is one more
//! seeds = 1                     # a cell
//!
//! [defaults]                    # of every cell's spec (end-after: of those with written faults)
//! workload = "set"
//!
//! [[cell]]
//! id = "D01"
//! about = "asynchronous replication loses acknowledged writes"
//! finds = ["lost-writes"]       # without it the cell must pass
//! nodes = 3                     # everything else is the spec's
//! options = { ack = "async", failover = "naive" }
//!
//! [[cell]]
//! id = "D01-remedy-1"
//! like = "D01"                  # its spec, without what is expected of it
//! counters = ["elections"]      # must not be zero, else the cell has tested nothing
//! options = { ack = "majority", failover = "consensus" }
//! ```

use crate::spec::{Spec, find};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use toml::{Table, Value};

/// A matrix of cells.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// Its name.
    pub name: String,
    /// What it is for, in a sentence.
    pub about: String,
    /// The first seed of each cell.
    pub seed: u64,
    /// How long it may take.
    pub budget: Option<Duration>,
    /// The cells, in the file's order.
    pub cells: Vec<Cell>,
    /// The files that it was read from, each with its name and its text; its own first.
    pub files: Vec<(String, String)>,
}

/// One configuration with what is expected of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Its name; begins with the row's.
    pub id: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// The properties that must be violated; none: it must pass.
    pub finds: Vec<String>,
    /// Counters of the nodes that must not all be zero.
    pub counters: Vec<String>,
    /// Its own first seed, instead of the campaign's.
    pub seed: Option<u64>,
    /// With how many seeds it is run.
    pub seeds: u64,
    /// What is run; its seed is the campaign's business.
    pub spec: Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    name: String,
    #[serde(default)]
    about: String,
    #[serde(default = "one")]
    seed: u64,
    #[serde(default = "one")]
    seeds: u64,
    #[serde(default, with = "humantime_serde")]
    budget: Option<Duration>,
    #[serde(default)]
    defaults: Table,
    /// Files beside this one whose cells belong to this campaign, too.
    #[serde(default)]
    include: Vec<String>,
    /// Of the included cells only these, or these rows.
    #[serde(default)]
    only: Vec<String>,
    #[serde(default)]
    cell: Vec<Table>,
}

/// What a cell has besides its spec.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Head {
    id: String,
    #[serde(default)]
    about: String,
    like: Option<String>,
    #[serde(default)]
    finds: Vec<String>,
    #[serde(default)]
    counters: Vec<String>,
    seed: Option<u64>,
    seeds: Option<u64>,
}

const END_AFTER: &str = "end-after";
/// What of a spec are written faults.
const WRITTEN: [&str; 2] = ["faults", "script"];
const HEAD: [&str; 7] = ["id", "about", "like", "finds", "counters", "seed", "seeds"];

const fn one() -> u64 {
    1
}

impl Campaign {
    /// Reads a campaign file, and those that it includes.
    pub fn read(path: &Path) -> Result<Self> {
        let beside = |name: &str| {
            let path = path.with_file_name(name);
            std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read the campaign {}", path.display()))
        };
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        Self::of(name, &beside(name)?, &beside)
            .with_context(|| format!("campaign {}", path.display()))
    }

    /// Reads a campaign from TOML that includes nothing, and checks each cell's spec.
    pub fn parse(text: &str) -> Result<Self> {
        Self::of("campaign.toml", text, &|name| {
            bail!("there is no file {name:?} beside it")
        })
    }

    fn of(name: &str, text: &str, beside: &dyn Fn(&str) -> Result<String>) -> Result<Self> {
        let raw: Raw = crate::spec::from_toml(text)?;
        let mut tables: Vec<(String, Table)> = Vec::new();
        let mut cells = Vec::new();
        let mut files = vec![(name.to_owned(), text.to_owned())];
        for name in &raw.include {
            if name.contains('/') || files.iter().any(|(file, _)| file == name) {
                bail!("include = [{name:?}]: give the name of another file beside this one, once");
            }
            let mut other = Self::of(name, &beside(name)?, beside).with_context(|| name.clone())?;
            other.select(&raw.only)?;
            for cell in &mut other.cells {
                cell.seeds = cell.seeds.max(raw.seeds);
            }
            cells.extend(other.cells);
            files.extend(other.files);
        }
        for table in raw.cell {
            let (head, own) = parted(table)?;
            let id = head.id.clone();
            let mut spec = raw.defaults.clone();
            if let Some(like) = &head.like {
                let found = tables.iter().find(|(id, _)| id == like);
                let (_, other) = found
                    .with_context(|| format!("cell {id}: there is no cell {like:?} before it"))?;
                spec = other.clone();
            }
            let ends_itself = own.contains_key(END_AFTER);
            overlay(&mut spec, own);
            // The default is for those that have a fault to end after.
            if !ends_itself && !WRITTEN.iter().any(|name| spec.contains_key(*name)) {
                spec.remove(END_AFTER);
            }
            if cells.iter().any(|other: &Cell| other.id == id) {
                bail!("two cells have the id {id:?}");
            }
            tables.push((id.clone(), spec.clone()));
            cells.push(cell(head, spec, raw.seeds).with_context(|| format!("cell {id}"))?);
        }
        if cells.is_empty() {
            bail!("it has no [[cell]]");
        }
        Ok(Self {
            name: raw.name,
            about: raw.about,
            seed: raw.seed,
            budget: raw.budget,
            cells,
            files,
        })
    }

    /// Only the cells of these ids: `D01` selects `D01` and `D01-*`.
    pub fn select(&mut self, ids: &[String]) -> Result<()> {
        let selects = |id: &String, cell: &Cell| {
            let rest = cell.id.strip_prefix(id.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        if let Some(stranger) = ids
            .iter()
            .find(|id| !self.cells.iter().any(|c| selects(id, c)))
        {
            let known: Vec<&str> = self.cells.iter().map(|c| c.id.as_str()).collect();
            bail!(
                "there is no cell {stranger:?}; there are: {}",
                known.join(", ")
            );
        }
        self.cells
            .retain(|cell| ids.is_empty() || ids.iter().any(|id| selects(id, cell)));
        Ok(())
    }
}

fn parted(mut table: Table) -> Result<(Head, Table)> {
    let mut head = Table::new();
    for name in HEAD {
        if let Some(value) = table.remove(name) {
            head.insert(name.to_owned(), value);
        }
    }
    let head: Head = Value::Table(head)
        .try_into()
        .map_err(|e: toml::de::Error| anyhow::anyhow!("a [[cell]]: {}", e.message()))?;
    let sound = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if head.id.is_empty() || !head.id.chars().all(sound) || head.id.starts_with(['.', '-']) {
        bail!(
            "{:?} is no id of a cell: letters, digits, '-', '_' and '.' make one",
            head.id
        );
    }
    Ok((head, table))
}

/// Tables are laid over one another entry by entry, everything else is replaced.
fn overlay(under: &mut Table, over: Table) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(Value::Table(under)), Value::Table(over)) => overlay(under, over),
            (_, value) => drop(under.insert(name, value)),
        }
    }
}

fn cell(head: Head, spec: Table, seeds: u64) -> Result<Cell> {
    let mut spec: Spec = Value::Table(spec)
        .try_into()
        .map_err(|e: toml::de::Error| anyhow::anyhow!("{}", e.message().replace('\n', "; ")))?;
    let known = schism_checkers::properties();
    for name in &head.finds {
        find("property", name, known, schism_checkers::Property::name)?;
    }
    // What must be found decides, where nothing else is said.
    if spec.properties.is_empty() {
        spec.properties.clone_from(&head.finds);
    }
    let missing: BTreeSet<&String> = head
        .finds
        .iter()
        .filter(|f| !spec.properties.contains(f))
        .collect();
    if let Some(missing) = missing.first() {
        bail!("it must find {missing:?}, which is not among its properties");
    }
    spec.clone().resolve()?;
    Ok(Cell {
        id: head.id,
        about: head.about,
        finds: head.finds,
        counters: head.counters,
        // A cell with a seed of its own is that one run, unless it says otherwise.
        seeds: head.seeds.or(head.seed.map(|_| 1)).unwrap_or(seeds).max(1),
        seed: head.seed,
        spec,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"
name = "two"
seed = 5
[defaults]
workload = "set"
time-limit = "5s"
[[cell]]
id = "D01"
finds = ["lost-writes"]
nodes = 3
options = { ack = "async", failover = "naive" }
[[cell]]
id = "D01-remedy-1"
like = "D01"
seeds = 4
options = { ack = "majority" }
"#;

    #[test]
    fn a_remedy_is_like_its_danger_but_for_what_it_says() {
        let campaign = Campaign::parse(TWO).unwrap();
        let [danger, remedy] = campaign.cells.as_slice() else {
            panic!("two cells")
        };
        assert_eq!(
            danger.spec.properties,
            ["lost-writes"],
            "what must be found decides"
        );
        assert!(remedy.finds.is_empty() && remedy.spec.properties.is_empty());
        assert_eq!((danger.seeds, remedy.seeds), (1, 4));
        assert_eq!(remedy.spec.nodes, 3);
        assert_eq!(remedy.spec.options["failover"], "naive");
        assert_eq!(remedy.spec.options["ack"], "majority");
    }

    #[test]
    fn a_default_end_is_for_cells_with_faults() {
        let text = r#"
name = "ends"
[defaults]
end-after = "1s"
[[cell]]
id = "quiet"
[[cell]]
id = "worded"
script = "at 1s kill leader; at 2s heal"
[[cell]]
id = "quiet-again"
like = "quiet"
"#;
        let campaign = Campaign::parse(text).unwrap();
        let ends = campaign.cells.iter().map(|c| c.spec.end_after.is_some());
        assert_eq!(ends.collect::<Vec<_>>(), [false, true, false]);
        let own = "name = \"own\"\n[[cell]]\nid = \"a\"\nend-after = \"1s\"";
        assert!(Campaign::parse(own).is_err());
    }

    #[test]
    fn a_row_selects_its_cells() {
        let mut campaign = Campaign::parse(TWO).unwrap();
        assert!(campaign.select(&["D0".to_owned()]).is_err());
        campaign.select(&["D01-remedy-1".to_owned()]).unwrap();
        assert_eq!(campaign.cells.len(), 1);
        let mut campaign = Campaign::parse(TWO).unwrap();
        campaign.select(&["D01".to_owned()]).unwrap();
        assert_eq!(campaign.cells.len(), 2);
    }

    #[test]
    fn other_files_are_included_in_part() {
        let beside = |name: &str| match name {
            "two.toml" => Ok(TWO.to_owned()),
            _ => bail!("no such file"),
        };
        let read = |text: &str| Campaign::of("all.toml", text, &beside);
        let all = read("name = \"all\"\nseeds = 3\ninclude = [\"two.toml\"]\nonly = [\"D01-remedy-1\"]\n[[cell]]\nid = \"x\"").unwrap();
        let ids: Vec<(&str, u64)> = all.cells.iter().map(|c| (c.id.as_str(), c.seeds)).collect();
        assert_eq!(ids, [("D01-remedy-1", 4), ("x", 3)]);
        assert_eq!(all.files.len(), 2);
        assert!(read("name = \"all\"\ninclude = [\"three.toml\"]").is_err());
        assert!(read("name = \"all\"\ninclude = [\"two.toml\"]\n[[cell]]\nid = \"D01\"").is_err());
    }

    #[test]
    fn mistakes_name_their_cell() {
        for (text, says) in [
            ("name = \"x\"", "no [[cell]]"),
            ("name = \"x\"\n[[cell]]\nid = \"a/b\"", "no id"),
            (
                "name = \"x\"\n[[cell]]\nid = \"a\"\nnoodles = 3",
                "cell a: unknown field `noodles`",
            ),
            (
                "name = \"x\"\n[[cell]]\nid = \"a\"\nfinds = [\"speed\"]",
                "no property \"speed\"",
            ),
            (
                "name = \"x\"\n[[cell]]\nid = \"a\"\nlike = \"b\"",
                "no cell \"b\" before it",
            ),
            (
                "name = \"x\"\n[[cell]]\nid = \"a\"\n[[cell]]\nid = \"a\"",
                "two cells",
            ),
            ("name = \"x\"\ncells = 1", "line 2, column 1"),
        ] {
            let error = format!("{:#}", Campaign::parse(text).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
