//! A base model's `config.json`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    lorank_model::fuzzing::read_model_config(bytes);
});
