//! Class `dafka_beacon`: announces a node, and reports its peers.
//!
//! Producers, consumers and stores have their own beacon. An application needs this class only when it is itself a node
//! that speaks the protocol with `dafka_proto_t` (RFC 46/DAFKA, "Interconnection Model"). A beacon is an actor. Every
//! `beacon/interval`, it sends the endpoint of its node to the towers. It reports the endpoints of the other nodes to
//! its owner. The beacon reports a peer as gone when the peer has sent no beacon for `beacon/timeout`. But it does not
//! do so while no tower is connected, or when the towers have sent nothing for half of this time (or for two
//! `beacon/interval`, if that is longer).
//!
//! `zactor_new` starts a beacon with a `dafka_beacon_args_t`. `zactor_new` returns when a tower has answered, or when
//! `beacon/connect_timeout` has passed. `zactor_destroy` ends the beacon.
//!
//! # Configuration
//!
//! A beacon reads these keys: `beacon/sub_address` and `beacon/pub_address` (the addresses of the towers),
//! `beacon/address` (the host that peers connect to, when the tower cannot determine it), `beacon/interval`,
//! `beacon/timeout` and `beacon/connect_timeout` in milliseconds, `beacon/max_peers`, `beacon/verbose`.
//!
//! # Commands
//!
//! The owner sends:
//!
//! - `START`: announce the node. Two more frames hold the node's address (a UUID as 32 hexadecimal digits) and the TCP
//!   port that the node listens at (`zsock_send` with picture `ssi`). The beacon ignores announcements of this address,
//!   because they are its own.
//! - `STOP`: stop announcing the node. The beacon keeps its peers and continues to report them.
//! - `$TERM`: end. `zactor_destroy` sends it.
//!
//! The beacon sends:
//!
//! - `CONNECT` or `DISCONNECT`: a peer has appeared or disappeared. A second frame holds the endpoint as a tower
//!   announced it. `dafka_beacon_recv` applies the change to a socket.
//!
//! Without `START` the beacon reports peers too, but the peers do not discover the node.
//!
//! The host in an endpoint may be a name. The beacon reports a peer even while this name cannot be resolved. It
//! resolves the name again from time to time. When the result changes, the beacon sends `DISCONNECT` and `CONNECT` for
//! the endpoint. If a program calls `zsock_connect` itself, ZeroMQ resolves the name in the thread that serves all
//! sockets of the process. Meanwhile, this thread is blocked. `dafka_beacon_recv` avoids this.
//!
//! # Example
//!
//! ```c
//! //  Prints the partition of a producer that it discovers
//!
//! #include <dafka.h>
//!
//! int main (void)
//! {
//!     zconfig_t *config = zconfig_new ("root", NULL);
//!     zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
//!     zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
//!     zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
//!     zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
//!     zconfig_put (config, "beacon/address", "127.0.0.1");
//!     zconfig_put (config, "producer/head_interval", "100");
//!     zconfig_put (config, "producer/terminate_unacked", "1");
//!     zactor_t *tower = zactor_new (dafka_tower_actor, config);
//!     assert (tower);
//!
//!     //  A node has a socket that sends and one that receives
//!     zsock_t *pub = zsock_new (ZMQ_XPUB);
//!     zsock_t *sub = zsock_new (ZMQ_SUB);
//!     int port = zsock_bind (pub, "tcp://127.0.0.1:*");
//!     assert (port > 0);
//!     dafka_proto_subscribe (sub, DAFKA_PROTO_HEAD, "weather");
//!
//!     //  The beacon announces the node under its address
//!     zuuid_t *uuid = zuuid_new ();
//!     dafka_beacon_args_t args = { "Example", config };
//!     zactor_t *beacon = zactor_new (dafka_beacon_actor, &args);
//!     assert (beacon);
//!     zsock_send (beacon, "ssi", "START", zuuid_str (uuid), port);
//!
//!     //  Another node starts, and publishes a record
//!     dafka_producer_args_t producer_args = { "weather", config };
//!     zactor_t *producer = zactor_new (dafka_producer, &producer_args);
//!     assert (producer);
//!     dafka_producer_msg_t *msg = dafka_producer_msg_new ();
//!     dafka_producer_msg_set_content_str (msg, "20 degrees");
//!     int rc = dafka_producer_msg_send (msg, producer);
//!     assert (rc == 0);
//!     dafka_producer_msg_destroy (&msg);
//!
//!     //  The beacon reports the producer, and the socket connects to it
//!     dafka_beacon_recv (beacon, sub, false, "Example");
//!     dafka_proto_t *head = dafka_proto_new ();
//!     rc = dafka_proto_recv (head, sub);
//!     assert (rc == 0);
//!     assert (streq (dafka_proto_address (head),
//!                    dafka_producer_address (producer)));
//!     printf ("partition %s has records up to %u\n",
//!             dafka_proto_address (head),
//!             (unsigned) dafka_proto_sequence (head));
//!     dafka_proto_destroy (&head);
//!
//!     zactor_destroy (&producer);
//!     zstr_send (beacon, "STOP");
//!     zactor_destroy (&beacon);
//!     zuuid_destroy (&uuid);
//!     zsock_destroy (&sub);
//!     zsock_destroy (&pub);
//!     zactor_destroy (&tower);
//!     zconfig_destroy (&config);
//!     return 0;
//! }
//! ```

