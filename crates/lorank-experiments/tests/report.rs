//! Reports as people read them, and verdicts for data that speaks plainly.

use lorank_experiments::{
    Analysis, AnalysisOptions, ArmRanking, Click, Experiment, Guardrail, InterleavedArm, NO_TEAM, QueryRecord, Report,
    Verdict, Wait,
};
use serde_json::json;

/// The adapter of an arm: each has its own.
fn model(arm: &str) -> String {
    format!("adapter-{}", arm.trim_matches(|c: char| !c.is_ascii_alphabetic()).replace(' ', "-"))
}

fn analysis(method: &str, arms: &[(&str, u32)], smallest_difference: Option<f64>) -> Analysis {
    let arm = |(name, weight): &(&str, u32)| json!({"name": name, "model": model(name), "weight": weight});
    let experiment: Experiment = serde_json::from_value(json!({
        "id": "summer", "salt": "pepper", "traffic_share": 1.0, "layer": "default", "method": method,
        "arms": arms.iter().map(arm).collect::<Vec<_>>(), "start_millis": null, "end_millis": null, "state": "running"
    }))
    .expect("an experiment");
    Analysis::new(&experiment, AnalysisOptions { smallest_difference, ..AnalysisOptions::default() })
}

fn record(n: u64, arm: usize, clicks: &[usize]) -> QueryRecord {
    QueryRecord {
        request_id: format!("r{n}"),
        unit: format!("u{n}"),
        arm,
        forced: false,
        at_millis: n as i64 * 60_000,
        n_hits: 10,
        latency_micros: 10_000 + n % 100 * 100,
        fallback: None,
        model: None,
        teams: Vec::new(),
        arms: Vec::new(),
        value: None,
        judged: None,
        past: None,
        clicks: clicks.iter().map(|rank| Click { rank: *rank, at_millis: 0 }).collect(),
    }
}

/// Units in turn over the arms; of ten units of an arm so many click, on this rank.
fn split(arms: &[(&str, u64, usize)], n_units: u64, smallest_difference: Option<f64>) -> Analysis {
    let weighted: Vec<(&str, u32)> = arms.iter().map(|(name, ..)| (*name, 1)).collect();
    let mut analysis = analysis("split", &weighted, smallest_difference);
    for n in 0..n_units {
        let arm = n as usize % arms.len();
        let (_, n_of_ten, rank) = arms[arm];
        let clicks = if n / arms.len() as u64 * 7 % 10 < n_of_ten { vec![rank] } else { Vec::new() };
        analysis.add(&record(n, arm, &clicks));
    }
    analysis
}

type Case<'a> = (&'a [(&'a str, u64, usize)], u64, Option<f64>, &'a str);

#[test]
fn verdicts_are_plain_sentences() {
    let cases: [Case<'_>; 7] = [
        (
            &[("A", 3, 1), ("B", 5, 1)],
            4_000,
            None,
            "ship `B`: its click-through is above that of `A` by 20.0 points (15.3 to 24.7)",
        ),
        (
            &[("A", 5, 1), ("B", 3, 1)],
            4_000,
            None,
            "keep `A`: the click-through of the others is lower, the best differs by -20.0 points (-24.7 to -15.3)",
        ),
        (
            &[("A", 5, 1), ("B", 5, 1)],
            4_000,
            Some(0.08),
            "no difference larger than 8.0 points in click-through: ship the cheaper arm",
        ),
        (
            &[("A", 5, 1), ("B", 5, 1)],
            4_000,
            None,
            "not yet: the click-through of `B` differs by 0.0 points (-4.9 to 4.9); the interval includes both zero and relevant differences; about 110,000 more units, about 72 days at the rate so far",
        ),
        (
            &[("A", 5, 1), ("B", 6, 1)],
            40,
            None,
            "not yet: each comparison needs 30 units, and the smallest has 20; about 20 more units, less than a day at the rate so far",
        ),
        (
            &[("A", 5, 1), ("B", 7, 1), ("C", 8, 1)],
            6_000,
            None,
            "ship `C`: its click-through is above that of `A` by 30.0 points (25.2 to 34.8)",
        ),
        (&[("A", 5, 1), ("B", 5, 1)], 0, None, "not yet: each comparison needs 30 units, and the smallest has 0"),
    ];
    let sentence = |(arms, n_units, smallest_difference, _): &Case<'_>| {
        split(arms, *n_units, *smallest_difference).verdict().to_string()
    };
    assert_eq!(cases.iter().map(sentence).collect::<Vec<_>>(), cases.map(|case| case.3));
}

