//! Reconnects where libzmq does not, as a state machine whose caller passes the time.
//!
//! libzmq retries an endpoint after a failed attempt or a broken connection. But when the peer sends something that
//! ZeroMQ does not allow, or a frame that exceeds the limit, libzmq drops the connection and does not retry. It then
//! reports the end of the connection, and no new attempt. The owner of the socket must disconnect from the endpoint and
//! connect again.
//!
//! The wait before a reconnect starts at the end of the connection. If the connection lasted at least 100 ms and at
//! least as long as the previous wait, the wait is 100 ms. Otherwise it is twice the previous wait, but at least 100 ms
//! and at most 4 s.
//!
//! A wait ends early when a beacon announces a new node at the endpoint, because this node has taken over the endpoint.
//! Any peer can send beacons, so early reconnects are limited per endpoint and per host.
//!
//! The caller passes the events of the socket's monitor to [`Reconnect::handle_event`], calls
//! [`Reconnect::handle_timeout`] at [`Reconnect::due_ms`], and applies each [`Action`] to the socket, in order.

use super::endpoint::port_of;
use crate::rate_limit::RateLimit;
use std::collections::{BTreeSet, HashMap, VecDeque};
use zmq::SocketEvent;

/// A connection is given up when libzmq reports no new attempt within this time after the end of the connection.
/// (Normally, libzmq reports the attempt at once.)
const GIVEN_UP_MS: u64 = 100;
/// When one connection is given up, all others that ended at least this long ago are given up, too.
const ALSO_GIVEN_UP_MS: u64 = 10;
/// The first wait before a reconnect...
const FIRST_WAIT_MS: u64 = 100;
/// ... and the longest wait. libzmq has the same longest wait before it retries an endpoint that does not respond.
const MAX_WAIT_MS: u64 = 4_000;
/// The longest delay between an action and its effect on the socket, and between an event of the socket and its arrival
/// here.
const DELAY_MS: u64 = 1_000;

/// How many times one connection is renewed because others were given up, see [`Reconnect::renew`]. libzmq may allocate
/// each renewed connection in the memory of another dead connection. So one renewal may not be enough.
const MAX_RENEWALS: u8 = 3;

/// The limits of early reconnects, per endpoint and per host: the burst...
const EARLY_PER_ENDPOINT_COUNT: u64 = 10;
const EARLY_PER_HOST_COUNT: u64 = 50;
/// ... and the interval after which one more is allowed.
const EARLY_PER_ENDPOINT_MS: u64 = 1_000;
const EARLY_PER_HOST_MS: u64 = 100;
/// How many hosts' early reconnects are counted at a time.
const MAX_EARLY_HOSTS: usize = 1_000;

/// An event of a connection, from the socket's monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// The ZeroMQ handshake has succeeded.
    Established,
    /// The connection has ended.
    Ended,
    /// An attempt has failed, or the connection has ended, and libzmq will retry.
    Retrying,
}

impl ConnectionEvent {
    /// The libzmq events that a monitor must report.
    pub const MONITORED: &[SocketEvent] =
        &[SocketEvent::HANDSHAKE_SUCCEEDED, SocketEvent::DISCONNECTED, SocketEvent::CONNECT_RETRIED];

    /// Converts one of [`ConnectionEvent::MONITORED`]. `None` for other events.
    pub fn of(event: SocketEvent) -> Option<ConnectionEvent> {
        match event {
            SocketEvent::HANDSHAKE_SUCCEEDED => Some(ConnectionEvent::Established),
            SocketEvent::DISCONNECTED => Some(ConnectionEvent::Ended),
            SocketEvent::CONNECT_RETRIED => Some(ConnectionEvent::Retrying),
            _ => None,
        }
    }
}

/// What the owner of the socket must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to an endpoint.
    Connect(String),
    /// Disconnect from an endpoint.
    Disconnect(String),
    /// Disconnect from an endpoint, because libzmq has dropped the connection and will not retry.
    GivenUp {
        /// The endpoint of the connection.
        endpoint: String,
        /// Whether the handshake had succeeded. Otherwise the peer does not speak ZeroMQ.
        has_answered: bool,
        /// [`Action::Connect`] follows this long after the end of the connection.
        wait_ms: u64,
    },
}

impl Action {
    /// The name of the action in log lines.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Connect(_) => "CONNECT",
            Action::Disconnect(_) => "DISCONNECT",
            Action::GivenUp { .. } => "GIVEN UP",
        }
    }

    /// The endpoint of the action.
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
    /// The connections that have ended and for which libzmq has reported no new attempt: the time of the end, and the
    /// endpoint.
    ended: BTreeSet<(u64, String)>,
    /// The connections that were given up: the time of the reconnect, and the endpoint.
    waiting: BTreeSet<(u64, String)>,
    /// The time of the latest call.
    now_ms: u64,
    /// The connections that were opened recently, see [`Reconnect::renew`]: the time when each was opened, and the
    /// endpoint.
    opened: VecDeque<(u64, String)>,
    /// libzmq may write an endpoint differently than the owner of the socket, for example an IPv6 address. The key is
    /// libzmq's form of the endpoint, and the value is the owner's form.
    aliases: HashMap<String, String>,
    /// Early reconnects per host.
    early: HashMap<String, RateLimit>,
}

