//! How git is run: its arguments, its environment, its end.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ocelot_git::{Contents, Credentials, Git, GitError, Setup, Want};

use crate::world::{ALL, World, main, plan, real_git, script};

/// Makes git record how it was run.
fn recorded(setup: &mut Setup, folder: &Path) {
    let log = folder.join("log");
    let text = format!(
        "#!/bin/sh\n{{ for a in \"$@\"; do printf 'arg=%s\\n' \"$a\"; done; env | sed 's/^/env=/'; \
         tr '\\0' ' ' </proc/$$/cmdline | sed 's/^/cmdline=/'; echo; }} >>'{}'\nexec '{}' \"$@\"\n",
        log.display(),
        real_git()
    );
    script(&folder.join("recorder"), &text);
    setup.program = folder.join("recorder");
    setup.proxies = vec![("no_proxy".to_owned(), "127.0.0.1".to_owned())];
}

#[tokio::test]
async fn no_call_has_a_secret_in_its_arguments_or_anything_of_ours_in_its_environment() {
    let world = World::with(recorded).await;
    let origin = world.origin("origin");
    let commit = origin.head();
    let server =
        ocelot_git::testing::Server::start(world.folder.path(), Some("ada:canary-4711"), None).unwrap();
    let login = Credentials::Basic { user: "ada".to_owned(), secret: "canary-4711".to_owned().into() };
    let mirror = world.open("m", &server.url("origin/.git"), login, Contents::Everything).await.unwrap();
    mirror.fetch(&[Want::Everything]).await.unwrap();
    world.checkout(&mirror, &plan(&commit, Some(main())), "w").await.unwrap();

    let log = std::fs::read_to_string(world.path("log")).unwrap();
    std::fs::remove_file(world.path("log")).unwrap();
    let secret: Vec<&str> = log.lines().filter(|line| line.contains("canary-4711")).collect();
    assert!(!secret.is_empty() && secret.iter().all(|line| *line == "env=OCELOT_GIT_SECRET=canary-4711"));
    let allowed =
        ["PATH", "HOME", "LC_ALL", "GIT_", "OCELOT_GIT_", "no_proxy", "PWD", "OLDPWD", "SHLVL", "_"];
    for line in log.lines().filter_map(|line| line.strip_prefix("env=")) {
        let name = line.split('=').next().unwrap();
        assert!(
            allowed
                .iter()
                .any(|allowed| name == *allowed || (allowed.ends_with('_') && name.starts_with(allowed))),
            "{line}"
        );
    }
    for setting in
        ["core.hooksPath=/dev/null", "core.fsmonitor=false", "fetch.fsckObjects=true", "credential.helper="]
    {
        let calls = log.matches("cmdline=").count();
        assert!(log.matches(&format!("arg={setting}\n")).count() >= calls, "{setting}");
    }
    assert!(log.contains("env=GIT_TERMINAL_PROMPT=0") && log.contains("env=GIT_ALLOW_PROTOCOL=none"));
    assert!(log.contains("env=GIT_CONFIG_NOSYSTEM=1") && log.contains("arg=--end-of-options"));
}

#[tokio::test]
async fn a_scheme_that_the_operator_did_not_allow_starts_nothing() {
    let world = World::with(|setup, folder| {
        recorded(setup, folder);
        setup.allowed = ocelot_git::Allowed::default();
    })
    .await;
    let origin = world.origin("origin");
    let before = std::fs::read_to_string(world.path("log")).unwrap();
    let error = world.git.ls_remote(&origin.url(), &Credentials::None).await.unwrap_err();
    assert!(matches!(error, GitError::Scheme { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(world.path("log")).unwrap(), before);
}

#[tokio::test]
async fn an_ssh_key_is_a_private_file_for_one_call_and_the_server_must_be_known() {
    let world = World::with(|setup, folder| {
        let bin = folder.join("bin");
        std::fs::create_dir(&bin).unwrap();
        let text = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$@\" >'{0}/ssh-args'\n\
             key=$(printf '%s\\n' \"$@\" | sed -n 's/^IdentityFile=\"\\(.*\\)\"$/\\1/p')\n\
             stat -c %a \"$key\" >'{0}/ssh-mode'; cat \"$key\" >'{0}/ssh-key'\nexit 255\n",
            folder.display()
        );
        script(&bin.join("ssh"), &text);
        setup.path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display()).into();
    })
    .await;
    let url = ocelot_git::RepositoryUrl::parse("git@h.example:a/$(id);b.git").unwrap();
    for known_hosts in [None, Some("h.example ssh-ed25519 AAAA\n".to_owned())] {
        let strict = if known_hosts.is_some() { "yes" } else { "accept-new" };
        let login = Credentials::SshKey { private_key: "canary-key".to_owned().into(), known_hosts };
        assert_eq!(format!("{login:?}"), "SshKey { .. }");
        world.git.ls_remote(&url, &login).await.unwrap_err();
        let args = std::fs::read_to_string(world.path("ssh-args")).unwrap();
        assert!(args.contains(&format!("StrictHostKeyChecking={strict}\n")), "{args}");
        assert!(args.contains("BatchMode=yes\n") && args.contains("IdentitiesOnly=yes\n"), "{args}");
        assert!(args.contains("git@h.example\ngit-upload-pack '/a/$(id);b.git'\n"), "{args}");
        assert_eq!(std::fs::read_to_string(world.path("ssh-mode")).unwrap(), "600\n");
        assert_eq!(std::fs::read_to_string(world.path("ssh-key")).unwrap(), "canary-key\n");
        assert_eq!(std::fs::read_dir(world.path("secrets")).unwrap().count(), 0);
    }
    let https = ocelot_git::RepositoryUrl::parse("https://h.example/a").unwrap();
    let login = Credentials::SshKey { private_key: "k".to_owned().into(), known_hosts: None };
    assert!(matches!(world.git.ls_remote(&https, &login).await, Err(GitError::Credentials(_))));
    let login = Credentials::Basic { user: "a\nhost=evil".to_owned(), secret: "b".to_owned().into() };
    assert!(matches!(world.git.ls_remote(&https, &login).await, Err(GitError::Credentials(_))));
}

