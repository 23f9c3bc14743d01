//! Classes `dafka_tower` and `dafka_beacon`.

use super::support::{Actor, LIMIT_MS, Network, Zsock, check, frames, quietly};
use crate::capi::beacon::*;
use crate::net::Kind;
use std::ptr::null;

/// A tower sends a welcome to a node that connects. If the beacon of a node lacks the host, the tower adds it. The
/// tower forwards the beacon.
pub(in crate::capi) fn tower(verbose: bool) {
    let network = Network::new(verbose);
    let node = Zsock::connected(Kind::PUB, &network.tower("sub"));
    let watcher = Zsock::new(Kind::SUB);
    for kind in [b"W", b"B"] {
        check!(watcher.socket().zmq().set_subscribe(kind).is_ok());
    }
    check!(watcher.socket().zmq().connect(&network.tower("pub")).is_ok());
    check!(frames(&watcher.socket()) == [b"W"]);
    let own = crate::czmq::first_interface_address().unwrap_or_else(|| "127.0.0.1".into());
    for (host, endpoint) in [("host", "tcp://host:7001".to_owned()), ("", format!("tcp://{own}:7001"))] {
        // A publisher drops messages without a subscriber, so send the beacon until it arrives. Beacons of the previous
        // round may still arrive first.
        let (mut tries, mut received) = (0, Vec::new());
        while received != [&b"B"[..], b"NODE", endpoint.as_bytes()] {
            check!(node.socket().send_frames(&[b"B", b"NODE", host.as_bytes(), b"7001"]).is_ok());
            tries += 1;
            check!(tries < LIMIT_MS / 10);
            if watcher.socket_has_input() {
                received = frames(&watcher.socket());
                check!(received.len() == 3 && received[..2] == [&b"B"[..], b"NODE"]);
            }
        }
    }
}

impl Zsock {
    /// Waits up to 10 ms for input.
    fn socket_has_input(&self) -> bool {
        let socket = self.socket();
        zmq::poll(&mut [socket.item(zmq::POLLIN)], 10) == Ok(1)
    }
}

/// Two beacons discover each other, `dafka_beacon_recv` connects a socket, and a beacon that ended is reported.
pub(in crate::capi) fn beacon(verbose: bool) {
    let mut network = Network::new(verbose);
    network.config.put("beacon/timeout", "1000");
    let mut args = dafka_beacon_args_t { log_prefix: c"Self test".as_ptr(), config: network.config() };
    // SAFETY: the arguments outlive the calls.
    let (first, second) = unsafe {
        let args = (&raw mut args).cast();
        (Actor::new(dafka_beacon_actor, args), Actor::new(dafka_beacon_actor, args))
    };
    let publisher = Zsock::bound(Kind::PUB, "tcp://127.0.0.1:*");
    let endpoint = publisher.socket().zmq().get_last_endpoint().ok().and_then(Result::ok).unwrap_or_default();
    let port = endpoint.rsplit(':').next().unwrap_or_default();
    let subscriber = Zsock::new(Kind::SUB);
    check!(subscriber.socket().zmq().set_subscribe(b"").is_ok());

    // Nothing connects to the port of the first node, so nothing needs to listen there.
    check!(first.pipe().send_frames(&[b"START", b"FIRST", b"1"]).is_ok());
    check!(second.pipe().send_frames(&[b"START", b"SECOND", port.as_bytes()]).is_ok());
    // SAFETY: actor and socket are live.
    unsafe { dafka_beacon_recv(first.0, subscriber.as_c(), verbose, c"Self test".as_ptr()) };
    let mut tries = 0;
    while !subscriber.socket_has_input() {
        check!(publisher.socket().send_frames(&[b"anybody there?"]).is_ok());
        tries += 1;
        check!(tries < LIMIT_MS / 10);
    }
    check!(frames(&second.pipe())[0] == b"CONNECT");

    second.end();
    loop {
        let change = frames(&first.pipe());
        check!(change.len() == 2 && change[1] == format!("tcp://127.0.0.1:{port}").as_bytes());
        if change[0] == b"DISCONNECT" {
            break;
        }
        check!(change[0] == b"CONNECT");
    }
    // SAFETY: NULL is allowed.
    quietly(|| unsafe { dafka_beacon_recv(std::ptr::null_mut(), subscriber.as_c(), verbose, null()) });
    check!(first.pipe().send_frames(&[b"STOP"]).is_ok());
}
