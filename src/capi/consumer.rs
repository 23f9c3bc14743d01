//! Class `dafka_consumer`: reads the records of topics.
//!
//! A consumer receives the records of all partitions of its topics. It requests missed records from producers and
//! stores (RFC 46/DAFKA, "The FETCH Command"). It delivers the records of one partition in order, and each record once.
//! It delivers records of different partitions in the order in which they arrive. `dafka_consumer_msg_recv` reads the
//! next record. A new consumer begins where `consumer/offset/reset` says, or where `dafka_consumer_seek`,
//! `dafka_consumer_seek_time` or `dafka_consumer_seek_end` says. A consumer with a name (`consumer/name`) continues where
//! the last consumer with this name has stopped.
//!
//! Records wait for the application in the record pipe, which is a pair of sockets and a queue. `zsys_set_pipehwm`
//! limits the number of these records, and the queue holds at most 4 MiB. When the application reads slowly, the record
//! pipe fills up. The consumer then keeps up to `consumer/max_unread_bytes` of further records. It drops records beyond
//! this limit, and requests them again later.
//!
//! # Configuration
//!
//! A consumer reads the keys that begin with `consumer/` or `beacon/`. The most important ones are `beacon/sub_address`
//! and `beacon/pub_address` (the addresses of the tower) and `consumer/offset/reset`. With `latest`, the default, a
//! consumer reads the records that are published after its subscription. With `earliest` it reads each partition from
//! its first record. It can also begin at an offset, at the last records, or at a time.
//!
//! # Committed positions
//!
//! A consumer with a name (`consumer/name`) commits to the stores which records the application has processed. With
//! `consumer/commit` = `auto`, the default, a record counts as processed when the application asks for the next record.
//! The consumer then commits it within two intervals (`consumer/commit_interval`), and when it ends. So a program that
//! ends while it processes a record gets this record again. `dafka_consumer_destroy` waits up to 2 seconds until a
//! store has confirmed the last commits. With `manual`, the consumer commits only in `dafka_consumer_commit` and
//! `dafka_consumer_commit_msg`.
//!
//! At its start, a consumer with a name waits until the connected stores have sent its positions, and no further store
//! has connected for 1.2 seconds. It waits at most 3 seconds if no store is connected, and at most 15 seconds
//! otherwise. `consumer/offset/reset` applies to partitions without a committed position. A seek comes before committed
//! positions, and commits nothing.
//!
//! A consumer with a name passes all records through its queue, see `dafka_consumer_record_source`: only
//! `dafka_consumer_msg_recv` and `dafka_consumer_msg_recv_from_socket` can read them. A consumer with a sink of the
//! application ignores its name, and logs an error.
//!
//! # Groups
//!
//! Consumers with the same `consumer/group` are members of one group, in one process or in several. They share the
//! records of their topics: one of the members gets each record, also if all records are of one partition.
//! `consumer/group_by` determines how records are shared, and which order remains. Members can come, leave and die. The
//! others then take over, and continue after the records that were committed. Commits are as for a consumer with a name,
//! and `consumer/name` is ignored. In a group, the functions that seek return -1 with `errno` = ENOTSUP. Before a member
//! ends in an orderly way, it should call `dafka_consumer_commit`, so that no other member gets its last record again.
//!
//! # A record sink of the application
//!
//! The application may set `record_sink` to a connected socket that can send (PAIR, PUSH, DEALER). The consumer then
//! sends its records to this socket, and makes no record pipe. The consumer takes over the socket, uses it in the
//! consumer's own thread, and destroys it. The consumer first sends a signal. At the other end, the application can
//! wait for this signal with `zsock_wait`. Then the consumer sends each record as a message of three frames: topic,
//! partition, content. `dafka_consumer_msg_recv_from_socket` reads these messages and skips the signal.
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
//!     //  Read from the first record on, even if it was published earlier
//!     zconfig_put (config, "consumer/offset/reset", "earliest");
//!     zactor_t *tower = zactor_new (dafka_tower_actor, config);
//!     assert (tower);
//!
//!     //  A producer publishes a record
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
//!     //  The socket to wait for records on, with zpoller or zloop
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

