use std::collections::BTreeMap;
use std::io::Cursor;

use ocelot_core::frame::{Body, DATA_BYTES_MAX, Decoder, Exit, Frame, Mark, Offset, encode};
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::automaton::Automaton;
use super::stream::Stream;
use super::variants::variants;
use super::*;

fn automaton(patterns: &[Vec<u8>]) -> Automaton {
    Automaton::new(patterns.iter().cloned().map(Zeroizing::new).collect()).unwrap()
}

/// Masks `text` given in the pieces that end at `cuts`, and checks what is held after each.
fn masked(automaton: &Automaton, text: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut stream, mut out, mut from) = (Stream::default(), Vec::new(), 0);
    for cut in cuts.iter().copied().chain([text.len()]) {
        stream.push(automaton, &text[from..cut], &mut out);
        from = cut;
    }
    stream.finish(&mut out);
    out
}

/// The same by looking for every pattern at every place of the whole text.
fn oracle<P: AsRef<[u8]>>(patterns: &[P], text: &[u8]) -> Vec<u8> {
    let mut hidden = vec![false; text.len()];
    for pattern in patterns {
        mark(pattern.as_ref(), text, 0, &mut hidden);
    }
    blacked(text, &hidden)
}

fn mark(pattern: &[u8], text: &[u8], from: usize, hidden: &mut [bool]) {
    for start in from..text.len() {
        if !pattern.is_empty() && text[start..].starts_with(pattern) {
            hidden[start..start + pattern.len()].fill(true);
        }
    }
}

fn blacked(text: &[u8], hidden: &[bool]) -> Vec<u8> {
    let mut out = Vec::new();
    for (place, byte) in text.iter().enumerate() {
        match hidden[place] {
            true if place > 0 && hidden[place - 1] => {}
            true => out.extend_from_slice(REPLACEMENT),
            false => out.push(*byte),
        }
    }
    out
}

/// Length of the longest end of `text` that begins a pattern.
fn undecided<P: AsRef<[u8]>>(patterns: &[P], text: &[u8]) -> usize {
    let begins = |length: &usize| {
        let end = &text[text.len() - length..];
        patterns.iter().any(|pattern| pattern.as_ref().starts_with(end))
    };
    (0..=text.len()).rev().find(begins).unwrap_or(0)
}

fn words(alphabet: &'static [u8], length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(proptest::sample::select(alphabet), length)
}

fn cuts_of(text: &[u8], cuts: &[prop::sample::Index]) -> Vec<usize> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    cuts.sort_unstable();
    cuts
}

#[test]
fn secrets_that_overlap_themselves_are_hidden_in_every_text_and_every_split() {
    let sets: [&[&str]; 6] =
        [&["aab"], &["ababc"], &["aaaa"], &["aab", "abab"], &["abc", "b"], &["ab", "bc", "abcab", "ca"]];
    for set in sets {
        let patterns: Vec<_> = set.iter().map(|pattern| pattern.as_bytes().to_vec()).collect();
        let automaton = automaton(&patterns);
        for number in 0..3usize.pow(7) {
            let text: Vec<_> = (0..7).map(|place| b"abc"[number / 3usize.pow(place) % 3]).collect();
            let expected = oracle(&patterns, &text);
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let out = masked(&automaton, &text, &[first, second]);
                    assert_eq!(out, expected, "{set:?} in {:?}", String::from_utf8_lossy(&text));
                }
            }
        }
    }
}

#[test]
fn the_bypass_of_chunked_maskers_is_closed() {
    for (secret, pieces) in [("ababc", ["abab", "abc"]), ("aab", ["aa", "ab"]), ("aaaa", ["aaa", "aa"])] {
        let automaton = automaton(&[secret.as_bytes().to_vec()]);
        let text = pieces.concat();
        let out = masked(&automaton, text.as_bytes(), &[pieces[0].len()]);
        assert!(!String::from_utf8(out.clone()).unwrap().contains(secret));
        assert_eq!(out, oracle(&[secret], text.as_bytes()));
    }
}

