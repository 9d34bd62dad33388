//! From the frames of a log to what readers are given: text, or an entry for each frame.
//!
//! Pure. What a job wrote is hostile: only its colours pass, unless it is wanted raw. A letter whose
//! bytes are cut by a frame's end waits for the rest, and a place in the log remembers what waits, so
//! that reading on elsewhere gives the same text without a seam.

use std::fmt;
use std::str::FromStr;

use ocelot_core::escape::{Neutral, SGR_BYTES_MAX, Sgr, plain};
use ocelot_core::frame::{Body, Decoder, Exit, Frame, Mark, Offset};

use crate::error::{Error, Kind};

use super::shape::{LogKind, LogLine, precise};

/// What readers are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// What the job wrote.
    Text,
    /// An entry for each frame, one on each line.
    Lines,
}

/// A place in one attempt's log, as the id of an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// 0 is the newest.
    pub(super) attempt: u32,
    pub(super) offset: u64,
    /// What waits for its rest, of both streams.
    held: [Vec<u8>; 2],
}

/// Writes one log.
#[derive(Debug)]
pub(super) struct Scribe {
    task: String,
    stages: Vec<String>,
    decoder: Decoder,
    attempt: u32,
    /// None where everything passes as it is.
    voices: Option<[Neutral; 2]>,
}

impl Place {
    pub(super) fn new(attempt: u32, offset: u64) -> Self {
        Self { attempt, offset, held: Default::default() }
    }
}

impl Scribe {
    /// Begins at a place; `stages` are named by their index.
    pub(super) fn new(task: String, stages: Vec<String>, place: &Place, raw: bool) -> Self {
        let voices = place.held.each_ref().map(|held| Neutral::after(Sgr::Keep, held));
        Self {
            task,
            stages,
            decoder: Decoder::at(Offset(place.offset)),
            attempt: place.attempt,
            voices: (!raw).then_some(voices),
        }
    }

    /// Returns what of whole frames is text.
    pub(super) fn text(&mut self, frames: &[u8]) -> Result<Vec<u8>, Error> {
        let mut written = Vec::with_capacity(frames.len());
        let Self { decoder, voices, .. } = self;
        let told = decoder.each(frames, |frame, _| match (frame.body, voices.as_mut()) {
            (Body::Stdout(bytes), Some([stdout, _])) => stdout.push(bytes, &mut written),
            (Body::Stderr(bytes), Some([_, stderr])) => stderr.push(bytes, &mut written),
            (Body::Stdout(bytes) | Body::Stderr(bytes), None) => written.extend_from_slice(bytes),
            (Body::Mark(_, why), Some(_)) => {
                // What is missing is said wherever the log is shown.
                written.extend_from_slice(format!("\n[ocelot: {}]\n", plain(why)).as_bytes());
            }
            (Body::Platform(_) | Body::Begin(_) | Body::End(_) | Body::AddMask(_) | Body::Mark(..), _) => {}
        });
        told.map_err(damaged)?;
        Ok(written)
    }

    /// Returns an entry for each of whole frames, with the place behind it.
    pub(super) fn lines(&mut self, attempt: u32, frames: &[u8]) -> Result<Vec<(LogLine, Place)>, Error> {
        self.attempt = attempt;
        self.decoder.push(frames);
        let mut lines = Vec::new();
        loop {
            let Self { task, stages, decoder, voices, .. } = self;
            let Some(frame) = decoder.next_frame().map_err(damaged)? else { return Ok(lines) };
            let line = line((task, attempt, stages), voices.as_mut(), &frame);
            let next = self.decoder.offset().0;
            if let Some(line) = line {
                lines.push((LogLine { next, ..line }, self.place()));
            }
        }
    }

