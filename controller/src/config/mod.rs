//! What the program is told: by flags, by the environment, by a file, in this order.
//!
//! The file is YAML with the flags' names as keys; a key that is none is an error with its line. What
//! is not said anywhere has a default that works on one machine.

mod file;
mod notify;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use ocelot_git::AllowedScheme;

pub use file::{File, InvalidFile};
pub use notify::{NoText, NotifyKind, NotifyTarget};

/// Keeps jobs, runs and executors of an Ocelot fleet, and hands work to executors
#[derive(Debug, Parser)]
#[command(name = "ocelot-controller", version, disable_help_subcommand = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a controller; SIGTERM lets open work finish, a second one stops at once
    Start(Box<Start>),

    /// Look at everything that this controller needs, and say what mends what is not well
    ///
    /// It takes what `start` takes, and changes nothing. Exit code 1: something does not work.
    Doctor(Box<Doctor>),

    /// Make a certificate for all controllers of a fleet, unless the folder holds one
    ///
    /// It is for loopback and the names that are given. Executors know it by its fingerprint, so it needs
    /// no authority. Start each controller with --certificate and --key and the two files.
    Certificate(CertificateOf),

    /// Put a new key first in a file of keys that seal secrets; the others go on to open
    ///
    /// Controllers that run take it up within seconds, and seal every secret with it. The file is the one
    /// that --seal-key-file names; without that it is `bytes/seal-key` in the data directory, or, with
    /// etcd, `seal-key` in the directory of --logs.
    RotateSealKey {
        /// The file of keys
        file: PathBuf,
    },
}

#[derive(Debug, Group)]
pub struct Doctor {
    #[command(flatten)]
    pub start: Start,

    /// Only whether the controller that runs here is ready: for health checks
    #[arg(long)]
    pub running: bool,

    /// How the findings are written
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How a result is written; json is a contract for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

#[derive(Debug, Group)]
pub struct CertificateOf {
    /// Where `tls-certificate.pem` and `tls-key.pem` are put
    pub folder: PathBuf,

    /// A host or address at which a controller is reached; several are allowed
    #[arg(long = "for", value_name = "HOST", value_delimiter = ',', required = true)]
    pub names: Vec<String>,
}

/// How events are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Default, PartialEq, Eq, Group)]
pub struct Start {
    /// A YAML file with any of these settings; flags and the environment come before it
    #[arg(long, value_name = "FILE", env = "OCELOT_CONTROLLER_CONFIG")]
    pub config: Option<PathBuf>,

    /// Where this controller keeps what is its own [default: ./ocelot-data]
    #[arg(long, value_name = "DIR", env = "OCELOT_CONTROLLER_DATA")]
    pub data: Option<PathBuf>,

    /// Where to listen for people, executors and other controllers [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDRESS", env = "OCELOT_CONTROLLER_LISTEN")]
    pub listen: Option<SocketAddr>,

    /// `embedded`, or the members of an etcd cluster: etcd://host1:2379,host2:2379,host3:2379
    #[arg(long, value_name = "STORE", env = "OCELOT_CONTROLLER_STORE")]
    pub store: Option<String>,

    /// The authority that signed etcd's certificates, as PEM; with it etcd is spoken to over TLS
    #[arg(long, value_name = "FILE", env = "OCELOT_CONTROLLER_STORE_CA")]
    pub store_ca: Option<PathBuf>,

    /// The certificate to show etcd, as PEM
    #[arg(long, value_name = "FILE", env = "OCELOT_CONTROLLER_STORE_CERT")]
    pub store_cert: Option<PathBuf>,

    /// The key of that certificate, as PEM
    #[arg(long, value_name = "FILE", env = "OCELOT_CONTROLLER_STORE_KEY")]
    pub store_key: Option<PathBuf>,

    /// The name in etcd's certificates, where it is not the member's host
    #[arg(long, value_name = "NAME", env = "OCELOT_CONTROLLER_STORE_SERVER_NAME")]
    pub store_server_name: Option<String>,

    /// The user of etcd
    #[arg(long, value_name = "USER", env = "OCELOT_CONTROLLER_STORE_USER")]
    pub store_user: Option<String>,

    /// The file that holds that user's password
    #[arg(long, value_name = "FILE", env = "OCELOT_CONTROLLER_STORE_PASSWORD_FILE")]
    pub store_password_file: Option<PathBuf>,

    /// The directory that all controllers share for logs; needed with etcd
    #[arg(long, value_name = "DIR", env = "OCELOT_CONTROLLER_LOGS")]
    pub logs: Option<PathBuf>,

    /// The URL at which executors and other controllers reach this one
    #[arg(long, value_name = "URL", env = "OCELOT_CONTROLLER_ADVERTISE")]
    pub advertise: Option<String>,

    /// A certificate chain as PEM; without one, and beyond loopback, one is made
    #[arg(long, value_name = "FILE", env = "OCELOT_CONTROLLER_CERTIFICATE")]
    pub certificate: Option<PathBuf>,

    /// The key of that certificate, as PEM
    #[arg(long, value_name = "FILE", env = "OCELOT_CONTROLLER_KEY")]
    pub key: Option<PathBuf>,

