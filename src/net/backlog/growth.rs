//! Detects messages of very many short frames while they arrive.
//!
//! libzmq delivers a message when its last frame has arrived. Until then, the frames in the data of a connection are
//! unknown. One long frame occupies as much memory as its length. Many short frames occupy up to 32 times their length.
//! To tell these cases apart, this module measures how much the memory of the process grows while the data arrives. The
//! application's own memory grows too, so this measurement is the last resort. Growth counts only while much data is in
//! unknown frames, and only if it continues over many scans. If a connection is ended by mistake, it is made again, and
//! the record that was arriving is fetched again.

use super::INTERVAL;
use std::time::Instant;

/// The private memory of the process, in bytes. A mapped database does not count.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut counts = text.split(' ').skip(1).map_while(|count| count.parse::<u64>().ok());
    let (resident, shared) = (counts.next()?, counts.next()?);
    let pages = resident.saturating_sub(shared);
    pages.checked_mul(rustix::param::page_size() as u64)
}

/// How the process grows while much data is in unknown frames.
#[derive(Default)]
pub(super) struct Growth {
    start: Option<Start>,
    /// When the memory of the process was last measured.
    measured: Option<Instant>,
}

/// Three sizes at one time: the private memory of the process, the length of unknown frames, and the length of all long
/// frames that the nodes have read so far.
#[derive(Clone, Copy)]
struct Sizes {
    resident_bytes: u64,
    unknown_bytes: u64,
    taken_long_bytes: u64,
}

struct Start {
    then: Sizes,
    latest: Sizes,
    /// How many times the process has grown, from one scan to the next, by more than [`Growth::FACTOR`] bytes for each
    /// received byte.
    excessive_scans: u32,
}

impl Growth {
    /// This much data in unknown frames is always allowed.
    const MUCH_BYTES: u64 = 4 << 20;
    /// Each further byte may occupy this many bytes of memory.
    const FACTOR: u64 = 2;
    /// This much growth is allowed in addition.
    const SLACK_BYTES: u64 = 256 << 20;
    /// The application may keep up to this much of the records that nodes have read since the start of the measurement.
    const MAX_TAKEN_BYTES: u64 = 1 << 30;
    /// Growth counts only if at least this many scans have found it, because an application may allocate any amount of
    /// memory at one time.
    const MIN_SCANS: u32 = 10;

    /// Call this at each scan. `unknown_bytes`: the length of unknown frames. `taken_long_bytes`: the length of all
    /// long frames that the nodes have read; the application may keep these. True when the unknown frames occupy much
    /// more than their length.
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

/// How much the process has grown beyond [`Growth::FACTOR`] bytes for each received byte. The bytes of unknown frames
/// count as received. When a message is complete, its node reads the message, and its frames are no longer unknown.
/// After that, only long frames still count. If short frames counted, a peer could excuse any growth: it could send
/// many short frames, which nodes read and drop.
fn excess_bytes(then: Sizes, now: Sizes) -> u64 {
    let taken_bytes = now.taken_long_bytes.saturating_sub(then.taken_long_bytes).min(Growth::MAX_TAKEN_BYTES);
    let new_bytes = now.unknown_bytes.saturating_add(taken_bytes).saturating_sub(then.unknown_bytes);
    let explained_bytes = new_bytes.saturating_mul(Growth::FACTOR);
    now.resident_bytes.saturating_sub(then.resident_bytes).saturating_sub(explained_bytes)
}

#[cfg(test)]
mod tests {
    use super::super::Taken;
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Scans a process that grows by `resident_mib` and `unknown_mib` per scan. Returns whether this growth is
    /// excessive.
    fn scan(growth: &mut Growth, scans: u64, resident_mib: u64, unknown_mib: u64) -> bool {
        (0..=scans).any(|scan| {
            growth.grows(Sizes {
                resident_bytes: (50 + scan * resident_mib) * MIB,
                unknown_bytes: 10 * MIB + scan * unknown_mib * MIB,
                taken_long_bytes: 0,
            })
        })
    }

    /// The application keeps more and more records of 20 MiB, while another record arrives.
    #[test]
    fn records_that_the_application_keeps_are_not_excessive() {
        let mut growth = Growth::default();
        for record in 0..50 {
            let resident_bytes = (50 + 20 * record) * MIB;
            let (unknown_bytes, taken_long_bytes) = (10 * MIB, 20 * record * MIB);
            assert!(
                !growth.grows(Sizes { resident_bytes, unknown_bytes, taken_long_bytes }),
                "after {record} records"
            );
        }
        // Long records do not excuse the growth by short frames for ever.
        let is_excessive = (0..100).any(|scan| {
            let (resident_bytes, unknown_bytes) = ((1_050 + 32 * scan) * MIB, (10 + scan) * MIB);
            growth.grows(Sizes { resident_bytes, unknown_bytes, taken_long_bytes: (1_000 + 14 * scan) * MIB })
        });
        assert!(is_excessive);
        // Short records excuse nothing.
        let short = Taken { len_bytes: 100 * MIB, frames: MIB };
        let long = Taken { len_bytes: 20 * MIB, frames: 2 };
        assert_eq!([short.long_bytes(), long.long_bytes()], [0, 20 * MIB]);
    }

    #[test]
    fn short_frames_are_excessive_and_long_ones_are_not() {
        assert!(!scan(&mut Growth::default(), 500, 2, 2), "a long record");
        assert!(scan(&mut Growth::default(), 20, 32, 1), "frames of two bytes");
        let mut growth = Growth::default();
        assert!(!growth.is_excessive(Growth::MUCH_BYTES - 1, 0) && growth.start.is_none());
    }

    #[test]
    fn one_large_allocation_of_the_application_is_not_excessive() {
        let mut growth = Growth::default();
        assert!(!scan(&mut growth, 5, 0, 1));
        assert!(!scan(&mut growth, 5, 400, 1));
        let latest = growth.start.as_ref().unwrap().latest;
        for scan in 0..500 {
            let unknown_bytes = latest.unknown_bytes + scan * MIB;
            let resident_bytes = latest.resident_bytes + scan * MIB;
            assert!(!growth.grows(Sizes { resident_bytes, unknown_bytes, ..latest }));
        }
    }
}
