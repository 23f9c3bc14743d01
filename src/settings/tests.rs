use super::*;
use std::collections::HashMap;

fn read(pairs: &[(&str, &str)]) -> (Settings, Vec<Problem>) {
    let map: HashMap<String, String> =
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Settings::read(|key| map.get(key).cloned())
}

#[test]
fn the_defaults_of_0_1_0_stay() {
    let (settings, problems) = read(&[]);
    assert_eq!(problems, []);
    assert_eq!(settings.tower.sub_address, "tcp://*:5556");
    assert_eq!(settings.tower.pub_address, "tcp://*:5557");
    assert_eq!(settings.beacon.sub_addresses, ["tcp://127.0.0.1:5556"]);
    assert_eq!(settings.beacon.pub_addresses, ["tcp://127.0.0.1:5557"]);
    assert_eq!(settings.beacon.address, "");
    assert_eq!((settings.beacon.interval_ms, settings.beacon.timeout_ms), (1_000, 4_000));
    assert_eq!(settings.beacon.connect_timeout_ms, Some(1_000));
    assert_eq!(settings.producer.head_interval_ms, 1_000);
    assert_eq!((settings.producer.high_watermark, settings.store.high_watermark), (16_384, 1_000_000));
    assert_eq!(
        (settings.producer.max_unsent_bytes, settings.store.max_unsent_bytes),
        (Some(128 << 20), Some(128 << 20))
    );
    assert!(!settings.producer.terminate_unacked);
    assert_eq!(settings.consumer.offset_reset, None);
    assert_eq!(settings.store.db, "storedb");
    assert_eq!((settings.producer.min_stores, settings.producer.max_unacked), (1, UnackedLimit::Default));
    assert_eq!(settings.consumer.reorder_bytes, 64 << 20);
    assert_eq!(settings.consumer.max_partitions_per_peer, 100_000);
    assert_eq!(settings.beacon.max_subscription_bytes, 16 << 20);
    assert_eq!(settings.tower.max_subscription_bytes, 4 << 20);
    assert_eq!((settings.beacon.max_connections, settings.beacon.max_connections_per_host), (10_000, 2_000));
    assert_eq!((settings.tower.max_connections, settings.tower.max_connections_per_host), (10_000, 2_000));
    assert!(settings.store.sync);
    assert_eq!(settings.store.file_mode, crate::storage::FILE_MODE);
    assert_eq!((settings.producer.name, settings.producer.directory.to_str()), (None, Some("producerdb")));
    assert!(settings.producer.sync);
    assert_eq!((settings.producer.start_stores, settings.producer.start_timeout_ms), (1, None));
}

#[test]
fn values_are_read() {
    let (settings, problems) = read(&[
        ("beacon/sub_address", "tcp://a:1, inproc://tower"),
        ("beacon/connect_timeout", "-1"),
        ("consumer/offset/reset", "earliest"),
        ("producer/terminate_unacked", "1"),
        ("tower/sub_address", "tcp://127.0.0.1:*"),
        ("store/sync", "never"),
        ("store/file_mode", "0640"),
        ("producer/min_stores", "2"),
        ("producer/max_unacked_bytes", "1000000"),
        ("producer/max_unsent_bytes", "0"),
        ("store/max_unsent_bytes", "5000000"),
        ("consumer/max_partitions", "1"),
        ("store/max_partitions", "1000"),
        ("store/max_partitions_per_peer", "900"),
        ("producer/name", "station 7"),
        ("producer/directory", "/srv/outboxes"),
        ("producer/sync", "never"),
        ("producer/start_stores", "0"),
        ("producer/start_timeout", "0"),
    ]);
    assert_eq!(problems, []);
    assert_eq!(settings.producer.name.as_deref(), Some(&b"station 7"[..]));
    assert_eq!(
        (settings.producer.directory.to_str(), settings.producer.sync),
        (Some("/srv/outboxes"), false)
    );
    assert_eq!((settings.producer.start_stores, settings.producer.start_timeout_ms), (0, Some(0)));
    assert_eq!(settings.beacon.sub_addresses, ["tcp://a:1", "inproc://tower"]);
    assert_eq!(settings.beacon.connect_timeout_ms, None);
    assert_eq!(settings.consumer.offset_reset, Some(OffsetReset::Earliest));
    assert!(settings.producer.terminate_unacked);
    assert_eq!(settings.tower.sub_address, "tcp://127.0.0.1:*");
    assert!(!settings.store.sync);
    assert_eq!(settings.store.file_mode, 0o640);
    assert_eq!(
        (settings.producer.min_stores, settings.producer.max_unacked),
        (2, UnackedLimit::Bytes(1_000_000))
    );
    assert_eq!(
        (settings.producer.max_unsent_bytes, settings.store.max_unsent_bytes),
        (None, Some(5_000_000))
    );
    assert_eq!((settings.consumer.max_partitions_per_peer, settings.store.max_partitions_per_peer), (1, 900));
}

#[test]
fn hosts_are_names_or_addresses() {
    for host in ["", "127.0.0.1", "host_1.example", "::1", "[fd00::1]", "fe80::7%eth0", "[fe80::7%eth0]"] {
        let (settings, problems) = read(&[("beacon/address", host)]);
        assert_eq!((settings.beacon.address.as_str(), problems), (host, Vec::new()));
    }
}

