//! Findings, and `check`: the page tree alone, in bbolt's words.

use etcdsnap_engine::finding::{Finding, Severity};
use serde::Serialize;

use super::escape::go_quoted;
use super::format::{field, json};
use super::table::{self, Align};
use super::{Format, Output};

/// One finding, ready to print.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FindingLine {
    /// `damage`, `warning` or `note`.
    pub severity: String,
    /// A stable word for scripts.
    pub code: String,
    /// The place, such as `page 3`.
    #[serde(rename = "where")]
    pub place: String,
    /// What was expected and found.
    pub message: String,
}

impl From<&Finding> for FindingLine {
    fn from(finding: &Finding) -> Self {
        Self {
            severity: finding.severity.to_string(),
            code: finding.code.to_string(),
            place: finding.place.to_string(),
            message: finding.message.clone(),
        }
    }
}

/// Whether nothing among `findings` is damage.
pub fn is_sound<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> bool {
    findings.into_iter().all(|finding| finding.severity != Severity::Damage)
}

/// The answer of `check` for one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The path as it was given.
    pub path: String,
    /// Whether no finding is damage.
    pub sound: bool,
    /// All findings, by place.
    pub findings: Vec<FindingLine>,
}

impl CheckReport {
    /// The report as text. In `simple` it is what `bbolt check` prints.
    pub fn render(&self, output: &Output) -> String {
        match output.format {
            Format::Simple if self.findings.is_empty() => "OK\n".to_string(),
            Format::Simple => {
                let lines =
                    self.findings.iter().map(|finding| output.text(&finding.message) + "\n");
                lines.collect::<String>() + &format!("{} errors found\n", self.findings.len())
            }
            Format::Table => finding_table(&self.findings),
            Format::Json => json(self),
            Format::Fields => {
                field("Path", go_quoted(&self.path))
                    + &field("Sound", self.sound)
                    + &finding_fields(&self.findings)
            }
        }
    }
}

/// Findings in a box, whose header stands alone when there are none.
pub(super) fn finding_table(findings: &[FindingLine]) -> String {
    let rows: Vec<_> = findings
        .iter()
        .map(|f| [f.severity.clone(), f.code.clone(), f.place.clone(), f.message.clone()])
        .collect();
    table::render(["SEVERITY", "CODE", "WHERE", "MESSAGE"], &rows, Align::Left)
}

/// Findings as lines of the `fields` format.
pub(super) fn finding_fields(findings: &[FindingLine]) -> String {
    let one = |f: &FindingLine| {
        [
            field("Severity", &f.severity),
            field("Code", &f.code),
            field("Where", go_quoted(&f.place)),
            field("Message", go_quoted(&f.message)),
        ]
        .concat()
    };
    findings.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcdsnap_engine::finding::Place;

    fn report(findings: &[Finding]) -> CheckReport {
        let sound = is_sound(findings);
        CheckReport {
            path: "db".into(),
            sound,
            findings: findings.iter().map(Into::into).collect(),
        }
    }

    fn render(report: &CheckReport, format: Format) -> String {
        report.render(&Output { format, escape: true })
    }

    #[test]
    fn check_in_simple_is_what_bbolt_prints() {
        assert_eq!(render(&report(&[]), Format::Simple), "OK\n");
        let damaged = report(&[
            Finding::damage("already-freed", Place::Page(3), "page 3: already freed"),
            Finding::damage("unreachable-unfreed", Place::Page(4), "page 4: unreachable unfreed"),
        ]);
        assert_eq!(
            render(&damaged, Format::Simple),
            "page 3: already freed\npage 4: unreachable unfreed\n2 errors found\n"
        );
    }

    #[test]
    fn findings_in_json_have_their_four_fields_and_nothing_is_escaped_twice() {
        let damaged = report(&[Finding::damage("odd", Place::Page(3), "key \u{1b}[2J")]);
        assert_eq!(
            render(&damaged, Format::Json),
            "{\"path\":\"db\",\"sound\":false,\"findings\":[{\"severity\":\"damage\",\"code\":\"odd\",\
             \"where\":\"page 3\",\"message\":\"key \\u001b[2J\"}]}\n"
        );
    }

    #[test]
    fn notes_and_warnings_leave_a_file_sound() {
        assert!(
            report(&[
                Finding::note("a", Place::File, "a note"),
                Finding::warning("b", Place::File, "a warning"),
            ])
            .sound
        );
        assert!(!report(&[Finding::damage("c", Place::File, "damage")]).sound);
    }
}