#[test]
fn a_guardrail_that_is_worse_is_named_before_the_arm_is_shipped() {
    let with = |change: &dyn Fn(&mut QueryRecord)| {
        let mut analysis = analysis("split", &[("A", 1), ("B", 1)], None);
        for n in 0..4_000 {
            let arm = n as usize % 2;
            let clicks = if n / 2 * 7 % 10 < [3, 5][arm] { vec![1] } else { Vec::new() };
            let mut answer = record(n, arm, &clicks);
            if arm == 1 {
                change(&mut answer);
            }
            analysis.add(&answer);
        }
        analysis.verdict()
    };
    let slow = with(&|answer| answer.latency_micros += 300_000);
    let fallen_back = with(&|answer| answer.fallback = Some("deadline_passed".to_owned()));
    for (verdict, what) in [
        (slow, ", but its 95th percentile latency is 320 ms, that of the control 19 ms"),
        (fallen_back, ", but 100 % of its answers fell back to first-stage order"),
    ] {
        let sentence = verdict.to_string();
        assert!(matches!(verdict, Verdict::CheckGuardrails { .. }), "{sentence}");
        assert!(
            sentence.starts_with("check before you ship `B`: its click-through is above") && sentence.ends_with(what),
            "{sentence}"
        );
    }
    assert!(matches!(with(&|answer| answer.latency_micros += 5_000), Verdict::Ship { .. }), "a little slower");
}

#[test]
fn an_experiment_that_is_over_has_a_last_sentence_and_no_forecast() {
    let mut undecided = split(&[("A", 5, 1), ("B", 5, 1)], 400, None);
    assert!(undecided.verdict().to_string().contains("more units"));
    undecided.end();
    let sentence = undecided.report().sentence;
    assert!(sentence.starts_with("ended without a decision: the click-through of `B` differs by"), "{sentence}");
    assert!(!sentence.contains("more units"), "{sentence}");
    let mut decided = split(&[("A", 3, 1), ("B", 5, 1)], 4_000, None);
    decided.end();
    assert!(matches!(decided.verdict(), Verdict::Ship { .. }));
}

#[test]
fn an_effect_that_turned_round_is_no_decision() {
    let mut analysis = split(&[("A", 3, 1), ("B", 5, 1)], 4_000, None);
    assert!(matches!(analysis.verdict(), Verdict::Ship { .. }));
    for n in 4_000..9_000 {
        let arm = n as usize % 2;
        let clicks = if n / 2 * 7 % 10 < [5, 3][arm] { vec![1] } else { Vec::new() };
        analysis.add(&record(n, arm, &clicks));
    }
    let report = analysis.report();
    assert!(matches!(report.verdict, Verdict::Changed { .. }), "{}", report.sentence);
    assert!(
        report.sentence.starts_with("no verdict: the effect of `B` changed; its click-through differed by"),
        "{}",
        report.sentence
    );
}

#[test]
fn a_forecast_takes_noise_for_no_effect() {
    // A difference of one in a hundred among 400 units: far within two standard errors.
    let forecast = |n_of_ten| match split(&[("A", 5, 1), ("B", n_of_ten, 1)], 400, Some(0.05)).verdict() {
        Verdict::NotYet { forecast: Some(forecast), .. } => forecast.n_units,
        other => panic!("{other}"),
    };
    let mut nearly = analysis("split", &[("A", 1), ("B", 1)], Some(0.05));
    for n in 0..400 {
        let arm = n as usize % 2;
        let n_of_hundred = [50, 58][arm];
        let clicks = if n / 2 % 100 < n_of_hundred { vec![1] } else { Vec::new() };
        nearly.add(&record(n, arm, &clicks));
    }
    let Verdict::NotYet { forecast: Some(noise), .. } = nearly.verdict() else { panic!("{}", nearly.verdict()) };
    assert!(noise.n_units.abs_diff(forecast(5)) < forecast(5) / 20, "{} against {}", noise.n_units, forecast(5));
}

