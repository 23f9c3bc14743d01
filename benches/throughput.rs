//! Throughput from a producer to its acknowledgements and to a consumer, compared with raw libzmq in the same run.
//!
//! Each round measures each record length. First raw libzmq: PUB to SUB over loopback TCP, with two frames per message, the
//! first as long as that of a RECORD. Then a tower, a store that syncs, a producer and a consumer, each in its own process. The
//! result is the median of the rounds, and its ratio to raw libzmq, because machines differ and are noisy.
//!
//! `make bench` runs it. `ROUNDS=n` sets the number of rounds, and `DAFKA_BENCH_DIR` the folder of the store's database
//! (default: the target folder).

use dafka::net::{Frame, Kind, Socket};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// The length of the records in bytes, and how many of them one measurement sends.
const SIZES: [(usize, u64); 3] = [(100, 1_000_000), (1_000, 400_000), (10_000, 60_000)];

/// The results of 0.1.0, which does not sync, relative to raw libzmq: acknowledged and consumed.
const C_LIBRARY: [(f64, f64); 3] = [(0.17, 0.29), (0.27, 0.63), (0.20, 0.54)];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("raw-publish") => raw_publish(args[2].parse().unwrap(), args[3].parse().unwrap()),
        Some("raw-receive") => raw_receive(&args[2], args[3].parse().unwrap()),
        _ => measure(),
    }
}

fn measure() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    let mut results = vec![[const { Vec::new() }; 3]; SIZES.len()];
    for round in 1..=rounds {
        for (i, &(size, count)) in SIZES.iter().enumerate() {
            let raw = measure_raw(size, count);
            let (acknowledged, consumed) = measure_dafka(size, count);
            eprintln!(
                "round {round}, {size} octets: raw {raw:.0}, acknowledged {acknowledged:.0}, consumed {consumed:.0} msg/s"
            );
            for (results, value) in results[i].iter_mut().zip([raw, acknowledged, consumed]) {
                results.push(value);
            }
        }
    }
    println!(
        "Medians of {rounds} rounds, in records per second; in brackets: part of raw libzmq (0.1.0's part)"
    );
    println!("| octets | raw libzmq | producer to acknowledged | producer to consumer |");
    println!("| ---: | ---: | ---: | ---: |");
    for (i, results) in results.iter_mut().enumerate() {
        let [raw, acknowledged, consumed] = results.each_mut().map(|values| median(values));
        let (c_acknowledged, c_consumed) = C_LIBRARY[i];
        println!(
            "| {} | {raw:.0} | {acknowledged:.0} ({:.2}; {c_acknowledged:.2}) | {consumed:.0} ({:.2}; {c_consumed:.2}) |",
            SIZES[i].0,
            acknowledged / raw,
            consumed / raw
        );
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure_raw(size: usize, count: u64) -> f64 {
    let me = std::env::current_exe().expect("the bench knows its path");
    let mut publisher =
        Process::start(Command::new(&me).args(["raw-publish", &size.to_string(), &count.to_string()]));
    let endpoint = publisher.line();
    let mut receiver = Process::start(Command::new(&me).args(["raw-receive", &endpoint, &count.to_string()]));
    let seconds: f64 = receiver.line().parse().expect("seconds");
    count as f64 / seconds
}

/// Publishes messages of two frames after a subscriber has connected.
fn raw_publish(size: usize, count: u64) {
    let socket = Socket::new(Kind::XPUB).unwrap();
    socket.zmq().set_sndhwm(0).unwrap();
    socket.zmq().set_linger(60_000).unwrap();
    socket.zmq().bind("tcp://127.0.0.1:*").unwrap();
    println!("{}", socket.zmq().get_last_endpoint().unwrap().unwrap());
    let mut frame = Frame::new();
    socket.recv(&mut frame).unwrap();
    let address = [b'A'; 32];
    let mut header =
        dafka::wire::PositionTemplate::new(dafka::wire::id::RECORD, b"$STORE_PERF", &address, b"$STORE_PERF")
            .unwrap();
    for sequence in 0..count {
        socket.send(&mut Frame::copy(header.frame(sequence)), true).unwrap();
        socket.send(&mut Frame::zeroed(size).unwrap(), false).unwrap();
    }
    // Wait until the receiver has disconnected.
    while socket.recv(&mut frame).is_ok_and(|()| frame.as_ref().first() != Some(&0)) {}
}

fn raw_receive(endpoint: &str, count: u64) {
    let socket = Socket::new(Kind::SUB).unwrap();
    socket.zmq().set_rcvhwm(0).unwrap();
    socket.zmq().set_subscribe(b"M").unwrap();
    socket.zmq().connect(endpoint).unwrap();
    let mut frame = Frame::new();
    let mut start = Instant::now();
    for i in 0..count {
        socket.recv(&mut frame).unwrap();
        socket.recv(&mut frame).unwrap();
        if i == 0 {
            start = Instant::now();
        }
    }
    println!("{}", start.elapsed().as_secs_f64());
}

fn measure_dafka(size: usize, count: u64) -> (f64, f64) {
    let parent = std::env::var_os("DAFKA_BENCH_DIR").map_or_else(|| target_dir().join("tmp"), PathBuf::from);
    std::fs::create_dir_all(&parent).expect("the bench's folder can be made");
    let dir = tempfile::tempdir_in(parent).expect("the bench's folder is writable");
    let (sub, publ) = (free_address(), free_address());
    let config = dir.path().join("dafka.cfg");
    let db = dir.path().join("db");
    std::fs::write(
        &config,
        format!(
            "tower\n    sub_address = \"{sub}\"\n    pub_address = \"{publ}\"\nbeacon\n    sub_address = \"{sub}\"\n    \
             pub_address = \"{publ}\"\n    address = \"127.0.0.1\"\n    interval = 50\nstore\n    db = \"{}\"\n",
            db.display()
        ),
    )
    .expect("the configuration can be written");
    let (count, size) = (count.to_string(), size.to_string());
    let program = |path: &str, args: &[&str]| {
        let mut command = Command::new(path);
        command.arg("-c").arg(&config).args(args);
        Process::start(&mut command)
    };
    let _tower = program(env!("CARGO_BIN_EXE_dafka_towerd"), &[]);
    wait_for(|| std::net::TcpStream::connect(publ.trim_start_matches("tcp://")).is_ok());
    let _store = program(env!("CARGO_BIN_EXE_dafka_stored"), &[]);
    wait_for(|| db.join("data.mdb").exists());
    let mut consumer = program(env!("CARGO_BIN_EXE_dafka_perf_consumer"), &[&count, &size]);
    // Until all nodes are connected. Otherwise the measurement would start with catching up.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let mut producer = program(env!("CARGO_BIN_EXE_dafka_perf_store"), &[&count, &size]);
    (producer.throughput(), consumer.throughput())
}

fn target_dir() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_dafka_towerd"));
    program.parent().and_then(Path::parent).expect("target/PROFILE/PROGRAM").to_owned()
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("tcp://{}", listener.local_addr().expect("its address"))
}

fn wait_for(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed().as_secs() < 30, "a program does not come up");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// A process. It is killed when this is dropped.
struct Process {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(command: &mut Command) -> Process {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let output = BufReader::new(child.stdout.take().expect("its output is piped"));
        Process { child, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line of output");
        line.trim().to_owned()
    }

    /// The throughput that a performance program prints.
    fn throughput(&mut self) -> f64 {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "the program prints its throughput");
            if let Some(value) =
                line.strip_prefix("mean throughput: ").and_then(|rest| rest.strip_suffix(" [msg/s]"))
            {
                return value.parse().expect("a number");
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
