//! API tokens: made, rotated, revoked, and recognised without asking the store each time.
//!
//! A controller keeps all of them in memory and follows their changes, so that a revoked one ends on
//! open streams too. One that is not in memory is looked for in the store before it is refused.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::shutdown::Tasks;
use tokio_util::sync::CancellationToken;

use crate::store::keys::{Folder, Key};
use crate::store::{
    Change, Event, Expected, KeyValue, RangeRequest, Revision, Store, Txn, Verdict, WatchBatch, codec,
};

use super::error::{Error, Result};
use super::limit::{FailureLimit, TooManyFailures};
use super::record::{API_FOLDER, ApiToken, FIRST, FirstToken, TokenValue};
use super::table::Table;
use super::token::{Kind, Secret, Token};

/// The API tokens of the fleet.
#[derive(Debug)]
pub struct ApiTokens {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    table: Mutex<Table>,
    failures: Mutex<FailureLimit>,
}

/// Who a token stands for, and how long.
#[derive(Debug, Clone)]
pub struct Access {
    /// Name of the token.
    pub token: String,
    /// The person or script it is for.
    pub person: String,
    /// Cancelled when the token is revoked, replaced or expired: open streams end then.
    pub ended: CancellationToken,
}

/// Why a token does not let anyone in.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    #[error("the token is not valid, or not any more")]
    Unknown,
    /// It was right until a newer session took its place.
    #[error("a newer session of this executor took this one's place")]
    Fenced,
    #[error("too many wrong tokens came from this address")]
    TooMany(TooManyFailures),
    #[error("whether the token is valid could not be learned")]
    Unavailable(#[source] crate::store::Error),
}

/// A new token to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiToken {
    pub name: String,
    /// The person or script it is for.
    pub person: String,
    pub expires_in: Option<Duration>,
}

