//! Pull requests made to look like the repository's own: none of them may be trusted.

use ocelot_forge::Forge;
use ocelot_forge::api::pull_request_facts;
use ocelot_forge::event::{Event, EventKind, RepositoryId, Trust, Untrusted};
use ocelot_forge::payload::{Delivery, parse};
use serde_json::{Value, json};

use crate::shelf::{headers_of, one, payload};

const SEEDED: u32 = 10_000;

/// Small, seeded, the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len())]
    }
}

/// Where in a payload of a fork the head's repository is told, each place on its own.
fn head_places(forge: Forge) -> &'static [&'static str] {
    match forge {
        Forge::GitHub => &["/pull_request/head/repo"],
        Forge::Gitea => &["/pull_request/head/repo"],
        Forge::GitLab => &["/object_attributes/source"],
        Forge::Bitbucket => &["/pullrequest/source/repository"],
    }
}

fn head_id(forge: Forge) -> &'static str {
    match forge {
        Forge::GitHub | Forge::Gitea => "/pull_request/head/repo/id",
        Forge::GitLab => "/object_attributes/source_project_id",
        Forge::Bitbucket => "/pullrequest/source/repository/uuid",
    }
}

fn base_id(forge: Forge) -> &'static str {
    match forge {
        Forge::GitHub | Forge::Gitea => "/pull_request/base/repo/id",
        Forge::GitLab => "/object_attributes/target_project_id",
        Forge::Bitbucket => "/pullrequest/destination/repository/uuid",
    }
}

/// All that a stranger chooses: names, refs, titles, authors, labels.
fn texts(forge: Forge) -> &'static [&'static str] {
    match forge {
        Forge::GitHub | Forge::Gitea => &[
            "/pull_request/head/ref",
            "/pull_request/head/label",
            "/pull_request/title",
            "/pull_request/user/login",
            "/pull_request/user/id",
            "/pull_request/author_association",
            "/pull_request/head/repo/full_name",
            "/pull_request/head/repo/name",
            "/pull_request/head/repo/fork",
            "/pull_request/head/repo/owner/login",
            "/pull_request/head/repo/clone_url",
            "/pull_request/head/user/login",
            "/sender/login",
            "/sender/id",
        ],
        Forge::GitLab => &[
            "/object_attributes/source_branch",
            "/object_attributes/title",
            "/object_attributes/author_id",
            "/object_attributes/source/path_with_namespace",
            "/object_attributes/source/namespace",
            "/object_attributes/source/git_http_url",
            "/object_attributes/last_commit/author/name",
            "/user/username",
            "/user/id",
        ],
        Forge::Bitbucket => &[
            "/pullrequest/source/branch/name",
            "/pullrequest/title",
            "/pullrequest/author/uuid",
            "/pullrequest/author/nickname",
            "/pullrequest/source/repository/full_name",
            "/pullrequest/source/repository/name",
            "/actor/uuid",
            "/actor/nickname",
        ],
    }
}

/// What is put in the place of a text: the base's own names above all.
fn lies(forge: Forge) -> Vec<Value> {
    let own = match forge {
        Forge::GitHub => "Codertocat/Hello-World",
        Forge::GitLab => "gitlab-org/tools/hello-world",
        Forge::Gitea => "gogits/hello-world",
        Forge::Bitbucket => "brydzewski/foo",
    };
    vec![
        json!(own),
        json!(format!("{own}:main")),
        json!(format!("https://example.org/{own}.git")),
        json!("main"),
        json!("refs/heads/main"),
        json!("6113728f27ae82c7b1a177c8d03f9e96e0adf246"),
        json!("0000000000000000000000000000000000000000"),
        json!("OWNER"),
        json!("186853002"),
        json!(186853002),
        json!("{bc771cbf-829e-4c4b-b71f-a0eb3ac2b860}"),
        json!(false),
        json!(null),
        json!("\u{202e}niam"),
        json!("x\u{0}main"),
    ]
}

