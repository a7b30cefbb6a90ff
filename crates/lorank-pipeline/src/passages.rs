//! Long documents as windows: pairs of the queue and of the cache as any others, whose scores are merged again.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::time::Duration;

use lorank_core::{Candidate, PassageRule, Query, ScoreOrigin, Windows};

use crate::fallback::Fallback;
use crate::page::Scored;
use crate::queue::failed;

/// A query with a text that is scored for it: that of a candidate, or a window of that.
#[derive(Debug, Clone)]
pub(crate) struct TextToScore<'a> {
    pub(crate) query: &'a Query,
    pub(crate) candidate: &'a Candidate,
    /// `None` for the whole text, which is then shared and not copied.
    window: Option<Range<usize>>,
}

/// How the texts of some candidates are scored.
#[derive(Debug)]
pub(crate) struct Cut {
    rule: PassageRule,
    /// Those of each candidate; empty if each is scored whole.
    windows: Vec<Windows>,
    /// The time that cutting took.
    pub(crate) took: Duration,
}

impl<'a> TextToScore<'a> {
    fn whole((query, candidate): (&'a Query, &'a Candidate)) -> Self {
        Self { query, candidate, window: None }
    }

    /// The text.
    pub(crate) fn text(&self) -> &'a str {
        let text = &*self.candidate.text;
        self.window.as_ref().map_or(text, |window| &text[window.clone()])
    }

    /// The text with its title as a candidate, without the stored fields, which affect no score.
    pub(crate) fn to_candidate(&self) -> Candidate {
        let Candidate { id, title, text, first_stage_score, .. } = self.candidate;
        let text = if self.window.is_some() { self.text().into() } else { text.clone() };
        Candidate { title: title.clone(), ..Candidate::new(id.as_str(), text, *first_stage_score) }
    }
}

impl Cut {
    /// Each text as a whole.
    pub(crate) fn none() -> Self {
        Self { rule: PassageRule::First, windows: Vec::new(), took: Duration::ZERO }
    }

    /// The windows of candidates, checked; the error is a fallback.
    pub(crate) fn new(
        rule: PassageRule,
        windows: Vec<Windows>,
        group: &[(&Query, &Candidate)],
        took: Duration,
    ) -> Result<Self, Fallback> {
        if windows.len() != group.len() {
            let (found, expected) = (windows.len(), group.len());
            return Err(failed(format!("the reranker cut {found} texts instead of {expected}")));
        }
        match windows.iter().zip(group).find(|(windows, (_, candidate))| !windows.fit(&candidate.text)) {
            Some((_, (_, Candidate { id, .. }))) => {
                Err(failed(format!("the reranker cut the text of `{id}` at bytes that it does not have")))
            }
            None => Ok(Self { rule, windows, took }),
        }
    }

    /// The texts that are scored in place of the candidates, in their order.
    pub(crate) fn texts<'a>(&self, pairs: &[(&'a Query, &'a Candidate)]) -> Vec<TextToScore<'a>> {
        if self.windows.is_empty() {
            return pairs.iter().map(|pair| TextToScore::whole(*pair)).collect();
        }
        let of_pair = |(&(query, candidate), windows): (&(&'a Query, &'a Candidate), &Windows)| {
            let is_whole = |span: &Range<usize>| *span == (0..candidate.text.len());
            let text = |span: &Range<usize>| TextToScore {
                query,
                candidate,
                window: Some(span.clone()).filter(|span| !is_whole(span)),
            };
            windows.spans.iter().map(text).collect::<Vec<_>>()
        };
        pairs.iter().zip(&self.windows).flat_map(of_pair).collect()
    }

    /// The scores of the candidates from those of their texts.
    pub(crate) fn merge(&self, scored: Vec<Scored>) -> Vec<Scored> {
        if self.windows.is_empty() {
            return scored;
        }
        let mut rest = scored.as_slice();
        let of_candidate = |windows: &Windows| {
            let (own, after) = rest.split_at(windows.spans.len());
            rest = after;
            let scores: Vec<_> = own.iter().map(|scored| scored.score).collect();
            let (score, passage) = self.rule.apply(windows, &scores);
            let is_cached = own.iter().all(|scored| scored.origin == ScoreOrigin::Cache);
            let origin = if is_cached { ScoreOrigin::Cache } else { ScoreOrigin::Model };
            Scored { score, origin, passage: Some(passage) }
        };
        self.windows.iter().map(of_candidate).collect()
    }
}

/// The maximum number of windows of one candidate: the configured one, and so many that the windows of all candidates
/// fit into the queue.
pub(crate) fn windows_max(passages_max: NonZeroUsize, pairs_max: NonZeroUsize, n_candidates: usize) -> NonZeroUsize {
    let share = pairs_max.get() / n_candidates.max(1);
    NonZeroUsize::new(share).map_or(NonZeroUsize::MIN, |share| share.min(passages_max))
}

