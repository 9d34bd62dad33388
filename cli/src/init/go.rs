//! Go: one module.

use super::{Cache, Folder, Part, shortened, stage, version};

/// Both are told as absolute paths only.
const HOMES: &str = r#"export GOMODCACHE="$PWD/.go/mod" GOCACHE="$PWD/.go/build""#;

pub(super) fn part(folder: &Folder<'_>) -> Option<Part> {
    let module = folder.text("go.mod")?;
    let line = |word: &str| module.lines().find_map(|line| line.strip_prefix(word));
    let tag = line("go ").and_then(version).map_or_else(|| "1".to_owned(), |version| shortened(version, 2));
    let mut part = folder.part("Go", "go.mod", format!("golang:{tag}"));
    part.cache = Some(Cache {
        name: "go",
        paths: vec![".go".to_owned()],
        key: format!("go-{tag}"),
        key_files: vec![if folder.has("go.sum") { "go.sum" } else { "go.mod" }.to_owned()],
    });
    if folder.first(&[".golangci.yml", ".golangci.yaml", ".golangci.toml"]).is_some() {
        part.remarks
            .push("golangci-lint is set up here: give it a task of its own, in its image.".to_owned());
    }
    part.stages.push(stage("vet", [HOMES, "go vet ./..."]));
    part.stages.push(stage("test", [HOMES, "go test ./..."]));
    Some(part)
}