#[test]
fn an_uneven_split_is_no_verdict() {
    let mut analysis = analysis("split", &[("A", 1), ("B", 1)], None);
    // A third of the units of B are lost, those that click.
    (0..9_000).for_each(|n| analysis.add(&record(n, usize::from(n % 5 < 2), &[1])));
    let report = analysis.report();
    assert!(matches!(report.verdict, Verdict::FixSampleRatio { .. }), "{}", report.sentence);
    assert!(report.to_text().contains("WARNING: sample ratio mismatch; the split is A 60.0 % (weighted 50.0 %)"));
}

#[test]
fn forced_and_inconsistent_queries_are_counted_apart() {
    let mut analysis = analysis("split", &[("A", 1), ("B", 1)], None);
    analysis.add(&record(1, 0, &[2]));
    analysis.add(&QueryRecord { forced: true, ..record(1, 1, &[1]) });
    analysis.add(&record(1, 1, &[1]));
    analysis.add(&record(2, 7, &[1]));
    let report = analysis.report();
    let counts: Vec<_> = report.arms.iter().map(|arm| (arm.n_queries, arm.n_units, arm.n_forced)).collect();
    assert_eq!((counts, report.n_inconsistent), (vec![(1, 1, 0), (0, 0, 1)], 2));
    assert_eq!(report.arms[0].reciprocal_rank, Some(0.5));
}

/// Interleaved answers over three arms; the searchers like the hits of the last one.
fn interleaved() -> Report {
    let mut analysis = analysis("interleave", &[("A", 1), ("B", 1), ("<C>", 1)], None);
    for n in 0..600 {
        let teams = if n % 2 == 0 { vec![NO_TEAM, 0, 2, 1] } else { vec![2, 1, 0, NO_TEAM] };
        let rank = [3, 1, 1, 2, 2, 3][n as usize % 6];
        analysis.add(&QueryRecord { teams, ..record(n, 0, &[rank]) });
    }
    analysis.report()
}

#[test]
fn an_arm_that_failed_loses_nothing() {
    let mut analysis = analysis("interleave", &[("A", 1), ("B", 1)], None);
    (0..500).for_each(|n| analysis.add(&QueryRecord { teams: vec![0, 0, 0], ..record(n, 0, &[1]) }));
    let waits = Wait::TooFewUnits { n_units_min: 30, n_units: 0, measure: lorank_experiments::Measure::Preference };
    assert_eq!(analysis.verdict(), Verdict::NotYet { reason: waits, forecast: None });
}

#[test]
fn values_that_do_not_vary_are_told_as_such() {
    let arm = |name: &str| json!({"name": name, "model": name});
    let experiment =
        json!({"id": "summer", "arms": (["a", "b"].map(arm)), "state": "running", "primary_measure": "value"});
    let experiment: Experiment = serde_json::from_value(experiment).expect("an experiment");
    let mut analysis = Analysis::new(&experiment, AnalysisOptions::default());
    for n in 0..50 {
        analysis.add(&record(n, n as usize % 2, &[]));
    }
    let sentence = analysis.report().sentence;
    assert!(sentence.starts_with("not yet: each comparison needs 30 units with a value, and the smallest has 0"));
    let mut same = Analysis::new(&experiment, AnalysisOptions::default());
    (0..100).for_each(|n| same.add(&QueryRecord { value: Some(1.0), ..record(n, n as usize % 2, &[]) }));
    let expected = "not yet: the value per query is the same for all units so far, so its variance is unknown";
    assert_eq!(same.report().sentence, expected);
    same.end();
    assert!(
        same.report().sentence.contains("the value per query is the same for all units"),
        "{}",
        same.report().sentence
    );
}

/// Four thousand units over two arms of which three and five in ten click, each answer ranked by what `model` says.
fn ranked_by(arms: [&str; 2], model: impl Fn(u64, usize) -> String) -> Report {
    let arm = |name: &str| json!({"name": name, "model": name});
    let experiment = json!({"id": "summer", "arms": arms.map(arm), "state": "running"});
    let experiment: Experiment = serde_json::from_value(experiment).expect("an experiment");
    let mut analysis = Analysis::new(&experiment, AnalysisOptions::default());
    for n in 0..4_000 {
        let arm = n as usize % 2;
        let clicks = if n / 2 * 7 % 10 < [3, 5][arm] { vec![1] } else { Vec::new() };
        // The second arm falls back once in ten.
        let fallback = (arm == 1 && n % 20 == 1).then(|| "deadline".to_owned());
        analysis.add(&QueryRecord { model: Some(model(n, arm)), fallback, ..record(n, arm, &clicks) });
    }
    analysis.report()
}

