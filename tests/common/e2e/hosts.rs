//! Several hosts on one machine: network namespaces, and a switch between them that can drop, delay and block frames.
//!
//! Each host's `eth0` is a TAP device whose other end is a file of this process. So a thread of this process, the
//! switch, forwards every frame between two hosts. The switch can drop the frames of one direction. This takes effect
//! at once, and the kernels of the hosts do not notice it. The switch needs neither `tc` nor the kernel's netem, which
//! not every machine has.

use super::{Cluster, Program};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What happens to frames in one direction between two hosts.
#[derive(Clone, Copy, Default)]
pub(crate) struct Link {
    pub(crate) is_cut: bool,
    /// How many of 1,000 frames are lost.
    pub(crate) loss_per_mille: u64,
    pub(crate) delay: Duration,
}

/// The hosts of one test. The processes on the hosts must end before this value is dropped.
pub(crate) struct Network {
    hosts: Vec<Host>,
    links: Arc<Mutex<HashMap<(usize, usize), Link>>>,
    stop: Arc<AtomicBool>,
    switch: Option<JoinHandle<()>>,
}

/// A network namespace.
struct Host {
    namespace: String,
    /// The last part of its addresses.
    number: u8,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.namespace]);
    }
}

/// Which addresses the hosts have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Network {
    /// Creates hosts with these numbers as the last part of their addresses. A host with the number of an earlier host
    /// starts cut off. Where namespaces are not possible, prints the reason and returns `None`.
    pub(crate) fn new(family: Family, numbers: &[u8]) -> Option<Network> {
        remove_left_overs();
        let mut hosts = Vec::new();
        let mut ports = Vec::new();
        for &number in numbers {
            match host(family, number) {
                Ok((host, port)) => {
                    hosts.push(host);
                    ports.push(port);
                }
                Err(problem) => {
                    // Do not use `eprintln`, because the test harness hides its output in tests that pass.
                    let test = std::thread::current().name().unwrap_or_default().to_owned();
                    let _ =
                        writeln!(std::io::stderr(), "{test}: skipped, no network namespaces here: {problem}");
                    return None;
                }
            }
        }
        let links = Arc::new(Mutex::new(HashMap::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let switch = Switch {
            ports,
            links: links.clone(),
            stop: stop.clone(),
            homes: HashMap::new(),
            under_way: BinaryHeap::new(),
            sequence: 0,
            random: fastrand::Rng::with_seed(1),
        };
        let switch = Some(std::thread::spawn(move || switch.run()));
        let network = Network { hosts, links, stop, switch };
        for i in 0..numbers.len() {
            if numbers[..i].contains(&numbers[i]) {
                network.isolate(i);
            }
        }
        Some(network)
    }

    /// Changes what happens to frames from one host to another.
    pub(crate) fn set(&self, from: usize, to: usize, link: Link) {
        self.links.lock().unwrap().insert((from, to), link);
    }

    /// Cuts a host off. Frames to and from it vanish, and no kernel notices.
    pub(crate) fn isolate(&self, host: usize) {
        self.connect(host, Link { is_cut: true, ..Link::default() });
    }

    /// Undoes [`Network::isolate`].
    pub(crate) fn join(&self, host: usize) {
        self.connect(host, Link::default());
    }

    fn connect(&self, host: usize, link: Link) {
        for other in (0..self.hosts.len()).filter(|&other| other != host) {
            self.set(host, other, link);
            self.set(other, host, link);
        }
    }

    /// Takes a host's interface down. The host's kernel notices this, and removes routes.
    pub(crate) fn set_down(&self, host: usize) {
        ip(&["-n", &self.hosts[host].namespace, "link", "set", "eth0", "down"]).expect("an interface");
    }

    /// A command that runs on a host.
    pub(crate) fn command(&self, host: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        // `ip` becomes the program by exec, so signals reach the program.
        command.args(["netns", "exec", &self.hosts[host].namespace, program]);
        command
    }

    /// Sets one of a host's kernel settings.
    pub(crate) fn sysctl(&self, host: usize, path: &str, value: &str) {
        let script = format!("echo {value} >/proc/sys/{path}");
        let status = self.command(host, "sh").args(["-c", &script]).status().expect("sh");
        assert!(status.success(), "{path} = {value}");
    }

    /// A host's address as it stands in an endpoint.
    pub(crate) fn address(&self, host: usize) -> String {
        format!("10.231.0.{}", self.hosts[host].number)
    }

    pub(crate) fn address_v6(&self, host: usize) -> String {
        format!("[fd00:231::{}]", self.hosts[host].number)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.switch.take().map(JoinHandle::join);
    }
}

const PREFIX: &str = "dafka-";

/// Removes the namespaces that killed test processes have left.
fn remove_left_overs() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !std::fs::exists(format!("/proc/{process}")).unwrap_or(true)) {
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

/// Runs `ip`.
fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
        }
    }
}

