//! Class `dafka_consumer`: reads the records of topics.
//!
//! A consumer reads all partitions of the topics that it is subscribed to, and fetches what it has missed from the
//! producers and the stores (RFC 46/DAFKA, "The FETCH Command"). It hands over the records of each partition in
//! their order, each of them once; of several partitions, in the order in which they come.
//! `dafka_consumer_msg_recv` reads the next one. A consumer keeps no position anywhere: each one that is made
//! begins where its configuration says.
//!
//! Records wait for the application in the record pipe, a pair of sockets. When the application reads slowly and
//! the pipe is full (`zsys_set_pipehwm`), the consumer keeps up to `consumer/max_unread_bytes` of what still comes,
//! and fetches later what it has dropped beyond that.
//!
//! # Configuration
//!
//! The keys below `consumer/` and `beacon/`. Most wanted: `beacon/sub_address` and `beacon/pub_address` (where the
//! tower is), `consumer/offset/reset`: with `latest`, the default, a partition is read from the record on that is
//! published next; with `earliest` from its first record.
//!
//! # A sink of one's own
//!
//! With a `record_sink`, a connected socket that can send (PAIR, PUSH, DEALER), records go there in place of the
//! record pipe. The consumer owns the socket from then on, uses it in its own thread and destroys it. First it
//! sends a signal, for `zsock_wait` at the other end, then the records: each is a message of three frames, topic,
//! partition and content. `dafka_consumer_msg_recv_from_socket` understands them, and leaves out the signal.
//!
//! # Example
//!
//! ```c
//! #include <dafka.h>
//!
//! int main (void)
//! {
//!     zconfig_t *config = zconfig_new ("root", NULL);
//!     zconfig_put (config, "tower/sub_address", "inproc://tower-sub");
//!     zconfig_put (config, "tower/pub_address", "inproc://tower-pub");
//!     zconfig_put (config, "beacon/sub_address", "inproc://tower-sub");
//!     zconfig_put (config, "beacon/pub_address", "inproc://tower-pub");
//!     zconfig_put (config, "producer/terminate_unacked", "1");
//!     //  From the first record on, also if it was published before
//!     zconfig_put (config, "consumer/offset/reset", "earliest");
//!     zactor_t *tower = zactor_new (dafka_tower_actor, config);
//!     assert (tower);
//!
//!     //  Somebody publishes
//!     dafka_producer_args_t producer_args = { "weather", config };
//!     zactor_t *producer = zactor_new (dafka_producer, &producer_args);
//!     assert (producer);
//!     dafka_producer_msg_t *sent = dafka_producer_msg_new ();
//!     dafka_producer_msg_set_content_str (sent, "20 degrees");
//!     int rc = dafka_producer_msg_send (sent, producer);
//!     assert (rc == 0);
//!     dafka_producer_msg_destroy (&sent);
//!
//!     dafka_consumer_args_t args = { config, NULL };
//!     dafka_consumer_t *consumer = dafka_consumer_new (&args);
//!     assert (consumer);
//!     rc = dafka_consumer_subscribe (consumer, "weather");
//!     assert (rc == 0);
//!     zlist_t *topics = dafka_consumer_subscription (consumer);
//!     assert (zlist_size (topics) == 1);
//!
//!     //  Records come in here, for zpoller and zloop
//!     zsock_t *source = dafka_consumer_record_source (consumer);
//!     zpoller_t *poller = zpoller_new (source, NULL);
//!     dafka_consumer_msg_t *msg = dafka_consumer_msg_new ();
//!     if (zpoller_wait (poller, 30000) == source) {
//!         rc = dafka_consumer_msg_recv (msg, consumer);
//!         assert (rc == 0);
//!         assert (dafka_consumer_msg_streq (msg, "20 degrees"));
//!         printf ("a record of %s\n", dafka_consumer_msg_subject (msg));
//!     }
//!     else
//!         rc = -1;
//!     dafka_consumer_msg_destroy (&msg);
//!     zpoller_destroy (&poller);
//!
//!     dafka_consumer_destroy (&consumer);
//!     zactor_destroy (&producer);
//!     zactor_destroy (&tower);
//!     zconfig_destroy (&config);
//!     return rc == 0? 0: 1;
//! }
//! ```

use super::boundary::{OF_ANOTHER_PROCESS, Outcome, entry, entry_void, resolve, settings, topic};
use super::object::{into_c, take_back};
use super::records::{self, Sink};
use super::selftest;
use crate::actor::{Handle, consumer, new_address, spawn};
use crate::czmq::{
    self,
    exit::Running,
    owned::ZSock,
    sys::{self, zconfig_t, zlist_t, zsock_t},
};
use crate::net::{Pipe, Socket};
use std::ffi::{CStr, CString, c_char, c_int, c_void};

