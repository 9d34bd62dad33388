//! What the program is told: flags first, then the environment, then the file, then what is usual.
//!
//! The only module that reads the environment.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ocelot_executor::app::{Reach, Register, RuntimeChoice, Settings};
use ocelot_executor::connection::{Proxies, Proxy, ProxyError};
use ocelot_git::{Allowed, AllowedScheme};
use ocelot_proto::kit::invitation::{InvalidInvitation, Invitation};
use ocelot_proto::kit::telemetry::Format;
use serde::Deserialize;

/// A configuration is a few lines; more is a mistake.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Runs attempts on this machine.
#[derive(Debug, Parser)]
#[command(name = "ocelot-executor", version, about, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes this machine an executor, once.
    Register(RegisterArguments),
    /// Takes work until it is told to stop.
    Start(StartArguments),
}

/// What both commands know.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// A file with the same settings, in YAML.
    #[arg(long, env = "OCELOT_EXECUTOR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything of this executor is kept.
    #[arg(long, env = "OCELOT_EXECUTOR_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Authorities, in PEM form, that prove the controller.
    #[arg(long, env = "OCELOT_EXECUTOR_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Attempts at a time.
    #[arg(long, env = "OCELOT_EXECUTOR_SLOTS", value_name = "N")]
    slots: Option<u32>,
    /// Which events are written, as in `info` or `ocelot_executor=debug,info`.
    #[arg(long, env = "OCELOT_EXECUTOR_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// How events are written.
    #[arg(long, env = "OCELOT_EXECUTOR_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Args)]
