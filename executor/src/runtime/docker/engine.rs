//! What an engine is, by its own word and by what the probe found.

use std::fmt;
use std::sync::atomic::Ordering;

use super::network::Shared;
use super::{Docker, failure, within};
use crate::runtime::RuntimeError;

const DOCKER_LEAST: (u32, u32) = (20, 10);
/// The oldest that was tried, and whose networks do not reach each other.
const PODMAN_LEAST: (u32, u32) = (4, 3);

/// What an engine says of itself.
#[derive(Debug)]
pub(super) struct Own {
    podman: bool,
    pub(super) version: String,
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { podman, version } = self;
        write!(f, "{} {version}", if *podman { "Podman" } else { "Docker" })
    }
}

/// What a doctor sees of an engine that works.
#[derive(Debug)]
pub struct Examined {
    /// Its name and version.
    pub engine: String,
    /// It limits what containers take.
    pub limits: bool,
    /// Tasks that are alone share a network, in which they do not reach each other; else each has its own.
    pub shares_network: bool,
}

impl Docker {
    /// Tries the engine for a doctor: as a check does, but nothing of others is looked through, and no
    /// container and no network stays.
    pub async fn examine(&self) -> Result<Examined, RuntimeError> {
        let own = self.own().await?;
        let probed = self.probe().await;
        let lonely = self.networks.shared(&self.engine).await;
        let removed = self.networks.remove_shared(&self.engine).await;
        probed?;
        let lonely = lonely.map_err(|error| failure::runtime("make a network", error))?;
        removed.map_err(|error| failure::runtime("remove a network", error))?;
        Ok(Examined {
            engine: own.to_string(),
            limits: self.limits.load(Ordering::Relaxed),
            shares_network: lonely != Shared::Apart,
        })
    }

    /// Returns what the engine is, if it is one that works.
    pub(super) async fn own(&self) -> Result<Own, RuntimeError> {
        let said = within(self.engine.version()).await;
        let said = said.map_err(|error| failure::runtime("be reached", error))?;
        let podman = said.components.into_iter().flatten().any(|part| part.name.contains("Podman"));
        let own = Own { podman, version: said.version.unwrap_or_default() };
        let least = if podman { PODMAN_LEAST } else { DOCKER_LEAST };
        if is_too_old(&own.version, least) {
            let source = format!("it is {own}, and {}.{} is the oldest that works", least.0, least.1);
            return Err(RuntimeError { doing: "the engine is too old".to_owned(), source: source.into() });
        }
        Ok(own)
    }
}

fn is_too_old(version: &str, least: (u32, u32)) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    found < least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_version_is_read_as_numbers() {
        for (version, least, old) in [
            ("19.03.15", DOCKER_LEAST, true),
            ("", DOCKER_LEAST, true),
            ("20.10.24+dfsg1", DOCKER_LEAST, false),
            ("28.2.2", DOCKER_LEAST, false),
            ("3.0.1", PODMAN_LEAST, true),
            ("4.3.1", PODMAN_LEAST, false),
            ("5.4.2", PODMAN_LEAST, false),
        ] {
            assert_eq!(is_too_old(version, least), old, "{version}");
        }
    }
}
