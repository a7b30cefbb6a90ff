//! The server of `lorank serve`, embedded in an application with its own runtime, routes and shutdown.
//!
//!     cargo run --release --example embedded_server
//!
//! It starts a server, sends a search and a request to the application's own route, changes a limit at run time, and
//! shuts the server down.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use lorank::http::axum::routing::get;
use lorank::server::{Server, ServerConfig};
use lorank::tantivy::{Document, Index, IndexSettings, WriterOptions};
use tokio::sync::oneshot;

type BoxError = Box<dyn Error + Send + Sync>;

/// Starts the server, asks it, and ends it.
#[tokio::main]
pub(crate) async fn main() -> Result<(), BoxError> {
    let folder = std::env::temp_dir().join(format!("lorank-embedded-server-{}", std::process::id()));
    write_index(&folder.join("index"))?;

    // The contents of `lorank.toml` as plain data. The default base model is the built-in one.
    let mut config = ServerConfig::new(folder.join("index"), folder.join("data"));
    config.listen = "127.0.0.1:0".parse()?;
    config.model.adapters = vec!["minilm-qa".parse()?];
    config.search.top_k = 3.try_into()?;

    let server = Server::start(config.clone()).await?;
    let server = server.map_router(|router| router.route("/about", get(async || "a shop with a search")));
    let (address, handle) = (server.address(), server.handle());
    let (end, ended) = oneshot::channel();
    let running = tokio::spawn(server.run(async move {
        // Dropping the sender ends the server as well.
        let _: Result<(), _> = ended.await;
    }));

    let answer = ask(address, "/v1/search?q=who+invented+the+light+bulb").await?;
    println!("{answer}");
    assert!(answer.contains("\"reranked\":true"), "{answer}");
    assert!(ask(address, "/about").await?.ends_with("a shop with a search"));

    // Client limits and keys change at run time; other changed settings are returned, and need a restart.
    config.server.n_searches_max = 8.try_into()?;
    config.search.depth = 50.try_into()?;
    assert_eq!(handle.reload(&config)?, ["search.depth"]);

    end.send(()).map_err(|()| "the server has ended by itself")?;
    running.await??;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn write_index(folder: &Path) -> Result<(), BoxError> {
    let settings = IndexSettings::default();
    let mut writer = Index::create(folder, &settings)?.writer(&WriterOptions::default())?;
    for line in [
        r#"{"id": "tulips", "text": "Plant the bulb in light soil: who wants light wants tulips."}"#,
        r#"{"id": "edison", "text": "In 1880 he patented the lamp that burns in every house."}"#,
        r#"{"id": "swan", "text": "Joseph Swan showed a light bulb with a carbon filament in 1879."}"#,
    ] {
        writer.add(&Document::from_json(line.as_bytes(), &settings)?)?;
    }
    writer.commit()?;
    writer.close()?;
    Ok(())
}

/// The server's response.
async fn ask(address: SocketAddr, target: &'static str) -> Result<String, BoxError> {
    // A client library would do this without a thread, in one line.
    let exchange = move || -> Result<String, BoxError> {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    tokio::task::spawn_blocking(exchange).await?
}
