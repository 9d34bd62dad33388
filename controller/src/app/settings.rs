//! What a controller is started with.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use ocelot_git::Allowed;

use super::outside::egress_settings;
use crate::config::{NotifyTarget, Start};
use crate::egress::{self, NoAllow};
use crate::forge::Apis;
use crate::seal::SealSource;
use crate::server::Names;
use crate::service::objects::ObjectLimits;

/// Everything that a start needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// This controller's own directory; made if it is not there.
    pub data: PathBuf,
    pub listen: SocketAddr,
    pub store: StoreSettings,
    /// The directory for logs: of all controllers where the store is etcd, else this one's.
    pub logs: Option<PathBuf>,
    /// The URL at which others reach it.
    pub advertise: Option<String>,
    /// The files of a certificate and of its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    pub name: Option<String>,
    /// Where the keys are that seal secrets; none is a file of its own in the home of bytes.
    pub seal: Option<SealSource>,
    /// What may be called besides public addresses, and who is trusted there.
    pub egress: egress::Settings,
    /// Where the APIs of forges are that are not where their kind has them, by host.
    pub forge_apis: Apis,
    /// Who is notified, by name.
    pub notify: BTreeMap<String, NotifyTarget>,
    /// How repositories are reached besides https and ssh.
    pub repositories: Allowed,
    /// How much is kept of artifacts and caches.
    pub objects: ObjectLimits,
    /// Whether `/metrics` needs no token.
    pub metrics_open: bool,
}

/// The home of the live state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreSettings {
    /// In the data directory.
    Embedded,
    Etcd(EtcdSettings),
}

/// How an etcd cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdSettings {
    /// `host:port` of each member.
    pub members: Vec<String>,
    pub ca: Option<PathBuf>,
    pub own: Option<(PathBuf, PathBuf)>,
    pub server_name: Option<String>,
    /// The user, and the file that holds the password.
    pub login: Option<(String, PathBuf)>,
}

