//! Real supervisors as plain processes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use ocelot_core::id::{Attempt, Epoch, RunId, TaskId};
use ocelot_core::plan::{self, Environment};
use ocelot_supervisor::client::Client;
use ocelot_supervisor::protocol::{Leftovers, Notice, Outcome, Program, Request, StageEnd, StageOrder};

use super::start::COMPLAINT;
use super::*;
use crate::attempt::AttemptId;
use crate::attempt::state::BootTime;
use crate::runtime::install;

const PATIENCE: Duration = Duration::from_secs(60);
const HOUR_MS: u64 = 3_600_000;

/// A data directory with one attempt's directories, and the runtime on it.
struct Bench {
    data: tempfile::TempDir,
    runtime: Process,
}

impl Bench {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let supervisor = install(data.path()).unwrap();
        let runtime = Process::new(data.path(), supervisor, Resources::default());
        for name in ["control", "workspace"] {
            fs::create_dir(data.path().join(name)).unwrap();
            fs::set_permissions(data.path().join(name), fs::Permissions::from_mode(0o700)).unwrap();
        }
        Self { data, runtime }
    }

    /// The runtime as the next executor process makes it.
    fn restarted(&self) -> Process {
        let supervisor = install(self.data.path()).unwrap();
        Process::new(self.data.path(), supervisor, Resources::default())
    }

    fn launch(&self) -> Launch {
        Launch {
            attempt: AttemptId {
                task: TaskId { run: RunId::from_bytes([7; 16]), index: 0 },
                number: Attempt::FIRST,
                epoch: Epoch(1),
            },
            environment: Environment {
                runtime: plan::Runtime::Process,
                checkout: None,
                directory: String::new(),
                user: None,
                env: BTreeMap::new(),
                secrets: Vec::new(),
                services: Vec::new(),
                caches: Vec::new(),
                artifacts: Vec::new(),
            },
            resources: Resources::default(),
            control: self.data.path().join("control"),
            workspace: self.data.path().join("workspace"),
            mounts: Vec::new(),
            login: None,
            deadline: BootTime(clock::now().after(HOUR_MS).0),
        }
    }

    fn client(&self) -> Client {
        let control = self.data.path().join("control");
        let (mut client, _) = Client::connect(&control, PATIENCE).unwrap();
        // As it is in a place that was made ready: with room behind it.
        fs::write(control.join("identity"), "a   ").unwrap();
        let deadline = clock::now().after(HOUR_MS);
        client.ask(&Request::Assign { identity: "a".to_owned(), deadline }).unwrap();
        client
    }
}

fn order(script: &str) -> Request {
    Request::RunStage(Box::new(StageOrder {
        stage: 0,
        name: "only".to_owned(),
        program: Program::Script { shell: vec!["/bin/sh".to_owned()], script: script.to_owned() },
        directory: "/".to_owned(),
        user: None,
        env: BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]),
        timeout_ms: None,
        task_deadline: None,
        quiet_timeout_ms: None,
        grace_ms: 50,
        leftovers: Leftovers::Keep,
    }))
}

fn run(client: &mut Client, script: &str) -> StageEnd {
    client.ask(&order(script)).unwrap();
    loop {
        if let Notice::Ended(end) = client.next_notice().unwrap() {
            return *end;
        }
    }
}

#[tokio::test]
async fn it_listens_when_start_returns_and_ends_when_asked() {
    let bench = Bench::new();
    let container = bench.runtime.start(&bench.launch()).await.unwrap();
    assert_eq!(bench.runtime.inspect(&container).await.unwrap(), Standing::Running);
    assert_eq!(bench.restarted().start(&bench.launch()).await.unwrap(), container);
    let mut client = bench.client();
    let end = run(&mut client, "exit 7");
    assert_eq!(end.outcome, Outcome::Ended(ocelot_core::frame::Exit::Code(7)));
    client.ask(&Request::Finish { grace_ms: 10 }).unwrap();
    let ended = bench.runtime.ended(&container).await.unwrap();
    assert_eq!(ended, Standing::Ended { status: 0, out_of_memory: None });
    bench.runtime.remove(&container.control).await.unwrap();
    assert_eq!(bench.runtime.list().await.unwrap(), []);
}

#[tokio::test]
async fn nothing_of_the_executors_environment_is_passed_on() {
    let bench = Bench::new();
    let container = bench.runtime.start(&bench.launch()).await.unwrap();
    let number = container.id.split('-').next().unwrap();
    assert_eq!(fs::read(format!("/proc/{number}/environ")).unwrap(), b"");
    let status = fs::read_to_string(format!("/proc/{number}/stat")).unwrap();
    let fields: Vec<_> = status.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
    assert_eq!((fields[2], fields[3]), (number, number), "group and session of its own");
    bench.runtime.remove(&container.control).await.unwrap();
}

