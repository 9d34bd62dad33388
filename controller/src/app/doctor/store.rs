//! The home of the live state: this disk, or the members of an etcd cluster and their versions.

use std::collections::BTreeSet;
use std::time::Duration;

use ocelot_proto::kit::doctor::{Finding, Report};
use ocelot_proto::kit::telemetry::chain;

use super::super::settings::{EtcdSettings, Settings, StoreSettings};
use super::super::store::config;
use crate::store::etcd::{Etcd, MemberStatus};

const CHECK: &str = "store";
const PATIENCE: Duration = Duration::from_secs(10);
/// From here on somebody should look at it: at 1 etcd refuses writes.
const NEARLY_FULL: f64 = 0.8;

pub(super) async fn look(report: &mut Report, settings: &Settings) {
    match &settings.store {
        StoreSettings::Embedded => {
            let place = settings.data.join("store");
            report.add(Finding::ok(CHECK, format!("embedded, in {}", place.display())));
        }
        StoreSettings::Etcd(etcd) => match tokio::time::timeout(PATIENCE, ask(etcd)).await {
            Ok(Ok(members)) => judge(report, etcd, &members),
            Ok(Err(why)) => report.add(away(etcd, &why)),
            Err(_) => report.add(away(etcd, &format!("no answer within {PATIENCE:?}"))),
        },
    }
}

async fn ask(settings: &EtcdSettings) -> Result<Vec<MemberStatus>, String> {
    let config = config(settings).map_err(|error| chain(&error).to_string())?;
    let etcd = Etcd::connect(config).await.map_err(|error| chain(&error).to_string())?;
    let members = etcd.members().await;
    etcd.close().await;
    members.map_err(|error| chain(&error).to_string())
}

fn endpoints(settings: &EtcdSettings) -> String {
    let scheme = if settings.ca.is_some() { "https" } else { "http" };
    let all: Vec<_> = settings.members.iter().map(|member| format!("{scheme}://{member}")).collect();
    all.join(",")
}

fn away(settings: &EtcdSettings, why: &str) -> Finding {
    let says = format!("etcd cannot be used: {why}");
    Finding::fail(CHECK, says, format!("etcdctl --endpoints {} endpoint health", endpoints(settings)))
}

fn judge(report: &mut Report, settings: &EtcdSettings, members: &[MemberStatus]) {
    let (wanted, found) = (settings.members.len(), members.len());
    let versions: BTreeSet<_> = members.iter().map(|member| member.version).collect();
    let versions: Vec<_> = versions.iter().map(ToString::to_string).collect();
    let says = format!("etcd {}, {found} of {wanted} members answer", versions.join(" and "));
    report.add(match found < wanted {
        true => {
            let see = format!("etcdctl --endpoints {} endpoint status -w table", endpoints(settings));
            Finding::warn(CHECK, says, see)
        }
        false => Finding::ok(CHECK, says),
    });
    let faults: BTreeSet<_> = members.iter().flat_map(|member| member.version.known_faults()).collect();
    if !faults.is_empty() {
        let faults: Vec<_> = faults.into_iter().collect();
        let says = format!("this version is known for: {}", faults.join("; "));
        report.add(Finding::warn(
            "etcd version",
            says,
            "# upgrade etcd to 3.6.9, 3.5.28 or later, a member at a time",
        ));
    }
    for member in members.iter().filter(|member| member.fullness() >= NEARLY_FULL) {
        let says = format!("{} has used {:.0} % of its quota", member.endpoint, member.fullness() * 100.0);
        let mend =
            format!("etcdctl --endpoints {} defrag  # or a larger --quota-backend-bytes", member.endpoint);
        report.add(Finding::warn("etcd quota", says, mend));
    }
}
