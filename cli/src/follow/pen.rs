//! Writes a log for people, for scripts, or byte by byte.
//!
//! Pure: frames go in, bytes come out. What a job wrote is made harmless on the way, unless it was
//! asked for raw; nothing is held back that could be shown.

use std::collections::{BTreeMap, HashMap};

use ocelot_core::frame::{Body, Decoder, Exit, Frame, Mark, Offset, service_stage};
use ocelot_proto::wire;
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use crate::error::{Error, Result, Whose};
use crate::show::{Neutral, Sgr, Style, Tone, duration, plain, precise};

/// In which form a log is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PenKind {
    /// For people.
    Lines { timestamps: bool },
    /// The bytes that the job wrote, and nothing else.
    Raw,
    /// One JSON document for each frame.
    Json,
}

/// One frame for scripts.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    task: &'a str,
    attempt: u32,
    time: Option<String>,
    /// `stdout` `stderr` `platform` `begin` `end` `loss` `cut` `lost`.
    kind: &'static str,
    stage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
}

/// A longer name pushes its lines aside, instead of all others.
const COLUMN_MAX: usize = 24;

#[derive(Debug)]
pub(crate) struct Pen {
    kind: PenKind,
    style: Style,
    /// Each line says which task it is of, in so many columns; none where there is one task only.
    column: Option<usize>,
    tasks: HashMap<u32, Page>,
    /// Whose line is not finished.
    open: Option<Voice>,
}

/// Who writes a line: a task's stages, or a service beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Voice {
    task: u32,
    service: Option<u16>,
}

/// What is known of one task's log.
#[derive(Debug)]
struct Page {
    task: u32,
    attempt: u32,
    name: String,
    decoder: Decoder,
    stages: Texts,
    services: BTreeMap<u16, Texts>,
    /// By the index that its frames carry, for stages and services alike.
    names: HashMap<u16, (String, u64)>,
}

/// What a voice wrote that is not shown yet.
#[derive(Debug)]
struct Texts {
    stdout: Neutral,
    stderr: Neutral,
}

impl Texts {
    fn new(style: Style) -> Self {
        let sgr = if style.coloured { Sgr::Keep } else { Sgr::Drop };
        Self { stdout: Neutral::new(sgr), stderr: Neutral::new(sgr) }
    }

    fn finish(&mut self) -> Vec<u8> {
        let mut held = Vec::new();
        self.stdout.finish(&mut held);
        self.stderr.finish(&mut held);
        held
    }
}

impl Page {
    fn new(task: u32, name: &str, attempt: u32, offset: u64, style: Style) -> Self {
        Self {
            task,
            attempt,
            name: plain(name),
            decoder: Decoder::at(Offset(offset)),
            stages: Texts::new(style),
            services: BTreeMap::new(),
            names: HashMap::new(),
        }
    }

    fn texts(&mut self, service: Option<u16>, style: Style) -> &mut Texts {
        match service {
            None => &mut self.stages,
            Some(service) => self.services.entry(service).or_insert_with(|| Texts::new(style)),
        }
    }

    fn name_of(&self, stage: Option<u16>) -> Option<&str> {
        stage.and_then(|stage| self.names.get(&stage)).map(|(name, _)| name.as_str())
    }
}

impl Pen {
    pub(crate) fn new(kind: PenKind, style: Style, prefixed: bool) -> Self {
        Self { kind, style, column: prefixed.then_some(0), tasks: HashMap::new(), open: None }
    }

