//! A registry of adapters on disk: each is copied in once, under the digest of its files, and named by ids and aliases.
