//! Where commands go, and whom they trust.

#![expect(clippy::unwrap_used, reason = "these functions are called by tests only")]

use std::process::{Command, Stdio};

use crate::fleet::{Fleet, Script, fed, job, ocelot, scrubbed, seen};

fn transcript(mut command: Command) -> String {
    scrubbed(&seen(command.output().unwrap()).transcript())
}

#[test]
fn nothing_configured_says_what_to_type() {
    let home = tempfile::tempdir().unwrap();
    let said = transcript(ocelot(home.path(), &["list"]));
    insta::assert_snapshot!(said.replace(home.path().to_str().unwrap(), "HOME"), @"
    [stderr]
    error: no `ocelot up` runs here, and HOME/.config/ocelot/config.yaml chooses none
    hint: start one here: ocelot up; or name one: ocelot config add NAME URL
    exit 4
    ");
}

#[test]
fn nobody_there_is_exit_code_4() {
    let home = tempfile::tempdir().unwrap();
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let server = format!("127.0.0.1:{port}");
    let said = transcript(ocelot(home.path(), &["--server", &server, "execute", "hello"]));
    insta::assert_snapshot!(said.replace(&server, "ADDRESS"), @"
    [stderr]
    error: cannot execute hello: no controller answers at http://ADDRESS: connection refused
    hint: is a controller running there? start one here with `ocelot up`, and leave --server and OCELOT_SERVER out
    exit 4
    ");
}

#[test]
fn the_next_server_of_a_context_is_tried() {
    let fleet = Fleet::start(Script { jobs: vec![job("hello")], ..Script::default() });
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let servers = format!("http://{gone},http://{}", fleet.address);
    let add = ocelot(fleet.home.path(), &["config", "add", "here", &servers, "--token", "kept-token"]);
    insta::assert_snapshot!(transcript(add), @"
    [stdout]
    added here; commands go there from now on
    exit 0
    ");
    assert!(transcript(ocelot(fleet.home.path(), &["list", "--names"])).starts_with("[stdout]\nhello\n"));
    assert_eq!(fleet.script().tokens_seen, [Some("Bearer kept-token".to_owned())]);
    let shown = transcript(ocelot(fleet.home.path(), &["config", "show"]));
    assert!(shown.contains("the context here") && !shown.contains("kept-token"), "{shown}");
    let listed = transcript(ocelot(fleet.home.path(), &["config", "list"]));
    assert!(!listed.contains("kept-token"), "{listed}");
    insta::assert_snapshot!(transcript(ocelot(fleet.home.path(), &["config", "use", "ther"])), @r#"
    [stderr]
    error: there is no context "ther"
    hint: there are: here
    exit 2
    "#);
    insta::assert_snapshot!(transcript(ocelot(fleet.home.path(), &["config", "remove", "here"])), @"
    [stdout]
    removed here
    exit 0
    ");
}

#[test]
fn a_token_goes_only_where_it_was_kept_for() {
    let fleet = Fleet::start(Script::default());
    let elsewhere =
        ocelot(fleet.home.path(), &["config", "add", "x", "http://127.0.0.1:1", "--token", "secret"]);
    transcript(elsewhere);
    let server = format!("http://{}", fleet.address);
    transcript(ocelot(fleet.home.path(), &["--server", &server, "list"]));
    assert_eq!(fleet.script().tokens_seen, [None]);
}

#[test]
fn the_up_of_this_user_is_found_by_itself() {
    let fleet = Fleet::start(Script { jobs: vec![job("hello")], ..Script::default() });
    let state = fleet.home.path().join(".local/state/ocelot");
    std::fs::create_dir_all(&state).unwrap();
    let file = |pid: u32| format!(r#"{{"url":"http://{}","token":"of-up","pid":{pid}}}"#, fleet.address);
    std::fs::write(state.join("up.json"), file(std::process::id())).unwrap();
    assert!(transcript(ocelot(fleet.home.path(), &["list", "--names"])).contains("hello"));
    assert_eq!(fleet.script().tokens_seen, [Some("Bearer of-up".to_owned())]);
    let mut gone = Command::new("true").stdin(Stdio::null()).spawn().unwrap();
    let pid = gone.id();
    gone.wait().unwrap();
    std::fs::write(state.join("up.json"), file(pid)).unwrap();
    let said = transcript(ocelot(fleet.home.path(), &["list"]));
    insta::assert_snapshot!(said.replace(&pid.to_string(), "PID"), @"
    [stderr]
    error: the `ocelot up` that ran here (process PID) is gone
    hint: start it again: ocelot up
    exit 4
    ");
}

/// A listener that shows a certificate of its own, and its fingerprint.
fn encrypted() -> (std::net::SocketAddr, String) {
    use std::sync::Arc;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let der = made.cert.der().clone();
    let digest = <sha2::Sha256 as sha2::Digest>::digest(&der);
    let fingerprint: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            while connection.is_handshaking() && connection.complete_io(&mut socket).is_ok() {}
        }
    });
    (address, format!("sha256:{fingerprint}"))
}

#[test]
fn a_certificate_that_nobody_judged_is_refused_where_nobody_can_be_asked() {
    let (address, fingerprint) = encrypted();
    let home = tempfile::tempdir().unwrap();
    let url = format!("https://{address}");
    let said = transcript(ocelot(home.path(), &["config", "add", "ci", &url]));
    insta::assert_snapshot!(said.replace(&address.to_string(), "ADDRESS").replace(&fingerprint, "FINGERPRINT"), @"
    [stderr]
    error: https://ADDRESS shows a certificate that nobody here has judged: FINGERPRINT
    hint: compare it with what the controller printed, then add: --fingerprint FINGERPRINT
    exit 2
    ");
    let given = ["config", "add", "ci", &url, "--fingerprint", &fingerprint];
    assert!(transcript(ocelot(home.path(), &given)).ends_with("exit 0"));
}

#[test]
fn another_certificate_than_the_known_one_is_never_spoken_to() {
    let (address, fingerprint) = encrypted();
    let home = tempfile::tempdir().unwrap();
    let url = format!("https://{address}");
    let other = format!("sha256:{}", "0".repeat(64));
    transcript(ocelot(home.path(), &["config", "add", "ci", &url, "--fingerprint", &other, "--token", "t"]));
    let said = transcript(ocelot(home.path(), &["list"]));
    insta::assert_snapshot!(said.replace(&address.to_string(), "ADDRESS").replace(&fingerprint, "FINGERPRINT"), @"
    [stderr]
    error: cannot list jobs: https://ADDRESS: it shows another certificate, FINGERPRINT; it is another machine, or somebody is between
    hint: ask whoever runs it; if FINGERPRINT is its new one: ocelot config add ci https://ADDRESS --fingerprint FINGERPRINT
    exit 2
    ");
}

#[test]
fn a_broken_configuration_is_named_with_its_file() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/ocelot");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.yaml"), "contexts: [").unwrap();
    let seen = seen(ocelot(home.path(), &["list"]).output().unwrap());
    assert_eq!(seen.code, Some(2));
    assert!(seen.stderr.contains("config.yaml is not understood"), "{}", seen.stderr);
}

#[test]
fn plain_text_stays_on_this_machine() {
    let home = tempfile::tempdir().unwrap();
    let said = fed(ocelot(home.path(), &["--server", "http://ci.example.com", "list"]), b"").transcript();
    insta::assert_snapshot!(said, @r#"
    [stderr]
    error: "http://ci.example.com" is not the address of a controller: plain http:// stays on this machine; controllers elsewhere speak https://
    hint: an address looks like https://ci.example.com:7070
    exit 2
    "#);
}
