//! The producer and the consumer of the C API, with the calls that a C program makes.

use crate::traffic::now_ns;
use dafka::capi::*;
use dafka::czmq::Config;
use dafka::czmq::sys::{zactor_destroy, zactor_new, zactor_t};
use std::ffi::{CStr, CString};

/// The attributes of all records of a producer.
#[derive(Clone, Copy)]
pub(crate) struct Attributes {
    /// The length of the keys in bytes; 0 for no keys.
    pub(crate) key_len: usize,
    /// The program sets the timestamps. Otherwise the producer sets them.
    pub(crate) has_timestamps: bool,
}

/// A `dafka_producer`.
pub(crate) struct Producer {
    actor: *mut zactor_t,
    message: *mut dafka_producer_msg_t,
    attributes: Attributes,
}

impl Producer {
    pub(crate) fn start(config: &Config, topic: &str, attributes: Attributes) -> Producer {
        let topic = CString::new(topic).expect("a topic without NUL");
        let mut arguments = dafka_producer_args_t { topic: topic.as_ptr(), config: config.as_c() };
        // SAFETY: zactor_new returns when the actor has copied its arguments.
        let actor = unsafe { zactor_new(dafka_producer, (&raw mut arguments).cast()) };
        // SAFETY: the actor is live.
        assert!(!unsafe { dafka_producer_address(actor) }.is_null(), "the producer starts");
        Producer { actor, message: dafka_producer_msg_new(), attributes }
    }

    pub(crate) fn address(&self) -> String {
        // SAFETY: the actor is live, and its address ends with a NUL.
        let address = unsafe { CStr::from_ptr(dafka_producer_address(self.actor)) };
        address.to_str().expect("hexadecimal digits").to_owned()
    }

    pub(crate) fn send(&mut self, content: &[u8]) {
        let Attributes { key_len, has_timestamps } = self.attributes;
        // SAFETY: message, content and actor are live.
        let rc = unsafe {
            dafka_producer_msg_set_content_buffer(self.message, content.as_ptr(), content.len());
            if key_len > 0 {
                let key = &content[..key_len.min(content.len())];
                dafka_producer_msg_set_key(self.message, key.as_ptr(), key.len());
            }
            if has_timestamps {
                dafka_producer_msg_set_timestamp(self.message, now_ns() as i64 / 1_000_000);
            }
            dafka_producer_msg_send(self.message, self.actor)
        };
        assert_eq!(rc, 0, "the record is sent");
    }
}

impl Drop for Producer {
    /// Waits until all records are acknowledged, unless `producer/terminate_unacked` is set.
    fn drop(&mut self) {
        // SAFETY: both are live, and not used again.
        unsafe {
            dafka_producer_msg_destroy(&mut self.message);
            zactor_destroy(&mut self.actor);
        }
    }
}

/// A `dafka_consumer`, and its last record.
pub(crate) struct Consumer {
    consumer: *mut dafka_consumer_t,
    message: *mut dafka_consumer_msg_t,
}

impl Consumer {
    pub(crate) fn start(config: &Config) -> Consumer {
        let mut arguments =
            dafka_consumer_args_t { config: config.as_c(), record_sink: std::ptr::null_mut() };
        // SAFETY: the arguments and the configuration are live.
        let consumer = unsafe { dafka_consumer_new(&mut arguments) };
        assert!(!consumer.is_null(), "the consumer starts");
        Consumer { consumer, message: dafka_consumer_msg_new() }
    }

    pub(crate) fn subscribe(&self, topic: &str) {
        let topic = CString::new(topic).expect("a topic without NUL");
        // SAFETY: consumer and topic are live.
        assert_eq!(unsafe { dafka_consumer_subscribe(self.consumer, topic.as_ptr()) }, 0);
    }

    /// Waits for the next record.
    pub(crate) fn recv(&mut self) {
        // SAFETY: message and consumer are live.
        assert_eq!(unsafe { dafka_consumer_msg_recv(self.message, self.consumer) }, 0);
    }

    /// The content of the last record.
    pub(crate) fn content(&self) -> &[u8] {
        // SAFETY: the message is live and holds a record. Its content stays valid until the next `recv`.
        unsafe {
            let len = dafka_consumer_msg_content_size(self.message);
            std::slice::from_raw_parts(dafka_consumer_msg_content(self.message), len)
        }
    }

    /// The topic of the last record.
    pub(crate) fn topic(&self) -> &[u8] {
        // SAFETY: the message is live and holds a record, whose topic ends with a NUL.
        unsafe { CStr::from_ptr(dafka_consumer_msg_subject(self.message)).to_bytes() }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // SAFETY: both are live, and not used again.
        unsafe {
            dafka_consumer_msg_destroy(&mut self.message);
            dafka_consumer_destroy(&mut self.consumer);
        }
    }
}