/// What a consumer is made with.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct dafka_consumer_args_t {
    /// NULL: defaults. Remains the caller's, and may be destroyed once `dafka_consumer_new` has returned.
    pub config: *mut zconfig_t,
    /// Where records go; the consumer owns the socket then. NULL: the consumer makes a pipe of its own.
    pub record_sink: *mut zsock_t,
}

/// A consumer: an actor, and the reading end of its record pipe.
#[allow(non_camel_case_types)]
pub struct dafka_consumer_t {
    /// Ended before the pipe that it writes into is closed: fields are dropped in this order.
    actor: Handle,
    /// `None` when the sink is the caller's.
    source: Option<ZSock>,
    address: CString,
    topics: Topics,
}

/// The topics of a consumer, for the application to read: one list as long as the consumer lives.
struct Topics(*mut zlist_t);

impl Topics {
    fn new() -> Outcome<Topics> {
        // SAFETY: the list is ours; it copies the strings that it is given (zlist_autofree).
        unsafe {
            let list = sys::zlist_new();
            if list.is_null() {
                return Err("out of memory".into());
            }
            sys::zlist_autofree(list);
            Ok(Topics(list))
        }
    }

    /// The list's own string of a topic; NULL when there is none. The list's cursor stays there, as a program that goes
    /// through the list and unsubscribes from its topics expects.
    fn find(&self, topic: &[u8]) -> *mut c_void {
        // SAFETY: the list is live, and holds strings.
        unsafe {
            let mut item = sys::zlist_first(self.0);
            while !item.is_null() && CStr::from_ptr(item.cast()).to_bytes() != topic {
                item = sys::zlist_next(self.0);
            }
            item
        }
    }

    fn insert(&mut self, topic: &CStr) {
        if self.find(topic.to_bytes()).is_null() {
            // SAFETY: the list is live, and copies the string.
            unsafe { sys::zlist_append(self.0, topic.as_ptr().cast_mut().cast()) };
        }
    }

    fn remove(&mut self, topic: &[u8]) {
        let item = self.find(topic);
        if !item.is_null() {
            // SAFETY: the list is live, and frees the string, which is its own.
            unsafe { sys::zlist_remove(self.0, item) };
        }
    }
}

impl Drop for Topics {
    fn drop(&mut self) {
        // SAFETY: ours, and destroyed once.
        unsafe { sys::zlist_destroy(&mut self.0) }
    }
}

impl dafka_consumer_t {
    fn new(args: &dafka_consumer_args_t) -> Outcome<dafka_consumer_t> {
        czmq::log::install();
        czmq::init();
        let (source, sink) = if args.record_sink.is_null() {
            let (source, sink) = records::pipe()?;
            (Some(source), sink)
        } else {
            // SAFETY: live by the contract of dafka_consumer_new, and given away.
            (None, unsafe { Sink::of(args.record_sink) }?)
        };
        let (address, topics) = (new_address(), Topics::new()?);
        // SAFETY: args.config is NULL or live by the contract of dafka_consumer_new.
        let settings = unsafe { settings(args.config) };
        let own = address.clone();
        // Not by zactor_new: that ends the process when it gets no sockets, waits for ever when it gets no thread, and a
        // Unix signal makes it return before the actor has begun.
        let actor = spawn("Consumer", move |pipe| {
            let _running = Running::begin();
            consumer::run(pipe, &own, &settings, consumer::Sink::Socket(&sink.socket))
        });
        let actor = actor.map_err(|error| error.to_string())?;
        if !actor.pipe().settle() {
            return Err("the consumer cannot start".into());
        }
        Ok(dafka_consumer_t {
            actor,
            source,
            address: CString::new(address).expect("hexadecimal digits only"),
            topics,
        })
    }

    /// The consumer's end of its actor's pipe.
    fn pipe(&self) -> Outcome<&Pipe> {
        let pipe = self.actor.pipe();
        match pipe.is_of_another_process() {
            true => Err(format!("the consumer {OF_ANOTHER_PROCESS}").into()),
            false => Ok(pipe),
        }
    }

    /// The reading end of the record pipe.
    pub(super) fn records(&self) -> Outcome<Socket> {
        self.pipe()?;
        let source = self.source.as_ref().ok_or("the consumer's records go to another sink")?;
        // SAFETY: the source is live as long as the consumer, and used by one thread at a time.
        Ok(unsafe { resolve(source.as_c()) }.ok_or("the consumer's record source is no socket")?)
    }

    /// True when the actor has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.actor.pipe().has_ended()
    }

    fn command(&self, word: &[u8], topic: &[u8]) -> Outcome<()> {
        Ok(consumer::command(self.pipe()?, word, topic)?)
    }
}

/// The consumer behind a C pointer.
///
/// # Safety
/// NULL or a live consumer that nobody else uses meanwhile.
unsafe fn consumer<'a>(self_: *mut dafka_consumer_t) -> Outcome<&'a mut dafka_consumer_t> {
    // SAFETY: the caller's promise.
    unsafe { self_.as_mut() }.ok_or("the consumer is NULL".into())
}

