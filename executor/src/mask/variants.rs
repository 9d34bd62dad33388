//! The spellings under which a secret appears in output: what S21 of the promises lists, and no more
//! than a program writes by itself. Reversed or encrypted output is no spelling.
//!
//! A change of this list changes what a log holds, so it is a new number of [`RULES`], and an attempt
//! that began under an older number is continued under it.

use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// The number of this list.
pub(super) const RULES: u32 = 1;
/// A shorter part of a secret would hide ordinary words everywhere.
const PART_BYTES_MIN: usize = 6;
/// Where tools break base64 into lines: PEM writers, and the rest.
const BASE64_LINES: [usize; 2] = [64, 76];

pub(super) type Pattern = Zeroizing<Vec<u8>>;

/// Returns every pattern that stands for `value`; some may be equal.
pub(super) fn variants(value: &[u8]) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    let trimmed = value.trim_ascii();
    spellings(value, &mut patterns);
    if trimmed.len() != value.len() {
        spellings(trimmed, &mut patterns);
    }
    let mut lines = value.split(|byte| *byte == b'\n' || *byte == b'\r').peekable();
    let first = lines.next();
    if lines.peek().is_some() {
        for line in first.into_iter().chain(lines) {
            patterns.push(Zeroizing::new(line.to_vec()));
            patterns.push(Zeroizing::new(line.trim_ascii().to_vec()));
        }
    }
    patterns.retain(|pattern| pattern.len() >= PART_BYTES_MIN);
    patterns
}

fn spellings(value: &[u8], patterns: &mut Vec<Pattern>) {
    let mut add = |bytes: Vec<u8>| patterns.push(Zeroizing::new(bytes));
    add(value.to_vec());
    for style in [Json::Plain, Json::Slash, Json::Html, Json::Ascii] {
        add(json(value, style));
    }
    for spelling in shell(value) {
        add(spelling);
    }
    for spelling in percent(value) {
        add(spelling);
    }
    add(hex(value, b"0123456789abcdef"));
    add(hex(value, b"0123456789ABCDEF"));
    for once in base64_pieces(value) {
        for twice in base64_pieces(&once) {
            patterns.push(twice);
        }
        patterns.push(once);
    }
    patterns.extend(base64_lines(value).into_iter().map(Zeroizing::new));
}

/// How writers of JSON differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Json {
    /// Only what must be escaped.
    Plain,
    /// `\/` too.
    Slash,
    /// `<`, `>` and `&` too.
    Html,
    /// Everything beyond ASCII too.
    Ascii,
}

fn json(value: &[u8], style: Json) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        for letter in chunk.valid().chars() {
            json_letter(letter, style, &mut out);
        }
        out.extend_from_slice(chunk.invalid());
    }
    out
}

fn json_letter(letter: char, style: Json, out: &mut Vec<u8>) {
    let mut utf16 = [0; 2];
    let escaped = match letter {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\u{8}' => "\\b".to_owned(),
        '\u{c}' => "\\f".to_owned(),
        '/' if style == Json::Slash => "\\/".to_owned(),
        '<' | '>' | '&' if style == Json::Html => format!("\\u{:04x}", letter as u32),
        letter if letter < ' ' => format!("\\u{:04x}", letter as u32),
        letter if style == Json::Ascii && !letter.is_ascii() => {
            letter.encode_utf16(&mut utf16).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        }
        letter => letter.to_string(),
    };
    out.extend_from_slice(escaped.as_bytes());
}

/// Single quotes as sh and as Python close them, double quotes, backslashes, and `$'..'`.
fn shell(value: &[u8]) -> [Vec<u8>; 5] {
    let escape = |spelling: &dyn Fn(u8) -> Option<&'static [u8]>, backslash: &dyn Fn(u8) -> bool| {
        let mut out = Vec::with_capacity(value.len());
        for byte in value {
            match spelling(*byte) {
                Some(other) => out.extend_from_slice(other),
                None if backslash(*byte) => out.extend_from_slice(&[b'\\', *byte]),
                None => out.push(*byte),
            }
        }
        out
    };
    let never = |_: u8| false;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte) || !byte.is_ascii();
    [
        escape(&|byte| (byte == b'\'').then_some(b"'\\''".as_slice()), &never),
        escape(&|byte| (byte == b'\'').then_some(b"'\"'\"'".as_slice()), &never),
        escape(&|_| None, &|byte| b"\"$`\\".contains(&byte)),
        escape(&|_| None, &|byte| !plain(byte)),
        escape(&ansi_c, &|byte| b"\\'".contains(&byte)),
    ]
}

fn ansi_c(byte: u8) -> Option<&'static [u8]> {
    match byte {
        b'\n' => Some(b"\\n"),
        b'\r' => Some(b"\\r"),
        b'\t' => Some(b"\\t"),
        _ => None,
    }
}

/// As addresses spell it: strict, as browsers do, as forms do; each with both cases of hex.
fn percent(value: &[u8]) -> [Vec<u8>; 6] {
    let strict = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let browser = |byte: u8| strict(byte) || b"!*'()".contains(&byte);
    let form = |byte: u8| byte.is_ascii_alphanumeric() || b"*-._ ".contains(&byte);
    let spell = |keep: &dyn Fn(u8) -> bool, digits: &[u8; 16]| {
        let mut out = Vec::with_capacity(value.len());
        for byte in value {
            match byte {
                b' ' if keep(b' ') => out.push(b'+'),
                byte if keep(*byte) => out.push(*byte),
                byte => out.extend_from_slice(&[
                    b'%',
                    digits[usize::from(byte >> 4)],
                    digits[usize::from(byte & 15)],
                ]),
            }
        }
        out
    };
    let (lower, upper) = (b"0123456789abcdef", b"0123456789ABCDEF");
    [
        spell(&strict, upper),
        spell(&strict, lower),
        spell(&browser, upper),
        spell(&browser, lower),
        spell(&form, upper),
        spell(&form, lower),
    ]
}

