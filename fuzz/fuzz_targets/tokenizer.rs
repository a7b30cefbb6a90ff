//! A base model's `tokenizer.json`, and a pair encoded with it.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        // libFuzzer's hook ends the process on every panic, but panics of the tokenizers library are caught and become errors.
        // Uncaught ones still end the target.
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    },
    |bytes: &[u8]| {
        lorank_model::fuzzing::read_tokenizer(bytes);
    }
);
