//! Reconnects where libzmq does not: when each connection is made again, as a state machine that is given the time.
//!
//! libzmq retries an endpoint after a failed attempt or a broken connection. But libzmq drops a connection for good when
//! the peer sends something that ZeroMQ does not allow, or a frame that exceeds the limit. It reports the end of such a
//! connection, and no new attempt after it. Then the owner of the socket must disconnect from the endpoint and connect to
//! it again: after a short wait when the connection has lasted for longer than the wait before it, otherwise with
//! exponential backoff.
//!
//! A wait ends early when a beacon announces a new node at the endpoint: another node has taken the address over. Anybody
//! can send a beacon, so such early reconnects are limited by endpoint and by host.
//!
//! The caller passes what the socket's monitor reports to [`Reconnect::handle_event`], calls [`Reconnect::handle_timeout`] at
//! [`Reconnect::due_ms`], and applies each [`Action`] to the socket, in order.

use super::endpoint::port_of;
use crate::rate_limit::RateLimit;
use std::collections::{BTreeSet, HashMap, VecDeque};
use zmq::SocketEvent;

/// A connection is given up when libzmq has reported no new attempt for so long after its end. (It does so at once.)
const GIVEN_UP_MS: u64 = 100;
/// The same for connections that end just before another one is found to be given up.
const SURELY_MS: u64 = 10;
/// The first wait before a connection is made again...
const FIRST_WAIT_MS: u64 = 100;
/// ... and the longest one, which is also libzmq's when nobody answers.
const MAX_WAIT_MS: u64 = 4_000;
/// The longest delay between an action here and its effect on the socket, or between an event of the socket and its arrival
/// here.
const DELAY_MS: u64 = 1_000;

/// A connection is made again at most so often because others were given up: its memory may be that of several of them.
const MAX_RENEWALS: u8 = 3;

/// Early reconnects of one endpoint, and of all endpoints of one host: the burst...
const ENDPOINT_HURRY_COUNT: u64 = 10;
const HOST_HURRY_COUNT: u64 = 50;
/// ... and the interval after which one more is allowed.
const ENDPOINT_HURRY_MS: u64 = 1_000;
const HOST_HURRY_MS: u64 = 100;
/// Hosts whose early reconnects are counted at a time.
const MAX_HURRIED_HOSTS: usize = 1_000;

/// What the monitor of a socket reports of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// A ZeroMQ peer has answered: the handshake is done.
    Established,
    /// The connection has ended.
    Ended,
    /// An attempt has failed, or the connection has ended: libzmq will try again.
    Retrying,
}

impl ConnectionEvent {
    /// The events of libzmq that a monitor must report.
    pub const MONITORED: &[SocketEvent] =
        &[SocketEvent::HANDSHAKE_SUCCEEDED, SocketEvent::DISCONNECTED, SocketEvent::CONNECT_RETRIED];

    /// What one of [`ConnectionEvent::MONITORED`] means; `None` for other events.
    pub fn of(event: SocketEvent) -> Option<ConnectionEvent> {
        match event {
            SocketEvent::HANDSHAKE_SUCCEEDED => Some(ConnectionEvent::Established),
            SocketEvent::DISCONNECTED => Some(ConnectionEvent::Ended),
            SocketEvent::CONNECT_RETRIED => Some(ConnectionEvent::Retrying),
            _ => None,
        }
    }
}

/// What the owner of the socket is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to an endpoint.
    Connect(String),
    /// Disconnect from it.
    Disconnect(String),
    /// Disconnect from it, because libzmq has dropped the connection for good.
    GivenUp {
        /// Where the connection led.
        endpoint: String,
        /// The peer spoke ZeroMQ until then; else something else from the start.
        has_answered: bool,
        /// When [`Action::Connect`] follows: so long after the end of the connection.
        wait_ms: u64,
    },
}

impl Action {
    /// What log lines call it.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Connect(_) => "CONNECT",
            Action::Disconnect(_) => "DISCONNECT",
            Action::GivenUp { .. } => "GIVEN UP",
        }
    }

    /// The endpoint that it is about.
    pub fn endpoint(&self) -> &str {
        let (Action::Connect(endpoint) | Action::Disconnect(endpoint) | Action::GivenUp { endpoint, .. }) =
            self;
        endpoint
    }
}