    /// Says which task each line is of, from now on, with the names of these in one column.
    pub(crate) fn tell_apart<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let widest = names.map(|name| plain(name).width()).max().unwrap_or(0);
        self.column = Some(widest.min(COLUMN_MAX));
    }

    /// Tells whether nothing stands on the current line.
    pub(crate) fn is_at_line_start(&self) -> bool {
        self.open.is_none()
    }

    /// Appends what a piece of a task's log looks like.
    pub(crate) fn write(
        &mut self,
        task: u32,
        name: &str,
        piece: &wire::ReadLogResponse,
        into: &mut Vec<u8>,
    ) -> Result<()> {
        let style = self.style;
        let fresh = || Page::new(task, name, piece.attempt, piece.offset, style);
        // It is taken out for the time of writing, so that the pen can be used with it.
        let mut page = self.tasks.remove(&task).unwrap_or_else(fresh);
        if page.attempt != piece.attempt {
            page = fresh();
        }
        if page.name.is_empty() {
            page.name = plain(name);
        }
        page.decoder.push(&piece.frames);
        let written = self.frames(task, &mut page, into);
        if piece.complete {
            self.settle(task, &mut page, into);
            if let Some(loss) = &piece.loss {
                let at = format!("the log is not whole: {}", loss.reason);
                self.remark(&page, Tone::Warn, "!", &at, into);
            }
        }
        self.tasks.insert(task, page);
        written
    }

    fn frames(&mut self, task: u32, page: &mut Page, into: &mut Vec<u8>) -> Result<()> {
        let mut decoder = std::mem::take(&mut page.decoder);
        let ended = loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => self.frame(task, page, &frame, into)?,
                Ok(None) => break Ok(()),
                Err(corrupt) => {
                    let what = format!("cannot show the log: {corrupt}");
                    break Err(Error::Refused { what, hint: None, whose: Whose::Ours });
                }
            }
        };
        page.decoder = decoder;
        ended
    }

    fn frame(&mut self, task: u32, page: &mut Page, frame: &Frame<'_>, into: &mut Vec<u8>) -> Result<()> {
        if let (Body::Begin(name), Some(stage)) = (&frame.body, frame.stage) {
            page.names.insert(stage, (plain(name), frame.unix_us));
        }
        match self.kind {
            PenKind::Raw => {
                if let (Body::Stdout(bytes) | Body::Stderr(bytes), None) = (frame.body, frame.service()) {
                    into.extend_from_slice(bytes);
                }
                Ok(())
            }
            PenKind::Json => entry(page, frame, into),
            PenKind::Lines { timestamps } => {
                self.line(task, page, frame, timestamps, into);
                Ok(())
            }
        }
    }

    fn line(&mut self, task: u32, page: &mut Page, frame: &Frame<'_>, timestamps: bool, into: &mut Vec<u8>) {
        let time = timestamps.then(|| i64::try_from(frame.unix_us).ok().and_then(precise)).flatten();
        let voice = Voice { task, service: frame.service() };
        match frame.body {
            Body::Stdout(bytes) => {
                let mut shown = Vec::with_capacity(bytes.len());
                page.texts(voice.service, self.style).stdout.push(bytes, &mut shown);
                self.text(voice, page, time.as_deref(), &shown, into);
            }
            Body::Stderr(bytes) => {
                let mut shown = Vec::with_capacity(bytes.len());
                page.texts(voice.service, self.style).stderr.push(bytes, &mut shown);
                self.text(voice, page, time.as_deref(), &shown, into);
            }
            // The platform says in words of its own what becomes of a service.
            Body::Begin(_) | Body::End(_) if voice.service.is_some() => {}
            Body::Platform(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                self.settle(task, page, into);
                for line in text.lines() {
                    self.remark(page, Tone::Dim, "·", line, into);
                }
            }
            Body::Begin(name) => {
                self.settle(task, page, into);
                self.remark(page, Tone::Strong, "▸", name, into);
            }
            Body::End(exit) => {
                self.settle(task, page, into);
                let says = match exit {
                    Exit::Code(0) => return,
                    Exit::Code(code) => format!("exited with {code}"),
                    Exit::Signal(signal) => format!("was ended by signal {signal}"),
                };
                let (name, began) =
                    frame.stage.and_then(|stage| page.names.get(&stage)).cloned().unwrap_or_default();
                let took = i64::try_from(frame.unix_us.saturating_sub(began)).unwrap_or(0);
                let text = format!("{name} {says} after {}", duration(took));
                self.remark(page, Tone::Bad, "▸", &text, into);
            }
            Body::AddMask(_) => {}
            Body::Mark(mark, why) => {
                self.settle(task, page, into);
                let what = match mark {
                    Mark::Loss => "bytes are missing here",
                    Mark::Cut => "the log was cut here",
                    Mark::Lost => "the attempt was lost here",
                };
                self.remark(page, Tone::Warn, "!", &format!("{what}: {why}"), into);
            }
        }
    }

    /// Appends the job's own text, with what stands before each line.
    fn text(&mut self, voice: Voice, page: &Page, time: Option<&str>, text: &[u8], into: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        if self.open.is_some_and(|open| open != voice) {
            into.push(b'\n');
            self.open = None;
        }
        if self.column.is_none() && time.is_none() && voice.service.is_none() {
            into.extend_from_slice(text);
        } else {
            for line in text.split_inclusive(|byte| *byte == b'\n') {
                if self.open.is_none() {
                    self.margin(page, time, into);
                    if let Some(service) = voice.service {
                        self.service_margin(page, service, into);
                    }
                }
                into.extend_from_slice(line);
                self.open = (!line.ends_with(b"\n")).then_some(voice);
            }
        }
        self.open = (!text.ends_with(b"\n")).then_some(voice);
    }

    fn service_margin(&self, page: &Page, service: u16, into: &mut Vec<u8>) {
        // A reader that began behind the service's first words knows no name.
        let number = format!("service {}", service.saturating_add(1));
        let name = page.name_of(service_stage(service.into())).unwrap_or(&number);
        into.extend_from_slice(self.style.paint(Tone::Dim, format!("{name} | ")).to_string().as_bytes());
    }

    fn margin(&self, page: &Page, time: Option<&str>, into: &mut Vec<u8>) {
        if let Some(time) = time {
            into.extend_from_slice(self.style.paint(Tone::Dim, format!("{time} ")).to_string().as_bytes());
        }
        if let Some(column) = self.column {
            let pad = column.saturating_sub(page.name.width());
            let name = self.style.paint(Tone::Hue(page.task), format!("{}{:pad$} | ", page.name, ""));
            into.extend_from_slice(name.to_string().as_bytes());
        }
    }

    /// Appends a line of ours.
    fn remark(&mut self, page: &Page, tone: Tone, sign: &str, text: &str, into: &mut Vec<u8>) {
        if !matches!(self.kind, PenKind::Lines { .. }) {
            return;
        }
        self.end_line(into);
        self.margin(page, None, into);
        let line = self.style.paint(tone, format!("{sign} {}", plain(text)));
        into.extend_from_slice(format!("{line}\n").as_bytes());
    }

    /// Shows what a task's text held back, because something else follows.
    fn settle(&mut self, task: u32, page: &mut Page, into: &mut Vec<u8>) {
        let mut held = vec![(Voice { task, service: None }, page.stages.finish())];
        let services = page.services.iter_mut();
        held.extend(
            services.map(|(service, texts)| (Voice { task, service: Some(*service) }, texts.finish())),
        );
        if matches!(self.kind, PenKind::Lines { .. }) {
            for (voice, held) in held {
                self.text(voice, page, None, &held, into);
            }
        }
    }

    /// Ends a line that was left open.
    pub(crate) fn end_line(&mut self, into: &mut Vec<u8>) {
        if self.open.take().is_some() {
            into.push(b'\n');
        }
    }
}

