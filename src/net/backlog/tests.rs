//! Tests of the bounds on what libzmq holds.

use super::super::Kind;
use super::*;

#[test]
fn growth_that_is_no_more_than_what_is_held_is_in_proportion() {
    const MIB: u64 = 1 << 20;
    let mut growth = Growth::default();
    assert!(!growth.is_out_of_proportion(Growth::MUCH_BYTES - 1) && growth.since.is_none());
    assert!(!growth.grows(10 * MIB, 100 * MIB));
    // A long record.
    assert!(!growth.grows(500 * MIB, 600 * MIB));
    // Short frames.
    assert!(!growth.grows(20 * MIB, 260 * MIB));
    assert!(growth.grows(20 * MIB, 300 * MIB));
    assert!(!growth.grows(20 * MIB, 300 * MIB), "it was said");
}

/// Sends to an XPUB socket that nobody reads, until it is cut off.
#[test]
fn what_nobody_reads_is_cut_off() {
    let socket = Socket::new(Kind::XPUB).unwrap();
    socket.expect_subscribers().unwrap();
    socket.zmq().set_linger(0).unwrap();
    let port = socket.bind_ephemeral().unwrap();
    let backlog = Backlog::listening("Test", &socket, 1 << 20);
    let subscriber = Socket::new(Kind::SUB).unwrap();
    subscriber.zmq().set_linger(0).unwrap();
    subscriber.zmq().set_sndhwm(0).unwrap();
    subscriber.zmq().set_reconnect_ivl(-1).unwrap();
    let events = zmq::SocketEvent::DISCONNECTED.to_raw();
    subscriber.zmq().monitor("inproc://backlog-test", i32::from(events)).unwrap();
    let monitor = Socket::new(Kind::PAIR).unwrap();
    monitor.connect("inproc://backlog-test").unwrap();
    monitor.zmq().set_rcvtimeo(60_000).unwrap();
    subscriber.connect(&format!("tcp://127.0.0.1:{port}")).unwrap();
    let mut frame = Frame::new();
    let subscribe = |number: u32| {
        subscriber.zmq().set_subscribe(&[&number.to_be_bytes()[..], &[b'x'; 96]].concat()).unwrap();
    };
    // What is read is no burden.
    socket.zmq().set_rcvtimeo(60_000).unwrap();
    for number in 0..30_000 {
        subscribe(number);
        socket.recv(&mut frame).unwrap();
        backlog.took_subscription(&frame);
    }
    backlog.end_turn(true);
    assert!(!monitor.events().contains(zmq::POLLIN));
    (30_000..60_000).for_each(subscribe);
    monitor.recv(&mut frame).unwrap();
    subscriber.stop_monitor();
}
