//! What is typed in one form is found in every other.

use lorank_core::{FirstStage, Query, QuerySyntax};
use lorank_tantivy::{IndexSettings, Language};
use lorank_testing::fixture;
use serde_json::{Value, json};

use crate::{Corpus, ids};

/// A corpus of texts, whose ids are their places.
fn corpus(language: Language, texts: &[&str]) -> Corpus {
    let documents: Vec<String> =
        texts.iter().enumerate().map(|(n, text)| json!({"id": n, "text": text}).to_string()).collect();
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    Corpus::with_settings(&IndexSettings { language, ..IndexSettings::default() }, &documents)
}

/// Each of the queries finds the one text, by plain words and by an advanced phrase.
fn check_finds(language: Language, text: &str, queries: &[&str]) {
    let corpus = corpus(language, &[text, "something else entirely"]);
    for query in queries {
        assert_eq!(corpus.search(query), ["0"], "`{query}` in `{text}`");
        let phrase = Query { syntax: QuerySyntax::Advanced, ..Query::new(format!("\"{query}\"")) };
        assert_eq!(ids(&corpus.retrieve(&phrase, 10)), ["0"], "`\"{query}\"` in `{text}`");
    }
}

#[test]
fn every_form_of_a_word_is_found_by_every_other() {
    for forms in [
        &["zzcafé", "zzcafe\u{301}", "ZZCAFÉ", "zzcafe"][..],
        &["ｚｚｗｉｄｅ", "zzwide", "ZZWIDE"],
        &["zzco\u{ad}op", "zzcoop", "zzco\u{200b}op", "zzco\u{2060}op", "\u{feff}zzcoop"],
        &["ﬁle", "file", "FILE"],
        &["straße", "strasse", "STRASSE", "STRAẞE"],
        &["İstanbul", "istanbul", "ISTANBUL", "ıstanbul"],
        &["Łódź", "lodz", "ŁÓDŹ"],
        &["Ærøskøbing", "aeroskobing"],
        &["Œuvre", "oeuvre", "œuvre"],
        &["Đặng", "dang", "Da\u{323}\u{306}ng"],
        &["Ὀδυσσεύς", "οδυσσευς", "ΟΔΥΣΣΕΥΣ"],
        &["ёлка", "елка", "ЁЛКА"],
        &["за\u{301}мок", "замок"],
        &["مُحَمَّد", "محمد", "مـحـمـد"],
        &["أحمد", "احمد", "إحمد", "آحمد"],
        &["مدرسة", "مدرسه"],
        &["שָׁלוֹם", "שלום"],
        &["हिन्दी", "हिन्दी"],
        &["क़लम", "क\u{93c}लम"],
        &["パソコン", "ﾊﾟｿｺﾝ", "ハ\u{309a}ソコン"],
        &["한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"],
        &["２０２４", "2024", "٢٠٢٤", "२०२४", "๒๐๒๔"],
        &["x²", "x2"],
        &["㎏", "kg"],
        &["👍🏽", "👍"],
        &["❤\u{fe0f}", "❤"],
    ] {
        for text in forms {
            check_finds(Language::English, text, forms);
        }
    }
}

#[test]
fn languages_have_forms_of_their_own() {
    for (language, text, query) in [
        (Language::German, "Frau Müller", "Mueller"),
        (Language::German, "Frau Mueller", "müller"),
        (Language::German, "die Größe", "groesse"),
        (Language::German, "viele Ärzte", "Aerzte"),
        (Language::German, "die Häuser", "haus"),
        (Language::Turkish, "ISPARTA'da", "ısparta"),
        (Language::Turkish, "IĞDIR", "ığdır"),
        (Language::Turkish, "İZMİR", "izmir"),
        (Language::Turkish, "Diyarbakır", "diyarbakir"),
        (Language::French, "les élèves", "eleve"),
        (Language::French, "l'école", "ecole"),
        (Language::Spanish, "los niños", "niño"),
        (Language::Spanish, "la nación", "nacion"),
        (Language::Portuguese, "educação", "educacao"),
        (Language::Russian, "зелёные ёлки", "елка"),
        (Language::Arabic, "المدرسة الكبيرة", "المدرسه"),
        (Language::Greek, "Αθήνα", "ΑΘΗΝΑ"),
        (Language::Hungarian, "házak", "hazak"),
    ] {
        check_finds(language, text, &[query]);
    }
}

/// Marks that are vowels, and letters that only look like one with an accent.
#[test]
fn words_that_differ_stay_apart() {
    for (text, query) in [
        ("की", "कि"),
        ("மழை", "மழ"),
        ("か", "が"),
        ("йод", "иод"),
        ("กา", "กิ"),
        ("cat", "bat"),
        ("👍", "👎"),
        ("🇩🇪", "🇫🇷"),
        ("天气", "天地"),
    ] {
        assert_eq!(corpus(Language::English, &[text]).search(query), [""; 0], "`{query}` in `{text}`");
    }
}

