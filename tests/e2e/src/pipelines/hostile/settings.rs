//! What a repository says of how git is to work with it: settings, filters, hooks, submodules.

use anyhow::Context as _;

use super::repositories::{FILE, FOLDER, Row, both, row};
use super::{plain, with};

/// What a repository says of how git is to work with it.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn settings(runtime: &str) -> Vec<Row> {
    let clean = format!(
        "{}stages: [{{name: work, script: ['test -e .git', 'test -z \"$(ls .git/hooks 2>/dev/null)\"', \
         '! grep -q evil .git/config']}}]\n",
        with(runtime, ""),
    );
    vec![
        both(row(
            "hooks, filters and settings in the tree",
            |origin| {
                let touch = origin.touch();
                let hook = origin.blob(format!("#!/bin/sh\n{touch}\n"))?;
                let hooks = origin.tree(&[
                    ("100755", b"post-checkout", &hook),
                    ("100755", b"post-index-change", &hook),
                    ("100755", b"reference-transaction", &hook),
                ])?;
                let attributes =
                    origin.blob("* filter=evil diff=evil merge=evil ident working-tree-encoding=UTF-16\n")?;
                let config = origin.blob(format!(
                    "[core]\nfsmonitor = {touch}\nsshCommand = {touch}\nhooksPath = hooks\npager = {touch}\n\
                 [filter \"evil\"]\nsmudge = {touch}\nprocess = {touch}\nrequired = true\n\
                 [include]\npath = ../../../outside/evil\n[alias]\ncheckout = !{touch}\n"
                ))?;
                let head = origin.blob("ref: refs/heads/main\n")?;
                let empty = origin.tree(&[])?;
                origin.main(&[
                    (FILE, b".gitattributes", &attributes),
                    (FILE, b".gitconfig", &config),
                    (FILE, b"HEAD", &head),
                    (FILE, b"config", &config),
                    (FOLDER, b"hooks", &hooks),
                    (FOLDER, b"objects", &empty),
                    (FOLDER, b"refs", &empty),
                ])
            },
            clean.clone(),
            &["succeeded"],
        )),
        row(
            "a repository inside the tree",
            |origin| {
                let config = origin.blob(format!("[core]\nbare = true\nfsmonitor = {}\n", origin.touch()))?;
                let (head, empty) = (origin.blob("ref: refs/heads/main\n")?, origin.tree(&[])?);
                let inside = origin.tree(&[
                    (FILE, b"HEAD", &head),
                    (FILE, b"config", &config),
                    (FOLDER, b"objects", &empty),
                    (FOLDER, b"refs", &empty),
                ])?;
                origin.main(&[(FOLDER, b"sub", &inside)])
            },
            clean.clone(),
            &["succeeded"],
        ),
        row(
            "large files from another place",
            |origin| {
                let attributes = origin.blob("*.bin filter=lfs diff=lfs merge=lfs -text\n")?;
                let lfs = origin.blob(format!("[lfs]\nurl = ext::sh -c '{}'\n", origin.touch()))?;
                let pointer = origin.blob(format!(
                    "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 4\n",
                    "a".repeat(64)
                ))?;
                origin.main(&[
                    (FILE, b".gitattributes", &attributes),
                    (FILE, b".lfsconfig", &lfs),
                    (FILE, b"x.bin", &pointer),
                ])
            },
            with(runtime, "checkout: {lfs: true}\nstages: [{name: work, script: 'true'}]\n"),
            &["failed", "setup"],
        ),
        row(
            "a commit in the place of another",
            |origin| {
                let evil = origin.blob("evil")?;
                let head = origin.git(&["rev-parse", "refs/heads/main"], b"")?;
                let other = origin.commit(&origin.tree(&[(FILE, b"evil", &evil)])?)?;
                origin.git(&["update-ref", &format!("refs/replace/{head}"), &other], b"").map(drop)
            },
            with(runtime, "stages: [{name: work, script: ['test -f README', 'test ! -e evil']}]\n"),
            &["succeeded"],
        ),
        row(
            "an author and a message full of commands",
            |origin| {
                let touch = origin.touch();
                let tree = origin.git(&["rev-parse", "refs/heads/main^{tree}"], b"")?;
                let text = format!(
                    "tree {tree}\nauthor $({touch}) `{touch}` <a;{touch}@x> 1700000000 +0000\n\
                 committer \u{1b}]0;evil\u{7} <c@x> 1700000000 +0000\n\n$({touch})\n\u{1b}[2J{}\n",
                    "long ".repeat(200_000)
                );
                let commit =
                    origin.git(&["hash-object", "-w", "-t", "commit", "--stdin"], text.as_bytes())?;
                origin.git(&["update-ref", "refs/heads/main", &commit], b"").map(drop)
            },
            plain(runtime),
            &["succeeded"],
        ),
    ]
}