fn entry(page: &Page, frame: &Frame<'_>, into: &mut Vec<u8>) -> Result<()> {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (kind, text, exit, signal) = match frame.body {
        Body::Stdout(bytes) => ("stdout", lossy(bytes), None, None),
        Body::Stderr(bytes) => ("stderr", lossy(bytes), None, None),
        Body::Platform(bytes) => ("platform", lossy(bytes), None, None),
        Body::Begin(name) => ("begin", name.to_owned(), None, None),
        Body::End(Exit::Code(code)) => ("end", String::new(), Some(code), None),
        Body::End(Exit::Signal(signal)) => ("end", String::new(), None, Some(signal)),
        Body::AddMask(_) => return Ok(()),
        Body::Mark(Mark::Loss, why) => ("loss", why.to_owned(), None, None),
        Body::Mark(Mark::Cut, why) => ("cut", why.to_owned(), None, None),
        Body::Mark(Mark::Lost, why) => ("lost", why.to_owned(), None, None),
    };
    let entry = Entry {
        task: &page.name,
        attempt: page.attempt,
        time: i64::try_from(frame.unix_us).ok().and_then(precise),
        kind,
        stage: page.name_of(frame.stage.filter(|_| frame.service().is_none())),
        service: page.name_of(frame.stage.filter(|_| frame.service().is_some())),
        text,
        exit,
        signal,
    };
    let json = serde_json::to_string(&entry).map_err(|error| Error::Output(error.into()))?;
    into.extend_from_slice(json.as_bytes());
    into.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use ocelot_core::frame::encode;

    use super::*;

    fn piece(frames: &[Frame<'_>]) -> wire::ReadLogResponse {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| encode(frame, &mut bytes));
        wire::ReadLogResponse { frames: bytes.into(), attempt: 1, ..wire::ReadLogResponse::default() }
    }

    fn frame(body: Body<'_>) -> Frame<'_> {
        Frame { unix_us: 1_795_238_400_250_000, stage: Some(0), body }
    }

    fn shown(pen: &mut Pen, task: u32, name: &str, frames: &[Frame<'_>]) -> String {
        let mut bytes = Vec::new();
        let mut whole = piece(frames);
        // A piece of its own stands where the last one ended, as far as the pen is concerned.
        whole.offset = 0;
        pen.write(task, name, &whole, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    const PLAIN: Style = Style { coloured: false };
    const LINES: PenKind = PenKind::Lines { timestamps: false };

    #[test]
    fn a_log_has_heads_of_stages_and_what_the_platform_says() {
        let mut pen = Pen::new(LINES, PLAIN, false);
        insta::assert_snapshot!(shown(&mut pen, 0, "main", &[
            frame(Body::Platform(b"pulling busybox:1")),
            frame(Body::Begin("build")),
            frame(Body::Stdout(b"one\ntwo")),
            frame(Body::Stderr(b" and half\nno newline")),
            frame(Body::End(Exit::Code(3))),
            frame(Body::Mark(Mark::Lost, "executor gone")),
        ]), @r"
        · pulling busybox:1
        ▸ build
        one
        two and half
        no newline
        ▸ build exited with 3 after 0µs
        ! the attempt was lost here: executor gone
        ");
    }

    #[test]
    fn lines_of_several_tasks_are_never_mixed() {
        let mut pen = Pen::new(LINES, PLAIN, true);
        let mut all = shown(&mut pen, 0, "api", &[frame(Body::Stdout(b"a1\na2 begins"))]);
        all += &shown(&mut pen, 1, "web", &[frame(Body::Stdout(b"w1\n"))]);
        all += &shown(&mut pen, 0, "api", &[frame(Body::Stdout(b"goes on\n"))]);
        insta::assert_snapshot!(all, @r"
        api | a1
        api | a2 begins
        web | w1
        api | goes on
        ");
    }

    fn of_service(body: Body<'_>) -> Frame<'_> {
        Frame { stage: service_stage(0), ..frame(body) }
    }

    #[test]
    fn what_a_service_says_carries_its_name_and_mixes_with_no_line_of_a_stage() {
        let frames = [
            of_service(Body::Begin("postgres")),
            of_service(Body::Stderr(b"listening\nhalf a")),
            frame(Body::Begin("test")),
            frame(Body::Stdout(b"begun ")),
            of_service(Body::Stdout(b" line\n")),
            frame(Body::Stdout(b"and done\n")),
            of_service(Body::End(Exit::Signal(15))),
        ];
        let mut pen = Pen::new(LINES, PLAIN, false);
        insta::assert_snapshot!(shown(&mut pen, 0, "main", &frames), @r"
        postgres | listening
        postgres | half a
        ▸ test
        begun 
        postgres |  line
        and done
        ");
        let mut pen = Pen::new(PenKind::Raw, PLAIN, false);
        assert_eq!(shown(&mut pen, 0, "main", &frames), "begun and done\n");
        let mut pen = Pen::new(PenKind::Json, PLAIN, false);
        let json = shown(&mut pen, 0, "main", &frames[..2]);
        assert!(json.contains(r#""stage":null,"service":"postgres","text":"listening"#), "{json}");
    }

    #[test]
    fn names_of_tasks_stand_in_one_column() {
        let mut pen = Pen::new(LINES, PLAIN, false);
        pen.tell_apart(["api", "a[of=a very long name indeed]", "lint"].into_iter());
        let mut all = shown(&mut pen, 0, "api", &[frame(Body::Stdout(b"one\n"))]);
        all += &shown(&mut pen, 1, "a[of=a very long name indeed]", &[frame(Body::Stdout(b"two\n"))]);
        insta::assert_snapshot!(all, @r"
        api                      | one
        a[of=a very long name indeed] | two
        ");
    }

    #[test]
    fn raw_is_what_the_job_wrote_and_nothing_else() {
        let mut pen = Pen::new(PenKind::Raw, PLAIN, true);
        let frames =
            [frame(Body::Begin("x")), frame(Body::Stdout(b"\x1b[2J\xff")), frame(Body::Stderr(b"e"))];
        let mut bytes = Vec::new();
        pen.write(0, "a", &piece(&frames), &mut bytes).unwrap();
        assert_eq!(bytes, b"\x1b[2J\xffe");
    }

    #[test]
    fn a_hostile_name_or_remark_stays_on_its_line() {
        let mut pen = Pen::new(LINES, PLAIN, true);
        let all = shown(
            &mut pen,
            0,
            "a\x1b[2J",
            &[
                frame(Body::Begin("x\ny\x1b]0;t\x07")),
                frame(Body::Platform(b"\x1b[H")),
                frame(Body::Stdout(b"\x1b[31mred\x1b[2J\n")),
            ],
        );
        insta::assert_snapshot!(all, @r"
        a^[[2J | ▸ x^Jy^[]0;t^G
        a^[[2J | · ^[[H
        a^[[2J | red^[[2J
        ");
    }

    #[test]
    fn each_line_can_say_when_it_was_written() {
        let mut pen = Pen::new(PenKind::Lines { timestamps: true }, PLAIN, false);
        let all = shown(&mut pen, 0, "a", &[frame(Body::Stdout(b"one\ntwo"))]);
        insta::assert_snapshot!(all, @r"
        2026-11-21T05:20:00.250000Z one
        2026-11-21T05:20:00.250000Z two
        ");
    }
}