proptest! {
    #[test]
    fn what_is_hidden_and_what_is_held_is_what_the_whole_text_says(
        patterns in proptest::collection::vec(words(b"ab", 1..12), 1..6),
        text in words(b"abz", 0..200),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let automaton = automaton(&patterns);
        let cuts = cuts_of(&text, &cuts);
        prop_assert_eq!(masked(&automaton, &text, &cuts), oracle(&patterns, &text));
        let (mut stream, mut out) = (Stream::default(), Vec::new());
        stream.push(&automaton, &text, &mut out);
        prop_assert_eq!(automaton.depth(stream.state().0), undecided(&patterns, &text));
    }

    #[test]
    fn passing_over_output_misses_nothing(
        patterns in proptest::collection::vec(words(b"abcdefgh", 6..24), 1..8),
        filler in words(b"abcdefghijklmnop ", 1..40),
        planted in proptest::collection::vec((0usize..600, any::<prop::sample::Index>(), 1usize..24), 0..20),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut text: Vec<u8> = filler.iter().copied().cycle().take(700).collect();
        for (place, which, length) in planted {
            let pattern = which.get(&patterns);
            let part = &pattern[..length.min(pattern.len())];
            text[place..place + part.len()].copy_from_slice(part);
        }
        let automaton = automaton(&patterns);
        prop_assert!(automaton.skip().is_some());
        let cuts = cuts_of(&text, &cuts);
        prop_assert_eq!(masked(&automaton, &text, &cuts), oracle(&patterns, &text));
    }
}

/// Pseudo-random bytes: the corpus is the same in every run.
fn numbers(seed: u64) -> impl FnMut() -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize
    }
}

fn secret(number: u64) -> Vec<u8> {
    let mut next = numbers(number);
    let alphabet: &[u8] = match number % 5 {
        0 => b"ab",
        1 => b"abcdefghijklmnopqrstuvwxyz0123456789",
        2 => b"aZ9+/=\"'\\ $%<&\n",
        3 => b"xxxxxxy",
        _ => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/\n",
    };
    let length = 8 + next() % 14;
    let letter = |_| alphabet[next() % alphabet.len()];
    let body: Vec<_> = (0..length).map(letter).collect();
    [b"s".as_slice(), &body, b"e"].concat()
}

#[test]
fn a_thousand_secrets_leak_in_no_spelling_and_no_split() {
    let mut cases = 0_u64;
    for number in 0..1_000 {
        let value = secret(number);
        let patterns = variants(&value);
        let automaton = Automaton::new(patterns.clone()).unwrap();
        let spelling = &patterns[(number as usize * 7) % patterns.len()];
        let text = [b"<".as_slice(), spelling, b">"].concat();
        let expected = oracle(&patterns, &text);
        assert!(!expected.windows(spelling.len()).any(|window| window == spelling.as_slice()));
        for first in 0..=text.len() {
            // Every split in two; every split in three of each third secret.
            let last = if number % 3 == 0 { text.len() } else { first };
            for second in first..=last {
                assert_eq!(masked(&automaton, &text, &[first, second]), expected);
                cases += 1;
            }
        }
    }
    assert!(cases > 100_000, "{cases} cases are too few to mean anything");
}

#[derive(Debug, Clone)]
struct Event {
    stage: Option<u16>,
    kind: u8,
    bytes: Vec<u8>,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let stage = prop_oneof![Just(None), (0u16..2).prop_map(Some)];
    let piece = prop_oneof![
        words(b"abz", 0..14),
        proptest::sample::select(vec![
            "abababab",
            "aaaaaaaab",
            "abab",
            "zz-added-1",
            "added-2-zz",
            "YWJhYmFi"
        ])
        .prop_map(|text: &str| text.as_bytes().to_vec()),
    ];
    let event = (stage, 0u8..24, piece).prop_map(|(stage, kind, bytes)| Event { stage, kind, bytes });
    proptest::collection::vec(event, 0..40)
}

