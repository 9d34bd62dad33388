//! The log path as an attempt's driver sees it: spools on this machine's disk, sent over one line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use ocelot_core::frame::Offset;
use ocelot_proto::kit::clock::SystemClock;
use ocelot_proto::kit::shutdown::Tasks;
use ocelot_proto::wire;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::attempt::ports::{Log, LogFailed, Logs, NewsSender};
use crate::attempt::{AttemptId, LogDigest, LogLoss};
use crate::connection::{CallError, Line, judged};
use crate::disk::MachineDisk;
use crate::logs::{AttemptLog, Link, LogError, LogSettings, Pusher};
use crate::mask::MaskSet;

/// Makes logs that are kept here and sent over `line`.
pub(super) fn machine_logs(line: Arc<Line>, memory: PathBuf, tasks: &Tasks) -> Arc<dyn Logs> {
    let clock = Arc::new(SystemClock);
    let settings = LogSettings::new(Arc::new(MachineDisk), Arc::clone(&clock) as _, Some(memory));
    let pusher = Pusher::start(Arc::new(LogLine(line)), clock, tasks);
    Arc::new(MachineLogs { settings, pusher })
}

#[derive(Debug)]
struct MachineLogs {
    settings: LogSettings,
    pusher: Pusher,
}

impl MachineLogs {
    fn sent(&self, log: AttemptLog) -> Arc<dyn Log> {
        self.pusher.add(&log);
        Arc::new(log)
    }
}

#[async_trait]
impl Logs for MachineLogs {
    async fn make_ready(&self, directory: &Path) -> Result<(), LogFailed> {
        let made = AttemptLog::make_ready(&self.settings, directory).await;
        made.map_err(|error| failed("make a log ready", error))
    }

    async fn create(
        &self,
        id: AttemptId,
        directory: &Path,
        masks: MaskSet,
        news: NewsSender,
    ) -> Result<Arc<dyn Log>, LogFailed> {
        let log = AttemptLog::create(&self.settings, id, directory, masks, news).await;
        Ok(self.sent(log.map_err(|error| failed("begin the log", error))?))
    }

    async fn recover(
        &self,
        id: AttemptId,
        directory: &Path,
        news: NewsSender,
    ) -> Result<Arc<dyn Log>, LogFailed> {
        let log = AttemptLog::recover(&self.settings, id, directory, news).await;
        Ok(self.sent(log.map_err(|error| failed("go on with the log", error))?))
    }

    async fn remove(&self, id: AttemptId, directory: &Path) {
        AttemptLog::remove(&self.settings, id, directory).await;
    }
}

#[async_trait]
impl Log for AttemptLog {
    fn follow(&self, control: &Path) {
        Self::follow(self, control);
    }

    fn captured(&self, end: Offset) {
        Self::captured(self, end);
    }

    fn follow_service(&self, service: u16, control: &Path) {
        Self::follow_service(self, service, control);
    }

    fn service_captured(&self, service: u16, end: Offset) {
        Self::service_captured(self, service, end);
    }

    async fn seal(&self) -> Result<(LogDigest, Option<LogLoss>), LogFailed> {
        Self::seal(self).await.map_err(|error| failed("end the log", error))
    }

    fn end(&self) -> Offset {
        Self::end(self)
    }

    fn safe(&self, received: Offset, durable: Offset) {
        Self::safe(self, received, durable);
    }

    fn received(&self) -> Offset {
        Self::received(self)
    }

    fn missing(&self, from: Offset) {
        Self::missing(self, from);
    }

    async fn drop_spool(&self) {
        Self::drop_spool(self).await;
    }
}

/// Opens streams to the controller that counts now, under the session's credential.
#[derive(Debug)]
struct LogLine(Arc<Line>);

#[async_trait]
impl Link for LogLine {
    async fn open(
        &self,
        pieces: ReceiverStream<wire::PushLogRequest>,
    ) -> Result<Streaming<wire::PushLogResponse>, Status> {
        let (mut client, at) = self.0.client();
        let opened = client.push_log(self.0.request(pieces)).await;
        let opened = opened.inspect_err(|status| match judged(status) {
            CallError::Unknown(_) => self.0.turn_from(at),
            // It answered: the session is opened anew, and the next try is under it.
            CallError::Fenced | CallError::Unauthenticated(_) | CallError::Refused(_) => {}
        });
        Ok(opened?.into_inner())
    }
}

fn failed(doing: &str, error: LogError) -> LogFailed {
    LogFailed { doing: doing.to_owned(), source: Some(Box::new(error)) }
}
