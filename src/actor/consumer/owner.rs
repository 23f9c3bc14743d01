//! The owner's side of a consumer: the commands that it sends to the actor.

use super::{Frame, PartitionName, Pipe, Socket};
use crate::actor::command::{Ended, send_command, send_last};
use crate::actor::record_queue::{CommitEnd, RecordId, RecordReader, is_one_of};
use crate::actor::{Error, Result};
use std::time::Duration;

/// The command that makes a partition continue at another record, see [`seek`].
pub(super) const SEEK: &[u8] = b"$SEEK";
/// The commands that make all partitions of a topic continue elsewhere, see [`seek_time`] and [`seek_end`].
pub(super) const SEEK_TIME: &[u8] = b"$SEEK TIME";
pub(super) const SEEK_END: &[u8] = b"$SEEK END";
/// The commands that stop and continue the reading of a topic, see [`pause`] and [`resume`].
pub(super) const PAUSE: &[u8] = b"$PAUSE";
pub(super) const RESUME: &[u8] = b"$RESUME";
/// The command that requests how many records of a topic are left, see [`lag`].
pub(super) const LAG: &[u8] = b"$LAG";
/// The command that commits the positions that the application has published, see [`commit`].
pub(super) const COMMIT: &[u8] = b"$COMMIT";
/// The command that requests how many records are left until the end, see [`left`].
pub(super) const LEFT: &[u8] = b"$LEFT";

/// Sends `SUBSCRIBE` or `UNSUBSCRIBE` to a consumer.
///
/// # Errors
/// When the consumer has ended.
pub fn command(pipe: &Pipe, command: &[u8], topic: &[u8]) -> Result<(), Ended> {
    send_command(pipe, command, |pipe| send_last(pipe, &mut Frame::copy(topic)))
}

/// Makes a partition continue at the record `sequence`. `reader` is the reader of the consumer's record pipe, and
/// `source` is the reader's end of this pipe. Before this function returns, the actor and the reader drop the records
/// of the partition that wait for the application.
///
/// # Errors
/// See [`SeekError`].
pub fn seek(
    pipe: &Pipe,
    (source, reader): (&Socket, &mut RecordReader),
    name: PartitionName,
    sequence: u64,
) -> Result<(), SeekError> {
    refuse_member(reader)?;
    switch(pipe, source, reader)?;
    match ask(pipe, SEEK, &encode_seek(name, sequence))?.as_ref() {
        [1] => Ok(reader.retain(source, |of| of != name)?),
        _ => Err(SeekError::NotSubscribed),
    }
}

/// Makes all partitions of a topic continue at the first record that was published at `since_ms` or later, in
/// milliseconds since the Unix epoch. The empty topic means all topics. For the other arguments, see [`seek`].
///
/// # Errors
/// See [`SeekError`].
pub fn seek_time(
    pipe: &Pipe,
    (source, reader): (&Socket, &mut RecordReader),
    topic: &[u8],
    since_ms: i64,
) -> Result<(), SeekError> {
    let argument = [&since_ms.to_be_bytes()[..], topic].concat();
    seek_all(pipe, (source, reader), topic, SEEK_TIME, &argument)
}

/// Makes all partitions of a topic continue after the last record that the consumer knows. The empty topic means all
/// topics. For the other arguments, see [`seek`].
///
/// # Errors
/// See [`SeekError`].
pub fn seek_end(
    pipe: &Pipe,
    (source, reader): (&Socket, &mut RecordReader),
    topic: &[u8],
) -> Result<(), SeekError> {
    seek_all(pipe, (source, reader), topic, SEEK_END, topic)
}

fn seek_all(
    pipe: &Pipe,
    (source, reader): (&Socket, &mut RecordReader),
    topic: &[u8],
    command: &[u8],
    argument: &[u8],
) -> Result<(), SeekError> {
    refuse_member(reader)?;
    switch(pipe, source, reader)?;
    match ask(pipe, command, argument)?.as_ref() {
        [1] => Ok(reader.retain(source, |of| of.topic != topic)?),
        [_] => Ok(reader.retain(source, |of| !of.topic.starts_with(topic))?),
        _ => Err(SeekError::NotSubscribed),
    }
}

/// Stops reading the records of a topic, without losing any. After this function has returned, the reader returns no
/// record of the topic until [`resume`]. For the arguments, see [`seek`].
///
/// # Errors
/// See [`SeekError`].
pub fn pause(
    pipe: &Pipe,
    (source, reader): (&Socket, &mut RecordReader),
    topic: &[u8],
) -> Result<(), SeekError> {
    switch(pipe, source, reader)?;
    match ask(pipe, PAUSE, topic)?.as_ref() {
        [] => Err(SeekError::NotSubscribed),
        [1] => Ok(reader.pause(source, topic)?),
        _ => Ok(()),
    }
}

/// Continues to read the records of a topic after [`pause`].
///
/// # Errors
/// See [`SeekError`].
pub fn resume(pipe: &Pipe, reader: &mut RecordReader, topic: &[u8]) -> Result<(), SeekError> {
    match ask(pipe, RESUME, topic)?.as_ref() {
        [] => Err(SeekError::NotSubscribed),
        [1] => Ok(reader.resume(topic)?),
        _ => Ok(()),
    }
}