/// Ids that are near to the base's and are not it.
fn near(forge: Forge, own: &Value) -> Vec<Value> {
    let mut near = vec![json!(null), json!([own]), json!({ "id": own }), json!(true), json!(0), json!(-1)];
    near.push(match own {
        Value::Number(number) => json!(number.to_string()),
        _ => json!(61),
    });
    near.push(match forge {
        Forge::GitHub | Forge::GitLab | Forge::Gitea => json!(own.as_f64().unwrap() + 0.5),
        Forge::Bitbucket => json!(format!("{} ", own.as_str().unwrap())),
    });
    near.push(json!("{bc771cbf-829e-4c4b-b71f-a0eb3ac2b861}"));
    near.push(json!(200_000_001));
    near
}

fn set(body: &mut Value, place: &str, value: Value) {
    if let Some(found) = body.pointer_mut(place) {
        *found = value;
    }
}

#[test]
fn s1_no_hostile_pull_request_is_ever_trusted() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let kinds = ["pull_request_fork", "pull_request_fork_deleted", "pull_request_opened"];
    let read = |forge, kind| serde_json::from_slice::<Value>(&payload(forge, kind)).unwrap();
    let bodies = Forge::ALL.map(|forge| kinds.map(|kind| read(forge, kind)));
    let (mut events, mut refused) = (0, 0);
    for _ in 0..SEEDED {
        let (which, kind) = (dice.roll(4), dice.roll(3));
        let (forge, mut body, kind) = (Forge::ALL[which], bodies[which][kind].clone(), kinds[kind]);
        let own = body.pointer(base_id(forge)).unwrap().clone();
        for _ in 0..=dice.roll(6) {
            let (place, lie) = (*dice.pick(texts(forge)), dice.pick(&lies(forge)).clone());
            set(&mut body, place, lie);
        }
        // Whatever else was changed: the head's or the base's id is not the repository's.
        match (kind, dice.roll(4)) {
            ("pull_request_opened", 0) => set(&mut body, head_places(forge)[0], json!(null)),
            ("pull_request_opened", 1) => set(&mut body, base_id(forge), json!(424_242)),
            ("pull_request_opened", _) | (_, 1) => {
                let id = dice.pick(&near(forge, &own)).clone();
                set(&mut body, head_id(forge), id);
            }
            _ => {}
        }
        if forge == Forge::GitLab && kind == "pull_request_opened" && dice.roll(2) == 0 {
            set(&mut body, "/object_attributes/source_project_id", json!(null));
        }
        let bytes = serde_json::to_vec(&body).unwrap();
        match parse(forge, &headers_of(forge, kind), &bytes) {
            Ok(Delivery::Events { events: found, .. }) => {
                events += 1;
                assert!(found.iter().all(|event| !event.is_trusted()), "{forge} {kind}: {body:#}");
            }
            Ok(Delivery::Ignored { why }) => panic!("{forge} {kind} was ignored: {why}"),
            Err(_) => refused += 1,
        }
    }
    assert!(events > SEEDED / 2, "only {events} of them were read, {refused} refused");
}

#[test]
fn a_pull_request_between_branches_of_the_repository_is_trusted() {
    for forge in Forge::ALL {
        let event = one(forge, "pull_request_opened", &payload(forge, "pull_request_opened"));
        assert_eq!(event.trust(), Trust::Trusted, "{forge}");
    }
}

#[test]
fn a_commit_id_as_a_branch_name_makes_a_fork_no_insider() {
    for forge in Forge::ALL {
        let mut body: Value = serde_json::from_slice(&payload(forge, "pull_request_fork")).unwrap();
        for place in texts(forge) {
            set(&mut body, place, json!("6113728f27ae82c7b1a177c8d03f9e96e0adf246"));
        }
        let Ok(Delivery::Events { events, .. }) =
            parse(forge, &headers_of(forge, "pull_request_fork"), &serde_json::to_vec(&body).unwrap())
        else {
            continue;
        };
        assert_eq!(events[0].trust(), Trust::Untrusted(Untrusted::Fork), "{forge}");
    }
}

