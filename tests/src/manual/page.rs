//! One page of Markdown: its blocks, prose, headings, links and tables, each with its line.

/// A page.
pub struct Page {
    /// From the workspace, such as `resources/manual/boot.md`.
    pub path: String,
    lines: Vec<String>,
}

/// What stands between two fences.
pub struct Block<'a> {
    /// Line of the first fence, from 1.
    pub line: usize,
    /// The words after the first fence.
    pub kind: &'a str,
    /// The paragraph before it, down to the fence.
    pub before: String,
    pub lines: &'a [String],
    /// Whether there is a second fence.
    pub closed: bool,
}

/// Rows of cells; the first is the head.
pub struct Table<'a> {
    pub line: usize,
    pub rows: Vec<Vec<&'a str>>,
}

impl Page {
    pub fn new(path: impl Into<String>, text: &str) -> Self {
        Self { path: path.into(), lines: text.lines().map(str::to_owned).collect() }
    }

    /// `path:line` of a line, from 1.
    pub fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }

    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    pub fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut next = 0;
        while let Some(offset) = self.lines[next..].iter().position(|line| is_fence(line)) {
            let open = next + offset;
            let inside = &self.lines[open + 1..];
            let length = inside.iter().position(|line| is_fence(line));
            blocks.push(Block {
                line: open + 1,
                kind: self.lines[open].trim_start_matches('`').trim(),
                before: paragraph_before(&self.lines[..open]),
                lines: &inside[..length.unwrap_or(inside.len())],
                closed: length.is_some(),
            });
            next = (open + 2 + length.unwrap_or(inside.len())).min(self.lines.len());
        }
        blocks
    }

    /// Lines outside of blocks, with their numbers from 1.
    pub fn prose(&self) -> Vec<(usize, &str)> {
        let mut inside = false;
        let mut prose = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            if is_fence(line) {
                inside = !inside;
            } else if !inside {
                prose.push((at + 1, line.as_str()));
            }
        }
        prose
    }

    /// Pieces of code in the prose, with their lines.
    pub fn spans(&self) -> Vec<(usize, &str)> {
        let spans =
            |(at, line): (usize, _)| code_spans(line).into_iter().map(move |code| (at, code));
        self.prose().into_iter().flat_map(spans).collect()
    }

    /// Targets of links, with their lines.
    pub fn links(&self) -> Vec<(usize, String)> {
        let mut links = Vec::new();
        for (at, line) in self.prose() {
            // Code may look like a link.
            let words: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
            for rest in words.split("](").skip(1) {
                links.push((at, rest.split(')').next().unwrap_or_default().to_owned()));
            }
        }
        links
    }

    /// The names by which GitHub's links reach the headings.
    pub fn anchors(&self) -> Vec<String> {
        let heading = |(_, line): (usize, &str)| {
            let text = line.trim_start_matches('#').strip_prefix(' ')?;
            line.starts_with('#').then(|| {
                let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
                text.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
            })
        };
        self.prose().into_iter().filter_map(heading).collect()
    }

    pub fn tables(&self) -> Vec<Table<'_>> {
        let mut tables: Vec<Table<'_>> = Vec::new();
        let mut last = 0;
        for (at, line) in self.prose().into_iter().filter(|(_, line)| line.starts_with('|')) {
            if last == 0 || at != last + 1 {
                tables.push(Table { line: at, rows: Vec::new() });
            }
            last = at;
            let is_rule = line.starts_with("|--") && line.bytes().all(|b| b"|-: ".contains(&b));
            if let Some(table) = tables.last_mut().filter(|_| !is_rule) {
                table.rows.push(cells(line));
            }
        }
        tables
    }

    /// First cells of all rows below `head`, which is the first cell of their table's head.
    pub fn column(&self, head: &str) -> Vec<&str> {
        let tables = self.tables();
        let headed =
            tables.into_iter().filter(|t| t.rows.first().is_some_and(|row| row[0] == head));
        headed.flat_map(|table| table.rows.into_iter().skip(1).map(|row| row[0])).collect()
    }
}

fn is_fence(line: &str) -> bool {
    line.starts_with("```")
}

fn paragraph_before(lines: &[String]) -> String {
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    let begin = lines[..end].iter().rposition(String::is_empty).map_or(0, |blank| blank + 1);
    lines[begin..end].join(" ")
}

/// What stands between backticks.
pub fn code_spans(line: &str) -> Vec<&str> {
    let parts: Vec<_> = line.split('`').collect();
    // A lone backtick at the end opens nothing.
    parts[..parts.len() - 1].iter().copied().skip(1).step_by(2).collect()
}

fn cells(line: &str) -> Vec<&str> {
    let inner = line.strip_prefix('|').unwrap_or(line);
    inner.strip_suffix('|').unwrap_or(inner).split(" | ").map(str::trim).collect()
}
