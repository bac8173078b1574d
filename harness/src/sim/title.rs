//! What is simulated in one line: target, workload, size, and the options that are not what they are by default.

use super::setting::Setting;
use schism_workloads::registry as workloads;
use std::collections::BTreeMap;

/// `single-leader, set, 3 nodes, seed 8; ack=async failover=naive`.
pub(super) fn title(setting: &Setting, seed: u64) -> String {
    let wanted = &setting.wanted;
    let none = BTreeMap::new();
    // What cannot be had without being given is told as it is.
    let plain = setting
        .target
        .resolve(&none, wanted.nodes)
        .unwrap_or_default();
    let options = other_than(&wanted.options, &plain, "");
    let plain = workloads::resolve(setting.workload, &none).unwrap_or_default();
    let of_workload = other_than(&wanted.workload_options, &plain, "workload.");
    let options: Vec<String> = options.into_iter().chain(of_workload).collect();
    let options = match options.as_slice() {
        [] => "the default options".to_owned(),
        options => options.join(" "),
    };
    let (target, workload, nodes) = (&wanted.target, &wanted.workload, wanted.nodes);
    format!("{target}, {workload}, {nodes} nodes, seed {seed}; {options}")
}

fn other_than(
    options: &BTreeMap<String, String>,
    plain: &BTreeMap<String, String>,
    prefix: &str,
) -> Vec<String> {
    let other = options
        .iter()
        .filter(|(key, value)| plain.get(*key) != Some(*value));
    other
        .map(|(key, value)| format!("{prefix}{key}={value}"))
        .collect()
}
