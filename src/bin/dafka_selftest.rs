//! Runs the self tests of the library's classes, each through its C functions.

use clap::ArgMatches;
use dafka::program::{self, Failure};
use dafka::{capi, commands};
use std::process::ExitCode;

/// A class's name and its self test.
type Test = (&'static str, extern "C" fn(bool));

const TESTS: [Test; 10] = [
    ("dafka_proto", capi::dafka_proto_test),
    ("dafka_tower", capi::dafka_tower_test),
    ("dafka_beacon", capi::dafka_beacon_test),
    ("dafka_store", capi::dafka_store_test),
    ("dafka_producer", capi::dafka_producer_test),
    ("dafka_producer_msg", capi::dafka_producer_msg_test),
    ("dafka_consumer", capi::dafka_consumer_test),
    ("dafka_consumer_msg", capi::dafka_consumer_msg_test),
    ("dafka_publisher", capi::dafka_publisher_test),
    ("dafka_subscriber", capi::dafka_subscriber_test),
];

fn main() -> ExitCode {
    let matches = match commands::selftest().try_get_matches() {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() => {
            program::complain(error.render().to_string().trim_end());
            return ExitCode::from(2);
        }
        Err(error) => return exit_code(program::print(|output| write!(output, "{}", error.render()))),
    };
    exit_code(run(&matches))
}

fn exit_code(result: program::Result) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(text)) => {
            program::complain(format_args!("dafka_selftest: {text}"));
            ExitCode::FAILURE
        }
    }
}

fn run(matches: &ArgMatches) -> program::Result {
    if matches.get_flag("number") {
        return print_line(&TESTS.len().to_string());
    }
    if matches.get_flag("list") {
        let names: String = TESTS.iter().map(|(name, _)| format!("\n    {name}")).collect();
        return print_line(&format!("Available tests:{names}"));
    }
    let wanted = matches.get_one::<String>("test");
    let tests: Vec<Test> =
        TESTS.into_iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == name)).collect();
    if tests.is_empty() {
        let name = wanted.map_or("", String::as_str);
        return Err(Failure(format!("there is no test {name:?}: see dafka_selftest --list")));
    }
    match wanted {
        Some(name) => print_line(&format!("Running dafka test '{name}'..."))?,
        None => print_line("Running dafka selftests...")?,
    }
    for (_, test) in tests {
        test(matches.get_flag("verbose"));
    }
    // As in 0.1.0, a single test prints only its own line.
    if wanted.is_some() { Ok(()) } else { print_line("Tests passed OK") }
}

fn print_line(line: &str) -> program::Result {
    program::print(|output| writeln!(output, "{line}"))
}
