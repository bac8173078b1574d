//! EDN: the `history.edn` of Jepsen, as maps or op records (`#jepsen.history.Op{...}`), one after another or in one vector.
//!
//! Names map one to one: `:process 3` or `:nemesis`, `:type :invoke`, `:f :write`, `:value`. Index and time may be missing; keys that
//! we do not know (`:exception`, `:clojure`, ...) are left out and counted. What a keyword or symbol was among values is lost: it becomes a string,
//! which is counted too.

mod form;
mod independent;
mod read_init;
mod write;

pub use write::{write, write_event};

use crate::jsonl::Error;
use crate::line::{self, Names, known};
use crate::{Event, EventKind, History, Key, NodeId, OpError, Process, Time, Torn};
use form::{Form, FormError, Forms};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::io::BufRead;

/// What the reader could not keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Keywords and symbols among values, which became strings.
    pub names: u64,
    /// Sets among values, which became lists.
    pub sets: u64,
    /// Ratios and numbers beyond 64 bits, which became strings.
    pub numbers: u64,
    /// Fields of operations that have no place in an event.
    pub fields: u64,
    /// Tuples `[key value]` of Jepsen's `independent`, which were taken apart.
    pub tuples: u64,
    /// Events of Jepsen's `:read-init`, which became plain reads.
    pub inits: u64,
}

const EXAMPLE: &str = "{:index 0, :time 1200345, :process 3, :type :invoke, :f :write, :value 7}";

/// Reads a whole history.
pub fn read(input: impl BufRead) -> Result<(History, Losses), Error> {
    let mut reader = Reader::new(input, false);
    let mut events = reader.by_ref().collect::<Result<Vec<_>, _>>()?;
    let mut losses = reader.context.losses;
    losses.tuples = independent::split(&mut events);
    losses.inits = read_init::rename(&mut events);
    let mut history = History::new(events)?;
    history.torn = reader.torn;
    Ok((history, losses))
}

/// Whether the values of a history are tuples of a key and a value (Jepsen's `independent`): told only by all of them.
pub fn has_tuples(input: impl BufRead) -> Result<bool, Error> {
    let mut tuples = independent::Tuples::default();
    for event in Reader::new(input, false) {
        tuples.look(&event?);
    }
    Ok(tuples.are())
}

/// Reads events one after another, as they stand in the file, in bounded memory.
pub struct Reader<R> {
    forms: Forms<R>,
    context: Context,
    tuples: bool,
    torn: Option<Torn>,
    ended: bool,
}

impl<R: BufRead> Reader<R> {
    /// Takes `tuples` apart, if so told: see [`has_tuples`].
    pub fn new(input: R, tuples: bool) -> Self {
        Self {
            forms: Forms::new(input),
            context: Context::default(),
            tuples,
            torn: None,
            ended: false,
        }
    }

    /// What was cut off at the end of the file; known at the end.
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// Bytes that were read so far.
    pub fn bytes(&self) -> u64 {
        self.forms.bytes
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = next_event(&mut self.forms, &mut self.context);
        self.ended = !matches!(next, Ok(Some(_)));
        match next {
            Ok(Some(mut event)) => {
                if self.tuples {
                    independent::split_one(&mut event);
                }
                Some(Ok(event))
            }
            Ok(None) => None,
            Err(Stop::Torn(torn)) => {
                self.torn = Some(torn);
                None
            }
            Err(Stop::Error(error)) => Some(Err(error)),
        }
    }
}

/// Reads one value, such as `[1 nil]`.
pub(crate) fn value(text: &str) -> Result<Value, String> {
    match Forms::new(text.as_bytes()).value() {
        Ok(Some(form)) => Ok(Context::default().value(form)),
        _ => Err(format!("{text:?} is no value")),
    }
}

enum Stop {
    Torn(Torn),
    Error(Error),
}

#[derive(Default)]
struct Context {
    names: Names,
    losses: Losses,
    /// Whether all operations stand in one vector, and its closing bracket.
    vector: Option<u8>,
    begun: bool,
}