/// A new consumer, without subscriptions. The caller owns it, and destroys it with `dafka_consumer_destroy`.
/// `*args` is not modified. It is ready, and this returns, when the towers have welcomed it or
/// `beacon/connect_timeout` (milliseconds) has passed.
///
/// NULL when `args` is NULL or there are no more sockets, files or threads: the log names the limit (ZMQ_MAX_SOCKETS,
/// RLIMIT_NOFILE), see dafka(7). A sink is destroyed then, after a signal.
///
/// # Safety
/// `args` is NULL or live, with members that are NULL or live.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_new(args: *mut dafka_consumer_args_t) -> *mut dafka_consumer_t {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_new", std::ptr::null_mut(), || unsafe {
        Ok(into_c(dafka_consumer_t::new(args.as_ref().ok_or("args is NULL")?)?))
    })
}

/// Ends a consumer at once and sets `*self_p` to NULL. Records that wait in its record pipe are gone, and so is
/// what `dafka_consumer_record_source` returned: destroy a `zpoller` that uses it before. Accepts NULL and a
/// pointer to NULL.
///
/// # Safety
/// `self_p` is NULL, or points to NULL or to a live consumer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_destroy(self_p: *mut *mut dafka_consumer_t) {
    // SAFETY: the caller's promise.
    entry_void("dafka_consumer_destroy", || unsafe { drop(take_back(self_p)) })
}

/// Subscribes to a topic, a name of 1 to 255 octets that is compared as a whole: `weather` does not subscribe to
/// `weather2`, unless `consumer/topic_match` is `prefix`. The empty topic stands for all. To subscribe twice is one
/// subscription. Does not wait for anybody: records come when peers are found.
///
/// Returns 0, or -1 when the topic is no topic, an argument is NULL or the consumer has ended.
///
/// # Safety
/// `self` is NULL or a live consumer; `topic` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_subscribe(
    self_: *mut dafka_consumer_t,
    topic_: *const c_char,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_subscribe", -1, || unsafe {
        let (consumer, topic) = (consumer(self_)?, topic(topic_)?);
        consumer.command(b"SUBSCRIBE", topic)?;
        consumer.topics.insert(CStr::from_ptr(topic_));
        Ok(0)
    })
}

/// Ends a subscription. Records that wait in the record pipe are delivered all the same. To subscribe again later
/// begins anew, where `consumer/offset/reset` says.
///
/// Returns 0, also when there was no such subscription, or -1 when the topic is no topic, an argument is NULL or
/// the consumer has ended.
///
/// # Safety
/// `self` is NULL or a live consumer; `topic` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_unsubscribe(
    self_: *mut dafka_consumer_t,
    topic_: *const c_char,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_unsubscribe", -1, || unsafe {
        let (consumer, topic) = (consumer(self_)?, topic(topic_)?);
        consumer.command(b"UNSUBSCRIBE", topic)?;
        consumer.topics.remove(topic);
        Ok(0)
    })
}

/// The address of the consumer, by which its peers know it: 32 hexadecimal digits. The string is borrowed, and
/// valid until the consumer is destroyed. NULL when `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live consumer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_address(self_: *mut dafka_consumer_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_address", std::ptr::null(), || unsafe { Ok(consumer(self_)?.address.as_ptr()) })
}

/// The topics that the consumer is subscribed to, a list of strings (`zlist_first`, `zlist_next`). It belongs to
/// the consumer, is valid until that is destroyed, and changes when the consumer subscribes and unsubscribes. Each call
/// returns the same list. NULL when `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live consumer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_subscription(self_: *mut dafka_consumer_t) -> *mut zlist_t {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_subscription", std::ptr::null_mut(), || unsafe { Ok(consumer(self_)?.topics.0) })
}

/// The reading end of the consumer's record pipe, for `zpoller` and `zloop`. It belongs to the consumer, and is
/// valid until that is destroyed. `dafka_consumer_msg_recv` reads from it; who reads from it directly
/// (`zmsg_recv`) gets for each record a message of three frames: topic, partition, content. A time limit for
/// reading can be set: `zsock_set_rcvtimeo`, in milliseconds (ZMQ_RCVTIMEO).
///
/// NULL when the consumer has a sink of the caller's, or `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live consumer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_record_source(self_: *mut dafka_consumer_t) -> *mut zsock_t {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_record_source", std::ptr::null_mut(), || unsafe {
        Ok(consumer(self_)?.source.as_ref().map_or(std::ptr::null_mut(), ZSock::as_c))
    })
}

/// The self test of this class, as `dafka_selftest` runs it: uses the functions of the class and prints " *
/// dafka_consumer: OK"; a check that fails aborts the process. With `verbose`, the nodes that it runs log what
/// they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_consumer_test(verbose: bool) {
    selftest::run("dafka_consumer", verbose, selftest::consumer);
}
