use std::collections::BTreeMap;

use ::bytes::Bytes;
use axum::http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HeaderMap;
use hyper_util::rt::TokioIo;
use ocelot_core::frame::{Body, Exit, Frame, encode};
use serde_json::{Value, json};

use super::*;
use crate::auth::NewApiToken;
use crate::service::logs::{Claim, Digest, LogId, Sent};
use crate::store::RangeRequest;
use crate::store::keys::Folder;

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// What a refusal says, without the id that no two share.
    fn refusal(&self) -> (u16, String, String) {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let json = self.json();
        assert_eq!(json["status"], self.status.as_u16());
        let text = |name: &str| json[name].as_str().unwrap().to_owned();
        (self.status.as_u16(), text("code"), text("detail"))
    }
}

/// One request of a test.
struct Call<'a> {
    method: &'a str,
    path: &'a str,
    token: Option<&'a str>,
    headers: &'a [(&'a str, &'a str)],
    body: Vec<u8>,
}

async fn open(bench: &Bench, call: Call<'_>) -> hyper::Response<Incoming> {
    let stream = tokio::net::TcpStream::connect(bench.started.address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    bench._shutdown.tasks().spawn("client", async move { drop(connection.await) });
    let mut request = hyper::Request::builder().method(call.method).uri(call.path).header("host", "x");
    if let Some(token) = call.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in call.headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(call.body))).unwrap();
    let answer = tokio::time::timeout(NEVER, sender.send_request(request)).await.unwrap().unwrap();
    // The connection lives as long as its answer is read.
    bench._shutdown.tasks().spawn("sender", async move {
        let _sender = sender;
        std::future::pending::<()>().await;
    });
    answer
}

async fn ask(bench: &Bench, call: Call<'_>) -> Answer {
    let answer = open(bench, call).await;
    let (parts, body) = answer.into_parts();
    let body = tokio::time::timeout(NEVER, body.collect()).await.unwrap().unwrap();
    Answer { status: parts.status, headers: parts.headers, body: body.to_bytes().to_vec() }
}

async fn get(bench: &Bench, path: &str) -> Answer {
    get_with(bench, path, &[]).await
}

async fn get_with(bench: &Bench, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask(bench, Call { method: "GET", path, token: Some(&bench.token), headers, body: Vec::new() }).await
}

async fn post(bench: &Bench, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let json = [("content-type", "application/json")];
    let headers = [&json, headers].concat();
    let body = body.to_string().into_bytes();
    ask(bench, Call { method: "POST", path, token: Some(&bench.token), headers: &headers, body }).await
}

/// What one scrape got.
pub(super) struct Scraped {
    pub(super) status: u16,
    pub(super) kind: String,
    pub(super) text: String,
}

pub(super) async fn scrape(bench: &Bench, token: Option<&str>) -> Scraped {
    let answer =
        ask(bench, Call { method: "GET", path: "/metrics", token, headers: &[], body: vec![] }).await;
    let kind = answer.header("content-type").to_owned();
    Scraped { status: answer.status.as_u16(), kind, text: answer.text() }
}

/// Waits until what the service sees is so.
pub(super) async fn until(service: &Service, is_so: impl Fn(&crate::metrics::Seen) -> bool) {
    let mut news = service.news();
    let waited = async {
        while !is_so(&service.seen()) {
            drop(tokio::time::timeout(Duration::from_millis(100), news.next()).await);
        }
    };
    tokio::time::timeout(NEVER, waited).await.unwrap();
}

async fn with_job() -> Bench {
    let bench = bench().await;
    let put = wire::PutJobRequest { definition: JOB.into(), ..Default::default() };
    bench.jobs().put_job(put).await.unwrap();
    bench
}

/// Every operation of the document, with the variable parts of its address filled in.
fn operations() -> Vec<(String, String)> {
    let document = serde_json::to_value(crate::http::document()).unwrap();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let path = path
                .replace("{id}", "build%231")
                .replace("{owner}", "acme")
                .replace("{name}", "app")
                .replace("{number}", "1")
                .replace("{job}", "build");
            assert!(!path.contains('{'), "{path}");
            found.push((method.to_uppercase(), path));
        }
    }
    found
}

