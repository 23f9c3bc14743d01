//! Runs the self tests of the library's classes, each through its C functions.

use dafka::{capi, commands};
use std::io::Write;
use std::process::ExitCode;

/// A class's self test: as its C programs know it.
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

/// Prints a line; that nobody reads it any more is no error.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn main() -> ExitCode {
    let matches = commands::selftest().get_matches();
    if matches.get_flag("number") {
        say(&TESTS.len().to_string());
        return ExitCode::SUCCESS;
    }
    if matches.get_flag("list") {
        say("Available tests:");
        for (name, _) in TESTS {
            say(&format!("    {name}"));
        }
        return ExitCode::SUCCESS;
    }
    let wanted = matches.get_one::<String>("test");
    let tests: Vec<Test> =
        TESTS.into_iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == name)).collect();
    if tests.is_empty() {
        let name = wanted.map_or("", String::as_str);
        eprintln!("dafka_selftest: there is no test {name:?}: see dafka_selftest --list");
        return ExitCode::FAILURE;
    }
    say("Running dafka selftests...");
    for (_, test) in tests {
        test(matches.get_flag("verbose"));
    }
    say("Tests passed OK");
    ExitCode::SUCCESS
}
