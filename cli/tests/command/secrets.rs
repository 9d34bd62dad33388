//! `ocelot secret`: what a person sees, and what is sent.

use ocelot_proto::wire;
use ocelot_proto::wire::secret_scope::Scope;

use crate::fleet::{Fleet, MINUTE, Script, ago, fed};

const VALUE: &str = "canary-value-8e2a";

fn scope(scope: Scope) -> Option<wire::SecretScope> {
    Some(wire::SecretScope { scope: Some(scope) })
}

pub(crate) fn secrets() -> Vec<wire::Secret> {
    let secret = wire::Secret {
        scope: scope(Scope::Job("deploy".into())),
        name: "token".into(),
        created_unix_us: ago(MINUTE * 190),
        updated_unix_us: ago(MINUTE * 12 + MINUTE / 2),
        updated_by: "ada".into(),
        used_unix_us: ago(MINUTE * 2),
        used_by: "deploy#7".into(),
        short: false,
    };
    let organization = wire::Secret {
        scope: scope(Scope::Organization("acme".into())),
        name: "registry".into(),
        used_unix_us: 0,
        used_by: String::new(),
        ..secret.clone()
    };
    vec![secret, organization]
}

fn fleet() -> Fleet {
    Fleet::start(Script { secrets: secrets(), ..Script::default() })
}

#[test]
fn a_list_tells_age_and_last_use_and_where_nobody_is_said_the_way_on() {
    let fleet = fleet();
    insta::assert_snapshot!("secret_list", fleet.transcript(&["secret", "list", "--all"]));
    insta::assert_snapshot!("secret_list_of", fleet.transcript(&["secret", "ls", "--organization", "acme"]));
    insta::assert_snapshot!(
        "secret_list_none",
        fleet.transcript(&["secrets", "list", "--project", "acme/api"])
    );
    // The folder of the test is no checkout.
    let mut lost = fleet.command(&["secret", "list"]);
    lost.current_dir(fleet.home.path());
    insta::assert_snapshot!("secret_list_lost", crate::fleet::seen(lost.output().unwrap()).transcript());
}

#[test]
fn a_value_comes_from_standard_input_or_a_file_and_is_shown_nowhere() {
    let fleet = fleet();
    let seen =
        fed(fleet.command(&["secret", "set", "token", "--job", "deploy"]), format!("{VALUE}\n").as_bytes());
    insta::assert_snapshot!("secret_set", seen.transcript());
    let key = "-----BEGIN KEY-----\nabcdefgh\n-----END KEY-----\n";
    let piped = fed(fleet.command(&["secret", "set", "key", "--organization", "acme"]), key.as_bytes());
    assert_eq!(piped.code, Some(0));
    let file = fleet.home.path().join("value");
    std::fs::write(&file, "kept as it is\n").unwrap();
    let seen = fleet.run(&["secret", "set", "token", "--project", "acme/api", "-f", file.to_str().unwrap()]);
    assert_eq!(seen.code, Some(0));
    let short = fed(fleet.command(&["secret", "set", "pin", "--job", "deploy", "--allow-short"]), b"1234");
    insta::assert_snapshot!("secret_set_short", short.transcript());
    let sent: Vec<(String, bool)> = fleet
        .script()
        .sets
        .iter()
        .map(|set| (String::from_utf8_lossy(&set.value).into_owned(), set.allow_short))
        .collect();
    let wanted = [(VALUE, false), (key, false), ("kept as it is\n", false), ("1234", true)];
    assert_eq!(sent, wanted.map(|(value, allow)| (value.to_owned(), allow)));
}

#[test]
fn a_removed_secret_is_told_and_one_that_is_not_there_names_the_list() {
    let fleet = fleet();
    insta::assert_snapshot!("secret_rm", fleet.transcript(&["secret", "rm", "token", "--job", "deploy"]));
    insta::assert_snapshot!(
        "secret_rm_none",
        fleet.transcript(&["secret", "rm", "other", "--job", "deploy"])
    );
}
