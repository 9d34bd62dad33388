//! Looks for values in bytes: as they are, in hexadecimal digits, and in base64 wherever they begin.
//!
//! Every canary of a trial holds the same random mark, and the mark is what is looked for: so a part of a
//! value is found as well as the whole, and a spelling that changes other letters hides nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// How much is shown around what was found.
const SHOWN: usize = 40;

/// One thing that is looked for.
#[derive(Debug, Clone)]
struct Needle {
    what: String,
    bytes: Vec<u8>,
}

/// What is looked for, by its first two bytes.
#[derive(Debug)]
pub struct Search {
    needles: Vec<Needle>,
    begins: Vec<bool>,
}

impl Search {
    /// Looks for these texts in every spelling.
    pub fn of(texts: &[(String, String)]) -> Self {
        let mut needles = Vec::new();
        for (what, text) in texts {
            // Digits without a letter among them are the same in capitals.
            let mut add = |how: &str, bytes: Vec<u8>| {
                if needles.iter().all(|known: &Needle| known.bytes != bytes) {
                    needles.push(Needle { what: format!("{what} {how}"), bytes });
                }
            };
            add("as it is", text.clone().into_bytes());
            add("in hexadecimal digits", hex(text, b"0123456789abcdef"));
            add("in hexadecimal capitals", hex(text, b"0123456789ABCDEF"));
            for before in 0..3 {
                add("in base64", base64_within(text.as_bytes(), before));
            }
        }
        let mut begins = vec![false; 1 << 16];
        for needle in &needles {
            begins[begin(&needle.bytes)] = true;
        }
        Self { needles, begins }
    }

    /// Returns each of what is found, with what is around it.
    pub fn of_bytes(&self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for at in 0..bytes.len().saturating_sub(1) {
            let rest = &bytes[at..];
            if !self.begins[begin(rest)] {
                continue;
            }
            let here = self.needles.iter().filter(|needle| rest.starts_with(&needle.bytes));
            for needle in here {
                let from = at.saturating_sub(SHOWN);
                let to = (at + needle.bytes.len() + SHOWN).min(bytes.len());
                let around = String::from_utf8_lossy(&bytes[from..to]).escape_debug().to_string();
                found.push(format!("{} at {at}: {around}", needle.what));
            }
        }
        found
    }

    /// Looks through a folder, links not followed, but what `leave` says. Returns also how many bytes
    /// were looked through.
    pub fn of_folder(
        &self,
        folder: &Path,
        leave: &dyn Fn(&Path) -> bool,
    ) -> Result<(Vec<(PathBuf, String)>, u64)> {
        let (mut found, mut looked) = (Vec::new(), 0);
        let mut ahead = vec![folder.to_owned()];
        while let Some(path) = ahead.pop() {
            let name = path.to_string_lossy().into_owned();
            found.extend(self.of_bytes(name.as_bytes()).into_iter().map(|found| (path.clone(), found)));
            let Ok(told) = fs::symlink_metadata(&path) else { continue };
            if told.is_dir() {
                // A folder that goes meanwhile holds nothing.
                ahead.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
            } else if told.is_file() && !leave(&path) {
                let bytes = match fs::read(&path) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    read => read.with_context(|| name)?,
                };
                looked += bytes.len() as u64;
                found.extend(self.of_bytes(&bytes).into_iter().map(|found| (path.clone(), found)));
            }
        }
        Ok((found, looked))
    }
}

fn begin(bytes: &[u8]) -> usize {
    (usize::from(bytes[0]) << 8) | usize::from(bytes[1])
}

pub fn hex(text: &str, digits: &[u8; 16]) -> Vec<u8> {
    text.bytes().flat_map(|byte| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]).collect()
}

/// Returns the letters of base64 that only the text decides, where so many bytes are before it.
fn base64_within(text: &[u8], before: usize) -> Vec<u8> {
    let padded = [&vec![0; before][..], text].concat();
    let whole = base64(&padded);
    let from = (before * 8).div_ceil(6);
    let to = padded.len() * 8 / 6;
    whole[from..to].to_vec()
}

pub fn base64(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in bytes.chunks(3) {
        let word = piece.iter().fold(0_usize, |word, byte| (word << 8) | usize::from(*byte));
        let word = word << (8 * (3 - piece.len()));
        let letters = [18, 12, 6, 0].map(|shift| BASE64[(word >> shift) & 63]);
        out.extend_from_slice(&letters[..=piece.len()]);
        out.resize(out.len().next_multiple_of(4), b'=');
    }
    out
}

/// Each spelling of a planted value is found, at each place, and nothing else is.
pub fn finds_each_spelling() -> Result<()> {
    ensure!(base64(b"any carnal pleas") == b"YW55IGNhcm5hbCBwbGVhcw==", "base64 is another");
    let search = Search::of(&[("a canary".to_owned(), "mQ7xW2pL9vK4".to_owned())]);
    ensure!(search.of_bytes(b"mQ7xW2pL9vK mQ7xW2pL9v").is_empty(), "it finds what is not there");
    ensure!(
        search.of_bytes(b"").is_empty() && search.of_bytes(b"m").is_empty(),
        "it finds what is not there"
    );
    // The second is the same in both kinds of hexadecimal digits.
    ["mQ7xW2pL9vK4", "ABCDEFGHPQRS"].into_iter().try_for_each(finds_each_once)
}

fn finds_each_once(mark: &str) -> Result<()> {
    let search = Search::of(&[("a canary".to_owned(), mark.to_owned())]);
    for before in 0..7 {
        let value = format!("{}{mark}-rest", "x".repeat(before));
        let spellings = [
            value.clone().into_bytes(),
            hex(&value, b"0123456789abcdef"),
            hex(&value, b"0123456789ABCDEF"),
            base64(value.as_bytes()),
            format!("%2F{value}%2B").into_bytes(),
        ];
        for spelling in spellings {
            let around = [b"words before ".as_slice(), &spelling, b" and behind"].concat();
            ensure!(search.of_bytes(&around).len() == 1, "{:?}", String::from_utf8_lossy(&around));
        }
    }
    Ok(())
}
