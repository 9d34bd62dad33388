//! A bare repository on this machine that follows one on a server.
//!
//! It only ever gains: no object is pruned, so a commit that a force-push took away stays buildable for
//! as long as the mirror lives. It may be thrown away at any time, by hand too; the next fetch makes it
//! anew. Everything in it was checked when it came, and it is written by this crate alone.

mod files;
mod lock;
mod read;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::io::AsyncWriteExt;

use crate::cause::Cause;
use crate::command::{Call, Git};
use crate::credentials::Credentials;
use crate::error::GitError;
use crate::reference::{CommitId, Reference};
use crate::url::RepositoryUrl;

use files::{clean_packs, remove_folder, remove_locks, size_of};
use lock::{Held, Hold};

pub use read::Commit;

/// With more packs than this each look for an object becomes slow.
const PACKS_MAX: usize = 40;

/// How much of a repository is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    Everything,
    /// Commits and folders; a file is fetched when it is read, where the server can do that.
    WithoutFiles,
}

/// Something to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    Reference(Reference),
    Commit(CommitId),
    /// All branches and tags.
    Everything,
}

/// A mirror of one repository. Cheap to clone; any number of processes may hold the same one.
#[derive(Debug, Clone)]
pub struct Mirror {
    git: Git,
    directory: PathBuf,
    url: RepositoryUrl,
    credentials: Arc<Credentials>,
    contents: Contents,
}

/// The hash that a repository counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha1,
    Sha256,
}

impl Mirror {
    /// Opens the mirror in `directory`, which this crate alone writes, and makes it if it is not there.
    ///
    /// The credentials are those of this handle: open another for others.
    pub async fn open(
        git: &Git,
        directory: impl Into<PathBuf>,
        url: &RepositoryUrl,
        credentials: Credentials,
        contents: Contents,
    ) -> Result<Self, GitError> {
        let mirror = Self {
            git: git.clone(),
            directory: directory.into(),
            url: url.clone(),
            credentials: Arc::new(credentials),
            contents,
        };
        if !mirror.is_made().await {
            let _alone = mirror.alone().await?;
            mirror.ensure().await?;
        }
        mirror.touch().await?;
        Ok(mirror)
    }

    pub fn url(&self) -> &RepositoryUrl {
        &self.url
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn contents(&self) -> Contents {
        self.contents
    }

    pub(crate) fn git(&self) -> &Git {
        &self.git
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.directory.join("repository.git")
    }

    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.directory.join("known_hosts")
    }

    /// Fetches refs and commits; what moved on the server moves here.
    pub async fn fetch(&self, wants: &[Want]) -> Result<(), GitError> {
        let _alone = self.alone().await?;
        self.ensure().await?;
        self.bring(wants).await?;
        self.tidy().await;
        self.touch().await
    }

    /// Makes sure that a commit is here, at no cost if it is; its ref is the cheapest way to it.
    ///
    /// A server gives a commit that no ref holds any more, or refuses to: then all branches and tags
    /// are fetched before the commit is said to be gone.
    pub async fn obtain(&self, commit: &CommitId, reference: Option<&Reference>) -> Result<(), GitError> {
        if matches!(self.contains(commit).await, Ok(true)) {
            return self.touch().await;
        }
        let _alone = self.alone().await?;
        self.ensure().await?;
        let mut ways = Vec::new();
        ways.extend(reference.cloned().map(Want::Reference));
        ways.extend([Want::Commit(commit.clone()), Want::Everything]);
        let mut message = String::from("no ref holds it");
        for want in ways {
            match self.bring(&[want]).await {
                Ok(()) => {}
                Err(GitError::Failed { cause: Cause::NoReference | Cause::Other, message: said, .. }) => {
                    message = said;
                }
                Err(error) => return Err(error),
            }
            if self.contains(commit).await? {
                self.tidy().await;
                return self.touch().await;
            }
        }
        Err(GitError::NoCommit { commit: commit.clone(), url: self.url.clone(), message })
    }

