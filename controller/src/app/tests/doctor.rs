//! What a doctor says of a controller's surroundings.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ocelot_proto::kit::clock::SystemClock;
use ocelot_proto::kit::doctor::{Report, Verdict};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::app::{EtcdSettings, Settings, StoreSettings, doctor};
use crate::seal::SealSource;

/// What is the same on every machine: all but its git and its disk.
fn ours(mut report: Report, folder: &Path) -> String {
    report.findings.retain(|finding| !["git", "disk"].contains(&finding.check));
    report.to_string().replace(folder.to_str().unwrap(), "FOLDER")
}

#[tokio::test]
async fn before_the_first_start_all_is_well_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::local(folder.path().join("data"));
    let report = doctor::examine(&settings, &SystemClock).await;
    insta::assert_snapshot!(ours(report, folder.path()), @"
    ok    data         FOLDER/data is made at the first start
    ok    seal key     FOLDER/data/bytes/seal-key is made at the first start
    ok    clock        it is not behind anything that was written here
    ok    store        embedded, in FOLDER/data/store
    ok    certificate  none: 127.0.0.1:0 is loopback, and plain text stays here
    warn  controller   no controller runs at 127.0.0.1:0, and it is free
                       $ systemctl enable --now ocelot-controller  # or: ocelot-controller start
    1 warning
    ");
    assert!(!settings.data.exists());
}

/// Makes a certificate that has expired, and its key for everybody.
fn expired(folder: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2019, 1, 1);
    params.not_after = date_time_ymd(2020, 2, 3);
    let pair = KeyPair::generate().unwrap();
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    fs::write(&chain, params.self_signed(&pair).unwrap().pem()).unwrap();
    fs::write(&key, pair.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    (chain, key)
}

#[tokio::test]
async fn on_a_sick_machine_each_finding_says_what_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let seal = folder.path().join("seal");
    fs::write(&seal, "0".repeat(64)).unwrap();
    fs::set_permissions(&seal, fs::Permissions::from_mode(0o644)).unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // It takes the place, and says nothing that a controller would.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    std::thread::spawn(move || taken.incoming().for_each(drop));
    let settings = Settings {
        listen,
        store: StoreSettings::Etcd(EtcdSettings {
            members: vec![gone.to_string()],
            ca: None,
            own: None,
            server_name: None,
            login: None,
        }),
        logs: Some(folder.path().join("logs")),
        certificate: Some(expired(folder.path())),
        seal: Some(SealSource::File(seal)),
        ..Settings::local(folder.path().join("data"))
    };
    let report = doctor::examine(&settings, &SystemClock).await;
    let finding = |check: &str| report.findings.iter().find(|finding| finding.check == check).unwrap();
    let store = finding("store");
    assert_eq!(store.verdict, Verdict::Fail);
    assert_eq!(store.mend, [format!("etcdctl --endpoints http://{gone} endpoint health")]);
    let own = finding("controller");
    assert!(own.verdict == Verdict::Fail && own.says.contains("is taken by something else"), "{own:?}");
    assert_eq!(own.mend, [format!("ss -ltnp 'sport = :{}'", listen.port())]);
    let text = |check: &str| {
        let mut one = report.clone();
        one.findings.retain(|finding| finding.check == check);
        ours(one, folder.path())
    };
    insta::assert_snapshot!([text("seal key"), text("certificate"), text("key")].concat(), @"
    fail  seal key  FOLDER/seal can be used by others: its mode is 644
                    $ chmod 600 FOLDER/seal
    1 failure
    fail  certificate  FOLDER/chain.pem has expired on 2020-02-03
                       $ # renew the files of --certificate and --key; a controller that runs takes them up by itself
    1 failure
    fail  key  FOLDER/key.pem can be used by others: its mode is 644
               $ chmod 640 FOLDER/key.pem
    1 failure
    ");
}
