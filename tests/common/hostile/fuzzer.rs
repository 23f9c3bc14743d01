//! Random ZMTP: what a peer sends over a connection, how slowly, and how it ends the connection.

use super::{Rng, TOPIC, octets};
use crate::e2e::reset;
use crate::peer::{head, record};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// How long a write or a read may block before the peer continues with something else.
const PATIENCE: Duration = Duration::from_millis(200);

/// The limit of frames in one burst: twice as many as libzmq reads ahead by default.
const MOST_FRAMES: usize = 3_000;

/// The limit of open connections that the peer no longer reads.
const MOST_HALF_OPEN: usize = 8;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// The kind of socket that the peer imitates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Subscriber,
    Publisher,
}

/// A peer that sends random ZMTP. With the same seed it sends the same bytes, as far as the other side accepts them.
pub(crate) struct Fuzzer {
    rng: Rng,
    role: Role,
    half_open: Vec<TcpStream>,
}

impl Fuzzer {
    pub(crate) fn new(seed: u64, role: Role) -> Fuzzer {
        Fuzzer { rng: Rng::with_seed(seed), role, half_open: Vec::new() }
    }

    /// Runs one connection from its start to its end. Returns how many frames the other side's system has taken.
    pub(crate) fn attack(&mut self, mut stream: TcpStream) -> u64 {
        let mut taken = 0;
        // The other side may end the connection at any time.
        let _ = self.talk(&mut stream, &mut taken);
        self.end(stream);
        taken
    }

