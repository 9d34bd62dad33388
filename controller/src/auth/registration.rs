//! Registration tokens: each lets so many machines in, and not one more.
//!
//! A use is spent in the very transaction that registers the machine. Of two that race for the last
//! use exactly one is registered, and a registration that fails spends nothing.

use std::sync::Arc;
use std::time::Duration;

use ocelot_proto::kit::clock::Clock;

use crate::store::{Expected, KeyValue, RangeRequest, Store, Txn, Verdict, codec};

use super::api::after;
use super::error::{Error, Result};
use super::record::RegistrationToken;
use super::token::{Kind, Secret, Token};

/// The registration tokens of the fleet.
#[derive(Debug, Clone)]
pub struct RegistrationTokens {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

/// A new registration token to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRegistrationToken {
    /// What an executor may register with.
    pub labels: Vec<String>,
    pub uses: u32,
    pub expires_in: Duration,
    /// Who makes it.
    pub by: String,
}

/// What became of an attempt to spend a use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redeemed {
    /// A use is spent, and the caller's transaction is committed with it.
    Committed,
    /// One of the caller's own compares did not hold; no use is spent. What they found.
    Refused { found: Vec<Option<KeyValue>> },
}

impl NewRegistrationToken {
    /// One use within 15 minutes: more must be asked for.
    pub fn once(labels: Vec<String>, by: impl Into<String>) -> Self {
        Self { labels, uses: 1, expires_in: Duration::from_secs(15 * 60), by: by.into() }
    }
}

impl RegistrationTokens {
    /// The most machines that one token lets in.
    pub const USES_MAX: u32 = 10_000;
    /// How often a use is tried anew while others spend theirs.
    const TRIES: usize = 64;

    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Makes a token. Its text is in the answer, this once.
    pub async fn create(
        &self,
        new: NewRegistrationToken,
        secret: Secret,
    ) -> Result<(RegistrationToken, Token)> {
        if !(1..=Self::USES_MAX).contains(&new.uses) {
            return Err(Error::InvalidUses { uses: new.uses, max: Self::USES_MAX });
        }
        let now_us = self.clock.wall().0;
        let token = Token::new(Kind::Registration, secret);
        let record = RegistrationToken {
            sha256: token.hash(),
            labels: new.labels,
            uses_left: new.uses,
            created_us: now_us,
            expires_us: after(now_us, new.expires_in),
            by: new.by,
        };
        let key = RegistrationToken::key(token.hash());
        let txn = Txn::new().when(key.clone(), Expected::Absent).put(key, codec::encode(&record, None));
        match self.store.commit(txn).await? {
            Verdict::Committed(_) => Ok((record, token)),
            Verdict::Refused { .. } => Err(Error::Busy),
        }
    }

    /// Returns what a token grants, if it is good now.
    pub async fn check(&self, token: &Token) -> Result<RegistrationToken> {
        self.find(token).await.map(|(record, _)| record)
    }

    /// Spends a use together with the caller's transaction, or neither.
    ///
    /// If the outcome is unknown, whether the caller's own keys are there tells it.
    pub async fn redeem(&self, token: &Token, with: &Txn) -> Result<Redeemed> {
        for _ in 0..Self::TRIES {
            let (record, item) = self.find(token).await?;
            let txn = with.clone().when(item.key.clone(), Expected::At(item.mod_revision));
            let txn = match record.uses_left {
                0 | 1 => txn.delete(item.key.clone()),
                uses => {
                    let left = RegistrationToken { uses_left: uses - 1, ..record };
                    txn.put(item.key.clone(), codec::encode(&left, None))
                }
            };
            let Verdict::Refused { mut found } = self.store.commit(txn).await? else {
                return Ok(Redeemed::Committed);
            };
            // Its compare is the last.
            let own = found.pop().flatten();
            if own.is_some_and(|own| own.mod_revision == item.mod_revision) {
                return Ok(Redeemed::Refused { found });
            }
        }
        Err(Error::Busy)
    }

    async fn find(&self, token: &Token) -> Result<(RegistrationToken, KeyValue)> {
        let key = RegistrationToken::key(token.hash());
        let page = self.store.range(RangeRequest::key(key)).await?;
        let item = page.items.into_iter().next().ok_or(Error::NotValid)?;
        let record: RegistrationToken = codec::decode(&item.value)?;
        let good = record.sha256 == token.hash() && self.clock.wall().0 < record.expires_us;
        if good { Ok((record, item)) } else { Err(Error::NotValid) }
    }
}