/// Why settings do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    #[error("--store is `embedded` or etcd://host:port,host:port, not {0:?}")]
    Store(String),
    #[error("{0} goes with an etcd store only")]
    EtcdOnly(&'static str),
    #[error("{one} and {other} go together")]
    Pair { one: &'static str, other: &'static str },
    #[error("--seal-key-file and --seal-key-command exclude each other")]
    TwoSeals,
    #[error("--seal-key-command is a program and its arguments, not nothing")]
    NoCommand,
    #[error("--allow-egress: {0}")]
    Allow(#[from] NoAllow),
    #[error("--forge-api is HOST=URL, not {0:?}")]
    ForgeApi(String),
    #[error("{0} goes with --store-ca: etcd is spoken to in plain text without it")]
    WithoutCa(&'static str),
    #[error("several controllers on etcd need one home for logs: say --logs with a directory they all share")]
    NoLogs,
    #[error("--advertise is a URL such as https://ci.example.org:7070, not {0:?}")]
    Advertise(String),
    #[error("a controller's name has 1 to 63 letters, digits, `-`, `_` or `.`, not {0:?}")]
    Name(String),
    #[error("from here nobody can say which directory {0:?} is")]
    Directory(PathBuf),
    #[error("--project-cache-gib is not more than --cache-gib, which is {0}")]
    Caches(u64),
}

impl Settings {
    /// Settings for one machine: an embedded store in `data`, any free port on loopback.
    pub fn local(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            store: StoreSettings::Embedded,
            logs: None,
            advertise: None,
            certificate: None,
            name: None,
            seal: None,
            repositories: Allowed::default(),
            objects: ObjectLimits::default(),
            metrics_open: false,
            egress: egress::Settings::default(),
            forge_apis: Apis::new(),
            notify: BTreeMap::new(),
        }
    }

    /// Makes settings of what the program was told.
    pub fn of(start: Start) -> Result<Self, InvalidSettings> {
        let store = store(&start)?;
        let certificate = pair(("--certificate", start.certificate), ("--key", start.key))?;
        let seal = seal(start.seal_key_file, start.seal_key_command.as_deref())?;
        let settings = Self {
            data: absolute(start.data.unwrap_or_else(|| "ocelot-data".into()))?,
            listen: start.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 7070).into()),
            store,
            logs: start.logs.map(absolute).transpose()?,
            advertise: start.advertise.map(|url| url.trim_end_matches('/').to_owned()),
            certificate,
            name: start.name,
            seal,
            egress: egress_settings(start.allow_egress.as_deref().unwrap_or_default(), start.egress_ca)?,
            forge_apis: forge_apis(start.forge_api.as_deref().unwrap_or_default())?,
            notify: start.notify,
            repositories: Allowed::from(start.git_allow.as_deref().unwrap_or_default()),
            objects: objects(start.cache_gib, start.project_cache_gib)?,
            metrics_open: start.metrics_open.unwrap_or(false),
        };
        settings.check()?;
        Ok(settings)
    }

    pub(super) fn check(&self) -> Result<(), InvalidSettings> {
        if matches!(self.store, StoreSettings::Etcd(_)) && self.logs.is_none() {
            return Err(InvalidSettings::NoLogs);
        }
        if let Some(name) = self.name.as_ref().filter(|name| !is_name(name)) {
            return Err(InvalidSettings::Name(name.clone()));
        }
        match &self.advertise {
            Some(url) if host_of(url).is_none() => Err(InvalidSettings::Advertise(url.clone())),
            Some(_) | None => Ok(()),
        }
    }

    /// Returns where this controller itself keeps logs.
    pub(super) fn own_logs(&self) -> PathBuf {
        match (&self.store, &self.logs) {
            (StoreSettings::Embedded, Some(logs)) => logs.clone(),
            (StoreSettings::Embedded, None) | (StoreSettings::Etcd(_), _) => self.data.join("logs"),
        }
    }

    /// Returns how it is reached by others, once it listens.
    pub(super) fn url(&self, address: SocketAddr) -> String {
        if let Some(url) = &self.advertise {
            return url.clone();
        }
        let plain = self.certificate.is_none() && address.ip().to_canonical().is_loopback();
        let scheme = if plain { "http" } else { "https" };
        format!("{scheme}://{}", SocketAddr::new(outward(address.ip()), address.port()))
    }

    /// Returns what a certificate of our own making is for.
    pub(super) fn names(&self) -> Names {
        let mut names = Names { hosts: Vec::new(), addresses: vec![outward(self.listen.ip())] };
        if let Some(host) = self.advertise.as_deref().and_then(host_of) {
            match host.parse() {
                Ok(address) => names.addresses.push(address),
                Err(_) => names.hosts.push(host.to_owned()),
            }
        }
        names
    }
}

/// Returns how much is kept; a project's share that is not said is at most the whole.
fn objects(all: Option<u64>, project: Option<u64>) -> Result<ObjectLimits, InvalidSettings> {
    const GIB: u64 = 1 << 30;
    let usual = ObjectLimits::default();
    let caches_bytes = all.map_or(usual.caches_bytes, |gib| gib.saturating_mul(GIB));
    let said = project.map(|gib| gib.saturating_mul(GIB));
    if said.is_some_and(|said| said > caches_bytes) {
        return Err(InvalidSettings::Caches(caches_bytes / GIB));
    }
    let owner_caches_bytes = said.unwrap_or(usual.owner_caches_bytes.min(caches_bytes));
    Ok(ObjectLimits { caches_bytes, owner_caches_bytes, ..usual })
}