/// The connections to all endpoints.
#[derive(Debug, Default)]
pub struct Reconnect {
    connections: HashMap<String, Connection>,
    /// Connections that have ended, and when; libzmq has not reported a new attempt yet.
    ended: BTreeSet<(u64, String)>,
    /// Connections that were given up, and when they are made again.
    waiting: BTreeSet<(u64, String)>,
    /// The time of the latest call.
    now_ms: u64,
    /// Connections that were opened lately, see [`Reconnect::renew`].
    begun: VecDeque<(u64, String)>,
    /// Other forms of an endpoint that libzmq uses: it may write an IPv6 address in another way.
    aliases: HashMap<String, String>,
    /// Early reconnects by host.
    hurried: HashMap<String, RateLimit>,
}

#[derive(Debug)]
struct Connection {
    state: State,
    /// libzmq could not connect, and waits before it tries again.
    is_retrying: bool,
    /// A new node was announced since the connection ended.
    is_wanted: bool,
    /// Early reconnects.
    hurried: RateLimit,
    /// When a peer answered.
    answered_ms: Option<u64>,
    /// Its key in `Reconnect::begun`; older entries are void.
    begun_ms: Option<u64>,
    /// How often it was made again since, because of others.
    renewals: u8,
    /// The wait before this connection; 0 when there was none.
    waited_ms: u64,
    alias: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// libzmq has the connection, or tries to make it.
    Open,
    /// Its key in `Reconnect::ended`.
    Ended(u64),
    /// Its key in `Reconnect::waiting`.
    Waiting(u64),
}

impl Reconnect {
    /// Connects to an endpoint.
    pub fn connect(&mut self, endpoint: &str, now_ms: u64, actions: &mut Vec<Action>) {
        let connection = Connection {
            state: State::Open,
            is_retrying: false,
            is_wanted: false,
            hurried: RateLimit::default(),
            answered_ms: None,
            begun_ms: None,
            renewals: 0,
            waited_ms: 0,
            alias: None,
        };
        self.connections.insert(endpoint.to_owned(), connection);
        self.begin(endpoint, now_ms, actions);
    }

    fn begin(&mut self, endpoint: &str, now_ms: u64, actions: &mut Vec<Action>) {
        self.now_ms = now_ms;
        while self.begun.front().is_some_and(|(begun_ms, _)| begun_ms + GIVEN_UP_MS + 2 * DELAY_MS < now_ms) {
            self.begun.pop_front();
        }
        if let Some(connection) = self.connections.get_mut(endpoint) {
            (connection.state, connection.answered_ms, connection.begun_ms) =
                (State::Open, None, Some(now_ms));
            (connection.is_retrying, connection.is_wanted) = (false, false);
            connection.renewals = 0;
        }
        self.begun.push_back((now_ms, endpoint.to_owned()));
        actions.push(Action::Connect(endpoint.to_owned()));
    }

    /// A beacon announces a new node at an endpoint of `host`. A connection that waits, here or in libzmq, is made now.
    pub fn handle_announcement(
        &mut self,
        endpoint: &str,
        host: &str,
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) {
        let Some(connection) = self.connections.get_mut(endpoint) else { return };
        let (state, is_retrying) = (connection.state, connection.is_retrying);
        match state {
            State::Open if !is_retrying => {}
            // libzmq tries again at once, or has given up: the next event or timeout shows which.
            State::Ended(_) => connection.is_wanted = true,
            State::Open if self.may_hurry(endpoint, host, now_ms) => {
                actions.push(Action::Disconnect(endpoint.to_owned()));
                self.begin(endpoint, now_ms, actions);
            }
            State::Waiting(until_ms) if self.may_hurry(endpoint, host, now_ms) => {
                self.waiting.remove(&(until_ms, endpoint.to_owned()));
                self.begin(endpoint, now_ms, actions);
            }
            State::Open | State::Waiting(_) => {}
        }
    }

