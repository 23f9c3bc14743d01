//! Class `dafka_beacon`: makes a node known, and tells it of its peers.
//!
//! Producers, consumers and stores have a beacon of their own; an application needs this class only when it is a
//! node itself, one that speaks the protocol with `dafka_proto_t` (RFC 46/DAFKA, "Interconnection Model"). A
//! beacon is an actor that tells the towers each `beacon/interval` where its node listens, and its node where the
//! others do. A peer that is silent for `beacon/timeout` is gone, unless it is the towers that are gone.
//! `zactor_new` starts it with a `dafka_beacon_args_t`, and returns when a tower has welcomed it, or none has
//! within `beacon/connect_timeout`; `zactor_destroy` ends it.
//!
//! # Configuration
//!
//! The keys below `beacon/`: `beacon/sub_address` and `beacon/pub_address` (where the towers are),
//! `beacon/address` (the host that peers are to connect to, when the tower cannot find out), `beacon/interval`,
//! `beacon/timeout` and `beacon/connect_timeout` in milliseconds, `beacon/max_peers`, `beacon/verbose`.
//!
//! # Commands
//!
//! The owner sends:
//!
//! - `START`: make the node known; two more frames hold its address, a UUID as 32 hexadecimal digits, and the TCP
//!   port that it listens at (`zsock_send` with picture `ssi`). Peers that announce the same address are the node
//!   itself, and ignored.
//! - `STOP`: announce the node no more. The beacon keeps its peers, and goes on to report them.
//! - `$TERM`: end, as `zactor_destroy` sends it.
//!
//! The beacon sends:
//!
//! - `CONNECT` or `DISCONNECT`: a peer came or went; a second frame holds its endpoint as it was announced.
//!   `dafka_beacon_recv` applies it to a socket.
//!
//! It does so without `START`, too: then the node only listens.
//!
//! The host in an endpoint may be a name, and may not exist. When the beacon finds the host late or elsewhere, it sends
//! `DISCONNECT` and `CONNECT` for the endpoint. A program that connects by itself (`zsock_connect`) makes ZeroMQ look the
//! name up, in the thread that serves all sockets of the process; `dafka_beacon_recv` does not.
//!
//! # Example
//!
//! ```c
//! //  Tells of each partition of a topic that it hears of
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
//!     //  What a node has: a socket for what it says, one for what it hears
//!     zsock_t *pub = zsock_new (ZMQ_XPUB);
//!     zsock_t *sub = zsock_new (ZMQ_SUB);
//!     int port = zsock_bind (pub, "tcp://127.0.0.1:*");
//!     assert (port > 0);
//!     dafka_proto_subscribe (sub, DAFKA_PROTO_HEAD, "weather");
//!
//!     //  Its beacon makes it known under a name of its own
//!     zuuid_t *uuid = zuuid_new ();
//!     dafka_beacon_args_t args = { "Example", config };
//!     zactor_t *beacon = zactor_new (dafka_beacon_actor, &args);
//!     assert (beacon);
//!     zsock_send (beacon, "ssi", "START", zuuid_str (uuid), port);
//!
//!     //  Another node comes, and publishes
//!     dafka_producer_args_t producer_args = { "weather", config };
//!     zactor_t *producer = zactor_new (dafka_producer, &producer_args);
//!     assert (producer);
//!     dafka_producer_msg_t *msg = dafka_producer_msg_new ();
//!     dafka_producer_msg_set_content_str (msg, "20 degrees");
//!     int rc = dafka_producer_msg_send (msg, producer);
//!     assert (rc == 0);
//!     dafka_producer_msg_destroy (&msg);
//!
//!     //  The beacon tells of it, and the socket is connected to it
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

use super::boundary::{entry, octets, run_actor, settings, socket_of, wait_for_input};
use super::selftest;
use crate::actor::beacon;
use crate::czmq::sys::{zactor_t, zconfig_t, zsock_t};
use crate::net::{Frame, is_signal, names};
use std::ffi::{c_char, c_void};
use zmq::POLLOUT;

/// What `dafka_beacon_actor` is started with. Prefix and configuration remain the caller's, and may be freed
/// once `zactor_new` has returned.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct dafka_beacon_args_t {
    /// What its log lines begin with; NULL: "Beacon".
    pub log_prefix: *const c_char,
    /// NULL: defaults.
    pub config: *mut zconfig_t,
}

/// The beacon's actor: a function for `zactor_new`, whose `args` is a `dafka_beacon_args_t *`, or NULL for the
/// defaults. Not to be called directly. It is ready, and `zactor_new` returns, when a tower has welcomed it or
/// `beacon/connect_timeout` (milliseconds) has passed.
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
            let prefix =
                args.and_then(|args| octets(args.log_prefix, "log_prefix").ok()).unwrap_or(b"Beacon");
            let name = String::from_utf8_lossy(prefix).into_owned();
            beacon::run(pipe, &settings(config).beacon, &name)
        });
    }
}

const ENDED: &str = "the beacon has ended";
const NOT_FOUND: &str = "the host is not found; the beacon reports the peer again when it is";
const NO_CHANGE: &str = "a beacon says CONNECT or DISCONNECT, and an endpoint";

/// Waits for one `CONNECT` or `DISCONNECT` of a beacon and applies it to a socket (`zmq_connect`,
/// `zmq_disconnect`). A host that has a name is connected to by the address that the beacon has found. With `verbose` the change is logged, after `log_prefix` (NULL: "Beacon"). An endpoint that
/// cannot be used is logged, as is a NULL beacon or socket, and a beacon that has ended; nothing else happens then, and
/// nothing happens when a signal (SIGINT and SIGTERM under CZMQ's handling) or the time limit of the beacon's pipe
/// (`zsock_set_rcvtimeo`) ends the wait.
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
        let prefix = octets(log_prefix, "log_prefix").unwrap_or(b"Beacon").escape_ascii();
        // A pipe that takes nothing has nobody at its other end any more. An actor that has failed waits there for `$TERM`.
        let ended = || (!pipe.events().contains(POLLOUT) || pipe.has_ended()).then_some(ENDED);
        let (mut word, mut endpoint) = (Frame::new(), Frame::new());
        loop {
            if !wait_for_input(&pipe, &ended)? || pipe.recv(&mut word).is_err() {
                return Ok(());
            }
            if !is_signal(&word) {
                break;
            }
            // Its ready signal, when a Unix signal has interrupted zactor_new; or its last word.
            if !pipe.is_heard() {
                // zactor_destroy must not wait for it: it does not when it finds the pipe closed, which happens right
                // after that word.
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

/// The self test of this class, as `dafka_selftest` runs it: uses the functions of the class and prints " *
/// dafka_beacon: OK"; a check that fails aborts the process. With `verbose`, the nodes that it runs log what they
/// do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_beacon_test(verbose: bool) {
    selftest::run("dafka_beacon", verbose, selftest::beacon);
}