#[tokio::test]
async fn every_route_is_for_those_with_an_api_token_alone() {
    let mut routes = operations();
    routes.push(("GET".into(), "/metrics".into()));
    assert!(routes.len() >= 10, "{routes:?}");
    // So many wrong tokens at once an address may try.
    for routes in routes.chunks(8) {
        let bench = with_job().await;
        let executor = session_token(&bench).await;
        let expires_in = Some(Duration::from_micros(1));
        let new = NewApiToken { name: "old".into(), person: "ada".into(), expires_in };
        let (_, expired) = bench.started.tokens.create(new, [9; 32]).await.unwrap();
        for (method, path) in routes {
            for (token, status) in
                [(None, 401), (Some(expired.reveal()), 401), (Some(executor.as_str()), 403)]
            {
                let call = Call { method, path, token, headers: &[], body: b"{}".to_vec() };
                let answer = ask(&bench, call).await;
                assert_eq!(answer.refusal().0, status, "{method} {path} {token:?}");
            }
        }
    }
}

/// Opens an executor's session; returns its credential.
async fn session_token(bench: &Bench) -> String {
    let session = executor(&bench.started.service, "x86-9").await;
    let service = &bench.started.service;
    let challenge = service.challenge(session.executor, None);
    let incarnation = Incarnation(2);
    let message = signed_message(session.executor, incarnation, &challenge);
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let (known, _) = service.executor(session.executor).await.unwrap();
    let opened = service.open_session(OpenSessionRequest {
        executor: session.executor,
        challenge,
        signature: pair.sign(&message).as_ref().to_vec(),
        incarnation,
        held: Vec::new(),
        version: "0.1.0".into(),
        machine: known.machine,
    });
    opened.await.unwrap().token
}

#[tokio::test]
async fn what_is_not_there_and_what_may_not_be_seen_are_answered_alike() {
    let bench = with_job().await;
    bench.execute(1).await;
    let token = session_token(&bench).await;
    let asked = async |path: &str| {
        let call = Call { method: "GET", path, token: Some(&token), headers: &[], body: Vec::new() };
        ask(&bench, call).await.refusal()
    };
    assert_eq!(asked("/api/v1/runs/build%231").await, asked("/api/v1/runs/build%232").await);
}

