use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use ocelot_core::plan::Work;

use super::*;

const CANARY: &str = "canary-5b1e-value";

/// A plan whose two stages each have secrets of their own beside those of the task.
fn plan() -> TaskPlan {
    let text = include_str!("plan.json");
    serde_json::from_str(text).unwrap()
}

fn secrets(plan: &TaskPlan) -> Secrets {
    let value = |name: &str| match name {
        "registry" => Bytes::from(format!("registry.example bob {CANARY}")),
        other => Bytes::from(format!("{CANARY}-{other}")),
    };
    let values = names(plan).into_iter().map(|name| (name.clone(), value(&name))).collect();
    Secrets::take(plan, values, false).unwrap()
}

fn place(root: &Path, contained: bool) -> Place {
    let here = root.join("workspace");
    // Whoever makes the attempt's directory makes it.
    fs::create_dir_all(&here).ok();
    let seen = if contained { PathBuf::from("/workspace") } else { here.clone() };
    let inside = seen.clone();
    Place { directory: root.join("memory"), workspace: Some(Workspace { here, seen }), inside, contained }
}

/// Every file below that is not empty.
fn filled(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(filled(&path));
        } else if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 0) {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_stage_finds_its_own_files_and_the_tasks_and_no_other_stage_does() {
    let root = tempfile::tempdir().unwrap();
    let (plan, place) = (plan(), place(root.path(), true));
    let secrets = secrets(&plan);
    let mounts = secrets.lay_out(&plan, &place).unwrap();
    let targets: Vec<_> = mounts.iter().map(|mount| mount.target.clone()).collect();
    let of_task = PathBuf::from("/run/secrets/backup");
    let link = root.path().join("workspace/signing.p12");
    let signing = targets[2].clone();
    assert_eq!(targets, [of_task.clone(), "/run/ocelot/docker/config.json".into(), signing.clone()]);
    assert!(signing.starts_with("/run/ocelot/files"), "nothing is bound inside the workspace: {signing:?}");
    assert_eq!(filled(root.path()), [] as [PathBuf; 0], "nothing is there before a stage is");
    let at = |target: &Path| mounts.iter().find(|mount| mount.target == target).unwrap().source.clone();
    secrets.open_for(&plan, 0, Some("1000:1000"), &place).unwrap();
    assert_eq!(fs::read_to_string(at(&of_task)).unwrap(), format!("{CANARY}-backup"));
    assert!(fs::read_to_string(at(Path::new("/run/ocelot/docker/config.json"))).unwrap().contains("auths"));
    assert_eq!(fs::metadata(at(&signing)).unwrap().len(), 0);
    assert!(fs::symlink_metadata(&link).is_err());
    secrets.close_after(&plan, Some(0), &place).unwrap();
    assert_eq!(filled(root.path()), [at(&of_task)]);
    secrets.open_for(&plan, 1, None, &place).unwrap();
    assert_eq!(fs::read_link(&link).unwrap(), signing);
    assert_eq!(fs::read_to_string(at(&signing)).unwrap(), format!("{CANARY}-profile"));
    assert_eq!(fs::metadata(at(&signing)).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(at(Path::new("/run/ocelot/docker/config.json"))).unwrap().len(), 0);
    secrets.open_for(&plan, 1, Some("builder"), &place).unwrap();
    assert_eq!(fs::metadata(at(&signing)).unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(fs::metadata(&place.directory).unwrap().permissions().mode() & 0o777, 0o700);
    secrets.close_after(&plan, Some(1), &place).unwrap();
    assert!(fs::symlink_metadata(&link).is_err());
}

#[test]
fn what_is_in_the_way_is_replaced_and_what_a_task_moved_away_is_empty() {
    let root = tempfile::tempdir().unwrap();
    let (plan, place) = (plan(), place(root.path(), true));
    let secrets = secrets(&plan);
    secrets.lay_out(&plan, &place).unwrap();
    let link = root.path().join("workspace/signing.p12");
    let mut owned = place.clone();
    for tracked in [true, false] {
        if tracked {
            fs::write(&link, "of the repository").unwrap();
        } else {
            std::os::unix::fs::symlink("other", &link).unwrap();
        }
        secrets.open_for(&plan, 1, None, &place).unwrap();
        assert!(fs::read_link(&link).unwrap().starts_with("/run/ocelot/files"));
        fs::rename(&link, root.path().join("workspace/moved")).unwrap();
        secrets.close_after(&plan, None, &place).unwrap();
        assert_eq!(filled(root.path()), [] as [PathBuf; 0]);
    }
    assert!(fs::symlink_metadata(root.path().join("workspace/other")).is_err(), "written through a link");
    // Folders are made for whoever has the one that they are in.
    owned.inside = place.inside.join("made/for/it");
    let workspace = root.path().join("workspace");
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&workspace, Some(4711), Some(4712)).unwrap();
    }
    secrets.open_for(&plan, 1, None, &owned).unwrap();
    let made = fs::metadata(workspace.join("made/for")).unwrap();
    let owner = fs::metadata(&workspace).unwrap();
    assert_eq!((made.uid(), made.gid()), (owner.uid(), owner.gid()));
}

#[test]
fn a_service_finds_its_files_where_it_asks_for_them() {
    let mut plan = plan();
    let service = r#"{"name":"db","image":"db","secrets":[{"name":"backup","delivery":{"file":"workspace/key"}}],"resources":{},"ready":"started"}"#;
    plan.environment.services.push(serde_json::from_str(service).unwrap());
    let root = tempfile::tempdir().unwrap();
    let place = place(root.path(), true);
    let mounts = secrets(&plan).lay_out_services(&plan, &place).unwrap();
    assert_eq!(mounts[0][0].target, Path::new("/workspace/key"));
}

