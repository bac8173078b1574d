//! Which nodes a fault hits: one, a minority, a majority, a third, all, by role (leader, follower, in sync), or by name.

use super::{Shape, View, named_nodes};
use anyhow::{Context, Result, bail};
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

/// The choices that every family of single nodes has.
pub(super) const SHAPES: &[Shape] = &[
    Shape {
        name: "one",
        nodes_min: 1,
        help: "one node, drawn from the seed",
        drawn: true,
    },
    Shape {
        name: "leader",
        nodes_min: 1,
        help: "the node that leads when the fault comes",
        drawn: true,
    },
    Shape {
        name: "follower",
        nodes_min: 2,
        help: "one node that does not lead, drawn from the seed",
        drawn: false,
    },
    Shape {
        name: "in-sync",
        nodes_min: 2,
        help: "the follower whose acknowledgement the leader waits for (ack=semi-sync)",
        drawn: false,
    },
    Shape {
        name: "isolated",
        nodes_min: 2,
        help: "the nodes that a partition isolates when the fault comes",
        drawn: false,
    },
    Shape {
        name: "minority",
        nodes_min: 1,
        help: "as many as may fail while a majority is left",
        drawn: true,
    },
    Shape {
        name: "majority",
        nodes_min: 1,
        help: "the fewest that are a majority",
        drawn: true,
    },
    Shape {
        name: "third",
        nodes_min: 1,
        help: "a third of the nodes, at least one",
        drawn: false,
    },
    Shape {
        name: "all",
        nodes_min: 1,
        help: "every node",
        drawn: true,
    },
];

/// The nodes, in order.
pub(super) fn nodes(shape: &str, view: &View, rng: &mut ChaCha8Rng) -> Result<Vec<usize>> {
    let n = view.names.len();
    let some = |count: usize, rng: &mut ChaCha8Rng| {
        let mut order: Vec<usize> = (0..n).collect();
        order.shuffle(rng);
        order.sort_by_key(|node| view.held.contains(node));
        order.truncate(count);
        order.sort_unstable();
        order
    };
    Ok(match shape {
        "one" => some(1, rng),
        "leader" => vec![view.leader.context("no node leads now")?],
        "follower" => {
            let leader = view.leader.context("no node leads now")?;
            let others: Vec<usize> = (0..n).filter(|node| *node != leader).collect();
            others.choose(rng).copied().into_iter().collect()
        }
        "in-sync" => vec![*view.in_sync.first().context("no follower is in sync now")?],
        "isolated" if view.isolated.is_empty() => bail!("no partition isolates a node now"),
        "isolated" => view.isolated.iter().copied().collect(),
        "minority" => some(minority(n), rng),
        "majority" => some(majority(n), rng),
        "third" => some((n / 3).max(1), rng),
        "all" => (0..n).collect(),
        names => {
            let mut nodes = named_nodes(names, &view.names)?;
            nodes.sort_unstable();
            nodes.dedup();
            nodes
        }
    })
}

/// The nodes, of which some other fault must not hold all: then this one could do nothing, or not be seen to.
pub(super) fn free_nodes(shape: &str, view: &View, rng: &mut ChaCha8Rng) -> Result<Vec<usize>> {
    let nodes = nodes(shape, view, rng)?;
    if nodes.iter().all(|node| view.held.contains(node)) {
        return Err(AllHeld.into());
    }
    Ok(nodes)
}

/// The nodes, as the history has them.
pub(super) fn value(nodes: &[usize], names: &[String]) -> Map<String, Value> {
    let nodes: Vec<_> = nodes.iter().map(|n| &names[*n]).collect();
    Map::from_iter([("nodes".to_owned(), json!(nodes))])
}

/// Every node that a fault would hit is held by another one already: it could do nothing.
#[derive(Debug, thiserror::Error)]
#[error("every node that it would hit is held by another fault already")]
pub(super) struct AllHeld;

/// The greatest number that leaves a majority; at least one, so that the fault hits something.
pub(super) fn minority(n: usize) -> usize {
    (n.saturating_sub(1) / 2).max(1)
}

/// The least number that is a majority.
pub(super) fn majority(n: usize) -> usize {
    n / 2 + 1
}

/// `n1, n2 and n3`.
pub(super) fn list(nodes: &[usize], names: &[String]) -> String {
    let names: Vec<&str> = nodes.iter().map(|n| names[*n].as_str()).collect();
    match names.as_slice() {
        [] => "nobody".to_owned(),
        [one] => (*one).to_owned(),
        [front @ .., last] => format!("{} and {last}", front.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(n: usize) -> View {
        View {
            names: (1..=n).map(|i| format!("n{i}")).collect(),
            leader: Some(n - 1),
            ..View::default()
        }
    }

    #[test]
    fn shapes_hit_as_many_as_they_say() {
        let mut rng = schism_workloads::generator::stream(1, 1);
        for (n, minority, majority) in [(1, 1, 1), (3, 1, 2), (4, 1, 3), (5, 2, 3)] {
            let count = |shape, rng: &mut _| nodes(shape, &view(n), rng).unwrap().len();
            assert_eq!(count("minority", &mut rng), minority);
            assert_eq!(count("majority", &mut rng), majority);
            assert_eq!(count("all", &mut rng), n);
            assert_eq!(count("third", &mut rng), 1);
            assert_eq!(nodes("leader", &view(n), &mut rng).unwrap(), [n - 1]);
            assert!(nodes("isolated", &view(n), &mut rng).is_err());
            assert!(nodes("in-sync", &view(n), &mut rng).is_err());
        }
        assert_eq!(nodes("n3+n1", &view(3), &mut rng).unwrap(), [0, 2]);
        assert!(nodes("n9", &view(3), &mut rng).is_err());
    }

    #[test]
    fn without_a_leader_the_shape_says_so() {
        let nobody = View {
            leader: None,
            ..view(3)
        };
        let mut rng = schism_workloads::generator::stream(1, 1);
        assert!(
            nodes("leader", &nobody, &mut rng)
                .unwrap_err()
                .to_string()
                .contains("no node leads")
        );
    }
}
