//! The way to the controllers: whether each answers, what it shows, and what time it has.

use ocelot_proto::kit::clock::Clock;
use ocelot_proto::kit::doctor::moment::{self, UnixSeconds};
use ocelot_proto::kit::doctor::{Finding, Report, judge};
use ocelot_proto::kit::telemetry::chain;

use super::REGISTER;
use crate::app::{Registration, Settings, routes};
use crate::connection::{Looked, Route};

pub(super) async fn look(
    report: &mut Report,
    settings: &Settings,
    registration: &Registration,
    clock: &dyn Clock,
) {
    let routes = match routes(&settings.reach, registration) {
        Ok(routes) => routes,
        Err(error) => return report.add(Finding::fail("controller", chain(&error).to_string(), REGISTER)),
    };
    let pinned = settings.reach.ca.is_none() && registration.fingerprint.is_some();
    let mut seen = Vec::new();
    for route in &routes {
        let asked = clock.monotonic();
        match route.look().await {
            Err(error) => report.add(away(route, &error.to_string())),
            Ok(looked) => {
                let way = (clock.monotonic() - asked).as_secs();
                report.add(looked.answer.finding("controller", &place(route)));
                seen.push((place(route), looked, way));
            }
        }
    }
    // A clock is judged once: all that answer are one fleet.
    if let Some((address, looked, way)) = seen.first() {
        let now = seconds(clock);
        if let Some(there) = looked.answer.date {
            report.add(judge::clock(address, now, there, *way));
        }
        report.add(shown(address, looked, now, pinned));
    }
}

fn place(route: &Route) -> String {
    route.to_string().trim_end_matches('/').to_owned()
}

fn away(route: &Route, why: &str) -> Finding {
    let address = place(route);
    let says = format!("{address} is not reached: {why}");
    match why.contains("certificate") {
        true => Finding::fail("controller", says, "ocelot executor token  # with the new certificate; then")
            .or("ocelot-executor register INVITATION"),
        false => Finding::fail("controller", says, format!("curl -kv {address}/readyz")),
    }
}

/// One that is pinned counts by its fingerprint, whatever its dates say.
fn shown(address: &str, looked: &Looked, now: UnixSeconds, pinned: bool) -> Finding {
    let Some(certificate) = &looked.certificate else {
        return Finding::ok("certificate", format!("none: {address} is spoken to in plain text"));
    };
    if pinned {
        return Finding::ok("certificate", format!("that of {address} is the one that was registered with"));
    }
    let whose = format!("the certificate of {address}");
    let renew =
        "# renew the files that --certificate and --key of the controller name; it takes them up by itself";
    judge::certificate(&whose, moment::validity(certificate), now, renew)
}

fn seconds(clock: &dyn Clock) -> UnixSeconds {
    i64::try_from(clock.wall().0 / 1_000_000).unwrap_or(i64::MAX)
}
