//! ZMTP 3.0 over plain TCP, to send what no ZeroMQ library would send.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A TCP connection after the ZMTP handshake.
pub(crate) struct Raw(pub(crate) TcpStream);

/// Performs the handshake as a socket of this kind.
pub(crate) fn shake_hands(mut stream: TcpStream, kind: &str) -> std::io::Result<Raw> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut greeting = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0];
    greeting.extend(b"NULL");
    greeting.resize(64, 0);
    stream.write_all(&greeting)?;
    let mut theirs = [0; 64];
    stream.read_exact(&mut theirs)?;
    assert_eq!((theirs[0], theirs[9], theirs[10]), (0xff, 0x7f, 3), "a ZMTP 3 greeting");
    let mut ready = b"\x05READY\x0bSocket-Type".to_vec();
    ready.extend((kind.len() as u32).to_be_bytes());
    ready.extend(kind.as_bytes());
    stream.write_all(&[4, ready.len() as u8])?;
    stream.write_all(&ready)?;
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    assert_eq!(head[0], 4, "a short command");
    let mut command = vec![0; usize::from(head[1])];
    stream.read_exact(&mut command)?;
    assert!(command.starts_with(b"\x05READY"));
    Ok(Raw(stream))
}

/// Performs the handshake with a node that has connected to the test.
pub(crate) fn as_publisher(stream: TcpStream) -> std::io::Result<Raw> {
    shake_hands(stream, "XPUB")
}

/// Performs the handshake as a subscriber of one prefix.
pub(crate) fn as_subscriber(stream: TcpStream, prefix: &[u8]) -> std::io::Result<Raw> {
    let mut raw = shake_hands(stream, "SUB")?;
    raw.frame(&[&[1], prefix].concat(), false)?;
    Ok(raw)
}

impl Raw {
    /// Sends the header of a frame of this length.
    pub(crate) fn announce(&mut self, len: u64) -> std::io::Result<()> {
        self.0.write_all(&[2])?;
        self.0.write_all(&len.to_be_bytes())
    }

    /// Sends a short frame.
    pub(crate) fn frame(&mut self, octets: &[u8], more: bool) -> std::io::Result<()> {
        let head = [u8::from(more), u8::try_from(octets.len()).expect("a short frame")];
        self.0.write_all(&[&head, octets].concat())
    }
}

/// Reads until `text` arrives. False when the other side ends the connection, or sends nothing for `patience`.
pub(crate) fn has_sent(stream: &mut TcpStream, text: &[u8], patience: Duration) -> bool {
    stream.set_read_timeout(Some(patience)).expect("a time limit");
    let (mut received, mut buffer) = (Vec::new(), [0; 4_096]);
    while !received.windows(text.len()).any(|window| window == text) {
        match stream.read(&mut buffer) {
            Ok(len) if len > 0 => received.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return false,
        }
    }
    true
}

/// Waits until the other side ends the connection. False when the connection still exists after `patience`.
pub(crate) fn is_closed_by_peer(stream: &mut TcpStream, patience: Duration) -> bool {
    let due = Instant::now() + patience;
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a time limit");
    let mut buffer = [0; 4_096];
    while Instant::now() < due {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return true,
        }
    }
    false
}
