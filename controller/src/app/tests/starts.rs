use tokio::sync::mpsc;

use super::*;

#[tokio::test]
async fn the_first_token_is_made_once_and_data_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for life in 0..2 {
        let shutdown = Shutdown::new(NEVER);
        let tasks = shutdown.tasks();
        let started = start(Settings::local(directory.path()), &tasks).await.unwrap();
        assert_eq!(started.first_token.is_some(), life == 0);
        let (request, requests) = mpsc::channel(1);
        request.send(()).await.unwrap();
        let ended = tokio::time::timeout(NEVER, shutdown.run(requests)).await.unwrap();
        assert_eq!(ended, ocelot_proto::kit::shutdown::Ended::Drained);
        started.close().await;
    }
}

#[tokio::test]
async fn beyond_loopback_it_shows_a_certificate_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new(NEVER);
    let settings = Settings { listen: "0.0.0.0:0".parse().unwrap(), ..Settings::local(directory.path()) };
    let started = start(settings, &shutdown.tasks()).await.unwrap();
    assert!(started.url.starts_with("https://") && !started.url.contains("0.0.0.0"), "{}", started.url);
    assert!(started.fingerprint.is_some());
}

#[tokio::test]
async fn a_home_of_bytes_of_another_fleet_is_refused() {
    let shutdown = Shutdown::new(NEVER);
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(EmbeddedSettings::new(directory.path().join("store"))).unwrap());
    let begin = async |name: &str| {
        let settings = Settings::local(directory.path().join(name));
        start_on(Some(Arc::clone(&store)), settings, &shutdown.tasks()).await
    };
    // Without a shared directory each has its own home.
    begin("one").await.unwrap();
    let refused = begin("other").await.unwrap_err();
    let told = ocelot_proto::kit::telemetry::chain(&refused).to_string();
    assert!(told.contains("not this fleet's"), "{told}");
}

#[tokio::test]
async fn a_seal_key_that_is_not_the_fleets_is_refused_and_an_older_one_beside_it_is_not() {
    let shutdown = Shutdown::new(NEVER);
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(EmbeddedSettings::new(directory.path().join("store"))).unwrap());
    let begin = async |name: &str, keys: &str| {
        let path = directory.path().join(format!("{name}.keys"));
        std::fs::write(&path, keys).unwrap();
        let nobody = EtcdSettings { members: vec![], ca: None, own: None, server_name: None, login: None };
        let settings = Settings {
            store: StoreSettings::Etcd(nobody),
            logs: Some(directory.path().join("shared")),
            name: Some(name.into()),
            seal: Some(crate::seal::SealSource::File(path)),
            ..Settings::local(directory.path().join(name))
        };
        start_on(Some(Arc::clone(&store)), settings, &shutdown.tasks()).await
    };
    let (first, other) = ("01".repeat(32), "02".repeat(32));
    begin("one", &first).await.unwrap();
    let refused = begin("two", &other).await.unwrap_err();
    insta::assert_snapshot!(
        ocelot_proto::kit::telemetry::chain(&refused).to_string(),
        @"this is not the fleet's seal key: its secrets are sealed with key 97ccfeb82735bde7, and this controller was given 80c07872b2b74fa0; start it with the key that the other controllers have"
    );
    assert!(!refused.to_string().contains(&other));
    begin("three", &format!("{other}\n{first}\n")).await.unwrap();
}

#[tokio::test]
async fn a_directory_is_held_by_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new(NEVER);
    let _first = start(Settings::local(directory.path()), &shutdown.tasks()).await.unwrap();
    let second = start(Settings::local(directory.path()), &shutdown.tasks()).await.unwrap_err();
    assert!(matches!(second, StartError::Store(_)), "{second:?}");
}

#[tokio::test]
async fn a_store_that_is_not_there_is_waited_for_until_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new(NEVER);
    let tasks = shutdown.tasks();
    let etcd = EtcdSettings {
        members: vec!["127.0.0.1:1".into()],
        ca: None,
        own: None,
        server_name: None,
        login: None,
    };
    // A free port, so that the test can ask while the start still waits.
    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = Settings {
        store: StoreSettings::Etcd(etcd),
        logs: Some(directory.path().join("shared")),
        listen,
        ..Settings::local(directory.path())
    };
    let asked = async {
        let answer = loop {
            if let Ok(answer) = ready(listen).await {
                break answer;
            }
            tokio::task::yield_now().await;
        };
        tasks.begin_drain();
        answer
    };
    let (started, answer) = tokio::join!(start(settings, &tasks), asked);
    assert!(matches!(started, Err(StartError::Stopped)));
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains(r#""what":"store""#), "{answer}");
}

async fn ready(address: SocketAddr) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn settings(args: &[&str]) -> Result<Settings, InvalidSettings> {
    use clap::Parser;

    use crate::config::{Args, Command};
    let args = ["ocelot-controller", "start"].into_iter().chain(args.iter().copied());
    let Command::Start(start) = Args::try_parse_from(args).unwrap().command else { panic!("no start") };
    Settings::of(*start)
}

#[test]
fn folders_are_the_same_ones_for_whatever_is_started() {
    assert!(settings(&[]).unwrap().data.is_absolute());
    let told = settings(&["--data", "d", "--logs", "l"]).unwrap();
    assert!(told.data.is_absolute() && told.logs.unwrap().is_absolute());
}

#[test]
fn settings_that_do_not_fit_together_say_what_would() {
    let told = |args: &[&str]| settings(args).map(|_| ()).map_err(|error| error.to_string()).unwrap_err();
    let all = [
        told(&["--store", "postgres://x"]),
        told(&["--store", "etcd://a,b"]),
        told(&["--store-user", "x"]),
        told(&["--certificate", "x"]),
        told(&["--advertise", "ci.example.org"]),
        told(&["--name", "a b"]),
        told(&["--seal-key-file", "x", "--seal-key-command", "y"]),
        told(&["--seal-key-command", " "]),
        told(&["--store", "etcd://a", "--logs", "/l", "--store-cert", "x", "--store-key", "y"]),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    --store is `embedded` or etcd://host:port,host:port, not "postgres://x"
    several controllers on etcd need one home for logs: say --logs with a directory they all share
    --store-user goes with an etcd store only
    --certificate and --key go together
    --advertise is a URL such as https://ci.example.org:7070, not "ci.example.org"
    a controller's name has 1 to 63 letters, digits, `-`, `_` or `.`, not "a b"
    --seal-key-file and --seal-key-command exclude each other
    --seal-key-command is a program and its arguments, not nothing
    --store-cert goes with --store-ca: etcd is spoken to in plain text without it
    "#);
}
