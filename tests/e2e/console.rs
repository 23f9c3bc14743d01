//! The options of the console programs that choose, divide and print records.

use crate::e2e::{Cluster, Output, PROMPT, Program, lines, wait_until};
use std::io::Read;

const CONSUMER: &str = "dafka_console_consumer";
const PRODUCER: &str = "dafka_console_producer";

/// Publishes an input, and waits until a store has the records.
#[track_caller]
pub(crate) fn publish(cluster: &Cluster, options: &[&str], input: &[u8]) -> Output {
    let mut producer = cluster.node(PRODUCER, options);
    producer.feed_octets(input.to_vec());
    producer.close_input();
    producer.expect_success("the end of its input, with a store present")
}

/// What a consumer of all records prints until it ends by itself.
#[track_caller]
fn print(cluster: &Cluster, options: &[&str]) -> Vec<u8> {
    let mut consumer = cluster.node(CONSUMER, &[&["--from-beginning"], options].concat());
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut output = consumer.take_output();
    std::thread::spawn(move || {
        let mut octets = Vec::new();
        output.read_to_end(&mut octets).expect("the output can be read");
        sender.send(octets)
    });
    let ended = consumer.expect_success("the last record");
    assert_eq!(ended.stderr, "", "{options:?}: the consumer logs nothing");
    receiver.recv().expect("the output ends with the consumer")
}

/// The address of the only partition of a topic.
#[track_caller]
pub(crate) fn only_partition(cluster: &Cluster, topic: &str) -> String {
    String::from_utf8(print(cluster, &["--count", "1", "--format", "%p", topic])).expect("UTF-8")
}

/// A text with escape sequences for octets that are not printable.
fn shown(octets: &[u8]) -> String {
    octets.escape_ascii().to_string()
}

#[test]
fn a_consumer_ends_after_a_number_of_records() {
    let cluster = Cluster::new().with_tower().with_store();
    let all = lines("line", 5_000);
    cluster.publish("counted", &all);
    let partition = only_partition(&cluster, "counted");
    for count in [1, 3_000, 5_000] {
        let expected =
            all[..count].iter().map(|line| [b"counted ", partition.as_bytes(), b" ", line].concat());
        let expected = expected.map(|line| [&line[..], b"\n"].concat()).collect::<Vec<_>>().concat();
        let printed = print(&cluster, &["--count", &count.to_string(), "counted"]);
        // The default output is the same with and without the option.
        assert!(printed == expected, "{count} records: {} octets", printed.len());
    }

    // The consumer of one more record waits for it.
    let mut consumer = cluster.node(CONSUMER, &["--count", "5001", "--from-beginning", "counted"]);
    consumer.lines(5_000, "the records");
    assert!(consumer.is_running());
    publish(&cluster, &["counted"], b"one more\nand another one\n");
    let last = consumer.line("one more record");
    assert!(last.ends_with(b" one more") || last.ends_with(b" and another one"), "{}", shown(&last));
    assert!(consumer.expect_success_within("its last record", PROMPT).stdout.is_empty());
}

#[test]
fn a_consumer_prints_only_one_partition() {
    let cluster = Cluster::new().with_tower().with_store();
    cluster.publish("parts", &lines("a", 1_500));
    let partition = only_partition(&cluster, "parts");
    cluster.publish("parts", &lines("b", 1_500));

    let own = ["--partition", &partition, "--format", "%s\n", "--count", "1500", "parts"];
    assert!(print(&cluster, &own) == [lines("a", 1_500).join(&b'\n'), b"\n".to_vec()].concat());
    // A part of an address is another address.
    let mut none = cluster.node(CONSUMER, &["--from-beginning", "--partition", &partition[..31], "parts"]);
    let mut all = cluster.consumer("parts");
    all.lines(3_000, "all records");
    none.expect_silence(std::time::Duration::from_millis(500), "no partition has this address");
    none.terminate();
}

