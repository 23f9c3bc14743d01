//! Receives the towers' beacons once for many consumers of one process.
//!
//! Each node receives the beacons of all others, so a process with a thousand consumers would read a million beacons
//! per interval. But consumers do not connect to each other and do not need each other's beacons. The relay subscribes
//! to the towers as a node does. To the consumers it acts as a tower at an inproc:// address, and leaves out most
//! beacons of local consumers.

use super::beacon::MAX_HELD_BYTES;
use super::local_consumers::is_local_consumer;
use super::{BATCH_COUNT, Handle, MAX_FRAME_LEN_BYTES, Result, panic_text, spawn};
use crate::czmq::fork::{GENERATIONS, PerProcess};
use crate::net::{Backlog, Frame, Kind, Pipe, Socket, TERM, now_ms, poll};
use crate::settings::{self, TowerAddress};
use crate::wire::{TowerBeacon, WELCOME};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use zmq::POLLIN;

/// Up to this many consumers with the same towers connect to the towers themselves. So most processes need no relay.
const MAX_DIRECT_COUNT: usize = 8;
/// A consumer that receives no beacons for a while assumes that all towers are gone. So the relay forwards a local
/// consumer's beacon when it has forwarded none for this long.
const KEEP_ALIVE_MS: u64 = 250;
/// The most frames of a tower's beacon that the relay forwards.
const BEACON_FRAMES: usize = 4;
/// The pause after a panic, so that a panic that repeats does not fill the log.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

/// The consumers of this process, by the addresses of their towers.
static GROUPS: PerProcess<BTreeMap<String, Group>> =
    PerProcess::new([const { Mutex::new(BTreeMap::new()) }; GENERATIONS]);

struct Group {
    consumers: usize,
    relay: Weak<Relay>,
}

/// A relay. It ends when its last consumer drops it.
struct Relay {
    actor: Mutex<Handle>,
    endpoint: TowerAddress,
}

impl Relay {
    /// False once its thread has ended after an error of libzmq.
    fn is_running(&self) -> bool {
        !self.actor.lock().unwrap_or_else(PoisonError::into_inner).is_finished()
    }
}

/// A consumer in the group of those with the same towers.
pub(super) struct Member {
    towers: String,
    /// `None` when the consumer connects to the towers itself.
    relay: Option<Arc<Relay>>,
}

impl Member {
    /// Adds a consumer to its group. If a relay cannot be started, the consumer connects to the towers itself.
    pub(super) fn new(beacon: &settings::Beacon) -> Member {
        let towers = settings::list(&beacon.pub_addresses);
        let mut groups = GROUPS.lock();
        let group = groups.entry(towers.clone()).or_insert(Group { consumers: 0, relay: Weak::new() });
        group.consumers += 1;
        let mut relay = None;
        if group.consumers > MAX_DIRECT_COUNT {
            let running = group.relay.upgrade().filter(|relay| relay.is_running());
            relay = running.or_else(|| start(&towers, beacon).ok().map(Arc::new));
            group.relay = relay.as_ref().map_or(Weak::new(), Arc::downgrade);
        }
        Member { towers, relay }
    }

    /// The settings for the consumer's beacon.
    pub(super) fn settings(&self, beacon: &settings::Beacon) -> settings::Beacon {
        let mut beacon = beacon.clone();
        if let Some(relay) = &self.relay {
            beacon.pub_addresses = vec![relay.endpoint.clone()];
        }
        beacon
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut groups = GROUPS.lock();
        if let Some(group) = groups.get_mut(&self.towers) {
            group.consumers -= 1;
            if group.consumers == 0 {
                groups.remove(&self.towers);
            }
        }
        drop(groups);
        // The last member waits here for the relay's end. It must not hold the lock meanwhile.
        drop(self.relay.take());
    }
}

fn start(towers: &str, beacon: &settings::Beacon) -> Result<Relay> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    // Log lines of the consumers contain this endpoint, so it includes the towers' addresses.
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let endpoint = TowerAddress::inproc(&format!("dafka-relay-{number}/{towers}"));
    let outgoing = Socket::new(Kind::XPUB)?;
    outgoing.zmq().set_linger(0)?;
    outgoing.bind(&endpoint)?;
    let incoming = Socket::new(Kind::SUB)?;
    incoming.zmq().set_linger(0)?;
    incoming.enable_heartbeats()?;
    incoming.limit_untrusted_peers(MAX_FRAME_LEN_BYTES)?;
    // Subscribe before connecting: a tower sends its welcome when a connection is made, not when a subscription
    // arrives.
    incoming.zmq().set_subscribe(WELCOME)?;
    incoming.zmq().set_subscribe(b"B")?;
    let unread = Backlog::connecting("Consumer", MAX_HELD_BYTES, 0);
    for address in &beacon.pub_addresses {
        unread.connect(&address.to_text());
        if let Err(error) = incoming.connect(address) {
            log::error!("Consumer: cannot connect to a tower at {address}: {error}");
        }
    }
    let actor = spawn("dafka-relay", move |pipe| {
        pipe.signal()?;
        restart_after_panics(|| run(pipe, &incoming, &outgoing, &unread))
    })?;
    Ok(Relay { actor: Mutex::new(actor), endpoint })
}

