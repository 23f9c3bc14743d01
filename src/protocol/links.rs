//! The connections to endpoints: which of them libzmq has given up, and when each is made again.
//!
//! libzmq makes a connection that broke again, and one that cannot be made is tried again. But one over which came what
//! ZeroMQ does not allow, or a frame that is longer than it may be, is given up for good, and nothing tells so: it has
//! ended, and no new attempt is announced. Then the endpoint is disconnected from, and connected to again: soon, when the
//! connection has lasted for longer than it had waited, else ever more seldom.
//!
//! Both waits end early when a node is announced anew at the endpoint: another node has taken the address over. Anybody can
//! send a beacon, so such reconnects are bounded by endpoint and by host.

use super::discovery::Event;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// How long after the end of a connection libzmq must have announced its next attempt: it does so at once.
const GIVEN_UP_MS: u64 = 100;
/// The same for connections that end while another one is found to be given up: a little is enough.
const SURELY_MS: u64 = 10;
/// How soon after its end a connection is made again, at first...
const FIRST_WAIT_MS: u64 = 100;
/// ... and at the latest: as libzmq waits when nobody answers.
const MAX_WAIT_MS: u64 = 4_000;
/// How long it may take at the most from an event here to what the node does about it, or until it is known here.
const DELAY_MS: u64 = 1_000;

/// How often a connection is made again at the most because others were given up: it may share its memory with several.
const MAX_RENEWALS: u8 = 3;

/// Early reconnects of one endpoint, and of all endpoints of one host: how many at once...
const ENDPOINT_HURRY_COUNT: u64 = 10;
const HOST_HURRY_COUNT: u64 = 50;
/// ... and how long it takes until there may be one more.
const ENDPOINT_HURRY_MS: u64 = 1_000;
const HOST_HURRY_MS: u64 = 100;
/// Hosts whose early reconnects are counted at a time.
const MAX_HURRIED_HOSTS: usize = 1_000;

/// What libzmq tells of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Somebody speaks ZeroMQ at the other end.
    Answers,
    /// It has ended.
    Ended,
    /// It could not be made, or has ended: libzmq tries again.
    Retries,
}

/// The connections to all endpoints.
#[derive(Debug, Default)]
pub struct Links {
    links: HashMap<String, Link>,
    /// Those that have ended, and since when, of which libzmq has not said yet that it tries again.
    ended: BTreeSet<(u64, String)>,
    /// Those that were given up, and when they are made again.
    waiting: BTreeSet<(u64, String)>,
    /// When something was heard last.
    now_ms: u64,
    /// Connections that were begun lately, see [`Links::renew`].
    begun: VecDeque<(u64, String)>,
    /// Other names by which libzmq speaks of an endpoint: it may write an IPv6 address in another way.
    aliases: HashMap<String, String>,
    /// Early reconnects by host.
    hurried: HashMap<String, Pace>,
}

#[derive(Debug)]
struct Link {
    state: State,
    /// libzmq could not connect, and waits before it tries again.
    is_retrying: bool,
    /// A node was announced anew since the connection ended.
    is_wanted: bool,
    /// Early reconnects.
    hurried: Pace,
    /// Since when somebody has answered.
    answered_ms: Option<u64>,
    /// It stands in `Links::begun` under this time; older entries say nothing.
    begun_ms: Option<u64>,
    /// How often it was renewed since.
    renewals: u8,
    /// How long it has waited before it was made; 0 when it has not.
    waited_ms: u64,
    alias: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// libzmq has it, or tries to make it.
    Open,
    /// It stands in `Links::ended` under this time.
    Ended(u64),
    /// It stands in `Links::waiting` under this time.
    Waiting(u64),
}

/// A rate: so many at once, and one more each interval.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// When all that was taken is available again.
    restored_ms: u64,
}

impl Pace {
    /// When the next one may be taken.
    pub(super) fn due_ms(self, count: u64, interval_ms: u64) -> u64 {
        self.restored_ms.saturating_sub((count - 1) * interval_ms)
    }

    /// Takes one.
    pub(super) fn take(&mut self, interval_ms: u64, now_ms: u64) {
        self.restored_ms = self.restored_ms.max(now_ms) + interval_ms;
    }
}