#[test]
fn records_with_keys_and_headers_are_printed_in_a_format() {
    let cluster = Cluster::new().with_tower().with_store();
    // The first delimiter ends the key, so a content may contain it. A line without it has no key.
    let options = ["--key-delimiter", "=>", "--header", "unit=\u{b0}C=", "--header", "from=a,b", "formats"];
    publish(&cluster, &options, b"roof:1=>20=>21\n=>empty key\nno key\r\nkey=>\n");
    let partition = only_partition(&cluster, "formats");

    let format = r"%t|%p|%o|%k|%K|%s|%S|%h|%%|\x41\t\0\\|%v%V\n";
    let printed = print(&cluster, &["--count", "4", "--format", format, "formats"]);
    let expected = [
        (0, "roof:1", "6", "20=>21"),
        (1, "", "0", "empty key"),
        (2, "", "-1", "no key"),
        (3, "key", "3", ""),
    ]
    .map(|(offset, key, key_len, content)| {
        let len = content.len();
        let begin = format!("formats|{partition}|{offset}|{key}|{key_len}|{content}|{len}|");
        format!("{begin}unit=\u{b0}C=,from=a,b|%|A\t\0\\|{content}{len}\n")
    });
    assert_eq!(String::from_utf8(printed).expect("UTF-8"), expected.concat());

    // With the delimiter of the consumer, a key that contains it is printed unchanged.
    let printed = print(&cluster, &["--count", "4", "--key-delimiter", r":\t", "formats"]);
    let expected = ["roof:1:\t20=>21", ":\tempty key", ":\tno key", "key:\t"];
    let expected = expected.map(|end| format!("formats {partition} {end}\n")).concat();
    assert_eq!(String::from_utf8(printed).expect("UTF-8"), expected);

    let printed = print(&cluster, &["--count", "1", "--format", "%T %d", "formats"]);
    let printed = String::from_utf8(printed).expect("UTF-8");
    let (timestamp, same) = printed.split_once(' ').expect("two timestamps");
    assert_eq!(timestamp, same);
    let now_ms = std::time::UNIX_EPOCH.elapsed().expect("a time after the epoch").as_millis() as i64;
    let age_ms = now_ms - timestamp.parse::<i64>().expect("a timestamp");
    assert!((0..3_600_000).contains(&age_ms), "{timestamp} at {now_ms}");
}

#[test]
fn binary_records_are_divided_by_a_delimiter_and_printed_unchanged() {
    let cluster = Cluster::new().with_tower().with_store();
    let all_octets: Vec<u8> = (0..=255).collect();
    let input = [&b"two\nlines\r\n\0\0"[..], &all_octets[1..], b"\0end\r"].concat();
    publish(&cluster, &["--null", "binary"], &input);
    let partition = only_partition(&cluster, "binary");
    let begin = ["binary ", &partition, " "].concat().into_bytes();

    let records = [&b"two\nlines\r\n"[..], b"", &all_octets[1..], b"end\r"];
    let expected = |end: &[u8]| records.map(|record| [&begin, record, end].concat()).concat();
    assert_eq!(shown(&print(&cluster, &["--count", "4", "--null", "binary"])), shown(&expected(b"\0")));
    let printed = print(&cluster, &["--count", "4", "--delimiter", r"\xff", "binary"]);
    assert_eq!(shown(&printed), shown(&expected(b"\xff")));
    // Each length is a number in four octets.
    let expected = records.map(|record| [&(record.len() as u32).to_be_bytes(), record].concat()).concat();
    assert_eq!(shown(&print(&cluster, &["--count", "4", "--format", "%R%s", "binary"])), shown(&expected));

    // A line feed as the delimiter leaves carriage returns in the records.
    publish(&cluster, &["--delimiter", r"\n", "--key-delimiter", r"\0", "feed"], b"k\xff\0\0a\r\n\r\n;");
    let printed = print(&cluster, &["--count", "3", "--format", "%K %k=%s;", "feed"]);
    assert_eq!(shown(&printed), shown(b"2 k\xff=\0a\r;-1 =\r;-1 =;;"));
}

