//! Users and groups of the image, read from its own `/etc/passwd` and `/etc/group`.
//!
//! The rules are the engine's: a name must be known; a number need not be, and then its group is 0.
//! Nothing else of the image (no library, no name service) is asked.

use rustix::process::{Gid, Uid};

use crate::sys::Identity;

/// The image's two files, as text.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    pub(crate) passwd: String,
    pub(crate) group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnknownAccount {
    #[error("the image has no user {0:?}")]
    User(String),
    #[error("the image has no group {0:?}")]
    Group(String),
}

/// Somebody to run as.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) identity: Identity,
    pub(crate) home: Option<String>,
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Returns the user and group that a stage's user means in an image with these files.
pub fn ids(user: &str, passwd: String, group: String) -> Result<(u32, u32), String> {
    let account = Accounts { passwd, group }.resolve(user).map_err(|unknown| unknown.to_string())?;
    Ok((account.identity.uid.as_raw(), account.identity.gid.as_raw()))
}

impl Accounts {
    pub(crate) fn read() -> Self {
        let read = |path| std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Self {
            passwd: read("/etc/passwd").unwrap_or_default(),
            group: read("/etc/group").unwrap_or_default(),
        }
    }

    /// Finds what `name`, `uid`, `name:group` or `uid:gid` means.
    pub(crate) fn resolve(&self, text: &str) -> Result<Account, UnknownAccount> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let known = self.users().find(|known| known.name == user);
        // A number is a name first, as for the engine, and then the first entry that has it.
        // The highest number means "nobody is meant" to the kernel.
        let number = user.parse().ok().filter(|number| *number != u32::MAX);
        let known = known.or_else(|| self.users().find(|known| Some(known.uid) == number));
        let uid = known.as_ref().map(|known| known.uid).or(number);
        let uid = uid.ok_or_else(|| UnknownAccount::User(user.to_owned()))?;
        let (gid, groups) = match group {
            Some(group) => {
                let gid = self.gid(group).ok_or_else(|| UnknownAccount::Group(group.to_owned()))?;
                (gid, vec![gid])
            }
            None => {
                let gid = known.as_ref().map_or(0, |known| known.gid);
                (gid, self.groups_of(known.as_ref(), gid))
            }
        };
        let home = known.map(|known| known.home.to_owned()).filter(|home| !home.is_empty());
        let groups = groups.into_iter().map(Gid::from_raw).collect();
        let identity = Identity { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid), groups };
        Ok(Account { identity, home })
    }

    /// Returns the home of the user with this number.
    pub(crate) fn home_of(&self, uid: u32) -> Option<String> {
        self.users().find(|user| user.uid == uid).map(|user| user.home.to_owned())
    }

    fn gid(&self, text: &str) -> Option<u32> {
        let named = self.groups().find(|group| group.name == text).map(|group| group.gid);
        named.or_else(|| text.parse().ok().filter(|number| *number != u32::MAX))
    }

    fn groups_of(&self, user: Option<&User<'_>>, gid: u32) -> Vec<u32> {
        let mut groups = vec![gid];
        if let Some(user) = user {
            let member = |group: &Group<'_>| group.members.split(',').any(|name| name == user.name);
            groups.extend(self.groups().filter(member).map(|group| group.gid));
        }
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    fn users(&self) -> impl Iterator<Item = User<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _password) = (fields.next()?, fields.next()?);
            let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            let (_comment, home) = (fields.next(), fields.next().unwrap_or_default());
            Some(User { name, uid, gid, home })
        })
    }

    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _password) = (fields.next()?, fields.next()?);
            Some(Group {
                name,
                gid: fields.next()?.parse().ok()?,
                members: fields.next().unwrap_or_default(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root-home:/bin/sh\nbroken\nnode:x:1000:1001::/srv/node:/bin/sh\n\
                     5:x:77:78::/five:\nlast:x:9:9"
                .to_owned(),
            group: "root:x:0:\nnode:x:1001:\ndocker:x:999:node,other\ncut:x\n".to_owned(),
        }
    }

    fn resolved(text: &str) -> Result<(u32, u32, Vec<u32>, Option<String>), UnknownAccount> {
        let account = accounts().resolve(text)?;
        let Identity { uid, gid, groups } = account.identity;
        let groups = groups.into_iter().map(Gid::as_raw).collect();
        Ok((uid.as_raw(), gid.as_raw(), groups, account.home))
    }

    #[test]
    fn an_account_is_found_by_name_or_number_with_its_groups() {
        let node = (1000, 1001, vec![999, 1001], Some("/srv/node".to_owned()));
        assert_eq!(resolved("node"), Ok(node.clone()));
        assert_eq!(resolved("1000"), Ok(node));
        assert_eq!(resolved("node:docker"), Ok((1000, 999, vec![999], Some("/srv/node".to_owned()))));
        assert_eq!(resolved("4242"), Ok((4242, 0, vec![0], None)));
        assert_eq!(resolved("4242:4343"), Ok((4242, 4343, vec![4343], None)));
        assert_eq!(resolved("5"), Ok((77, 78, vec![78], Some("/five".to_owned()))));
        assert_eq!(resolved("last"), Ok((9, 9, vec![9], None)));
    }

    #[test]
    fn what_the_image_does_not_know_is_named() {
        assert_eq!(resolved("nobody"), Err(UnknownAccount::User("nobody".to_owned())));
        assert_eq!(resolved("-1"), Err(UnknownAccount::User("-1".to_owned())));
        assert_eq!(resolved("node:staff"), Err(UnknownAccount::Group("staff".to_owned())));
        assert_eq!(Accounts::default().resolve("0").unwrap().identity.uid, Uid::ROOT);
    }
}