    /// Counts an early reconnect, if one is allowed.
    fn may_hurry(&mut self, endpoint: &str, host: &str, now_ms: u64) -> bool {
        if self.hurried.len() >= MAX_HURRIED_HOSTS {
            self.hurried.retain(|_, limit| !limit.is_restored(now_ms));
        }
        let Some(connection) = self.connections.get_mut(endpoint) else { return false };
        let of_host = self.hurried.get(host).copied().unwrap_or_default();
        let is_full = self.hurried.len() >= MAX_HURRIED_HOSTS && !self.hurried.contains_key(host);
        if is_full
            || connection.hurried.due_ms(ENDPOINT_HURRY_COUNT, ENDPOINT_HURRY_MS) > now_ms
            || of_host.due_ms(HOST_HURRY_COUNT, HOST_HURRY_MS) > now_ms
        {
            return false;
        }
        connection.hurried.take(ENDPOINT_HURRY_MS, now_ms);
        self.hurried.entry(host.to_owned()).or_default().take(HOST_HURRY_MS, now_ms);
        true
    }

    /// Disconnects from an endpoint for good.
    pub fn disconnect(&mut self, endpoint: &str, actions: &mut Vec<Action>) {
        let Some(connection) = self.connections.remove(endpoint) else { return };
        if let Some(alias) = connection.alias {
            self.aliases.remove(&alias);
        }
        match connection.state {
            State::Open => actions.push(Action::Disconnect(endpoint.to_owned())),
            State::Ended(since_ms) => {
                self.ended.remove(&(since_ms, endpoint.to_owned()));
                actions.push(Action::Disconnect(endpoint.to_owned()));
                self.renew(since_ms, actions);
            }
            State::Waiting(until_ms) => drop(self.waiting.remove(&(until_ms, endpoint.to_owned()))),
        }
    }

    /// Takes an event of the socket's monitor. Returns the endpoint in the form that [`Reconnect::connect`] was given; `None`
    /// for an endpoint or a connection that is none of ours any more.
    pub fn handle_event(&mut self, endpoint: &str, event: ConnectionEvent, now_ms: u64) -> Option<String> {
        self.now_ms = now_ms;
        let name = self.name(endpoint, event)?;
        let connection = self.connections.get_mut(&name)?;
        connection.is_retrying = event == ConnectionEvent::Retrying;
        match (connection.state, event) {
            (State::Open, ConnectionEvent::Ended) => {
                connection.state = State::Ended(now_ms);
                self.ended.insert((now_ms, name.clone()));
            }
            (State::Ended(since_ms), ConnectionEvent::Established | ConnectionEvent::Retrying) => {
                self.ended.remove(&(since_ms, name.clone()));
                (connection.state, connection.is_wanted) = (State::Open, false);
                connection.answered_ms = (event == ConnectionEvent::Established).then_some(now_ms);
            }
            (State::Open, ConnectionEvent::Established) => connection.answered_ms = Some(now_ms),
            (State::Open, ConnectionEvent::Retrying) => connection.answered_ms = None,
            // The event is about a connection that is gone.
            (State::Waiting(_), _) | (State::Ended(_), ConnectionEvent::Ended) => return None,
        }
        Some(name)
    }

    /// The endpoint that libzmq means. When libzmq retries a connection it may write the address in another way: then it is
    /// the connection at the same port that has just ended.
    fn name(&mut self, endpoint: &str, event: ConnectionEvent) -> Option<String> {
        if self.connections.contains_key(endpoint) {
            return Some(endpoint.to_owned());
        }
        if let Some(name) = self.aliases.get(endpoint) {
            return Some(name.clone());
        }
        if event != ConnectionEvent::Retrying {
            return None;
        }
        let port = port_of(endpoint)?;
        let has_port = |(_, name): &&(u64, String)| port_of(name) == Some(port);
        let name = self.ended.iter().find(has_port).map(|(_, name)| name.clone())?;
        let connection = self.connections.get_mut(&name)?;
        if let Some(old) = connection.alias.replace(endpoint.to_owned()) {
            self.aliases.remove(&old);
        }
        self.aliases.insert(endpoint.to_owned(), name.clone());
        Some(name)
    }

    /// When [`Reconnect::handle_timeout`] must be called next.
    pub fn due_ms(&self) -> Option<u64> {
        let ended_ms = self.ended.first().map(|(since_ms, _)| since_ms + GIVEN_UP_MS);
        let waiting_ms = self.waiting.first().map(|&(until_ms, _)| until_ms);
        [ended_ms, waiting_ms].into_iter().flatten().min()
    }

