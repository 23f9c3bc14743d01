//! Classes `dafka_producer`, `dafka_consumer`, `dafka_publisher`, `dafka_subscriber` and `dafka_store`.

use super::support::{
    Actor, Network, check, equals, frames, holds, quietly, socket, take_zframe, text, zframe,
};
use crate::capi::{
    consumer::*, consumer_msg::*, producer::*, producer_msg::*, publisher::*, store::*, subscriber::*,
};
use crate::czmq::sys;
use std::ffi::{CString, c_char};
use std::ptr::null_mut;

const TOPIC: &std::ffi::CStr = c"selftest";

/// A name of 256 bytes, one more than a topic may have.
fn too_long() -> CString {
    c_string(&"t".repeat(256))
}

/// A consumer, destroyed when dropped.
struct Consumer(*mut dafka_consumer_t);

impl Consumer {
    fn new(network: &Network) -> Consumer {
        let mut args = dafka_consumer_args_t { config: network.config(), record_sink: null_mut() };
        // SAFETY: the arguments outlive the call.
        let consumer = unsafe { dafka_consumer_new(&mut args) };
        check!(!consumer.is_null());
        Consumer(consumer)
    }

    fn subscribe(self) -> Consumer {
        // SAFETY: the consumer is live.
        check!(unsafe { dafka_consumer_subscribe(self.0, TOPIC.as_ptr()) } == 0);
        self
    }

    /// Checks that the next records have these contents, and the same keys, and come from one partition.
    fn check_records(&self, address: &str, contents: &[&str]) {
        self.check_records_with(address, contents, true);
    }

