//! What a doctor says on a machine that is well, and on one that is not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ocelot_executor::app::{RuntimeChoice, Settings};
use ocelot_executor::doctor;
use ocelot_proto::kit::clock::{Clock, Sleep, SystemClock, UnixMicros};
use ocelot_proto::kit::doctor::{Report, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::World;
use super::controller::spawn;

const DATE: &str = "Sat, 21 Nov 2026 18:22:37 GMT";
const DATE_SECONDS: u64 = 1_795_285_357;

/// A machine's clock that stands at the moment that a story says.
#[derive(Debug)]
struct At(u64, Instant);

impl At {
    fn new(seconds: u64) -> Self {
        Self(seconds, Instant::now())
    }
}

impl Clock for At {
    fn wall(&self) -> UnixMicros {
        UnixMicros(self.0 * 1_000_000)
    }

    fn monotonic(&self) -> Instant {
        self.1
    }

    fn sleep(&self, duration: std::time::Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A controller that only says how it is.
async fn controller(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 1024];
            let _count = stream.read(&mut asked).await;
            let text = format!("HTTP/1.1 {answer}\r\nDate: {DATE}\r\nConnection: close\r\n\r\nthe store");
            let _written = stream.write_all(text.as_bytes()).await;
        }
    });
    format!("http://{address}")
}

fn settings(world: &World, controller: String) -> Settings {
    let mut settings = world.settings();
    settings.runtime = RuntimeChoice::Process;
    settings.reach.controllers = vec![controller];
    // As the executor itself makes it.
    fs::set_permissions(&settings.data, fs::Permissions::from_mode(0o700)).unwrap();
    settings
}

/// What is the same on every machine: all but its git, its control groups, its memory and its disk.
fn ours(mut report: Report, settings: &Settings) -> String {
    report.findings.retain(|finding| !["git", "process", "memory", "disk", "ours"].contains(&finding.check));
    let user = user_of(&settings.data);
    let text = report.to_string().replace(&settings.reach.controllers[0], "http://ADDRESS");
    text.replace(settings.data.to_str().unwrap(), "DATA").replace(&format!("user {user}"), "user N")
}

fn user_of(data: &std::path::Path) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata(data).unwrap())
}

#[tokio::test]
async fn a_machine_that_is_well_has_a_line_for_each_thing() {
    let world = World::registered().await;
    let settings = settings(&world, controller("200 OK").await);
    // Whatever the one who tests lets others do.
    fs::set_permissions(&settings.data, fs::Permissions::from_mode(0o711)).unwrap();
    let report = doctor::examine(&settings, &At::new(DATE_SECONDS + 1)).await;
    assert!(!report.has_failed(), "{report}");
    insta::assert_snapshot!(ours(report, &settings), @"
    ok    data         DATA is this user's alone
    ok    key          registered as one, with a key of its own
    warn  executor     no executor runs on DATA
                       $ systemctl enable --now ocelot-executor  # or: ocelot-executor start
    ok    controller   http://ADDRESS is ready
    ok    clock        it is the same as that of http://ADDRESS
    ok    certificate  none: http://ADDRESS is spoken to in plain text
    1 warning
    ");
    let left: Vec<_> =
        fs::read_dir(&settings.data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("doctor")), "{left:?}");
}

#[tokio::test]
async fn on_a_sick_one_each_finding_says_what_mends_it() {
    let world = World::registered().await;
    let mut settings = settings(&world, controller("503 Service Unavailable").await);
    settings.disk_floor = u64::MAX;
    settings.limits.budget = Some(0);
    let data = &settings.data;
    let mirror = data.join("mirrors/one");
    fs::create_dir_all(&mirror).unwrap();
    fs::write(mirror.join("pack"), vec![1; 64 << 10]).unwrap();
    fs::set_permissions(data, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(data.join("executor.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let report = doctor::examine(&settings, &At::new(DATE_SECONDS - 100)).await;
    let disk = report.findings.iter().find(|finding| finding.check == "disk").unwrap();
    assert_eq!(disk.verdict, Verdict::Fail);
    let kept = report.findings.iter().find(|finding| finding.check == "ours").unwrap();
    assert_eq!(kept.verdict, Verdict::Warn);
    assert!(kept.says.contains(", which is over the budget of 0 B; below "), "{kept:?}");
    assert_eq!(disk.mend, [format!("du -xh --max-depth=2 {} | sort -h | tail", data.display())]);
    insta::assert_snapshot!(ours(report, &settings), @"
    fail  data         DATA can be used by others: its mode is 755
                       $ chmod 711 DATA
    fail  key          DATA/executor.key may be read by others
                       $ chmod 600 DATA/executor.key
    warn  executor     no executor runs on DATA
                       $ systemctl enable --now ocelot-executor  # or: ocelot-executor start
    fail  controller   http://ADDRESS answers, and is not ready: the store
                       $ ocelot-controller doctor  # on its machine
    fail  clock        this machine's clock is 100 s behind http://ADDRESS
                       $ timedatectl set-ntp true
    ok    certificate  none: http://ADDRESS is spoken to in plain text
    4 failures, 1 warning
    ");
}

#[tokio::test]
async fn one_that_never_registered_is_told_how_to() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { runtime: RuntimeChoice::Process, ..Settings::new(folder.path().join("none")) };
    let report = doctor::examine(&settings, &SystemClock).await;
    assert!(report.has_failed());
    let data = &report.findings[0];
    assert_eq!((data.check, data.verdict), ("data", Verdict::Fail));
    assert!(data.mend[0].starts_with("ocelot-executor register INVITATION"), "{data:?}");
    assert!(!settings.data.exists(), "it was made");
}

#[tokio::test]
async fn one_that_runs_is_well_once_a_controller_has_answered_it() {
    let mut world = World::registered().await;
    let data = world.data.path().to_owned();
    assert!(doctor::of_running(&data, &SystemClock).has_failed(), "nothing runs there");
    world.start().await;
    let beats = world.controller.until("two heartbeats", |model| model.heartbeats.len() >= 2);
    beats.await;
    let report = doctor::of_running(&data, &SystemClock);
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].verdict, Verdict::Ok, "{report}");
}