    /// Gives up the connections that libzmq has dropped, and makes those again whose wait is over.
    pub fn handle_timeout(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        self.now_ms = now_ms;
        if let Some(&(since_ms, _)) = self.ended.first()
            && since_ms + GIVEN_UP_MS <= now_ms
        {
            while let Some((ended_ms, _)) = self.ended.first()
                && ended_ms + SURELY_MS <= now_ms
                && let Some((ended_ms, endpoint)) = self.ended.pop_first()
            {
                self.give_up(endpoint, ended_ms, now_ms, actions);
            }
            self.renew(since_ms, actions);
        }
        while let Some((until_ms, _)) = self.waiting.first()
            && *until_ms <= now_ms
            && let Some((_, endpoint)) = self.waiting.pop_first()
        {
            self.begin(&endpoint, now_ms, actions);
        }
    }

    fn give_up(&mut self, endpoint: String, ended_ms: u64, now_ms: u64, actions: &mut Vec<Action>) {
        let Some(connection) = self.connections.get_mut(&endpoint) else { return };
        let lasted_ms = connection.answered_ms.map_or(0, |answered_ms| ended_ms.saturating_sub(answered_ms));
        connection.waited_ms = match lasted_ms >= connection.waited_ms.max(FIRST_WAIT_MS) {
            true => FIRST_WAIT_MS,
            false => (2 * connection.waited_ms).clamp(FIRST_WAIT_MS, MAX_WAIT_MS),
        };
        // A new node was announced meanwhile: the shortest wait, within the limit.
        let is_wanted = std::mem::take(&mut connection.is_wanted)
            && connection.hurried.due_ms(ENDPOINT_HURRY_COUNT, ENDPOINT_HURRY_MS) <= now_ms;
        if is_wanted {
            connection.hurried.take(ENDPOINT_HURRY_MS, now_ms);
        }
        let wait_ms = if is_wanted { FIRST_WAIT_MS } else { connection.waited_ms };
        let until_ms = now_ms.max(ended_ms + wait_ms);
        connection.state = State::Waiting(until_ms);
        actions.push(Action::GivenUp {
            endpoint: endpoint.clone(),
            has_answered: connection.answered_ms.is_some(),
            wait_ms,
        });
        self.waiting.insert((until_ms, endpoint));
    }

    /// Reconnects every endpoint that was opened after a dead connection ended (at `since_ms`, with tolerance) and before we
    /// disconnected it. libzmq (4.3.4) keeps a pointer to a connection that it has dropped. The next connection may lie at
    /// the same address; to disconnect the dead one then ends the new one too, and libzmq reports nothing.
    fn renew(&mut self, since_ms: u64, actions: &mut Vec<Action>) {
        let mut renewed = Vec::new();
        while let Some((begun_ms, _)) = self.begun.back()
            && *begun_ms + DELAY_MS >= since_ms
            && let Some((begun_ms, endpoint)) = self.begun.pop_back()
        {
            let Some(connection) = self.connections.get_mut(&endpoint) else { continue };
            if connection.begun_ms.take_if(|link_begun_ms| *link_begun_ms == begun_ms).is_none() {
                continue;
            }
            match connection.state {
                State::Open => {}
                State::Ended(since_ms) => drop(self.ended.remove(&(since_ms, endpoint.clone()))),
                State::Waiting(_) => continue,
            }
            (connection.state, connection.answered_ms) = (State::Open, None);
            connection.renewals += 1;
            // The new connection may lie where yet another dead one was.
            connection.begun_ms = (connection.renewals < MAX_RENEWALS).then_some(self.now_ms);
            renewed.push(endpoint);
        }
        self.begun.extend(renewed.iter().rev().map(|endpoint| (self.now_ms, endpoint.clone())));
        // All disconnects before any connect: a new connection could lie where one to be disconnected is.
        actions.extend(renewed.iter().rev().cloned().map(Action::Disconnect));
        actions.extend(renewed.into_iter().rev().map(Action::Connect));
    }
}

#[cfg(test)]
mod tests;