fn capture(events: &[Event]) -> Vec<u8> {
    let mut raw = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let text = std::str::from_utf8(&event.bytes).unwrap();
        let body = match event.kind {
            0..=9 => Body::Stdout(&event.bytes),
            10..=17 => Body::Stderr(&event.bytes),
            18 => Body::Platform(&event.bytes),
            19 => Body::Begin(text),
            20 => Body::End(Exit::Code(0)),
            21 => Body::AddMask(b"zz-added-1"),
            22 => Body::AddMask(b"added-2-zz"),
            _ => Body::Mark(Mark::Cut, text),
        };
        encode(&Frame { unix_us: index as u64, stage: event.stage, body }, &mut raw);
    }
    raw
}

fn set(values: &[&[u8]]) -> MaskSet {
    let mut set = MaskSet::new([9; 16]);
    for value in values {
        set.add(value, Short::Refuse).unwrap();
    }
    set
}

fn whole(set: MaskSet, raw: &[u8]) -> Vec<u8> {
    let (mut masker, mut log) = (Masker::new(set).unwrap(), Vec::new());
    masker.push(raw, &mut log).unwrap();
    masker.finish(&mut log);
    log
}

/// Output of each stream, up to each end of its stage, all frames put together.
fn streams(bytes: &[u8]) -> BTreeMap<(Option<u16>, u8, usize), Vec<u8>> {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    let mut found = BTreeMap::<_, Vec<u8>>::new();
    let mut ends = BTreeMap::<_, usize>::new();
    while let Some(frame) = decoder.next_frame().unwrap() {
        let round = *ends.entry(frame.stage).or_default();
        match frame.body {
            Body::Stdout(bytes) => found.entry((frame.stage, 1, round)).or_default().extend_from_slice(bytes),
            Body::Stderr(bytes) => found.entry((frame.stage, 2, round)).or_default().extend_from_slice(bytes),
            Body::End(_) => *ends.entry(frame.stage).or_default() += 1,
            Body::Platform(_) | Body::Begin(_) | Body::AddMask(_) | Body::Mark(..) => {}
        }
    }
    found
}

const SECRETS: &[&[u8]] = &[b"abababab", b"aaaaaaaab"];

