//! The contents of a registry at one moment, and changes to them. No files here.

use std::collections::{BTreeMap, BTreeSet};

use lorank_core::{AdapterId, Digest};

use crate::RegistryError;
use crate::entry::Entry;

/// The name of the default alias.
pub const DEFAULT_ALIAS: &str = "default";

/// The name of each server's default base model, as the target of an alias.
pub const BARE_BASE: &str = "none";

/// The reserved names for the bare base model and the first stage.
const WORDS: [&str; 2] = [BARE_BASE, "first-stage"];

/// The prefix by which rerank requests name an experiment in place of a model.
const EXPERIMENT_PREFIX: &str = "experiment:";

/// The contents of a registry at one moment. It is immutable: a request that keeps it sees one version from start to
/// end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub(crate) generation: u64,
    pub(crate) adapters: BTreeMap<AdapterId, Entry>,
    pub(crate) aliases: BTreeMap<AdapterId, AdapterId>,
    /// The aliases that point to a bare base model, with its name.
    pub(crate) base_aliases: BTreeMap<AdapterId, AdapterId>,
    /// The expressions of aliases that have one.
    pub(crate) rank_by: BTreeMap<AdapterId, String>,
}

/// What an alias points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AliasTarget<'a> {
    /// An adapter of the registry, by its id.
    Adapter(&'a AdapterId),
    /// A base model without an adapter, by its name on the servers; `none` for each server's default one. The registry
    /// knows no base models, so the name is for its callers to check.
    Base(&'a AdapterId),
}

impl<'a> AliasTarget<'a> {
    /// The name of the adapter or base model.
    pub fn name(self) -> &'a AdapterId {
        match self {
            Self::Adapter(name) | Self::Base(name) => name,
        }
    }
}

/// What becomes of the expression that orders the answers of an alias.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AliasRankBy {
    /// It stays, wherever the alias points.
    #[default]
    Keep,
    /// It is this one.
    Set(String),
    /// There is none any more.
    Remove,
}

/// The longest expression of an alias in bytes: what a search may bring.
pub(crate) const RANK_BY_BYTES_MAX: usize = 1024;

/// What to do if an adapter's id exists with other files or another source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Replace the existing adapter.
    Replace,
    /// Keep the existing adapter, and reject the new one.
    Refuse,
}

/// Checks that a name is not reserved.
pub(crate) fn check_is_no_word(name: &AdapterId) -> Result<(), RegistryError> {
    match WORDS.contains(&name.as_str()) || name.as_str().starts_with(EXPERIMENT_PREFIX) {
        true => Err(RegistryError::Word { name: name.clone() }),
        false => Ok(()),
    }
}

/// The result of adding an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The id is new.
    Added,
    /// The id had other files or another provenance, which were replaced.
    Replaced {
        /// The previous entry.
        old: Box<Entry>,
    },
    /// The id already had these files and this provenance.
    Unchanged,
}

impl State {
    /// The number of changes that led to this state.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The adapters, ordered by id.
    pub fn adapters(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.adapters.values()
    }

    /// The aliases of adapters with their adapter ids, ordered by name.
    pub fn aliases(&self) -> impl ExactSizeIterator<Item = (&AdapterId, &AdapterId)> {
        self.aliases.iter()
    }

    /// The aliases of bare base models with the names of the base models, ordered by name.
    pub fn base_aliases(&self) -> impl ExactSizeIterator<Item = (&AdapterId, &AdapterId)> {
        self.base_aliases.iter()
    }

    /// The name of the bare base model that an alias points to; `None` if it is no such alias.
    pub fn base_of_alias(&self, name: &AdapterId) -> Option<&AdapterId> {
        self.base_aliases.get(name)
    }

    /// The aliases of an adapter.
    pub fn aliases_of(&self, id: &AdapterId) -> impl Iterator<Item = &AdapterId> {
        self.aliases.iter().filter(move |(_, target)| *target == id).map(|(name, _)| name)
    }

    /// The expression by which answers are ordered that are ranked by an alias of this name.
    pub fn rank_by_of(&self, alias: &AdapterId) -> Option<&str> {
        self.rank_by.get(alias).map(String::as_str)
    }

    /// The aliases that have an expression, with it.
    pub fn rank_by(&self) -> impl ExactSizeIterator<Item = (&AdapterId, &str)> {
        self.rank_by.iter().map(|(alias, expression)| (alias, expression.as_str()))
    }

    /// The adapter with an id, or with an alias.
    ///
    /// # Errors
    /// [`RegistryError::Unknown`] if there is no such id or alias, and [`RegistryError::IsBaseAlias`] for an alias of a
    /// bare base model.
    pub fn resolve(&self, name: &AdapterId) -> Result<&Entry, RegistryError> {
        if let Some(base) = self.base_of_alias(name) {
            return Err(RegistryError::IsBaseAlias { name: name.clone(), base: base.clone() });
        }
        let id = self.aliases.get(name).unwrap_or(name);
        self.adapters.get(id).ok_or_else(|| self.unknown(name))
    }

    /// The adapter for requests that name none: that of the alias `default`, if it exists.
    pub fn default_adapter(&self) -> Option<&Entry> {
        let (_, target) = self.aliases.iter().find(|(name, _)| name.as_str() == DEFAULT_ALIAS)?;
        self.adapters.get(target)
    }

    /// The content digests of the adapters.
    pub(crate) fn contents(&self) -> BTreeSet<Digest> {
        self.adapters.values().map(|entry| entry.content).collect()
    }

    /// Checks that a name can be an adapter id.
    pub(crate) fn check_id(&self, id: &AdapterId) -> Result<(), RegistryError> {
        if id.as_str() == DEFAULT_ALIAS {
            return Err(RegistryError::Reserved { name: id.clone() });
        }
        check_is_no_word(id)?;
        self.check_is_no_alias(id, "an adapter needs its own id; remove the alias first, or choose another id")
    }

