//! `ocelot-supervisor DIRECTORY [--deadline-ms N] [--segment-bytes N] [--ahead-bytes N]`: see the
//! library. Its exit status says why it ended: 0 finished, 1 it could not run, 2 it was called
//! wrongly, 3 nobody vouched for it any more, 4 a signal asked it to end.

use std::ffi::OsString;
use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use ocelot_supervisor::run::{self, run};

    let settings = match settings(std::env::args_os().skip(1)) {
        Ok(settings) => settings,
        Err(why) => {
            eprintln!("ocelot-supervisor: {why}");
            return ExitCode::from(2);
        }
    };
    match run(settings) {
        Ok(leave) => ExitCode::from(leave as u8),
        Err(error @ run::RunError::Io(_)) => {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            eprintln!("ocelot-supervisor: {error}: {source}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("ocelot-supervisor: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("ocelot-supervisor: runs on Linux only");
    ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
fn settings(arguments: impl Iterator<Item = OsString>) -> Result<ocelot_supervisor::run::Settings, String> {
    use ocelot_supervisor::protocol::Moment;
    use ocelot_supervisor::run::{Room, Settings};

    let mut arguments = arguments;
    let directory = arguments.next().ok_or("the control directory is missing")?;
    let mut settings = Settings { directory: directory.into(), deadline: None, room: Room::default() };
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.to_str()?.parse().ok());
        let value: u64 = value.ok_or_else(|| format!("{} needs a number", name.to_string_lossy()))?;
        match name.to_str() {
            Some("--deadline-ms") => settings.deadline = Some(Moment(value)),
            Some("--segment-bytes") => settings.room.segment_bytes = value,
            Some("--ahead-bytes") => settings.room.ahead_bytes = value,
            Some(_) | None => return Err(format!("{} is not known", name.to_string_lossy())),
        }
    }
    Ok(settings)
}
