//! Creates the two sockets of a node.

use super::Config;
use crate::actor::Result;
use crate::net::{Kind, Socket};

/// After a node ends, libzmq sends published records to live peers for this long. An application can set another time
/// with zsys_set_linger.
const LINGER_MS: i32 = 3_000;

/// Creates the socket on which a node publishes. It is not bound yet.
pub(super) fn publisher(config: &Config) -> Result<Socket> {
    let publisher = Socket::new(config.publisher)?;
    publisher.limit_untrusted_subscribers()?;
    publisher.zmq().set_sndhwm(config.send_high_watermark)?;
    if publisher.zmq().get_linger()? == 0 {
        publisher.zmq().set_linger(LINGER_MS)?;
    }
    if config.publisher == Kind::XPUB {
        // Without this option, libzmq reports only the first subscription to a topic. The node must see each peer's
        // subscription. The node also counts the bytes of each subscription as read. Otherwise a peer that changes its
        // subscriptions often would seem to have much unread data, and would be disconnected.
        publisher.report_every_subscription()?;
    }
    publisher.enable_keepalive()?;
    Ok(publisher)
}

/// Creates the socket on which a node receives. It is not connected yet.
pub(super) fn subscriber(config: &Config) -> Result<Socket> {
    let subscriber = Socket::new(Kind::SUB)?;
    // A node that ends does not wait until dead peers have received its subscriptions, whatever linger time the
    // application has set.
    subscriber.zmq().set_linger(0)?;
    subscriber.limit_untrusted_peers(config.max_frame_len_bytes)?;
    subscriber.enable_connect_backoff()?;
    // There is no limit, because libzmq would drop a subscription that exceeds it, and never send it.
    subscriber.zmq().set_sndhwm(0)?;
    subscriber.enable_keepalive()?;
    subscriber.enable_user_timeout()?;
    for subscription in config.subscriptions {
        subscriber.zmq().set_subscribe(subscription)?;
    }
    Ok(subscriber)
}
