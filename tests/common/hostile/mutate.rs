//! Malformed messages. The same seed makes the same messages.

use fastrand::Rng;
use std::path::Path;

/// Random bytes.
pub(crate) fn octets(rng: &mut Rng, len: usize) -> Vec<u8> {
    std::iter::repeat_with(|| rng.u8(..)).take(len).collect()
}

/// Applies one to three mutations to a message. The mutated message may still be valid. The first `keep` bytes of the
/// first frame mostly stay, so that the message matches subscriptions.
pub(crate) fn mutate(rng: &mut Rng, frames: &[Vec<u8>], keep: usize) -> Vec<Vec<u8>> {
    let mut frames = frames.to_vec();
    for _ in 0..1 + rng.usize(..3) {
        let keep = if rng.usize(..10) == 0 { 0 } else { keep };
        let (count, which) = (frames.len(), rng.usize(..16));
        let frame = &mut frames[0];
        let at = keep.min(frame.len()) + rng.usize(..(frame.len().saturating_sub(keep) + 1));
        match which {
            0 | 1 => frame.truncate(at),
            2 | 3 if at < frame.len() => frame[at] ^= 1 << rng.usize(..8),
            // The octet may be a length. With this value, the length is too large, or the largest possible one.
            4 if at < frame.len() => frame[at] = 255,
            5 if at < frame.len() => frame[at] = 0,
            6 => {
                let some = rng.usize(..20);
                frame.splice(at..at, octets(rng, some));
            }
            // The numbers at the end of the frame become 2^32-1, 2^64-1, and others.
            7 | 8 => {
                let len = frame.len();
                let from = len.saturating_sub([4, 8, 12][rng.usize(..3)]).max(keep.min(len));
                frame[from..].fill(0xff);
            }
            9 => frame.extend(octets(rng, 300)),
            // Names that are not UTF-8.
            10 => {
                let len = frame.len();
                frame[at.min(len)..].iter_mut().take(8).for_each(|octet| *octet |= 0x80);
            }
            11 => frames.push(Vec::new()),
            12 => {
                let len = [1, 100, 5_000, 70_000][rng.usize(..4)];
                frames.push(octets(rng, len));
            }
            13 if count > 1 => drop(frames.pop()),
            14 => frames.extend(std::iter::repeat_n(b"more".to_vec(), rng.usize(..40))),
            15 if keep > 0 && keep < frame.len() => frame[keep] = rng.u64(..) as u8,
            _ => {}
        }
    }
    frames
}

/// The corpus of a fuzz target: messages, each a list of frames.
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
