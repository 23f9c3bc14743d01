//! Octets that are wrong in ways that repeat from run to run.

use std::path::Path;

/// xorshift64: cheap, and the same everywhere.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn octets(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// A message made wrong, or perhaps not: one to three things are done to it. The first `keep` octets of the first frame
/// mostly stay, so that subscriptions let it through.
pub(crate) fn mutate(rng: &mut Rng, frames: &[Vec<u8>], keep: usize) -> Vec<Vec<u8>> {
    let mut frames = frames.to_vec();
    for _ in 0..1 + rng.below(3) {
        let keep = if rng.below(10) == 0 { 0 } else { keep };
        let (count, which) = (frames.len(), rng.below(16));
        let frame = &mut frames[0];
        let at = keep.min(frame.len()) + rng.below(frame.len().saturating_sub(keep) + 1);
        match which {
            0 | 1 => frame.truncate(at),
            2 | 3 if at < frame.len() => frame[at] ^= 1 << rng.below(8),
            // A length, perhaps: one that runs past the end, or the greatest.
            4 if at < frame.len() => frame[at] = 255,
            5 if at < frame.len() => frame[at] = 0,
            6 => {
                let some = rng.below(20);
                let octets = rng.octets(some);
                frame.splice(at..at, octets);
            }
            // The numbers at the end: 2^32-1, 2^64-1, and others.
            7 | 8 => {
                let len = frame.len();
                let from = len.saturating_sub([4, 8, 12][rng.below(3)]).max(keep.min(len));
                frame[from..].fill(0xff);
            }
            9 => frame.extend(rng.octets(300)),
            // Names that are no UTF-8.
            10 => {
                let len = frame.len();
                frame[at.min(len)..].iter_mut().take(8).for_each(|octet| *octet |= 0x80);
            }
            11 => frames.push(Vec::new()),
            12 => {
                let len = [1, 100, 5_000, 70_000][rng.below(4)];
                frames.push(rng.octets(len));
            }
            13 if count > 1 => drop(frames.pop()),
            14 => frames.extend(std::iter::repeat_n(b"more".to_vec(), rng.below(40))),
            15 if keep > 0 && keep < frame.len() => frame[keep] = rng.next() as u8,
            _ => {}
        }
    }
    frames
}

/// The seeds of the fuzz tests: frames, each message a list of them.
pub(crate) fn corpus(kind: &str) -> Vec<Vec<Vec<u8>>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(kind);
    let files = std::fs::read_dir(dir).expect("the corpus").map(|entry| entry.expect("a file").path());
    let contents = files.map(|path| std::fs::read(path).expect("a file"));
    let seeds: Vec<_> = contents
        .map(|octets| match kind {
            "beacon" => octets.split(|&octet| octet == b'\n').map(<[u8]>::to_vec).collect(),
            _ => vec![octets],
        })
        .collect();
    assert!(seeds.len() > 20, "the corpus is not found");
    seeds
}
