//! A web server of a few lines in front of `git http-backend`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use ocelot_git::RepositoryUrl;

use crate::world::ALL;

pub(crate) struct Server {
    port: u16,
    state: Arc<State>,
}

struct State {
    root: PathBuf,
    /// `user:password` that is asked for.
    login: Option<String>,
    /// Where every request is sent on to.
    elsewhere: Option<String>,
    ended: AtomicBool,
    seen: Mutex<Vec<String>>,
}

impl Server {
    pub(crate) fn start(root: &Path, login: Option<&str>, elsewhere: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            root: root.to_owned(),
            login: login.map(str::to_owned),
            elsewhere,
            ended: AtomicBool::new(false),
            seen: Mutex::default(),
        });
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if served.ended.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&served);
                // A client that goes away in the middle ends its own thread only.
                std::thread::spawn(move || answer(stream.unwrap(), &state).ok());
            }
        });
        Self { port, state }
    }

    pub(crate) fn url(&self, path: &str) -> RepositoryUrl {
        RepositoryUrl::parse_with(&format!("http://127.0.0.1:{}/{path}", self.port), ALL).unwrap()
    }

    /// Returns the head of every request.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.state.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn answer(stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    state.seen.lock().unwrap().push(head.clone());
    let header = |name: &str| {
        let found = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let body = body(&mut reader, &header("content-length"), &header("transfer-encoding"))?;
    let mut stream = stream;
    if let Some(place) = &state.elsewhere {
        let target = head.split(' ').nth(1).unwrap_or_default();
        return write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: {place}{target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    if let Some(login) = &state.login {
        let wanted = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(login));
        if header("authorization") != wanted {
            return stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    }
    let mut line = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut command = Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", &state.root).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
    command.env("CONTENT_TYPE", header("content-type")).env("CONTENT_LENGTH", body.len().to_string());
    command.env("HTTP_CONTENT_ENCODING", header("content-encoding"));
    command.env("GIT_PROTOCOL", header("git-protocol")).env("GIT_CONFIG_GLOBAL", "/dev/null");
    command
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&body));
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output)?;
    let _told = writer.join();
    child.wait()?;
    let end = output.windows(4).position(|part| part == b"\r\n\r\n").unwrap_or(0);
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let rest: Vec<&str> = head.lines().filter(|line| !line.starts_with("Status:")).collect();
    let body = &output[(end + 4).min(output.len())..];
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        rest.join("\r\n"),
        body.len()
    )?;
    stream.write_all(body)
}

fn body(reader: &mut BufReader<TcpStream>, length: &str, encoding: &str) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if encoding != "chunked" {
        reader.take(length.parse().unwrap_or(0)).read_to_end(&mut body)?;
        return Ok(body);
    }
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
        reader.by_ref().take(size).read_to_end(&mut body)?;
        reader.read_line(&mut String::new())?;
        if size == 0 {
            return Ok(body);
        }
    }
}
