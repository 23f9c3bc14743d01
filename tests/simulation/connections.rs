//! Connections: handshakes, messages, subscriptions and breaks.

use super::*;
use crate::clock::{MS, unix_ms};
use crate::nodes::is_of;
use dafka::protocol::consumer::Subscribed;

impl World {
    pub(super) fn arrive(&mut self, id: ConnectionId, generation: u64, message: Rc<Wired>) {
        let connection = &self.network.connections[id];
        if connection.generation == generation && !connection.is_closed {
            let (subscriber, queue) = (connection.subscriber, connection.queued.clone());
            self.nodes[subscriber].inbox.push_back(Incoming { message, queue, from: (id, generation) });
            self.wake(subscriber, self.now);
        }
    }

    /// Breaks a connection. Its subscriber tries to reconnect.
    pub(super) fn break_connection(&mut self, id: ConnectionId) {
        self.lose_connection(id, false);
    }

    /// Breaks a connection. When libzmq has given it up, the subscriber reconnects only after its beacon has noticed
    /// that.
    pub(super) fn lose_connection(&mut self, id: ConnectionId, is_given_up: bool) {
        if let Some(publisher) = self.network.connections[id].publisher {
            self.publishing[publisher].retain(|&other| other != id);
            self.end_subscriptions(publisher, id);
        }
        self.network.drop_connection(id);
        if self.network.connections[id].is_closed {
            return;
        }
        self.monitor(id, ConnectionEvent::Ended);
        if !is_given_up {
            self.monitor(id, ConnectionEvent::Retrying);
            let delay = self.network.retry_delay(&mut self.random);
            self.push(self.now + delay, Event::Handshake(id));
        }
    }

    /// As libzmq does, tells a member of a group that the subscriptions of a connection have ended.
    fn end_subscriptions(&mut self, publisher: NodeId, id: ConnectionId) {
        let Connection { wanted, generation, .. } = &self.network.connections[id];
        let node = &mut self.nodes[publisher];
        if matches!(&node.role, Role::Consumer(consumer) if consumer.member.is_some()) {
            let ended = wanted.iter().map(|prefix| [b"\x00", prefix.as_slice()].concat());
            node.heard.extend(ended.map(|frame| (frame, (id, *generation))));
            self.wake(publisher, self.now);
        }
    }

    /// Reports an event of libzmq's monitor to the subscriber's beacon.
    fn monitor(&mut self, id: ConnectionId, event: ConnectionEvent) {
        if !self.plan.has_monitors {
            return;
        }
        let Connection { subscriber, endpoint, .. } = &self.network.connections[id];
        let node = &mut self.nodes[*subscriber];
        node.peers.handle_connection(endpoint, event, node.clock.now_ms(self.now));
        self.told(*subscriber, Vec::new());
    }

    pub(super) fn handshake(&mut self, id: ConnectionId) {
        let connection = &self.network.connections[id];
        if connection.is_closed || connection.publisher.is_some() {
            return;
        }
        let found = self.nodes.iter().find(|node| node.is_alive() && node.endpoint == connection.endpoint);
        let found = found.filter(|node| self.network.are_connected(node.host, connection.subscriber_host));
        let Some(publisher) = found.map(|node| node.id) else {
            self.monitor(id, ConnectionEvent::Retrying);
            let delay = self.network.retry_delay(&mut self.random);
            self.push(self.now + delay, Event::Handshake(id));
            return;
        };
        self.monitor(id, ConnectionEvent::Established);
        let connection = &self.network.connections[id];
        let (wants, generation) = (self.nodes[connection.subscriber].wants.clone(), connection.generation);
        for prefix in &wants {
            self.nodes[publisher].heard.push_back(([b"\x01", prefix.as_slice()].concat(), (id, generation)));
        }
        let connection = &mut self.network.connections[id];
        connection.publisher = Some(publisher);
        connection.wanted = wants;
        self.publishing[publisher].push(id);
        self.wake(publisher, self.now);
    }

