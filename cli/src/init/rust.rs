//! Rust: one crate or a workspace.

use super::{Cache, Folder, Part, Stage, shortened, stage, toml_text, version};

pub(super) fn part(folder: &Folder<'_>) -> Option<Part> {
    let manifest = folder.text("Cargo.toml")?;
    let toolchain = folder.text("rust-toolchain.toml").and_then(|text| toml_text(text, "channel"));
    let toolchain = toolchain.or_else(|| folder.text("rust-toolchain").map(str::trim));
    let wanted = toolchain.or_else(|| toml_text(manifest, "rust-version"));
    let numbered = wanted.filter(|wanted| wanted.starts_with(|letter: char| letter.is_ascii_digit()));
    let tag = numbered.and_then(version).map_or_else(|| "1".to_owned(), |version| shortened(version, 3));
    let mut part = folder.part("Rust", "Cargo.toml", format!("rust:{tag}"));
    let locked = if folder.has("Cargo.lock") { " --locked" } else { "" };
    let all = if manifest.lines().any(|line| line.trim() == "[workspace]") { " --workspace" } else { "" };
    part.env = vec![("CARGO_TERM_COLOR", "always".to_owned()), ("CARGO_HOME", ".cargo-home".to_owned())];
    let key_file = if folder.has("Cargo.lock") { "Cargo.lock" } else { "**/Cargo.toml" };
    part.cache = Some(Cache {
        name: "cargo",
        paths: vec![".cargo-home/registry".to_owned(), "target".to_owned()],
        key: format!("rust-{tag}"),
        key_files: vec![key_file.to_owned()],
    });
    let says = |names: &[&'static str], command: &str| {
        folder.first(names).is_some() || folder.is_run_elsewhere(command)
    };
    let formatted = says(&["rustfmt.toml", ".rustfmt.toml"], "cargo fmt");
    let linted = says(&["clippy.toml", ".clippy.toml"], "cargo clippy");
    part.stages.push(Stage {
        name: "lint",
        script: vec![
            "rustup component add rustfmt clippy".to_owned(),
            "cargo fmt --check".to_owned(),
            format!("cargo clippy{all} --all-targets{locked} -- -D warnings"),
        ],
        doubtful: !(formatted || linted),
    });
    part.stages.push(stage("test", [format!("cargo test{all}{locked}")]));
    Some(part)
}