use super::boundary::{
    Failure, OF_ANOTHER_PROCESS, Outcome, bytes, entry, entry_void, resolve, settings, topic,
};
use super::consumer_msg::dafka_consumer_msg_t;
use super::object::{into_c, take_back};
use super::records::{self, Sink, Source};
use super::selftest;
use super::zlist::ZList;
use crate::actor::consumer::SeekError;
use crate::actor::record_queue::{CommitEnd, RecordId, RecordReader, RecordWriter};
use crate::actor::{Handle, consumer, new_address, spawn};
use crate::czmq::{
    self,
    exit::Running,
    sys::{zconfig_t, zlist_t, zsock_t},
};
use crate::net::{Pipe, Socket};
use crate::partition_name::PartitionName;
use crate::settings::Commit;
use crate::wire::MAX_NAME_LEN;
use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::MutexGuard;
use std::time::Duration;

/// How long `dafka_consumer_commit` waits for a store.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The arguments of `dafka_consumer_new`.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct dafka_consumer_args_t {
    /// The configuration. NULL for the defaults. The caller keeps it, and may destroy it after `dafka_consumer_new` has
    /// returned.
    pub config: *mut zconfig_t,
    /// The socket that the consumer sends records to. The consumer takes over this socket. NULL: the consumer makes a
    /// record pipe.
    pub record_sink: *mut zsock_t,
}

/// A consumer: an actor, and the reading end of its record pipe.
#[allow(non_camel_case_types)]
pub struct dafka_consumer_t {
    /// Dropped first, so that the actor ends before the pipe that it writes to is closed.
    actor: Handle,
    /// `None` when the application has passed a sink.
    source: Option<Source>,
    address: CString,
    /// The list that `dafka_consumer_subscription` returns. It stays the same list as long as the consumer lives.
    topics: ZList,
}

/// Where the actor sends its records.
enum Destination {
    Pipe(RecordWriter),
    Application(Sink),
}

