//! From a plan that fails, or leaves something undecided, to a small one that does the same: fewer options of its own, messages, faults, operations and peculiarities of machines, then faults that
//! come sooner and are shorter, then less time between one thing and the next.
//!
//! Delta debugging (`crate::shrink::ddmin`) of one kind after the other, over and over until nothing can go any more. It is carried out as
//! often as is needed, for one try costs less than a millisecond, but not without end.

use super::drive::drive;
use super::judge::{Judgement, judge};
use super::plan::Plan;
use super::setting::Setting;
use crate::shrink::ddmin::ddmin;
use anyhow::Result;
use schism_targets::simulator::{Machine, Micros};

/// How many tries are enough.
const TRIES_MAX: u64 = 30_000;
/// Faults and delays are not cut down below this.
const SHORTEST: Micros = Micros(1000);

/// A small plan that is judged as the whole one.
pub struct Shrunk {
    /// It.
    pub plan: Plan,
    /// How many plans were tried.
    pub tries: u64,
    /// Whether nothing smaller was left to try.
    pub complete: bool,
}

/// One kind of things that can be left out.
struct Kind {
    count: fn(&Plan) -> usize,
    /// The plan with these alone of its things of this kind.
    only: fn(&Plan, &[usize]) -> Plan,
}

const KINDS: [Kind; 5] = [
    Kind {
        count: |plan| plan.drawn.len(),
        only: |plan, kept| Plan {
            drawn: plan.drawn.only(kept),
            ..plan.clone()
        },
    },
    Kind {
        count: |plan| plan.messages.len(),
        only: |plan, kept| Plan {
            messages: pick(&plan.messages, kept),
            ..plan.clone()
        },
    },
    Kind {
        count: |plan| plan.machines.len(),
        only: |plan, kept| {
            let mut plan = plan.clone();
            for (place, machine) in plan.machines.iter_mut().enumerate() {
                if !kept.contains(&place) {
                    *machine = Machine::default();
                }
            }
            plan
        },
    },
    Kind {
        count: |plan| plan.faults.len(),
        only: |plan, kept| Plan {
            faults: pick(&plan.faults, kept),
            ..plan.clone()
        },
    },
    Kind {
        count: |plan| plan.operations.len(),
        only: |plan, kept| Plan {
            operations: pick(&plan.operations, kept),
            ..plan.clone()
        },
    },
];

fn pick<T: Clone>(all: &[T], kept: &[usize]) -> Vec<T> {
    kept.iter().map(|place| all[*place].clone()).collect()
}

/// Why the search ends early.
enum Halt {
    Enough,
    Failed(anyhow::Error),
}

struct Search {
    /// In which the one property decides.
    setting: Setting,
    wanted: Judgement,
    tries: u64,
    best: Plan,
}

/// Shrinks a plan that is judged so, by the property of that judgement alone.
pub fn shrink(setting: &Setting, plan: Plan, wanted: Judgement) -> Result<Shrunk> {
    let mut setting = setting.clone();
    setting
        .deciding
        .retain(|decides| wanted.property() == Some(decides.name()));
    let mut search = Search {
        setting,
        wanted,
        tries: 0,
        best: plan,
    };
    let complete = match search.run() {
        Ok(()) => true,
        Err(Halt::Enough) => false,
        Err(Halt::Failed(error)) => return Err(error),
    };
    Ok(Shrunk {
        plan: search.best,
        tries: search.tries,
        complete,
    })
}

impl Search {
    fn run(&mut self) -> Result<(), Halt> {
        loop {
            let before = self.best.clone();
            for kind in &KINDS {
                self.leave_out(kind)?;
            }
            self.hasten()?;
            self.shorten()?;
            self.draw_together()?;
            if self.best == before {
                return Ok(());
            }
        }
    }

    fn leave_out(&mut self, kind: &Kind) -> Result<(), Halt> {
        let whole = self.best.clone();
        ddmin((kind.count)(&whole), |kept| {
            self.fails((kind.only)(&whole, kept))
        })?;
        Ok(())
    }

