//! Repositories and refs: trees that no work tree could hold, links, settings, hooks, submodules.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use ocelot_proto::wire;

use super::{Case, Scene, plain, with};

/// One repository: how it is made, what is built of it, and how that ends.
struct Row {
    name: &'static str,
    make: fn(&Origin) -> Result<()>,
    definition: String,
    ends: &'static [&'static str],
    /// It is built in containers too.
    docker: bool,
}

/// A bare repository that is written past all of git's checks.
pub(super) struct Origin {
    pub(super) bare: PathBuf,
    pub(super) outside: PathBuf,
    /// Where the server's other repositories lie.
    pub(super) repositories: PathBuf,
}

impl Origin {
    /// Makes the repository of this project, empty, and the project.
    pub(super) async fn make(scene: &Scene, project: &str) -> Result<Self> {
        let ground = &scene.ground;
        let repository = ground.repository(project, &[("README", "hostile\n")])?;
        ground.add_project(project, wire::ProjectSettings::default()).await?;
        let repositories = ground.fleet.path("repositories");
        let origin = Self { bare: repository.bare, outside: scene.outside.clone(), repositories };
        // As every forge serves: what only a checkout needs does not come to the controller.
        origin.git(&["config", "uploadpack.allowFilter", "true"], b"")?;
        Ok(origin)
    }

    pub(super) fn git(&self, arguments: &[&str], input: &[u8]) -> Result<String> {
        let mut command = Command::new("git");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.com");
        }
        let mut child = command
            .arg("--git-dir")
            .arg(&self.bare)
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("it was asked for")?.write_all(input)?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    fn blob(&self, contents: impl AsRef<[u8]>) -> Result<String> {
        self.git(&["hash-object", "-w", "-t", "blob", "--stdin"], contents.as_ref())
    }

    /// Makes a tree of these modes, names and objects, in this order, whatever git thinks of it.
    fn tree(&self, entries: &[(&str, &[u8], &str)]) -> Result<String> {
        let mut bytes = Vec::new();
        for (mode, name, object) in entries {
            bytes.extend_from_slice(mode.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(name);
            bytes.push(0);
            for place in (0..object.len()).step_by(2) {
                bytes.push(u8::from_str_radix(&object[place..place + 2], 16)?);
            }
        }
        self.git(&["hash-object", "-w", "-t", "tree", "--literally", "--stdin"], &bytes)
    }

    fn commit(&self, tree: &str) -> Result<String> {
        self.git(&["commit-tree", "-m", "hostile", tree], b"")
    }

    /// Makes `main` a commit of a tree of these.
    fn main(&self, entries: &[(&str, &[u8], &str)]) -> Result<()> {
        let commit = self.commit(&self.tree(entries)?)?;
        self.git(&["update-ref", "refs/heads/main", &commit], b"").map(drop)
    }

    /// A command that leaves a trace.
    fn touch(&self) -> String {
        format!("touch {}", self.outside.join("ran").display())
    }

    fn outside(&self) -> Result<String> {
        self.blob(self.outside.as_os_str().as_encoded_bytes())
    }

    /// A tree whose only file is a hook that leaves a trace.
    fn hook(&self) -> Result<String> {
        let hook = self.blob(format!("#!/bin/sh\n{}\n", self.touch()))?;
        let hooks = self.tree(&[("100755", b"post-checkout", &hook)])?;
        self.tree(&[("40000", b"hooks", &hooks)])
    }

    /// Makes `main` a commit with one submodule.
    fn submodule(&self, path: &[u8], settings: &str) -> Result<()> {
        let inner = self.git(&["rev-parse", "refs/heads/main"], b"")?;
        let settings = self.blob(format!("[submodule \"s\"]\n{settings}"))?;
        let mut entries = [("100644", b".gitmodules".as_slice(), settings), ("160000", path, inner)];
        entries.sort_by_key(|(_, name, _)| *name);
        let entries = entries.each_ref().map(|(mode, name, object)| (*mode, *name, object.as_str()));
        self.main(&entries)
    }
}

const LINK: &str = "120000";
const FILE: &str = "100644";
const FOLDER: &str = "40000";

fn row(
    name: &'static str,
    make: fn(&Origin) -> Result<()>,
    definition: impl Into<String>,
    ends: &'static [&'static str],
) -> Row {
    Row { name, make, definition: definition.into(), ends, docker: false }
}

