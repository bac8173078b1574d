//! Cycles in a graph: what contradicts itself, and a short proof of it.

use crate::Budget;
use crate::budget::STEPS;
use std::collections::{BTreeMap, VecDeque};

/// An edge of a cycle: from, to, and what it stands for.
pub(crate) type Step<E> = (usize, usize, E);

/// The strongly connected components, as many as the time allows. Tarjan 1972, without recursion: a history can be one long path.
pub(crate) fn components<E>(edges: &[Vec<(usize, E)>], budget: &Budget<'_>) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let size = edges.len();
    let (mut index, mut low) = (vec![NEW; size], vec![NEW; size]);
    let mut on_stack = vec![false; size];
    let (mut stack, mut found, mut next) = (Vec::new(), Vec::new(), 0_usize);
    for root in budget.lasting(0..size) {
        let mut work: Vec<(usize, usize)> = if index[root] == NEW {
            vec![(root, 0)]
        } else {
            Vec::new()
        };
        while let Some((v, at)) = work.last_mut() {
            let v = *v;
            if index[v] == NEW {
                if next.is_multiple_of(STEPS) && budget.is_exhausted() {
                    return found;
                }
                (index[v], low[v]) = (next, next);
                next += 1;
                stack.push(v);
                on_stack[v] = true;
            }
            if let Some(&(w, _)) = edges[v].get(*at) {
                *at += 1;
                if index[w] == NEW {
                    work.push((w, 0));
                } else if on_stack[w] {
                    low[v] = low[v].min(index[w]);
                }
                continue;
            }
            work.pop();
            if let Some((parent, _)) = work.last() {
                low[*parent] = low[*parent].min(low[v]);
            }
            if low[v] == index[v] {
                let from = stack
                    .iter()
                    .rposition(|w| *w == v)
                    .expect("a root is on the stack");
                let component = stack.split_off(from);
                for w in &component {
                    on_stack[*w] = false;
                }
                found.push(component);
            }
        }
    }
    found
}

/// A shortest cycle of each component that has one. Each start costs a search, which ends where it could find no shorter one: a few
/// are enough to find a short one. When the time is up, no more of them.
pub(crate) fn cycles<E: Copy>(edges: &[Vec<(usize, E)>], budget: &Budget<'_>) -> Vec<Vec<Step<E>>> {
    const TRIED: usize = 64;
    let components = components(edges, budget);
    let mut home = vec![usize::MAX; edges.len()];
    for (number, component) in components.iter().enumerate() {
        for node in component {
            home[*node] = number;
        }
    }
    let mut found = Vec::new();
    for component in components.iter().filter(|component| component.len() > 1) {
        let mut best: Vec<Step<E>> = Vec::new();
        for start in component.iter().take(TRIED) {
            if budget.is_exhausted() {
                break;
            }
            let bound = if best.is_empty() {
                usize::MAX
            } else {
                best.len()
            };
            best = shortest(edges, &home, *start, bound).unwrap_or(best);
        }
        if best.is_empty() {
            break;
        }
        found.push(best);
    }
    found
}

/// The shortest way from a node back to it inside its component, if it has fewer steps than the bound.
fn shortest<E: Copy>(
    edges: &[Vec<(usize, E)>],
    home: &[usize],
    start: usize,
    bound: usize,
) -> Option<Vec<Step<E>>> {
    let mut before: BTreeMap<usize, (usize, E)> = BTreeMap::new();
    let mut queue = VecDeque::from([(start, 1)]);
    while let Some((node, steps)) = queue.pop_front() {
        if steps >= bound {
            return None;
        }
        let inside = edges[node]
            .iter()
            .filter(|(next, _)| home[*next] == home[start]);
        for (next, edge) in inside {
            if before.contains_key(next) {
                continue;
            }
            before.insert(*next, (node, *edge));
            if *next == start {
                return Some(way(start, &before));
            }
            queue.push_back((*next, steps + 1));
        }
    }
    None
}

/// The steps back from a node to itself.
fn way<E: Copy>(start: usize, before: &BTreeMap<usize, (usize, E)>) -> Vec<Step<E>> {
    let mut steps = Vec::new();
    let mut at = start;
    loop {
        let (previous, edge) = before[&at];
        steps.push((previous, at, edge));
        at = previous;
        if at == start {
            steps.reverse();
            return steps;
        }
    }
}
