//! Tests of when connections are made again.

use super::*;

const A: &str = "tcp://127.0.0.1:1001";
const B: &str = "tcp://127.0.0.1:1002";

fn connected(endpoints: &[&str]) -> Reconnect {
    let mut reconnect = Reconnect::default();
    for endpoint in endpoints {
        let mut actions = Vec::new();
        reconnect.connect(endpoint, 0, &mut actions);
        assert_eq!(actions, [Action::Connect((*endpoint).into())]);
        reconnect.handle_event(endpoint, ConnectionEvent::Established, 1);
    }
    reconnect
}

fn tick(reconnect: &mut Reconnect, now_ms: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    reconnect.handle_timeout(now_ms, &mut actions);
    actions
}

fn given_up(endpoint: &str, has_answered: bool, wait_ms: u64) -> Action {
    Action::GivenUp { endpoint: endpoint.into(), has_answered, wait_ms }
}

#[test]
fn a_connection_that_libzmq_retries_is_left_alone() {
    let mut reconnect = connected(&[A]);
    reconnect.handle_event(A, ConnectionEvent::Ended, 5_000);
    reconnect.handle_event(A, ConnectionEvent::Retrying, 5_001);
    assert_eq!((reconnect.due_ms(), tick(&mut reconnect, 9_000)), (None, vec![]));
    reconnect.handle_event(A, ConnectionEvent::Retrying, 9_001);
    reconnect.handle_event(A, ConnectionEvent::Established, 9_500);
    assert_eq!(reconnect.due_ms(), None);
}

#[test]
fn a_connection_that_libzmq_drops_is_made_again() {
    let mut reconnect = connected(&[A]);
    reconnect.handle_event(A, ConnectionEvent::Ended, 5_000);
    assert_eq!((reconnect.due_ms(), tick(&mut reconnect, 5_099)), (Some(5_100), vec![]));
    assert_eq!(tick(&mut reconnect, 5_100), [given_up(A, true, 100), Action::Connect(A.into())]);
    assert_eq!(reconnect.due_ms(), None);
}

