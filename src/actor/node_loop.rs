//! The loop that every node except a tower runs. A [`Role`] implements what differs between the kinds of nodes.
//!
//! A turn waits for input, and reads commands, subscriptions, messages and the beacon's reports, as far as there are
//! any. Then the role does what is due, and the loop publishes the messages of the role's state machine. Each step is
//! bounded, so no kind of input can block the others.

use super::common::Common;
use super::received::Received;
use super::role::{Flow, Receives, Role};
use super::unpacker::Unusable;
use super::{BATCH_COUNT, Result, Run, sender, timeout_ms};
use crate::net::{Awaited, Frame, Wait, now_ms};
use crate::wire::{Message, record_attributes};
use zmq::POLLIN;

/// Runs a node until its role ends it.
///
/// # Errors
/// Errors of the role's methods and of libzmq.
pub(super) fn run<R: Role>(mut role: R, mut common: Common) -> Result {
    loop {
        common.clock.can_read(role.can_receive());
        let is_extra_ready = wait(&mut common, &mut role)?;
        if read_commands(&mut common, &mut role)? == Flow::End {
            return role.end(common);
        }
        read_subscriptions(&mut common, &mut role)?;
        role.before_messages(&mut common)?;
        common.clock.can_read(role.can_receive());
        read_messages(&mut common, &mut role)?;
        // The messages must be read first, see `Node::follow_beacon`.
        if common.node.follow_beacon_with(|endpoint, is_present| role.handle_peer(endpoint, is_present))? {
            role.handle_given_up(common.clock.now_ms());
        }
        let flow = role.turn(&mut common, is_extra_ready)?;
        take_notices(&mut common, &mut role);
        common.notices.log_due(now_ms());
        common.publish()?;
        if flow == Flow::End {
            return role.end(common);
        }
    }
}

/// Waits for input, or until something is due. Returns true when the role's extra item is ready.
fn wait(common: &mut Common, role: &mut impl Role) -> Result<bool> {
    let timeout_ms = timeout(common, role);
    let wait = Wait::begin(&awaited(common, role))?;
    let may_last = wait.may_last() && timeout_ms != 0;
    if may_last {
        role.begin_wait(common);
    }
    let waiting = common.node.waiting();
    let wait = wait.wait(timeout_ms);
    drop(waiting);
    if may_last {
        role.end_wait(common);
    }
    let [.., is_extra_ready] = wait.end(&awaited(common, role))?;
    Ok(is_extra_ready)
}

/// How long the loop waits for input.
fn timeout(common: &Common, role: &impl Role) -> i64 {
    let Common { inbox, clock, notices, .. } = common;
    let now_ms = clock.now_ms();
    let role_ms = match role.can_receive() && !inbox.is_empty() {
        true => Some(now_ms),
        false => role.due_ms(now_ms),
    };
    // The role's clock stops while the role accepts no messages. The clock that limits the rate of log lines does not
    // stop.
    let notices_ms = notices.due_ms().map(|due_ms| now_ms + due_ms.saturating_sub(self::now_ms()));
    let due_ms = role_ms.into_iter().chain(notices_ms).min();
    timeout_ms(due_ms, now_ms)
}

/// What the loop waits for. The last item is that of the role.
fn awaited<'a>(common: &'a Common, role: &'a impl Role) -> [Option<Awaited<'a>>; 5] {
    let Common { pipe, node, .. } = common;
    let input = |socket| Some(Awaited::Socket(socket, POLLIN));
    let pipe_events = Some(role.pipe_events()).filter(|events| !events.is_empty());
    [
        // The beacon comes before the subscriber. So when the beacon reports the end of a connection, the loop also
        // notices the messages that came over this connection.
        Some(node.beacon().awaited()),
        input(&node.subscriber),
        input(&node.publisher),
        pipe_events.map(|events| Awaited::Socket(pipe, events)),
        role.extra_item(),
    ]
}