    /// Returns what waited for a rest that does not come.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        for voice in self.voices.iter_mut().flatten() {
            voice.finish(&mut rest);
        }
        rest
    }

    /// Returns the same as entries.
    pub(super) fn rest_lines(&mut self) -> Vec<LogLine> {
        let next = self.decoder.offset().0;
        let kinds = [LogKind::Stdout, LogKind::Stderr];
        let mut lines = Vec::new();
        for (voice, kind) in self.voices.iter_mut().flatten().zip(kinds) {
            let mut rest = Vec::new();
            if !voice.held().is_empty() {
                voice.finish(&mut rest);
            }
            if !rest.is_empty() {
                lines.push(LogLine {
                    task: self.task.clone(),
                    attempt: self.attempt,
                    time: None,
                    kind,
                    stage: None,
                    text: lossy(&rest),
                    exit: None,
                    signal: None,
                    next,
                });
            }
        }
        lines
    }

    fn place(&self) -> Place {
        let held = self.voices.as_ref().map(|voices| voices.each_ref().map(|voice| voice.held().to_vec()));
        Place { attempt: self.attempt, offset: self.decoder.offset().0, held: held.unwrap_or_default() }
    }
}

/// Returns the entry of a frame; none for one that says nothing yet.
fn line(
    (task, attempt, stages): (&str, u32, &[String]),
    voices: Option<&mut [Neutral; 2]>,
    frame: &Frame<'_>,
) -> Option<LogLine> {
    let raw = voices.is_none();
    let said = |index: usize, bytes: &[u8]| match voices {
        Some(voices) => {
            let mut shown = Vec::with_capacity(bytes.len());
            voices[index].push(bytes, &mut shown);
            lossy(&shown)
        }
        None => lossy(bytes),
    };
    let ours = |text: &str| if raw { text.to_owned() } else { plain(text) };
    let (kind, text, exit, signal) = match frame.body {
        Body::Stdout(bytes) => (LogKind::Stdout, said(0, bytes), None, None),
        Body::Stderr(bytes) => (LogKind::Stderr, said(1, bytes), None, None),
        Body::Platform(bytes) => (LogKind::Platform, ours(&lossy(bytes)), None, None),
        Body::Begin(name) => (LogKind::Begin, ours(name), None, None),
        Body::End(Exit::Code(code)) => (LogKind::End, String::new(), Some(code), None),
        Body::End(Exit::Signal(signal)) => (LogKind::End, String::new(), None, Some(signal)),
        Body::AddMask(_) => return None,
        Body::Mark(Mark::Loss, why) => (LogKind::Loss, ours(why), None, None),
        Body::Mark(Mark::Cut, why) => (LogKind::Cut, ours(why), None, None),
        Body::Mark(Mark::Lost, why) => (LogKind::Lost, ours(why), None, None),
    };
    if text.is_empty() && matches!(kind, LogKind::Stdout | LogKind::Stderr) {
        return None;
    }
    Some(LogLine {
        task: task.to_owned(),
        attempt,
        time: precise(frame.unix_us),
        kind,
        stage: frame.stage.and_then(|stage| stages.get(usize::from(stage)).cloned()),
        text,
        exit,
        signal,
        next: 0,
    })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn damaged(corrupt: ocelot_core::frame::Corrupt) -> Error {
    Error::from_cause(Kind::Internal, corrupt)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.attempt, self.offset)?;
        for (sign, held) in ['o', 'e'].into_iter().zip(&self.held) {
            if !held.is_empty() {
                write!(f, ":{sign}")?;
                held.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
            }
        }
        Ok(())
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::new(Kind::Invalid, format!("Last-Event-ID is not one of ours: {text:?}"));
        let mut parts = text.split(':');
        let mut number = || parts.next().filter(|part| !part.starts_with('+')).ok_or_else(wrong);
        let attempt = number()?.parse().map_err(|_| wrong())?;
        let offset = number()?.parse().map_err(|_| wrong())?;
        let mut place = Self { attempt, offset, ..Self::default() };
        for part in parts {
            let (index, digits) = match part.split_at_checked(1) {
                Some(("o", digits)) => (0, digits),
                Some(("e", digits)) => (1, digits),
                Some(_) | None => return Err(wrong()),
            };
            place.held[index] = unhex(digits).ok_or_else(wrong)?;
        }
        Ok(place)
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    if digits.len() > 2 * SGR_BYTES_MAX || !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use ocelot_core::frame::encode;

    use super::*;

    fn frames(bodies: &[Body<'_>]) -> Vec<Vec<u8>> {
        let frame = |body: &Body<'_>| {
            let mut bytes = Vec::new();
            let frame = Frame { unix_us: 1_795_238_400_250_000, stage: Some(0), body: *body };
            encode(&frame, &mut bytes);
            bytes
        };
        bodies.iter().map(frame).collect()
    }

    fn scribe(place: &Place, raw: bool) -> Scribe {
        Scribe::new("main".into(), vec!["test".into()], place, raw)
    }

    const HOSTILE: [Body<'static>; 6] = [
        Body::Begin("test\x1b[2J"),
        Body::Stdout(b"gr\xc3"),
        Body::Stderr(b"\x1b[31"),
        Body::Stdout(b"\xbc\xc3\x9fe\x1b]0;title\x07\n"),
        Body::Stderr(b"mred\x1b[0m\xe2\x80\xae\n"),
        Body::Mark(Mark::Lost, "executor gone"),
    ];

    #[test]
    fn text_has_colours_and_no_other_order_to_a_terminal() {
        let all = frames(&HOSTILE).concat();
        let text = String::from_utf8(scribe(&Place::default(), false).text(&all).unwrap()).unwrap();
        assert_eq!(text, "grüße^[]0;title^G\n\x1b[31mred\x1b[0m<U+202E>\n\n[ocelot: executor gone]\n");
        let raw = scribe(&Place::default(), true).text(&all).unwrap();
        assert_eq!(raw, b"gr\xc3\x1b[31\xbc\xc3\x9fe\x1b]0;title\x07\nmred\x1b[0m\xe2\x80\xae\n");
    }

    #[test]
    fn reading_on_from_any_event_gives_the_same_text() {
        let pieces = frames(&HOSTILE);
        let lines = scribe(&Place::default(), false).lines(1, &pieces.concat()).unwrap();
        let whole: Vec<_> = lines.iter().map(|(line, _)| line.text.clone()).collect();
        assert_eq!(
            whole,
            ["test^[[2J", "gr", "üße^[]0;title^G\n", "\x1b[31mred\x1b[0m<U+202E>\n", "executor gone"]
        );
        for (count, (_, place)) in lines.iter().enumerate() {
            let place: Place = place.to_string().parse().unwrap();
            let bytes = pieces.concat();
            let left = &bytes[usize::try_from(place.offset).unwrap()..];
            let rest = scribe(&place, false).lines(1, left).unwrap();
            let rest: Vec<_> = rest.into_iter().map(|(line, _)| line.text).collect();
            assert_eq!(rest, whole[count + 1..], "{place}");
        }
    }

    #[test]
    fn what_waits_for_a_rest_is_shown_when_none_comes() {
        let mut scribe = scribe(&Place::default(), false);
        assert_eq!(scribe.lines(1, &frames(&[Body::Stdout(b"\xe2\x82")]).concat()).unwrap(), []);
        let rest: Vec<_> = scribe.rest_lines().into_iter().map(|line| line.text).collect();
        assert_eq!(rest, ["\\xe2\\x82"]);
    }

    #[test]
    fn an_id_that_is_not_ours_is_refused() {
        for text in [
            "",
            "7",
            "1:x",
            "-1:2",
            "+1:2",
            "1:2:z00",
            "1:2:o0",
            "1:2:oxx",
            "1:2:",
            &format!("1:2:o{}", "00".repeat(65)),
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
        let place: Place = "3:4096:oe282:e1b5b".parse().unwrap();
        assert_eq!((place.to_string().as_str(), place.offset), ("3:4096:oe282:e1b5b", 4096));
    }
}