fn next_event<R: BufRead>(
    reader: &mut Forms<R>,
    context: &mut Context,
) -> Result<Option<Event>, Stop> {
    let stop = |error: FormError, line, column, bytes| match error {
        FormError::Io(error) => Stop::Error(error.into()),
        FormError::End => Stop::Torn(Torn { line, bytes }),
        FormError::Expected(expected) => {
            Stop::Error(malformed(line, column, format!("expected {expected}")))
        }
    };
    let mut step = || -> Result<Option<Form>, FormError> {
        reader.skip_space()?;
        if !context.begun {
            context.begun = true;
            context.vector = reader.peek()?.and_then(|b| match b {
                b'[' => Some(b']'),
                b'(' => Some(b')'),
                _ => None,
            });
            if context.vector.is_some() {
                reader.take()?;
                reader.skip_space()?;
            }
        }
        if context.vector.is_some() && reader.peek()? == context.vector {
            reader.take()?;
            context.vector = None;
            reader.skip_space()?;
        }
        Ok(None)
    };
    let prepared = step();
    let (line, column, before) = (reader.line, reader.column, reader.bytes);
    prepared.map_err(|e| stop(e, line, column, 0))?;
    match reader.form() {
        Ok(Some(form)) => context
            .event(form)
            .map(Some)
            .map_err(|message| Stop::Error(malformed(line, column, message))),
        Ok(None) if context.vector.is_some() => Err(stop(FormError::End, line, column, 0)),
        Ok(None) => Ok(None),
        Err(error) => {
            let at = if matches!(error, FormError::End) {
                (line, column)
            } else {
                (reader.line, reader.column)
            };
            Err(stop(error, at.0, at.1, reader.bytes - before))
        }
    }
}

fn malformed(line: u64, column: u64, message: String) -> Error {
    Error::Line {
        line,
        column,
        message,
        example: EXAMPLE,
    }
}

impl Context {
    fn event(&mut self, form: Form) -> Result<Event, String> {
        let Form::Map(fields) = form else {
            return Err("this is no map".to_owned());
        };
        let mut event = Event::new(
            crate::event::UNSET,
            Process::Nemesis,
            EventKind::Info,
            "",
            Value::Null,
        );
        let (mut process, mut kind, mut f) = (None, None, None);
        for (name, value) in fields {
            let Form::Keyword(name) = name else {
                self.losses.fields += 1;
                continue;
            };
            match name.as_str() {
                "process" => process = Some(read_process(&value)?),
                "type" => kind = Some(read_kind(&value)?),
                "f" => f = Some(function(value)?),
                "index" => event.index = whole(&value, "index")?,
                "time" => event.time = Time(whole(&value, "time")?),
                "value" => event.value = self.value(value),
                "error" if value != Form::Nil => event.error = Some(Box::new(self.error(value))),
                "key" if value != Form::Nil => event.key = Some(self.key(value)?),
                "node" => event.node = name_of(&value).map(|n| NodeId(self.names.share(n))),
                "term" => event.term = Some(whole(&value, "term")?),
                "session" => event.session = Some(whole(&value, "session")?),
                "version" => event.version = Some(whole(&value, "version")?),
                "final" | "final?" => event.is_final = value == Form::Bool(true),
                _ => self.losses.fields += u64::from(value != Form::Nil),
            }
        }
        event.process = process.ok_or("it has no :process")?;
        event.kind = kind.ok_or("it has no :type")?;
        event.f = f.ok_or("it has no :f")?;
        Ok(event)
    }

    fn key(&mut self, form: Form) -> Result<Key, String> {
        match form {
            Form::Int(n) => Ok(Key::Number(n)),
            Form::Str(name) | Form::Keyword(name) | Form::Symbol(name) => {
                Ok(Key::Name(self.names.share(&name)))
            }
            other => Err(format!(
                ":key is {other:?}, neither a whole number nor a name"
            )),
        }
    }

    /// `:timeout`, `[:kind "message"]`, or anything else as a message.
    fn error(&mut self, form: Form) -> OpError {
        match form {
            Form::Keyword(kind) | Form::Symbol(kind) => OpError {
                kind,
                message: String::new(),
            },
            Form::Map(fields)
                if fields
                    .iter()
                    .any(|(k, _)| *k == Form::Keyword("kind".to_owned())) =>
            {
                let text = |name: &str| {
                    let found = fields
                        .iter()
                        .find(|(k, _)| *k == Form::Keyword(name.to_owned()));
                    found
                        .and_then(|(_, v)| name_of(v))
                        .unwrap_or_default()
                        .to_owned()
                };
                OpError {
                    kind: text("kind"),
                    message: text("message"),
                }
            }
            Form::Seq(mut parts) if matches!(parts.first(), Some(Form::Keyword(_))) => {
                let rest = parts.split_off(1);
                let message = match rest.as_slice() {
                    [Form::Str(message)] => message.clone(),
                    [] => String::new(),
                    _ => self.value(Form::Seq(rest)).to_string(),
                };
                OpError {
                    kind: name_of(&parts[0]).unwrap_or_default().to_owned(),
                    message,
                }
            }
            Form::Str(message) => OpError {
                kind: "error".to_owned(),
                message,
            },
            other => OpError {
                kind: "error".to_owned(),
                message: self.value(other).to_string(),
            },
        }
    }

