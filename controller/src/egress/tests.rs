use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use std::io;
use std::sync::Arc;

fn rules(allowed: &[&str]) -> Rules {
    Rules::new(allowed.iter().map(|text| text.parse().unwrap()).collect())
}

fn egress(allowed: &[&str]) -> Egress {
    Egress::new(&Settings { rules: rules(allowed), ca: None }).unwrap()
}

fn call(url: &str) -> Call {
    Call::new("GET", url, &[("user-agent", "ocelot".into())], bytes::Bytes::new()).unwrap()
}

/// Names that lead where the test says, in turn.
#[derive(Debug)]
struct Names {
    addresses: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

#[async_trait]
impl Resolve for Names {
    async fn resolve(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(self.addresses[asked % self.addresses.len()].clone())
    }
}

fn names(addresses: &[&[&str]]) -> Arc<Names> {
    let parse = |list: &&[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
    Arc::new(Names { addresses: addresses.iter().map(parse).collect(), asked: AtomicUsize::new(0) })
}

/// Every way to write an address of this machine, of its neighbours or of a cloud's metadata.
const FORBIDDEN: &[&str] = &[
    "http://127.0.0.1:PORT/",
    "https://127.0.0.1:PORT/",
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://2130706433:PORT/",
    "http://0x7f000001:PORT/",
    "http://0x7f.0.0.1:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://017700000001:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://0.0.0.0:PORT/",
    "http://0:PORT/",
    "http://localhost:PORT/",
    "http://LOCALHOST:PORT/",
    "http://localhost.:PORT/",
    "https://localhost:PORT/x?y",
    "http://[::1]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[::]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::ffff:7f00:1]:PORT/",
    "http://[::127.0.0.1]:PORT/",
    "http://[64:ff9b::7f00:1]:PORT/",
    "http://[64:ff9b::127.0.0.1]:PORT/",
    "http://[2002:7f00:1::]:PORT/",
    "http://[2001:0:7f00:1::]:PORT/",
    "http://[fe80::1]:PORT/",
    "http://[fc00::1]:PORT/",
    "http://[fd12:3456::1]:PORT/",
    "http://[ff02::1]:PORT/",
    "http://[2001:db8::1]:PORT/",
    "https://[::ffff:10.0.0.1]:PORT/",
    "http://127.255.255.254:PORT/",
    "http://user@127.0.0.1:PORT/",
    "http://user:word@127.0.0.1:PORT/",
    "http://github.com@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT@github.com:PORT/",
    "http://127。0。0。1:PORT/",
    "http://①②⑦.0.0.1:PORT/",
    "http://127%2e0%2e0%2e1:PORT/",
    "http:127.0.0.1:PORT/",
    "http:\\\\127.0.0.1:PORT\\",
    "http:///127.0.0.1:PORT/",
    "ftp://127.0.0.1:PORT/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:PORT/_x",
    "unix:///var/run/docker.sock",
    "javascript:alert(1)",
    "data:text/plain,x",
    "//127.0.0.1:PORT/",
    "127.0.0.1:PORT",
    "",
    "http://169.254.169.254/latest/meta-data/",
    "https://169.254.169.254/",
    "http://[fd00:ec2::254]/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.0.1/",
    "http://192.0.0.192/",
    "http://100.64.0.1/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://240.0.0.1/",
    "https://8.8.8.8:2379/",
    "https://8.8.8.8:2375/",
    "http://8.8.8.8/",
];

#[tokio::test]
async fn no_way_to_write_a_forbidden_address_makes_a_connection() {
    assert!(FORBIDDEN.len() >= 50);
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let egress = egress(&[]);
    for form in FORBIDDEN {
        let url = form.replace("PORT", &port.to_string());
        let error = egress.call(call(&url)).await.unwrap_err();
        // Some systems do not know `localhost.` at all.
        let is_refused = matches!(error, EgressError::Denied(_) | EgressError::Unresolved { .. });
        assert!(is_refused, "{url}: {error}");
    }
    // The connections of a listener come in their order: the first is our own.
    let ours = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (_, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, ours.local_addr().unwrap());
}

#[tokio::test]
async fn a_name_is_resolved_once_and_all_that_comes_back_is_checked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mixed = names(&[&["8.8.8.8", "127.0.0.1"]]);
    let error =
        egress(&[]).resolving(mixed).call(call(&format!("https://a.example:{port}/"))).await.unwrap_err();
    assert!(error.to_string().contains("127.0.0.1"), "{error}");

    // First what is allowed, then what is not: what was checked is what is connected to.
    let rebinding = names(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let out = egress(&["127.0.0.1"]).resolving(Arc::clone(&rebinding) as _).within(Duration::from_secs(5));
    let url = format!("http://a.example:{port}/");
    let asked = out.call(call(&url));
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        stream.readable().await.unwrap();
        drop(stream);
    };
    let (answer, ()) = tokio::join!(asked, serve);
    // On a slow machine its time may be over first.
    let has_ended = matches!(answer, Err(EgressError::Broken { .. } | EgressError::TimedOut { .. }));
    assert!(has_ended, "{answer:?}");
    assert_eq!(rebinding.asked.load(Ordering::Relaxed), 1);
}

async fn server() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new()
        .route(
            "/moved",
            get(async || (StatusCode::FOUND, [("location", "http://169.254.169.254/")]).into_response()),
        )
        .route("/large", get(async || Body::from(vec![b'x'; 3 * 1024 * 1024])))
        .route("/never", get(async || -> StatusCode { std::future::pending().await }))
        .route("/echo", axum::routing::post(async |body: String| body));
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, serving)
}

