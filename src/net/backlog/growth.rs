//! Finds messages of very many short frames while they arrive.
//!
//! libzmq hands a message over when its last frame is there. Until then, the octets of a connection may be one long frame,
//! which occupies its length, or any number of short ones, which occupy up to 32 times theirs. Nothing tells which, except
//! how much the process grows meanwhile. The application's own memory grows too, so this is the last resort: it counts
//! only while many octets are unknown, and only growth of many looks. A connection that is ended by mistake is made again,
//! and its record is requested again.

use super::INTERVAL;
use std::time::Instant;

/// What the process has in memory of its own, in bytes: a database that is mapped does not count.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut counts = text.split(' ').skip(1).map_while(|count| count.parse::<u64>().ok());
    let (resident, shared) = (counts.next()?, counts.next()?);
    let pages = resident.saturating_sub(shared);
    pages.checked_mul(rustix::param::page_size() as u64)
}

/// How the process grows while many octets of unknown frames are held.
#[derive(Default)]
pub(super) struct Growth {
    start: Option<Start>,
    /// When the process was measured.
    measured: Option<Instant>,
}

/// What the process had in memory, how many unknown octets were held, and how many octets of long frames the nodes had
/// taken by then.
#[derive(Clone, Copy)]
struct Sizes {
    resident_bytes: u64,
    unknown_bytes: u64,
    taken_long_bytes: u64,
}

struct Start {
    then: Sizes,
    latest: Sizes,
    /// Looks at which the process had grown by much more than what had come.
    excessive_scans: u32,
}

impl Growth {
    /// So many unknown octets are always allowed.
    const MUCH_BYTES: u64 = 4 << 20;
    /// What each further octet may take, and what the process may grow beside that.
    const FACTOR: u64 = 2;
    const SLACK_BYTES: u64 = 256 << 20;
    /// What the application may keep of records that nodes have taken meanwhile.
    const MAX_TAKEN_BYTES: u64 = 1 << 30;
    /// An application may allocate any amount within a moment.
    const MIN_SCANS: u32 = 10;

    /// Takes how many unknown octets are held, and how many octets of long frames the nodes have taken since any time: the
    /// application may keep those. True when the unknown octets occupy much more than their length.
    pub(super) fn is_excessive(&mut self, unknown_bytes: u64, taken_long_bytes: u64) -> bool {
        if unknown_bytes < Self::MUCH_BYTES {
            self.start = None;
            return false;
        }
        if self.measured.is_some_and(|measured| measured.elapsed() < INTERVAL) {
            return false;
        }
        self.measured = Some(Instant::now());
        let now = |resident_bytes| Sizes { resident_bytes, unknown_bytes, taken_long_bytes };
        resident_bytes().is_some_and(|resident_bytes| self.grows(now(resident_bytes)))
    }

    fn grows(&mut self, now: Sizes) -> bool {
        let start = self.start.get_or_insert(Start { then: now, latest: now, excessive_scans: 0 });
        start.excessive_scans += u32::from(excess_bytes(start.latest, now) > 0);
        start.latest = now;
        let is_excessive =
            start.excessive_scans >= Self::MIN_SCANS && excess_bytes(start.then, now) > Self::SLACK_BYTES;
        if is_excessive {
            self.start = None;
        }
        is_excessive
    }
}

/// How much more the process has grown than the octets explain that have come meanwhile. Those of a message that was
/// complete are no longer unknown: its node has taken them. Of these, only long frames count: the traffic of short ones,
/// which nodes take and forget, would excuse anything.
fn excess_bytes(then: Sizes, now: Sizes) -> u64 {
    let taken_bytes = now.taken_long_bytes.saturating_sub(then.taken_long_bytes).min(Growth::MAX_TAKEN_BYTES);
    let came_bytes = now.unknown_bytes.saturating_add(taken_bytes).saturating_sub(then.unknown_bytes);
    let explained_bytes = came_bytes.saturating_mul(Growth::FACTOR);
    now.resident_bytes.saturating_sub(then.resident_bytes).saturating_sub(explained_bytes)
}

#[cfg(test)]
mod tests {
    use super::super::Taken;
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Looks at a process that grows from look to look, by `resident_mib` and `unknown_mib`. Whether that is excessive.
    fn look(growth: &mut Growth, looks: u64, resident_mib: u64, unknown_mib: u64) -> bool {
        (0..=looks).any(|look| {
            growth.grows(Sizes {
                resident_bytes: (50 + look * resident_mib) * MIB,
                unknown_bytes: 10 * MIB + look * unknown_mib * MIB,
                taken_long_bytes: 0,
            })
        })
    }

    /// The application keeps records of 20 MiB, one after the other, while another one arrives.
    #[test]
    fn records_that_were_taken_are_not_excessive() {
        let mut growth = Growth::default();
        for record in 0..50 {
            let resident_bytes = (50 + 20 * record) * MIB;
            let (unknown_bytes, taken_long_bytes) = (10 * MIB, 20 * record * MIB);
            assert!(
                !growth.grows(Sizes { resident_bytes, unknown_bytes, taken_long_bytes }),
                "after {record} records"
            );
        }
        // However much is taken meanwhile, it does not excuse short frames for ever.
        let is_excessive = (0..100).any(|look| {
            let (resident_bytes, unknown_bytes) = ((1_050 + 32 * look) * MIB, (10 + look) * MIB);
            growth.grows(Sizes { resident_bytes, unknown_bytes, taken_long_bytes: (1_000 + 14 * look) * MIB })
        });
        assert!(is_excessive);
        // Of short records, nothing is excused.
        let short = Taken { len_bytes: 100 * MIB, frames: MIB };
        let long = Taken { len_bytes: 20 * MIB, frames: 2 };
        assert_eq!([short.long_bytes(), long.long_bytes()], [0, 20 * MIB]);
    }

    #[test]
    fn short_frames_are_excessive_and_long_ones_are_not() {
        assert!(!look(&mut Growth::default(), 500, 2, 2), "a long record");
        assert!(look(&mut Growth::default(), 20, 32, 1), "frames of two octets");
        let mut growth = Growth::default();
        assert!(!growth.is_excessive(Growth::MUCH_BYTES - 1, 0) && growth.start.is_none());
    }

    #[test]
    fn what_the_application_allocates_at_once_is_not_excessive() {
        let mut growth = Growth::default();
        assert!(!look(&mut growth, 5, 0, 1));
        assert!(!look(&mut growth, 5, 400, 1));
        let latest = growth.start.as_ref().unwrap().latest;
        for look in 0..500 {
            let unknown_bytes = latest.unknown_bytes + look * MIB;
            let resident_bytes = latest.resident_bytes + look * MIB;
            assert!(!growth.grows(Sizes { resident_bytes, unknown_bytes, ..latest }));
        }
    }
}
