//! Names, depths and sizes that are more than a workspace takes, and refs that are no plain words.

use anyhow::Result;
use ocelot_proto::wire;

use super::repositories::{FILE, FOLDER, Origin, Row, both, row};
use super::{Case, Scene, plain, with};

type Put = fn(&mut wire::BuildRequest, String);

/// Names, depths and sizes that are more than a workspace takes.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn sizes(runtime: &str) -> Vec<Row> {
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
pub(super) async fn names(scene: &Scene) -> Result<Vec<Case>> {
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
    let refused: [Put; 3] = [
        |asked, text| asked.branch = text,
        |asked, text| asked.tag = text,
        |asked, text| asked.commit = text,
    ];
    for put in refused {
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
