//! Reading files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use lorank_core::Value;
use lorank_tantivy::input::{self, Documents, Format, Input, InputOptions};
use lorank_tantivy::{Document, Error, ErrorKind, IndexSettings};
use proptest::prelude::*;
use tempfile::TempDir;

/// A folder of files.
struct Files(TempDir);

impl Files {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// What an input gives, a line each: `id`, or the place and the cause of an error.
    fn read(&self, name: &str) -> Vec<String> {
        let documents = open(&self.path(name)).unwrap();
        let name_in = |file: &str| file.rsplit('/').next().unwrap_or_default().to_owned();
        documents
            .map(|document| match document {
                Ok(sourced) => {
                    let line = sourced.origin.line.map_or(String::new(), |line| format!("{line}: "));
                    format!("{line}{}", sourced.document.id())
                }
                Err(bad) => {
                    format!(
                        "{} {}: {}",
                        name_in(&bad.origin.file),
                        bad.origin.line.unwrap_or_default(),
                        crate::whole(&bad.cause)
                    )
                }
            })
            .collect()
    }
}

fn open(path: &Path) -> Result<Documents, Error> {
    input::open(&[Input::from(path.to_owned())], &IndexSettings::default(), &InputOptions::default())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

const LINES: &[u8] = b"\xef\xbb\xbf{\"id\": \"a\"}\r\n\n  \n{\"_id\": 2}\n[1]\n{\"id\": \"\xff\"}\n{\"id\": 3,\n{\"id\": []}\n{\"id\": \"z\"}";
const LINES_READ: [&str; 7] = [
    "1: a",
    "4: 2",
    "corpus.jsonl 5: expected a JSON object, found a list",
    "corpus.jsonl 6: invalid UTF-8 at column 9; convert the text to UTF-8, for instance from Latin-1 or Windows-1252",
    "corpus.jsonl 7: not valid JSON at column 9: the text ends where a value is expected; write each document on one line; this looks like pretty-printed JSON, which `jq -c .` converts",
    "corpus.jsonl 8: the id in the field `id` is a list; an id must be a string or an integer",
    "9: z",
];

#[test]
fn json_lines_are_read_with_their_numbers() {
    let files = Files::new(&[("corpus.jsonl", LINES), ("empty.jsonl", b""), ("blank.ndjson", b"\n\n")]);
    assert_eq!(files.read("corpus.jsonl"), LINES_READ);
    // A folder with such a file is BEIR's.
    assert_eq!(files.read("."), LINES_READ);
    assert!(files.read("empty.jsonl").is_empty() && files.read("blank.ndjson").is_empty());
}

#[test]
fn compression_is_told_by_the_first_bytes() {
    let renamed = |name: &str| LINES_READ.map(|line| line.replace("corpus.jsonl", name));
    let both = [gzip(b"{\"id\": 1}\n"), gzip(b"{\"id\": 2}\n")].concat();
    let files = Files::new(&[
        ("a.jsonl.gz", &gzip(LINES)),
        ("a.jsonl.zst", &zst(LINES)),
        ("misnamed.jsonl", &gzip(LINES)),
        ("plain.jsonl.gz", LINES),
        ("both.jsonl.gz", &both),
        ("beir/corpus.jsonl.zst", &zst(LINES)),
    ]);
    for name in ["a.jsonl.gz", "a.jsonl.zst", "misnamed.jsonl", "plain.jsonl.gz"] {
        assert_eq!(files.read(name), renamed(name));
    }
    assert_eq!(files.read("both.jsonl.gz"), ["1: 1", "2: 2"]);
    assert_eq!(files.read("beir"), renamed("corpus.jsonl.zst"));
}

#[test]
fn an_input_that_breaks_off_ends_the_reading() {
    let lines: String = (0..20_000)
        .map(|n| format!("{{\"id\": {n}, \"text\": \"{:x}\"}}\n", (n as u64).wrapping_mul(6364136223846793005)))
        .collect();
    for (name, mut bytes) in [("a.jsonl.gz", gzip(lines.as_bytes())), ("a.jsonl.zst", zst(lines.as_bytes()))] {
        bytes.truncate(bytes.len() / 2);
        let files = Files::new(&[(name, &bytes), ("b.jsonl", b"{\"id\": \"b\"}")]);
        let inputs = [Input::from(files.path(name)), Input::from(files.path("b.jsonl"))];
        let read: Vec<_> = input::open(&inputs, &IndexSettings::default(), &InputOptions::default()).unwrap().collect();
        let (last, before) = read.split_last().unwrap();
        assert!(before.len() > 1000 && before.iter().all(Result::is_ok), "{}", before.len());
        let bad = last.as_ref().unwrap_err();
        assert!(matches!(*bad.cause, Error::BrokenInput { .. }), "{}", crate::whole(bad));
        assert_eq!(bad.origin.line, Some(before.len() as u64 + 1));
    }
}

#[test]
fn long_lines_are_passed_over() {
    let files = Files::new(&[("a.jsonl", b"{\"id\": 1}\n{\"id\": 2, \"text\": \"long\"}\n{\"id\": 3}\n")]);
    let options = InputOptions { document_bytes_max: 12, ..InputOptions::default() };
    let inputs = [Input::from(files.path("a.jsonl"))];
    let read: Vec<_> = input::open(&inputs, &IndexSettings::default(), &options).unwrap().collect();
    let causes: Vec<_> = read.iter().filter_map(|item| item.as_ref().err()).map(|bad| bad.cause.to_string()).collect();
    assert_eq!((read.len(), causes), (3, vec!["longer than 12 bytes".to_owned()]));
}

#[test]
fn tables_are_read_with_their_types() {
    let csv =
        "\u{feff}id,title,year,price,ok,note\r\n007,\"A, \"\"B\"\"\n2nd\",1999,3.50,true,\r\n\r\nb,,x,,false,001\r\n";
    let tsv = "id\ttitle\tyear\n007\t\"quoted\t1999\n";
    let files =
        Files::new(&[("a.csv", csv.as_bytes()), ("a.csv.gz", &gzip(csv.as_bytes())), ("b.tsv", tsv.as_bytes())]);
    let read = |name: &str| -> Vec<_> { open(&files.path(name)).unwrap().map(Result::unwrap).collect() };
    let rows = read("a.csv");
    assert_eq!(
        rows,
        read("a.csv.gz")
            .into_iter()
            .zip(&rows)
            .map(|(mut row, plain)| {
                row.origin = plain.origin.clone();
                row
            })
            .collect::<Vec<_>>()
    );
    let fields = |fields: &[(&str, Value)]| fields.iter().map(|(k, v)| (k.to_string(), v.clone())).collect::<Vec<_>>();
    assert_eq!(rows[0].document.id().as_str(), "007");
    assert_eq!(rows[0].origin.line, Some(2));
    assert_eq!(
        rows[0].document.fields(),
        &fields(&[
            ("title", "A, \"B\"\n2nd".into()),
            ("year", Value::Integer(1999)),
            ("price", Value::Decimal(lorank_core::Decimal::parse("3.50").unwrap())),
            ("ok", Value::Bool(true)),
        ])
    );
    let expected = [("title", "".into()), ("year", "x".into()), ("ok", Value::Bool(false)), ("note", "001".into())];
    assert_eq!(rows[1].document.fields(), &fields(&expected));
    assert_eq!(rows[1].origin.line, Some(5));
    let row = &read("b.tsv")[0].document;
    assert_eq!(row.fields(), &fields(&[("title", "\"quoted".into()), ("year", Value::Integer(1999))]));
}

#[test]
fn bad_rows_and_headers_say_what_is_wrong() {
    let files = Files::new(&[
        ("rows.csv", b"id,text\n1,a\n2\n,b\n3,\xff\n4,d\n"),
        ("semicolons.csv", b"id;text\n1;a\n"),
        ("tabs.csv", b"id\ttext\n1\ta\n"),
        ("bars.tsv", b"id|text\n1|a\n"),
        ("commas.tsv", b"id,text\n1,a\n"),
        ("notext.csv", b"id,body\n1,a\n"),
        ("spaces.csv", b" ID ,text\n1,a\n"),
        ("space.csv", b"id, text\n1,a\n"),
        ("twice.csv", b"id,text,text\n1,a,b\n"),
        ("unnamed.csv", b",id,text,\n,1,a,\n0,2,b,\n,3,c,x\n"),
        ("empty.csv", b""),
        ("utf8.csv", b"id,\xff\n"),
    ]);
    assert_eq!(
        files.read("rows.csv"),
        [
            "2: 1",
            "rows.csv 3: 1 cell, but the header has 2",
            "rows.csv 4: the id in the field `id` is empty; an id must be a string or an integer",
            "rows.csv 5: invalid UTF-8 at column 1; convert the text to UTF-8, for instance from Latin-1 or Windows-1252",
            "6: 4",
        ]
    );
    assert_eq!(
        files.read("unnamed.csv"),
        [
            "2: 1",
            "unnamed.csv 3: column 1 has the value `0`, but no name in the header; name the column, or remove it",
            "unnamed.csv 4: column 4 has the value `x`, but no name in the header; name the column, or remove it",
        ]
    );
    for (name, problem) in [
        (
            "notext.csv",
            "none of its columns is searched; they are `id`, `body`; to search one, index with `--field body`",
        ),
        ("spaces.csv", "it has no column `id`, only ` ID `, `text`; rename ` ID ` to `id`"),
        ("space.csv", "none of its columns is searched; they are `id`, ` text`; rename ` text` to `text`"),
        ("semicolons.csv", "its header is one column, `id;text`, with semicolons in it"),
        (
            "tabs.csv",
            "`id\\ttext`, with tabs in it; if they separate the columns, give them as the delimiter (`--delimiter '\\t'`)",
        ),
        ("bars.tsv", "with bars in it"),
        ("commas.tsv", "with commas in it"),
        ("twice.csv", "its header names the column `text` twice"),
        ("empty.csv", "it has no header"),
        ("utf8.csv", "invalid UTF-8"),
    ] {
        let read = files.read(name);
        assert!(read.len() == 1 && read[0].contains(problem), "{read:?}");
    }
    let raws: Vec<_> = open(&files.path("rows.csv")).unwrap().filter_map(Result::err).map(|bad| bad.raw).collect();
    assert_eq!(raws, [b"2".to_vec(), b",b".to_vec(), b"3,\xff".to_vec()]);
}

#[test]
fn a_json_array_is_read_document_by_document() {
    for (array, expected) in [
        ("[]", &[][..]),
        ("\u{feff} \n[ ]\n", &[]),
        ("[{\"id\": 1}, {\"id\": 2}]", &["1: 1", "1: 2"]),
        ("\u{feff}[\n  {\n    \"id\": \"a\"\n  },\n  {\"id\": \"b\"}\n]\n", &["2: a", "5: b"]),
        ("[{\"id\": 1},\n7,\n{\"id\": 3}]", &["1: 1", "a.json 2: expected a JSON object, found a number", "3: 3"]),
        (
            "[\n{\"id\": 1,\n \"n\": True},\n{\"id\": 2}]",
            &[
                "a.json 2: not valid JSON at its line 2, column 7: a value is expected; write `true` in lower case",
                "4: 2",
            ],
        ),
        ("[{\"id\": 1}", &["1: 1", "the array is not closed by the end of the file"]),
        ("[{\"id\": 1},]", &["1: 1", "there is a comma after the last document of the array"]),
        ("[{\"id\": 1} {\"id\": 2}]", &["1: 1", "a comma is missing between two documents of the array"]),
        ("[{\"id\": 1}]\n{\"id\": 2}", &["1: 1", "there is more after the end of the array"]),
        ("[1]\n{\"id\": 2}", &["a.json 1: expected a JSON object, found a list", "2: 2"]),
    ] {
        for (name, bytes) in [("a.json", array.as_bytes().to_vec()), ("a.jsonl", gzip(array.as_bytes()))] {
            let read = Files::new(&[(name, &bytes)]).read(name);
            let is_as_expected = |(read, expected): (&String, &&str)| read.ends_with(&expected.replace("a.json", name));
            assert!(read.len() == expected.len() && read.iter().zip(expected).all(is_as_expected), "{array}: {read:?}");
        }
    }
}

fn utf_16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(order).collect()
}

