//! The endpoints that a beacon has reported to an application, in the form in which they were announced.
//!
//! The beacon itself uses and counts known endpoints: if the host of an announced endpoint is a name, the known
//! endpoint contains the host's address instead, once it is found. Otherwise, a peer could get around the limits with
//! several names of one host.

use crate::net::names;
use crate::net::reconnect::Action;
use std::collections::HashMap;

/// The endpoints that were reported.
#[derive(Default)]
pub(super) struct Reported {
    /// The key is the known endpoint. The value is the announced endpoint, which was reported.
    announced: HashMap<String, String>,
    /// The key is the announced endpoint. The value is the known endpoint.
    known: HashMap<String, String>,
}

impl Reported {
    /// Replaces known endpoints by announced ones in `actions`, from index `from` on. Each connect among these actions
    /// is to the peer that is announced at `announced`.
    ///
    /// When the address of an announced endpoint's host is found or changes, this reports a disconnect before the new
    /// connect.
    pub(super) fn rewrite(&mut self, actions: &mut Vec<Action>, from: usize, announced: &str) {
        for action in actions.split_off(from) {
            match action {
                Action::Connect(known) => {
                    let endpoint = announced.to_owned();
                    if let Some(before) = self.known.insert(endpoint.clone(), known.clone()) {
                        self.announced.remove(&before);
                        names::withdraw(&endpoint, &before);
                        actions.push(Action::Disconnect(endpoint.clone()));
                    }
                    names::announce(&endpoint, &known);
                    self.announced.insert(known, endpoint.clone());
                    actions.push(Action::Connect(endpoint));
                }
                Action::Disconnect(known) => {
                    // If the endpoint is missing in `announced`, its disconnect was already reported when the host's
                    // address changed.
                    if let Some(endpoint) = self.announced.remove(&known) {
                        self.known.remove(&endpoint);
                        names::withdraw(&endpoint, &known);
                        actions.push(Action::Disconnect(endpoint));
                    }
                }
                given_up @ Action::GivenUp { .. } => actions.push(given_up),
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

    fn connect(endpoint: &str) -> Action {
        Action::Connect(endpoint.into())
    }

    fn disconnect(endpoint: &str) -> Action {
        Action::Disconnect(endpoint.into())
    }

    #[test]
    fn endpoints_are_reported_as_they_were_announced() {
        let mut reported = Reported::default();
        let mut actions = vec![connect("an earlier one")];
        actions.push(connect(HERE));
        reported.rewrite(&mut actions, 1, NAMED);
        assert_eq!(actions, [connect("an earlier one"), connect(NAMED)]);
        let mut actions = vec![disconnect(HERE)];
        reported.rewrite(&mut actions, 0, "");
        assert_eq!(actions, [disconnect(NAMED)]);
    }

    #[test]
    fn a_host_that_is_found_late_or_elsewhere_is_reported_again() {
        let mut reported = Reported::default();
        for (known, before) in [(NAMED, None), (HERE, Some(NAMED)), (THERE, Some(HERE))] {
            let mut actions = vec![connect(known)];
            actions.extend(before.map(disconnect));
            reported.rewrite(&mut actions, 0, NAMED);
            assert_eq!(
                actions,
                [before.map(|_| disconnect(NAMED)), Some(connect(NAMED))]
                    .into_iter()
                    .flatten()
                    .collect::<Vec<_>>()
            );
        }
        // Another peer takes over the first endpoint.
        let mut actions = vec![connect(HERE), disconnect(THERE)];
        reported.rewrite(&mut actions, 0, HERE);
        assert_eq!(actions, [connect(HERE), disconnect(NAMED)]);
    }
}
