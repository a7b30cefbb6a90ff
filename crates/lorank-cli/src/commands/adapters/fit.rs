//! Checks that an adapter fits the base models that will use it.

use anyhow::{Context, anyhow};
use lorank_core::{AdapterId, Digest, Reranker};
use lorank_model::Files;
use lorank_server::{BaseSpec, DataFolder, ModelSection};

use crate::models;

/// An adapter to check.
pub(super) struct Checked<'a> {
    pub(super) id: &'a AdapterId,
    pub(super) files: &'a Files,
    /// The digest of the base model that the registry has recorded for it.
    pub(super) base_digest: Option<Digest>,
}

/// The base models on which an adapter loads.
#[derive(Debug, Default)]
pub(super) struct Fit {
    /// As `--base` takes them.
    pub(super) bases: Vec<String>,
    /// The digest of the one of several, or of the given one.
    pub(super) base_digest: Option<Digest>,
    /// Those on which it is not known how int8 ranks with the adapter, although `auto` could take int8 there.
    pub(super) unmeasured: Vec<BaseSpec>,
}

/// Loads an adapter on the one of the given base models that it is for, or on those of running servers with the data folder.
pub(super) fn check_fit(
    adapter: &Checked<'_>,
    bases: &[BaseSpec],
    data: &DataFolder,
    is_quiet: bool,
) -> anyhow::Result<Fit> {
    let mut fit = Fit::default();
    if !bases.is_empty() {
        fit.add(adapter, bases, data, is_quiet)?;
        return Ok(fit);
    }
    let mut seen: Vec<Vec<String>> = Vec::new();
    for server in data.running_servers()? {
        if seen.contains(&server.bases) {
            continue;
        }
        let failed = || {
            let names = server.bases.iter().map(|base| format!("`{base}`")).collect::<Vec<_>>();
            let model = if names.len() == 1 { "the base model" } else { "the base models" };
            format!(
                "the adapter cannot be used on {}, {model} of the server that runs as process {}; \
                 add --unchecked to go on all the same",
                names.join(", "),
                server.process
            )
        };
        let bases = server.bases.iter().map(|base| base.parse()).collect::<Result<Vec<BaseSpec>, _>>()?;
        let digest = fit.base_digest;
        fit.add(adapter, &bases, data, is_quiet).with_context(failed)?;
        if bases.len() == 1 {
            fit.base_digest = digest;
        }
        seen.push(server.bases);
    }
    Ok(fit)
}

impl Fit {
    /// Loads the adapter on one of these base models.
    fn add(
        &mut self,
        adapter: &Checked<'_>,
        bases: &[BaseSpec],
        data: &DataFolder,
        is_quiet: bool,
    ) -> anyhow::Result<()> {
        let section = ModelSection { base: bases.to_vec(), ..ModelSection::default() };
        let models = models::load(&section, Some(data.clone()), is_quiet)?;
        let place = models.fit(adapter.id, adapter.files, adapter.base_digest.as_ref())?;
        let reranker = models.bases.at(place).reranker();
        let (base, digest) = (bases[place].to_string(), reranker.base().digest);
        let model = reranker.resolve(Some(adapter.id)).map_err(|error| anyhow!(error))?;
        if !self.bases.contains(&base) {
            if reranker.has_fast_int8() && reranker.int8_ranking(&model).is_none() {
                self.unmeasured.push(bases[place].clone());
            }
            self.bases.push(base);
        }
        self.base_digest = Some(digest);
        Ok(())
    }

    /// A description of the check for the output.
    pub(super) fn said(&self) -> String {
        match &self.bases[..] {
            [] => "not checked on a base model: no server runs with this registry, and --base is not given".to_owned(),
            bases => {
                format!("checked on {}", bases.iter().map(|base| format!("`{base}`")).collect::<Vec<_>>().join(", "))
            }
        }
    }
}
