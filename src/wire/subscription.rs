//! Decodes the subscriptions of peers, and encodes the subscriptions of this node.

/// A subscription or its end, as received from an XPUB socket.
///
/// Nodes use subscriptions to detect new peers: for example, a consumer that has just connected subscribes to
/// STORE-HELLO with its own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// True for a subscription, false for the end of one.
    pub subscribe: bool,
    /// The message: an [`id`](super::id), or any other octet.
    pub id: u8,
    /// The topic, or the beginning of topics. It is not checked: a peer may subscribe to anything, so this topic can be
    /// longer than a name and contain NULs.
    pub topic: &'a [u8],
    /// A NUL follows the topic, see [`exact_prefix`]. Nodes of libdafka 0.1.0 do not subscribe in this way.
    pub is_exact: bool,
}

impl<'a> Subscription<'a> {
    /// Decodes a frame from an XPUB socket. `None` when it is not a subscription to a message: it has fewer than two
    /// octets, or its first octet is neither 1 (subscribe) nor 0 (end of the subscription).
    ///
    /// One NUL at the end of the topic is removed: it comes from [`exact_prefix`].
    pub fn decode(frame: &'a [u8]) -> Option<Self> {
        let (subscribe, id, topic) = match frame {
            [0, id, topic @ ..] => (false, *id, topic),
            [1, id, topic @ ..] => (true, *id, topic),
            _ => return None,
        };
        let exact = topic.strip_suffix(b"\0");
        Some(Self { subscribe, id, topic: exact.unwrap_or(topic), is_exact: exact.is_some() })
    }
}

/// The subscription to a message with all topics that begin with `topic`.
///
/// Nodes also use it for messages to their own address: peers of libdafka 0.1.0 read the address from the subscription,
/// and would treat a NUL as a part of it.
pub fn prefix(id: u8, topic: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(topic.len() + 2);
    octets.push(id);
    octets.extend_from_slice(topic);
    octets
}

/// The subscription to a message with exactly this topic. ZeroMQ matches prefixes. The NUL that ends the topic in the
/// first frame excludes `hello2` from a subscription to `hello`.
pub fn exact_prefix(id: u8, topic: &[u8]) -> Vec<u8> {
    let mut octets = prefix(id, topic);
    octets.push(0);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::id;

    #[test]
    fn subscriptions_are_decoded() {
        let hello =
            |is_exact| Some(Subscription { subscribe: true, id: id::RECORD, topic: b"hello", is_exact });
        assert_eq!(Subscription::decode(b"\x01Mhello"), hello(false));
        assert_eq!(Subscription::decode(b"\x01Mhello\0"), hello(true));
        let end =
            Some(Subscription { subscribe: false, id: id::STORE_HELLO, topic: b"ABCD", is_exact: false });
        assert_eq!(Subscription::decode(b"\0LABCD"), end);
        // A subscription to every RECORD, as a store has it.
        let all = |is_exact| Some(Subscription { subscribe: true, id: id::RECORD, topic: b"", is_exact });
        assert_eq!(Subscription::decode(b"\x01M"), all(false));
        assert_eq!(Subscription::decode(b"\x01M\0"), all(true));
    }

    #[test]
    fn only_one_nul_is_removed() {
        assert_eq!(Subscription::decode(b"\x01Ma\0\0").map(|it| it.topic), Some(&b"a\0"[..]));
        assert_eq!(Subscription::decode(b"\x01Ma\0b").map(|it| it.topic), Some(&b"a\0b"[..]));
        // A NUL may also be the id.
        assert_eq!(
            Subscription::decode(b"\x01\0"),
            Some(Subscription { subscribe: true, id: 0, topic: b"", is_exact: false })
        );
    }

    #[test]
    fn other_frames_are_refused() {
        for frame in [&b""[..], b"\0", b"\x01", b"\x02Mhello", b"Mhello", b"\xFFM"] {
            assert_eq!(Subscription::decode(frame), None, "{}", frame.escape_ascii());
        }
    }

    #[test]
    fn subscriptions_are_encoded() {
        assert_eq!(prefix(id::FETCH, b"ABCD"), b"FABCD");
        assert_eq!(prefix(id::RECORD, b""), b"M");
        assert_eq!(exact_prefix(id::RECORD, b"hello"), b"Mhello\0");
        assert_eq!(exact_prefix(id::GET_HEADS, b""), b"G\0");
    }
}
