//! Builds the supervisor for the target, static, and leaves it where the library embeds it.
//!
//! It has a target directory of its own, because the outer cargo holds the lock of the usual one, and
//! it starts from a clean environment: the flags and wrappers of the outer build (clippy, coverage)
//! are not for a program that runs in other people's images.

use std::env::{self, VarError};
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

const PROGRAM: &str = "ocelot-supervisor";
const PROFILE: &[&str] =
    &["panic=\"abort\"", "lto=\"fat\"", "opt-level=\"s\"", "codegen-units=1", "strip=true", "debug=false"];
/// What of the outer build's environment would change the inner one.
const NOT_OURS: &[&str] = &[
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = workspace.parent().ok_or("the crate lies in the workspace")?;
    for path in ["executor/supervisor/src", "executor/supervisor/Cargo.toml", "proto/core", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", workspace.join(path).display());
    }
    println!("cargo:rerun-if-changed=build.rs");
    let linux = variable("CARGO_CFG_TARGET_OS")? == "linux";
    // Elsewhere nothing is embedded, and the library says so when it is asked to run something.
    let program = if linux { build(workspace, &out)? } else { Vec::new() };
    fs::write(out.join(PROGRAM), &program)?;
    let mut digest = String::new();
    for byte in Sha256::digest(&program) {
        write!(digest, "{byte:02x}")?;
    }
    println!("cargo:rustc-env=SUPERVISOR_SHA256={digest}");
    Ok(())
}

fn build(workspace: &Path, out: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let target = variable("TARGET")?.into_string().map_err(|_| "TARGET is text")?;
    // OUT_DIR is TARGET_DIR/PROFILE/build/CRATE-HASH/out: debug, release and clippy share one.
    let shared = out.ancestors().nth(4).filter(|directory| directory.starts_with(workspace));
    let directory = shared.unwrap_or(out).join("supervisor");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(workspace)
        .args(["build", "--release", "--frozen", "--quiet", "--package", PROGRAM, "--bin", PROGRAM])
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(&directory);
    for setting in PROFILE {
        cargo.args(["--config", &format!("profile.release.{setting}")]);
    }
    for name in NOT_OURS {
        cargo.env_remove(name);
    }
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    let status = cargo.status()?;
    if !status.success() {
        return Err(format!("the supervisor was not built: {status}").into());
    }
    Ok(fs::read(directory.join(target).join("release").join(PROGRAM))?)
}

#[expect(clippy::disallowed_methods, reason = "cargo speaks to a build script by its environment")]
fn variable(name: &str) -> Result<OsString, VarError> {
    env::var(name).map(OsString::from)
}
