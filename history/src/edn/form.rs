//! EDN, as far as Jepsen's histories use it: one form after another out of a stream, in bounded memory.
//!
//! The notation is that of <https://github.com/edn-format/edn>: nil, booleans, numbers, strings, characters, keywords, symbols, lists, vectors,
//! sets, maps, tagged forms, comments and discarded forms.

use std::io::{self, BufRead};

/// One form.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Form {
    Nil,
    Bool(bool),
    Int(i64),
    /// A number that is neither a small whole one nor a float: big ones, ratios.
    Number(String),
    Float(f64),
    Str(String),
    /// Without its colon.
    Keyword(String),
    Symbol(String),
    /// A list or a vector.
    Seq(Vec<Form>),
    Set(Vec<Form>),
    Map(Vec<(Form, Form)>),
}

/// Why a form cannot be read.
#[derive(Debug)]
pub(crate) enum FormError {
    Io(io::Error),
    /// The input ends inside a form.
    End,
    /// What was expected, at the reader's place.
    Expected(String),
}

impl From<io::Error> for FormError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

type Result<T> = std::result::Result<T, FormError>;

/// Brackets inside the brackets of an operation, at most: as many as JSON Lines can hold, for `serde_json` refuses what would exhaust the stack.
const DEPTH_MAX: usize = 126;

/// Reads forms and knows where it is.
pub(crate) struct Forms<R> {
    input: R,
    /// Line of the next byte, from 1.
    pub(crate) line: u64,
    /// Column of the next byte, from 1.
    pub(crate) column: u64,
    /// Bytes read so far.
    pub(crate) bytes: u64,
}