impl dafka_consumer_t {
    fn new(args: &dafka_consumer_args_t) -> Outcome<dafka_consumer_t> {
        czmq::log::install();
        czmq::init();
        let (source, sink) = if args.record_sink.is_null() {
            let (source, writer) = records::pipe()?;
            (Some(source), Destination::Pipe(writer))
        } else {
            // SAFETY: live by the contract of dafka_consumer_new; the caller gives it away.
            (None, Destination::Application(unsafe { Sink::of(args.record_sink) }?))
        };
        let (address, topics) = (new_address(), ZList::new([])?);
        // SAFETY: args.config is NULL or live by the contract of dafka_consumer_new.
        let settings = unsafe { settings(args.config) };
        if let Some(source) = source.as_ref().filter(|_| settings.consumer.is_named()) {
            // SAFETY: the source is live, and only this thread uses it.
            let socket = unsafe { resolve(source.socket().as_c()) }.ok_or("the record pipe is no socket")?;
            let group_by = settings.consumer.group_by();
            let is_auto = settings.consumer.commit == Commit::Auto;
            let tracked = source.reader().track(&socket, is_auto, group_by);
            tracked.map_err(|error| error.to_string())?;
        }
        let own = address.clone();
        // zactor_new is not used, because it ends the process when no socket is left, and waits for ever when no thread
        // can start. Also, when a Unix signal interrupts zactor_new, it returns before the actor has started.
        let actor = spawn("Consumer", move |pipe| {
            let _running = Running::begin();
            let sink = match &sink {
                Destination::Pipe(writer) => consumer::Sink::Queue(writer),
                Destination::Application(sink) => consumer::Sink::Socket(&sink.socket),
            };
            consumer::run(pipe, &own, &settings, sink)
        });
        let actor = actor.map_err(|error| error.to_string())?;
        if !actor.pipe().wait_until_ready() {
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

    /// The reading end of the record pipe: the socket, and the reader.
    pub(super) fn records(&self) -> Outcome<(Socket, MutexGuard<'_, RecordReader>)> {
        self.pipe()?;
        let source = self.source.as_ref().ok_or("the consumer's records go to another sink")?;
        // SAFETY: the source is live as long as the consumer, and used by one thread at a time.
        let socket = unsafe { resolve(source.socket().as_c()) };
        Ok((socket.ok_or("the consumer's record source is no socket")?, source.reader()))
    }

    /// True when the actor has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.actor.pipe().has_ended()
    }

    fn seek(&self, name: PartitionName, sequence: u64) -> Outcome<()> {
        let pipe = self.pipe()?;
        let (source, mut reader) = self.records().map_err(|failure| failure.with_errno(libc::ENOTSUP))?;
        Ok(consumer::seek(pipe, (&source, &mut reader), name, sequence)?)
    }

    fn seek_time(&self, topic: &[u8], since_ms: i64) -> Outcome<()> {
        let pipe = self.pipe()?;
        let (source, mut reader) = self.records().map_err(|failure| failure.with_errno(libc::ENOTSUP))?;
        Ok(consumer::seek_time(pipe, (&source, &mut reader), topic, since_ms)?)
    }

    fn seek_end(&self, topic: &[u8]) -> Outcome<()> {
        let pipe = self.pipe()?;
        let (source, mut reader) = self.records().map_err(|failure| failure.with_errno(libc::ENOTSUP))?;
        Ok(consumer::seek_end(pipe, (&source, &mut reader), topic)?)
    }

    fn pause(&self, topic: &[u8]) -> Outcome<()> {
        let pipe = self.pipe()?;
        let (source, mut reader) = self.records().map_err(|failure| failure.with_errno(libc::ENOTSUP))?;
        Ok(consumer::pause(pipe, (&source, &mut reader), topic)?)
    }

    fn resume(&self, topic: &[u8]) -> Outcome<()> {
        let pipe = self.pipe()?;
        let (_, mut reader) = self.records().map_err(|failure| failure.with_errno(libc::ENOTSUP))?;
        Ok(consumer::resume(pipe, &mut reader, topic)?)
    }

    fn lag(&self, topic: &[u8]) -> Outcome<u64> {
        let pipe = self.pipe()?;
        let (source, mut reader) = self.records().map_err(|failure| failure.with_errno(libc::ENOTSUP))?;
        Ok(consumer::lag(pipe, (&source, &mut reader), topic)?)
    }

    /// Commits the position after a record or, without one, everything that the application has received.
    fn commit(&self, record: Option<&RecordId>) -> Outcome<()> {
        let pipe = self.pipe()?;
        let (_, mut reader) = self.records().map_err(|failure| failure.with_errno(libc::ENOTSUP))?;
        if !reader.is_tracking() {
            return Err("the consumer has no name (consumer/name) and no group (consumer/group)".into());
        }
        let end = consumer::commit(pipe, &mut reader, record, COMMIT_TIMEOUT, &mut || !czmq::interrupted());
        match end.map_err(|error| Failure::from(error.to_string()).with_errno(libc::EPIPE))? {
            CommitEnd::Confirmed => Ok(()),
            CommitEnd::TimedOut => Err(Failure::expected(libc::EAGAIN)),
            CommitEnd::Interrupted => Err(Failure::expected(libc::EINTR)),
        }
    }

    fn command(&self, word: &[u8], topic: &[u8]) -> Outcome<()> {
        Ok(consumer::command(self.pipe()?, word, topic)?)
    }
}

impl From<SeekError> for Failure {
    fn from(error: SeekError) -> Failure {
        let errno = match error {
            SeekError::NotSubscribed => libc::EINVAL,
            SeekError::NotReader | SeekError::Grouped => libc::ENOTSUP,
            SeekError::Ended(_) | SeekError::Other(_) => libc::EPIPE,
        };
        Failure::from(error.to_string()).with_errno(errno)
    }
}

impl Drop for dafka_consumer_t {
    /// The last automatic commit contains what the application has processed.
    fn drop(&mut self) {
        if let Some(source) = &self.source {
            source.reader().publish();
        }
    }
}

/// The consumer behind a C pointer.
///
/// # Safety
/// `self_` is NULL, or a live consumer that only this call uses.
unsafe fn consumer<'a>(self_: *mut dafka_consumer_t) -> Outcome<&'a mut dafka_consumer_t> {
    // SAFETY: the caller's promise.
    unsafe { self_.as_mut() }.ok_or("the consumer is NULL".into())
}

/// The topic of records: a topic that is not empty.
///
/// # Safety
/// `text` is NULL or a string.
unsafe fn record_topic<'a>(text: *const c_char) -> Outcome<&'a [u8]> {
    // SAFETY: the caller's promise.
    match unsafe { topic(text) }? {
        b"" => Err("the topic is empty".into()),
        topic => Ok(topic),
    }
}

/// Makes a consumer without subscriptions. The caller owns it, and destroys it with `dafka_consumer_destroy`. `*args`
/// is not modified. This function returns when the towers have answered or `beacon/connect_timeout` (milliseconds) has
/// passed.
///
/// Returns NULL when `args` is NULL or the process has run out of sockets, files or threads. The log then names the
/// limit (ZMQ_MAX_SOCKETS, RLIMIT_NOFILE), see dafka(7). When the function returns NULL and `args` has a `record_sink`,
/// the function has sent a signal to this socket and has destroyed it.
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

/// Ends a consumer at once and sets `*self_p` to NULL. Records in its record pipe are lost. The socket that
/// `dafka_consumer_record_source` returned becomes invalid, so first destroy each `zpoller` that uses it. Accepts NULL
/// and a pointer to NULL.
///
/// # Safety
/// `self_p` is NULL, or points to NULL or to a live consumer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_destroy(self_p: *mut *mut dafka_consumer_t) {
    // SAFETY: the caller's promise.
    entry_void("dafka_consumer_destroy", || unsafe { drop(take_back(self_p)) })
}