/// Candidates of a group with their texts and titles alone.
pub(crate) fn group_candidates(pairs: &[(&Query, &Candidate)]) -> Vec<Candidate> {
    pairs.iter().map(|pair| TextToScore::whole(*pair).to_candidate()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lorank_core::{
        AdapterId, BoxError, Deadline, EncodedPair, Hit, ModelVersion, Passage, PassageOptions, Reranker, Score,
        WindowCut,
    };
    use lorank_testing::toy::{self, FakeReranker, ToyFirstStage};
    use proptest::prelude::*;

    use super::*;
    use crate::{AdapterChoice, Answer, Documents, Pipeline, PipelineConfig, Ranker, SearchRequest, Warning};

    fn non_zero(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    /// Documents with so many words each.
    fn documents(lengths: &[usize]) -> Vec<Candidate> {
        let mut documents = toy::candidates(lengths.len());
        for (n, (document, length)) in documents.iter_mut().zip(lengths).enumerate() {
            let words: Vec<String> = (0..*length).map(|word| format!("w{}", (n * 7 + word) % 40)).collect();
            document.text = words.join(" ").into();
        }
        documents
    }

    fn options(rule: &str, tokens: usize, stride: usize) -> PassageOptions {
        PassageOptions { rule: rule.parse().ok(), tokens: NonZeroUsize::new(tokens), stride: NonZeroUsize::new(stride) }
    }

    fn request(passages: PassageOptions) -> SearchRequest {
        SearchRequest { passages, top_k: Some(non_zero(100)), ..SearchRequest::new("query") }
    }

    fn pipeline(
        documents: &[Candidate],
        config: PipelineConfig,
    ) -> (Pipeline<ToyFirstStage, Arc<FakeReranker>>, Arc<FakeReranker>) {
        let reranker = Arc::new(FakeReranker::hashing().with_adapters(&["a"]));
        (Pipeline::new(ToyFirstStage::new(documents.to_vec()), reranker.clone(), config).unwrap(), reranker)
    }

    fn without_origins(answer: &Answer) -> Vec<Hit> {
        answer.hits.iter().map(|hit| Hit { score_origin: None, ..hit.clone() }).collect()
    }

    /// The windows of a document with their scores, cut and scored here.
    fn expected(document: &Candidate, cut: &WindowCut) -> Vec<(Range<usize>, f32)> {
        let score = |span: &Range<usize>| {
            let part = Candidate { text: document.text[span.clone()].into(), ..document.clone() };
            toy::hashed_score(&Query::new("query"), &toy::model(None), &part)
        };
        Windows::by_bytes(&document.text, cut).spans.iter().map(|span| (span.clone(), score(span))).collect()
    }

    #[test]
    fn first_is_the_default_bit_for_bit() {
        let documents = documents(&[3, 400, 0, 80]);
        let (pipeline, engine) = pipeline(&documents, PipelineConfig::default());
        let usual =
            pipeline.search(&SearchRequest { passages: PassageOptions::default(), ..request(options("max", 0, 0)) });
        let first = pipeline.search(&request(options("first", 0, 0))).unwrap();
        assert_eq!((engine.n_pairs(), first.cache.hits), (4, 4), "the pairs are the same");
        assert_eq!(without_origins(&usual.unwrap()), without_origins(&first));
        assert!(first.hits.iter().all(|hit| hit.passage.is_none()) && first.warnings.is_empty());
    }

    #[test]
    fn a_document_that_fits_has_the_score_that_it_has_alone() {
        let (pipeline, engine) = pipeline(&documents(&[3, 0, 5]), PipelineConfig::default());
        pipeline.search(&request(PassageOptions::default())).unwrap();
        let answer = pipeline.search(&request(options("max", 64, 0))).unwrap();
        assert_eq!((engine.n_pairs(), answer.cache.hits), (3, 3));
        for hit in &answer.hits {
            let passage = hit.passage.as_ref().unwrap();
            assert_eq!((passage.span(), passage.windows.len()), (0..hit.candidate.text.len(), 1));
        }
    }

    #[test]
    fn several_rankers_cut_documents_for_themselves() {
        let documents = documents(&[90, 10, 200]);
        let (together, _) = pipeline(&documents, PipelineConfig::default());
        let request = request(options("max", 32, 16));
        let rankers = ["first-stage", "a", "none"].map(|name| name.parse::<Ranker>().unwrap());
        let ranked = together.search_each(&request, rankers.map(|ranker| (ranker.clone(), ranker))).unwrap();
        for one in ranked {
            let (apart, _) = pipeline(&documents, PipelineConfig::default());
            let request = match one.key {
                Ranker::FirstStage => {
                    SearchRequest { rerank: false, passages: PassageOptions::default(), ..request.clone() }
                }
                Ranker::Model(adapter) => SearchRequest { adapter, ..request.clone() },
            };
            let (alone, answer) = (apart.search(&request).unwrap(), one.answer.unwrap());
            assert_eq!((&alone.hits, &alone.cache, &alone.warnings), (&answer.hits, &answer.cache, &answer.warnings));
        }
    }

    #[test]
    fn the_configuration_and_the_request_say_how_documents_are_scored() {
        let documents = documents(&[200, 30]);
        let n_windows = |config: PassageOptions, request: PassageOptions| {
            let (pipeline, _) = pipeline(&documents, PipelineConfig { passages: config, ..PipelineConfig::default() });
            let answer = pipeline.search(&self::request(request)).map_err(|error| error.field().unwrap())?;
            Ok(answer.hits[0].passage.as_ref().map_or(0, |_| answer.cache.misses))
        };
        let (none, max) = (PassageOptions::default(), options("max", 32, 32));
        let cut = n_windows(none, max).unwrap();
        assert!(cut > 5);
        assert_eq!(n_windows(max, none), Ok(cut));
        assert_eq!(n_windows(max, options("first", 0, 0)), Ok(0));
        assert_eq!(n_windows(options("", 32, 32), options("max", 0, 0)), Ok(cut));
        assert_eq!(n_windows(options("", 32, 32), none), Ok(0), "lengths for requests that have a rule");
        assert_eq!(n_windows(none, options("", 32, 0)), Err("passage_tokens"));
        assert_eq!(n_windows(none, options("first", 0, 9)), Err("stride"));
        assert_eq!(n_windows(none, options("max", 32, 33)), Err("stride"));
        assert_eq!(n_windows(none, options("max", 15, 0)), Err("passage_tokens"));
        let invalid = PipelineConfig { passages: options("max", 15, 0), ..PipelineConfig::default() };
        let error = Pipeline::new(ToyFirstStage::default(), FakeReranker::hashing(), invalid).unwrap_err();
        assert_eq!(error.to_string(), "`passage_tokens` is invalid: it is below the minimum of 16");
    }

    #[test]
    fn the_answer_says_where_the_end_of_a_document_is_left_out() {
        let documents = documents(&[400, 10, 400]);
        for (passages_max, queue_pairs_max, expected) in [(3, 10_000, 3), (16, 9, 3), (16, 1, 1), (1_000, 10_000, 0)] {
            let (passages_max, queue_pairs_max) = (non_zero(passages_max), non_zero(queue_pairs_max));
            let config = PipelineConfig { passages_max, queue_pairs_max, ..PipelineConfig::default() };
            let (pipeline, _) = pipeline(&documents, config);
            let answer = pipeline.search(&request(options("max", 16, 8))).unwrap();
            let long: Vec<&Passage> = answer.hits.iter().filter_map(|hit| hit.passage.as_ref()).collect();
            let of_long = long.iter().filter(|passage| passage.windows.len() > 1 || !passage.is_complete);
            for passage in of_long {
                assert!(passage.is_complete == (expected == 0), "{passage:?}");
                assert!(expected == 0 || passage.windows.len() == expected, "{passage:?}");
            }
            let warning = Warning::PassagesLimited { n_documents: 2 };
            assert_eq!(answer.warnings, if expected == 0 { Vec::new() } else { vec![warning] });
        }
    }

    #[test]
    fn any_number_of_long_documents_is_scored_as_in_a_search() {
        let lengths: Vec<usize> = (0..90).map(|n| n * 13 % 300).collect();
        let documents = documents(&lengths);
        let config = PipelineConfig { passages_max: non_zero(64), ..PipelineConfig::default() };
        let (searched, _) = pipeline(&documents, config.clone());
        let (scored, engine) = pipeline(&[], PipelineConfig { queue_pairs_max: non_zero(10), ..config });
        let request = SearchRequest { depth: Some(non_zero(90)), ..request(options("mean-top-2", 16, 4)) };
        let (query, other) = (Query::new("query"), Query::new("other"));
        let groups = [
            Documents { query: &query, candidates: &documents },
            Documents { query: &other, candidates: &documents[..1] },
        ];
        let scoring = scored.score_each(&request, &groups).unwrap();
        assert!(engine.n_pairs() > 800, "several chunks: {}", engine.n_pairs());
        let (scores, passages) = (scoring.scores.unwrap(), scoring.passages);
        assert_eq!((scores.len(), passages.len()), (91, 91));
        let answer = searched.search(&request).unwrap();
        assert_eq!(answer.hits.len(), 90);
        for hit in answer.hits {
            let at = hit.first_stage_rank - 1;
            assert_eq!((hit.rerank_score, hit.passage), (Some(scores[at]), passages[at].clone()));
        }
    }

    #[test]
    fn snippets_are_those_of_the_passage() {
        let (pipeline, _) = pipeline(&documents(&[300, 2]), PipelineConfig::default());
        let answer = pipeline.search(&SearchRequest { snippets: true, ..request(options("max", 16, 8)) }).unwrap();
        for hit in answer.hits {
            let text = hit.passage.unwrap().text(&hit.candidate.text).to_owned();
            assert_eq!(hit.snippet.unwrap().text(), text, "the toy first stage shows all of a text");
            assert!(text.len() < 100);
        }
    }

    /// Cuts texts as a test says.
    struct Careless(fn(&Candidate) -> Option<Windows>);

    impl Reranker for Careless {
        fn resolve(&self, _adapter: Option<&AdapterId>) -> Result<ModelVersion, BoxError> {
            Ok(toy::model(None))
        }

        fn windows(
            &self,
            group: lorank_core::Group<'_>,
            _cut: &WindowCut,
            _deadline: Option<Deadline>,
        ) -> Result<Vec<Windows>, BoxError> {
            Ok(group.candidates.iter().filter_map(self.0).collect())
        }

        fn score(&self, batch: &[&EncodedPair]) -> Vec<Result<Score, BoxError>> {
            batch.iter().map(|_| Ok(Score::new(1.0)?)).collect()
        }
    }

    #[test]
    fn windows_that_are_not_those_of_the_texts_are_a_failure_of_the_reranker() {
        for (cut, message) in [
            ((|_| None) as fn(&Candidate) -> Option<Windows>, "the reranker cut 0 texts instead of 2"),
            (|_| Some(Windows { spans: Vec::new(), is_complete: true }), "at bytes that it does not have"),
            (|_| Some(Windows { spans: vec![0..3, 2..9_999], is_complete: true }), "at bytes that it does not have"),
            (|_| panic!("no windows"), "no windows"),
        ] {
            let first_stage = ToyFirstStage::new(documents(&[9, 9]));
            let pipeline = Pipeline::new(first_stage, Careless(cut), PipelineConfig::default()).unwrap();
            let request = request(options("max", 16, 16));
            let answer = pipeline.search(&request).unwrap();
            let fallback = answer.fallback.unwrap().to_string();
            assert!(fallback.contains(message) && !answer.reranked, "{fallback}");
            let rankers = [("none", Ranker::Model(AdapterChoice::Base))];
            let ranked = pipeline.search_each(&request, rankers).unwrap().remove(0).answer.unwrap();
            assert!(ranked.fallback.unwrap().to_string().contains(message));
        }
    }

    proptest! {
        /// As brute force says, whatever is in the cache already.
        #[test]
        fn a_document_has_the_score_and_the_passage_of_its_best_windows(
            lengths in prop::collection::vec(0_usize..120, 1..12),
            tokens in 16_usize..40,
            stride in 1_usize..40,
            n_best in 1_usize..4,
            n_max in 1_usize..12,
        ) {
            let documents = documents(&lengths);
            let stride = stride.min(tokens);
            let config = PipelineConfig { passages_max: non_zero(n_max), ..PipelineConfig::default() };
            let (pipeline, _) = pipeline(&documents, config);
            let cut = WindowCut { tokens: NonZeroUsize::new(tokens), stride: NonZeroUsize::new(stride), n_max: non_zero(n_max) };
            for rule in ["max".to_owned(), format!("mean-top-{n_best}"), "max".to_owned()] {
                let answer = pipeline.search(&request(options(&rule, tokens, stride))).unwrap();
                let again = pipeline.search(&request(options(&rule, tokens, stride))).unwrap();
                prop_assert_eq!(without_origins(&answer), without_origins(&again));
                prop_assert_eq!((again.cache.misses, again.hits.len()), (0, documents.len()));
                for hit in &answer.hits {
                    let windows = expected(&hit.candidate, &cut);
                    let mut scores: Vec<f32> = windows.iter().map(|(_, score)| *score).collect();
                    let best = scores.iter().copied().fold(f32::MIN, f32::max);
                    let passage = hit.passage.as_ref().unwrap();
                    prop_assert_eq!(passage.best, scores.iter().position(|score| *score == best).unwrap());
                    let found: Vec<(Range<usize>, f32)> =
                        passage.windows.iter().map(|it| (it.span.clone(), it.rerank_score.get())).collect();
                    prop_assert_eq!(found, windows);
                    scores.sort_by(|a, b| b.total_cmp(a));
                    scores.truncate(if rule == "max" { 1 } else { n_best });
                    let mean = scores.iter().sum::<f32>() / scores.len() as f32;
                    prop_assert!((hit.rerank_score.unwrap().get() - mean).abs() < 1e-6);
                }
                for pair in answer.hits.windows(2) {
                    prop_assert!(pair[0].rerank_score >= pair[1].rerank_score);
                }
            }
        }
    }
}