#[tokio::test]
async fn a_server_that_others_speak_to_is_held_to_the_same_rules() {
    let out = egress(&["127.0.0.0/8"]).resolving(names(&[&["8.8.8.8"], &["8.8.8.8", "10.0.0.1"]]));
    assert_eq!(out.may_reach("127.0.0.1", 22).await.unwrap(), [IpAddr::from([127, 0, 0, 1])]);
    assert_eq!(out.may_reach("a.example", 443).await.unwrap(), [IpAddr::from([8, 8, 8, 8])]);
    for (host, port) in [("a.example", 443), ("10.0.0.1", 22), ("127.0.0.1", 2379), ("a b", 22)] {
        let error = out.may_reach(host, port).await.unwrap_err();
        assert!(matches!(error, EgressError::Denied(_)), "{host}: {error}");
    }
}

#[tokio::test]
async fn redirects_end_here_answers_are_cut_and_silence_has_an_end() {
    let (address, _serving) = server().await;
    let out = egress(&["127.0.0.0/8"]);
    let moved = out.call(call(&format!("http://{address}/moved"))).await.unwrap();
    assert_eq!(moved.status, 302);
    let large = out.call(call(&format!("http://{address}/large"))).await.unwrap();
    assert_eq!(large.body.len(), 1024 * 1024);
    let echo = Call::new("POST", &format!("http://{address}/echo"), &[], "hello".into()).unwrap();
    assert_eq!(out.call(echo).await.unwrap().body, "hello");
    let out = out.within(Duration::from_millis(50));
    let silent = out.call(call(&format!("http://{address}/never"))).await.unwrap_err();
    assert!(matches!(silent, EgressError::TimedOut { .. }), "{silent}");
}

#[test]
fn an_operator_allows_networks_addresses_and_names() {
    for text in ["10.0.0.0/8", "127.0.0.1", "::1", "fd00::/8", "git.example.org"] {
        text.parse::<Allow>().unwrap();
    }
    for text in ["10.0.0.0/33", "git.example.org/8", "", "a b", "::1/129", "10.0.0.0/x"] {
        assert!(text.parse::<Allow>().is_err(), "{text}");
    }
    let rules = rules(&["10.0.0.0/8", "git.example.org"]);
    let target = |url: &str| rules.target(url).unwrap();
    let at = |text: &str| vec![text.parse::<IpAddr>().unwrap()];
    assert!(rules.check(&target("https://x.example/"), &at("10.1.2.3")).is_ok());
    assert!(rules.check(&target("https://x.example/"), &at("::ffff:10.1.2.3")).is_ok());
    assert!(rules.check(&target("https://x.example/"), &at("11.1.2.3")).is_ok(), "it is public");
    assert!(rules.check(&target("https://x.example/"), &at("192.168.0.1")).is_err());
    assert!(rules.check(&target("http://GIT.example.org./"), &at("192.168.0.1")).is_ok());
    assert_eq!(rules.check(&target("http://x.example/"), &at("8.8.8.8")), Err(Denied::PlainText));
}

#[test]
fn a_call_shows_neither_its_address_nor_its_headers() {
    let call =
        Call::new("POST", "https://hooks.example/secret", &[("authorization", "t0ken".into())], "x".into());
    let shown = format!("{:?}", call.unwrap());
    assert_eq!(shown, "Call(POST)");
}
