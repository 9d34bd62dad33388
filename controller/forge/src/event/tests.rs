use super::*;

fn commit(digit: char) -> CommitId {
    CommitId::new(&digit.to_string().repeat(40)).unwrap()
}

fn event(kind: EventKind) -> Event {
    let repository = RepositoryIdentity {
        id: RepositoryId::from_text("42"),
        full_name: "owner/name".into(),
        clone_url_https: None,
        clone_url_ssh: None,
        default_branch: None,
        web_url: None,
        private: true,
    };
    Event { forge: Some(Forge::GitHub), repository, actor: Actor::default(), kind }
}

fn push(branch: &str, before: Option<char>, after: char) -> Event {
    event(EventKind::Push(Push {
        branch: branch.into(),
        before: before.map(commit),
        after: commit(after),
        forced: None,
        commits: Vec::new(),
        commits_total: 0,
        head_message: None,
    }))
}

fn pull(number: u64, head: char, base_ref: &str) -> Event {
    event(EventKind::PullRequest(PullRequest {
        number,
        title: "a title".into(),
        action: PullRequestAction::Opened,
        author: Actor::default(),
        head_commit: commit(head),
        head_ref: "feature".into(),
        head_repository_id: None,
        head_clone_url: None,
        base_ref: base_ref.into(),
        base_commit: None,
        base_repository_id: None,
    }))
}

#[test]
fn what_a_redelivery_may_tell_otherwise_is_not_in_the_key() {
    let first = push("main", Some('a'), 'b');
    let mut again = first.clone();
    again.repository.full_name = "renamed/name".into();
    again.repository.web_url = Some("https://elsewhere.example.org".into());
    again.actor.login = "someone else".into();
    if let EventKind::Push(push) = &mut again.kind {
        push.forced = Some(false);
        push.head_message = Some("told now".into());
    }
    assert_eq!(first.key(), again.key());
    let mut reopened = pull(1, 'a', "main");
    if let EventKind::PullRequest(pull) = &mut reopened.kind {
        pull.action = PullRequestAction::Reopened;
        pull.title = "another title".into();
    }
    assert_eq!(pull(1, 'a', "main").key(), reopened.key());
}

#[test]
fn different_things_have_different_keys() {
    let tag = event(EventKind::Tag(Tag {
        tag: "main".into(),
        before: Some(commit('a')),
        object: commit('b'),
        commit: commit('b'),
    }));
    let mut elsewhere = push("main", Some('a'), 'b');
    elsewhere.repository.id = RepositoryId::from_text("43");
    let mut other_forge = push("main", Some('a'), 'b');
    other_forge.forge = Some(Forge::GitLab);
    let mut plain_git = push("main", Some('a'), 'b');
    plain_git.forge = None;
    let events = [
        push("main", Some('a'), 'b'),
        push("release", Some('a'), 'b'),
        push("main", None, 'b'),
        // Forced back to the earlier commit: a step of its own, not a replay of the first push.
        push("main", Some('b'), 'a'),
        push("main", None, 'a'),
        tag,
        elsewhere,
        other_forge,
        plain_git,
        event(EventKind::BranchDeleted { branch: "main".into(), before: Some(commit('b')) }),
        event(EventKind::TagDeleted { tag: "main".into(), before: Some(commit('b')) }),
        pull(1, 'a', "main"),
        pull(1, 'b', "main"),
        pull(2, 'a', "main"),
        pull(1, 'a', "release"),
    ];
    let keys: std::collections::BTreeSet<_> = events.iter().map(Event::key).collect();
    assert_eq!(keys.len(), events.len());
}

#[test]
fn no_text_of_one_part_can_pass_for_the_parts_of_another() {
    let mut one = push("ab", None, 'c');
    let mut other = push("b", None, 'c');
    one.repository.id = RepositoryId::from_text("1");
    other.repository.id = RepositoryId::from_text("1a");
    assert_ne!(one.key().as_bytes(), other.key().as_bytes());
}

#[test]
fn the_bytes_of_a_key_never_change() {
    let key = push("main", Some('a'), 'b').key();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    insta::assert_snapshot!(hex(&key.digest_within(b"project-1")), @"d5dcd48c950a9cb680cebafa56b788bec83d4a1c26f084a7545803eabdf8f1d0");
    let uuid = key.uuid_within(b"project-1");
    assert_eq!((uuid[6] >> 4, uuid[8] >> 6), (8, 2));
    assert_ne!(uuid, key.uuid_within(b"project-2"));
}

#[test]
fn only_hexadecimal_ids_are_commits_and_all_zeros_is_none() {
    for text in ["", "abc", "main", "0000000", "g123456", &"0".repeat(40), &"a".repeat(65), "../../../x"] {
        assert!(CommitId::new(text).is_err(), "{text:?}");
    }
    let (short, whole) = (CommitId::new("AAAAAAA").unwrap(), commit('a'));
    assert!(!short.is_whole() && whole.is_whole() && short.agrees_with(&whole));
    assert!(!short.agrees_with(&commit('b')));
    assert!(serde_json::from_str::<CommitId>("\"--upload-pack=x\"").is_err());
}

#[test]
fn who_pushes_a_branch_or_a_tag_is_trusted_and_an_unknown_head_is_not() {
    assert!(push("main", None, 'a').is_trusted());
    assert_eq!(pull(1, 'a', "main").trust(), Trust::Untrusted(Untrusted::BaseUnknown));
}
