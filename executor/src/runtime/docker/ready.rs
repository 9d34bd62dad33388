//! Containers that wait for a task: complete and started, and nobody's until a start takes one over.
//!
//! A start compares all that it would ask the engine for with all that was asked for the one that waits
//! there. Where anything differs (an image's name moved, a file is missing) it makes its own, in the same
//! place. So a waiting container can be too old, and never be the wrong one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bollard::models::ContainerCreateBody;
use ocelot_core::plan::Runtime as Place;
use ocelot_supervisor::machine::UNASSIGNED_MS;
use ocelot_supervisor::{clock, control};

use super::body::Asked;
use super::{Docker, failure, image};
use crate::attempt::state::{BootTime, Cause};
use crate::journal::Container;
use crate::runtime::{Launch, unused};

/// One that waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    container: Container,
    deadline: BootTime,
    /// All that the engine was asked for.
    body: ContainerCreateBody,
    resolvers: Resolvers,
}

/// How names of hosts are found. The engine gives a container what is in force as it starts, and a
/// machine that moves from one network to another has something else.
type Resolvers = [Option<Vec<u8>>; 2];

/// The second is what an engine reads where the first names only the machine itself.
const RESOLVERS: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

impl Docker {
    /// Makes one that waits, as a start would make it.
    pub(super) async fn wait_like(&self, like: &Launch) -> Result<(), Cause> {
        open(&like.workspace)?;
        let deadline = BootTime(clock::now().after(UNASSIGNED_MS).0);
        let launch = Launch { deadline, ..like.clone() };
        let resolvers = resolvers();
        let container = self.run(&launch).await?;
        let asked = Asked::task(&launch);
        let image = self.image(&launch).await?;
        let network = self.network(&asked).await?;
        let body = self.body(&asked, &image, &network)?;
        let waiting = Waiting { container, deadline, body, resolvers };
        self.waiting().insert(like.control.clone(), waiting);
        Ok(())
    }

    /// Whether the image that it waits with is still the one of that name, as far as is known, and the
    /// machine in the same network.
    pub(super) async fn is_still_right(&self, like: &Launch) -> bool {
        let Place::Container { image: name, .. } = &like.environment.runtime else { return true };
        let Some(waiting) = self.waiting().get(&like.control).cloned() else { return true };
        if waiting.resolvers != resolvers() {
            return false;
        }
        match image::find(&self.engine, name).await {
            Ok(found) => found.map(|image| image.id) == waiting.body.image,
            Err(_) => true,
        }
    }

    /// Takes over what waits for this start, if it is what this start would make; else clears the place
    /// for it.
    pub(super) async fn take_over(&self, launch: &Launch) -> Result<Option<Container>, Cause> {
        let waiting = self.waiting().remove(&launch.control);
        if waiting.is_none() && !unused::is_marked(&launch.control) {
            return Ok(None);
        }
        let on_disk = |error: std::io::Error| failure::platform("take the place over", &error.to_string());
        if let Some(waiting) = waiting
            && self.is_alike(launch, &waiting).await?
            && control::connect(&launch.control).is_ok()
        {
            // From here on it is the attempt's, whoever looks for it.
            unused::unmark(&launch.control).map_err(on_disk)?;
            return Ok(Some(waiting.container));
        }
        tracing::debug!(control = %launch.control.display(), "what waited is not what is asked for");
        self.clear(&launch.control).await?;
        unused::clear(&launch.control).and_then(|()| unused::unmark(&launch.control)).map_err(on_disk)?;
        Ok(None)
    }

    async fn is_alike(&self, launch: &Launch, waiting: &Waiting) -> Result<bool, Cause> {
        let image = self.image(launch).await?;
        // The one thing that is another each time: an assignment brings a new one.
        let asked = Asked { deadline: waiting.deadline, ..Asked::task(launch) };
        let network = self.network(&asked).await?;
        let is_same = self.body(&asked, &image, &network)? == waiting.body;
        Ok(is_same && waiting.resolvers == resolvers())
    }

    /// Removes what waits; what is known of the attempt's image stays.
    async fn clear(&self, control: &Path) -> Result<(), Cause> {
        let image = self.images().get(control).cloned();
        let removed = self.remove_all(control).await;
        self.images().extend(image.map(|image| (control.to_owned(), image)));
        removed.map_err(|error| failure::platform("remove a container", &failure::words(&error)))
    }
}

fn resolvers() -> Resolvers {
    RESOLVERS.map(|path| fs::read(path).ok())
}

/// Whoever the image's user is, the workspace is its own to fill; what is above it is private.
pub(super) fn open(workspace: &Path) -> Result<(), Cause> {
    fs::set_permissions(workspace, fs::Permissions::from_mode(0o777))
        .map_err(|error| failure::platform("open the workspace", &error.to_string()))
}
