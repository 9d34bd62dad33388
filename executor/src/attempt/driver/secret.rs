//! Secrets on their way to an attempt: asked for, laid out in memory, closed again.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ocelot_core::plan::Runtime;
use ocelot_proto::wire;

use super::begin::{CALL, answered};
use super::{Done, Driver, pace};
use crate::attempt::secrets::{self, Secrets};
use crate::attempt::state::{Answer, BootTime, Cause, Event, Gone};
use crate::connection::CallError;
use crate::runtime::{Mount, Tell};

impl Driver {
    /// Stages to come need what another process held.
    pub(super) fn fetch_secrets_again(&mut self) {
        if self.asks_secrets() {
            self.fetching_again = true;
            self.fetch_secrets(0);
        }
    }

    /// Whether the controller is asked for anything that is masked.
    pub(super) fn asks_secrets(&self) -> bool {
        !secrets::names(&self.plan).is_empty() || self.asks_credentials()
    }

    /// What opens the repository is not asked for again once the commit is there: it may be given to
    /// nobody any more.
    fn asks_credentials(&self) -> bool {
        self.offered.needs_credentials(&self.plan) && !self.places.checked_out().exists()
    }

    /// Whether everything is known that must not leave this machine. After a restart the log alone
    /// knows it.
    pub(super) fn knows_masks(&self) -> bool {
        self.acknowledged_here && (self.secrets.came() || !self.asks_secrets())
    }

    /// After a restart the machine waits for nothing: what did not work is asked again from here.
    pub(super) fn secrets_not_fetched(&mut self, event: Event) {
        if self.fetching_again && event == Event::SecretsFetched(Answer::Unknown) {
            return self.fetch_secrets(5);
        }
        if self.fetching_again {
            let why = "its secrets are not given to it again".to_owned();
            return self.event(Event::ContainerGone(Gone::Died { why }));
        }
        self.event(event);
    }

    pub(super) fn fetch_secrets(&mut self, repeat: u32) {
        let (shared, plan, id) = (self.shared.clone(), self.plan.clone(), self.id);
        let (place, lines) = (self.secret_place(), self.lines.clone());
        let checkout = self.asks_credentials();
        self.work(async move {
            shared.wait(pace(Duration::from_millis(50), Duration::from_secs(5)), repeat).await;
            let request = wire::FetchSecretsRequest {
                attempt: Some(id.to_wire()),
                names: secrets::names(&plan),
                checkout,
            };
            let called = shared
                .line
                .call(CALL, request, async |mut client, request| client.fetch_secrets(request).await);
            let (values, withheld, opens): (BTreeMap<String, Bytes>, String, _) = match called.await {
                Ok(answer) => (answer.values.into_iter().collect(), answer.withheld, answer.checkout),
                Err(CallError::Refused(why)) => return Done::NoSecrets(Event::SecretsRefused { why }),
                Err(error) => {
                    return Done::NoSecrets(Event::SecretsFetched(answered(
                        &shared,
                        &error,
                        "fetch secrets",
                    )));
                }
            };
            if !withheld.is_empty() {
                lines.line(&format!("{withheld}: this task goes on without them"));
            }
            let secrets = match (Secrets::take(&plan, values, !withheld.is_empty()), opens) {
                (Ok(_), None) if checkout => {
                    let why = "what opens its repository was not given".to_owned();
                    return Done::NoSecrets(Event::SecretsRefused { why });
                }
                (Ok(secrets), None) => secrets,
                (Ok(secrets), Some(opens)) => secrets.with_checkout(opens),
                (Err(why), _) => return Done::NoSecrets(Event::SecretsRefused { why }),
            };
            let kept = secrets.clone();
            let write = move || Ok((kept.lay_out(&plan, &place)?, kept.lay_out_services(&plan, &place)?));
            match tokio::task::spawn_blocking(write).await {
                Ok(Ok((mounts, of_services))) => Done::Secrets(Box::new(secrets), mounts, of_services),
                Ok(Err(error)) => {
                    let error: std::io::Error = error;
                    let why = format!("the files of secrets cannot be written: {error}");
                    Done::Event(Event::NotPrepared(Cause::Platform { why }))
                }
                Err(error) => Done::Event(Event::NotPrepared(Cause::Platform { why: error.to_string() })),
            }
        });
    }

    /// Returns where the files of secrets are, here and for the task.
    pub(super) fn secret_place(&self) -> secrets::Place {
        let name = self.places.directory.file_name().unwrap_or_default();
        let seen = self.runtime.as_ref().map(|runtime| runtime.workspace(&self.launch(BootTime(0))));
        let seen = seen.unwrap_or_default();
        secrets::Place {
            directory: self.shared.memory.join(name),
            inside: seen.join(&self.plan.environment.directory),
            workspace: Some(secrets::Workspace { here: self.places.workspace(), seen }),
            contained: self.plan.environment.runtime != Runtime::Process,
        }
    }

    pub(super) fn secrets_fetched(&mut self, secrets: Secrets, mounts: Vec<Mount>) {
        self.secrets = secrets;
        self.mounts = mounts;
        self.make_log();
        self.opened();
        if std::mem::take(&mut self.prepare_waits) {
            self.prepare();
        }
        if std::mem::take(&mut self.fetching_again) {
            if let Some(index) = self.stage_waits.take() {
                self.run_stage(index);
            }
            return;
        }
        self.event(Event::SecretsFetched(Answer::Yes));
    }

    /// What was a stage's own is nobody's any more; with none, all of it.
    pub(super) fn close_secrets(&self, stage: Option<u16>) {
        if let Err(error) = self.secrets.close_after(&self.plan, stage, &self.secret_place()) {
            tracing::warn!(attempt = %self.id, %error, "a file of a secret is not emptied before the end");
        }
    }
}