/// A host, and the switch's end of its `eth0`.
fn host(family: Family, number: u8) -> Result<(Host, File), String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let namespace = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    ip(&["netns", "add", &namespace])?;
    let host = Host { namespace, number };
    let (port, device) = tap()?;
    ip(&["link", "set", &device, "netns", &host.namespace, "name", "eth0"])?;
    let namespace = ["-n", &host.namespace];
    let inside = |arguments: &[&str]| ip(&[&namespace, arguments].concat());
    inside(&["link", "set", "lo", "up"])?;
    // With this setting, the kernel adds no link-local address of its own. The link-local address below is usable at
    // once.
    inside(&["link", "set", "eth0", "addrgenmode", "none"])?;
    inside(&["link", "set", "eth0", "up"])?;
    match family {
        Family::V4 => inside(&["addr", "add", &format!("10.231.0.{number}/24"), "dev", "eth0"])?,
        Family::V6 => {
            for address in [format!("fd00:231::{number}/64"), format!("fe80::{number}/64")] {
                inside(&["addr", "add", &address, "dev", "eth0", "nodad"])?;
            }
        }
    }
    Ok((host, port))
}

/// A TAP device of this process, and its name.
fn tap() -> Result<(File, String), String> {
    let tap = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    let tap = tap.map_err(|error| format!("/dev/net/tun: {error}"))?;
    // SAFETY: all zero is a valid value of this plain C structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The kernel replaces %d by a free number.
    for (to, &from) in request.ifr_name.iter_mut().zip(b"dafka%d") {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the file is open, and the request is a structure of the kind that this call reads and writes.
    if unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &mut request) } != 0 {
        return Err(format!("TUNSETIFF: {}", std::io::Error::last_os_error()));
    }
    let name = request.ifr_name.iter().take_while(|&&octet| octet != 0).map(|&octet| octet as u8 as char);
    Ok((tap, name.collect()))
}

/// Forwards frames between the hosts.
struct Switch {
    ports: Vec<File>,
    links: Arc<Mutex<HashMap<(usize, usize), Link>>>,
    stop: Arc<AtomicBool>,
    /// For each hardware address: the port at which the latest frame from this address arrived.
    homes: HashMap<[u8; 6], usize>,
    /// Delayed frames.
    under_way: BinaryHeap<UnderWay>,
    sequence: u64,
    random: fastrand::Rng,
}

#[derive(PartialEq, Eq)]
struct UnderWay {
    due: Instant,
    sequence: u64,
    to: usize,
    frame: Vec<u8>,
}

impl Ord for UnderWay {
    /// The frame that is due first is the greatest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.sequence).cmp(&(self.due, self.sequence))
    }
}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// How often the switch checks whether it must stop.
const CHECK: Duration = Duration::from_millis(50);

impl Switch {
    fn run(mut self) {
        let mut buffer = vec![0; 65_536];
        while !self.stop.load(Ordering::Acquire) {
            let now = Instant::now();
            while self.under_way.peek().is_some_and(|first| first.due <= now) {
                let UnderWay { to, frame, .. } = self.under_way.pop().expect("just seen");
                self.deliver(to, &frame);
            }
            let patience =
                self.under_way.peek().map_or(CHECK, |first| first.due.duration_since(now).min(CHECK));
            let mut polled: Vec<_> = self.ports.iter().map(|port| PollFd::new(port, PollFlags::IN)).collect();
            let patience = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
            let _ = poll(&mut polled, Some(&patience));
            for from in 0..self.ports.len() {
                // The number of frames in one turn is limited, so that a busy host does not delay the others.
                for _ in 0..64 {
                    let Ok(len) = (&self.ports[from]).read(&mut buffer) else { break };
                    self.forward(from, &buffer[..len]);
                }
            }
        }
    }

    fn forward(&mut self, from: usize, frame: &[u8]) {
        let (Some(&destination), Some(source)) = (frame.first_chunk::<6>(), frame.get(6..12)) else { return };
        self.homes.insert(source.try_into().expect("six octets"), from);
        let is_for_all = destination[0] & 1 != 0;
        let home = self.homes.get(&destination).copied();
        for to in 0..self.ports.len() {
            if to == from || !is_for_all && home.is_some_and(|home| home != to) {
                continue;
            }
            let link = self.link(from, to);
            if link.is_cut || self.random.u64(..1_000) < link.loss_per_mille {
                continue;
            }
            if link.delay.is_zero() {
                self.deliver(to, frame);
            } else {
                self.sequence += 1;
                let due = Instant::now() + link.delay;
                let sequence = self.sequence;
                self.under_way.push(UnderWay { due, sequence, to, frame: frame.to_vec() });
            }
        }
    }

