//! Texts, ids and lists of a payload, each with a bound, as the parsers read them.
//!
//! A text that people read is cut; a text that names something (a ref, a commit) is refused when
//! too long, because a cut name is another name. What was cut away was never kept.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize as Derive;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use sha2::{Digest, Sha256};

/// The longest start of a text that fits into so many bytes and ends at a character.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// The start of a text in so many characters, with an ellipsis where something is missing.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads 32 bytes of lower-case hex; no forge sends another form.
pub(crate) fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let half = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = half(pair[0])? << 4 | half(pair[1])?;
    }
    Some(bytes)
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A text for people, cut to its bound.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut<const MAX: usize>(pub(crate) String);

/// A name: whole, at least one byte, at most its bound, or the payload is refused.
#[derive(Debug, Clone)]
pub(crate) struct Name<const MAX: usize>(pub(crate) String);

struct CutVisitor<const MAX: usize>;
struct NameVisitor<const MAX: usize>;

impl<const MAX: usize> Visitor<'_> for CutVisitor<MAX> {
    type Value = Cut<MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cut<MAX>, E> {
        Ok(Cut(cut(text, MAX).to_owned()))
    }
}

impl<const MAX: usize> Visitor<'_> for NameVisitor<MAX> {
    type Value = Name<MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name of 1 to {MAX} bytes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Name<MAX>, E> {
        match (1..=MAX).contains(&text.len()) {
            true => Ok(Name(text.to_owned())),
            false => Err(E::invalid_length(text.len(), &self)),
        }
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Cut<MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(CutVisitor)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Name<MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(NameVisitor)
    }
}

/// A list of which the first `MAX` are kept and all are counted; `null` is the empty list.
#[derive(Debug, Clone)]
pub(crate) struct Bounded<T, const MAX: usize> {
    pub(crate) kept: Vec<T>,
    pub(crate) total: u64,
}

impl<T, const MAX: usize> Default for Bounded<T, MAX> {
    fn default() -> Self {
        Self { kept: Vec::new(), total: 0 }
    }
}

struct BoundedVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for BoundedVisitor<T, MAX> {
    type Value = Bounded<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Bounded::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < MAX {
            match list.next_element()? {
                Some(element) => kept.push(element),
                None => return Ok(Bounded { total: kept.len() as u64, kept }),
            }
        }
        let mut total = kept.len() as u64;
        while list.next_element::<IgnoredAny>()?.is_some() {
            total += 1;
        }
        Ok(Bounded { kept, total })
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(BoundedVisitor(PhantomData))
    }
}

/// An id as a positive whole number, or nothing: whatever else stands there is no id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NumberId(pub(crate) Option<u64>);

/// An id as a UUID in braces, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UuidId(pub(crate) Option<String>);

/// What stands where an id is expected.
enum Found<'a> {
    Number(u64),
    Text(&'a str),
    Other,
}

struct IdVisitor<T>(fn(Found<'_>) -> T);

impl<'de, T> Visitor<'de> for IdVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
        Ok(self.0(Found::Other))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Ok(self.0(Found::Number(number)))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
        Ok(self.0(Found::Other))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
        Ok(self.0(Found::Other))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(self.0(Found::Text(text)))
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(self.0(Found::Other))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<T, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.0(Found::Other))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(self.0(Found::Other))
    }
}

impl<'de> Deserialize<'de> for NumberId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(IdVisitor(|found| match found {
            Found::Number(number) => Self(Some(number).filter(|number| *number > 0)),
            Found::Text(_) | Found::Other => Self(None),
        }))
    }
}

impl<'de> Deserialize<'de> for UuidId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(IdVisitor(|found| match found {
            Found::Text(text) => Self(uuid(text)),
            Found::Number(_) | Found::Other => Self(None),
        }))
    }
}

/// A UUID without its braces, in lower case.
pub(crate) fn uuid(text: &str) -> Option<String> {
    let bare = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
    let right = bare.len() == 36
        && bare.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    right.then(|| bare.to_ascii_lowercase())
}

/// `{ "href": .. }`
#[derive(Debug, Clone, Derive)]
pub(crate) struct Href {
    pub(crate) href: Cut<2048>,
}
