//! What a copy of a shared registry serves while it does not have all adapters yet. No files here.

use std::collections::BTreeMap;

use lorank_core::{AdapterId, Digest};

use crate::entry::Entry;
use crate::state::State;

/// The state to serve in place of `wanted`, the shared one, where only the adapters are usable whose files are complete:
/// `old` is what was served before.
///
/// - An adapter whose files are not here is left out, or stays in its old version.
/// - An alias of such an adapter stays with its old target and expression, or is left out if it had none.
/// - Everything else is as wanted.
pub(crate) fn served(old: &State, wanted: &State, is_here: impl Fn(&Entry) -> bool) -> State {
    let mut new = wanted.clone();
    let kept = |id: &AdapterId| old.adapters.get(id).filter(|entry| is_here(entry));
    let mut behind = Vec::new();
    for (id, entry) in &wanted.adapters {
        if is_here(entry) {
            continue;
        }
        behind.push(id);
        match kept(id) {
            Some(old) => drop(new.adapters.insert(id.clone(), old.clone())),
            None => drop(new.adapters.remove(id)),
        }
    }
    for (alias, target) in &wanted.aliases {
        if behind.contains(&target) {
            keep_alias(&mut new, alias, old, wanted, kept);
        }
    }
    new
}

/// Points an alias to where it pointed before, or removes it.
fn keep_alias<'a>(
    new: &mut State,
    alias: &AdapterId,
    old: &State,
    wanted: &State,
    kept: impl Fn(&AdapterId) -> Option<&'a Entry>,
) {
    new.aliases.remove(alias);
    new.rank_by.remove(alias);
    if let Some(base) = old.base_aliases.get(alias) {
        new.base_aliases.insert(alias.clone(), base.clone());
    } else if let Some(target) = old.aliases.get(alias) {
        if !new.adapters.contains_key(target) {
            // It was removed together with the move. Meanwhile its name may be that of an alias.
            match kept(target).filter(|_| !wanted.is_alias(target)) {
                Some(entry) => drop(new.adapters.insert(target.clone(), entry.clone())),
                None => return,
            }
        }
        new.aliases.insert(alias.clone(), target.clone());
    } else {
        return;
    }
    if let Some(expression) = old.rank_by.get(alias) {
        new.rank_by.insert(alias.clone(), expression.clone());
    }
}

/// The adapters of a state whose files are not here, by their content: those of aliases first, because they are used most.
pub(crate) fn missing(wanted: &State, is_here: impl Fn(&Entry) -> bool) -> Vec<Missing> {
    let mut by_content: BTreeMap<Digest, Missing> = BTreeMap::new();
    for entry in wanted.adapters.values().filter(|entry| !is_here(entry)) {
        let has_alias = wanted.aliases.values().any(|target| *target == entry.id);
        let missing = by_content.entry(entry.content).or_insert_with(|| Missing {
            entry: entry.clone(),
            ids: Vec::new(),
            has_alias: false,
        });
        missing.ids.push(entry.id.clone());
        missing.has_alias |= has_alias;
    }
    let mut all: Vec<Missing> = by_content.into_values().collect();
    all.sort_by_key(|missing| (!missing.has_alias, missing.ids[0].clone()));
    all
}