use super::boundary::{bytes, entry, run_actor, settings, socket_of, wait_for_input};
use super::selftest;
use crate::actor::beacon;
use crate::czmq::sys::{zactor_t, zconfig_t, zsock_t};
use crate::net::{Frame, is_signal, names};
use std::ffi::{c_char, c_void};
use zmq::POLLOUT;

/// The arguments of `dafka_beacon_actor`. The caller keeps prefix and configuration, and may free them after
/// `zactor_new` has returned.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct dafka_beacon_args_t {
    /// The prefix of the beacon's log lines. NULL: "Beacon".
    pub log_prefix: *const c_char,
    /// The configuration. NULL for the defaults.
    pub config: *mut zconfig_t,
}

/// The beacon's actor: a function for `zactor_new`, whose `args` is a `dafka_beacon_args_t *`, or NULL for the
/// defaults. Do not call it directly. `zactor_new` returns when a tower has answered or `beacon/connect_timeout`
/// (milliseconds) has passed.
///
/// # Safety
/// `pipe` is the actor's end of its pipe; `args` is NULL or live, with members that are NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_beacon_actor(pipe: *mut zsock_t, args: *mut c_void) {
    // SAFETY: zactor_new gives the pipe to this thread; what `args` points to is copied before the ready signal.
    unsafe {
        run_actor("Beacon", pipe, |pipe| {
            let args = args.cast::<dafka_beacon_args_t>().as_ref();
            let config = args.map_or(std::ptr::null_mut(), |args| args.config);
            let prefix = args.and_then(|args| bytes(args.log_prefix, "log_prefix").ok()).unwrap_or(b"Beacon");
            let name = String::from_utf8_lossy(prefix).into_owned();
            beacon::run(pipe, &settings(config).beacon, &name)
        });
    }
}

const ENDED: &str = "the beacon has ended";
const NOT_FOUND: &str = "the host is not found; the beacon reports the peer again when it is found";
const NO_CHANGE: &str = "a beacon sends CONNECT or DISCONNECT, and an endpoint";

/// Waits for one `CONNECT` or `DISCONNECT` of a beacon, and applies it to a socket (`zmq_connect`, `zmq_disconnect`).
/// If the host is a name, the socket connects to the address that the beacon has found for it. With `verbose`, the
/// function logs the change in a line that begins with `log_prefix` (NULL: "Beacon").
///
/// When the endpoint cannot be used, when `beacon` or `sub` is NULL, or when the beacon has ended, the function logs an
/// error and returns. It returns without a log line when a signal ends the wait (see "Signals" in dafka(7)), or when
/// the timeout of the beacon's pipe has passed (`zsock_set_rcvtimeo`).
///
/// # Safety
/// `beacon` is NULL or a live actor that runs `dafka_beacon_actor`; `sub` is NULL or a live socket; `log_prefix`
/// is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_beacon_recv(
    beacon: *mut zactor_t,
    sub: *mut zsock_t,
    verbose: bool,
    log_prefix: *const c_char,
) {
    // SAFETY: the caller's promise.
    entry("dafka_beacon_recv", (), || unsafe {
        let pipe = socket_of(beacon, "beacon")?;
        let sub = socket_of(sub, "socket")?;
        let prefix = bytes(log_prefix, "log_prefix").unwrap_or(b"Beacon").escape_ascii();
        // When an actor has failed, its end of the pipe stays open until the actor receives `$TERM`. Until then, the
        // pipe is writable, and only `has_ended` shows the failure. When the other end is closed, the pipe is not
        // writable.
        let ended = || (!pipe.events().contains(POLLOUT) || pipe.has_ended()).then_some(ENDED);
        let (mut word, mut endpoint) = (Frame::new(), Frame::new());
        loop {
            if !wait_for_input(&pipe, &ended)? || pipe.recv(&mut word).is_err() {
                return Ok(());
            }
            if !is_signal(&word) {
                break;
            }
            // The message is the actor's ready signal if a Unix signal has interrupted zactor_new. Otherwise it is the
            // actor's last signal.
            if !pipe.has_actor() {
                // zactor_destroy waits for the last signal unless the pipe is closed, but the signal was read here. The
                // actor closes the pipe right after this signal, so wait until the pipe is closed.
                pipe.wait_until_closed();
                return Err(ENDED.into());
            }
        }
        if !word.more() || pipe.recv_more(&mut endpoint).is_err() {
            return Err(NO_CHANGE.into());
        }
        pipe.skip_rest(&endpoint);
        let endpoint = std::str::from_utf8(endpoint.as_ref()).map_err(|_| "an endpoint is no text")?;
        let applied = match word.as_ref() {
            b"CONNECT" => match names::connect(&sub, endpoint) {
                Some(address) => sub.connect(&address),
                None => return Err(format!("{prefix}: {endpoint}: {NOT_FOUND}").into()),
            },
            b"DISCONNECT" => {
                names::disconnect(&sub, endpoint).map_or(Ok(()), |address| sub.disconnect(&address))
            }
            _ => return Err(NO_CHANGE.into()),
        };
        if verbose {
            log::debug!("{prefix}: {} {endpoint}", word.as_ref().escape_ascii());
        }
        applied.map_err(|error| format!("{prefix}: {endpoint}: {error}").into())
    })
}

/// Runs the self test of this class, as `dafka_selftest` does. It calls the functions of the class, and prints " *
/// dafka_beacon: OK". A failed check aborts the process. With `verbose`, the nodes of the test log what they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_beacon_test(verbose: bool) {
    selftest::run("dafka_beacon", verbose, selftest::beacon);
}
