//! Which versions of the programs that call it a controller still serves.

use crate::error::{Error, Kind};

/// The oldest that is served: the first one there was. It rises when the protocol drops something.
const OLDEST: [u32; 3] = [0, 1, 0];

/// Why a program is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unserved {
    /// What it calls its version is none.
    NoVersion,
    TooOld(String),
}

/// Tells whether this version of a program is served, before anything is done for it.
pub(crate) fn admit(program: &str, version: &str) -> Result<(), Unserved> {
    let given = parse(version).ok_or(Unserved::NoVersion)?;
    if given >= OLDEST {
        return Ok(());
    }
    let oldest = OLDEST.map(|part| part.to_string()).join(".");
    Err(Unserved::TooOld(format!(
        "{program} {version} is too old for this controller: install {oldest} or a newer one"
    )))
}

/// The same for the `ocelot` command, by what it calls itself. Whatever else calls has no version of ours.
pub(crate) fn admit_agent(agent: &str) -> Result<(), Error> {
    let version = agent.split_whitespace().next().and_then(|name| name.strip_prefix("ocelot/"));
    match version.map(|version| admit("ocelot", version)) {
        Some(Err(Unserved::TooOld(why))) => Err(Error::new(Kind::Rejected, why)),
        Some(Ok(()) | Err(Unserved::NoVersion)) | None => Ok(()),
    }
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
            assert_eq!(admit("executor", good), Ok(()), "{good}");
        }
        let why = "executor 0.0.9 is too old for this controller: install 0.1.0 or a newer one";
        assert_eq!(admit("executor", "0.0.9"), Err(Unserved::TooOld(why.to_owned())));
        for none in ["", "1", "1.2", "one.two.three", "1.2.3.4"] {
            assert_eq!(admit("executor", none), Err(Unserved::NoVersion), "{none}");
        }
    }

    #[test]
    fn of_those_who_say_no_version_of_ours_none_is_too_old() {
        for other in ["", "curl/0.0.1", "ocelot", "ocelot/next", "ocelot/0.1.0 tonic/0.14.0"] {
            assert!(admit_agent(other).is_ok(), "{other}");
        }
        let why = "ocelot 0.0.9 is too old for this controller: install 0.1.0 or a newer one";
        assert_eq!(admit_agent("ocelot/0.0.9 tonic/0.14.0").unwrap_err().to_string(), why);
    }
}
