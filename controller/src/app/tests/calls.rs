use super::*;

#[tokio::test]
async fn a_run_is_executed_found_listed_watched_and_cancelled() {
    let bench = bench().await;
    let run = bench.execute(1).await;
    assert_eq!((run.number, run.id.to_vec()), (1, run_id(1).as_bytes().to_vec()));
    let again = bench.runs().execute(execution(1)).await.unwrap().into_inner();
    assert!(again.existed);

    for reference in ["build", "build#1", &run_id(1).to_string()[20..]] {
        let request = wire::GetRunRequest { run: text(reference) };
        let found = bench.runs().get_run(request).await.unwrap().into_inner();
        assert_eq!(found.run.unwrap().id, run.id, "{reference}");
        assert!(matches!(
            found.tasks[0].state.as_ref().unwrap().state,
            Some(wire::task_state::State::Queued(_))
        ));
    }

    let request = wire::WatchRunRequest { run: text("build#1") };
    let mut watch = bench.runs().watch_run(request).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.changed.len(), 1);
    let cancel = wire::CancelRunRequest { run: text("build#1"), reason: "wrong".into(), force: false };
    bench.runs().cancel_run(cancel).await.unwrap();
    let mut last = first;
    while let Some(next) = tokio::time::timeout(NEVER, watch.message()).await.unwrap().unwrap() {
        last = next;
    }
    let state = last.run.unwrap().state.unwrap().state;
    let Some(wire::run_state::State::Finished(outcome)) = state else { panic!("{state:?}") };
    assert!(matches!(outcome.outcome, Some(wire::outcome::Outcome::Cancelled(_))));

    let id = run_id(2).as_bytes().to_vec().into();
    let retry = wire::RetryRunRequest { run: text("build"), id, failed_only: false };
    let retried = bench.runs().retry_run(retry).await.unwrap().into_inner().run.unwrap();
    assert_eq!(retried.number, 2);
}

