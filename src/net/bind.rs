//! Binds an address that an operator has chosen. The errors explain what is wrong with the address.
//!
//! libzmq removes any file at the path of an `ipc://` address, even while another process listens there. So this module
//! makes the listening socket and passes it to libzmq (ZMQ_USE_FD). libzmq then leaves the file alone.

use super::endpoint::{name_and_port, with_address};
use super::resolver::look_up;
use super::socket::Socket;
use super::socket_file::SocketFile;
use crate::wire::Endpoint;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::time::{Duration, Instant};

/// Why an address cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// libzmq refused it.
    #[error("{0}")]
    Zmq(#[from] zmq::Error),
    /// The operating system refused it.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The path of an `ipc://` address is taken by a file that is not a socket.
    #[error("the path is taken by a file that is not a socket")]
    NoSocket,
    /// The host of a `tcp://` address is not known.
    #[error("the host {0} is unknown, and no network interface has this name")]
    UnknownHost(String),
    /// The address is an IPv6 address, and IPv6 is off.
    #[error("IPv6 is off: set ZSYS_IPV6=1")]
    NoIpv6,
}

/// The longest wait for another process that binds in the same directory.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
const LOCK_INTERVAL: Duration = Duration::from_millis(5);

impl Socket {
    /// Binds to an address that an operator has chosen. Returns the bound endpoint, with the actual port in place of
    /// `*` or 0. The host may be a name. The bind fails while another process listens at an `ipc://` address. A file
    /// that a dead process has left at the path is replaced.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind_chosen(&self, endpoint: &(impl AsRef<[u8]> + ?Sized)) -> Result<Vec<u8>, BindError> {
        let endpoint = endpoint.as_ref();
        match endpoint.strip_prefix(b"ipc://") {
            // For the path `*`, libzmq makes a new directory.
            Some(path) if !path.starts_with(b"*") => self.bind_path(endpoint, path)?,
            _ => match (self.bind(endpoint), str::from_utf8(endpoint)) {
                // In a bind, libzmq looks up the names of interfaces, but not of hosts.
                (Err(zmq::Error::ENODEV), Ok(text)) => self.bind_name(text)?,
                (result, _) => result?,
            },
        }
        Ok(self.last_endpoint()?)
    }

    fn bind_name(&self, endpoint: &str) -> Result<(), BindError> {
        let is_ipv6 = self.zmq().is_ipv6()?;
        if !is_ipv6 && Endpoint::parse(endpoint).is_some_and(|parts| parts.host.starts_with('[')) {
            return Err(BindError::NoIpv6);
        }
        let (host, port) = name_and_port(endpoint).ok_or(zmq::Error::ENODEV)?;
        let address = look_up(host, is_ipv6).ok_or_else(|| BindError::UnknownHost(host.into()))?;
        Ok(self.bind(&with_address(address, port))?)
    }

    fn bind_path(&self, endpoint: &[u8], path: &[u8]) -> Result<(), BindError> {
        let (listener, file) = listen(path)?;
        // libzmq accepts connections in the I/O thread, which serves all sockets and must not block.
        listener.set_nonblocking(true)?;
        self.use_listener(Some(listener.as_raw_fd()))?;
        let bound = self.bind(endpoint);
        self.use_listener(None)?;
        bound?;
        // libzmq owns the descriptor now, and closes it.
        let _ = listener.into_raw_fd();
        self.remove_when_closed(file);
        Ok(())
    }
}

/// Listens at a path, or at an abstract address `@NAME`.
fn listen(path: &[u8]) -> Result<(UnixListener, Option<SocketFile>), BindError> {
    if let Some(name) = path.strip_prefix(b"@") {
        let name = SocketAddr::from_abstract_name(name)?;
        return Ok((UnixListener::bind_addr(&name)?, None));
    }
    let path = Path::new(OsStr::from_bytes(path));
    // Two processes may find the file of a dead process at the same time. Without the lock, the second process could
    // remove the file that the first one has made in its place. A directory that cannot be read is not locked.
    let _locked = lock(path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")));
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if !is_abandoned(path)? {
                return Err(error.into());
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        result => result?,
    };
    Ok((listener, Some(SocketFile::at(path)?)))
}

/// Locks a directory until the result is dropped. `None` when it cannot be locked.
fn lock(dir: &Path) -> Option<File> {
    let dir = File::open(dir).ok()?;
    let start = Instant::now();
    loop {
        match dir.try_lock() {
            Ok(()) => return Some(dir),
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_TIMEOUT => {
                std::thread::sleep(LOCK_INTERVAL);
            }
            Err(_) => return None,
        }
    }
}

/// Whether no process listens at the socket at `path` any more.
fn is_abandoned(path: &Path) -> Result<bool, BindError> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(BindError::NoSocket);
    }
    match try_connect(path) {
        // EAGAIN: the listener's queue is full. EPROTOTYPE: it is a socket of another type.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Ok(false),
        Err(Errno::CONNREFUSED) => Ok(true),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// Connects and disconnects. Fails with EAGAIN instead of waiting while the listener's queue is full.
fn try_connect(path: &Path) -> rustix::io::Result<()> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &address)
}
