//! The working tree as a commit, uncommitted changes included, in a bare repository of ours.
//!
//! Nothing of the person's is written to, neither the tree nor the index, nor a ref, nor an object: the
//! index is a copy, and new objects go to the bare repository, which borrows all others. New files are
//! taken unless git ignores them, and what was deleted is gone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::git::{Git, GitFailed};

/// A commit of a working tree, and where it can be fetched.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The bare repository.
    pub(crate) repository: PathBuf,
    /// Full id; the checkout's own commit if nothing is uncommitted.
    pub(crate) commit: String,
    /// The ref that it has there.
    pub(crate) reference: String,
    pub(crate) tree: String,
    /// There was something to commit.
    pub(crate) changed: bool,
}

#[derive(Debug)]
pub(crate) enum SnapshotError {
    Folder { folder: PathBuf, source: io::Error },
    Git(GitFailed),
}

impl From<GitFailed> for SnapshotError {
    fn from(failed: GitFailed) -> Self {
        Self::Git(failed)
    }
}

/// Whom the commit names; nobody's name is borrowed.
const WHO: [(&str, &str); 4] = [
    ("GIT_AUTHOR_NAME", "ocelot local"),
    ("GIT_AUTHOR_EMAIL", "ocelot@localhost"),
    ("GIT_COMMITTER_NAME", "ocelot local"),
    ("GIT_COMMITTER_EMAIL", "ocelot@localhost"),
];

impl Snapshot {
    /// Takes the tree at `root`; what was at `repository` is replaced.
    pub(crate) fn take(
        root: &Path,
        repository: &Path,
        branch: &str,
        message: &str,
    ) -> Result<Self, SnapshotError> {
        let own = Git::at(root);
        let folder = |source| SnapshotError::Folder { folder: repository.to_owned(), source };
        match fs::remove_dir_all(repository) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(folder(error)),
            Ok(()) | Err(_) => {}
        }
        fs::create_dir_all(repository).map_err(folder)?;
        let format = own.text(&["rev-parse", "--show-object-format"]).unwrap_or_else(|| "sha1".to_owned());
        let bare = Git::at(repository);
        bare.run(&["init", "--quiet", "--bare", "--template=", &format!("--object-format={format}")], b"")?;
        let objects = absolute(&own, "objects")?;
        borrow(&own, repository, &objects).map_err(folder)?;

        let index = repository.join("tree-index");
        match fs::copy(absolute(&own, "index")?, &index) {
            // A repository without a commit may have no index yet.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(folder(error)),
            Ok(_) | Err(_) => {}
        }
        let writing = own
            .clone()
            .with("GIT_INDEX_FILE", &index)
            .with("GIT_OBJECT_DIRECTORY", repository.join("objects"))
            .with("GIT_ALTERNATE_OBJECT_DIRECTORIES", &objects);
        writing.run(&["-c", "advice.addEmbeddedRepo=false", "add", "--all", "--", "."], b"")?;
        let tree = writing.run(&["write-tree"], b"")?;
        fs::remove_file(&index).map_err(folder)?;

        let head = own.text(&["rev-parse", "--verify", "--quiet", "HEAD"]);
        let head_tree = own.text(&["rev-parse", "--verify", "--quiet", "HEAD^{tree}"]);
        let (commit, changed) = match head {
            Some(head) if head_tree.as_ref() == Some(&tree) => (head, false),
            head => (commit(&bare, &tree, head.as_deref(), message)?, true),
        };
        let reference = format!("refs/heads/{branch}");
        let mut refs = tags(&own);
        refs.push_str(&format!("update {reference} {commit}\n"));
        bare.run(&["update-ref", "--stdin"], refs.as_bytes())?;
        bare.run(&["symbolic-ref", "HEAD", &reference], b"")?;
        Ok(Self { repository: repository.to_owned(), commit, reference, tree, changed })
    }

    /// Returns the address by which it is fetched.
    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.repository.display())
    }
}

fn commit(bare: &Git, tree: &str, parent: Option<&str>, message: &str) -> Result<String, GitFailed> {
    let mut arguments = vec!["commit-tree", tree];
    arguments.extend(parent.iter().flat_map(|parent| ["-p", parent]));
    let git = WHO.iter().fold(bare.clone(), |git, (name, value)| git.with(name, *value));
    let message = if message.is_empty() { "working tree" } else { message };
    git.run(&arguments, message.as_bytes())
}

/// Lets the bare repository use all objects that are here already, in a shallow clone too.
fn borrow(own: &Git, repository: &Path, objects: &Path) -> io::Result<()> {
    let mut line = objects.as_os_str().as_encoded_bytes().to_vec();
    line.push(b'\n');
    fs::create_dir_all(repository.join("objects/info"))?;
    fs::write(repository.join("objects/info/alternates"), line)?;
    match absolute(own, "shallow").map(|shallow| fs::copy(shallow, repository.join("shallow"))) {
        Ok(Err(error)) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(Ok(_) | Err(_)) | Err(_) => Ok(()),
    }
}