#[test]
fn a_task_that_goes_on_under_another_process_keeps_what_it_reads() {
    let root = tempfile::tempdir().unwrap();
    let (plan, place) = (plan(), place(root.path(), true));
    let secrets = secrets(&plan);
    secrets.lay_out(&plan, &place).unwrap();
    secrets.open_for(&plan, 0, None, &place).unwrap();
    let before = filled(root.path());
    secrets.lay_out(&plan, &place).unwrap();
    assert_eq!(filled(root.path()), before);
}

#[test]
fn without_a_container_a_file_of_the_workspace_is_a_link_that_goes_with_its_stage() {
    let root = tempfile::tempdir().unwrap();
    let (plan, place) = (plan(), place(root.path(), false));
    let secrets = secrets(&plan);
    assert_eq!(secrets.lay_out(&plan, &place).unwrap(), []);
    let signing = root.path().join("workspace/signing.p12");
    secrets.open_for(&plan, 1, None, &place).unwrap();
    assert_eq!(fs::read_to_string(&signing).unwrap(), format!("{CANARY}-profile"));
    assert!(fs::symlink_metadata(&signing).unwrap().is_symlink());
    secrets.close_after(&plan, Some(1), &place).unwrap();
    assert!(fs::symlink_metadata(&signing).is_err());
    secrets.close_after(&plan, None, &place).unwrap();
    assert_eq!(filled(root.path()), [] as [PathBuf; 0]);
}

#[test]
fn no_link_of_the_workspace_leads_a_secrets_file_out_of_it() {
    for contained in [false, true] {
        no_link_leads_out(contained);
    }
}

fn no_link_leads_out(contained: bool) {
    let root = tempfile::tempdir().unwrap();
    let (plan, place) = (plan(), place(root.path(), contained));
    let workspace = root.path().join("workspace");
    let secrets = secrets(&plan);
    secrets.lay_out(&plan, &place).unwrap();
    let outside = root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("signing.p12"), "not ours").unwrap();
    std::os::unix::fs::symlink(&outside, workspace.join("way")).unwrap();
    let through = Place { inside: place.inside.join("way"), ..place.clone() };
    let error = secrets.open_for(&plan, 1, None, &through).unwrap_err();
    assert!(matches!(&error, Unplaced::Blocked { .. }), "{error}");
    let told = "a symlink, a file or a folder of the task's own is in the way of way/signing.p12";
    assert_eq!(error.to_string(), told);
    fs::create_dir_all(workspace.join("signing.p12/folder")).unwrap();
    let error = secrets.open_for(&plan, 1, None, &place).unwrap_err();
    assert!(matches!(&error, Unplaced::Blocked { .. }), "{error}");
    assert_eq!(fs::read_to_string(outside.join("signing.p12")).unwrap(), "not ours");
    // A stage that puts a link there later gains nothing either.
    let inner = Place { inside: place.inside.join("inner"), ..place.clone() };
    secrets.open_for(&plan, 1, None, &inner).unwrap();
    let folder = workspace.join("inner");
    let target = fs::read_link(folder.join("signing.p12")).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(&outside, &folder).unwrap();
    fs::remove_file(outside.join("signing.p12")).unwrap();
    std::os::unix::fs::symlink(&target, outside.join("signing.p12")).unwrap();
    secrets.close_after(&plan, Some(1), &inner).unwrap();
    assert!(fs::symlink_metadata(outside.join("signing.p12")).is_ok());
    let source = place.directory.join("files").join(target.file_name().unwrap());
    assert_eq!(fs::metadata(source).unwrap().len(), 0);
}

#[test]
fn a_tools_variables_are_those_of_the_stage_that_names_it() {
    let plan = plan();
    let secrets = secrets(&plan);
    let place = place(Path::new("/x"), true);
    let Work::Stages { stages, .. } = &plan.work else { panic!("no stages") };
    let env = |stage: usize| secrets.variables(&stages[stage].secrets, &place).collect::<Vec<_>>();
    assert_eq!(env(0), [("DOCKER_CONFIG".to_owned(), "/run/ocelot/docker".to_owned())]);
    assert_eq!(env(1), []);
}

#[test]
fn a_password_inside_a_login_is_masked_by_itself_and_a_short_value_is_told() {
    let plan = plan();
    let mut masks = MaskSet::new([0; 16]);
    let mut own = secrets(&plan);
    assert_eq!(own.mask(&plan, &mut masks).unwrap(), [] as [&str; 0]);
    assert_eq!(masks.add(CANARY.as_bytes(), Short::Refuse), Ok(false), "it is in the set");
    own.values.insert("backup".to_owned(), Bytes::from_static(b"1234"));
    assert_eq!(own.mask(&plan, &mut masks).unwrap(), ["backup"]);
    assert!(!format!("{own:?}").contains("1234"));
}

#[test]
fn what_is_withheld_is_not_missed_and_what_is_missing_is_named() {
    let plan = plan();
    assert!(Secrets::take(&plan, BTreeMap::new(), true).is_ok());
    let missing = Secrets::take(&plan, BTreeMap::new(), false).unwrap_err();
    assert_eq!(missing, r#"there is no secret "backup" for this task"#);
    let wrong =
        BTreeMap::from(["backup", "registry", "profile"].map(|name| (name.to_owned(), Bytes::from("x y"))));
    let refused = Secrets::take(&plan, wrong, false).unwrap_err();
    assert!(refused.contains("no login for docker") && !refused.contains("x y"), "{refused}");
}