/// Returns the address that others see, where it listens on all.
fn outward(listen: IpAddr) -> IpAddr {
    if !listen.is_unspecified() {
        return listen;
    }
    // Nothing is sent: connecting a datagram socket only asks for the route. The address is one of
    // those reserved for documentation.
    let found = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    found.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

fn host_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let rest = rest.trim_end_matches('/');
    let host = match rest.strip_prefix('[') {
        Some(six) => six.split_once(']')?.0,
        None => rest.rsplit_once(':').map_or(rest, |(host, _)| host),
    };
    (!host.is_empty() && !rest.contains(['/', '@', ' ', '?', '#', ','])).then_some(host)
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=63).contains(&name.len()) && name.bytes().all(plain)
}

fn pair<A, B>(
    (one, first): (&'static str, Option<A>),
    (other, second): (&'static str, Option<B>),
) -> Result<Option<(A, B)>, InvalidSettings> {
    match (first, second) {
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => Err(InvalidSettings::Pair { one, other }),
    }
}

fn forge_apis(texts: &[String]) -> Result<Apis, InvalidSettings> {
    let parse = |text: &String| {
        let (host, url) = text.split_once('=').ok_or_else(|| InvalidSettings::ForgeApi(text.clone()))?;
        Ok((host.to_owned(), url.to_owned()))
    };
    texts.iter().map(parse).collect()
}

/// What this controller starts has working directories of its own.
fn absolute(path: PathBuf) -> Result<PathBuf, InvalidSettings> {
    std::path::absolute(&path).map_err(|_| InvalidSettings::Directory(path))
}

fn seal(file: Option<PathBuf>, command: Option<&str>) -> Result<Option<SealSource>, InvalidSettings> {
    match (file, command) {
        (None, None) => Ok(None),
        (Some(file), None) => Ok(Some(SealSource::File(file))),
        (Some(_), Some(_)) => Err(InvalidSettings::TwoSeals),
        (None, Some(command)) => {
            // No shell reads it: nothing is expanded, and quotes mean nothing.
            let argv: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
            if argv.is_empty() {
                Err(InvalidSettings::NoCommand)
            } else {
                Ok(Some(SealSource::Command(argv)))
            }
        }
    }
}

fn store(start: &Start) -> Result<StoreSettings, InvalidSettings> {
    let text = start.store.as_deref().unwrap_or("embedded");
    if text == "embedded" {
        let etcd_only = [
            ("--store-ca", start.store_ca.is_some()),
            ("--store-cert", start.store_cert.is_some()),
            ("--store-key", start.store_key.is_some()),
            ("--store-server-name", start.store_server_name.is_some()),
            ("--store-user", start.store_user.is_some()),
            ("--store-password-file", start.store_password_file.is_some()),
        ];
        return match etcd_only.into_iter().find(|(_, is_said)| *is_said) {
            Some((flag, _)) => Err(InvalidSettings::EtcdOnly(flag)),
            None => Ok(StoreSettings::Embedded),
        };
    }
    let wrong = || InvalidSettings::Store(text.to_owned());
    let members = text.strip_prefix("etcd://").ok_or_else(wrong)?;
    let members: Vec<String> = members.trim_end_matches('/').split(',').map(member).collect();
    if members.iter().any(|member| member.starts_with(':') || member.contains(['/', '@', ' '])) {
        return Err(wrong());
    }
    let own = pair(("--store-cert", start.store_cert.clone()), ("--store-key", start.store_key.clone()))?;
    let login = pair(
        ("--store-user", start.store_user.clone()),
        ("--store-password-file", start.store_password_file.clone()),
    )?;
    if start.store_ca.is_none() {
        let tls_only =
            [("--store-cert", own.is_some()), ("--store-server-name", start.store_server_name.is_some())];
        if let Some((flag, _)) = tls_only.into_iter().find(|(_, is_said)| *is_said) {
            return Err(InvalidSettings::WithoutCa(flag));
        }
    }
    let (ca, server_name) = (start.store_ca.clone(), start.store_server_name.clone());
    Ok(StoreSettings::Etcd(EtcdSettings { members, ca, own, server_name, login }))
}

/// etcd listens on 2379 unless it is told otherwise.
fn member(text: &str) -> String {
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { text.to_owned() } else { format!("{text}:2379") }
}
