//! The controller's own listener: its certificate, and who listens there now.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ocelot_proto::kit::doctor::ask::Answer;
use ocelot_proto::kit::doctor::judge::{self, Rights};
use ocelot_proto::kit::doctor::moment::UnixSeconds;
use ocelot_proto::kit::doctor::{Finding, Report};
use ocelot_proto::kit::telemetry::chain;

use super::super::settings::Settings;
use crate::grpc::look;
use crate::server::Certificate;

pub(super) const START: &str = "systemctl enable --now ocelot-controller  # or: ocelot-controller start";
const CHECK: &str = "certificate";
const RENEW: &str =
    "# renew the files of --certificate and --key; a controller that runs takes them up by itself";

/// Returns the files of the certificate that it shows, if it speaks TLS, and whether they were given.
fn files(settings: &Settings) -> Option<(std::path::PathBuf, std::path::PathBuf, bool)> {
    if let Some((chain, key)) = &settings.certificate {
        return Some((chain.clone(), key.clone(), true));
    }
    let loopback = settings.listen.ip().to_canonical().is_loopback();
    let own = |name: &str| settings.data.join(name);
    (!loopback).then(|| (own("tls-certificate.pem"), own("tls-key.pem"), false))
}

/// Looks at the certificate and its key.
pub(super) fn certificate(report: &mut Report, settings: &Settings, now: UnixSeconds) {
    let Some((chain_file, key, given)) = files(settings) else {
        report.add(Finding::ok(
            CHECK,
            format!("none: {} is loopback, and plain text stays here", settings.listen),
        ));
        return;
    };
    if !given && !chain_file.exists() {
        report.add(Finding::ok(CHECK, format!("{} is made at the first start", chain_file.display())));
        return;
    }
    match Certificate::open(chain_file.clone(), key.clone()) {
        Err(error) => {
            let see = format!("openssl x509 -noout -dates -in {}", chain_file.display());
            report.add(Finding::fail(CHECK, chain(&error).to_string(), see));
        }
        // Whoever uses one of our own making knows it by its fingerprint, which never expires.
        Ok(own) if !given => {
            report.add(Finding::ok(CHECK, format!("of its own making, {}", own.fingerprint())))
        }
        Ok(own) => {
            let whose = chain_file.display().to_string();
            report.add(judge::certificate(&whose, own.validity(), now, RENEW));
        }
    }
    if let Ok(found) = std::fs::metadata(&key) {
        use std::os::unix::fs::MetadataExt;
        let user = rustix::process::geteuid().as_raw();
        let rights = Rights { mode: found.mode(), owner: found.uid() };
        // A given key may be lent to this user by its group.
        let others = if given { 0o007 } else { 0o077 };
        let owner = if given { rights.owner } else { user };
        report.add(judge::private("key", &key.display().to_string(), rights, owner, others));
    }
}

/// Asks the controller that runs here whether it is ready.
pub(super) async fn ask(settings: &Settings) -> io::Result<Answer> {
    let fingerprint = match files(settings) {
        Some((chain, key, _)) => {
            let own = Certificate::open(chain, key).map_err(io::Error::other)?;
            Some(own.fingerprint().0)
        }
        None => None,
    };
    look(here(settings.listen), fingerprint).await
}

/// Returns where this machine reaches what listens there.
fn here(listen: SocketAddr) -> SocketAddr {
    match listen.ip().is_unspecified() {
        true if listen.is_ipv4() => (Ipv4Addr::LOCALHOST, listen.port()).into(),
        true => (Ipv6Addr::LOCALHOST, listen.port()).into(),
        false => listen,
    }
}

/// Judges who listens where this controller does.
pub(super) async fn listens(settings: &Settings) -> Finding {
    let check = "controller";
    let listen = settings.listen;
    match ask(settings).await {
        Ok(answer) => answer.finding(check, &format!("the controller at {listen}")),
        Err(error) => match std::net::TcpListener::bind(listen) {
            Ok(_free) => {
                Finding::warn(check, format!("no controller runs at {listen}, and it is free"), START)
            }
            Err(taken) if taken.kind() == io::ErrorKind::AddrInUse => {
                let says = format!("{listen} is taken by something else: {error}");
                Finding::fail(check, says, format!("ss -ltnp 'sport = :{}'", listen.port()))
            }
            Err(refused) => {
                let says = format!("nothing can listen at {listen}: {refused}");
                Finding::fail(check, says, "ip address; # then --listen with one of these")
            }
        },
    }
}
