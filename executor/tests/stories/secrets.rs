//! Secrets of a task: given to the stages that name them, and left nowhere.

use ocelot_core::plan::{SecretDelivery, SecretUse, Tool};

use super::*;

#[tokio::test]
async fn stages_after_a_restart_have_their_secrets() {
    let mut world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    let delivery = SecretDelivery::Env("KEY".to_owned());
    let secret = SecretUse { name: "deploy".to_owned(), delivery };
    let second = Stage { secrets: vec![secret], ..stage("b") };
    world.offer(&plan(vec![stage("a"), second]));
    world.machine.runs_a_stage().await;
    assert!(!world.machine.seen().orders[0].env.contains_key("KEY"));
    world.killed().await;
    world.start().await;
    world.controller.until("a second session", |model| model.opened.len() == 2).await;
    world.machine.set(|facts| facts.held_stages = true);
    world.machine.release_stages();
    world.controller.until("a completion", |model| !model.completed.is_empty()).await;
    let asked = world.controller.model().calls.iter().filter(|call| **call == "secrets").count();
    assert_eq!(asked, 2);
    assert_eq!(world.machine.facts().environments.last().unwrap()["KEY"], "value-of-deploy");
}

#[tokio::test]
async fn a_login_is_there_for_the_stage_that_names_it_and_its_value_is_nowhere_else_on_disk() {
    let world = World::started().await;
    world.machine.set(|facts| facts.held_stages = true);
    let delivery = SecretDelivery::Tool(Tool::Kubeconfig);
    let secret = SecretUse { name: "cluster".to_owned(), delivery };
    let first = Stage { secrets: vec![secret], ..stage("a") };
    world.offer(&plan(vec![first, stage("b")]));
    world.machine.runs_a_stage().await;
    let path = world.machine.seen().orders[0].env["KUBECONFIG"].clone();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "value-of-cluster");
    assert_eq!(holders(world.data.path(), b"value-of-cluster"), [] as [std::path::PathBuf; 0]);
    world.machine.release_stages();
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
    let seen = world.controller.model().completed.len();
    assert_eq!(seen, 1);
    world.clean().await;
    assert!(!Path::new(&path).exists());
    assert_eq!(holders(world.data.path(), b"value-of-cluster"), [] as [std::path::PathBuf; 0]);
}

/// Every file below that holds these bytes.
fn holders(root: &Path, bytes: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holders(&path, bytes));
        } else if std::fs::read(&path).is_ok_and(|held| held.windows(bytes.len()).any(|part| part == bytes)) {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn a_task_that_is_given_no_secrets_runs_without_them_and_its_log_says_so_once() {
    let world = World::started().await;
    world.controller.set(|model| model.withheld = "runs of forks are given no secrets".to_owned());
    world.machine.set(|facts| facts.held_stages = true);
    let secret = SecretUse { name: "deploy".to_owned(), delivery: SecretDelivery::Env("KEY".to_owned()) };
    world.offer(&plan(vec![Stage { secrets: vec![secret], ..stage("a") }]));
    world.machine.runs_a_stage().await;
    assert!(!world.machine.seen().orders[0].env.contains_key("KEY"));
    world.machine.release_stages();
    assert!(matches!(world.outcome().await, Outcome::Succeeded(_)));
    let said = world.machine.facts().lines.iter().filter(|line| line.contains("no secrets")).count();
    assert_eq!(said, 1);
}
