//! A mirror gains, survives and tells.

use ocelot_git::{Cause, CommitId, Contents, Credentials, GitError, Mirror, Reference, Want};

use crate::world::{World, git, main, try_git};

#[tokio::test]
async fn a_mirror_follows_branches_and_tags_and_loses_nothing_to_a_force_push() {
    let world = World::new().await;
    let origin = world.origin("origin");
    let lost = origin.commit(&[("a", "1")]);
    origin.git(&["tag", "-a", "-m", "one", "v1"]);
    let mirror = world.mirror("m", &origin).await;
    mirror.fetch(&[Want::Everything]).await.unwrap();
    assert_eq!(mirror.resolve(&main()).await.unwrap(), Some(lost.clone()));
    assert_eq!(mirror.resolve(&Reference::tag("v1").unwrap()).await.unwrap(), Some(lost.clone()));
    assert_eq!(mirror.resolve(&Reference::branch("none").unwrap()).await.unwrap(), None);

    origin.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let new = origin.commit(&[("a", "2")]);
    origin.git(&["tag", "-d", "v1"]);
    mirror.fetch(&[Want::Reference(main())]).await.unwrap();
    assert_eq!(mirror.resolve(&main()).await.unwrap(), Some(new));
    origin.git(&["reflog", "expire", "--expire=now", "--all"]);
    origin.git(&["gc", "--quiet", "--prune=now"]);
    mirror.fetch(&[Want::Everything]).await.unwrap();
    mirror.obtain(&lost, Some(&main())).await.unwrap();
    assert!(mirror.contains(&lost).await.unwrap());
}

#[tokio::test]
async fn a_commit_that_no_ref_holds_is_asked_for_by_its_id() {
    let world = World::new().await;
    let origin = world.origin("origin");
    let lost = origin.commit(&[("a", "1")]);
    origin.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let mirror = world.mirror("m", &origin).await;
    assert!(!mirror.contains(&lost).await.unwrap());
    mirror.obtain(&lost, Some(&Reference::branch("gone").unwrap())).await.unwrap();
    assert!(mirror.contains(&lost).await.unwrap());
}

#[tokio::test]
async fn a_repository_on_this_disk_may_be_of_another_account() {
    let world = World::new().await;
    let origin = world.origin("origin");
    let head = origin.head();
    std::os::unix::fs::chown(origin.path.join(".git"), Some(4711), Some(4711)).expect("only root can");
    assert!(try_git(&world.path(""), &["ls-remote", origin.path.to_str().unwrap()]).is_err());
    let seen = world.git.ls_remote(&origin.url(), &Credentials::None).await.unwrap();
    assert_eq!(seen.find(&main()), Some(&head));
    let mirror = world.mirror("m", &origin).await;
    mirror.obtain(&head, Some(&main())).await.unwrap();
    assert!(mirror.contains(&head).await.unwrap());
}

#[tokio::test]
async fn a_commit_that_is_nowhere_is_one_error_that_says_what_to_do() {
    let world = World::new().await;
    let origin = world.origin("origin");
    let mirror = world.mirror("m", &origin).await;
    let nowhere = CommitId::parse(&"ab".repeat(20)).unwrap();
    let error = mirror.obtain(&nowhere, Some(&main())).await.unwrap_err();
    assert!(matches!(&error, GitError::NoCommit { commit, .. } if *commit == nowhere), "{error}");
    assert!(error.to_string().contains("build a commit that a branch or tag holds"), "{error}");
    assert!(!error.may_pass());
}

