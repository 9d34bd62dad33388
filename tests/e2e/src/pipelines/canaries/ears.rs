//! What a target of notifications is, to this test: a server that takes everything and keeps what it was
//! told.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

/// Listens on loopback for as long as the process lives.
#[derive(Debug)]
pub(super) struct Ears {
    pub(super) port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Ears {
    pub(super) fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                // A client that goes away in the middle ends its own thread only.
                std::thread::spawn(move || hear(&stream, &kept).ok());
            }
        });
        Ok(Self { port, heard })
    }

    /// Returns heads and bodies of all requests.
    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn hear(stream: &TcpStream, kept: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while reader.read_line(&mut head)? > 2 {}
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let said = format!("{head}{}", String::from_utf8_lossy(&body));
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(said);
    let answer = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\
                  Connection: close\r\n\r\n{\"id\":1}";
    (&mut &*stream).write_all(answer.as_bytes())
}

/// Asks a controller over plain HTTP, and returns all that it answers.
pub(super) fn get(port: u16, path: &str, token: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