/// Subscribes to a topic. A topic has at most 255 bytes. The whole topic must match: `weather` does not subscribe to
/// `weather2`, unless `consumer/topic_match` is `prefix`. The empty topic subscribes to all topics. Subscribing twice
/// has the same effect as subscribing once. The function does not wait for peers. The consumer receives records as soon
/// as it is connected to a peer that has records of the topic.
///
/// Returns 0, or -1 when the topic is too long, an argument is NULL or the consumer has ended.
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
        consumer.topics.insert(CStr::from_ptr(topic_))?;
        Ok(0)
    })
}

/// Ends a subscription. Records that are already in the record pipe are still delivered. A later subscription to the
/// same topic begins where `consumer/offset/reset` says, and that of a consumer with a name at its committed positions.
///
/// Returns 0, even if the consumer was not subscribed to the topic. Returns -1 when the topic is too long, an argument
/// is NULL or the consumer has ended.
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

/// Makes the consumer continue at another record of a partition. `partition` is the address of the partition's
/// producer, as `dafka_consumer_msg_address` returns it. `sequence` is the sequence of the record to read next; 0 is
/// the first record of the partition. The topic must be subscribed. After this call, the next record of this partition
/// that `dafka_consumer_msg_recv` returns is the record `sequence`. If the partition does not have this record yet, the
/// consumer delivers it later. Other partitions keep their positions.
///
/// The consumer requests earlier records from the producer or from a store. So a program can read records again if a
/// peer still has them. If the consumer does not know the partition yet, it applies the position when a peer mentions
/// the partition. So a program can store the sequence of the record that it has processed last, and continue after this
/// record when it starts again. The consumer remembers at most 1,000,000 positions in partitions that it does not read
/// yet, and forgets the oldest positions first.
///
/// From the first call on, the consumer passes records through a queue. From then on, only `dafka_consumer_msg_recv`
/// and `dafka_consumer_msg_recv_from_socket` can read records, see `dafka_consumer_record_source`.
///
/// Returns 0, or -1 with `errno`: EINVAL when an argument is NULL, the topic is not subscribed, `partition` is empty or
/// longer than 255 bytes, or `sequence` is UINT64_MAX; ENOTSUP when the application has passed a sink, or has read
/// records from the record source itself, or when the consumer is a member of a group; EPIPE when the consumer has ended.
/// When the function returns -1, the position is unchanged.
///
/// # Safety
/// `self` is NULL or a live consumer; `topic` and `partition` are NULL or strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_seek(
    self_: *mut dafka_consumer_t,
    topic_: *const c_char,
    partition: *const c_char,
    sequence: u64,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_seek", -1, || unsafe {
        let (consumer, topic, producer) = (consumer(self_)?, topic(topic_)?, bytes(partition, "partition")?);
        if !(1..=MAX_NAME_LEN).contains(&producer.len()) || sequence == u64::MAX {
            return Err("the partition or the sequence is invalid".into());
        }
        consumer.seek(PartitionName { topic, producer }, sequence)?;
        Ok(0)
    })
}

