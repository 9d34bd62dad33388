//! Images without a registry: a base of this machine's own libraries, and `deploy/Dockerfile` upon it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use ocelot_e2e::engine::docker;
use ocelot_e2e::fleet::Build;

use super::archive::{PROGRAMS, release, stripped};

/// An image that goes with its value.
pub(super) struct Image(pub(super) String);

impl Drop for Image {
    fn drop(&mut self) {
        // What cannot be removed is in the way of nobody.
        docker(&["rmi", "--force", &self.0]).ok();
    }
}

/// Makes a base that has a shell, git, etcd, and the libraries of all of them and of our programs.
pub(super) fn base(folder: &Path) -> Result<Image> {
    let tree = folder.join("base");
    for path in ["bin", "usr/bin", "etc", "tmp", "var/lib"] {
        fs::create_dir_all(tree.join(path))?;
    }
    let shell = which("busybox")?;
    fs::copy(&shell, tree.join("bin/busybox"))?;
    // Not the copy: a child of another trial may hold that open for writing.
    let applets = Command::new(&shell).arg("--list").output()?;
    for name in String::from_utf8(applets.stdout)?.lines().filter(|name| *name != "busybox") {
        symlink("busybox", tree.join("bin").join(name))?;
    }
    let mut programs = Vec::new();
    for name in ["git", "etcd", "etcdctl"] {
        let path = which(name)?;
        fs::copy(&path, tree.join("usr/bin").join(name))?;
        programs.push(path);
    }
    for name in PROGRAMS {
        programs.push(Build::Plain.program(name)?);
    }
    for library in libraries(&programs)? {
        let to = tree.join(library.strip_prefix("/")?);
        fs::create_dir_all(to.parent().context("a library lies in a folder")?)?;
        fs::copy(&library, to)?;
    }
    fs::set_permissions(tree.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::write(tree.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n")?;
    let name = format!("ocelot-test/deploy-base:{}", std::process::id());
    let mut tar =
        Command::new("tar").arg("-C").arg(&tree).args(["-c", "."]).stdout(Stdio::piped()).spawn()?;
    let packed = tar.stdout.take().context("its output")?;
    let imported = Command::new("docker").args(["import", "-", &name]).stdin(packed).output()?;
    ensure!(tar.wait()?.success() && imported.status.success(), "the base cannot be imported");
    Ok(Image(name))
}

fn which(name: &str) -> Result<PathBuf> {
    let places = ["/usr/local/bin", "/usr/bin", "/bin"];
    let mut paths = places.iter().map(|place| Path::new(place).join(name));
    paths.find(|path| path.exists()).with_context(|| format!("there is no {name}: tests/run installs it"))
}

/// Returns every shared library that these programs load.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut all = BTreeSet::new();
    for program in programs {
        let output = Command::new("ldd").arg(program).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // One that loads nothing says so, and is no failure.
        let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
        all.extend(
            paths.map(|path| PathBuf::from(path.trim_end_matches(':'))).filter(|path| path != program),
        );
    }
    Ok(all)
}

/// Builds the image of the archive's own Dockerfile, in the folder that the archive unpacks to.
pub(super) fn ours(folder: &Path, base: &Image) -> Result<Image> {
    let archive = release(&stripped(folder, "image")?, &folder.join("archive"))?;
    let context = folder.join("context");
    fs::create_dir(&context)?;
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(&archive)
        .arg("-C")
        .arg(&context)
        .arg("--strip-components=1")
        .status()?;
    ensure!(unpacked.success(), "the archive cannot be unpacked");
    let name = format!("ocelot-test/deploy:{}", std::process::id());
    let from = format!("BASE={}", base.0);
    let built = Command::new("docker")
        .args(["build", "--quiet", "--build-arg", &from, "--build-arg", "PACKAGES=", "--tag", &name])
        .arg(&context)
        .output()?;
    ensure!(built.status.success(), "the image: {}", String::from_utf8_lossy(&built.stderr));
    Ok(Image(name))
}
