//! Tells the service of this machine what a registration was told, and starts it at each boot.
//!
//! Only the lines of the file that are about what was said are changed; whatever else an operator wrote
//! there stays as it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::config::Install;

/// What the unit reads.
const SETTINGS: &str = "etc/ocelot/executor.env";
const UNIT: &str = "ocelot-executor.service";
/// Where this is, systemd runs.
const SYSTEMD: &str = "/run/systemd/system";

/// Writes the settings, starts the service, and returns what a person is told. Blocks.
pub(crate) fn install(install: &Install) -> anyhow::Result<String> {
    let root = install.root.as_deref().unwrap_or(Path::new("/"));
    let path = root.join(SETTINGS);
    write(&path, &install.variables).with_context(|| format!("cannot write {}", path.display()))?;
    let written = format!("the service's settings are in {}", path.display());
    if install.root.is_some() || !Path::new(SYSTEMD).is_dir() {
        return Ok(format!("{written}\nstart it with: systemctl enable --now {UNIT}"));
    }
    let status = Command::new("systemctl").args(["enable", "--now", UNIT]).status();
    let status = status.context("systemctl cannot be started")?;
    ensure!(status.success(), "{written}, but systemctl enable --now {UNIT} did not succeed");
    Ok(format!("{written}\n{UNIT} runs, and starts at each boot; see it with: systemctl status {UNIT}"))
}

fn write(path: &Path, variables: &[(&'static str, String)]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let known = match fs::read_to_string(path) {
        Ok(known) => known,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let draft: PathBuf = path.with_extension("env.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&draft)?;
    file.write_all(changed(&known, variables).as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(folder)?.sync_all()
}

/// Returns the file with these variables in place of what it said of them.
fn changed(known: &str, variables: &[(&'static str, String)]) -> String {
    let is_told = |line: &&str| {
        let name = line.split_once('=').map(|(name, _)| name.trim());
        !variables.iter().any(|(told, _)| name == Some(told))
    };
    let kept = known.lines().filter(is_told).map(|line| format!("{line}\n"));
    let told = variables.iter().map(|(name, value)| format!("{name}={}\n", quoted(value)));
    kept.chain(told).collect()
}

/// Quotes a value as systemd reads it.
fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-=:,@%+".contains(&byte);
    match !value.is_empty() && value.bytes().all(plain) {
        true => value.to_owned(),
        false => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_wrote_stays_and_what_was_told_is_told_once() {
        let told =
            [("OCELOT_EXECUTOR_DATA", "/srv/ci".to_owned()), ("OCELOT_EXECUTOR_LOG", "a b\"c".to_owned())];
        let first = changed("# ours\nHTTPS_PROXY=http://p:1\nOCELOT_EXECUTOR_DATA=/old\n", &told);
        insta::assert_snapshot!(first, @r#"
        # ours
        HTTPS_PROXY=http://p:1
        OCELOT_EXECUTOR_DATA=/srv/ci
        OCELOT_EXECUTOR_LOG="a b\"c"
        "#);
        assert_eq!(changed(&first, &told), first);
    }

    #[test]
    fn the_file_is_made_below_a_root_and_nothing_is_started_there() {
        let root = tempfile::tempdir().unwrap();
        let told = Install {
            root: Some(root.path().to_owned()),
            variables: vec![("OCELOT_EXECUTOR_DATA", "/srv/ci".to_owned())],
        };
        let said = install(&told).unwrap();
        assert!(said.ends_with("start it with: systemctl enable --now ocelot-executor.service"), "{said}");
        let text = fs::read_to_string(root.path().join("etc/ocelot/executor.env")).unwrap();
        assert_eq!(text, "OCELOT_EXECUTOR_DATA=/srv/ci\n");
    }
}