#[test]
fn waits_grow_exponentially_until_a_connection_lasts() {
    let mut reconnect = connected(&[A]);
    let (mut now_ms, mut waits) = (5_000, Vec::new());
    let mut end = |lasted_ms: u64| {
        reconnect.handle_event(A, ConnectionEvent::Established, now_ms);
        now_ms += lasted_ms;
        reconnect.handle_event(A, ConnectionEvent::Ended, now_ms);
        let ended_ms = now_ms;
        let mut actions = tick(&mut reconnect, now_ms + GIVEN_UP_MS);
        now_ms = reconnect.due_ms().unwrap_or(now_ms + GIVEN_UP_MS);
        actions.extend(tick(&mut reconnect, now_ms));
        assert_eq!(actions.len(), 2, "{actions:?}");
        assert_eq!(actions[1], Action::Connect(A.into()));
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

fn announced(reconnect: &mut Reconnect, now_ms: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    reconnect.handle_announcement(A, "a", now_ms, &mut actions);
    actions
}

#[test]
fn a_newly_announced_node_is_connected_to_at_once() {
    let again = || vec![Action::Disconnect(A.into()), Action::Connect(A.into())];
    let mut reconnect = connected(&[A]);
    assert_eq!(announced(&mut reconnect, 100), []);
    reconnect.handle_event(A, ConnectionEvent::Ended, 1_000);
    assert_eq!(announced(&mut reconnect, 1_000), []);
    reconnect.handle_event(A, ConnectionEvent::Retrying, 1_001);
    assert_eq!(announced(&mut reconnect, 4_500), again());
    // An attempt is in progress.
    assert_eq!(announced(&mut reconnect, 4_501), []);
    reconnect.handle_event(A, ConnectionEvent::Retrying, 4_502);
    assert_eq!(announced(&mut reconnect, 4_503), again());
    // An announcement also counts when libzmq has dropped the connection. Before the connection is given up, the
    // announcement makes the wait the shortest one. After that, it ends the wait at once.
    for now_ms in [5_000, 6_000, 7_000] {
        reconnect.handle_event(A, ConnectionEvent::Established, now_ms);
        reconnect.handle_event(A, ConnectionEvent::Ended, now_ms + 50);
        assert_eq!(announced(&mut reconnect, now_ms + 60), []);
        let connect = Action::Connect(A.into());
        assert_eq!(tick(&mut reconnect, now_ms + 150), [given_up(A, true, 100), connect.clone()]);
        reconnect.handle_event(A, ConnectionEvent::Established, now_ms + 160);
        reconnect.handle_event(A, ConnectionEvent::Ended, now_ms + 170);
        assert_eq!(tick(&mut reconnect, now_ms + 270).len(), 1);
        assert_eq!(announced(&mut reconnect, now_ms + 300), [connect]);
    }
    assert!(reconnect.waiting.is_empty() && reconnect.ended.is_empty());
}

#[test]
fn forged_announcements_cause_no_more_than_one_reconnect_per_second_and_endpoint() {
    let mut reconnect = connected(&[A]);
    reconnect.handle_event(A, ConnectionEvent::Ended, 100);
    reconnect.handle_event(A, ConnectionEvent::Retrying, 101);
    let mut count = 0;
    for now_ms in 1_000..61_000 {
        count += announced(&mut reconnect, now_ms).len() / 2;
        reconnect.handle_event(A, ConnectionEvent::Retrying, now_ms);
    }
    assert_eq!(count, 10 + 59);
    // The limit per host.
    let endpoints: Vec<String> = (1..=2_000).map(|port| format!("tcp://10.0.0.1:{port}")).collect();
    let mut reconnect = connected(&endpoints.iter().map(String::as_str).collect::<Vec<_>>());
    let mut actions = Vec::new();
    for now_ms in (1_000..11_000).step_by(100) {
        for endpoint in &endpoints {
            reconnect.handle_event(endpoint, ConnectionEvent::Retrying, now_ms);
            reconnect.handle_announcement(endpoint, "10.0.0.1", now_ms, &mut actions);
        }
    }
    assert_eq!(actions.len() / 2, 50 + 99);
}

#[test]
fn a_peer_that_does_not_speak_zeromq_is_distinguished() {
    let mut reconnect = Reconnect::default();
    reconnect.connect(A, 0, &mut Vec::new());
    reconnect.handle_event(A, ConnectionEvent::Ended, 5);
    assert_eq!(tick(&mut reconnect, 105), [given_up(A, false, 100), Action::Connect(A.into())]);
}

#[test]
fn a_waiting_connection_is_not_disconnected_twice() {
    let mut reconnect = connected(&[A]);
    for now_ms in [5_000, 5_200] {
        reconnect.handle_event(A, ConnectionEvent::Ended, now_ms);
        tick(&mut reconnect, now_ms + 100);
    }
    // It waits until 5,400 ms.
    let mut actions = Vec::new();
    assert_eq!(reconnect.handle_event(A, ConnectionEvent::Ended, 5_350), None);
    reconnect.disconnect(A, &mut actions);
    assert_eq!((actions, reconnect.due_ms()), (vec![], None));
    assert!(reconnect.connections.is_empty() && reconnect.waiting.is_empty());
}

#[test]
fn connections_that_were_opened_meanwhile_are_renewed() {
    let mut reconnect = connected(&[A, B]);
    reconnect.handle_event(A, ConnectionEvent::Ended, 5_000);
    reconnect.connect("tcp://c:3", 4_990, &mut Vec::new());
    reconnect.connect("tcp://d:4", 5_050, &mut Vec::new());
    let expected = [
        given_up(A, true, 100),
        Action::Disconnect("tcp://c:3".into()),
        Action::Disconnect("tcp://d:4".into()),
        Action::Connect("tcp://c:3".into()),
        Action::Connect("tcp://d:4".into()),
        Action::Connect(A.into()),
    ];
    assert_eq!(tick(&mut reconnect, 5_100), expected);
    // `c`, `d` and `A` are renewed, because libzmq may have allocated one of these connections in the memory of the
    // dead connection to `B`.
    let (c, d) = (|| "tcp://c:3".to_owned(), || "tcp://d:4".to_owned());
    reconnect.handle_event(B, ConnectionEvent::Ended, 5_150);
    let again = [
        given_up(B, true, 100),
        Action::Disconnect(c()),
        Action::Disconnect(d()),
        Action::Disconnect(A.into()),
        Action::Connect(c()),
        Action::Connect(d()),
        Action::Connect(A.into()),
        Action::Connect(B.into()),
    ];
    assert_eq!(tick(&mut reconnect, 5_250), again);
    // The renewals are limited. Otherwise a peer whose connections are given up repeatedly could keep others
    // disconnected.
    let mut renewals = 0;
    for now_ms in (5_300..9_000).step_by(200) {
        reconnect.handle_event(B, ConnectionEvent::Established, now_ms);
        reconnect.handle_event(B, ConnectionEvent::Ended, now_ms + 1);
        let actions = tick(&mut reconnect, now_ms + 101);
        renewals += actions.iter().filter(|event| **event == Action::Disconnect(c())).count();
    }
    assert_eq!(renewals, usize::from(MAX_RENEWALS) - 2);
    // Connections are also renewed when the owner disconnects from `B` before that connection is given up.
    tick(&mut reconnect, 20_000);
    reconnect.handle_event(B, ConnectionEvent::Established, 30_000);
    reconnect.handle_event(B, ConnectionEvent::Ended, 39_000);
    reconnect.connect("tcp://e:5", 39_001, &mut Vec::new());
    let mut actions = Vec::new();
    reconnect.disconnect(B, &mut actions);
    let e = || "tcp://e:5".to_owned();
    assert_eq!(actions, [Action::Disconnect(B.into()), Action::Disconnect(e()), Action::Connect(e())]);
}

#[test]
fn all_ended_connections_are_given_up_together() {
    let mut reconnect = connected(&[A, B]);
    reconnect.handle_event(A, ConnectionEvent::Ended, 5_000);
    reconnect.handle_event(B, ConnectionEvent::Ended, 5_050);
    let actions = tick(&mut reconnect, 5_100);
    assert_eq!(actions[..2], [given_up(A, true, 100), given_up(B, true, 100)]);
    assert_eq!(reconnect.due_ms(), Some(5_150));
}

#[test]
fn libzmq_s_form_of_an_endpoint_is_recognized() {
    let name = "tcp://localhost:1001";
    let mut reconnect = connected(&[name, B]);
    reconnect.handle_event(B, ConnectionEvent::Ended, 4_999);
    reconnect.handle_event(name, ConnectionEvent::Ended, 5_000);
    assert_eq!(reconnect.handle_event(A, ConnectionEvent::Established, 5_000), None);
    assert_eq!(reconnect.handle_event(A, ConnectionEvent::Retrying, 5_000).as_deref(), Some(name));
    reconnect.handle_event(B, ConnectionEvent::Retrying, 5_001);
    assert_eq!(tick(&mut reconnect, 9_000), []);
    assert_eq!(reconnect.handle_event(A, ConnectionEvent::Established, 9_001).as_deref(), Some(name));
    assert_eq!(reconnect.handle_event(A, ConnectionEvent::Ended, 10_001).as_deref(), Some(name));
    assert_eq!(tick(&mut reconnect, 10_101), [given_up(name, true, 100), Action::Connect(name.into())]);
    reconnect.disconnect(name, &mut Vec::new());
    assert!(reconnect.aliases.is_empty());
}