proptest! {
    #[test]
    fn the_log_is_the_same_however_often_the_process_dies(
        events in events(),
        pieces in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..8),
    ) {
        let raw = capture(&events);
        let expected = whole(set(SECRETS), &raw);
        let mut cuts: Vec<_> = pieces.iter().map(|(cut, dies)| (cut.index(raw.len() + 1), *dies)).collect();
        cuts.sort_unstable();
        let (mut masker, mut log, mut from) = (Masker::new(set(SECRETS)).unwrap(), Vec::new(), 0);
        for (cut, dies) in cuts {
            if cut < from {
                continue;
            }
            masker.push(&raw[from..cut], &mut log).unwrap();
            from = cut;
            if dies {
                let kept = serde_json::to_string(&masker.checkpoint()).unwrap();
                let checkpoint: Checkpoint = serde_json::from_str(&kept).unwrap();
                let added = added_values(&mut Cursor::new(&raw), &checkpoint.added).unwrap();
                prop_assert_eq!(checkpoint.masked, Offset(log.len() as u64));
                masker = Masker::restore(set(SECRETS), &added, &checkpoint).unwrap();
                from = checkpoint.raw.0 as usize;
            }
        }
        masker.push(&raw[from..], &mut log).unwrap();
        masker.finish(&mut log);
        prop_assert_eq!(log, expected);
    }

    #[test]
    fn each_stream_is_masked_as_if_it_were_alone(events in events()) {
        let events: Vec<_> = events.into_iter().filter(|event| ![21, 22].contains(&event.kind)).collect();
        let raw = capture(&events);
        let patterns: Vec<_> = SECRETS.iter().flat_map(|value| variants(value)).collect();
        let mut expected = streams(&raw);
        for text in expected.values_mut() {
            *text = oracle(&patterns.iter().map(|pattern| pattern.as_slice()).collect::<Vec<_>>(), text);
        }
        expected.retain(|_, text| !text.is_empty());
        prop_assert_eq!(streams(&whole(set(SECRETS), &raw)), expected);
    }

    #[test]
    fn an_added_value_is_hidden_where_it_begins_in_what_was_undecided_or_later(
        before in words(b"abdez-", 0..12),
        part in 0usize..11,
        after in words(b"abdez-", 0..12),
    ) {
        let added = b"zz-added-1";
        let text = [before.as_slice(), added, &after, added, b"\n"].concat();
        let cut = before.len() + part;
        let event = |kind, bytes: &[u8]| Event { stage: Some(0), kind, bytes: bytes.to_vec() };
        let raw = capture(&[event(0, &text[..cut]), event(21, b""), event(0, &text[cut..])]);
        let old: Vec<_> = SECRETS.iter().flat_map(|value| variants(value)).collect();
        let old: Vec<_> = old.iter().map(|pattern| pattern.as_slice()).collect();
        let mut hidden = vec![false; text.len()];
        for pattern in &old {
            mark(pattern, &text, 0, &mut hidden);
        }
        for pattern in variants(added) {
            mark(&pattern, &text, cut - undecided(&old, &text[..cut]), &mut hidden);
        }
        let log = streams(&whole(set(SECRETS), &raw));
        prop_assert_eq!(&log[&(Some(0), 1, 0)], &blacked(&text, &hidden));
    }
}

/// The frames of a log, one line each, for people.
fn shown(log: &[u8]) -> String {
    let mut decoder = Decoder::default();
    decoder.push(log);
    let mut lines = Vec::new();
    while let Some(frame) = decoder.next_frame().unwrap() {
        let body = match frame.body {
            Body::Stdout(bytes) => format!("stdout {:?}", String::from_utf8_lossy(bytes)),
            Body::Stderr(bytes) => format!("stderr {:?}", String::from_utf8_lossy(bytes)),
            Body::Platform(bytes) => format!("platform {:?}", String::from_utf8_lossy(bytes)),
            other @ (Body::Begin(_) | Body::End(_) | Body::AddMask(_) | Body::Mark(..)) => {
                format!("{other:?}")
            }
        };
        lines.push(format!("{} {body}", frame.unix_us));
    }
    lines.join("\n")
}