fn utf_32(text: &str) -> Vec<u8> {
    text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect()
}

#[test]
fn files_that_are_no_utf_8_texts_are_named_for_what_they_are() {
    let csv = "id,text\n1,apple one\n2,apple two\n";
    let json = "{\"id\": \"1\", \"text\": \"яблоко\"}\n";
    let files = Files::new(&[
        ("le.csv", &utf_16(&format!("\u{feff}{csv}"), u16::to_le_bytes)),
        ("be.csv", &utf_16(&format!("\u{feff}{csv}"), u16::to_be_bytes)),
        ("le-bare.tsv", &utf_16(csv, u16::to_le_bytes)),
        ("be-bare.jsonl", &utf_16(json, u16::to_be_bytes)),
        ("le.jsonl.gz", &gzip(&utf_16(json, u16::to_le_bytes))),
        ("32.jsonl", &utf_32(&format!("\u{feff}{json}"))),
        ("32.csv", &utf_32(csv)),
        ("16.txt", &utf_16("\u{feff}apple", u16::to_le_bytes)),
        ("32.md", &utf_32("# apple pie")),
        ("sheet.csv", b"PK\x03\x04\x14\0\x06\0"),
        ("paper.txt", b"%PDF-1.7\n%\xe2\xe3"),
        ("table.json", b"PAR1\x15\x04"),
        ("a.jsonl", b"BZh91AY&SY"),
        ("b.jsonl.gz", b"\x00\x01\x8bgarbage\xff"),
        ("c.csv.zst", b"\xb5\x28garbage"),
        ("d.txt.gz", b"garbage\xff"),
    ]);
    for (name, problem) in [
        ("le.csv", "it is encoded in UTF-16 (little-endian); convert it to UTF-8 with `iconv -f UTF-16LE -t UTF-8`"),
        ("be.csv", "it is encoded in UTF-16 (big-endian)"),
        ("le-bare.tsv", "it is encoded in UTF-16 (little-endian)"),
        ("be-bare.jsonl", "it is encoded in UTF-16 (big-endian)"),
        ("le.jsonl.gz", "it is encoded in UTF-16 (little-endian)"),
        ("32.jsonl", "it is encoded in UTF-32 (little-endian)"),
        ("32.csv", "it is encoded in UTF-32 (little-endian)"),
        ("16.txt", "it is encoded in UTF-16 (little-endian)"),
        ("32.md", "it is encoded in UTF-32 (little-endian)"),
        ("sheet.csv", "it is a ZIP archive or an Office document (.xlsx, .docx)"),
        ("paper.txt", "it is a PDF file"),
        ("table.json", "it is a Parquet file"),
        ("a.jsonl", "it is compressed with bzip2"),
        ("b.jsonl.gz", "its name ends in `.gz`, but it is neither gzip data nor text"),
        ("c.csv.zst", "its name ends in `.zst`, but it is neither zstd data nor text"),
        ("d.txt.gz", "its name ends in `.gz`, but it is neither"),
    ] {
        let read = files.read(name);
        assert!(read.len() == 1 && read[0].contains(problem), "{name}: {read:?}");
    }
    // Of a folder, one such file is a bad document, and the others stand.
    let files = Files::new(&[("a.txt", &utf_16("\u{feff}apple", u16::to_be_bytes)), ("b.txt", b"apple")]);
    let read: Vec<_> = open(&files.path(".")).unwrap().collect();
    assert!(matches!(*read[0].as_ref().unwrap_err().cause, Error::NotText { .. }) && read[1].is_ok());
}

