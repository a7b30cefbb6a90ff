//! `index`, `search` without a model, and `delete`.

use serde_json::json;

use crate::command::Lorank;

const DOCUMENTS: &str = r#"{"id": "bulb", "title": "Light bulb", "text": "Edison's lamp burned for a whole night.", "year": 1879, "lang": "en"}
{"id": "year", "title": "Light year", "text": "The distance that light travels in a year.", "year": 1838, "lang": "en"}
{"id": 7, "title": "Zwiebel", "text": "A bulb that is planted in autumn.", "year": 1600, "lang": "de"}
"#;

/// An index of the three documents.
fn indexed() -> Lorank {
    let lorank = Lorank::new();
    lorank.write("documents.jsonl", DOCUMENTS);
    lorank.run(&["index", "--index", "i", "documents.jsonl"]);
    lorank
}

fn ids(lorank: &Lorank, args: &[&str]) -> Vec<String> {
    let answer = lorank.json(&[&["search", "--index", "i", "--no-rerank", "--json"], args].concat());
    let hits = answer["hits"].as_array().unwrap().iter();
    hits.map(|hit| hit["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_was_indexed_is_found() {
    let lorank = indexed();
    assert_eq!(ids(&lorank, &["distance of light"]), ["year", "bulb"]);
    assert_eq!(ids(&lorank, &["bulbs"]), ["7", "bulb"], "the language's word endings are understood");
    assert_eq!(ids(&lorank, &["light", "--filter", "year>=1850"]), ["bulb"]);
    assert_eq!(ids(&lorank, &["bulb", "--filter", "lang=de,fr"]), ["7"]);
    assert_eq!(ids(&lorank, &["light", "--top-k", "1", "--offset", "1"]).len(), 1);
    assert_eq!(ids(&lorank, &["what?! (\"un:balanced", "--top-k", "3"]), [""; 0]);
    assert_eq!(ids(&lorank, &["title:zwiebel", "--syntax", "advanced"]), ["7"]);
}

#[test]
fn documents_come_from_standard_input_and_replace_those_with_their_ids() {
    let lorank = indexed();
    let report = lorank
        .run_with(&["index", "--index", "i", "--json", "-"], "{\"id\": 7, \"title\": \"Onion\", \"text\": \"\"}\n");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        (&report["n_indexed"], &report["n_replaced"], &report["n_documents"]),
        (&json!(1), &json!(1), &json!(3))
    );
    assert_eq!(ids(&lorank, &["zwiebel"]), [""; 0]);
    assert_eq!(ids(&lorank, &["onion"]), ["7"]);
}

#[test]
fn deleted_documents_are_gone() {
    let lorank = indexed();
    let report = lorank.json(&["delete", "--index", "i", "--json", "bulb", "7", "nobody"]);
    assert_eq!(report, json!({"n_deleted": 2, "not_found": ["nobody"], "n_documents": 1}));
    assert_eq!(ids(&lorank, &["bulb"]), [""; 0]);
    assert_eq!(lorank.json(&["info", "--index", "i", "--json"])["index"]["n_documents"], 1);
}

#[test]
fn documents_are_deleted_by_filter_and_by_query() {
    let lorank = indexed();
    fn delete<'a>(args: &[&'a str]) -> Vec<&'a str> {
        [&["delete", "--index", "i"], args].concat()
    }
    let (code, error) = lorank.fail(&delete(&["--filter", "year<1850"]), "");
    assert!(code == 2 && error.contains("this would delete 2 documents of `i`; confirm with --yes"), "{code} {error}");
    let (code, error) = lorank.fail(&delete(&["--filter", "year<1850", "7", "--yes"]), "");
    assert!(code == 2 && error.contains("cannot be used with"), "{error}");
    let (code, error) = lorank.fail(&delete(&["--filter", "yeer<1850", "--yes"]), "");
    assert!(code == 1 && error.contains("did you mean `year`?"), "{error}");
    let counted = json!({"n_would_be_deleted": 2, "not_found": [], "n_documents": 3});
    assert_eq!(lorank.json(&delete(&["--filter", "year<1850", "--dry-run", "--json"])), counted);
    let counted = json!({"n_would_be_deleted": 1, "not_found": ["nobody"], "n_documents": 3});
    assert_eq!(lorank.json(&delete(&["7", "nobody", "7", "--dry-run", "--json"])), counted);
    assert_eq!(
        lorank.run(&delete(&["--filter", "lang=fr", "--yes"])),
        "deleted 0 documents; `i` now holds 3 documents\n"
    );
    let text = lorank.run(&delete(&["--query", "light", "--filter", "year>1850", "--yes"]));
    assert_eq!(text, "deleted 1 document; `i` now holds 2 documents\n");
    assert_eq!(ids(&lorank, &["bulb"]), ["7"]);
    let text = lorank.run(&delete(&["--query", "title:zwiebel", "--syntax", "advanced", "-y"]));
    assert_eq!(text, "deleted 1 document; `i` now holds 1 document\n");
    assert_eq!(lorank.run(&delete(&["--all", "--yes"])), "deleted 1 document; `i` now holds 0 documents\n");
}

