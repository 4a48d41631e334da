//! `verify`: a verdict, what it rests on, and what was found.

use serde::Serialize;

use super::check::{FindingLine, finding_fields, finding_table};
use super::escape::go_quoted;
use super::format::{field, json};
use super::table::{self, Align};
use super::{Format, Output};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckLine {
    /// A stable word for scripts, such as `digest`.
    pub name: String,
    /// Whether it held.
    pub sound: bool,
    /// What was looked at and how it ended, for people.
    pub detail: String,
}

/// The answer of `verify` for one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The path as it was given.
    pub path: String,
    /// Whether nothing that was looked at is damaged.
    pub sound: bool,
    /// Everything that was looked at.
    pub checks: Vec<CheckLine>,
    /// All findings, by place.
    pub findings: Vec<FindingLine>,
}

impl VerifyReport {
    /// The report as text; JSON is one line, so that many paths are many lines.
    pub fn render(&self, output: &Output) -> String {
        match output.format {
            Format::Simple => self.simple(output),
            Format::Table => {
                let word = |sound: bool| if sound { "ok" } else { "DAMAGED" }.to_string();
                let checks: Vec<_> = self
                    .checks
                    .iter()
                    .map(|c| [c.name.clone(), word(c.sound), c.detail.clone()])
                    .collect();
                let mut out = self.verdict(output)
                    + &table::render(["CHECK", "RESULT", "DETAIL"], &checks, Align::Left);
                if !self.findings.is_empty() {
                    out += &finding_table(&self.findings);
                }
                out
            }
            Format::Json => json(self),
            Format::Fields => {
                let check = |c: &CheckLine| {
                    field("Check", &c.name)
                        + &field("CheckSound", c.sound)
                        + &field("Detail", go_quoted(&c.detail))
                };
                field("Path", go_quoted(&self.path))
                    + &field("Sound", self.sound)
                    + &self.checks.iter().map(check).collect::<String>()
                    + &finding_fields(&self.findings)
                    + "\n"
            }
        }
    }

    fn verdict(&self, output: &Output) -> String {
        format!("{}: {}\n", output.text(&self.path), if self.sound { "sound" } else { "DAMAGED" })
    }

    fn simple(&self, output: &Output) -> String {
        let mut out = self.verdict(output);
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        for check in &self.checks {
            let word = if check.sound { "ok" } else { "DAMAGED" };
            out +=
                &format!("  {word:<7}  {:<width$}  {}\n", check.name, output.text(&check.detail));
        }
        for finding in &self.findings {
            let FindingLine { severity, code, place, message } = finding;
            out += &format!(
                "  {severity:<7}  {}: {} [{code}]\n",
                output.text(place),
                output.text(message)
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn damaged() -> VerifyReport {
        VerifyReport {
            path: "a.db".into(),
            sound: false,
            checks: vec![
                CheckLine { name: "digest".into(), sound: false, detail: "SHA-256 differs".into() },
                CheckLine { name: "page-tree".into(), sound: true, detail: "168 pages".into() },
            ],
            findings: vec![FindingLine {
                severity: "damage".into(),
                code: "digest-differs".into(),
                place: "file".into(),
                message: "digest differs, structure sound".into(),
            }],
        }
    }

    fn render(format: Format) -> String {
        damaged().render(&Output { format, escape: true })
    }

    #[test]
    fn verify_in_json_is_one_line_a_path_with_the_fields_of_the_contract() {
        assert_eq!(
            render(Format::Json),
            "{\"path\":\"a.db\",\"sound\":false,\"checks\":[\
             {\"name\":\"digest\",\"sound\":false,\"detail\":\"SHA-256 differs\"},\
             {\"name\":\"page-tree\",\"sound\":true,\"detail\":\"168 pages\"}],\
             \"findings\":[{\"severity\":\"damage\",\"code\":\"digest-differs\",\"where\":\"file\",\
             \"message\":\"digest differs, structure sound\"}]}\n"
        );
    }

    #[test]
    fn verify_in_simple_gives_the_verdict_first() {
        assert_eq!(
            render(Format::Simple),
            "a.db: DAMAGED\n  DAMAGED  digest     SHA-256 differs\n  ok       page-tree  168 pages\n  \
             damage   file: digest differs, structure sound [digest-differs]\n"
        );
    }

    #[test]
    fn verify_in_a_table_boxes_checks_and_findings() {
        let expected = "\
a.db: DAMAGED
┌───────────┬─────────┬─────────────────┐
│   CHECK   │ RESULT  │     DETAIL      │
├───────────┼─────────┼─────────────────┤
│ digest    │ DAMAGED │ SHA-256 differs │
│ page-tree │ ok      │ 168 pages       │
└───────────┴─────────┴─────────────────┘
┌──────────┬────────────────┬───────┬─────────────────────────────────┐
│ SEVERITY │      CODE      │ WHERE │             MESSAGE             │
├──────────┼────────────────┼───────┼─────────────────────────────────┤
│ damage   │ digest-differs │ file  │ digest differs, structure sound │
└──────────┴────────────────┴───────┴─────────────────────────────────┘
";
        assert_eq!(render(Format::Table), expected);
    }
}