impl Links {
    /// Connects to an endpoint.
    pub fn connect(&mut self, endpoint: &str, now_ms: u64, events: &mut Vec<Event>) {
        let link = Link {
            state: State::Open,
            is_retrying: false,
            is_wanted: false,
            hurried: Pace::default(),
            answered_ms: None,
            begun_ms: None,
            renewals: 0,
            waited_ms: 0,
            alias: None,
        };
        self.links.insert(endpoint.to_owned(), link);
        self.begin(endpoint, now_ms, events);
    }

    fn begin(&mut self, endpoint: &str, now_ms: u64, events: &mut Vec<Event>) {
        self.now_ms = now_ms;
        while self.begun.front().is_some_and(|(begun_ms, _)| begun_ms + GIVEN_UP_MS + 2 * DELAY_MS < now_ms) {
            self.begun.pop_front();
        }
        if let Some(link) = self.links.get_mut(endpoint) {
            (link.state, link.answered_ms, link.begun_ms) = (State::Open, None, Some(now_ms));
            (link.is_retrying, link.is_wanted) = (false, false);
            link.renewals = 0;
        }
        self.begun.push_back((now_ms, endpoint.to_owned()));
        events.push(Event::Connect(endpoint.to_owned()));
    }

    /// A node is announced anew at an endpoint of `host`. When libzmq waits before it tries to connect again, or this does,
    /// the connection is made now.
    pub fn announced(&mut self, endpoint: &str, host: &str, now_ms: u64, events: &mut Vec<Event>) {
        let Some(link) = self.links.get_mut(endpoint) else { return };
        let (state, is_retrying) = (link.state, link.is_retrying);
        match state {
            State::Open if !is_retrying => {}
            // libzmq tries again at once, or has given up: that is known soon.
            State::Ended(_) => link.is_wanted = true,
            State::Open if self.may_hurry(endpoint, host, now_ms) => {
                events.push(Event::Disconnect(endpoint.to_owned()));
                self.begin(endpoint, now_ms, events);
            }
            State::Waiting(until_ms) if self.may_hurry(endpoint, host, now_ms) => {
                self.waiting.remove(&(until_ms, endpoint.to_owned()));
                self.begin(endpoint, now_ms, events);
            }
            State::Open | State::Waiting(_) => {}
        }
    }

    /// Takes one early reconnect, if there may be one.
    fn may_hurry(&mut self, endpoint: &str, host: &str, now_ms: u64) -> bool {
        if self.hurried.len() >= MAX_HURRIED_HOSTS {
            self.hurried.retain(|_, pace| pace.restored_ms > now_ms);
        }
        let Some(link) = self.links.get_mut(endpoint) else { return false };
        let of_host = self.hurried.get(host).copied().unwrap_or_default();
        let is_full = self.hurried.len() >= MAX_HURRIED_HOSTS && !self.hurried.contains_key(host);
        if is_full
            || link.hurried.due_ms(ENDPOINT_HURRY_COUNT, ENDPOINT_HURRY_MS) > now_ms
            || of_host.due_ms(HOST_HURRY_COUNT, HOST_HURRY_MS) > now_ms
        {
            return false;
        }
        link.hurried.take(ENDPOINT_HURRY_MS, now_ms);
        self.hurried.entry(host.to_owned()).or_default().take(HOST_HURRY_MS, now_ms);
        true
    }

    /// Ends the connection to an endpoint for good.
    pub fn disconnect(&mut self, endpoint: &str, events: &mut Vec<Event>) {
        let Some(link) = self.links.remove(endpoint) else { return };
        if let Some(alias) = link.alias {
            self.aliases.remove(&alias);
        }
        match link.state {
            State::Open => events.push(Event::Disconnect(endpoint.to_owned())),
            State::Ended(since_ms) => {
                self.ended.remove(&(since_ms, endpoint.to_owned()));
                events.push(Event::Disconnect(endpoint.to_owned()));
                self.renew(since_ms, events);
            }
            State::Waiting(until_ms) => drop(self.waiting.remove(&(until_ms, endpoint.to_owned()))),
        }
    }

