//! The header of a safetensors file.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    lorank_model::fuzzing::read_safetensors_header(bytes);
});
