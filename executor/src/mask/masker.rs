//! Makes a log of a capture: frame in, frame out, secrets hidden.
//!
//! A frame of output becomes at most one step of output of the same moment: what is decided once it
//! is read. What it left undecided goes out with the frame that decides it, or in front of the
//! stage's end.

use std::collections::BTreeMap;
use std::fmt;

use ocelot_core::frame::{Body, Corrupt, DATA_BYTES_MAX, Decoder, Frame, Mark, Offset, encode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::automaton::{Automaton, Node};
use super::set::{MaskSet, Refused, SetDigest, Short};
use super::stream::{Run, Stream};

/// Checkpoints of another version are refused.
const VERSION: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Stdout,
    Stderr,
    Platform,
}

type StreamKey = (Option<u16>, Source);

/// Where a masker is, for another process to go on: the next raw byte, the next masked byte, and what
/// is undecided between them. Holds no byte of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    version: u32,
    /// The first byte of the capture that was not taken.
    pub raw: Offset,
    /// Bytes of the log made of what was taken.
    pub masked: Offset,
    /// The set with everything that was added.
    set: SetDigest,
    /// Places in the capture of the values that were added.
    pub added: Vec<Offset>,
    unix_us: u64,
    streams: Vec<StreamState>,
}

/// One unfinished stream: the undecided bytes are the first `held` ones of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StreamState {
    stage: Option<u16>,
    source: Source,
    pattern: u32,
    held: u32,
    hidden: Vec<(u32, u32)>,
    inside: bool,
}

/// Why a masker cannot go on from a checkpoint. The rest of the capture must not be shown then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RestoreError {
    #[error("the checkpoint has version {0}, this program knows {VERSION}")]
    Version(u32),
    #[error("the mask set is not the one that the log was begun with")]
    OtherSet,
    #[error("the checkpoint names a place that no pattern has")]
    Corrupt,
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Takes the raw bytes of one capture in order, and makes the bytes of the log.
pub struct Masker {
    decoder: Decoder,
    state: State,
}

struct State {
    set: MaskSet,
    automaton: Automaton,
    added: Vec<Offset>,
    streams: BTreeMap<StreamKey, Stream>,
    /// Of the last frame: what the end of the capture is dated with.
    unix_us: u64,
    masked: Offset,
    /// Empty between two frames; kept for its room.
    decided: Vec<u8>,
}

impl Masker {
    /// Begins with the first byte of a capture.
    pub fn new(set: MaskSet) -> Result<Self, Refused> {
        let automaton = set.automaton()?;
        Ok(Self { decoder: Decoder::default(), state: State::new(set, automaton) })
    }

    /// Goes on from a checkpoint, with the set the attempt began with and what was added to it since.
    pub fn restore<V: AsRef<[u8]>>(
        mut set: MaskSet,
        added: &[V],
        checkpoint: &Checkpoint,
    ) -> Result<Self, RestoreError> {
        if checkpoint.version != VERSION {
            return Err(RestoreError::Version(checkpoint.version));
        }
        for value in added {
            set.add(value.as_ref(), Short::Refuse)?;
        }
        if set.digest() != checkpoint.set || added.len() != checkpoint.added.len() {
            return Err(RestoreError::OtherSet);
        }
        let automaton = set.automaton()?;
        let mut state = State::new(set, automaton);
        for kept in &checkpoint.streams {
            let stream = state.restored(kept).ok_or(RestoreError::Corrupt)?;
            state.streams.insert((kept.stage, kept.source), stream);
        }
        state.added.clone_from(&checkpoint.added);
        state.unix_us = checkpoint.unix_us;
        state.masked = checkpoint.masked;
        Ok(Self { decoder: Decoder::at(checkpoint.raw), state })
    }

    /// Takes the next raw bytes, cut anywhere, and appends the masked frames to `log`.
    pub fn push(&mut self, raw: &[u8], log: &mut Vec<u8>) -> Result<(), Corrupt> {
        let before = log.len();
        let taken = self.decoder.each(raw, |frame, at| self.state.take(frame, at, log));
        self.state.masked = self.state.masked.advance(log.len() - before);
        taken
    }

