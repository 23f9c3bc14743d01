//! Class `dafka_consumer`.

use super::boundary::{Outcome, entry, entry_void, resolve, run_actor, settings, topic, wait_for_input};
use super::object::{into_c, take_back};
use super::selftest;
use crate::actor::{consumer, new_address};
use crate::czmq::{
    self,
    sys::{self, zactor_t, zconfig_t, zlist_t, zsock_t},
};
use crate::net::Socket;
use crate::settings::Settings;
use std::ffi::{CString, c_char, c_int, c_void};
use zmq::POLLIN;

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
    actor: *mut zactor_t,
    /// Without a socket when the sink is the caller's.
    source: OwnedZsock,
    address: CString,
    topics: Vec<CString>,
    /// What `dafka_consumer_subscription` handed out last.
    list: *mut zlist_t,
}

/// What the actor's thread is started with.
struct Start {
    address: String,
    settings: Settings,
    sink: OwnedZsock,
}

/// A `zsock_t` that we own, or none.
struct OwnedZsock(*mut zsock_t);

impl Drop for OwnedZsock {
    fn drop(&mut self) {
        // SAFETY: NULL; or given away by the caller of dafka_consumer_new, or made there, and destroyed once.
        unsafe { sys::zsock_destroy(&mut self.0) }
    }
}

impl dafka_consumer_t {
    fn new(args: &dafka_consumer_args_t) -> Outcome<dafka_consumer_t> {
        czmq::log::install();
        czmq::init();
        let mut sink = OwnedZsock(args.record_sink);
        let mut source = OwnedZsock(std::ptr::null_mut());
        if sink.0.is_null() {
            // SAFETY: zsys_create_pipe makes two live sockets, or returns NULL.
            source.0 = unsafe { sys::zsys_create_pipe(&mut sink.0) };
            if source.0.is_null() {
                return Err("cannot make the record pipe".into());
            }
        }
        let address = new_address();
        // SAFETY: args.config is NULL or live by the contract of dafka_consumer_new.
        let settings = unsafe { settings(args.config) };
        let mut start = Some(Start { address: address.clone(), settings, sink });
        // SAFETY: `start` outlives the call: the task takes it before it signals, and zactor_new waits for that.
        let actor = unsafe { sys::zactor_new(task, (&raw mut start).cast()) };
        let consumer = dafka_consumer_t {
            actor,
            source,
            address: CString::new(address).expect("hexadecimal digits only"),
            topics: Vec::new(),
            list: std::ptr::null_mut(),
        };
        if actor.is_null() {
            return Err("cannot start the consumer's thread".into());
        }
        // SAFETY: the source is NULL or live. Its first message is a signal, also when the actor has failed.
        if let Some(source) = unsafe { resolve(consumer.source.0) } {
            let _ = source.wait_for_signal();
        }
        Ok(consumer)
    }

    /// The reading end of the record pipe; NULL with a custom sink.
    pub(super) fn source(&self) -> *mut zsock_t {
        self.source.0
    }

    /// Waits until there is something to read at the source; false when a signal interrupted that.
    pub(super) fn wait_for_record(&self, source: &Socket) -> Outcome<bool> {
        // SAFETY: the actor is live as long as the consumer.
        let actor = unsafe { resolve(self.actor) }.ok_or("the consumer has no actor")?;
        wait_for_input(source, &|| actor.events().contains(POLLIN))
    }

    fn command(&self, word: &[u8], topic: &[u8]) -> Outcome<()> {
        // SAFETY: the actor is live as long as the consumer.
        let actor = unsafe { resolve(self.actor) }.ok_or("the consumer has no actor")?;
        Ok(consumer::command(&actor, word, topic)?)
    }
}

impl Drop for dafka_consumer_t {
    fn drop(&mut self) {
        // SAFETY: each is NULL or ours, and destroyed once. The actor goes first: it writes into the pipe, whose other
        // end is dropped after this.
        unsafe {
            sys::zactor_destroy(&mut self.actor);
            sys::zlist_destroy(&mut self.list);
        }
    }
}

