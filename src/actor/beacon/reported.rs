//! What a beacon reports to an application: endpoints as they were announced.
//!
//! Peers are known and counted by the endpoint in its one form, with the address of the host in it. Else a name would be a
//! way around the limits.

use crate::net::names;
use crate::protocol::discovery::Event;
use std::collections::HashMap;

/// The endpoints that were reported.
#[derive(Default)]
pub(super) struct Reported {
    /// By known endpoint: what was announced, and reported.
    announced: HashMap<String, String>,
    /// The other way round.
    known: HashMap<String, String>,
}

impl Reported {
    /// Puts announced endpoints in place of known ones in `events`, from the event with index `from` on. They are about
    /// the peer that is announced at `announced`, if one is connected to.
    ///
    /// An announced endpoint whose host is found, or found elsewhere, is disconnected from before it is connected to again.
    pub(super) fn rewrite(&mut self, events: &mut Vec<Event>, from: usize, announced: &str) {
        for event in events.split_off(from) {
            match event {
                Event::Connect(known) => {
                    let endpoint = announced.to_owned();
                    if let Some(before) = self.known.insert(endpoint.clone(), known.clone()) {
                        self.announced.remove(&before);
                        names::withdraw(&endpoint, &before);
                        events.push(Event::Disconnect(endpoint.clone()));
                    }
                    names::announce(&endpoint, &known);
                    self.announced.insert(known, endpoint.clone());
                    events.push(Event::Connect(endpoint));
                }
                Event::Disconnect(known) => {
                    // Else it was reported when its host was found elsewhere.
                    if let Some(endpoint) = self.announced.remove(&known) {
                        self.known.remove(&endpoint);
                        names::withdraw(&endpoint, &known);
                        events.push(Event::Disconnect(endpoint));
                    }
                }
                given_up @ Event::GivenUp { .. } => events.push(given_up),
            }
        }
    }
}

impl Drop for Reported {
    fn drop(&mut self) {
        self.known.iter().for_each(|(endpoint, known)| names::withdraw(endpoint, known));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMED: &str = "tcp://reported-test.invalid:5";
    const HERE: &str = "tcp://10.0.0.1:5";
    const THERE: &str = "tcp://10.0.0.2:5";

    fn connect(endpoint: &str) -> Event {
        Event::Connect(endpoint.into())
    }

    fn disconnect(endpoint: &str) -> Event {
        Event::Disconnect(endpoint.into())
    }

    #[test]
    fn endpoints_are_reported_as_they_were_announced() {
        let mut reported = Reported::default();
        let mut events = vec![connect("an earlier one")];
        events.push(connect(HERE));
        reported.rewrite(&mut events, 1, NAMED);
        assert_eq!(events, [connect("an earlier one"), connect(NAMED)]);
        let mut events = vec![disconnect(HERE)];
        reported.rewrite(&mut events, 0, "");
        assert_eq!(events, [disconnect(NAMED)]);
    }

    #[test]
    fn a_host_that_is_found_late_or_elsewhere_is_reported_anew() {
        let mut reported = Reported::default();
        for (known, before) in [(NAMED, None), (HERE, Some(NAMED)), (THERE, Some(HERE))] {
            let mut events = vec![connect(known)];
            events.extend(before.map(disconnect));
            reported.rewrite(&mut events, 0, NAMED);
            assert_eq!(
                events,
                [before.map(|_| disconnect(NAMED)), Some(connect(NAMED))]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
            );
        }
        // Another peer takes the first endpoint.
        let mut events = vec![connect(HERE), disconnect(THERE)];
        reported.rewrite(&mut events, 0, HERE);
        assert_eq!(events, [connect(HERE), disconnect(NAMED)]);
    }
}
