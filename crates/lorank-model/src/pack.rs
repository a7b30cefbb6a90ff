//! Packs: the concatenated tokens of many pairs, without padding.

use std::ops::Range;

use lorank_kernels::Span;

use crate::backend::Backend;
use crate::backend::linear::Adapter;
use crate::backend::linear::AdapterRows;
use crate::tokenize::Pair;

/// A pair to score, with its adapter.
pub(crate) struct AdaptedPair<'a, B: Backend> {
    pub(crate) pair: &'a Pair,
    pub(crate) adapter: Option<&'a Adapter<B>>,
    /// Pairs of a group have the same query; adjacent ones may share the computation of its tokens.
    pub(crate) group: usize,
    /// If the last token is scored, tokens with this id at the end are not: Hugging Face's sequence classifiers check
    /// ids and not the attention mask.
    pub(crate) padding: Option<u32>,
}

/// Tokens for one forward pass: entries in order, with the same adapter adjacent.
pub(crate) struct Pack<'a, B: Backend> {
    pub(crate) ids: Vec<u32>,
    pub(crate) type_ids: Vec<u32>,
    sequences: Vec<Sequence>,
    /// The adapter of each sequence's rows.
    adapters: Vec<Option<&'a Adapter<B>>>,
}

/// The tokens of one pair, or a prefix shared by several pairs.
#[derive(Debug, Clone, PartialEq)]
struct Sequence {
    rows: Range<usize>,
    /// The rows of the shared prefix before these tokens; often empty.
    prefix: Range<usize>,
    /// The row whose state is scored; `None` for a shared prefix.
    scored: Option<usize>,
}

/// Which token of a pair is scored, and which tokens after it need not be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scored {
    /// The first token; every token attends to all others.
    First,
    /// The last token that is not padding. Attention is causal, so tokens after it are omitted, and a prefix shared by
    /// several pairs is computed once.
    Last,
    /// The last token, whichever it is; every token attends to all others.
    LastOfAll,
}

impl Scored {
    /// The number of a pair's tokens to compute; the scored token is the first or the last of them.
    fn kept(self, ids: &[u32], padding: Option<u32>) -> usize {
        match self {
            Self::First | Self::LastOfAll => ids.len(),
            Self::Last => ids.iter().rposition(|id| Some(*id) != padding).unwrap_or(0) + 1,
        }
    }
}