#[test]
fn an_input_without_documents_makes_no_index() {
    let lorank = Lorank::new();
    lorank.write("empty.jsonl", "");
    lorank.write("array.json", "[]\n");
    lorank.write("bad.jsonl", "{\"id\": null}\n");
    for args in [&["empty.jsonl"][..], &["empty.jsonl", "array.json"], &["-"], &["bad.jsonl", "--on-error", "skip"]] {
        let (code, error) = lorank.fail(&[&["index", "--index", "i"], args].concat(), "");
        assert!(
            code == 1 && error.contains("there is no document in `") && error.contains("so no index was made"),
            "{error}"
        );
        assert!(!lorank.path("i").exists(), "{args:?}");
    }
    let lorank = indexed();
    lorank.write("empty.jsonl", "");
    lorank.write("header.csv", "id,text\n");
    let inputs = ["index", "--index", "i", "empty.jsonl", "documents.jsonl", "header.csv"];
    let text = lorank.run(&inputs);
    assert!(text.contains("\nfound no document in 2 files: `empty.jsonl`, `header.csv`\n`i` now holds"), "{text}");
    let report = lorank.json(&[&inputs[..], &["--json"]].concat());
    assert_eq!(
        (&report["n_empty_files"], &report["first_empty_files"]),
        (&json!(2), &json!(["empty.jsonl", "header.csv"]))
    );
    let text = lorank.run(&["index", "--index", "i", "empty.jsonl"]);
    assert!(text.ends_with("there is no document in the input\n`i` now holds 3 documents\n"), "{text}");
}

#[test]
fn documents_without_searched_text_name_the_fields_that_have_text() {
    let lorank = Lorank::new();
    lorank.write("other.jsonl", "{\"id\": 1, \"contents\": \"apple\", \"n\": 1}\n");
    let text = lorank.run(&["index", "--index", "i", "other.jsonl"]);
    let hint = "they have text in `contents`; to search it, index into another folder with `--field contents`";
    assert!(text.contains(hint), "{text}");
    lorank.run(&["index", "--index", "j", "--field", "contents", "other.jsonl"]);
    assert_eq!(lorank.json(&["search", "--index", "j", "--no-rerank", "--json", "apple"])["total_hits"], 1);
}