#[tokio::test]
async fn a_job_is_executed_once_for_each_id() {
    let bench = with_job().await;
    let (id, other) = (run_id(1).to_string(), run_id(2).to_string());
    let path = "/api/v1/jobs/build/runs";
    let body = json!({ "id": id, "env": { "A": "b" } });
    let first = post(&bench, path, &[], &body).await;
    let place = format!("/api/v1/runs/{id}");
    assert_eq!((first.status.as_u16(), first.header("location")), (201, place.as_str()), "{}", first.text());
    assert_eq!(first.json()["trigger"], "rest");
    let again = post(&bench, path, &[], &body).await;
    assert_eq!((again.status.as_u16(), again.json()["number"].clone()), (200, json!(1)));
    let keyed = post(&bench, path, &[("idempotency-key", &other)], &json!({})).await;
    assert_eq!((keyed.status.as_u16(), keyed.json()["id"].clone()), (201, json!(other)));
    let again = post(&bench, path, &[("idempotency-key", &format!("\"{other}\""))], &json!({})).await;
    assert_eq!(again.status, StatusCode::OK);
    let without = post(&bench, path, &[], &json!({})).await;
    assert_eq!((without.status.as_u16(), without.json()["number"].clone()), (201, json!(3)));

    let mut told = Vec::new();
    let mut note = |what: &str, answer: &Answer| {
        let (status, code, detail) = answer.refusal();
        told.push(format!("{what}: {status} {code}: {detail}"));
    };
    let payload = post(&bench, path, &[], &json!({ "id": run_id(1).to_string() })).await;
    note("other payload", &payload);
    note("two ids", &post(&bench, path, &[("idempotency-key", &other)], &body).await);
    note("no id", &post(&bench, path, &[("idempotency-key", "mine")], &json!({})).await);
    note("no job", &post(&bench, "/api/v1/jobs/other/runs", &[], &json!({})).await);
    note("field", &post(&bench, path, &[], &json!({ "args": {} })).await);
    note("not text", &post(&bench, path, &[], &json!({ "arguments": { "A": 1 } })).await);
    note("argument", &post(&bench, path, &[], &json!({ "arguments": { "A": "1" } })).await);
    let call = |headers, body| Call { method: "POST", path, token: Some(&bench.token), headers, body };
    note("no type", &ask(&bench, call(&[], b"{}".to_vec())).await);
    let json_type: &[(&str, &str)] = &[("content-type", "application/json; charset=utf-8")];
    note("deep", &ask(&bench, call(json_type, [b'['; 100_000].to_vec())).await);
    note("long", &ask(&bench, call(json_type, vec![b' '; MESSAGE_BYTES_MAX + 1])).await);
    let put = Call { method: "PUT", path, token: Some(&bench.token), headers: &[], body: Vec::new() };
    let put = ask(&bench, put).await;
    assert_eq!(put.header("allow"), "POST");
    note("method", &put);
    note("address", &get(&bench, "/api/v2/jobs").await);
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn runs_are_found_by_any_name_listed_in_pages_and_asked_for_strictly() {
    let bench = with_job().await;
    for number in 1..=3 {
        bench.execute(number).await;
    }
    let id = run_id(2).to_string();
    for reference in ["build%232", &id, &id[24..]] {
        let run = get(&bench, &format!("/api/v1/runs/{reference}")).await.json();
        assert_eq!((&run["id"], &run["name"]), (&json!(id), &json!("build#2")), "{reference}");
        assert_eq!(run["tasks"][0]["state"], "queued");
    }
    let (mut numbers, mut token) = (Vec::new(), String::new());
    loop {
        let page = get(&bench, &format!("/api/v1/runs?page_size=2&page_token={token}")).await.json();
        numbers.extend(page["runs"].as_array().unwrap().iter().map(|run| run["number"].as_u64().unwrap()));
        assert_eq!(page["more"].as_bool().unwrap(), page["next_page_token"].is_string());
        let Some(next) = page["next_page_token"].as_str() else { break };
        token = next.to_owned();
    }
    assert_eq!(numbers, [3, 2, 1]);
    let count = async |query: &str| {
        let page = get(&bench, &format!("/api/v1/runs?{query}")).await.json();
        page["runs"].as_array().unwrap().len()
    };
    assert_eq!((count("by=admin&job=build").await, count("by=nobody").await), (3, 0));
    assert_eq!((count("failed=true").await, count("failed=false").await), (0, 3));
    assert_eq!(count("since=2100-01-01T00:00:00Z").await, 0);
    assert_eq!(count("since=2001-01-01T00:00:00%2B01:00").await, 3);
    let mut told = Vec::new();
    for path in [
        "runs?limit=5",
        "runs?failed=yes",
        "runs?since=yesterday",
        "runs?page_size=501",
        "runs?page_token=x",
        "runs?job=a&job=b",
        "runs/build%239",
        "runs/018bcfe5",
        "runs/build%231?x=1",
        "runs/%ff",
        "projects/acme/app/runs/1",
        "projects/acme/app/runs/x",
        "jobs?name=x",
    ] {
        let answer = get(&bench, &format!("/api/v1/{path}")).await;
        assert!(!answer.status.is_success(), "{path} was answered: {}", answer.text());
        let (status, code, detail) = answer.refusal();
        told.push(format!("{path}: {status} {code}: {detail}"));
    }
    insta::assert_snapshot!(told.join("\n"));
}

const WRITTEN: [Body<'static>; 5] = [
    Body::Begin("command"),
    Body::Stdout(b"\x1b[31mone\x1b[0m \xc3"),
    Body::Stdout(b"\xbc\n"),
    Body::Stderr(b"two\x1b[2J\n"),
    Body::End(Exit::Code(0)),
];

pub(super) fn frames() -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = |body| Frame { unix_us: 1_795_238_400_000_000, stage: Some(0), body };
    WRITTEN.into_iter().for_each(|body| encode(&frame(body), &mut bytes));
    bytes
}

pub(super) async fn append(logs: &Logs, session: Session, attempt: AttemptRef, offset: u64, bytes: &[u8]) {
    let crc32c = crc32c::crc32c(bytes);
    let sent = Sent { offset, bytes: bytes.to_vec().into(), crc32c };
    logs.append(session, LogId::from(attempt), sent).await.unwrap();
}

