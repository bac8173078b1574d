//! A bank: transfers between accounts, and reads of all balances at one moment. The total never changes.
//!
//! As in Jepsen. How a transfer is made is the question: `read-then-write` reads both balances and writes both, whatever has become of them
//! in between, so that two transfers which read the same balance make money out of nothing (a lost update); `compare-and-set` writes them only if they are
//! still what was read; `transaction` leaves it all to the target. What it cannot see is a transfer that is acknowledged and lost as a whole: the total
//! stays what it was. (`set` and `counter` are for that.)

use crate::generator::{Generator, Mix, stream};
use crate::registry::{ValueKind, number, word};
use crate::{Completion, Invocation, OptionSpec, Options, Step, Workload, claims};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use schism_targets::client::{Answer, CallError, Request};
use schism_targets::registry::{Guarantees, Varied};
use schism_targets::wire::kind;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The workload.
pub(super) struct Bank;

const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "accounts",
        default: "5",
        values: ValueKind::Count { min: 2, max: 1000 },
        help: "how many accounts",
    },
    OptionSpec {
        name: "balance",
        default: "20",
        values: ValueKind::Count {
            min: 0,
            max: 1_000_000,
        },
        help: "what each account holds at first",
    },
    OptionSpec {
        name: "transfers",
        default: "transaction",
        values: ValueKind::OneOf(&["transaction", "compare-and-set", BLIND]),
        help: "how a transfer is made: in one step by the target; by a read, and a write if nothing has changed; by a read and a write",
    },
];
const BLIND: &str = "read-then-write";
/// The most that is transferred at once.
const AMOUNT_MAX: u64 = 5;
/// Where the opening stands in a history: beside the accounts, which have no key there.
const OPENING: &str = "accounts";

impl Workload for Bank {
    fn name(&self) -> &'static str {
        "bank"
    }

    fn summary(&self) -> &'static str {
        "transfers between accounts, and reads of all balances at one moment; cannot see a transfer that is lost as a whole"
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn generator(
        &self,
        options: &Options,
        seed: u64,
        worker: u64,
        _workers: u64,
    ) -> Box<dyn Generator> {
        Box::new(Client {
            rng: stream(seed, worker),
            mix: Mix::new(&[("transfer", 60), ("read", 40)]),
            accounts: number(options, "accounts"),
        })
    }

    fn request(&self, options: &Options, invocation: &Invocation) -> Request {
        match (invocation.f, Transfer::of(&invocation.value)) {
            ("transfer", Some(transfer)) => transfer.request(),
            ("open", _) => Request::Transact {
                expect: BTreeMap::new(),
                write: opened(options),
            },
            _ => Request::ReadMany {
                keys: opened(options).into_keys().collect(),
            },
        }
    }

    fn converse(
        &self,
        options: &Options,
        invocation: &Invocation,
        so_far: &[Result<Answer, CallError>],
    ) -> Step {
        let way = word(options, "transfers");
        let by_hand = invocation.f == "transfer" && way != "transaction";
        match (Transfer::of(&invocation.value).filter(|_| by_hand), so_far) {
            (Some(transfer), []) => Step::Ask(transfer.read()),
            (Some(transfer), [Ok(read)]) => match transfer.written(&read.value) {
                Ok(write) => Step::Ask(Request::Transact {
                    expect: if way == BLIND {
                        BTreeMap::new()
                    } else {
                        fields(&read.value)
                    },
                    write,
                }),
                Err((kind, message)) => Step::Done(Completion {
                    value: invocation.value.clone(),
                    ..Completion::refused(kind, &message)
                }),
            },
            (_, []) => Step::Ask(self.request(options, invocation)),
            // The last answer says it: of the write if there was one, else of the read.
            (_, [.., last]) => Step::Done(Completion::of(invocation, last.clone())),
        }
    }

    fn opening(&self, options: &Options) -> Vec<Invocation> {
        let balances = opened(options).into_iter().collect::<Map<_, _>>();
        vec![Invocation::on(OPENING, "open", balances)]
    }

    fn declares(&self, options: &Options) -> Option<(&'static str, Value)> {
        let accounts: Vec<String> = opened(options).into_keys().collect();
        let total = number(options, "accounts") * number(options, "balance");
        Some((
            "bank",
            json!({"total": total, "accounts": accounts, "negative": false}),
        ))
    }

    fn final_reads(&self, _: &Options, _workers: u64) -> Vec<Invocation> {
        vec![of_all("read", Value::Null)]
    }

    fn varied(&self) -> &'static [Varied] {
        &[Varied {
            option: "accounts",
            values: &["2", "3"],
        }]
    }

    fn claims(&self, guarantees: &Guarantees) -> Vec<&'static str> {
        claims::with_common(*guarantees, &["bank", "convergence"])
    }
}

fn of_all(f: &'static str, value: Value) -> Invocation {
    Invocation {
        f,
        key: None,
        value,
    }
}

fn account(number: u64) -> String {
    format!("a{number}")
}

/// The accounts as they are at first.
fn opened(options: &Options) -> BTreeMap<String, Value> {
    let balance = number(options, "balance");
    (0..number(options, "accounts"))
        .map(|n| (account(n), balance.into()))
        .collect()
}