/// Submodules that lead elsewhere. A repository's own check on arrival, or ours, ends each.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn submodules(runtime: &str) -> Vec<Row> {
    let wanted = with(runtime, "checkout: {submodules: true}\nstages: [{name: work, script: 'true'}]\n");
    let row = |name, make, ends| row(name, make, wanted.clone(), ends);
    const HARM: &[&str] = &["failed", "setup", "made to harm"];
    vec![
        both(row(
            "a submodule by a helper that runs a program",
            |origin| {
                origin.submodule(b"sub", &format!("path = sub\nurl = ext::sh -c '{}'\n", origin.touch()))
            },
            &["failed", "setup", "names a remote helper"],
        )),
        row(
            "a submodule whose address is an option",
            |origin| {
                origin.submodule(b"sub", &format!("path = sub\nurl = \"--upload-pack={}\"\n", origin.touch()))
            },
            HARM,
        ),
        row(
            "a submodule on this machine",
            |origin| {
                let url = format!("file://{}", origin.bare.display());
                origin.submodule(b"sub", &format!("path = sub\nurl = {url}\n"))
            },
            &["failed", "setup", "a folder of the host"],
        ),
        row(
            "a submodule by a plain path",
            |origin| {
                let url = origin.repositories.join("secret.git");
                origin.submodule(b"sub", &format!("path = sub\nurl = {}\n", url.display()))
            },
            &["failed", "setup", "a folder of the host"],
        ),
        row(
            "a submodule that climbs off its server",
            |origin| origin.submodule(b"sub", "path = sub\nurl = ../../../../../../../../etc\n"),
            &["failed", "setup", "repository's path"],
        ),
        row(
            "a submodule by ssh with an option as its host",
            |origin| {
                let url = format!("ssh://-oProxyCommand={}/x", origin.touch().replace(' ', "%20"));
                origin.submodule(b"sub", &format!("path = sub\nurl = \"{url}\"\n"))
            },
            &["failed", "setup"],
        ),
        row(
            "a submodule with a line in its address",
            |origin| origin.submodule(b"sub", "path = sub\nurl = \"https://h.example/a\\nhost=evil\"\n"),
            &["failed", "setup"],
        ),
        row(
            "a submodule with a password in its address",
            |origin| origin.submodule(b"sub", "path = sub\nurl = https://ada:word@h.example/x\n"),
            &["failed", "setup", "must not hold a user or password"],
        ),
        row(
            "a submodule whose path ends a line",
            |origin| origin.submodule(b"sub\r", "path = \"sub\r\"\nurl = ./inner\n"),
            &["failed", "setup"],
        ),
        row(
            "a submodule whose path is an option",
            |origin| origin.submodule(b"-sub", "path = -sub\nurl = ./inner\n"),
            HARM,
        ),
        row(
            "a submodule that is updated by a command",
            |origin| {
                let update = format!("path = sub\nurl = ./inner\nupdate = !{}\n", origin.touch());
                origin.submodule(b"sub", &update)
            },
            HARM,
        ),
        row(
            "a submodule whose name climbs",
            |origin| {
                let inner = origin.git(&["rev-parse", "refs/heads/main"], b"")?;
                let settings =
                    origin.blob("[submodule \"../../../outside\"]\npath = sub\nurl = ./inner\n")?;
                origin.main(&[(FILE, b".gitmodules", &settings), ("160000", b"sub", &inner)])
            },
            HARM,
        ),
        row(
            "submodules inside each other without an end",
            |origin| {
                for _ in 0..8 {
                    let own =
                        origin.bare.file_name().context("it has a name")?.to_string_lossy().into_owned();
                    origin.submodule(b"sub", &format!("path = sub\nurl = ../{own}\n"))?;
                }
                Ok(())
            },
            &["failed", "setup", "nested more than"],
        ),
    ]
}
