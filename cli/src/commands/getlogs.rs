//! `ocelot getlogs`: what a run wrote, and with `--follow` what it goes on to write.

use std::collections::VecDeque;

use futures_util::StreamExt;
use ocelot_core::id::RunId;
use ocelot_proto::wire;

use super::Session;
use crate::args::Getlogs;
use crate::client::Client;
use crate::error::{Error, Result, Whose};
use crate::follow::{Interrupt, LogEvent, LogReader, Pen, PenKind, Show, ending, follow, rejection};
use crate::show::{Output, plain};
use crate::words;

pub(crate) async fn run(getlogs: &Getlogs, session: &Session) -> Result<()> {
    let client = session.client()?;
    let output = &session.output;
    let wire::GetRunResponse { run, tasks } = session.find(&client, getlogs.run.run.as_deref()).await?;
    let run = run.unwrap_or_default();
    let only = getlogs.task.as_deref().map(|task| chosen(task, &run, &tasks)).transpose()?;
    let kind = match (output.is_json(), getlogs.raw) {
        (true, _) => PenKind::Json,
        (_, true) => PenKind::Raw,
        (false, false) => PenKind::Lines { timestamps: getlogs.timestamps },
    };
    let name = plain(&words::run_name(&run));
    if getlogs.follow && getlogs.attempt.is_none() {
        let followed = follow(&client, output, run, Show::Log(kind), only, Interrupt::Stops).await?;
        output.note(ending(&followed.run, &followed.tasks, output));
        return Ok(());
    }
    let mut page =
        Page { output, pen: Pen::new(kind, output.style, tasks.len() > 1 && only.is_none()), tail: None };
    if tasks.len() > 1 && only.is_none() {
        page.pen.tell_apart(tasks.iter().map(|task| task.name.as_str()));
    }
    page.tail = getlogs.tail.map(|lines| Tail { lines, kept: VecDeque::new(), part: Vec::new() });
    let mut read = 0;
    let attempts_wanted = getlogs.attempt;
    for task in tasks.iter().filter(|task| only.is_none_or(|only| index(task) == only)) {
        if task.attempts.is_empty() {
            continue;
        }
        let attempt = attempts_wanted.unwrap_or_else(|| newest(task));
        let reader =
            LogReader { id: id_of(&run)?, task: index(task), attempt, offset: 0, follow: getlogs.follow };
        page.read(&client, reader, &task.name).await?;
        read += 1;
    }
    page.finish()?;
    if words::run_outcome(&run).is_none() && !getlogs.follow {
        output.note(format_args!("{name} goes on; follow it: ocelot getlogs -f {name}"));
    } else if read == 0 {
        let says = words::run_outcome(&run).map(words::outcome).unwrap_or_default();
        output.note(format_args!("{name} wrote nothing: {}{}", plain(&says), rejection(&run, output.notes)));
    }
    Ok(())
}

fn index(task: &wire::Task) -> u32 {
    task.id.as_ref().map_or(0, |id| id.index)
}

/// The newest attempt that somebody took.
fn newest(task: &wire::Task) -> u32 {
    let taken = task.attempts.iter().filter(|attempt| attempt.acknowledged_unix_us > 0);
    taken.map(|attempt| attempt.number).max().unwrap_or(0)
}

fn id_of(run: &wire::RunSummary) -> Result<RunId> {
    <[u8; 16]>::try_from(&run.id[..]).map(RunId::from_bytes).map_err(|_| Error::Refused {
        what: "the controller told of a run without an id".to_owned(),
        hint: None,
        whose: Whose::Ours,
    })
}

/// Finds a task by its name or its place.
fn chosen(task: &str, run: &wire::RunSummary, tasks: &[wire::Task]) -> Result<u32> {
    let found = tasks.iter().find(|known| known.name == task);
    let found = found.or_else(|| tasks.iter().find(|known| task.parse() == Ok(index(known))));
    found.map(index).ok_or_else(|| {
        let names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
        Error::usage(
            format!("{} has no task {}", plain(&words::run_name(run)), plain(task)),
            format!("its tasks: {}", plain(&names.join(", "))),
        )
    })
}

/// Where a log goes that is read once.
struct Page<'a> {
    output: &'a Output,
    pen: Pen,
    tail: Option<Tail>,
}

/// The last lines, and no more than them.
struct Tail {
    lines: usize,
    kept: VecDeque<Vec<u8>>,
    part: Vec<u8>,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.part.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.keep();
            }
        }
    }

    fn keep(&mut self) {
        self.kept.push_back(std::mem::take(&mut self.part));
        if self.kept.len() > self.lines {
            self.kept.pop_front();
        }
    }
}

impl Page<'_> {
    async fn read(&mut self, client: &Client, reader: LogReader, name: &str) -> Result<()> {
        let mut events = std::pin::pin!(reader.read(client.clone()));
        while let Some(event) = events.next().await {
            match event {
                LogEvent::Piece(piece) => {
                    let mut written = Vec::with_capacity(piece.frames.len());
                    self.pen.write(reader.task, name, &piece, &mut written)?;
                    self.write(&written)?;
                }
                LogEvent::Broken => {
                    self.output.note("the controller does not answer; going on as soon as one does")
                }
                LogEvent::NotYet | LogEvent::Over => {}
                LogEvent::Failed(error) => return Err(error.with_hint("see its attempts: ocelot status")),
            }
        }
        let mut end = Vec::new();
        self.pen.end_line(&mut end);
        self.write(&end)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.tail {
            Some(tail) => {
                tail.push(bytes);
                Ok(())
            }
            None => self.output.bytes(bytes),
        }
    }

    fn finish(&mut self) -> Result<()> {
        let Some(tail) = &mut self.tail else { return Ok(()) };
        if !tail.part.is_empty() {
            tail.keep();
        }
        let last: Vec<u8> = tail.kept.drain(..).flatten().collect();
        self.output.bytes(&last)
    }
}