fn fields(value: &Value) -> BTreeMap<String, Value> {
    let fields = value.as_object().into_iter().flatten();
    fields.map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// What a transfer's argument says.
struct Transfer {
    from: String,
    to: String,
    amount: u64,
}

impl Transfer {
    fn of(value: &Value) -> Option<Self> {
        Some(Self {
            from: value["from"].as_str()?.to_owned(),
            to: value["to"].as_str()?.to_owned(),
            amount: value["amount"].as_u64()?,
        })
    }

    fn request(self) -> Request {
        Request::Transfer {
            from: self.from,
            to: self.to,
            amount: self.amount,
        }
    }

    fn read(&self) -> Request {
        Request::ReadMany {
            keys: vec![self.from.clone(), self.to.clone()],
        }
    }

    /// Both balances after the transfer; or why there is none: the kind, and the words.
    fn written(&self, read: &Value) -> Result<BTreeMap<String, Value>, (&'static str, String)> {
        let held = |account: &str| {
            let why = || format!("{account} holds {}", read[account]);
            let balance = read[account].as_u64();
            balance.ok_or_else(|| (kind::PRECONDITION, why()))
        };
        let (from, to) = (held(&self.from)?, held(&self.to)?);
        let Some(rest) = from.checked_sub(self.amount) else {
            let message = format!("{} holds {from}, less than {}", self.from, self.amount);
            return Err((kind::INSUFFICIENT_FUNDS, message));
        };
        let both = [(&self.from, rest), (&self.to, to + self.amount)];
        Ok(both.map(|(key, n)| (key.clone(), n.into())).into())
    }
}

struct Client {
    rng: ChaCha8Rng,
    mix: Mix,
    accounts: u64,
}

impl Generator for Client {
    fn next(&mut self) -> Option<Invocation> {
        let f = self.mix.draw(&mut self.rng);
        Some(match f {
            "transfer" => of_all(f, self.transfer()),
            _ => of_all(f, Value::Null),
        })
    }
}

impl Client {
    /// Between two different accounts.
    fn transfer(&mut self) -> Value {
        let from = self.rng.random_range(0..self.accounts);
        let other = self.rng.random_range(1..self.accounts);
        let to = (from + other) % self.accounts;
        let amount = self.rng.random_range(1..=AMOUNT_MAX);
        json!({"from": account(from), "to": account(to), "amount": amount})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::resolve;
    use crate::told::{answer, error};
    use schism_history::EventKind;

    fn options(transfers: &str) -> Options {
        let given = [("transfers".to_owned(), transfers.to_owned())];
        resolve(&Bank, &Options::from(given)).unwrap()
    }

    fn transfer(amount: u64) -> Invocation {
        of_all(
            "transfer",
            json!({"from": "a0", "to": "a1", "amount": amount}),
        )
    }

    fn done(step: Step) -> (EventKind, Option<String>) {
        match step {
            Step::Done(completion) => (completion.kind, completion.error.map(|e| e.kind)),
            Step::Ask(request) => panic!("{request:?} is asked"),
        }
    }

    #[test]
    fn what_was_read_is_expected_or_not() {
        let read = || Ok(answer(json!({"a0": 7, "a1": 1})));
        for (way, expected) in [
            (BLIND, json!({})),
            ("compare-and-set", json!({"a0": 7, "a1": 1})),
        ] {
            let options = options(way);
            let first = Bank.converse(&options, &transfer(5), &[]);
            let keys = vec!["a0".to_owned(), "a1".to_owned()];
            assert_eq!(first, Step::Ask(Request::ReadMany { keys }), "{way}");
            let second = Bank.converse(&options, &transfer(5), &[read()]);
            let write = fields(&json!({"a0": 2, "a1": 6}));
            let expect = fields(&expected);
            assert_eq!(second, Step::Ask(Request::Transact { expect, write }));
        }
        let whole = Bank.converse(&options("transaction"), &transfer(5), &[]);
        assert!(matches!(whole, Step::Ask(Request::Transfer { .. })));
    }

    #[test]
    fn only_a_write_without_an_answer_is_open() {
        let options = options("compare-and-set");
        let of = |answers: &[_]| done(Bank.converse(&options, &transfer(5), answers));
        let read = || Ok(answer(json!({"a0": 7, "a1": 1})));
        let failed = |kind: &str| (EventKind::Fail, Some(kind.to_owned()));
        assert_eq!(
            of(&[Err(error(true, kind::TIMEOUT))]),
            failed(kind::TIMEOUT)
        );
        let changed = [read(), Err(error(true, kind::PRECONDITION))];
        assert_eq!(of(&changed), failed(kind::PRECONDITION));
        let open = [read(), Err(error(false, kind::TIMEOUT))];
        assert_eq!(of(&open), (EventKind::Info, Some(kind::TIMEOUT.to_owned())));
        assert_eq!(of(&[read(), Ok(answer(json!({})))]), (EventKind::Ok, None));
        let poor = [Ok(answer(json!({"a0": 4, "a1": 1})))];
        assert_eq!(of(&poor), failed(kind::INSUFFICIENT_FUNDS));
        let absent = [Ok(answer(json!({"a0": null, "a1": 1})))];
        assert_eq!(of(&absent), failed(kind::PRECONDITION));
    }

    #[test]
    fn transfers_are_between_two_accounts_and_what_is_declared_is_opened() {
        let options = options("transaction");
        let mut client = Bank.generator(&options, 7, 1, 3);
        for _ in 0..500 {
            let op = client.next().unwrap();
            if let Some(transfer) = Transfer::of(&op.value) {
                assert_ne!(transfer.from, transfer.to);
                assert!((1..=AMOUNT_MAX).contains(&transfer.amount));
            }
        }
        let (_, declared) = Bank.declares(&options).unwrap();
        let Request::Transact { write, .. } = Bank.request(&options, &Bank.opening(&options)[0])
        else {
            panic!("the opening writes")
        };
        let total: u64 = write.values().filter_map(Value::as_u64).sum();
        assert_eq!(declared["total"], total);
        let accounts: Vec<&String> = write.keys().collect();
        assert_eq!(declared["accounts"], json!(accounts));
    }
}
