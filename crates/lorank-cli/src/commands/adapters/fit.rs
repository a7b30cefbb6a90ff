//! Checks that an adapter fits the base models that will use it.

use anyhow::Context;
use lorank_server::{AdapterSpec, DataFolder, ModelSection, ModelSource};

use crate::models;

/// Loads an adapter on the given base model, or on those of running servers with the data folder. Returns these base models.
pub(super) fn check_fit(
    adapter: &AdapterSpec,
    base: Option<&ModelSource>,
    data: &DataFolder,
    is_quiet: bool,
) -> anyhow::Result<Vec<String>> {
    if let Some(base) = base {
        load(adapter, base, is_quiet)?;
        return Ok(vec![base.to_string()]);
    }
    let mut checked: Vec<String> = Vec::new();
    for server in data.running_servers()? {
        if checked.contains(&server.base) {
            continue;
        }
        let failed = || {
            format!(
                "the adapter cannot be used on `{}`, the base model of the server that runs as process {}; \
                 add --unchecked to go on all the same",
                server.base, server.process
            )
        };
        load(adapter, &server.base.parse()?, is_quiet).with_context(failed)?;
        checked.push(server.base);
    }
    Ok(checked)
}

fn load(adapter: &AdapterSpec, base: &ModelSource, is_quiet: bool) -> anyhow::Result<()> {
    let section = ModelSection { base: Some(base.clone()), adapters: vec![adapter.clone()], ..ModelSection::default() };
    models::load(&section, None, is_quiet).map(drop)
}

/// A description of the check for the output.
pub(super) fn said(checked: &[String]) -> String {
    match checked {
        [] => "not checked on a base model: no server runs with this registry, and --base is not given".to_owned(),
        bases => format!("checked on {}", bases.iter().map(|base| format!("`{base}`")).collect::<Vec<_>>().join(", ")),
    }
}