#[test]
fn an_open_quote_does_not_swallow_the_file() {
    let mut csv = b"id,text\n1,a\n2,\"open\n".to_vec();
    csv.extend(b"3,c\n".repeat(100_000));
    let files = Files::new(&[("a.csv", &csv)]);
    let options = InputOptions { document_bytes_max: 50_000, ..InputOptions::default() };
    let inputs = [Input::from(files.path("a.csv"))];
    let read: Vec<_> = input::open(&inputs, &IndexSettings::default(), &options).unwrap().collect();
    assert_eq!(read.len(), 2);
    let error = crate::whole(&read[1].as_ref().unwrap_err().cause);
    assert!(
        error.contains("the row that starts on line 3 has a quote that is not closed within 50000 bytes"),
        "{error}"
    );
}

#[test]
fn a_folder_of_texts_is_read_in_order() {
    let files = Files::new(&[
        ("b.txt", b"plain\n"),
        ("a/z.md", b"# Zed\nbody"),
        ("a/y.markdown.gz", &gzip(b"no heading")),
        ("a.TXT", b""),
        (".hidden.txt", b""),
        (".git/x.md", b""),
        ("photo.jpg", b"\xff"),
        ("bad.txt", b"line\nb\xffd"),
    ]);
    assert_eq!(
        files.read("."),
        [
            "a.TXT",
            "a/y.markdown.gz",
            "a/z.md",
            "b.txt",
            "bad.txt 2: invalid UTF-8 at column 2; convert the text to UTF-8, for instance from Latin-1 or Windows-1252"
        ]
        .map(str::to_owned)
        .into_iter()
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect::<Vec<_>>()
    );
    let read: Vec<Document> =
        open(&files.path(".")).unwrap().filter_map(Result::ok).map(|sourced| sourced.document).collect();
    let fields: Vec<Vec<&str>> = read
        .iter()
        .map(|document| document.fields().iter().filter_map(|(_, value)| value.as_text()).collect())
        .collect();
    assert_eq!(fields, [vec!["a", ""], vec!["y", "no heading"], vec!["Zed", "# Zed\nbody"], vec!["b", "plain\n"]]);
    // A file that is named itself has its path as its id.
    let path = files.path("b.txt");
    assert_eq!(files.read("b.txt"), [path.display().to_string()]);
}

