//! The guide of README.md, as commands: sections, blocks, lines.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// The section of README.md that is walked, with its subsections.
pub const NIGHT: &str = "The night a control plane dies";

/// What a person pastes, in the order in which it stands there.
#[derive(Clone, Debug, Default)]
pub struct Handbook {
    pub sections: Vec<Section>,
}

#[derive(Clone, Debug)]
pub struct Section {
    pub title: String,
    pub blocks: Vec<Block>,
}

/// What stands between two fences.
#[derive(Clone, Debug)]
pub struct Block {
    /// The line of README.md where the block begins, from 1.
    pub line: usize,
    /// Each a line, or several that end in a backslash but for the last.
    pub commands: Vec<String>,
}

impl Handbook {
    /// Reads the guide of this repository.
    pub fn read() -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Self::of(&text)
    }

    /// Every command of the guide, with the line of its block.
    pub fn commands(&self) -> impl Iterator<Item = (usize, &str)> {
        self.sections
            .iter()
            .flat_map(|section| &section.blocks)
            .flat_map(|block| block.commands.iter().map(|command| (block.line, command.as_str())))
    }

    pub fn section(&self, title: &str) -> Result<&Section> {
        let found = self.sections.iter().find(|section| section.title == title);
        found.with_context(|| format!("README.md has no section {title:?} in its guide"))
    }

    fn of(text: &str) -> Result<Self> {
        let mut sections: Vec<Section> = Vec::new();
        let mut inside = false;
        let mut lines = text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            if let Some(fence) = line.strip_prefix("```") {
                let mut body = Vec::new();
                loop {
                    let (_, line) = lines.next().context("a fence is not closed")?;
                    if line == "```" {
                        break;
                    }
                    body.push(line);
                }
                if inside {
                    ensure!(fence == "sh", "line {}: a block of {fence:?} in the guide", at + 1);
                    let section = sections.last_mut().context("a block before every heading")?;
                    section.blocks.push(Block { line: at + 1, commands: commands(&body)? });
                }
                continue;
            }
            ensure!(!line.trim_start().starts_with("```"), "line {}: an indented fence", at + 1);
            if let Some(title) = line.strip_prefix("## ") {
                inside = title == NIGHT;
            }
            let title = line.strip_prefix("## ").or_else(|| line.strip_prefix("### "));
            if let Some(title) = title.filter(|_| inside) {
                sections.push(Section { title: title.to_owned(), blocks: Vec::new() });
            }
        }
        ensure!(!sections.is_empty(), "README.md has no section {NIGHT:?}");
        Ok(Handbook { sections })
    }
}

/// Lines that end in a backslash belong to the next one.
fn commands(body: &[&str]) -> Result<Vec<String>> {
    let mut commands = Vec::new();
    let mut open = String::new();
    for line in body.iter().filter(|line| !line.is_empty()) {
        open.push_str(line);
        if line.ends_with('\\') {
            open.push('\n');
        } else {
            commands.push(std::mem::take(&mut open));
        }
    }
    ensure!(open.is_empty(), "the last line of a block goes on: {open}");
    ensure!(!commands.is_empty(), "an empty block");
    Ok(commands)
}

/// The programs that a shell runs for `command`: the first word of each part.
pub fn programs(command: &str) -> Result<Vec<String>> {
    let mut programs = Vec::new();
    let mut word = String::new();
    let (mut first, mut quote, mut before) = (true, None, ' ');
    for letter in command.chars().chain([' ']) {
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if letter == '#' && before.is_whitespace() => break,
            None if letter == '\'' || letter == '"' => quote = Some(letter),
            None if "`$(){}<".contains(letter) => {
                bail!("{letter:?} is not among the signs that the guide may use: {command}")
            }
            None if "|&;".contains(letter) || letter.is_whitespace() => {
                if first && !word.is_empty() {
                    programs.push(std::mem::take(&mut word));
                    first = false;
                }
                first |= "|&;".contains(letter);
            }
            None if first => word.push(letter),
            None => {}
        }
        before = letter;
    }
    ensure!(quote.is_none(), "a quote is not closed: {command}");
    Ok(programs)
}
