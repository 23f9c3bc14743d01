//! The command lines of the programs: names, options, help. xtask generates the manual pages from them.

use crate::program::{PERF_TOPIC, Role};
use clap::{Arg, ArgAction, Command, builder::ValueParser};

/// All programs.
pub fn all() -> [Command; 7] {
    [towerd(), stored(), console_producer(), console_consumer(), perf_store(), perf_consumer(), selftest()]
}

/// `dafka_towerd`
pub fn towerd() -> Command {
    let about = "Runs a Dafka tower, which introduces producers, consumers and stores to each other.";
    let endpoints_file =
        "Write the real addresses of the tower to this file, as a configuration for nodes on this host";
    network_program("dafka_towerd", about, Role::Tower).arg(
        Arg::new("endpoints-file")
            .long("endpoints-file")
            .value_name("file")
            .value_parser(ValueParser::os_string())
            .help(endpoints_file),
    )
}

/// `dafka_stored`
pub fn stored() -> Command {
    let about = "Runs a Dafka store, which keeps the records of all topics in the directory store/db.";
    let flag = |id: &'static str, other: &'static str, help: &'static str| {
        Arg::new(id).long(id).action(ArgAction::SetTrue).conflicts_with(other).help(help)
    };
    let list = "Print what the store holds, and end";
    let missing = "Print what other stores hold and this one lacks, and end; exit code 0 only if it certainly lacks nothing";
    network_program("dafka_stored", about, Role::Node)
        .arg(flag("list", "missing", list))
        .arg(flag("missing", "list", missing))
}

/// `dafka_console_producer`
pub fn console_producer() -> Command {
    let about = "Publishes each line of standard input as a record, without its line end. At the end of input it \
                 waits until all records are acknowledged.";
    let delimiter = "Byte that ends each record, in place of the line end; it may be an escape sequence";
    let key_delimiter = "Bytes that end the key of each record; a record without them has no key";
    let name = "Continue the partition of the last producer with this name; see the key producer/directory";
    let progress = "Print records, bytes and rates on standard error, each second and at the end";
    network_program("dafka_console_producer", about, Role::Node)
        .arg(delimiter_option(delimiter))
        .arg(null("End each record with a NUL, in place of the line end"))
        .arg(value("key-delimiter", "delimiter", key_delimiter))
        .arg(
            value("header", "name=value", "Add a header to each record; may be repeated")
                .action(ArgAction::Append),
        )
        .arg(value("producer-name", "name", name).long("name"))
        .arg(Arg::new("progress").long("progress").action(ArgAction::SetTrue).help(progress))
        .arg(topic("Topic to publish to"))
}

/// `dafka_console_consumer`
pub fn console_consumer() -> Command {
    let about = "Prints subject, address and content of each record of a topic, until interrupted.";
    let help = "Start at the first record of each partition, not at the next published one; with a name, only in \
                partitions without a committed position";
    let offset = "Start in each partition at this offset, at the last N records (-N), at a time (@MS, in milliseconds \
                  since the Unix epoch, or @YYYY-MM-DDTHH:MM:SS in UTC), at earliest, at latest, or with a name at its \
                  committed position (committed)";
    let group = "Share the records with the other members of this group, and commit what is printed";
    let name = "Continue where the last consumer with this name has stopped, and commit what is printed";
    let exit = "End when all records that are there have been printed";
    network_program("dafka_console_consumer", about, Role::Node)
        .arg(Arg::new("from-beginning").long("from-beginning").action(ArgAction::SetTrue).help(help))
        .arg(value("offset", "offset", offset).conflicts_with("from-beginning"))
        .arg(value("name", "name", name))
        .arg(value("group", "name", group).conflicts_with_all(["name", "partition"]))
        .arg(Arg::new("exit").long("exit").action(ArgAction::SetTrue).help(exit))
        .arg(
            Arg::new("count")
                .long("count")
                .value_name("count")
                .value_parser(clap::value_parser!(u64).range(1..))
                .help("End after this number of records"),
        )
        .arg(
            value("partition", "address", "Print only the records of the partition with this address")
                .allow_hyphen_values(false),
        )
        .arg(
            value("format", "format", "Print each record in this format, for example '%o %k %s\\n'")
                .conflicts_with_all(["json", "delimiter", "null", "key-delimiter"]),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["delimiter", "null", "key-delimiter"])
                .help("Print each record as a JSON object on one line"),
        )
        .arg(delimiter_option(
            "Byte to print after each record, in place of a line feed; it may be an escape sequence",
        ))
        .arg(null("Print a NUL after each record, in place of a line feed"))
        .arg(value("key-delimiter", "delimiter", "Print the key and these bytes before each content"))
        .arg(topic("Topic to read"))
}

