//! A workspace is whole, exact, and borrows nothing.

use std::num::NonZeroU32;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use ocelot_git::{CheckoutPlan, GitError, Owner, PullStyle, Reference, RepositoryUrl, Submodules};

use crate::world::{World, git, main, plan, try_git};

#[tokio::test]
async fn a_branch_is_checked_out_as_that_branch_and_outlives_the_mirror() {
    let world = World::new().await;
    let origin = world.origin("origin");
    origin.git(&["tag", "-a", "-m", "one", "v1"]);
    let commit = origin.commit(&[("src/a", "1")]);
    origin.git(&["branch", "feature/$(touch_x);`id`"]);
    let mirror = world.mirror("m", &origin).await;
    let odd = Reference::branch("feature/$(touch_x);`id`").unwrap();
    for (name, reference) in [("w1", main()), ("w2", odd)] {
        let checked = world.checkout(&mirror, &plan(&commit, Some(reference.clone())), name).await.unwrap();
        let branch = reference.as_str().strip_prefix("refs/heads/").unwrap();
        assert_eq!(checked.branch.as_deref(), Some(branch));
        assert_eq!(git(&world.path(name), &["symbolic-ref", "HEAD"]), reference.as_str());
        assert_eq!(git(&world.path(name), &["rev-parse", "@{upstream}"]), commit.as_str());
    }
    mirror.remove().await.unwrap();
    let tree = world.path("w1");
    assert_eq!(git(&tree, &["rev-parse", "HEAD"]), commit.as_str());
    assert_eq!(git(&tree, &["status", "--porcelain"]), "");
    assert!(git(&tree, &["describe"]).starts_with("v1-1-g"));
    assert_eq!(git(&tree, &["log", "--oneline"]).lines().count(), 2);
    assert_eq!(git(&tree, &["remote", "get-url", "origin"]), origin.url().as_str());
    git(&tree, &["fsck", "--strict"]);
    assert!(!tree.join(".git/objects/info/alternates").exists());
    assert!(!tree.join(".git/hooks").exists());
}

#[tokio::test]
async fn a_tag_is_detached_a_pull_request_is_a_branch_and_a_bare_commit_is_a_commit() {
    let world = World::new().await;
    let origin = world.origin("origin");
    let commit = origin.commit(&[("a", "1")]);
    origin.git(&["tag", "-a", "-m", "one", "v1"]);
    origin.git(&["update-ref", "refs/pull/7/head", "HEAD"]);
    origin.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let mirror = world.mirror("m", &origin).await;
    let pull = Reference::pull_request(PullStyle::Pull, 7);
    let cases = [
        ("tag", Some(Reference::tag("v1").unwrap()), None),
        ("pull", Some(pull), Some("pr/7")),
        ("commit", None, None),
        // The branch has moved on: the commit is what was asked for.
        ("moved", Some(main()), Some("main")),
    ];
    for (name, reference, branch) in cases {
        let checked = world.checkout(&mirror, &plan(&commit, reference), name).await.unwrap();
        assert_eq!((checked.branch.as_deref(), &checked.commit), (branch, &commit), "{name}");
        assert_eq!(git(&world.path(name), &["rev-parse", "HEAD"]), commit.as_str());
        let head = try_git(&world.path(name), &["symbolic-ref", "--short", "HEAD"]).ok();
        assert_eq!(head.as_deref(), branch, "{name}");
    }
    assert_eq!(git(&world.path("tag"), &["describe"]), "v1");
}

#[tokio::test]
async fn the_history_is_as_deep_as_asked() {
    let world = World::new().await;
    let origin = world.origin("origin");
    for number in 0..5 {
        origin.commit(&[("a", &number.to_string())]);
    }
    let mirror = world.mirror("m", &origin).await;
    for (depth, count) in [(1, 1), (3, 3), (100, 6)] {
        let plan = CheckoutPlan { depth: NonZeroU32::new(depth), ..plan(&origin.head(), Some(main())) };
        let name = format!("w{depth}");
        world.checkout(&mirror, &plan, &name).await.unwrap();
        assert_eq!(git(&world.path(&name), &["log", "--oneline"]).lines().count(), count);
        git(&world.path(&name), &["fsck"]);
    }
}

#[tokio::test]
async fn what_a_force_push_took_away_is_not_in_a_later_workspace() {
    let world = World::new().await;
    let origin = world.origin("origin");
    let secret = origin.commit(&[("password", "oops")]);
    let mirror = world.mirror("m", &origin).await;
    mirror.obtain(&secret, Some(&main())).await.unwrap();
    origin.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let commit = origin.commit(&[("a", "1")]);
    world.checkout(&mirror, &plan(&commit, Some(main())), "w").await.unwrap();
    assert!(try_git(&world.path("w"), &["cat-file", "-e", secret.as_str()]).is_err());
    world.checkout(&mirror, &plan(&secret, Some(main())), "w2").await.unwrap();
    assert!(world.path("w2/password").exists());
}

