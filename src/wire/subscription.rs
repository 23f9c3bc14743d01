//! Subscriptions: what nodes ask for, and how they see what others ask for.

/// A subscription or its end, as an XPUB socket hands it to its owner.
///
/// The stores and consumers of libdafka learn from these who is there: a consumer that subscribes to
/// STORE-HELLO + its address has just connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// Whether this is a subscription; otherwise it is the end of one.
    pub subscribe: bool,
    /// The message that is subscribed to: an [`id`](super::id), or any other octet.
    pub id: u8,
    /// The topic, or the beginning of topics. Not checked: a peer may subscribe to whatever it likes, so this
    /// can be longer than a name and can hold a NUL.
    pub topic: &'a [u8],
    /// A NUL follows the topic, see [`exact_prefix`]. Nodes of libdafka 0.1.0 make no such subscriptions.
    pub is_exact: bool,
}

impl<'a> Subscription<'a> {
    /// Reads what an XPUB socket received. `None` when it is no subscription to a message: the frame is
    /// empty, or its first octet (1 to subscribe, 0 to end that) is another or stands alone.
    ///
    /// One NUL at the topic's end, which is how [`exact_prefix`] says "this topic and no longer one", is left
    /// out.
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

/// What to subscribe to for a message's topics that begin with `topic`.
///
/// Nodes subscribe so to messages to their own address: peers of libdafka 0.1.0 read the address off the
/// subscription, and would take a NUL for a part of it.
pub fn prefix(id: u8, topic: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(topic.len() + 2);
    octets.push(id);
    octets.extend_from_slice(topic);
    octets
}

/// What to subscribe to for a message's topic and no other: ZeroMQ matches prefixes, and the NUL that ends
/// the topic in the first frame keeps `hello2` out of a subscription to `hello`.
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
    fn reads_subscriptions() {
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
    fn strips_one_nul_only() {
        assert_eq!(Subscription::decode(b"\x01Ma\0\0").map(|it| it.topic), Some(&b"a\0"[..]));
        assert_eq!(Subscription::decode(b"\x01Ma\0b").map(|it| it.topic), Some(&b"a\0b"[..]));
        // The id is the id, also when it is the NUL.
        assert_eq!(
            Subscription::decode(b"\x01\0"),
            Some(Subscription { subscribe: true, id: 0, topic: b"", is_exact: false })
        );
    }

    #[test]
    fn refuses_what_is_none() {
        for frame in [&b""[..], b"\0", b"\x01", b"\x02Mhello", b"Mhello", b"\xFFM"] {
            assert_eq!(Subscription::decode(frame), None, "{}", frame.escape_ascii());
        }
    }

    #[test]
    fn prefixes() {
        assert_eq!(prefix(id::FETCH, b"ABCD"), b"FABCD");
        assert_eq!(prefix(id::RECORD, b""), b"M");
        assert_eq!(exact_prefix(id::RECORD, b"hello"), b"Mhello\0");
        assert_eq!(exact_prefix(id::GET_HEADS, b""), b"G\0");
    }
}
