//! Following a run: where it is while it waits, what it writes, how it ended.
//!
//! Two kinds of streams are read side by side, the run's changes and the logs; each mends itself when
//! its controller dies and goes on where it was. Which log is read is decided from the run's newest
//! state alone, so it does not matter in which order the two tell of the same thing.

mod closing;
mod interrupt;
mod news;
mod pen;
mod plan;
mod progress;
mod streams;

use std::collections::HashMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use ocelot_core::id::RunId;
use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::wire;
use tokio_stream::StreamMap;

pub(crate) use closing::{ending, phases, rejection};
pub(crate) use interrupt::Interrupt;
pub(crate) use pen::{Pen, PenKind};
pub(crate) use streams::{LogEvent, LogReader};

use crate::client::{Client, Repeat};
use crate::error::{Error, Result};
use crate::show::{Output, StatusLine, Tone};
use crate::words;

use interrupt::Asked;
use news::News;
use plan::{Choice, Logs};
use streams::{WatchEvent, watch};

/// What is shown of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Its log, and where it is while there is none.
    Log(PenKind),
    /// Where it is, until it ends.
    Outcome,
}

/// After the run's end, how long its log may be silent before its end is given up.
const LOG_END_WAIT: Duration = Duration::from_secs(30);
/// Who waits longer than this in the queue is told why.
const WHY_AFTER: Duration = Duration::from_secs(1);
const WHY_EVERY: Duration = Duration::from_secs(5);

type LogStreams = StreamMap<u32, futures_util::stream::BoxStream<'static, LogEvent>>;

/// A run that is being followed.
struct Follow<'a> {
    client: &'a Client,
    output: &'a Output,
    show: Show,
    run: wire::RunSummary,
    tasks: Vec<wire::Task>,
    logs: Logs,
    streams: LogStreams,
    pen: Pen,
    line: StatusLine,
    /// Only this task's log.
    only: Option<u32>,
    /// Something was written since the run, or its newest attempt, began.
    spoke: bool,
    broken: bool,
    why: HashMap<String, String>,
    news: News,
}

/// How following ended.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) run: wire::RunSummary,
    pub(crate) tasks: Vec<wire::Task>,
}

/// Follows a run to its end, or until the person has seen enough.
pub(crate) async fn follow(
    client: &Client,
    output: &Output,
    run: wire::RunSummary,
    show: Show,
    only: Option<u32>,
    interrupt: Interrupt<'_>,
) -> Result<Followed> {
    let id = run_id(&run)?;
    let kind = match show {
        Show::Log(kind) => kind,
        Show::Outcome => PenKind::Lines { timestamps: false },
    };
    // A run whose plan is not made yet may come to have any number of tasks.
    let several = run.tasks_total != 1 && only.is_none();
    let mut follow = Follow {
        client,
        output,
        show,
        logs: Logs::default(),
        streams: StreamMap::new(),
        pen: Pen::new(kind, output.style, run.tasks_total > 1 && only.is_none()),
        line: StatusLine::new(output.notes, output.width),
        only,
        spoke: false,
        broken: false,
        why: HashMap::new(),
        news: News::default(),
        tasks: Vec::new(),
        run,
    };
    if let Show::Log(_) = show
        && (!several || only.is_some())
    {
        // Before anything is known of its attempts, so that its first byte waits for nothing.
        follow.open(id, only.unwrap_or(0), Choice { attempt: 0, offset: 0, live: true });
    }
    follow.until_over(id, interrupt).await?;
    Ok(Followed { run: std::mem::take(&mut follow.run), tasks: std::mem::take(&mut follow.tasks) })
}

fn run_id(run: &wire::RunSummary) -> Result<RunId> {
    let bytes = <[u8; 16]>::try_from(&run.id[..]).map_err(|_| Error::Refused {
        what: "the controller told of a run without an id".to_owned(),
        hint: None,
        whose: crate::error::Whose::Ours,
    })?;
    Ok(RunId::from_bytes(bytes))
}

