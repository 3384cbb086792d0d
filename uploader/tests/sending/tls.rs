//! A crash server behind TLS, with certificates made for the test by openssl; and a proxy that leads to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::server::{Request, answer, request};

const CONFIG: &str = "[req]\nprompt=no\ndistinguished_name=name\n[name]\nCN=foretrace test\n\
    [authority]\nbasicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash\n";

/// An authority with one certificate, for the host `name` (such as `IP:127.0.0.1`).
pub struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    pub fn of(name: &str) -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let leaf = format!("[leaf]\nbasicConstraints=critical,CA:FALSE\nsubjectAltName={name}\n");
        std::fs::write(folder.path().join("config"), format!("{CONFIG}{leaf}")).unwrap();
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
        let make = |arguments: &[&str]| {
            let done = Command::new("openssl")
                .current_dir(&folder)
                .args(["req", "-x509", "-config", "config"])
                .args(key)
                .args(arguments)
                .output()
                .expect("openssl, from the package openssl");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        make(&["-extensions", "authority", "-keyout", "ca.key", "-out", "ca.pem"]);
        let signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-subj", "/CN=server"];
        make(&[&signed[..], &["-extensions", "leaf", "-keyout", "leaf.key", "-out", "leaf.pem"]].concat());
        Authority { folder }
    }

    /// What to trust.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn config(&self) -> Arc<ServerConfig> {
        let read = |name: &str| self.folder.path().join(name);
        let chain = vec![CertificateDer::from_pem_file(read("leaf.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(read("leaf.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap())
    }
}

/// A server with a certificate, which stores everything; as a proxy, it is what every tunnel leads to.
pub struct Server {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    connections: usize,
    tunnels: Vec<String>,
    requests: Vec<Request>,
}

impl Server {
    pub fn start(authority: &Authority) -> Server {
        Server::listen(authority, false)
    }

    /// Takes `CONNECT` to any host, and is that host from then on.
    pub fn as_proxy(authority: &Authority) -> Server {
        Server::listen(authority, true)
    }

    fn listen(authority: &Authority, is_proxy: bool) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, config) = (Arc::clone(&state), authority.config());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                shared.lock().unwrap().connections += 1;
                if is_proxy {
                    let Some(asked) = request(&mut stream) else { continue };
                    let line = asked.head.lines().next().unwrap_or_default().to_owned();
                    shared.lock().unwrap().tunnels.push(line);
                    stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
                }
                let (shared, config) = (Arc::clone(&shared), Arc::clone(&config));
                std::thread::spawn(move || serve(stream, config, &shared));
            }
        });
        Server { address, state }
    }

    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// The first lines of what a proxy was asked for.
    pub fn tunnels(&self) -> Vec<String> {
        self.state.lock().unwrap().tunnels.clone()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, state: &Mutex<State>) {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    while let Some(request) = request(&mut Whole(&mut stream)) {
        state.lock().unwrap().requests.push(request);
        if stream.write_all(answer(200, "", "CrashID=bp-tls\n").as_bytes()).is_err() {
            return;
        }
    }
}

/// A stream whose end, however rude, is an end.
struct Whole<'a>(&'a mut StreamOwned<ServerConnection, TcpStream>);

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer).or(Ok(0))
    }
}

/// Settings for a server behind TLS.
pub fn settings(url: &str, certificates: Option<&Path>) -> String {
    let trusted = certificates.map(|file| format!("Certificates={}\n", file.display())).unwrap_or_default();
    format!("[Upload]\nProtocol=socorro\nUrl={url}\n{trusted}")
}