#[test]
fn what_has_the_accents_as_typed_comes_first() {
    // In each pair the other word is the first document, shorter, and said twice.
    for (language, typed, other) in [
        (Language::Spanish, "año", "ano"),
        (Language::Spanish, "peña", "pena"),
        (Language::French, "pêche", "péché"),
        (Language::French, "mûr", "mur"),
        (Language::None, "sábana", "sabana"),
        (Language::None, "papà", "papa"),
        (Language::None, "schön", "schon"),
        (Language::Portuguese, "avô", "avó"),
        (Language::Swedish, "får", "far"),
        (Language::English, "résumé", "resume"),
        (Language::English, "exposé", "expose"),
        (Language::Turkish, "kıl", "kil"),
        (Language::Hungarian, "kör", "kor"),
    ] {
        let texts =
            [format!("{other} {other}"), format!("{typed} beside words that make the text longer"), "x y".into()];
        let corpus = corpus(language, &texts.each_ref().map(String::as_str));
        assert_eq!(corpus.search(typed), ["1", "0"], "{typed}");
    }
}

const UNSPACED: [&str; 10] = [
    "把机器推论洗成权威事实的做法在数据治理中是很危险的行为因为读者无法分辨哪些是原始记录哪些是模型的推断结果所以必须在每一条事实旁边标注来源并且在显示的时候把两者分开展示给用户看这样才能避免混淆并且保持可信度和可追溯性以及可验证性",
    "今天天气很好，我们去公园。",
    "東京都の人口は約1,400万人です",
    "สวัสดีครับประเทศไทย",
    "서울의 인구는 약 940만 명입니다",
    "iPhone手机很贵 apple",
    "ປະເທດລາວມີແມ່ນ້ຳຂອງ",
    "ប្រទេសកម្ពុជាមានប្រាសាទ",
    "မြန်မာနိုင်ငံသည်လှပသည်",
    "カタカナとﾊﾝｶｸとABCとひらがな",
];

#[test]
fn scripts_without_spaces_are_found_by_their_words() {
    let corpus = corpus(Language::English, &UNSPACED);
    for (query, expected) in [
        ("权威事实", "0"),
        ("危险", "0"),
        ("天气", "1"),
        ("园", "1"),
        ("東京", "2"),
        ("人口", "2"),
        ("1,400", "2"),
        ("ประเทศ", "3"),
        ("ไทย", "3"),
        ("서울", "4"),
        ("인구", "4"),
        ("iPhone", "5"),
        ("手机", "5"),
        ("贵", "5"),
        ("apple", "5"),
        ("ແມ່ນ້ຳ", "6"),
        ("ລາວ", "6"),
        ("កម្ពុជា", "7"),
        ("ប្រាសាទ", "7"),
        ("မြန်မာ", "8"),
        ("လှပ", "8"),
        ("ハンカク", "9"),
        ("ひらがな", "9"),
        ("abc", "9"),
    ] {
        assert_eq!(corpus.search(query).first().map(String::as_str), Some(expected), "{query}");
        let phrase = Query { syntax: QuerySyntax::Advanced, ..Query::new(query) };
        assert_eq!(ids(&corpus.retrieve(&phrase, 10)), [expected], "{query}");
    }
    for (n, text) in UNSPACED.iter().enumerate() {
        assert_eq!(corpus.search(text).first(), Some(&n.to_string()), "{text}");
    }
}

#[test]
fn a_long_word_is_found_by_itself_and_by_its_beginning() {
    let base64: String = (0..200_u32).map(|n| format!("{:x}", 2_654_435_761_u32.wrapping_mul(n))).collect();
    let longs = ["x".repeat(256), "y".repeat(257), "é".repeat(300), "z".repeat(100_000), base64];
    let corpus = corpus(Language::English, &longs.each_ref().map(String::as_str));
    for (n, long) in longs.iter().enumerate() {
        assert_eq!(corpus.search(long).first(), Some(&n.to_string()), "{} bytes", long.len());
    }
    assert_eq!(corpus.search(&"z".repeat(256)), ["3"]);
}

#[test]
fn stop_words_alone_find() {
    let corpus = Corpus::of(&[
        r#"{"id": "hamlet", "text": "To be, or not to be: that is the question"}"#,
        r#"{"id": "who", "title": "The Who", "text": "The Who are an English rock band"}"#,
        r#"{"id": "it", "title": "It", "text": "It is a novel by Stephen King"}"#,
        r#"{"id": "a", "title": "A", "text": "This is it"}"#,
        r#"{"id": "they", "title": "Them", "text": "Giant ants appear, and there they are"}"#,
        r#"{"id": "will", "title": "Will", "text": "Poems"}"#,
    ]);
    for (query, expected) in [
        ("to be or not to be", "hamlet"),
        ("it", "it"),
        ("this is it", "a"),
        ("that", "hamlet"),
        ("the who", "who"),
        ("there they are", "they"),
        ("will", "will"),
        ("An", "who"),
        ("not", "hamlet"),
        ("by", "it"),
        ("IT", "it"),
        ("\"to be\"", "hamlet"),
    ] {
        assert_eq!(corpus.search(query).first().map(String::as_str), Some(expected), "{query}");
    }
    // Beside other words they do not count.
    assert_eq!(corpus.search("the ants"), ["they"]);
    for (query, expected) in [("\"to be or not to be\"", "hamlet"), ("\"this is it\"", "a"), ("+the +who", "who")] {
        let query = Query { syntax: QuerySyntax::Advanced, ..Query::new(query) };
        assert_eq!(ids(&corpus.retrieve(&query, 10)), [expected], "{}", query.text);
    }
}