#[test]
fn a_pull_request_that_goes_to_another_repository_than_the_delivery_is_untrusted() {
    let mut body: Value = serde_json::from_slice(&payload(Forge::GitHub, "pull_request_opened")).unwrap();
    // Head and base agree with each other, and not with the repository: as after a transfer.
    set(&mut body, "/pull_request/head/repo/id", json!(7));
    set(&mut body, "/pull_request/base/repo/id", json!(7));
    let event = one(Forge::GitHub, "pull_request_opened", &serde_json::to_vec(&body).unwrap());
    assert_eq!(event.trust(), Trust::Untrusted(Untrusted::BaseUnknown));
    assert!(!event.is_of(&RepositoryId::from_text("7")));
}

#[test]
fn an_id_that_is_told_twice_and_differently_is_no_id() {
    let mut body: Value = serde_json::from_slice(&payload(Forge::Gitea, "pull_request_opened")).unwrap();
    set(&mut body, "/pull_request/head/repo_id", json!(77));
    let event = one(Forge::Gitea, "pull_request_opened", &serde_json::to_vec(&body).unwrap());
    assert_eq!(event.trust(), Trust::Untrusted(Untrusted::HeadUnknown));
    let mut body: Value = serde_json::from_slice(&payload(Forge::GitLab, "pull_request_opened")).unwrap();
    set(&mut body, "/object_attributes/source/id", json!(5_000_001));
    let event = one(Forge::GitLab, "pull_request_opened", &serde_json::to_vec(&body).unwrap());
    assert_eq!(event.trust(), Trust::Untrusted(Untrusted::HeadUnknown));
}

#[test]
fn who_pushes_for_review_at_gitea_is_no_insider_although_the_ids_say_so() {
    for kind in ["pull_request_agit", "pull_request_agit_forgejo"] {
        let body: Value = serde_json::from_slice(&payload(Forge::Gitea, kind)).unwrap();
        assert_eq!(body.pointer(head_id(Forge::Gitea)), body.pointer(base_id(Forge::Gitea)));
        let event = one(Forge::Gitea, kind, &payload(Forge::Gitea, kind));
        assert_eq!(event.trust(), Trust::Untrusted(Untrusted::HeadUnknown), "{kind}");
        let asked = confirmed(Forge::Gitea, "pull_request_opened", kind);
        assert_eq!(asked, Trust::Untrusted(Untrusted::HeadUnknown), "{kind}");
    }
}

/// What the API says of the pull request of a payload.
fn answer(forge: Forge, kind: &str) -> Value {
    let body: Value = serde_json::from_slice(&payload(forge, kind)).unwrap();
    match forge {
        Forge::GitHub | Forge::Gitea => body["pull_request"].clone(),
        Forge::Bitbucket => body["pullrequest"].clone(),
        Forge::GitLab => {
            let merge = &body["object_attributes"];
            json!({
                "iid": merge["iid"], "state": "opened", "sha": merge["last_commit"]["id"],
                "source_project_id": merge["source_project_id"],
                "target_project_id": merge["target_project_id"],
                "target_branch": merge["target_branch"],
            })
        }
    }
}

fn confirmed(forge: Forge, told: &str, answered: &str) -> Trust {
    let event: Event = one(forge, told, &payload(forge, told));
    let body = serde_json::to_vec(&answer(forge, answered)).unwrap();
    let facts = pull_request_facts(forge, &body).unwrap();
    assert!(facts.open && facts.head_commit.is_some() && facts.base_ref.is_some());
    let EventKind::PullRequest(pull) = &event.kind else { panic!("a pull request") };
    pull.confirmed_by(&facts, &event.repository.id)
}

#[test]
fn the_api_can_take_trust_away_and_never_give_it() {
    for forge in Forge::ALL {
        let (own, fork, gone) = ("pull_request_opened", "pull_request_fork", "pull_request_fork_deleted");
        assert_eq!(confirmed(forge, own, own), Trust::Trusted, "{forge}");
        assert_eq!(confirmed(forge, own, fork), Trust::Untrusted(Untrusted::Fork), "{forge}");
        assert_eq!(confirmed(forge, own, gone), Trust::Untrusted(Untrusted::HeadUnknown), "{forge}");
        assert_eq!(confirmed(forge, fork, own), Trust::Untrusted(Untrusted::NotConfirmed), "{forge}");
        assert_eq!(confirmed(forge, gone, own), Trust::Untrusted(Untrusted::NotConfirmed), "{forge}");
    }
}
