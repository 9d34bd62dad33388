//! From the offer to the start: files, acknowledgement, secrets, image.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{abortable, try_join_all};
use ocelot_core::frame::Offset;
use ocelot_proto::kit::chaos;
use ocelot_proto::kit::telemetry::chain;
use ocelot_proto::wire;
use ocelot_proto::wire::held::Phase as WirePhase;
use ocelot_supervisor::protocol::Moment;

use super::{Done, Driver, Left, LogPlace, Sealing, pace};
use crate::attempt::order::millis;
use crate::attempt::ports::LogFailed;
use crate::attempt::secrets;
use crate::attempt::service::Begin;
use crate::attempt::state::{Answer, BootTime, Cause, Event};
use crate::attempt::{Failure, LogLoss};
use crate::connection::CallError;
use crate::journal::{Entry, Phase};
use crate::mask::{MaskSet, Short};
use crate::runtime::Tell;

/// For a call that changes one record.
pub(super) const CALL: Duration = Duration::from_secs(5);

impl Driver {
    /// Takes the offer: the journal says so, and the files are made at the same time.
    pub(super) fn accept(&mut self, is_ready: bool) {
        self.write(Entry::Accepted(self.accepted.clone()));
        self.make_files(is_ready);
        if !self.asks_secrets() && !self.offered.masks {
            self.make_log();
        }
        self.look_ahead();
    }

    fn look_ahead(&self) {
        let Some(runtime) = self.runtime.clone() else { return };
        let launch = self.launch(BootTime(0));
        self.work(async move {
            runtime.look_ahead(&launch).await;
            Done::Nothing
        });
    }

    fn make_files(&mut self, is_ready: bool) {
        let (places, offered, id) = (self.places.clone(), self.offered.clone(), self.id);
        let made = tokio::task::spawn_blocking(move || {
            if is_ready {
                places.fill(id, &offered)?;
                return places.sync_files();
            }
            places.make(id, &offered)?;
            places.sync()
        });
        self.files = if is_ready { super::Files::Filling } else { super::Files::Making };
        self.work(async move {
            match made.await {
                Ok(Ok(())) => Done::Files(Ok(())),
                Ok(Err(error)) => Done::Files(Err(error.to_string())),
                Err(error) => Done::Files(Err(error.to_string())),
            }
        });
    }

    pub(super) fn files_made(&mut self, made: Result<(), String>) {
        self.files = match made {
            Ok(()) => super::Files::Made,
            Err(why) => super::Files::Failed(why),
        };
        if std::mem::take(&mut self.log_waits) {
            self.make_log();
        }
        if self.prepare_wanted {
            self.prepare();
        }
    }

    /// Goes on with what another process left.
    pub(super) fn resume(&mut self, left: Left) {
        self.told.resume(self.shared.boot.now());
        if left.held.phase == Phase::Accepted {
            // Nothing was started, and not every file may be there: it begins again, and so does its log.
            return self.make_files(false);
        }
        self.files = super::Files::Made;
        self.recover_log();
        let Some(up) = left.up else { return };
        let since = up.link.as_ref().and_then(|(_, seen)| {
            let ended = seen.ended.iter().map(|end| end.since);
            ended.chain(seen.running.as_ref().map(|running| running.since)).min()
        });
        let since = since.unwrap_or(Moment(self.shared.boot.now().0));
        self.task_deadline = Some(since.after(millis(self.plan.limits.timeout)));
        self.show(WirePhase::Running);
        self.container = Some(up.container);
        self.given = up.given;
        self.begin_services(Begin::Found);
        if let Some((link, seen)) = up.link {
            self.link_up(link, seen);
        }
    }

    pub(super) fn acknowledge(&mut self, sent: BootTime, repeat: u32) {
        let shared = self.shared.clone();
        let (id, sequence) = (self.id, self.sequence());
        self.work(async move {
            shared.wait(pace(Duration::from_millis(50), Duration::from_secs(2)), repeat).await;
            let request = wire::AcknowledgeRequest {
                attempt: Some(id.to_wire()),
                journal_sequence: sequence,
                sent_boottime_ms: sent.0,
            };
            let called = shared
                .line
                .call(CALL, request, async |mut client, request| client.acknowledge(request).await);
            match called.await {
                Ok(answer) => Done::Acknowledged(answer.mask),
                Err(error) => Done::Event(Event::Acknowledged(answered(&shared, &error, "acknowledge"))),
            }
        });
    }

    /// The number of the record that accepted it, which is durable before this is asked for.
    fn sequence(&self) -> u64 {
        let journal = self.shared.journal.state();
        journal.attempt(self.id).map_or(journal.sequence.0, |held| held.sequence.0)
    }

    pub(super) fn acknowledged(&mut self, masks: Vec<Bytes>) {
        chaos::point("acknowledge.answered");
        let unannounced = !masks.is_empty() && !self.offered.masks;
        self.masks = masks;
        self.acknowledged_here = true;
        if !self.asks_secrets() {
            self.make_log();
        }
        self.show(WirePhase::Preparing);
        self.event(Event::Acknowledged(Answer::Yes));
        if unannounced {
            let why = "values to mask came that were not announced, when the log had begun".to_owned();
            self.event(Event::SecretsRefused { why });
        }
    }

