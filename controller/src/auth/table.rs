//! The API tokens in memory, and what must end when one of them does.

use std::collections::HashMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::Revision;

use super::record::ApiToken;
use super::token::TokenHash;

/// Every value of every API token, as of some revision of the store.
#[derive(Debug, Default)]
pub(super) struct Table {
    values: HashMap<TokenHash, Known>,
    /// When each token was last used, where that is not written yet. Bounded by the tokens.
    used: HashMap<String, u64>,
    /// What is older is known already, or was overtaken.
    as_of: Revision,
}

#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) person: String,
    end_us: Option<u64>,
    last_used_us: Option<u64>,
    /// Cancelled when the value is refused from now on.
    pub(super) ended: CancellationToken,
}

impl Table {
    /// Returns what is known of a value that is good now.
    pub(super) fn find(&self, hash: TokenHash, now_us: u64) -> Option<&Known> {
        self.values.get(&hash).filter(|known| known.end_us.is_none_or(|end| now_us < end))
    }

    /// Takes a whole list over.
    pub(super) fn replace(&mut self, tokens: Vec<ApiToken>, as_of: Revision) {
        if as_of < self.as_of {
            return;
        }
        self.as_of = as_of;
        let mut before = std::mem::take(&mut self.values);
        tokens.into_iter().for_each(|token| self.add(token, &mut before));
        before.into_values().for_each(|known| known.ended.cancel());
    }

    /// Takes the changes of whole revisions over: each token as it is now, or none if it is gone.
    pub(super) fn change(&mut self, changes: Vec<(Revision, String, Option<ApiToken>)>, up_to: Revision) {
        for (at, name, token) in changes {
            if at <= self.as_of {
                continue;
            }
            let mut before = self.values.extract_if(|_, known| known.name == name).collect();
            token.into_iter().for_each(|token| self.add(token, &mut before));
            before.into_values().for_each(|known| known.ended.cancel());
        }
        self.as_of = self.as_of.max(up_to);
    }

    /// Remembers a use; the call that it came with does not wait for more.
    pub(super) fn note_use(&mut self, name: &str, now_us: u64) {
        match self.used.get_mut(name) {
            Some(last) => *last = now_us,
            None => drop(self.used.insert(name.to_owned(), now_us)),
        }
    }

    /// Takes the uses that are to be written: of each token its last, once in `every`.
    pub(super) fn take_uses(&mut self, now_us: u64, every: Duration) -> Vec<(String, u64)> {
        let mut written: HashMap<&str, Option<u64>> = HashMap::new();
        for known in self.values.values().filter(|known| self.used.contains_key(&known.name)) {
            written.insert(&known.name, known.last_used_us);
        }
        // Uses of tokens that are gone are taken too; they find nothing to be written to.
        let is_due = |name: &String| {
            let last = written.get(name.as_str()).copied().flatten();
            last.is_none_or(|last| Duration::from_micros(now_us.saturating_sub(last)) >= every)
        };
        let due: Vec<String> = self.used.keys().filter(|name| is_due(name)).cloned().collect();
        let due: Vec<(String, u64)> =
            due.into_iter().filter_map(|name| self.used.remove_entry(&name)).collect();
        for (name, at) in &due {
            for known in self.values.values_mut().filter(|known| known.name == *name) {
                known.last_used_us = Some(*at);
            }
        }
        due
    }

    /// Ends what has expired.
    pub(super) fn expire(&mut self, now_us: u64) {
        let over = |known: &Known| known.end_us.is_some_and(|end| end <= now_us);
        for (_, known) in self.values.extract_if(|_, known| over(known)) {
            known.ended.cancel();
        }
    }

    fn add(&mut self, token: ApiToken, before: &mut HashMap<TokenHash, Known>) {
        for value in &token.values {
            let ended = before.remove(&value.sha256).map(|known| known.ended).unwrap_or_default();
            let known = Known {
                name: token.name.clone(),
                person: token.person.clone(),
                end_us: token.end_us(value),
                last_used_us: token.last_used_us,
                ended,
            };
            self.values.insert(value.sha256, known);
        }
    }
}