pub(super) async fn seal(logs: &Logs, attempt: AttemptRef, whole: &[u8]) {
    use sha2::Digest as _;
    let sha256 = Digest(sha2::Sha256::digest(whole).into());
    logs.seal(LogId::from(attempt), Claim { length: whole.len() as u64, sha256 }).await.unwrap();
}

/// A run of which a whole log is there.
async fn with_log() -> (Bench, Session, AttemptRef) {
    let bench = with_job().await;
    bench.execute(1).await;
    let session = executor(&bench.started.service, "x86-1").await;
    let attempt = take(&bench.started.service, session).await;
    append(&bench.started.logs, session, attempt, 0, &frames()).await;
    seal(&bench.started.logs, attempt, &frames()).await;
    (bench, session, attempt)
}

const LOG: &str = "/api/v1/runs/build%231/log";

#[tokio::test]
async fn a_log_is_text_or_entries_or_raw_and_comes_by_range() {
    let (bench, ..) = with_log().await;
    let whole = "\x1b[31mone\x1b[0m ü\ntwo^[[2J\n";
    let text = get(&bench, LOG).await;
    assert_eq!((text.text().as_str(), text.header("content-type")), (whole, "text/plain; charset=utf-8"));
    assert_eq!(text.header("x-content-type-options"), "nosniff");
    let raw = get(&bench, &format!("{LOG}?raw=true&task=main")).await;
    assert_eq!(raw.body, b"\x1b[31mone\x1b[0m \xc3\xbc\ntwo\x1b[2J\n");

    let lines = get_with(&bench, LOG, &[("accept", "application/json")]).await;
    let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<_> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["command", "\x1b[31mone\x1b[0m ", "ü\n", "two^[[2J\n", ""]);
    assert_eq!((&lines[3]["kind"], &lines[3]["stage"]), (&json!("stderr"), &json!("command")));
    assert_eq!(lines[3]["time"], "2026-11-21T05:20:00.000000Z");
    let from = lines[2]["next"].as_u64().unwrap();
    assert_eq!(get(&bench, &format!("{LOG}?offset={from}")).await.text(), "two^[[2J\n");
    let (status, _, _) = get(&bench, &format!("{LOG}?offset={}", from + 1)).await.refusal();
    assert_eq!(status, 400);

    let total = whole.len();
    for (range, part, said) in [
        ("bytes=0-4", &whole[..5], "bytes 0-4/*".to_owned()),
        ("bytes=5-", &whole[5..], format!("bytes 5-{}/{total}", total - 1)),
        ("bytes=-3", &whole[total - 3..], format!("bytes {}-{}/{total}", total - 3, total - 1)),
    ] {
        let answer = get_with(&bench, LOG, &[("range", range)]).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (206, part), "{range}");
        assert_eq!(answer.header("content-range"), said);
    }
    let beyond = get_with(&bench, LOG, &[("range", "bytes=99-")]).await;
    assert_eq!(
        (beyond.status.as_u16(), beyond.header("content-range")),
        (416, format!("bytes */{total}").as_str())
    );
    for headers in [&[("range", "bytes=5-1")][..], &[("range", "bytes=1-2"), ("if-range", "\"x\"")]] {
        assert_eq!(get_with(&bench, LOG, headers).await.status, StatusCode::OK);
    }
    let (status, _, why) = get(&bench, &format!("{LOG}?task=other")).await.refusal();
    assert_eq!((status, why.as_str()), (404, "the run has no task \"other\"; its tasks: main"));
}

/// An event of a stream.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    event: String,
    id: Option<String>,
    json: Value,
}

/// Reads events as a browser does.
struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    async fn open(bench: &Bench, path: &str, headers: &[(&str, &str)]) -> Self {
        let call = Call { method: "GET", path, token: Some(&bench.token), headers, body: Vec::new() };
        let answer = open(bench, call).await;
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { body: answer.into_body(), text: String::new() }
    }

    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let found = event.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
                    found.map(str::to_owned)
                };
                let told = field("event").map(|name| Told {
                    event: name,
                    id: field("id"),
                    json: serde_json::from_str(&field("data").unwrap()).unwrap(),
                });
                self.text = rest.to_owned();
                match told {
                    Some(told) => return Some(told),
                    // A comment.
                    None => continue,
                }
            }
            let frame = tokio::time::timeout(NEVER, self.body.frame()).await.unwrap()?;
            let bytes = frame.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    async fn all(mut self) -> Vec<Told> {
        let mut told = Vec::new();
        while let Some(next) = self.next().await {
            told.push(next);
        }
        told
    }
}

