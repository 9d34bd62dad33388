//! What the program is told: flags first, then the environment, then the file, then what is usual.
//!
//! The only module that reads the environment.

mod arguments;
mod units;

use ocelot_executor::app::{Leave, Limits, Reach, Register, RuntimeChoice, Settings};
use ocelot_executor::connection::{Proxies, Proxy, ProxyError};
use ocelot_executor::runtime::docker::usual_socket;
use ocelot_git::{Allowed, AllowedScheme};
use ocelot_proto::kit::invitation::{InvalidInvitation, Invitation};
use ocelot_proto::kit::telemetry::Format;
use serde::Deserialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use arguments::{Common, LogFormat, RuntimeName};
use units::{Size, Socket, Time};

pub(crate) use arguments::{
    Arguments, CollectArguments, Command, DoctorArguments, Output, RegisterArguments, StartArguments,
};

/// A configuration is a few lines; more is a mistake.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The same settings in a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data: Option<PathBuf>,
    ca: Option<PathBuf>,
    slots: Option<u32>,
    log: Option<String>,
    log_format: Option<LogFormat>,
    name: Option<String>,
    labels: Option<Vec<String>>,
    controllers: Option<Vec<String>>,
    warm: Option<u32>,
    disk_floor: Option<Size>,
    disk_budget: Option<Size>,
    collect_below: Option<Size>,
    collect_until: Option<Size>,
    runtime: Option<RuntimeName>,
    engine: Option<Socket>,
    allow_process: Option<bool>,
    drain_grace: Option<Time>,
    git_allow: Option<Vec<AllowedScheme>>,
    idle_exit: Option<Time>,
    preemption_file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("the configuration {path} cannot be read", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the configuration {path} is longer than {FILE_BYTES_MAX} bytes", path = path.display())]
    TooLong { path: PathBuf },
    #[error("the configuration {path}: {why}", path = path.display())]
    Wrong { path: PathBuf, why: String },
    #[error("nobody said where to keep things: give a directory with `--data`")]
    NoData,
    #[error("--data is a directory, and from here nobody can say which one {path:?} is")]
    Data { path: PathBuf, source: io::Error },
    #[error("the invitation {path} cannot be read", path = path.display())]
    InvitationFile { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error(transparent)]
    Invitation(#[from] InvalidInvitation),
}

/// How events are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Telemetry {
    pub(crate) format: Format,
    pub(crate) filter: String,
}

/// What `register` does.
#[derive(Debug)]
pub(crate) struct Registering {
    pub(crate) register: Register,
    pub(crate) install: Option<Install>,
    /// What a person types to start it.
    pub(crate) start: String,
    pub(crate) telemetry: Telemetry,
}

/// What the service is to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Install {
    /// None: the system that runs.
    pub(crate) root: Option<PathBuf>,
    /// Variables of the service, and their values.
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// What `start` does.
#[derive(Debug)]
pub(crate) struct Starting {
    pub(crate) settings: Settings,
    /// By which it registers, where it has not.
    pub(crate) register: Option<Joining>,
    pub(crate) telemetry: Telemetry,
}

/// How an executor registers at its first start.
#[derive(Debug)]
pub(crate) struct Joining {
    file: PathBuf,
    name: Option<String>,
    labels: Vec<String>,
}

impl Joining {
    /// Reads the invitation. Blocks.
    pub(crate) fn read(self, settings: &Settings) -> Result<Register, ConfigError> {
        Ok(Register {
            data: settings.data.clone(),
            invitation: invitation_in(&self.file)?,
            name: self.name,
            labels: self.labels,
            slots: settings.slots,
            ca: settings.reach.ca.clone(),
            proxies: settings.reach.proxies.clone(),
        })
    }
}

fn invitation_in(path: &Path) -> Result<Invitation, ConfigError> {
    let read = |source| ConfigError::InvitationFile { path: path.to_owned(), source };
    if fs::metadata(path).map_err(read)?.len() > FILE_BYTES_MAX {
        return Err(ConfigError::TooLong { path: path.to_owned() });
    }
    Ok(fs::read_to_string(path).map_err(read)?.parse()?)
}

impl RegisterArguments {
    pub(crate) fn read(self) -> Result<Registering, ConfigError> {
        let file = File::read(self.common.config.as_deref())?;
        let telemetry = self.common.telemetry(&file);
        let invitation = match self.token_file {
            Some(path) => invitation_in(&path)?,
            None => self.invitation.or(self.token).unwrap_or_default().parse()?,
        };
        let told = self.common.variables();
        let start = self.common.start();
        let data = data(self.common.data.or(file.data))?;
        let install = self.install.then(|| {
            let place = ("OCELOT_EXECUTOR_DATA", data.display().to_string());
            Install { root: self.root, variables: [vec![place], told].concat() }
        });
        let labels = if self.labels.is_empty() { file.labels.unwrap_or_default() } else { self.labels };
        let register = Register {
            data,
            invitation,
            name: self.name.or(file.name),
            labels,
            slots: self.common.slots.or(file.slots),
            ca: self.common.ca.or(file.ca),
            proxies: proxies()?,
        };
        Ok(Registering { register, install, start, telemetry })
    }
}