#[test]
fn a_folder_gives_up_the_documents_of_files_that_are_gone() {
    let lorank = Lorank::new();
    let index = |args: &[&str]| lorank.json(&[&["index", "--index", "i", "--json"], args].concat());
    for (name, text) in [
        ("notes/a.txt", "apple pie"),
        ("notes/deep/b.md", "# Apple"),
        ("notes/c.html", "<title>Crumble</title><p>apple <script>var pear</script>and<p>butter"),
        ("notes/d.pdf", "%PDF-1.7"),
        ("notes/.hidden/e.txt", "apple"),
        ("other/f.txt", "apple juice"),
    ] {
        lorank.write(name, text);
    }
    lorank.write(
        "more.jsonl",
        "{\"id\": \"elsewhere.txt\", \"text\": \"apple\"}\n{\"id\": \"a.txt\", \"text\": \"apple\"}\n",
    );
    let report = index(&["notes", "other", "more.jsonl"]);
    assert_eq!((&report["n_indexed"], &report["n_documents"]), (&json!(6), &json!(5)));
    let left_out = json!({"other_formats": 1, "hidden": 1, "folder_links": 0, "special": 0});
    assert_eq!(report["left_out_files"], left_out);
    assert_eq!(ids(&lorank, &["crumble butter"]), ["c.html"]);
    assert_eq!(ids(&lorank, &["pear"]), [""; 0]);

    let (code, error) = lorank.fail(&["index", "--index", "i", "--remove-missing", "notes", "more.jsonl"], "");
    assert!(code == 2 && error.contains("--remove-missing is for folders"), "{error}");
    for name in ["notes/a.txt", "notes/deep/b.md", "other/f.txt"] {
        std::fs::remove_file(lorank.path(name)).unwrap();
    }
    // `a.txt` was replaced by a line of another file, and `f.txt` came from another folder.
    let text = lorank.run(&["index", "--index", "i", "--remove-missing", "notes"]);
    assert!(
        text.contains(
            "removed 1 document whose files are gone\nleft out 2 files: 1 neither .txt, .md nor .html, 1 hidden\n"
        ),
        "{text}"
    );
    let mut left = ids(&lorank, &["--match-all"]);
    left.sort();
    assert_eq!(left, ["a.txt", "c.html", "elsewhere.txt", "f.txt"]);
    assert_eq!(index(&["notes"])["n_removed"], 0);
}

#[test]
fn the_longest_document_is_a_setting() {
    let lorank = Lorank::new();
    lorank.write("a.jsonl", "{\"id\": 1, \"text\": \"apple\"}\n{\"id\": 2, \"text\": \"apple apple\"}\n");
    let (code, error) = lorank.fail(&["index", "--index", "i", "--document-bytes-max", "30", "a.jsonl"], "");
    assert!(code == 1 && error.contains("longer than 30 bytes"), "{error}");
    lorank.run(&["index", "--index", "i", "--document-bytes-max", "40", "a.jsonl"]);
}

#[test]
fn a_bad_line_stops_or_is_skipped() {
    let lorank = Lorank::new();
    lorank
        .write("documents.jsonl", "{\"id\": 1, \"text\": \"one\"}\n{\"id\": 1.5}\n{\"id\": 3, \"text\": \"three\"}\n");
    let (code, error) = lorank.fail(&["index", "--index", "i", "documents.jsonl"], "");
    assert_eq!(code, 1);
    assert!(
        error.contains("documents.jsonl`, line 2") && error.contains("the id in the field `id` is a number"),
        "{error}"
    );
    assert!(!lorank.path("i").exists(), "a first run that fails leaves no index");

    let args = ["index", "--index", "i", "--on-error", "skip", "--rejects", "rejects.jsonl", "documents.jsonl"];
    let text = lorank.run(&args);
    assert!(text.contains("skipped 1 bad line:\n  `documents.jsonl`, line 2: the id"), "{text}");
    assert_eq!(std::fs::read_to_string(lorank.path("rejects.jsonl")).unwrap().trim_end(), "{\"id\": 1.5}");
    assert_eq!(ids(&lorank, &["three"]), ["3"]);
}

#[test]
fn settings_of_an_index_are_kept() {
    let lorank = indexed();
    let (code, error) = lorank.fail(&["index", "--index", "i", "--language", "german", "documents.jsonl"], "");
    assert_eq!(code, 1);
    assert!(error.contains("`english`") && error.contains("`german`"), "{error}");
}