#[derive(Debug)]
struct Connection {
    state: State,
    /// libzmq could not connect, and waits before its next attempt.
    is_retrying: bool,
    /// A new node was announced after the connection ended.
    is_announced: bool,
    /// Early reconnects of this endpoint.
    early: RateLimit,
    /// When the handshake succeeded.
    established_ms: Option<u64>,
    /// The time of the connection's valid entry in `Reconnect::opened`. Entries of this connection with other times are
    /// outdated.
    opened_ms: Option<u64>,
    /// How many times the connection was renewed since it was opened.
    renewals: u8,
    /// The wait before this connection. 0 when there was none.
    backoff_ms: u64,
    alias: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// libzmq has the connection, or tries to connect.
    Open,
    /// The connection has ended at this time. Its entry in `Reconnect::ended` has the same time.
    Ended(u64),
    /// The connection was given up, and is made again at this time. Its entry in `Reconnect::waiting` has the same
    /// time.
    Waiting(u64),
}

impl Reconnect {
    /// Connects to an endpoint.
    pub fn connect(&mut self, endpoint: &str, now_ms: u64, actions: &mut Vec<Action>) {
        let connection = Connection {
            state: State::Open,
            is_retrying: false,
            is_announced: false,
            early: RateLimit::default(),
            established_ms: None,
            opened_ms: None,
            renewals: 0,
            backoff_ms: 0,
            alias: None,
        };
        self.connections.insert(endpoint.to_owned(), connection);
        self.open(endpoint, now_ms, actions);
    }

    fn open(&mut self, endpoint: &str, now_ms: u64, actions: &mut Vec<Action>) {
        self.now_ms = now_ms;
        while self
            .opened
            .front()
            .is_some_and(|(opened_ms, _)| opened_ms + GIVEN_UP_MS + 2 * DELAY_MS < now_ms)
        {
            self.opened.pop_front();
        }
        if let Some(connection) = self.connections.get_mut(endpoint) {
            (connection.state, connection.established_ms, connection.opened_ms) =
                (State::Open, None, Some(now_ms));
            (connection.is_retrying, connection.is_announced) = (false, false);
            connection.renewals = 0;
        }
        self.opened.push_back((now_ms, endpoint.to_owned()));
        actions.push(Action::Connect(endpoint.to_owned()));
    }