#[test]
fn the_html_page_names_state_dates_and_guardrails() {
    let mut report = ranked_by(["a", "b"], |_, arm| format!("base 1 adapter {arm}"));
    (report.start_millis, report.end_millis) = (Some(0), Some(86_400_000));
    let html = report.to_html();
    for part in [
        "<span class=\"state\">running</span>",
        "; from 1970-01-01T00:00:00Z to 1970-01-02T00:00:00Z.</p>",
        "<li><b>✓ fine</b> sample ratio matches the weights: a 50.0 % (weighted 50 %), b 50.0 % (weighted 50 %); p = ",
        "<li><b>✓ fine</b> fallbacks of a: 0.0 % of queries, at most 1 %</li>",
        "<li class=\"look\"><b>! look</b> fallbacks of b: 10.0 % of queries, at most 1 %</li>",
        "times that of a, at most 1.5</li>",
    ] {
        assert!(html.contains(part), "{part} is not in {html}");
    }
    report.end_millis = None;
    assert!(report.to_html().contains("; since 1970-01-01T00:00:00Z.</p>"));
}

#[test]
fn an_arm_that_two_versions_served_is_not_shipped_without_a_word() {
    let one = ranked_by(["a", "b"], |_, arm| format!("base 1 adapter {arm}"));
    assert!(matches!(one.verdict, Verdict::Ship { .. }) && !one.sentence.contains("version"), "{}", one.sentence);
    for (moved, name) in [(0, "a"), (1, "b")] {
        let two = ranked_by(["a", "b"], |n, arm| {
            format!("base 1 adapter {}", if n > 3_000 && arm == moved { 9 } else { arm })
        });
        let Verdict::CheckGuardrails { guardrails, .. } = &two.verdict else { panic!("{}", two.sentence) };
        assert_eq!(guardrails[..], [Guardrail::Versions { arm: name.into(), n_versions: 2 }]);
        assert!(two.sentence.ends_with(&format!("but `{name}` had 2 versions during the experiment")));
        assert_eq!(two.served[moved].versions.len(), 2);
        assert!(two.to_text().contains(" answers by base 1 adapter 9, 1970-01-03T0"), "{}", two.to_text());
    }
}

/// Two names that stood for the same files at the start.
fn pinned_to_one_digest() -> Report {
    let arm = |name: &str| json!({"name": name, "model": name, "pinned": {"adapter": name, "digest": "5eed", "since_millis": 0}});
    let experiment = json!({"id": "summer", "arms": (["a", "b"].map(arm)), "state": "running"});
    let experiment: Experiment = serde_json::from_value(experiment).expect("an experiment");
    let mut analysis = Analysis::new(&experiment, AnalysisOptions::default());
    for n in 0..4_000 {
        let arm = n as usize % 2;
        analysis.add(&record(n, arm, if n / 2 * 7 % 10 < [3, 5][arm] { &[1] } else { &[] }));
    }
    analysis.report()
}

#[test]
fn arms_of_one_version_are_an_a_a_test() {
    for report in [pinned_to_one_digest(), ranked_by(["a", "b"], |_, _| "base 1 adapter 5".into())] {
        assert!(matches!(report.verdict, Verdict::SameVersion { .. }), "{}", report.sentence);
        assert!(report.sentence.starts_with("A/A: `") && report.sentence.ends_with("there is nothing to ship"));
    }
    let mut equal = analysis("split", &[("A", 1), ("A2", 1)], None);
    (0..400).for_each(|n| equal.add(&record(n, n as usize % 2, &[1])));
    let sentence = equal.report().sentence;
    assert!(sentence.starts_with("A/A, because `A` and `A2` use the same version: "), "{sentence}");
}