    pub(super) fn follow_beacon(&mut self, id: NodeId) {
        while let Some(news) = self.nodes[id].news.pop_front() {
            self.trace(|| format!("{id}: {news:?}"));
            match news {
                Connecting::Connect(endpoint) => {
                    let host = self.nodes[id].host;
                    let connection = self.network.connect(id, host, &endpoint);
                    let is_there = |node: &&Node| node.is_alive() && node.endpoint == endpoint;
                    let there = self.nodes.iter().find(is_there).map_or(host, |node| node.host);
                    let delay = self.network.round_trip(host, there, &mut self.random);
                    self.push(self.now + delay, Event::Handshake(connection));
                }
                Connecting::Disconnect(endpoint) | Connecting::GivenUp { endpoint, .. } => {
                    let is_it = |connection: &Connection| {
                        connection.subscriber == id
                            && !connection.is_closed
                            && connection.endpoint == endpoint
                    };
                    if let Some(connection) = self.network.connections.iter().position(is_it) {
                        self.network.connections[connection].is_closed = true;
                        self.break_connection(connection);
                        if let Role::Producer(producer) = &mut self.nodes[id].role {
                            producer.producer.handle_peer(false, &|from| is_of(from, connection));
                        }
                    }
                }
            }
        }
    }

    /// The application of a consumer subscribes to a topic.
    pub(super) fn subscribe(&mut self, id: NodeId, topic: &[u8]) {
        let now_ms = self.nodes[id].clock.now_ms(self.now);
        let host = self.nodes[id].host;
        let Role::Consumer(consumer) = &mut self.nodes[id].role else { return };
        let (unix_ms, uptime_ms) = (unix_ms(self.now, host), self.now / MS);
        let subscribed = Subscribed { unix_ms, now_ms: consumer.read_at(now_ms), uptime_ms };
        if consumer.consumer.subscribe(topic, subscribed, &mut self.outbox) {
            consumer.oracle.subscribe(topic, &self.model, subscribed.unix_ms);
            let prefixes = self.nodes[id].prefixes(topic);
            self.nodes[id].wants.extend(prefixes.iter().cloned());
            self.announce(id, 1, prefixes);
            let published = self.publish(id);
            debug_assert!(published.is_ok());
            self.wake(id, self.now);
        }
    }

    pub(super) fn unsubscribe(&mut self, id: NodeId, topic: &[u8]) {
        let Role::Consumer(consumer) = &mut self.nodes[id].role else { return };
        if consumer.unsubscribe(topic) {
            let prefixes = self.nodes[id].prefixes(topic);
            self.nodes[id].wants.retain(|wanted| !prefixes.contains(wanted));
            self.announce(id, 0, prefixes.into_iter().rev().collect());
            self.wake(id, self.now);
        }
    }

    /// Sends subscriptions to all publishers to which a node is connected.
    pub(super) fn announce(&mut self, id: NodeId, word: u8, prefixes: Vec<Vec<u8>>) {
        for i in 0..self.network.connections.len() {
            let connection = &self.network.connections[i];
            if connection.subscriber == id && connection.publisher.is_some() {
                let generation = connection.generation;
                let to = connection.publisher.map_or(0, |publisher| self.nodes[publisher].host);
                let delay = self.network.delay(connection.subscriber_host, to, &mut self.random);
                for prefix in &prefixes {
                    let frame = [&[word], prefix.as_slice()].concat();
                    self.push(self.now + delay, Event::Subscribe { connection: i, generation, frame });
                }
            }
        }
    }

    pub(super) fn subscription(&mut self, id: ConnectionId, generation: u64, frame: Vec<u8>) {
        let connection = &self.network.connections[id];
        let Some(publisher) = connection.publisher.filter(|_| connection.generation == generation) else {
            return;
        };
        if !self.network.is_open(connection.subscriber_host, self.nodes[publisher].host) {
            let event = Event::Subscribe { connection: id, generation, frame };
            self.push(self.now + 50 * MS, event);
            return;
        }
        let wants = self.nodes[connection.subscriber].wants.clone();
        self.network.connections[id].wanted = wants;
        self.nodes[publisher].heard.push_back((frame, (id, generation)));
        self.wake(publisher, self.now);
    }
}
