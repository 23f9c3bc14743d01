//! How many files, and so connections and sockets, this process may have open.

use crate::czmq;
use std::os::unix::net::UnixDatagram;

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

/// After a socket could not be made (EMFILE): which limit the process has reached, and how to raise it.
pub fn reached_limit() -> String {
    // libzmq has one error for both. It makes at least one file for each socket.
    match UnixDatagram::unbound().err().and_then(|error| error.raw_os_error()) {
        Some(libc::EMFILE) => {
            format!(
                "the process has all {} files open that it may have (RLIMIT_NOFILE: ulimit -n)",
                max_open_files()
            )
        }
        Some(libc::ENFILE) => "the system has all files open that it may have (fs.file-max)".into(),
        _ => format!(
            "all {} ZeroMQ sockets that the process may have are in use (ZMQ_MAX_SOCKETS: call zsys_set_max_sockets \
             before the first socket is made, or set ZSYS_MAX_SOCKETS in the environment)",
            czmq::max_sockets()
        ),
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
