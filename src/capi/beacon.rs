//! Class `dafka_beacon`.

use super::boundary::{entry, octets, resolve, run_actor, settings};
use super::selftest;
use crate::actor::beacon;
use crate::czmq::sys::{zactor_t, zconfig_t, zsock_t};
use crate::net::Frame;
use std::ffi::{c_char, c_void};

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

/// The beacon: makes a node known to the towers at `beacon/sub_address` and `beacon/pub_address`, and tells it of
/// its peers. An actor for `zactor_new`, whose `args` is a `dafka_beacon_args_t *` (NULL: defaults).
///
/// Understands `START` uuid port (picture `ssi`), `STOP` and `$TERM`. It is ready when a tower has welcomed it, or
/// none has within `beacon/connect_timeout`; sends `CONNECT` endpoint and `DISCONNECT` endpoint, two string frames
/// each, which `dafka_beacon_recv` applies to a socket.
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

/// Reads one `CONNECT` or `DISCONNECT` off a beacon, waiting for it, and applies it to `sub`. With `verbose` the
/// change is logged, after `log_prefix` (NULL: "Beacon"). An endpoint that cannot be used is logged.
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
        let pipe = resolve(beacon).ok_or("the beacon is NULL")?;
        let sub = resolve(sub).ok_or("the socket is NULL")?;
        let prefix = octets(log_prefix, "log_prefix").unwrap_or(b"Beacon").escape_ascii();
        let (mut word, mut endpoint) = (Frame::new(), Frame::new());
        if pipe.recv(&mut word).is_err() || !word.more() || pipe.recv_more(&mut endpoint).is_err() {
            // Interrupted, or the beacon's last word.
            return Ok(());
        }
        pipe.skip_rest(&endpoint);
        let endpoint = std::str::from_utf8(endpoint.as_ref()).map_err(|_| "an endpoint is no text")?;
        let applied = match word.as_ref() {
            b"CONNECT" => sub.connect(endpoint),
            b"DISCONNECT" => sub.disconnect(endpoint),
            _ => return Err("a beacon says CONNECT or DISCONNECT".into()),
        };
        if verbose {
            log::debug!("{prefix}: {} {endpoint}", word.as_ref().escape_ascii());
        }
        applied.map_err(|error| format!("{prefix}: {endpoint}: {error}").into())
    })
}

/// The self test of this class: prints " * dafka_beacon: OK", and aborts the process when a check fails. With `verbose`
/// the actors that it runs log more.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_beacon_test(verbose: bool) {
    selftest::run("dafka_beacon", verbose, selftest::beacon);
}
