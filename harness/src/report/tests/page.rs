//! A strict little reader of the report: what a browser would forgive is a failure here.
//!
//! Every `<` begins a tag of a known name, every attribute is of a known name and quoted, tags close in order. So text from outside
//! that leaves its place, as markup or as an attribute, cannot pass.

use std::collections::BTreeSet;

const TAGS: &str = "a article b body br circle code dd desc details div dl dt figcaption figure footer g h1 h2 h3 h4 head \
                    header html li line linearGradient main meta nav p path polygon polyline pre rect section span stop style \
                    summary svg table tbody td text th thead title tr ul";
const ATTRIBUTES: &str = "aria-hidden aria-label aria-labelledby charset class colspan content cx cy d data-name dy fill \
                          font-family font-size height href http-equiv id lang name offset opacity open points r role scope \
                          stroke stroke-linecap stroke-width tabindex text-anchor title viewBox width x x1 x2 xmlns y y1 y2";
const VOID: &[&str] = &["br", "meta"];

/// One tag that was opened.
#[derive(Debug)]
pub(super) struct Tag {
    pub(super) attributes: Vec<(String, String)>,
}

/// A page or a drawing that was read.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) tags: Vec<Tag>,
    pub(super) style: String,
    /// All text that is shown, with a line end for every tag.
    pub(super) text: String,
}

impl Page {
    /// Panics where something is not as it must be.
    pub(super) fn read(markup: &str) -> Self {
        let mut page = Self {
            tags: Vec::new(),
            style: String::new(),
            text: String::new(),
        };
        let mut open: Vec<String> = Vec::new();
        let mut rest = markup.strip_prefix("<!DOCTYPE html>").unwrap_or(markup);
        while let Some(at) = rest.find('<') {
            page.take_text(&rest[..at]);
            rest = page.take_tag(&rest[at + 1..], &mut open);
        }
        page.take_text(rest);
        assert!(open.is_empty(), "never closed: {open:?}");
        page.ids_are_unique();
        page
    }

    fn take_text(&mut self, raw: &str) {
        assert!(!raw.contains('>'), "a bare '>' in {raw:?}");
        let text = unescape(raw);
        self.text.push_str(&text);
        self.text.push('\n');
    }

    /// Reads from behind a `<`; returns what comes after the tag.
    fn take_tag<'m>(&mut self, rest: &'m str, open: &mut Vec<String>) -> &'m str {
        let end = end_of_tag(rest);
        let (inside, after) = (&rest[..end], &rest[end + 1..]);
        if let Some(name) = inside.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed out of order");
            return after;
        }
        let (inside, closed) = match inside.strip_suffix('/') {
            Some(inside) => (inside, true),
            None => (inside, false),
        };
        let name = inside.split_whitespace().next().unwrap_or_default();
        assert!(
            TAGS.split_whitespace().any(|t| t == name),
            "unknown tag <{inside}>"
        );
        self.tags.push(Tag {
            attributes: attributes(&inside[name.len()..]),
        });
        if name == "style" {
            let (style, after) = after.split_once("</style>").unwrap();
            style.clone_into(&mut self.style);
            return after;
        }
        if !closed && !VOID.contains(&name) {
            open.push(name.to_owned());
        }
        after
    }

    fn ids_are_unique(&self) {
        let mut seen = BTreeSet::new();
        for id in self.all("id") {
            assert!(seen.insert(id.to_owned()), "two elements have the id {id}");
        }
    }

    /// The values of one attribute, of all tags.
    pub(super) fn all(&self, attribute: &str) -> impl Iterator<Item = &str> {
        self.tags
            .iter()
            .flat_map(|t| &t.attributes)
            .filter(move |(name, _)| name == attribute)
            .map(|(_, value)| value.as_str())
    }

    /// How many tags have this class.
    pub(super) fn count(&self, class: &str) -> usize {
        self.all("class")
            .filter(|c| c.split_whitespace().any(|c| c == class))
            .count()
    }

    /// Whether a text is shown, or said by a tooltip or to those who cannot see.
    pub(super) fn says(&self, text: &str) -> bool {
        let told = self.tags.iter().flat_map(|t| &t.attributes);
        self.text.contains(text) || told.into_iter().any(|(_, value)| value.contains(text))
    }

    /// The text with its line ends and spaces as one space: for sentences that run over tags.
    pub(super) fn prose(&self) -> String {
        let words = self.text.split([' ', '\n']).filter(|w| !w.is_empty());
        words.collect::<Vec<_>>().join(" ")
    }
}

/// Where the tag ends: at the first `>` that is not in quotes.
fn end_of_tag(rest: &str) -> usize {
    let mut quoted = false;
    for (at, c) in rest.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '>' if !quoted => return at,
            '<' if !quoted => panic!("'<' inside of a tag: {:?}", &rest[..at]),
            _ => {}
        }
    }
    panic!("a tag that never ends")
}

fn attributes(mut rest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return found;
        }
        let (name, value) = rest
            .split_once("=\"")
            .unwrap_or_else(|| panic!("no quoted value: {rest:?}"));
        let (value, after) = value
            .split_once('"')
            .unwrap_or_else(|| panic!("an open quote: {rest:?}"));
        assert!(
            ATTRIBUTES.split_whitespace().any(|a| a == name),
            "unknown attribute {name:?}"
        );
        assert!(!value.contains('<'), "'<' in an attribute: {value:?}");
        found.push((name.to_owned(), unescape(value)));
        rest = after;
    }
}

/// What a reader sees of escaped text; panics where an `&` begins nothing that is known.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let (name, after) = rest[at + 1..]
            .split_once(';')
            .unwrap_or_else(|| panic!("a bare '&' in {text:?}"));
        out.push(match name {
            "lt" | "#60" => '<',
            "gt" | "#62" => '>',
            "amp" | "#38" => '&',
            "quot" | "#34" => '"',
            "apos" | "#39" => '\'',
            other => panic!("unknown reference &{other}; in {text:?}"),
        });
        rest = after;
    }
    out + rest
}

#[test]
#[should_panic(expected = "unknown tag")]
fn the_reader_sees_markup_from_outside() {
    Page::read("<p>value: <script>alert(1)</script></p>");
}

#[test]
#[should_panic(expected = "unknown attribute")]
fn the_reader_sees_attributes_from_outside() {
    Page::read(r#"<p title="value" onclick="x">text</p>"#);
}

#[test]
#[should_panic(expected = "closed out of order")]
fn the_reader_sees_tags_from_outside() {
    Page::read("<td>value</p></td>");
}
