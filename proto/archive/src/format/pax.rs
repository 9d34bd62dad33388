//! The records that say about an entry what its header has no room for.

/// What the records of one header tell; keys of no effect on where bytes go are passed over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) mtime: Option<u64>,
}

impl Pax {
    /// Reads `LENGTH KEY=VALUE\n` records, each key once.
    pub(crate) fn parse(mut records: &[u8]) -> Result<Self, &'static str> {
        let mut pax = Self::default();
        while !records.is_empty() {
            let (key, value, rest) = record(records).ok_or("an extended header is not well formed")?;
            records = rest;
            pax.take(key, value)?;
        }
        Ok(pax)
    }

    /// Whether a header for all entries would move bytes or names about.
    pub(crate) fn steers(&self) -> bool {
        self.path.is_some() || self.link.is_some() || self.size.is_some()
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let again = match key {
            b"path" => self.path.replace(text(value)?).is_some(),
            b"linkpath" => self.link.replace(text(value)?).is_some(),
            b"size" => self.size.replace(decimal(value).ok_or("a size is no number")?).is_some(),
            b"mtime" => {
                let seconds = value.split(|byte| *byte == b'.').next().unwrap_or_default();
                self.mtime.replace(decimal(seconds).unwrap_or_default()).is_some()
            }
            _ if key.starts_with(b"GNU.sparse.") => return Err("sparse files are not unpacked"),
            _ => false,
        };
        if again { Err("an extended header says a thing twice") } else { Ok(()) }
    }
}

fn record(records: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = records.iter().take(8).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&records[..space])?).ok()?;
    if length <= space + 1 || length > records.len() {
        return None;
    }
    let (record, rest) = records.split_at(length);
    let pair = record[space + 1..].strip_suffix(b"\n")?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    Some((&pair[..equals], &pair[equals + 1..], rest))
}

fn text(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    match value {
        [] => Err("an extended header takes a name away"),
        _ if value.contains(&0) => Err("a name has a NUL"),
        _ => Ok(value.to_vec()),
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}