/// Arms of one adapter with these keys besides.
fn with_settings(keys: [serde_json::Value; 2]) -> Report {
    let arm = |(name, keys): (&str, serde_json::Value)| {
        let mut arm =
            json!({"name": name, "model": "qa", "pinned": {"adapter": "qa", "digest": "5eed", "since_millis": 0}});
        arm.as_object_mut().expect("an object").extend(keys.as_object().expect("an object").clone());
        arm
    };
    let arms: Vec<_> = ["a", "b"].into_iter().zip(keys).map(arm).collect();
    let experiment = json!({"id": "summer", "arms": arms, "state": "running"});
    let experiment: Experiment = serde_json::from_value(experiment).expect("an experiment");
    let mut analysis = Analysis::new(&experiment, AnalysisOptions::default());
    for n in 0..4_000 {
        let arm = n as usize % 2;
        let clicks: &[usize] = if n / 2 * 7 % 10 < [3, 5][arm] { &[1] } else { &[] };
        analysis.add(&QueryRecord { model: Some("base 1 adapter 5".into()), ..record(n, arm, clicks) });
    }
    analysis.report()
}

#[test]
fn settings_tell_arms_of_one_version_apart_and_are_listed() {
    let deep = json!({"depth": 200, "blend_weight": 0.5, "passages": "max", "instruction": "Find <cases>"});
    let report = with_settings([json!({}), deep.clone()]);
    assert!(matches!(report.verdict, Verdict::Ship { .. }), "{}", report.sentence);
    let text = "  b: qa, digest 5eed, pinned since 1970-01-01T00:00:00Z; blend_weight 0.5; depth 200; \
                instruction Find <cases>; passages max\n";
    assert!(report.to_text().contains(text), "{}", report.to_text());
    assert!(
        report.to_html().contains("; blend_weight 0.5; depth 200; instruction Find &lt;cases&gt;; passages max</td>")
    );
    let served = serde_json::to_value(&report).expect("a report")["served"].clone();
    assert_eq!(served[0].get("settings"), None);
    let expected = json!({"blend_weight": "0.5", "depth": "200", "instruction": "Find <cases>", "passages": "max"});
    assert_eq!(served[1]["settings"], expected);

    let same = with_settings([deep.clone(), deep]);
    assert!(matches!(same.verdict, Verdict::SameVersion { .. }), "{}", same.sentence);
}

#[test]
fn interleaved_arms_that_rank_the_same_are_told_as_such() {
    let with = |n_same: u64| {
        let mut analysis = analysis("interleave", &[("A", 1), ("B", 1)], None);
        for n in 0..400 {
            let is_same = n * 7 % 400 < n_same;
            let ranking = if is_same { ArmRanking::Same } else { ArmRanking::Different };
            let arms = [ArmRanking::Same, ranking].map(|ranking| InterleavedArm { model: None, ranking }).to_vec();
            let teams = if is_same { vec![NO_TEAM; 2] } else { vec![(n % 2) as u8, 1 - (n % 2) as u8] };
            analysis.add(&QueryRecord { arms, teams, ..record(n, 0, &[1 + n as usize / 2 % 2]) });
        }
        analysis.report()
    };
    let all = with(400);
    assert_eq!(
        all.sentence,
        "no difference: in all 400 answers, the arms ranked the same hits in the same order as `A`; ship the cheaper arm"
    );
    let most = with(300);
    assert!(most.sentence.ends_with("; `B` ranked 75 % of the answers as `A` did"), "{}", most.sentence);
    assert!(most.to_text().contains(", 300 with the same ranking"), "{}", most.to_text());
    assert!(!with(100).sentence.contains("as `A` did"), "{}", with(100).sentence);
}

#[test]
fn text_reports() {
    let report = split(&[("control", 4, 1), ("qa adapter", 6, 2)], 2_000, None).report();
    insta::assert_snapshot!("split_text", report.to_text());
    insta::assert_snapshot!("interleaved_text", interleaved().to_text());
}

#[test]
fn html_reports() {
    let html = interleaved().to_html();
    assert!(html.contains("&lt;C&gt;") && !html.contains("<C>"));
    for asks in ["http:", "https:", "src=", "href=", "url(", "<script", "@import"] {
        assert!(!html.contains(asks), "the page asks for something: {asks}");
    }
    insta::assert_snapshot!(
        "split_html",
        split(&[("control", 4, 1), ("qa adapter", 6, 2)], 600, None).report().to_html()
    );
}

#[test]
fn json_reports() {
    let mut json = serde_json::to_value(split(&[("A", 4, 1), ("B", 6, 2)], 200, None).report()).unwrap();
    json["looks"].as_array_mut().unwrap().truncate(1);
    insta::assert_snapshot!("split_json", serde_json::to_string_pretty(&json).unwrap());
}
