//! The network: connections from subscribers to publishers, routing by prefix, and their faults.
//!
//! A connection carries messages from a publisher's socket to a subscriber's, and subscriptions in the other direction.
//! As in ZeroMQ, the subscriber connects, and retries until it disconnects. A full queue drops messages. Unlike TCP,
//! this network may also lose, duplicate and reorder messages.

use super::clock::{MS, Time};
use super::model::{Content, Record, Run};
use super::random::Random;
use dafka::wire::batch::Attributes;
use dafka::wire::{Message, id, record_attributes};
use std::cell::Cell;
use std::rc::Rc;

pub(crate) type NodeId = usize;
pub(crate) type ConnectionId = usize;
/// The number of a machine, which can be cut off from others.
pub(crate) type Host = usize;

/// The number of hosts. Nodes may share one.
pub(crate) const HOSTS: u64 = 12;

/// A message on the network.
pub(crate) struct Wired {
    pub(crate) frame: Vec<u8>,
    pub(crate) content: Option<Run>,
}

impl Wired {
    /// A message. As the actors do, puts the attributes of a single record into the first frame, unless the sender is a
    /// store of 0.1.0.
    pub(crate) fn new(mut frame: Vec<u8>, content: Option<Run>, has_attributes: bool) -> Wired {
        let is_single = [id::RECORD, id::DIRECT_RECORD].map(Some).contains(&frame.first().copied());
        let content = content.map(|run| match run.records() {
            [record] if is_single => {
                if has_attributes {
                    record_attributes::append(&mut frame, &record.as_stored().attributes())
                        .expect("a short key");
                }
                Run::from(vec![record.content.clone()])
            }
            _ => run,
        });
        Wired { frame, content }
    }

    /// The received records.
    pub(crate) fn run(&self, message: &Message) -> Option<Run> {
        let run = self.content.clone()?;
        let (Message::Record(position) | Message::DirectRecord(position)) = message else { return Some(run) };
        let Attributes { timestamp_ms, key, .. } = record_attributes::of(&self.frame, position);
        match run.records() {
            [record] => {
                let record = Record { timestamp_ms, key: key.map(Content::from), ..record.clone() };
                Some(Run::from(vec![record]))
            }
            _ => Some(run),
        }
    }
}

/// The faults of the network.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) loss_per_mille: u64,
    pub(crate) double_per_mille: u64,
    /// False: each message has its own delay, and may overtake others.
    pub(crate) is_ordered: bool,
    pub(crate) delay_us: u64,
    pub(crate) jitter_us: u64,
}

impl Weather {
    pub(crate) const FAIR: Weather =
        Weather { loss_per_mille: 0, double_per_mille: 0, is_ordered: true, delay_us: 300, jitter_us: 200 };
}

/// A long way from some hosts (bits) to others, with an additional delay. This is not a fault, so it remains when the
/// faults stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) delay_us: u64,
    pub(crate) jitter_us: u64,
}

/// Hosts (bits) that cannot reach others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

pub(crate) struct Connection {
    pub(crate) subscriber: NodeId,
    pub(crate) subscriber_host: Host,
    pub(crate) endpoint: String,
    /// The node at the other end, while there is a connection.
    pub(crate) publisher: Option<NodeId>,
    /// Counts the breaks: messages of an earlier generation are lost.
    pub(crate) generation: u64,
    /// The subscriptions that have reached the publisher.
    pub(crate) wanted: Vec<Vec<u8>>,
    /// The number of messages in flight or unread.
    pub(crate) queued: Rc<Cell<usize>>,
    last_arrival: Time,
    pub(crate) is_closed: bool,
}

pub(crate) struct Network {
    pub(crate) connections: Vec<Connection>,
    pub(crate) weather: Weather,
    pub(crate) ways: Vec<Way>,
    pub(crate) cuts: Vec<Cut>,
    /// How many messages per connection may wait. Further ones are dropped.
    pub(crate) high_watermark: usize,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
}

/// A message in flight.
pub(crate) struct Arrival {
    pub(crate) at: Time,
    pub(crate) connection: ConnectionId,
    pub(crate) generation: u64,
}