    /// Takes the next raw bytes of a service's capture, which has a decoder of its own, and appends the
    /// masked frames to `log` under the service's index. Where that is, only a checkpoint tells.
    pub fn push_service(
        &mut self,
        stage: u16,
        decoder: &mut Decoder,
        raw: &[u8],
        log: &mut Vec<u8>,
    ) -> Result<(), Corrupt> {
        let (before, at, moment) = (log.len(), self.decoder.offset(), self.state.unix_us);
        let taken = decoder.each(raw, |frame, _| {
            self.state.take(&Frame { stage: Some(stage), ..*frame }, at, log);
        });
        // The end of the task's own capture is dated by itself.
        self.state.unix_us = moment;
        self.state.masked = self.state.masked.advance(log.len() - before);
        taken
    }

    /// Appends a remark about a service that is not in its capture.
    pub fn mark_service(&mut self, stage: u16, unix_us: u64, (mark, why): (Mark, &str), log: &mut Vec<u8>) {
        let before = log.len();
        self.state.finish_stage(Some(stage), unix_us, log);
        let why = self.state.text(why);
        encode(&Frame { unix_us, stage: Some(stage), body: Body::Mark(mark, &why) }, log);
        self.state.masked = self.state.masked.advance(log.len() - before);
    }

    /// Appends a line that is not in the capture, as a frame of the platform's. What is undecided in the
    /// capture stays so.
    pub fn tell(&mut self, unix_us: u64, text: &str, log: &mut Vec<u8>) {
        let before = log.len();
        let mut line = self.state.text(text);
        line.push('\n');
        encode(&Frame { unix_us, stage: None, body: Body::Platform(line.as_bytes()) }, log);
        self.state.masked = self.state.masked.advance(log.len() - before);
    }

    /// Masks a text that goes elsewhere than into the log.
    pub fn text(&self, text: &str) -> String {
        self.state.text(text)
    }

    /// Returns everything that is masked now, in the order in which it was added.
    pub fn set(&self) -> &MaskSet {
        &self.state.set
    }

    /// Returns how many of these the capture added.
    pub fn added(&self) -> usize {
        self.state.added.len()
    }

    /// Returns the place of the first raw byte that was not taken.
    pub fn raw(&self) -> Offset {
        self.decoder.offset()
    }

    /// Decides what is left: the capture is at its end, and no more comes. Repeating adds nothing.
    pub fn finish(&mut self, log: &mut Vec<u8>) {
        let before = log.len();
        let stages: Vec<_> = self.state.streams.keys().map(|(stage, _)| *stage).collect();
        for stage in stages {
            self.state.finish_stage(stage, self.state.unix_us, log);
        }
        self.state.masked = self.state.masked.advance(log.len() - before);
    }

    /// Returns where another process would go on: after the last whole frame.
    pub fn checkpoint(&self) -> Checkpoint {
        let state = &self.state;
        let unfinished = state.streams.iter().filter(|(_, stream)| !stream.is_fresh());
        Checkpoint {
            version: VERSION,
            raw: self.decoder.offset(),
            masked: state.masked,
            set: state.set.digest(),
            added: state.added.clone(),
            unix_us: state.unix_us,
            streams: unfinished.map(|(key, stream)| state.describe(*key, stream)).collect(),
        }
    }
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { decoder, state } = self;
        write!(f, "Masker(raw {}, masked {}, {:?})", decoder.offset(), state.masked, state.automaton)
    }
}

impl State {
    fn new(set: MaskSet, automaton: Automaton) -> Self {
        Self {
            set,
            automaton,
            added: Vec::new(),
            streams: BTreeMap::new(),
            unix_us: 0,
            masked: Offset(0),
            decided: Vec::new(),
        }
    }

    fn restored(&self, kept: &StreamState) -> Option<Stream> {
        let held = self.automaton.prefix(kept.pattern, kept.held as usize)?;
        let runs = kept.hidden.iter();
        let hidden = runs.map(|(start, end)| Run { start: *start as usize, end: *end as usize }).collect();
        Stream::restored(&self.automaton, held, hidden, kept.inside)
    }

