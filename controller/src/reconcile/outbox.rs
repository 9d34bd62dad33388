//! The outbox: what somebody outside is owed, told at least once, the newest state last.
//!
//! Posting comes before deleting, and deleting compares what was posted: a crash between tells it
//! again, and a state that is newer meanwhile stays owed. Who posts where is given from outside.

use std::fmt;

use async_trait::async_trait;

use crate::records::OutboxEntry;
use crate::service::{Result, Service};
use crate::store::codec::decode;
use crate::store::keys::Folder;
use crate::store::{Expected, Txn};

/// Tells somebody outside.
#[async_trait]
pub trait Post: fmt::Debug + Send + Sync {
    /// Returns whether it was told; if not, it stays owed.
    async fn post(&self, entry: &OutboxEntry) -> bool;
}

/// Empties the outbox through one way of posting.
#[derive(Debug)]
pub struct Outbox<P> {
    post: P,
}

impl<P: Post> Outbox<P> {
    pub fn new(post: P) -> Self {
        Self { post }
    }

    /// Tells once what is owed; returns how much was.
    pub async fn once(&self, service: &Service) -> Result<usize> {
        let mut told = 0;
        for item in service.list(&Folder::Outbox.to_string()).await? {
            let entry: OutboxEntry = decode(&item.value)?;
            if !self.post.post(&entry).await {
                continue;
            }
            let key = item.key.as_str();
            let txn = Txn::new().when(key, Expected::At(item.mod_revision)).delete(key);
            told += usize::from(service.commit_duty(txn).await?);
        }
        Ok(told)
    }
}
