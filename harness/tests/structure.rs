//! The shape of the workspace, asserted: who may import whom, and that files and registry entries are the same set.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each crate's folder, and which of ours it may import: the table of `ARCHITECTURE.md`.
const IMPORTS: &[(&str, &[&str])] = &[
    ("history", &[]),
    ("checkers", &["schism-history"]),
    ("targets", &[]),
    (
        "workloads",
        &["schism-checkers", "schism-history", "schism-targets"],
    ),
    (
        "harness",
        &[
            "schism-checkers",
            "schism-history",
            "schism-targets",
            "schism-workloads",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

#[test]
fn crates_import_what_the_table_allows() {
    for (folder, allowed) in IMPORTS {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let used: BTreeSet<&str> = manifest
            .lines()
            .filter_map(|line| line.strip_suffix(".workspace = true"))
            .filter(|name| name.starts_with("schism-"))
            .collect();
        let unseen: Vec<_> = manifest
            .lines()
            .filter(|l| l.contains("path = \".."))
            .collect();
        assert!(
            unseen.is_empty(),
            "{folder} names a crate by its path: {unseen:?}"
        );
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(
            used.is_subset(&allowed),
            "{folder} imports {used:?}, may import {allowed:?}"
        );
    }
}

#[test]
fn every_crate_is_in_the_table() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for (folder, _) in IMPORTS {
        assert!(
            manifest.contains(&format!("\"{folder}\"")),
            "{folder} is no member"
        );
    }
    let members = manifest.lines().find(|l| l.starts_with("members")).unwrap();
    assert_eq!(members.matches('"').count() / 2, IMPORTS.len(), "{members}");
}

#[test]
fn architecture_has_the_same_table() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for (folder, allowed) in IMPORTS {
        let row = page
            .lines()
            .find(|l| l.starts_with(&format!("| `{folder}/`")))
            .unwrap_or_else(|| panic!("ARCHITECTURE.md has no row for {folder}/"));
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap();
        for name in ["history", "checkers", "targets", "workloads"] {
            let may = allowed.contains(&format!("schism-{name}").as_str());
            assert_eq!(
                last.contains(name),
                may,
                "the row of {folder}/ says {last:?}"
            );
        }
    }
}

/// The files of a folder that hold one entry each.
fn files(folder: &str) -> BTreeSet<String> {
    fs::read_dir(root().join(folder))
        .unwrap_or_else(|e| panic!("{folder}: {e}"))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| {
            path.file_stem()
                .unwrap()
                .to_string_lossy()
                .replace('_', "-")
        })
        .filter(|name| name != "mod")
        .collect()
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    names.map(str::to_owned).collect()
}

#[test]
fn a_registry_holds_what_its_folder_holds() {
    let nemeses = schism::nemesis::families();
    assert_eq!(
        names(nemeses.iter().map(|f| f.name())),
        files("harness/src/nemesis/families")
    );
    let workloads = schism_workloads::workloads();
    assert_eq!(
        names(workloads.iter().map(|w| w.name())),
        files("workloads/src/catalog")
    );
    let properties = schism_checkers::properties();
    assert_eq!(
        names(properties.iter().map(|p| p.name())),
        files("checkers/src/properties")
    );
    let targets = schism_targets::registry::targets();
    assert_eq!(
        names(targets.iter().map(|t| t.name())),
        files("targets/src/catalog")
    );
}

#[test]
fn claims_are_properties() {
    for target in schism_targets::registry::targets() {
        let options = target
            .resolve(&schism_targets::registry::Options::new(), 5)
            .unwrap();
        for workload in schism_workloads::workloads() {
            for claim in workload.claims(&target.guarantees(&options)) {
                assert!(
                    schism_checkers::property(claim).is_some(),
                    "{} claims {claim}",
                    workload.name()
                );
            }
        }
    }
}

#[test]
fn unsafe_code_is_in_one_module() {
    let mut with = Vec::new();
    let mut folders: Vec<PathBuf> = IMPORTS
        .iter()
        .map(|(f, _)| root().join(f).join("src"))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path).is_ok_and(|text| text.contains("unsafe {")) {
                with.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    assert_eq!(with, [Path::new("harness/src/arena/enter.rs")]);
}
