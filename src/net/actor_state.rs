//! The state of the actor that reads the other end of a pipe. The owner of the pipe reads this state.
//!
//! The owner must know whether the actor still runs. ZeroMQ does not report that: a pipe is unwritable both when it is
//! full and when no thread reads it any more. So each actor of the process is registered under the name of its pipe.

use crate::czmq::fork::{GENERATIONS, PerProcess};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// The names of the pipes that this library makes begin with this. Applications have no access to the actors that read
/// these pipes.
pub(super) const INTERNAL_PIPE: &str = "inproc://dafka-pipe-";

/// How many ended actors the registry remembers. When the owner calls a function for a remembered actor, the function
/// fails at once, instead of waiting for the actor to start.
const MAX_ENDED: usize = 1_000;

/// The state of one actor that reads a pipe.
#[derive(Default)]
pub(super) struct ActorState {
    /// The actor has not ended.
    pub(super) is_open: AtomicBool,
    /// The actor has sent its ready signal, or need not send one.
    pub(super) is_ready: AtomicBool,
    /// The actor has sent something other than the ready signal, or is about to send it.
    pub(super) has_sent: AtomicBool,
    /// The actor's ready signal is no longer in the pipe. Only the owner sets this field.
    pub(super) is_signal_read: AtomicBool,
    /// What the actor shares with its owner.
    pub(super) shared: OnceLock<Arc<dyn Any + Send + Sync>>,
    /// A thread of the owner locks this while it reads the ready signal, because several threads may call functions
    /// that wait for the signal.
    pub(super) reading_signal: Mutex<()>,
}

impl ActorState {
    /// The actor is about to send something other than the ready signal.
    pub(super) fn note_sent(&self) {
        self.has_sent.store(true, Ordering::Release);
    }
}

/// The actors of a process, by the names of their pipes.
pub(super) struct Registry {
    open: BTreeMap<String, Arc<ActorState>>,
    /// Hashes of the names of the pipes whose actors ended last.
    ended: VecDeque<u64>,
    /// Actors that have failed and wait for `$TERM`.
    pub(super) awaiting_term: BTreeSet<String>,
}

impl Registry {
    const fn new() -> Registry {
        Registry { open: BTreeMap::new(), ended: VecDeque::new(), awaiting_term: BTreeSet::new() }
    }

    pub(super) fn get(&self, pipe: &str) -> Option<&Arc<ActorState>> {
        self.open.get(pipe)
    }

    pub(super) fn has_ended(&self, pipe: &str) -> bool {
        self.ended.contains(&hash(pipe))
    }

    fn insert(&mut self, pipe: String, state: Arc<ActorState>) {
        // CZMQ may give a new pipe the name of an earlier pipe.
        let hashed = hash(&pipe);
        self.ended.retain(|ended| *ended != hashed);
        self.open.insert(pipe, state);
    }

    fn remove(&mut self, pipe: &str) {
        if self.open.remove(pipe).is_none() || pipe.starts_with(INTERNAL_PIPE) {
            return;
        }
        if self.ended.len() >= MAX_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(hash(pipe));
    }
}

fn hash(pipe: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    pipe.hash(&mut hasher);
    hasher.finish()
}

static REGISTRY: PerProcess<Registry> = PerProcess::new([const { Mutex::new(Registry::new()) }; GENERATIONS]);

/// The actors of this process.
pub(super) fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock()
}

/// Whether only processes from which this one was forked know an actor that reads this pipe. CZMQ may give a pipe of
/// this process the same name; the result is then false.
pub(super) fn is_only_inherited(pipe: &str) -> bool {
    let knows = |registry: &Registry| registry.get(pipe).is_some() || registry.has_ended(pipe);
    !knows(&registry()) && REGISTRY.inherited().any(|registry| knows(&registry))
}

/// While this object lives, an actor reads a pipe. See [`Socket::attach`](super::Socket::attach).
pub struct Attached {
    pipe: String,
    state: Arc<ActorState>,
}

impl Attached {
    pub(super) fn new(pipe: String, state: Arc<ActorState>) -> Attached {
        state.is_open.store(true, Ordering::Release);
        registry().insert(pipe.clone(), state.clone());
        Attached { pipe, state }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.state.is_open.store(false, Ordering::Release);
        registry().remove(&self.pipe);
    }
}
