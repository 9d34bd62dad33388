//! The bytes of an artifact into a file beside its place: through any break, also that of this command.
//!
//! The file is named by the digest, so whoever finds it again knows what it is a part of.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ocelot_archive::Expected;
use ocelot_proto::kit::clock::{Clock, SystemClock};
use ocelot_proto::wire;
use ocelot_proto::wire::fetch_object_response::Piece;
use sha2::{Digest, Sha256};
use tonic::{Status, Streaming};

use crate::client::{Client, is_lost, pause, refused};
use crate::error::{Error, Result, Whose};
use crate::show::{StatusLine, Style, plain};
use crate::words;

/// For an answer, and between two pieces.
const SILENCE: Duration = Duration::from_secs(60);
/// Breaks in a row without a byte between them.
const BREAKS_MAX: u32 = 30;

/// The file that an artifact is fetched into.
pub(super) struct Part {
    path: PathBuf,
}

impl Part {
    pub(super) fn beside(place: &Path, sha256: &[u8; 32]) -> Self {
        let digits: String = sha256[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = place.parent().unwrap_or(Path::new(""));
        Self { path: folder.join(format!(".ocelot-{digits}.part")) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn forget(self) {
        // Under --raw --force it has become the file itself.
        drop(fs::remove_file(self.path));
    }

    /// Opens it, and reads what an earlier command has fetched.
    fn resume(&self, size: u64) -> io::Result<(File, Sha256, u64)> {
        if let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        // What somebody else may have put there is not followed anywhere.
        if self.path.symlink_metadata().is_ok_and(|found| !found.is_file() || found.len() > size) {
            fs::remove_file(&self.path)?;
        }
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).truncate(false).open(&self.path)?;
        let (mut hash, mut known) = (Sha256::new(), 0);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((file, hash, known)),
                count => {
                    hash.update(&buffer[..count]);
                    known += count as u64;
                }
            }
        }
    }
}

/// Fetches all bytes of an artifact and compares them.
pub(super) async fn download(
    client: &Client,
    notes: &Style,
    (run, artifact): (&wire::RunSummary, &wire::Artifact),
    (part, expected): (&Part, Expected),
) -> Result<()> {
    let unwritable = |source| Error::Unwritable { file: part.path.clone(), source };
    let (mut file, mut hash, mut known) = part.resume(expected.size).map_err(unwritable)?;
    let (mut line, mut breaks) = (StatusLine::new(*notes, None), 0);
    let name = plain(&artifact.name);
    while known < expected.size {
        match fetch(client, (run, artifact), known).await {
            Ok((number, mut stream)) => loop {
                match tokio::time::timeout(SILENCE, stream.message()).await {
                    Ok(Ok(Some(wire::FetchObjectResponse { piece: Some(Piece::Bytes(bytes)) }))) => {
                        (known, breaks) = (known + bytes.len() as u64, 0);
                        hash.update(&bytes);
                        file.write_all(&bytes).map_err(unwritable)?;
                        // Elsewhere each change would be a line of its own.
                        if io::stderr().is_terminal() {
                            let (have, all) = (words::bytes(known), words::bytes(expected.size));
                            line.say(&format!("{name}: {have} of {all}"));
                        }
                    }
                    Ok(Ok(Some(_))) => {}
                    Ok(Ok(None)) => break,
                    Ok(Err(status)) if is_lost(&status) => {
                        client.leave(number);
                        break;
                    }
                    Ok(Err(status)) => return Err(refused(DOING, &status, client.target())),
                    Err(_) => {
                        client.leave(number);
                        break;
                    }
                }
            },
            Err(Failed::Lost) => {}
            Err(Failed::Told(error)) => return Err(error),
        }
        if known < expected.size {
            breaks += 1;
            if breaks > BREAKS_MAX {
                let status = Status::unavailable("it broke off again and again");
                return Err(refused(DOING, &status, client.target())
                    .with_hint("what was fetched stays; the same command goes on from there"));
            }
            SystemClock.sleep(pause(breaks)).await;
        }
    }
    line.clear();
    file.sync_all().map_err(unwritable)?;
    if known == expected.size && hash.finalize()[..] == expected.sha256 {
        return Ok(());
    }
    fs::remove_file(&part.path).map_err(unwritable)?;
    Err(Error::Refused {
        what: format!("what came of {name} is not what was kept: its digest differs"),
        hint: Some("it was thrown away; try once more".to_owned()),
        whose: Whose::State,
    })
}

const DOING: &str = "get the artifact";

/// Why a stream was not opened.
enum Failed {
    /// It may work the next time.
    Lost,
    Told(Error),
}

async fn fetch(
    client: &Client,
    (run, artifact): (&wire::RunSummary, &wire::Artifact),
    offset: u64,
) -> std::result::Result<(u64, Streaming<wire::FetchObjectResponse>), Failed> {
    let api = client.api().await.map_err(|unreached| match offset {
        // Nobody was ever there: a person should know at once.
        0 => Failed::Told(client.unreached(DOING, &unreached)),
        _ => Failed::Lost,
    })?;
    let reference = Some(wire::run_reference::Reference::Id(run.id.clone()));
    let request = wire::GetArtifactRequest {
        run: Some(wire::RunReference { reference }),
        task: artifact.task.clone(),
        name: artifact.name.clone(),
        offset,
    };
    match tokio::time::timeout(SILENCE, api.artifacts().get_artifact(request)).await {
        Ok(Ok(answer)) => Ok((api.number(), answer.into_inner())),
        Ok(Err(status)) if is_lost(&status) => {
            client.leave(api.number());
            Err(Failed::Lost)
        }
        Ok(Err(status)) => Err(Failed::Told(refused(DOING, &status, client.target()))),
        Err(_) => {
            client.leave(api.number());
            Err(Failed::Lost)
        }
    }
}
