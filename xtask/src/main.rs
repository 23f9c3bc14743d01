//! `cargo xtask header` and `cargo xtask man` write the generated files. The tests of this crate check these files.

use clap::Command;
use xtask::Target;

fn main() -> std::io::Result<()> {
    let matches = Command::new("cargo xtask")
        .about("Writes the files that are generated from the source and committed")
        .subcommand_required(true)
        .subcommand(Command::new("header").about("Writes include/dafka.h"))
        .subcommand(Command::new("man").about("Writes the manual pages in doc/man"))
        .get_matches();
    let target = match matches.subcommand_name() {
        Some("header") => Target::Header,
        _ => Target::Man,
    };
    target.write(&target.folder(), &target.generate())
}
