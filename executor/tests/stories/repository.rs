//! A repository on this disk that git may be asked for.

use std::path::Path;
use std::process::Command;

use ocelot_proto::wire;

/// Makes one with one commit, and returns what an offer says of it.
pub(crate) fn repository(folder: &Path) -> wire::Source {
    let run = |program: &str, arguments: &[&str]| {
        let ran = Command::new(program).current_dir(folder).args(arguments).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    };
    run("git", &["init", "--quiet", "--initial-branch=main"]);
    std::fs::write(folder.join("file"), "text").unwrap();
    run("git", &["add", "file"]);
    let author = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
    // No process of git outlives the call, and writes while the repository is given away.
    let alone = ["-c", "maintenance.auto=false"];
    run("git", &[&author[..], &alone, &["commit", "--quiet", "--message", "one"]].concat());
    let commit = run("git", &["rev-parse", "HEAD"]);
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    if run("id", &["-u"]) == "0" {
        // Git reads no repository on this disk that is somebody else's.
        run("chown", &["-R", "nobody", "."]);
    }
    wire::Source {
        url: format!("file://{}", folder.display()),
        commit,
        reference: "refs/heads/main".to_owned(),
        branch: "main".to_owned(),
        needs_credentials: false,
    }
}
