//! Repositories that were made to break out.

use std::path::Path;

use ocelot_git::{Cause, CheckoutPlan, Credentials, GitError, Setup, Want};

use crate::server::Server;
use crate::world::{Origin, World, main, plan, script};

/// Puts programs in front of all others that tell that they were run.
fn alarmed(setup: &mut Setup, folder: &Path) {
    let bin = folder.join("bin");
    std::fs::create_dir(&bin).unwrap();
    let text = format!("#!/bin/sh\necho \"$0 $*\" >>'{}/canary'\nexit 1\n", folder.display());
    for name in ["ssh", "git-remote-ext", "git-remote-fd", "git-lfs", "evil", "git-remote-evil"] {
        script(&bin.join(name), &text);
    }
    setup.path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display()).into();
}

async fn with_submodules(
    world: &World,
    origin: &Origin,
    name: &str,
) -> Result<ocelot_git::Checked, GitError> {
    let mirror = world.mirror(&format!("m-{name}"), origin).await;
    let commit = ocelot_git::CommitId::parse(&origin.git(&["rev-parse", "refs/heads/main"])).unwrap();
    let plan = CheckoutPlan { submodules: true, ..plan(&commit, Some(main())) };
    world.checkout(&mirror, &plan, name).await
}

fn unharmed(world: &World) {
    let canary = std::fs::read_to_string(world.path("canary"));
    assert!(canary.is_err(), "something ran: {}", canary.unwrap_or_default());
}

#[tokio::test]
async fn no_attribute_setting_or_hook_of_a_repository_runs_anything() {
    let world = World::with(alarmed).await;
    let origin = world.origin("origin");
    let evil = format!("#!/bin/sh\necho ran >>'{}'\n", world.path("canary").display());
    for hook in ["post-checkout", "reference-transaction", "post-index-change", "post-update"] {
        std::fs::create_dir_all(origin.path.join("hooks")).unwrap();
        script(&origin.path.join("hooks").join(hook), &evil);
        script(&origin.path.join(".git/hooks").join(hook), "#!/bin/sh\nexit 0\n");
    }
    let commit = origin.commit(&[
        (
            ".gitattributes",
            "* filter=evil diff=evil merge=evil working-tree-encoding=UTF-8\n*.bin filter=lfs\n",
        ),
        (
            ".gitconfig",
            "[filter \"evil\"]\nsmudge = evil\nprocess = evil\n[core]\nfsmonitor = evil\nhooksPath = hooks\n",
        ),
        (".lfsconfig", "[lfs]\nurl = ext::evil\n"),
        ("x.bin", "version https://git-lfs.github.com/spec/v1\n"),
        ("config", "[core]\nfsmonitor = evil\n"),
        ("HEAD", "ref: refs/heads/main\n"),
    ]);
    let mirror = world.mirror("m", &origin).await;
    world.checkout(&mirror, &plan(&commit, Some(main())), "w").await.unwrap();
    mirror.changed_paths(&commit, &commit, 9).await.unwrap();
    assert!(world.path("w/x.bin").exists());
    unharmed(&world);
}

#[tokio::test]
async fn a_submodule_with_a_hostile_url_or_path_starts_nothing() {
    let world = World::with(alarmed).await;
    let canary = world.path("canary").display().to_string();
    let touch = format!("touch {canary}");
    let cases = [
        ("ext", "sub", format!("ext::sh -c '{touch}'")),
        ("helper", "sub", "evil::x".to_owned()),
        ("dash", "sub", format!("--upload-pack={touch}")),
        ("u", "sub", format!("-u{touch}")),
        ("proxy", "sub", format!("ssh://-oProxyCommand={touch}/x")),
        ("copied", "sub", format!("git@-oProxyCommand={touch}:x")),
        ("line", "sub", "https://h/a%0ahost=evil".to_owned()),
        ("up", "sub", "../../../../../../../../../../../../x".to_owned()),
        ("login", "sub", "https://u:p@h.example/x".to_owned()),
        ("cr", "sub\r", "../inner".to_owned()),
        ("optionpath", "-sub", "../inner".to_owned()),
        ("update", "sub", "../inner".to_owned()),
        ("escape", "su\u{1b}[2Jb", "../inner".to_owned()),
    ];
    let inner = world.origin("inner").head();
    for (name, path, url) in cases {
        let origin = world.origin(&format!("o-{name}"));
        std::fs::write(origin.path.join(".gitmodules"), "").unwrap();
        origin.git(&["config", "--file", ".gitmodules", "submodule.s.path", path]);
        origin.git(&["config", "--file", ".gitmodules", "submodule.s.url", &url]);
        if name == "update" {
            origin.git(&["config", "--file", ".gitmodules", "submodule.s.update", &format!("!{touch}")]);
        }
        origin.git(&["add", ".gitmodules"]);
        origin.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{inner},{path}")]);
        origin.commit_index("hostile");
        let error = with_submodules(&world, &origin, name).await.unwrap_err();
        let ours = matches!(error, GitError::Submodule { .. } | GitError::SubmoduleUrl { .. });
        // What git's own check refuses on arrival is as well refused.
        let fetched = error.cause() == Some(Cause::Hostile);
        assert!(ours || fetched, "{name}: {error}");
        unharmed(&world);
    }
}

