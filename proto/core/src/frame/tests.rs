use proptest::prelude::*;

use super::*;

/// A frame that owns its data, as a test holds it.
#[derive(Debug, Clone, PartialEq)]
struct Owned {
    unix_us: u64,
    stage: Option<u16>,
    kind: u8,
    data: Vec<u8>,
    number: i32,
}

impl Owned {
    fn frame(&self) -> Frame<'_> {
        let text = std::str::from_utf8(&self.data).unwrap_or("text");
        let body = match self.kind {
            0 => Body::Stdout(&self.data),
            1 => Body::Stderr(&self.data),
            2 => Body::Platform(&self.data),
            3 => Body::Begin(text),
            4 => Body::End(Exit::Code(self.number)),
            5 => Body::End(Exit::Signal(self.number)),
            6 => Body::AddMask(&self.data),
            7 => Body::Mark(Mark::Loss, text),
            8 => Body::Mark(Mark::Cut, text),
            _ => Body::Mark(Mark::Lost, text),
        };
        Frame { unix_us: self.unix_us, stage: self.stage, body }
    }
}

fn owned() -> impl Strategy<Value = Owned> {
    let stage = proptest::option::of(0..u16::MAX);
    let data = proptest::collection::vec(any::<u8>(), 1..300);
    (any::<u64>(), stage, 0u8..10, data, any::<i32>())
        .prop_map(|(unix_us, stage, kind, data, number)| Owned { unix_us, stage, kind, data, number })
}

fn encoded(frames: &[Owned]) -> Vec<u8> {
    let mut log = Vec::new();
    for frame in frames {
        encode(&frame.frame(), &mut log);
    }
    log
}

/// Decodes `log` in pieces of the given sizes, taken in turn.
fn decode_in_pieces(log: &[u8], sizes: &[usize]) -> Result<Vec<String>, Corrupt> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    let mut rest = log;
    for size in sizes.iter().cycle() {
        let (piece, tail) = rest.split_at((*size).min(rest.len()));
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame()? {
            frames.push(format!("{frame:?}"));
        }
        rest = tail;
        if rest.is_empty() {
            break;
        }
    }
    Ok(frames)
}