/// Makes the consumer continue at a time: in each partition of a topic, at the first record that was published at
/// `msecs` or later. `msecs` is in milliseconds since the Unix epoch, as `dafka_consumer_msg_timestamp` returns it. After
/// this call, `dafka_consumer_msg_recv` returns no record of before this time. This also applies to partitions that the
/// consumer does not know yet. So a program can call this function right after `dafka_consumer_subscribe`.
///
/// `topic` selects topics as in `dafka_consumer_subscribe`: with `consumer/topic_match` = `prefix`, all topics that begin
/// with it. It must be subscribed, or match a subscription. The empty topic means all topics.
///
/// The consumer searches the record in each partition: it requests single records from the producer and the stores, until
/// it knows where the time is. While it searches, the records of the partition that arrive wait. If the needed records
/// are in a store that is down, the search goes on when the store returns, and other partitions do not wait. If all
/// records of a partition are of before `msecs`, for example because `msecs` is in the future, the consumer goes on with
/// the records that arrive, and delivers the first one that is late enough, and all after it.
///
/// The timestamps are those that producers set: the time of sending, or what `dafka_producer_msg_set_timestamp` has set.
/// If the timestamps of a partition do not ascend, the consumer continues at some record that is late enough and whose
/// predecessor is not. A record without a timestamp (from a producer or a store of libdafka 0.1.0) counts as late enough,
/// so the consumer skips no such record.
///
/// Positions of before this call, also committed ones, do not count any more in this consumer. A pause remains: the search then begins at
/// `dafka_consumer_resume`. A later `dafka_consumer_seek` determines the position in its partition. The end of the
/// subscription also ends the search. While the consumer searches, `dafka_consumer_lag` contains all records among which
/// the searched one may be.
///
/// As `dafka_consumer_seek`, this function makes the consumer pass records through a queue.
///
/// Returns 0, or -1 with `errno`: EINVAL when an argument is NULL, or the topic is too long or not subscribed; ENOTSUP when
/// the application has passed a sink, or has read records from the record source itself, or when the consumer is a member
/// of a group; EPIPE when the consumer has ended. When the function returns -1, all positions are unchanged.
///
/// # Safety
/// `self` is NULL or a live consumer; `topic` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_seek_time(
    self_: *mut dafka_consumer_t,
    topic_: *const c_char,
    msecs: i64,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_seek_time", -1, || unsafe {
        let (consumer, topic) = (consumer(self_)?, topic(topic_)?);
        consumer.seek_time(topic, msecs)?;
        Ok(0)
    })
}

/// Makes the consumer continue at the end of each partition of a topic: after the last record that the consumer knows.
/// It knows a record when it has arrived, or when a producer or a store has named it, see `dafka_consumer_lag`. So it may
/// still deliver records that were published shortly before this call.
///
/// Partitions that the consumer does not know yet are treated as with `consumer/offset/reset` = `latest`, as if the topic
/// were subscribed now: a partition that begins later is read from its first record, and of an older one only new records
/// are read.
///
/// For `topic`, the effects on positions and pauses, and the queue, see `dafka_consumer_seek_time`.
///
/// Returns 0, or -1 with the same values of `errno` as `dafka_consumer_seek_time`.
///
/// # Safety
/// `self` is NULL or a live consumer; `topic` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_seek_end(
    self_: *mut dafka_consumer_t,
    topic_: *const c_char,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_seek_end", -1, || unsafe {
        let (consumer, topic) = (consumer(self_)?, topic(topic_)?);
        consumer.seek_end(topic)?;
        Ok(0)
    })
}

