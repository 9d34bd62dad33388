//! Trees that no work tree could hold, and links that lead out of one.

use anyhow::Result;

use super::repositories::{FILE, FOLDER, LINK, Origin, Row, both, row};
use super::{plain, with};

/// Trees that hold a name which leads elsewhere: none of them arrives.
pub(super) fn trees(runtime: &str) -> Vec<Row> {
    const HARM: &[&str] = &["refused", "made to harm"];
    fn below(origin: &Origin, name: &[u8]) -> Result<()> {
        let hooks = origin.hook()?;
        origin.main(&[(FOLDER, name, &hooks)])
    }
    let plain = plain(runtime);
    let row = |name, make| row(name, make, plain.clone(), HARM);
    vec![
        both(row("a folder called .git", |origin| below(origin, b".git"))),
        row("the same in capitals", |origin| below(origin, b".GIT")),
        row("its short name on another system", |origin| below(origin, b"git~1")),
        row("one with a letter that is not seen", |origin| below(origin, ".g\u{200c}it".as_bytes())),
        row("one with a stream's name", |origin| below(origin, b".git::$INDEX_ALLOCATION")),
        both(row("a folder called dot dot", |origin| below(origin, b".."))),
        row("a folder called dot", |origin| below(origin, b".")),
        row("a name with a slash", |origin| {
            let file = origin.blob("evil")?;
            origin.main(&[(FILE, b"../../../../outside/evil", &file)])
        }),
        both(row("a link and a folder of one name", |origin| {
            let (link, file) = (origin.outside()?, origin.blob("evil")?);
            let folder = origin.tree(&[(FILE, b"evil", &file)])?;
            origin.main(&[(LINK, b"a", &link), (FOLDER, b"a", &folder)])
        })),
        row("a link called .git", |origin| {
            let link = origin.outside()?;
            origin.main(&[(LINK, b".git", &link)])
        }),
        row("settings of submodules as a link", |origin| {
            let link = origin.outside()?;
            origin.main(&[(LINK, b".gitmodules", &link)])
        }),
    ]
}

/// Links out of the workspace, and everything of ours that might follow one.
pub(super) fn links(runtime: &str) -> Vec<Row> {
    fn out(origin: &Origin) -> Result<()> {
        let link = origin.outside()?;
        origin.main(&[(LINK, b"out", &link)])
    }
    let with = |rest: &str| with(runtime, rest);
    // What comes in takes the link's place, and leaves alone what it led to.
    let own = "'test ! -L out && test \"$(cat out/evil)\" = evil'";
    let replaced = "rm out; mkdir out; echo evil > out/evil";
    vec![
        both(row(
            "an artifact that is a link",
            out,
            with("stages: [{name: work, script: 'true'}]\nartifacts: [{name: a, paths: [out]}]\n"),
            &["failed", "nothing matches", "left out"],
        )),
        both(row(
            "an artifact behind a link",
            out,
            with(
                "stages: [{name: work, script: 'true'}]\nartifacts: [{name: a, paths: ['out/**', out/canary]}]\n",
            ),
            &["failed", "nothing matches"],
        )),
        both(row(
            "a cache behind a link",
            out,
            with(
                "stages: [{name: work, script: 'true'}]\ncache: [{name: c, paths: [out/inner, out], key: k}]\n",
            ),
            &["succeeded", "nothing to save"],
        )),
        row(
            "a key made behind a link",
            out,
            with(
                "stages: [{name: work, script: echo word > file}]\n\
             cache: [{name: c, paths: [file], key: k, key_files: ['out/**', out]}]\n",
            ),
            &["succeeded", "saved"],
        ),
        both(row(
            "a cache that comes back over a link",
            out,
            format!(
                "defaults: {{{}, cache: [{{name: c, paths: [out], key: k}}]}}\ntasks:\n  \
             make: {{stages: [{{name: work, script: '{replaced}'}}]}}\n  \
             take: {{needs: [make], stages: [{{name: work, script: {own}}}]}}\n",
                with("").trim(),
            ),
            &["succeeded", "cache c: saved", "cache c: restored"],
        )),
        both(row(
            "an artifact that comes over a link",
            out,
            format!(
                "defaults: {{{}}}\ntasks:\n  \
             make: {{artifacts: [{{name: a, paths: [out]}}], stages: [{{name: work, script: '{replaced}'}}]}}\n  \
             take: {{needs: [make], stages: [{{name: work, script: {own}}}]}}\n",
                with("").trim(),
            ),
            &["succeeded", "artifact a of make: 1 file"],
        )),
        both(row(
            "a secret's file behind a link",
            out,
            with("stages: [{name: work, script: 'true'}]\nsecrets: [{name: token, file: out/canary}]\n"),
            &["failed", "setup", "symlink"],
        )),
        both(row(
            "a secret's file in a folder behind a link",
            out,
            with("stages: [{name: work, script: 'true'}]\nsecrets: [{name: token, file: out/new/file}]\n"),
            &["failed", "setup", "symlink"],
        )),
        both(row(
            "a secret's file in the place of a link",
            out,
            with(
                "stages: [{name: work, script: 'grep -q grasshopper out'}]\nsecrets: [{name: token, file: out}]\n",
            ),
            &["succeeded"],
        )),
        both(row(
            "a secret's file where a stage put a link",
            |_| Ok(()),
            with(
                "stages:\n  - {name: link, script: ln -s ../../../../outside way}\n  \
             - {name: use, secrets: [{name: token, file: way/canary}], script: 'true'}\n",
            ),
            &["failed", "symlink"],
        )),
        both(row(
            "stages begin behind a link",
            out,
            with("directory: out\nstages: [{name: work, script: 'true'}]\n"),
            if runtime == "docker" { &["failed"] } else { &["succeeded"] },
        )),
        both(row(
            "the definition is a link",
            |origin| {
                let link = origin.blob("/etc/passwd")?;
                origin.main(&[(LINK, b"ocelot.yml", &link)])
            },
            "",
            &["refused", "a symlink"],
        )),
        row(
            "the definition is a folder",
            |origin| {
                let file = origin.blob("evil")?;
                let folder = origin.tree(&[(FILE, b"evil", &file)])?;
                origin.main(&[(FOLDER, b"ocelot.yml", &folder)])
            },
            "",
            &["refused", "a folder"],
        ),
    ]
}