pub(super) async fn complete(bench: &Bench, session: Session, attempt: AttemptRef) {
    use crate::service::{ClaimedEnd, CompleteRequest, ReportedLog};
    use ocelot_domain::task::event::Report;
    use ocelot_domain::task::state::CompletionId;
    use sha2::Digest as _;
    let whole = frames();
    let end = ClaimedEnd { bytes: whole.len() as u64, sha256: sha2::Sha256::digest(&whole).into() };
    let request = CompleteRequest {
        attempt,
        completion: CompletionId(1),
        result: Report::Succeeded,
        log: ReportedLog::Whole(end),
        artifacts: vec![],
        told: None,
    };
    bench.started.service.complete(session, request).await.unwrap();
}

#[tokio::test]
async fn a_stream_of_a_log_goes_on_after_any_event_and_ends_with_the_outcome() {
    let (bench, session, attempt) = with_log().await;
    let path = format!("{LOG}/stream");
    let mut early = Events::open(&bench, &path, &[]).await;
    for text in ["command", "\x1b[31mone\x1b[0m "] {
        assert_eq!(early.next().await.unwrap().json["text"], text);
    }
    complete(&bench, session, attempt).await;
    let whole = Events::open(&bench, &path, &[]).await.all().await;
    let texts: Vec<_> = whole.iter().filter_map(|told| told.json["text"].as_str()).collect();
    assert_eq!(texts, ["command", "\x1b[31mone\x1b[0m ", "ü\n", "two^[[2J\n", ""]);
    let last = whole.last().unwrap();
    assert_eq!((last.event.as_str(), &last.json["outcome"]["result"]), ("outcome", &json!("succeeded")));
    assert_eq!(
        (&last.json["task"], &last.json["attempt"]),
        (&json!("main"), &json!(attempt.attempt.number()))
    );
    for (index, told) in whole.iter().enumerate().filter(|(_, told)| told.event == "log") {
        let id = told.id.clone().unwrap();
        let rest = Events::open(&bench, &path, &[("last-event-id", &id)]).await.all().await;
        assert_eq!(rest, whole[index + 1..], "{id}");
    }
    assert_eq!(early.all().await, whole[2..]);
    let wrong = get_with(&bench, &path, &[("last-event-id", "x")]).await.refusal();
    assert_eq!((wrong.0, wrong.1.as_str()), (400, "invalid"));
}

#[tokio::test]
async fn events_of_a_run_tell_each_change_and_end_with_the_outcome() {
    let bench = with_job().await;
    bench.execute(1).await;
    let mut events = Events::open(&bench, "/api/v1/runs/build%231/events", &[]).await;
    let first = events.next().await.unwrap();
    assert_eq!((first.event.as_str(), &first.json["state"]), ("run", &json!("queued")));
    assert_eq!(events.next().await.unwrap().json["state"], "queued");
    let session = executor(&bench.started.service, "x86-1").await;
    let attempt = take(&bench.started.service, session).await;
    append(&bench.started.logs, session, attempt, 0, &frames()).await;
    seal(&bench.started.logs, attempt, &frames()).await;
    complete(&bench, session, attempt).await;
    let rest = events.all().await;
    let last = rest.last().unwrap();
    assert_eq!((last.event.as_str(), &last.json["outcome"]["result"]), ("outcome", &json!("succeeded")));
    let again = Events::open(&bench, "/api/v1/runs/build%231/events", &[]).await.all().await;
    let names: Vec<_> = again.iter().map(|told| told.event.as_str()).collect();
    assert_eq!(names, ["run", "task", "outcome"]);
    assert_eq!(get(&bench, "/api/v1/runs/build%239/events").await.status, StatusCode::NOT_FOUND);
}