    /// Each fault at the beginning as long as it still fails: what came before it can often go then.
    fn hasten(&mut self) -> Result<(), Halt> {
        for place in 0..self.best.faults.len() {
            let mut plan = self.best.clone();
            let fault = &mut plan.faults[place];
            fault.at_us = fault.at_us.min(SHORTEST);
            self.fails(plan)?;
        }
        Ok(())
    }

    /// Each fault in half as long as it still fails.
    fn shorten(&mut self) -> Result<(), Halt> {
        for place in 0..self.best.faults.len() {
            loop {
                let mut plan = self.best.clone();
                let fault = &mut plan.faults[place];
                let half = Micros((fault.until_us.0 - fault.at_us.0) / 2);
                fault.until_us = fault.at_us.plus(half);
                if half < SHORTEST || !self.fails(plan)? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// What comes later comes so much sooner that little time passes since what came before, or half of it, as long as it still fails.
    fn draw_together(&mut self) -> Result<(), Halt> {
        let mut before = Micros::ZERO;
        while let Some(next) = self.best.next_after(before) {
            let gap = next.0 - before.0;
            let shorter = [SHORTEST.0, gap / 8, gap / 4, gap / 2];
            for left in shorter
                .into_iter()
                .filter(|left| (SHORTEST.0..gap).contains(left))
            {
                if self.fails(self.best.sooner(next, Micros(gap - left)))? {
                    break;
                }
            }
            before = self.best.next_after(before).unwrap_or(next);
        }
        Ok(())
    }

    /// Whether this plan is judged as wanted, too; then it is the best so far.
    fn fails(&mut self, plan: Plan) -> Result<bool, Halt> {
        if plan == self.best {
            return Ok(true);
        }
        if self.tries == TRIES_MAX {
            return Err(Halt::Enough);
        }
        self.tries += 1;
        let driven = drive(&self.setting, &plan, false).map_err(Halt::Failed)?;
        let fails = judge(&self.setting, &driven.history) == self.wanted;
        if fails {
            self.best = plan;
        }
        Ok(fails)
    }
}

impl Plan {
    /// When the next thing begins or ends after that moment.
    fn next_after(&self, moment: Micros) -> Option<Micros> {
        let faults = self.faults.iter().flat_map(|f| [f.at_us, f.until_us]);
        let operations = self.operations.iter().map(|o| o.at_us);
        let later = faults.chain(operations).filter(|at| *at > moment);
        later.min()
    }

    /// The same where all that comes from that moment on comes so much sooner.
    fn sooner(&self, from: Micros, by: Micros) -> Self {
        let mut plan = self.clone();
        let faults = plan.faults.iter_mut();
        let faults = faults.flat_map(|f| [&mut f.at_us, &mut f.until_us]);
        let operations = plan.operations.iter_mut().map(|o| &mut o.at_us);
        let later = faults.chain(operations).filter(|at| **at >= from);
        later.for_each(|at| at.0 -= by.0);
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::plan::{PlannedFault, PlannedOperation};
    use schism_targets::simulator::{Fault, Host, Whom};

    #[test]
    fn what_comes_later_comes_sooner_and_keeps_its_order() {
        let plan = |[first, inject, second, heal]: [u64; 4]| Plan {
            faults: vec![PlannedFault {
                id: 1,
                at_us: Micros(inject),
                until_us: Micros(heal),
                fault: Fault::Pause {
                    who: Whom::Host(Host::Node(0)),
                },
            }],
            operations: [first, second].map(operation).to_vec(),
            ..Plan::default()
        };
        let spread = plan([5, 100, 300, 900]);
        assert_eq!(spread.next_after(Micros(5)), Some(Micros(100)));
        assert_eq!(spread.next_after(Micros(300)), Some(Micros(900)));
        assert_eq!(spread.next_after(Micros(900)), None);
        let closer = spread.sooner(Micros(300), Micros(150));
        assert_eq!(closer, plan([5, 100, 150, 750]));
    }

    fn operation(at: u64) -> PlannedOperation {
        PlannedOperation {
            at_us: Micros(at),
            client: 0,
            what: None,
        }
    }
}
