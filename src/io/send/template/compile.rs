//! From a template's text to instructions of the template library, without its unbounded steps.
//!
//! Three things happen here that the library does not do. The size and the nesting of a template are counted on its
//! tokens, before the recursive parser sees them. Literals and the text between tags become variables, because the
//! library calculates with constants while it compiles (`"x" * 100000000`) and counts no text that it copies. Operators
//! and displays that make new values or look through whole ones become calls of the functions of [`super::budget`], which
//! count what they make and look at.

use super::budget::{CHECKED, HOOKS};
use minijinja::machinery::{CodeGenerator, Instruction, Instructions, Token, parse, tokenize};
use minijinja::{Error, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Bytes of a template. The longest that people have written has two thousand.
pub(super) const LONGEST_TEMPLATE: usize = 16 * 1024;
/// Brackets inside brackets and blocks inside blocks. The parser needs some kilobytes of stack for each.
pub(super) const DEEPEST: usize = 64;
/// Operators, filters and dots in a row, and `elif`s of one `if`. Each is one step further down the tree.
pub(super) const LONGEST_CHAIN: usize = 256;
/// Names that templates may not use.
pub(super) const RESERVED: &str = "__annunciator_";

/// A template that is ready to be compiled.
#[derive(Debug)]
pub(super) struct Prepared {
    source: String,
    literals: Vec<Value>,
}

/// Why a text is no template.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The limits of this program, in words.
    Limit(String),
    /// What the library says.
    Syntax(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Syntax(error)
    }
}

impl Prepared {
    /// Checks a text and takes its constants out.
    ///
    /// # Errors
    /// The text is too long, nested too deeply, or no template.
    pub(super) fn new(text: &str) -> Result<Prepared, Refusal> {
        if text.len() > LONGEST_TEMPLATE {
            let length = text.len();
            return Err(Refusal::Limit(format!("it has {length} bytes, a template has {LONGEST_TEMPLATE} at most")));
        }
        check_nesting(text)?;
        // Mistakes are told in terms of the text as it was written.
        parse(text, NAME, Default::default())?;
        Writer::default().write(text)
    }

    /// The template's instructions.
    ///
    /// # Errors
    /// The library does not understand the text.
    pub(super) fn instructions(&self) -> Result<Instructions<'_>, Error> {
        let tree = parse(&self.source, NAME, Default::default())?;
        let mut generator = CodeGenerator::new(NAME, &self.source);
        generator.compile_stmt(&tree);
        let (mut instructions, _) = generator.finish();
        self.limit(&mut instructions);
        Ok(with_looks(instructions))
    }

    /// Puts calls in the place of instructions.
    fn limit(&self, instructions: &mut Instructions<'_>) {
        let targets = jump_targets(instructions);
        let mut is_behind_name = false;
        let mut at = 0;
        while let Some(instruction) = instructions.get_mut(at) {
            let is_name = matches!(instruction, Instruction::Lookup(name) if self.is_text(name));
            // The library names what `event["x"]` has not; only texts and lists are long, and these have numbers.
            let is_member = is_behind_name && !targets.contains(&at);
            if !(is_member && matches!(instruction, Instruction::GetItem))
                && let Some(call) = hooked(instruction)
            {
                *instruction = call;
            }
            (is_behind_name, at) = (is_name, at + 1);
        }
    }

    /// True for the name of a constant that is a text.
    fn is_text(&self, name: &str) -> bool {
        let number = name.strip_prefix(RESERVED).and_then(|rest| rest.strip_suffix('_'));
        let literal = number.and_then(|number| self.literals.get(number.parse::<usize>().ok()?));
        literal.is_some_and(|literal| literal.as_str().is_some())
    }

    /// The constants, by the names under which the template looks them up.
    pub(super) fn constants(&self) -> Value {
        let named = self.literals.iter().enumerate().map(|(number, value)| (literal_name(number), value.clone()));
        Value::from_object(named.collect::<BTreeMap<String, Value>>())
    }

    /// An error's text with constants in the place of their names.
    pub(super) fn with_constants(&self, text: String) -> String {
        self.literals
            .iter()
            .enumerate()
            .fold(text, |text, (number, value)| text.replace(&literal_name(number), &format!("{value:?}")))
    }
}

