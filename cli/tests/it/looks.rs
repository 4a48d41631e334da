//! `report` as a browser lays it out, on a telephone and on a desk; skipped aloud where there is no browser. The dangers: a
//! number that loses a digit at the edge, a name that is cut so that it looks like another, a page that must be pushed
//! sideways, and a key that runs.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    facts::{etcdsnap, text, unpack},
    hostile::{HOSTILE, hostile},
    html::{report, report_all},
};

/// What a page is measured by, in a frame as wide as a screen.
const MEASURE: &str = r#"<!DOCTYPE html><meta charset="utf-8">
<iframe src="report.html" style="border:0;width:WIDTHpx;height:900px"></iframe><pre></pre>
<script>
addEventListener("load", () => {
  const frame = document.querySelector("iframe"), page = frame.contentDocument, bad = [];
  const shown = (e) => e.getClientRects().length > 0;
  if (page.documentElement.scrollWidth > frame.contentWindow.innerWidth) bad.push("the page is too wide");
  for (const e of page.querySelectorAll("dd, dt, td, li, p, h1, h2, pre, b, .card, .axis span"))
    if (shown(e) && e.clientWidth > 0 && e.scrollWidth > e.clientWidth) bad.push("cut: " + e.textContent);
  let labels = 0;
  for (const e of page.querySelectorAll(".n > span, .title > span")) {
    const is = e.getBoundingClientRect(), room = e.parentElement.getBoundingClientRect();
    if (!shown(e) || is.top >= room.bottom) continue;
    labels += 1;
    if (is.right > room.right + 0.5 || is.bottom > room.bottom + 0.5 || e.scrollWidth > e.clientWidth)
      bad.push("label: " + e.textContent);
  }
  document.querySelector("pre").textContent = JSON.stringify({ bad, labels });
});
</script>"#;

/// A browser as it comes.
fn browser(test: &str) -> Option<&'static str> {
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        eprintln!("looks: SKIPPED {test}: no chromium on PATH");
    }
    found
}

/// The document that `browser` makes of `page`.
fn dom(browser: &str, page: &Path, more: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(more)
        .args(["--dump-dom", &format!("file://{}", page.display())])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// How many labels the page in `dir` shows on a screen so wide, after nothing in it was found to be cut.
fn labels(browser: &str, dir: &Path, width: u32) -> u64 {
    let measure = dir.join("measure.html");
    fs::write(&measure, MEASURE.replace("WIDTH", &width.to_string())).unwrap();
    let more = ["--allow-file-access-from-files", "--window-size=1400,1000"];
    let dom = dom(browser, &measure, &more);
    let (_, found) = dom.split_once("<pre>").expect(&dom);
    let found = found.split_once("</pre>").unwrap().0;
    let found = found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let found: Value = serde_json::from_str(&found).expect(&dom);
    assert_eq!(found["bad"], serde_json::json!([]), "at {width} px");
    found["labels"].as_u64().unwrap()
}

#[test]
fn nothing_is_cut_on_a_telephone_or_on_a_desk() {
    let Some(browser) = browser("nothing_is_cut_on_a_telephone_or_on_a_desk") else { return };
    let dir = unpack("kube-36");
    let out = dir.path().join("report.html");
    // A store whose revisions have ten digits.
    let restored = dir.path().join("restored");
    let snapshot = dir.path().join("snapshot.db");
    let args = ["restore", text(&snapshot), "--data-dir", text(&restored), "--bump-revision"];
    let made = etcdsnap(&[args.as_slice(), &["1000000000", "--mark-compacted"]].concat());
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    let (code, html) = report(&restored, &out, &[]);
    assert!(code == Some(0) && html.contains("1,000,000,792"), "{html}");
    for (width, least) in [(390, 8), (1280, 20)] {
        let labels = labels(browser, dir.path(), width);
        assert!(labels >= least, "{labels} labels at {width} px");
    }
    let missing = dir.path().join("missing");
    let data = dir.path().join("data");
    let (code, _) = report_all(&[&data, &restored, &missing], &out, &[]);
    assert_eq!(code, Some(1));
    for width in [390, 1280] {
        labels(browser, dir.path(), width);
    }
    fs::write(&snapshot, hostile()).unwrap();
    report(&snapshot, &out, &[]);
    for width in [390, 1280] {
        labels(browser, dir.path(), width);
    }
}

#[test]
fn a_browser_runs_nothing_that_keys_say() {
    let Some(browser) = browser("a_browser_runs_nothing_that_keys_say") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("hostile.db"), dir.path().join("report.html"));
    fs::write(&input, hostile()).unwrap();
    report(&input, &out, &[]);
    let dom = dom(browser, &out, &[]);
    assert!(dom.contains("<title>etcd report: "), "no page: {dom}");
    assert!(
        !dom.contains("<title>owned") && !dom.contains("<img") && !dom.contains("<svg onload"),
        "{dom}"
    );
    for (_, expected) in HOSTILE {
        let escaped = expected.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        assert!(dom.contains(&format!("<bdi>{escaped}</bdi>")), "{escaped}");
    }
}
