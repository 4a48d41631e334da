//! Sizes as etcdutl shows them: SI units, one decimal below ten.

/// `n` bytes for people: `688 kB`, `1.9 MB`. Same rounding as go-humanize's `Bytes`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if n < 10 {
        return format!("{n} B");
    }
    let exponent = (n as f64).log(1000.0).floor();
    let unit = UNITS.get(exponent as usize).copied().unwrap_or("EB");
    let value = (n as f64 / 1000_f64.powf(exponent) * 10.0 + 0.5).floor() / 10.0;
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_read_as_etcdutl_prints_them() {
        let cases = [
            (0, "0 B"),
            (9, "9 B"),
            (10, "10 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (20480, "20 kB"),
            (688_128, "688 kB"),
            (1_822_720, "1.8 MB"),
            (9_950_000, "10 MB"),
            (16_801_792, "17 MB"),
            (2_900_000_000, "2.9 GB"),
        ];
        for (n, expected) in cases {
            assert_eq!(bytes(n), expected, "{n}");
        }
    }
}
