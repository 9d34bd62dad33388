use serde::Deserialize;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Waiting { on: Vec<u32> },
    Running { attempt: u32, session: String },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sample {
    name: String,
    phase: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Record for Sample {
    const KIND: &'static str = "sample";
    const VERSION: u32 = 2;
}

fn sample() -> Sample {
    Sample {
        name: "build".into(),
        phase: Phase::Running { attempt: 3, session: "018bcfe5-6800-7303-8303-030303030303".into() },
        note: None,
    }
}

fn why(bytes: &[u8]) -> String {
    let error = decode::<Sample>(bytes).expect_err("it was read");
    let Error::Corrupt(cause) = error else { panic!("{error:?} is not corrupt") };
    cause.to_string()
}

#[test]
fn the_stored_shape_is_the_one_on_file() {
    let golden = include_bytes!("golden/sample.v2").trim_ascii_end();
    assert_eq!(encode(&sample(), None), golden);
    assert_eq!(decode::<Sample>(golden).unwrap(), sample());
}

#[test]
fn a_record_comes_back_with_its_mark() {
    let bytes = encode(&sample(), Some(Mark(0xfeed)));
    assert_eq!(decode::<Sample>(&bytes).unwrap(), sample());
    assert_eq!(mark_of(&bytes), Some(Mark(0xfeed)));
    assert_eq!(mark_of(&encode(&sample(), None)), None);
}

#[test]
fn the_envelope_costs_few_bytes() {
    let body = serde_json::to_vec(&sample()).unwrap().len();
    assert_eq!(encode(&sample(), None).len() - body, "sample/2\n".len());
    assert_eq!(encode(&sample(), Some(Mark(1))).len() - body, "sample/2 0123456789abcdef\n".len());
}

#[test]
fn another_kind_is_refused() {
    assert_eq!(why(b"run/2\n{}"), r#"a "run" is stored where a "sample" belongs"#);
}

#[test]
fn another_version_is_refused_older_and_newer() {
    for found in [1, 3] {
        assert_eq!(
            why(format!("sample/{found}\n{{}}").as_bytes()),
            format!(r#"version {found} of a "sample" is stored; this program knows version 2"#)
        );
    }
}

#[test]
fn an_unknown_field_is_refused_however_deep() {
    let top = br#"sample/2
{"name":"x","phase":{"waiting":{"on":[]}},"colour":"red"}"#;
    assert_eq!(why(top), r#"version 2 of a "sample" has no field "colour""#);
    let deep = br#"sample/2
{"name":"x","phase":{"waiting":{"on":[],"until":4}}}"#;
    assert_eq!(why(deep), r#"version 2 of a "sample" has no field "phase.until""#);
}

#[test]
fn what_is_cut_off_or_goes_on_is_refused() {
    let bytes = encode(&sample(), Some(Mark(7)));
    for end in 0..bytes.len() {
        why(&bytes[..end]);
    }
    why(&[&bytes[..], b"{}"].concat());
    assert_eq!(why(b"\xff\xfe\n{}"), "no line says what is stored");
    assert_eq!(why(b"sample\n{}"), r#"the first line, "sample", is no kind and version"#);
}