#[tokio::test]
async fn runs_are_paged_newest_first_without_a_gap_and_filtered() {
    let bench = bench().await;
    for number in 1..=5 {
        bench.execute(number).await;
    }
    let (mut numbers, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = wire::ListRunsRequest { page_size: 2, page_token, ..Default::default() };
        let page = bench.runs().list_runs(request).await.unwrap().into_inner();
        numbers.extend(page.runs.iter().map(|run| run.number));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(numbers, [5, 4, 3, 2, 1]);
    let count = async |request: wire::ListRunsRequest| {
        bench.runs().list_runs(request).await.unwrap().into_inner().runs.len()
    };
    let by = |by: &str| wire::ListRunsRequest { by: by.into(), ..Default::default() };
    assert_eq!((count(by("admin")).await, count(by("nobody")).await), (5, 0));
    assert_eq!(count(wire::ListRunsRequest { job: "other".into(), ..Default::default() }).await, 0);
    assert_eq!(count(wire::ListRunsRequest { failed: true, ..Default::default() }).await, 0);
    let later = wire::ListRunsRequest { since_unix_us: 4_000_000_000_000_000, ..Default::default() };
    assert_eq!(count(later).await, 0);
}

#[tokio::test]
async fn jobs_are_put_with_versions_listed_by_pattern_and_deleted() {
    let bench = bench().await;
    let put = |definition: &str, update| wire::PutJobRequest {
        definition: definition.into(),
        update,
        if_version: 0,
    };
    let mut jobs = bench.jobs();
    assert!(jobs.put_job(put(JOB, false)).await.unwrap().into_inner().changed);
    assert!(!jobs.put_job(put(JOB, false)).await.unwrap().into_inner().changed);
    let second = jobs.put_job(put("name: build\nimage: debian\ncommand: [make]\n", true)).await.unwrap();
    assert_eq!(second.into_inner().job.unwrap().version, 2);
    jobs.put_job(put("name: deploy\nimage: alpine\ncommand: [go]\n", false)).await.unwrap();

    let request = wire::ListJobsRequest { name: "d*".into(), ..Default::default() };
    let listed = jobs.list_jobs(request).await.unwrap().into_inner();
    assert_eq!(listed.jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["deploy"]);
    let first = wire::ListJobsRequest { page_size: 1, ..Default::default() };
    let page_token = jobs.list_jobs(first).await.unwrap().into_inner().next_page_token;
    let rest = wire::ListJobsRequest { page_token, ..Default::default() };
    assert_eq!(jobs.list_jobs(rest).await.unwrap().into_inner().jobs[0].name, "deploy");

    let request = wire::ListJobVersionsRequest { name: "build".into(), ..Default::default() };
    let versions = jobs.list_job_versions(request).await.unwrap().into_inner().versions;
    assert_eq!(versions.iter().map(|job| job.version).collect::<Vec<_>>(), [2, 1]);
    let old = wire::GetJobRequest { name: "build".into(), version: 1 };
    assert_eq!(jobs.get_job(old).await.unwrap().into_inner().job.unwrap().definition, JOB);
    jobs.delete_job(wire::DeleteJobRequest { name: "build".into() }).await.unwrap();
    let gone = jobs.get_job(wire::GetJobRequest { name: "build".into(), version: 0 }).await.unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn tokens_are_made_listed_rotated_and_end_open_streams_when_revoked() {
    let bench = bench().await;
    bench.execute(1).await;
    let mut admin = bench.admin();
    let new = wire::CreateApiTokenRequest { name: "ci".into(), r#for: "robot".into(), expires_in_ms: 0 };
    let made = admin.create_api_token(new).await.unwrap().into_inner();
    let page = wire::ListApiTokensRequest { page_size: 1, ..Default::default() };
    let first = admin.list_api_tokens(page).await.unwrap().into_inner();
    let page = wire::ListApiTokensRequest { page_token: first.next_page_token.clone(), ..Default::default() };
    let second = admin.list_api_tokens(page).await.unwrap().into_inner();
    assert_eq!((first.tokens[0].name.as_str(), second.tokens[0].name.as_str()), ("ci", "first"));
    assert_eq!(second.next_page_token, "");

    let mut old = runs_at(&bench.started, &made.value);
    let watch = wire::WatchRunRequest { run: text("build") };
    let mut stream = old.watch_run(watch.clone()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let rotate = wire::RotateApiTokenRequest { name: "ci".into(), overlap_ms: 600_000 };
    let rotated = admin.rotate_api_token(rotate).await.unwrap().into_inner();
    old.get_run(wire::GetRunRequest { run: text("build") }).await.unwrap();
    let mut new = runs_at(&bench.started, &rotated.value);
    new.get_run(wire::GetRunRequest { run: text("build") }).await.unwrap();

    admin.revoke_api_token(wire::RevokeApiTokenRequest { name: "ci".into() }).await.unwrap();
    let ended = tokio::time::timeout(NEVER, stream.message()).await.unwrap().unwrap_err();
    assert_eq!(ended.code(), tonic::Code::Unauthenticated);
    let refused = new.get_run(wire::GetRunRequest { run: text("build") }).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
}

#[tokio::test]
async fn executors_are_shown_drained_resumed_quarantined_and_removed() {
    let bench = bench().await;
    let session = executor(&bench.started.service, "x86-1").await;
    let mut admin = bench.admin();
    let listed = async |labels: Vec<String>| {
        let request = wire::ListExecutorsRequest { labels, ..Default::default() };
        let page = bench.admin().list_executors(request).await.unwrap().into_inner();
        page.executors.into_iter().map(|one| one.name).collect::<Vec<_>>()
    };
    assert_eq!(listed(vec!["pool=test".into(), "os=linux".into()]).await, ["x86-1"]);
    assert_eq!(listed(vec!["gpu".into()]).await, Vec::<String>::new());
    let drain = wire::DrainExecutorRequest { executor: executor_named("x86-1"), reason: "disk".into() };
    let drained = admin.drain_executor(drain).await.unwrap().into_inner().executor.unwrap();
    let state = |one: wire::Executor| one.state.unwrap().state.unwrap();
    assert!(matches!(state(drained), wire::executor_state::State::Draining(_)));
    let part = session.executor.to_string()[24..].to_owned();
    let resume = wire::ResumeExecutorRequest { executor: executor_named(&part) };
    let resumed = admin.resume_executor(resume).await.unwrap().into_inner().executor.unwrap();
    assert!(matches!(state(resumed), wire::executor_state::State::Online(_)));
    let remove = |force| wire::RemoveExecutorRequest { executor: executor_named("x86-1"), force };
    let refused = admin.remove_executor(remove(false)).await.unwrap_err();
    assert_eq!(refused.message(), "x86-1 takes work; drain it first, or force the removal");
    let why = wire::QuarantineExecutorRequest { executor: executor_named("x86-1"), reason: "odd".into() };
    let aside = admin.quarantine_executor(why).await.unwrap().into_inner().executor.unwrap();
    assert!(matches!(state(aside), wire::executor_state::State::Quarantined(_)));
    admin.remove_executor(remove(true)).await.unwrap();
    let request = wire::GetExecutorRequest { executor: executor_named("x86-1") };
    assert_eq!(admin.get_executor(request).await.unwrap_err().code(), tonic::Code::NotFound);
    let fleet = admin.get_fleet(wire::GetFleetRequest {}).await.unwrap().into_inner();
    assert_eq!((fleet.controllers.len(), fleet.executors_total), (1, 0));
}

#[tokio::test]
async fn an_invitation_carries_the_address() {
    let bench = bench().await;
    let request = wire::CreateRegistrationTokenRequest { labels: vec!["gpu".into()], ..Default::default() };
    let made = bench.admin().create_registration_token(request).await.unwrap().into_inner();
    let invitation: ocelot_proto::kit::invitation::Invitation = made.token.parse().unwrap();
    assert_eq!(invitation.addresses.join(","), bench.started.url);
    assert_eq!(invitation.fingerprint, None);
}

#[tokio::test]
async fn why_tells_of_queued_and_running_tasks_and_of_a_full_disk() {
    let bench = bench().await;
    bench.execute(1).await;
    let why = async || {
        let answer = bench.runs().why(wire::WhyRequest { run: text("build") }).await.unwrap();
        answer.into_inner().tasks.remove(0).summary
    };
    assert_eq!(why().await, "no executor is registered");
    bench.started.service.floor().note(crate::bytes::Room::NoNewRuns);
    let refused = bench.runs().execute(execution(2)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    bench.runs().execute(execution(1)).await.unwrap();
    bench.started.service.floor().note(crate::bytes::Room::Enough);
    let session = executor(&bench.started.service, "x86-1").await;
    take(&bench.started.service, session).await;
    let running = why().await;
    assert!(running.starts_with("running on x86-1 for "), "{running}");
}

#[tokio::test]
async fn what_people_are_told_when_a_call_is_refused() {
    let bench = bench().await;
    bench.execute(1).await;
    bench.execute(2).await;
    let mut told = Vec::new();
    let mut note = |what: &str, status: Status| {
        told.push(format!("{what}: {:?}: {}", status.code(), status.message()));
    };
    let mut runs = bench.runs();
    let get = |run| wire::GetRunRequest { run };
    note("nothing named", runs.get_run(get(None)).await.unwrap_err());
    note("unknown run", runs.get_run(get(text("deploy#7"))).await.unwrap_err());
    note("ambiguous", runs.get_run(get(text("018bcfe5"))).await.unwrap_err());
    let other = wire::ExecuteRequest { env: [("A".into(), "b".into())].into(), ..execution(1) };
    note("same id", runs.execute(other).await.unwrap_err());
    let short = wire::ExecuteRequest { id: vec![1].into(), ..execution(3) };
    note("no id", runs.execute(short).await.unwrap_err());
    let unknown = wire::ExecuteRequest { job: "deploy".into(), ..execution(3) };
    note("unknown job", runs.execute(unknown).await.unwrap_err());
    let retry = wire::RetryRunRequest { run: text("build"), id: vec![9; 16].into(), failed_only: false };
    note("retry too soon", runs.retry_run(retry).await.unwrap_err());
    let page = wire::ListRunsRequest { page_token: "?".into(), ..Default::default() };
    note("page", runs.list_runs(page).await.unwrap_err());
    let page = wire::ListRunsRequest { page_size: 501, ..Default::default() };
    note("page size", runs.list_runs(page).await.unwrap_err());
    let task = wire::ReadLogRequest { run: text("build"), task: 3, ..Default::default() };
    note("unknown task", runs.read_log(task).await.unwrap_err());
    let put =
        wire::PutJobRequest { definition: JOB.replace("alpine", "debian"), update: false, if_version: 7 };
    note("stale version", bench.jobs().put_job(put).await.unwrap_err());
    let new = wire::CreateApiTokenRequest { name: "first".into(), ..Default::default() };
    note("token exists", bench.admin().create_api_token(new).await.unwrap_err());
    let gone = wire::RevokeApiTokenRequest { name: "ci".into() };
    note("unknown token", bench.admin().revoke_api_token(gone).await.unwrap_err());
    let mut stranger = runs_at(&bench.started, "oct_api_x");
    note("stranger", stranger.get_run(get(text("build"))).await.unwrap_err());
    insta::assert_snapshot!(told.join("\n"));
}

/// Everything that is written to a log.
#[derive(Clone, Default)]
struct Written(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_token_and_no_value_is_written_to_the_log_at_any_level() {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // Where there is only one subscriber, a place in the code that another test reaches first asks that
    // test's thread, which has none, and is silent from then on.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    // The test's runtime has one thread, so what its tasks write comes here.
    let _guard = tracing::subscriber::set_default(subscriber);
    let bench = bench().await;
    bench.execute(1).await;
    let secret = wire::ExecuteRequest { env: [("A".into(), "hunter2-value".into())].into(), ..execution(2) };
    bench.runs().execute(secret).await.unwrap();
    let new = wire::CreateApiTokenRequest { name: "ci".into(), ..Default::default() };
    let api = bench.admin().create_api_token(new).await.unwrap().into_inner().value;
    let request = wire::CreateRegistrationTokenRequest::default();
    let invitation = bench.admin().create_registration_token(request).await.unwrap().into_inner().token;
    let registration = invitation.split('@').next().unwrap().to_owned();
    runs_at(&bench.started, &api).get_run(wire::GetRunRequest { run: text("build") }).await.unwrap();
    let log = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    // Otherwise the test would find nothing because nothing was looked at.
    assert!(log.contains("TRACE"), "{}", log.len());
    for value in [&bench.token, &api, &registration, "hunter2-value"] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(value)).collect();
        assert!(lines.is_empty(), "{lines:#?}");
    }
}