/// Returns where a file of the repository lies, also in a second working tree.
fn absolute(own: &Git, name: &str) -> Result<PathBuf, GitFailed> {
    own.run(&["rev-parse", "--path-format=absolute", "--git-path", name], b"").map(PathBuf::from)
}

/// Says all tags again, so that versions can be told from them.
fn tags(own: &Git) -> String {
    let format = "--format=update %(refname) %(objectname)";
    own.text(&["for-each-ref", "--count=10000", format, "refs/tags"])
        .map(|lines| format!("{lines}\n"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A repository with one commit, of these files.
    fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let git = Git::at(folder.path());
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        git.run(&["init", "--quiet", "--initial-branch=main"], b"").unwrap();
        write(".gitignore", "ignored\n");
        write("kept", "kept\n");
        write("changed", "before\n");
        write("deleted", "deleted\n");
        git.run(&["add", "."], b"").unwrap();
        let named = WHO.iter().fold(git.clone(), |git, (name, value)| git.with(name, *value));
        // No process of git writes later on.
        named.run(&["-c", "maintenance.auto=false", "commit", "--quiet", "-m", "one"], b"").unwrap();
        named.run(&["tag", "v1"], b"").unwrap();
        folder
    }

    fn everything(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut open = vec![folder.to_owned()];
        while let Some(next) = open.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    found.push((path.clone(), fs::read(path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn uncommitted_changes_are_in_it_and_nothing_of_the_person_is_written_to() {
        let folder = repository();
        let own = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("changed"), "after\n").unwrap();
        fs::write(folder.path().join("new"), "new\n").unwrap();
        fs::write(folder.path().join("ignored"), "ignored\n").unwrap();
        fs::write(folder.path().join("staged"), "staged\n").unwrap();
        Git::at(folder.path()).run(&["add", "staged"], b"").unwrap();
        fs::remove_file(folder.path().join("deleted")).unwrap();
        let before = everything(folder.path());
        let place = own.path().join("tree.git");
        let snapshot = Snapshot::take(folder.path(), &place, "main", "one").unwrap();
        assert!(snapshot.changed);
        assert_eq!(everything(folder.path()), before, "nothing of the person's was written to");

        let clone = own.path().join("clone");
        let made = Git::at(own.path());
        made.run(&["clone", "--quiet", &snapshot.url(), clone.to_str().unwrap()], b"").unwrap();
        let mut names: Vec<String> = fs::read_dir(&clone)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".git")
            .collect();
        names.sort();
        assert_eq!(names, [".gitignore", "changed", "kept", "new", "staged"]);
        assert_eq!(fs::read_to_string(clone.join("changed")).unwrap(), "after\n");
        let cloned = Git::at(&clone);
        assert_eq!(cloned.text(&["rev-parse", "HEAD"]), Some(snapshot.commit.clone()));
        assert_eq!(cloned.text(&["rev-parse", "HEAD^"]), Git::at(folder.path()).text(&["rev-parse", "HEAD"]));
        assert_eq!(cloned.text(&["describe", "--tags", "HEAD^"]).as_deref(), Some("v1"));
    }

    #[test]
    fn a_clean_tree_is_the_commit_itself_and_the_place_can_be_used_again() {
        let folder = repository();
        let own = tempfile::tempdir().unwrap();
        let place = own.path().join("tree.git");
        let head = Git::at(folder.path()).text(&["rev-parse", "HEAD"]).unwrap();
        for _ in 0..2 {
            let snapshot = Snapshot::take(folder.path(), &place, "topic/a", "one").unwrap();
            assert_eq!((snapshot.commit.as_str(), snapshot.changed), (head.as_str(), false));
            assert_eq!(snapshot.reference, "refs/heads/topic/a");
        }
    }

    #[test]
    fn a_shallow_clone_and_a_repository_without_a_commit_do_too() {
        let folder = repository();
        let own = tempfile::tempdir().unwrap();
        let shallow = own.path().join("shallow");
        let from = format!("file://{}", folder.path().display());
        let arguments = ["clone", "--quiet", "--depth=1", &from, shallow.to_str().unwrap()];
        Git::at(own.path()).run(&arguments, b"").unwrap();
        fs::write(shallow.join("new"), "new\n").unwrap();
        let taken = Snapshot::take(&shallow, &own.path().join("a.git"), "main", "").unwrap();
        let git = Git::at(own.path());
        git.run(&["clone", "--quiet", &taken.url(), "one"], b"").unwrap();
        assert!(own.path().join("one/new").exists());

        let empty = own.path().join("empty");
        git.run(&["init", "--quiet", "empty"], b"").unwrap();
        fs::write(empty.join("first"), "first\n").unwrap();
        let taken = Snapshot::take(&empty, &own.path().join("b.git"), "main", "").unwrap();
        assert!(taken.changed);
        git.run(&["clone", "--quiet", "--branch=main", &taken.url(), "two"], b"").unwrap();
        assert!(own.path().join("two/first").exists());
    }
}
