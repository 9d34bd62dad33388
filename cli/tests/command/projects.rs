//! Projects, and builds of them from a checkout.

#![expect(clippy::unwrap_used, reason = "these functions are called by tests only")]

use std::path::{Path, PathBuf};
use std::process::Command;

use ocelot_proto::wire;
use ocelot_proto::wire::project_event::{Decision, Pending};
use tempfile::TempDir;
use tonic::Code;

use crate::fleet::{
    Fleet, MINUTE, Script, ago, built, exited, id, project, refuse, scrubbed, seen, succeeded,
};

pub(crate) fn fleet() -> Fleet {
    let event = |last: u8, summary: &str, decision| wire::ProjectEvent {
        id: id(last).into(),
        received_unix_us: ago(MINUTE * u32::from(last)),
        summary: summary.into(),
        commit: "1a2b3c4d5e6f".into(),
        by: "ada".into(),
        decision: Some(decision),
    };
    let pending = |trouble: &str| Decision::Pending(Pending { trouble: trouble.into() });
    let far = wire::Project {
        enabled: false,
        forge: String::new(),
        hook_url: String::new(),
        poll_every_ms: 300_000,
        url: "ssh://git@code.acme.example/ops/tools".into(),
        ..project("ops/tools")
    };
    let shop = wire::Project {
        group: "web".into(),
        hook_seen_unix_us: ago(MINUTE * 2),
        hook_registered: true,
        polled_unix_us: ago(MINUTE * 3),
        retention_ms: 30 * 86_400_000,
        git_secret: "deploy-key".into(),
        trouble: "the repository does not open:\nPermission denied\x1b[2J".into(),
        ..project("acme/shop")
    };
    Fleet::start(Script {
        projects: vec![shop, far],
        runs: vec![built(7, Some(exited("test", 1))), built(6, Some(succeeded()))],
        events: vec![
            event(1, "push of 3 commits to main by ada", Decision::Run(built(7, None))),
            event(2, "push to topic", Decision::Ignored("branch topic does not match main".into())),
            event(3, "push to main", Decision::Rejected("ocelot.yml:1:1: no\nmore".into())),
            event(4, "push to main", pending("the repository does not answer")),
            event(5, "push to main", pending("")),
        ],
        ..Script::default()
    })
}

/// A repository and a clone of it with one pushed commit.
struct Cloned {
    folder: TempDir,
}