#[test]
fn pages_are_read_by_title_text_and_encoding() {
    let files = Files::new(&[
        ("a.html", "<meta charset=utf-8><title>A &amp; B</title><p>café<script>x</script>".as_bytes()),
        ("b.htm", b"<meta charset=iso-8859-1><h1>Caf\xe9</h1>\x93quoted\x94"),
        ("c.html.gz", &gzip(b"no title")),
        ("d.html", &utf_16("\u{feff}<title>UTF-16</title>wide", u16::to_le_bytes)),
        ("e.html", b"<p>\ncaf\xe9"),
        ("f.html", b"%PDF-1.7"),
        ("g.html", b"<meta charset=klingon>x"),
        ("h.html", &utf_32("\u{feff}<p>x")),
    ]);
    let (mut read, mut bad) = (Vec::new(), Vec::new());
    for document in open(&files.path(".")).unwrap() {
        match document {
            Ok(sourced) => {
                let texts = sourced.document.fields().iter().filter_map(|(_, value)| value.as_text());
                read.push(format!("{} {}", sourced.document.id(), texts.collect::<Vec<_>>().join("|")));
            }
            Err(error) => bad.push(crate::whole(&error.cause)),
        }
    }
    assert_eq!(
        read,
        ["a.html A & B|café", "b.htm Café|Café\n\n“quoted”", "c.html.gz c|no title", "d.html UTF-16|wide"]
    );
    for (n, problem) in
        ["invalid UTF-8 at column 4", "it is a PDF file", "the encoding `klingon`", "UTF-32"].iter().enumerate()
    {
        assert!(bad[n].contains(problem), "{}", bad[n]);
    }
    let options = InputOptions { format: Some(Format::Html), ..InputOptions::default() };
    let page = Files::new(&[("page", b"<title>T</title>")]);
    let mut read = input::open(&[Input::from(page.path("page"))], &IndexSettings::default(), &options).unwrap();
    assert_eq!(read.next().unwrap().unwrap().document.fields()[0].1, Value::from("T"));
}