    /// Takes what libzmq tells of an endpoint. Returns the name by which that is known here, if it is.
    pub fn news(&mut self, endpoint: &str, news: News, now_ms: u64) -> Option<String> {
        self.now_ms = now_ms;
        let name = self.name(endpoint, news)?;
        let link = self.links.get_mut(&name)?;
        link.is_retrying = news == News::Retries;
        match (link.state, news) {
            (State::Open, News::Ended) => {
                link.state = State::Ended(now_ms);
                self.ended.insert((now_ms, name.clone()));
            }
            (State::Ended(since_ms), News::Answers | News::Retries) => {
                self.ended.remove(&(since_ms, name.clone()));
                (link.state, link.is_wanted) = (State::Open, false);
                link.answered_ms = (news == News::Answers).then_some(now_ms);
            }
            (State::Open, News::Answers) => link.answered_ms = Some(now_ms),
            (State::Open, News::Retries) => link.answered_ms = None,
            // Of a connection that is no more.
            (State::Waiting(_), _) | (State::Ended(_), News::Ended) => return None,
        }
        Some(name)
    }

    /// The endpoint that libzmq means. When a connection is tried again, libzmq may write its address in another way: it
    /// is the one that has just ended, at the same port.
    fn name(&mut self, endpoint: &str, news: News) -> Option<String> {
        if self.links.contains_key(endpoint) {
            return Some(endpoint.to_owned());
        }
        if let Some(name) = self.aliases.get(endpoint) {
            return Some(name.clone());
        }
        if news != News::Retries {
            return None;
        }
        let port = |endpoint: &str| endpoint.rsplit(':').next().map(str::to_owned);
        let is_it = |(_, name): &&(u64, String)| port(name) == port(endpoint);
        let name = self.ended.iter().find(is_it).map(|(_, name)| name.clone())?;
        let link = self.links.get_mut(&name)?;
        if let Some(old) = link.alias.replace(endpoint.to_owned()) {
            self.aliases.remove(&old);
        }
        self.aliases.insert(endpoint.to_owned(), name.clone());
        Some(name)
    }

    /// When [`Links::tick`] has something to do next.
    pub fn due_ms(&self) -> Option<u64> {
        let ended_ms = self.ended.first().map(|(since_ms, _)| since_ms + GIVEN_UP_MS);
        let waiting_ms = self.waiting.first().map(|&(until_ms, _)| until_ms);
        [ended_ms, waiting_ms].into_iter().flatten().min()
    }

    /// Ends what libzmq has given up, and begins again what has waited for long enough.
    pub fn tick(&mut self, now_ms: u64, events: &mut Vec<Event>) {
        self.now_ms = now_ms;
        if let Some(&(since_ms, _)) = self.ended.first()
            && since_ms + GIVEN_UP_MS <= now_ms
        {
            while let Some((ended_ms, _)) = self.ended.first()
                && ended_ms + SURELY_MS <= now_ms
                && let Some((ended_ms, endpoint)) = self.ended.pop_first()
            {
                self.give_up(endpoint, ended_ms, now_ms, events);
            }
            self.renew(since_ms, events);
        }
        while let Some((until_ms, _)) = self.waiting.first()
            && *until_ms <= now_ms
            && let Some((_, endpoint)) = self.waiting.pop_first()
        {
            self.begin(&endpoint, now_ms, events);
        }
    }

    fn give_up(&mut self, endpoint: String, ended_ms: u64, now_ms: u64, events: &mut Vec<Event>) {
        let Some(link) = self.links.get_mut(&endpoint) else { return };
        let lasted_ms = link.answered_ms.map_or(0, |answered_ms| ended_ms.saturating_sub(answered_ms));
        link.waited_ms = match lasted_ms >= link.waited_ms.max(FIRST_WAIT_MS) {
            true => FIRST_WAIT_MS,
            false => (2 * link.waited_ms).clamp(FIRST_WAIT_MS, MAX_WAIT_MS),
        };
        // A node that was announced meanwhile: no more than the shortest wait, if that is not too often.
        let is_wanted = std::mem::take(&mut link.is_wanted)
            && link.hurried.due_ms(ENDPOINT_HURRY_COUNT, ENDPOINT_HURRY_MS) <= now_ms;
        if is_wanted {
            link.hurried.take(ENDPOINT_HURRY_MS, now_ms);
        }
        let wait_ms = if is_wanted { FIRST_WAIT_MS } else { link.waited_ms };
        let until_ms = now_ms.max(ended_ms + wait_ms);
        link.state = State::Waiting(until_ms);
        events.push(Event::GivenUp {
            endpoint: endpoint.clone(),
            has_answered: link.answered_ms.is_some(),
            wait_ms,
        });
        self.waiting.insert((until_ms, endpoint));
    }

