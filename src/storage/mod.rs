//! The partitioned record log.