/// Reads commands from the owner's pipe.
fn read_commands(common: &mut Common, role: &mut impl Role) -> Result<Flow> {
    let now_ms = common.clock.now_ms();
    let mut command = Frame::new();
    for _ in 0..BATCH_COUNT {
        if !role.pipe_events().contains(POLLIN) || !common.pipe.try_recv_awaited(&mut command)? {
            break;
        }
        let mut argument = Frame::new();
        let has_argument = command.more() && common.pipe.try_recv(&mut argument)?;
        if has_argument {
            common.pipe.skip_rest(&argument);
        }
        let argument = has_argument.then_some(argument);
        if role.handle_command(common, command.as_ref(), argument, now_ms)? == Flow::End {
            return Ok(Flow::End);
        }
    }
    Ok(Flow::Continue)
}

/// Reads subscriptions of peers.
fn read_subscriptions(common: &mut Common, role: &mut impl Role) -> Result {
    let Common { node, outbox, clock, .. } = common;
    let now_ms = clock.now_ms();
    node.subscriptions(|subscription, from| role.handle_subscription(subscription, from, now_ms, outbox))
}

/// Reads messages until the role accepts no more, no message is left, or a batch is read. Then fills the inbox.
fn read_messages<R: Role>(common: &mut Common, role: &mut R) -> Result {
    let read_ms = common.clock.now_ms();
    common.unpacker.begin_turn();
    for _ in 0..BATCH_COUNT {
        if !role.can_receive() || common.unpacker.must_pause() {
            break;
        }
        let Some(received) = common.inbox.next(&common.node.subscriber, &common.node.unread)? else {
            role.handle_all_read(read_ms)?;
            break;
        };
        let received = if R::KEEPS_CONTENT { received.with_own_content() } else { received };
        handle_message(common, role, received, read_ms)?;
    }
    role.after_messages()?;
    common.inbox.fill(&common.node.subscriber, &common.node.unread, common.clock.now_ms())?;
    while let Some(received) = common.inbox.next_urgent() {
        handle_message(common, role, received, read_ms)?;
    }
    Ok(())
}

/// Passes a message to the role, unless it has the wrong number of frames or comes from the wrong sender.
fn handle_message<R: Role>(common: &mut Common, role: &mut R, received: Received, read_ms: u64) -> Result {
    let Received { frame, content, origin, .. } = received;
    let message = match Message::decode(frame.as_ref()) {
        Ok(message) => message,
        Err(error) => {
            common.notices.warn(|| format!("dropped a message: {error}"));
            return Ok(());
        }
    };
    let is_taken = match R::RECEIVES {
        Receives::Requests if content.is_none() => common.node.is_genuine(&message, origin),
        Receives::Records if message.has_content() == content.is_one() && !content.is_too_much() => {
            !common.node.is_unwanted_answer(&message, origin, |position| role.is_store_asked(position))
        }
        receives => {
            let what = match receives {
                Receives::Requests => "too many frames",
                Receives::Records => "a wrong number of frames",
            };
            common.notices.warn(|| format!("dropped a {} with {what}", message.name()));
            false
        }
    };
    if !is_taken {
        return Ok(());
    }
    let run = match (content.into_frame(), &message) {
        (Some(octets), Message::Records(_) | Message::DirectRecords(_)) => {
            common.unpacker.run_of::<R>(octets).map(Some)
        }
        (Some(content), Message::Record(position) | Message::DirectRecord(position)) => {
            let attributes = record_attributes::of(frame.as_ref(), position);
            Run::single(content, &attributes).map(Some).map_err(Unusable::from)
        }
        (content, _) => Ok(content.map(Run::from)),
    };
    match run {
        Ok(run) => role.handle_message(common, &message, run, &|| sender(origin), read_ms),
        Err(error) => {
            common.notices.warn(|| format!("dropped a {}: {error}", message.name()));
            Ok(())
        }
    }
}

/// Passes the role's notices to the log.
fn take_notices(common: &mut Common, role: &mut impl Role) {
    let now_ms = common.clock.now_ms();
    while common.notices.has_room()
        && let Some(notice) = role.poll_notice(now_ms)
    {
        common.notices.take(notice, &common.node.address);
    }
}

/// Logs all notices that remain, without a limit on their rate. A role calls this when the node ends.
pub(super) fn log_remaining_notices(common: &mut Common, role: &mut impl Role) {
    take_notices(common, role);
    while common.notices.due_ms().is_some() {
        common.notices.log_rest();
        take_notices(common, role);
    }
}