/// `dafka_perf_store`
pub fn perf_store() -> Command {
    let about = format!(
        "Publishes COUNT records of SIZE bytes on the topic {PERF_TOPIC}, waits until all are acknowledged, and \
         prints the throughput."
    );
    with_count_and_size(network_program("dafka_perf_store", about, Role::Node))
}

/// `dafka_perf_consumer`
pub fn perf_consumer() -> Command {
    let about = format!(
        "Receives COUNT records of SIZE bytes of the topic {PERF_TOPIC} and prints the throughput, measured from \
         the first record to the last."
    );
    with_count_and_size(network_program("dafka_perf_consumer", about, Role::Node))
}

/// `dafka_selftest`
pub fn selftest() -> Command {
    let flag = |id: &'static str, short, help: &'static str| {
        Arg::new(id).short(short).long(id).action(ArgAction::SetTrue).help(help)
    };
    Command::new("dafka_selftest")
        .about("Runs the self tests of libdafka's classes; a failed check aborts the program.")
        .version(env!("CARGO_PKG_VERSION"))
        .arg(flag("verbose", 'v', "Log what the nodes under test do"))
        .arg(flag("number", 'n', "Print how many tests there are"))
        .arg(flag("list", 'l', "Print the names of all tests"))
        .arg(Arg::new("test").short('t').long("test").value_name("NAME").help("Run only this test"))
        .arg(flag("continue", 'c', "Without effect; accepted for compatibility with 0.1.0"))
}

/// A program that joins a network, with the options that all such programs have.
fn network_program(name: &'static str, about: impl Into<clap::builder::StyledStr>, role: Role) -> Command {
    let (publ, sub) = match role {
        Role::Tower => (
            "Address to bind, which sends the endpoints of all nodes",
            "Address to bind, which receives the beacons of the nodes",
        ),
        Role::Node => (
            "Address of the tower's XPUB socket; comma-separated for several towers",
            "Address of the tower's XSUB socket; comma-separated for several towers",
        ),
    };
    let address = |id: &'static str, help: &'static str| {
        Arg::new(id).long(id).value_name("address").value_parser(ValueParser::os_string()).help(help)
    };
    Command::new(name)
        .about(about)
        .version(env!("CARGO_PKG_VERSION"))
        .arg(
            Arg::new("config")
                .short('c')
                .value_name("config")
                .value_parser(ValueParser::os_string())
                .help("Configuration file in ZPL (ZeroMQ RFC 4)"),
        )
        .arg(address("pub", publ))
        .arg(address("sub", sub))
        .arg(
            Arg::new("verbose")
                .short('v')
                .long("verbose")
                .action(ArgAction::SetTrue)
                .help("Log what happens"),
        )
}

/// An option whose value may have any bytes, and may begin with `-`.
fn value(id: &'static str, name: &'static str, help: &'static str) -> Arg {
    let arg = Arg::new(id).long(id).value_name(name).value_parser(ValueParser::os_string());
    arg.allow_hyphen_values(true).help(help)
}

fn delimiter_option(help: &'static str) -> Arg {
    value("delimiter", "delimiter", help).conflicts_with("null")
}

fn null(help: &'static str) -> Arg {
    Arg::new("null").long("null").action(ArgAction::SetTrue).help(help)
}

fn topic(help: &'static str) -> Arg {
    Arg::new("topic").value_name("TOPIC").required(true).value_parser(ValueParser::os_string()).help(help)
}

fn with_count_and_size(command: Command) -> Command {
    let count = |name: &'static str, help: &'static str| {
        Arg::new(name).required(true).value_parser(clap::value_parser!(u64)).help(help)
    };
    command.arg(count("COUNT", "Number of records")).arg(count("SIZE", "Length of each record in bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn values_may_begin_with_a_hyphen() {
        let both = [("delimiter", "-"), ("key-delimiter", "->")];
        let producer = [&both[..], &[("header", "--name=value"), ("key-delimiter", "--")]].concat();
        let consumer = [&both[..], &[("format", r"-- %s\n"), ("offset", "-2"), ("name", "-")]].concat();
        for (command, options) in [(console_producer(), producer), (console_consumer(), consumer)] {
            for (id, value) in options {
                let option = format!("--{id}");
                let arguments = ["program", &option, value, "topic"];
                let matches = command.clone().try_get_matches_from(arguments).expect(value);
                assert_eq!(matches.get_one::<OsString>(id).expect(id), value);
                assert_eq!(matches.get_one::<OsString>("topic").expect("a topic"), "topic");
            }
        }
    }
}
