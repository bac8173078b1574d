//! The report of a run: one HTML file that needs neither network nor JavaScript, the plots as files, and a page of Markdown.
//!
//! Reads a history and its verdict and draws; it checks nothing, so that a report can never disagree with `results.json`. Data
//! flows one way: `scene` pairs and parses once, `view` turns it into words and pictures, the template lays them out.
//! Everything that came from outside is escaped: by askama in the page, by `svg` and `theme` in drawings.
//!
//! The idea is Jepsen's (timeline, latency and rate plots with bands for the nemesis); the pictures of single anomalies follow
//! Elle's and Porcupine's.

mod anomaly;
mod axis;
mod bands;
mod chart;
mod drops;
pub(crate) mod escape;
mod fault_picture;
mod headline;
mod layout;
mod markdown;
mod message_picture;
mod messages;
mod op_picture;
mod op_words;
mod phases;
mod place;
mod plots;
mod samples;
mod scene;
mod strip;
mod svg;
mod theme;
mod view;
mod words;

#[cfg(test)]
mod tests;

use crate::capture::Captures;
use askama::Template;
use schism_checkers::verdict::Verdict;
use schism_history::History;

/// Everything that a report is made of.
#[derive(Debug)]
pub struct Input<'a> {
    /// What happened.
    pub history: &'a History,
    /// What the checkers said of it.
    pub verdict: &'a Verdict,
    /// What the run was meant to be.
    pub run: RunInfo,
    /// The ends of the nodes' logs.
    pub logs: Vec<NodeLog>,
    /// What passed between the hosts, where that was captured.
    pub captures: Option<Captures>,
}

/// What is known of the run besides its history; a bare history file has none of it.
#[derive(Debug, Clone, Default)]
pub struct RunInfo {
    /// The replicated system.
    pub target: Option<String>,
    /// Its options, by name, but for those that say nothing.
    pub options: Vec<(String, String)>,
    /// What clients did.
    pub workload: Option<String>,
    /// The fault families that were asked for.
    pub nemesis: Vec<String>,
    /// How many nodes there were.
    pub nodes: Option<usize>,
    /// The seed of everything random.
    pub seed: Option<u64>,
    /// When the run was, as it is to be shown.
    pub date: Option<String>,
    /// The exact command line that runs it again.
    pub command: Option<String>,
    /// The spec with every default filled in.
    pub spec_toml: Option<String>,
}

/// The end of one node's log.
#[derive(Debug, Clone)]
pub struct NodeLog {
    /// The node.
    pub node: String,
    /// Which of its files: `stderr`, ...
    pub file: String,
    /// The last lines.
    pub tail: String,
    /// Whether there was more before them.
    pub truncated: bool,
}

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// plotters refused.
    #[error("cannot draw a plot: {0}")]
    Plot(String),
    /// The template failed.
    #[error("cannot fill in the report's template: {0}")]
    Template(#[from] askama::Error),
}

/// The report as one self-contained HTML file.
pub fn html(input: &Input<'_>) -> Result<String, ReportError> {
    let scene = scene::Scene::new(input.history);
    let page = view::Page::new(input, &scene)?.render()?;
    Ok(escape::page(&page))
}

/// The plots as files: name and SVG. Empty when no operation was completed.
pub fn plots(input: &Input<'_>) -> Result<Vec<(String, String)>, ReportError> {
    let scene = scene::Scene::new(input.history);
    let plots = plots::all(&scene)?;
    Ok(plots
        .iter()
        .map(|p| (format!("{}.svg", p.name), p.standalone()))
        .collect())
}

/// The report as a page of Markdown: for a pull request or a job's summary.
pub fn markdown(input: &Input<'_>) -> String {
    markdown::page(input, &scene::Scene::new(input.history))
}