    fn talk(&mut self, stream: &mut TcpStream, taken: &mut u64) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut handshake = self.handshake();
        if self.is_one_of(10) {
            let at = self.rng.usize(..handshake.len());
            handshake[at] = self.rng.u64(..) as u8;
        }
        stream.write_all(&handshake)?;
        // Half of the connections send frames before they have read the other side's greeting.
        if self.is_one_of(2) {
            stream.read_exact(&mut [0; 66])?;
        }
        for _ in 0..=self.rng.usize(..4) {
            let (octets, count) = self.burst();
            self.write(stream, &octets)?;
            *taken += count;
            match self.rng.usize(..8) {
                0 => std::thread::sleep(Duration::from_millis(self.rng.u64(..) % 20)),
                1..3 => drop(stream.read(&mut [0; 4_096])),
                _ => {}
            }
        }
        Ok(())
    }

    fn is_one_of(&mut self, count: usize) -> bool {
        self.rng.usize(..count) == 0
    }

    /// Greeting and READY of ZMTP 3.0 or 3.1.
    fn handshake(&mut self) -> Vec<u8> {
        let mut octets = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, (self.rng.u64(..) % 2) as u8];
        octets.extend(b"NULL");
        octets.resize(64, 0);
        let kind: &[u8] = match (self.role, self.is_one_of(2)) {
            (Role::Subscriber, false) => b"SUB",
            (Role::Subscriber, true) => b"XSUB",
            (Role::Publisher, false) => b"PUB",
            (Role::Publisher, true) => b"XPUB",
        };
        let properties = [b"\x0bSocket-Type\x00\x00\x00", &[kind.len() as u8][..], kind].concat();
        octets.extend(command(b"READY", &properties));
        octets
    }

    /// Frames that are sent together, and their number.
    fn burst(&mut self) -> (Vec<u8>, u64) {
        let count = 1 + self.rng.usize(..MOST_FRAMES);
        let mut octets = Vec::new();
        match self.rng.usize(..4) {
            // Many frames of content, and then a command.
            0 => {
                (1..count).for_each(|_| octets.extend(self.content()));
                octets.extend(self.command());
            }
            1 => (0..count).for_each(|_| octets.extend(self.command())),
            _ => (0..count).for_each(|_| octets.extend(self.frame())),
        }
        // An invalid frame at the end: the other side reads nothing after it.
        if self.is_one_of(6) {
            octets.extend(self.wrong_frame());
        }
        (octets, count as u64)
    }

    fn frame(&mut self) -> Vec<u8> {
        if self.is_one_of(8) { self.command() } else { self.content() }
    }

    /// A frame that a peer of this role may send.
    fn content(&mut self) -> Vec<u8> {
        let name = [b'A' + self.rng.usize(..4) as u8, self.rng.u64(..) as u8];
        let number = self.rng.u64(..) % 100;
        let partition = format!("FUZZ{}", self.rng.usize(..16));
        match (self.role, self.rng.usize(..16)) {
            (Role::Subscriber, 0..8) => frame(0, &[&[1], &name[..]].concat()),
            (Role::Subscriber, 8..12) => frame(0, &[&[0], &name[..]].concat()),
            (Role::Publisher, 0..8) => {
                [frame(MORE, &record(TOPIC, &partition, number)), frame(0, &name)].concat()
            }
            (Role::Publisher, 8..12) => frame(0, &head(TOPIC, &partition, number)),
            (_, 12) => frame(MORE, &name),
            (_, 13) => frame(0, b""),
            (_, 14) => {
                let len = self.rng.usize(..1_000);
                frame(LONG, &octets(&mut self.rng, len))
            }
            _ => {
                let len = self.rng.usize(..40);
                frame(0, &octets(&mut self.rng, len))
            }
        }
    }

    fn command(&mut self) -> Vec<u8> {
        let len = self.rng.usize(..17);
        let context = octets(&mut self.rng, len);
        let topic = octets(&mut self.rng, 2);
        match self.rng.usize(..16) {
            // The first two bytes are the time to live in tenths of a second.
            0..8 => command(b"PING", &[&[0, 0], &context[..]].concat()),
            8 => command(b"PING", &[&[0, 1], &context[..]].concat()),
            9..13 => command(b"PONG", &context),
            13 => command(b"SUBSCRIBE", &topic),
            14 => command(b"CANCEL", &topic),
            _ => command(b"UNKNOWN", &context),
        }
    }

    /// A frame that ends the connection, or may end it.
    fn wrong_frame(&mut self) -> Vec<u8> {
        let len = self.rng.usize(..60);
        match self.rng.usize(..8) {
            // This context is longer than ZMTP allows. In the next command, the time to live is not complete.
            0 => command(b"PING", &[7; 40]),
            1 => command(b"PING", b"\x00"),
            2 => command(b"ERROR", b"\x04what"),
            3 => frame(COMMAND | MORE, b"\x04PING\x00\x00"),
            4 => frame(COMMAND, b"\xffPING"),
            5 => [&[LONG][..], &[0xff; 8]].concat(),
            // A frame that is never complete.
            6 => vec![LONG, 0, 0, 0, 0, 0, 0, 3, 0, 1, 2, 3],
            _ => octets(&mut self.rng, len),
        }
    }

    /// Writes in one piece, or in pieces of random length.
    fn write(&mut self, stream: &mut TcpStream, octets: &[u8]) -> std::io::Result<()> {
        if !self.is_one_of(4) {
            return stream.write_all(octets);
        }
        let mut rest = octets;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((1 + self.rng.usize(..2_000)).min(rest.len()));
            stream.write_all(piece)?;
            rest = after;
        }
        Ok(())
    }

    fn end(&mut self, stream: TcpStream) {
        match self.rng.usize(..8) {
            0..4 => reset(stream),
            4 => drop(stream),
            5 => {
                let _ = stream.shutdown(Shutdown::Write);
                self.half_open.push(stream);
            }
            _ => self.half_open.push(stream),
        }
        if self.half_open.len() > MOST_HALF_OPEN {
            let at = self.rng.usize(..self.half_open.len());
            reset(self.half_open.swap_remove(at));
        }
    }
}

/// A frame of ZMTP 3, in the short form where the length and the flags allow it.
fn frame(flags: u8, body: &[u8]) -> Vec<u8> {
    let len = body.len() as u64;
    if flags & LONG != 0 || len > 255 {
        [&[flags | LONG][..], &len.to_be_bytes(), body].concat()
    } else {
        [&[flags, len as u8][..], body].concat()
    }
}

fn command(name: &[u8], body: &[u8]) -> Vec<u8> {
    frame(COMMAND, &[&[name.len() as u8], name, body].concat())
}
