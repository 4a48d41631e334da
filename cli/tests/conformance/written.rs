//! Files of our bulk writer, at every page size a machine may have: bbolt and etcdutl take them,
//! and a server lives on in them.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use etcdsnap_engine::bolt::write::{BucketOptions, Fill, FreelistKind, Options, PageSize, Writer};
use etcdsnap_engine::bolt::{Bucket, Db, TxId};
use etcdsnap_engine::limits::Limits;
use sha2::{Digest, Sha256};

use crate::boot::{self, Expected};
use crate::dataset::loaded;
use crate::ours;
use crate::peers::{self, Line, Needs};
use crate::restore_flags::RestoreFlags;
use crate::restoring::done;
use crate::server::free_url;
use crate::suite::Suite;

pub fn trials(suite: &mut Suite) {
    for kib in [1, 4, 16, 64] {
        suite.add(
            format!("written::peers_take_files_with_pages_of_{kib}_kib"),
            Needs::lines(&Line::ALL).and_bbolt(),
            move |dir| peers_take(kib * 1024, dir),
        );
    }
    suite.add(
        "written::a_restored_db_with_pages_of_64_kib_boots",
        Needs::lines(&[Line::V36]),
        large_pages_boot,
    );
}

/// The buckets of `original`, written anew, with a digest as a snapshot has it.
fn rewrite(original: &Path, options: Options, fill: Fill, to: &Path) -> Result<()> {
    let bytes = fs::read(original)?;
    let db = Db::from_bytes(&bytes, Limits::default())?;
    let mut writer = Writer::new(std::io::Cursor::new(Vec::new()), options)?;
    for named in db.root().items() {
        let named = named?;
        let mut bucket = writer.bucket(named.key, BucketOptions { fill, sequence: 0 })?;
        for pair in Bucket::from_item(db, &named)?.items() {
            let pair = pair?;
            bucket.put(pair.key, pair.value)?;
        }
        bucket.close()?;
    }
    let (file, _) = writer.finish()?.seal(TxId(7))?;
    let file = file.into_inner();
    let mut out = fs::File::create(to)?;
    out.write_all(&file)?;
    out.write_all(&Sha256::digest(&file))?;
    Ok(())
}

fn peers_take(page_size: u32, dir: &Path) -> Result<()> {
    let set = loaded(Line::V36)?;
    let wanted = peers::status(Line::V37, &set.snapshot)?;
    for fill in [Fill::HALF, Fill::DENSE, Fill::FULL] {
        for freelist in [FreelistKind::Absent, FreelistKind::Stored] {
            for inline in [true, false] {
                let page_size = PageSize::new(page_size)?;
                let options = Options { page_size, inline, freelist, ..Options::default() };
                let what = || format!("{fill:?} {options:?}");
                let path = dir.join("written.db");
                rewrite(&set.snapshot, options, fill, &path).with_context(what)?;
                peers::bbolt_check(&path).with_context(what)?;
                for line in [Line::V35, Line::V37] {
                    let status = peers::status(line, &path).with_context(what)?;
                    ensure!(status.hash == wanted.hash, "{}: {status:?}, {wanted:?}", what());
                    ensure!(status.total_size % u64::from(page_size.bytes()) == 0, "{status:?}");
                }
            }
        }
    }
    Ok(())
}

fn large_pages_boot(dir: &Path) -> Result<()> {
    let set = loaded(Line::V36)?;
    let path = dir.join("large.db");
    let options = Options { page_size: PageSize::new(65536)?, ..Options::default() };
    rewrite(&set.snapshot, options, Fill::DENSE, &path)?;
    let flags = RestoreFlags::single(dir.join("data"), &free_url()?);
    done(ours::restore(&path, &flags, &[])?)?;
    boot::single_member_serves(Line::V36, &flags, &Expected::from(&*set))
}
