//! Certificates for a cluster's clients and peers, made with openssl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::run::run;

/// Keys that are made fast.
const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/// Why there is no openssl.
pub fn missing() -> Option<String> {
    match Command::new("openssl").arg("version").output() {
        Ok(ran) if ran.status.success() => None,
        Ok(ran) => Some(format!("openssl: {}", String::from_utf8_lossy(&ran.stderr))),
        Err(error) => Some(format!("openssl: {error}")),
    }
}

/// Who signs the certificates of a cluster.
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// An authority with its files in `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        let authority = Authority { dir: dir.to_owned() };
        let mut command = openssl(&["req", "-x509", "-days", "2", "-subj", "/CN=etcd-ca"]);
        command.args(KEY).arg("-keyout").arg(authority.file("key"));
        done(command.arg("-out").arg(authority.file("crt")))?;
        Ok(authority)
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.dir.join("ca").with_extension(extension)
    }

    /// Puts `ca.crt` and a key and a certificate of `server` and of `peer` into `dir`, for these addresses.
    pub fn issue(&self, dir: &Path, addresses: &[String]) -> Result<()> {
        fs::copy(self.file("crt"), dir.join("ca.crt"))?;
        let names: Vec<String> = addresses.iter().map(|address| format!("IP:{address}")).collect();
        let extensions = self.file("ext");
        let usage = "extendedKeyUsage=serverAuth,clientAuth";
        fs::write(&extensions, format!("subjectAltName={}\n{usage}\n", names.join(",")))?;
        for name in ["server", "peer"] {
            let request = self.file("csr");
            let mut command = openssl(&["req", "-subj", &format!("/CN={name}")]);
            command.args(KEY).arg("-keyout").arg(dir.join(format!("{name}.key")));
            done(command.arg("-out").arg(&request))?;
            let mut command = openssl(&["x509", "-req", "-days", "2", "-CAcreateserial"]);
            command.arg("-in").arg(&request).arg("-extfile").arg(&extensions);
            command.arg("-CA").arg(self.file("crt")).arg("-CAkey").arg(self.file("key"));
            done(command.arg("-out").arg(dir.join(format!("{name}.crt"))))?;
        }
        Ok(())
    }
}

fn openssl(args: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(args);
    command
}

fn done(command: &mut Command) -> Result<()> {
    let ran = run(command)?;
    ensure!(ran.code == Some(0), "{ran}");
    Ok(())
}