    fn take(&mut self, frame: &Frame<'_>, at: Offset, log: &mut Vec<u8>) {
        self.unix_us = frame.unix_us;
        match frame.body {
            Body::Stdout(bytes) => self.output(frame, Source::Stdout, bytes, log),
            Body::Stderr(bytes) => self.output(frame, Source::Stderr, bytes, log),
            Body::Platform(bytes) => self.output(frame, Source::Platform, bytes, log),
            Body::Begin(name) => {
                let name = self.text(name);
                encode(&Frame { body: Body::Begin(&name), ..*frame }, log);
            }
            Body::End(_) => {
                self.finish_stage(frame.stage, frame.unix_us, log);
                encode(frame, log);
            }
            Body::AddMask(value) => self.extend(frame, value, at, log),
            Body::Mark(mark, why) => {
                let why = self.text(why);
                encode(&Frame { body: Body::Mark(mark, &why), ..*frame }, log);
            }
        }
    }

    fn output(&mut self, frame: &Frame<'_>, source: Source, bytes: &[u8], log: &mut Vec<u8>) {
        let mut decided = std::mem::take(&mut self.decided);
        let stream = self.streams.entry((frame.stage, source)).or_default();
        // A line of ours is whole in itself, unless it was too long for one frame.
        if source == Source::Platform && bytes.len() < DATA_BYTES_MAX {
            stream.push(&self.automaton, bytes, &mut decided);
            stream.finish(&mut decided);
            write(frame.stage, frame.unix_us, source, &decided, log);
        } else {
            let shown = stream.pass(&self.automaton, bytes, &mut decided);
            write(frame.stage, frame.unix_us, source, shown, log);
        }
        decided.clear();
        self.decided = decided;
    }

    fn finish_stage(&mut self, stage: Option<u16>, unix_us: u64, log: &mut Vec<u8>) {
        for source in [Source::Stdout, Source::Stderr, Source::Platform] {
            self.finish_stream((stage, source), unix_us, log);
        }
    }

    fn finish_stream(&mut self, key: StreamKey, unix_us: u64, log: &mut Vec<u8>) {
        let Some(mut stream) = self.streams.remove(&key) else { return };
        let mut rest = Vec::new();
        stream.finish(&mut rest);
        write(key.0, unix_us, key.1, &rest, log);
    }

    /// Masks a text that stands for itself.
    fn text(&self, text: &str) -> String {
        let (mut stream, mut masked) = (Stream::default(), Vec::new());
        stream.push(&self.automaton, text.as_bytes(), &mut masked);
        stream.finish(&mut masked);
        String::from_utf8_lossy(&masked).into_owned()
    }

    fn extend(&mut self, frame: &Frame<'_>, value: &[u8], at: Offset, log: &mut Vec<u8>) {
        let automaton = match self.set.add(value, Short::Refuse) {
            Ok(false) => return,
            Ok(true) => self.set.automaton().inspect_err(|_| self.set.remove_last()),
            Err(refused) => Err(refused),
        };
        match automaton {
            Ok(automaton) => {
                self.automaton = automaton;
                self.added.push(at);
                for stream in self.streams.values_mut() {
                    stream.extend(&self.automaton);
                }
            }
            Err(refused) => {
                let line = format!("mask: {refused}; it stays visible\n");
                encode(&Frame { body: Body::Platform(line.as_bytes()), ..*frame }, log);
            }
        }
    }

    fn describe(&self, (stage, source): StreamKey, stream: &Stream) -> StreamState {
        let (node, hidden, inside): (Node, &[Run], bool) = stream.state();
        StreamState {
            stage,
            source,
            pattern: self.automaton.pattern_of(node),
            held: self.automaton.depth(node) as u32,
            hidden: hidden.iter().map(|run| (run.start as u32, run.end as u32)).collect(),
            inside,
        }
    }
}

fn write(stage: Option<u16>, unix_us: u64, source: Source, bytes: &[u8], log: &mut Vec<u8>) {
    let body = match source {
        Source::Stdout => Body::Stdout(bytes),
        Source::Stderr => Body::Stderr(bytes),
        Source::Platform => Body::Platform(bytes),
    };
    encode(&Frame { unix_us, stage, body }, log);
}