impl<R: BufRead> Forms<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            line: 1,
            column: 1,
            bytes: 0,
        }
    }

    pub(crate) fn peek(&mut self) -> Result<Option<u8>> {
        Ok(self.input.fill_buf()?.first().copied())
    }

    pub(crate) fn take(&mut self) -> Result<Option<u8>> {
        let byte = self.peek()?;
        if let Some(byte) = byte {
            self.input.consume(1);
            self.bytes += 1;
            (self.line, self.column) = if byte == b'\n' {
                (self.line + 1, 1)
            } else {
                (self.line, self.column + 1)
            };
        }
        Ok(byte)
    }

    /// Skips what separates forms.
    pub(crate) fn skip_space(&mut self) -> Result<()> {
        while let Some(byte) = self.peek()? {
            match byte {
                b',' => {}
                b';' => {
                    while !matches!(self.peek()?, None | Some(b'\n')) {
                        self.take()?;
                    }
                    continue;
                }
                _ if byte.is_ascii_whitespace() => {}
                _ => break,
            }
            self.take()?;
        }
        Ok(())
    }

    /// The next form; `None` at the end of the input.
    pub(crate) fn form(&mut self) -> Result<Option<Form>> {
        self.nested(0)
    }

    /// The same of a value: it stands inside an operation.
    pub(crate) fn value(&mut self) -> Result<Option<Form>> {
        self.nested(1)
    }

    fn nested(&mut self, depth: usize) -> Result<Option<Form>> {
        loop {
            self.skip_space()?;
            let Some(byte) = self.peek()? else {
                return Ok(None);
            };
            if depth > DEPTH_MAX && b"([{#".contains(&byte) {
                return Err(FormError::Expected(format!(
                    "brackets at most {DEPTH_MAX} deep"
                )));
            }
            return Ok(Some(match byte {
                b'(' => Form::Seq(self.sequence(b')', depth)?),
                b'[' => Form::Seq(self.sequence(b']', depth)?),
                b'{' => Form::Map(self.map(depth)?),
                b'"' => Form::Str(self.string()?),
                b'\\' => Form::Str(self.character()?),
                b':' => {
                    self.take()?;
                    Form::Keyword(self.token()?)
                }
                b'#' => {
                    self.take()?;
                    match self.dispatch(depth)? {
                        Some(form) => form,
                        None => continue,
                    }
                }
                b')' | b']' | b'}' => {
                    return Err(FormError::Expected(format!(
                        "a form, not {:?}",
                        char::from(byte)
                    )));
                }
                _ => atom(self.token()?)?,
            }));
        }
    }

    /// What follows a `#`: a set, a tagged form (its tag says nothing to us), or a form to be left out.
    fn dispatch(&mut self, depth: usize) -> Result<Option<Form>> {
        match self.peek()?.ok_or(FormError::End)? {
            b'{' => Ok(Some(Form::Set(self.sequence(b'}', depth)?))),
            b'_' => {
                self.take()?;
                self.nested(depth + 1)?.ok_or(FormError::End)?;
                Ok(None)
            }
            _ => {
                self.token()?;
                self.nested(depth + 1)?.ok_or(FormError::End).map(Some)
            }
        }
    }

    /// The forms up to the closing bracket; the opening one is next.
    fn sequence(&mut self, close: u8, depth: usize) -> Result<Vec<Form>> {
        self.take()?;
        let mut forms = Vec::new();
        loop {
            self.skip_space()?;
            if self.peek()?.ok_or(FormError::End)? == close {
                self.take()?;
                return Ok(forms);
            }
            // A discarded form may be the last thing before the bracket.
            match self.nested(depth + 1) {
                Ok(form) => forms.push(form.ok_or(FormError::End)?),
                Err(FormError::Expected(_)) if self.peek()? == Some(close) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<(Form, Form)>> {
        let mut forms = self.sequence(b'}', depth)?.into_iter();
        let mut pairs = Vec::new();
        while let Some(key) = forms.next() {
            let value = forms
                .next()
                .ok_or_else(|| FormError::Expected("a value for every key of a map".to_owned()))?;
            pairs.push((key, value));
        }
        Ok(pairs)
    }

    fn string(&mut self) -> Result<String> {
        self.take()?;
        let mut bytes = Vec::new();
        loop {
            match self.take()?.ok_or(FormError::End)? {
                b'"' => break,
                b'\\' => {
                    let escaped = self.take()?.ok_or(FormError::End)?;
                    let plain = match escaped {
                        b't' => '\t',
                        b'r' => '\r',
                        b'n' => '\n',
                        b'b' => '\u{8}',
                        b'f' => '\u{c}',
                        b'u' => self.unicode()?,
                        b'"' | b'\\' | b'/' => char::from(escaped),
                        other => {
                            return Err(FormError::Expected(format!(
                                "an escape, not \\{}",
                                char::from(other)
                            )));
                        }
                    };
                    bytes.extend(plain.to_string().bytes());
                }
                byte => bytes.push(byte),
            }
        }
        String::from_utf8(bytes).map_err(|_| FormError::Expected("a string in UTF-8".to_owned()))
    }

    /// Four hexadecimal digits; half of a surrogate pair becomes the replacement character.
    fn unicode(&mut self) -> Result<char> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = char::from(self.take()?.ok_or(FormError::End)?).to_digit(16);
            code = code * 16
                + digit.ok_or_else(|| FormError::Expected("four hexadecimal digits".to_owned()))?;
        }
        Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn character(&mut self) -> Result<String> {
        self.take()?;
        let token = self.token()?;
        Ok(match token.as_str() {
            "newline" => "\n".to_owned(),
            "space" => " ".to_owned(),
            "tab" => "\t".to_owned(),
            "return" => "\r".to_owned(),
            _ => token,
        })
    }

    /// Everything up to the next separator.
    fn token(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        while let Some(byte) = self.peek()? {
            if byte.is_ascii_whitespace() || b",;()[]{}\"".contains(&byte) {
                break;
            }
            bytes.push(byte);
            self.take()?;
        }
        if bytes.is_empty() {
            let end = self.peek()?.is_none();
            return Err(if end {
                FormError::End
            } else {
                FormError::Expected("a name".to_owned())
            });
        }
        String::from_utf8(bytes).map_err(|_| FormError::Expected("a name in UTF-8".to_owned()))
    }
}

/// A token that is no bracketed form.
fn atom(token: String) -> Result<Form> {
    Ok(match token.as_str() {
        "nil" => Form::Nil,
        "true" => Form::Bool(true),
        "false" => Form::Bool(false),
        text => {
            let numeric = text
                .trim_start_matches(['+', '-'])
                .starts_with(|c: char| c.is_ascii_digit());
            if !numeric {
                return Ok(Form::Symbol(token));
            }
            let whole = text.strip_suffix('N').unwrap_or(text);
            match (
                whole.parse::<i64>(),
                text.strip_suffix('M').unwrap_or(text).parse::<f64>(),
            ) {
                (Ok(n), _) => Form::Int(n),
                (_, Ok(f)) if f.is_finite() && text.contains(['.', 'e', 'E']) => Form::Float(f),
                _ if whole
                    .trim_start_matches(['+', '-'])
                    .chars()
                    .all(|c| c.is_ascii_digit() || c == '/') =>
                {
                    Form::Number(token)
                }
                _ => return Err(FormError::Expected(format!("a number, not {text:?}"))),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Form> {
        let mut reader = Forms::new(text.as_bytes());
        let mut forms = Vec::new();
        while let Some(form) = reader.form().unwrap_or_else(|e| panic!("{text}: {e:?}")) {
            forms.push(form);
        }
        forms
    }

    #[test]
    fn every_kind_of_form_is_read() {
        let forms = read(
            "nil true -12 1.5 12345678901234567890N 1/3 \"a\\n\\u00e9\" \\space :a/b sym ; rest\n [1, 2] (3) #{4} {:k 5}",
        );
        assert_eq!(forms.len(), 14);
        assert_eq!(forms[2], Form::Int(-12));
        assert_eq!(forms[6], Form::Str("a\n\u{e9}".to_owned()));
        assert_eq!(
            forms[13],
            Form::Map(vec![(Form::Keyword("k".to_owned()), Form::Int(5))])
        );
    }

    #[test]
    fn tags_say_nothing_and_discarded_forms_are_gone() {
        assert_eq!(read("#jepsen.history.Op{:a 1} #_ {:b 2} [1 #_ 2]").len(), 2);
        assert_eq!(read("#_ 1 #_ 2 3"), [Form::Int(3)]);
    }

    #[test]
    fn what_ends_too_early_or_makes_no_sense_is_said() {
        for text in ["{:a", "[1 2", "\"abc", "#", "#_", "#tag"] {
            assert!(
                matches!(
                    Forms::new(text.as_bytes()).form(),
                    Err(FormError::End | FormError::Expected(_))
                ),
                "{text}"
            );
        }
        for text in ["{:a}", "]", "12x", "\"\\q\"", ": x"] {
            assert!(
                matches!(
                    Forms::new(text.as_bytes()).form(),
                    Err(FormError::Expected(_))
                ),
                "{text}"
            );
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(
            Forms::new(deep.as_bytes()).form(),
            Err(FormError::Expected(_))
        ));
    }
}