impl StartArguments {
    pub(crate) fn read(self) -> Result<Starting, ConfigError> {
        let file = File::read(self.common.config.as_deref())?;
        let telemetry = self.common.telemetry(&file);
        let mut settings = Settings::new(data(self.common.data.or(file.data))?);
        let controllers =
            if self.controllers.is_empty() { file.controllers.unwrap_or_default() } else { self.controllers };
        settings.reach = Reach { controllers, ca: self.common.ca.or(file.ca), proxies: proxies()? };
        settings.slots = self.common.slots.or(file.slots);
        settings.warm = self.warm.or(file.warm);
        if let Some(Size(bytes)) = self.disk_floor.or(file.disk_floor) {
            settings.disk_floor = bytes;
        }
        let bytes = |size: Option<Size>| size.map(|Size(bytes)| bytes);
        settings.limits = Limits {
            budget: bytes(self.disk_budget.or(file.disk_budget)),
            below: bytes(self.collect_below.or(file.collect_below)),
            until: bytes(self.collect_until.or(file.collect_until)),
        };
        settings.runtime = match self.runtime.or(file.runtime) {
            None | Some(RuntimeName::Auto) => RuntimeChoice::Auto,
            Some(RuntimeName::Docker) => RuntimeChoice::Docker,
            Some(RuntimeName::Process) => RuntimeChoice::Process,
        };
        settings.engine = match self.engine.or(file.engine) {
            Some(Socket(engine)) => engine,
            None => usual_socket(variable("DOCKER_HOST").as_deref()),
        };
        settings.allow_process = self.allow_process.or(file.allow_process).unwrap_or(false);
        if let Some(Time(grace)) = self.drain_grace.or(file.drain_grace) {
            settings.drain_grace = grace;
        }
        let schemes =
            if self.git_allow.is_empty() { file.git_allow.unwrap_or_default() } else { self.git_allow };
        settings.repositories = Allowed::from(&schemes[..]);
        settings.leave = Leave {
            once: self.once,
            idle: self.idle_exit.or(file.idle_exit).map(|Time(time)| time),
            notice: self.preemption_file.or(file.preemption_file),
        };
        let labels = if self.labels.is_empty() { file.labels.unwrap_or_default() } else { self.labels };
        let name = self.name.or(file.name);
        let register = self.token_file.map(|file| Joining { file, name, labels });
        Ok(Starting { settings, register, telemetry })
    }
}

impl DoctorArguments {
    pub(crate) fn read(self) -> Result<(Settings, bool, Output), ConfigError> {
        Ok((self.start.read()?.settings, self.running, self.output))
    }
}

impl CollectArguments {
    pub(crate) fn read(self) -> Result<(Settings, bool), ConfigError> {
        Ok((self.start.read()?.settings, self.dry_run))
    }
}

/// A service has another folder to begin from.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

impl Common {
    /// Returns what was said, as variables of a service.
    fn variables(&self) -> Vec<(&'static str, String)> {
        let path = |path: &PathBuf| absolute(path);
        let format = self.log_format.map(|format| match format {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        });
        let all = [
            ("OCELOT_EXECUTOR_CONFIG", self.config.as_ref().map(path)),
            ("OCELOT_EXECUTOR_CA", self.ca.as_ref().map(path)),
            ("OCELOT_EXECUTOR_SLOTS", self.slots.map(|slots| slots.to_string())),
            ("OCELOT_EXECUTOR_LOG", self.log.clone()),
            ("OCELOT_EXECUTOR_LOG_FORMAT", format),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Returns the command that starts an executor which finds what was said here.
    fn start(&self) -> String {
        let flag = |name: &str, path: &Option<PathBuf>| {
            path.as_ref().map_or(String::new(), |path| format!(" {name} {}", path.display()))
        };
        format!("ocelot-executor start{}{}", flag("--config", &self.config), flag("--data", &self.data))
    }

    fn telemetry(&self, file: &File) -> Telemetry {
        let format = match self.log_format.or(file.log_format) {
            None | Some(LogFormat::Text) => Format::Text,
            Some(LogFormat::Json) => Format::Json,
        };
        let filter = self.log.clone().or_else(|| file.log.clone()).unwrap_or_else(|| "info".to_owned());
        Telemetry { format, filter }
    }
}

impl File {
    fn read(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        if fs::metadata(path).map_err(read)?.len() > FILE_BYTES_MAX {
            return Err(ConfigError::TooLong { path: path.to_owned() });
        }
        let text = fs::read_to_string(path).map_err(read)?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_yaml::from_str(&text)
            .map_err(|error| ConfigError::Wrong { path: path.to_owned(), why: error.to_string() })
    }
}

/// Returns the directory to keep things in: the machine's own for root, else the user's.
fn data(told: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    if let Some(path) = told {
        // What this executor starts has working directories of its own.
        return std::path::absolute(&path).map_err(|source| ConfigError::Data { path, source });
    }
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/ocelot-executor".into());
    }
    let state = variable("XDG_STATE_HOME").map(PathBuf::from);
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.or_else(home).map(|state| state.join("ocelot-executor")).ok_or(ConfigError::NoData)
}

/// Reads what every program calls its proxies.
fn proxies() -> Result<Proxies, ConfigError> {
    let read = |upper: &'static str, lower: &str| match variable(lower).or_else(|| variable(upper)) {
        None => Ok(None),
        Some(text) => Proxy::parse(&text).map(Some).ok_or(ProxyError { variable: upper }),
    };
    let except = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
    Ok(Proxies {
        https: read("HTTPS_PROXY", "https_proxy")?,
        http: read("HTTP_PROXY", "http_proxy")?,
        except: except.split(',').map(str::trim).filter(|host| !host.is_empty()).map(str::to_owned).collect(),
    })
}