#[test]
fn files_that_are_left_out_are_counted_by_reason() {
    let files = Files::new(&[
        ("a.txt", b"x"),
        ("b/c.pdf", b""),
        ("b/d.jsonl", b""),
        ("e", b""),
        (".f.txt", b""),
        (".g/h.txt", b""),
        (".g/i.txt", b""),
    ]);
    #[cfg(unix)]
    std::os::unix::fs::symlink(files.path("b"), files.path("link.txt")).unwrap();
    let left_out = open(&files.path(".")).unwrap().left_out();
    let found = (left_out.other_formats, left_out.hidden, left_out.folder_links, left_out.special);
    assert_eq!(found, (3, 2, u64::from(cfg!(unix)), 0));
    assert_eq!(open(&files.path("a.txt")).unwrap().left_out().n_files(), 0);
}

#[test]
fn a_compressed_file_that_is_cut_off_says_so() {
    let lines: String = (0..2_000).map(|n| format!("{{\"id\": {n}, \"text\": \"{}\"}}\n", n * 7919)).collect();
    let (gz, zst) = (gzip(lines.as_bytes()), zst(lines.as_bytes()));
    let half = |bytes: &[u8]| bytes[..bytes.len() / 2].to_vec();
    let files =
        Files::new(&[("half.jsonl.gz", &half(&gz)), ("half.jsonl.zst", &half(&zst)), ("head.jsonl.gz", &gz[..5])]);
    for name in ["half.jsonl.gz", "half.jsonl.zst", "head.jsonl.gz"] {
        let read = files.read(name);
        let last = read.last().unwrap();
        assert!(last.ends_with("the compressed data ends early; copy or download the file again"), "{name}: {last}");
    }
}

