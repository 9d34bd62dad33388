//! What one pass took away, in words and in numbers.

use std::collections::BTreeMap;
use std::fmt;

use ocelot_proto::kit::words::bytes as size;

use super::plan::Kind;

/// What one pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many of each kind, and how many bytes they took.
    pub freed: BTreeMap<Kind, (u64, u64)>,
    /// What was to go and stays, and why.
    pub stays: Vec<String>,
    /// On the disk of the data directory, afterwards.
    pub free_bytes: Option<u64>,
    /// On the engine's, if that is another one.
    pub engine_free_bytes: Option<u64>,
    /// What all of ours takes afterwards.
    pub ours_bytes: u64,
    /// A disk has still less room than its high mark asks for.
    pub short: bool,
}

impl Report {
    pub(super) fn gone(&mut self, kind: Kind, bytes: u64) {
        let (count, sum) = self.freed.entry(kind).or_default();
        *count += 1;
        *sum = sum.saturating_add(bytes);
    }

    pub fn count(&self, kind: Kind) -> u64 {
        self.freed.get(&kind).map_or(0, |(count, _)| *count)
    }

    pub fn freed_bytes(&self) -> u64 {
        self.freed.values().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// Writes one event of it, with a number for everything that is counted.
    pub(super) fn tell(&self) {
        let (free, engine) = (self.free_bytes, self.engine_free_bytes);
        let (images, mirrors) = (self.count(Kind::Image), self.count(Kind::Mirror));
        let (containers, networks) = (self.count(Kind::Container), self.count(Kind::Network));
        let leftovers = self.count(Kind::Leftover);
        let freed = self.freed_bytes();
        for why in &self.stays {
            tracing::warn!("{why}");
        }
        if self.freed.is_empty() && self.short {
            tracing::warn!(
                free_bytes = free,
                engine_free_bytes = engine,
                ours_bytes = self.ours_bytes,
                "{self}"
            );
        } else if !self.freed.is_empty() {
            tracing::info!(
                images,
                mirrors,
                containers,
                networks,
                leftovers,
                freed_bytes = freed,
                free_bytes = free,
                engine_free_bytes = engine,
                ours_bytes = self.ours_bytes,
                "{self}"
            );
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |(kind, (count, bytes)): (&Kind, &(u64, u64))| {
            let one = match kind {
                Kind::Leftover => "left-over directory",
                Kind::Container => "container",
                Kind::Network => "network",
                Kind::Mirror => "mirror",
                Kind::Image => "image",
            };
            let took = if *bytes > 0 { format!(" {}", size(*bytes)) } else { String::new() };
            match (*count, one.strip_suffix('y')) {
                (1, _) => format!("1 {one}{took}"),
                (count, Some(stem)) => format!("{count} {stem}ies{took}"),
                (count, None) => format!("{count} {one}s{took}"),
            }
        };
        // What takes most stands first.
        let mut freed: Vec<_> = self.freed.iter().collect();
        freed.sort_by_key(|(_, (_, bytes))| std::cmp::Reverse(*bytes));
        let freed: Vec<_> = freed.into_iter().map(words).collect();
        match freed.is_empty() {
            true if self.short => f.write_str("the disk is short, and nothing of ours could go")?,
            true => f.write_str("nothing had to go")?,
            false => write!(f, "freed {}", freed.join(", "))?,
        }
        if let Some(free) = self.free_bytes {
            write!(f, "; {} free", size(free))?;
        }
        if let Some(free) = self.engine_free_bytes {
            write!(f, ", {} on the engine's disk", size(free))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_went_and_what_is_free() {
        let mut report = Report { free_bytes: Some(14 << 30), ..Report::default() };
        assert_eq!(report.to_string(), "nothing had to go; 14 GiB free");
        for bytes in [1 << 29, 1 << 29, 200 << 20] {
            report.gone(Kind::Image, bytes);
        }
        report.gone(Kind::Mirror, 300 << 20);
        report.gone(Kind::Mirror, 0);
        report.gone(Kind::Network, 0);
        report.gone(Kind::Leftover, 2048);
        report.gone(Kind::Leftover, 2048);
        assert_eq!(
            report.to_string(),
            "freed 3 images 1.2 GiB, 2 mirrors 300 MiB, 2 left-over directories 4 KiB, 1 network; 14 GiB free"
        );
        let short = Report { short: true, free_bytes: Some(3 << 20), ..Report::default() };
        assert_eq!(short.to_string(), "the disk is short, and nothing of ours could go; 3 MiB free");
    }
}