    /// Throws the repository away and makes an empty one; for one that was found broken while reading.
    pub async fn renew(&self) -> Result<(), GitError> {
        let _alone = self.alone().await?;
        self.replace(Hash::Sha1).await
    }

    /// Returns the bytes that the mirror takes on disk.
    pub async fn size_bytes(&self) -> Result<u64, GitError> {
        let directory = self.directory.clone();
        let sized = tokio::task::spawn_blocking(move || size_of(&directory)).await;
        sized.map_err(std::io::Error::other).flatten().map_err(GitError::io("measure", &self.directory))
    }

    /// Notes that the mirror is in use.
    pub async fn touch(&self) -> Result<(), GitError> {
        let path = self.directory.join("used");
        let mut options = tokio::fs::OpenOptions::new();
        // Over what is there, which needs no room: a full disk stops no checkout of what is here.
        options.write(true).create(true).truncate(false);
        let written = async {
            let mut file = options.open(&path).await?;
            file.write_all(b"\n").await?;
            file.flush().await
        };
        written.await.map_err(GitError::io("write", &path))
    }

    /// Returns when the mirror in `directory` was last used.
    pub async fn last_used(directory: &Path) -> Result<SystemTime, GitError> {
        let path = directory.join("used");
        let read = tokio::fs::metadata(&path).await.and_then(|metadata| metadata.modified());
        read.map_err(GitError::io("look at", path))
    }

    /// Removes the mirror once nobody reads it; checkouts made from it stay whole.
    pub async fn remove(self) -> Result<(), GitError> {
        let _alone = self.alone().await?;
        let _life = self.life(Hold::Alone).await?;
        remove_folder(&self.directory).await
    }

    async fn alone(&self) -> Result<Held, GitError> {
        self.git.make_folder(&self.directory).await?;
        let limit = self.git.setup().remote_limit * 2;
        lock::take(&self.directory.join("fetch.lock"), Hold::Alone, limit).await
    }

    pub(crate) async fn reading(&self) -> Result<Held, GitError> {
        self.life(Hold::Shared).await
    }

    async fn life(&self, hold: Hold) -> Result<Held, GitError> {
        lock::take(&self.directory.join("life.lock"), hold, self.git.setup().local_limit).await
    }

    /// Says what the repository in the folder was made for.
    fn origin(&self) -> String {
        let contents = match self.contents {
            Contents::Everything => "everything",
            Contents::WithoutFiles => "without files",
        };
        format!("{}\n{contents}\n", self.url)
    }

    async fn is_made(&self) -> bool {
        let made = tokio::fs::read_to_string(self.directory.join("origin")).await;
        made.is_ok_and(|made| made == self.origin()) && self.repository().join("HEAD").exists()
    }

    async fn ensure(&self) -> Result<(), GitError> {
        if self.is_made().await { Ok(()) } else { self.replace(Hash::Sha1).await }
    }

    /// Puts an empty repository in the place of what is there.
    async fn replace(&self, hash: Hash) -> Result<(), GitError> {
        let _life = self.life(Hold::Alone).await?;
        let repository = self.repository();
        remove_folder(&self.directory.join("new.git")).await?;
        remove_folder(&self.directory.join("broken.git")).await?;
        let new = self.directory.join("new.git");
        self.make(&new, hash).await?;
        let origin = self.directory.join("origin");
        if repository.exists() {
            let aside = self.directory.join("broken.git");
            tracing::warn!(url = %self.url, "a mirror is broken or of another repository; it is made anew");
            let moved = tokio::fs::rename(&repository, &aside).await;
            moved.map_err(GitError::io("move aside", &repository))?;
            remove_folder(&aside).await?;
        }
        tokio::fs::rename(&new, &repository).await.map_err(GitError::io("move", &new))?;
        tokio::fs::write(&origin, self.origin()).await.map_err(GitError::io("write", origin))
    }

