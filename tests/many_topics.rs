//! A consumer of very many topics.

#[path = "common/e2e/mod.rs"]
mod e2e;
#[path = "common/peer/mod.rs"]
mod peer;

use dafka::actor::consumer::{self, Sink};
use dafka::actor::{new_address, spawn};
use dafka::settings::Settings;
use e2e::Cluster;

const TOPICS: usize = 5_000;

fn topic(i: usize) -> String {
    format!("topic {i}")
}

/// With CZMQ's default high-water mark of 1,000, libzmq drops the further subscriptions that are on their way to a new
/// peer. The consumer must not use this default.
#[test]
fn a_consumer_of_5_000_topics_subscribes_to_all_at_a_late_peer() {
    let cluster = Cluster::new().with_tower();
    let (publ, sub) = (cluster.pub_addresses(), cluster.sub_addresses());
    let (settings, problems) = Settings::read(|key| match key {
        "beacon/pub_address" => Some(publ.clone()),
        "beacon/sub_address" => Some(sub.clone()),
        "beacon/address" => Some("127.0.0.1".into()),
        "beacon/interval" => Some("100".into()),
        "consumer/offset/reset" => Some("earliest".into()),
        _ => None,
    });
    assert_eq!(problems, []);
    let address = new_address();
    let actor = spawn("consumer", move |pipe| consumer::run(pipe, &address, &settings, Sink::Pipe(pipe)))
        .expect("a thread");
    actor.pipe().wait_for_signal().expect("a signal");
    for i in 0..TOPICS {
        consumer::command(actor.pipe(), b"SUBSCRIBE", topic(i).as_bytes()).expect("a subscription");
    }
    // The consumer must send each subscription to a peer that connects now. Without its subscription, the consumer
    // would receive a topic's records only after the next GET-HEADS.
    let mut late = peer::Node::started(&cluster, &[]);
    for i in (0..TOPICS).step_by(TOPICS / 50).chain([TOPICS - 1]) {
        for prefix in ["M", "H"] {
            late.subscription(format!("{prefix}{}\0", topic(i)).as_bytes());
        }
    }
}
