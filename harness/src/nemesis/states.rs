//! The proof of a fault on processes: what the kernel says of each.

use super::World;
use crate::cluster::State;
use crate::network::Proof;
use std::time::Duration;

/// How long the kernel may take to show a process' end or start.
const STATE_LIMIT: Duration = Duration::from_secs(2);

/// Waits for each node's state, and tells it. A node that another fault holds needs not be as wished.
/// With `some`, at least one must be: a fault whose nodes are all held by others has done nothing.
pub(super) fn states(
    nodes: &[usize],
    names: &[String],
    world: &mut World,
    wish: impl Fn(&State) -> bool,
    held: impl Fn(&World, usize) -> bool,
    some: bool,
) -> Proof {
    let mut proved = !some || nodes.iter().any(|node| !held(world, *node));
    let mut evidence = Vec::new();
    for node in nodes {
        let name = &names[*node];
        if held(world, *node) {
            evidence.push(format!("{name}: another fault holds it"));
            continue;
        }
        let state = world.cluster.wait_for(*node, &wish, STATE_LIMIT);
        proved &= wish(&state);
        evidence.push(match state {
            State::Running => format!("{name}: running"),
            State::Paused => format!("{name}: stopped"),
            State::Gone(how) => format!("{name}: {how}"),
        });
    }
    Proof {
        proved,
        evidence: format!("{} (waitpid)", evidence.join("; ")),
    }
}

/// Proves that SIGSTOP has reached them. One that a kill holds down is as silent.
pub(super) fn stopped(nodes: &[usize], names: &[String], world: &mut World) -> Proof {
    let wish = |s: &State| *s == State::Paused;
    states(nodes, names, world, wish, World::is_killed, true)
}

/// Proves that they go on, but for those that others hold.
pub(super) fn going(nodes: &[usize], names: &[String], world: &mut World) -> Proof {
    let held = |world: &World, node| world.is_paused(node) || world.is_killed(node);
    let wish = |s: &State| *s == State::Running;
    states(nodes, names, world, wish, held, false)
}
