//! The account that git runs as, where the executor is root.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ocelot_git::{Account, Setup};

const PASSWD: &str = "/etc/passwd";
/// In this order; ssh must find the account by its number, so it has to be a known one.
const NAMES: [&str; 2] = ["ocelot-git", "nobody"];
/// Everybody may pass, nobody may look.
const PASS: u32 = 0o011;

/// Returns the account, if this process may change to another one and that one gets to the data.
pub(super) fn own(data: &Path) -> Option<Account> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let account = find(&fs::read_to_string(PASSWD).unwrap_or_default());
    let closed = data.ancestors().skip(1).find(|folder| !is_open(folder));
    match (account, closed) {
        (None, _) => {
            tracing::warn!("git runs as root: this machine has no account {}", NAMES.join(" or "));
            None
        }
        (Some(_), Some(closed)) => {
            let closed = closed.display();
            tracing::warn!("git runs as root: no other account gets through {closed} to its mirrors");
            None
        }
        (Some(account), None) => Some(account),
    }
}

fn find(passwd: &str) -> Option<Account> {
    NAMES.iter().find_map(|name| {
        let mut fields =
            passwd.lines().find_map(|line| line.strip_prefix(*name)?.strip_prefix(':'))?.split(':');
        let (_password, uid, gid) = (fields.next()?, fields.next()?, fields.next()?);
        let account = Account { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
        (account.uid != 0).then_some(account)
    })
}

fn is_open(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
}

/// Lets git's account pass through our own folders, from `from` down to `to`. What is in them stays
/// closed by itself. Blocks.
pub(super) fn open_way(setup: &Setup, from: &Path, to: &Path) -> io::Result<()> {
    if setup.account.is_none() {
        return Ok(());
    }
    for folder in to.ancestors().take_while(|folder| folder.starts_with(from)) {
        let mode = fs::metadata(folder)?.permissions().mode();
        if mode & PASS != PASS {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode & 0o7777 | PASS))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_runs_as_an_account_of_the_machine_that_is_not_root() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\n";
        assert_eq!(find(passwd), Some(Account { uid: 65534, gid: 65533 }));
        let own = format!("{passwd}ocelot-git:x:990:991::/:/bin/false\n");
        assert_eq!(find(&own), Some(Account { uid: 990, gid: 991 }));
        assert_eq!(find("nobody:x:0:0::/:/bin/false\n"), None);
        assert_eq!(find("nobodyelse:x:5:5::/:/bin/false\n"), None);
        assert_eq!(find(""), None);
    }
}
