//! Sizes and times as people write them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// A number of bytes: `2GiB`, `500MB`, `0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Size(pub(super) u64);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size; `2GiB` or `500MB` would be one");
        let (number, unit) = split(text);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let factor = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// The socket of an engine: `/run/podman/podman.sock`, `unix:///run/podman/podman.sock`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Socket(pub(super) PathBuf);

impl std::str::FromStr for Socket {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = Path::new(text.strip_prefix("unix://").unwrap_or(text));
        match path.is_absolute() {
            true => Ok(Self(path.to_owned())),
            // What tasks mount must lie on the engine's own machine.
            false => Err(format!(
                "{text:?} is no socket of this machine; `unix:///var/run/docker.sock` would be one"
            )),
        }
    }
}

impl TryFrom<String> for Socket {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A duration: `30s`, `5m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Time(pub(super) Duration);

impl std::str::FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time; `30s` or `5m` would be one");
        let (number, unit) = split(text);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(millis).map(Duration::from_millis).map(Self).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!("500MB".parse(), Ok(Size(500_000_000)));
        assert_eq!("0".parse(), Ok(Size(0)));
        assert!("2 apples".parse::<Size>().is_err());
        assert_eq!("1h".parse(), Ok(Time(Duration::from_secs(3_600))));
        assert!("30".parse::<Time>().is_err());
        let socket = |text: &str| text.parse::<Socket>().map(|Socket(path)| path);
        assert_eq!(socket("unix:///run/a.sock"), Ok("/run/a.sock".into()));
        assert_eq!(socket("/run/a.sock"), Ok("/run/a.sock".into()));
        assert!(socket("tcp://127.0.0.1:2375").is_err());
    }
}
