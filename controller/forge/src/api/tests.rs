use std::fmt::Write;
use std::time::Duration;

use super::*;
use crate::event::CommitId;
use crate::secret::Secret;

fn token() -> ForgeToken {
    ForgeToken::Token("t0ken".into())
}

fn commit() -> CommitId {
    CommitId::new("6113728f27ae82c7b1a177c8d03f9e96e0adf246").unwrap()
}

fn instance(forge: Forge) -> &'static str {
    match forge {
        Forge::GitHub => "https://github.com",
        Forge::GitLab => "https://gitlab.com",
        Forge::Gitea => "https://gitea.example.org",
        Forge::Bitbucket => "https://bitbucket.org",
    }
}

fn told(request: &Request) -> String {
    let mut text = format!("{} {}\n", request.method.word(), request.url);
    for (name, value) in &request.headers {
        writeln!(text, "  {name}: {value}").unwrap();
    }
    if let Some(body) = &request.body {
        writeln!(text, "  {body}").unwrap();
    }
    text
}

/// Every request that is made of a forge, one after the other.
fn requests(forge: Forge) -> String {
    let name = if forge == Forge::GitLab { "group/sub group/name" } else { "owner/name" };
    let repository = RepositoryPath::new(forge, name).unwrap();
    let api = ApiBase::of_instance(forge, instance(forge)).unwrap();
    let place = Place { forge, api: &api, repository: &repository };
    let (url, id) = ("https://ci.example.org/hooks/x/owner/name", "{12}");
    let secret = Secret::new("a secret of 16 bytes or more").unwrap();
    let status = Status {
        state: StatusState::Running,
        context: "ocelot/build".into(),
        description: "3 of 7 tasks done".into(),
        target_url: "https://ci.example.org/runs/1".into(),
        reference: Some("main".into()),
    };
    let mut all = vec![
        status_request(&place, &commit(), &status, &token()),
        read_status_request(&place, &commit(), "ocelot/build", &token()),
        list_hooks_request(&place, &token()),
        hook_request(&place, url, &secret, &token()),
        update_hook_request(&place, id, url, &secret, &token()),
        delete_hook_request(&place, id, &token()),
        pull_request_request(&place, 7, &token()),
        repository_request(&place, &token()),
    ];
    all.extend(ping_request(&place, id, &token()));
    all.iter().map(told).collect()
}

#[test]
fn what_is_asked_of_github() {
    insta::assert_snapshot!(requests(Forge::GitHub));
}

#[test]
fn what_is_asked_of_gitlab() {
    insta::assert_snapshot!(requests(Forge::GitLab));
}

#[test]
fn what_is_asked_of_gitea() {
    insta::assert_snapshot!(requests(Forge::Gitea));
}

#[test]
fn what_is_asked_of_bitbucket() {
    insta::assert_snapshot!(requests(Forge::Bitbucket));
}

#[test]
fn a_password_goes_as_basic_authorization_and_nothing_is_printed() {
    let repository = RepositoryPath::new(Forge::Bitbucket, "owner/name").unwrap();
    let api = ApiBase::of_instance(Forge::Bitbucket, "https://bitbucket.org").unwrap();
    let place = Place { forge: Forge::Bitbucket, api: &api, repository: &repository };
    let token = ForgeToken::Password { user: "emma".into(), password: "secret".into() };
    let request = repository_request(&place, &token);
    assert!(request.headers.contains(&("authorization", "Basic ZW1tYTpzZWNyZXQ=".into())));
    let printed = format!("{request:?} {token:?}");
    assert_eq!(printed, "Request(GET https://api.bitbucket.org/2.0/repositories/owner/name) ForgeToken(..)");
}

