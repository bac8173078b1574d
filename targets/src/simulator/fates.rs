//! What becomes of messages: listed by link and number, so that one message's fate depends on no other's.
//!
//! The k-th message on a link meets what is listed for it. What is not listed takes [`DELAY`]. Requests and answers of clients
//! count on links of their own; they come over a connection, so none of them arrives twice.

use std::collections::VecDeque;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{Host, Link, Micros};

/// How long a message takes that nobody disturbs.
pub const DELAY: Micros = Micros(500);

/// What becomes of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It never arrives.
    Lost,
    /// It arrives in time, and once more so much later, in microseconds.
    Twice(Micros),
    /// It arrives so much later than others, in microseconds: those behind it may overtake it.
    Late(Micros),
}

/// A message and its fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Perturbation {
    /// On which link.
    #[serde(flatten)]
    pub link: Link,
    /// The how-manieth message on that link, from 1.
    pub number: u64,
    /// What becomes of it.
    pub fate: Fate,
}

/// How often messages of a link meet something, and how long it takes them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather {
    /// The share that is lost, from 0 to 1.
    pub lost: f64,
    /// The share that arrives twice.
    pub twice: f64,
    /// The share that is late.
    pub late: f64,
    /// The longest delay.
    pub delay_max: Micros,
}

/// Draws the fates of the first `messages` on a link.
pub fn draw(
    rng: &mut ChaCha8Rng,
    link: Link,
    messages: u64,
    weather: Weather,
    into: &mut Vec<Perturbation>,
) {
    let any = weather.lost + weather.twice + weather.late;
    if any <= 0.0 {
        return;
    }
    let mut number = 0;
    loop {
        // The gap to the next message that meets something: one draw, instead of one a message.
        let uniform: f64 = rng.random_range(f64::EPSILON..1.0);
        number += 1 + (uniform.ln() / (1.0 - any.min(0.999)).ln()) as u64;
        if number > messages {
            return;
        }
        let fate = draw_fate(rng, any, weather);
        into.push(Perturbation { link, number, fate });
    }
}

fn draw_fate(rng: &mut ChaCha8Rng, any: f64, weather: Weather) -> Fate {
    let kind = rng.random_range(0.0..any);
    let delay = Micros(rng.random_range(1..=weather.delay_max.0.max(1)));
    if kind < weather.lost {
        Fate::Lost
    } else if kind < weather.lost + weather.twice {
        Fate::Twice(delay)
    } else {
        Fate::Late(delay)
    }
}

/// The links of a cluster, and what is still to come on them.
#[derive(Debug)]
pub(super) struct Links {
    nodes: usize,
    hosts: usize,
    all: Vec<OneLink>,
}

#[derive(Debug, Clone, Default)]
struct OneLink {
    sent: u64,
    listed: VecDeque<(u64, Fate)>,
}

impl Links {
    pub(super) fn new(nodes: usize, clients: usize, perturbations: &[Perturbation]) -> Self {
        let hosts = nodes + clients;
        let mut links = Self {
            nodes,
            hosts,
            all: vec![OneLink::default(); hosts * hosts],
        };
        for perturbation in perturbations {
            let place = (perturbation.number, perturbation.fate);
            if let Some(link) = links.find(perturbation.link) {
                link.listed.push_back(place);
            }
        }
        for link in &mut links.all {
            link.listed
                .make_contiguous()
                .sort_by_key(|(number, _)| *number);
        }
        links
    }

    /// The fate of the next message on a link.
    pub(super) fn next(&mut self, link: Link) -> Option<Fate> {
        let link = self.find(link)?;
        link.sent += 1;
        while link
            .listed
            .front()
            .is_some_and(|(number, _)| *number < link.sent)
        {
            link.listed.pop_front();
        }
        let (number, fate) = link.listed.front()?;
        (*number == link.sent).then_some(*fate)
    }

    /// Every message arrives from now on.
    pub(super) fn calm(&mut self) {
        self.all.iter_mut().for_each(|link| link.listed.clear());
    }

    fn find(&mut self, link: Link) -> Option<&mut OneLink> {
        let place = |host| match host {
            Host::Node(index) => (index < self.nodes).then_some(index),
            Host::Client(index) => (index < self.hosts - self.nodes).then_some(self.nodes + index),
        };
        let place = place(link.from)? * self.hosts + place(link.to)?;
        self.all.get_mut(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const LINK: Link = Link {
        from: Host::Node(0),
        to: Host::Node(1),
    };

    #[test]
    fn each_message_meets_its_own_fate_whatever_others_meet() {
        let lost = |number| Perturbation {
            link: LINK,
            number,
            fate: Fate::Lost,
        };
        let run = |list: &[Perturbation]| -> Vec<bool> {
            let mut links = Links::new(2, 1, list);
            (0..5).map(|_| links.next(LINK).is_some()).collect()
        };
        assert_eq!(run(&[lost(4), lost(2)]), [false, true, false, true, false]);
        assert_eq!(run(&[lost(4)]), [false, false, false, true, false]);
        let mut links = Links::new(2, 1, &[lost(1), lost(2)]);
        assert!(links.next(LINK).is_some());
        links.calm();
        assert!(links.next(LINK).is_none());
    }

    #[test]
    fn the_drawn_shares_are_those_that_were_asked_for() {
        let weather = Weather {
            lost: 0.1,
            twice: 0.05,
            late: 0.25,
            delay_max: Micros(1000),
        };
        let mut drawn = Vec::new();
        draw(
            &mut ChaCha8Rng::seed_from_u64(1),
            LINK,
            10_000,
            weather,
            &mut drawn,
        );
        let share =
            |is: fn(&Fate) -> bool| drawn.iter().filter(|p| is(&p.fate)).count() as f64 / 10_000.0;
        assert!((share(|f| *f == Fate::Lost) - 0.1).abs() < 0.02);
        assert!((share(|f| matches!(f, Fate::Late(_))) - 0.25).abs() < 0.03);
        assert!(drawn.windows(2).all(|pair| pair[0].number < pair[1].number));
    }
}