    fn value(&mut self, form: Form) -> Value {
        match form {
            Form::Nil => Value::Null,
            Form::Bool(b) => b.into(),
            Form::Int(n) => n.into(),
            Form::Float(f) if line::is_exact(&f.into()) => f.into(),
            Form::Float(f) => self.number(f.to_string()),
            Form::Number(text) => match text.trim_end_matches('N').parse::<u64>() {
                Ok(n) => n.into(),
                Err(_) => self.number(text),
            },
            Form::Str(text) => text.into(),
            Form::Keyword(name) | Form::Symbol(name) => {
                self.losses.names += 1;
                name.into()
            }
            Form::Seq(forms) => forms.into_iter().map(|form| self.value(form)).collect(),
            Form::Set(forms) => {
                self.losses.sets += 1;
                forms.into_iter().map(|form| self.value(form)).collect()
            }
            Form::Map(pairs) => Value::Object(self.object(pairs)),
        }
    }

    /// A number that JSON cannot keep exactly.
    fn number(&mut self, text: String) -> Value {
        self.losses.numbers += 1;
        text.into()
    }

    fn object(&mut self, pairs: Vec<(Form, Form)>) -> Map<String, Value> {
        let mut object = Map::new();
        for (key, value) in pairs {
            let key = match key {
                Form::Str(text) => text,
                other => {
                    self.losses.names += 1;
                    match self.value(other) {
                        Value::String(text) => text,
                        other => other.to_string(),
                    }
                }
            };
            let value = self.value(value);
            object.insert(key, value);
        }
        object
    }
}

fn function(form: Form) -> Result<Cow<'static, str>, String> {
    match form {
        Form::Keyword(f) | Form::Str(f) | Form::Symbol(f) => {
            Ok(known(&f).map_or(Cow::Owned(f), Cow::Borrowed))
        }
        // Jepsen's nemesis may have no function.
        Form::Nil => Ok(Cow::Borrowed("nil")),
        other => Err(format!(":f is {other:?}, not a keyword")),
    }
}

fn name_of(form: &Form) -> Option<&str> {
    match form {
        Form::Keyword(name) | Form::Symbol(name) | Form::Str(name) => Some(name),
        _ => None,
    }
}

fn read_process(form: &Form) -> Result<Process, String> {
    match form {
        Form::Int(n) => u64::try_from(*n)
            .map(Process::Client)
            .map_err(|_| format!(":process is {n}, below zero")),
        form if name_of(form) == Some("nemesis") => Ok(Process::Nemesis),
        other => Err(format!(
            ":process is {other:?}, neither a whole number nor :nemesis"
        )),
    }
}

fn read_kind(form: &Form) -> Result<EventKind, String> {
    match name_of(form) {
        Some("invoke") => Ok(EventKind::Invoke),
        Some("ok") => Ok(EventKind::Ok),
        Some("fail") => Ok(EventKind::Fail),
        Some("info") => Ok(EventKind::Info),
        _ => Err(format!(
            ":type is {form:?}, not one of :invoke, :ok, :fail, :info"
        )),
    }
}

