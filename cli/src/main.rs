//! `etcdsnap`: inspect, verify, snapshot and restore etcd data offline.

fn main() {}