#[test]
fn files_without_a_document_are_named() {
    let files = Files::new(&[
        ("empty.jsonl", b""),
        ("blank.jsonl", b"\n  \n\n"),
        ("mark.jsonl", b"\xef\xbb\xbf"),
        ("array.json", b"[]\n"),
        ("header.csv", b"id,text\n"),
        ("header.tsv", b"id\ttext\n"),
        ("packed.jsonl.gz", &gzip(b"")),
        ("one.jsonl", b"{\"id\": 1}\n"),
        ("bad.jsonl", b"{\"id\": null}\n"),
        ("row.csv", b"id,text\n1,x\n"),
        ("empty.txt", b""),
    ]);
    let rows = [
        ("empty.jsonl", true),
        ("blank.jsonl", true),
        ("mark.jsonl", true),
        ("array.json", true),
        ("header.csv", true),
        ("header.tsv", true),
        ("packed.jsonl.gz", true),
        ("one.jsonl", false),
        // A bad line has an error of its own, and an empty text is a document.
        ("bad.jsonl", false),
        ("row.csv", false),
        ("empty.txt", false),
    ];
    for (name, is_empty) in rows {
        let documents = open(&files.path(name)).unwrap();
        let empty = documents.empty_files();
        let n_items = documents.count();
        assert_eq!((empty.n_files(), n_items == 0), (u64::from(is_empty), is_empty), "{name}");
    }

    // Of many, all are counted and the first are named, in the order of reading.
    let inputs: Vec<Input> = rows.iter().map(|(name, _)| Input::from(files.path(name))).collect();
    let mut documents = input::open(&inputs, &IndexSettings::default(), &InputOptions::default()).unwrap();
    let empty = documents.empty_files();
    assert_eq!(documents.by_ref().count(), 4);
    assert!(documents.next().is_none(), "it has ended");
    assert_eq!((empty.n_files(), empty.first().len()), (7, 5));
    for (name, (file, _)) in empty.first().iter().zip(rows) {
        assert!(name.ends_with(file), "{name}");
    }
}

