//! A page's console blocks, in the order in which they are run.

/// A command with what the page says that it prints.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Where it is in the page.
    pub(super) line: usize,
    /// The command, which may have several lines.
    pub(super) text: String,
    /// The lines that it prints.
    pub(super) expected: Vec<String>,
    /// Whether it is repeated until it prints that.
    pub(super) polled: bool,
}

/// A step of the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Run a command and compare what it prints.
    Run(Command),
    /// Stop the server.
    StopServer,
}

/// A page as its session runs it.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The flags of the server that runs beside it, if one does.
    pub(super) server: Option<String>,
    /// The steps.
    pub(super) steps: Vec<Step>,
    /// Why blocks are not run, one reason each.
    pub(super) not_executed: Vec<String>,
}

/// What the comment before a block asks for.
#[derive(Default)]
struct Marks {
    polled: bool,
    not_executed: Option<String>,
}

impl Page {
    /// Reads a page.
    pub(super) fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut marks = Marks::default();
        let mut lines = (1..).zip(text.lines());
        while let Some((_, line)) = lines.next() {
            let trimmed = line.trim_start();
            if let Some(comment) = trimmed.strip_prefix("<!-- ") {
                let comment = comment.strip_suffix(" -->").unwrap();
                page.take_comment(comment, &mut marks);
            } else if let Some(language) = trimmed.strip_prefix("```") {
                let indent = line.len() - trimmed.len();
                let block: Vec<_> = lines
                    .by_ref()
                    .take_while(|(_, line)| line.trim_start() != "```")
                    .map(|(number, line)| (number, line.get(indent..).unwrap_or_default()))
                    .collect();
                let marks = std::mem::take(&mut marks);
                match marks.not_executed {
                    Some(reason) => page.not_executed.push(reason),
                    None if language == "console" => page.add_block(&block, marks.polled),
                    None => {}
                }
            }
        }
        page
    }

    fn take_comment(&mut self, comment: &str, marks: &mut Marks) {
        if let Some(flags) = comment.strip_prefix("server:") {
            self.server = Some(flags.trim().to_owned());
        } else if let Some(reason) = comment.strip_prefix("not executed: ") {
            marks.not_executed = Some(reason.to_owned());
        } else if comment.starts_with("polled: ") {
            marks.polled = true;
        } else if comment == "server stopped" {
            self.steps.push(Step::StopServer);
        } else {
            panic!("no such comment: {comment}");
        }
    }

    fn add_block(&mut self, block: &[(usize, &str)], polled: bool) {
        let mut commands: Vec<Command> = Vec::new();
        let mut continues = false;
        let mut here_document = None;
        for (line, text) in block {
            let new = text.strip_prefix("$ ");
            match (new, commands.last_mut()) {
                (Some(text), _) => commands.push(Command {
                    line: *line,
                    text: text.to_owned(),
                    expected: Vec::new(),
                    polled,
                }),
                (None, Some(command)) if continues => {
                    command.text.push('\n');
                    command.text.push_str(text);
                    here_document = here_document.filter(|end| end != text);
                }
                (None, Some(command)) => {
                    command.expected.push((*text).to_owned());
                    continue;
                }
                (None, None) => panic!("line {line}: output without a command: {text}"),
            }
            if let Some((_, end)) = new.and_then(|text| text.split_once("<<'")) {
                here_document = end.strip_suffix('\'');
            }
            continues = here_document.is_some() || text.ends_with('\\');
        }
        self.steps.extend(commands.into_iter().map(Step::Run));
    }
}

#[test]
fn blocks_become_commands_with_what_they_print() {
    let page = Page::parse(
        "# T\n<!-- server: --a b -->\n```console\n$ a \\\n    b\nc\n\nd\n$ e <<'END'\nf\nEND\n```\n\
         <!-- not executed: why -->\n```console\n$ f\n```\n```sh\n$ g\n```\n\
         <!-- server stopped -->\n<!-- polled: later -->\n  ```console\n  $ h\n  i\n  ```\n",
    );
    let command = |line, text: &str, expected: &[&str], polled| {
        Step::Run(Command {
            line,
            text: text.to_owned(),
            expected: expected.iter().map(ToString::to_string).collect(),
            polled,
        })
    };
    assert_eq!(page.server.as_deref(), Some("--a b"));
    assert_eq!(page.not_executed, ["why"]);
    let expected = [
        command(4, "a \\\n    b", &["c", "", "d"], false),
        command(9, "e <<'END'\nf\nEND", &[], false),
        Step::StopServer,
        command(23, "h", &["i"], true),
    ];
    assert_eq!(page.steps, expected);
}
