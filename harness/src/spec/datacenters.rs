//! Nodes that stand together, by a name: a fault may hit all of one.

use super::Spec;
use crate::nemesis::{FaultOptions, Kind};
use anyhow::{Context, Result, bail, ensure};
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

/// The shape that is one of them, drawn from the seed.
const DRAWN: &str = "datacenter";

/// How nodes are joined in a shape.
const BETWEEN: [char; 3] = ['+', '/', '>'];

impl Spec {
    /// Reads a fault whose shape may name datacenters; one that is to be drawn stays so.
    pub(crate) fn kind(&self, text: &str, given: &FaultOptions) -> Result<Kind> {
        let Some((family, shape)) = text.split_once(':') else {
            return Kind::parse(text, given, self.nodes);
        };
        if shape != DRAWN {
            let text = format!("{family}:{}", self.with_nodes(shape));
            return Kind::parse(&text, given, self.nodes);
        }
        let mut each = self.datacenters.values().map(|nodes| nodes.join("+"));
        let first = each.next().with_context(|| {
            format!("{text}: the spec has no datacenters, such as datacenters = {{ east = [\"n1\", \"n2\"], west = [\"n3\"] }}")
        })?;
        let kind = Kind::parse(&format!("{family}:{first}"), given, self.nodes)?;
        for other in each {
            Kind::parse(&format!("{family}:{other}"), given, self.nodes)?;
        }
        Ok(Kind {
            shape: Some(DRAWN.to_owned()),
            ..kind
        })
    }

    /// The shape of one fault: a datacenter that is to be drawn is drawn.
    pub(crate) fn drawn_shape(&self, shape: String, rng: &mut ChaCha8Rng) -> String {
        let all: Vec<_> = self.datacenters.values().collect();
        match all.choose(rng) {
            Some(nodes) if shape == DRAWN => nodes.join("+"),
            _ => shape,
        }
    }

    /// The shape with nodes in the place of datacenters' names.
    fn with_nodes(&self, shape: &str) -> String {
        let mut out = String::new();
        for part in shape.split_inclusive(BETWEEN) {
            let name = part.trim_end_matches(BETWEEN);
            match self.datacenters.get(name) {
                Some(nodes) => out += &nodes.join("+"),
                None => out += name,
            }
            out += &part[name.len()..];
        }
        out
    }

    /// Every datacenter has nodes that there are, each node stands in at most one, and no name means something else.
    pub(super) fn check_datacenters(&self) -> Result<()> {
        let names: BTreeSet<String> = (1..=self.nodes).map(|i| format!("n{i}")).collect();
        let mut taken = BTreeSet::new();
        for (name, nodes) in &self.datacenters {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            ensure!(
                !name.is_empty() && name.chars().all(plain),
                "a datacenter's name is of small letters, digits and hyphens, not {name:?}"
            );
            let shapes = crate::nemesis::families().iter().flat_map(|f| f.shapes());
            let means = shapes.map(|s| s.name).find(|s| s == name);
            if means.is_some()
                || names.contains(name)
                || name == DRAWN
                || name == crate::arena::CLIENTS
            {
                bail!("no datacenter can be called {name:?}: that means something else");
            }
            ensure!(!nodes.is_empty(), "datacenter {name} has no nodes");
            for node in nodes {
                ensure!(
                    names.contains(node),
                    "datacenter {name}: {node:?} is no node; there are n1 to n{}",
                    self.nodes
                );
                ensure!(taken.insert(node), "{node} stands in two datacenters");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::nemesis::plan;
    use crate::spec::Spec;

    fn spec(more: &str) -> anyhow::Result<Spec> {
        let text =
            format!("{more}\n[datacenters]\neast = [\"n1\", \"n2\"]\nwest = [\"n3\", \"n5\"]\n");
        Ok(Spec::parse(&text)?.resolve()?.spec)
    }

    #[test]
    fn names_stand_for_nodes() {
        for (fault, shape) in [
            ("kill:east", "n1+n2"),
            ("partition:east/west", "n1+n2/n3+n5"),
            ("partition:east+n4/west+clients", "n1+n2+n4/n3+n5+clients"),
            ("packets:n1>west", "n1>n3+n5"),
        ] {
            let spec = spec(&format!("nemesis = [\"{fault}\"]\nseed = 1")).unwrap();
            assert_eq!(plan(&spec).unwrap()[0].shape, shape);
        }
    }

    #[test]
    fn one_is_drawn() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 1..20 {
            let spec = spec(&format!(
                "nemesis = [\"partition:datacenter\"]\nseed = {seed}"
            ))
            .unwrap();
            seen.extend(plan(&spec).unwrap().into_iter().map(|p| p.shape));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["n1+n2", "n3+n5"]);
    }

    #[test]
    fn names_and_nodes_must_be_clear() {
        for (text, says) in [
            ("nodes = 2", "is no node"),
            ("nemesis = [\"kill:north\"]", "no shape"),
        ] {
            let error = format!("{:#}", spec(text).unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
        for (text, says) in [
            ("nemesis = [\"kill:datacenter\"]", "has no datacenters"),
            (
                "datacenters = { leader = [\"n1\"] }",
                "means something else",
            ),
            ("datacenters = { n1 = [\"n1\"] }", "means something else"),
            ("datacenters = { East = [\"n1\"] }", "small letters"),
            ("datacenters = { a = [] }", "no nodes"),
            (
                "datacenters = { a = [\"n1\"], b = [\"n1\"] }",
                "two datacenters",
            ),
        ] {
            let Err(error) = Spec::parse(text).unwrap().resolve() else {
                panic!("{text} was taken")
            };
            let error = format!("{error:#}");
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