/// The consumer's actor.
///
/// # Safety
/// `args` points to an `Option<Start>`, which is live until this signals.
unsafe extern "C" fn task(pipe: *mut zsock_t, args: *mut c_void) {
    // SAFETY: dafka_consumer_t::new starts the actor so.
    let Some(start) = (unsafe { (*args.cast::<Option<Start>>()).take() }) else { return };
    // SAFETY: the sink is live until `start` is dropped, at the end of this function; this thread uses it alone.
    let Some(sink) = (unsafe { resolve(start.sink.0) }) else { return };
    // SAFETY: zactor_new gives the pipe to this thread.
    unsafe {
        run_actor("Consumer", pipe, |pipe| {
            consumer::run(pipe, &start.address, &start.settings, consumer::Sink::Socket(&sink))
        });
    }
    if !sink.has_signalled() {
        // It could not start: whoever waits for the sink's signal is not to wait for ever.
        let _ = sink.try_signal();
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

/// A new consumer with a thread of its own. The caller owns it, and destroys it with `dafka_consumer_destroy`.
/// `*args` is not modified. With a `record_sink`, which the consumer owns from now on, it sends a signal
/// (`zsock_signal (sink, 0)`) and then the records there: each is three frames, subject, address, content.
/// Reads new partitions from where `consumer/offset/reset` says, by default from the next record on. Returns
/// NULL when `args` is NULL or there are no more sockets or threads.
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

/// Ends a consumer and sets `*self_p` to NULL. Accepts NULL and a pointer to NULL.
///
/// # Safety
/// `self_p` is NULL, or points to NULL or to a live consumer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_destroy(self_p: *mut *mut dafka_consumer_t) {
    // SAFETY: the caller's promise.
    entry_void("dafka_consumer_destroy", || unsafe { drop(take_back(self_p)) })
}

/// Subscribes to a topic of 1 to 255 octets; to subscribe twice is one subscription. Returns 0, or -1 when the
/// topic is no topic, an argument is NULL or the consumer has ended.
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
        if consumer.topics.iter().all(|known| known.as_bytes() != topic) {
            consumer.topics.push(CString::new(topic).expect("a C string holds no NUL"));
        }
        Ok(0)
    })
}

/// Ends a subscription. Returns 0, also when there was none, or -1 when an argument is NULL or the consumer has
/// ended.
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
        consumer.topics.retain(|known| known.as_bytes() != topic);
        Ok(0)
    })
}

/// The consumer's address, 32 hexadecimal digits; a string that the consumer owns.
///
/// # Safety
/// `self` is NULL or a live consumer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_address(self_: *mut dafka_consumer_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_address", std::ptr::null(), || unsafe { Ok(consumer(self_)?.address.as_ptr()) })
}

/// The topics subscribed to, as strings. The list belongs to the consumer, and is valid until the next call.
///
/// # Safety
/// `self` is NULL or a live consumer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_subscription(self_: *mut dafka_consumer_t) -> *mut zlist_t {
    // SAFETY: the caller's promise; the list copies the strings (zlist_autofree).
    entry("dafka_consumer_subscription", std::ptr::null_mut(), || unsafe {
        let consumer = consumer(self_)?;
        sys::zlist_destroy(&mut consumer.list);
        consumer.list = sys::zlist_new();
        if consumer.list.is_null() {
            return Err("out of memory".into());
        }
        sys::zlist_autofree(consumer.list);
        for topic in &consumer.topics {
            sys::zlist_append(consumer.list, topic.as_ptr().cast_mut().cast());
        }
        Ok(consumer.list)
    })
}

/// The reading end of the consumer's record pipe, for `zpoller` and `zloop`; it belongs to the consumer. Each
/// record is three frames: subject, address, content. NULL with a custom sink.
///
/// # Safety
/// `self` is NULL or a live consumer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_record_source(self_: *mut dafka_consumer_t) -> *mut zsock_t {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_record_source", std::ptr::null_mut(), || unsafe { Ok(consumer(self_)?.source()) })
}

/// The self test of this class: prints " * dafka_consumer: OK", and aborts the process when a check fails. With `verbose`
/// the actors that it runs log more.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_consumer_test(verbose: bool) {
    selftest::run("dafka_consumer", verbose, selftest::consumer);
}
