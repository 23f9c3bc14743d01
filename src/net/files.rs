//! The limit of open files, and so of connections and sockets, of this process.

use crate::czmq;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::os::unix::net::UnixDatagram;

/// How many files this process may have open now.
pub fn max_open_files() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// Raises the limit of open files as far as the system allows. Each peer needs two files. Only for our own programs:
/// the library must not do this, because it breaks applications that use select().
pub fn allow_more_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // If the system refuses, the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Call this after libzmq has refused to make a socket (EMFILE). Returns which limit is reached, and how to raise it.
pub fn reached_limit() -> String {
    // libzmq reports the same error for all these limits. To distinguish them, open one more file: libzmq needs at
    // least one for each socket.
    let error = UnixDatagram::unbound().err().and_then(|error| Errno::from_io_error(&error));
    match error {
        Some(Errno::MFILE) => {
            format!(
                "the process has reached its limit of {} open files (RLIMIT_NOFILE: ulimit -n)",
                max_open_files()
            )
        }
        Some(Errno::NFILE) => "the system has reached its limit of open files (fs.file-max)".into(),
        _ => format!(
            "all {} ZeroMQ sockets that the process may have are in use (ZMQ_MAX_SOCKETS: call zsys_set_max_sockets \
             before the first socket is made, or set ZSYS_MAX_SOCKETS in the environment)",
            czmq::max_sockets()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_can_be_raised_to_what_the_system_allows() {
        let allowed = getrlimit(Resource::Nofile).maximum;
        allow_more_open_files();
        assert_eq!(max_open_files() as u64, allowed.unwrap_or(u64::MAX));
    }
}
