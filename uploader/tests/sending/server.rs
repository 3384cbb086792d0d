//! A crash server that can be told to misbehave: written by hand over a socket, so that it shares nothing
//! with the code under test, and counting connections, so that a test can say that there was none.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the server does with one connection.
#[derive(Clone)]
pub enum Manner {
    /// Reads the request and answers with these bytes.
    Answers(String),
    /// Answers with these bytes before it has read the body, and closes.
    AnswersEarly(String),
    /// Closes as soon as somebody connects.
    ClosesEarly,
    /// Reads the whole request and closes without a word.
    ClosesLate,
    /// Reads the whole request and says nothing for this long.
    Stays(Duration),
}

/// A request as it arrived.
#[derive(Clone)]
pub struct Request {
    /// Request line and headers, in lower case.
    pub head: String,
    /// The body, unpacked.
    pub body: Vec<u8>,
}

/// The server; it lives as long as the test.
pub struct Server {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    connections: usize,
    requests: Vec<Request>,
    manners: VecDeque<Manner>,
}

/// An answer of a server that stores.
pub fn stored(name: &str) -> Manner {
    status(200, "", &format!("CrashID={name}\n"))
}

/// Any HTTP answer.
pub fn status(status: u16, headers: &str, body: &str) -> Manner {
    Manner::Answers(answer(status, headers, body))
}

/// The bytes of an HTTP answer.
pub fn answer(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} Whatever\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

impl Server {
    /// Listens; behaves as told, connection by connection, and stores everything after that.
    pub fn start(manners: impl IntoIterator<Item = Manner>) -> Server {
        Server::start_on("127.0.0.1:0", manners)
    }

    /// The same, on this address.
    pub fn start_on(address: &str, manners: impl IntoIterator<Item = Manner>) -> Server {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let state =
            Arc::new(Mutex::new(State { manners: manners.into_iter().collect(), ..State::default() }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                shared.lock().unwrap().connections += 1;
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Server { address, state }
    }

    /// Where reports go.
    pub fn url(&self) -> String {
        format!("http://{}/submit", self.address)
    }

    /// The host and port that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often anybody connected.
    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// Every whole request.
    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Waits until that many whole requests have come.
    pub fn wait_for(&self, requests: usize) {
        let started = Instant::now();
        while self.requests().len() < requests {
            assert!(started.elapsed() < Duration::from_secs(20), "no request came");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let early = |state: &mut State| {
        let is_early = matches!(state.manners.front(), Some(Manner::ClosesEarly | Manner::AnswersEarly(_)));
        if is_early { state.manners.pop_front() } else { None }
    };
    match early(&mut state.lock().unwrap()) {
        Some(Manner::AnswersEarly(answer)) => {
            let mut first = [0; 512];
            let _ = stream.read(&mut first);
            let _ = stream.write_all(answer.as_bytes());
            return std::thread::sleep(Duration::from_millis(300));
        }
        Some(_) => return,
        None => {}
    }
    // The connection is kept open between reports: every request gets what is told next.
    while let Some(request) = request(&mut stream) {
        let manner = {
            let mut state = state.lock().unwrap();
            state.requests.push(request);
            state.manners.pop_front().unwrap_or_else(|| stored("bp-default"))
        };
        match manner {
            Manner::Answers(answer) => {
                if stream.write_all(answer.as_bytes()).is_err() || !answer.starts_with("HTTP/1.1 ") {
                    return;
                }
            }
            Manner::Stays(time) => return std::thread::sleep(time),
            _ => return,
        }
    }
}

/// Reads a request; none where the stream ends before it does.
pub fn request(stream: &mut impl Read) -> Option<Request> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    // A request that only asks for something has neither a length nor a body.
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut packed = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut packed).ok()?;
    let mut body = Vec::new();
    match head.contains("content-encoding: gzip\r\n") {
        true => drop(flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut body).unwrap()),
        false => body = packed,
    }
    Some(Request { head, body })
}
