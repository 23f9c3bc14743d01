//! Hostile nodes. They beacon and connect as others do, and publish forged messages until the faults stop.
//!
//! Without authentication, nodes cannot distinguish a forged RECORD or ACK from a true one. So the model marks the
//! partitions of such messages, and the invariants demand less of them. Other messages may be forged for any partition.
//! Of these other messages, only HEADs have an effect: they may change the offset at which a consumer of new records
//! starts.

use super::*;
use dafka::wire::{Position, SubjectsBuf};

/// The limit of made-up partitions, including those that a flipped bit makes.
const MAX_MADE_UP: usize = 30;

/// A kind of forged message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// RECORD or DIRECT-RECORD.
    Record,
    Ack,
    Head,
    DirectHead,
    Fetch,
    GetHeads,
    ConsumerHello,
    StoreHello,
    /// A beacon with the address or the endpoint of another node.
    Beacon,
}

impl Forgery {
    pub(crate) const ALL: [Forgery; 9] = [
        Forgery::Record,
        Forgery::Ack,
        Forgery::Head,
        Forgery::DirectHead,
        Forgery::Fetch,
        Forgery::GetHeads,
        Forgery::ConsumerHello,
        Forgery::StoreHello,
        Forgery::Beacon,
    ];
}

/// How a hostile node behaves.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    pub(crate) forgeries: Vec<Forgery>,
    /// The number of messages at once, and the pause between bursts.
    pub(crate) burst: u64,
    pub(crate) pause: Time,
    /// How many messages it may still send. More would take long and find nothing more.
    pub(crate) left: u64,
    /// How many of a thousand messages are truncated or have a flipped bit.
    pub(crate) garbled_per_mille: u64,
}

impl World {
    pub(super) fn start_hostile(&mut self, habits: Habits) {
        let (address, clock, host) =
            (self.fresh_address(), self.fresh_clock(), self.random.below(HOSTS) as Host);
        let id = self.start(host, address, &[], vec![Vec::new()], Role::Hostile(habits), clock);
        self.push(self.now, Event::Forge(id));
    }

    pub(super) fn forge(&mut self, id: NodeId) {
        let Role::Hostile(habits) = &mut self.nodes[id].role else { return };
        let burst = habits.burst.min(habits.left);
        habits.left -= burst;
        let Habits { forgeries, pause, garbled_per_mille, left, .. } = habits.clone();
        for _ in 0..burst {
            let forgery = forgeries[self.random.below(forgeries.len() as u64) as usize];
            if forgery == Forgery::Beacon {
                self.forge_beacon(id);
                continue;
            }
            let Some(mut frame) = self.forged_frame(forgery) else { continue };
            if self.random.chance(garbled_per_mille) {
                self.garble(&mut frame);
            }
            self.publish_forged(id, frame);
        }
        if left > 0 {
            self.push(self.now + pause, Event::Forge(id));
        }
    }

    fn forged_frame(&mut self, forgery: Forgery) -> Option<Vec<u8>> {
        let (subject, address) = self.victim(matches!(forgery, Forgery::Record | Forgery::Ack))?;
        let (sequence, node) = (self.lie(&subject, &address), self.any_address());
        let store = self.any_store_name();
        let mut subjects = SubjectsBuf::new();
        for _ in 0..self.random.below(4) {
            let topic = self.random.pick(&TOPICS);
            subjects.push(topic).expect("a short topic");
        }
        let message = match forgery {
            Forgery::Record => {
                let is_batch = self.random.aside().chance(300);
                let is_live = self.random.chance(500);
                let topic = if is_live { &subject } else { &node };
                let position = Position::new(topic, &address, &subject, sequence);
                match (is_live, is_batch) {
                    (true, false) => Message::Record(position),
                    (true, true) => Message::Records(position),
                    (false, false) => Message::DirectRecord(position),
                    (false, true) => Message::DirectRecords(position),
                }
            }
            Forgery::Ack => Message::Ack { topic: &address, subject: &subject, sequence, store: &store },
            Forgery::Head => Message::Head(Position::new(&subject, &address, &subject, sequence)),
            Forgery::DirectHead => Message::DirectHead {
                position: Position::new(&node, &address, &subject, sequence),
                store: &store,
            },
            Forgery::Fetch => {
                let count = self.random.pick(&[0, 1, 100, u32::MAX]);
                let sequence = if self.random.chance(500) { self.model.first_offset } else { sequence };
                Message::Fetch {
                    topic: &address,
                    address: &node,
                    subject: &subject,
                    sequence,
                    count,
                    store: &store,
                    takes_batches: false,
                }
            }
            Forgery::GetHeads => {
                let topic = if self.random.chance(300) { &[][..] } else { &subject };
                Message::GetHeads { topic, address: &node }
            }
            Forgery::ConsumerHello => {
                let topic = &self.any_address();
                let mut frame = Vec::new();
                let message =
                    Message::ConsumerHello { topic, address: &node, subjects: subjects.as_subjects() };
                return message.encode(&mut frame).is_ok().then_some(frame);
            }
            Forgery::StoreHello => Message::StoreHello { topic: &node, address: &address },
            Forgery::Beacon => return None,
        };
        let mut frame = Vec::new();
        message.encode(&mut frame).is_ok().then_some(frame)
    }