#[test]
fn json_from_elsewhere_is_lines_or_an_array() {
    use lorank_tantivy::input::JsonForm;
    for (form, json, expected) in [
        (JsonForm::Lines, "{\"id\": 1}\n{\"id\": 2}", &["1", "2"][..]),
        (JsonForm::Lines, "[{\"id\": 1}, {\"id\": 2}]", &["1", "2"]),
        (JsonForm::Array, "[{\"id\": 1},\n {\"id\": 2}]", &["1", "2"]),
        (JsonForm::Array, "\u{feff} {\n\"id\": 1\n}\n", &["1"]),
        (JsonForm::Array, "[]", &[]),
        (JsonForm::Array, " ", &[]),
        (JsonForm::Array, "[1, {\"id\": 2}]", &["expected a JSON object, found a number", "2"]),
        (JsonForm::Array, "7", &["expected a JSON object, found a number"]),
        (JsonForm::Array, "{\"id\": 1}\n{\"id\": 2}", &["1", "a comma is missing between two documents of the array"]),
        (JsonForm::Array, "[{\"id\": 1}", &["1", "the array is not closed by the end of the file"]),
    ] {
        let reader = Box::new(std::io::Cursor::new(json.as_bytes().to_vec()));
        let settings = IndexSettings::default();
        let read = input::json(reader, form, "the body", &settings, 100);
        let found: Vec<String> = read
            .map(|read| read.map_or_else(|bad| crate::whole(&bad.cause), |sourced| sourced.document.id().to_string()))
            .collect();
        let is_as_expected = |(found, expected): (&String, &&str)| found.ends_with(expected);
        assert!(found.len() == expected.len() && found.iter().zip(expected).all(is_as_expected), "{json}: {found:?}");
    }
}

#[test]
fn an_input_that_cannot_be_read_is_refused_at_once() {
    let files = Files::new(&[("a.pdf", b""), ("dir/photo.jpg", b""), ("t/a.txt", b"x"), ("a.jsonl", b"")]);
    let check = |name: &str, settings: &IndexSettings, kind: ErrorKind, text: &str| {
        let inputs = [Input::from(files.path("a.jsonl")), Input::from(files.path(name))];
        let error = input::open(&inputs, settings, &InputOptions::default()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text) && error.to_string().contains(name), "{error}");
    };
    let default = IndexSettings::default();
    check("missing.jsonl", &default, ErrorKind::NotFound, "cannot read");
    check("a.pdf", &default, ErrorKind::Invalid, "its name does not tell its format");
    check("dir", &default, ErrorKind::Invalid, "neither a `corpus.jsonl` nor any `.txt`");
    let other = IndexSettings { text_fields: vec!["body".parse().unwrap()], ..default };
    check("t", &other, ErrorKind::Invalid, "the index searches neither");
    check("t/a.txt", &other, ErrorKind::Invalid, "the index searches neither");

    let options = InputOptions { format: Some("csv".parse().unwrap()), ..InputOptions::default() };
    assert!(input::open(&[Input::from(files.path("a.pdf"))], &other, &options).is_ok());
    assert_eq!(Input::from("-"), Input::Stdin);
    assert_eq!(Format::JsonLines.to_string().parse::<Format>().unwrap(), Format::JsonLines);
    assert!("xml".parse::<Format>().is_err());
}