    /// A beacon announces a new node at an endpoint of `host`. If libzmq or this object waits before its next attempt
    /// to connect to the endpoint, the attempt is made now, unless the limits forbid it.
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
            // libzmq retries at once, or has dropped the connection. The next event or timeout shows which.
            State::Ended(_) => connection.is_announced = true,
            State::Open if self.may_reconnect_early(endpoint, host, now_ms) => {
                actions.push(Action::Disconnect(endpoint.to_owned()));
                self.open(endpoint, now_ms, actions);
            }
            State::Waiting(until_ms) if self.may_reconnect_early(endpoint, host, now_ms) => {
                self.waiting.remove(&(until_ms, endpoint.to_owned()));
                self.open(endpoint, now_ms, actions);
            }
            State::Open | State::Waiting(_) => {}
        }
    }

    /// Counts an early reconnect. False when none is allowed now.
    fn may_reconnect_early(&mut self, endpoint: &str, host: &str, now_ms: u64) -> bool {
        if self.early.len() >= MAX_EARLY_HOSTS {
            self.early.retain(|_, limit| !limit.is_restored(now_ms));
        }
        let Some(connection) = self.connections.get_mut(endpoint) else { return false };
        let of_host = self.early.get(host).copied().unwrap_or_default();
        let is_full = self.early.len() >= MAX_EARLY_HOSTS && !self.early.contains_key(host);
        if is_full
            || connection.early.due_ms(EARLY_PER_ENDPOINT_COUNT, EARLY_PER_ENDPOINT_MS) > now_ms
            || of_host.due_ms(EARLY_PER_HOST_COUNT, EARLY_PER_HOST_MS) > now_ms
        {
            return false;
        }
        connection.early.take(EARLY_PER_ENDPOINT_MS, now_ms);
        self.early.entry(host.to_owned()).or_default().take(EARLY_PER_HOST_MS, now_ms);
        true
    }

    /// Disconnects from an endpoint.
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

    /// Handles an event of the socket's monitor. Returns the endpoint in the form that [`Reconnect::connect`] was
    /// given. `None` when the event is about an unknown endpoint or an old connection.
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
                (connection.state, connection.is_announced) = (State::Open, false);
                connection.established_ms = (event == ConnectionEvent::Established).then_some(now_ms);
            }
            (State::Open, ConnectionEvent::Established) => connection.established_ms = Some(now_ms),
            (State::Open, ConnectionEvent::Retrying) => connection.established_ms = None,
            // The event is about an old connection.
            (State::Waiting(_), _) | (State::Ended(_), ConnectionEvent::Ended) => return None,
        }
        Some(name)
    }

    /// The endpoint in our form. libzmq may write the address differently when it retries. Then the event belongs to a
    /// connection to the same port that has just ended.
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

    /// When [`Reconnect::handle_timeout`] must be called next. `None` when nothing is due.
    pub fn due_ms(&self) -> Option<u64> {
        let ended_ms = self.ended.first().map(|(since_ms, _)| since_ms + GIVEN_UP_MS);
        let waiting_ms = self.waiting.first().map(|&(until_ms, _)| until_ms);
        [ended_ms, waiting_ms].into_iter().flatten().min()
    }

    /// Gives up connections that libzmq has dropped. Reconnects the connections whose wait is over.
    pub fn handle_timeout(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        self.now_ms = now_ms;
        if let Some(&(since_ms, _)) = self.ended.first()
            && since_ms + GIVEN_UP_MS <= now_ms
        {
            while let Some((ended_ms, _)) = self.ended.first()
                && ended_ms + ALSO_GIVEN_UP_MS <= now_ms
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
            self.open(&endpoint, now_ms, actions);
        }
    }

    fn give_up(&mut self, endpoint: String, ended_ms: u64, now_ms: u64, actions: &mut Vec<Action>) {
        let Some(connection) = self.connections.get_mut(&endpoint) else { return };
        let lasted_ms =
            connection.established_ms.map_or(0, |established_ms| ended_ms.saturating_sub(established_ms));
        connection.backoff_ms = match lasted_ms >= connection.backoff_ms.max(FIRST_WAIT_MS) {
            true => FIRST_WAIT_MS,
            false => (2 * connection.backoff_ms).clamp(FIRST_WAIT_MS, MAX_WAIT_MS),
        };
        // After an announcement, the wait is the shortest one, if the limit allows it.
        let is_announced = std::mem::take(&mut connection.is_announced)
            && connection.early.due_ms(EARLY_PER_ENDPOINT_COUNT, EARLY_PER_ENDPOINT_MS) <= now_ms;
        if is_announced {
            connection.early.take(EARLY_PER_ENDPOINT_MS, now_ms);
        }
        let wait_ms = if is_announced { FIRST_WAIT_MS } else { connection.backoff_ms };
        let until_ms = now_ms.max(ended_ms + wait_ms);
        connection.state = State::Waiting(until_ms);
        actions.push(Action::GivenUp {
            endpoint: endpoint.clone(),
            has_answered: connection.established_ms.is_some(),
            wait_ms,
        });
        self.waiting.insert((until_ms, endpoint));
    }

    /// Reconnects every endpoint that was opened after `since_ms`, with a tolerance of `DELAY_MS`. The caller has just
    /// disconnected from a dead connection, which ended at `since_ms`. libzmq (4.3.4) keeps a pointer to a connection
    /// that it has dropped. It may allocate a new connection in the memory to which this pointer points. If it then
    /// disconnects the dead connection, it also ends the new connection, and does not report that.
    fn renew(&mut self, since_ms: u64, actions: &mut Vec<Action>) {
        let mut renewed = Vec::new();
        while let Some((opened_ms, _)) = self.opened.back()
            && *opened_ms + DELAY_MS >= since_ms
            && let Some((opened_ms, endpoint)) = self.opened.pop_back()
        {
            let Some(connection) = self.connections.get_mut(&endpoint) else { continue };
            if connection.opened_ms.take_if(|own_ms| *own_ms == opened_ms).is_none() {
                continue;
            }
            match connection.state {
                State::Open => {}
                State::Ended(since_ms) => drop(self.ended.remove(&(since_ms, endpoint.clone()))),
                State::Waiting(_) => continue,
            }
            (connection.state, connection.established_ms) = (State::Open, None);
            connection.renewals += 1;
            // libzmq may allocate the new connection in the memory of yet another dead one.
            connection.opened_ms = (connection.renewals < MAX_RENEWALS).then_some(self.now_ms);
            renewed.push(endpoint);
        }
        self.opened.extend(renewed.iter().rev().map(|endpoint| (self.now_ms, endpoint.clone())));
        // All disconnects come before all connects. Otherwise libzmq could allocate a new connection in the memory of
        // one that is disconnected next.
        actions.extend(renewed.iter().rev().cloned().map(Action::Disconnect));
        actions.extend(renewed.into_iter().rev().map(Action::Connect));
    }
}

#[cfg(test)]
mod tests;
