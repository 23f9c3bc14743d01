//! Reads what libzmq reports about a socket's connections (zmq_socket_monitor).

use super::{Frame, Kind, Socket};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use zmq::{POLLIN, PollItem, SocketEvent};

/// The reading end of a monitor. Any thread may use it, but only one thread at a time.
///
/// Call [`Socket::stop_monitor`] for the monitored socket before this is dropped. Otherwise libzmq's I/O thread waits
/// for ever to report the next event, and all sockets of the process stop.
pub struct Monitor {
    reader: Socket,
    events: &'static [SocketEvent],
}

impl Monitor {
    /// Makes libzmq report `events` of `monitored`.
    ///
    /// # Errors
    /// libzmq's error, usually that there are too many sockets. After an error, the caller need not call
    /// [`Socket::stop_monitor`].
    pub fn start(monitored: &Socket, events: &'static [SocketEvent]) -> zmq::Result<Monitor> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let reader = Socket::new(Kind::PAIR)?;
        // A full queue would also make libzmq's I/O thread wait.
        reader.zmq().set_rcvhwm(0)?;
        let endpoint = format!("inproc://dafka-monitor-{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        let mask = events.iter().fold(0, |mask, event| mask | event.to_raw());
        monitored.zmq().monitor(&endpoint, i32::from(mask))?;
        if let Err(error) = reader.connect(&endpoint) {
            monitored.stop_monitor();
            return Err(error);
        }
        Ok(Monitor { reader, events })
    }

    /// This end as an item of [`poll`](super::poll).
    pub fn item(&self) -> PollItem<'_> {
        self.reader.item(POLLIN)
    }

    /// A descriptor that becomes readable when there may be events (ZMQ_FD). It stays readable until
    /// [`Monitor::try_recv`] has returned `None`.
    ///
    /// # Errors
    /// ETERM when the context ends.
    pub fn descriptor(&self) -> zmq::Result<BorrowedFd<'_>> {
        let file = self.reader.zmq().get_fd()?;
        // SAFETY: libzmq keeps the descriptor open as long as the socket.
        Ok(unsafe { BorrowedFd::borrow_raw(file) })
    }

    /// The next event and its endpoint. `None` when there is none now. An endpoint that is not valid UTF-8 is returned
    /// as an empty string.
    ///
    /// # Errors
    /// ETERM when the context ends.
    pub fn try_recv(&self) -> zmq::Result<Option<(SocketEvent, String)>> {
        let (mut number, mut endpoint) = (Frame::new(), Frame::new());
        while self.reader.try_recv(&mut number)? {
            if number.more() {
                self.reader.recv_more(&mut endpoint)?;
                self.reader.skip_rest(&endpoint);
            }
            let first = number.as_ref().first_chunk().map(|bytes| u16::from_ne_bytes(*bytes));
            // libzmq also reports the end of the monitor, which is not one of `events`.
            if let Some(event) = self.events.iter().find(|event| Some(event.to_raw()) == first) {
                let endpoint = String::from_utf8(endpoint.as_ref().to_vec()).unwrap_or_default();
                return Ok(Some((*event, endpoint)));
            }
        }
        Ok(None)
    }
}