#[test]
fn values_are_bytes() {
    let (settings, problems) = Settings::read_all(|key| match key {
        "store/db" => vec![b"d\xe9p\xf4t".to_vec()],
        "tower/pub_address" => vec![b"ipc:///run/d\xe9p\xf4t".to_vec()],
        _ => Vec::new(),
    });
    assert_eq!(problems, []);
    assert_eq!(settings.store.db.as_encoded_bytes(), b"d\xe9p\xf4t");
    assert_eq!(settings.tower.pub_address.as_ref(), b"ipc:///run/d\xe9p\xf4t");
    assert_eq!(settings.tower.pub_address.to_string(), "ipc:///run/d\\xe9p\\xf4t");
    let hosts = |key: &str| (key == "beacon/address").then(|| b"h\xf4te".to_vec()).into_iter().collect();
    let (_, problems) = Settings::read_all(hosts);
    assert!(problems[0].to_string().starts_with("beacon/address = h\\xf4te: must "));
}

#[test]
fn two_values_of_one_key_are_reported_and_the_first_is_used() {
    let values = |second: &str| {
        let second = second.to_owned();
        Settings::read_all(move |key| match key {
            "store/db" => vec![b"x".to_vec(), b"x".to_vec(), second.clone().into_bytes()],
            _ => Vec::new(),
        })
    };
    let (settings, problems) = values("y");
    assert_eq!(settings.store.db, "x");
    assert_eq!(problems[0].to_string(), "store/db = y: another value of the same key is x");
    assert_eq!((problems.len(), problems[0].used.as_str()), (1, "x is used"));
    assert_eq!(values("x").1, []);
}

#[test]
fn an_invalid_value_is_reported_and_the_default_is_used() {
    for (key, value) in [
        ("beacon/interval", "soon"),
        ("beacon/interval", "0"),
        ("beacon/timeout", "-5"),
        ("beacon/timeout", "99999999999999999999"),
        ("beacon/address", "two words"),
        ("beacon/address", "*"),
        ("beacon/address", "0.0.0.0"),
        ("beacon/address", "10.0.0.1:5556"),
        ("beacon/address", "tcp://10.0.0.1"),
        ("beacon/sub_address", "nonsense"),
        ("beacon/pub_address", "tcp://a:1,"),
        ("tower/pub_address", "tcp://*:99999"),
        ("tower/pub_address", "tcp://5557"),
        ("consumer/isolation", "committed"),
        ("store/verbose", "yes"),
        ("store/high_watermark", "-1"),
        ("store/db", ""),
        ("store/sync", "sometimes"),
        ("store/file_mode", "700"),
        ("store/file_mode", "0240"),
        ("producer/min_stores", "0"),
        ("producer/name", &"/".repeat(86)),
        ("producer/directory", ""),
        ("producer/sync", "sometimes"),
        ("producer/start_stores", "-1"),
        ("producer/start_timeout", "-2"),
        ("producer/max_unacked_bytes", "-1"),
        ("producer/max_unsent_bytes", "-1"),
        ("store/max_unsent_bytes", "much"),
        ("consumer/reorder_bytes", "0"),
        ("beacon/max_peers", "many"),
        ("beacon/max_pending_peers", "0"),
        ("beacon/max_subscription_bytes", "-1"),
        ("tower/max_subscription_bytes", "all"),
        ("beacon/max_connections", "0"),
        ("tower/max_connections_per_host", "none"),
        ("store/max_record_bytes", "1073741825"),
        ("producer/max_record_bytes", "1073741825"),
        ("producer/compression", "gzip"),
        ("consumer/max_partitions_per_peer", "0"),
    ] {
        let (settings, problems) = read(&[(key, value)]);
        assert_eq!(problems.len(), 1, "{key} = {value}");
        assert!(problems[0].to_string().starts_with(&format!("{key} = {value}: must ")));
        assert_eq!(settings.beacon.interval_ms, 1_000);
        assert_eq!(settings.consumer.offset_reset, None);
        assert!(!problems[0].is_accepted);
    }
}

#[test]
fn invalid_values_that_0_1_0_accepts_are_used_and_reported() {
    let (settings, problems) = read(&[("consumer/offset/reset", "newest")]);
    assert_eq!(settings.consumer.offset_reset, Some(OffsetReset::Earliest));
    let text = problems[0].to_string();
    assert!(
        text.starts_with("consumer/offset/reset = newest: must be earliest, latest, an offset, "),
        "{text}"
    );
    assert_eq!(problems[0].used, "earliest is used, as in libdafka 0.1.0");
    let (settings, mut problems) = read(&[
        ("beacon/interval", " 100ms"),
        ("beacon/timeout", "4 s"),
        ("producer/head_interval", "5.5"),
        ("producer/high_watermark", "7 records"),
        ("store/verbose", "1, please"),
    ]);
    assert_eq!((settings.beacon.interval_ms, settings.beacon.timeout_ms), (100, 4));
    assert_eq!((settings.producer.head_interval_ms, settings.producer.high_watermark), (5, 7));
    assert!(settings.store.verbose);
    assert_eq!(problems.len(), 5);
    assert!(problems.iter().all(|problem| problem.is_accepted));
    // For keys that 0.1.0 does not have, the default is used.
    (_, problems) = read(&[("store/max_record_bytes", "1 GiB")]);
    assert!(problems.len() == 1 && !problems[0].is_accepted);
}

#[test]
fn any_number_except_0_is_true() {
    for (value, is_true) in
        [("0", false), ("1", true), ("2", true), ("-1", true), (" 1 ", true), ("00", false)]
    {
        let (settings, problems) = read(&[("producer/terminate_unacked", value)]);
        assert_eq!((settings.producer.terminate_unacked, problems), (is_true, Vec::new()), "{value}");
    }
}