#[tokio::test]
async fn a_broken_mirror_is_made_anew() {
    let world = World::new().await;
    let origin = world.origin("origin");
    let breaks: &[&str] = &[
        "echo >HEAD",
        "rm HEAD",
        "rm -r objects",
        "rm -f objects/pack/*",
        "for f in objects/pack/*.pack; do chmod u+w $f; echo x >$f; done",
        "for f in objects/pack/*.idx; do chmod u+w $f; echo x >$f; done",
        "rm -f packed-refs; mkdir -p refs/heads; echo rubbish >refs/heads/main",
        "echo '[broken' >config",
        ": >config",
    ];
    for (number, damage) in breaks.iter().enumerate() {
        let mirror = world.mirror("m", &origin).await;
        mirror.fetch(&[Want::Everything]).await.unwrap();
        let repository = mirror.directory().join("repository.git");
        let done = std::process::Command::new("sh").args(["-c", damage]).current_dir(repository).status();
        assert!(done.unwrap().success());
        let commit = origin.commit(&[("a", &number.to_string())]);
        mirror.obtain(&commit, Some(&main())).await.unwrap_or_else(|error| panic!("{damage}: {error}"));
        assert!(mirror.contains(&commit).await.unwrap(), "{damage}");
        assert!(mirror.read_file(&commit, "a", 9).await.unwrap().is_some(), "{damage}");
        mirror.remove().await.unwrap();
    }
}

#[tokio::test]
async fn a_branch_may_become_a_folder_of_branches_and_a_left_lock_holds_nobody_up() {
    let world = World::new().await;
    let origin = world.origin("origin");
    origin.git(&["branch", "a"]);
    let mirror = world.mirror("m", &origin).await;
    mirror.fetch(&[Want::Everything]).await.unwrap();
    origin.git(&["branch", "-D", "a"]);
    origin.git(&["branch", "a/b"]);
    let inner = Reference::branch("a/b").unwrap();
    mirror.fetch(&[Want::Reference(inner.clone())]).await.unwrap();
    assert!(mirror.resolve(&inner).await.unwrap().is_some());

    std::fs::write(mirror.directory().join("repository.git/refs/heads/main.lock"), "").unwrap();
    let commit = origin.commit(&[("a", "1")]);
    mirror.fetch(&[Want::Reference(main())]).await.unwrap();
    assert_eq!(mirror.resolve(&main()).await.unwrap(), Some(commit));
}

#[tokio::test]
async fn two_handles_fetch_into_one_mirror_at_the_same_time() {
    let world = World::new().await;
    let origin = world.origin("origin");
    for number in 0..5 {
        let commit = origin.commit(&[("a", &number.to_string())]);
        let one = world.mirror("m", &origin).await;
        let two = world.mirror("m", &origin).await;
        let wants = [Want::Everything];
        let (main, other) = (main(), Reference::branch("other").unwrap());
        let (first, second, third) = tokio::join!(
            one.obtain(&commit, Some(&main)),
            two.obtain(&commit, Some(&other)),
            two.fetch(&wants)
        );
        first.unwrap();
        second.unwrap();
        third.unwrap();
        assert!(one.contains(&commit).await.unwrap());
    }
}

#[tokio::test]
async fn many_small_packs_become_few_and_nothing_is_lost() {
    let world = World::new().await;
    let origin = world.origin("origin");
    let mirror = world.mirror("m", &origin).await;
    let mut commits = Vec::new();
    for number in 0..45 {
        origin.git(&["reset", "--quiet", "--hard", "HEAD"]);
        commits.push(origin.commit(&[("a", &number.to_string())]));
        mirror.fetch(&[Want::Reference(main())]).await.unwrap();
        if number % 2 == 0 {
            origin.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
        }
    }
    let packs = std::fs::read_dir(mirror.directory().join("repository.git/objects/pack")).unwrap();
    let packs =
        packs.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "pack"));
    assert!(packs.count() < 20);
    for commit in commits {
        assert!(mirror.contains(&commit).await.unwrap());
    }
    assert!(mirror.size_bytes().await.unwrap() > 10_000);
}

