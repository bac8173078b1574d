//! Several registers at once: read from one state, changed by one entry of the log.
//!
//! [`KeySpace::transact`] is etcd's compare-then-put: all that is expected is compared, then all is written, or
//! nothing. [`KeySpace::transfer`] moves money between two registers that hold whole numbers, and looks itself
//! whether there is enough.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Applied, Conflict, ConflictKind, KeySpace};
use crate::replicas::LogPosition;

impl KeySpace {
    /// The registers by key; an absent one is null.
    pub(super) fn values(&self, keys: &[String]) -> Result<Map<String, Value>, Conflict> {
        let one = |key: &String| Ok((key.clone(), self.value(key)?.clone()));
        keys.iter().map(one).collect()
    }

    /// Answers with what was written; where something is not as expected, with what is there.
    pub(super) fn transact(
        &mut self,
        position: LogPosition,
        expect: &BTreeMap<String, Value>,
        write: &BTreeMap<String, Value>,
    ) -> Applied {
        for (key, expected) in expect {
            self.expect(key, expected).map_err(|mut conflict| {
                let keys: Vec<String> = expect.keys().cloned().collect();
                if let Ok(values) = self.values(&keys) {
                    conflict.current = Value::Object(values);
                }
                conflict
            })?;
        }
        // All of them before any: what is refused changes nothing.
        write.keys().try_for_each(|key| self.value(key).map(drop))?;
        for (key, value) in write {
            self.write(position, key, value)?;
        }
        Ok(write.clone().into_iter().collect::<Map<_, _>>().into())
    }

    /// Answers with both balances as they are then.
    pub(super) fn transfer(
        &mut self,
        position: LogPosition,
        from: &str,
        to: &str,
        amount: u64,
    ) -> Applied {
        let (source, destination) = (self.balance(from)?, self.balance(to)?);
        let enough = i64::try_from(amount).ok().filter(|n| *n <= source);
        let Some(amount) = enough else {
            return Err(Conflict {
                kind: ConflictKind::InsufficientFunds,
                message: format!("`{from}` holds {source}, less than {amount}"),
                current: Value::from(source),
            });
        };
        if destination.checked_add(amount).is_none() {
            let message =
                format!("`{to}` holds {destination}, and {amount} more would be too much");
            return Err(Conflict::unexpected(message, Value::from(destination)));
        }
        let mut balances = Map::new();
        for (key, change) in [(from, -amount), (to, amount)] {
            let balance = Value::from(self.balance(key)? + change);
            self.write(position, key, &balance)?;
            balances.insert(key.to_owned(), balance);
        }
        Ok(Value::Object(balances))
    }

    fn balance(&self, key: &str) -> Result<i64, Conflict> {
        let value = self.value(key)?;
        value.as_i64().ok_or_else(|| {
            let message = format!("`{key}` holds {value}, which is no whole number");
            Conflict::unexpected(message, value.clone())
        })
    }
}