/// A git that never ends, and whose children hold a pipe open for as long as they live.
async fn endless(limit: Duration) -> (tempfile::TempDir, Git, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let program = folder.path().join("endless");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *version*) echo git version 2.99.0; exit;; esac\n\
         exec 9>'{}'\nsleep 1000000 &\nsleep 1000000\n",
        pipe.display()
    );
    script(&program, &text);
    let mut setup = Setup::new(folder.path().join("home"), folder.path().join("secrets"));
    setup.program = program;
    setup.allowed = ALL;
    setup.remote_limit = limit;
    (folder, Git::open(setup).await.unwrap(), pipe)
}

#[tokio::test]
async fn at_the_deadline_no_process_is_left() {
    // Long enough for the pipe to be opened: its reader would wait for ever.
    let (_folder, git, pipe) = endless(Duration::from_secs(5)).await;
    let url = ocelot_git::RepositoryUrl::parse("https://h.example/a").unwrap();
    // Reading ends when the last of them is gone, and only then.
    let reader = std::thread::spawn(move || std::fs::read(pipe).unwrap());
    let error = git.ls_remote(&url, &Credentials::None).await.unwrap_err();
    assert!(matches!(error, GitError::Deadline { .. }) && error.may_pass(), "{error}");
    assert_eq!(reader.join().unwrap(), b"");
}

#[tokio::test]
async fn a_call_that_is_dropped_takes_its_processes_with_it() {
    let (_folder, git, pipe) = endless(Duration::from_mins(60)).await;
    let url = ocelot_git::RepositoryUrl::parse("https://h.example/a").unwrap();
    let (open, opened) = tokio::sync::oneshot::channel();
    let reader = std::thread::spawn(move || {
        let mut file = std::fs::File::open(pipe).unwrap();
        open.send(()).unwrap();
        std::io::Read::read_to_end(&mut file, &mut Vec::new()).unwrap()
    });
    tokio::select! {
        asked = git.ls_remote(&url, &Credentials::None) => panic!("an endless git ended: {asked:?}"),
        opened = opened => opened.unwrap(),
    }
    assert_eq!(reader.join().unwrap(), 0);
}

#[tokio::test]
async fn what_git_and_servers_say_is_short_plain_and_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("chatty");
    script(
        &program,
        "#!/bin/sh\ncase \"$*\" in *version*) echo git version 2.99.0; exit;; esac\n\
         i=0; while [ $i -lt 5000 ]; do echo \"remote: line $i\" >&2; i=$((i+1)); done\n\
         printf 'remote: \\033[2J%s\\n' \"$OCELOT_GIT_SECRET\" >&2; exit 128\n",
    );
    let mut setup = Setup::new(folder.path().join("home"), folder.path().join("secrets"));
    setup.program = program;
    let git = Git::open(setup).await.unwrap();
    let url = ocelot_git::RepositoryUrl::parse("https://h.example/a").unwrap();
    let login = Credentials::Basic { user: "u".to_owned(), secret: "canary-4711".to_owned().into() };
    let text = git.ls_remote(&url, &login).await.unwrap_err().to_string();
    assert!(text.ends_with("remote: line 4999; remote: ?[2J***"), "{text}");
    assert!(text.len() < 400);
}

#[tokio::test]
async fn a_missing_git_is_known_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(folder.path().join("home"), folder.path().join("secrets"));
    setup.program = folder.path().join("no-such-git");
    assert!(matches!(Git::open(setup).await, Err(GitError::Start { .. })));
}

#[tokio::test]
async fn git_runs_as_the_account_that_it_is_given() {
    let me = rustix::process::geteuid().as_raw();
    // Only root can become another; everyone else becomes what they are.
    let own = ocelot_git::Account { uid: me, gid: rustix::process::getegid().as_raw() };
    let account = if me == 0 { ocelot_git::Account { uid: 65_534, gid: 65_534 } } else { own };
    let world = World::with(|setup, _| setup.account = Some(account)).await;
    let origin = world.origin("origin");
    let commit = origin.commit(&[("a", "1")]);
    let server = ocelot_git::testing::Server::start(world.folder.path(), Some("ada:pw"), None).unwrap();
    let login = Credentials::Basic { user: "ada".to_owned(), secret: "pw".to_owned().into() };
    let url = server.url("origin/.git");
    let mirror = world.open("m", &url, login, Contents::Everything).await.unwrap();
    world.checkout(&mirror, &plan(&commit, Some(main())), "w").await.unwrap();
    for place in ["w/a", "w/.git/HEAD", "mirrors/m/repository.git/HEAD"] {
        let metadata = std::fs::metadata(world.path(place)).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&metadata), account.uid, "{place}");
    }
}
