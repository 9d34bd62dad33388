//! Secrets of a run: given to the session of a live, acknowledged attempt, and to nobody else.

use std::collections::BTreeMap;

use bytes::Bytes;

use ocelot_domain::task::state::Session;

use super::error::{Error, Result};
use super::{AttemptRef, Service};

impl Service {
    /// Returns the values of these secrets.
    pub async fn fetch_secrets(
        &self,
        session: Session,
        attempt: AttemptRef,
        names: &[String],
    ) -> Result<BTreeMap<String, Bytes>> {
        self.live_now(session, attempt).await?;
        match names.first() {
            None => Ok(BTreeMap::new()),
            Some(name) => Err(Error::Conflict { why: format!("this controller keeps no secret {name:?}") }),
        }
    }
}
