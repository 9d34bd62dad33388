use std::sync::Arc;

use ocelot_forge::Forge;
use ocelot_forge::api::{Status, StatusState};
use ocelot_forge::event::CommitId;
use ocelot_forge::secret::Secret;
use ocelot_proto::kit::clock::SystemClock;

use super::testing::{Double, Fault, IMPATIENCE, TOKEN, repository};
use super::*;
use crate::records::ForgeLink;

fn link(kind: Forge) -> ForgeLink {
    ForgeLink { kind, repository: None, api: None }
}

fn status(state: StatusState) -> Status {
    Status {
        state,
        context: "ocelot/push".into(),
        description: "#1 succeeded".into(),
        target_url: "https://ci.example.org/runs/1".into(),
        reference: Some("main".into()),
    }
}

#[tokio::test]
async fn each_forge_gets_hook_and_status_as_its_documentation_says() {
    for kind in Forge::ALL {
        let double = Double::start(kind).await;
        let line = double.line(Arc::new(SystemClock));
        let (address, name, _) = repository(kind);
        let home = line.home(address, &link(kind)).unwrap();
        assert_eq!(home.full_name(), name);
        let token = token_of(kind, TOKEN);
        let (url, secret) = ("https://ci.example.org/hooks/x/a/b", Secret::new("s".repeat(32)).unwrap());
        let first = line.register(&home, &token, url, &secret).await.unwrap();
        let again = line.register(&home, &token, url, &secret).await.unwrap();
        assert_eq!(first, again, "a hook is made once");
        assert_eq!(double.seen().hooks.len(), 1);
        let pings = usize::from(line.ping(&home, &token, &first.id).await.unwrap());
        assert_eq!((pings, double.seen().pings), if kind == Forge::Bitbucket { (0, 0) } else { (1, 1) });
        assert_eq!(line.repository(&home, &token).await.unwrap().full_name, name);

        let commit = CommitId::new(&"a1".repeat(20)).unwrap();
        assert!(!line.has_said(&home, &token, &commit, &status(StatusState::Success)).await.unwrap());
        line.say(&home, &token, &commit, &status(StatusState::Pending)).await.unwrap();
        assert!(!line.has_said(&home, &token, &commit, &status(StatusState::Success)).await.unwrap());
        line.say(&home, &token, &commit, &status(StatusState::Success)).await.unwrap();
        assert!(line.has_said(&home, &token, &commit, &status(StatusState::Success)).await.unwrap());

        line.remove(&home, &token, &first.id).await.unwrap();
        assert_eq!(double.seen().hooks, []);
        let wrong = double.seen().wrong.clone();
        assert!(
            wrong.iter().all(|wrong| kind == Forge::Bitbucket && wrong.ends_with("is not there")),
            "{wrong:?}"
        );
    }
}

#[tokio::test]
async fn what_a_forge_answers_is_told_apart_by_what_can_be_done_about_it() {
    let double = Double::start(Forge::GitHub).await;
    let line = double.line_within(IMPATIENCE, Arc::new(SystemClock));
    let home = line.home(repository(Forge::GitHub).0, &link(Forge::GitHub)).unwrap();
    let token = token_of(Forge::GitHub, TOKEN);
    for (fault, passing, words) in [
        (Fault::Status(401), true, "token"),
        (Fault::Status(403), false, "right"),
        (Fault::Status(404), false, "no such repository"),
        (Fault::Status(500), true, "500"),
        (Fault::Limited { seconds: 7 }, true, "429"),
        (Fault::Status(302), false, "moved"),
        (Fault::Mute, true, "in time"),
    ] {
        double.seen().faults.push_back(fault);
        let error = line.repository(&home, &token).await.unwrap_err();
        assert_eq!(error.is_passing(), passing, "{fault:?}: {error}");
        assert!(error.to_string().contains(words), "{fault:?}: {error}");
    }
}

#[test]
fn a_home_is_found_from_every_form_of_an_address() {
    let apis = Apis::from([("git.corp.example".to_owned(), "https://api.corp.example/x".to_owned())]);
    let told = |kind, address: &str| {
        let home = Home::of(address, &link(kind), &apis).map_err(|error| error.to_string())?;
        Ok::<_, String>(format!("{} {}", home.host(), home.full_name()))
    };
    for (kind, address, expected) in [
        (Forge::GitHub, "https://github.com/a/b.git", "api.github.com a/b"),
        (Forge::GitHub, "git@github.com:a/b.git", "api.github.com a/b"),
        (Forge::GitHub, "ssh://git@github.com:22/a/b", "api.github.com a/b"),
        (Forge::GitHub, "https://ghe.example:8443/a/b", "ghe.example:8443 a/b"),
        (Forge::Gitea, "https://host.example/forge/a/b", "host.example a/b"),
        (Forge::GitLab, "https://gitlab.com/g/s/p.git", "gitlab.com g/s/p"),
        (Forge::Bitbucket, "https://bitbucket.org/a/b", "api.bitbucket.org a/b"),
        (Forge::GitHub, "https://git.corp.example/a/b", "api.corp.example a/b"),
    ] {
        assert_eq!(told(kind, address).unwrap(), expected, "{address}");
    }
    for address in ["/srv/git/a.git", "https://github.com/a", "file:///a/b", "", "https://github.com"] {
        assert!(told(Forge::GitHub, address).is_err(), "{address}");
    }
}