#[test]
fn stop_words_of_other_languages_find_too() {
    for (language, text, query) in [
        (Language::German, "Sein oder nicht sein, das ist hier die Frage", "nicht sein"),
        (Language::French, "Être ou ne pas être", "être ou ne pas être"),
        (Language::Spanish, "Ser o no ser", "no"),
        (Language::Dutch, "Het is niet zo", "het is niet"),
        (Language::Russian, "Быть или не быть", "или не"),
        (Language::Italian, "Essere o non essere", "non"),
        (Language::Swedish, "Att vara eller inte vara", "att vara"),
        (Language::Finnish, "Ollako vai eikö olla", "olla"),
        (Language::Danish, "At være eller ikke være", "ikke"),
        (Language::Hungarian, "Lenni vagy nem lenni", "vagy nem"),
        (Language::Portuguese, "Ser ou não ser", "não"),
    ] {
        assert_eq!(corpus(language, &[text]).search(query), ["0"], "{query}");
    }
}

#[test]
fn a_word_that_is_a_stop_word_without_its_accents_finds_both_forms() {
    for (language, typed, plain, query) in [
        (Language::French, "Je suis sûr de moi", "Je suis sur de moi", "sûr"),
        (Language::French, "Le prix est dû", "Le prix est du", "dû"),
        (Language::French, "Parti dès midi", "Parti des midi", "dès midi"),
        (Language::Spanish, "Sé que vienes", "Se que vienes", "sé"),
        (Language::Portuguese, "Fomos nós dois", "Fomos nos dois", "nós"),
        (Language::Italian, "Lo faccio da sé", "Lo faccio da se", "sé"),
        (Language::English, "Hé said so", "He said so", "hé"),
        (Language::Swedish, "Mån är full", "Man är full", "mån"),
        (Language::Danish, "Én kage", "En kage", "én"),
    ] {
        let corpus = corpus(language, &[plain, typed]);
        assert_eq!(corpus.search(query), ["1", "0"], "{query}");
    }
}

/// The sentences of the fixture, each with two of its words.
fn sentences() -> Vec<Value> {
    let text = std::fs::read_to_string(fixture("languages/sentences.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_sentence_finds_itself_by_two_of_its_words() {
    let sentences = sentences();
    let documents: Vec<String> = sentences.iter().map(Value::to_string).collect();
    let corpus = Corpus::of(&documents.iter().map(String::as_str).collect::<Vec<_>>());
    for sentence in &sentences {
        let words = sentence["words"].as_str().unwrap();
        assert_eq!(corpus.search(words).first().map(String::as_str), sentence["id"].as_str(), "{words}");
    }
    for lang in ["zh", "ja", "ko", "th", "ar", "de"] {
        assert!(sentences.iter().filter(|sentence| sentence["lang"] == lang).count() >= 12, "{lang}");
    }
}

#[test]
fn snippets_mark_every_form() {
    for (text, query, expected) in [
        ("Le café est bon.", "cafe", "Le <b>café</b> est bon"),
        ("Le cafe\u{301} est bon.", "CAFÉ", "Le <b>cafe\u{301}</b> est bon"),
        ("今天天气很好，我们去公园。", "天气", "今天<b>天气</b>很好，我们去公园"),
        ("今天天气很好，我们去公园。", "天气很好", "今天<b>天气很好</b>，我们去公园"),
        ("ｗｉｄｅ text", "wide", "<b>ｗｉｄｅ</b> text"),
        ("a co\u{ad}op here", "coop", "a <b>co\u{ad}op</b> here"),
        ("iPhone手机很贵", "手机", "iPhone<b>手机</b>很贵"),
        ("สวัสดีครับประเทศไทย", "ประเทศ", "สวัสดีครับ<b>ประเทศ</b>ไทย"),
        ("that is it", "it", "that is <b>it</b>"),
        ("nice 👍🏽 work", "👍", "nice <b>👍🏽</b> work"),
    ] {
        let corpus = corpus(Language::English, &[text]);
        let candidates = corpus.retrieve(&Query::new(query), 1);
        let snippets = corpus.stage().snippets(&Query::new(query), &[&candidates[0]]).unwrap();
        assert_eq!(snippets[0].as_ref().map(|snippet| snippet.to_html()).as_deref(), Some(expected), "{query}");
    }
}