#[test]
fn progress_counts_the_bytes_of_the_files() {
    let lines = b"{\"id\": 1, \"text\": \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}\n".repeat(1000);
    let packed = gzip(&lines);
    let files = Files::new(&[("a.jsonl", &lines), ("b.jsonl.gz", &packed)]);
    let inputs = [Input::from(files.path("a.jsonl")), Input::from(files.path("b.jsonl.gz"))];
    let documents = input::open(&inputs, &IndexSettings::default(), &InputOptions::default()).unwrap();
    let progress = documents.progress();
    let total = (lines.len() + packed.len()) as u64;
    assert_eq!((progress.bytes_read(), progress.bytes_total()), (0, Some(total)));
    assert_eq!(documents.count(), 2000);
    assert_eq!(progress.bytes_read(), total);
    let stdin = input::open(&[Input::Stdin], &IndexSettings::default(), &InputOptions::default()).unwrap();
    assert_eq!(stdin.progress().bytes_total(), None);
}

#[test]
fn documents_can_be_read_on_another_thread() {
    fn is_send<T: Send>(_: &T) {}
    let files = Files::new(&[("a.jsonl", b"{\"id\": 1}")]);
    is_send(&open(&files.path("a.jsonl")).unwrap());
}

/// A JSON value that nests a few levels.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn json_lines_come_back_from_an_index(fields in prop::collection::vec((any::<String>(), json()), 0..6), packed in any::<bool>()) {
        let mut object: serde_json::Map<_, _> = fields.into_iter().filter(|(name, _)| !["id", "title", "text"].contains(&name.as_str())).collect();
        object.insert("text".into(), "x".into());
        object.insert("id".into(), "a".into());
        let line = serde_json::to_string(&object).unwrap();
        let bytes = if packed { zst(line.as_bytes()) } else { line.clone().into_bytes() };
        let files = Files::new(&[("a.jsonl", &bytes)]);
        let read = open(&files.path("a.jsonl")).unwrap().next().unwrap().unwrap().document;
        let corpus = crate::Corpus::of(&[&line]);
        let kept = corpus.index.get(read.id()).unwrap().unwrap();
        object.shift_remove("id");
        // Floats are compared by their digits too: they come back to the bit.
        prop_assert_eq!(format!("{:?}", kept.fields()), format!("{:?}", read.fields()));
        let names: Vec<_> = kept.fields().iter().map(|(name, _)| name.clone()).collect();
        prop_assert_eq!(names, object.keys().cloned().collect::<Vec<_>>());
    }

    #[test]
    fn csv_rows_come_back(cells in prop::collection::vec(any::<String>(), 1..8)) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["id", "text"]).unwrap();
        for (n, cell) in cells.iter().enumerate() {
            writer.write_record([&n.to_string(), cell]).unwrap();
        }
        let files = Files::new(&[("a.csv", &writer.into_inner().unwrap())]);
        let read: Vec<_> = open(&files.path("a.csv")).unwrap().map(|row| row.unwrap().document.fields()[0].1.clone()).collect();
        prop_assert_eq!(read, cells.into_iter().map(|cell| Value::Text(cell.into())).collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_make_the_reading_fail(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let files = Files::new(&[("a.jsonl", &bytes), ("a.csv", &bytes), ("a.tsv", &bytes), ("a.txt", &bytes), ("a.html", &bytes), ("b.csv", &[b"id,text\n", &bytes[..]].concat())]);
        for name in ["a.jsonl", "a.csv", "a.tsv", "a.txt", "a.html", "b.csv"] {
            files.read(name);
        }
    }
}
