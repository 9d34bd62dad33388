//! Writing frames.

use super::{Body, DATA_BYTES_MAX, Exit, Frame, Mark, NO_STAGE, Tag};

/// Appends the frame to `log`. Output longer than one frame's data becomes several frames; a name
/// or reason longer than that is cut.
pub fn encode(frame: &Frame<'_>, log: &mut Vec<u8>) {
    let code;
    let (tag, data): (Tag, &[u8]) = match frame.body {
        Body::Stdout(data) => return encode_output(frame, Tag::Stdout, data, log),
        Body::Stderr(data) => return encode_output(frame, Tag::Stderr, data, log),
        Body::Platform(data) => return encode_output(frame, Tag::Platform, data, log),
        Body::Begin(name) => (Tag::Begin, text(name)),
        Body::End(Exit::Code(number)) => {
            code = number.to_le_bytes();
            (Tag::EndCode, &code)
        }
        Body::End(Exit::Signal(number)) => {
            code = number.to_le_bytes();
            (Tag::EndSignal, &code)
        }
        Body::AddMask(value) => (Tag::AddMask, &value[..value.len().min(DATA_BYTES_MAX)]),
        Body::Mark(mark, why) => (mark_tag(mark), text(why)),
    };
    encode_one(frame, tag, data, log);
}

fn encode_output(frame: &Frame<'_>, tag: Tag, data: &[u8], log: &mut Vec<u8>) {
    for piece in data.chunks(DATA_BYTES_MAX) {
        encode_one(frame, tag, piece, log);
    }
}

fn encode_one(frame: &Frame<'_>, tag: Tag, data: &[u8], log: &mut Vec<u8>) {
    debug_assert!(data.len() <= DATA_BYTES_MAX);
    let length = (data.len() as u32).to_le_bytes();
    let start = log.len();
    log.extend_from_slice(&length);
    log.extend_from_slice(&[0; 4]);
    log.extend_from_slice(&[tag as u8, 0]);
    log.extend_from_slice(&frame.stage.unwrap_or(NO_STAGE).to_le_bytes());
    log.extend_from_slice(&frame.unix_us.to_le_bytes());
    log.extend_from_slice(data);
    let checksum = checksum(length, &log[start + 8..]);
    log[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// Returns the checksum of a frame: its length, then everything after the checksum.
pub(super) fn checksum(length: [u8; 4], rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), rest)
}

fn mark_tag(mark: Mark) -> Tag {
    match mark {
        Mark::Loss => Tag::MarkLoss,
        Mark::Cut => Tag::MarkCut,
        Mark::Lost => Tag::MarkLost,
    }
}

fn text(text: &str) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(DATA_BYTES_MAX)]
}
