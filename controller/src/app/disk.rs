//! Looking at the disks, so that admission knows their room.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::shutdown::Tasks;

use crate::bytes::{Floor, Room, Space};
use crate::service::Service;

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Looks now, and then for as long as the program runs. What changed is noted.
pub(super) async fn watch(
    service: &Arc<Service>,
    paths: Vec<PathBuf>,
    clock: &Arc<dyn Clock>,
    tasks: &Tasks,
) {
    let (floor, clock) = (service.floor().clone(), Arc::clone(clock));
    let mut last = look(&paths, None, &floor).await;
    tasks.spawn_beside("disk", async move {
        loop {
            clock.sleep(LOOK_EVERY).await;
            last = look(&paths, last, &floor).await;
        }
    });
}

async fn look(paths: &[PathBuf], last: Option<Room>, floor: &Floor) -> Option<Room> {
    let looked_at = paths.to_vec();
    let found = tokio::task::spawn_blocking(move || least(&looked_at)).await;
    match found {
        Ok(Some(room)) if last != Some(room) => {
            tell(floor.note(room), room);
            Some(room)
        }
        // Nothing is new, or nothing is known: what was known stands.
        Ok(_) => last,
        Err(error) => {
            tracing::error!(%error, "the disks could not be looked at");
            last
        }
    }
}

/// Returns the room on the fullest of the disks.
fn least(paths: &[PathBuf]) -> Option<Room> {
    let room = |path: &PathBuf| match Space::under(path) {
        Ok(space) => Some(space.room()),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a disk does not tell its room");
            None
        }
    };
    paths.iter().filter_map(room).max()
}

fn tell(before: Room, now: Room) {
    if before == now {
        return;
    }
    match now {
        Room::Enough => tracing::info!("the disk has room again; new runs are accepted"),
        Room::NoNewRuns => tracing::error!("the disk is nearly full; no new runs are accepted"),
        Room::Backpressure => {
            tracing::error!("the disk is full; executors keep their logs, and no new runs are accepted");
        }
    }
}
