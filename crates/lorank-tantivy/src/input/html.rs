//! The title and the text of an HTML page.
//!
//! The page is tokenized as browsers do; no tree is built, since text and the ends of its blocks need none.

use html5gum::{DefaultEmitter, Token, Tokenizer};

/// What a page says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Page {
    /// Its `<title>`, or else its first heading.
    pub title: Option<String>,
    /// Its visible text: blocks are paragraphs with an empty line between them, items of lists, rows and `<br>` lines.
    pub text: String,
}

/// Reads a page. Scripts, styles, templates and what only clients without scripts show are left out.
pub(super) fn read(html: &str) -> Page {
    let mut emitter = DefaultEmitter::default();
    // Within a script, a style or a title, `<` opens no element.
    emitter.naively_switch_states(true);
    let mut reader = PageReader::default();
    for token in Tokenizer::new_with_emitter(html, emitter) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => reader.open(&tag.name),
            Token::EndTag(tag) => reader.close(&tag.name),
            Token::String(text) => reader.add(&String::from_utf8_lossy(&text)),
            Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
    }
    let title = reader.title.or(reader.heading).filter(|title| !title.is_empty());
    Page { title, text: reader.text.written }
}

/// Elements whose content is no text of the page. All but the last hold no elements themselves.
const UNSEEN: [&[u8]; 6] = [b"script", b"style", b"noscript", b"iframe", b"noembed", b"template"];

/// Elements that begin and end a paragraph.
const BLOCKS: [&[u8]; 38] = [
    b"address",
    b"article",
    b"aside",
    b"blockquote",
    b"body",
    b"caption",
    b"center",
    b"details",
    b"dialog",
    b"dir",
    b"div",
    b"dl",
    b"fieldset",
    b"figcaption",
    b"figure",
    b"footer",
    b"form",
    b"h1",
    b"h2",
    b"h3",
    b"h4",
    b"h5",
    b"h6",
    b"header",
    b"hgroup",
    b"hr",
    b"legend",
    b"main",
    b"menu",
    b"nav",
    b"ol",
    b"p",
    b"pre",
    b"section",
    b"summary",
    b"table",
    b"title",
    b"ul",
];

/// Elements that begin and end a line.
const LINES: [&[u8]; 7] = [b"br", b"dd", b"dt", b"li", b"optgroup", b"option", b"tr"];

/// Elements that are apart from what is before and after them on their line.
const CELLS: [&[u8]; 5] = [b"td", b"th", b"img", b"button", b"textarea"];

#[derive(Default)]
struct PageReader {
    text: Text,
    title: Option<String>,
    heading: Option<String>,
    /// Whether what follows is the title.
    is_in_title: bool,
    /// Where in the text the first heading begins.
    heading_at: Option<usize>,
    /// How many elements that are not seen, drawings with titles of their own, and preformatted texts are open.
    n_unseen: usize,
    n_drawings: usize,
    n_preformatted: usize,
}

impl PageReader {
    fn open(&mut self, name: &[u8]) {
        self.break_at(name);
        match name {
            b"title" if self.n_drawings == 0 && self.title.is_none() => self.is_in_title = true,
            b"svg" => self.n_drawings += 1,
            b"pre" => self.n_preformatted += 1,
            _ if is_heading(name) && self.heading.is_none() => self.heading_at = Some(self.text.written.len()),
            _ if UNSEEN.contains(&name) => self.n_unseen += 1,
            _ => {}
        }
    }

    fn close(&mut self, name: &[u8]) {
        self.break_at(name);
        match name {
            b"title" => self.is_in_title = false,
            b"svg" => self.n_drawings = self.n_drawings.saturating_sub(1),
            b"pre" => self.n_preformatted = self.n_preformatted.saturating_sub(1),
            _ if is_heading(name) => {
                let heading = self.heading_at.take().map(|at| on_one_line(&self.text.written[at..]));
                self.heading = self.heading.take().or(heading.filter(|heading| !heading.is_empty()));
            }
            _ if UNSEEN.contains(&name) => self.n_unseen = self.n_unseen.saturating_sub(1),
            _ => {}
        }
    }

