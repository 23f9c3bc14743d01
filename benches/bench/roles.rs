//! The roles that use the C API: a process with producers, with a consumer, or with both.

use crate::acks::Acks;
use crate::api::{Attributes, Consumer, Producer};
use crate::process::Arguments;
use crate::traffic::{Arrivals, Sender, say, send_all, topic, wait_for_the_end};
use dafka::czmq::Config;
use std::time::Instant;

/// The configuration of the bench's file, and the configuration keys among the arguments.
fn config(arguments: &Arguments) -> Config {
    let mut config = Config::load(arguments.text("config").expect("a path")).expect("the configuration");
    for (key, value) in arguments.settings() {
        config.put(key, value);
    }
    config
}

struct Producers {
    producers: Vec<Producer>,
    acks: Option<Acks>,
    /// When the first measured record was sent.
    start: Instant,
}

impl Sender for Producers {
    fn send(&mut self, topic: usize, content: &[u8]) {
        if let Some(acks) = &mut self.acks {
            acks.note_sent();
        }
        self.producers[topic].send(content);
    }

    fn warm(&mut self, warm_ups: u64) {
        if let Some(acks) = &mut self.acks {
            acks.warm(warm_ups);
        }
        self.start = Instant::now();
    }
}

/// Runs one producer of each topic. With `store=1`, prints `acked` after the first ACK, and, if there is a rate, `ack`
/// with the latencies of the ACKs. After the last record, prints `published`. With `end=1`, ends the producers instead,
/// and then prints `ended`. Both lines contain the seconds since the first measured record. With `key=n`, records have
/// keys of n bytes. With `timestamp=1`, the program sets their timestamps.
pub(crate) fn produce(arguments: &Arguments) {
    let config = config(arguments);
    let attributes = Attributes {
        key_len: arguments.number("key") as usize,
        has_timestamps: arguments.number("timestamp") > 0,
    };
    let start = |i| Producer::start(&config, &topic(i), attributes);
    let producers: Vec<_> = (0..arguments.number("topics")).map(start).collect();
    say(format_args!("ready"));
    let acks = (arguments.number("store") > 0).then(|| {
        let tower = config.get("beacon/pub_address").expect("the tower's address");
        let timed = if arguments.number("rate") > 0 { arguments.number("count") } else { 0 };
        Acks::watch(&tower, &producers[0].address(), timed)
    });
    let mut producers = Producers { producers, acks, start: Instant::now() };
    send_all(arguments, &mut producers);
    let Producers { producers, start, .. } = producers;
    if arguments.number("end") > 0 {
        drop(producers);
        say(format_args!("ended {}", start.elapsed().as_secs_f64()));
    } else {
        say(format_args!("published {}", start.elapsed().as_secs_f64()));
    }
    wait_for_the_end()
}

/// Runs a consumer of all topics.
pub(crate) fn consume(arguments: &Arguments) {
    let mut consumer = Consumer::start(&config(arguments));
    (0..arguments.number("topics")).for_each(|i| consumer.subscribe(&topic(i)));
    let mut arrivals = Arrivals::new(arguments);
    loop {
        consumer.recv();
        if !arrivals.note(consumer.content(), || consumer.topic().to_vec()) {
            break;
        }
    }
    arrivals.report();
    wait_for_the_end()
}