/// Stops reading the records of a topic, until `dafka_consumer_resume`. After this call, `dafka_consumer_msg_recv`
/// returns no record of the topic, and the consumer requests none. No record is lost: the consumer keeps those that wait
/// for the application (at most 4 MiB), and later continues after them. Other topics are not affected. Use this function
/// when records of one topic arrive faster than the application can process them, and records of other topics must not
/// wait.
///
/// `topic` is the topic of records, as `dafka_consumer_msg_subject` returns it. It must be subscribed, or match a
/// subscription. With `consumer/topic_match` = `prefix`, this function does not stop longer topics that begin with
/// `topic`. Ending the subscription of a paused topic also ends the pause, and drops the kept records.
///
/// As `dafka_consumer_seek`, this function makes the consumer pass records through a queue.
///
/// Returns 0, also when the topic is paused already. Otherwise -1 with `errno`: EINVAL when an argument is NULL, or the
/// topic is empty, too long or not subscribed; ENOTSUP when the application has passed a sink, or has read records from
/// the record source itself; EPIPE when the consumer has ended.
///
/// # Safety
/// `self` is NULL or a live consumer; `topic` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_pause(self_: *mut dafka_consumer_t, topic_: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_pause", -1, || unsafe {
        let (consumer, topic) = (consumer(self_)?, record_topic(topic_)?);
        consumer.pause(topic)?;
        Ok(0)
    })
}

/// Continues to read the records of a topic after `dafka_consumer_pause`. First, `dafka_consumer_msg_recv` returns the
/// records that were kept. Then the consumer requests the records that were published during the pause.
///
/// Returns 0, also when the topic is not paused. Otherwise -1 with `errno`, see `dafka_consumer_pause`.
///
/// # Safety
/// `self` is NULL or a live consumer; `topic` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_resume(self_: *mut dafka_consumer_t, topic_: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_resume", -1, || unsafe {
        let (consumer, topic) = (consumer(self_)?, record_topic(topic_)?);
        consumer.resume(topic)?;
        Ok(0)
    })
}

/// How many records of a topic exist, as far as the consumer knows, that the application has not received. The empty
/// topic means all topics. 0 means that the application has received all known records. The consumer learns of a record
/// when it arrives, or when a producer or a store names the last record of a partition. A producer does so every
/// `producer/head_interval`. Stores are asked after a subscription and about every 10 s. So the number does not contain
/// records that were published a moment ago, and records of partitions that the consumer does not know yet. Under
/// `latest`, the number contains no records of a partition that the consumer will not deliver if the partition began
/// before the subscription.
///
/// As `dafka_consumer_seek`, this function makes the consumer pass records through a queue.
///
/// Returns -1 with `errno` on failure, see `dafka_consumer_pause`.
///
/// # Safety
/// `self` is NULL or a live consumer; `topic` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_lag(self_: *mut dafka_consumer_t, topic_: *const c_char) -> i64 {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_lag", -1, || unsafe {
        let (consumer, topic) = (consumer(self_)?, topic(topic_)?);
        Ok(i64::try_from(consumer.lag(topic)?).unwrap_or(i64::MAX))
    })
}

/// Commits the positions of a consumer with a name (`consumer/name`): everything that the application has received so
/// far counts as processed. Stores keep the positions. The next consumer with this name continues there.
///
/// The function publishes the commit, and waits until one store has confirmed that it has the commit on disk, for at
/// most 5 seconds. The consumer repeats the commit until a store has confirmed it, also after the function has returned
/// -1. A program with `consumer/commit` = `auto` can also call this function, for example before
/// `dafka_consumer_destroy`: the last received record then counts as processed too.
///
/// Returns 0, or -1 with `errno`: EINVAL when `self` is NULL or the consumer has no name and no group; ENOTSUP when the application
/// has passed a sink; EAGAIN when no store has confirmed the commit in time; EINTR when a signal has interrupted the
/// wait, or had interrupted the program before the call (see "Signals" in dafka(7)); EPIPE when the consumer has ended.
/// EAGAIN and EINTR are not logged. Also after EINTR, the consumer publishes the commit, and `dafka_consumer_destroy`
/// waits up to 2 seconds for its confirmation.
///
/// # Safety
/// `self` is NULL or a live consumer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_commit(self_: *mut dafka_consumer_t) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_commit", -1, || unsafe { consumer(self_)?.commit(None).map(|()| 0) })
}

