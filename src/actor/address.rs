//! Names of nodes.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

/// Creates a node name: a UUID as 32 upper-case hexadecimal digits.
///
/// The system's random bytes alone are not enough, because clones of a virtual machine may get the same bytes. So this
/// function mixes in data that differs between machines, processes and calls.
pub fn new_address() -> String {
    let mut bytes = *uuid::Uuid::new_v4().as_bytes();
    for (byte, mixed) in bytes.iter_mut().zip(extra_entropy()) {
        *byte ^= mixed;
    }
    let mut buffer = uuid::Uuid::encode_buffer();
    uuid::Builder::from_random_bytes(bytes).into_uuid().simple().encode_upper(&mut buffer).to_owned()
}

/// 128 bits that depend on the machine, the process, the thread, the call and the time.
fn extra_entropy() -> [u8; 16] {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut mixture = [0; 16];
    for (half, chunk) in mixture.chunks_exact_mut(8).enumerate() {
        // This hasher has random keys from the system.
        let mut hasher = RandomState::new().build_hasher();
        (half, count, machine(), std::process::id(), std::thread::current().id()).hash(&mut hasher);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (time, Instant::now()).hash(&mut hasher);
        // The memory address of the stack differs between processes.
        (&raw const count as usize).hash(&mut hasher);
        chunk.copy_from_slice(&hasher.finish().to_ne_bytes());
    }
    mixture
}

/// Identifies the machine and its boot: the host name, `/etc/machine-id` and the boot ID. Files that cannot be read are
/// left out.
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
            assert!(address.len() == 32 && address.bytes().all(|byte| b"0123456789ABCDEF".contains(&byte)));
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
