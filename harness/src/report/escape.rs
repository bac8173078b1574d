//! Text from outside made harmless: for the eye (control and direction characters), for XML, and in length.
//!
//! Values, errors, node names, logs and specs come from servers under test. Markup is escaped by askama in the page and by
//! [`xml`] in our own drawings; what escaping cannot mend (an escape sequence, a right-to-left override that turns a line
//! round) is taken out here, before either.

use std::borrow::Cow;

/// Stands where a character was that must not reach a reader's screen.
const REPLACED: char = '\u{fffd}';

/// One line: control characters and those that change the direction of writing are replaced, white space becomes a space.
pub(crate) fn line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_whitespace() { ' ' } else { visible(c) })
        .collect()
}

/// Many lines, as of a log: line ends and tabs stay, terminal colours go.
pub(super) fn block(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' | '\t' => out.push(c),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\u{1b}' if chars.peek() == Some(&'[') => skip_sequence(&mut chars),
            c => out.push(visible(c)),
        }
    }
    out
}

/// The finished page: what must not reach a screen is replaced, and nothing is left out. No skipping of terminal colours here, as in
/// [`block`]: a sequence that a value leaves open would swallow the tag behind it.
pub(crate) fn page(text: &str) -> String {
    let keep = |c| matches!(c, '\n' | '\t');
    text.chars()
        .map(|c| if keep(c) { c } else { visible(c) })
        .collect()
}

/// Skips a terminal's control sequence from its `[` to its final letter.
fn skip_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    chars.next();
    while chars
        .next_if(|c| ('\u{20}'..='\u{3f}').contains(c))
        .is_some()
    {}
    chars.next_if(|c| ('\u{40}'..='\u{7e}').contains(c));
}

fn visible(c: char) -> char {
    match c {
        '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{061c}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}'
        | '\u{fffe}'
        | '\u{ffff}' => REPLACED,
        c if c.is_control() => REPLACED,
        c => c,
    }
}

/// Text as it may stand between tags and in attributes of XML.
pub(super) fn xml(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Text as it may stand in a line or a table cell of Markdown; addresses in it do not become links.
pub(crate) fn markdown(text: &str) -> String {
    let text = line(text)
        .replace("://", "\u{0}//")
        .replace("www.", "www\u{1}");
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\u{0}' => out.push_str("\\:"),
            '\u{1}' => out.push_str("\\."),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '@' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// The first `max` characters; an ellipsis takes the place of the last one if there were more.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    if text.chars().nth(max).is_none() {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

/// Characters of one word that a sentence keeps: longer ones are values.
const WORD_CHARS: usize = 120;

/// At most `max` characters of a sentence. Words that are too long lose their middles first, so that a value of a megabyte does not
/// push out what is said of it.
pub(crate) fn sentence(text: &str, max: usize) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(char::is_whitespace) {
        let chars = word.chars().count();
        if chars <= WORD_CHARS {
            out.push_str(word);
        } else {
            out.extend(word.chars().take(WORD_CHARS / 2));
            out.push('…');
            out.extend(word.chars().skip(chars - WORD_CHARS / 4));
        }
        if out.len() > 4 * max {
            break;
        }
    }
    shorten(&out, max)
}

/// The last `max` bytes or a little less, from the beginning of a line; and whether anything was cut.
pub(super) fn tail(text: &str, max: usize) -> (&str, bool) {
    if text.len() <= max {
        return (text, false);
    }
    let mut from = text.len() - max;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let rest = &text[from..];
    (rest.split_once('\n').map_or(rest, |(_, after)| after), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped_and_control_characters_are_shown() {
        assert_eq!(xml("</svg>]]>&'\""), "&lt;/svg&gt;]]&gt;&amp;&#39;&quot;");
        assert_eq!(line("a\u{202e}b\u{0}c\nd\te"), "a\u{fffd}b\u{fffd}c d e");
        assert_eq!(
            block("\u{1b}[31;1mred\u{1b}[0m\r\n\u{7}x\ty"),
            "red\n\u{fffd}x\ty"
        );
        assert_eq!(block("\u{1b}[31"), "");
        assert_eq!(markdown("a|b`c<d>\n*"), "a\\|b\\`c&lt;d&gt; \\*");
        assert_eq!(markdown("http://www.x"), "http\\://www\\.x");
    }

    #[test]
    fn a_page_loses_no_markup_to_an_open_control_sequence() {
        assert_eq!(
            page("<td>\u{1b}[</td>\u{202e}\n"),
            "<td>\u{fffd}[</td>\u{fffd}\n"
        );
    }

    #[test]
    fn a_long_value_leaves_room_for_the_sentence() {
        let long = format!("Element {} of s was lost.", "y".repeat(1_000_000));
        let short = sentence(&long, 200);
        assert!(short.starts_with("Element yyy"));
        assert!(short.ends_with("y of s was lost.") && short.chars().count() <= 200);
        assert_eq!(sentence("as it is", 20), "as it is");
        assert_eq!(sentence("one two three", 8), "one two…");
    }

    #[test]
    fn shortening_keeps_whole_characters() {
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöüß", 3), "äö…");
        assert_eq!(shorten("", 0), "");
        assert_eq!(tail("one\ntwo\nthree", 8), ("three", true));
        assert_eq!(tail("ää", 3), ("ä", true));
        assert_eq!(tail("all", 3), ("all", false));
    }
}
