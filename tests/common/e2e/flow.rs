//! A producer and a consumer of the same topic.

use super::{Cluster, DEADLINE, Program, assert_contents, lines};
use std::time::{Duration, Instant};

pub(crate) struct Flow {
    pub(crate) producer: Program,
    pub(crate) consumer: Program,
    pub(crate) published: Vec<Vec<u8>>,
    pub(crate) printed: Vec<Vec<u8>>,
    topic: String,
}

impl Flow {
    pub(crate) fn new(topic: &str, producer: Program, consumer: Program) -> Flow {
        Flow { producer, consumer, published: Vec::new(), printed: Vec::new(), topic: topic.to_owned() }
    }

    pub(crate) fn start(cluster: &Cluster, topic: &str) -> Flow {
        let consumer = cluster.consumer(topic);
        Flow::new(topic, cluster.producer(topic), consumer)
    }

    /// Publishes some lines.
    pub(crate) fn publish(&mut self, count: usize) {
        let begin = self.published.len();
        self.published.extend_from_slice(&lines(&self.topic, begin + count)[begin..]);
        self.producer.feed(&self.published[begin..]);
    }

    /// Waits until the consumer has printed all published lines.
    #[track_caller]
    pub(crate) fn arrive(&mut self, what: &str) {
        self.arrive_within(what, DEADLINE);
    }

    /// As [`Flow::arrive`], but waits at most for `deadline`.
    #[track_caller]
    pub(crate) fn arrive_within(&mut self, what: &str, deadline: Duration) {
        let start = Instant::now();
        let missing = self.published.len() - self.printed.len();
        self.printed.extend(self.consumer.lines(missing, what));
        let elapsed = start.elapsed();
        if elapsed > Duration::from_millis(500) {
            println!("{what}: {missing} records after {} ms", elapsed.as_millis());
        }
        assert!(elapsed <= deadline, "{what}: {elapsed:?}");
    }

    /// Publishes lines for `duration`, and waits until the consumer has printed them.
    #[track_caller]
    pub(crate) fn go_on_for(&mut self, duration: Duration, what: &str) {
        let start = Instant::now();
        while start.elapsed() < duration {
            self.publish(10);
            self.arrive(what);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the producer, and checks the printed lines. Returns the published lines. A store must run, because the
    /// producer waits until its records are acknowledged.
    #[track_caller]
    pub(crate) fn finish(self) -> Vec<Vec<u8>> {
        self.finish_within(DEADLINE)
    }

    #[track_caller]
    pub(crate) fn finish_within(mut self, deadline: Duration) -> Vec<Vec<u8>> {
        self.producer.close_input();
        self.producer.expect_success_within("the end of its input, with a store present", deadline);
        self.consumer.expect_no_more();
        assert_contents(&self.topic, &self.printed, &self.published);
        self.published
    }
}
