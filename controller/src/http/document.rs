//! The OpenAPI document, made of the routes and of the types that they answer with.

use std::sync::Arc;

use axum::Extension;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, OpenApi as Document};
use utoipa::{Modify, OpenApi};

use crate::server::Problem;

/// The document as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Text(pub(super) Arc<str>);

#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Ocelot",
        description = "Jobs, runs and logs of an Ocelot fleet.\n\nEvery call needs an API token. Field names \
                       are those of `ocelot --output json`; fields are only added, so a client must not \
                       mind one that it does not know. Moments are RFC 3339 in UTC to the microsecond. \
                       Errors are problem documents (RFC 9457) in the words of the command line.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Problem)),
    modifiers(&Bearer),
    security(("token" = []))
)]
struct Head;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API token: `ocelot token create`"))
            .build();
        document
            .components
            .get_or_insert_with(Components::new)
            .add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

pub(super) fn head() -> Document {
    Head::openapi()
}

/// Returns the whole document.
pub fn document() -> Document {
    super::described().into_openapi()
}

pub(super) fn written(document: &Document) -> String {
    let mut text = document.to_pretty_json().expect("a description has only text keys");
    text.push('\n');
    text
}

/// This document
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "document",
    responses(
        (status = 200, description = "The document", body = serde_json::Value),
        (status = "default", description = "Refused", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn openapi(Extension(Text(text)): Extension<Text>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text.to_string()).into_response()
}