#[test]
fn an_answer_is_a_list_for_people() {
    let text = indexed().run(&["search", "--index", "i", "--no-rerank", "light bulb"]);
    let (list, summary) = text.rsplit_once("\n\n").unwrap();
    assert!(summary.starts_with("3 documents match; first-stage order, in "), "{summary}");
    insta::assert_snapshot!(list, @r"
    rank  first stage  document
       1         1.45  year  Light year
          The distance that light travels in a year
       2         1.34  bulb  Light bulb
          Edison's lamp burned for a whole night.
       3         1.12  7  Zwiebel
          A bulb that is planted in autumn
    ");
}

#[test]
fn words_are_found_as_they_are_typed() {
    let lorank = Lorank::new();
    lorank.write(
        "words.jsonl",
        "{\"id\": \"nfd\", \"text\": \"zzcafe\u{301} bar\"}\n\
         {\"id\": \"nfc\", \"text\": \"zzcaf\u{e9} bar\"}\n\
         {\"id\": \"wide\", \"text\": \"\u{ff5a}\u{ff5a}\u{ff57}\u{ff49}\u{ff44}\u{ff45} text\"}\n\
         {\"id\": \"hyphen\", \"text\": \"zzco\u{ad}op\"}\n\
         {\"id\": \"mixed\", \"text\": \"iPhone手机很贵 apple\"}\n\
         {\"id\": \"hamlet\", \"text\": \"To be, or not to be: that is the question\"}\n\
         {\"id\": \"pie\", \"text\": \"apple pie in a kitchen\"}\n",
    );
    lorank.run(&["index", "--index", "i", "words.jsonl"]);
    for (args, expected) in [
        (&["zzcaf\u{e9}"][..], &["nfc", "nfd"][..]),
        (&["zzcafe"], &["nfc", "nfd"]),
        (&["zzwide"], &["wide"]),
        (&["zzcoop"], &["hyphen"]),
        (&["iphone"], &["mixed"]),
        (&["手机"], &["mixed"]),
        (&["to be or not to be"], &["hamlet"]),
        (&["kitchne"], &["pie"]),
        (&["kitchne", "--fuzzy", "on"], &["pie"]),
        (&["kitchne", "--fuzzy", "off"], &[]),
        (&["kitch*"], &["pie"]),
        (&["apple AND NOT pie", "--syntax", "advanced"], &["mixed"]),
        (&["kitch* AND (NOT tart)", "--syntax", "advanced"], &["pie"]),
        (&["kitchne~", "--syntax", "advanced"], &["pie"]),
    ] {
        assert_eq!(ids(&lorank, args), expected, "{args:?}");
    }
    let refused = ["search", "--index", "i", "--no-rerank", "--syntax", "advanced"];
    for (query, why) in [("kit?hen", "`kit?hen`: the only supported wildcard"), ("!apple", "write NOT")] {
        let (code, error) = lorank.fail(&[&refused[..], &[query]].concat(), "");
        assert!(code != 0 && error.contains(why), "{code}: {error}");
    }
}

#[test]
fn a_first_run_that_fails_leaves_no_index() {
    let lorank = Lorank::new();
    lorank.write("good.jsonl", "{\"id\": \"0\", \"text\": \"apple pie\"}\n");
    lorank.write("bad.jsonl", "{\"id\": \"0\", \"text\": \"apple\"}\n{\"id\": \"1\"\n");
    lorank.write("header.csv", "id,body\n1,a\n");
    lorank.write("empty.csv", "");
    lorank.write("mail.eml", "x");
    lorank.write("quote.csv", "id,text\n1,\"open\n");
    std::fs::create_dir(lorank.path("nothing")).unwrap();
    for (n, args) in [
        &["bad.jsonl"][..],
        &["good.jsonl", "bad.jsonl"],
        &["header.csv"],
        &["empty.csv"],
        &["quote.csv"],
        &["mail.eml"],
        &["nothing"],
        &["missing.jsonl"],
        &["--delimiter", ";", "good.jsonl"],
        &["--rejects", "no/such/folder", "--on-error", "skip", "good.jsonl"],
        &["--field", "body", "good.jsonl", "bad.jsonl"],
    ]
    .into_iter()
    .enumerate()
    {
        let dir = format!("new{n}");
        let (code, error) = lorank.fail(&[&["index", "--index", &dir], args].concat(), "");
        assert!(code != 0 && !lorank.path(&dir).exists(), "{args:?}: {error}");
        // Other settings are then no contradiction.
        lorank.run(&["index", "--index", &dir, "--language", "german", "good.jsonl"]);
    }
    // A folder that was there stays, without an index in it.
    std::fs::create_dir(lorank.path("kept")).unwrap();
    lorank.fail(&["index", "--index", "kept", "bad.jsonl"], "");
    assert_eq!(std::fs::read_dir(lorank.path("kept")).unwrap().count(), 0);
    // What was committed stays, and so does an index that was there.
    lorank.fail(&["index", "--index", "kept", "--commit-every", "1", "bad.jsonl"], "");
    lorank.fail(&["index", "--index", "kept", "header.csv"], "");
    assert_eq!(lorank.json(&["info", "--index", "kept", "--json"])["index"]["n_documents"], 1);
}

#[test]
fn tables_have_the_delimiter_that_is_named() {
    let lorank = Lorank::new();
    for (n, (name, delimiter, table)) in [
        ("a.csv", ";", "id;text\n1;\"one; two\"\n"),
        ("b.csv", "|", "id|text\n1|one, two\n"),
        ("c.csv", "\\t", "id\ttext\n1\t\"one\ttwo\"\n"),
        ("d.csv", "tab", "id\ttext\n1\tone two\n"),
        ("e.tsv", ",", "id,text\n1,\"one two\n"),
        ("f.tsv", ";", "id;text\n1;one \"two\" three\n"),
        ("g.dat", "^", "id^text\n1^one two\n"),
        ("h", ":", "id:text\n1:one two\n"),
        ("i.csv", " ", "id text\n1 \"one two\"\n"),
        ("j.csv", "\u{1}", "id\u{1}text\n1\u{1}one two\n"),
        ("k.csv", ",", "id,text\n1,one two\n"),
    ]
    .into_iter()
    .enumerate()
    {
        lorank.write(name, table);
        let dir = format!("i{n}");
        lorank.run(&["index", "--index", &dir, "--delimiter", delimiter, name]);
        let answer = lorank.json(&["search", "--index", &dir, "--no-rerank", "--json", "two"]);
        assert_eq!(answer["hits"][0]["id"], "1", "{name}");
        let stdin = format!("stdin{n}");
        let format = if name.ends_with(".tsv") { &["--format", "tsv"][..] } else { &[] };
        lorank.run_with(&[&["index", "--index", &stdin, "--delimiter", delimiter, "-"], format].concat(), table);
        let answer = lorank.json(&["search", "--index", &stdin, "--no-rerank", "--json", "two"]);
        assert_eq!(answer["hits"][0]["id"], "1", "{name} on standard input");
    }
    lorank.write("a.jsonl", DOCUMENTS);
    std::fs::create_dir(lorank.path("texts")).unwrap();
    lorank.write("texts/a.txt", "one");
    for (args, problem) in [
        (&["--delimiter", ";", "a.jsonl"][..], "a delimiter is for tables, and the format is jsonl"),
        (&["--delimiter", ";", "texts/a.txt"], "a delimiter is for tables, and the format is text"),
        (&["--delimiter", ";", "texts"], "a delimiter is for tables, and this is a folder"),
        (&["--delimiter", ";", "--format", "jsonl", "a.csv"], "a delimiter is for tables, and the format is jsonl"),
        (&["--delimiter", ";;", "a.csv"], "invalid delimiter `;;`"),
        (&["--delimiter", "", "a.csv"], "invalid delimiter ``"),
        (&["b.csv"], "with bars in it; if they separate the columns, give them as the delimiter (`--delimiter '|'`)"),
        (&["--delimiter", "|", "k.csv"], "give them as the delimiter (`--delimiter ','`)"),
    ] {
        let (code, error) = lorank.fail(&[&["index", "--index", "none"], args].concat(), "");
        assert!(code != 0 && error.contains(problem), "{args:?}: {error}");
    }
}
