//! The examples, run as they stand. Their `main` is public for this.

#[path = "../../examples/embed.rs"]
mod embed;

#[test]
fn embed() {
    embed::main().unwrap();
}