/// Tells what of a value is not as its schema says.
fn misfits(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return misfits(document, &document["components"]["schemas"][name], value, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().any(|choice| misfits(document, choice, value, at).is_empty());
        return if fits { vec![] } else { vec![format!("{at}: {value} is none of its shapes")] };
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return vec![],
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !kinds.contains(&kind) {
        return vec![format!("{at}: {value} is no {kinds:?}")];
    }
    match value {
        Value::String(text) => match schema["enum"].as_array() {
            Some(words) if !words.contains(&json!(text)) => vec![format!("{at}: {text} is no word of it")],
            Some(_) | None => vec![],
        },
        Value::Array(items) => items
            .iter()
            .flat_map(|item| misfits(document, &schema["items"], item, &format!("{at}[]")))
            .collect(),
        Value::Object(fields) if schema["properties"].is_object() => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let missing =
                required.iter().filter_map(Value::as_str).filter(|name| !fields.contains_key(*name));
            let missing = missing.map(|name| format!("{at}.{name} is missing"));
            let of = |(name, field): (&String, &Value)| match schema["properties"].get(name) {
                Some(schema) => misfits(document, schema, field, &format!("{at}.{name}")),
                None => vec![format!("{at}.{name} is not in the document")],
            };
            missing.chain(fields.iter().flat_map(of)).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => vec![],
    }
}

#[tokio::test]
async fn every_documented_route_answers_as_the_document_says() {
    let (bench, session, attempt) = with_log().await;
    complete(&bench, session, attempt).await;
    let document = get(&bench, "/api/v1/openapi.json").await.json();
    assert_eq!(document, serde_json::to_value(crate::http::document()).unwrap());
    let mut seen = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let address = path.replace("{id}", "build").replace("{job}", "build");
            let address =
                address.replace("{owner}", "acme").replace("{name}", "app").replace("{number}", "1");
            let answer = match method.as_str() {
                // When streams end has tests of its own.
                "get" if path.ends_with("/stream") || path.ends_with("/events") => {
                    let call = Call {
                        method: "GET",
                        path: &address,
                        token: Some(&bench.token),
                        headers: &[],
                        body: vec![],
                    };
                    let (parts, _) = open(&bench, call).await.into_parts();
                    Answer { status: parts.status, headers: parts.headers, body: vec![] }
                }
                "get" => get(&bench, &address).await,
                "post" => post(&bench, &address, &[], &json!({})).await,
                other => panic!("{other}"),
            };
            let responses = &operation["responses"];
            let status = answer.status.as_u16().to_string();
            let said = responses.get(&status).unwrap_or(&responses["default"]);
            let kind = answer.header("content-type").split(';').next().unwrap().to_owned();
            let content = said["content"].get(&kind);
            let schema = &content.unwrap_or_else(|| panic!("{path} {kind}"))["schema"];
            if kind.ends_with("json") {
                assert_eq!(misfits(&document, schema, &answer.json(), path), Vec::<String>::new());
            }
            seen.insert(format!("{method} {path}"), status);
        }
    }
    let seen: Vec<_> = seen.into_iter().map(|(route, status)| format!("{status} {route}")).collect();
    insta::assert_snapshot!(seen.join("\n"));
}

#[tokio::test]
async fn no_get_changes_anything() {
    let (bench, ..) = with_log().await;
    let stored = async || {
        let mut stored = BTreeMap::new();
        let page = bench.started.service.store.range(RangeRequest::prefix(Folder::All)).await.unwrap();
        for item in page.items {
            // When a token was last used is written down, whatever it was used for; a lease is kept alive.
            let aside =
                [Folder::Tokens, Folder::Controllers, Folder::Sessions].map(|folder| folder.to_string());
            if !aside.iter().any(|folder| item.key.as_str().starts_with(folder)) {
                stored.insert(item.key.to_string(), item.mod_revision);
            }
        }
        stored
    };
    let before = stored().await;
    assert!(before.len() > 5, "{before:?}");
    for (_, path) in operations().into_iter().filter(|(method, _)| method == "GET") {
        let call =
            Call { method: "GET", path: &path, token: Some(&bench.token), headers: &[], body: Vec::new() };
        // Streams go on; that they began is enough.
        drop(open(&bench, call).await);
    }
    drop(get(&bench, "/metrics").await);
    assert_eq!(stored().await, before);
}