#[tokio::test]
async fn the_owner_of_a_workspace_can_use_git_there_and_cannot_reach_the_mirror() {
    let world = World::new().await;
    let origin = world.origin("origin");
    std::os::unix::fs::symlink("/etc/passwd", origin.path.join("link")).unwrap();
    let commit = origin.commit(&[("a", "1")]);
    let mirror = world.mirror("m", &origin).await;
    let me = rustix::process::geteuid().as_raw();
    // Only root can give files away; others are their own owner.
    let id = if me == 0 { 65_534 } else { me };
    let gid = if me == 0 { 65_534 } else { rustix::process::getegid().as_raw() };
    let place = |_: &RepositoryUrl| unreachable!("there is no submodule");
    let tree = world.path("w");
    let owner = Some(Owner { uid: id, gid });
    mirror
        .checkout(&plan(&commit, Some(main())), &tree, owner, &Submodules { mirror: &place })
        .await
        .unwrap();
    let mut command = Command::new("git");
    command.arg("-C").arg(&tree).args(["commit", "--quiet", "--allow-empty", "-m", "x"]);
    command.env("HOME", "/nonexistent").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for name in ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"] {
        command.env(name, "ada");
    }
    if me == 0 {
        command.uid(id).gid(gid);
        let passwd = std::fs::metadata("/etc/passwd").unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&passwd), 0, "a symlink was followed");
        let mut look = Command::new("ls");
        assert!(!look.arg(mirror.directory()).uid(id).gid(gid).output().unwrap().status.success());
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(mirror.resolve(&main()).await.unwrap(), Some(commit));
}

#[tokio::test]
async fn submodules_are_filled_when_asked_for_and_nested_ones_too() {
    let world = World::new().await;
    let (inner, middle, outer) = (world.origin("inner"), world.origin("middle"), world.origin("outer"));
    let file = "protocol.file.allow=always";
    middle.git(&["-c", file, "submodule", "--quiet", "add", inner.url().as_str(), "deep/inner"]);
    middle.commit_index("with inner");
    outer.git(&["-c", file, "submodule", "--quiet", "add", "--name", "odd.name", "../middle", "lib/middle"]);
    let commit = outer.commit_index("with middle");
    let mirror = world.mirror("m", &outer).await;
    let without = world.checkout(&mirror, &plan(&commit, Some(main())), "w1").await.unwrap();
    assert!(without.submodules.is_empty());
    assert_eq!(std::fs::read_dir(world.path("w1/lib/middle")).unwrap().count(), 0);
    let plan = CheckoutPlan { submodules: true, depth: NonZeroU32::new(1), ..plan(&commit, Some(main())) };
    let with = world.checkout(&mirror, &plan, "w2").await.unwrap();
    assert_eq!(with.submodules, ["lib/middle", "lib/middle/deep/inner"]);
    assert!(world.path("w2/lib/middle/deep/inner/README.md").exists());
    let status = git(&world.path("w2"), &["submodule", "status", "--recursive"]);
    assert!(status.lines().count() == 2 && !status.contains(['+', '-', 'U']), "{status}");
    assert_eq!(git(&world.path("w2"), &["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_folder_that_holds_something_is_not_overwritten_and_lfs_is_said_to_be_missing() {
    let world = World::new().await;
    let origin = world.origin("origin");
    let mirror = world.mirror("m", &origin).await;
    std::fs::create_dir(world.path("w")).unwrap();
    std::fs::write(world.path("w/mine"), "").unwrap();
    let plan = plan(&origin.head(), Some(main()));
    let error = world.checkout(&mirror, &plan, "w").await.unwrap_err();
    assert!(matches!(error, GitError::Occupied { .. }), "{error}");
    if try_git(world.folder.path(), &["lfs", "version"]).is_err() {
        let plan = CheckoutPlan { lfs: true, ..plan };
        let error = world.checkout(&mirror, &plan, "w2").await.unwrap_err();
        assert!(matches!(error, GitError::LargeFiles { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_mirror_that_breaks_before_a_checkout_is_made_anew() {
    let world = World::new().await;
    let origin = world.origin("origin");
    let commit = origin.commit(&[("a", "1")]);
    let mirror = world.mirror("m", &origin).await;
    mirror.obtain(&commit, Some(&main())).await.unwrap();
    let tree = origin.git(&["rev-parse", "HEAD:a"]);
    let repository = mirror.directory().join("repository.git");
    // The commit is there, a file of it is not.
    let script = format!(
        "mv objects/pack p && mkdir objects/pack && for f in p/*.pack; do git unpack-objects -q <$f; done && \
         rm -f objects/{}/{}",
        &tree[..2],
        &tree[2..]
    );
    assert!(Command::new("sh").args(["-c", &script]).current_dir(repository).status().unwrap().success());
    assert!(mirror.contains(&commit).await.unwrap());
    world.checkout(&mirror, &plan(&commit, Some(main())), "w").await.unwrap();
    assert_eq!(std::fs::read_to_string(world.path("w/a")).unwrap(), "1");
}