/// One more, in containers too.
fn both(row: Row) -> Row {
    Row { docker: true, ..row }
}

pub(super) async fn cases(scene: &Scene, runtime: &str) -> Result<Vec<Case>> {
    let rows = [trees(runtime), links(runtime), settings(runtime), submodules(runtime), sizes(runtime)];
    let mut cases = Vec::new();
    for row in rows.into_iter().flatten().filter(|row| runtime == "process" || row.docker) {
        let case = Case::new(row.name, &row.definition, row.ends);
        let origin = Origin::make(scene, &case.project()).await?;
        (row.make)(&origin).with_context(|| row.name)?;
        cases.push(case);
    }
    if runtime == "process" {
        cases.extend(names(scene).await?);
    }
    Ok(cases)
}

/// Trees that hold a name which leads elsewhere: none of them arrives.
fn trees(runtime: &str) -> Vec<Row> {
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
fn links(runtime: &str) -> Vec<Row> {
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
        row(
            "a secret's file behind a link",
            out,
            with("stages: [{name: work, script: 'true'}]\nsecrets: [{name: token, file: out/canary}]\n"),
            &["failed", "setup", "symlink"],
        ),
        row(
            "a secret's file in a folder behind a link",
            out,
            with("stages: [{name: work, script: 'true'}]\nsecrets: [{name: token, file: out/new/file}]\n"),
            &["failed", "setup", "symlink"],
        ),
        row(
            "a secret's file in the place of a link",
            out,
            with(
                "stages: [{name: work, script: 'grep -q grasshopper out'}]\nsecrets: [{name: token, file: out}]\n",
            ),
            &["succeeded"],
        ),
        row(
            "a secret's file where a stage put a link",
            |_| Ok(()),
            with(
                "stages:\n  - {name: link, script: ln -s ../../../../outside way}\n  \
             - {name: use, secrets: [{name: token, file: way/canary}], script: 'true'}\n",
            ),
            &["failed", "symlink"],
        ),
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

/// What a repository says of how git is to work with it.
fn settings(runtime: &str) -> Vec<Row> {
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
fn submodules(runtime: &str) -> Vec<Row> {
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

/// Names, depths and sizes that are more than a workspace takes.
fn sizes(runtime: &str) -> Vec<Row> {
    let clean = "stages: [{name: work, script: 'true'}]\n";
    vec![
        both(row(
            "names of control characters and options",
            |origin| {
                let file = origin.blob("word")?;
                let names: [&[u8]; 9] = [
                    b"\x07",
                    b"\x1b[2J",
                    b"$(id)",
                    b"--help",
                    b"-rf",
                    b"a\nb",
                    b"c\r",
                    b"con.txt",
                    b"\xff\xfe",
                ];
                let entries: Vec<_> = names.iter().map(|name| (FILE, *name, file.as_str())).collect();
                origin.main(&entries)
            },
            with(runtime, &format!("{clean}artifacts: [{{name: a, paths: ['**']}}]\n")),
            &["succeeded", "9 files"],
        )),
        row(
            "a thousand folders inside each other",
            |origin| {
                let file = origin.blob("word")?;
                let mut tree = origin.tree(&[(FILE, b"f", &file)])?;
                for _ in 0..1000 {
                    tree = origin.tree(&[(FOLDER, b"d", &tree)])?;
                }
                origin.main(&[(FOLDER, b"d", &tree)])
            },
            with(runtime, clean),
            &["succeeded"],
        ),
        both(row(
            "a stage leaves folders without a bottom",
            |_| Ok(()),
            with(
                runtime,
                "stages:\n  - name: work\n    script: |\n      \
             way=$(awk 'BEGIN { for (i = 0; i < 1500; i++) printf \"d/\" }')\n      i=0\n      \
             while [ $i -lt 4 ]; do mkdir -p $way; cd -P $way; i=$((i+1)); done\n      \
             mkdir shut; touch shut/file; chmod 000 shut\n",
            ),
            &["succeeded"],
        )),
        row(
            "a tree of ten thousand million files",
            |origin| {
                let mut below = origin.blob("word")?;
                for level in 0..10 {
                    let mode = if level == 0 { FILE } else { FOLDER };
                    let entries: Vec<(&str, &[u8], &str)> =
                        [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9"]
                            .map(|name: &[u8; 1]| (mode, name.as_slice(), below.as_str()))
                            .to_vec();
                    below = origin.tree(&entries)?;
                }
                origin.main(&[(FOLDER, b"tree", &below)])
            },
            with(runtime, clean),
            &["failed", "files"],
        ),
        row(
            "files of more than the disk",
            |origin| {
                let file = origin.blob(vec![0; 64 << 20])?;
                let names: Vec<String> = (0..300).map(|number| format!("{number:04}")).collect();
                let entries: Vec<_> =
                    names.iter().map(|name| (FILE, name.as_bytes(), file.as_str())).collect();
                let folder = origin.tree(&entries)?;
                let folders: Vec<_> =
                    names.iter().map(|name| (FOLDER, name.as_bytes(), folder.as_str())).collect();
                origin.main(&folders)
            },
            with(runtime, &format!("retry: {{limit: 0}}\n{clean}")),
            &["failed", "disk"],
        ),
        row(
            "an artifact whose name climbs",
            |_| Ok(()),
            with(runtime, &format!("{clean}artifacts: [{{name: ../../evil, paths: [README]}}]\n")),
            &["succeeded", "artifact ../../evil: 1 file"],
        ),
        both(row(
            "an artifact with a hole of a terabyte",
            |_| Ok(()),
            with(
                runtime,
                "stages: [{name: work, script: truncate -s 1024G hole}]\nartifacts: [{name: a, paths: [hole]}]\n",
            ),
            &["failed", "policy, artifact a", "bytes of contents"],
        )),
    ]
}

/// Branches, tags and commits whose names are commands, options or more than one line.
async fn names(scene: &Scene) -> Result<Vec<Case>> {
    let project = "refs";
    let origin = Origin::make(scene, &format!("hostile/{project}")).await?;
    let head = origin.git(&["rev-parse", "refs/heads/main"], b"")?;
    let touch = origin.touch().replace(' ', "${IFS}");
    let wild = [format!("$({touch})"), format!("a;{touch}"), format!("b|{touch}"), format!("c'{touch}\"")];
    let mut cases = Vec::new();
    for (number, branch) in wild.iter().enumerate() {
        origin.git(&["update-ref", &format!("refs/heads/{branch}"), &head], b"")?;
        origin.git(&["update-ref", &format!("refs/tags/{branch}"), &head], b"")?;
        let definition = "runtime: process\nenv: {BUILT: \"${branch}\"}\nstages: [{name: work, script: ['test \
                          \"$OCELOT_BRANCH\" = \"$BUILT\"', 'test \"$(git symbolic-ref HEAD)\" = \
                          \"refs/heads/$BUILT\"']}]\ncache: [{name: c, paths: [README], key: \"${branch}\"}]\n";
        let mut case = Case::new(project, definition, &["succeeded"]);
        case.name = project.to_owned();
        case.asked.branch.clone_from(branch);
        cases.push(case);
        if number == 0 {
            let mut case = Case::new(project, &plain("process"), &["succeeded"]);
            case.asked.tag.clone_from(branch);
            cases.push(case);
        }
    }
    origin.git(&["update-ref", &format!("refs/heads/--upload-pack={touch}"), &head], b"")?;
    let refused: [(&str, fn(&mut wire::BuildRequest, String)); 3] = [
        ("branch", |asked, text| asked.branch = text),
        ("tag", |asked, text| asked.tag = text),
        ("commit", |asked, text| asked.commit = text),
    ];
    for (_, put) in refused {
        for text in [
            format!("--upload-pack={touch}"),
            "main\nrefs/heads/other".to_owned(),
            "../../../../etc/passwd".to_owned(),
            "main:refs/heads/evil".to_owned(),
            "a\u{1b}[2J".to_owned(),
            "@{-1}".to_owned(),
            "x".repeat(5000),
        ] {
            let mut case = Case::new(project, &plain("process"), &["refused"]);
            put(&mut case.asked, text);
            cases.push(case);
        }
    }
    Ok(cases)
}

/// Makes the place of a case that needs no more than a repository.
pub(super) async fn ordinary(scene: &Scene, case: &Case) -> Result<()> {
    Origin::make(scene, &case.project()).await.map(drop)
}