    fn link(&self, from: usize, to: usize) -> Link {
        self.links.lock().unwrap().get(&(from, to)).copied().unwrap_or_default()
    }

    /// A frame that the host cannot take now is lost.
    fn deliver(&self, to: usize, frame: &[u8]) {
        let _ = (&self.ports[to]).write(frame);
    }
}

/// The programs on the hosts.
pub(crate) struct Hosts {
    // Dropped before the network. If the test has failed, the drop prints the logs.
    cluster: Cluster,
    pub(crate) network: Network,
    /// The hosts of the towers.
    towers: Vec<usize>,
    family: Family,
    /// Whether nodes use the link-local addresses of the hosts.
    is_link_local: bool,
}

impl Hosts {
    /// As [`Network::new`], for towers on the hosts `towers`.
    pub(crate) fn new(family: Family, numbers: &[u8], towers: &[usize]) -> Option<Hosts> {
        let network = Network::new(family, numbers)?;
        // The nodes' beacons contain no address, so the towers determine the addresses of the nodes.
        let cluster = Cluster::new().with("beacon/address", "").with("beacon/verbose", "1");
        Some(Hosts { cluster, network, towers: towers.to_vec(), family, is_link_local: false })
    }

    /// The same hosts, where nodes use the towers' link-local addresses.
    pub(crate) fn link_local(self) -> Hosts {
        Hosts { is_link_local: true, ..self }
    }

    /// Changes a setting of the nodes that are started from now on.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.cluster.set(key, value);
    }

    /// Runs one of the programs.
    fn run(&self, host: usize, program: &str, arguments: &[&str]) -> Program {
        let mut command = self.network.command(host, super::cluster::executable(program));
        command.args(arguments).current_dir(self.cluster.dir());
        if self.family == Family::V6 {
            command.env("ZSYS_IPV6", "1");
        }
        let name = format!("{program} on host {host}");
        self.cluster.command(&name, &mut command)
    }

    /// Runs a node.
    pub(crate) fn node(
        &self,
        host: usize,
        program: &str,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Program {
        let config = self.cluster.config_with(settings);
        let (publ, sub) = (self.tower_addresses(host, 5557), self.tower_addresses(host, 5556));
        let options = ["-c", &config, "--pub", &publ, "--sub", &sub];
        self.run(host, program, &[&options, arguments].concat())
    }

    /// The towers' addresses for a node on this host. A tower on the same host has the loopback address.
    fn tower_addresses(&self, host: usize, port: u16) -> String {
        let address = |&tower: &usize| {
            let address = match self.family {
                Family::V4 if tower == host => "127.0.0.1".into(),
                Family::V6 if tower == host => "[::1]".into(),
                Family::V4 => self.network.address(tower),
                Family::V6 if self.is_link_local => {
                    format!("[fe80::{}%eth0]", self.network.hosts[tower].number)
                }
                Family::V6 => self.network.address_v6(tower),
            };
            format!("tcp://{address}:{port}")
        };
        self.towers.iter().map(address).collect::<Vec<_>>().join(",")
    }

    /// Starts a tower that logs what it announces, and waits until it listens.
    pub(crate) fn tower(&self, host: usize) -> Program {
        let any = match self.family {
            Family::V4 => "*",
            Family::V6 => "[::]",
        };
        let (publ, sub) = (format!("tcp://{any}:5557"), format!("tcp://{any}:5556"));
        let mut tower = self.run(host, "dafka_towerd", &["--verbose", "--pub", &publ, "--sub", &sub]);
        tower.wait_for_log("Tower: bound to");
        tower
    }

    /// Starts a store that keeps its records in the directory `name`.
    pub(crate) fn store(&self, host: usize, name: &str) -> Program {
        self.node(host, "dafka_stored", &[], &[("store/db", &self.cluster.path(name))])
    }

    /// Starts a console producer whose input stays open.
    pub(crate) fn producer(&self, host: usize, topic: &str) -> Program {
        self.node(host, "dafka_console_producer", &[topic], &[])
    }

    /// Starts a console consumer of all records.
    pub(crate) fn consumer(&self, host: usize, topic: &str) -> Program {
        self.node(host, "dafka_console_consumer", &["--from-beginning", topic], &[])
    }
}

/// For each node: the endpoints that a tower has announced, according to the tower's log.
pub(crate) fn announced(tower: &Program) -> BTreeMap<String, Vec<String>> {
    let mut nodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in tower.log().lines() {
        let Some((_, rest)) = line.split_once("Tower: beacon of ") else { continue };
        // The last line may not be complete yet.
        let Some((node, endpoint)) = rest.split_once(" at ") else { continue };
        let endpoints = nodes.entry(node.to_owned()).or_default();
        if endpoints.last().map(String::as_str) != Some(endpoint) {
            endpoints.push(endpoint.to_owned());
        }
    }
    nodes
}
