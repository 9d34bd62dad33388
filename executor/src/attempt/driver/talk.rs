//! What an attempt tells while it goes on, never in the way of its work: at most one report at a time,
//! and one tells the whole, so those between are left out.

use std::time::Duration;

use ocelot_proto::wire;
use ocelot_supervisor::protocol::Request;

use super::begin::CALL;
use super::{Done, Driver, Sealing};
use crate::attempt::ports::LogNews;
use crate::attempt::state::Event;
use crate::runtime::Tell;

/// So much may happen before it is told; a task that ends meanwhile tells all of it at once.
const GATHER: Duration = Duration::from_millis(100);

impl Driver {
    fn skipped_line(&self, index: u16) -> String {
        let stage = match &self.plan.work {
            ocelot_core::plan::Work::Stages { stages, .. } => stages.get(usize::from(index)),
            ocelot_core::plan::Work::Command(_) => None,
        };
        let name = stage.map_or("?", |stage| stage.name.as_str());
        let why = stage.and_then(|stage| stage.skip.as_deref()).unwrap_or("it is left out in this run");
        format!("stage {name} is skipped: {why}")
    }

    pub(super) fn tell_skipped(&mut self, index: u16) {
        self.lines.line(&self.skipped_line(index));
    }

    pub(super) fn hear_news(&mut self, news: LogNews) {
        match news {
            LogNews::FirstByte { unix_us } => {
                self.told.first_byte(unix_us);
                self.dirty = true;
            }
            LogNews::Taken(offset) => self.send(&Request::Taken { offset }),
            LogNews::ServiceTaken { service, offset } => self.setup.taken(service, offset),
            LogNews::Durable(offset) => {
                self.safer.notify_one();
                self.event(Event::Durable(offset));
            }
            LogNews::Broken(loss) => self.event(Event::LogBroken(loss)),
            // Once the result is durable, only the completion's own answer counts.
            LogNews::Fenced if self.ended => {}
            LogNews::Fenced => self.event(Event::Fenced),
        }
    }

    pub(super) fn report_if_due(&mut self) {
        if self.container.is_none() {
            let doing = self.lines.last();
            if doing != self.told_preparing {
                self.told.preparing(&doing);
                self.told_preparing = doing;
                self.dirty = true;
            }
        }
        if self.reporting || !std::mem::take(&mut self.dirty) {
            return;
        }
        self.reporting = true;
        let shared = self.shared.clone();
        self.work(async move {
            shared.clock.sleep(GATHER).await;
            Done::ReportDue
        });
    }

    pub(super) fn report(&mut self) {
        if self.sealing != Sealing::No {
            // The completion tells it all.
            self.reporting = false;
            return;
        }
        let (shared, id) = (self.shared.clone(), self.id);
        let request = wire::ReportRequest { attempt: Some(id.to_wire()), progress: Some(self.told.next()) };
        self.dirty = false;
        self.work(async move {
            let called =
                shared.line.call(CALL, request, async |mut client, request| client.report(request).await);
            match called.await {
                Ok(_) => Done::Reported,
                // A fence is told by whoever knows more than that a report came late.
                Err(error) => {
                    tracing::debug!(attempt = %id, %error, "a report was lost; the next one tells it all");
                    Done::Reported
                }
            }
        });
    }
}
