//! Names of nodes.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

/// A fresh node name: a UUID as 32 upper-case hexadecimal digits.
///
/// Random octets of the system alone are not enough: clones of a virtual machine may get the same ones. What tells two
/// machines, processes and moments apart is mixed in.
pub fn new_address() -> String {
    let mut octets = *uuid::Uuid::new_v4().as_bytes();
    for (octet, mixed) in octets.iter_mut().zip(extra_entropy()) {
        *octet ^= mixed;
    }
    let mut buffer = uuid::Uuid::encode_buffer();
    uuid::Builder::from_random_bytes(octets).into_uuid().simple().encode_upper(&mut buffer).to_owned()
}

/// 128 bits that depend on everything that may differ between two nodes.
fn extra_entropy() -> [u8; 16] {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut mixture = [0; 16];
    for (half, chunk) in mixture.chunks_exact_mut(8).enumerate() {
        // Random keys, from where the UUID has its octets.
        let mut hasher = RandomState::new().build_hasher();
        (half, count, machine(), std::process::id(), std::thread::current().id()).hash(&mut hasher);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (time, Instant::now()).hash(&mut hasher);
        // Where the stack is differs from process to process.
        (&raw const count as usize).hash(&mut hasher);
        chunk.copy_from_slice(&hasher.finish().to_ne_bytes());
    }
    mixture
}

/// Which machine this is, and which of its starts: its name, `/etc/machine-id` and the boot ID, as far as there are any.
fn machine() -> &'static [Vec<u8>] {
    static MACHINE: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let files = ["/proc/sys/kernel/hostname", "/etc/machine-id", "/proc/sys/kernel/random/boot_id"];
        files.iter().filter_map(|file| std::fs::read(file).ok()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn addresses_are_uuids_of_version_4() {
        let addresses: HashSet<String> = (0..1_000).map(|_| new_address()).collect();
        assert_eq!(addresses.len(), 1_000);
        for address in addresses {
            assert!(address.len() == 32 && address.bytes().all(|octet| b"0123456789ABCDEF".contains(&octet)));
            let uuid = uuid::Uuid::parse_str(&address).unwrap();
            assert_eq!((uuid.get_version_num(), uuid.get_variant()), (4, uuid::Variant::RFC4122));
        }
    }

    #[test]
    fn extra_entropy_differs_in_each_call() {
        let mixtures: HashSet<[u8; 16]> = (0..1_000).map(|_| extra_entropy()).collect();
        assert_eq!(mixtures.len(), 1_000);
    }
}
