//! Pages of lists: how long one is, and where the next begins.
//!
//! A page token says only behind which entry the next page begins, so it never ages, and a list that
//! changes between two pages neither repeats nor skips what stays.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Error, Kind};

/// The longest page.
pub(crate) const MAX: u32 = 500;

/// Returns how many entries a page has.
pub(crate) fn size(asked: u32, usual: u32) -> Result<usize, Error> {
    match asked {
        0 => Ok(usual as usize),
        1..=MAX => Ok(asked as usize),
        _ => Err(invalid(format!("page_size is at most {MAX}, not {asked}"))),
    }
}

/// Returns the token of the page behind `last`; that of no page is empty.
pub(crate) fn token(last: Option<&str>) -> String {
    last.map(|last| URL_SAFE_NO_PAD.encode(last)).unwrap_or_default()
}

/// Returns the entry behind which a page begins; none for the first page.
pub(crate) fn after(token: &str) -> Result<Option<String>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.map(Some).ok_or_else(|| invalid("page_token is not one of ours"))
}

/// Returns the entry behind which a page begins, of a list whose entries have an id.
pub(crate) fn after_id<T: std::str::FromStr>(token: &str) -> Result<Option<T>, Error> {
    let Some(text) = after(token)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| invalid("page_token is not one of ours"))
}

fn invalid(why: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, why)
}