    /// Makes the connections again that were begun since another one, that was given up, had ended at `since_ms`, as far
    /// as one can tell, and before that was disconnected from. libzmq (4.3.4) keeps a pointer to one that it has given up.
    /// What is made next may lie where that points to, and to disconnect from the one then ends the other, without a word.
    fn renew(&mut self, since_ms: u64, events: &mut Vec<Event>) {
        let mut renewed = Vec::new();
        while let Some((begun_ms, _)) = self.begun.back()
            && *begun_ms + DELAY_MS >= since_ms
            && let Some((begun_ms, endpoint)) = self.begun.pop_back()
        {
            let Some(link) = self.links.get_mut(&endpoint) else { continue };
            if link.begun_ms.take_if(|link_begun_ms| *link_begun_ms == begun_ms).is_none() {
                continue;
            }
            match link.state {
                State::Open => {}
                State::Ended(since_ms) => drop(self.ended.remove(&(since_ms, endpoint.clone()))),
                State::Waiting(_) => continue,
            }
            (link.state, link.answered_ms) = (State::Open, None);
            link.renewals += 1;
            // Another one may have been given up meanwhile, whose memory is where this one lies now.
            link.begun_ms = (link.renewals < MAX_RENEWALS).then_some(self.now_ms);
            renewed.push(endpoint);
        }
        self.begun.extend(renewed.iter().rev().map(|endpoint| (self.now_ms, endpoint.clone())));
        // All of the former before any of the latter, which could fall upon what is to be disconnected from.
        events.extend(renewed.iter().rev().cloned().map(Event::Disconnect));
        events.extend(renewed.into_iter().rev().map(Event::Connect));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "tcp://127.0.0.1:1001";
    const B: &str = "tcp://127.0.0.1:1002";

    fn connected(endpoints: &[&str]) -> Links {
        let mut links = Links::default();
        for endpoint in endpoints {
            let mut events = Vec::new();
            links.connect(endpoint, 0, &mut events);
            assert_eq!(events, [Event::Connect((*endpoint).into())]);
            links.news(endpoint, News::Answers, 1);
        }
        links
    }

    fn tick(links: &mut Links, now_ms: u64) -> Vec<Event> {
        let mut events = Vec::new();
        links.tick(now_ms, &mut events);
        events
    }

    fn given_up(endpoint: &str, has_answered: bool, wait_ms: u64) -> Event {
        Event::GivenUp { endpoint: endpoint.into(), has_answered, wait_ms }
    }

    #[test]
    fn what_libzmq_tries_again_is_left_to_it() {
        let mut links = connected(&[A]);
        links.news(A, News::Ended, 5_000);
        links.news(A, News::Retries, 5_001);
        assert_eq!((links.due_ms(), tick(&mut links, 9_000)), (None, vec![]));
        links.news(A, News::Retries, 9_001);
        links.news(A, News::Answers, 9_500);
        assert_eq!(links.due_ms(), None);
    }

    #[test]
    fn what_libzmq_gives_up_is_made_again() {
        let mut links = connected(&[A]);
        links.news(A, News::Ended, 5_000);
        assert_eq!((links.due_ms(), tick(&mut links, 5_099)), (Some(5_100), vec![]));
        assert_eq!(tick(&mut links, 5_100), [given_up(A, true, 100), Event::Connect(A.into())]);
        assert_eq!(links.due_ms(), None);
    }

    #[test]
    fn it_is_made_ever_more_seldom_until_it_lasts() {
        let mut links = connected(&[A]);
        let (mut now_ms, mut waits) = (5_000, Vec::new());
        let mut end = |lasted_ms: u64| {
            links.news(A, News::Answers, now_ms);
            now_ms += lasted_ms;
            links.news(A, News::Ended, now_ms);
            let ended_ms = now_ms;
            let mut events = tick(&mut links, now_ms + GIVEN_UP_MS);
            now_ms = links.due_ms().unwrap_or(now_ms + GIVEN_UP_MS);
            events.extend(tick(&mut links, now_ms));
            assert_eq!(events.len(), 2, "{events:?}");
            assert_eq!(events[1], Event::Connect(A.into()));
            waits.push(now_ms - ended_ms);
        };
        (0..8).for_each(|_| end(50));
        end(3_999);
        end(4_000);
        end(100);
        end(99);
        end(199);
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 4_000, 4_000, 4_000, 100, 100, 200, 400]);
    }

    fn announced(links: &mut Links, now_ms: u64) -> Vec<Event> {
        let mut events = Vec::new();
        links.announced(A, "a", now_ms, &mut events);
        events
    }

    #[test]
    fn a_node_that_is_announced_anew_is_connected_to_at_once() {
        let again = || vec![Event::Disconnect(A.into()), Event::Connect(A.into())];
        let mut links = connected(&[A]);
        assert_eq!(announced(&mut links, 100), []);
        links.news(A, News::Ended, 1_000);
        assert_eq!(announced(&mut links, 1_000), []);
        links.news(A, News::Retries, 1_001);
        assert_eq!(announced(&mut links, 4_500), again());
        // That attempt is under way.
        assert_eq!(announced(&mut links, 4_501), []);
        links.news(A, News::Retries, 4_502);
        assert_eq!(announced(&mut links, 4_503), again());
        // The same where libzmq had given up: at once, or with the shortest wait.
        for now_ms in [5_000, 6_000, 7_000] {
            links.news(A, News::Answers, now_ms);
            links.news(A, News::Ended, now_ms + 50);
            assert_eq!(announced(&mut links, now_ms + 60), []);
            let connect = Event::Connect(A.into());
            assert_eq!(tick(&mut links, now_ms + 150), [given_up(A, true, 100), connect.clone()]);
            links.news(A, News::Answers, now_ms + 160);
            links.news(A, News::Ended, now_ms + 170);
            assert_eq!(tick(&mut links, now_ms + 270).len(), 1);
            assert_eq!(announced(&mut links, now_ms + 300), [connect]);
        }
        assert!(links.waiting.is_empty() && links.ended.is_empty());
    }

    #[test]
    fn forged_announcements_cause_no_more_than_one_reconnect_per_second_and_endpoint() {
        let mut links = connected(&[A]);
        links.news(A, News::Ended, 100);
        links.news(A, News::Retries, 101);
        let mut count = 0;
        for now_ms in 1_000..61_000 {
            count += announced(&mut links, now_ms).len() / 2;
            links.news(A, News::Retries, now_ms);
        }
        assert_eq!(count, 10 + 59);
        // All endpoints of a host together.
        let endpoints: Vec<String> = (1..=2_000).map(|port| format!("tcp://10.0.0.1:{port}")).collect();
        let mut links = connected(&endpoints.iter().map(String::as_str).collect::<Vec<_>>());
        let mut events = Vec::new();
        for now_ms in (1_000..11_000).step_by(100) {
            for endpoint in &endpoints {
                links.news(endpoint, News::Retries, now_ms);
                links.announced(endpoint, "10.0.0.1", now_ms, &mut events);
            }
        }
        assert_eq!(events.len() / 2, 50 + 99);
    }

    #[test]
    fn who_speaks_no_zeromq_is_told_apart() {
        let mut links = Links::default();
        links.connect(A, 0, &mut Vec::new());
        links.news(A, News::Ended, 5);
        assert_eq!(tick(&mut links, 105), [given_up(A, false, 100), Event::Connect(A.into())]);
    }

    #[test]
    fn one_that_waits_is_not_disconnected_from_twice() {
        let mut links = connected(&[A]);
        for now_ms in [5_000, 5_200] {
            links.news(A, News::Ended, now_ms);
            tick(&mut links, now_ms + 100);
        }
        // It waits until 5,400.
        let mut events = Vec::new();
        assert_eq!(links.news(A, News::Ended, 5_350), None);
        links.disconnect(A, &mut events);
        assert_eq!((events, links.due_ms()), (vec![], None));
        assert!(links.links.is_empty() && links.waiting.is_empty());
    }

    #[test]
    fn connections_that_were_begun_meanwhile_are_made_again() {
        let mut links = connected(&[A, B]);
        links.news(A, News::Ended, 5_000);
        links.connect("tcp://c:3", 4_990, &mut Vec::new());
        links.connect("tcp://d:4", 5_050, &mut Vec::new());
        let expected = [
            given_up(A, true, 100),
            Event::Disconnect("tcp://c:3".into()),
            Event::Disconnect("tcp://d:4".into()),
            Event::Connect("tcp://c:3".into()),
            Event::Connect("tcp://d:4".into()),
            Event::Connect(A.into()),
        ];
        assert_eq!(tick(&mut links, 5_100), expected);
        // And again, as they may lie where this one did.
        let (c, d) = (|| "tcp://c:3".to_owned(), || "tcp://d:4".to_owned());
        links.news(B, News::Ended, 5_150);
        let again = [
            given_up(B, true, 100),
            Event::Disconnect(c()),
            Event::Disconnect(d()),
            Event::Disconnect(A.into()),
            Event::Connect(c()),
            Event::Connect(d()),
            Event::Connect(A.into()),
            Event::Connect(B.into()),
        ];
        assert_eq!(tick(&mut links, 5_250), again);
        // But not for ever: somebody who makes others give up without end must not keep them from being there.
        let mut renewals = 0;
        for now_ms in (5_300..9_000).step_by(200) {
            links.news(B, News::Answers, now_ms);
            links.news(B, News::Ended, now_ms + 1);
            let events = tick(&mut links, now_ms + 101);
            renewals += events.iter().filter(|event| **event == Event::Disconnect(c())).count();
        }
        assert_eq!(renewals, usize::from(MAX_RENEWALS) - 2);
        // The same when it is disconnected from before it is known to be given up.
        tick(&mut links, 20_000);
        links.news(B, News::Answers, 30_000);
        links.news(B, News::Ended, 39_000);
        links.connect("tcp://e:5", 39_001, &mut Vec::new());
        let mut events = Vec::new();
        links.disconnect(B, &mut events);
        let e = || "tcp://e:5".to_owned();
        assert_eq!(events, [Event::Disconnect(B.into()), Event::Disconnect(e()), Event::Connect(e())]);
    }

    #[test]
    fn all_that_have_ended_are_decided_at_once() {
        let mut links = connected(&[A, B]);
        links.news(A, News::Ended, 5_000);
        links.news(B, News::Ended, 5_050);
        let events = tick(&mut links, 5_100);
        assert_eq!(events[..2], [given_up(A, true, 100), given_up(B, true, 100)]);
        assert_eq!(links.due_ms(), Some(5_150));
    }

    #[test]
    fn a_host_s_name_and_its_address_are_one() {
        let name = "tcp://localhost:1001";
        let mut links = connected(&[name, B]);
        links.news(B, News::Ended, 4_999);
        links.news(name, News::Ended, 5_000);
        assert_eq!(links.news(A, News::Answers, 5_000), None);
        assert_eq!(links.news(A, News::Retries, 5_000).as_deref(), Some(name));
        links.news(B, News::Retries, 5_001);
        assert_eq!(tick(&mut links, 9_000), []);
        assert_eq!(links.news(A, News::Answers, 9_001).as_deref(), Some(name));
        assert_eq!(links.news(A, News::Ended, 10_001).as_deref(), Some(name));
        assert_eq!(tick(&mut links, 10_101), [given_up(name, true, 100), Event::Connect(name.into())]);
        links.disconnect(name, &mut Vec::new());
        assert!(links.aliases.is_empty());
    }
}
