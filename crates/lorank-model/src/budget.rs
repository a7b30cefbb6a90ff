//! How many tokens the passes of a model have: as many as requested, or as fit into the memory of a GPU.

use std::num::NonZeroUsize;

use crate::TokensLimit;

/// The tokens of a model's passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PassBudget {
    /// The maximum of a pass; a longer pair gets a pass of its own.
    pub(crate) tokens_max: NonZeroUsize,
    pub(crate) limit: TokensLimit,
    /// The longest pair that has enough memory; `None` if no memory is reserved for passes.
    pub(crate) pair_tokens_max: Option<NonZeroUsize>,
}

impl PassBudget {
    /// Why a pair of this many tokens has not enough memory. `n_bytes` is what is reserved for passes.
    pub(crate) fn why_not(&self, length: usize, n_bytes: impl FnOnce() -> usize) -> Option<String> {
        let fitting = self.pair_tokens_max.filter(|fitting| fitting.get() < length)?;
        if self.limit != TokensLimit::Memory {
            return Some(format!(
                "a pair may have {length} tokens, but activations of only {fitting} are reserved; use `--tokens-max {length}` or \
                 `--max-length {fitting}`"
            ));
        }
        let n_bytes = n_bytes();
        Some(format!(
            "a pair may have {length} tokens, which need {} bytes of GPU memory for activations, but only {n_bytes} are free, \
             enough for {fitting}; use `--max-length {fitting}`, a smaller model or another device",
            n_bytes / fitting * length
        ))
    }
}

/// Calls `run` with a number of tokens, and with half of it as long as the memory does not suffice.
///
/// Returns the result, and the first error if there was one.
///
/// # Errors
/// Any other error, or the error of a single token.
pub(crate) fn fitting<T, E>(
    wanted: NonZeroUsize,
    is_out_of_memory: impl Fn(&E) -> bool,
    mut run: impl FnMut(NonZeroUsize) -> Result<T, E>,
) -> Result<(T, Option<E>), E> {
    let (mut n_tokens, mut first) = (wanted, None);
    loop {
        match run(n_tokens) {
            Ok(result) => return Ok((result, first)),
            Err(error) => match NonZeroUsize::new(n_tokens.get() / 2).filter(|_| is_out_of_memory(&error)) {
                Some(half) => {
                    n_tokens = half;
                    first.get_or_insert(error);
                }
                None => return Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_halved_until_they_fit() {
        let check = |fits: usize, expected: Result<(usize, Option<&str>), &str>| {
            let run = |n: NonZeroUsize| if n.get() <= fits { Ok(n.get()) } else { Err("too many") };
            let found = fitting(NonZeroUsize::new(100).unwrap(), |error| *error == "too many", run);
            assert_eq!(found, expected, "{fits}");
        };
        check(100, Ok((100, None)));
        check(99, Ok((50, Some("too many"))));
        check(13, Ok((12, Some("too many"))));
        check(1, Ok((1, Some("too many"))));
        check(0, Err("too many"));
    }

    #[test]
    fn a_pair_longer_than_the_memory_is_refused() {
        let budget = |pair_tokens_max| PassBudget {
            tokens_max: NonZeroUsize::MIN,
            limit: TokensLimit::Memory,
            pair_tokens_max: NonZeroUsize::new(pair_tokens_max),
        };
        let why = budget(100).why_not(300, || 5000).unwrap();
        assert!(why.contains("300 tokens, which need 15000 bytes") && why.contains("`--max-length 100`"), "{why}");
        let default = PassBudget { limit: TokensLimit::Default, ..budget(100) };
        assert!(default.why_not(300, || 5000).unwrap().contains("use `--tokens-max 300`"));
        assert_eq!(budget(300).why_not(300, || 5000), None);
        assert_eq!(budget(0).why_not(300, || 5000), None);
    }

    #[test]
    fn other_errors_end_the_search() {
        let mut tried = Vec::new();
        let run = |n: NonZeroUsize| {
            tried.push(n.get());
            Err::<(), _>(if n.get() > 50 { "too many" } else { "broken" })
        };
        assert_eq!(fitting(NonZeroUsize::new(100).unwrap(), |error| *error == "too many", run), Err("broken"));
        assert_eq!(tried, [100, 50]);
    }
}