fn whole(form: &Form, field: &str) -> Result<u64, String> {
    match form {
        Form::Int(n) => u64::try_from(*n).map_err(|_| format!(":{field} is {n}, below zero")),
        Form::Number(text) => text
            .trim_end_matches('N')
            .parse()
            .map_err(|_| format!(":{field} is {text}, too large")),
        other => Err(format!(":{field} is {other:?}, not a whole number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Outcome, jsonl};

    const LINES: &str = r#"{:type :invoke, :f :write, :value 3, :process 0, :time 10, :index 0}
#jepsen.history.Op{:index 1, :time 20, :type :ok, :process 0, :f :write, :value 3}
{:index 2 :time 30 :process :nemesis :type :info :f :start-partition :value {"n1" #{"n2"}}}
{:process 1, :type :invoke, :f :cas, :value [3 4], :time 40}
{:process 1, :type :info, :f :cas, :value [3 4], :error [:timeout "gone"], :exception {:via []}, :time 50}
"#;

    #[test]
    fn numbers_beyond_64_bits_become_strings_and_are_counted() {
        let text = "{:process 0, :type :invoke, :f :write, :value [7N 18446744073709551615N 18446744073709551616 1/3 1e20 1.5]}\n";
        let (history, losses) = read(text.as_bytes()).unwrap();
        let values = serde_json::json!([
            7,
            18_446_744_073_709_551_615_u64,
            "18446744073709551616",
            "1/3",
            "100000000000000000000",
            1.5
        ]);
        assert_eq!(history.events[0].value, values);
        assert_eq!(losses.numbers, 3);
    }

    #[test]
    fn maps_and_records_one_a_line_or_in_a_vector_are_read() {
        for text in [
            LINES.to_owned(),
            format!("[{LINES}]\n"),
            format!("({LINES})"),
        ] {
            let (history, losses) = read(text.as_bytes()).unwrap();
            assert_eq!(history.events.len(), 5);
            assert_eq!(history.torn, None);
            let ops = history.ops();
            assert_eq!(ops[1].outcome(), Outcome::Info);
            assert_eq!(ops[1].completion.unwrap().error_kind(), Some("timeout"));
            assert_eq!(history.faults().next().unwrap().f, "start-partition");
            assert_eq!(
                losses,
                Losses {
                    sets: 1,
                    fields: 1,
                    ..Losses::default()
                }
            );
        }
    }

    #[test]
    fn a_torn_end_is_reported_and_the_rest_is_read() {
        let (history, _) = read(&LINES.as_bytes()[..LINES.len() - 9]).unwrap();
        assert_eq!(
            (history.events.len(), history.torn.map(|t| t.line)),
            (4, Some(5))
        );
        let (history, _) = read(format!("[{LINES}").as_bytes()).unwrap();
        assert!(history.events.len() == 5 && history.torn.is_some());
    }

    #[test]
    fn what_is_broken_is_named_with_its_place() {
        for (text, says) in [
            (
                "{:process 0, :type :invoke, :f :read}\n{:process 0, :type :done}",
                "line 2, column 1: :type is",
            ),
            ("{:process 0,\n :type :invoke, :f}", "line 2, column"),
            ("{:process -1, :type :invoke, :f :read}", "below zero"),
            ("{:type :invoke, :f :read}", "no :process"),
            ("17", "no map"),
        ] {
            let error = read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let lines = r#"{"index":0,"time":1,"process":3,"type":"invoke","f":"write","key":"x","value":{"a":[1,null,"é\"\\\n",1.5,true]}}
{"index":1,"time":2,"process":3,"type":"fail","f":"write","key":"x","value":7,"node":"n2","term":4,"session":9,"error":{"kind":"no-leader","message":"who?"},"final":true,"version":12}
{"index":2,"time":3,"process":"nemesis","type":"info","f":"kill","value":18446744073709551615}
"#;
        let history = jsonl::read(lines.as_bytes()).unwrap();
        let mut out = Vec::new();
        write(&mut out, &history).unwrap();
        let (back, losses) =
            read(&out[..]).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out)));
        assert_eq!(back, history, "{}", String::from_utf8_lossy(&out));
        assert_eq!(losses, Losses::default());
    }

    /// Found by fuzzing: what was read from EDN and written as JSON Lines could be too deep to be read again.
    #[test]
    fn what_is_deep_is_so_in_both_formats() {
        for depth in 120..135 {
            let value = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            let text = format!("{{:process 0, :type :invoke, :f :write, :value {value}}}");
            let line = format!(
                "{{\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"value\":{value}}}\n"
            );
            let log = format!("INFO  jepsen.util - 0\t:invoke\t:write\t{value}\n");
            let expected = depth <= 126;
            assert_eq!(read(text.as_bytes()).is_ok(), expected, "{depth}");
            assert_eq!(jsonl::read(line.as_bytes()).is_ok(), expected, "{depth}");
            let log = crate::jepsen_log::read(log.as_bytes());
            assert_eq!(log.is_ok(), expected, "{depth}");
        }
    }

    #[test]
    fn tuples_of_independent_keys_are_taken_apart_and_plain_pairs_are_not() {
        let tuples = "{:process 0 :type :invoke :f :read :value [7 nil]}{:process 0 :type :ok :f :read :value [7 3]}\
                      {:process 1 :type :invoke :f :cas :value [7 [3 4]]}{:process 1 :type :info :f :cas :value nil}";
        let (history, losses) = read(tuples.as_bytes()).unwrap();
        assert_eq!(losses.tuples, 3);
        assert_eq!(history.ops()[0].key(), Some(&Key::Number(7)));
        assert_eq!(history.ops()[1].argument(), &serde_json::json!([3, 4]));
        let causal = "{:process 0 :type :invoke :f :read-init :value [7 nil]}{:process 0 :type :ok :f :read-init :value [7 0] :position 1 :link :init}\
                      {:process 0 :type :invoke :f :write :value [7 1]}{:process 0 :type :ok :f :write :value [7 1]}\
                      {:process 0 :type :invoke :f :read :value [7 nil]}{:process 0 :type :ok :f :read :value [7 1]}";
        let (history, losses) = read(causal.as_bytes()).unwrap();
        assert_eq!((losses.tuples, losses.inits, losses.fields), (6, 2, 2));
        assert_eq!(
            (history.ops()[0].f(), history.ops()[0].result()),
            ("read", Some(&Value::Null))
        );
        let plain = "{:process 0 :type :invoke :f :read :value nil}{:process 1 :type :invoke :f :cas :value [3 4]}";
        let (history, losses) = read(plain.as_bytes()).unwrap();
        assert!(losses.tuples == 0 && history.ops()[1].key().is_none());
    }
}