impl Follow<'_> {
    async fn until_over(&mut self, id: RunId, interrupt: Interrupt<'_>) -> Result<()> {
        let mut watch = watch(self.client.clone(), id).boxed();
        let mut requests = interrupt.listen();
        let mut watching = true;
        let mut asking: Option<BoxFuture<'_, Result<wire::WhyResponse>>> = None;
        let begun = SystemClock.monotonic();
        let mut ask_at = begun + WHY_AFTER;
        let mut silent_since = begun;
        loop {
            if !watching && self.is_over() {
                return self.tell_news();
            }
            let tick = SystemClock.sleep(Duration::from_secs(1));
            tokio::select! {
                asked = requests.next() => match asked {
                    Asked::Stop => return Err(self.stopped()),
                    Asked::Leave => return Err(Error::Stopped),
                    Asked::Cancel { force } => {
                        self.end_line()?;
                        self.output.note(interrupt::cancel(self.client, id, force).await);
                    }
                },
                event = watch.next(), if watching => match event {
                    Some(WatchEvent::Changed(change)) => self.changed(id, *change)?,
                    Some(WatchEvent::Broken) => self.broken = true,
                    Some(WatchEvent::Failed(error)) => return Err(*error),
                    None => {
                        watching = false;
                        silent_since = SystemClock.monotonic();
                    }
                },
                Some((task, event)) = self.streams.next(), if !self.streams.is_empty() => {
                    if matches!(event, LogEvent::Piece(_)) {
                        silent_since = SystemClock.monotonic();
                    }
                    self.log(id, task, event)?;
                }
                answer = async { asking.as_mut().expect("polled only if there is one").await },
                    if asking.is_some() =>
                {
                    asking = None;
                    ask_at = SystemClock.monotonic() + WHY_EVERY;
                    self.why = answer.map(reasons).unwrap_or_default();
                }
                () = tick => self.choose(id)?,
            }
            let now = SystemClock.monotonic();
            if asking.is_none() && now >= ask_at && self.is_queued() {
                asking = Some(Box::pin(ask(self.client.clone(), id)));
            }
            if !watching && now - silent_since > LOG_END_WAIT {
                self.line.clear();
                self.output.note("the end of its log did not come; look again: ocelot getlogs");
                return Ok(());
            }
            self.say(begun);
        }
    }

    /// Tells where it is, as long as the run itself says nothing.
    fn say(&mut self, begun: tokio::time::Instant) {
        if self.broken {
            self.line.say("the controller does not answer; going on as soon as one does");
        } else if self.may_say() && words::run_outcome(&self.run).is_none() {
            let elapsed = SystemClock.monotonic() - begun;
            self.line.say_since(&progress::where_it_is(&self.run, &self.tasks, &self.why), elapsed);
        }
    }

    /// One task's log speaks for itself. Of a graph it is always told how far it is, below the log, as
    /// long as that stands on whole lines and can be drawn over.
    fn may_say(&self) -> bool {
        let beside = self.is_graph() && self.line.can_be_wiped() && self.pen.is_at_line_start();
        !self.spoke || beside
    }

    /// Several tasks are shown, to a person.
    fn is_graph(&self) -> bool {
        matches!(self.show, Show::Log(PenKind::Lines { .. })) && self.only.is_none() && self.tasks.len() > 1
    }

    /// Tells which tasks began and which have ended.
    fn tell_news(&mut self) -> Result<()> {
        if !self.is_graph() {
            return Ok(());
        }
        let now_us = i64::try_from(SystemClock.wall().0).unwrap_or(i64::MAX);
        let lines: Vec<String> = self
            .tasks
            .iter()
            .filter_map(|task| {
                let shown = self.logs.is_over(std::iter::once(task));
                self.news.of(task, shown, now_us, self.output.notes)
            })
            .collect();
        for line in lines {
            self.end_line()?;
            self.output.note(line);
        }
        Ok(())
    }

    fn is_queued(&self) -> bool {
        self.tasks.iter().any(|task| words::task_state(task) == words::StateWord::Queued)
    }

    fn is_over(&self) -> bool {
        match self.show {
            Show::Outcome => true,
            Show::Log(_) => self.logs.is_over(self.wanted_tasks()),
        }
    }

    fn wanted_tasks(&self) -> impl Iterator<Item = &wire::Task> {
        self.tasks.iter().filter(|task| self.only.is_none_or(|only| plan::index(task) == only))
    }

    fn changed(&mut self, id: RunId, change: wire::WatchRunResponse) -> Result<()> {
        self.broken = false;
        if let Some(run) = change.run {
            self.run = run;
        }
        for task in change.changed {
            match self.tasks.iter_mut().find(|known| known.id == task.id) {
                Some(known) => *known = task,
                None => self.tasks.push(task),
            }
        }
        self.tasks.sort_by_key(plan::index);
        if self.only.is_none() && self.tasks.len() > 1 {
            self.pen.tell_apart(self.tasks.iter().map(|task| task.name.as_str()));
        }
        self.choose(id)?;
        self.tell_news()
    }

    /// Opens the logs that should be read now, and lets go of those that should not.
    fn choose(&mut self, id: RunId) -> Result<()> {
        if self.show == Show::Outcome {
            return Ok(());
        }
        let tasks: Vec<wire::Task> = self.wanted_tasks().cloned().collect();
        for task in &tasks {
            let index = plan::index(task);
            if let Some(choice) = self.logs.choose(task) {
                if choice.offset == 0 && choice.attempt > 1 {
                    self.tell_attempt(task, choice.attempt)?;
                }
                self.open(id, index, choice);
            } else if self.logs.is_needless(task) {
                self.streams.remove(&index);
            }
        }
        Ok(())
    }

    fn open(&mut self, id: RunId, task: u32, choice: Choice) {
        self.logs.opened(task, choice);
        let reader =
            LogReader { id, task, attempt: choice.attempt, offset: choice.offset, follow: choice.live };
        self.streams.insert(task, reader.read(self.client.clone()).boxed());
    }

    fn log(&mut self, id: RunId, task: u32, event: LogEvent) -> Result<()> {
        let asked_too_early = matches!(event, LogEvent::NotYet);
        // Who asked too early asks again when the run says more, or a second later.
        let at_its_end = match &event {
            LogEvent::Piece(piece) => piece.complete,
            LogEvent::Over => true,
            LogEvent::NotYet | LogEvent::Broken | LogEvent::Failed(_) => false,
        };
        match event {
            LogEvent::Piece(piece) => {
                self.broken = false;
                let name = self.tasks.iter().find(|known| plan::index(known) == task);
                let name = name.map(|task| task.name.as_str()).unwrap_or_default();
                let mut written = Vec::with_capacity(piece.frames.len());
                self.pen.write(task, name, &piece, &mut written)?;
                if !written.is_empty() {
                    self.spoke = true;
                    self.line.clear();
                    self.output.bytes(&written)?;
                }
                self.logs.read(task, &piece);
            }
            LogEvent::NotYet | LogEvent::Over => {
                self.streams.remove(&task);
                self.logs.closed(task, !asked_too_early);
            }
            LogEvent::Broken => self.broken = true,
            LogEvent::Failed(error) => return Err(*error),
        }
        if at_its_end {
            self.choose(id)?;
            self.tell_news()?;
        }
        Ok(())
    }

    /// Says that another attempt begins, and what became of the one before.
    fn tell_attempt(&mut self, task: &wire::Task, number: u32) -> Result<()> {
        // An offer that nobody took was no attempt to anybody.
        let taken = |attempt: &&wire::Attempt| attempt.number < number && attempt.acknowledged_unix_us > 0;
        let Some(before) = task.attempts.iter().rev().find(taken) else { return Ok(()) };
        let what = match &before.outcome {
            Some(outcome) => format!("attempt {} {}", before.number, words::outcome(outcome)),
            None => "the attempt before did not come to its end".to_owned(),
        };
        self.end_line()?;
        let text = format!("{what}; attempt {number} begins");
        self.output.note(self.output.notes.paint(Tone::Warn, crate::show::plain(&text)));
        self.spoke = false;
        Ok(())
    }

    /// Ends a line that the log left open.
    fn end_line(&mut self) -> Result<()> {
        self.line.clear();
        let mut end = Vec::new();
        self.pen.end_line(&mut end);
        self.output.bytes(&end)
    }

    /// Says how to go on and how to end the run that goes on without us.
    fn stopped(&mut self) -> Error {
        let name = words::run_name(&self.run);
        drop(self.end_line());
        self.output.note(format_args!(
            "\nstopped following; {name} goes on\n  see it again: ocelot getlogs -f {name}\n  end it:       ocelot cancel {name}"
        ));
        Error::Stopped
    }
}

impl Drop for Follow<'_> {
    fn drop(&mut self) {
        // What comes after the log begins on a line of its own.
        drop(self.end_line());
    }
}

async fn ask(client: Client, id: RunId) -> Result<wire::WhyResponse> {
    let request = wire::WhyRequest { run: Some(by_id(id)) };
    client.call("ask why", Repeat::Never, request, async |api, request| api.runs().why(request).await).await
}

fn reasons(answer: wire::WhyResponse) -> HashMap<String, String> {
    answer.tasks.into_iter().map(|reason| (reason.name, reason.summary)).collect()
}

/// Names a run by its id.
pub(crate) fn by_id(id: RunId) -> wire::RunReference {
    wire::RunReference { reference: Some(wire::run_reference::Reference::Id(id.as_bytes().to_vec().into())) }
}