/// Runs the relay again after a panic, because its consumers find no new peers without it.
fn restart_after_panics(mut run: impl FnMut() -> Result) -> Result {
    loop {
        match catch_unwind(AssertUnwindSafe(&mut run)) {
            Ok(result) => return result,
            Err(panic) => log::error!("Consumer: internal error in the relay: {}", panic_text(&*panic)),
        }
        std::thread::sleep(PANIC_PAUSE);
    }
}

fn run(pipe: &Pipe, incoming: &Socket, outgoing: &Socket, unread: &Backlog) -> Result {
    let mut forwarded_ms = 0;
    loop {
        poll(&mut [pipe.item(POLLIN), incoming.item(POLLIN), outgoing.item(POLLIN)], -1)?;
        let mut frame = Frame::new();
        while pipe.try_recv(&mut frame)? {
            if frame.as_ref() == TERM {
                return Ok(());
            }
        }
        // Discards the subscriptions of the consumers.
        for _ in 0..BATCH_COUNT {
            if !outgoing.try_recv(&mut frame)? {
                break;
            }
        }
        let mut frames: [Frame; BEACON_FRAMES] = Default::default();
        let mut is_drained = false;
        for _ in 0..BATCH_COUNT {
            let count = receive(incoming, &mut frames)?;
            is_drained = count == 0;
            if is_drained {
                break;
            }
            let bytes: Vec<&[u8]> = frames[..count].iter().map(Frame::as_ref).collect();
            let len_bytes = bytes.iter().map(|bytes| bytes.len()).sum();
            unread.took(frames[0].origin(), len_bytes, count);
            if bytes == [WELCOME] {
                // Consumers that connect later are welcomed too.
                outgoing.zmq().set_xpub_welcome_msg(Some("W"))?;
            } else {
                let Ok(beacon) = TowerBeacon::decode(&bytes) else { continue };
                if is_local_consumer(beacon.sender) && now_ms() < forwarded_ms + KEEP_ALIVE_MS {
                    continue;
                }
            }
            forwarded_ms = now_ms();
            outgoing.send_frames(&bytes)?;
        }
        unread.end_turn(is_drained);
    }
}

/// Receives the first frames of a message. Returns their number, or 0 when there is no message.
fn receive(incoming: &Socket, frames: &mut [Frame; BEACON_FRAMES]) -> Result<usize> {
    if !incoming.try_recv(&mut frames[0])? {
        return Ok(0);
    }
    let mut count = 1;
    while count < BEACON_FRAMES && frames[count - 1].more() && incoming.try_recv(&mut frames[count])? {
        count += 1;
    }
    incoming.skip_rest(&frames[count - 1]);
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn a_relay_that_has_ended_is_not_joined() {
        let (settings, _) = Settings::read(|key| match key {
            "beacon/pub_address" | "beacon/sub_address" => Some("inproc://relay-test".into()),
            _ => None,
        });
        let mut members: Vec<Member> =
            (0..MAX_DIRECT_COUNT + 2).map(|_| Member::new(&settings.beacon)).collect();
        let relay = |member: &Member| member.relay.clone().expect("many consumers have a relay");
        let first = relay(&members[MAX_DIRECT_COUNT]);
        assert!(Arc::ptr_eq(&first, &relay(&members[MAX_DIRECT_COUNT + 1])));
        first.actor.lock().unwrap().send(TERM);
        while first.is_running() {
            std::thread::yield_now();
        }
        members.extend((0..2).map(|_| Member::new(&settings.beacon)));
        let [second, same] = [2, 3].map(|i| relay(&members[MAX_DIRECT_COUNT + i]));
        assert!(second.is_running() && Arc::ptr_eq(&second, &same));
        assert!(second.endpoint.to_text() != first.endpoint.to_text());
    }

    #[test]
    fn a_relay_goes_on_after_a_panic() {
        let mut runs = 0;
        let result = restart_after_panics(|| {
            runs += 1;
            assert!(runs > 1, "as the test wants it");
            Ok(())
        });
        assert!(result.is_ok());
        assert_eq!(runs, 2);
    }
}
