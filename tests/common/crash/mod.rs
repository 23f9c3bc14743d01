//! What the crash tests share: seeds, producers that note what was acknowledged, and a consumer that checks it.

mod image;
mod load;
mod served;
mod tmpfs;

pub(crate) use image::{Fault, PowerCut};
pub(crate) use load::{Load, Partition, content};
pub(crate) use served::{check_log, check_served, served};
pub(crate) use tmpfs::Tmpfs;

/// Numbers that look random and are the same for the same seed (the generator is SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The seed of this run: `DAFKA_SEED`, or one that nobody has had yet; it is printed.
pub(crate) fn seed(test: &str) -> u64 {
    let given = std::env::var("DAFKA_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        Random::new(now.as_nanos() as u64).below(1 << 32)
    });
    println!("{test}: DAFKA_SEED={seed}");
    seed
}

/// How many rounds: `DAFKA_KILL_ROUNDS`, or so many.
pub(crate) fn rounds(default: u64) -> u64 {
    std::env::var("DAFKA_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(default)
}