#[tokio::test]
async fn a_later_executor_finds_it_by_its_control_directory_and_kills_all_of_it() {
    let bench = Bench::new();
    let container = bench.runtime.start(&bench.launch()).await.unwrap();
    let mut client = bench.client();
    // One that leaves its session, loses its parent and says who it is.
    let pid = bench.data.path().join("pid");
    let script = format!("(setsid sh -c 'echo $$ > {}; exec sleep 600' &) ; wait", pid.display());
    run(&mut client, &script);
    let stray = loop {
        if let Ok(text) = fs::read_to_string(&pid)
            && let Ok(number) = text.trim().parse()
        {
            break ProcessId::of(number).unwrap();
        }
        tokio::task::yield_now().await;
    };
    let later = bench.restarted();
    assert_eq!(
        later.list().await.unwrap(),
        [Ours { container: container.clone(), running: true, waiting: false }]
    );
    assert_eq!(later.inspect(&container).await.unwrap(), Standing::Running);
    later.kill(&container).await.unwrap();
    assert!(!stray.is_alive());
    later.kill(&container).await.unwrap();
    assert_eq!(
        bench.runtime.ended(&container).await.unwrap(),
        Standing::Ended { status: 137, out_of_memory: None }
    );
    later.remove(&container.control).await.unwrap();
    later.remove(&container.control).await.unwrap();
    assert_eq!(later.inspect(&container).await.unwrap(), Standing::Absent);
}

#[tokio::test]
async fn without_groups_the_tree_is_killed() {
    let bench = Bench::new();
    let container = bench.runtime.start(&bench.launch()).await.unwrap();
    let mut client = bench.client();
    let pid = bench.data.path().join("pid");
    let script = format!("(setsid sh -c 'echo $$ > {}; exec sleep 600' &) ; wait", pid.display());
    run(&mut client, &script);
    let stray = loop {
        if let Ok(text) = fs::read_to_string(&pid)
            && let Ok(number) = text.trim().parse()
        {
            break ProcessId::of(number).unwrap();
        }
        tokio::task::yield_now().await;
    };
    container.id.parse::<ProcessId>().unwrap().kill_tree().unwrap();
    bench.runtime.ended(&container).await.unwrap();
    assert!(!stray.is_alive());
    bench.runtime.remove(&container.control).await.unwrap();
}

#[tokio::test]
async fn a_start_that_fails_says_what_the_supervisor_said() {
    let bench = Bench::new();
    let launch = bench.launch();
    fs::set_permissions(&launch.control, fs::Permissions::from_mode(0o755)).unwrap();
    let Err(Cause::Platform { why }) = bench.runtime.start(&launch).await else { panic!("it started") };
    assert!(why.contains("must be a directory of mode 0700"), "{why}");
    assert_eq!(bench.runtime.list().await.unwrap(), []);
}

#[tokio::test]
async fn nothing_is_started_past_its_deadline() {
    let bench = Bench::new();
    let launch = Launch { deadline: BootTime(clock::now().0), ..bench.launch() };
    let started = bench.runtime.start(&launch).await;
    assert!(matches!(started, Err(Cause::Platform { .. })), "{started:?}");
    assert!(!launch.control.join(COMPLAINT).exists());
}

#[tokio::test]
async fn a_start_takes_over_the_supervisor_that_waits_there() {
    let bench = Bench::new();
    let launch = bench.launch();
    assert!(bench.runtime.make_ready(&launch.control).await.unwrap());
    let waiting = bench.runtime.list().await.unwrap();
    let container = bench.runtime.start(&launch).await.unwrap();
    assert_eq!(waiting, [Ours { container: container.clone(), running: true, waiting: false }]);
    let mut client = bench.client();
    let end = run(&mut client, "exit 3");
    assert_eq!(end.outcome, Outcome::Ended(ocelot_core::frame::Exit::Code(3)));
    bench.runtime.remove(&container.control).await.unwrap();
    assert_eq!(bench.runtime.list().await.unwrap(), []);
}

#[tokio::test]
async fn where_one_waited_in_vain_another_starts_and_where_one_ran_none_does() {
    let bench = Bench::new();
    let launch = bench.launch();
    bench.runtime.make_ready(&launch.control).await.unwrap();
    bench.runtime.remove(&launch.control).await.unwrap();
    let container = bench.runtime.start(&launch).await.unwrap();
    run(&mut bench.client(), "true");
    bench.runtime.remove(&container.control).await.unwrap();
    let again = bench.runtime.start(&launch).await;
    let Err(Cause::Platform { why }) = again else { panic!("it started a second time") };
    assert!(why.contains("was used by a supervisor before"), "{why}");
}