    async fn make(&self, new: &Path, hash: Hash) -> Result<(), GitError> {
        let format = match hash {
            Hash::Sha1 => "--object-format=sha1",
            Hash::Sha256 => "--object-format=sha256",
        };
        let call = self.git.call("init").args(["--quiet", "--bare", "--template=", "--initial-branch=main"]);
        call.args([format, "--end-of-options"]).arg(new).run().await?;
        let mut settings = vec![("remote.origin.url", self.url.as_str())];
        match self.contents {
            Contents::Everything => {}
            Contents::WithoutFiles => settings.extend([
                ("remote.origin.promisor", "true"),
                ("remote.origin.partialclonefilter", "blob:none"),
            ]),
        }
        for (name, value) in settings {
            self.git.call("config").bare(new).args(["--local", name, value]).run().await?;
        }
        Ok(())
    }

    /// Fetches, and mends once what can be mended.
    async fn bring(&self, wants: &[Want]) -> Result<(), GitError> {
        let failed = match self.fetch_once(wants, Prune::No).await {
            Err(error) => error,
            Ok(()) => return Ok(()),
        };
        match failed.cause() {
            Some(Cause::Corrupt) => {
                tracing::warn!(url = %self.url, error = %failed, "a mirror is broken");
                self.replace(Hash::Sha1).await?;
            }
            Some(Cause::OtherHash) => self.replace(Hash::Sha256).await?,
            Some(Cause::Conflict) => {
                self.unlock_refs().await?;
                self.fetch_once(&[Want::Everything], Prune::Yes).await?;
            }
            _ => return Err(failed),
        }
        self.fetch_once(wants, Prune::No).await
    }

    async fn fetch_once(&self, wants: &[Want], prune: Prune) -> Result<(), GitError> {
        let mut specs = Vec::new();
        for want in wants {
            match want {
                Want::Reference(name) => specs.push(format!("+{name}:{name}")),
                Want::Commit(commit) => specs.push(commit.to_string()),
                Want::Everything => {
                    specs.extend(
                        ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"].map(str::to_owned),
                    );
                }
            }
        }
        let _life = self.life(Hold::Shared).await?;
        let mut call = self.remote_call("fetch")?.set("fetch.unpackLimit=1").args(["--quiet", "--force"]);
        call = call.args(["--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules"]);
        call = match self.contents {
            Contents::Everything => call,
            Contents::WithoutFiles => call.arg("--filter=blob:none"),
        };
        call = match prune {
            Prune::Yes => call.arg("--prune"),
            Prune::No => call,
        };
        call.args(["--end-of-options", "origin"]).args(specs).run().await.map(drop)
    }

    /// Starts a call that may speak to the server of this mirror.
    pub(crate) fn remote_call(&self, verb: &'static str) -> Result<Call<'_>, GitError> {
        let call = self.git.call(verb).bare(&self.repository());
        call.remote(&self.url, &self.credentials, &self.known_hosts())
    }

    pub(crate) fn local_call(&self, verb: &'static str) -> Call<'_> {
        self.git.call(verb).bare(&self.repository())
    }

    /// Removes the locks of a git that was killed; we hold the lock under which git runs.
    async fn unlock_refs(&self) -> Result<(), GitError> {
        let repository = self.repository();
        let removed = tokio::task::spawn_blocking({
            let repository = repository.clone();
            move || remove_locks(&repository)
        });
        let removed = removed.await.map_err(std::io::Error::other).flatten();
        removed.map_err(GitError::io("unlock", repository))
    }

    /// Joins small packs when there are many; a failure costs speed only.
    async fn tidy(&self) {
        // A reader may be fetching a file at this moment: what it writes is no leftover.
        let Ok(Some(_life)) = lock::attempt(&self.directory.join("life.lock"), Hold::Alone) else { return };
        let packs = self.repository().join("objects/pack");
        let Ok(count) = clean_packs(&packs) else { return };
        if count <= PACKS_MAX {
            return;
        }
        let call = self.local_call("repack").args(["-d", "-q"]);
        let call = match self.contents {
            Contents::Everything => call.arg("--geometric=2"),
            Contents::WithoutFiles => call.arg("-a"),
        };
        if let Err(error) = call.run().await {
            tracing::warn!(url = %self.url, %error, "cannot join the packs of a mirror");
        }
    }
}

#[derive(Clone, Copy)]
enum Prune {
    Yes,
    No,
}