#[tokio::test]
async fn a_server_is_asked_for_its_refs_and_too_many_are_refused() {
    let world = World::new().await;
    let origin = world.origin("origin");
    origin.git(&["tag", "-a", "-m", "one", "v1"]);
    origin.git(&["update-ref", "refs/pull/7/head", "HEAD"]);
    origin.git(&["update-ref", "refs/notes/x", "HEAD"]);
    let all = world.git.ls_remote(&origin.url(), &Credentials::None).await.unwrap();
    assert_eq!(all.head, Some(main()));
    let names: Vec<&str> = all.references.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["refs/heads/main", "refs/pull/7/head", "refs/tags/v1"]);
    assert!(all.references.iter().all(|(_, commit)| *commit == origin.head()));
    let error = world.git.ls_remote_up_to(&origin.url(), &Credentials::None, 2).await.unwrap_err();
    assert!(matches!(error, GitError::References { limit: 2, .. }), "{error}");
    let missing = world.path("missing");
    std::fs::create_dir(&missing).unwrap();
    let url = ocelot_git::RepositoryUrl::parse_with(missing.to_str().unwrap(), crate::world::ALL).unwrap();
    let error = world.git.ls_remote(&url, &Credentials::None).await.unwrap_err();
    assert_eq!(error.cause(), Some(Cause::NoRepository), "{error}");
}

#[tokio::test]
async fn a_commit_is_read_without_a_work_tree() {
    let world = World::new().await;
    let origin = world.origin("origin");
    let first = origin.head();
    std::os::unix::fs::symlink("/etc/passwd", origin.path.join("link")).unwrap();
    std::os::unix::fs::symlink("inner", origin.path.join("folderlink")).unwrap();
    origin.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{first},sub")]);
    origin.git(&["mv", "README.md", "READ.md"]);
    let second = origin.commit(&[("ocelot.yml", "task: {}\n"), ("inner/x", "x"), (":(top)odd", "y")]);
    let mirror = world.mirror("m", &origin).await;
    mirror.obtain(&second, Some(&main())).await.unwrap();

    assert_eq!(mirror.read_file(&second, "ocelot.yml", 100).await.unwrap().unwrap(), b"task: {}\n");
    assert_eq!(mirror.read_file(&second, ":(top)odd", 100).await.unwrap().unwrap(), b"y");
    assert_eq!(mirror.read_file(&first, "ocelot.yml", 100).await.unwrap(), None);
    assert_eq!(mirror.read_file(&second, "folderlink/x", 100).await.unwrap(), None);
    for (path, kind) in [("link", "a symlink"), ("inner", "a folder")] {
        let error = mirror.read_file(&second, path, 100).await.unwrap_err();
        assert!(matches!(error, GitError::NotAFile { kind: found, .. } if found == kind), "{error}");
    }
    assert!(matches!(
        mirror.read_file(&second, "ocelot.yml", 3).await,
        Err(GitError::Large { limit: 3, .. })
    ));
    for path in ["", "/etc/passwd", "../x", "a/../b", "a\0b", "a//b"] {
        assert!(matches!(mirror.read_file(&second, path, 9).await, Err(GitError::Path { .. })), "{path:?}");
    }
    let changed = mirror.changed_paths(&first, &second, 100).await.unwrap().unwrap();
    assert!(
        changed.contains(&"README.md".to_owned()) && changed.contains(&"READ.md".to_owned()),
        "{changed:?}"
    );
    assert_eq!(mirror.changed_paths(&first, &second, 2).await.unwrap(), None);
    let nowhere = CommitId::parse(&"ab".repeat(20)).unwrap();
    assert_eq!(mirror.changed_paths(&nowhere, &second, 9).await.unwrap(), None);

    let commit = mirror.commit(&second).await.unwrap();
    assert_eq!((commit.parents, commit.author_name.as_str()), (vec![first.clone()], "Ada"));
    assert_eq!((commit.message.as_str(), commit.committed_at), ("change", 1_767_323_045));
    assert_eq!(commit.author_email, "ada@example.com");
    assert!(mirror.is_ancestor(&first, &second).await.unwrap());
    assert!(!mirror.is_ancestor(&second, &first).await.unwrap());
    assert_eq!(mirror.merge_base(&first, &second).await.unwrap(), Some(first.clone()));
    let between = mirror.commits_between(&first, &second, 10).await.unwrap();
    assert_eq!(between.iter().map(|commit| &commit.id).collect::<Vec<_>>(), [&second]);
}