/// Commits the position after one record: in the partition of the record, the next consumer with this name continues
/// with the record after it. Other partitions keep their positions. An earlier record than that of the last commit
/// moves the position back. With `consumer/commit` = `auto`, the next automatic commit in this partition moves the
/// position on again. In a group, the function commits the record and the earlier ones of its slot in its partition, and
/// a position never moves back. All else is as with `dafka_consumer_commit`.
///
/// Returns 0, or -1 with `errno` as `dafka_consumer_commit`. EINVAL also when `msg` is NULL or has no sequence.
///
/// # Safety
/// `self` is NULL or a live consumer; `msg` is NULL or a live message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_commit_msg(
    self_: *mut dafka_consumer_t,
    msg: *mut dafka_consumer_msg_t,
) -> c_int {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_commit_msg", -1, || unsafe {
        let consumer = consumer(self_)?;
        let msg = msg.as_ref().ok_or("the message is NULL")?;
        let record = msg.record_id().ok_or("the message has no sequence")?;
        consumer.commit(Some(&record)).map(|()| 0)
    })
}

/// The address of the consumer, by which peers identify it: 32 hexadecimal digits. The string is borrowed, and valid
/// until the consumer is destroyed. NULL when `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live consumer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_address(self_: *mut dafka_consumer_t) -> *const c_char {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_address", std::ptr::null(), || unsafe { Ok(consumer(self_)?.address.as_ptr()) })
}

/// The topics that the consumer is subscribed to, as a list of strings (`zlist_first`, `zlist_next`). The consumer owns
/// the list. It is valid until the consumer is destroyed, and changes with each subscription. Each call returns the
/// same list. NULL when `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live consumer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_subscription(self_: *mut dafka_consumer_t) -> *mut zlist_t {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_subscription", std::ptr::null_mut(), || unsafe {
        Ok(consumer(self_)?.topics.as_c())
    })
}

/// The reading end of the consumer's record pipe, for `zpoller` and `zloop`. The consumer owns this socket. It is valid
/// until the consumer is destroyed. The socket is readable while there is a record for `dafka_consumer_msg_recv`, and
/// at no other time. To limit how long `dafka_consumer_msg_recv` waits, set a timeout in milliseconds on this socket
/// with `zsock_set_rcvtimeo` (ZMQ_RCVTIMEO).
///
/// A program may also read records from the socket directly (`zmsg_recv`). Each record is then a message of three
/// frames: topic, partition and content. A program that reads directly must do so for at least one of its first 1,000
/// records. If `dafka_consumer_msg_recv` and `dafka_consumer_msg_recv_from_socket` have read all of these, the consumer
/// passes later records through a queue, which is faster. From then on, only these two functions can read records. The
/// socket contains only a message that makes it readable. Do not read this message, and do not flush the socket
/// (`zsock_flush`): the socket would not become readable again.
///
/// NULL when the application has passed a sink, or `self` is NULL.
///
/// # Safety
/// `self` is NULL or a live consumer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dafka_consumer_record_source(self_: *mut dafka_consumer_t) -> *mut zsock_t {
    // SAFETY: the caller's promise.
    entry("dafka_consumer_record_source", std::ptr::null_mut(), || unsafe {
        Ok(consumer(self_)?.source.as_ref().map_or(std::ptr::null_mut(), |source| source.socket().as_c()))
    })
}

/// Runs the self test of this class, as `dafka_selftest` does. It calls the functions of the class, and prints " *
/// dafka_consumer: OK". A failed check aborts the process. With `verbose`, the nodes of the test log what they do.
#[unsafe(no_mangle)]
pub extern "C" fn dafka_consumer_test(verbose: bool) {
    selftest::run("dafka_consumer", verbose, selftest::consumer);
}
