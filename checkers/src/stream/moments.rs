//! One moment after another: all that has one time, in the order in which nothing precedes what it touches.

use super::Survey;
use schism_history::{Event, Op, Step, Time};
use std::rc::Rc;

/// What has the same time.
pub(super) struct Moments<'s> {
    survey: &'s Survey,
    time: Time,
    begun: Vec<Rc<Event>>,
    ended: Vec<(Rc<Event>, Option<Event>)>,
}

impl<'s> Moments<'s> {
    pub(super) fn new(survey: &'s Survey) -> Self {
        Self {
            survey,
            time: Time::ZERO,
            begun: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Whether this is later.
    pub(super) fn is_over(&self, step: &Step) -> bool {
        let time = match step {
            Step::Begins(event) => event.time,
            Step::Ended(_, event) | Step::Nemesis(event) => event.time,
        };
        time > self.time
    }

    /// What never ends is told as such when it begins: nobody needs to wait for it.
    pub(super) fn add(&mut self, step: Step) {
        match step {
            Step::Begins(event) => {
                self.time = event.time;
                if self.survey.never_ends(event.index) {
                    self.ended.push((Rc::clone(&event), None));
                }
                self.begun.push(event);
            }
            Step::Ended(invoke, completion) => {
                self.time = completion.time;
                self.ended.push((invoke, Some(completion)));
            }
            Step::Nemesis(event) => self.time = event.time,
        }
    }

    pub(super) fn time(&self) -> Time {
        self.time
    }

    pub(super) fn begun(&self) -> impl Iterator<Item = &Event> {
        self.begun.iter().map(AsRef::as_ref)
    }

    pub(super) fn ended(&self) -> impl Iterator<Item = Op<'_>> {
        self.ended.iter().map(|(invoke, completion)| Op {
            invoke,
            completion: completion.as_ref(),
        })
    }

    pub(super) fn clear(&mut self) {
        self.begun.clear();
        self.ended.clear();
    }
}
