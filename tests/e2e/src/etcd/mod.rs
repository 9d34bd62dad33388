//! Real etcd processes: one or three members on loopback, each in a folder that goes with them.
//!
//! Data is fsynced as in production. Nothing is waited for by time: a member is ready when it
//! answers. Dropping the cluster kills its processes, also paused ones.

mod certificates;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub use self::certificates::Certificates;
use self::certificates::certificates;
use crate::ports::free_port;
use crate::wait::{wait_held, wait_until};

/// A port that was free may be taken by the time etcd binds it; then all begins anew.
const START_TRIES: usize = 5;

/// How to start a cluster.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub members: usize,
    pub quota_bytes: Option<u64>,
    pub tls: bool,
    /// Where its folder is made, if not where temporary files go.
    pub folder: Option<PathBuf>,
    /// A data folder of etcd's to begin with, for one member.
    pub restored: Option<PathBuf>,
    pub extra: Vec<String>,
}

#[derive(Debug)]
pub struct Cluster {
    members: Vec<Member>,
    certificates: Option<Certificates>,
    login: Option<(String, String)>,
    folder: TempDir,
}

#[derive(Debug)]
struct Member {
    name: String,
    client: u16,
    peer: u16,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Settings {
    pub fn members(members: usize) -> Self {
        Self { members, ..Self::default() }
    }
}

impl Cluster {
    pub async fn one() -> Result<Self> {
        Self::start(Settings::members(1)).await
    }

    pub async fn three() -> Result<Self> {
        Self::start(Settings::members(3)).await
    }