#[tokio::test]
async fn a_long_or_odd_message_is_cut_and_made_readable() {
    let world = World::new().await;
    let origin = world.origin("origin");
    let path = origin.path.join(".git/message");
    std::fs::write(&path, [b"caf\xe9 \x1b[2J\n\n".as_slice(), &b"long \n".repeat(100_000)].concat()).unwrap();
    origin.git(&["commit", "--quiet", "--allow-empty", "-F", path.to_str().unwrap()]);
    let mirror = world.mirror("m", &origin).await;
    mirror.obtain(&origin.head(), Some(&main())).await.unwrap();
    let commit = mirror.commit(&origin.head()).await.unwrap();
    assert!(commit.message.starts_with("caf\u{e9}") && commit.message.len() <= 65_536);
}

#[tokio::test]
async fn a_mirror_without_files_fetches_one_when_it_is_read() {
    let world = World::new().await;
    let origin = world.origin("origin");
    for filter in ["true", "false"] {
        origin.git(&["config", "uploadpack.allowFilter", filter]);
        let commit = origin.commit(&[("ocelot.yml", filter), ("large", &"x".repeat(100_000))]);
        let name = format!("m-{filter}");
        let mirror =
            world.open(&name, &origin.url(), Credentials::None, Contents::WithoutFiles).await.unwrap();
        mirror.obtain(&commit, Some(&main())).await.unwrap();
        let missing = git(
            &mirror.directory().join("repository.git"),
            &["rev-list", "--objects", "--missing=print", "--all"],
        );
        assert_eq!(missing.lines().any(|line| line.starts_with('?')), filter == "true");
        assert_eq!(mirror.read_file(&commit, "ocelot.yml", 9).await.unwrap().unwrap(), filter.as_bytes());
        assert!(mirror.changed_paths(&commit, &commit, 9).await.unwrap().unwrap().is_empty());
        let nowhere = CommitId::parse(&"ab".repeat(20)).unwrap();
        assert!(!mirror.contains(&nowhere).await.unwrap());
    }
}

#[tokio::test]
async fn a_repository_may_count_in_sha256() {
    let world = World::new().await;
    let origin = crate::world::Origin { path: world.path("wide") };
    std::fs::create_dir(&origin.path).unwrap();
    origin.git(&["init", "--quiet", "--initial-branch=main", "--object-format=sha256"]);
    let commit = origin.commit(&[("a", "1")]);
    let mirror = world.mirror("m", &origin).await;
    mirror.obtain(&commit, Some(&main())).await.unwrap();
    world.checkout(&mirror, &crate::world::plan(&commit, Some(main())), "w").await.unwrap();
    assert_eq!(git(&world.path("w"), &["rev-parse", "HEAD"]), commit.as_str());
}

#[tokio::test]
async fn a_mirror_of_another_url_is_made_anew_and_a_removed_one_comes_back() {
    let world = World::new().await;
    let (one, two) = (world.origin("one"), world.origin("two"));
    let secret = one.commit(&[("secret", "of one")]);
    let mirror = world.mirror("m", &one).await;
    mirror.obtain(&secret, Some(&main())).await.unwrap();
    let used = Mirror::last_used(mirror.directory()).await.unwrap();
    let other = world.mirror("m", &two).await;
    assert!(!other.contains(&secret).await.unwrap());
    assert!(Mirror::last_used(other.directory()).await.unwrap() >= used);
    other.clone().remove().await.unwrap();
    assert!(!other.directory().exists());
    other.obtain(&two.head(), Some(&main())).await.unwrap();
}
