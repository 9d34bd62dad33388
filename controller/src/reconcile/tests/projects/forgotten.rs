//! What is forgotten of a project in time.

use super::*;

#[tokio::test]
async fn old_events_are_forgotten_and_pending_ones_only_with_a_word() {
    let site = Site::new(FILE).await;
    let head = site.origin.head();
    site.run_of(push("main", None, &head)).await;
    let url = Some("file:///nowhere/at/all".to_owned());
    let service = &site.controller.service;
    service
        .put_project(&widget(), ProjectChange { url, ..ProjectChange::default() }, (false, false), &ana())
        .await
        .unwrap();
    let stuck = site.receive(push("other", None, &head)).await;
    decide(&site.controller).await;
    site.controller.advance(Duration::from_secs(7 * 24 * 3600)).await;
    service.sweep_events().await.unwrap();
    site.controller.settle().await;
    let left = service.events(&widget(), None, 10).events;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, stuck.id);
    assert!(matches!(&left[0].decision, EventDecision::Ignored { why } if why.contains("7 days")));
}
