//! `lorank opensearch setup`: makes OpenSearch rerank by lorank in its own search pipeline.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use lorank_elastic::{Auth, ElasticConfig, NodeUrl, RerankPipeline, Secret, SetupRequest};

use crate::environment;
use crate::failure::WrongUsage;
use crate::output;

/// Set up OpenSearch so that its search pipeline reranks by lorank
#[derive(Debug, Args)]
pub(crate) struct OpensearchArgs {
    #[command(subcommand)]
    command: OpensearchCommand,
}

#[derive(Debug, Subcommand)]
enum OpensearchCommand {
    Setup(SetupArgs),
}

/// Create a connector, a model and a search pipeline whose rerank processor asks lorank
///
/// Needs OpenSearch's plugins for machine learning. Each run creates a new connector and a new model; a pipeline of the
/// same name is replaced.
#[derive(Debug, Args)]
struct SetupArgs {
    /// Address of OpenSearch
    #[arg(long, value_name = "URL")]
    url: NodeUrl,
    /// Address at which OpenSearch reaches lorank
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7788")]
    lorank: NodeUrl,
    /// Adapter or alias that reranks, none for the bare base model, or experiment:NAME
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Name of the pipeline, its connector and its model
    #[arg(long, value_name = "NAME", default_value = "lorank")]
    name: String,
    /// Field that is reranked, which searches must return; repeatable
    #[arg(long = "field", value_name = "FIELD", required = true)]
    fields: Vec<String>,
    /// How long OpenSearch waits for lorank
    #[arg(long, value_name = "N", default_value = "5")]
    read_timeout_seconds: u64,
    /// Let searches fail if lorank fails, instead of returning the engine's order
    #[arg(long)]
    strict: bool,
    /// Set the cluster's settings that let the plugin call this address: its list of trusted addresses is replaced
    #[arg(long)]
    change_cluster_settings: bool,
    /// File with the key for lorank, if it needs one
    #[arg(long, value_name = "FILE")]
    lorank_key_file: Option<PathBuf>,
    /// User name for OpenSearch; the password is in LORANK_ELASTIC_PASSWORD
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// File with the certificates (PEM) of the authorities that sign OpenSearch's certificates
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print the requests as curl commands, and send nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &OpensearchArgs) -> anyhow::Result<()> {
    let OpensearchCommand::Setup(args) = &args.command;
    let key = args.lorank_key_file.as_ref().map(|path| {
        let text = std::fs::read_to_string(path).with_context(|| format!("could not read `{}`", path.display()))?;
        Secret::new(&text).map_err(|problem| anyhow!("`{}`: {problem}", path.display()))
    });
    let pipeline = RerankPipeline {
        name: args.name.clone(),
        lorank: args.lorank.clone(),
        model: args.model.clone(),
        fields: args.fields.clone(),
        key: key.transpose()?,
        read_timeout_seconds: args.read_timeout_seconds,
        ignores_failure: !args.strict,
        changes_cluster_settings: args.change_cluster_settings,
    };
    let mut out = output::stdout();
    if args.dry_run {
        for request in pipeline.requests() {
            writeln!(out, "{}", as_curl(&args.url, &request)?)?;
        }
        return Ok(out.flush()?);
    }
    let created = pipeline.create(&args.engine()?)?;
    writeln!(out, "connector {}\nmodel {}\npipeline {}", created.connector, created.model, args.name)?;
    writeln!(out, "search with `?search_pipeline={}` and `ext.rerank.query_context.query_text`", args.name)?;
    Ok(out.flush()?)
}

impl SetupArgs {
    fn engine(&self) -> anyhow::Result<ElasticConfig> {
        let auth = match (&self.user, environment::elastic_secrets()?.password) {
            (Some(user), Some(password)) => Auth::Basic { user: user.clone(), password },
            (Some(_), None) => return Err(WrongUsage("--user needs LORANK_ELASTIC_PASSWORD".to_owned()).into()),
            (None, _) => Auth::None,
        };
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("could not read `{}`", path.display()));
        let ca = self.ca.as_ref().map(read).transpose()?;
        let index = "unused".parse().expect("a name");
        Ok(ElasticConfig { auth, ca, ..ElasticConfig::new(vec![self.url.clone()], index) })
    }
}

fn as_curl(url: &NodeUrl, request: &SetupRequest) -> anyhow::Result<String> {
    let body = serde_json::to_string_pretty(&request.body)?.replace('\'', "'\\''");
    let SetupRequest { method, path, .. } = request;
    Ok(format!("curl -s -X {method} '{url}{path}' -H 'content-type: application/json' -d '{body}'"))
}