    /// Begins the log once, with all that is masked in it.
    pub(super) fn make_log(&mut self) {
        match self.log {
            LogPlace::None | LogPlace::Failed(_) => {}
            LogPlace::Making | LogPlace::Ready(_) => return,
        }
        if matches!(self.files, super::Files::Making) {
            self.log_waits = true;
            return;
        }
        let masks = match self.mask_set() {
            Ok(masks) => masks,
            Err(why) => return self.event(Event::SecretsRefused { why }),
        };
        self.log = LogPlace::Making;
        let (shared, id, news) = (self.shared.clone(), self.id, self.news_sender.clone());
        let directory = self.places.log();
        self.work(async move { Done::Log(shared.logs.create(id, &directory, masks, news).await) });
    }

    pub(super) fn mask_set(&self) -> Result<MaskSet, String> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|error| format!("there is no randomness: {error}"))?;
        let mut masks = MaskSet::new(salt);
        for name in self.secrets.mask(&self.plan, &mut masks)? {
            self.lines.line(&format!("the secret {name:?} is too short to be masked in this log"));
        }
        for value in &self.masks {
            let added = masks.add(value, Short::LeaveVisible);
            added.map_err(|refused| format!("a value of the run cannot be masked: {refused}"))?;
        }
        Ok(masks)
    }

    fn recover_log(&mut self) {
        self.log = LogPlace::Making;
        let (shared, id, news) = (self.shared.clone(), self.id, self.news_sender.clone());
        let directory = self.places.log();
        self.work(async move { Done::Log(shared.logs.recover(id, &directory, news).await) });
    }

    pub(super) fn log_made(
        &mut self,
        made: Result<std::sync::Arc<dyn crate::attempt::ports::Log>, LogFailed>,
    ) {
        match made {
            Ok(log) => {
                self.shared.board.note_log(self.id, log.clone());
                self.lines.open(log.clone());
                if self.container.is_some() {
                    log.follow(&self.places.control());
                    log.captured(self.captured);
                }
                self.log = LogPlace::Ready(log);
                self.follow_services();
                self.tell_prepared(false);
            }
            Err(error) => {
                let why = chain(&error).to_string();
                tracing::error!(attempt = %self.id, why, "an attempt has no log");
                self.log = LogPlace::Failed(why.clone());
                self.event(Event::LogBroken(LogLoss { at: Offset(0), why: why.clone() }));
                self.event(Event::NotPrepared(Cause::Platform { why }));
            }
        }
        if self.sealing == Sealing::Waiting {
            self.seal_now();
        }
    }

    /// Makes the image ready and fills the workspace, beside the secrets.
    pub(super) fn prepare(&mut self) {
        if !self.secrets.came() && secrets::pulls(&self.plan) {
            self.prepare_waits = true;
            return;
        }
        match &self.files {
            super::Files::Made => self.prepare_wanted = false,
            super::Files::Making | super::Files::Filling => {
                self.prepare_wanted = true;
                return;
            }
            super::Files::Failed(why) => {
                let why = format!("the attempt's directory cannot be made: {why}");
                return self.event(Event::NotPrepared(Cause::Failed(Failure::Disk { why })));
            }
        }
        let Some(runtime) = self.runtime.clone() else {
            let why = "this executor has no runtime for it".to_owned();
            return self.event(Event::NotPrepared(Cause::Platform { why }));
        };
        self.fill_workspace();
        let launch = self.launch(BootTime(0));
        let services = 0..self.plan.environment.services.len();
        let services: Vec<_> = services.filter_map(|place| self.service_launch(place, BootTime(0))).collect();
        let (lines, shared) = (self.lines.clone(), self.shared.clone());
        let (preparing, abort) = abortable(async move {
            let of_services = services.iter().map(|service| runtime.prepare_service(service, &*lines));
            let both = async {
                // Whatever keeps the task itself from running is the better reason.
                runtime.prepare(&launch, &*lines).await?;
                Ok(())
            };
            let prepared = futures_util::try_join!(both, try_join_all(of_services)).map(drop);
            if let Err(Cause::Platform { .. }) = &prepared {
                shared.runtimes.suspect();
            }
            prepared
        });
        self.preparing = Some(abort);
        self.work(async move {
            match preparing.await {
                Ok(Ok(())) => Done::Prepared,
                Ok(Err(cause)) => Done::Event(Event::NotPrepared(cause)),
                Err(_aborted) => Done::Nothing,
            }
        });
    }

    /// The image is here; its log may not be.
    pub(super) fn environment_prepared(&mut self) {
        self.setup.know_image();
        self.tell_prepared(true);
    }

    /// Prepared means: with a log too, so that nothing that runs is without one.
    pub(super) fn tell_prepared(&mut self, environment: bool) {
        self.prepared |= environment;
        if self.prepared && matches!(self.log, LogPlace::Ready(_)) {
            self.preparing = None;
            self.event(Event::Prepared);
        }
    }

    pub(super) fn stop_preparing(&mut self) {
        if let Some(preparing) = self.preparing.take() {
            preparing.abort();
        }
        self.prepare_wanted = false;
        self.prepare_waits = false;
    }
}

/// Returns what a call without an answer of its own means to an attempt.
pub(super) fn answered(shared: &super::Shared, error: &CallError, what: &str) -> Answer {
    match error {
        CallError::Fenced => Answer::Fenced,
        CallError::Unauthenticated(_) => {
            if *shared.live.borrow() {
                shared.reopen.notify_one();
            }
            Answer::Unknown
        }
        CallError::Refused(_) | CallError::Unknown(_) => {
            tracing::debug!(%error, what, "a call is made again");
            Answer::Unknown
        }
    }
}