fn hex(value: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    value.iter().flat_map(|byte| [digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]).collect()
}

/// Returns the letters that stand for `value` in base64 whatever is around it, for each of the three
/// ways it can lie on groups of three bytes; and the same where the encoded text ends with it.
fn base64_pieces(value: &[u8]) -> Vec<Pattern> {
    let mut pieces = Vec::new();
    for alphabet in [STANDARD, URL_SAFE] {
        for shift in 0..3 {
            let text = base64(&alphabet, shift, value);
            // A letter that also carries bits of the byte before is not the secret's alone.
            let from = (shift * 8).div_ceil(6);
            let whole = (shift + value.len()) * 8 / 6;
            let unpadded = text.iter().position(|letter| *letter == b'=').unwrap_or(text.len());
            for to in [whole, unpadded, text.len()] {
                pieces.push(Zeroizing::new(text[from..to].to_vec()));
            }
        }
    }
    pieces.sort_unstable_by(|one, other| one.as_slice().cmp(other));
    pieces.dedup();
    pieces
}

/// Returns the lines of `value` in base64 when a tool breaks them.
fn base64_lines(value: &[u8]) -> Vec<Vec<u8>> {
    let text = base64(&STANDARD, 0, value);
    let broken = BASE64_LINES.iter().filter(|width| text.len() > **width);
    broken.flat_map(|width| text.chunks(*width)).map(<[u8]>::to_vec).collect()
}

fn base64(alphabet: &Alphabet, shift: usize, value: &[u8]) -> Pattern {
    let shifted = Zeroizing::new([&[0; 2][..shift], value].concat());
    let engine = GeneralPurpose::new(alphabet, GeneralPurposeConfig::new());
    Zeroizing::new(engine.encode(shifted.as_slice()).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(value: &[u8], spelling: &[u8]) -> bool {
        variants(value).iter().any(|pattern| pattern.as_slice() == spelling)
    }

    #[test]
    fn every_listed_spelling_is_a_pattern() {
        let value = b" p\"a's/w<\xc3\xbc\n ";
        for spelling in [
            b" p\"a's/w<\xc3\xbc\n ".as_slice(),
            b"p\"a's/w<\xc3\xbc",
            b" p\"a's/w<\xc3\xbc",
            b"p\\\"a's/w<\xc3\xbc",
            b"p\\\"a's\\/w<\xc3\xbc",
            b"p\\\"a's/w\\u003c\xc3\xbc",
            b"p\\\"a's/w<\\u00fc",
            b"p\"a'\\''s/w<\xc3\xbc",
            b"p\"a'\"'\"'s/w<\xc3\xbc",
            b"p\\\"a's/w<\xc3\xbc",
            b"p\\\"a\\'s/w\\<\xc3\xbc",
            b"p\"a\\'s/w<\xc3\xbc",
            b"p%22a%27s%2Fw%3C%C3%BC",
            b"p%22a%27s%2fw%3c%c3%bc",
            b"p%22a's%2Fw%3C%C3%BC",
            b"+p%22a%27s%2Fw%3C%C3%BC%0A+",
            b"702261277",
        ] {
            let text = String::from_utf8_lossy(spelling);
            let found = has(value, spelling)
                || variants(value)
                    .iter()
                    .any(|pattern| spelling == b"702261277" && pattern.starts_with(spelling));
            assert!(found, "{text} is not among the patterns");
        }
    }

    #[test]
    fn base64_of_any_surroundings_holds_a_pattern() {
        let value = b"hunter22-hunter";
        let patterns = variants(value);
        for alphabet in [STANDARD, URL_SAFE] {
            for before in 0..7 {
                for after in 0..7 {
                    let whole = [
                        &b"\xff\xfe\xfa\xf0\xff\xfb\xff"[..before],
                        value,
                        &b"\xff\xff\xfe\xfb\xff\xff\xfa"[..after],
                    ]
                    .concat();
                    let text = base64(&alphabet, 0, &whole);
                    let held = |pattern: &Pattern| {
                        text.windows(pattern.len()).any(|window| window == pattern.as_slice())
                    };
                    assert!(patterns.iter().any(held), "{before} before, {after} after");
                    let twice = base64(&alphabet, 0, &text);
                    let held = |pattern: &Pattern| {
                        twice.windows(pattern.len()).any(|window| window == pattern.as_slice())
                    };
                    assert!(patterns.iter().any(held), "twice: {before} before, {after} after");
                }
            }
        }
    }

    #[test]
    fn lines_of_six_bytes_count_and_shorter_ones_do_not() {
        let value = b"-----BEGIN KEY-----\r\nabcdef\nabcde\n  indented: token\n";
        assert!(has(value, b"abcdef"));
        assert!(has(value, b"-----BEGIN KEY-----"));
        assert!(has(value, b"indented: token"));
        assert!(!has(value, b"abcde"));
        assert!(variants(value).iter().all(|pattern| pattern.len() >= PART_BYTES_MIN));
    }

    #[test]
    fn base64_broken_into_lines_is_known_line_by_line() {
        let value = [b'k'; 100];
        let text = base64(&STANDARD, 0, &value);
        assert!(has(&value, &text[..76]));
        assert!(has(&value, &text[76..]));
        assert!(has(&value, &text[64..128]));
    }
}
