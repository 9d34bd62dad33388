//! A network of its own for one executor: a namespace, one cable to the host, and cuts in one
//! direction.

use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, ensure};

/// Which packets are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the executor to the controller.
    Out,
    /// From the controller to the executor.
    In,
}

/// A namespace that goes with its value.
#[derive(Debug)]
pub struct Network {
    name: String,
    host: String,
}

static NEXT: AtomicU16 = AtomicU16::new(0);

impl Network {
    /// Lays a cable between the host and a new namespace.
    pub fn new() -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let id = (std::process::id() + u32::from(number)) % 10_000;
        let (name, host_end, inner_end) = (format!("oct{id}"), format!("oct{id}h"), format!("oct{id}n"));
        let net = (number / 60) % 200;
        let place = u32::from(number % 60) * 4;
        let (host, inner) = (format!("10.213.{net}.{}", place + 1), format!("10.213.{net}.{}", place + 2));
        run("ip", &["netns", "add", &name])?;
        let network = Self { name, host };
        let name = network.name.as_str();
        run("ip", &["link", "add", &host_end, "type", "veth", "peer", "name", &inner_end, "netns", name])?;
        run("ip", &["addr", "add", &format!("{}/30", network.host), "dev", &host_end])?;
        run("ip", &["link", "set", &host_end, "up"])?;
        network.inside(&["ip", "addr", "add", &format!("{inner}/30"), "dev", &inner_end])?;
        network.inside(&["ip", "link", "set", &inner_end, "up"])?;
        network.inside(&["ip", "link", "set", "lo", "up"])?;
        Ok(network)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host's address, as it is seen from inside.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Drops everything in one direction, without a word to either side.
    pub fn cut(&self, direction: Direction) -> Result<()> {
        self.inside(&["iptables", "-A", chain(direction), "-p", "tcp", "-j", "DROP"])
    }

    pub fn mend(&self, direction: Direction) -> Result<()> {
        self.inside(&["iptables", "-F", chain(direction)])
    }

    /// Returns how many packets were dropped: a cut that dropped none proves nothing.
    pub fn dropped(&self, direction: Direction) -> Result<u64> {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.name, "iptables", "-nvxL", chain(direction)])
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let line = text.lines().find(|line| line.contains("DROP")).context("nothing is cut")?;
        Ok(line.split_whitespace().next().context("a count")?.parse()?)
    }

    fn inside(&self, command: &[&str]) -> Result<()> {
        run("ip", &[&["netns", "exec", &self.name], command].concat())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The cable goes with the namespace. What is left would only be in the way of nobody.
        run("ip", &["netns", "del", &self.name]).ok();
    }
}

fn chain(direction: Direction) -> &'static str {
    match direction {
        Direction::Out => "OUTPUT",
        Direction::In => "INPUT",
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("no {program} here"))?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