#[expect(clippy::disallowed_methods, reason = "this is the module that reads the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{CommandFactory, Parser};

    use super::*;

    fn start(arguments: &[&str]) -> Settings {
        let all = ["ocelot-executor", "start"].iter().chain(arguments);
        let Command::Start(start) = Arguments::try_parse_from(all).unwrap().command else { panic!() };
        start.read().unwrap().settings
    }

    #[test]
    fn the_arguments_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_folder_is_the_same_one_for_whatever_is_started() {
        assert!(start(&["--data", "x"]).data.is_absolute());
    }

    #[test]
    fn an_invitation_is_given_as_the_command_prints_it_or_by_its_flag_and_never_twice() {
        let invitation = "oct_reg_one@https://a:1";
        let parse = |more: &[&str]| {
            let all = ["ocelot-executor", "register", "--data", "/d"].iter().chain(more);
            Arguments::try_parse_from(all).map(|arguments| match arguments.command {
                Command::Register(register) => register.read().unwrap().register.invitation.to_string(),
                Command::Start(_) | Command::Doctor(_) | Command::Collect(_) => unreachable!("it registers"),
            })
        };
        assert_eq!(parse(&[invitation]).unwrap(), invitation);
        assert_eq!(parse(&["--token", invitation]).unwrap(), invitation);
        assert!(parse(&[]).unwrap_err().to_string().contains("INVITATION"));
        assert!(parse(&[invitation, "--token", invitation]).is_err());
    }

    #[test]
    fn what_is_registered_elsewhere_is_started_there() {
        let start = |more: &[&str]| {
            let all = ["ocelot-executor", "register", "oct_reg_one@https://a:1"].iter().chain(more);
            let Command::Register(register) = Arguments::try_parse_from(all).unwrap().command else {
                panic!()
            };
            register.common.start()
        };
        assert_eq!(start(&[]), "ocelot-executor start");
        assert_eq!(start(&["--data", "/srv/one"]), "ocelot-executor start --data /srv/one");
        assert_eq!(start(&["--config", "/etc/e.yml"]), "ocelot-executor start --config /etc/e.yml");
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_what_is_usual() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("executor.yml");
        fs::write(
            &path,
            "slots: 3\nwarm: 1\ndisk_floor: 1GiB\ndisk_budget: 9GiB\nruntime: docker\ncontrollers: [https://a:1]\n",
        )
        .unwrap();
        let path = path.to_str().unwrap();
        let settings = start(&["--config", path, "--slots", "5", "--drain-grace", "2m"]);
        assert_eq!((settings.slots, settings.warm), (Some(5), Some(1)));
        assert_eq!(start(&["--config", path, "--warm", "0"]).warm, Some(0));
        assert_eq!(settings.disk_floor, 1 << 30);
        assert_eq!(settings.limits, Limits { budget: Some(9 << 30), ..Limits::default() });
        assert_eq!(settings.runtime, RuntimeChoice::Docker);
        assert_eq!(settings.reach.controllers, ["https://a:1"]);
        assert_eq!(settings.drain_grace, Duration::from_secs(120));
        assert_eq!(start(&[]).disk_floor, 2 << 30);
    }

    #[test]
    fn what_the_file_does_not_know_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("executor.yml");
        fs::write(&path, "slot: 3\n").unwrap();
        let error = File::read(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("slot") && error.contains("slots"), "{error}");
    }
}