/// Compares the first byte first, because most prefixes differ there. This function takes a tenth of the time of a
/// simulation.
fn is_wanted(prefix: &[u8], frame: &[u8]) -> bool {
    prefix.first().is_none_or(|id| frame.first() == Some(id)) && frame.starts_with(prefix)
}

impl Network {
    pub(crate) fn new(high_watermark: usize) -> Network {
        Network {
            connections: Vec::new(),
            weather: Weather::FAIR,
            ways: Vec::new(),
            cuts: Vec::new(),
            high_watermark,
            sent: 0,
            lost: 0,
        }
    }

    pub(crate) fn is_open(&self, from: Host, to: Host) -> bool {
        from == to || !self.cuts.iter().any(|cut| cut.from >> from & 1 == 1 && cut.to >> to & 1 == 1)
    }

    pub(crate) fn are_connected(&self, a: Host, b: Host) -> bool {
        self.is_open(a, b) && self.is_open(b, a)
    }

    /// The delay from one host to another.
    pub(crate) fn delay(&self, from: Host, to: Host, random: &mut Random) -> Time {
        let near = self.weather.delay_us + random.below(self.weather.jitter_us + 1);
        let is_it = |way: &&Way| from != to && way.from >> from & 1 == 1 && way.to >> to & 1 == 1;
        match self.ways.iter().find(is_it) {
            Some(way) => near + way.delay_us + random.below(way.jitter_us + 1),
            None => near,
        }
    }

    /// The delay there and back.
    pub(crate) fn round_trip(&self, a: Host, b: Host, random: &mut Random) -> Time {
        self.delay(a, b, random) + self.delay(b, a, random)
    }

    /// A subscriber starts to connect. The handshake follows later.
    pub(crate) fn connect(
        &mut self,
        subscriber: NodeId,
        subscriber_host: Host,
        endpoint: &str,
    ) -> ConnectionId {
        self.connections.push(Connection {
            subscriber,
            subscriber_host,
            endpoint: endpoint.to_owned(),
            publisher: None,
            generation: 0,
            wanted: Vec::new(),
            queued: Rc::default(),
            last_arrival: 0,
            is_closed: false,
        });
        self.connections.len() - 1
    }

    /// Removes the connection, and loses its messages in flight.
    pub(crate) fn drop_connection(&mut self, id: ConnectionId) {
        let connection = &mut self.connections[id];
        connection.publisher = None;
        connection.generation += 1;
        connection.wanted.clear();
        connection.queued = Rc::default();
    }

    /// Sends a message to all subscribers, and adds its arrivals.
    pub(crate) fn publish(
        &mut self,
        (publisher, host): (NodeId, Host),
        connections: &[ConnectionId],
        message: &Wired,
        now: Time,
        random: &mut Random,
        arrivals: &mut Vec<Arrival>,
    ) {
        for &id in connections {
            let connection = &self.connections[id];
            if connection.publisher != Some(publisher)
                || !connection.wanted.iter().any(|prefix| is_wanted(prefix, &message.frame))
            {
                continue;
            }
            self.sent += 1;
            let to = connection.subscriber_host;
            let is_open = self.is_open(host, to);
            let copies = if random.chance(self.weather.double_per_mille) { 2 } else { 1 };
            for _ in 0..copies {
                let is_lost = !is_open || random.chance(self.weather.loss_per_mille);
                let delay = self.delay(host, to, random);
                let is_ordered = self.weather.is_ordered;
                let connection = &mut self.connections[id];
                if is_lost || connection.queued.get() >= self.high_watermark {
                    self.lost += 1;
                    continue;
                }
                connection.queued.set(connection.queued.get() + 1);
                let mut at = now + delay;
                if is_ordered {
                    at = at.max(connection.last_arrival);
                    connection.last_arrival = at;
                }
                arrivals.push(Arrival { at, connection: id, generation: connection.generation });
            }
        }
    }

    /// The pause before the next attempt to connect.
    pub(crate) fn retry_delay(&self, random: &mut Random) -> Time {
        random.between(100 * MS, 300 * MS)
    }
}