#[test]
fn a_held_rest_goes_out_with_the_frame_that_decides_it() {
    let frames = [
        Body::Begin("deploy to hunter22-prod"),
        Body::Stdout(b"token is hunt"),
        Body::Stderr(b"a warning\n"),
        Body::Stdout(b"er22 and hunter"),
        Body::Stdout(b"s are fine, hunt"),
        Body::Stderr(b"hunter2"),
        Body::AddMask(b"short"),
        Body::AddMask(b"another-value"),
        Body::Platform(b"pulling from hunter22@registry, hunter2"),
        Body::Stdout(b"another-value"),
        Body::Mark(Mark::Cut, "hunter22 was too long"),
        Body::End(Exit::Code(0)),
    ];
    let mut raw = Vec::new();
    for (index, body) in frames.into_iter().enumerate() {
        encode(&Frame { unix_us: index as u64, stage: Some(0), body }, &mut raw);
    }
    insta::assert_snapshot!(shown(&whole(set(&[b"hunter22"]), &raw)), @r#"
    0 Begin("deploy to ***-prod")
    1 stdout "token is "
    2 stderr "a warning\n"
    3 stdout "*** and "
    4 stdout "hunters are fine, "
    6 platform "mask: a value of 5 bytes without the space around it is too short to be masked: it needs 8; it stays visible\n"
    8 platform "pulling from ***@registry, hunter2"
    9 stdout "hunt"
    10 Mark(Cut, "*** was too long")
    11 stdout "***"
    11 stderr "hunter2"
    11 End(Code(0))
    "#);
}

#[test]
fn a_checkpoint_and_a_debug_line_hold_no_byte_of_a_secret() {
    let mut raw = Vec::new();
    encode(&Frame { unix_us: 1, stage: Some(0), body: Body::Stdout(b"x hunter2hunter") }, &mut raw);
    let mut masker = Masker::new(set(&[b"hunter2hunter22"])).unwrap();
    masker.push(&raw, &mut Vec::new()).unwrap();
    let checkpoint = masker.checkpoint();
    let kept = serde_json::to_string(&checkpoint).unwrap();
    assert!(kept.contains("\"held\":13"), "{kept}");
    for text in [kept, format!("{checkpoint:?}"), format!("{masker:?}"), format!("{:?}", masker)] {
        assert!(!text.contains("hunt") && !text.contains("104, 117, 110"), "{text}");
    }
}

#[test]
fn a_checkpoint_is_continued_only_with_its_own_set() {
    let mut raw = Vec::new();
    encode(&Frame { unix_us: 1, stage: Some(0), body: Body::Stdout(b"x hunter2") }, &mut raw);
    let mut masker = Masker::new(set(&[b"hunter22"])).unwrap();
    masker.push(&raw, &mut Vec::new()).unwrap();
    let checkpoint = masker.checkpoint();
    let none: [Vec<u8>; 0] = [];
    assert!(Masker::restore(set(&[b"hunter22"]), &none, &checkpoint).is_ok());
    let other = Masker::restore(set(&[b"hunter23"]), &none, &checkpoint).unwrap_err();
    assert_eq!(other, RestoreError::OtherSet);
    let kept = serde_json::to_string(&checkpoint).unwrap().replace("\"version\":1", "\"version\":2");
    let newer: Checkpoint = serde_json::from_str(&kept).unwrap();
    assert_eq!(Masker::restore(set(&[b"hunter22"]), &none, &newer).unwrap_err(), RestoreError::Version(2));
    let kept = serde_json::to_string(&checkpoint).unwrap().replace("\"held\":7", "\"held\":700");
    let wrong: Checkpoint = serde_json::from_str(&kept).unwrap();
    assert_eq!(Masker::restore(set(&[b"hunter22"]), &none, &wrong).unwrap_err(), RestoreError::Corrupt);
}

#[test]
fn a_line_of_ours_over_several_frames_is_matched_as_one() {
    let mut line = vec![b'.'; DATA_BYTES_MAX - 4];
    line.extend_from_slice(b"hunter22 is hidden");
    let mut raw = Vec::new();
    encode(&Frame { unix_us: 1, stage: None, body: Body::Platform(&line) }, &mut raw);
    let log = whole(set(&[b"hunter22"]), &raw);
    assert!(!log.windows(8).any(|window| window == b"hunter22"));
    assert!(log.windows(13).any(|window| window == b"*** is hidden"));
}

#[test]
fn a_secret_of_the_greatest_length_is_hidden_byte_by_byte() {
    let mut next = numbers(5);
    let value: Vec<u8> = (0..VALUE_BYTES_MAX).map(|_| b"0123456789abcdef"[next() % 16]).collect();
    let mut masker = Masker::new(set(&[&value])).unwrap();
    let (mut raw, mut log) = (Vec::new(), Vec::new());
    for piece in value.chunks(997) {
        encode(&Frame { unix_us: 1, stage: None, body: Body::Stdout(piece) }, &mut raw);
    }
    masker.push(&raw, &mut log).unwrap();
    assert_eq!(log, b"");
    masker.finish(&mut log);
    assert_eq!(shown(&log), "1 stdout \"***\"");
}
