//! The stored shapes, as each version of the program kept them.

#[path = "../../../../tests/compat/holds.rs"]
mod holds;
#[path = "../../../../tests/compat/versions.rs"]
mod versions;

use std::fmt::Debug;

use serde_json::Value;

use super::{Record, decode, encode, split};
use holds::holds;
use versions::{CURRENT, Kept};

const KIND: &str = "records";

/// Checks a record against the files that keep its stored shape: what any version stored is read for ever
/// and means what it meant, and what is stored now is what the file of this version says.
pub(crate) fn assert_stored_shape<R: Record + PartialEq + Debug>(record: &R, name: &str) {
    let stored = [&encode(record, None)[..], b"\n"].concat();
    versions::assert_kept(KIND, &Kept::from([(name.to_owned(), stored)]));
    for (version, kept) in versions::all(KIND) {
        let Some(bytes) = kept.get(name) else { continue };
        let read = decode::<R>(bytes);
        let read = read.unwrap_or_else(|error| panic!("{name} of version {version} is not read: {error:?}"));
        if version == CURRENT {
            assert_eq!(&read, record);
        }
        let (then, now) = (body(bytes), body(&encode(&read, None)));
        assert!(holds(&now, &then), "{name} of version {version} meant {then} and is understood as {now}");
    }
}

fn body(bytes: &[u8]) -> Value {
    serde_json::from_slice(split(bytes).unwrap().1).unwrap()
}
