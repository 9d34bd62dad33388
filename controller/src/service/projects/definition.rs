//! From the bytes of a definition to the plan of a run, or to what people are told instead.
//!
//! Pure: the same file and the same facts make the same plan.

use ocelot_core::plan::{Keep, Plan, Runtime};
use ocelot_spec::{Context, Pipeline, Resolution};

/// The name of the file in a repository.
pub(super) const FILE: &str = "ocelot.yml";
/// What people write in its place by habit.
pub(super) const MISNAMED: &str = "ocelot.yaml";
/// The longest text of problems that a run keeps.
const TEXT_MAX: usize = 16 * 1024;

/// What a definition makes of an event.
#[derive(Debug)]
pub(super) enum Judged {
    Run(Plan),
    /// It starts no run, for this reason.
    NoRun(String),
    /// It is wrong; what is wrong, as people read it.
    Wrong(String),
}

/// Judges a file that was found in a commit, or was given with the run.
pub(super) fn judge(text: &[u8], context: &Context, group: Option<&str>) -> Judged {
    let pipeline = match Pipeline::parse(FILE, text) {
        Ok(pipeline) => pipeline,
        Err(problems) => return Judged::Wrong(bounded(&problems.to_string())),
    };
    match pipeline.resolve(context) {
        Err(problems) => Judged::Wrong(bounded(&problems.to_string())),
        Ok(Resolution::NoRun { why }) => Judged::NoRun(why),
        Ok(Resolution::Run(mut plan)) => match not_yet_here(&plan) {
            Some(text) => Judged::Wrong(bounded(&text)),
            None => {
                plan.group = plan.group.or_else(|| group.map(str::to_owned));
                Judged::Run(plan)
            }
        },
    }
}

/// Names the keys that are understood and cannot be carried out yet.
fn not_yet_here(plan: &Plan) -> Option<String> {
    let mut told = Vec::new();
    for task in &plan.tasks {
        let engine = match &task.environment.runtime {
            Runtime::Container { engine, .. } => *engine,
            Runtime::Process => false,
        };
        let keep = match task.keep {
            Keep::Never => false,
            Keep::OnFailure => true,
        };
        let used = [("engine", engine), ("approval", task.approval.is_some()), ("keep: on-failure", keep)];
        let used = used.into_iter().filter_map(|(key, is_used)| is_used.then_some(key));
        told.extend(
            used.map(|key| format!("{FILE}: task `{}`: `{key}` is not yet here; remove it", task.base)),
        );
    }
    // Variants of a matrix say the same.
    told.dedup();
    (!told.is_empty()).then(|| told.join("\n"))
}

pub(super) fn bounded(text: &str) -> String {
    if text.len() <= TEXT_MAX {
        return text.to_owned();
    }
    format!("{}\n... and more", &text[..text.floor_char_boundary(TEXT_MAX)])
}

#[cfg(test)]
mod tests {
    use ocelot_spec::Event;

    use super::*;

    fn context() -> Context {
        Context {
            event: Event::Push { branch: "main".into() },
            commit: "a1".repeat(20),
            message: "add it".into(),
            changed: None,
            project: "acme/widget".into(),
            run_number: 1,
            env: [].into(),
        }
    }

    fn told(text: &str) -> String {
        match judge(text.as_bytes(), &context(), Some("web")) {
            Judged::Run(plan) => format!("run of {} in {:?}", plan.tasks.len(), plan.group),
            Judged::NoRun(why) => format!("no run: {why}"),
            Judged::Wrong(why) => why,
        }
    }

    #[test]
    fn a_project_gives_its_group_to_a_file_that_names_none() {
        assert_eq!(told("image: alpine\ncommand: [make]\n"), r#"run of 1 in Some("web")"#);
        assert_eq!(told("image: alpine\ncommand: [make]\ngroup: apps\n"), r#"run of 1 in Some("apps")"#);
    }

    #[test]
    fn keys_that_are_not_yet_here_are_named() {
        let text = "tasks:\n  a: {image: alpine, command: [make], keep: on-failure}\n  \
                    b: {image: alpine, command: [make], engine: true}\n";
        insta::assert_snapshot!(told(text), @r"
        ocelot.yml: task `a`: `keep: on-failure` is not yet here; remove it
        ocelot.yml: task `b`: `engine` is not yet here; remove it
        ");
    }

    #[test]
    fn what_is_wrong_is_shown_and_bounded() {
        assert!(told("imge: alpine\n").contains("imge"));
        assert!(bounded(&"x".repeat(100_000)).len() < 17_000);
    }

    #[test]
    fn another_branch_starts_no_run() {
        assert_eq!(
            told("image: alpine\ncommand: [make]\nbranches: [release]\n"),
            "no run: branch main does not match release"
        );
    }
}