#[test]
fn every_state_has_a_word_at_every_forge() {
    use StatusState as S;
    let states =
        [S::Pending, S::Running, S::Success, S::Warning, S::Failure, S::Error, S::Cancelled, S::Skipped];
    let mut table = String::new();
    for state in states {
        let words = Forge::ALL.map(|forge| state.word(forge)).join(" ");
        writeln!(table, "{state:?}: {words}").unwrap();
    }
    insta::assert_snapshot!(table, @r##"
    Pending: pending pending pending INPROGRESS
    Running: pending running pending INPROGRESS
    Success: success success success SUCCESSFUL
    Warning: success success warning SUCCESSFUL
    Failure: failure failed failure FAILED
    Error: error failed error FAILED
    Cancelled: error canceled error STOPPED
    Skipped: success skipped success SUCCESSFUL
    "##);
}

#[test]
fn what_is_too_long_for_a_forge_is_shortened_and_stays_its_own() {
    let repository = RepositoryPath::new(Forge::Bitbucket, "owner/name").unwrap();
    let status = |context: String| Status {
        state: StatusState::Success,
        context,
        description: "ä".repeat(1000),
        target_url: "https://ci.example.org".into(),
        reference: None,
    };
    for (forge, description, context) in [
        (Forge::GitHub, 140, 255),
        (Forge::GitLab, 255, 255),
        (Forge::Gitea, 255, 255),
        (Forge::Bitbucket, 255, 40),
    ] {
        let api = ApiBase::of_instance(forge, instance(forge)).unwrap();
        let place = Place { forge, api: &api, repository: &repository };
        let body =
            |context: String| status_request(&place, &commit(), &status(context), &token()).body.unwrap();
        let key = |body: &Value| {
            let key = [&body["key"], &body["context"], &body["name"]].into_iter().find_map(Value::as_str);
            key.unwrap().to_owned()
        };
        let (one, other) = (body("é".repeat(300) + "1"), body("é".repeat(300) + "2"));
        assert_eq!(one["description"].as_str().unwrap().chars().count(), description, "{forge}");
        assert_eq!(key(&one).chars().count(), context, "{forge}");
        assert_ne!(key(&one), key(&other), "{forge}");
        assert_eq!(key(&body("ocelot".into())), "ocelot", "{forge}");
    }
}

#[test]
fn the_api_of_an_instance_is_found_from_what_people_see() {
    let of = |forge, address: &str| ApiBase::of_instance(forge, address).map(|api| api.as_str().to_owned());
    let ok = |text: &str| Ok(text.to_owned());
    assert_eq!(of(Forge::GitHub, "https://github.com/"), ok("https://api.github.com"));
    assert_eq!(of(Forge::GitHub, "https://GHE.example.org"), ok("https://ghe.example.org/api/v3"));
    assert_eq!(of(Forge::GitLab, "https://example.org/gitlab"), ok("https://example.org/gitlab/api/v4"));
    assert_eq!(of(Forge::Gitea, "http://[::1]:3000"), ok("http://[::1]:3000/api/v1"));
    assert_eq!(of(Forge::Bitbucket, "https://bitbucket.org"), ok("https://api.bitbucket.org/2.0"));
    let repository = |forge, address: &str, name: &str| {
        let path = RepositoryPath::new(forge, name).unwrap();
        ApiBase::of_repository(forge, address, &path).map(|api| api.as_str().to_owned())
    };
    let nested = repository(Forge::GitLab, "https://example.org/gitlab/a/b/c.git", "a/b/c");
    assert_eq!(nested, ok("https://example.org/gitlab/api/v4"));
    assert_eq!(repository(Forge::GitHub, "https://github.com/O/n/", "o/n"), ok("https://api.github.com"));
    assert_eq!(repository(Forge::GitHub, "https://github.com/x/y", "o/n"), Err(NotAnAddress));
    assert_eq!(repository(Forge::GitHub, "o/n", "o/n"), Err(NotAnAddress));
    for bad in [
        "",
        "github.com",
        "ftp://github.com",
        "https://",
        "https://user@github.com",
        "https://github.com:0",
        "https://github.com:x",
        "https://github.com?x",
        "https://github.com#x",
        "https://github.com/a/../b",
        "https://github.com/a//b",
        "https://git hub.com",
        "https://github.com\r\nx: y",
        "https://github.com@evil.example.org",
        "https://github.com/%2e%2e",
    ] {
        assert_eq!(of(Forge::Gitea, bad), Err(NotAnAddress), "{bad:?}");
    }
}

#[test]
fn a_repositorys_name_cannot_lead_to_another_resource() {
    for forge in Forge::ALL {
        for bad in [
            "",
            "a",
            "/",
            "a/",
            "/b",
            "a//b",
            "../x",
            "a/..",
            "a/.",
            "./b",
            "a/b\r\nx",
            "a\\b/c",
            "a/b/../../c",
        ] {
            assert_eq!(RepositoryPath::new(forge, bad), Err(NotARepository), "{forge} {bad:?}");
        }
        let api = ApiBase::of_instance(forge, instance(forge)).unwrap();
        for name in ["a?x=1/b#y", "a%2f..%2f../b", "a;b/c&d", "ä/ 猫", "a@b/c:d", "a/b?access_token=1"] {
            let repository = RepositoryPath::new(forge, name).unwrap();
            let place = Place { forge, api: &api, repository: &repository };
            let url = repository_request(&place, &token()).url;
            let path = url.strip_prefix(api.as_str()).unwrap();
            let slashes = if forge == Forge::GitLab { 2 } else { 3 };
            assert_eq!(path.matches('/').count(), slashes, "{url}");
            assert!(
                path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/%-._~".contains(&byte)),
                "{url}"
            );
            assert!(!path.contains("%2f"), "{url}");
        }
    }
    assert!(RepositoryPath::new(Forge::GitHub, "a/b/c").is_err());
    let nested = RepositoryPath::new(Forge::GitLab, "a/b/c").unwrap();
    assert_eq!((nested.owner(), nested.name(), nested.to_string()), ("a/b".into(), "c", "a/b/c".into()));
}

#[test]
fn our_webhook_is_made_once_and_told_again_where_it_is() {
    let url = "https://ci.example.org/hooks/github/owner/name";
    let github = br#"[{"id":1,"url":"https://api.github.com/repos/o/n/hooks/1","config":{"url":"https://x"}},
        {"id":2,"url":"https://api.github.com/repos/o/n/hooks/2",
         "config":{"url":"https://ci.example.org/hooks/github/owner/name/"}},
        {"id":3,"config":{"url":"https://ci.example.org/hooks/github/owner/name"}}]"#;
    let found = hooks(Forge::GitHub, github).unwrap();
    let update = HookDecision::Update { id: "2".into(), surplus: vec!["3".into()] };
    assert_eq!(decide_hook(&found, url), update);
    assert_eq!(decide_hook(&found[..1], url), HookDecision::Create);
    let gitlab = hooks(Forge::GitLab, br#"[{"id":5,"url":"https://x","push_events":true}]"#).unwrap();
    assert_eq!(gitlab, [Hook { id: "5".into(), url: "https://x".into() }]);
    let bitbucket =
        hooks(Forge::Bitbucket, br#"{"values":[{"uuid":"{a}","url":"https://x"}],"page":1}"#).unwrap();
    assert_eq!(bitbucket, [Hook { id: "{a}".into(), url: "https://x".into() }]);
    let gitea = hooks(Forge::Gitea, br#"[{"id":9,"type":"gitea","config":{"url":"https://x"}}]"#).unwrap();
    assert_eq!(gitea, [Hook { id: "9".into(), url: "https://x".into() }]);
    assert!(hooks(Forge::GitHub, b"{\"message\":\"Bad credentials\"}").is_err());
}

#[test]
fn a_status_is_read_back_where_the_forge_has_it() {
    let state = |forge, body: &str| state_of_status(forge, body.as_bytes(), "ocelot").unwrap();
    let github = r#"[{"context":"other","state":"failure"},{"context":"ocelot","state":"success"},
        {"context":"ocelot","state":"pending"}]"#;
    assert_eq!(state(Forge::GitHub, github).as_deref(), Some("success"));
    assert_eq!(state(Forge::GitLab, r#"[{"name":"ocelot","status":"running"}]"#).as_deref(), Some("running"));
    assert_eq!(state(Forge::Gitea, r#"[{"context":"ocelot","status":"error"}]"#).as_deref(), Some("error"));
    let bitbucket = r#"{"key":"ocelot","name":"Ocelot","state":"FAILED"}"#;
    assert_eq!(state(Forge::Bitbucket, bitbucket).as_deref(), Some("FAILED"));
    assert_eq!(state(Forge::GitHub, "[]"), None);
    assert!(state_of_status(Forge::GitHub, b"<html>", "ocelot").is_err());
}

#[test]
fn a_repository_is_learnt_from_each_api() {
    let read =
        |forge, body: &str| serde_json::to_string(&repository_identity(forge, body.as_bytes()).unwrap());
    let told = [
        read(
            Forge::GitHub,
            r#"{"id":1,"full_name":"o/n","clone_url":"https://github.com/o/n.git","ssh_url":"git@github.com:o/n.git",
            "default_branch":"main","html_url":"https://github.com/o/n","private":false}"#,
        ),
        read(
            Forge::GitLab,
            r#"{"id":2,"path_with_namespace":"a/b/c","http_url_to_repo":"https://gitlab.com/a/b/c.git",
            "ssh_url_to_repo":"git@gitlab.com:a/b/c.git","default_branch":"main","visibility":"internal"}"#,
        ),
        read(
            Forge::Bitbucket,
            r#"{"uuid":"{BC771CBF-829e-4c4b-b71f-a0eb3ac2b860}","full_name":"o/n","is_private":false,
            "mainbranch":{"name":"main","type":"branch"},"links":{"html":{"href":"https://bitbucket.org/o/n"},
            "clone":[{"name":"https","href":"https://emma@bitbucket.org/o/n.git"},
            {"name":"ssh","href":"git@bitbucket.org:o/n.git"}]}}"#,
        ),
    ]
    .map(Result::unwrap);
    insta::assert_snapshot!(told.join("\n"), @r##"
    {"id":"1","full_name":"o/n","clone_url_https":"https://github.com/o/n.git","clone_url_ssh":"git@github.com:o/n.git","default_branch":"main","web_url":"https://github.com/o/n","private":false}
    {"id":"2","full_name":"a/b/c","clone_url_https":"https://gitlab.com/a/b/c.git","clone_url_ssh":"git@gitlab.com:a/b/c.git","default_branch":"main","web_url":null,"private":true}
    {"id":"bc771cbf-829e-4c4b-b71f-a0eb3ac2b860","full_name":"o/n","clone_url_https":"https://bitbucket.org/o/n.git","clone_url_ssh":"git@bitbucket.org:o/n.git","default_branch":"main","web_url":"https://bitbucket.org/o/n","private":false}
    "##);
    let no_id = repository_identity(Forge::Gitea, br#"{"id":0,"full_name":"o/n"}"#);
    assert_eq!(no_id.unwrap_err().to_string(), "the forge's answer is no repository: it has no id");
}

fn answered(forge: Forge, status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let find = |name: &str| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_bytes());
    classify(forge, &Response { status, headers: &find, body: body.as_bytes() }, 1000)
}

#[test]
fn an_answer_says_what_to_do_next() {
    let github =
        |status, headers: &[(&str, &str)], body: &str| answered(Forge::GitHub, status, headers, body);
    let after = |seconds| Answer::RetryAfter(Duration::from_secs(seconds));
    for status in [200, 201, 204] {
        assert_eq!(github(status, &[], ""), Answer::Done);
    }
    for status in [401, 408, 409, 500, 502, 503, 504] {
        assert_eq!(github(status, &[], ""), Answer::Retry, "{status}");
    }
    assert_eq!(github(403, &[], "Resource not accessible"), Answer::GivesUp(GiveUp::Forbidden));
    assert_eq!(github(404, &[], ""), Answer::GivesUp(GiveUp::NotFound));
    assert_eq!(github(301, &[], ""), Answer::GivesUp(GiveUp::Moved));
    let refused = GiveUp::Refused { status: 422, why: "No commit found for SHA".into() };
    assert_eq!(github(422, &[], "No commit found for SHA"), Answer::GivesUp(refused));
    assert_eq!(github(429, &[("retry-after", "17")], ""), after(17));
    assert_eq!(github(429, &[("retry-after", "0")], ""), after(1));
    assert_eq!(github(429, &[("retry-after", "999999999")], ""), after(3600));
    assert_eq!(github(429, &[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")], ""), after(60));
    assert_eq!(github(503, &[("retry-after", "5")], ""), after(5));
    let spent = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1090")];
    assert_eq!(github(403, &spent, ""), after(90));
    assert_eq!(github(403, &[], "You have exceeded a secondary rate limit"), after(60));
    let left = [("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", "1090")];
    assert_eq!(github(403, &left, ""), Answer::GivesUp(GiveUp::Forbidden));
}

#[test]
fn gitlab_refusing_the_state_that_it_has_is_done() {
    let answer = |event: &str, from: &str| {
        let body = format!(
            r#"{{"message":"Cannot transition status via :{event} from :{from} (Reason(s): Status cannot transition via \"{event}\")"}}"#
        );
        answered(Forge::GitLab, 400, &[], &body)
    };
    for (event, from) in [
        ("run", "running"),
        ("enqueue", "pending"),
        ("enqueue", "running"),
        ("success", "success"),
        ("drop", "failed"),
    ] {
        assert_eq!(answer(event, from), Answer::Done, "{event} from {from}");
    }
    for (event, from) in [("success", "failed"), ("drop", "success"), ("run", "created")] {
        assert!(matches!(answer(event, from), Answer::GivesUp(_)), "{event} from {from}");
    }
    assert!(matches!(answered(Forge::GitLab, 400, &[], "name is too long"), Answer::GivesUp(_)));
    assert!(matches!(
        answered(Forge::GitHub, 400, &[], "Cannot transition status via :run from :running"),
        Answer::GivesUp(_)
    ));
}
