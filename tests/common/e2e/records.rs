//! Lines to publish, and checks of the lines that a consumer prints.

use std::collections::BTreeMap;
use std::fmt::Write;

/// `count` different lines.
pub(crate) fn lines(name: &str, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("{name} {i}").into_bytes()).collect()
}

/// `count` different lines of 0 to about `max_len` bytes, the same in each run.
pub(crate) fn varied_lines(name: &str, count: usize, max_len: usize) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(1);
    let line = |i: usize| {
        let mut line = format!("{name} {i} ").into_bytes();
        // Most lines are short.
        let len = random.usize(..max_len) >> random.u32(..8);
        line.extend((line.len()..len).map(|at| b'a' + ((i + at) % 26) as u8));
        line
    };
    (0..count).map(line).collect()
}

/// A record as a console consumer prints it.
struct Record<'a> {
    address: &'a [u8],
    content: &'a [u8],
}

/// Parses `subject address content`.
fn parse<'a>(topic: &str, line: &'a [u8]) -> Record<'a> {
    let shown = || String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
    let rest = line.strip_prefix(topic.as_bytes()).and_then(|rest| rest.strip_prefix(b" "));
    let rest = rest.unwrap_or_else(|| panic!("not a record of topic {topic}: {:?}", shown()));
    assert!(rest.len() > 32 && rest[32] == b' ', "no address of 32 octets: {:?}", shown());
    let (address, content) = (&rest[..32], &rest[33..]);
    let is_upper_hex = |octet: &u8| matches!(octet, b'0'..=b'9' | b'A'..=b'F');
    assert!(address.iter().all(is_upper_hex), "no UUID as address: {:?}", shown());
    Record { address, content }
}

/// The contents of records of `topic`, as printed.
pub(crate) fn contents(topic: &str, printed: &[Vec<u8>]) -> Vec<Vec<u8>> {
    printed.iter().map(|line| parse(topic, line).content.to_vec()).collect()
}

/// Checks that `printed` are records of one partition of `topic` with the contents `expected`, in this order.
#[track_caller]
pub(crate) fn assert_contents(topic: &str, printed: &[Vec<u8>], expected: &[Vec<u8>]) {
    assert_each_partition(topic, printed, &[expected]);
}

/// Checks that `printed` are records of `topic` in as many partitions as there are lists in `expected`. Each partition
/// must have the contents of one list, in the order of the list.
#[track_caller]
pub(crate) fn assert_each_partition(topic: &str, printed: &[Vec<u8>], expected: &[&[Vec<u8>]]) {
    let mut partitions: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
    for line in printed {
        let record = parse(topic, line);
        partitions.entry(record.address).or_default().push(record.content);
    }
    assert_eq!(partitions.len(), expected.len(), "partitions of {topic}");
    for contents in partitions.values() {
        // The first record identifies the partition.
        let expected = expected
            .iter()
            .find(|expected| expected.first().is_some_and(|first| first == contents[0]))
            .unwrap_or_else(|| panic!("no partition begins with {}", shown(contents[0])));
        if let Some(difference) = difference(contents, expected) {
            panic!("topic {topic}: {difference}");
        }
    }
}

/// A text about the first difference of two lists.
fn difference(got: &[&[u8]], expected: &[Vec<u8>]) -> Option<String> {
    let at = got.iter().zip(expected).position(|(got, expected)| got != expected);
    let at = match at {
        Some(at) => at,
        None if got.len() == expected.len() => return None,
        None => got.len().min(expected.len()),
    };
    let mut text =
        format!("{} records instead of {}, different from record {at}:", got.len(), expected.len());
    let got = got.get(at).map_or("nothing".into(), |content| shown(content));
    let expected = expected.get(at).map_or("nothing".into(), |content| shown(content));
    write!(text, " {got} instead of {expected}").expect("text");
    Some(text)
}

fn shown(content: &[u8]) -> String {
    let begin = String::from_utf8_lossy(&content[..content.len().min(80)]);
    format!("{begin:?} ({} octets)", content.len())
}

/// A number of the statistics that a consumer logs when it ends: `name: 123`.
pub(crate) fn statistic(stderr: &str, name: &str) -> u64 {
    let last = stderr.lines().rfind(|line| line.contains(": Statistics {")).expect("its statistics");
    let (_, rest) = last.split_once(&format!("{name}: ")).expect("a number by that name");
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number")
}