impl<'a, B: Backend> Pack<'a, B> {
    /// Packs entries; those with the same adapter must be adjacent.
    pub(crate) fn new(entries: &[&AdaptedPair<'a, B>], scored: Scored) -> Self {
        let mut pack = Self { ids: Vec::new(), type_ids: Vec::new(), sequences: Vec::new(), adapters: Vec::new() };
        for run in entries.chunk_by(|a, b| a.group == b.group) {
            pack.push_group(run, scored);
        }
        pack
    }

    fn push_group(&mut self, entries: &[&AdaptedPair<'a, B>], scored: Scored) {
        let kept = |entry: &&AdaptedPair<'a, B>| scored.kept(&entry.pair.ids, entry.padding);
        let kept: Vec<&[u32]> = entries.iter().map(|entry| &entry.pair.ids[..kept(entry)]).collect();
        let shared = if scored == Scored::Last { shared_prefix(&kept) } else { 0 };
        let prefix = (shared > 0).then(|| self.push(entries[0], 0..shared, 0..0, None));
        for (entry, ids) in entries.iter().zip(&kept) {
            let begins_so = ids.len() > shared && ids[..shared] == kept[0][..shared];
            let prefix = prefix.clone().filter(|_| begins_so).unwrap_or(0..0);
            let offset = if scored == Scored::First { 0 } else { ids.len() - 1 - prefix.len() };
            self.push(entry, prefix.len()..ids.len(), prefix, Some(offset));
        }
    }

    /// Adds tokens of an entry as a sequence whose token at offset `scored` is scored; returns its rows.
    fn push(
        &mut self,
        entry: &AdaptedPair<'a, B>,
        tokens: Range<usize>,
        prefix: Range<usize>,
        scored: Option<usize>,
    ) -> Range<usize> {
        let rows = self.ids.len()..self.ids.len() + tokens.len();
        self.ids.extend_from_slice(&entry.pair.ids[tokens.clone()]);
        self.type_ids.extend_from_slice(&entry.pair.type_ids[tokens]);
        let scored = scored.map(|offset| rows.start + offset);
        self.sequences.push(Sequence { rows: rows.clone(), prefix, scored });
        self.adapters.push(entry.adapter);
        rows
    }

    /// The number of tokens.
    pub(crate) fn n_tokens(&self) -> usize {
        self.ids.len()
    }

    /// The length of the longest sequence, including its shared prefix.
    pub(crate) fn n_positions(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.prefix.len() + sequence.rows.len()).max().unwrap_or(0)
    }

    /// The position of each token within its pair.
    pub(crate) fn positions(&self) -> impl Iterator<Item = usize> {
        self.sequences.iter().flat_map(|sequence| (0..sequence.rows.len()).map(|at| sequence.prefix.len() + at))
    }

    /// The scored rows, in the entries' order.
    pub(crate) fn scored_rows(&self) -> Vec<usize> {
        self.sequences.iter().filter_map(|sequence| sequence.scored).collect()
    }

    /// The rows of each entry without a shared prefix, in the entries' order.
    pub(crate) fn entry_rows(&self) -> Vec<Range<usize>> {
        let entries = self.sequences.iter().filter(|sequence| sequence.scored.is_some());
        entries.map(|sequence| sequence.rows.clone()).collect()
    }

    /// Every sequence, with all of its tokens as queries.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let span = |sequence: &Sequence| Span {
            queries: sequence.rows.clone(),
            first_position: sequence.prefix.len(),
            prefix: sequence.prefix.clone(),
            own: sequence.rows.clone(),
        };
        self.sequences.iter().map(span).collect()
    }

    /// Every sequence with a scored token, with only that token as query.
    pub(crate) fn scored_spans(&self) -> Vec<Span> {
        let scored = self.sequences.iter().filter_map(|sequence| Some((sequence, sequence.scored?)));
        let span = |(n, (sequence, row)): (usize, (&Sequence, usize))| Span {
            queries: n..n + 1,
            first_position: sequence.prefix.len() + row - sequence.rows.start,
            prefix: sequence.prefix.clone(),
            own: sequence.rows.clone(),
        };
        scored.enumerate().map(span).collect()
    }

    /// The adapters of all rows.
    pub(crate) fn adapter_rows(&self) -> Vec<AdapterRows<'a, B>> {
        joined(self.sequences.iter().zip(&self.adapters).map(|(sequence, adapter)| (sequence.rows.len(), *adapter)))
    }

    /// The adapters of the scored rows.
    pub(crate) fn scored_adapter_rows(&self) -> Vec<AdapterRows<'a, B>> {
        let scored = self.sequences.iter().zip(&self.adapters).filter(|(sequence, _)| sequence.scored.is_some());
        joined(scored.map(|(_, adapter)| (1, *adapter)))
    }
}

/// Joins adjacent row ranges of the same adapter.
fn joined<'a, B: Backend>(rows: impl Iterator<Item = (usize, Option<&'a Adapter<B>>)>) -> Vec<AdapterRows<'a, B>> {
    let mut joined: Vec<AdapterRows<'a, B>> = Vec::new();
    for (n_rows, adapter) in rows {
        match joined.last_mut() {
            Some(last) if is_same(last.adapter, adapter) => last.n_rows += n_rows,
            _ => joined.push(AdapterRows { n_rows, adapter }),
        }
    }
    joined
}