/// Files that are not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The first adapter that has them.
    pub(crate) entry: Entry,
    /// All adapters that have them.
    pub(crate) ids: Vec<AdapterId>,
    has_alias: bool,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::document;
    use crate::entry::{Provenance, StoredFile, content_digest};
    use crate::state::{AliasRankBy, AliasTarget, Existing};

    fn entry(name: &str, version: u8) -> Entry {
        let digest = Digest::new([version; 32]);
        let files = vec![StoredFile { name: "weights".into(), bytes: version.into(), digest }];
        let provenance = Provenance {
            source: "test".into(),
            revision: None,
            added_at_millis: 1,
            base_model: "tiny".into(),
            rank: 8,
            targets: Vec::new(),
            n_parameters: 64,
            model_digest: digest,
            base_digest: None,
        };
        Entry { id: name.parse().unwrap(), content: content_digest(&files), files, provenance }
    }

    /// A state of adapters with versions (`qa=1`), aliases (`default>qa`), aliases of base models (`bare:minilm`) and
    /// expressions (`default*2`).
    fn state(parts: &str) -> State {
        let (mut state, id) = (State::default(), |text: &str| text.parse::<AdapterId>().unwrap());
        for part in parts.split_whitespace() {
            if let Some((name, version)) = part.split_once('=') {
                state.insert(entry(name, version.parse().unwrap()), Existing::Replace, 99).map(drop).unwrap();
            } else if let Some((name, target)) = part.split_once('>') {
                state.point(&id(name), AliasTarget::Adapter(&id(target)), 99).map(drop).unwrap();
            } else if let Some((name, base)) = part.split_once(':') {
                state.point(&id(name), AliasTarget::Base(&id(base)), 99).map(drop).unwrap();
            } else if let Some((name, expression)) = part.split_once('*') {
                state.order(&id(name), AliasRankBy::Set(expression.to_owned())).unwrap();
            }
        }
        state
    }

    fn is_among(versions: &[u8]) -> impl Fn(&Entry) -> bool {
        let contents: BTreeSet<Digest> = versions.iter().map(|version| entry("x", *version).content).collect();
        move |entry| contents.contains(&entry.content)
    }

    fn check(old: &str, wanted: &str, here: &[u8], expected: &str) {
        let found = served(&state(old), &state(wanted), is_among(here));
        assert_eq!(found, state(expected), "{old} -> {wanted} with {here:?}");
    }

    #[test]
    fn what_is_not_here_changes_nothing_that_worked() {
        check("", "qa=1 default>qa", &[1], "qa=1 default>qa");
        check("", "qa=1 default>qa", &[], "");
        // Another version of an adapter, and an alias that moves.
        check("qa=1 default>qa", "qa=2 default>qa", &[1], "qa=1 default>qa");
        check("qa=1 default>qa", "qa=1 new=2 default>new", &[1], "qa=1 default>qa");
        check("qa=1 default>qa", "qa=1 new=2 default>new", &[1, 2], "qa=1 new=2 default>new");
        // Other changes do not wait.
        check(
            "qa=1 default>qa",
            "qa=1 new=2 news=3 default>new canary>news",
            &[1, 3],
            "qa=1 news=3 default>qa canary>news",
        );
        // The old target was removed, or its name is an alias now, or its files are gone.
        check("qa=1 default>qa", "new=2 default>new", &[1], "qa=1 default>qa");
        check("qa=1 default>qa", "new=2 news=3 default>new qa>news", &[1, 3], "news=3 qa>news");
        check("qa=1 default>qa", "new=2 default>new", &[], "");
        // Aliases of base models and expressions.
        check("default:minilm default*2", "new=1 default>new default*3", &[], "default:minilm default*2");
        check("qa=1 default>qa default*2", "qa=1 new=2 default>new", &[1], "qa=1 default>qa default*2");
        check("qa=1 default>qa", "qa=1 default:minilm default*2", &[1], "qa=1 default:minilm default*2");
    }

    #[test]
    fn files_are_fetched_once_and_those_of_aliases_first() {
        let wanted = state("a=1 b=2 c=2 d=3 default>c");
        let ids = |versions: &[u8]| -> Vec<Vec<String>> {
            let all = missing(&wanted, is_among(versions));
            all.iter().map(|one| one.ids.iter().map(ToString::to_string).collect()).collect()
        };
        assert_eq!(ids(&[]), [vec!["b", "c"], vec!["a"], vec!["d"]]);
        assert_eq!(ids(&[1, 2]), [vec!["d"]]);
    }

    /// Names that are ids in some states and aliases in others.
    fn states() -> impl Strategy<Value = State> {
        let changes = prop::collection::vec((0..4_u8, 0..4_u8, 0..5_u8), 0..20);
        changes.prop_map(|changes| {
            let (mut state, id) = (State::default(), |n: u8| format!("name-{n}").parse::<AdapterId>().unwrap());
            for (kind, a, b) in changes {
                // Those that are refused change nothing.
                let _ = match kind {
                    0 => state.insert(entry(&format!("name-{a}"), b), Existing::Replace, 99).map(drop),
                    1 => state.point(&id(a), AliasTarget::Adapter(&id(b)), 99).map(drop),
                    2 => state.point(&id(a), AliasTarget::Base(&id(b)), 99).map(drop),
                    _ => state.order(&id(a), AliasRankBy::Set(b.to_string())),
                };
            }
            state
        })
    }

    proptest! {
        #[test]
        fn a_served_state_is_valid_and_has_only_what_is_here(
            old in states(), wanted in states(), here in prop::collection::vec(0..5_u8, 0..5)
        ) {
            let is_here = is_among(&here);
            let old = served(&State::default(), &old, &is_here);
            let new = served(&old, &wanted, &is_here);
            prop_assert!(new.adapters.values().all(&is_here));
            let bytes = document::write(&new);
            prop_assert_eq!(document::read(&bytes, Path::new("x")).unwrap(), new.clone());
            let all_here = served(&old, &wanted, |_| true);
            prop_assert_eq!(&all_here, &wanted);
            // Each alias answers as wanted or as before.
            for (alias, target) in &new.aliases {
                let is_wanted = wanted.aliases.get(alias) == Some(target) && wanted.adapters.get(target).is_some_and(&is_here);
                prop_assert!(is_wanted || old.aliases.get(alias) == Some(target));
            }
            prop_assert_eq!(missing(&wanted, &is_here).is_empty(), wanted.adapters.values().all(&is_here));
            prop_assert_eq!(served(&new, &wanted, &is_here), new);
        }
    }
}
