use super::*;

fn notice() -> RunNotice {
    RunNotice {
        project: "owner/name".into(),
        number: 12,
        run: "0198-run".into(),
        outcome: NoticeOutcome::Failure,
        reference: "main".into(),
        commit: Some("6113728f27ae82c7b1a177c8d03f9e96e0adf246".into()),
        message: Some("Fix the greeting\n\nIt said good bye.".into()),
        author: Some("Emma".into()),
        url: "https://ci.example.org/runs/0198-run".into(),
        duration_seconds: Some(83),
    }
}

#[test]
fn a_chat_reads_what_came_of_the_run() {
    insta::assert_json_snapshot!(slack_message(&notice()), @r##"
    {
      "attachments": [
        {
          "color": "danger",
          "fallback": "owner/name #12 failed",
          "mrkdwn_in": [],
          "text": "6113728f27ae · Fix the greeting · Emma · 1 min 23 s"
        }
      ],
      "link_names": false,
      "parse": "none",
      "text": "<https://ci.example.org/runs/0198-run|owner/name #12> failed on main",
      "unfurl_links": false,
      "unfurl_media": false
    }
    "##);
}

#[test]
fn no_text_of_a_stranger_mentions_anyone_or_makes_a_link() {
    let mut hostile = notice();
    let text = "<!channel> <!here|x> <@U123> @here @channel @all <https://evil.example.org|click> \
        [click](https://evil.example.org) `code` *bold* & \u{202e}\u{1b}[2J\r\n| #13";
    for field in [&mut hostile.reference, &mut hostile.project] {
        *field = text.into();
    }
    hostile.message = Some(text.into());
    hostile.author = Some(text.into());
    hostile.url = "https://ci.example.org/runs/x|> <!here> ".into();
    let message = slack_message(&hostile);
    let places = ["/text", "/attachments/0/text", "/attachments/0/fallback"]
        .map(|at| message.pointer(at).unwrap().as_str());
    for shown in places.map(Option::unwrap) {
        let outside: String = shown.replace(&format!("<{}|", link_target(&hostile.url)), "");
        assert!(!outside.contains('<'), "{shown:?}");
        for bad in
            ["<!", "<@", "@here", "@channel", "@all", "](", "https://evil", "`", "\u{202e}", "\u{1b}", "\n"]
        {
            assert!(!outside.contains(bad), "{bad:?} in {shown:?}");
        }
    }
    assert_eq!(message["text"].as_str().unwrap().matches('<').count(), 1);
}

#[test]
fn a_receiver_can_verify_the_generic_message_from_what_it_gets() {
    let secret = Secret::new("a secret of 16 bytes or more").unwrap();
    let message = generic_message(&notice(), "delivery-1", 1_763_720_000, &secret);
    let header = |name| message.headers.iter().find(|(key, _)| *key == name).unwrap().1.clone();
    let signed = [
        header("x-ocelot-delivery").as_bytes(),
        b".",
        header("x-ocelot-timestamp").as_bytes(),
        b".",
        &message.body,
    ]
    .concat();
    let expected = crate::secret::sign(secret.reveal().as_bytes(), &[&signed]);
    assert_eq!(header("x-ocelot-signature-256"), format!("sha256={}", hex(&expected)));
    let other_time = generic_message(&notice(), "delivery-1", 1_763_720_001, &secret);
    assert_ne!(other_time.headers, message.headers);
    insta::assert_snapshot!(String::from_utf8(message.body.clone()).unwrap(), @r##"{"event":"run","run":{"author":"Emma","commit":"6113728f27ae82c7b1a177c8d03f9e96e0adf246","duration_seconds":83,"message":"Fix the greeting\n\nIt said good bye.","number":12,"outcome":"failure","project":"owner/name","reference":"main","run":"0198-run","url":"https://ci.example.org/runs/0198-run"}}"##);
    insta::assert_debug_snapshot!(message.headers, @r##"
    [
        (
            "content-type",
            "application/json",
        ),
        (
            "user-agent",
            "ocelot",
        ),
        (
            "x-ocelot-delivery",
            "delivery-1",
        ),
        (
            "x-ocelot-timestamp",
            "1763720000",
        ),
        (
            "x-ocelot-signature-256",
            "sha256=8909ffafbb4ad2d9cf1a5ad48d59c1e7943cb9c1da48bb0b8d46d8ed9cdd8622",
        ),
    ]
    "##);
}

#[test]
fn a_duration_is_told_in_its_two_greatest_units() {
    assert_eq!([5, 83, 3725].map(duration), ["5 s", "1 min 23 s", "1 h 2 min"]);
}
