//! Which projects and runs a list holds, and which repositories are looked at.

use super::*;

#[tokio::test]
async fn projects_and_runs_are_listed_by_their_group() {
    let web = ProjectChange { group: Some("web".into()), ..ProjectChange::default() };
    let site = Site::of(Origin::with(FILE), web).await;
    let (service, till) = (&site.controller.service, name("acme/till"));
    let change = ProjectChange {
        url: Some(site.origin.url()),
        default_branch: Some("main".into()),
        ..ProjectChange::default()
    };
    service.put_project(&till, change, (true, false), &ana()).await.unwrap();
    let head = site.origin.head();
    let of_web = site.run_of(push("main", None, &head)).await;
    receive(&site.controller, &till, push("main", None, &head)).await;
    decide(&site.controller).await;
    assert_eq!(site.runs().await.len(), 2);
    let listed = |group: &str| {
        let wanted = ProjectFilter { group: Some(group.into()), ..ProjectFilter::default() };
        let projects = service.projects(&wanted, None, 10).projects;
        let wanted = RunFilter { group: Some(group.into()), ..RunFilter::default() };
        let runs = service.runs(&wanted, None, 10).runs;
        let projects: Vec<_> = projects.into_iter().map(|project| project.name).collect();
        (projects, runs.into_iter().map(|run| run.id).collect::<Vec<_>>())
    };
    assert_eq!(listed("web"), (vec![widget()], vec![of_web.id]));
    assert_eq!(listed("apps"), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_disabled_project_is_not_looked_at() {
    let polled = ProjectChange { poll_every_ms: Some(60_000), ..ProjectChange::default() };
    let site = Site::of(Origin::with(FILE), polled.clone()).await;
    let service = std::sync::Arc::clone(&site.controller.service);
    let still = name("acme/still");
    let change = ProjectChange {
        url: Some(site.origin.url()),
        default_branch: Some("main".into()),
        enabled: Some(false),
        ..polled
    };
    service.put_project(&still, change, (true, false), &ana()).await.unwrap();
    site.controller.settle().await;
    let mut loops = JoinSet::new();
    let looking = std::sync::Arc::clone(&service);
    loops.spawn(async move { projects::follow(&looking).await });
    let reach = async |count: usize| {
        let reached = async {
            while site.runs().await.len() < count {
                site.controller.advance(Duration::from_secs(1)).await;
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reached).await.expect("the other is looked at");
    };
    reach(1).await;
    site.origin.commit("second", &[]);
    reach(2).await;
    assert!(site.runs().await.iter().all(|run| run.subject.name() == "acme/widget"));
    assert!(service.last_look(&widget()).is_some() && service.last_look(&still).is_none());
    assert!(matches!(service.look_at(&still).await, Err(Error::Conflict { .. })));
}