impl Cloned {
    fn new() -> Self {
        let cloned = Self { folder: tempfile::tempdir().unwrap() };
        let top = cloned.folder.path();
        git(top, &["init", "--quiet", "--bare", "--initial-branch=main", "acme/shop.git"]);
        git(top, &["clone", "--quiet", "acme/shop.git", "work"]);
        cloned.commit("one");
        git(&cloned.work(), &["push", "--quiet", "-u", "origin", "HEAD"]);
        cloned
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn commit(&self, name: &str) -> String {
        std::fs::write(self.work().join(name), name).unwrap();
        git(&self.work(), &["add", "."]);
        git(&self.work(), &["commit", "--quiet", "-m", name]);
        git(&self.work(), &["rev-parse", "HEAD"])
    }

    /// The command's transcript in the clone, whose remote is said to be at `url`.
    fn transcript(&self, fleet: &Fleet, arguments: &[&str]) -> String {
        let mut command = fleet.command(arguments);
        command.current_dir(self.work()).env("PATH", env!("PATH"));
        let seen = seen(command.output().unwrap());
        scrubbed(&seen.transcript().replace(&fleet.address.to_string(), "ADDRESS"))
            .replace(self.folder.path().canonicalize().unwrap().to_str().unwrap(), "FOLDER")
    }

    fn named(&self, url: &str) {
        git(&self.work(), &["remote", "set-url", "origin", url]);
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(folder).args(["-c", "init.defaultBranch=main"]).args(arguments);
    for (name, value) in [("NAME", "Ada"), ("EMAIL", "ada@acme.example")] {
        command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
    }
    for moment in ["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"] {
        command.env(moment, "2026-11-20T08:00:00Z");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn projects_are_listed_and_described() {
    let fleet = fleet();
    insta::assert_snapshot!(fleet.transcript(&["project", "list"]), @"
    [stdout]
    PROJECT    STATE                          BRANCH  GROUP  DELIVERIES   POLLED
    acme/shop  the repository does not open:  main    web    last 2m ago  -
    ops/tools  disabled                       main    -      no webhook   every 5m
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["repos", "list"]), @"
    [stdout]
    PROJECT    STATE                          BRANCH  GROUP  DELIVERIES   POLLED
    acme/shop  the repository does not open:  main    web    last 2m ago  -
    ops/tools  disabled                       main    -      no webhook   every 5m
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["project", "describe", "acme/shop"]), @"
    [stdout]
    Project     acme/shop
    Repository  https://github.com/acme/shop, GitHub
    Branch      main
    Group       web
    Webhook     https://ci.acme.example/hooks/github/acme/shop
    Polled      only when asked
    Keeps       runs, logs and artifacts for 30d
    Git secret  the secret deploy-key
    Deliveries  last 2m ago
    Looked at   3m ago
    Trouble     the repository does not open:
                Permission denied^[[2J
    Added       3h ago by ada

    BRANCH  RUN          STATE      ACCEPTED  COMMIT   SUBJECT
    main    acme/shop#7  failed     12m ago   1a2b3c4  Mend the cart^[[2J
    main    acme/shop#6  succeeded  12m ago   1a2b3c4  Mend the cart^[[2J
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["project", "describe", "acme/none"]), @r#"
    [stderr]
    error: cannot find the project acme/none: there is no project "acme/none"
    hint: see what there is: ocelot project list
    exit 1
    "#);
}

#[test]
fn what_was_received_is_listed_with_what_was_decided() {
    let fleet = fleet();
    insta::assert_snapshot!(fleet.transcript(&["project", "events", "acme/shop", "-n", "4"]), @"
    [stdout]
    RECEIVED  EVENT                             COMMIT   DECISION
    1m ago    push of 3 commits to main by ada  1a2b3c4  acme/shop#7 running
    2m ago    push to topic                     1a2b3c4  ignored: branch topic does not match main
    3m ago    push to main                      1a2b3c4  rejected: ocelot.yml:1:1: no
    4m ago    push to main                      1a2b3c4  waits: the repository does not answer
    [stderr]
    (there are older ones; see more of them: -n 300)
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["project", "poll", "acme/shop"]), @"
    [stdout]
    RECEIVED  EVENT                             COMMIT   DECISION
    1m ago    push of 3 commits to main by ada  1a2b3c4  acme/shop#7 running
    exit 0
    ");
    fleet.script().events.clear();
    insta::assert_snapshot!(fleet.transcript(&["poll", "acme/shop"]), @"
    [stderr]
    nothing is new there
    exit 0
    ");
}

#[test]
fn a_project_is_added_by_its_address_with_what_is_left_to_do() {
    let fleet = fleet();
    insta::assert_snapshot!(fleet.transcript(&[
        "project", "add", "https://github.com/acme/till.git", "--group", "web", "--poll", "5m", "--retention", "30d",
        "--forge-secret", "gh", "--forks",
    ]), @"
    [stdout]
    Project     acme/till
    Repository  https://github.com/acme/till.git, GitHub
    Branch      main
    Group       web
    Webhook     https://ci.acme.example/hooks/github/acme/till
    Polled      every 5m
    Keeps       runs, logs and artifacts for 30d
    Forge token the secret gh
    Forks       their pull requests are built, without secrets
    Secret      s3cret
    [stderr]

    the secret is shown this once. So that pushes are built at once, paste it
    in the repository at GitHub: Settings, Webhooks, Add webhook
      Payload URL   https://ci.acme.example/hooks/github/acme/till
      Content type  application/json
      Secret        the one above
      Events        Let me select: Pushes, Branch or tag creation, Branch or tag deletion, Pull requests
    then try it:  ocelot project hook test acme/till
    build it now: ocelot build --follow --project acme/till
    exit 0
    ");
    fleet.script().left_to_do = vec!["take the webhook away at the forge".into()];
    insta::assert_snapshot!(fleet.transcript(&["project", "add", "git@code.acme.example:acme/till.git"]), @"
    [stdout]
    Project     acme/till
    Repository  git@code.acme.example:acme/till.git, GitHub
    Branch      main
    Webhook     https://ci.acme.example/hooks/github/acme/till
    Polled      only when asked
    Secret      s3cret
    [stderr]

    the secret is shown this once. So that pushes are built at once, paste it
    in the repository at GitHub: Settings, Webhooks, Add webhook
      Payload URL   https://ci.acme.example/hooks/github/acme/till
      Content type  application/json
      Secret        the one above
      Events        Let me select: Pushes, Branch or tag creation, Branch or tag deletion, Pull requests
    then try it:  ocelot project hook test acme/till
    left to do by hand:
      take the webhook away at the forge
    build it now: ocelot build --follow --project acme/till
    exit 0
    ");
    let puts = fleet.script().project_puts.clone();
    assert!(puts.iter().all(|put| put.create && !put.hook));
    let settings = puts[0].settings.clone().unwrap();
    assert_eq!((settings.forge.as_deref(), settings.poll_every_ms), (Some("github"), Some(300_000)));
    assert_eq!((settings.enabled, settings.git_secret), (None, None));
    assert_eq!(puts[1].settings.clone().unwrap().forge, None);
}

#[test]
fn every_forge_says_where_the_secret_belongs() {
    let fleet = fleet();
    let mut all = String::new();
    for forge in ["gitlab", "gitea", "bitbucket", "plain"] {
        let name = format!("acme/{forge}");
        let url = format!("https://code.acme.example/{name}");
        let told = fleet.run(&["project", "add", &url, "--forge", forge]).stderr;
        all += &told;
    }
    insta::assert_snapshot!(all, @"
    the secret is shown this once. So that pushes are built at once, paste it
    in the project at GitLab: Settings, Webhooks, Add new webhook
      URL           https://ci.acme.example/hooks/github/acme/gitlab
      Secret token  the one above
      Trigger       Push events, Tag push events, Merge request events
    then try it:  ocelot project hook test acme/gitlab
    build it now: ocelot build --follow --project acme/gitlab

    the secret is shown this once. So that pushes are built at once, paste it
    in the repository at Gitea or Forgejo: Settings, Webhooks, Add Webhook, Gitea or Forgejo
      Target URL    https://ci.acme.example/hooks/github/acme/gitea
      Content type  application/json
      Secret        the one above
      Trigger On    Custom Events: Push, Create, Delete, Pull Request, Pull Request Synchronized
    then try it:  ocelot project hook test acme/gitea
    build it now: ocelot build --follow --project acme/gitea

    the secret is shown this once. So that pushes are built at once, paste it
    in the repository at Bitbucket: Repository settings, Webhooks, Add webhook
      URL           https://ci.acme.example/hooks/github/acme/bitbucket
      Secret        the one above
      Triggers      Repository push; Pull request created, updated
    then try it:  ocelot project hook test acme/bitbucket
    build it now: ocelot build --follow --project acme/bitbucket

    the secret is shown this once. So that pushes are built at once, paste it
    in a post-receive hook of the repository: POST the payload, signed with the secret above, to
      https://ci.acme.example/hooks/github/acme/plain
    then try it:  ocelot project hook test acme/plain
    build it now: ocelot build --follow --project acme/plain
    ");
}

#[test]
fn adding_again_changes_settings_and_never_another_repository() {
    let fleet = fleet();
    let again = fleet.transcript(&["watch", "git@github.com:acme/shop.git", "--group", "web"]);
    insta::assert_snapshot!(again, @"
    [stdout]
    Project     acme/shop
    Repository  git@github.com:acme/shop.git, GitHub
    Branch      main
    Group       web
    Webhook     https://ci.acme.example/hooks/github/acme/shop
    Polled      only when asked
    Keeps       runs, logs and artifacts for 30d
    Git secret  the secret deploy-key
    [stderr]
    build it now: ocelot build --follow --project acme/shop
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["project", "add", "https://gitlab.com/acme/shop"]), @"
    [stderr]
    error: cannot add the project acme/shop: it is there, and is another repository: https://github.com/acme/shop
    hint: call this one otherwise: --name OWNER/NAME; or: ocelot project set acme/shop --url URL
    exit 1
    ");
}

#[test]
fn settings_are_changed_one_by_one() {
    let fleet = fleet();
    insta::assert_snapshot!(fleet.transcript(&["project", "set", "acme/shop", "--poll", "off", "--group", ""]), @"
    [stdout]
    Project     acme/shop
    Repository  https://github.com/acme/shop, GitHub
    Branch      main
    Webhook     https://ci.acme.example/hooks/github/acme/shop
    Polled      only when asked
    Keeps       runs, logs and artifacts for 30d
    Git secret  the secret deploy-key
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["project", "disable", "acme/shop"]), @"
    [stdout]
    acme/shop disabled; what runs goes on
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["project", "enable", "acme/shop"]), @"
    [stdout]
    acme/shop enabled
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["project", "set", "acme/shop"]), @"
    [stderr]
    error: nothing to set was named
    hint: see what there is: ocelot project set --help
    exit 2
    ");
    insta::assert_snapshot!(fleet.transcript(&["project", "set", "acme/none", "--group", "a"]), @r#"
    [stderr]
    error: cannot find the project acme/none: there is no project "acme/none"
    hint: see what there is: ocelot project list
    exit 1
    "#);
    insta::assert_snapshot!(fleet.transcript(&["project", "set", "acme/shop", "--poll", "often"]), @r#"
    [stderr]
    error: "often" is no duration
    hint: say it like 15m, 12h, 30d or 1h30m
    exit 2
    "#);
    fleet.script().left_to_do = vec!["take the webhook away at the forge".into()];
    insta::assert_snapshot!(fleet.transcript(&["project", "remove", "acme/shop"]), @"
    [stdout]
    removed acme/shop
    [stderr]
    left to do by hand:
      take the webhook away at the forge
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["project", "remove"]), @"
    [stderr]
    error: which project?
    hint: say its name: ocelot project remove OWNER/NAME
    exit 2
    ");
}

#[test]
fn a_webhook_is_tried_and_given_a_new_secret() {
    let fleet = fleet();
    insta::assert_snapshot!(fleet.transcript(&["project", "hook", "test", "acme/shop"]), @"
    [stdout]
    the forge was asked to send a ping to acme/shop
    [stderr]
    see what came: ocelot project events acme/shop
    exit 0
    ");
    insta::assert_snapshot!(fleet.transcript(&["project", "hook", "rotate", "acme/shop", "--overlap", "1h"]), @"
    [stdout]
    newer
    [stderr]
    the old secret goes on working for 1h

    the secret is shown this once. So that pushes are built at once, paste it
    in the repository at GitHub: Settings, Webhooks, Add webhook
      Payload URL   https://ci.acme.example/hooks/github/acme/shop
      Content type  application/json
      Secret        the one above
      Events        Let me select: Pushes, Branch or tag creation, Branch or tag deletion, Pull requests
    then try it:  ocelot project hook test acme/shop
    exit 0
    ");
    fleet.script().left_to_do = vec!["push something".into()];
    insta::assert_snapshot!(fleet.transcript(&["project", "hook", "test", "acme/shop"]), @"
    [stdout]
    the forge cannot be asked to send a ping to acme/shop
    [stderr]
    left to do by hand:
      push something
    see what came: ocelot project events acme/shop
    exit 0
    ");
}

#[test]
fn a_checkout_says_which_project_branch_and_commit_is_built() {
    let (fleet, cloned) = (fleet(), Cloned::new());
    let head = git(&cloned.work(), &["rev-parse", "HEAD"]);
    cloned.named("git@github.com:acme/shop.git");
    insta::assert_snapshot!(cloned.transcript(&fleet, &["build", "-e", "A=1=2"]), @"
    [stdout]
    acme/shop#7
    [stderr]
    acme/shop#7: 1a2b3c4 Mend the cart^[[2J, by Ada (main)
    follow it: ocelot getlogs -f acme/shop#7
    exit 0
    ");
    let built = fleet.script().builds.pop().unwrap();
    assert_eq!((built.project.as_str(), built.branch.as_str()), ("acme/shop", "main"));
    assert_eq!((built.commit, built.env["A"].as_str()), (head.clone(), "1=2"));
    assert_eq!(built.id.len(), 16);

    // In a checkout a run of its project is known by its number alone.
    for verb in ["status", "cancel"] {
        let told = cloned.transcript(&fleet, &[verb, "#7"]);
        assert!(told.contains("acme/shop#7") && told.ends_with("exit 0"), "{told}");
    }

    cloned.commit("two");
    std::fs::write(cloned.work().join("one"), "changed").unwrap();
    insta::assert_snapshot!(cloned.transcript(&fleet, &["build"]), @"
    [stdout]
    acme/shop#7
    [stderr]
    note: one commit is not pushed and not built: main stands at e762954 there; push first, or run what is here: ocelot local
    note: one file has changes that are not committed and not built; run them here: ocelot local
    acme/shop#7: 1a2b3c4 Mend the cart^[[2J, by Ada (main)
    follow it: ocelot getlogs -f acme/shop#7
    exit 0
    ");
    assert_eq!(fleet.script().builds.pop().unwrap().commit, head);

    git(&cloned.work(), &["switch", "--quiet", "-c", "topic"]);
    insta::assert_snapshot!(cloned.transcript(&fleet, &["build"]), @"
    [stdout]
    acme/shop#7
    [stderr]
    note: whether topic was pushed is not known here; if it was not: git push, or run what is here: ocelot local
    note: one file has changes that are not committed and not built; run them here: ocelot local
    acme/shop#7: 1a2b3c4 Mend the cart^[[2J, by Ada (main)
    follow it: ocelot getlogs -f acme/shop#7
    exit 0
    ");
    assert_eq!(fleet.script().builds.pop().unwrap().branch, "topic");
    cloned.transcript(&fleet, &["build", "--tag", "v1"]);
    let tagged = fleet.script().builds.pop().unwrap();
    assert_eq!((tagged.tag.as_str(), tagged.branch.as_str(), tagged.commit.as_str()), ("v1", "", ""));
}

#[test]
fn a_project_is_found_by_its_address_whatever_it_is_called() {
    let (fleet, cloned) = (fleet(), Cloned::new());
    cloned.named("ssh://git@code.acme.example:2222/ops/tools.git");
    fleet.script().projects[1].name = "elsewhere/called".into();
    cloned.transcript(&fleet, &["build"]);
    assert_eq!(fleet.script().builds.pop().unwrap().project, "elsewhere/called");
    cloned.named("https://ada:secret@code.acme.example/unknown/one");
    insta::assert_snapshot!(cloned.transcript(&fleet, &["build"]), @"
    [stderr]
    error: no project of the fleet is https://code.acme.example/unknown/one
    hint: add it: ocelot project add
    exit 2
    ");
    insta::assert_snapshot!(cloned.transcript(&fleet, &["project", "add", "--output", "json"]), @r#"
    [stdout]
    {
      "project": {
        "name": "unknown/one",
        "url": "https://code.acme.example/unknown/one",
        "forge": "github",
        "default_branch": "main",
        "group": null,
        "enabled": true,
        "retention_ms": null,
        "poll_every_ms": null,
        "hook_url": "https://ci.acme.example/hooks/github/unknown/one",
        "hook_registered": false,
        "hook_seen": null,
        "git_secret": null,
        "forge_secret": null,
        "builds_forks": false,
        "trouble": null,
        "polled": null,
        "created": "MOMENT",
        "updated": "MOMENT",
        "updated_by": "ada"
      },
      "changed": true,
      "hook_secret": "s3cret",
      "left_to_do": []
    }
    exit 0
    "#);
    git(&cloned.work(), &["remote", "remove", "origin"]);
    insta::assert_snapshot!(cloned.transcript(&fleet, &["project", "describe"]), @"
    [stderr]
    error: this checkout has no remote, so no project can be told from it
    hint: name the project: OWNER/NAME; see them: ocelot project list
    exit 2
    ");
}

#[test]
fn a_build_that_is_refused_says_why_and_a_lost_answer_is_asked_for_again() {
    let fleet = fleet();
    let build = ["build", "--project", "acme/shop", "--branch", "gone"];
    fleet.script().refusals.insert("build", refuse(Code::NotFound, "there is no branch \"gone\""));
    insta::assert_snapshot!(fleet.transcript(&build), @r#"
    [stderr]
    error: cannot build acme/shop: there is no branch "gone"
    hint: is it pushed? see the project: ocelot project describe acme/shop
    exit 1
    "#);
    let lost = ["it ends", "it ends"].map(tonic::Status::unavailable);
    fleet.script().refusals.insert("build", lost.into());
    fleet.script().builds.clear();
    assert_eq!(fleet.run(&build).code, Some(0));
    let script = fleet.script();
    assert_eq!(script.builds.len(), 3);
    assert!(script.builds.iter().all(|request| request.id == script.builds[0].id));
}