    pub async fn start(settings: Settings) -> Result<Self> {
        let mut last = None;
        for _ in 0..START_TRIES {
            let mut cluster = Self::prepare(&settings)?;
            for index in 0..cluster.members.len() {
                cluster.spawn(index)?;
            }
            match cluster.wait_ready().await {
                Ok(()) => return Ok(cluster),
                Err(error) if cluster.lost_a_port() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.context("no try was made")?)
    }

    fn prepare(settings: &Settings) -> Result<Self> {
        let place = settings.folder.clone().unwrap_or_else(std::env::temp_dir);
        let folder = tempfile::Builder::new().prefix("ocelot-etcd-").tempdir_in(place)?;
        let certificates = if settings.tls { Some(certificates(&folder)?) } else { None };
        let scheme = if settings.tls { "https" } else { "http" };
        let count = settings.members.max(1);
        let ports = (0..2 * count).map(|_| free_port()).collect::<Result<Vec<_>>>()?;
        let (clients, peers) = ports.split_at(count);
        let initial: Vec<_> =
            peers.iter().enumerate().map(|(n, port)| format!("m{n}=http://127.0.0.1:{port}")).collect();
        let members = (0..count).map(|n| {
            let name = format!("m{n}");
            let client = format!("{scheme}://127.0.0.1:{}", clients[n]);
            let peer = format!("http://127.0.0.1:{}", peers[n]);
            let folder = folder.path();
            let place = match &settings.restored {
                Some(restored) => restored.clone(),
                None => folder.join(&name),
            };
            let mut arguments: Vec<String> = [
                ("--name", name.clone()),
                ("--data-dir", place.display().to_string()),
                ("--listen-client-urls", client.clone()),
                ("--advertise-client-urls", client),
                ("--listen-peer-urls", peer.clone()),
                ("--initial-advertise-peer-urls", peer),
                ("--initial-cluster", initial.join(",")),
                ("--logger", "zap".to_owned()),
                ("--log-level", "warn".to_owned()),
            ]
            .into_iter()
            .flat_map(|(option, value)| [option.to_owned(), value])
            .collect();
            if let Some(bytes) = settings.quota_bytes {
                arguments.push(format!("--quota-backend-bytes={bytes}"));
            }
            if settings.tls {
                let file = |name: &str| folder.join(name).display().to_string();
                arguments.push(format!("--cert-file={}", file("own.pem")));
                arguments.push(format!("--key-file={}", file("own.key")));
                arguments.push(format!("--trusted-ca-file={}", file("ca.pem")));
                arguments.push("--client-cert-auth".to_owned());
            }
            arguments.extend(settings.extra.iter().cloned());
            Member {
                client: clients[n],
                peer: peers[n],
                arguments,
                log: folder.join(format!("{name}.log")),
                child: None,
                name,
            }
        });
        let members = members.collect();
        Ok(Self { members, certificates, login: None, folder })
    }

    fn spawn(&mut self, index: usize) -> Result<()> {
        let member = &mut self.members[index];
        let log = File::options().create(true).append(true).open(&member.log)?;
        let child = Command::new("etcd")
            .args(&member.arguments)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context(
                "etcd cannot be started; install it (Debian: etcd-server) or put it on /usr/local/bin",
            )?;
        member.child = Some(child);
        Ok(())
    }

    /// Waits until every member that runs answers a linearizable read.
    pub async fn wait_ready(&mut self) -> Result<()> {
        for index in 0..self.members.len() {
            if self.members[index].child.is_some() {
                self.wait_member(index).await?;
            }
        }
        Ok(())
    }

    async fn wait_member(&mut self, index: usize) -> Result<()> {
        let what = format!("etcd member {} to answer", self.members[index].name);
        let options = self.options();
        let endpoint = self.endpoint(index);
        let member = &mut self.members[index];
        let log = member.log.clone();
        let mut exited = false;
        let answer = wait_until(&what, || {
            exited =
                exited || member.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
            let (endpoint, options, exited) = (endpoint.clone(), options.clone(), exited);
            async move {
                if exited {
                    return Ok(false);
                }
                let mut client = Client::connect([endpoint], Some(options)).await?;
                client.get("ready", None).await.map(|_| true)
            }
        });
        let answer: Result<bool> = answer.await;
        match answer {
            Ok(true) => Ok(()),
            Ok(false) => bail!("etcd ended: {}", tail(&log)),
            Err(error) => Err(error.context(tail(&log))),
        }
    }

    fn lost_a_port(&self) -> bool {
        self.members.iter().any(|member| tail(&member.log).contains("address already in use"))
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns where the data and the logs of all members are.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn port(&self, index: usize) -> u16 {
        self.members[index].client
    }

    pub fn endpoint(&self, index: usize) -> String {
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port(index))
    }

    pub fn endpoints(&self) -> Vec<String> {
        (0..self.len()).map(|index| self.endpoint(index)).collect()
    }

    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    fn options(&self) -> ConnectOptions {
        let second = Duration::from_secs(1);
        let mut options = ConnectOptions::new().with_connect_timeout(second).with_timeout(second * 3);
        if let Some(certificates) = &self.certificates {
            options = options.with_tls(
                TlsOptions::new()
                    .ca_certificate(Certificate::from_pem(&certificates.ca))
                    .identity(Identity::from_pem(&certificates.certificate, &certificates.key)),
            );
        }
        match &self.login {
            Some((user, password)) => options.with_user(user, password),
            None => options,
        }
    }

    /// Returns a bare client of one member, to look at things past our own code.
    pub async fn bare(&self, index: usize) -> Result<Client> {
        Ok(Client::connect([self.endpoint(index)], Some(self.options())).await?)
    }

    /// Kills a member as a power cut of its process would.
    pub fn kill(&mut self, index: usize) -> Result<()> {
        let mut child = self.members[index].child.take().context("the member does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Starts a killed member again on its data, and waits until it answers.
    pub async fn restart(&mut self, index: usize) -> Result<()> {
        ensure!(self.members[index].child.is_none(), "the member runs");
        self.spawn(index)?;
        self.wait_member(index).await
    }

    /// Starts all members that do not run, and waits until they answer.
    pub async fn start_again(&mut self) -> Result<()> {
        for index in 0..self.len() {
            if self.members[index].child.is_none() {
                self.spawn(index)?;
            }
        }
        self.wait_ready().await
    }

    /// Holds a member, and waits until it stands still.
    pub async fn pause(&self, index: usize) -> Result<()> {
        self.signal(index, Signal::STOP)?;
        let member = &self.members[index];
        let pid = member.child.as_ref().context("the member does not run")?.id();
        wait_held(&member.name, pid).await
    }

    pub fn resume(&self, index: usize) -> Result<()> {
        self.signal(index, Signal::CONT)
    }

    fn signal(&self, index: usize, signal: Signal) -> Result<()> {
        let child = self.members[index].child.as_ref().context("the member does not run")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    /// Returns the member that leads, once one does.
    pub async fn leader(&self) -> Result<usize> {
        wait_until("a leader", || async {
            for index in 0..self.len() {
                if self.members[index].child.is_none() {
                    continue;
                }
                let Ok(mut client) = self.bare(index).await else { continue };
                let Ok(status) = client.status().await else { continue };
                if status.header().is_some_and(|header| header.member_id() == status.leader()) {
                    return Ok(index);
                }
            }
            Err("no member says that it leads")
        })
        .await
    }

    /// Hands the lead to the next member and returns it. The lead may move by itself meanwhile.
    pub async fn move_leader(&self) -> Result<usize> {
        wait_until("the lead to move", || async {
            let leader = self.leader().await?;
            let next = (leader + 1) % self.len();
            let status = self.bare(next).await?.status().await?;
            let id = status.header().context("a header")?.member_id();
            self.bare(leader).await?.move_leader(id).await?;
            anyhow::Ok(next)
        })
        .await
    }

    /// Creates `user` with all rights and turns authentication on.
    pub async fn require_login(&mut self, user: &str, password: &str) -> Result<()> {
        let mut client = self.bare(0).await?;
        for name in ["root", user] {
            client.user_add(name, password, None).await?;
            client.user_grant_role(name, "root").await?;
        }
        client.auth_enable().await?;
        self.login = Some((user.to_owned(), password.to_owned()));
        Ok(())
    }

    /// Saves a snapshot and returns its file.
    pub fn snapshot(&self, name: &str) -> Result<PathBuf> {
        let file = self.folder.path().join(name);
        run_etcdctl(&["--endpoints", &self.endpoint(0), "snapshot", "save", &file.display().to_string()])?;
        Ok(file)
    }

    /// Starts a cluster of one member from a snapshot of this one.
    ///
    /// With etcd's default token, `etcd-cluster`, it even has this one's id.
    pub async fn restore(&self, snapshot: &std::path::Path, token: &str) -> Result<Self> {
        let place = snapshot.with_extension(token);
        let (file, data) = (snapshot.display().to_string(), place.display().to_string());
        let peer = format!("http://127.0.0.1:{}", self.members[0].peer);
        run_etcdctl(&[
            "snapshot",
            "restore",
            &file,
            "--data-dir",
            &data,
            "--name",
            "m0",
            "--initial-cluster",
            &format!("m0={peer}"),
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster-token",
            token,
        ])?;
        Self::start(Settings { members: 1, restored: Some(place), ..Settings::default() }).await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.members.iter_mut().filter_map(|member| member.child.as_mut()) {
            // One that has ended already is what is wanted.
            child.kill().and_then(|()| child.wait()).ok();
        }
    }
}

fn run_etcdctl(arguments: &[&str]) -> Result<()> {
    let output = Command::new("etcdctl")
        .args(arguments)
        .env("ETCDCTL_API", "3")
        .output()
        .context("etcdctl cannot be started; install it (Debian: etcd-client)")?;
    ensure!(output.status.success(), "etcdctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn tail(log: &PathBuf) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(8).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