pub(crate) struct RegisterArguments {
    #[command(flatten)]
    common: Common,
    /// What `ocelot executor token` printed.
    #[arg(required_unless_present = "token", conflicts_with = "token", value_name = "INVITATION")]
    invitation: Option<String>,
    /// The same, for scripts.
    #[arg(long, env = "OCELOT_EXECUTOR_TOKEN", hide_env_values = true, value_name = "INVITATION")]
    token: Option<String>,
    /// What it is called; else the machine's name.
    #[arg(long, env = "OCELOT_EXECUTOR_NAME")]
    name: Option<String>,
    /// A label that the invitation grants; several are allowed.
    #[arg(long = "label", env = "OCELOT_EXECUTOR_LABELS", value_delimiter = ',', value_name = "LABEL")]
    labels: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StartArguments {
    #[command(flatten)]
    common: Common,
    /// Address of a controller; several are allowed. Else those of the invitation.
    #[arg(
        long = "controller",
        env = "OCELOT_EXECUTOR_CONTROLLERS",
        value_delimiter = ',',
        value_name = "URL"
    )]
    controllers: Vec<String>,
    /// With less of the disk free, such as `2GiB`, no work is taken.
    #[arg(long, env = "OCELOT_EXECUTOR_DISK_FLOOR", value_name = "SIZE")]
    disk_floor: Option<Size>,
    /// What tasks run in.
    #[arg(long, env = "OCELOT_EXECUTOR_RUNTIME")]
    runtime: Option<RuntimeName>,
    /// Lets tasks run on this machine without a container.
    #[arg(
        long, env = "OCELOT_EXECUTOR_ALLOW_PROCESS", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", value_name = "BOOL"
    )]
    allow_process: Option<bool>,
    /// How long work may go on after a SIGTERM, such as `30s`; then it is left to the next start.
    #[arg(long, env = "OCELOT_EXECUTOR_DRAIN_GRACE", value_name = "TIME")]
    drain_grace: Option<Time>,
    /// Besides https and ssh, check repositories out over these: `http` shows code and passwords to all on
    /// the way, `file` opens this machine's folders to whoever may add a project.
    #[arg(long, env = "OCELOT_EXECUTOR_GIT_ALLOW", value_name = "SCHEME", value_delimiter = ',')]
    git_allow: Vec<AllowedScheme>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RuntimeName {
    Auto,
    Docker,
    Process,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

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
    disk_floor: Option<Size>,
    runtime: Option<RuntimeName>,
    allow_process: Option<bool>,
    drain_grace: Option<Time>,
    git_allow: Option<Vec<AllowedScheme>>,
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

impl RegisterArguments {
    pub(crate) fn read(self) -> Result<(Register, Telemetry), ConfigError> {
        let file = File::read(self.common.config.as_deref())?;
        let telemetry = self.common.telemetry(&file);
        let invitation: Invitation = self.invitation.or(self.token).unwrap_or_default().parse()?;
        let labels = if self.labels.is_empty() { file.labels.unwrap_or_default() } else { self.labels };
        let register = Register {
            data: data(self.common.data.or(file.data))?,
            invitation,
            name: self.name.or(file.name),
            labels,
            slots: self.common.slots.or(file.slots),
            ca: self.common.ca.or(file.ca),
            proxies: proxies()?,
        };
        Ok((register, telemetry))
    }
}

impl StartArguments {
    pub(crate) fn read(self) -> Result<(Settings, Telemetry), ConfigError> {
        let file = File::read(self.common.config.as_deref())?;
        let telemetry = self.common.telemetry(&file);
        let mut settings = Settings::new(data(self.common.data.or(file.data))?);
        let controllers =
            if self.controllers.is_empty() { file.controllers.unwrap_or_default() } else { self.controllers };
        settings.reach = Reach { controllers, ca: self.common.ca.or(file.ca), proxies: proxies()? };
        settings.slots = self.common.slots.or(file.slots);
        if let Some(Size(bytes)) = self.disk_floor.or(file.disk_floor) {
            settings.disk_floor = bytes;
        }
        settings.runtime = match self.runtime.or(file.runtime) {
            None | Some(RuntimeName::Auto) => RuntimeChoice::Auto,
            Some(RuntimeName::Docker) => RuntimeChoice::Docker,
            Some(RuntimeName::Process) => RuntimeChoice::Process,
        };
        settings.allow_process = self.allow_process.or(file.allow_process).unwrap_or(false);
        if let Some(Time(grace)) = self.drain_grace.or(file.drain_grace) {
            settings.drain_grace = grace;
        }
        let schemes =
            if self.git_allow.is_empty() { file.git_allow.unwrap_or_default() } else { self.git_allow };
        settings.repositories = Allowed::from(&schemes[..]);
        Ok((settings, telemetry))
    }
}

impl Common {
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

/// A number of bytes: `2GiB`, `500MB`, `0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Size(u64);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size; `2GiB` or `500MB` would be one");
        let (number, unit) = split(text);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let factor = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A duration: `30s`, `5m`, `1h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Time(Duration);

impl std::str::FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time; `30s` or `5m` would be one");
        let (number, unit) = split(text);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(millis).map(Duration::from_millis).map(Self).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Time {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

/// Returns the directory to keep things in: the machine's own for root, else the user's.
fn data(told: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    if let Some(told) = told {
        return Ok(told);
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
    use clap::CommandFactory;

    use super::*;

    fn start(arguments: &[&str]) -> Settings {
        let all = ["ocelot-executor", "start", "--data", "/d"].iter().chain(arguments);
        let Command::Start(start) = Arguments::try_parse_from(all).unwrap().command else { panic!() };
        start.read().unwrap().0
    }

    #[test]
    fn the_arguments_hold_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_invitation_is_given_as_the_command_prints_it_or_by_its_flag_and_never_twice() {
        let invitation = "oct_reg_one@https://a:1";
        let parse = |more: &[&str]| {
            let all = ["ocelot-executor", "register", "--data", "/d"].iter().chain(more);
            Arguments::try_parse_from(all).map(|arguments| match arguments.command {
                Command::Register(register) => register.read().unwrap().0.invitation.to_string(),
                Command::Start(_) => unreachable!("it registers"),
            })
        };
        assert_eq!(parse(&[invitation]).unwrap(), invitation);
        assert_eq!(parse(&["--token", invitation]).unwrap(), invitation);
        assert!(parse(&[]).unwrap_err().to_string().contains("<INVITATION>"));
        assert!(parse(&[invitation, "--token", invitation]).is_err());
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_what_is_usual() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("executor.yml");
        fs::write(&path, "slots: 3\ndisk_floor: 1GiB\nruntime: docker\ncontrollers: [https://a:1]\n")
            .unwrap();
        let path = path.to_str().unwrap();
        let settings = start(&["--config", path, "--slots", "5", "--drain-grace", "2m"]);
        assert_eq!(settings.slots, Some(5));
        assert_eq!(settings.disk_floor, 1 << 30);
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

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!("500MB".parse(), Ok(Size(500_000_000)));
        assert_eq!("0".parse(), Ok(Size(0)));
        assert!("2 apples".parse::<Size>().is_err());
        assert_eq!("1h".parse(), Ok(Time(Duration::from_secs(3_600))));
        assert!("30".parse::<Time>().is_err());
    }
}
