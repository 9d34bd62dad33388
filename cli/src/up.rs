//! What `ocelot up` says and makes, apart from starting anything: its job to begin with, and the
//! three things to type next.

use crate::show::{Style, Tone};

/// The job that `up` creates in an empty directory. It runs in a container.
pub(crate) const HELLO: &str = include_str!("hello.job.yml");

/// Returns the job to begin with for a machine: without an engine it runs as a process.
pub(crate) fn hello(engine: bool) -> String {
    if engine { HELLO.to_owned() } else { HELLO.replace("image: busybox:1\n", "runtime: process\n") }
}

/// What `up` says once everything runs.
#[derive(Debug, Clone)]
pub(crate) struct Started<'a> {
    /// Where it listens.
    pub(crate) url: &'a str,
    /// Where everything is kept.
    pub(crate) folder: &'a str,
    /// What runs jobs, for people: `docker 27.1`, or that there is no engine.
    pub(crate) runtime: &'a str,
    /// A context is chosen, so that `ocelot` alone would go elsewhere.
    pub(crate) elsewhere: bool,
    /// The whole command for a second machine, once it listens beyond this one.
    pub(crate) second_machine: Option<&'a str>,
}

impl Started<'_> {
    /// The text: where it is, and the three things to type next in another terminal.
    pub(crate) fn text(&self, style: Style) -> String {
        let ocelot = if self.elsewhere { "ocelot --context up" } else { "ocelot" };
        let mut text = format!(
            "ocelot is up at {} ({})\neverything is kept in {}\n\ntype next, in another terminal:\n",
            style.paint(Tone::Strong, self.url),
            self.runtime,
            self.folder,
        );
        for (command, what) in [
            ("execute hello --follow", "run the job that is there to begin with"),
            ("create --template", "print a job to make your own from"),
            ("runs", "see what ran"),
        ] {
            let line = format!("{ocelot} {command}");
            text.push_str(&format!(
                "  {}  {}\n",
                style.paint(Tone::Strong, format!("{line:<43}")),
                style.paint(Tone::Dim, what)
            ));
        }
        if let Some(command) = self.second_machine {
            text.push_str(&format!("\na second machine runs jobs too, with:\n  {command}\n"));
        }
        text.push_str("\nCtrl-C ends it; what runs is finished first, and nothing is lost.\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use ocelot_spec::Job;

    use super::*;

    #[test]
    fn the_job_to_begin_with_is_good_with_and_without_an_engine() {
        for engine in [true, false] {
            let job = Job::parse("hello", hello(engine).as_bytes()).map_err(|problems| problems.to_string());
            assert_eq!(job.map(|job| job.name.to_string()), Ok("hello".to_owned()));
        }
        assert!(hello(false).contains("runtime: process"));
    }

    #[test]
    fn it_says_three_things_to_type_next() {
        let started = Started {
            url: "http://127.0.0.1:7070",
            folder: "/var/lib/ocelot",
            runtime: "docker 27.1",
            elsewhere: false,
            second_machine: None,
        };
        insta::assert_snapshot!(started.text(Style { coloured: false }), @r"
        ocelot is up at http://127.0.0.1:7070 (docker 27.1)
        everything is kept in /var/lib/ocelot

        type next, in another terminal:
          ocelot execute hello --follow                run the job that is there to begin with
          ocelot create --template                     print a job to make your own from
          ocelot runs                                  see what ran

        Ctrl-C ends it; what runs is finished first, and nothing is lost.
        ");
        let more = Started { elsewhere: true, second_machine: Some("ocelot-executor register T"), ..started };
        let text = more.text(Style { coloured: false });
        assert!(text.contains("ocelot --context up runs") && text.contains("  ocelot-executor register T\n"));
    }
}
