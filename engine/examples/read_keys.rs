//! Lists the live keys of a db file or snapshot with their last change.
//!
//! ```text
//! cargo run -p etcdsnap-engine --example read_keys -- backup.db
//! ```
//!
//! Shows the way down: file → database → etcd's buckets → key space → records.

use std::error::Error;

use etcdsnap_engine::{
    limits::Limits,
    mvcc::{KeyIndex, KeySpace},
    progress::Silent,
    schema::Store,
    snapshot::Image,
    source::Source,
};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: read_keys FILE")?;
    let source = Source::read(&path)?;
    let image = Image::split(source.bytes());
    let space = KeySpace::open(&Store::new(image.db(Limits::default())?))?;

    // Any revision can be asked for, not only the latest.
    let index = KeyIndex::build(space.bucket(), space.current_revision(), &Silent)?;
    let mut lines = Vec::new();
    index.for_each_live(|record| {
        let kv = &record.kv;
        lines.push(format!(
            "{} version {} revision {} ({} bytes)",
            kv.key.escape_ascii(),
            kv.version,
            kv.mod_revision,
            kv.value.len()
        ));
    })?;
    lines.sort();

    // Nothing is shown before it is known that the file held still while it was read.
    source.check()?;
    for line in &lines {
        println!("{line}");
    }
    println!("{} keys at revision {}", lines.len(), space.current_revision());
    Ok(())
}