    /// Parts what comes from what was before, where the element is seen.
    fn break_at(&mut self, name: &[u8]) {
        if self.n_unseen == 0 {
            self.text.break_at(gap_of(name));
        }
    }

    fn add(&mut self, text: &str) {
        if self.n_unseen > 0 {
            return;
        }
        if self.is_in_title {
            self.title = Some(on_one_line(text));
        } else {
            self.text.add(text, self.n_preformatted > 0);
        }
    }
}

fn is_heading(name: &[u8]) -> bool {
    matches!(name, [b'h', b'1'..=b'6'])
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What parts two words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    #[default]
    None,
    Space,
    Line,
    Paragraph,
}

/// What an element parts its content by from what is around it.
fn gap_of(name: &[u8]) -> Gap {
    if BLOCKS.contains(&name) {
        Gap::Paragraph
    } else if LINES.contains(&name) {
        Gap::Line
    } else if CELLS.contains(&name) {
        Gap::Space
    } else {
        Gap::None
    }
}

/// Text with one gap, the widest, wherever several meet, and none at its ends.
#[derive(Default)]
struct Text {
    written: String,
    gap: Gap,
}

impl Text {
    fn break_at(&mut self, gap: Gap) {
        self.gap = self.gap.max(gap);
    }

    fn add(&mut self, text: &str, is_preformatted: bool) {
        for c in text.chars() {
            match c {
                '\n' if is_preformatted => self.break_at(Gap::Line),
                // A space that no line breaks at is a space to whoever searches.
                _ if c.is_whitespace() => self.break_at(Gap::Space),
                _ => self.push(c),
            }
        }
    }

    fn push(&mut self, c: char) {
        let gap = match std::mem::take(&mut self.gap) {
            _ if self.written.is_empty() => "",
            Gap::None => "",
            Gap::Space => " ",
            Gap::Line => "\n",
            Gap::Paragraph => "\n\n",
        };
        self.written.push_str(gap);
        self.written.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_its_title_and_its_visible_text() {
        for (html, title, text) in [
            ("", None, ""),
            ("just text", None, "just text"),
            ("<title> A\n &amp; B </title><p>one<p>two", Some("A & B"), "one\n\ntwo"),
            ("<html><head><title>T</title></head><body><h1>H</h1>x</body></html>", Some("T"), "H\n\nx"),
            ("<h2>First <em>heading</em></h2><h1>Second</h1>", Some("First heading"), "First heading\n\nSecond"),
            ("<h1> </h1><h3>There</h3>", Some("There"), "There"),
            ("<title></title><h1>H</h1>", Some("H"), "H"),
            ("<svg><title>icon</title></svg><title>T</title>", Some("T"), "icon"),
            ("a<script>if (a < b) { '<p>x</p>' }</script>b<style>p{}</style>c", None, "abc"),
            ("a<noscript><p>Enable scripts</p></noscript>b<template><p>x</p></template>c", None, "abc"),
            ("a<!-- <p>b</p> -->c<![CDATA[d]]>", None, "ac"),
            ("<ul><li>one<li>two</ul><p>a<br>b</p>", None, "one\ntwo\n\na\nb"),
            ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</table>", None, "a b\nc"),
            ("<pre>a\n  b</pre>", None, "a\nb"),
            ("a  \n\t b<b>c</b> <i>d</i>", None, "a bc d"),
            (
                "caf&eacute; &#x4e2d;&#25991; &lt;b&gt; &nbsp;&nbsp;x &unknown; AT&T &amp",
                None,
                "café 中文 <b> x &unknown; AT&T &",
            ),
            ("<p title='>'>x</p><div hidden/>y", None, "x\n\ny"),
            ("<p>unclosed <b>bold<p>next</div></div>", None, "unclosed bold\n\nnext"),
            ("5 < 6 && 7 > 2", None, "5 < 6 && 7 > 2"),
        ] {
            let page = Page { title: title.map(str::to_owned), text: text.to_owned() };
            assert_eq!(read(html), page, "{html}");
        }
    }
}