    /// What this controller is called among the others; kept in its data directory if it is not said
    #[arg(long, value_name = "NAME", env = "OCELOT_CONTROLLER_NAME")]
    pub name: Option<String>,

    /// The keys that seal secrets, a key to a line: the first seals, all open. All controllers of a fleet
    /// have the same [default: a file that the first start makes, beside the logs]
    #[arg(long, value_name = "FILE", env = "OCELOT_CONTROLLER_SEAL_KEY_FILE")]
    pub seal_key_file: Option<PathBuf>,

    /// A program, with its arguments, that writes those keys to standard output; run at each start,
    /// without a shell
    #[arg(long, value_name = "COMMAND", env = "OCELOT_CONTROLLER_SEAL_KEY_COMMAND")]
    pub seal_key_command: Option<String>,

    /// Besides https and ssh, fetch repositories over these: `http` shows code and passwords to all on the
    /// way, `file` opens this machine's folders to whoever may add a project
    #[arg(long, value_name = "SCHEME", value_delimiter = ',', env = "OCELOT_CONTROLLER_GIT_ALLOW")]
    pub git_allow: Option<Vec<AllowedScheme>>,

    /// GiB that the caches of all projects and jobs may hold; the longest unused go first [default: 20]
    #[arg(long, value_name = "N", env = "OCELOT_CONTROLLER_CACHE_GIB")]
    pub cache_gib: Option<u64>,

    /// GiB of them that one project or job may hold [default: 10]
    #[arg(long, value_name = "N", env = "OCELOT_CONTROLLER_PROJECT_CACHE_GIB")]
    pub project_cache_gib: Option<u64>,

    /// Let whoever reaches this controller read /metrics without a token [default: false]
    #[arg(
        long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        env = "OCELOT_CONTROLLER_METRICS_OPEN"
    )]
    pub metrics_open: Option<bool>,

    /// Besides public addresses, call this network, address or host for forges and notifications: what is
    /// named is called in plain text too, if its address says so
    #[arg(long, value_name = "CIDR|HOST", value_delimiter = ',', env = "OCELOT_CONTROLLER_ALLOW_EGRESS")]
    pub allow_egress: Option<Vec<String>>,

    /// Trust these authorities besides the system's when forges and notification targets are called, as PEM
    #[arg(long, value_name = "FILE", env = "OCELOT_CONTROLLER_EGRESS_CA")]
    pub egress_ca: Option<PathBuf>,

    /// Where the API of a forge is that is not where its kind has it, by the host of its repositories
    #[arg(long, value_name = "HOST=URL", value_delimiter = ',', env = "OCELOT_CONTROLLER_FORGE_API")]
    pub forge_api: Option<Vec<String>>,

    /// Put the first API token into this file, for this user alone, and not on standard output
    #[arg(long, value_name = "FILE", env = "OCELOT_CONTROLLER_FIRST_TOKEN_FILE")]
    pub first_token_file: Option<PathBuf>,

    /// Targets of notifications; in the file alone
    #[arg(skip)]
    pub notify: BTreeMap<String, NotifyTarget>,

    /// How events are written to standard error [default: text]
    #[arg(long, value_enum, env = "OCELOT_CONTROLLER_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Which events are written, such as `info` or `ocelot_controller=debug,info` [default: info]
    #[arg(long, value_name = "FILTER", env = "OCELOT_CONTROLLER_LOG")]
    pub log: Option<String>,
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Start")
            .field("data", &self.data)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

impl Start {
    /// Fills what neither a flag nor the environment said from the file.
    pub fn resolved(self) -> Result<Self, InvalidFile> {
        match &self.config {
            Some(path) => Ok(self.clone().or(File::read(path)?)),
            None => Ok(self),
        }
    }

    fn or(self, file: File) -> Self {
        Self {
            config: self.config,
            data: self.data.or(file.data),
            listen: self.listen.or(file.listen),
            store: self.store.or(file.store),
            store_ca: self.store_ca.or(file.store_ca),
            store_cert: self.store_cert.or(file.store_cert),
            store_key: self.store_key.or(file.store_key),
            store_server_name: self.store_server_name.or(file.store_server_name),
            store_user: self.store_user.or(file.store_user),
            store_password_file: self.store_password_file.or(file.store_password_file),
            logs: self.logs.or(file.logs),
            advertise: self.advertise.or(file.advertise),
            certificate: self.certificate.or(file.certificate),
            key: self.key.or(file.key),
            name: self.name.or(file.name),
            seal_key_file: self.seal_key_file.or(file.seal_key_file),
            seal_key_command: self.seal_key_command.or(file.seal_key_command),
            git_allow: self.git_allow.or(file.git_allow),
            cache_gib: self.cache_gib.or(file.cache_gib),
            project_cache_gib: self.project_cache_gib.or(file.project_cache_gib),
            metrics_open: self.metrics_open.or(file.metrics_open),
            allow_egress: self.allow_egress.or(file.allow_egress),
            egress_ca: self.egress_ca.or(file.egress_ca),
            forge_api: self.forge_api.or(file.forge_api),
            first_token_file: self.first_token_file.or(file.first_token_file),
            notify: if self.notify.is_empty() { file.notify } else { self.notify },
            log_format: self.log_format.or(file.log_format),
            log: self.log.or(file.log),
        }
    }
}
