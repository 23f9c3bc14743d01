//! Creates the two sockets of a node.

use super::Config;
use crate::actor::Result;
use crate::net::{Kind, Socket};

/// For this long after the end of a node, libzmq still sends the node's published messages to live peers. An application
/// can set another time with zsys_set_linger. CZMQ's default, 0, would drop these messages at once. So this library takes
/// 0 as 3 s.
const LINGER_MS: i32 = 3_000;

/// Creates the socket on which a node publishes. It is not bound yet.
pub(super) fn publisher(config: &Config) -> Result<Socket> {
    let mut publisher = Socket::new(config.publisher)?;
    publisher.limit_untrusted_subscribers()?;
    // When so many messages wait for a peer, libzmq drops further ones. The peer fetches the records later.
    publisher.zmq().set_sndhwm(config.send_high_watermark)?;
    if let Some(limit) = config.unsent {
        publisher.limit_unsent(limit);
    }
    if publisher.zmq().get_linger()? == 0 {
        publisher.zmq().set_linger(LINGER_MS)?;
    }
    if config.publisher == Kind::XPUB {
        // Without this option, libzmq reports only the first subscription to a topic, but the node must see the
        // subscription of each peer. The node also counts the bytes of the subscriptions that it has read. It could not
        // count unreported subscriptions. A peer that often changes its subscriptions would then seem to have much
        // unread data, and its connection would be ended.
        publisher.report_every_subscription()?;
    }
    publisher.enable_keepalive()?;
    Ok(publisher)
}

/// Creates the socket on which a node receives. It is not connected yet.
pub(super) fn subscriber(config: &Config) -> Result<Socket> {
    let subscriber = Socket::new(Kind::SUB)?;
    // When a node ends, libzmq does not wait until dead peers have received the node's subscriptions. This holds for
    // every linger time that the application may have set.
    subscriber.zmq().set_linger(0)?;
    subscriber.limit_untrusted_peers(config.max_frame_len_bytes)?;
    subscriber.enable_connect_backoff()?;
    // No limit on the subscriptions that wait to be sent: libzmq would drop a subscription that exceeds a limit, and
    // would never send it.
    subscriber.zmq().set_sndhwm(0)?;
    subscriber.enable_keepalive()?;
    subscriber.enable_user_timeout()?;
    for subscription in config.subscriptions {
        subscriber.zmq().set_subscribe(subscription)?;
    }
    Ok(subscriber)
}