#[tokio::test]
async fn a_tree_that_names_gits_own_folder_does_not_arrive() {
    let world = World::with(alarmed).await;
    let names = [
        ".git",
        ".GIT",
        ".Git",
        "git~1",
        ".git\u{200c}",
        ".g\u{200d}it",
        ".git ",
        ".git...",
        ".git::$INDEX_ALLOCATION",
        "..",
    ];
    for (number, name) in names.iter().enumerate() {
        let origin = world.origin(&format!("o{number}"));
        let hook = origin.blob("#!/bin/sh\nexit 1\n");
        std::fs::write(origin.path.join(".git/lines"), format!("100755 blob {hook}\tpost-checkout\n"))
            .unwrap();
        let tree = origin.commit_tree(&format!("100755 blob {hook}\tpost-checkout\n"));
        let tree = origin.git(&["rev-parse", &format!("{tree}^{{tree}}")]);
        let commit = origin.commit_tree(&format!("040000 tree {tree}\t{name}\n"));
        let mirror = world.mirror(&format!("m{number}"), &origin).await;
        let result = world.checkout(&mirror, &plan(&commit, Some(main())), &format!("w{number}")).await;
        let refused = result.as_ref().is_err_and(|error| error.cause() == Some(Cause::Hostile));
        assert!(refused, "{name:?}: {result:?}");
        assert!(!world.path(&format!("w{number}/.git/post-checkout")).exists());
        unharmed(&world);
    }
}

#[tokio::test]
async fn a_symlink_leads_no_file_out_of_the_workspace() {
    let world = World::with(alarmed).await;
    let outside = world.path("outside");
    std::fs::create_dir(&outside).unwrap();
    let target = outside.to_str().unwrap().to_owned();
    let origin = world.origin("origin");
    let (link, file) = (origin.blob(&target), origin.blob("gotcha"));
    let inner = origin.commit_tree(&format!("100644 blob {file}\tb\n"));
    let tree = origin.git(&["rev-parse", &format!("{inner}^{{tree}}")]);
    let lines = [
        // A name twice: once as the way out, once as the folder that is written to.
        ("twice", format!("120000 blob {link}\ta\n040000 tree {tree}\ta\n")),
        ("case", format!("120000 blob {link}\tA\n040000 tree {tree}\ta\n")),
        ("gitlink", format!("120000 blob {link}\t.git\n")),
        ("modules", format!("120000 blob {link}\t.gitmodules\n")),
    ];
    for (name, lines) in lines {
        let commit = origin.commit_tree(&lines);
        let mirror = world.mirror(&format!("m-{name}"), &origin).await;
        let _either_way = world.checkout(&mirror, &plan(&commit, Some(main())), name).await;
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "{name}");
        origin.git(&["update-ref", "refs/heads/main", inner.as_str()]);
    }
    // A submodule whose folder is a symlink in the same commit.
    let other = world.origin("other");
    let modules = other.blob(&format!("[submodule \"s\"]\npath = a/b\nurl = {}\n", origin.url()));
    let link = other.blob(&target);
    let module = origin.head();
    let sub = other.commit_tree(&format!("160000 commit {module}\tb\n"));
    let sub = other.git(&["rev-parse", &format!("{sub}^{{tree}}")]);
    other.commit_tree(&format!(
        "100644 blob {modules}\t.gitmodules\n120000 blob {link}\ta\n040000 tree {sub}\ta\n"
    ));
    with_submodules(&world, &other, "sub").await.unwrap_err();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    unharmed(&world);
}

#[tokio::test]
async fn a_password_does_not_follow_a_submodule_to_another_server() {
    let world = World::new().await;
    let inner = world.origin("inner");
    let outer = world.origin("outer");
    let thief = Server::start(world.folder.path(), Some("ada:canary-4711"), None);
    let server = Server::start(world.folder.path(), Some("ada:canary-4711"), None);
    std::fs::write(outer.path.join(".gitmodules"), "").unwrap();
    outer.git(&["config", "--file", ".gitmodules", "submodule.s.path", "sub"]);
    outer.git(&["config", "--file", ".gitmodules", "submodule.s.url", thief.url("inner/.git").as_str()]);
    outer.git(&["add", ".gitmodules"]);
    outer.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{},sub", inner.head())]);
    let commit = outer.commit_index("hostile");
    let login = Credentials::Basic { user: "ada".to_owned(), secret: "canary-4711".to_owned().into() };
    let url = server.url("outer/.git");
    let mirror = world.open("m", &url, login, ocelot_git::Contents::Everything).await.unwrap();
    let plan = CheckoutPlan { submodules: true, ..plan(&commit, Some(main())) };
    let error = world.checkout(&mirror, &plan, "w").await.unwrap_err();
    assert!(matches!(error, GitError::Submodule { .. }), "{error}");
    assert!(!thief.seen().is_empty());
    assert!(thief.seen().iter().all(|head| !head.to_ascii_lowercase().contains("authorization")));
}

#[tokio::test]
async fn names_full_of_shell_reach_git_as_names() {
    let world = World::with(alarmed).await;
    let origin = world.origin("origin");
    let canary = world.path("canary");
    let commit = origin.head();
    let touch = format!("touch${{IFS}}{}", canary.display()).replace('/', "_");
    let names = [
        format!("$({touch})"),
        format!("`{touch}`"),
        format!("a;{touch}"),
        format!("a|{touch}"),
        format!("a'{touch}\""),
    ];
    for (number, name) in names.iter().enumerate() {
        origin.git(&["branch", name]);
        let mirror = world.mirror("m", &origin).await;
        let branch = ocelot_git::Reference::branch(name).unwrap();
        mirror.fetch(&[Want::Reference(branch.clone())]).await.unwrap();
        let checked =
            world.checkout(&mirror, &plan(&commit, Some(branch)), &format!("w{number}")).await.unwrap();
        assert_eq!(checked.branch.as_deref(), Some(name.as_str()));
    }
    unharmed(&world);
}