proptest! {
    #[test]
    fn frames_survive_any_split_of_their_bytes(
        frames in proptest::collection::vec(owned(), 0..12),
        sizes in proptest::collection::vec(1usize..97, 1..8),
    ) {
        let expected: Vec<_> = frames.iter().map(|frame| format!("{:?}", frame.frame())).collect();
        prop_assert_eq!(decode_in_pieces(&encoded(&frames), &sizes), Ok(expected));
    }

    #[test]
    fn frames_that_are_not_copied_are_the_same_at_the_same_places(
        frames in proptest::collection::vec(owned(), 0..12),
        sizes in proptest::collection::vec(prop_oneof![1usize..97, 300usize..2_000], 1..8),
        damage in proptest::option::of((any::<prop::sample::Index>(), 0u8..8)),
    ) {
        let mut log = encoded(&frames);
        if let Some((place, bit)) = damage.filter(|_| !log.is_empty()) {
            let place = place.index(log.len());
            log[place] ^= 1 << bit;
        }
        let (mut copying, mut passing) = (Decoder::at(Offset(7)), Decoder::at(Offset(7)));
        let mut rest = &log[..];
        for size in sizes.iter().cycle() {
            let (piece, tail) = rest.split_at((*size).min(rest.len()));
            let (mut copied, mut passed) = (Vec::new(), Vec::new());
            copying.push(piece);
            let ended = loop {
                let at = copying.offset();
                match copying.next_frame() {
                    Ok(Some(frame)) => copied.push(format!("{at} {frame:?}")),
                    Ok(None) => break Ok(()),
                    Err(corrupt) => break Err(corrupt),
                }
            };
            let passed_all = passing.each(piece, |frame, at| passed.push(format!("{at} {frame:?}")));
            prop_assert_eq!((&passed_all, passed, passing.offset()), (&ended, copied, copying.offset()));
            rest = tail;
            if rest.is_empty() || ended.is_err() {
                break;
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_never_taken_for_a_frame(frame in owned(), place in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut log = encoded(std::slice::from_ref(&frame));
        let place = place.index(log.len());
        log[place] ^= 1 << bit;
        let decoded = decode_in_pieces(&log, &[log.len()]);
        prop_assert!(matches!(decoded.as_deref(), Err(_) | Ok([])), "{decoded:?}");
    }

    #[test]
    fn a_torn_tail_is_cut_at_the_last_whole_frame(
        frames in proptest::collection::vec(owned(), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let log = encoded(&frames);
        let cut = cut.index(log.len());
        let ends = (0..=frames.len()).map(|count| encoded(&frames[..count]).len());
        let expected = ends.filter(|end| *end <= cut).max();
        prop_assert_eq!(Some(whole_frames(&log[..cut])), expected);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_but_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next_frame() {}
        prop_assert!(whole_frames(&bytes) <= bytes.len());
    }
}

#[test]
fn long_output_becomes_several_frames_of_the_same_moment() {
    let data = vec![b'x'; DATA_BYTES_MAX * 2 + 1];
    let mut log = Vec::new();
    encode(&Frame { unix_us: 7, stage: Some(1), body: Body::Stdout(&data) }, &mut log);
    assert_eq!(log.len(), data.len() + 3 * HEADER_BYTES);
    let mut decoder = Decoder::default();
    decoder.push(&log);
    let mut lengths = Vec::new();
    while let Some(Frame { unix_us: 7, stage: Some(1), body: Body::Stdout(piece) }) =
        decoder.next_frame().unwrap()
    {
        lengths.push(piece.len());
    }
    assert_eq!(lengths, [DATA_BYTES_MAX, DATA_BYTES_MAX, 1]);
}

#[test]
fn a_reader_goes_on_from_the_offset_it_reached() {
    let mut log = Vec::new();
    encode(&Frame { unix_us: 1, stage: None, body: Body::Platform(b"one") }, &mut log);
    encode(&Frame { unix_us: 2, stage: None, body: Body::Platform(b"two") }, &mut log);
    let mut first = Decoder::default();
    first.push(&log);
    first.next_frame().unwrap();
    let reached = first.offset();
    let mut second = Decoder::at(reached);
    second.push(&log[reached.0 as usize..]);
    let frame = second.next_frame().unwrap().unwrap();
    assert_eq!(frame.body, Body::Platform(b"two"));
    assert_eq!(second.offset(), Offset(log.len() as u64));
}

#[test]
fn a_damaged_frame_is_named_by_its_place() {
    let mut log = Vec::new();
    encode(&Frame { unix_us: 1, stage: None, body: Body::Platform(b"one") }, &mut log);
    let place = log.len();
    log.extend_from_slice(&u32::MAX.to_le_bytes());
    let mut decoder = Decoder::at(Offset(100));
    decoder.push(&log);
    decoder.next_frame().unwrap();
    let error = decoder.next_frame().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the log is damaged at byte {}: a frame cannot be that long", 100 + place)
    );
}

#[test]
fn the_format_on_disk_is_what_it_was() {
    let mut log = Vec::new();
    encode(&Frame { unix_us: 0x0102, stage: Some(3), body: Body::Stderr(b"hi") }, &mut log);
    encode(&Frame { unix_us: 0x0102, stage: None, body: Body::End(Exit::Signal(9)) }, &mut log);
    let hex: String = log.iter().map(|byte| format!("{byte:02x}")).collect();
    let stderr = ["02000000", "4de6e94f", "02", "00", "0300", "0201000000000000", "6869"].concat();
    let end = ["04000000", "015f84bb", "06", "00", "ffff", "0201000000000000", "09000000"].concat();
    assert_eq!(hex, stderr + &end);
}

#[test]
fn services_are_told_from_stages_by_their_index() {
    let frame = |stage| Frame { unix_us: 1, stage, body: Body::Stdout(b"x") };
    assert_eq!(frame(service_stage(0)).service(), Some(0));
    assert_eq!(frame(service_stage(3)).service(), Some(3));
    assert_eq!(frame(Some(4_095)).service(), None);
    assert_eq!(frame(None).service(), None);
    // The last index is how no stage is written.
    assert_eq!(service_stage(0x7ffe), Some(0xfffe));
    assert_eq!(service_stage(0x7fff), None);
    assert_eq!(service_stage(0x8000), None);
    let mut log = Vec::new();
    encode(&frame(service_stage(0x7ffe)), &mut log);
    let mut decoder = Decoder::default();
    decoder.push(&log);
    assert_eq!(decoder.next_frame().unwrap().unwrap().service(), Some(0x7ffe));
}
