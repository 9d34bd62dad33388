//! Over http, with and without a password.

use std::net::IpAddr;
use std::sync::Arc;

use ocelot_git::{Allowed, Cause, Contents, Credentials, GitError, Guard, Refusal, RepositoryUrl, Want};

use crate::world::{World, main, plan};
use ocelot_git::testing::Server;

fn basic(secret: &str) -> Credentials {
    Credentials::Basic { user: "ada".to_owned(), secret: secret.to_owned().into() }
}

#[tokio::test]
async fn a_private_repository_is_read_with_its_password_which_is_written_nowhere() {
    let world = World::new().await;
    let origin = world.origin("origin");
    let commit = origin.commit(&[("ocelot.yml", "x")]);
    let server = Server::start(world.folder.path(), Some("ada:canary-4711"), None).unwrap();
    let url = server.url("origin/.git");

    for (credentials, what) in [(Credentials::None, "none"), (basic("wrong-4712"), "wrong")] {
        let error = world.git.ls_remote(&url, &credentials).await.unwrap_err();
        assert_eq!(error.cause(), Some(Cause::Denied), "{what}: {error}");
        assert!(!error.to_string().contains("4712") && error.to_string().contains("store a credential"));
    }
    assert_eq!(world.git.ls_remote(&url, &basic("canary-4711")).await.unwrap().head, Some(main()));

    for contents in [Contents::Everything, Contents::WithoutFiles] {
        let name = format!("{contents:?}");
        let mirror = world.open(&name, &url, basic("canary-4711"), contents).await.unwrap();
        mirror.fetch(&[Want::Everything]).await.unwrap();
        assert_eq!(mirror.read_file(&commit, "ocelot.yml", 9).await.unwrap().unwrap(), b"x");
        assert!(!format!("{mirror:?}").contains("4711"));
        let filled = world.checkout(&mirror, &plan(&commit, Some(main())), &format!("w-{name}")).await;
        match contents {
            Contents::Everything => assert!(filled.is_ok(), "{filled:?}"),
            Contents::WithoutFiles => assert!(matches!(filled, Err(GitError::NoFiles { .. })), "{filled:?}"),
        }
    }
    let mut grep = std::process::Command::new("grep");
    grep.args(["-r", "-l", "-a", "canary-4711"]).arg(world.folder.path());
    assert!(grep.output().unwrap().stdout.is_empty(), "the password was written to a file");
    assert!(!server.seen().iter().any(|head| head.contains("canary-4711")), "the password stood in a URL");
}

#[tokio::test]
async fn a_redirect_is_not_followed_unless_the_operator_allows_it() {
    let strict = World::new().await;
    let open = World::with(|setup, _| setup.redirects = true).await;
    for (world, allowed) in [(&strict, false), (&open, true)] {
        world.origin("origin");
        let target = Server::start(world.folder.path(), None, None).unwrap();
        let place = target.url("x").server_text();
        let first = Server::start(world.folder.path(), None, Some(place)).unwrap();
        let asked = world.git.ls_remote(&first.url("origin/.git"), &Credentials::None).await;
        assert_eq!(target.seen().is_empty(), !allowed);
        match asked {
            Ok(_) => assert!(allowed),
            Err(error) => assert_eq!((error.cause(), allowed), (Some(Cause::Redirected), false), "{error}"),
        }
    }
}

#[tokio::test]
async fn a_password_is_shown_to_its_own_server_only() {
    let world = World::with(|setup, _| setup.redirects = true).await;
    world.origin("origin");
    let thief = Server::start(world.folder.path(), Some("ada:canary-4711"), None).unwrap();
    let place = thief.url("x").server_text();
    let first = Server::start(world.folder.path(), None, Some(place)).unwrap();
    let asked = world.git.ls_remote(&first.url("origin/.git"), &basic("canary-4711")).await;
    assert_eq!(asked.unwrap_err().cause(), Some(Cause::Denied));
    assert!(!thief.seen().is_empty());
    assert!(thief.seen().iter().all(|head| !head.to_ascii_lowercase().contains("authorization")));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_worth_another_try() {
    let world = World::new().await;
    let server = Server::start(world.folder.path(), None, None).unwrap();
    let missing = world.git.ls_remote(&server.url("missing"), &Credentials::None).await.unwrap_err();
    assert_eq!(missing.cause(), Some(Cause::NoRepository), "{missing}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    drop(listener);
    let url = ocelot_git::RepositoryUrl::parse_with(&url, crate::world::ALL).unwrap();
    let error = world.git.ls_remote(&url, &Credentials::None).await.unwrap_err();
    assert!(error.may_pass(), "{error}");
}

trait ServerText {
    fn server_text(&self) -> String;
}

impl ServerText for ocelot_git::RepositoryUrl {
    fn server_text(&self) -> String {
        self.as_str().strip_suffix(self.path()).unwrap().to_owned()
    }
}

/// Sends one name here, and every other nowhere.
#[derive(Debug)]
struct OneName;

#[async_trait::async_trait]
impl Guard for OneName {
    async fn addresses(&self, host: &str, _port: u16) -> Result<Vec<IpAddr>, Refusal> {
        match host {
            "code.example" => Ok(vec![IpAddr::from([127, 0, 0, 1])]),
            other => Err(Refusal { why: format!("{other} is private"), may_pass: false }),
        }
    }
}

#[tokio::test]
async fn a_guard_says_where_a_name_leads_and_what_it_refuses_is_never_called() {
    let world = World::with(|setup, _| setup.guard = Some(Arc::new(OneName))).await;
    world.origin("origin");
    let server = Server::start(world.folder.path(), None, None).unwrap();
    let plain = server.url("origin/.git");
    let named = plain.as_str().replace("127.0.0.1", "code.example");
    let named = RepositoryUrl::parse_with(&named, Allowed { http: true, file: false }).unwrap();
    assert_eq!(world.git.ls_remote(&named, &Credentials::None).await.unwrap().head, Some(main()));
    let heads = server.seen().len();
    let error = world.git.ls_remote(&plain, &Credentials::None).await.unwrap_err();
    assert!(matches!(error, GitError::Refused { .. }), "{error}");
    assert_eq!(server.seen().len(), heads);
}