#[test]
fn records_are_printed_as_json() {
    let cluster = Cluster::new().with_tower().with_store();
    let input = b"k\"1\": \"\\ tab\t \x1b \xc3\xa9\n:\xff\xfe\nk\xff:\xff\xfe\xfd\nno key\n".to_vec();
    publish(&cluster, &["--key-delimiter", ":", "--header", "h=v", "json"], &input);
    publish(&cluster, &["plain"], b"text\n");
    let json = |topic: &str, count: &str| {
        let printed = print(&cluster, &["--json", "--count", count, topic]);
        let printed = String::from_utf8(printed).expect("UTF-8");
        let lines = printed.lines().map(|line| {
            let (before, rest) = line.split_once("\"timestamp\":").expect("a timestamp");
            let digits = rest.chars().take_while(char::is_ascii_digit).count();
            assert_eq!(digits, 13, "milliseconds: {line}");
            format!("{before}T{}\n", &rest[digits..])
        });
        lines.collect::<String>()
    };
    let begin = format!(r#""topic":"json","partition":"{}","offset""#, only_partition(&cluster, "json"));
    let headers = r#""headers":[{"name":"h","value":"v"}]"#;
    let expected = [
        r#"0,T,"key":"k\"1\"",H,"content":" \"\\ tab\t \u001b é""#,
        r#"1,T,"key":"",H,"content_base64":"//4=""#,
        r#"2,T,"key_base64":"a/8=",H,"content_base64":"//79""#,
        r#"3,T,"key":null,H,"content":"no key""#,
    ]
    .map(|rest| format!("{{{begin}:{}}}\n", rest.replace("H", headers)));
    assert_eq!(json("json", "4"), expected.concat());
    let plain = only_partition(&cluster, "plain");
    let expected = format!(
        r#"{{"topic":"plain","partition":"{plain}","offset":0,T,"key":null,"headers":[],"content":"text"}}"#
    );
    assert_eq!(json("plain", "1"), expected + "\n");
}

#[test]
fn a_consumer_with_a_format_ends_when_its_output_pipe_is_closed() {
    let cluster = Cluster::new().with_tower().with_store();
    cluster.publish("closed", &lines("line", 10_000));
    for options in [&["--json"][..], &["--format", "%s\n"], &["--count", "10000"]] {
        let mut consumer = cluster.node(CONSUMER, &[options, &["--from-beginning", "closed"]].concat());
        let mut output = consumer.take_output();
        output.read_exact(&mut [0; 10]).expect("the begin of the output");
        drop(output);
        let output = consumer.expect_success_within("the end of its reader", PROMPT);
        assert_eq!(output.stderr, "", "{options:?}: the consumer logs nothing");
    }
}

/// The numbers in a line about the progress: records, bytes, records/s, bytes/s, unacknowledged.
#[track_caller]
fn numbers(line: &str) -> [f64; 5] {
    let units = ["records", "bytes", "records/s", "bytes/s", "unacknowledged"];
    let mut fields = line.split(", ");
    units.map(|unit| {
        let (number, name) = fields.next().and_then(|field| field.split_once(' ')).expect("a number");
        assert_eq!(name, unit, "{line}");
        number.parse().unwrap_or_else(|_| panic!("{number:?} in {line}"))
    })
}

#[test]
fn a_producer_prints_its_progress() {
    let cluster = Cluster::new().with_tower();
    let mut producer =
        cluster.node(PRODUCER, &["--progress", "--key-delimiter", ":", "--header", "h=v", "progress"]);
    producer.feed(&[b"key:content".to_vec(), b"four".to_vec()]);
    // Nobody acknowledges the records. The lines come while the producer waits for input, and after its end.
    producer.wait_for_log("2 records, 14 bytes, 0 records/s, 0 bytes/s, 2 unacknowledged\n");
    producer.close_input();
    let count = producer.log().lines().count();
    wait_until("more lines after the end of the input", || producer.log().lines().count() >= count + 2);
    let _store = cluster.store("store");
    let output = producer.expect_success("a store came");
    assert_total(&output, [2, 14, 0]);
    assert!(output.stdout.is_empty());
    for line in output.stderr.lines().filter(|line| !line.starts_with("total")) {
        numbers(line);
    }

    // Without the option, the producer prints nothing. With --verbose, it prints the last line.
    assert_eq!(publish(&cluster, &["progress"], b"a\nb\n").stderr, "");
    assert_total(&publish(&cluster, &["--verbose", "progress"], b"a\nb\nccc"), [3, 5, 0]);
}

/// Checks records, bytes and unacknowledged records in the last line of a producer.
#[track_caller]
fn assert_total(output: &Output, expected: [u64; 3]) {
    let last = output.stderr.lines().last().and_then(|line| line.strip_prefix("total: "));
    let last = last.unwrap_or_else(|| panic!("no total in the last line: {}", output.stderr));
    let [records, bytes, record_rate, byte_rate, unacknowledged] = numbers(last);
    assert_eq!([records, bytes, unacknowledged], expected.map(|number| number as f64), "{last}");
    assert!(record_rate >= 0.0 && byte_rate >= record_rate, "{last}");
}

#[test]
fn a_producer_reports_unacknowledged_records_in_its_last_line() {
    let cluster = Cluster::new().with("producer/terminate_unacked", "1").with_tower();
    let mut producer: Program = cluster.node(PRODUCER, &["--progress", "lost"]);
    producer.feed(&lines("line", 100));
    producer.close_input();
    let output = producer.expect_exit("no store", 3, &["100 of 100 records were not acknowledged\n"]);
    assert_total(&output, [100, 690, 100]);
}

#[test]
fn a_producer_refuses_lines_with_too_long_keys_or_contents() {
    let cluster = Cluster::new().with("producer/max_record_bytes", "10").with_tower().with_store();
    let long_key = vec![b'k'; 65_536];
    let input = [
        &long_key[1..],
        b":longest key\n".as_slice(),
        &long_key[1..],
        b":0123456789\n",
        &long_key,
        b":\n",
        b"key:0123456789a\n",
        b"0123456789a\n",
        &long_key,
        &long_key,
        b"\n",
        b"k:last",
    ];
    let producer = {
        let mut producer = cluster.node(PRODUCER, &["--key-delimiter", ":", "long"]);
        producer.feed_octets(input.concat());
        producer.close_input();
        producer
    };
    let texts = [
        "line 1 is not published: its 65547 bytes are more than the 65546 bytes of the longest key and content",
        "line 3 is not published: the 65536 bytes of its key are more than 65535",
        "line 4 is not published: the 11 bytes of its content",
        "line 5 is not published: the 11 bytes of its content",
        "line 6 is not published: its 131072 bytes are more than the 65546 bytes of the longest key and content",
        "5 lines were not published: a key is longer than 65535, or a content longer than ",
    ];
    producer.expect_exit("lines that are too long", 1, &texts);
    let printed = print(&cluster, &["--count", "2", "--format", "%K %s;", "long"]);
    assert_eq!(shown(&printed), "65535 0123456789;1 last;");
}