    /// A partition for a forged message: an existing one, or a made-up one.
    fn victim(&mut self, is_to_be_forged: bool) -> Option<Name> {
        if self.random.chance(100) {
            let address = format!("MADEUP{:026}", self.random.below(5)).into_bytes();
            return Some((self.random.pick(&TOPICS).to_vec(), address));
        }
        let names = self.model.partitions.keys();
        let names: Vec<&Name> = names.filter(|name| !is_to_be_forged || may_be_forged(name)).collect();
        (!names.is_empty()).then(|| names[self.random.below(names.len() as u64) as usize].clone())
    }

    /// An offset near the end of the partition, or far from it.
    fn lie(&mut self, subject: &[u8], address: &[u8]) -> u64 {
        let name = (subject.to_vec(), address.to_vec());
        let end = self.model.partitions.get(&name).map_or(0, |partition| partition.end());
        match self.random.below(4) {
            0 => self.random.pick(&[1_000_000, 1 << 32, (1 << 63) - 1, u64::MAX - 1, u64::MAX]),
            1 => end.saturating_sub(self.random.between(1, 20)),
            _ => end + self.random.below(20),
        }
    }

    fn any_address(&mut self) -> Vec<u8> {
        self.nodes[self.random.below(self.nodes.len() as u64) as usize].address.clone()
    }

    /// The name of a store, a made-up one, or none.
    fn any_store_name(&mut self) -> Vec<u8> {
        match self.random.below(3) {
            0 => Vec::new(),
            1 => format!("store {}", self.random.below(8)).into_bytes(),
            _ => {
                let number = self.random.next();
                self.store(number).map_or(Vec::new(), |store| self.stores[store].name.clone())
            }
        }
    }

    fn garble(&mut self, frame: &mut Vec<u8>) {
        let at = self.random.below(frame.len() as u64) as usize;
        if self.random.chance(500) {
            frame.truncate(at);
        } else {
            frame[at] ^= 1 << self.random.below(8);
        }
    }

    /// Publishes a frame, and marks its partition.
    fn publish_forged(&mut self, id: NodeId, frame: Vec<u8>) {
        let (name, forges, has_content) = match Message::decode(&frame) {
            Ok(
                Message::Record(position)
                | Message::DirectRecord(position)
                | Message::Records(position)
                | Message::DirectRecords(position),
            ) => (Some((position.subject.to_vec(), position.address.to_vec())), true, true),
            Ok(Message::Ack { topic, subject, .. }) => {
                (Some((subject.to_vec(), topic.to_vec())), true, false)
            }
            Ok(Message::Head(position) | Message::DirectHead { position, .. }) => {
                (Some((position.subject.to_vec(), position.address.to_vec())), false, false)
            }
            _ => (None, false, false),
        };
        if let Some(name) = name {
            if forges && !may_be_forged(&name) || !self.is_known_or_made_up(&name) {
                return;
            }
            if forges { self.model.forge(name) } else { self.model.forge_head(name) }
        }
        let content = has_content.then(|| {
            let content = Content::from(b"forged".repeat(self.random.below(20) as usize));
            let count = self.random.aside().between(1, self.plan.turn.max_run_count);
            Run::from(vec![content; count as usize])
        });
        self.trace(|| format!("{id} forges {:?}", Message::decode(&frame)));
        self.deliver(id, Wired { frame, content }, &mut Vec::new());
    }

    /// A flipped bit may make another partition. Only few are allowed, because a run with many would take long.
    fn is_known_or_made_up(&mut self, name: &Name) -> bool {
        let is_new = !self.model.partitions.contains_key(name) && !self.made_up.contains(name);
        if is_new && self.made_up.len() < MAX_MADE_UP {
            self.made_up.insert(name.clone());
        }
        !is_new || self.made_up.contains(name)
    }

    /// Sends a beacon with the address of any node and a random endpoint.
    fn forge_beacon(&mut self, id: NodeId) {
        let sender = self.any_address();
        let host = format!("10.0.0.{}", self.random.below(HOSTS)).into_bytes();
        let port = 1_000 + self.random.below(30) as u16;
        let mut frames = NodeBeacon { sender: &sender, host: &host, port, traffic: None }.encode();
        if self.random.chance(100) {
            let last = frames.len() - 1;
            frames[last].truncate(1);
        }
        let (frames, from): (Rc<[Vec<u8>]>, _) = (frames.into(), self.nodes[id].host);
        for tower in self.nodes[id].towers.clone() {
            self.push(self.now, Event::NodeBeacon { tower, from, frames: frames.clone() });
        }
    }
}

/// Half of all partitions are never forged, so that the invariants check all promises for them.
fn may_be_forged((subject, address): &Name) -> bool {
    let octets = subject.iter().chain(address);
    address.starts_with(b"MADEUP") || octets.fold(0u8, |sum, &octet| sum.wrapping_add(octet)) % 2 == 1
}
