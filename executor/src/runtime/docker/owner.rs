//! Whose the files of a task are: its image's user, or the one that its plan names.
//!
//! A number is known with the image. A name means what the image's own files say, which are read out of
//! the task's container, and nothing in there is run for it.

use bollard::query_parameters::DownloadFromContainerOptions;
use futures_util::StreamExt;

use super::{CALL_MAX, Docker, failure};
use crate::attempt::Failure;
use crate::attempt::state::Cause;
use crate::journal::Container;
use crate::runtime::Launch;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
/// More of an account file is not read.
const FILE_BYTES_MAX: usize = 1 << 20;
/// The unit of the archives in which an engine hands files out.
const BLOCK: usize = 512;

impl Docker {
    /// The user that stages of the task run as, unless they say otherwise.
    fn user(&self, launch: &Launch) -> Option<String> {
        let of_image = || self.images().get(&launch.control)?.given.user.clone();
        launch.environment.user.clone().or_else(of_image)
    }

    pub(super) fn owner_by_number(&self, launch: &Launch) -> Option<(u32, u32)> {
        match self.user(launch).as_deref() {
            None | Some("root" | "0") => Some((0, 0)),
            Some(user) => {
                let (user, group) = user.split_once(':')?;
                Some((user.parse().ok()?, group.parse().ok()?))
            }
        }
    }

    pub(super) async fn owner_by_name(
        &self,
        launch: &Launch,
        container: &Container,
    ) -> Result<(u32, u32), Cause> {
        if let Some(owner) = self.owner_by_number(launch) {
            return Ok(owner);
        }
        let user = self.user(launch).unwrap_or_default();
        let passwd = self.file_of(container, PASSWD).await?;
        let group = self.file_of(container, GROUP).await?;
        ocelot_supervisor::ids(&user, passwd, group).map_err(|why| {
            Cause::Failed(Failure::Setup { why: format!("the workspace has no owner: {why}") })
        })
    }

    /// Reads a small file of a container; one that is not there is empty.
    async fn file_of(&self, container: &Container, path: &str) -> Result<String, Cause> {
        let options = DownloadFromContainerOptions { path: path.to_owned() };
        let mut pieces = Box::pin(self.engine.download_from_container(&container.id, Some(options)));
        let mut archive = Vec::new();
        let read = async {
            while let Some(piece) = pieces.next().await {
                archive.extend_from_slice(&piece?);
                if archive.len() > FILE_BYTES_MAX {
                    break;
                }
            }
            Ok(())
        };
        match tokio::time::timeout(CALL_MAX, read).await {
            Ok(Ok(())) => Ok(only_file(&archive).unwrap_or_default()),
            Ok(Err(error)) if failure::answer(&error) == failure::Answer::NotFound => Ok(String::new()),
            Ok(Err(error)) => Err(failure::platform("read a container's file", &failure::words(&error))),
            Err(_) => Err(failure::platform("read a container's file", "it did not answer in time")),
        }
    }
}

/// Returns the text of the first thing in an archive, if that is a file.
fn only_file(archive: &[u8]) -> Option<String> {
    let (header, rest) = archive.split_at_checked(BLOCK)?;
    let is_file = matches!(header[156], b'0' | 0);
    let size = std::str::from_utf8(&header[124..135]).ok()?.trim_matches(['\0', ' ']);
    let size = usize::from_str_radix(size, 8).ok()?;
    let bytes = rest.get(..size).filter(|_| is_file)?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(kind: u8, size: &str, text: &str) -> Vec<u8> {
        let mut archive = vec![0; BLOCK];
        archive[..6].copy_from_slice(b"passwd");
        archive[124..124 + size.len()].copy_from_slice(size.as_bytes());
        archive[156] = kind;
        archive.extend_from_slice(text.as_bytes());
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
        archive
    }

    #[test]
    fn only_a_whole_file_is_read_out_of_an_archive() {
        let text = "root:x:0:0::/:/bin/sh";
        assert_eq!(only_file(&archive(b'0', "00000000025", text)).as_deref(), Some(text));
        assert_eq!(only_file(&archive(b'2', "00000000025", text)), None, "a link is not followed");
        assert_eq!(only_file(&archive(b'0', "00000007777", text)), None, "it is cut off");
        assert_eq!(only_file(&archive(b'0', "huge", text)), None);
        assert_eq!(only_file(&[0; 100]), None);
    }
}
