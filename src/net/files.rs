//! How many files, and so connections, this process may have open.

/// How many it may have open now.
pub fn max_open_files() -> usize {
    let limit = read().map_or(1_024, |limit| limit.rlim_cur);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Lets this process have as many files open as the system allows it: each peer takes two. A decision for a process of
/// its own, not for the library: it breaks applications that use select().
pub fn allow_more_open_files() {
    let Some(limit) = read().filter(|limit| limit.rlim_cur < limit.rlim_max) else { return };
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: the structure is initialized, and only read. Where the system refuses, the limit stays.
    unsafe {
        libc::setrlimit(libc::RLIMIT_NOFILE, &raised);
    }
}

fn read() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is writable.
    (unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_can_be_raised_to_what_the_system_allows() {
        let allowed = read().unwrap().rlim_max;
        allow_more_open_files();
        assert_eq!(max_open_files() as u64, allowed.min(usize::MAX as u64));
    }
}
