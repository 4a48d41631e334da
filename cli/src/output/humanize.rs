//! Sizes as etcdutl shows them: go-humanize's `Bytes`, powers of 1000.

/// `bytes` in the largest unit that gives at least 1, with one decimal below 10: `688 kB`, `1.0 MB`.
///
/// The unit comes from a quotient of logarithms, as it does there; integers would call 999,999,999,999,999 bytes
/// `1000 TB` where etcdutl says `1.0 PB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let exponent = ((bytes as f64).ln() / 1000f64.ln()).floor();
    let value = (bytes as f64 / 1000f64.powf(exponent) * 10.0 + 0.5).floor() / 10.0;
    let unit = UNITS[(exponent as usize).min(UNITS.len() - 1)];
    let decimals = usize::from(value < 10.0 && exponent >= 0.0);
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_go_humanize() {
        // Printed by go-humanize 1.0.1.
        let cases = [
            (0, "0 B"),
            (1, "1 B"),
            (9, "9 B"),
            (10, "10 B"),
            (99, "99 B"),
            (100, "100 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1001, "1.0 kB"),
            (1049, "1.0 kB"),
            (1050, "1.1 kB"),
            (1499, "1.5 kB"),
            (1500, "1.5 kB"),
            (9949, "9.9 kB"),
            (9950, "10 kB"),
            (9999, "10 kB"),
            (10000, "10 kB"),
            (10499, "10 kB"),
            (10500, "10 kB"),
            (20480, "20 kB"),
            (24576, "25 kB"),
            (99499, "100 kB"),
            (99500, "100 kB"),
            (99999, "100 kB"),
            (679936, "680 kB"),
            (688128, "688 kB"),
            (696320, "696 kB"),
            (999499, "1000 kB"),
            (999500, "1000 kB"),
            (999999, "1000 kB"),
            (1000000, "1.0 MB"),
            (1000001, "1.0 MB"),
            (1950000, "2.0 MB"),
            (4999999, "5.0 MB"),
            (5000000, "5.0 MB"),
            (9949999, "9.9 MB"),
            (9950000, "10 MB"),
            (10000000, "10 MB"),
            (19000000, "19 MB"),
            (82854982, "83 MB"),
            (999500000, "1000 MB"),
            (1000000000, "1.0 GB"),
            (2147483648, "2.1 GB"),
            (8589934592, "8.6 GB"),
            (999999999999, "1000 GB"),
            (1000000000000, "1.0 TB"),
            (999999999999999, "1.0 PB"),
            (1000000000000000, "1.0 PB"),
            (1000000000000001, "1.0 PB"),
            (999999999999999999, "1.0 EB"),
            (1000000000000000000, "1.0 EB"),
            (9223372036854775807, "9.2 EB"),
            (18446744073709551615, "18 EB"),
        ];
        for (size, expected) in cases {
            assert_eq!(bytes(size), expected, "{size}");
        }
    }
}
