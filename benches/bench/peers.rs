//! Other systems that acknowledge records, with their own servers: Redis Streams, and NATS JetStream.
//!
//! Several clients send windows of commands, so that a server can sync many records at once. A client sends the next
//! window before it reads the responses to the previous window, so that the server never waits for the client.

use crate::cluster::folder;
use crate::process::{Process, free_address, wait_until};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Connections to the server.
const CLIENTS: u64 = 16;

/// Commands in a window.
const WINDOW: u64 = 100;

/// How many records per second a system acknowledged, or why this was not measured.
pub(crate) type Outcome = Result<f64, String>;

/// Measures each system.
pub(crate) fn measure(size: u64, count: u64) -> [(&'static str, Outcome); 3] {
    // These systems are slower than Dafka, so a measurement with fewer records takes long enough.
    let count = (count / 3).next_multiple_of(CLIENTS * WINDOW);
    [
        ("Redis Streams, fsync always", redis(size, count, "always")),
        ("Redis Streams, fsync everysec", redis(size, count, "everysec")),
        ("NATS JetStream", nats(size, count)),
    ]
}

fn is_installed(server: &str) -> Result<(), String> {
    let started = Command::new(server).arg("--version").stdout(Stdio::null()).status();
    started.map(drop).map_err(|_| format!("{server} is not installed."))
}

fn redis(size: u64, count: u64, fsync: &str) -> Outcome {
    is_installed("redis-server")?;
    let (dir, address) = (folder(), free_address());
    let port = address.rsplit(':').next().unwrap_or_default();
    let mut server = Command::new("redis-server");
    server.args(["--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "yes"]);
    server.args(["--appendfsync", fsync, "--dir"]).arg(dir.path());
    let _server = Process::start(&mut server);
    wait_until("Redis", || TcpStream::connect(&address).is_ok());
    let mut command = b"*5\r\n".to_vec();
    for argument in [&b"XADD"[..], b"bench", b"*", b"content", &vec![b'x'; size as usize]] {
        command.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        command.extend_from_slice(argument);
        command.extend_from_slice(b"\r\n");
    }
    let connect = |_| (Client::connect(&address), command.clone());
    Ok(per_second(count, connect, |client| {
        // A response has two lines: `$` with a length, and the identifier of the record.
        let line = client.line();
        assert!(line.starts_with('$'), "an identifier, not {line}");
        client.line();
    }))
}

fn nats(size: u64, count: u64) -> Outcome {
    is_installed("nats-server")?;
    let (dir, address) = (folder(), free_address());
    let port = address.rsplit(':').next().unwrap_or_default();
    let mut server = Command::new("nats-server");
    server.args(["-js", "-a", "127.0.0.1", "-p", port, "-l"]).arg(dir.path().join("log"));
    let _server = Process::start(server.arg("-sd").arg(dir.path()));
    wait_until("NATS", || TcpStream::connect(&address).is_ok());
    let stream = r#"{"name":"bench","subjects":["bench"],"storage":"file"}"#;
    let mut client = nats_client(&address, "inbox");
    let create = format!("PUB $JS.API.STREAM.CREATE.bench inbox {}\r\n{stream}\r\n", stream.len());
    client.send(create.as_bytes());
    client.nats_response();
    let content = "x".repeat(size as usize);
    let connect = |i| {
        let command = format!("PUB bench inbox{i} {size}\r\n{content}\r\n");
        (nats_client(&address, &format!("inbox{i}")), command.into_bytes())
    };
    Ok(per_second(count, connect, Client::nats_response))
}

/// A client that receives responses in an inbox.
fn nats_client(address: &str, inbox: &str) -> Client {
    let mut client = Client::connect(address);
    client.send(format!("CONNECT {{\"verbose\":false}}\r\nSUB {inbox} 1\r\n").as_bytes());
    client
}

/// Sends `count` commands from all clients together. Returns how many commands were answered per second. `connect`
/// makes a client and its command; `response` reads the response to one command.
fn per_second(
    count: u64,
    connect: impl Fn(u64) -> (Client, Vec<u8>),
    response: impl Fn(&mut Client) + Copy + Send,
) -> f64 {
    let clients: Vec<_> = (0..CLIENTS).map(connect).collect();
    let windows = count / CLIENTS / WINDOW;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (mut client, command) in clients {
            scope.spawn(move || {
                let window = command.repeat(WINDOW as usize);
                client.send(&window);
                for sent in 1..=windows {
                    if sent < windows {
                        client.send(&window);
                    }
                    (0..WINDOW).for_each(|_| response(&mut client));
                }
            });
        }
    });
    count as f64 / start.elapsed().as_secs_f64()
}

/// A connection to a server.
struct Client {
    input: BufReader<TcpStream>,
    output: TcpStream,
}

impl Client {
    fn connect(address: &str) -> Client {
        let output = TcpStream::connect(address).expect("a connection");
        output.set_nodelay(true).expect("an option of TCP");
        let input = BufReader::with_capacity(1 << 16, output.try_clone().expect("a second handle"));
        Client { input, output }
    }

    fn send(&mut self, octets: &[u8]) {
        self.output.write_all(octets).expect("the server reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.input.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "the server has closed the connection");
        line
    }

    /// Reads the response to a request that named the inbox.
    fn nats_response(&mut self) {
        loop {
            let line = self.line();
            if line.starts_with("MSG") {
                let content = self.line();
                assert!(!content.contains("\"error\""), "{content}");
                return;
            }
            assert!(!line.starts_with("-ERR"), "{line}");
            if line.starts_with("PING") {
                self.send(b"PONG\r\n");
            }
        }
    }
}