/// The library's name for templates that have none.
const NAME: &str = "<string>";

fn literal_name(number: usize) -> String {
    format!("{RESERVED}{number}_")
}

/// The call in the place of an instruction that makes a value, or looks through one.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's other instructions take the same time for any value")]
fn hooked(instruction: &Instruction<'_>) -> Option<Instruction<'static>> {
    let (name, arguments) = match instruction {
        Instruction::Add => (HOOKS.add, 2),
        Instruction::Mul => (HOOKS.multiply, 2),
        Instruction::StringConcat => (HOOKS.concatenate, 2),
        Instruction::Slice => (HOOKS.slice, 4),
        Instruction::GetItem => (HOOKS.item, 2),
        Instruction::In => (HOOKS.contains, 2),
        Instruction::Eq => (HOOKS.equal, 2),
        Instruction::Ne => (HOOKS.different, 2),
        Instruction::Lt => (HOOKS.less, 2),
        Instruction::Lte => (HOOKS.at_most, 2),
        Instruction::Gt => (HOOKS.greater, 2),
        Instruction::Gte => (HOOKS.at_least, 2),
        Instruction::BuildList(Some(count)) => (HOOKS.list, *count),
        Instruction::BuildTuple(Some(count)) => (HOOKS.tuple, *count),
        Instruction::BuildMap(pairs) => (HOOKS.map, pairs * 2),
        _ => return None,
    };
    Some(Instruction::CallFunction(name, Some(u16::try_from(arguments).ok()?)))
}

/// The place to which an instruction may go.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library's other instructions go on to the next one")]
fn target<'i>(instruction: &'i mut Instruction<'_>) -> Option<&'i mut u32> {
    match instruction {
        Instruction::Jump(target)
        | Instruction::JumpIfFalse(target)
        | Instruction::JumpIfFalseOrPop(target)
        | Instruction::JumpIfTrueOrPop(target)
        | Instruction::Iterate(target) => Some(target),
        _ => None,
    }
}

fn jump_targets(instructions: &mut Instructions<'_>) -> BTreeSet<u32> {
    let mut targets = BTreeSet::new();
    let mut at = 0;
    while let Some(instruction) = instructions.get_mut(at) {
        targets.extend(target(instruction).copied());
        at += 1;
    }
    targets
}

/// Comparisons in a row (`1 < x < 3`) keep an operand for the next one, which no call can do: both are looked at before.
fn with_looks(mut instructions: Instructions<'_>) -> Instructions<'_> {
    let is_chained = |instruction: &Instruction<'_>| matches!(instruction, Instruction::CompareAndPreserve(_));
    let all = (0..).map_while(|at| instructions.get(at).map(|instruction| (at, instruction)));
    let chained: Vec<u32> = all.filter(|(_, instruction)| is_chained(instruction)).map(|(at, _)| at).collect();
    if chained.is_empty() {
        return instructions;
    }
    let look =
        [Instruction::Swap, Instruction::DupTop, Instruction::CallFunction(CHECKED, Some(1)), Instruction::DiscardTop];
    let added = look.len() * 2;
    let mut all = Instructions::new(instructions.name(), instructions.source());
    let mut at = 0;
    while let Some(instruction) = instructions.get_mut(at) {
        if let Some(target) = target(instruction) {
            // A jump to a comparison goes to what looks at its operands.
            let before = chained.partition_point(|place| place < target);
            *target = target.saturating_add(u32::try_from(before * added).unwrap_or(u32::MAX));
        }
        let instruction = instruction.clone();
        let line = instructions.get_line(at).and_then(|line| u16::try_from(line).ok()).unwrap_or_default();
        let looks = look.iter().chain(&look).filter(|_| is_chained(&instruction));
        let (span, looks): (_, Vec<_>) = (instructions.get_span(at), looks.cloned().collect());
        for instruction in looks.into_iter().chain([instruction]) {
            match span {
                Some(span) => all.add_with_span(instruction, span),
                None => all.add_with_line(instruction, line),
            };
        }
        at += 1;
    }
    all
}

/// Counts how deep the parser would go.
fn check_nesting(text: &str) -> Result<(), Refusal> {
    let mut depth = Depth::default();
    for token in tokenize(text, false, Default::default()) {
        // The parser meets this error, too, and no later token.
        let Ok((token, span)) = token else { return Ok(()) };
        if let Some(what) = depth.take(&token) {
            let line = if span.start_line > 1 { format!(" (line {} of it)", span.start_line) } else { String::new() };
            return Err(Refusal::Limit(format!("{what}{line}")));
        }
    }
    Ok(())
}

/// Open blocks and brackets.
#[derive(Debug, Default)]
struct Depth {
    /// For each open block the `elif`s in it.
    blocks: Vec<usize>,
    /// For the tag and each open bracket in it the operators in a row.
    brackets: Vec<usize>,
    /// Whether the next token is the first one of a block's tag.
    is_at_keyword: bool,
}

impl Depth {
    /// Takes a token. Some: the limit that it exceeds.
    fn take(&mut self, token: &Token<'_>) -> Option<String> {
        let is_keyword = std::mem::take(&mut self.is_at_keyword);
        match token {
            Token::VariableStart | Token::BlockStart => {
                self.brackets = vec![0];
                self.is_at_keyword = matches!(token, Token::BlockStart);
            }
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => {
                // A call or an index is one more step of the chain before it.
                self.operator();
                self.brackets.push(0);
            }
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                self.brackets.pop();
            }
            Token::Comma => {
                if let Some(operators) = self.brackets.last_mut() {
                    *operators = 0;
                }
            }
            Token::Ident(name) if is_keyword => self.keyword(name),
            Token::Ident("not" | "and" | "or" | "in" | "is" | "if" | "else")
            | Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::FloorDiv
            | Token::Pow
            | Token::Mod
            | Token::Dot
            | Token::Tilde
            | Token::Pipe
            | Token::Eq
            | Token::Ne
            | Token::Gt
            | Token::Gte
            | Token::Lt
            | Token::Lte => self.operator(),
            Token::Ident(name) if name.starts_with(RESERVED) => {
                return Some(format!("{name} cannot be a name: those that begin with {RESERVED} are the program's"));
            }
            Token::TemplateData(_)
            | Token::VariableEnd
            | Token::BlockEnd
            | Token::Ident(_)
            | Token::Str(_)
            | Token::String(_)
            | Token::Int(_)
            | Token::Int128(_)
            | Token::Float(_)
            | Token::Colon
            | Token::Assign => {}
        }
        if self.blocks.len() + self.brackets.len() > DEEPEST {
            return Some(format!(
                "it is nested too deeply: {DEEPEST} blocks and brackets inside each other are the most"
            ));
        }
        let in_a_row = self.blocks.iter().sum::<usize>() + self.brackets.iter().sum::<usize>();
        (in_a_row > LONGEST_CHAIN)
            .then(|| format!("it has more than {LONGEST_CHAIN} operators in one expression: use set for parts of it"))
    }

    fn keyword(&mut self, name: &str) {
        match name {
            "if" | "for" | "with" | "filter" | "autoescape" => self.blocks.push(0),
            "elif" => {
                if let Some(branches) = self.blocks.last_mut() {
                    *branches += 1;
                }
            }
            "endif" | "endfor" | "endwith" | "endfilter" | "endautoescape" => {
                self.blocks.pop();
            }
            // A set with a body may contain others; the parser counts these itself.
            _ => {}
        }
    }

    fn operator(&mut self) {
        if let Some(operators) = self.brackets.last_mut() {
            *operators += 1;
        }
    }
}

/// Writes a template anew, with variables for constants.
#[derive(Debug, Default)]
struct Writer {
    source: String,
    literals: Vec<Value>,
    line: u16,
    /// Open brackets of this tag.
    brackets: usize,
    /// Whether this tag is `set` with a value, and whether its value has begun.
    set: Option<bool>,
    is_at_keyword: bool,
    is_behind_dot: bool,
}

impl Writer {
    fn write(mut self, text: &str) -> Result<Prepared, Refusal> {
        self.line = 1;
        for token in tokenize(text, false, Default::default()) {
            let (token, span) = token?;
            self.token(token, span.start_line);
        }
        Ok(Prepared { source: self.source, literals: self.literals })
    }

    fn token(&mut self, token: Token<'_>, line: u16) {
        let is_keyword = std::mem::take(&mut self.is_at_keyword);
        let is_behind_dot = std::mem::take(&mut self.is_behind_dot);
        match token {
            Token::TemplateData(text) => {
                self.put("{{");
                self.go_to(line);
                self.literal(Value::from(text));
                // A space behind it would be text.
                self.source.push_str("}}");
            }
            Token::VariableStart => {
                self.put("{{");
                self.go_to(line);
            }
            Token::BlockStart => {
                self.put("{%");
                self.go_to(line);
                (self.is_at_keyword, self.set, self.brackets) = (true, None, 0);
            }
            Token::VariableEnd => self.source.push_str("}}"),
            Token::BlockEnd => {
                if self.set.take() == Some(true) {
                    self.put("))");
                }
                self.source.push_str("%}");
            }
            Token::Ident(name) => {
                self.go_to(line);
                self.put(name);
                if is_keyword && name == "set" {
                    self.set = Some(false);
                }
            }
            Token::Str(text) => self.literal(Value::from(text)),
            Token::String(text) => self.literal(Value::from(&*text)),
            Token::Int(number) if is_behind_dot => self.put(&number.to_string()),
            Token::Int(number) => self.literal(Value::from(number)),
            Token::Int128(number) => self.literal(Value::from(*number)),
            Token::Float(number) => self.literal(Value::from(number)),
            Token::Assign if self.set == Some(false) && self.brackets == 0 => {
                self.set = Some(true);
                self.put("= ");
                self.put(CHECKED);
                self.put("((");
            }
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => {
                self.brackets += 1;
                self.symbol(&token);
            }
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                self.brackets = self.brackets.saturating_sub(1);
                self.symbol(&token);
            }
            Token::Dot => {
                self.is_behind_dot = true;
                self.symbol(&token);
            }
            Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::FloorDiv
            | Token::Pow
            | Token::Mod
            | Token::Comma
            | Token::Colon
            | Token::Tilde
            | Token::Assign
            | Token::Pipe
            | Token::Eq
            | Token::Ne
            | Token::Gt
            | Token::Gte
            | Token::Lt
            | Token::Lte => self.symbol(&token),
        }
    }

    /// Lines are counted inside tags: between them they would be text.
    fn go_to(&mut self, line: u16) {
        while self.line < line {
            self.source.push('\n');
            self.line += 1;
        }
    }

    fn literal(&mut self, value: Value) {
        let name = literal_name(self.literals.len());
        self.literals.push(value);
        self.put(&name);
    }

    fn put(&mut self, text: &str) {
        self.source.push_str(text);
        self.source.push(' ');
    }

    /// The library names its symbols in backticks.
    fn symbol(&mut self, token: &Token<'_>) {
        // Writing to a String cannot fail.
        let _ = write!(self.source, "{} ", token.to_string().trim_matches('`'));
    }
}