/// How many records of a topic the consumer knows from its peers, and the application has not received. An empty topic
/// means all topics. For the arguments, see [`seek`].
///
/// # Errors
/// See [`SeekError`].
pub fn lag(
    pipe: &Pipe,
    (source, reader): (&Socket, &mut RecordReader),
    topic: &[u8],
) -> Result<u64, SeekError> {
    switch(pipe, source, reader)?;
    let answer = ask(pipe, LAG, topic)?;
    let count = answer.as_ref().try_into().map_err(|_| Ended)?;
    Ok(u64::from_be_bytes(count) + reader.taken_count(is_one_of(topic, b"")))
}

/// How many records the application has not received until the end of what is there: of a topic or, if the producer in
/// `name` is not empty, of one of its partitions. `None` while that is not known, see
/// [`Consumer::left`](crate::protocol::consumer::Consumer::left). For the other arguments, see [`seek`].
///
/// # Errors
/// See [`SeekError`].
pub fn left(
    pipe: &Pipe,
    (source, reader): (&Socket, &mut RecordReader),
    name: PartitionName,
) -> Result<Option<u64>, SeekError> {
    switch(pipe, source, reader)?;
    let answer = ask(pipe, LEFT, &encode_name(name))?;
    let count = answer.as_ref().try_into().ok().map(u64::from_be_bytes);
    Ok(count.map(|count| count + reader.taken_count(is_one_of(name.topic, name.producer))))
}

/// Commits the position after a record or, without one, everything that the application has read. Waits until a store
/// has confirmed the commit, for at most `timeout`, or until `is_patient` returns false.
///
/// # Errors
/// When the consumer has ended.
pub fn commit(
    pipe: &Pipe,
    reader: &mut RecordReader,
    record: Option<&RecordId>,
    timeout: Duration,
    is_patient: &mut dyn FnMut() -> bool,
) -> Result<CommitEnd, Ended> {
    let request = reader.request_commit(record);
    send_command(pipe, COMMIT, |pipe| send_last(pipe, &mut Frame::new()))?;
    reader.wait_for_commit(request, timeout, is_patient)
}

/// A member of a group does not seek: its position would not be that of the group.
fn refuse_member(reader: &RecordReader) -> Result<(), SeekError> {
    if reader.is_grouped() { Err(SeekError::Grouped) } else { Ok(()) }
}

/// Makes sure that the records come through the queue: there, their order and number can be changed.
fn switch(pipe: &Pipe, source: &Socket, reader: &mut RecordReader) -> Result<(), SeekError> {
    match reader.switch(source)? {
        true => Ok(()),
        false if pipe.has_ended() => Err(Ended.into()),
        false => Err(SeekError::NotReader),
    }
}

/// Sends a command, and waits for the answer.
fn ask(pipe: &Pipe, command: &[u8], argument: &[u8]) -> Result<Frame, SeekError> {
    send_command(pipe, command, |pipe| send_last(pipe, &mut Frame::copy(argument)))?;
    let mut answer = Frame::new();
    match pipe.wait_for_message() && pipe.try_recv(&mut answer)? {
        true => Ok(answer),
        false => Err(Ended.into()),
    }
}

/// Why a consumer has not changed what it reads.
#[derive(Debug, thiserror::Error)]
pub enum SeekError {
    /// No subscribed topic matches the topic of the partition.
    #[error("the consumer is not subscribed to the topic")]
    NotSubscribed,
    /// The program has read records from the record source itself. Records that wait there cannot be dropped.
    #[error("the program has read records from the record source itself")]
    NotReader,
    /// The consumer is a member of a group.
    #[error("a member of a group (consumer/group) does not seek")]
    Grouped,
    /// The consumer has ended.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// An error of libzmq.
    #[error(transparent)]
    Other(#[from] Error),
}

impl From<zmq::Error> for SeekError {
    fn from(error: zmq::Error) -> SeekError {
        SeekError::Other(error.into())
    }
}

/// The argument of [`SEEK`]: the sequence in eight octets, and the partition.
fn encode_seek(name: PartitionName, sequence: u64) -> Vec<u8> {
    [&sequence.to_be_bytes()[..], &encode_name(name)].concat()
}

/// The partition and the sequence of a [`SEEK`].
pub(super) fn decode_seek(argument: &[u8]) -> Option<(PartitionName<'_>, u64)> {
    let (sequence, name) = argument.split_first_chunk()?;
    Some((decode_name(name)?, u64::from_be_bytes(*sequence)))
}

/// A partition: the length of the topic in one octet, topic and producer.
fn encode_name(name: PartitionName) -> Vec<u8> {
    [&[name.topic.len() as u8], name.topic, name.producer].concat()
}

/// The partition of an [`encode_name`].
pub(super) fn decode_name(name: &[u8]) -> Option<PartitionName<'_>> {
    let (&topic_len, names) = name.split_first()?;
    let (topic, producer) = names.split_at_checked(usize::from(topic_len))?;
    Some(PartitionName { topic, producer })
}
