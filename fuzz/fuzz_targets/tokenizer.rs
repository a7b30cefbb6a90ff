//! A base model's `tokenizer.json`, and a pair encoded with it.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        // libFuzzer's hook ends the process at any panic, but those of the tokenizers library are caught and become errors. One
        // that is not caught ends the target all the same.
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    },
    |bytes: &[u8]| {
        lorank_model::fuzzing::read_tokenizer(bytes);
    }
);
