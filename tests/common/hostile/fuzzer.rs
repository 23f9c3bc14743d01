//! Random ZMTP: what a peer may say over a connection, how slowly, and how it may end one.

use super::{Rng, TOPIC};
use crate::peer::{head, record};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// How long the other side may take nothing of what is sent, or say nothing, before the peer goes on to something else.
const PATIENCE: Duration = Duration::from_millis(200);

/// The most frames that are sent at a time: twice as many as libzmq reads ahead by default.
const MOST_FRAMES: usize = 3_000;

/// The most connections that are kept open with nobody reading them.
const MOST_HALF_OPEN: usize = 8;

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// Which kind of socket the peer plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Subscriber,
    Publisher,
}

/// A peer that speaks ZMTP at random: the same for the same seed, as far as the other side lets it.
pub(crate) struct Fuzzer {
    rng: Rng,
    role: Role,
    half_open: Vec<TcpStream>,
}

impl Fuzzer {
    pub(crate) fn new(seed: u64, role: Role) -> Fuzzer {
        Fuzzer { rng: Rng::new(seed), role, half_open: Vec::new() }
    }

    /// The whole life of a connection. Returns how many frames the other side's system has taken.
    pub(crate) fn attack(&mut self, mut stream: TcpStream) -> u64 {
        let mut taken = 0;
        // The other side may end it at any time.
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
            let at = self.rng.below(handshake.len());
            handshake[at] = self.rng.next() as u8;
        }
        stream.write_all(&handshake)?;
        // Others send their frames before they know who is at the other end.
        if self.is_one_of(2) {
            stream.read_exact(&mut [0; 66])?;
        }
        for _ in 0..=self.rng.below(4) {
            let (octets, count) = self.burst();
            self.write(stream, &octets)?;
            *taken += count;
            match self.rng.below(8) {
                0 => std::thread::sleep(Duration::from_millis(self.rng.next() % 20)),
                1..3 => drop(stream.read(&mut [0; 4_096])),
                _ => {}
            }
        }
        Ok(())
    }

    fn is_one_of(&mut self, count: usize) -> bool {
        self.rng.below(count) == 0
    }

    /// Greeting and READY of ZMTP 3.0 or 3.1.
    fn handshake(&mut self) -> Vec<u8> {
        let mut octets = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, (self.rng.next() % 2) as u8];
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

    /// Frames that are sent together, and how many they are.
    fn burst(&mut self) -> (Vec<u8>, u64) {
        let count = 1 + self.rng.below(MOST_FRAMES);
        let mut octets = Vec::new();
        match self.rng.below(4) {
            // Mostly content, and a command when much is waiting already.
            0 => {
                (1..count).for_each(|_| octets.extend(self.content()));
                octets.extend(self.command());
            }
            1 => (0..count).for_each(|_| octets.extend(self.command())),
            _ => (0..count).for_each(|_| octets.extend(self.frame())),
        }
        // One of the last things said is wrong: what comes behind it is not read.
        if self.is_one_of(6) {
            octets.extend(self.wrong_frame());
        }
        (octets, count as u64)
    }

    fn frame(&mut self) -> Vec<u8> {
        if self.is_one_of(8) { self.command() } else { self.content() }
    }

    /// What a peer of this role says when all is well, or at least what ZMTP allows it to say.
    fn content(&mut self) -> Vec<u8> {
        let name = [b'A' + self.rng.below(4) as u8, self.rng.next() as u8];
        let number = self.rng.next() % 100;
        let partition = format!("FUZZ{}", self.rng.below(16));
        match (self.role, self.rng.below(16)) {
            (Role::Subscriber, 0..8) => frame(0, &[&[1], &name[..]].concat()),
            (Role::Subscriber, 8..12) => frame(0, &[&[0], &name[..]].concat()),
            (Role::Publisher, 0..8) => {
                [frame(MORE, &record(TOPIC, &partition, number)), frame(0, &name)].concat()
            }
            (Role::Publisher, 8..12) => frame(0, &head(TOPIC, &partition, number)),
            (_, 12) => frame(MORE, &name),
            (_, 13) => frame(0, b""),
            (_, 14) => {
                let len = self.rng.below(1_000);
                frame(LONG, &self.rng.octets(len))
            }
            _ => {
                let len = self.rng.below(40);
                frame(0, &self.rng.octets(len))
            }
        }
    }

    fn command(&mut self) -> Vec<u8> {
        let len = self.rng.below(17);
        let context = self.rng.octets(len);
        let topic = self.rng.octets(2);
        match self.rng.below(16) {
            // The first two octets say after how many tenths of a second of silence to end the connection.
            0..8 => command(b"PING", &[&[0, 0], &context[..]].concat()),
            8 => command(b"PING", &[&[0, 1], &context[..]].concat()),
            9..13 => command(b"PONG", &context),
            13 => command(b"SUBSCRIBE", &topic),
            14 => command(b"CANCEL", &topic),
            _ => command(b"UNKNOWN", &context),
        }
    }

    /// What must end a connection, or may.
    fn wrong_frame(&mut self) -> Vec<u8> {
        let len = self.rng.below(60);
        match self.rng.below(8) {
            // Context of more octets than ZMTP allows, and no room for the time.
            0 => command(b"PING", &[7; 40]),
            1 => command(b"PING", b"\x00"),
            2 => command(b"ERROR", b"\x04what"),
            3 => frame(COMMAND | MORE, b"\x04PING\x00\x00"),
            4 => frame(COMMAND, b"\xffPING"),
            5 => [&[LONG][..], &[0xff; 8]].concat(),
            // A frame that never comes to its end.
            6 => vec![LONG, 0, 0, 0, 0, 0, 0, 3, 0, 1, 2, 3],
            _ => self.rng.octets(len),
        }
    }

    /// In one piece, or in pieces that end anywhere.
    fn write(&mut self, stream: &mut TcpStream, octets: &[u8]) -> std::io::Result<()> {
        if !self.is_one_of(4) {
            return stream.write_all(octets);
        }
        let mut rest = octets;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((1 + self.rng.below(2_000)).min(rest.len()));
            stream.write_all(piece)?;
            rest = after;
        }
        Ok(())
    }

    fn end(&mut self, stream: TcpStream) {
        match self.rng.below(8) {
            0..4 => reset(stream),
            4 => drop(stream),
            5 => {
                let _ = stream.shutdown(Shutdown::Write);
                self.half_open.push(stream);
            }
            _ => self.half_open.push(stream),
        }
        if self.half_open.len() > MOST_HALF_OPEN {
            let at = self.rng.below(self.half_open.len());
            reset(self.half_open.swap_remove(at));
        }
    }
}

/// Ends a connection with RST, whatever is under way.
fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of_val(&linger) as libc::socklen_t;
    // SAFETY: the descriptor is open, and the pointer is to a value of that length that lives.
    let rc = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            len,
        )
    };
    assert_eq!(rc, 0, "SO_LINGER");
}

/// A frame of ZMTP 3; a short one, unless the flags say LONG.
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
