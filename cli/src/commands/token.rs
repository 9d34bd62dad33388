//! `ocelot token`: what people and scripts call with.

use ocelot_proto::wire;
use serde::Serialize;

use super::Session;
use crate::args::{Token, TokenCreate, TokenName, TokenRotate};
use crate::client::{Api, Repeat};
use crate::error::{Error, Result};
use crate::shape;
use crate::show::{Table, Tone, parse_duration, plain};

#[derive(Debug, Serialize)]
struct Tokens {
    tokens: Vec<shape::Token>,
}

#[derive(Debug, Serialize)]
struct Revoked<'a> {
    revoked: &'a str,
}

pub(crate) async fn run(token: &Token, session: &Session) -> Result<()> {
    match token {
        Token::Create(create) => self::create(create, session).await,
        Token::List => list(session).await,
        Token::Rotate(rotate) => self::rotate(rotate, session).await,
        Token::Revoke(revoke) => self::revoke(revoke, session).await,
    }
}

/// Understands how long something should be; nothing is 0.
pub(crate) fn milliseconds(text: Option<&str>) -> Result<u64> {
    let Some(text) = text else { return Ok(0) };
    let duration = parse_duration(text).and_then(|duration| u64::try_from(duration.as_millis()).ok());
    duration
        .ok_or_else(|| Error::usage(format!("{text:?} is no duration"), "say it like 15m, 12h, 30d or 1h30m"))
}

async fn create(create: &TokenCreate, session: &Session) -> Result<()> {
    let request = wire::CreateApiTokenRequest {
        name: create.name.clone(),
        r#for: create.owner.clone().unwrap_or_default(),
        expires_in_ms: milliseconds(create.expires.as_deref())?,
    };
    let call = async |api: Api, request| api.admin().create_api_token(request).await;
    let doing = format!("create the token {}", plain(&create.name));
    // Asked again, it would be there already and its value nowhere.
    let answer = session.client()?.call(&doing, Repeat::Never, request, call).await;
    let hint = format!("a new value for it: ocelot token rotate {}", plain(&create.name));
    let answer = answer.map_err(|error| error.with_hint(hint))?;
    shown(session, answer.token.unwrap_or_default(), answer.value)
}

async fn rotate(rotate: &TokenRotate, session: &Session) -> Result<()> {
    let overlap_ms = milliseconds(rotate.overlap.as_deref())?;
    let request = wire::RotateApiTokenRequest { name: rotate.name.clone(), overlap_ms };
    let call = async |api: Api, request| api.admin().rotate_api_token(request).await;
    let doing = format!("rotate the token {}", plain(&rotate.name));
    let answer = session.client()?.call(&doing, Repeat::Never, request, call).await;
    let answer = answer.map_err(|error| error.with_hint("see them: ocelot token list"))?;
    if let Some(overlap) = &rotate.overlap {
        session.output.note(format_args!("the old value goes on working for {overlap}"));
    }
    shown(session, answer.token.unwrap_or_default(), answer.value)
}

/// Shows a token's value, which nobody can show again.
fn shown(session: &Session, token: wire::ApiToken, value: String) -> Result<()> {
    if !session.output.is_json() {
        session.output.note("the token, shown this once; keep it as OCELOT_TOKEN or with ocelot config add:");
    }
    let shape = shape::Token { value: Some(value.clone()), ..shape::Token::from(&token) };
    session.output.result(format_args!("{}\n", plain(&value)), &shape)
}

async fn list(session: &Session) -> Result<()> {
    let client = session.client()?;
    let mut request = wire::ListApiTokensRequest { page_size: 500, page_token: String::new() };
    let mut tokens = Vec::new();
    loop {
        let call = async |api: Api, request| api.admin().list_api_tokens(request).await;
        let page = client.call("list tokens", Repeat::Safe, request.clone(), call).await?;
        tokens.extend(page.tokens);
        if page.next_page_token.is_empty() || page.next_page_token == request.page_token {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let output = &session.output;
    let head = ["TOKEN", "FOR", "BEGINS WITH", "CREATED", "EXPIRES", "LAST USED"];
    let mut table = Table::new(head, output.style, output.width);
    for token in &tokens {
        let expired = token.expires_unix_us > 0 && token.expires_unix_us <= output.times.now_us;
        let expires = match token.expires_unix_us {
            0 => (Tone::Dim, "never".to_owned()),
            moment => (if expired { Tone::Bad } else { Tone::Plain }, output.times.ago(moment)),
        };
        let used = match token.last_used_unix_us {
            0 => (Tone::Dim, "never".to_owned()),
            moment => (Tone::Plain, output.times.ago(moment)),
        };
        table.row([
            (Tone::Strong, token.name.clone()),
            (Tone::Plain, token.r#for.clone()),
            (Tone::Dim, token.prefix.clone()),
            (Tone::Plain, output.times.ago(token.created_unix_us)),
            expires,
            used,
        ]);
    }
    output.result(table, &Tokens { tokens: tokens.iter().map(shape::Token::from).collect() })
}

async fn revoke(revoke: &TokenName, session: &Session) -> Result<()> {
    let name = &revoke.name;
    let request = wire::RevokeApiTokenRequest { name: name.clone() };
    let call = async |api: Api, request| api.admin().revoke_api_token(request).await;
    let doing = format!("revoke the token {}", plain(name));
    let answer = session.client()?.call(&doing, Repeat::Never, request, call).await;
    answer.map_err(|error| error.with_hint("see them: ocelot token list"))?;
    session.output.result(format_args!("revoked {}\n", plain(name)), &Revoked { revoked: name })
}
