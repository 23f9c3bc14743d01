//! Binds an address that an operator has chosen, and says what is wrong with it.
//!
//! libzmq removes whatever file stands at the path of an `ipc://` address, also when another process listens there. So
//! the listening socket is made here, and handed to libzmq (ZMQ_USE_FD), which then leaves the file alone.

use super::resolver::{address_of, endpoint_of, split};
use super::socket::{Socket, set_use_fd};
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
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
    /// The path of an `ipc://` address is taken by another kind of file.
    #[error("there is a file that is no socket")]
    NoSocket,
    /// The host of a `tcp://` address is not known.
    #[error("the host {0} is unknown, and no network interface has this name")]
    UnknownHost(String),
    /// The address is one of IPv6, which is off.
    #[error("IPv6 is off: set ZSYS_IPV6=1")]
    NoIpv6,
}

/// The file of a bound `ipc://` address, removed when dropped; unless another one is there by then.
pub(super) struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

/// How long another process may take to bind in the same directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_INTERVAL: Duration = Duration::from_millis(5);

impl Socket {
    /// Binds to an address that an operator has chosen, and returns the real one: with the port that it has got in
    /// place of `*` or 0. The host may be a name. An `ipc://` address where another process listens is in use; what a
    /// process that has died left there is replaced.
    ///
    /// # Errors
    /// See [`BindError`].
    pub fn bind_chosen(&self, endpoint: &(impl AsRef<[u8]> + ?Sized)) -> Result<Vec<u8>, BindError> {
        let endpoint = endpoint.as_ref();
        match endpoint.strip_prefix(b"ipc://") {
            // With a star libzmq makes a fresh directory.
            Some(path) if !path.starts_with(b"*") => self.bind_path(endpoint, path)?,
            _ => match (self.bind(endpoint), str::from_utf8(endpoint)) {
                // libzmq looks up the names of interfaces only.
                (Err(zmq::Error::ENODEV), Ok(text)) => self.bind_name(text)?,
                (result, _) => result?,
            },
        }
        Ok(self.last_endpoint()?)
    }

    fn bind_name(&self, endpoint: &str) -> Result<(), BindError> {
        if endpoint.starts_with("tcp://[") && !self.zmq().is_ipv6()? {
            return Err(BindError::NoIpv6);
        }
        let (host, port) = split(endpoint).ok_or(zmq::Error::ENODEV)?;
        let Some(address) = address_of(host, self.zmq().is_ipv6()?) else {
            return Err(BindError::UnknownHost(host.into()));
        };
        Ok(self.bind(&endpoint_of(address, port))?)
    }

    fn bind_path(&self, endpoint: &[u8], path: &[u8]) -> Result<(), BindError> {
        let (listener, file) = listen(path)?;
        // libzmq accepts in the thread that serves all sockets.
        listener.set_nonblocking(true)?;
        set_use_fd(self, listener.as_raw_fd())?;
        let bound = self.bind(endpoint);
        set_use_fd(self, -1)?;
        bound?;
        // It is libzmq's now, which closes it.
        let _ = listener.into_raw_fd();
        self.keep_file(file);
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
    // Two processes that take over what a third one left must not remove each other's. Where the directory cannot be
    // read, they might.
    let _locked = lock(path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")));
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if !is_left_behind(path)? {
                return Err(error.into());
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        result => result?,
    };
    let id = file_id(path)?;
    Ok((listener, Some(SocketFile { path: path.into(), id })))
}

/// Locks a directory until the result is dropped. `None` when that cannot be had.
fn lock(dir: &Path) -> Option<File> {
    let dir = File::open(dir).ok()?;
    let start = Instant::now();
    loop {
        match dir.try_lock() {
            Ok(()) => return Some(dir),
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_INTERVAL);
            }
            Err(_) => return None,
        }
    }
}

/// Whether nobody listens at the socket at `path` any more.
fn is_left_behind(path: &Path) -> Result<bool, BindError> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(BindError::NoSocket);
    }
    match try_connect(path) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(true),
        // Its queue is full; or it is a socket of another type.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EPROTOTYPE)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Connects, without waiting where the queue is full, and disconnects.
fn try_connect(path: &Path) -> io::Result<()> {
    let path = path.as_os_str().as_bytes();
    // SAFETY: the address is plain data, with room for the path and a NUL, which is checked; the descriptor is owned at
    // once, and lives as long as it is used.
    unsafe {
        let mut address: libc::sockaddr_un = std::mem::zeroed();
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        if path.len() >= address.sun_path.len() {
            return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
        }
        for (to, from) in address.sun_path.iter_mut().zip(path) {
            *to = *from as libc::c_char;
        }
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = OwnedFd::from_raw_fd(fd);
        let len = size_of_val(&address) as libc::socklen_t;
        match libc::connect(fd.as_raw_fd(), (&raw const address).cast(), len) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn file_id(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|data| (data.dev(), data.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if file_id(&self.path).is_ok_and(|id| id == self.id) {
            // Left behind, it is replaced by the next one.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