    pub(crate) fn insert(
        &mut self,
        entry: Entry,
        existing: Existing,
        n_names_max: usize,
    ) -> Result<Outcome, RegistryError> {
        self.check_id(&entry.id)?;
        match self.adapters.get(&entry.id) {
            None => self.check_room(n_names_max)?,
            Some(old) if old.content == entry.content && old.provenance.says_the_same(&entry.provenance) => {
                return Ok(Outcome::Unchanged);
            }
            Some(_) if existing == Existing::Refuse => return Err(RegistryError::Exists { id: entry.id }),
            Some(_) => {}
        }
        let old = self.adapters.insert(entry.id.clone(), entry);
        Ok(old.map_or(Outcome::Added, |old| Outcome::Replaced { old: Box::new(old) }))
    }

    /// Points an alias to its target, and returns the name of the one before.
    pub(crate) fn point(
        &mut self,
        name: &AdapterId,
        target: AliasTarget<'_>,
        n_names_max: usize,
    ) -> Result<Option<AdapterId>, RegistryError> {
        if self.adapters.contains_key(name) {
            return Err(RegistryError::IsAdapter { name: name.clone() });
        }
        if let AliasTarget::Adapter(id) = target {
            self.check_is_no_alias(id, "an alias must point to an adapter id")?;
            if !self.adapters.contains_key(id) {
                return Err(self.unknown(id));
            }
        }
        if !self.is_alias(name) {
            self.check_room(n_names_max)?;
        }
        let before = self.forget_alias(name);
        match target {
            AliasTarget::Adapter(id) => self.aliases.insert(name.clone(), id.clone()),
            AliasTarget::Base(base) => self.base_aliases.insert(name.clone(), base.clone()),
        };
        Ok(before)
    }

    pub(crate) fn unpoint(&mut self, name: &AdapterId) -> Result<AdapterId, RegistryError> {
        self.rank_by.remove(name);
        self.forget_alias(name).ok_or_else(|| self.unknown(name))
    }

    fn forget_alias(&mut self, name: &AdapterId) -> Option<AdapterId> {
        self.aliases.remove(name).or_else(|| self.base_aliases.remove(name))
    }

    pub(crate) fn is_alias(&self, name: &AdapterId) -> bool {
        self.aliases.contains_key(name) || self.base_aliases.contains_key(name)
    }

    /// Gives an alias an expression, or takes it away.
    pub(crate) fn order(&mut self, alias: &AdapterId, rank_by: AliasRankBy) -> Result<(), RegistryError> {
        if !self.is_alias(alias) {
            return Err(self.unknown(alias));
        }
        match rank_by {
            AliasRankBy::Keep => {}
            AliasRankBy::Remove => drop(self.rank_by.remove(alias)),
            AliasRankBy::Set(expression) if expression.is_empty() || expression.len() > RANK_BY_BYTES_MAX => {
                return Err(RegistryError::RankByLength { alias: alias.clone(), max: RANK_BY_BYTES_MAX });
            }
            AliasRankBy::Set(expression) => drop(self.rank_by.insert(alias.clone(), expression)),
        }
        Ok(())
    }

    /// Removes an adapter. With `force`, also removes the aliases that point to it.
    pub(crate) fn take(&mut self, id: &AdapterId, in_use_by: &[String], force: bool) -> Result<Entry, RegistryError> {
        self.check_is_no_alias(id, "only adapters are removed this way; use the adapter id, or remove the alias")?;
        let users: Vec<String> =
            self.aliases_of(id).map(|name| format!("alias `{name}`")).chain(in_use_by.iter().cloned()).collect();
        if !self.adapters.contains_key(id) {
            return Err(self.unknown(id));
        }
        if !users.is_empty() && !force {
            return Err(RegistryError::InUse { id: id.clone(), by: users.join(", ") });
        }
        self.aliases.retain(|_, target| target != id);
        let (aliases, base_aliases) = (&self.aliases, &self.base_aliases);
        self.rank_by.retain(|alias, _| aliases.contains_key(alias) || base_aliases.contains_key(alias));
        self.adapters.remove(id).ok_or_else(|| self.unknown(id))
    }

    fn check_is_no_alias(&self, name: &AdapterId, hint: &'static str) -> Result<(), RegistryError> {
        match self.aliases.get(name).or_else(|| self.base_aliases.get(name)) {
            Some(target) => Err(RegistryError::IsAlias { name: name.clone(), target: target.clone(), hint }),
            None => Ok(()),
        }
    }

    fn check_room(&self, max: usize) -> Result<(), RegistryError> {
        if self.n_names() < max { Ok(()) } else { Err(RegistryError::Full { max }) }
    }

    /// The number of adapters and aliases.
    fn n_names(&self) -> usize {
        self.adapters.len() + self.aliases.len() + self.base_aliases.len()
    }

    fn unknown(&self, name: &AdapterId) -> RegistryError {
        // The maximum number of names in a message.
        const N_SHOWN: usize = 20;
        let names = self.adapters.keys().chain(self.aliases.keys()).chain(self.base_aliases.keys());
        let shown: Vec<String> = names.take(N_SHOWN).map(|name| format!("`{name}`")).collect();
        let n_more = self.n_names() - shown.len();
        let known = match (shown.is_empty(), n_more) {
            (true, _) => "the registry is empty".into(),
            (_, 0) => format!("known names: {}", shown.join(", ")),
            _ => format!("known names: {} and {n_more} more", shown.join(", ")),
        };
        RegistryError::Unknown { name: name.clone(), known }
    }
}