fn is_same<B: Backend>(a: Option<&Adapter<B>>, b: Option<&Adapter<B>>) -> bool {
    a.map(std::ptr::from_ref) == b.map(std::ptr::from_ref)
}

/// The length of the prefix that is best computed once: the one that saves the most tokens over all sequences that
/// share it. The scored token of each sequence stays out of it.
///
/// A pair with a truncated query has a different prefix, and is computed alone.
fn shared_prefix(sequences: &[&[u32]]) -> usize {
    let common = |ids: &&[u32]| sequences[0].iter().zip(*ids).take_while(|(a, b)| a == b).count().min(ids.len() - 1);
    let mut lengths: Vec<usize> = sequences.iter().map(common).collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    let saved = |(n, len): (usize, &usize)| (n * len, *len);
    lengths.iter().enumerate().map(saved).max().filter(|(saved, _)| *saved > 0).map_or(0, |(_, len)| len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Kernels;

    fn pair(ids: &[u32]) -> Pair {
        Pair { ids: ids.to_vec(), type_ids: vec![0; ids.len()] }
    }

    fn pack(pairs: &[Pair], scored: Scored) -> Pack<'static, Kernels> {
        let entries: Vec<_> = pairs
            .iter()
            .map(|pair| AdaptedPair::<Kernels> { pair, adapter: None, group: 0, padding: Some(0) })
            .collect();
        let Pack { ids, type_ids, sequences, .. } = Pack::new(&entries.iter().collect::<Vec<_>>(), scored);
        let adapters = vec![None; sequences.len()];
        Pack { ids, type_ids, sequences, adapters }
    }

    #[test]
    fn what_pairs_share_is_computed_once() {
        let pairs = [pair(&[7, 8, 9, 1]), pair(&[7, 8, 9, 2, 3]), pair(&[7, 4, 5])];
        let pack = pack(&pairs, Scored::Last);
        assert_eq!(pack.ids, [7, 8, 9, 1, 2, 3, 7, 4, 5], "one token of all three saves less than three of two");
        assert_eq!(pack.scored_rows(), [3, 5, 8]);
        assert_eq!(pack.positions().collect::<Vec<_>>(), [0, 1, 2, 3, 3, 4, 0, 1, 2]);
        assert_eq!(pack.n_positions(), 5);
        let span = pack.scored_spans()[1].clone();
        assert_eq!(span, Span { queries: 1..2, first_position: 4, prefix: 0..3, own: 4..6 });
    }

    #[test]
    fn equal_pairs_keep_a_token_each() {
        let pack = pack(&[pair(&[7, 8, 9]), pair(&[7, 8, 9])], Scored::Last);
        assert_eq!((pack.ids.as_slice(), pack.scored_rows()), ([7, 8, 9, 9].as_slice(), vec![2, 3]));
    }

    #[test]
    fn tokens_after_the_scored_one_are_left_out() {
        let first = pack(&[pair(&[7, 8, 0, 0])], Scored::Last);
        assert_eq!((first.ids.as_slice(), first.scored_rows()), ([7, 8].as_slice(), vec![1]));
        let padding = pack(&[pair(&[0, 0])], Scored::Last);
        assert_eq!((padding.ids.as_slice(), padding.scored_rows()), ([0].as_slice(), vec![0]));
        let all = pack(&[pair(&[7, 0]), pair(&[7, 0])], Scored::First);
        assert_eq!((all.ids.as_slice(), all.scored_rows()), ([7, 0, 7, 0].as_slice(), vec![0, 2]));
    }

    #[test]
    fn one_pair_shares_nothing() {
        assert_eq!(shared_prefix(&[&[1, 2, 3]]), 0);
        assert_eq!(shared_prefix(&[&[1], &[1]]), 0);
        assert_eq!(shared_prefix(&[&[1, 2], &[3, 4]]), 0);
        assert_eq!(shared_prefix(&[&[1, 2, 3, 4], &[1, 2, 9], &[1, 2, 8]]), 2);
    }
}
