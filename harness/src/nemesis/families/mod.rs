//! One family of faults a file; each has its entry in [`families`].

mod clock;
mod disk;
mod kill;
mod membership;
mod packets;
mod partition;
mod pause;
mod power;
mod slow;
mod sockets;
mod stop;

use super::Family;

/// Every family there is.
pub fn families() -> &'static [&'static dyn Family] {
    &[
        &partition::Partition,
        &packets::Packets,
        &sockets::Sockets,
        &membership::Membership,
        &kill::Kill,
        &stop::Stop,
        &pause::Pause,
        &slow::Slow,
        &power::Power,
        &disk::Disks,
        &clock::Clocks,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nemesis::options::resolve;
    use crate::nemesis::{FaultOptions, View};

    #[test]
    fn the_same_is_drawn_when_the_nodes_are_named() {
        let view = View {
            names: (1..=5).map(|i| format!("n{i}")).collect(),
            ..View::default()
        };
        for family in families() {
            let options = resolve(*family, &FaultOptions::new()).unwrap();
            for seed in 0..50 {
                let aimed = |shape: &str| {
                    let mut rng = schism_workloads::generator::stream(seed, 1);
                    family.aim(shape, &options, &view, &mut rng).unwrap()
                };
                let drawn = aimed("one");
                let names: Vec<_> = drawn.nodes().iter().map(|n| &view.names[*n][..]).collect();
                let named = aimed(&names.join("+"));
                assert_eq!(drawn.what(), named.what(), "{}", family.name());
            }
        }
    }
}
