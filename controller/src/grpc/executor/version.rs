//! Which executors' versions a controller still speaks with.

use tonic::Status;

use crate::error::{Error, Kind};

use super::decode::invalid;

/// The oldest that is served: the first one there was. It rises when the protocol drops something.
const OLDEST: [u32; 3] = [0, 1, 0];

/// Refuses an executor that is too old, before anything is done for it.
pub(super) fn admit(version: &str) -> Result<(), Status> {
    let given = parse(version).ok_or_else(|| invalid("version", "is none, such as 0.1.0"))?;
    if given >= OLDEST {
        return Ok(());
    }
    let oldest = OLDEST.map(|part| part.to_string()).join(".");
    let why = format!("executor {version} is too old for this controller; the oldest it serves is {oldest}");
    Err(Error::new(Kind::Rejected, why).into())
}

/// Reads the three numbers of a version; what follows `-` or `+` does not count.
fn parse(version: &str) -> Option<[u32; 3]> {
    let numbers = version.split(['-', '+']).next()?;
    let numbers: Vec<u32> = numbers.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_older_than_the_floor_is_refused() {
        for good in ["0.1.0", "0.1.0-dev", "0.2.7+build.5", "10.0.0"] {
            assert!(admit(good).is_ok(), "{good}");
        }
        assert_eq!(
            admit("0.0.9").unwrap_err().message(),
            "executor 0.0.9 is too old for this controller; the oldest it serves is 0.1.0"
        );
        for none in ["", "1", "1.2", "one.two.three", "1.2.3.4"] {
            assert_eq!(admit(none).unwrap_err().code(), tonic::Code::InvalidArgument, "{none}");
        }
    }
}