impl ApiTokens {
    /// Values of one token that are good at the same time: a rotation ends the oldest.
    const VALUES_MAX: usize = 4;
    /// How often a change is tried anew when others change the same token.
    const TRIES: usize = 16;
    /// Use is written at most so often.
    const USE_EVERY: Duration = Duration::from_secs(60);
    /// What expires is ended so soon after.
    const EXPIRE_EVERY: Duration = Duration::from_secs(1);
    /// All are read anew so often, beside following their changes.
    const LIST_EVERY: Duration = Duration::from_secs(30);

    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, table: Mutex::default(), failures: Mutex::default() }
    }

    /// Makes a token. Its text is in the answer, this once.
    pub async fn create(&self, new: NewApiToken, secret: Secret) -> Result<(ApiToken, Token)> {
        check_name(&new.name)?;
        let now_us = self.clock.wall().0;
        let token = Token::new(Kind::Api, secret);
        let record = ApiToken {
            name: new.name,
            person: new.person,
            created_us: now_us,
            expires_us: new.expires_in.map(|time| after(now_us, time)),
            last_used_us: None,
            values: vec![value_of(&token)],
        };
        let key = ApiToken::key(&record.name);
        let txn = Txn::new().when(key.clone(), Expected::Absent).put(key, codec::encode(&record, None));
        match self.store.commit(txn).await? {
            Verdict::Committed(_) => Ok((record, token)),
            Verdict::Refused { .. } => Err(Error::Exists(record.name)),
        }
    }

    /// Makes the fleet's first token; none if it was made before, here or by another controller.
    pub async fn create_first(&self, new: NewApiToken, secret: Secret) -> Result<Option<Token>> {
        check_name(&new.name)?;
        let token = Token::new(Kind::Api, secret);
        let record = ApiToken {
            name: new.name,
            person: new.person,
            created_us: self.clock.wall().0,
            expires_us: None,
            last_used_us: None,
            values: vec![value_of(&token)],
        };
        let (key, mark) = (ApiToken::key(&record.name), Key::Token(FIRST.to_owned()));
        let marked = codec::encode(&FirstToken { sha256: token.hash() }, None);
        let txn = Txn::new()
            .when(mark.clone(), Expected::Absent)
            .when(key.clone(), Expected::Absent)
            .put(mark.clone(), marked)
            .put(key, codec::encode(&record, None));
        let mut error = None;
        for _ in 0..Self::TRIES {
            match self.store.commit(txn.clone()).await {
                Ok(Verdict::Committed(_)) => return Ok(Some(token)),
                // It may be ours, of a try whose answer was lost.
                Ok(Verdict::Refused { found }) => {
                    let marked = found.into_iter().next().flatten();
                    let marked = marked.map(|item| codec::decode::<FirstToken>(&item.value)).transpose()?;
                    let is_ours = marked.is_some_and(|marked| marked.sha256 == token.hash());
                    return Ok(is_ours.then_some(token));
                }
                Err(lost) if lost.is_retryable() => error = Some(lost),
                Err(other) => return Err(other.into()),
            }
            self.clock.sleep(Self::EXPIRE_EVERY).await;
        }
        Err(error.map_or(Error::Busy, Error::Store))
    }

    /// Returns tokens by name, at most `limit` of them, behind the one named.
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<ApiToken>> {
        let mut request = self.all().limit(limit);
        if let Some(name) = after {
            request.from = format!("{}\0", ApiToken::key(name));
        }
        let page = self.store.range(request).await?;
        page.items.iter().map(|item| Ok(codec::decode(&item.value)?)).collect()
    }

    /// Gives a token a new value. The old ones work for `overlap`.
    pub async fn rotate(&self, name: &str, overlap: Duration, secret: Secret) -> Result<(ApiToken, Token)> {
        let token = Token::new(Kind::Api, secret);
        let until_us = after(self.clock.wall().0, overlap);
        for _ in 0..Self::TRIES {
            let (mut record, at) = self.find(name).await?;
            for value in &mut record.values {
                value.until_us = Some(value.until_us.map_or(until_us, |until| until.min(until_us)));
            }
            record.values.insert(0, value_of(&token));
            record.values.truncate(Self::VALUES_MAX);
            if self.swap(&record, at).await? {
                return Ok((record, token));
            }
        }
        Err(Error::Busy)
    }

    /// Ends a token, on open streams too.
    pub async fn revoke(&self, name: &str) -> Result<()> {
        let key = ApiToken::key(name);
        let txn = Txn::new().when(key.clone(), Expected::Present).delete(key);
        match self.store.commit(txn).await? {
            Verdict::Committed(_) => Ok(()),
            Verdict::Refused { .. } => Err(Error::NotFound(name.to_owned())),
        }
    }

    /// Tells who a token stands for. A wrong one counts against the address it came from; a right
    /// one is let in whatever came from there before.
    pub async fn authenticate(&self, token: &Token, from: IpAddr) -> std::result::Result<Access, Denied> {
        let (hash, now) = (token.hash(), self.clock.monotonic());
        let known = self.table().find(hash, self.clock.wall().0).cloned();
        let known = match known {
            Some(known) => known,
            None if self.failures().is_over(from, now) => return Err(self.failed(from)),
            None => {
                // It may have been made a moment ago, by another controller.
                self.reload().await.map_err(Denied::Unavailable)?;
                let found = self.table().find(hash, self.clock.wall().0).cloned();
                found.ok_or_else(|| self.failed(from))?
            }
        };
        self.table().note_use(&known.name, self.clock.wall().0);
        Ok(Access { token: known.name, person: known.person, ended: known.ended })
    }

    /// Counts a credential that nobody could have been given.
    pub fn failed(&self, from: IpAddr) -> Denied {
        match self.failures().count(from, self.clock.monotonic()) {
            Ok(()) => Denied::Unknown,
            Err(too_many) => Denied::TooMany(too_many),
        }
    }

    /// Follows changes and expiry until the program drains.
    pub fn run(self: &Arc<Self>, tasks: &Tasks) {
        let (own, draining) = (Arc::clone(self), tasks.clone());
        tasks.spawn("api-tokens", async move {
            tokio::select! {
                () = draining.draining() => {}
                () = own.follow() => {}
            }
        });
        let (own, draining) = (Arc::clone(self), tasks.clone());
        tasks.spawn("token-uses", async move {
            while !draining.is_draining() {
                own.write_uses().await;
                tokio::select! {
                    () = draining.draining() => {}
                    () = own.clock.sleep(Self::EXPIRE_EVERY) => {}
                }
            }
        });
    }

    async fn follow(&self) {
        loop {
            if let Err(error) = self.follow_once().await {
                tracing::warn!(%error, "API tokens cannot be followed; what is revoked meanwhile still works");
            }
            self.clock.sleep(Self::EXPIRE_EVERY).await;
        }
    }

    /// Reads all tokens, then follows their changes until the watch ends, or has been trusted for
    /// long enough: one that has silently stopped must not keep a revoked token alive.
    async fn follow_once(&self) -> crate::store::Result<()> {
        let from = self.reload().await?.next();
        let mut watch = self.store.watch(&folder(), from).await?;
        let until = self.clock.monotonic() + Self::LIST_EVERY;
        while self.clock.monotonic() < until {
            tokio::select! {
                batch = watch.next() => match batch {
                    Some(batch) => self.take(batch?)?,
                    None => return Ok(()),
                },
                () = self.clock.sleep(Self::EXPIRE_EVERY) => self.table().expire(self.clock.wall().0),
            }
        }
        Ok(())
    }

    fn take(&self, WatchBatch { events, revision }: WatchBatch) -> crate::store::Result<()> {
        let changed = |Event { change, mod_revision }| {
            let (key, token) = match change {
                Change::Put(KeyValue { key, value, .. }) => (key, Some(codec::decode(&value)?)),
                Change::Delete { key } => (key, None),
            };
            Ok(ApiToken::name_in(&key).map(|name| (mod_revision, name, token)))
        };
        let changes = events.into_iter().filter_map(|event| changed(event).transpose());
        let changes = changes.collect::<crate::store::Result<Vec<_>>>()?;
        self.table().change(changes, revision);
        Ok(())
    }

    async fn reload(&self) -> crate::store::Result<Revision> {
        let (mut tokens, mut next, mut as_of) = (Vec::new(), Some(self.all()), None);
        while let Some(request) = next {
            let page = self.store.range(request.clone()).await?;
            for item in &page.items {
                tokens.push(codec::decode(&item.value)?);
            }
            // Later pages are read as of the first one.
            as_of = as_of.or(Some(page.revision));
            next = request.after(&page);
        }
        let as_of = as_of.unwrap_or_default();
        self.table().replace(tokens, as_of);
        Ok(as_of)
    }

    /// Writes down which tokens were used since the last time. Nothing depends on it, so nothing fails
    /// with it.
    pub(super) async fn write_uses(&self) {
        let due = self.table().take_uses(self.clock.wall().0, Self::USE_EVERY);
        for (name, at_us) in due {
            let written = async {
                let (mut record, at) = self.find(&name).await?;
                if record.last_used_us.is_some_and(|last| last >= at_us) {
                    return Ok(true);
                }
                record.last_used_us = Some(at_us);
                self.swap(&record, at).await
            };
            if let Err(error) = written.await {
                tracing::debug!(token = name, %error, "the last use of {name} was not written");
            }
        }
    }

    async fn find(&self, name: &str) -> Result<(ApiToken, Revision)> {
        let page = self.store.range(RangeRequest::key(ApiToken::key(name))).await?;
        let item = page.items.first().ok_or_else(|| Error::NotFound(name.to_owned()))?;
        Ok((codec::decode(&item.value)?, item.mod_revision))
    }

    async fn swap(&self, record: &ApiToken, at: Revision) -> Result<bool> {
        let key = ApiToken::key(&record.name);
        let txn = Txn::new().when(key.clone(), Expected::At(at)).put(key, codec::encode(record, None));
        Ok(matches!(self.store.commit(txn).await?, Verdict::Committed(_)))
    }

    fn all(&self) -> RangeRequest {
        RangeRequest::prefix(folder())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nothing panics while it holds the tokens")
    }

    fn failures(&self) -> MutexGuard<'_, FailureLimit> {
        self.failures.lock().expect("nothing panics while it holds the failures")
    }
}

fn folder() -> String {
    format!("{}{API_FOLDER}", Folder::Tokens)
}

fn value_of(token: &Token) -> TokenValue {
    TokenValue { sha256: token.hash(), shown: token.shown().to_owned(), until_us: None }
}

pub(super) fn after(now_us: u64, time: Duration) -> u64 {
    now_us.saturating_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

fn check_name(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=63).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Error::InvalidName(name.chars().take(80).collect()))
}
