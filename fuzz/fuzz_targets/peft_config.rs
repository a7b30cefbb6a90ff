//! An adapter's `adapter_config.json`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    lorank_model::fuzzing::read_peft_config(bytes);
});