    fn check_records_with(&self, address: &str, contents: &[&str], have_keys: bool) {
        let mut msg = dafka_consumer_msg_new();
        // SAFETY: consumer and message are live.
        unsafe {
            // `socket` sets the timeout.
            drop(socket(dafka_consumer_record_source(self.0)));
            for content in contents {
                check!(dafka_consumer_msg_recv(msg, self.0) == 0);
                check!(equals(dafka_consumer_msg_subject(msg), "selftest"));
                check!(equals(dafka_consumer_msg_address(msg), address));
                check!(dafka_consumer_msg_streq(msg, c_string(content).as_ptr()));
                check!(dafka_consumer_msg_timestamp(msg) > 0);
                let (key, size) = (dafka_consumer_msg_key(msg), dafka_consumer_msg_key_size(msg));
                check!(if have_keys { holds(key, size, content.as_bytes()) } else { key.is_null() });
            }
            dafka_consumer_msg_destroy(&mut msg);
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // SAFETY: live, and destroyed once.
        unsafe { dafka_consumer_destroy(&mut self.0) };
        check!(self.0.is_null());
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

/// A producer and its address.
fn new_producer(network: &Network) -> (Actor, String) {
    let mut args = dafka_producer_args_t { topic: TOPIC.as_ptr(), config: network.config() };
    // SAFETY: the arguments outlive the call; the address lives as long as the actor.
    unsafe {
        let actor = Actor::new(dafka_producer, (&raw mut args).cast());
        let address = text(dafka_producer_address(actor.0));
        check!(address.len() == 32);
        (actor, address)
    }
}

fn produce(producer: &Actor, contents: &[&str]) {
    let mut msg = dafka_producer_msg_new();
    // SAFETY: message and actor are live.
    unsafe {
        for content in contents {
            check!(dafka_producer_msg_set_content_str(msg, c_string(content).as_ptr()) == 0);
            check!(dafka_producer_msg_set_key(msg, content.as_ptr(), content.len()) == 0);
            check!(dafka_producer_msg_send(msg, producer.0) == 0);
        }
        // An empty message cannot be sent.
        quietly(|| {
            check!(dafka_producer_msg_send(msg, producer.0) == -1);
            check!(dafka_producer_msg_try_send(msg, producer.0) == -1);
        });
        dafka_producer_msg_destroy(&mut msg);
    }
}

/// Without a store, no record is acknowledged. The producer must end all the same.
fn without_store(verbose: bool) -> Network {
    let mut network = Network::new(verbose);
    network.config.put("producer/terminate_unacked", "1");
    network
}

/// Live records, and records from the producer's memory.
pub(in crate::capi) fn producer(verbose: bool) {
    let network = without_store(verbose);
    let (producer, address) = new_producer(&network);
    let early = Consumer::new(&network).subscribe();
    produce(&producer, &["one", "two"]);
    early.check_records(&address, &["one", "two"]);
    let late = Consumer::new(&network).subscribe();
    late.check_records(&address, &["one", "two"]);
    produce(&producer, &["three"]);
    early.check_records(&address, &["three"]);
    late.check_records(&address, &["three"]);
    let mut sequence = 7;
    // SAFETY: the producer is live.
    unsafe {
        check!(dafka_producer_flush(producer.0, 0) == -1);
        check!(dafka_producer_unacked(producer.0) == 3);
        check!(dafka_producer_acked(producer.0, &mut sequence) == -1 && sequence == 7);
    }
}

/// Subscriptions, both kinds of sink, and invalid arguments.
pub(in crate::capi) fn consumer(verbose: bool) {
    let network = without_store(verbose);
    let (producer, address) = new_producer(&network);
    let consumer = Consumer::new(&network);
    // SAFETY: consumer and strings are live; borrowed strings are used before the next call.
    unsafe {
        check!(text(dafka_consumer_address(consumer.0)).len() == 32);
        check!(sys::zlist_first(dafka_consumer_subscription(consumer.0)).is_null());
        for topic in [TOPIC, c"another", TOPIC] {
            check!(dafka_consumer_subscribe(consumer.0, topic.as_ptr()) == 0);
        }
        check!(dafka_consumer_unsubscribe(consumer.0, c"another".as_ptr()) == 0);
        let topics = dafka_consumer_subscription(consumer.0);
        check!(equals(sys::zlist_first(topics).cast::<c_char>(), "selftest"));
        check!(sys::zlist_next(topics).is_null());
        quietly(|| {
            check!(dafka_consumer_subscribe(consumer.0, too_long().as_ptr()) == -1);
            check!(dafka_consumer_subscribe(null_mut(), TOPIC.as_ptr()) == -1);
            // The consumer has no name.
            check!(dafka_consumer_commit(consumer.0) == -1);
            check!(dafka_consumer_commit_msg(consumer.0, null_mut()) == -1);
        });
        produce(&producer, &["one", "two"]);
        consumer.check_records(&address, &["one", "two"]);
        let partition = c_string(&address);
        check!(dafka_consumer_seek(consumer.0, TOPIC.as_ptr(), partition.as_ptr(), 1) == 0);
        consumer.check_records(&address, &["two"]);
        check!(dafka_consumer_seek_time(consumer.0, TOPIC.as_ptr(), 0) == 0);
        consumer.check_records(&address, &["one", "two"]);
        check!(dafka_consumer_seek_end(consumer.0, TOPIC.as_ptr()) == 0);
        check!(dafka_consumer_pause(consumer.0, TOPIC.as_ptr()) == 0);
        check!(dafka_consumer_resume(consumer.0, TOPIC.as_ptr()) == 0);
        check!(dafka_consumer_lag(consumer.0, TOPIC.as_ptr()) == 0);

        let mut sink = null_mut();
        let mut source = sys::zsys_create_pipe(&mut sink);
        check!(!source.is_null());
        let mut args = dafka_consumer_args_t { config: network.config(), record_sink: sink };
        let with_sink = Consumer(dafka_consumer_new(&mut args));
        check!(!with_sink.0.is_null() && dafka_consumer_record_source(with_sink.0).is_null());
        check!(dafka_consumer_subscribe(with_sink.0, TOPIC.as_ptr()) == 0);
        // A signal, then the records.
        check!(frames(&socket(source))[0].len() == 8);
        for content in ["one", "two"] {
            check!(frames(&socket(source)) == [&b"selftest"[..], address.as_bytes(), content.as_bytes()]);
        }
        drop(with_sink);
        sys::zsock_destroy(&mut source);
    }
}

/// The publisher takes frames, and a consumer reads them.
pub(in crate::capi) fn publisher(verbose: bool) {
    let network = without_store(verbose);
    let (publisher, address) = new_publisher(&network);
    publish(&publisher, &["one", "two"]);
    Consumer::new(&network).subscribe().check_records_with(&address, &["one", "two"], false);
    // SAFETY: NULL is allowed everywhere.
    quietly(|| unsafe {
        check!(dafka_publisher_publish(publisher.0, null_mut()) == -1);
        check!(dafka_publisher_publish(publisher.0, &mut null_mut()) == -1);
        let mut frame = zframe(b"nobody takes it");
        check!(dafka_publisher_publish(null_mut(), &mut frame) == -1);
        check!(frame.is_null());
        check!(dafka_publisher_address(null_mut()).is_null());
    });
}

fn new_publisher(network: &Network) -> (Actor, String) {
    let mut args = dafka_publisher_args_t { topic: TOPIC.as_ptr(), config: network.config() };
    // SAFETY: the arguments outlive the call; the address lives as long as the actor.
    unsafe {
        let actor = Actor::new(dafka_publisher_actor, (&raw mut args).cast());
        let address = text(dafka_publisher_address(actor.0));
        (actor, address)
    }
}

fn publish(publisher: &Actor, contents: &[&str]) {
    for content in contents {
        let mut frame = zframe(content.as_bytes());
        // SAFETY: actor and frame are live.
        check!(unsafe { dafka_publisher_publish(publisher.0, &mut frame) } == 0);
        check!(frame.is_null());
    }
}

/// The subscriber sends records over its pipe, from the first record on.
pub(in crate::capi) fn subscriber(verbose: bool) {
    let network = without_store(verbose);
    let (publisher, name) = new_publisher(&network);
    publish(&publisher, &["one", "two"]);
    // SAFETY: the subscriber takes a configuration, and copies what it needs.
    let subscriber = unsafe { Actor::new(dafka_subscriber_actor, network.config().cast()) };
    let check_records = |contents: &[&str]| {
        for content in contents {
            let (mut subject, mut address, mut frame) = (null_mut::<c_char>(), null_mut(), null_mut());
            drop(subscriber.pipe());
            // SAFETY: the picture matches the pointers. The socket owns the strings until its next record, the test
            // owns the frame.
            unsafe {
                let picture = c"ssf".as_ptr();
                check!(
                    sys::zsock_brecv(
                        subscriber.0.cast(),
                        picture,
                        &raw mut subject,
                        &raw mut address,
                        &raw mut frame
                    ) == 0
                );
            }
            check!(equals(subject, "selftest") && equals(address, &name));
            check!(take_zframe(frame, content.as_bytes()));
        }
    };
    // SAFETY: the actor is live.
    unsafe {
        check!(dafka_subscriber_subscribe(subscriber.0, TOPIC.as_ptr()) == 0);
        quietly(|| {
            check!(dafka_subscriber_subscribe(subscriber.0, too_long().as_ptr()) == -1);
            check!(dafka_subscriber_subscribe(null_mut(), TOPIC.as_ptr()) == -1);
        });
    }
    check_records(&["one", "two"]);
    publish(&publisher, &["three"]);
    check_records(&["three"]);
}

/// A producer ends when the store has its records. The store serves them, also after a restart.
pub(in crate::capi) fn store(verbose: bool) {
    let network = Network::new(verbose);
    // A store without a directory ends at once, and the producer would wait for ever.
    check!(std::fs::create_dir(&network.directory).is_ok());
    // SAFETY: the store takes a configuration, and copies what it needs.
    let new_store = || unsafe { Actor::new(dafka_store_actor, network.config().cast()) };
    let store = new_store();
    let (producer, address) = new_producer(&network);
    produce(&producer, &["one", "two", "three"]);
    let mut sequence = 0;
    // SAFETY: the producer is live.
    unsafe {
        check!(dafka_producer_flush(producer.0, -1) == 0);
        check!(dafka_producer_unacked(producer.0) == 0);
        check!(dafka_producer_acked(producer.0, &mut sequence) == 0 && sequence == 2);
    }
    producer.end();
    Consumer::new(&network).subscribe().check_records(&address, &["one", "two", "three"]);
    store.end();
    let _store = new_store();
    Consumer::new(&network).subscribe().check_records(&address, &["one", "two", "three"]);
}
