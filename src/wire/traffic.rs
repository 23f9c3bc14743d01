//! The messages that a node exchanges with other nodes. A node names them in its beacons, so that nodes that exchange
//! nothing do not connect to each other.

/// The octet between the ids of sent messages and the ids of received messages.
const SEPARATOR: u8 = b'/';
/// The length of a frame with all ids.
const MAX_LEN: usize = 2 * 52 + 1;

/// The ids of the messages that a node sends, and of the messages that it receives.
///
/// In a beacon, this is a frame of text such as `DEHM/FGK`: the ids of sent messages, a slash, and the ids of received
/// messages. The ids are letters in ascending order, each at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    sends: Ids,
    receives: Ids,
}

impl Traffic {
    /// The traffic of a node that sends and receives messages with these ids, which are letters.
    pub const fn new(sends: &[u8], receives: &[u8]) -> Traffic {
        Traffic { sends: Ids::of(sends), receives: Ids::of(receives) }
    }

    /// The messages of both.
    pub const fn and(self, other: Traffic) -> Traffic {
        Traffic {
            sends: Ids(self.sends.0 | other.sends.0),
            receives: Ids(self.receives.0 | other.receives.0),
        }
    }

    /// Decodes a frame. `None` when it has another form.
    pub fn decode(frame: &[u8]) -> Option<Traffic> {
        if frame.len() > MAX_LEN {
            return None;
        }
        let at = frame.iter().position(|&octet| octet == SEPARATOR)?;
        let (sends, receives) = (Ids::decode(&frame[..at])?, Ids::decode(&frame[at + 1..])?);
        Some(Traffic { sends, receives })
    }

    /// The frame.
    pub fn encode(self) -> Vec<u8> {
        self.sends.iter().chain([SEPARATOR]).chain(self.receives.iter()).collect()
    }

    /// Whether one of two nodes receives messages that the other one sends. In this case, each node connects to the
    /// other, even if messages go in one direction only. If the sending node ignored the beacon of a new receiving
    /// node, it would not respond with its own beacon.
    pub fn is_exchanged_with(self, other: Traffic) -> bool {
        self.receives.0 & other.sends.0 != 0 || self.sends.0 & other.receives.0 != 0
    }
}

/// A set of letters. The number of a letter's bit is the letter's octet minus 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ids(u64);

impl Ids {
    const fn of(letters: &[u8]) -> Ids {
        let (mut bits, mut i) = (0, 0);
        while i < letters.len() {
            bits |= 1 << (letters[i] & 63);
            i += 1;
        }
        Ids(bits)
    }

    fn decode(letters: &[u8]) -> Option<Ids> {
        let is_valid = letters.iter().all(u8::is_ascii_alphabetic) && letters.is_sorted_by(|a, b| a < b);
        is_valid.then(|| Ids::of(letters))
    }

    fn iter(self) -> impl Iterator<Item = u8> {
        (64..128).filter(move |octet| self.0 & 1 << (octet & 63) != 0)
    }
}
