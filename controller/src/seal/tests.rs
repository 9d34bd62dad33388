use super::*;

const CONTEXT: &str = "/ocelot/v1/secrets/job/deploy/token";

fn fresh(number: u8) -> Fresh {
    let mut fresh = Fresh::new([0; 56]);
    for (index, byte) in fresh.iter_mut().enumerate() {
        *byte = number.wrapping_add(u8::try_from(index).unwrap());
    }
    fresh
}

fn key(number: u8) -> SealKey {
    SealKey::new([number; 32])
}

#[test]
fn what_was_sealed_opens_with_its_key_and_for_its_place_alone() {
    let keys = SealKeys::from(key(1));
    let sealed = keys.seal(CONTEXT, b"hunter2-hunter2", &fresh(1)).unwrap();
    let stored = serde_json::to_vec(&sealed).unwrap();
    assert!(!stored.windows(7).any(|bytes| bytes == b"hunter2"));
    assert_eq!(serde_json::from_slice::<Sealed>(&stored).unwrap(), sealed);
    assert_eq!(keys.open(CONTEXT, &sealed).unwrap().as_slice(), b"hunter2-hunter2");
    let moved = keys.open("/ocelot/v1/secrets/job/other/token", &sealed);
    assert_eq!(moved.unwrap_err(), SealError::DoesNotOpen);
    let others = SealKeys::from(key(2));
    assert_eq!(others.open(CONTEXT, &sealed).unwrap_err(), SealError::UnknownKey(key(1).id()));
}

#[test]
fn no_byte_of_an_envelope_can_be_changed() {
    let keys = SealKeys::from(key(1));
    let sealed = keys.seal(CONTEXT, b"v", &fresh(1)).unwrap();
    for index in 0..sealed.sealed.len() {
        let mut changed = sealed.clone();
        changed.sealed[index] ^= 1;
        assert_eq!(keys.open(CONTEXT, &changed).unwrap_err(), SealError::DoesNotOpen);
    }
    for index in 0..sealed.sealed_key.len() {
        let mut changed = sealed.clone();
        changed.sealed_key[index] ^= 1;
        assert_eq!(keys.open(CONTEXT, &changed).unwrap_err(), SealError::DoesNotOpen);
    }
    let empty = Sealed { sealed: Vec::new(), ..sealed };
    assert_eq!(keys.open(CONTEXT, &empty).unwrap_err(), SealError::DoesNotOpen);
}

#[test]
fn a_value_sealed_with_an_older_key_opens_before_and_after_it_is_sealed_anew() {
    let sealed = SealKeys::from(key(1)).seal(CONTEXT, b"value", &fresh(1)).unwrap();
    let both = SealKeys::new([key(2), key(1), key(2)]).unwrap();
    assert_eq!(both.ids(), [key(2).id(), key(1).id()]);
    assert_eq!(both.open(CONTEXT, &sealed).unwrap().as_slice(), b"value");
    let anew = both.reseal(CONTEXT, &sealed, &fresh(2)).unwrap().unwrap();
    assert_eq!(anew.sealed_with(), key(2).id());
    assert_eq!(SealKeys::from(key(2)).open(CONTEXT, &anew).unwrap().as_slice(), b"value");
    assert_eq!(both.reseal(CONTEXT, &anew, &fresh(3)).unwrap(), None);
    assert!(both.reseal("/elsewhere", &sealed, &fresh(3)).is_err());
}

#[test]
fn nothing_prints_a_key_or_a_value() {
    let keys = SealKeys::new([key(1), key(2)]).unwrap();
    let sealed = keys.seal(CONTEXT, b"value", &fresh(1)).unwrap();
    insta::assert_snapshot!(
        format!("{keys:?} {sealed:?}"),
        @"[SealKey(97ccfeb82735bde7), SealKey(80c07872b2b74fa0)] Sealed(with 97ccfeb82735bde7)"
    );
}

#[test]
fn keys_are_read_as_they_are_or_line_by_line() {
    let ids = |text: &[u8]| key_file::parse(text).map(|keys| keys.ids());
    let hex = |byte: &str| byte.repeat(32);
    assert_eq!(ids(&[7; 32]).unwrap(), [key(7).id()]);
    let text = format!("# ours\n{}\n\n  {}\n", hex("02"), "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
    assert_eq!(ids(text.as_bytes()).unwrap(), [key(2).id(), key(1).id()]);
    assert_eq!(ids(b"").unwrap_err(), BadKeys::None);
    assert_eq!(ids(&[0xff; 31]).unwrap_err(), BadKeys::None);
    assert_eq!(ids(format!("{}\nhunter2\n", hex("02")).as_bytes()).unwrap_err(), BadKeys::Line(2));
    let many = (10..19).map(|number| hex(&number.to_string())).collect::<Vec<_>>().join("\n");
    assert_eq!(ids(many.as_bytes()).unwrap_err(), BadKeys::TooMany);
}

#[tokio::test]
async fn a_file_of_our_own_is_made_once_and_takes_new_keys_in_front() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seal-key");
    let source = SealSource::Own(path.clone());
    let foreign = SealSource::File(path.clone());
    assert!(matches!(foreign.keys(|| [1; 32]).await, Err(SourceError::File { .. })), "it is not made");
    assert_eq!(source.keys(|| [1; 32]).await.unwrap().ids(), [key(1).id()]);
    assert_eq!(source.keys(|| [9; 32]).await.unwrap().ids(), [key(1).id()]);
    assert_eq!(rotate(&path, [2; 32]).unwrap(), (key(2).id(), 2));
    assert_eq!(foreign.keys(|| [9; 32]).await.unwrap().ids(), [key(2).id(), key(1).id()]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(&path, b"short").unwrap();
    assert!(source.keys(|| [9; 32]).await.is_err());
}

#[tokio::test]
async fn a_command_gives_the_keys_or_its_failure_is_told_without_its_output() {
    let run = async |script: &str| {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        SealSource::Command(argv).keys(|| [9; 32]).await.map(|keys| keys.ids())
    };
    let hex = "07".repeat(32);
    assert_eq!(run(&format!("echo {hex}")).await.unwrap(), [key(7).id()]);
    assert!(matches!(run("echo hunter2; exit 3").await, Err(SourceError::Failed { .. })));
    let wrong = run("echo hunter2-hunter2").await.unwrap_err();
    assert!(!format!("{wrong:?} {wrong}").contains("hunter2"), "{wrong:?}");
    let missing = SealSource::Command(vec!["/nowhere/at/all".into()]).keys(|| [9; 32]).await;
    assert!(matches!(missing, Err(SourceError::NotRun { .. })));
}
