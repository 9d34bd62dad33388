//! Arguments of what concerns this command itself.

use clap::{Args as Group, Subcommand};
use ocelot_controller::egress::Allow;
use ocelot_git::AllowedScheme;

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Add a controller under a name, and use it from now on
    Add(ConfigAdd),
    /// Use this context from now on
    Use(ContextName),
    /// List the contexts
    #[command(visible_alias = "ls")]
    List,
    /// Show where commands go, and what says so
    Show,
    /// Forget a context
    #[command(alias = "rm")]
    Remove(ContextName),
}

#[derive(Debug, Group)]
pub(crate) struct Completion {
    /// The shell that is to complete; with bash put it into ~/.local/share/bash-completion/completions/ocelot
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Group)]
pub(crate) struct Complete {
    /// Milliseconds that a person may be kept waiting
    #[arg(long, value_name = "MS", default_value_t = 300)]
    pub(crate) within: u64,

    /// The words after the command's own name; the last one is not finished
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

#[derive(Debug, Group)]
pub(crate) struct ConfigAdd {
    /// What to call it
    pub(crate) name: String,

    /// Its address, as in `https://ci.example.com:7070`; several addresses of one fleet with commas
    pub(crate) url: String,

    /// The fingerprint of its certificate, as the controller printed it; otherwise it is shown and asked for
    #[arg(long, value_name = "SHA256")]
    pub(crate) fingerprint: Option<String>,

    /// Trust certificates that this file's authorities signed, and ask for no fingerprint
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    pub(crate) ca: Option<std::path::PathBuf>,

    /// Trust the authorities that this machine trusts, and ask for no fingerprint
    #[arg(long, conflicts_with_all = ["fingerprint", "ca"])]
    pub(crate) system_roots: bool,

    /// The API token to call with; otherwise it is asked for. Other users of this machine can see
    /// what is typed here: better say OCELOT_TOKEN
    #[arg(long, value_name = "TOKEN", env = "OCELOT_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
}

#[derive(Debug, Group)]
pub(crate) struct ContextName {
    /// Name of the context
    pub(crate) name: String,
}

#[derive(Debug, Group)]
pub(crate) struct Version {
    /// Only of this command; ask no controller
    #[arg(long)]
    pub(crate) client: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Where everything is kept; otherwise in this user's folder for such things
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) data: Option<std::path::PathBuf>,

    /// Where it listens; beyond loopback it speaks TLS and other machines can join
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7070")]
    pub(crate) listen: std::net::SocketAddr,

    /// Besides public addresses, reach this network, address or host for repositories and forges
    #[arg(long, value_name = "CIDR|HOST", value_delimiter = ',')]
    pub(crate) allow_egress: Vec<Allow>,

    /// Besides https and ssh, fetch repositories over these: `http` shows code and passwords to all on the
    /// way, `file` opens this machine's folders
    #[arg(long, value_name = "SCHEME", value_delimiter = ',')]
    pub(crate) git_allow: Vec<AllowedScheme>,
}
